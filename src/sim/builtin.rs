//! What the real API server fills into and refuses in objects of built-in kinds, as far as controllers and
//! clients of this project can tell the difference.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::failure::{Cause, Failure};
use super::resource::Resource;

/// Fills in what the server would.
pub(super) fn fill_defaults(object: &mut Value, resource: &Resource) {
    match &*resource.plural {
        "secrets" => secret(object),
        "namespaces" => namespace(object),
        "jobs" => job(object),
        "cronjobs" => cron_job(object),
        "pods" => {
            pod_spec(object, "/spec");
            fill(object, "status", &json!({"phase": "Pending"}));
        }
        "deployments" => {
            fill(object, "spec", &json!({"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}));
            pod_spec(object, "/spec/template/spec");
            fill(object, "status", &json!({}));
        }
        "customresourcedefinitions" => definition(object),
        _ => {}
    }
}

/// Refuses a change of something that can't change.
pub(super) fn check_update(old: &Value, new: &Value, resource: &Resource) -> Result<(), Failure> {
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    let mut causes = Vec::new();
    match &*resource.plural {
        "configmaps" | "secrets" if old["immutable"] == true => {
            for field in ["data", "binaryData", "type", "immutable"] {
                if old[field] != new[field] {
                    let why = "Forbidden: field is immutable when `immutable` is set";
                    causes.push(Cause::new("FieldValueForbidden", field, why));
                }
            }
        }
        "secrets" if old["type"] != new["type"] => {
            causes.push(Cause::invalid("type", &new["type"].to_string(), "field is immutable"));
        }
        "jobs" if old["spec"]["template"] != new["spec"]["template"] => {
            causes.push(Cause::invalid("spec.template", "the Pod template", "field is immutable"));
        }
        _ => {}
    }
    if causes.is_empty() { Ok(()) } else { Err(Failure::invalid_object(resource, name, &causes)) }
}

/// Adds the fields of `defaults` that are missing in the object's part `part`.
fn fill(object: &mut Value, part: &str, defaults: &Value) {
    let Some(fields) = object.as_object_mut() else { return };
    fill_object(fields.entry(part).or_insert_with(|| json!({})), defaults);
}

fn fill_object(object: &mut Value, defaults: &Value) {
    let (Some(fields), Some(defaults)) = (object.as_object_mut(), defaults.as_object()) else { return };
    for (name, default) in defaults {
        fields.entry(name.clone()).or_insert_with(|| default.clone());
    }
}

/// `stringData` is written into `data`, and never kept.
fn secret(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    if let Some(Value::Object(plain)) = fields.remove("stringData") {
        let data = fields.entry("data").or_insert_with(|| Value::Object(Map::new()));
        for (key, text) in plain {
            data[key] = STANDARD.encode(text.as_str().unwrap_or_default()).into();
        }
    }
    fields.entry("type").or_insert_with(|| "Opaque".into());
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    fill_object(&mut object["metadata"], &json!({"labels": {}}));
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    fill(object, "spec", &json!({"finalizers": ["kubernetes"]}));
    fill(object, "status", &json!({"phase": "Active"}));
}

/// A Job of its own gets the selector and labels by which it finds its Pods.
fn job(object: &mut Value) {
    let (uid, name) = (object["metadata"]["uid"].clone(), object["metadata"]["name"].clone());
    fill(
        object,
        "spec",
        &json!({"completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
            "suspend": false, "podReplacementPolicy": "TerminatingOrFailed",
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}}),
    );
    fill(object, "status", &json!({}));
    pod_spec(object, "/spec/template/spec");
    let Some(template) = object.pointer_mut("/spec/template").filter(|template| template.is_object()) else { return };
    fill(template, "metadata", &json!({"labels": {}}));
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        for key in ["batch.kubernetes.io/controller-uid", "controller-uid"] {
            labels.entry(key).or_insert_with(|| uid.clone());
        }
        for key in ["batch.kubernetes.io/job-name", "job-name"] {
            labels.entry(key).or_insert_with(|| name.clone());
        }
    }
}

fn cron_job(object: &mut Value) {
    fill(
        object,
        "spec",
        &json!({"suspend": false, "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1}),
    );
    fill(object, "status", &json!({}));
    pod_spec(object, "/spec/jobTemplate/spec/template/spec");
}

fn pod_spec(object: &mut Value, path: &str) {
    let Some(spec) = object.pointer_mut(path).filter(|spec| spec.is_object()) else { return };
    fill_object(
        spec,
        &json!({"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "securityContext": {}}),
    );
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            fill_object(
                container,
                &json!({"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "imagePullPolicy": "IfNotPresent", "resources": {}}),
            );
        }
    }
}

/// The real server establishes a definition within a second; here it is established at once.
fn definition(object: &mut Value) {
    let names = &object["spec"]["names"];
    let kind = names["kind"].as_str().unwrap_or_default();
    let more = json!({"listKind": format!("{kind}List"), "singular": kind.to_lowercase()});
    fill(&mut object["spec"], "names", &more);
    fill(object, "spec", &json!({"conversion": {"strategy": "None"}}));
    let names = object["spec"]["names"].clone();
    let versions: Vec<Value> = object["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .collect();
    let since = object["metadata"]["creationTimestamp"].clone();
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since});
    object["status"] = json!({
        "acceptedNames": names,
        "storedVersions": versions,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    });
}

//! What a simulated cluster says of itself: version, groups, kinds, and as much `OpenAPI` as kubectl asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::resource::{REVIEWS, Resource};

pub(super) fn version() -> Value {
    json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3+simulated", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-11-01T00:00:00Z", "goVersion": "none", "compiler": "none", "platform": "simulated"})
}

pub(super) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

pub(super) fn groups(resources: &[Arc<Resource>]) -> Value {
    let names: BTreeSet<&str> = resources.iter().map(|resource| &*resource.group).filter(|g| !g.is_empty()).collect();
    let groups: Vec<Value> = names.into_iter().filter_map(|name| group_entry(resources, name)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

pub(super) fn group(resources: &[Arc<Resource>], name: &str) -> Option<Value> {
    let mut group = group_entry(resources, name)?;
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

fn group_entry(resources: &[Arc<Resource>], name: &str) -> Option<Value> {
    let versions: BTreeSet<&str> =
        resources.iter().filter(|resource| &*resource.group == name).map(|resource| &*resource.version).collect();
    let entry = |version: &str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let preferred = entry(versions.first()?);
    let versions: Vec<Value> = versions.into_iter().map(entry).collect();
    Some(json!({"name": name, "versions": versions, "preferredVersion": preferred}))
}

pub(super) fn kinds(resources: &[Arc<Resource>], group: &str, version: &str) -> Option<Value> {
    let served: Vec<&Arc<Resource>> = of_version(resources, group, version).collect();
    let first = served.first()?;
    let mut entries = Vec::new();
    for resource in &served {
        let verbs: &[&str] = if group == REVIEWS {
            &["create"]
        } else {
            &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
        };
        entries.push(json!({"name": &*resource.plural, "singularName": resource.singular,
            "namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs,
            "shortNames": resource.short_names, "categories": resource.categories}));
        if resource.status {
            entries.push(json!({"name": format!("{}/status", resource.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": resource.kind, "verbs": ["get", "patch", "update"]}));
        }
    }
    let api_version = first.api_version();
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": entries}))
}

fn of_version<'a>(
    resources: &'a [Arc<Resource>],
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Arc<Resource>> {
    resources.iter().filter(move |resource| &*resource.group == group && &*resource.version == version)
}

fn base_path(resource: &Resource) -> String {
    if resource.group.is_empty() { "api/v1".to_owned() } else { format!("apis/{}", resource.api_version()) }
}

pub(super) fn open_api_index(resources: &[Arc<Resource>]) -> Value {
    let paths: BTreeMap<String, Value> = resources
        .iter()
        .map(|resource| {
            let path = base_path(resource);
            let address = format!("/openapi/v3/{path}?hash=simulated");
            (path, json!({"serverRelativeURL": address}))
        })
        .collect();
    json!({"paths": paths})
}

/// A custom kind's own schema, for `kubectl explain`; built-in kinds are open.
fn schema(resource: &Resource, kind: &Value) -> Value {
    let open = || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut schema = resource.schema.definition().cloned().unwrap_or_else(open);
    schema["x-kubernetes-group-version-kind"] = json!([kind]);
    if let Some(fields) = schema["properties"].as_object_mut() {
        for (name, form, description) in [
            ("apiVersion", "string", "The group and version of this kind."),
            ("kind", "string", "The kind of object."),
            ("metadata", "object", "Name, labels, annotations and what the server keeps of every object."),
        ] {
            fields.entry(name).or_insert_with(|| json!({"type": form, "description": description}));
        }
    }
    schema
}

/// kubectl wants to know that the server checks fields itself; what is in them it asks for `explain` only.
pub(super) fn open_api(resources: &[Arc<Resource>], group: &str, version: &str) -> Option<Value> {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    for resource in of_version(resources, group, version) {
        let kind = json!({"group": group, "version": version, "kind": resource.kind});
        let scope = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
        let path = format!("/{}/{scope}{}/{{name}}", base_path(resource), resource.plural);
        let operation = json!({"x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": kind,
            "parameters": [parameter("fieldValidation"), parameter("dryRun"), parameter("fieldManager")],
            "responses": {"200": {"description": "OK"}}});
        paths.insert(path, json!({"patch": operation}));
        let name = format!("simulated.{version}.{}", resource.kind);
        schemas.insert(name, schema(resource, &kind));
    }
    if paths.is_empty() {
        return None;
    }
    Some(json!({"openapi": "3.0.0", "info": {"title": "Simulated Kubernetes", "version": "v1.36.3"},
        "paths": paths, "components": {"schemas": schemas}}))
}

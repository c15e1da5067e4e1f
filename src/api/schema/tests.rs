//! Unknown fields, types, bounds and rules, against the schemas of the three kinds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::api::rules;

fn policy(spec: &Value) -> Value {
    json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance", "metadata": {"name": "p"}, "spec": spec})
}

/// What is said of a valid policy with these fields on top.
fn said(more: &Value) -> Vec<String> {
    let mut spec = json!({"repositorySelector": {"repository": "*"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    check(Kind::KopiaMaintenance, &policy(&spec)).iter().map(Problem::to_string).collect()
}

fn says(more: &Value, expected: &str) {
    let said = said(more);
    assert!(said.len() == 1 && said[0].starts_with(expected), "{said:?} instead of {expected}");
}

#[test]
fn a_valid_policy_has_no_problems() {
    assert_eq!(said(&json!({})), [""; 0]);
    assert_eq!(said(&json!({"affinity": {}, "tolerations": [], "suspend": null, "nodeSelector": null})), [""; 0]);
}

#[test]
fn unknown_fields_are_found_at_every_depth() {
    says(&json!({"schedul": "0 2 * * *"}), "spec.schedul: unknown field; did you mean schedule?");
    says(&json!({"Schedule": null}), "spec.Schedule: unknown field; did you mean schedule?");
    says(&json!({"tolerations": [{"keys": "a"}]}), "spec.tolerations[0].keys: unknown field; did you mean key?");
    says(
        &json!({"podSecurityContext": {"seccompProfile": {"type": "RuntimeDefault", "zzzzzzzz": 1}}}),
        "spec.podSecurityContext.seccompProfile.zzzzzzzz: unknown field",
    );
    let object = json!({"kind": "KopiaMaintenance", "metadata": {"name": "p", "label": {}}, "specs": {}, "spec": {}});
    let said: Vec<_> = check(Kind::KopiaMaintenance, &object).iter().map(|problem| problem.field.clone()).collect();
    assert_eq!(said, ["specs", "metadata.label", "spec"]);
}

#[test]
fn types_bounds_and_enumerations_are_checked() {
    says(&json!({"schedule": 5}), "spec.schedule: must be of type string, not integer; put it in quotes");
    says(&json!({"enabled": "yes"}), "spec.enabled: must be of type boolean, not string; write it without quotes");
    says(&json!({"priority": 101}), "spec.priority: 101 should be less than or equal to 100");
    says(&json!({"priority": -101}), "spec.priority: -101 should be greater than or equal to -100");
    says(&json!({"priority": 1.5}), "spec.priority: must be of type integer, not number");
    says(
        &json!({"failedJobsHistoryLimit": 4_294_967_296_i64}),
        "spec.failedJobsHistoryLimit: 4294967296 should be less",
    );
    says(&json!({"cycle": "auto"}), "spec.cycle: unsupported value \"auto\": supported values: \"Auto\"");
    says(&json!({"spread": ""}), "spec.spread: should be at least 1 chars long");
    says(&json!({"timeZone": "a".repeat(65)}), "spec.timeZone: Too long: may not be more than 64 characters");
    says(
        &json!({"resources": {"limits": {"cpu": 0.5}}}),
        "spec.resources.limits.cpu: must be of type integer or string, not number; put it in quotes",
    );
    says(&json!({"resources": {"limits": {"cpu": -1}}}), "spec.resources.limits.cpu: -1 should be greater than");
    says(&json!({"resources": {"limits": {"memory": "1GB"}}}), "spec.resources.limits.memory: \"1GB\" should match");
    says(&json!({"nodeSelector": {"a": true}}), "spec.nodeSelector.a: must be of type string, not boolean");
    says(&json!({"tolerations": [null]}), "spec.tolerations[0]: must be of type object, not null");
}

#[test]
fn rules_across_fields_are_checked_where_the_fields_are_right() {
    says(&json!({"repository": {"name": "a", "namespace": "b"}}), "spec: set either repositorySelector or repository");
    says(&json!({"repositorySelector": null}), "spec: set either repositorySelector or repository");
    says(
        &json!({"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}),
        "spec.resources: no request may be above the limit",
    );
    assert_eq!(said(&json!({"resources": {"requests": {"memory": "1024Mi"}, "limits": {"memory": "1Gi"}}})), [""; 0]);
    says(&json!({"podLabels": {"volsync.backube/source-namespace": "x"}}), "spec.podLabels: labels below");
}

#[test]
fn missing_fields_are_named() {
    let said =
        |spec: Value| check(Kind::KopiaMaintenance, &policy(&spec)).iter().map(Problem::to_string).collect::<Vec<_>>();
    assert_eq!(said(json!({"repository": {"name": "a"}})), ["spec.repository.namespace: Required value"]);
    assert_eq!(said(json!({"repositorySelector": {}})), ["spec.repositorySelector.repository: Required value"]);
    assert_eq!(said(Value::Null), ["spec: Required value"]);
    assert_eq!(check(Kind::KopiaMaintenance, &json!([])).len(), 1);
    assert_eq!(check(Kind::MemberCluster, &json!({"spec": {}}))[0].field, "metadata.name");
}

#[test]
fn every_rule_of_a_schema_is_known_and_every_known_rule_stands_in_one() {
    fn collect(schema: &Value, found: &mut Vec<(String, String)>) {
        match schema {
            Value::Object(fields) => {
                for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                    let text = |name: &str| rule[name].as_str().unwrap().to_owned();
                    found.push((text("rule"), text("message")));
                }
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for kind in Kind::ALL {
        collect(kind.schema(), &mut found);
    }
    let of = |rule: &&CrossRule| (rule.cel.to_owned(), rule.message.to_owned());
    let known: Vec<_> = rules::ALL.iter().map(of).collect();
    assert!(found.iter().all(|rule| known.contains(rule)));
    assert!(known.iter().all(|rule| found.contains(rule)));
    let messages: std::collections::BTreeSet<_> = rules::ALL.iter().map(|rule| rule.message).collect();
    assert_eq!(messages.len(), rules::ALL.len());
}

#[test]
fn every_pattern_of_a_schema_compiles_and_has_words() {
    fn collect(schema: &Value) {
        match schema {
            Value::Object(fields) => {
                if let Some(Value::String(pattern)) = fields.get("pattern") {
                    assert!(Regex::new(pattern).is_ok() && meaning(pattern).is_some(), "{pattern}");
                }
                fields.values().for_each(collect);
            }
            Value::Array(values) => values.iter().for_each(collect),
            _ => {}
        }
    }
    for kind in Kind::ALL {
        collect(kind.schema());
    }
}

#[test]
fn schedules_have_the_shape_that_the_api_server_takes() {
    let good = [
        "0 2 * * *",
        "*/30 * * * *",
        " @daily ",
        "H H(1-5) * * H",
        "0,30 5-7/2 ? jan-Mar SUN",
        "H/15 * * * 7",
        "00 02 1 1 0",
        "0\t2  *  * *",
    ];
    for schedule in good {
        assert_eq!(said(&json!({"schedule": schedule})), [""; 0], "{schedule}");
    }
    let bad = [
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "* * * *",
        "* * * * * *",
        "@every 1h",
        "@reboot",
        "TZ=UTC 0 2 * * *",
        "0 2 L * *",
        "0 2 15W * *",
        "0 2 * * 5#3",
        "1,,2 * * * *",
        "+5 * * * *",
        "*-5 * * * *",
        "0 2 * * foo",
        "@Daily",
    ];
    for schedule in bad {
        says(&json!({"schedule": schedule}), "spec.schedule: must be five cron fields");
    }
}

#[test]
fn versions_and_names_of_the_kinds_are_checked() {
    assert_eq!(check_version(Kind::KopiaMaintenance, "volsync.backube/v1alpha1"), None);
    assert_eq!(check_version(Kind::KopiaMaintenance, "hub.volsync.backube/v1alpha1"), None);
    assert!(check_version(Kind::MemberCluster, "volsync.backube/v1alpha1").is_some());
    let named = |name: &str| check(Kind::KopiaRepository, &json!({"metadata": {"name": name}, "spec": {}})).len();
    assert_eq!((named("kr-0123456789abcdef"), named("0123456789abcdef"), named("kr-x")), (0, 1, 1));
}

//! Small readings of Kubernetes objects that the simulated controllers share.

use jiff::Timestamp;
use serde_json::{Value, json};

pub const CRON_JOBS: (&str, &str) = ("batch", "cronjobs");
pub const JOBS: (&str, &str) = ("batch", "jobs");
pub const PODS: (&str, &str) = ("", "pods");

/// A field of metadata, or nothing.
pub fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

pub fn place(object: &Value) -> (&str, &str) {
    (meta(object, "namespace"), meta(object, "name"))
}

/// Is it one of this object's?
pub fn is_of(object: &Value, owner_uid: &str) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().any(|owner| owner["uid"] == owner_uid)
}

pub fn controller_reference(api_version: &str, kind: &str, owner: &Value) -> Value {
    json!([{"apiVersion": api_version, "kind": kind, "name": meta(owner, "name"), "uid": meta(owner, "uid"),
        "controller": true, "blockOwnerDeletion": true}])
}

/// As Kubernetes writes times.
pub fn text_of(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub fn time_of(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// `Complete` or `Failed`, once a Job has ended.
pub fn ending(job: &Value) -> Option<&str> {
    let conditions = job["status"]["conditions"].as_array();
    let mut holding = conditions.into_iter().flatten().filter(|condition| condition["status"] == "True");
    holding.find_map(|condition| condition["type"].as_str().filter(|kind| matches!(*kind, "Complete" | "Failed")))
}

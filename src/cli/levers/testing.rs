//! KopiaRepositories and MemberClusters as the tests of the levers want them.
#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use serde_json::{Value, json};

use super::decide::{Lever, Scope, decide};
use super::resolve::repositories;
use crate::api::kopia_repository::KopiaRepository;
use crate::api::member_cluster::MemberCluster;

/// When the tests take place.
pub fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// `kr-000000000000000N`.
pub fn name(number: u8) -> String {
    format!("kr-{number:016x}")
}

pub fn record(number: u8, spec: &Value, status: &Value) -> KopiaRepository {
    serde_json::from_value(json!({
        "apiVersion": "hub.volsync.backube/v1alpha1", "kind": "KopiaRepository",
        "metadata": {"name": name(number), "resourceVersion": "7"}, "spec": spec, "status": status,
    }))
    .unwrap()
}

/// One that east holds and west could.
pub fn held(number: u8, spec: &Value) -> KopiaRepository {
    let status = json!({
        "location": format!("s3://bucket-{number}/ at aws"), "policy": "nightly", "state": "Maintained",
        "grant": {"cluster": "east", "epoch": 1, "phase": "Active"}, "sourceCount": 2, "clusterCount": 2,
        "clusters": [{"cluster": "east", "sources": 1, "ready": 1}, {"cluster": "west", "sources": 1, "ready": 1}],
    });
    record(number, spec, &status)
}

pub fn member(name: &str, spec: &Value, reachable: &str) -> MemberCluster {
    let condition = json!({"type": "Reachable", "status": reachable, "reason": "Any", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    serde_json::from_value(json!({
        "apiVersion": "hub.volsync.backube/v1alpha1", "kind": "MemberCluster",
        "metadata": {"name": name}, "spec": spec, "status": {"conditions": [condition]},
    }))
    .unwrap()
}

/// What a lever comes to.
#[derive(Debug)]
pub struct Told {
    pub edits: Vec<(String, Value)>,
    pub thens: Vec<String>,
    pub notes: Vec<String>,
    pub questions: Vec<String>,
    pub refusal: Option<String>,
}

pub fn decided(lever: &Lever, scope: &Scope, objects: &[KopiaRepository], members: &[MemberCluster]) -> Told {
    let decision = decide(lever, (scope, repositories(objects)), members, now());
    let edits = decision.edits().map(|edit| (edit.name.clone(), edit.spec.clone())).collect();
    let thens = decision.steps.iter().map(|step| step.then.clone()).collect();
    let notes = decision.steps.iter().flat_map(|step| step.notes.clone()).collect();
    Told { edits, thens, notes, questions: decision.questions, refusal: decision.refusal }
}

/// Four hours after [`now`].
pub const FOUR: &str = "2026-03-01T16:00:00Z";

pub fn freeze_until(until: &str) -> Lever {
    Lever::Freeze { until: until.parse().unwrap(), reason: "store moves".to_owned() }
}

pub fn pin_to(member: &str) -> Lever {
    Lever::Pin { member: member.to_owned(), reason: None }
}

//! The status of a Pod as a kubelet writes it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};

use super::container::{Ended, Why};

/// Nothing suits the Pod; it has no node.
pub fn unschedulable(message: &str) -> Value {
    json!({"status": {"phase": "Pending", "conditions": [
        condition("PodScheduled", false, "Unschedulable", message)]}})
}

/// On the node, but its container can't be started yet.
pub fn waiting(container: &Container, reason: &str, message: &str) -> Value {
    let state = json!({"waiting": {"reason": reason, "message": message}});
    json!({"status": {
        "phase": "Pending", "hostIP": "127.0.0.1", "startTime": Timestamp::now(),
        "conditions": conditions(false, "ContainersNotReady"),
        "containerStatuses": [container_status(container, &state, false)]}})
}

pub fn running(container: &Container, started: Timestamp) -> Value {
    let state = json!({"running": {"startedAt": started}});
    json!({"status": {
        "phase": "Running", "hostIP": "127.0.0.1", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}],
        "startTime": started,
        "conditions": conditions(true, ""),
        "containerStatuses": [container_status(container, &state, true)]}})
}

pub fn ended(container: &Container, started: Timestamp, ended: &Ended) -> Value {
    let reason = match (ended.why, ended.code) {
        (Why::OutOfMemory, _) => "OOMKilled",
        (Why::CannotStart, _) => "StartError",
        (_, 0) => "Completed",
        _ => "Error",
    };
    let state = json!({"terminated": {
        "exitCode": ended.code, "reason": reason, "message": ended.message,
        "startedAt": started, "finishedAt": Timestamp::now(),
        "containerID": "stand-in://ended"}});
    let succeeded = ended.code == 0 && ended.why == Why::Itself;
    let mut status = json!({"status": {
        "phase": if succeeded { "Succeeded" } else { "Failed" },
        "conditions": conditions(false, if succeeded { "PodCompleted" } else { "PodFailed" }),
        "containerStatuses": [container_status(container, &state, false)]}});
    if ended.why == Why::Deadline {
        status["status"]["reason"] = json!("DeadlineExceeded");
        status["status"]["message"] = json!("Pod was active on the node longer than the specified deadline");
    }
    status
}

fn container_status(container: &Container, state: &Value, ready: bool) -> Value {
    let image = container.image.clone().unwrap_or_default();
    let id = if state.get("waiting").is_some() { "" } else { "stand-in://container" };
    json!({"name": container.name, "image": image, "imageID": image, "containerID": id,
        "ready": ready, "started": ready, "restartCount": 0, "state": state})
}

fn conditions(ready: bool, reason: &str) -> Value {
    json!([
        condition("PodScheduled", true, "", ""),
        condition("Initialized", true, "", ""),
        condition("ContainersReady", ready, reason, ""),
        condition("Ready", ready, reason, ""),
    ])
}

fn condition(kind: &str, holds: bool, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message,
        "lastTransitionTime": Timestamp::now()})
}

//! A termination message: whoever may write Pods in a member may have written it.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodStatus};
use serde_json::{Value, json};
use volsync_hub::outcome::{CONTAINER, Outcome, REASON_CHARACTERS, Role, RunReport, RunState, one_line};

use super::in_time;

/// Any text is a termination message.
pub fn termination(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let line = one_line(text, REASON_CHARACTERS);
    assert_reason(&line);
    assert_eq!(one_line(&line, REASON_CHARACTERS), line, "a line stays as it is");
    if let Ok(report) = in_time("reading a report", || RunReport::parse(text)) {
        check(&report);
        assert_ne!(report.outcome, Outcome::NotStarted, "what left a message has started");
        assert_eq!(RunReport::parse(&written(&report)).as_ref(), Ok(&report), "what is read can be written and read");
    }
    for role in [Role::Claim, Role::Run] {
        for code in [0, 1] {
            if let RunState::Ended(report) = of_pod(role, text, code) {
                check(&report);
                let foreign = if role == Role::Run { Outcome::Claimed } else { Outcome::Succeeded };
                assert_ne!(report.outcome, foreign, "no {role:?} ends like that");
            }
        }
    }
}

fn check(report: &RunReport) {
    assert_reason(&report.reason);
    let short = |text: &Option<String>, most: usize| {
        text.iter().all(|text| text.chars().count() <= most && !text.contains(char::is_control))
    };
    assert!(short(&report.owner, 512) && short(&report.previous_owner, 512), "{report:?}");
    assert!(short(&report.kopia, 64) && short(&report.unique_id, 128), "{report:?}");
    assert!(report.unique_id.iter().all(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric())), "{report:?}");
}

fn assert_reason(reason: &str) {
    assert!(reason.chars().count() <= REASON_CHARACTERS && !reason.contains(char::is_control), "{reason:?}");
    for address in reason.split("://").skip(1) {
        let host = address.split(['/', ' ']).next().unwrap_or_default();
        assert!(!host.contains('@'), "a user in {reason:?}");
    }
}

fn written(report: &RunReport) -> String {
    let seconds = |time: Option<Timestamp>| time.map(Timestamp::as_second);
    let mut fields = json!({
        "outcome": report.outcome.as_str(),
        "uniqueID": report.unique_id,
        "owner": report.owner,
        "previousOwner": report.previous_owner,
        "ownerWritten": report.owner_written,
        "epoch": report.epoch,
        "kopia": report.kopia,
        "seconds": report.seconds,
        "reclaimedBytes": report.reclaimed_bytes,
        "lastRunStart": seconds(report.last_run_start),
        "busyUntil": seconds(report.busy_until),
        "message": report.reason,
    });
    if let Value::Object(fields) = &mut fields {
        fields.retain(|_, value| !value.is_null());
    }
    fields.to_string()
}

fn of_pod(role: Role, message: &str, exit_code: i32) -> RunState {
    let ended = ContainerStateTerminated { exit_code, message: Some(message.to_owned()), ..Default::default() };
    let state = ContainerState { terminated: Some(ended), ..Default::default() };
    let container = ContainerStatus { name: CONTAINER.to_owned(), state: Some(state), ..Default::default() };
    let status = PodStatus { container_statuses: Some(vec![container]), ..Default::default() };
    let pod = Pod { status: Some(status), ..Pod::default() };
    RunReport::from_job(role, &Job::default(), Some(&pod), &[], Timestamp::UNIX_EPOCH)
}

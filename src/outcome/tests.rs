//! What is read from termination messages, Jobs and Pods.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const CREATED: &str = "2026-10-01T02:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn job(status: Value) -> Job {
    serde_json::from_value(json!({"metadata": {"name": "j", "creationTimestamp": CREATED}, "status": status})).unwrap()
}

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
}

fn ended_pod(terminated: Value) -> Pod {
    pod(json!({"phase": "Failed", "containerStatuses": [
        {"name": "istio-proxy", "image": "", "imageID": "", "ready": false, "restartCount": 0,
         "state": {"terminated": {"exitCode": 0, "message": "{\"outcome\":\"Succeeded\"}"}}},
        {"name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0,
         "state": {"terminated": terminated}}]}))
}

fn waiting_pod(reason: &str, message: &str) -> Pod {
    pod(json!({"phase": "Pending", "containerStatuses": [
        {"name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0,
         "state": {"waiting": {"reason": reason, "message": message}}}]}))
}

fn failed_job(reason: &str, failed: i32) -> Job {
    job(json!({"startTime": CREATED, "failed": failed, "conditions": [
        {"type": "Failed", "status": "True", "reason": reason, "lastTransitionTime": "2026-10-01T05:00:00Z"}]}))
}

fn warning(time: &str, reason: &str, message: &str) -> Event {
    serde_json::from_value(json!({"metadata": {"name": "e"}, "involvedObject": {}, "type": "Warning",
        "reason": reason, "message": message, "lastTimestamp": time}))
    .unwrap()
}

fn judged(role: Role, job: &Job, pod: Option<&Pod>) -> RunState {
    RunReport::from_job(role, job, pod, &[], before_limit("2026-10-01T02:04:59Z"))
}

fn before_limit(now: &str) -> Timestamp {
    at(now) - start_limit(1)
}

fn ended(role: Role, job: &Job, pod: Option<&Pod>) -> RunReport {
    match judged(role, job, pod) {
        RunState::Ended(report) => *report,
        state => panic!("not ended: {state:?}"),
    }
}

#[test]
fn each_outcome_is_read_from_its_own_word() {
    for outcome in Outcome::ALL {
        assert_eq!(outcome.as_str().parse(), Ok(outcome));
        assert!(!outcome.fix().is_empty());
    }
    assert_eq!("succeeded".parse::<Outcome>(), Err(NoReport));
}

#[test]
fn the_mover_script_ends_its_log_with_the_same_advice() {
    let script = include_str!("../../deploy/mover/maintain.sh");
    for outcome in Outcome::ALL.into_iter().filter(|it| *it != Outcome::NotStarted) {
        assert!(script.contains(&format!("echo '{}'", outcome.fix())), "{outcome}");
    }
}

#[test]
fn only_what_tells_on_a_secret_or_member_counts_against_it() {
    let counting: Vec<_> = Outcome::ALL.into_iter().filter(|it| it.counts_against_candidate()).collect();
    let expected = [Outcome::ConnectFailed, Outcome::AuthFailed, Outcome::ClockSkew, Outcome::NotStarted];
    assert_eq!(counting, expected);
}

#[test]
fn a_whole_message_is_read() {
    let report = RunReport::parse(
        r#"{"outcome":"Claimed","uniqueID":"ab12","owner":"volsync-hub-7@m1.h","previousOwner":"root@x","epoch":7,
            "kopia":"0.22.3","seconds":41,"reclaimedBytes":null,"lastRunStart":1790000000,"ownerWritten":true,"runBegan":true,
            "message":"read back twice","something":"newer"}"#,
    )
    .unwrap();
    assert_eq!(report.outcome, Outcome::Claimed);
    assert_eq!(report.unique_id.as_deref(), Some("ab12"));
    assert_eq!(report.owner.as_deref(), Some("volsync-hub-7@m1.h"));
    assert_eq!(report.previous_owner.as_deref(), Some("root@x"));
    assert_eq!((report.epoch, report.seconds, report.owner_written), (Some(7), Some(41), Some(true)));
    assert_eq!(report.run_began, Some(true));
    assert_eq!(report.last_run_start, Some(Timestamp::from_second(1_790_000_000).unwrap()));
    assert_eq!((report.busy_until, report.reclaimed_bytes), (None, None));
    assert_eq!(report.reason, "read back twice");
}

#[test]
fn a_hostile_message_is_bounded_and_shows_no_credentials() {
    let message = format!("get https://u:s3cr3t@h/p@q\u{1b}[2J\nnext {}", "x".repeat(2000));
    let line = json!({"outcome": "Failed", "message": message, "owner": "a\nb", "uniqueID": "../x", "kopia": "1\n2",
        "previousOwner": "", "lastRunStart": i64::MAX})
    .to_string();
    let report = RunReport::parse(&line).unwrap();
    assert_eq!(report.reason.chars().count(), REASON_CHARACTERS);
    assert!(report.reason.starts_with("get https://h/p@q [2J next xxx"), "{}", report.reason);
    assert_eq!((report.owner, report.previous_owner, report.unique_id), (None, None, None));
    assert_eq!((report.kopia.as_deref(), report.last_run_start), (Some("1 2"), None));
}

#[test]
fn what_is_no_report_is_refused() {
    let deep = "[".repeat(4000);
    let long = format!(r#"{{"outcome":"Failed","message":"{}"}}"#, "x".repeat(5000));
    for text in ["", "null", "{}", "Succeeded", r#"{"outcome":"NotStarted"}"#, r#"{"outcome":7}"#, &deep, &long] {
        assert_eq!(RunReport::parse(text), Err(NoReport), "{text:.40}");
    }
}

#[test]
fn a_line_that_is_cut_at_a_blank_ends_before_it() {
    assert_eq!(one_line("one two", 4), "one");
    assert_eq!(one_line("one two", 5), "one t");
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "\\PC*", control in ".*") {
        let _ = RunReport::parse(&text);
        let line = one_line(&format!("{text}{control}"), 40);
        prop_assert!(line.chars().count() <= 40 && !line.chars().any(char::is_control));
    }
}

#[test]
fn the_message_of_the_movers_own_container_counts() {
    let pod =
        ended_pod(json!({"exitCode": 1, "startedAt": "2026-10-01T02:01:00Z", "finishedAt": "2026-10-01T02:02:00Z",
        "message": "{\"outcome\":\"Busy\",\"busyUntil\":1790000000,\"message\":\"a full run\"}"}));
    let report = ended(Role::Run, &job(json!({})), Some(&pod));
    assert_eq!(report.outcome, Outcome::Busy);
    assert_eq!(report.busy_until, Some(Timestamp::from_second(1_790_000_000).unwrap()));
    assert_eq!(report.started, Some(at("2026-10-01T02:01:00Z")));
    assert_eq!(report.ended, Some(at("2026-10-01T02:02:00Z")));
}

#[test]
fn success_is_believed_only_with_code_0_and_from_its_own_role() {
    let message = r#"{"outcome":"Succeeded","message":"fine"}"#;
    let good = ended_pod(json!({"exitCode": 0, "message": message}));
    let bad = ended_pod(json!({"exitCode": 1, "message": message}));
    let job = job(json!({}));
    assert_eq!(ended(Role::Run, &job, Some(&good)).outcome, Outcome::Succeeded);
    assert_eq!(ended(Role::Run, &job, Some(&bad)).outcome, Outcome::Failed);
    assert_eq!(ended(Role::Claim, &job, Some(&good)).outcome, Outcome::Failed);
    let contrary = ended_pod(json!({"exitCode": 0, "message": r#"{"outcome":"Busy"}"#}));
    assert_eq!(ended(Role::Run, &job, Some(&contrary)).outcome, Outcome::Failed);
}

#[test]
fn a_run_stopped_from_outside_at_its_deadline_is_past_its_deadline() {
    let message = r#"{"outcome":"Failed","owner":"o@h","message":"stopped from outside"}"#;
    let pod = ended_pod(json!({"exitCode": 1, "message": message}));
    let report = ended(Role::Run, &failed_job("DeadlineExceeded", 1), Some(&pod));
    assert_eq!((report.outcome, report.owner.as_deref()), (Outcome::DeadlineExceeded, Some("o@h")));
    assert_eq!(ended(Role::Run, &job(json!({})), Some(&pod)).outcome, Outcome::Failed);
}

#[test]
fn without_a_message_the_status_tells() {
    let none = job(json!({}));
    let of = |terminated: Value| ended(Role::Claim, &none, Some(&ended_pod(terminated)));
    assert_eq!(of(json!({"exitCode": 137, "reason": "OOMKilled"})).outcome, Outcome::OutOfMemory);
    assert_eq!(of(json!({"exitCode": 128, "reason": "StartError", "message": "no bash"})).outcome, Outcome::NotStarted);
    assert_eq!(of(json!({"exitCode": 0})).outcome, Outcome::Claimed);
    let killed = of(json!({"exitCode": 137, "reason": "Error"}));
    assert_eq!(killed.outcome, Outcome::Failed);
    assert_eq!(killed.reason, "the container ended with code 137 and left no outcome");
    assert_eq!(killed.owner_written, None);
}

#[test]
fn a_pod_past_its_deadline_or_evicted_says_so() {
    let late = pod(json!({"phase": "Failed", "reason": "DeadlineExceeded", "containerStatuses": [
        {"name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0,
         "state": {"terminated": {"exitCode": 137}}}]}));
    assert_eq!(ended(Role::Run, &job(json!({})), Some(&late)).outcome, Outcome::DeadlineExceeded);
    let evicted = pod(json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk", "containerStatuses": [
        {"name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0,
         "state": {"terminated": {"exitCode": 137}}}]}));
    let report = ended(Role::Run, &job(json!({})), Some(&evicted));
    assert_eq!((report.outcome, report.reason.as_str()), (Outcome::Failed, "Evicted: low on disk"));
}

#[test]
fn a_job_whose_pod_is_gone_is_judged_by_its_condition() {
    let complete = job(json!({"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}));
    assert_eq!(ended(Role::Run, &complete, None).outcome, Outcome::Succeeded);
    let late = ended(Role::Run, &failed_job("DeadlineExceeded", 1), None);
    assert_eq!((late.outcome, late.ended), (Outcome::DeadlineExceeded, Some(at("2026-10-01T05:00:00Z"))));
    assert_eq!(ended(Role::Run, &failed_job("BackoffLimitExceeded", 1), None).outcome, Outcome::Failed);
    assert_eq!(ended(Role::Run, &failed_job("DeadlineExceeded", 0), None).outcome, Outcome::NotStarted);
}

#[test]
fn what_has_not_started_after_five_minutes_is_late_and_says_why() {
    let job = job(json!({"startTime": CREATED}));
    let pull = waiting_pod("ImagePullBackOff", "no such image");
    let creating = waiting_pod("ContainerCreating", "");
    let events = [
        warning("2026-10-01T02:01:00Z", "FailedMount", "no Secret"),
        warning("2026-10-01T02:00:30Z", "FailedScheduling", "no node"),
    ];
    let late = before_limit("2026-10-01T02:05:00Z");
    let reason = |pod: Option<&Pod>, events: &[Event]| match RunReport::from_job(Role::Claim, &job, pod, events, late) {
        RunState::Ended(report) if report.outcome == Outcome::NotStarted => report.reason,
        state => panic!("{state:?}"),
    };
    assert_eq!(judged(Role::Claim, &job, Some(&pull)), RunState::Waiting);
    assert_eq!(reason(Some(&pull), &[]), "ImagePullBackOff: no such image");
    let pulls = [
        warning("2026-10-01T02:03:00Z", "Failed", "Failed to pull image \"i\": not found"),
        warning("2026-10-01T02:04:00Z", "BackOff", "Back-off pulling image \"i\""),
        warning("2026-10-01T02:04:01Z", "Failed", "Error: ImagePullBackOff"),
    ];
    assert_eq!(reason(Some(&pull), &pulls), "ImagePullBackOff: Failed: Failed to pull image \"i\": not found");
    assert_eq!(reason(Some(&creating), &events), "FailedMount: no Secret");
    assert_eq!(reason(None, &[warning(CREATED, "FailedCreate", "exceeded quota")]), "FailedCreate: exceeded quota");
    assert_eq!(reason(None, &[]), "the Job has no Pod");
    let nowhere = pod(json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}));
    assert_eq!(reason(Some(&nowhere), &[]), "Unschedulable: 0/3 nodes");
}

#[test]
fn a_suspended_job_is_never_late() {
    let mut job = job(json!({}));
    job.spec = Some(k8s_openapi::api::batch::v1::JobSpec { suspend: Some(true), ..Default::default() });
    let state = RunReport::from_job(Role::Run, &job, None, &[], before_limit("2026-10-02T02:00:00Z"));
    assert_eq!(state, RunState::Waiting);
}

#[test]
fn a_container_that_runs_is_running_however_long_ago_it_began() {
    let running = pod(json!({"phase": "Running", "containerStatuses": [
        {"name": "mover", "image": "", "imageID": "", "ready": true, "restartCount": 0,
         "state": {"running": {"startedAt": CREATED}}}]}));
    let state =
        RunReport::from_job(Role::Run, &job(json!({})), Some(&running), &[], before_limit("2026-10-01T04:00:00Z"));
    assert_eq!(state, RunState::Running { since: Some(at(CREATED)) });
}

#[test]
fn a_job_that_the_api_server_refuses_is_told_of_by_its_cron_job_once_per_fire_time() {
    let events = [
        warning("2026-10-01T01:00:01Z", "FailedCreate", "Error creating job: yesterday's quota"),
        warning("2026-10-01T02:00:09Z", "FailedCreate", "Error creating job: exceeded quota: none"),
        warning("2026-10-01T02:00:30Z", "UnexpectedJob", "Saw a job that the controller did not create"),
    ];
    let report = RunReport::of_refused_job(&events, at(CREATED)).unwrap();
    let expected = "FailedCreate: Error creating job: exceeded quota: none";
    assert_eq!((report.outcome, report.reason.as_str()), (Outcome::NotStarted, expected));
    assert_eq!(RunReport::of_refused_job(&events[..1], at(CREATED)), None, "it was about an earlier fire time");
    assert_eq!(RunReport::of_refused_job(&[], at(CREATED)), None, "nobody has tried");
}

#[test]
fn an_event_that_came_again_counts_by_the_last_time() {
    let mut again = warning("2026-10-01T01:00:01Z", "FailedCreate", "again");
    again.series =
        Some(serde_json::from_value(json!({"count": 2, "lastObservedTime": "2026-10-01T02:00:01.0Z"})).unwrap());
    assert!(RunReport::of_refused_job(&[again], at(CREATED)).is_some());
}

#[test]
fn test_builds_wait_less_but_never_less_than_a_busy_machine_needs() {
    assert_eq!([1, 2, 60, 0].map(|factor| start_limit(factor).as_secs()), [300, 150, 30, 300]);
}

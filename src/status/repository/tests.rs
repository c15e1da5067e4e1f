//! Conditions, runs and times of a KopiaRepository, and that nothing is written without a reason.

#![allow(clippy::unwrap_used)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;

use super::*;
use crate::api::kopia_repository::KopiaRepositorySpec;
use crate::plan::testing::{Fixture, grant, now};

fn plan(spec: &serde_json::Value) -> RepositoryPlan {
    let mut policy = json!({"repositorySelector": {"repository": "*"}});
    policy.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut fixture = Fixture::new(&["a"]);
    fixture.source("a/app/db", "bucket").policy("default", &policy);
    fixture.only()
}

fn due() -> Due {
    let schedule: crate::schedule::Schedule = "0 2 * * *".parse().unwrap();
    let schedule = schedule.fix(&plan(&json!({})).key, None).unwrap();
    Due { schedule, zone: ZoneName::utc(), deadline_seconds: 10_800 }
}

fn hours(hours: i64) -> Timestamp {
    now() + SignedDuration::from_hours(hours)
}

fn object() -> KopiaRepository {
    let mut object = KopiaRepository::new("kr-0123456789abcdef", KopiaRepositorySpec::default());
    object.metadata.generation = Some(1);
    object.metadata.creation_timestamp = Some(Time(now()));
    object
}

fn running() -> Step {
    Step { run: true, ..Step::rest() }
}

fn run(outcome: &str, end: Timestamp) -> RunStatus {
    RunStatus {
        end: Some(Time(end)),
        cluster: "a".to_owned(),
        outcome: outcome.to_owned(),
        reason: Some(format!("because {outcome}")),
        ..RunStatus::default()
    }
}

/// What a status is made from, with values of its own.
struct Facts {
    plan: RepositoryPlan,
    step: Step,
    due: Option<Due>,
    runs: Vec<RunStatus>,
    unique_id: Option<&'static str>,
    contended: Option<&'static str>,
    now: Timestamp,
}

/// Writes the status into the object, as the ledger does.
fn write(object: &mut KopiaRepository, change: impl FnOnce(&mut Facts)) -> KopiaRepositoryStatus {
    let (plan, step, due) = (plan(&json!({})), running(), Some(due()));
    let mut facts = Facts { plan, step, due, runs: Vec::new(), unique_id: None, contended: None, now: now() };
    change(&mut facts);
    let input = Input {
        plan: &facts.plan,
        step: &facts.step,
        due: facts.due.as_ref(),
        runs: facts.runs,
        unique_id: facts.unique_id,
        merges: false,
        replaced: false,
        contended: facts.contended.map(str::to_owned),
        ready_again: None,
        now: facts.now,
    };
    let after = status(object, &input);
    object.status = Some(after.clone());
    after
}

fn condition<'a>(status: &'a KopiaRepositoryStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

/// Status and reason of a condition; empty where it is not there.
fn is(status: &KopiaRepositoryStatus, kind: &str) -> (String, String) {
    condition(status, kind).map(|condition| (condition.status.clone(), condition.reason.clone())).unwrap_or_default()
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn a_repository_that_may_run_is_maintained_and_the_passing_of_time_writes_nothing() {
    let mut object = object();
    let first = write(&mut object, |_| {});
    assert_eq!(is(&first, "Maintained"), pair("True", "Active"));
    assert_eq!(is(&first, "Overdue"), pair("False", "OnTime"));
    assert_eq!(first.next_run.as_ref().map(|time| time.0.to_string()).as_deref(), Some("2026-06-02T02:00:00Z"));
    assert_eq!((first.conditions.len(), first.state.as_deref()), (2, Some("Maintained")));
    assert_eq!(write(&mut object, |facts| facts.now = hours(20)), first);
}

#[test]
fn every_state_is_the_reason_of_the_condition() {
    let told = |spec: serde_json::Value| {
        let plan = plan(&spec);
        let status = write(&mut object(), |facts| {
            facts.plan = plan.clone();
            facts.due = None;
        });
        (status.state.clone().unwrap(), is(&status, "Maintained"), is(&status, "Overdue"))
    };
    let nothing_due = pair("False", "NothingDue");
    assert_eq!(
        told(json!({"suspend": true})),
        ("Suspended".to_owned(), pair("False", "Suspended"), nothing_due.clone())
    );
    assert_eq!(
        told(json!({"enabled": false})),
        ("Disabled".to_owned(), pair("False", "Disabled"), nothing_due.clone())
    );
    assert_eq!(told(json!({"schedule": "x"})), ("Held".to_owned(), pair("False", "InvalidPolicy"), nothing_due));
}

#[test]
fn what_it_waits_for_is_the_reason_while_it_waits() {
    let step = Step { note: Some(("NoMoverImage", "set spec.moverImage".to_owned())), ..Step::rest() };
    let status = write(&mut object(), |facts| facts.step = step.clone());
    assert_eq!(is(&status, "Maintained"), pair("False", "NoMoverImage"));
    assert_eq!(condition(&status, "Maintained").unwrap().message, "set spec.moverImage");
    let held = Step { note: Some(("HandoverPending", "b follows".to_owned())), ..Step::rest() };
    let status = write(&mut object(), |facts| facts.step = held.clone());
    assert_eq!((status.state.as_deref(), status.reason.as_deref()), (Some("Held"), Some("HandoverPending")));
}

#[test]
fn two_missed_fire_times_and_a_deadline_are_overdue_also_where_nothing_runs() {
    // From noon the fire times are 14 h and 38 h away; the deadline is 3 h.
    let at = |now: Timestamp, step: &Step| {
        let status = write(&mut object(), |facts| {
            facts.now = now;
            facts.step = step.clone();
        });
        is(&status, "Overdue")
    };
    assert_eq!(at(hours(40), &running()), pair("False", "OnTime"));
    assert_eq!(at(hours(41), &running()), pair("True", "MissedRuns"));
    assert_eq!(at(hours(41), &Step::rest()), pair("True", "MissedRuns"));
    let mut object = object();
    write(&mut object, |facts| facts.now = hours(41));
    let status = write(&mut object, |facts| {
        facts.now = hours(42);
        facts.runs = vec![run("Succeeded", hours(42))];
    });
    assert_eq!(is(&status, "Overdue"), pair("False", "OnTime"));
}

#[test]
fn the_last_five_runs_are_kept_latest_first_and_failures_in_a_row_are_counted() {
    let mut object = object();
    let outcomes = ["Succeeded", "Failed", "Succeeded", "ConnectFailed", "OutOfMemory", "DeadlineExceeded"];
    let runs = outcomes.iter().zip(1..).map(|(outcome, hour)| run(outcome, hours(hour))).collect();
    let status = write(&mut object, |facts| facts.runs = runs);
    let kept: Vec<_> = status.runs.iter().map(|run| run.outcome.as_str()).collect();
    assert_eq!(kept, ["DeadlineExceeded", "OutOfMemory", "ConnectFailed", "Succeeded", "Failed"]);
    assert_eq!((status.last_outcome.as_deref(), status.consecutive_failures), (Some("DeadlineExceeded"), Some(3)));
    assert_eq!(status.last_success, Some(Time(hours(3))));
    assert_eq!(is(&status, "Maintained"), pair("False", "RunFailed"));
    assert!(condition(&status, "Maintained").unwrap().message.contains("because DeadlineExceeded"));
    let status = write(&mut object, |facts| facts.runs = vec![run("Succeeded", hours(9))]);
    assert_eq!((is(&status, "Maintained"), status.consecutive_failures), (pair("True", "Active"), Some(0)));
}

#[test]
fn another_maintainer_makes_it_contended_until_a_run_is_let_through() {
    let mut object = object();
    assert_eq!(is(&write(&mut object, |_| {}), "Contended"), pair("", ""));
    let status = write(&mut object, |facts| facts.runs = vec![run("NotGranted", hours(1))]);
    assert_eq!(is(&status, "Contended"), pair("True", "ForeignOwner"));
    let status = write(&mut object, |facts| facts.runs = vec![run("Fenced", hours(2))]);
    assert_eq!(is(&status, "Contended"), pair("True", "NewerEpoch"));
    let status = write(&mut object, |facts| facts.runs = vec![run("Succeeded", hours(3))]);
    assert_eq!(is(&status, "Contended"), pair("False", "Resolved"));
    let command = "CronJob n/a in eu maintains it, too";
    let mut with = |outcome: &str, hour| {
        let status = write(&mut object, |facts| {
            facts.contended = Some(command);
            facts.runs = vec![run(outcome, hours(hour))];
        });
        (is(&status, "Contended"), condition(&status, "Contended").unwrap().message.clone())
    };
    assert_eq!(with("Succeeded", 4), (pair("True", "ForeignMaintainer"), command.to_owned()));
    let (met, message) = with("NotGranted", 5);
    assert_eq!(met, pair("True", "ForeignOwner"));
    assert!(message.ends_with(command), "{message}");
    for reason in ["ClaimRefused", "ClaimIneffective"] {
        let step = Step { note: Some((reason, "somebody else sets the owner".to_owned())), ..Step::rest() };
        assert_eq!(is(&write(&mut object, |facts| facts.step = step.clone()), "Contended"), pair("True", reason));
    }
}

#[test]
fn doubts_about_its_identity_are_told_and_taken_back() {
    let mut object = object();
    let mut doubtful = plan(&json!({}));
    doubtful.remarks = vec![("CredentialMismatch", "two passwords".to_owned())];
    let status = write(&mut object, |facts| facts.plan = doubtful.clone());
    assert_eq!(is(&status, "Ambiguous"), pair("True", "CredentialMismatch"));
    assert_eq!(is(&write(&mut object, |_| {}), "Ambiguous"), pair("False", "Resolved"));
}

#[test]
fn another_repository_at_the_same_place_is_replaced_until_that_one_was_maintained() {
    let mut object = object();
    assert_eq!(is(&write(&mut object, |facts| facts.unique_id = Some("aa")), "Replaced"), pair("", ""));
    let status = write(&mut object, |facts| facts.unique_id = Some("bb"));
    assert_eq!((is(&status, "Replaced"), status.unique_id.as_deref()), (pair("True", "UniqueIDChanged"), Some("bb")));
    assert_eq!(is(&write(&mut object, |_| {}), "Replaced"), pair("True", "UniqueIDChanged"));
    let status = write(&mut object, |facts| facts.runs = vec![run("Failed", hours(1))]);
    assert_eq!(is(&status, "Replaced"), pair("True", "UniqueIDChanged"));
    let status = write(&mut object, |facts| facts.runs = vec![run("Succeeded", hours(2))]);
    assert_eq!(is(&status, "Replaced"), pair("False", "Resolved"));
}

#[test]
fn a_status_stays_small_whatever_goes_in() {
    let mut object = object();
    let mut plan = plan(&json!({}));
    plan.location = "l".repeat(100_000);
    plan.shadowed = (0..100).map(|number| format!("{number}{}", "n".repeat(240)).as_str().into()).collect();
    let share = |number: u32| crate::plan::result::Share {
        member: format!("{number}{}", "n".repeat(240)).as_str().into(),
        sources: number,
        ready: 1,
    };
    plan.clusters = (0..100).map(share).collect();
    let status = write(&mut object, |facts| facts.plan = plan.clone());
    let bytes = serde_json::to_vec(&object).unwrap().len();
    assert!(bytes <= size::OBJECT_MAX, "{bytes} bytes");
    assert_eq!((status.cluster_count, status.source_count), (Some(100), Some(4950)));
    assert!(!status.clusters.is_empty() || !status.shadowed_policies.is_empty());
    assert_eq!(write(&mut object, |facts| facts.plan = plan.clone()), status);
}

fn run_at(start: i64, outcome: &str) -> RunStatus {
    let time = |seconds| Timestamp::from_second(seconds).ok().map(Time);
    RunStatus {
        start: time(start),
        end: time(start + 300),
        cluster: "m".to_owned(),
        epoch: Some(1),
        outcome: outcome.to_owned(),
        reason: None,
        reclaimed_bytes: None,
    }
}

fn outcomes(status: &KopiaRepositoryStatus) -> Vec<(&str, i64)> {
    let start = |run: &RunStatus| run.start.as_ref().map_or(0, |time| time.0.as_second());
    status.runs.iter().map(|run| (run.outcome.as_str(), start(run))).collect()
}

#[test]
fn a_late_run_that_starts_after_all_counts_once() {
    let mut status = KopiaRepositoryStatus::default();
    record_runs(&mut status, &[run_at(0, "Failed"), run_at(1000, "NotStarted")]);
    assert_eq!(status.consecutive_failures, Some(2));
    record_runs(&mut status, &[run_at(1000, "AuthFailed")]);
    assert_eq!(outcomes(&status), [("AuthFailed", 1000), ("Failed", 0)]);
    assert_eq!((status.consecutive_failures, status.last_outcome.as_deref()), (Some(2), Some("AuthFailed")));
    record_runs(&mut status, &[run_at(2000, "NotStarted"), run_at(2000, "Succeeded")]);
    assert_eq!(status.consecutive_failures, Some(0));
    assert_eq!(outcomes(&status), [("Succeeded", 2000), ("AuthFailed", 1000), ("Failed", 0)]);
}

#[test]
fn a_run_that_is_asked_for_is_shown_as_pending_and_as_resolved_once_nobody_asks() {
    let mut object = object();
    let nothing = write(&mut object, |_| {});
    assert_eq!(condition(&nothing, "RunNowPending"), None);
    object.spec.run_now = Some("tonight".to_owned());
    let asked = write(&mut object, |_| {});
    assert_eq!(is(&asked, "RunNowPending"), pair("True", "NotMaintained"));
    assert_eq!(asked.run_now_seen, None, "it was not acted upon");
    assert_eq!((&asked.state, &asked.next_run, &asked.grant), (&nothing.state, &nothing.next_run, &nothing.grant));
    assert_eq!(write(&mut object, |facts| facts.now = hours(1)), asked, "and is said once");
    object.spec.run_now = None;
    assert_eq!(is(&write(&mut object, |_| {}), "RunNowPending"), pair("False", "Resolved"));
}

#[test]
fn a_run_under_way_outlives_a_hand_over_for_the_former_holder_may_go_on_as_what_it_was() {
    let mut object = object();
    let ledger = |change: LedgerChange| Step::write(change);
    let steps = [
        LedgerChange::Grant(grant("a", 1), Vec::new()),
        LedgerChange::Manual { drain: Vec::new(), under_way: Some("tonight".into()), seen: None },
        LedgerChange::Grant(grant("b", 2), Vec::new()),
        LedgerChange::Grant(grant("a", 1), Vec::new()),
    ];
    for change in steps {
        write(&mut object, |facts| facts.step = ledger(change.clone()));
    }
    let under_way = |object: &KopiaRepository| object.status.as_ref().unwrap().run_now_under_way.clone();
    assert_eq!(under_way(&object).as_deref(), Some("tonight"));
    let over = LedgerChange::Manual { drain: Vec::new(), under_way: None, seen: Some("tonight".into()) };
    write(&mut object, |facts| facts.step = ledger(over.clone()));
    assert_eq!(under_way(&object), None);
}

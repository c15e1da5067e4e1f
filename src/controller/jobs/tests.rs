//! What counts as late, whom the hub asks why, and what is recorded of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::*;
use crate::controller::member_state::MemberState;
use crate::member::event::{ObjectCondition, Termination};

const ID: &str = "0123456789abcdef";
const NAMESPACE: &str = "volsync-system";
const LIMIT: SignedDuration = SignedDuration::from_mins(5);

fn at(text: &str) -> Timestamp {
    format!("2026-10-01T{text}Z").parse().unwrap()
}

fn id() -> RepositoryId {
    ID.parse().unwrap()
}

fn member() -> MemberName {
    "m".into()
}

const HUB: &str = "hub";

fn marks(role: &str) -> BTreeMap<Box<str>, Box<str>> {
    [(labels::REPOSITORY, ID), (labels::ROLE, role)].map(|(key, value)| (key.into(), value.into())).into()
}

fn job(role: &str, started: &str) -> JobRecord {
    JobRecord { uid: "job-uid".into(), labels: marks(role), started: Some(at(started)), ..JobRecord::default() }
}

fn complete(job: &JobRecord, end: &str) -> JobRecord {
    let kind: Box<str> = "Complete".into();
    let condition =
        ObjectCondition { kind, status: "True".into(), reason: "".into(), message: "".into(), since: Some(at(end)) };
    JobRecord { conditions: vec![condition], succeeded: 1, completed: Some(at(end)), ..job.clone() }
}

fn state(job: JobRecord) -> MemberState {
    MemberState { jobs: [(ObjectName::new(NAMESPACE, "j"), job)].into(), ..MemberState::default() }
}

fn look<'a>(now: &str, told: &'a Told) -> Look<'a> {
    Look { now: at(now), limit: LIMIT, told }
}

fn event(reason: &str, message: &str, time: &str) -> core::Event {
    serde_json::from_value(json!({"metadata": {}, "involvedObject": {}, "type": "Warning", "reason": reason,
        "message": message, "lastTimestamp": at(time)}))
    .unwrap()
}

fn recorded(run: &EndedRun) -> KopiaRepositoryStatus {
    KopiaRepositoryStatus { runs: vec![run.run.clone()], ..KopiaRepositoryStatus::default() }
}

fn cron_job(last_schedule: Option<&str>) -> OwnedObject {
    let cron = CronState {
        schedule: "0 * * * *".into(),
        time_zone: Some("UTC".into()),
        suspend: false,
        active_deadline_seconds: None,
        last_schedule: last_schedule.map(at),
        active: Vec::new(),
    };
    OwnedObject {
        uid: "cron-uid".into(),
        resource_version: "1".into(),
        generation: 1,
        applied_hash: None,
        labels: marks("run"),
        annotations: BTreeMap::new(),
        deleting: false,
        other_managers: Vec::new(),
        cron: Some(cron),
    }
}

fn hourly() -> Due {
    due("0 * * * *")
}

fn due(schedule: &str) -> Due {
    let schedule: crate::schedule::Schedule = schedule.parse().unwrap();
    let key = crate::names::RepositoryKey::of_tuple(["s3", "bucket"]);
    Due { schedule: schedule.fix(&key, None).unwrap(), zone: "UTC".parse().unwrap(), deadline_seconds: 600 }
}

#[test]
fn a_cron_job_is_let_go_once_it_has_nothing_to_catch_up_and_one_that_always_has_at_once() {
    let mut cron = cron_job(Some("01:00:00")).cron.unwrap();
    assert_eq!(missed_until(&cron, &hourly(), at("02:00:30")), None, "it goes on anyway");
    cron.suspend = true;
    assert_eq!(missed_until(&cron, &hourly(), at("01:30:00")), None, "nothing was missed");
    assert_eq!(missed_until(&cron, &hourly(), at("02:00:30")), Some(at("02:30:00")));
    assert_eq!(missed_until(&cron, &hourly(), at("02:30:01")), None, "too old to be caught up");
    assert_eq!(missed_until(&cron, &due("* * * * *"), at("02:00:30")), None);
    assert_eq!(missed_until(&cron, &due("*/2 * * * *"), at("02:00:30")), Some(at("02:01:00")));
}

#[test]
fn jobs_of_another_hub_are_neither_this_hubs_claim_nor_its_runs() {
    let id: RepositoryId = ID.parse().unwrap();
    let grant: Grant = crate::plan::testing::grant("m", 1);
    let mut claimed = complete(&job("claim", "02:00:00"), "02:01:00");
    let name = ObjectName::new(NAMESPACE, claim_name(id, 1));
    let nothing = Told::new();
    let of = |job: &JobRecord| {
        let state = MemberState { jobs: [(name.clone(), job.clone())].into(), ..MemberState::default() };
        claim(&Here::whole(&state), (HUB, NAMESPACE), id, &grant, look("02:30:00", &nothing)).0
    };
    claimed.labels.insert(labels::HUB.into(), HUB.into());
    assert_ne!(of(&claimed), ClaimJob::Absent);
    claimed.labels.insert(labels::HUB.into(), "other".into());
    assert_eq!(of(&claimed), ClaimJob::Absent);
    let mut run = complete(&job("run", "02:00:00"), "02:01:00");
    let ended = |run: &JobRecord| {
        let ledger = KopiaRepositoryStatus::default();
        runs(&Here::whole(&state(run.clone())), (&member(), HUB), &ledger, look("02:30:00", &nothing)).len()
    };
    assert_eq!(ended(&run), 1);
    run.labels.insert(labels::HUB.into(), "other".into());
    assert_eq!(ended(&run), 0);
}

#[test]
fn a_run_without_a_container_is_asked_about_after_five_minutes_and_recorded_with_the_reason() {
    let (state, nothing, ledger) = (state(job("run", "02:00:00")), Told::new(), KopiaRepositoryStatus::default());
    let late = |now| late((&Here::whole(&state), &member()), None, &ledger, look(now, &nothing));
    assert_eq!(late("02:04:59"), []);
    let asked = late("02:05:00");
    assert_eq!((&*asked[0].subject, &*asked[0].about, asked.len()), ("job-uid", "job-uid", 1));
    let told: Told = [("job-uid".into(), vec![event("FailedCreate", "exceeded quota", "02:00:01")])].into();
    let runs = runs(&Here::whole(&state), (&member(), HUB), &ledger, look("02:07:00", &told));
    let [run] = runs.as_slice() else { panic!("{runs:?}") };
    assert_eq!((run.run.outcome.as_str(), run.recorded), ("NotStarted", false));
    assert_eq!(run.run.reason.as_deref(), Some("FailedCreate: exceeded quota"));
    assert_eq!(run.run.end, Some(Time(at("02:05:00"))), "whenever it is looked at");
    assert!(run.job.is_none(), "it may start yet, so nobody removes it");
}

#[test]
fn the_pod_is_asked_where_there_is_one() {
    let mut state = state(job("run", "02:00:00"));
    let pod =
        PodRecord { uid: "pod-uid".into(), job: Some("j".into()), phase: "Pending".into(), ..PodRecord::default() };
    state.pods.insert(ObjectName::new(NAMESPACE, "p"), pod);
    let (nothing, ledger) = (Told::new(), KopiaRepositoryStatus::default());
    let asked = late((&Here::whole(&state), &member()), None, &ledger, look("02:05:00", &nothing));
    assert_eq!((&*asked[0].subject, &*asked[0].about), ("job-uid", "pod-uid"));
}

#[test]
fn what_was_late_is_recorded_once_and_again_when_it_has_ended_otherwise() {
    let late_job = job("run", "02:00:00");
    let (nothing, empty) = (Told::new(), KopiaRepositoryStatus::default());
    let first = runs(&Here::whole(&state(late_job.clone())), (&member(), HUB), &empty, look("02:05:00", &nothing));
    let ledger = recorded(&first[0]);
    let standing = state(late_job.clone());
    let again = runs(&Here::whole(&standing), (&member(), HUB), &ledger, look("02:30:00", &nothing));
    assert!(again[0].recorded);
    assert_eq!(
        late((&Here::whole(&standing), &member()), None, &ledger, look("02:30:00", &nothing)),
        [],
        "nobody asks again"
    );
    let ended = runs(
        &Here::whole(&state(complete(&late_job, "02:40:00"))),
        (&member(), HUB),
        &ledger,
        look("02:50:00", &nothing),
    );
    assert_eq!((ended[0].run.outcome.as_str(), ended[0].recorded), ("Succeeded", false));
    assert!(ended[0].job.is_some());
}

#[test]
fn a_fire_time_without_a_job_is_told_by_the_events_of_the_cron_job() {
    let (cron_job, due, ledger) = (cron_job(Some("01:00:00")), hourly(), KopiaRepositoryStatus::default());
    let (state, nothing) = (MemberState::default(), Told::new());
    let asked = |now| late((&Here::whole(&state), &member()), Some((&cron_job, &due)), &ledger, look(now, &nothing));
    assert_eq!(asked("02:04:59"), []);
    assert_eq!(&*asked("02:05:00")[0].about, "cron-uid");
    let told = |time| Told::from([("cron-uid".into(), vec![event("FailedCreate", "exceeded quota", time)])]);
    let refused = |told: &Told| refused(&member(), &cron_job, &due, &ledger, look("02:06:00", told));
    let run = refused(&told("02:00:07")).unwrap();
    assert_eq!((run.run.start, run.run.end), (Some(Time(at("02:00:00"))), Some(Time(at("02:05:00")))));
    assert_eq!(
        (run.run.outcome.as_str(), run.run.reason.as_deref()),
        ("NotStarted", Some("FailedCreate: exceeded quota"))
    );
    assert!(refused(&told("01:00:07")).is_none(), "that was about the fire time before");
    assert!(refused(&nothing).is_none());
}

#[test]
fn a_cron_job_that_made_its_job_is_suspended_or_still_runs_one_misses_nothing() {
    let (due, nothing) = (hourly(), Told::new());
    let missed = |object: &OwnedObject| missed(object.cron.as_ref().unwrap(), &due, look("02:30:00", &nothing));
    assert_eq!(missed(&cron_job(None)), Some(at("02:00:00")));
    assert_eq!(missed(&cron_job(Some("02:00:00"))), None);
    let with = |change: fn(&mut CronState)| {
        let mut object = cron_job(None);
        object.cron.as_mut().map(change);
        object
    };
    assert_eq!(missed(&with(|cron| cron.suspend = true)), None);
    assert_eq!(missed(&with(|cron| cron.active = vec!["j".into()])), None);
    assert_eq!(missed(&with(|cron| cron.schedule = "30 * * * *".into())), None, "another schedule than is wanted");
}

#[test]
fn the_next_look_is_when_the_next_thing_should_have_started() {
    let (due, nothing) = (hourly(), Told::new());
    let next = |state: &MemberState, now| {
        let cron_job = cron_job(Some("02:00:00"));
        next_look(&Here::whole(state), Some((&cron_job, &due)), look(now, &nothing))
    };
    assert_eq!(next(&MemberState::default(), "02:01:00"), Some(at("03:05:00")));
    assert_eq!(next(&state(job("run", "02:00:10")), "02:01:00"), Some(at("02:05:10")));
    assert_eq!(next(&state(job("run", "02:00:10")), "02:06:00"), Some(at("03:05:00")), "that look is over");
}

#[test]
fn a_claim_without_a_container_says_why_and_owns_nothing() {
    let name = ObjectName::new(NAMESPACE, claim_name(id(), 3));
    let state = MemberState { jobs: [(name, job("claim", "02:00:00"))].into(), ..MemberState::default() };
    let phase = crate::plan::fleet::Phase::Claiming;
    let grant = Grant { phase, ..crate::plan::testing::grant(member().as_str(), 3) };
    let nothing = Told::new();
    assert_eq!(
        claim(&Here::whole(&state), ("hub", NAMESPACE), id(), &grant, look("02:04:00", &nothing)).0,
        ClaimJob::Running
    );
    let told: Told = [("job-uid".into(), vec![event("FailedCreate", "exceeded quota", "02:00:01")])].into();
    let (ClaimJob::Ended(report), Some(_)) =
        claim(&Here::whole(&state), ("hub", NAMESPACE), id(), &grant, look("02:05:00", &told))
    else {
        panic!("it is late");
    };
    assert_eq!((report.outcome, report.reason.as_str()), (Outcome::NotStarted, "FailedCreate: exceeded quota"));
    assert!(!report.over && !report.may_be_owner);
}

#[test]
fn a_run_that_can_not_start_hides_none_that_ends_soon_after() {
    let mut state = state(job("run", "02:00:00"));
    let termination = Termination {
        exit_code: 128,
        reason: "StartError".into(),
        message: "no such file".into(),
        signal: None,
        started: None,
        finished: Some(at("02:00:02")),
    };
    let pod = PodRecord {
        uid: "pod-uid".into(),
        job: Some("j".into()),
        phase: "Failed".into(),
        termination: Some(termination),
        ..PodRecord::default()
    };
    state.pods.insert(ObjectName::new(NAMESPACE, "p"), pod);
    let nothing = Told::new();
    let first =
        runs(&Here::whole(&state), (&member(), HUB), &KopiaRepositoryStatus::default(), look("02:00:05", &nothing));
    let [first] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!(first.run.outcome, "NotStarted");
    assert!(first.run.end.as_ref().is_some_and(|end| end.0 <= at("02:00:05")), "{:?}", first.run.end);
    let second = complete(&job("run", "02:01:00"), "02:01:20");
    state.jobs.insert(ObjectName::new(NAMESPACE, "k"), second);
    let both = runs(&Here::whole(&state), (&member(), HUB), &recorded(first), look("02:02:00", &nothing));
    assert_eq!(both.iter().map(|run| run.recorded).collect::<Vec<_>>(), [true, false], "{both:?}");
}

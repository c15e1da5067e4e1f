//! What the Jobs of a repository tell: how its claim stands, and runs that the ledger does not have yet.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::member_state::MemberState;
use crate::api::kopia_repository::{KopiaRepositoryStatus, RunStatus};
use crate::grant::{ClaimJob, ClaimReport};
use crate::labels;
use crate::member::Guard;
use crate::member::event::{JobRecord, PodRecord};
use crate::names::{MemberName, ObjectName, RepositoryId};
use crate::outcome::{CONTAINER, Outcome, Role, RunReport, RunState};
use crate::plan::fleet::Grant;
use crate::render::cron_job::claim_name;

/// A Job whose Pod has not been seen is judged without it after this long. Seconds.
const POD_GRACE_SECONDS: i64 = 10;

/// A run of this repository that has ended.
#[derive(Clone, Debug)]
pub struct EndedRun {
    /// The ledger has it.
    pub recorded: bool,
    pub name: ObjectName,
    pub guard: Guard,
    pub report: RunReport,
    pub run: RunStatus,
}

/// The claim Job of the grant's epoch, and what it takes to remove it.
pub fn claim(
    state: &MemberState,
    namespace: &str,
    id: RepositoryId,
    grant: &Grant,
    now: Timestamp,
) -> (ClaimJob, Option<(ObjectName, Guard)>) {
    let name = ObjectName::new(namespace, claim_name(id, grant.epoch));
    let Some(job) = state.jobs.get(&name) else { return (ClaimJob::Absent, None) };
    let guard = Guard { uid: job.uid.clone(), resource_version: job.resource_version.clone() };
    let standing = Some((name.clone(), guard));
    let Some(report) = report(state, &name, job, Role::Claim, now) else { return (ClaimJob::Running, standing) };
    let attempt = grant.since.map(attempt);
    let is_this_attempt = job.annotations.get(labels::ATTEMPT).map(|it| &**it) == attempt.as_deref();
    let over = job.is_terminal();
    // A claim that went well is one whatever attempt it belongs to: the epoch is the same.
    if report.outcome != Outcome::Claimed && !is_this_attempt && over {
        return (ClaimJob::Stale, standing);
    }
    let ended = ClaimReport {
        outcome: report.outcome,
        secret: job.annotations.get(labels::SOURCE).and_then(|secret| without_cluster(secret)),
        last_run_start: report.last_run_start,
        may_be_owner: report.owner_written != Some(false),
        over,
        at: report.ended.or(job.completed).unwrap_or(now),
        unique_id: report.unique_id.clone(),
    };
    (ClaimJob::Ended(ended), standing)
}

/// Tells one attempt at claiming an epoch from the next.
pub fn attempt(since: Timestamp) -> String {
    since.as_second().to_string()
}

/// `cluster/namespace/name` without the cluster.
fn without_cluster(source: &str) -> Option<ObjectName> {
    let mut parts = source.splitn(3, '/').skip(1);
    Some(ObjectName::new(parts.next()?, parts.next()?))
}

/// Ended runs in this member, oldest first.
pub fn ended_runs(
    state: &MemberState,
    member: &MemberName,
    id: RepositoryId,
    ledger: &KopiaRepositoryStatus,
    now: Timestamp,
) -> Vec<EndedRun> {
    let id = id.to_string();
    let mut runs: Vec<_> = state
        .jobs
        .iter()
        .filter(|(_, job)| job.labels.get(labels::REPOSITORY).is_some_and(|label| **label == *id))
        .filter(|(_, job)| job.labels.get(labels::ROLE).is_some_and(|role| &**role == Role::Run.as_str()))
        .filter(|(_, job)| job.is_terminal())
        .filter_map(|(name, job)| ended(state, member, name, job, now))
        .map(|ended| EndedRun { recorded: is_recorded(ledger, &ended.run), ..ended })
        .collect();
    runs.sort_by_key(|run| run.report.ended);
    runs
}

fn ended(
    state: &MemberState,
    member: &MemberName,
    name: &ObjectName,
    job: &JobRecord,
    now: Timestamp,
) -> Option<EndedRun> {
    let mut report = report(state, name, job, Role::Run, now)?;
    report.ended = Some(job_end(job).or(report.ended).unwrap_or(now));
    let run = RunStatus {
        start: job.started.or(job.created).map(Time),
        end: report.ended.map(Time),
        cluster: member.to_string(),
        epoch: job.annotations.get(labels::EPOCH).and_then(|epoch| epoch.parse().ok()),
        outcome: report.outcome.as_str().to_owned(),
        reason: Some(report.reason.clone()).filter(|reason| !reason.is_empty()),
        reclaimed_bytes: report.reclaimed_bytes.and_then(|bytes| i64::try_from(bytes).ok()),
    };
    let guard = Guard { uid: job.uid.clone(), resource_version: job.resource_version.clone() };
    Some(EndedRun { recorded: false, name: name.clone(), guard, report, run })
}

/// The ledger keeps the last runs only, so what ended before the newest of them in that member counts as recorded.
fn is_recorded(ledger: &KopiaRepositoryStatus, run: &RunStatus) -> bool {
    let time = |time: &Option<Time>| time.as_ref().map(|time| time.0.as_second());
    let newest = ledger.runs.iter().filter(|old| old.cluster == run.cluster).filter_map(|old| time(&old.end)).max();
    let known = ledger.runs.iter().any(|old| old.cluster == run.cluster && time(&old.start) == time(&run.start));
    known || newest.is_some_and(|newest| time(&run.end).is_some_and(|end| end < newest))
}

/// Is there a Job that has ended and whose Pod may still tell more?
pub fn pod_missing(state: &MemberState, id: RepositoryId, now: Timestamp) -> bool {
    let id = id.to_string();
    let mut jobs = state.jobs.iter();
    jobs.any(|(name, job)| {
        job.labels.get(labels::REPOSITORY).is_some_and(|it| **it == *id) && awaits_pod(pod_of(state, name), job, now)
    })
}

fn pod_of<'a>(state: &'a MemberState, job: &ObjectName) -> Option<&'a PodRecord> {
    state.pods.values().filter(|pod| pod.job.as_deref() == Some(&*job.name)).max_by_key(|pod| pod.created)
}

fn awaits_pod(pod: Option<&PodRecord>, job: &JobRecord, now: Timestamp) -> bool {
    let fresh = job_end(job).is_some_and(|end| now.as_second() - end.as_second() <= POD_GRACE_SECONDS);
    job.is_terminal() && fresh && pod.is_none_or(|pod| pod.termination.is_none())
}

/// How a Job ended; none while it goes on, or while its Pod, which knows more, may still be seen.
fn report(state: &MemberState, name: &ObjectName, job: &JobRecord, role: Role, now: Timestamp) -> Option<RunReport> {
    let pod = pod_of(state, name);
    if awaits_pod(pod, job, now) {
        return None;
    }
    match RunReport::from_job(role, &wire_job(job), pod.map(wire_pod).as_ref(), &[], now) {
        RunState::Ended(report) => Some(*report),
        RunState::Waiting | RunState::Running { .. } => None,
    }
}

fn job_end(job: &JobRecord) -> Option<Timestamp> {
    let failed = || job.conditions.iter().filter(|it| &*it.status == "True").find_map(|it| it.since);
    job.completed.or_else(failed)
}

// The observers keep slim records; outcomes are judged on the wire types, which say what each field means.

fn wire_job(job: &JobRecord) -> batch::Job {
    let conditions = job.conditions.iter().map(|it| batch::JobCondition {
        type_: it.kind.to_string(),
        status: it.status.to_string(),
        reason: Some(it.reason.to_string()),
        message: Some(it.message.to_string()),
        last_transition_time: it.since.map(Time),
        last_probe_time: None,
    });
    batch::Job {
        metadata: ObjectMeta { creation_timestamp: job.created.map(Time), ..ObjectMeta::default() },
        spec: Some(batch::JobSpec {
            active_deadline_seconds: job.active_deadline_seconds,
            suspend: Some(job.suspended),
            ..batch::JobSpec::default()
        }),
        status: Some(batch::JobStatus {
            conditions: Some(conditions.collect()),
            active: Some(job.active),
            succeeded: Some(job.succeeded),
            failed: Some(job.failed),
            start_time: job.started.map(Time),
            completion_time: job.completed.map(Time),
            ..batch::JobStatus::default()
        }),
    }
}

fn wire_pod(pod: &PodRecord) -> core::Pod {
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let terminated = pod.termination.as_ref().map(|it| core::ContainerStateTerminated {
        exit_code: it.exit_code,
        signal: it.signal,
        reason: Some(it.reason.to_string()),
        message: Some(it.message.to_string()),
        started_at: it.started.map(Time),
        finished_at: it.finished.map(Time),
        container_id: None,
    });
    let waiting = pod.waiting.as_ref().map(|(reason, message)| core::ContainerStateWaiting {
        reason: Some(reason.to_string()),
        message: Some(message.to_string()),
    });
    let goes_on = terminated.is_none() && waiting.is_none() && &*pod.phase == "Running";
    let running = goes_on.then(|| core::ContainerStateRunning { started_at: pod.started.map(Time) });
    let unschedulable = pod.unschedulable.as_ref().map(|message| core::PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message.to_string()),
        ..core::PodCondition::default()
    });
    core::Pod {
        metadata: ObjectMeta { creation_timestamp: pod.created.map(Time), ..ObjectMeta::default() },
        spec: None,
        status: Some(core::PodStatus {
            phase: Some(pod.phase.to_string()),
            reason: text(&pod.reason),
            message: text(&pod.message),
            start_time: pod.started.map(Time),
            conditions: unschedulable.map(|condition| vec![condition]),
            container_statuses: Some(vec![core::ContainerStatus {
                name: CONTAINER.to_owned(),
                state: Some(core::ContainerState { running, terminated, waiting }),
                ..core::ContainerStatus::default()
            }]),
            ..core::PodStatus::default()
        }),
    }
}

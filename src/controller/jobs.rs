//! What the Jobs of a repository tell: how its claim stands, and runs that the ledger does not have yet.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::here::Here;
use crate::api::kopia_repository::{KopiaRepositoryStatus, RunStatus};
use crate::grant::{ClaimJob, ClaimReport, Recorded};
use crate::labels;
use crate::member::Guard;
use crate::member::event::{CronState, JobRecord, OwnedObject, PodRecord};
use crate::names::{MemberName, ObjectName, RepositoryId};
use crate::outcome::{CONTAINER, Outcome, Role, RunReport, RunState};
use crate::plan::fleet::Grant;
use crate::render::cron_job::{claim_name, starting_deadline};
use crate::render::former_of;
use crate::status::repository::Due;

/// A Job whose Pod has not been seen is judged without it after this long. Seconds.
const POD_GRACE_SECONDS: i64 = 10;
/// API servers forget events after an hour: what was missed longer ago can't be told apart from what was not due.
const EVENTS_LAST: SignedDuration = SignedDuration::from_hours(1);

/// Events about what has not started in time, by the uid of the Job or CronJob. Empty in the first look at a
/// repository: only what is late is asked about.
pub type Told = BTreeMap<Box<str>, Vec<core::Event>>;

/// How Jobs are looked at.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub now: Timestamp,
    /// See [`crate::outcome::start_limit`].
    pub limit: SignedDuration,
    pub told: &'a Told,
}

impl Look<'_> {
    fn late_before(&self) -> Timestamp {
        self.now.checked_sub(self.limit).unwrap_or(Timestamp::MIN)
    }
}

/// Something that has not started in time, and nobody has been asked why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    pub member: MemberName,
    /// The Job or CronJob, as in [`Told`].
    pub subject: Box<str>,
    /// Whose events tell: the Job's Pod where there is one, else the subject.
    pub about: Box<str>,
}

/// A run of this repository that has ended, or has not started in time.
#[derive(Clone, Debug)]
pub struct EndedRun {
    /// The ledger has it.
    pub recorded: bool,
    /// The Job to remove once it is recorded; none where it goes on, or there is none.
    pub job: Option<(ObjectName, Guard)>,
    pub report: RunReport,
    pub run: RunStatus,
    /// `traceparent` of the look at the repository that pushed its CronJob.
    pub pushed_by: Option<Box<str>>,
}

/// The claim Job of the grant's epoch, and what it takes to remove it.
pub fn claim(
    here: &Here<'_>,
    (hub_id, namespace): (&str, &str),
    id: RepositoryId,
    grant: &Grant,
    look: Look<'_>,
) -> (ClaimJob, Option<(ObjectName, Guard)>) {
    let name = ObjectName::new(namespace, claim_name(id, grant.epoch));
    // Another hub's Job of that name, which is in the way of ours, claimed for that hub.
    let Some(job) = here.state.jobs.get(&name).filter(|job| !is_strangers(job, hub_id)) else {
        return (ClaimJob::Absent, None);
    };
    let guard = Guard { uid: job.uid.clone(), resource_version: job.resource_version.clone() };
    let standing = Some((name.clone(), guard));
    let Some(report) = report(here, &name, job, Role::Claim, look) else { return (ClaimJob::Running, standing) };
    let attempt = grant.since.map(attempt);
    let is_this_attempt = job.annotations.get(labels::ATTEMPT).map(|it| &**it) == attempt.as_deref();
    let over = job.is_terminal();
    // Its container has ended, and the Job is about to.
    if !over && !matches!(report.outcome, Outcome::Claimed | Outcome::NotStarted) {
        return (ClaimJob::Running, standing);
    }
    // A claim that went well is one whatever attempt it belongs to: the epoch is the same.
    if report.outcome != Outcome::Claimed && !is_this_attempt && over {
        return (ClaimJob::Stale, standing);
    }
    let ended = ClaimReport {
        outcome: report.outcome,
        secret: job.annotations.get(labels::SOURCE).and_then(|secret| without_cluster(secret)),
        last_run_start: report.last_run_start,
        run_began: report.run_began != Some(false),
        may_be_owner: report.outcome != Outcome::NotStarted && report.owner_written != Some(false),
        over,
        at: report.ended.or(job.completed).unwrap_or(look.now),
        unique_id: report.unique_id,
        recorded: recorded(report.owner.as_deref(), hub_id),
        found: recorded(report.previous_owner.as_deref(), hub_id),
        reason: report.reason,
    };
    (ClaimJob::Ended(ended), standing)
}

pub fn recorded(owner: Option<&str>, hub_id: &str) -> Recorded {
    match owner {
        None => Recorded::Unknown,
        Some(owner) => former_of(owner, hub_id).map_or(Recorded::Foreign, Recorded::Ours),
    }
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

fn is_run(job: &JobRecord) -> bool {
    job.labels.get(labels::ROLE).is_some_and(|role| &**role == Role::Run.as_str())
}

fn is_strangers(job: &JobRecord, hub_id: &str) -> bool {
    job.labels.get(labels::HUB).is_some_and(|hub| **hub != *hub_id)
}

/// Runs of this hub in this member that have ended or have not started in time, oldest first.
pub fn runs(
    here: &Here<'_>,
    (member, hub_id): (&MemberName, &str),
    ledger: &KopiaRepositoryStatus,
    look: Look<'_>,
) -> Vec<EndedRun> {
    let mut runs: Vec<_> = here
        .jobs
        .iter()
        .filter(|(_, job)| is_run(job) && !is_strangers(job, hub_id))
        .filter_map(|(name, job)| ended(here, member, name, job, look))
        .map(|ended| EndedRun { recorded: is_recorded(ledger, &ended.run), ..ended })
        .collect();
    runs.sort_by_key(|run| run.report.ended);
    runs
}

fn ended(here: &Here<'_>, member: &MemberName, name: &ObjectName, job: &JobRecord, look: Look<'_>) -> Option<EndedRun> {
    let mut report = report(here, name, job, Role::Run, look)?;
    // A container that has ended is not the end of its Job: that one counts.
    if !job.is_terminal() && report.outcome != Outcome::NotStarted {
        return None;
    }
    let start = job.started.or(job.created);
    // One that can't start is known at once: an end still to come would hide what ends before it.
    let late_at = start.filter(|_| !job.is_terminal()).and_then(|start| start.checked_add(look.limit).ok());
    let late_at = late_at.filter(|late_at| *late_at <= look.now);
    report.ended = Some(late_at.or_else(|| job_end(job)).or(report.ended).unwrap_or(look.now));
    let epoch = job.annotations.get(labels::EPOCH).and_then(|epoch| epoch.parse().ok());
    let guard = Guard { uid: job.uid.clone(), resource_version: job.resource_version.clone() };
    Some(EndedRun {
        recorded: false,
        job: job.is_terminal().then(|| (name.clone(), guard)),
        run: status_of(&report, member, start, epoch),
        report,
        pushed_by: job.annotations.get(labels::TRACEPARENT).cloned(),
    })
}

fn status_of(report: &RunReport, member: &MemberName, start: Option<Timestamp>, epoch: Option<i64>) -> RunStatus {
    RunStatus {
        start: start.map(Time),
        end: report.ended.map(Time),
        cluster: member.to_string(),
        epoch,
        outcome: report.outcome.as_str().to_owned(),
        reason: Some(report.reason.clone()).filter(|reason| !reason.is_empty()),
        reclaimed_bytes: report.reclaimed_bytes.and_then(|bytes| i64::try_from(bytes).ok()),
    }
}

/// The ledger keeps the last runs only, so what ended before the newest of them in that member counts as recorded.
/// One that had not started in time may have ended otherwise since.
fn is_recorded(ledger: &KopiaRepositoryStatus, run: &RunStatus) -> bool {
    let time = |time: &Option<Time>| time.as_ref().map(|time| time.0.as_second());
    if let Some(old) = ledger.runs.iter().find(|old| old.is_same_run(run)) {
        return !old.had_not_started() || run.had_not_started();
    }
    let newest = ledger.runs.iter().filter(|old| old.cluster == run.cluster).filter_map(|old| time(&old.end)).max();
    newest.is_some_and(|newest| time(&run.end).is_some_and(|end| end < newest))
}

/// The newest fire time that a CronJob has let pass without a Job, long enough ago to count.
fn missed(cron: &CronState, due: &Due, look: Look<'_>) -> Option<Timestamp> {
    if cron.suspend || *cron.schedule != *due.schedule.as_str() || !cron.active.is_empty() {
        return None;
    }
    last_fire(cron, due, EVENTS_LAST, look.late_before())
}

/// The newest fire time since the last Job that is not after `end`, nor older than `window` then.
fn last_fire(cron: &CronState, due: &Due, window: SignedDuration, end: Timestamp) -> Option<Timestamp> {
    let oldest = end.checked_sub(window).ok()?;
    let after = cron.last_schedule.map_or(oldest, |last| last.max(oldest));
    due.schedule.upcoming(after, &due.zone.time_zone()).take_while(|at| *at <= end).last()
}

/// Until when a suspended CronJob, let go, would start a run at once: it catches up the last fire time that is not older
/// than its starting deadline. None where the next one comes before that: there would always be one.
pub fn missed_until(cron: &CronState, due: &Due, now: Timestamp) -> Option<Timestamp> {
    if !cron.suspend {
        return None;
    }
    let window = SignedDuration::from_secs(starting_deadline(&due.schedule).into());
    let last = last_fire(cron, due, window, now)?;
    let until = last.checked_add(window).ok()?;
    let next = due.schedule.next_after(now, &due.zone.time_zone());
    next.is_none_or(|next| until < next).then_some(until)
}

/// A fire time of this repository's CronJob for which there is no Job because none could be made.
pub fn refused(
    member: &MemberName,
    cron_job: &OwnedObject,
    due: &Due,
    ledger: &KopiaRepositoryStatus,
    look: Look<'_>,
) -> Option<EndedRun> {
    let fire_time = missed(cron_job.cron.as_ref()?, due, look)?;
    let mut report = RunReport::of_refused_job(look.told.get(&cron_job.uid)?, fire_time)?;
    report.ended = fire_time.checked_add(look.limit).ok();
    let epoch = cron_job.annotations.get(labels::EPOCH).and_then(|epoch| epoch.parse().ok());
    let run = status_of(&report, member, Some(fire_time), epoch);
    Some(EndedRun { recorded: is_recorded(ledger, &run), job: None, report, run, pushed_by: None })
}

/// What nobody has been asked about yet: Jobs without a container, a CronJob without a Job.
pub fn late(
    (here, member): (&Here<'_>, &MemberName),
    cron_job: Option<(&OwnedObject, &Due)>,
    ledger: &KopiaRepositoryStatus,
    look: Look<'_>,
) -> Vec<Late> {
    let ask =
        |subject: &str, about: &str| Late { member: member.clone(), subject: subject.into(), about: about.into() };
    let jobs = here.jobs.iter().filter(|(_, job)| !job.is_terminal());
    let late = jobs.filter_map(|(name, job)| {
        let role = if is_run(job) { Role::Run } else { Role::Claim };
        let report = report(here, name, job, role, look).filter(|it| it.outcome == Outcome::NotStarted)?;
        let run = status_of(&report, member, job.started.or(job.created), None);
        let pod = here.pod_of(name).map_or(&job.uid, |pod| &pod.uid);
        (role == Role::Claim || !is_recorded(ledger, &run)).then(|| ask(&job.uid, pod))
    });
    let refused = cron_job.and_then(|(object, due)| {
        let fire_time = missed(object.cron.as_ref()?, due, look)?;
        let run = status_of(&RunReport::plain(Outcome::NotStarted, ""), member, Some(fire_time), None);
        (!is_recorded(ledger, &run)).then(|| ask(&object.uid, &object.uid))
    });
    late.chain(refused).filter(|late| !look.told.contains_key(&late.subject)).collect()
}

/// When the next thing that should have started by then is looked at.
pub fn next_look(here: &Here<'_>, cron_job: Option<(&OwnedObject, &Due)>, look: Look<'_>) -> Option<Timestamp> {
    let jobs = here.jobs.iter().filter(|(_, job)| !job.is_terminal());
    let starts = jobs.filter_map(|(_, job)| job.started.or(job.created));
    let fire_time = cron_job.and_then(|(object, due)| {
        let cron = object.cron.as_ref().filter(|cron| !cron.suspend)?;
        let after = cron.last_schedule.map_or(look.late_before(), |last| last.max(look.late_before()));
        due.schedule.next_after(after, &due.zone.time_zone())
    });
    let looks = starts.chain(fire_time).filter_map(|due| due.checked_add(look.limit).ok());
    looks.filter(|at| *at > look.now).min()
}

/// Is there a Job that has ended and whose Pod may still tell more?
pub fn pod_missing(here: &Here<'_>, now: Timestamp) -> bool {
    here.jobs.iter().any(|(name, job)| awaits_pod(here.pod_of(name), job, now))
}

pub(super) fn awaits_pod(pod: Option<&PodRecord>, job: &JobRecord, now: Timestamp) -> bool {
    let fresh = job_end(job).is_some_and(|end| now.as_second() - end.as_second() <= POD_GRACE_SECONDS);
    job.is_terminal() && fresh && pod.is_none_or(|pod| pod.termination.is_none())
}

/// How a Job ended; none while it goes on, or while its Pod, which knows more, may still be seen.
fn report(here: &Here<'_>, name: &ObjectName, job: &JobRecord, role: Role, look: Look<'_>) -> Option<RunReport> {
    let pod = here.pod_of(name);
    if awaits_pod(pod, job, look.now) {
        return None;
    }
    let events = look.told.get(&job.uid).map(Vec::as_slice).unwrap_or_default();
    match RunReport::from_job(role, &wire_job(job), pod.map(wire_pod).as_ref(), events, look.late_before()) {
        RunState::Ended(report) => Some(*report),
        RunState::Waiting | RunState::Running { .. } => None,
    }
}

pub(super) fn job_end(job: &JobRecord) -> Option<Timestamp> {
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

#[cfg(test)]
mod tests;

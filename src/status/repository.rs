//! The status of a KopiaRepository: the ledger's record, and what people see of it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{Wanted, cut, update};
use super::{history, size};
use crate::api::kopia_repository::{
    CLUSTERS_MAX, ClusterCount, DrainStatus, FormerStatus, GrantPhase, GrantStatus, KopiaRepository,
    KopiaRepositorySpec, KopiaRepositoryStatus, NOT_READY_MAX, NotReadyStatus, RUNS_MAX, RunStatus, SHADOWED_MAX,
};
use crate::grant::{LedgerChange, Step};
use crate::names::{MemberName, RepositoryId};
use crate::plan::fleet::{Drain, Former, Grant, NotReady, Phase};
use crate::plan::foreign;
use crate::plan::result::{Push, RepositoryPlan, State};
use crate::schedule::{FixedSchedule, ZoneName};
use crate::time::whole_seconds;

/// As long as the longest name in an object store. Bytes.
const LOCATION_MAX: usize = 1024;

/// What the status is made from, besides what it was before.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    pub plan: &'a RepositoryPlan,
    pub step: &'a Step,
    /// The winner's schedule for this repository, also where nothing is pushed; none where nothing is due.
    pub due: Option<&'a Due>,
    /// Ended runs that the ledger does not have yet, oldest first.
    pub runs: Vec<RunStatus>,
    /// As the latest Job reported it.
    pub unique_id: Option<&'a str>,
    /// A new grant is for other ids too, that had grants of their own.
    pub merges: bool,
    /// Another repository stands there than at the time of the claim.
    pub replaced: bool,
    /// Who else maintains it, and what ends that.
    pub contended: Option<String>,
    /// A claim of this (member, namespace/name) went well: it is ready again.
    pub ready_again: Option<(&'a MemberName, String)>,
    pub now: Timestamp,
}

/// When the winner wants a repository to be maintained.
#[derive(Clone, Debug)]
pub struct Due {
    pub schedule: FixedSchedule,
    pub zone: ZoneName,
    pub deadline_seconds: u32,
}

/// The whole new status. Equal to the old one where nothing that is worth a write has changed.
pub fn status(object: &KopiaRepository, input: &Input<'_>) -> KopiaRepositoryStatus {
    let nothing = KopiaRepositoryStatus::default();
    let before = object.status.as_ref().unwrap_or(&nothing);
    let plan = input.plan;
    let mut status = KopiaRepositoryStatus {
        observed_generation: object.metadata.generation,
        backend: Some(plan.backend.to_owned()),
        location: Some(cut(plan.location.clone(), LOCATION_MAX)),
        key: Some(plan.key.to_string()),
        state: Some(state_word(shown_state(input)).to_owned()),
        reason: plan.reason.map(str::to_owned).or_else(|| input.step.note.as_ref().map(|note| note.0.to_owned())),
        policy: plan.policy.as_ref().map(ToString::to_string),
        shadowed_policies: plan.shadowed.iter().take(SHADOWED_MAX).map(ToString::to_string).collect(),
        cluster_count: Some(count(plan.clusters.len())),
        source_count: Some(plan.clusters.iter().map(|share| i64::from(share.sources)).sum()),
        clusters: plan.clusters.iter().take(CLUSTERS_MAX).map(cluster_count).collect(),
        ..before.clone()
    };
    let recorded = !input.runs.is_empty();
    record_runs(&mut status, &input.runs);
    if let Some(id) = input.unique_id {
        status.unique_id = Some(id.to_owned());
    }
    change_grant(&mut status, &object.spec, before, input);
    status.next_run = next_run(before, input, recorded);
    let conditions = conditions(object, before, &status, input);
    status.conditions = update(&before.conditions, conditions, object.metadata.generation, input.now);
    // What stands was made to fit, and says which generation of the levers it fitted.
    if status != *before {
        size::fit(&mut status, &object.spec);
    }
    status
}

/// A grant that should move and can't yet is held, whatever the plan would have.
fn shown_state(input: &Input<'_>) -> State {
    match &input.step.note {
        Some(("HandoverPending" | "Recovering", _)) => State::Held,
        _ => input.plan.state,
    }
}

fn cluster_count(share: &crate::plan::result::Share) -> ClusterCount {
    ClusterCount { cluster: share.member.to_string(), sources: share.sources.into(), ready: share.ready.into() }
}

fn record_runs(status: &mut KopiaRepositoryStatus, runs: &[RunStatus]) {
    for run in runs {
        // One that was late and has started after all takes the place of its first record, and counts once.
        let before = status.runs.len();
        status.runs.retain(|old| !(old.had_not_started() && old.is_same_run(run)));
        if status.runs.len() < before {
            status.consecutive_failures = status.consecutive_failures.map(|count| count.saturating_sub(1));
        }
        status.last_outcome = Some(run.outcome.clone());
        if run.outcome == "Succeeded" {
            status.last_success.clone_from(&run.end);
            status.consecutive_failures = Some(0);
        } else {
            status.consecutive_failures = Some(status.consecutive_failures.unwrap_or(0).saturating_add(1));
        }
        status.runs.insert(0, run.clone());
    }
    status.runs.truncate(RUNS_MAX);
}

fn change_grant(
    status: &mut KopiaRepositoryStatus,
    spec: &KopiaRepositorySpec,
    before: &KopiaRepositoryStatus,
    input: &Input<'_>,
) {
    if let Some((member, secret)) = &input.ready_again {
        status.not_ready.retain(|entry| entry.cluster != member.as_str() || &entry.secret != secret);
    }
    match &input.step.ledger {
        Some(LedgerChange::Grant(grant, drain)) => {
            let automatic = match &input.plan.push {
                Push::Objects(assignment) => assignment.settings.failover.automatic,
                Push::Keep | Push::Remove => false,
            };
            let before =
                history::Before { spec, status: before, automatic, merges: input.merges, replaced: input.replaced };
            history::record(&mut status.history, before, grant, input.now);
            status.grant = Some(grant_status(grant, input.plan.id));
            status.merged = None;
            status.drain = drain.iter().map(drain_status).collect();
        }
        Some(LedgerChange::Manual { drain, under_way, seen }) => {
            status.drain = drain.iter().map(drain_status).collect();
            status.run_now_under_way = under_way.as_deref().map(str::to_owned);
            if let Some(token) = seen {
                status.run_now_seen = Some(token.to_string());
            }
        }
        Some(LedgerChange::NotReady(entry)) => note_not_ready(status, entry),
        None => {}
    }
}

pub fn note_not_ready(status: &mut KopiaRepositoryStatus, entry: &NotReady) {
    let secret = entry.secret.to_string();
    status.not_ready.retain(|old| old.cluster != entry.cluster.as_str() || old.secret != secret);
    status.not_ready.insert(
        0,
        NotReadyStatus {
            cluster: entry.cluster.to_string(),
            secret,
            until: Time(whole_seconds(entry.until)),
            reason: entry.reason.to_string(),
            attempts: Some(entry.attempts.into()),
        },
    );
    status.not_ready.truncate(NOT_READY_MAX);
}

fn grant_status(grant: &Grant, own: RepositoryId) -> GrantStatus {
    let time = |time: Timestamp| Time(whole_seconds(time));
    GrantStatus {
        cluster: grant.cluster.to_string(),
        // Of no meaning here: whoever writes the ledger says who it is.
        hub: None,
        cluster_uid: grant.cluster_uid.as_deref().map(str::to_owned),
        epoch: epoch(grant.epoch),
        phase: match grant.phase {
            Phase::Claiming => GrantPhase::Claiming,
            Phase::Draining => GrantPhase::Draining,
            Phase::Active => GrantPhase::Active,
            Phase::Resuming => GrantPhase::Resuming,
            Phase::Recovering => GrantPhase::Recovering,
        },
        since: grant.since.map(time),
        until: grant.until.map(time),
        deadline_seconds: Some(grant.deadline_seconds.into()),
        highest_epoch: Some(grant.highest_epoch).filter(|epoch| *epoch > grant.epoch).map(epoch),
        from: grant.from.as_ref().map(|from| former_status(from, own)),
    }
}

/// As the record of `own` has it.
pub(super) fn former_status(former: &Former, own: RepositoryId) -> FormerStatus {
    FormerStatus {
        cluster: former.cluster.to_string(),
        epoch: epoch(former.epoch),
        repository: (former.id != own).then(|| former.id.to_string()),
    }
}

fn epoch(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

fn drain_status(drain: &Drain) -> DrainStatus {
    DrainStatus {
        cluster: drain.cluster.to_string(),
        deadline_seconds: drain.deadline_seconds.into(),
        ids: drain.ids.iter().map(ToString::to_string).collect(),
        clear_since: drain.clear_since.map(|time| Time(whole_seconds(time))),
    }
}

/// The next fire time. One that has passed stays until its run has been recorded, so that the mere passing of time
/// is no reason to write.
fn next_run(before: &KopiaRepositoryStatus, input: &Input<'_>, recorded: bool) -> Option<Time> {
    // What is held goes on as it is, by the CronJob that stands in the holder.
    let active = before.grant.as_ref().is_some_and(|grant| grant.phase == GrantPhase::Active);
    let goes_on = may_run(input.step) || (active && shown_state(input) == State::Held);
    let due = input.due.filter(|_| goes_on)?;
    let (schedule, zone) = (&due.schedule, due.zone.time_zone());
    let is_fire_time = |time: &Time| {
        time.0
            .checked_sub(SignedDuration::from_secs(1))
            .is_ok_and(|sooner| schedule.next_after(sooner, &zone) == Some(time.0))
    };
    match &before.next_run {
        Some(next) if !recorded && is_fire_time(next) => Some(next.clone()),
        _ => schedule.next_after(input.now, &zone).map(Time),
    }
}

/// From when on a repository that is not maintained counts as overdue: two missed fire times and a deadline after
/// the last success, or after it was first seen.
pub fn overdue_at(object: &KopiaRepository, due: Option<&Due>) -> Option<Timestamp> {
    let Due { schedule, zone, deadline_seconds } = due?;
    let status = object.status.as_ref();
    let last = status.and_then(|status| status.last_success.as_ref()).map(|time| time.0);
    let since = last.or_else(|| object.metadata.creation_timestamp.as_ref().map(|time| time.0))?;
    let zone = zone.time_zone();
    let second = schedule.next_after(schedule.next_after(since, &zone)?, &zone)?;
    second.checked_add(SignedDuration::from_secs((*deadline_seconds).into())).ok()
}

fn conditions(
    object: &KopiaRepository,
    before: &KopiaRepositoryStatus,
    status: &KopiaRepositoryStatus,
    input: &Input<'_>,
) -> Vec<Wanted> {
    let mut wanted = vec![maintained(status, input)];
    let object = KopiaRepository { status: Some(status.clone()), ..object.clone() };
    wanted.push(match overdue_at(&object, input.due) {
        Some(at) if input.now >= at => {
            Wanted::new("Overdue", true, "MissedRuns", "no run has succeeded for two fire times and a deadline")
        }
        Some(_) => Wanted::new("Overdue", false, "OnTime", "no more than one run is missing"),
        None => Wanted::new("Overdue", false, "NothingDue", "nothing is scheduled"),
    });
    // What is only of interest where it is so, is only there where it is or was so.
    let mut rare = |kind: &'static str, is: Option<(&'static str, String)>| match is {
        Some((reason, message)) => wanted.push(Wanted::new(kind, true, reason, message)),
        None if before.conditions.iter().any(|old| old.type_ == kind) => {
            wanted.push(Wanted::new(kind, false, "Resolved", "no longer so"));
        }
        None => {}
    };
    rare("Contended", contended(status, input));
    let asked = object.spec.run_now.as_ref().filter(|asked| status.run_now_seen.as_ref() != Some(*asked));
    rare(
        "RunNowPending",
        asked.map(|_| match &input.step.note {
            Some((reason @ "RunByHand", message)) => (*reason, message.clone()),
            _ => ("NotMaintained", "it starts once the repository is maintained and its CronJob may run".to_owned()),
        }),
    );
    rare("Ambiguous", input.plan.remarks.first().cloned());
    let replaced = input.unique_id.is_some_and(|id| before.unique_id.as_deref().is_some_and(|old| old != id));
    let was = before.conditions.iter().any(|old| old.type_ == "Replaced" && old.status == "True");
    // Once the new one has been maintained it is as good as any.
    let settled = input.runs.iter().any(|run| run.outcome == "Succeeded");
    rare(
        "Replaced",
        (replaced || was && !settled).then(|| {
            (
                "UniqueIDChanged",
                "another repository stands at this place than before: it was wiped and made anew".to_owned(),
            )
        }),
    );
    wanted
}

fn maintained(status: &KopiaRepositoryStatus, input: &Input<'_>) -> Wanted {
    let plan = input.plan;
    if plan.state != State::Maintained {
        let reason = plan.reason.unwrap_or(state_word(plan.state));
        return Wanted::new("Maintained", false, reason, plan.message.clone());
    }
    if let Some((reason, message)) = &input.step.note {
        return Wanted::new("Maintained", false, reason, message.clone());
    }
    if !may_run(input.step) {
        return Wanted::new("Maintained", false, "Claiming", "the claim is being prepared");
    }
    let failures = status.consecutive_failures.unwrap_or(0);
    if failures > 0 {
        let last = status.runs.first().and_then(|run| run.reason.clone()).unwrap_or_default();
        return Wanted::new("Maintained", false, "RunFailed", format!("the last run did not succeed: {last}"));
    }
    let cluster = plan.cluster.as_ref().map(ToString::to_string).unwrap_or_default();
    let policy = plan.policy.as_ref().map(ToString::to_string).unwrap_or_default();
    Wanted::new("Maintained", true, "Active", format!("{cluster} maintains it under policy {policy}"))
}

/// Its CronJob may run, from this write on or since an earlier one.
fn may_run(step: &Step) -> bool {
    step.run || matches!(&step.ledger, Some(LedgerChange::Grant(grant, _)) if grant.phase == Phase::Active)
}

/// The state as a condition's reason.
pub fn state_word(state: State) -> &'static str {
    match state {
        State::Maintained => "Maintained",
        State::Suspended => "Suspended",
        State::Disabled => "Disabled",
        State::NoPolicy => "NoPolicy",
        State::NoCandidate => "NoCandidate",
        State::Held => "Held",
        State::Frozen => "Frozen",
    }
}

/// Someone else maintains it, or tries to. What a Job met says more than that there is someone; who it may be stands
/// behind it.
fn contended(status: &KopiaRepositoryStatus, input: &Input<'_>) -> Option<(&'static str, String)> {
    match (met(status, input.step), &input.contended) {
        (Some((reason, message)), Some(who)) => Some((reason, format!("{message}; {who}"))),
        (met, None) => met,
        (None, Some(who)) => Some((foreign::REASON, who.clone())),
    }
}

fn met(status: &KopiaRepositoryStatus, step: &Step) -> Option<(&'static str, String)> {
    if let Some((reason @ ("ClaimRefused" | "ClaimIneffective"), message)) = &step.note {
        return Some((reason, message.clone()));
    }
    // What an earlier grant met was the reason for this one.
    let current = status.grant.as_ref().map(|grant| grant.epoch);
    let last = status.runs.first().filter(|run| run.epoch.is_none() || run.epoch == current)?;
    match last.outcome.as_str() {
        "NotGranted" => Some(("ForeignOwner", last.reason.clone().unwrap_or_default())),
        "Fenced" => Some(("NewerEpoch", last.reason.clone().unwrap_or_default())),
        _ => None,
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

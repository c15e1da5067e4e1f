//! What one repository is decided to need, from what was taken out of the world at one moment: no client, no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::reconcile::{claim_facts, due};
use super::work::Work;
use super::world::World;
use crate::api::kopia_repository::{KopiaRepository, KopiaRepositoryStatus};
use crate::grant::{self, LedgerChange, Seen, Step};
use crate::names::MemberName;
use crate::outcome::Outcome;
use crate::plan::fleet::NotReady;
use crate::plan::planner::Planner;
use crate::plan::result::Push;
use crate::plan::{foreign, observe};
use crate::status::repository;

/// A sleep is never longer: what was missed, for whatever reason, is looked at again by then.
const RESYNC: Duration = Duration::from_mins(20);
/// By how much the system's clock and that of waits may differ over a wait.
const ROUNDED_UP: Duration = Duration::from_millis(20);
/// Runs in a row that fail for a reason of their Secret or member before another is tried.
const FAILED_RUNS_MAX: usize = 3;

/// What a decision depends on besides the repository and the moment.
pub struct Terms<'a> {
    pub hub_id: &'a str,
    pub time_factor: u32,
    pub grant_factor: u32,
    /// Since when this process leads and its clock was not set.
    pub steady_since: Timestamp,
    /// A rule that a checker takes away.
    #[cfg(any(test, feature = "sim"))]
    pub without: Option<grant::Rule>,
}

/// The next step; `seen` is what is seen of the members, with what consistent lists have shown of them.
pub fn decide(work: &Work, seen: &BTreeMap<MemberName, Seen>, now: Timestamp, terms: &Terms<'_>) -> Step {
    if let Some(entry) = failing_runs(work, now, terms.time_factor) {
        return Step::write(LedgerChange::NotReady(entry));
    }
    let not_ready = work.object.as_deref().map(observe::ledger).unwrap_or_default().not_ready;
    let uid = work.target.as_ref().and_then(|target| target.facts.as_ref()?.cluster_uid.clone());
    grant::step(&grant::Input {
        plan: &work.plan,
        grant: work.grant.as_ref(),
        others: &work.others,
        held_otherwise: &work.held_otherwise,
        merged: work.merged.as_ref(),
        not_ready: &not_ready,
        drain: &work.drain,
        claim: work.claim.clone(),
        seen,
        turned_away: work.turned_away(terms.hub_id),
        replaced: work.replaced(),
        reachable: work.reachable,
        highest_epoch: work.highest_epoch,
        evidence: &work.evidence,
        unread: work.unread.as_ref(),
        ledger_since: work.object.as_ref().and_then(|object| Some(object.metadata.creation_timestamp.as_ref()?.0)),
        settling_until: work.settling_until,
        by_hand: grant::ByHand {
            token: work.run_now.as_ref().map(|it| &*it.token),
            under_way: work.run_now.as_ref().is_some_and(|it| it.under_way),
            job: work.manual,
            stray: work.stray,
            missed_until: work.missed_until,
        },
        known_as: work.known_as.as_ref(),
        cluster_uid: uid.as_deref(),
        now,
        steady_since: terms.steady_since,
        time_factor: terms.grant_factor,
        #[cfg(any(test, feature = "sim"))]
        without: terms.without,
    })
}

/// What the ledger should say after a step.
pub fn status(
    planner: &Planner,
    work: &Work,
    object: &KopiaRepository,
    step: &Step,
    now: Timestamp,
) -> KopiaRepositoryStatus {
    let due = due(planner, &work.plan);
    let (unique_id, ready_again) = claim_facts(work, step);
    let runs = work.runs.iter().filter(|run| !run.recorded);
    let input = repository::Input {
        plan: &work.plan,
        step,
        due: due.as_ref(),
        runs: runs.map(|run| run.run.clone()).collect(),
        unique_id: unique_id.as_deref(),
        merges: !work.others.is_empty(),
        replaced: work.replaced(),
        contended: foreign::told(&work.contenders).filter(|_| foreign::is_in_the_way(work.plan.state)),
        ready_again: ready_again.as_ref().map(|(member, secret)| (member, secret.clone())),
        now,
    };
    repository::status(object, &input)
}

/// Until it is looked at again where nothing changes before.
pub fn wait(world: &World, work: &Work, step: &Step, now: Timestamp, time_factor: u32) -> Duration {
    let due = due(&world.planner, &work.plan);
    let overdue = world.ledger.get(&work.id).and_then(|object| repository::overdue_at(object, due.as_ref()));
    let next =
        [step.wake, work.plan.deadline, overdue, work.next_look].into_iter().flatten().filter(|at| *at > now).min();
    let until = next.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    let pod_late = work.pod_missing.then_some(Duration::from_secs(3));
    // Rounded up: a deadline that is met a moment too early would be met again at once.
    [until.map(|wait| wait + ROUNDED_UP), pod_late]
        .into_iter()
        .flatten()
        .fold(RESYNC / time_factor.max(1), Duration::min)
}

/// Three runs in a row that failed for a reason of their Secret or member: another one gets its turn.
fn failing_runs(work: &Work, now: Timestamp, factor: u32) -> Option<NotReady> {
    let Push::Objects(assignment) = &work.plan.push else { return None };
    work.grant.as_ref().filter(|grant| grant.cluster == assignment.member)?;
    let fresh_runs = || work.runs.iter().filter(|run| !run.recorded);
    let latest = &fresh_runs().next_back()?.report;
    let fresh = fresh_runs().map(|run| run.report.outcome);
    let before = work.status().runs;
    // One that was late is in the ledger, and again among those that have ended since.
    let before = before.iter().filter(|old| !fresh_runs().any(|run| run.run.is_same_run(old)));
    let before = before.filter_map(|run| run.outcome.parse::<Outcome>().ok());
    let newest: Vec<_> = fresh.rev().chain(before).take(FAILED_RUNS_MAX).collect();
    if newest.len() < FAILED_RUNS_MAX || !newest.iter().all(|outcome| outcome.counts_against_candidate()) {
        return None;
    }
    let ledger = work.object.as_deref().map(observe::ledger).unwrap_or_default();
    Some(grant::rest(
        &ledger.not_ready,
        (&assignment.member, &assignment.secret.object),
        &latest.outcome.because(&latest.reason),
        (now, factor),
    ))
}

//! How a holder becomes Kopia's recorded owner: by a claim Job with a permit, and by reading it back.

use jiff::{SignedDuration, Timestamp};

use super::{
    ClaimJob, ClaimReport, Input, LedgerChange, MARGIN, Recorded, Rule, Step, drain, handover, recover, scaled,
};
use crate::names::{MemberName, ObjectName};
use crate::outcome::Outcome;
use crate::plan::fleet::{Former, Grant, NotReady, Phase};
use crate::plan::result::Assignment;
use crate::render::cron_job::{CLAIM_DEADLINE_SECONDS, PERMIT_SECONDS};
use crate::render::pod::{Permit, Replaces};
use crate::time::{after, whole_seconds};

/// A run of a foreign owner may go on for this long after it began (the default deadline of other maintainers).
const FOREIGN_DEADLINE: SignedDuration = SignedDuration::from_secs(10_800);
/// A claim that failed for a reason of its Secret or member: not ready for this long at first, then doubling.
const NOT_READY_FIRST: SignedDuration = SignedDuration::from_hours(1);
pub(super) const NOT_READY_MAX: SignedDuration = SignedDuration::from_hours(24);
/// A claim that failed for a reason that may pass is tried again after this.
const RETRY: SignedDuration = SignedDuration::from_mins(10);
/// A claim that another maintainer undid is tried again once a day: more often would be a fight.
const CONTENDED_RETRY: SignedDuration = SignedDuration::from_hours(24);
/// For so long a claim waits until the CronJobs of earlier holders are suspended. It is the fence also without that.
const SUSPEND_PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// Nobody holds it, and nothing of this hub stands anywhere.
pub(super) fn first(input: &Input<'_>, assignment: &Assignment) -> Step {
    if let Some(until) = input.settling_until.filter(|until| input.now < *until) {
        let text = "members are being read; who maintains it is decided once that is done";
        return Step::wait(until, "MembersUnread", text.to_owned());
    }
    claims(&assignment.member, Step::grant(claiming(input, assignment, None), input.drain))
}

/// A new grant, with an epoch that none has had, and above that of the one which it takes over, under whatever id.
pub(super) fn claiming(input: &Input<'_>, assignment: &Assignment, from: Option<Former>) -> Grant {
    let next = |grant: &Grant| {
        if input.keeps(Rule::EpochsOnce) { grant.next_epoch() } else { grant.epoch.saturating_add(1) }
    };
    let ledger = input.grant.map_or(1, next);
    let known = input.highest_epoch.max(from.as_ref().map_or(0, |from| from.epoch));
    let seen = if input.keeps(Rule::EpochsOnce) { known.saturating_add(1) } else { 0 };
    Grant {
        cluster: assignment.member.clone(),
        cluster_uid: input.cluster_uid.map(Into::into),
        epoch: ledger.max(seen),
        phase: Phase::Claiming,
        since: Some(input.now),
        until: input.grant.and_then(|grant| grant.until),
        deadline_seconds: assignment.settings.active_deadline_seconds,
        highest_epoch: 0,
        from,
    }
}

/// Of a grant that takes over another of this hub of which nobody knows whether it waited for a foreign owner before it:
/// that one's run may go on.
pub(super) fn unsettled(input: &Input<'_>, grant: Grant) -> Grant {
    let over = input.after(input.after(input.now, FOREIGN_DEADLINE), MARGIN);
    Grant { until: grant.until.max(Some(whole_seconds(over))), ..grant }
}

/// Says so from the write of the grant until the claim has ended: what is told does not change with each step.
pub(super) fn claims(member: &MemberName, step: Step) -> Step {
    step.saying("Claiming", format!("{member} claims the repository"))
}

pub(super) fn claim(input: &Input<'_>, grant: &Grant, assignment: &Assignment) -> Step {
    match &input.claim {
        ClaimJob::Unknown => Step::note(
            "MemberUnreachable",
            format!("the claim waits until {} can be reached and has been read", grant.cluster),
        ),
        ClaimJob::Absent => start(input, grant),
        ClaimJob::Running => claims(&grant.cluster, Step::rest()),
        ClaimJob::Stale => Step { remove_claim: true, ..Step::note("Claiming", "a former claim Job is removed") },
        ClaimJob::Ended(report) => ended(input, grant, report, assignment),
    }
}

/// The CronJobs of earlier holders are suspended before the claim, so that no run of theirs is turned away by it; those
/// that can't be reached are not waited for.
fn start(input: &Input<'_>, grant: &Grant) -> Step {
    let patience = input.after(grant.since.unwrap_or(input.now), SUSPEND_PATIENCE);
    if drain::may_fire(input) && input.now < patience {
        return claims(&grant.cluster, Step { wake: Some(patience), ..Step::rest() });
    }
    let issued = input.now.as_second();
    let replaces = grant.from.clone().map_or(Replaces::Foreign, Replaces::Exactly);
    let permit = Permit { replaces, issued, not_after: issued + PERMIT_SECONDS };
    claims(&grant.cluster, Step { claim: Some(permit), ..Step::rest() })
}

/// From when on a claim Job must be over, whether anybody saw it or not: a permit is given when the Job is made.
pub(super) fn over_by(input: &Input<'_>, made: Timestamp) -> Timestamp {
    let job = SignedDuration::from_secs(PERMIT_SECONDS + i64::from(CLAIM_DEADLINE_SECONDS));
    input.after(input.after(made, job), MARGIN)
}

/// Rule: the holder runs only once its claim was read back, and then what others may still run is waited for.
pub(super) fn claimed(input: &Input<'_>, grant: &Grant, report: &ClaimReport) -> Step {
    let replaced_ours = match &report.found {
        // A foreign owner that the replaced grant waited for is waited for all the same; and one that took the
        // repository while the claim was under way has left nothing but its run.
        Recorded::Ours(found) => {
            let nobody_between = !report.run_began || !input.keeps(Rule::NobodyBetween);
            grant.from.as_ref() == Some(found) && nobody_between && grant.until.is_none_or(|until| until <= input.now)
        }
        Recorded::Foreign | Recorded::Unknown => false,
    };
    // The ledger keeps whole seconds, and so does what is told.
    let until =
        (!replaced_ours).then(|| whole_seconds(foreign_wait(report.last_run_start, input.now, input.time_factor)));
    let next = Grant { phase: Phase::Draining, since: Some(input.now), until, ..grant.clone() };
    drain::waits(input, &next, Step::grant(next.clone(), input.drain))
}

fn ended(input: &Input<'_>, grant: &Grant, report: &ClaimReport, assignment: &Assignment) -> Step {
    if report.outcome == Outcome::Claimed || !input.keeps(Rule::ClaimVerified) {
        return claimed(input, grant, report);
    }
    if let Some(step) = another_owner(input, grant, report) {
        return step;
    }
    let attempt = grant.since.unwrap_or(report.at);
    let retry = if report.outcome.counts_against_candidate() && report.secret.is_some() {
        let former = input
            .not_ready
            .iter()
            .find(|entry| entry.cluster == grant.cluster && Some(&entry.secret) == report.secret.as_ref());
        match former {
            Some(entry) if recorded_at(entry, input.time_factor) < attempt => {
                return Step::write(makes_room(input, grant, report));
            }
            None => return Step::write(makes_room(input, grant, report)),
            // Another Secret of this member is next, and need not wait.
            Some(_) if Some(&assignment.secret.object) != report.secret.as_ref() => input.now,
            Some(entry) => entry.until,
        }
    } else if matches!(report.outcome, Outcome::ClaimRefused | Outcome::ClaimIneffective) {
        input.after(attempt, CONTENDED_RETRY)
    } else {
        input.after(attempt, RETRY)
    };
    if input.now >= retry {
        return again(input, grant, grant.from.clone());
    }
    if (report.set_nothing() || !input.keeps(Rule::NothingSet))
        && let Some(from) = grant.from.as_ref().filter(|from| input.is_own(from))
    {
        return handover::resume(input, grant, from);
    }
    let text = format!(
        "the claim in {} ended {}. To do: {}. It is tried again at {retry}",
        grant.cluster,
        report.outcome.because(&report.reason),
        report.outcome.fix()
    );
    Step { remove_claim: !report.over, ..Step::wait(retry, report.outcome.as_str(), text) }
}

/// The same epoch again: the Job may have become the recorded owner before it failed.
fn again(input: &Input<'_>, grant: &Grant, from: Option<Former>) -> Step {
    claims(&grant.cluster, Step::grant(Grant { since: Some(input.now), from, ..grant.clone() }, input.drain))
}

/// The permit was for another owner than the one that is recorded.
fn another_owner(input: &Input<'_>, grant: &Grant, report: &ClaimReport) -> Option<Step> {
    if report.outcome != Outcome::ClaimRefused || !report.over {
        return None;
    }
    match &report.recorded {
        Recorded::Ours(found) if input.is_own(found) && found.epoch >= grant.epoch => {
            Some(recover::outdated(input, grant, found))
        }
        // An earlier claim that nobody saw come through, or one by another id of the repository.
        Recorded::Ours(found) if grant.from.as_ref() != Some(found) => {
            let drain = drain::with_former(input, found);
            let above = if input.keeps(Rule::EpochsOnce) { found.epoch.saturating_add(1) } else { 0 };
            let (epoch, from) = (grant.epoch.max(above), Some(found.clone()));
            let next = Grant { epoch, since: Some(input.now), from, ..grant.clone() };
            Some(claims(&grant.cluster, Step::grant(unsettled(input, next), &drain)))
        }
        // The owner of this hub that was expected never came through, or somebody else has taken it over.
        Recorded::Foreign if grant.from.is_some() => Some(again(input, grant, None)),
        Recorded::Ours(_) | Recorded::Foreign | Recorded::Unknown => None,
    }
}

/// The holder's own run was turned away: the fence stands elsewhere.
pub(super) fn anew(input: &Input<'_>, grant: &Grant, assignment: &Assignment, recorded: &Recorded) -> Step {
    let running = || Step { run: true, ..Step::rest() };
    let from = match recorded {
        Recorded::Unknown => return running(),
        Recorded::Ours(found) if input.is_own(found) && found.epoch >= grant.next_epoch() => {
            return recover::outdated(input, grant, found);
        }
        Recorded::Ours(found) => Some(found.clone()),
        // Whoever made it anew is its first owner, and nobody took anything.
        Recorded::Foreign if input.replaced => None,
        // Rule: whoever took it is let be for a day. To claim it more often would be a fight.
        Recorded::Foreign => {
            let again = input.after(grant.since.unwrap_or(input.now), CONTENDED_RETRY);
            if input.now < again {
                let text = format!("another maintainer has taken the repository; it is claimed again at {again}");
                return Step { wake: Some(again), ..running() }.saying("ForeignOwner", text);
            }
            None
        }
    };
    let own = drain::with(input, grant.cluster.clone(), Some(grant.deadline_seconds));
    let input = &Input { drain: &own, ..input.clone() };
    let drain = from.as_ref().map_or_else(|| own.clone(), |from| drain::with_former(input, from));
    claims(&grant.cluster, Step::grant(unsettled(input, claiming(input, assignment, from)), &drain))
}

/// From when on no run of an owner before the claim can still be going on.
fn foreign_wait(last_run_start: Option<Timestamp>, claimed: Timestamp, factor: u32) -> Timestamp {
    let margin = after(claimed, scaled(MARGIN, factor));
    match last_run_start {
        Some(start) if after(start, FOREIGN_DEADLINE) > claimed => {
            // In test builds the wait shrinks, never the rule.
            let rest = after(start, FOREIGN_DEADLINE).duration_since(claimed);
            after(margin, scaled(rest, factor))
        }
        _ => margin,
    }
}

fn makes_room(input: &Input<'_>, grant: &Grant, report: &ClaimReport) -> LedgerChange {
    let nowhere = ObjectName::new("", "");
    let secret = report.secret.as_ref().unwrap_or(&nowhere);
    let when = (input.now, input.time_factor);
    LedgerChange::NotReady(rest(
        input.not_ready,
        (&grant.cluster, secret),
        &report.outcome.because(&report.reason),
        when,
    ))
}

/// The ledger's entry for a Secret of a member that makes room for the next, for longer each time.
pub fn rest(
    known: &[NotReady],
    (cluster, secret): (&MemberName, &ObjectName),
    reason: &str,
    (now, time_factor): (Timestamp, u32),
) -> NotReady {
    let former = known.iter().find(|entry| entry.cluster == *cluster && entry.secret == *secret);
    let attempts = former.map_or(1, |entry| entry.attempts.saturating_add(1));
    NotReady {
        cluster: cluster.clone(),
        secret: secret.clone(),
        until: after(now, scaled(not_ready_for(attempts), time_factor)),
        attempts,
        reason: reason.into(),
    }
}

/// An hour, doubling to a day.
pub(super) fn not_ready_for(attempts: u32) -> SignedDuration {
    let doublings = attempts.saturating_sub(1).min(5);
    (NOT_READY_FIRST * (1 << doublings)).min(NOT_READY_MAX)
}

fn recorded_at(entry: &NotReady, factor: u32) -> Timestamp {
    entry.until.checked_sub(scaled(not_ready_for(entry.attempts), factor)).unwrap_or(Timestamp::MIN)
}

//! How a grant moves to another member, and what becomes of one whose claim did not come through.

use super::{ClaimJob, Input, LedgerChange, Rule, Step, claim, drain, manual};
use crate::api::kopia_repository::DEADLINE_UNKNOWN;
use crate::outcome::Outcome;
use crate::plan::fleet::{Drain, Former, Grant, Phase};
use crate::plan::result::Assignment;

/// Another member than the grant's should hold it.
pub(super) fn due(input: &Input<'_>, grant: &Grant, assignment: &Assignment) -> Step {
    let member = &assignment.member;
    if grant.phase == Phase::Claiming {
        return unclaimed(input, grant, assignment);
    }
    if !input.wanted() {
        return Step::note(
            "HandoverPending",
            format!(
                "{} holds the grant and {member} follows once the repository is to be maintained again",
                grant.cluster
            ),
        );
    }
    begin(input, grant, assignment, Some(input.former(grant)))
}

/// Rule: a hand-over begins with the ledger: a new epoch, and every member that may still run anything.
fn begin(input: &Input<'_>, grant: &Grant, assignment: &Assignment, from: Option<Former>) -> Step {
    let member = &assignment.member;
    if !input.reachable {
        // Its holder goes on for as long as nobody can claim.
        return Step::note(
            "HandoverPending",
            format!("{} holds the grant and {member} follows once it can be reached and has been read", grant.cluster),
        );
    }
    let held_by = input.known_as.unwrap_or(&grant.cluster);
    let drain = drain::with(input, held_by.clone(), Some(grant.deadline_seconds));
    // A claim that may have come through, and of which nobody knows whom it replaced, and what began meanwhile.
    let unseen = grant.phase == Phase::Claiming && from.as_ref() == Some(&input.former(grant));
    let next = claim::claiming(input, assignment, from);
    let next = if unseen { claim::unsettled(input, next) } else { next };
    claim::claims(member, Step::grant(next, &drain))
}

/// The grant's own claim has not been seen to come through, and another member should claim instead.
fn unclaimed(input: &Input<'_>, grant: &Grant, assignment: &Assignment) -> Step {
    let member = &assignment.member;
    let waits = |step: Step| {
        let text = format!("a claim of {} may be under way; {member} follows once it has ended", grant.cluster);
        step.saying("HandoverPending", text)
    };
    match &input.claim {
        ClaimJob::Running => waits(Step::rest()),
        ClaimJob::Stale => waits(Step { remove_claim: true, ..Step::rest() }),
        ClaimJob::Ended(report) if !report.over => waits(Step { remove_claim: true, ..Step::rest() }),
        // It is the holder after all, and hands over as any other.
        ClaimJob::Ended(report) if report.outcome == Outcome::Claimed => claim::claimed(input, grant, report),
        _ if !input.wanted() => Step::rest(),
        ClaimJob::Ended(report) if report.set_nothing() || !input.keeps(Rule::NothingSet) => {
            untouched(input, grant, assignment)
        }
        // Whether it set anything is not known: whoever claims next may find this owner.
        ClaimJob::Ended(_) => begin(input, grant, assignment, Some(input.former(grant))),
        ClaimJob::Unknown => {
            let over = claim::over_by(input, grant.since.unwrap_or(input.now));
            if input.now < over {
                return waits(Step { wake: Some(over), ..Step::rest() });
            }
            begin(input, grant, assignment, grant.from.clone())
        }
        ClaimJob::Absent if grant.from.is_none() => claim::first(input, assignment),
        ClaimJob::Absent => begin(input, grant, assignment, grant.from.clone()),
    }
}

/// The claim set nothing: what was recorded before still is.
fn untouched(input: &Input<'_>, grant: &Grant, assignment: &Assignment) -> Step {
    match &grant.from {
        None => claim::first(input, assignment),
        Some(from) if from.cluster == assignment.member && input.is_own(from) => resume(input, grant, from),
        Some(from) => begin(input, grant, assignment, Some(from.clone())),
    }
}

/// Rule: where nothing was set, the former holder goes on under its own epoch. Epochs that were given are not given
/// again.
pub(super) fn resume(input: &Input<'_>, grant: &Grant, from: &Former) -> Step {
    let of_former = input.drain.iter().find(|entry| entry.cluster == from.cluster);
    // Under several ids it may have had a CronJob of another name, of which something may still run.
    let stays = |entry: &&Drain| entry.cluster != from.cluster || input.plan.ids.len() > 1;
    let drain: Vec<_> = input.drain.iter().filter(stays).cloned().collect();
    let until = grant.until.filter(|until| input.now < *until);
    let next = Grant {
        cluster: from.cluster.clone(),
        cluster_uid: None,
        epoch: from.epoch,
        phase: if drain.is_empty() && until.is_none() || !input.keeps(Rule::OthersBeforeResume) {
            Phase::Resuming
        } else {
            Phase::Draining
        },
        since: Some(input.now),
        until,
        deadline_seconds: of_former.map_or(DEADLINE_UNKNOWN, |entry| entry.deadline_seconds),
        highest_epoch: if input.keeps(Rule::EpochsOnce) { grant.highest() } else { 0 },
        from: None,
    };
    Step::grant(next, &drain).saying("Resuming", format!("{} did not claim; {} goes on", grant.cluster, from.cluster))
}

/// Nothing new is pushed: a hand-over that has begun comes to its end, or the former holder goes on.
pub(super) fn held(input: &Input<'_>, grant: &Grant) -> Step {
    match (grant.phase, &grant.from) {
        (Phase::Resuming, _) => resuming(input, grant),
        (Phase::Active, _) => manual::held(input, grant),
        // It was maintained before the hand-over, and goes on. As nothing is pushed, its CronJob is let go as it stands.
        (Phase::Draining, from) if from.is_some() || grant.highest_epoch > grant.epoch => {
            match drain::draining(input, grant) {
                Step { ledger: Some(LedgerChange::Grant(next, drain)), .. } if next.phase == Phase::Active => {
                    Step::grant(Grant { phase: Phase::Resuming, ..next }, &drain)
                }
                step => step,
            }
        }
        (Phase::Claiming, Some(from)) => claiming_held(input, grant, from),
        _ => Step::rest(),
    }
}

fn claiming_held(input: &Input<'_>, grant: &Grant, from: &Former) -> Step {
    let over = claim::over_by(input, grant.since.unwrap_or(input.now));
    match &input.claim {
        ClaimJob::Ended(report) if report.outcome == Outcome::Claimed => claim::claimed(input, grant, report),
        // Under another id it had objects of another name: what was set is found out once it may be claimed again.
        _ if !input.is_own(from) => Step::rest(),
        ClaimJob::Ended(report) if report.set_nothing() || !input.keeps(Rule::NothingSet) => resume(input, grant, from),
        ClaimJob::Ended(report) => Step { remove_claim: !report.over, ..Step::rest() },
        ClaimJob::Stale => Step { remove_claim: true, ..Step::rest() },
        ClaimJob::Running => Step::rest(),
        // Whether it set anything can't be told; the owner check of each run tells.
        ClaimJob::Absent | ClaimJob::Unknown if input.now >= over => resume(input, grant, from),
        ClaimJob::Absent | ClaimJob::Unknown => Step { wake: Some(over), ..Step::rest() },
    }
}

/// Its CronJob was suspended for a hand-over that did not come through.
fn resuming(input: &Input<'_>, grant: &Grant) -> Step {
    // The Job of a run by hand may run there, or be about to: that comes to its end first.
    if input.by_hand.under_way {
        let drain = drain::and(input, grant.cluster.clone(), Some(grant.deadline_seconds));
        return Step::grant(Grant { phase: Phase::Active, since: Some(input.now), ..grant.clone() }, &drain);
    }
    match input.seen.get(&grant.cluster) {
        // A Job by hand that the ledger does not know ends first.
        Some(seen) if seen.suspended => Step { run: !input.by_hand.stray, ..Step::rest() },
        Some(_) => Step::grant(Grant { phase: Phase::Active, since: Some(input.now), ..grant.clone() }, input.drain),
        None => Step::note("MemberUnreachable", format!("its CronJob is let go once {} can be reached", grant.cluster)),
    }
}

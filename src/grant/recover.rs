//! What is done where the ledger is lost, can't be read, or is older than what the members and Kopia tell.

use jiff::SignedDuration;

use super::{Input, Rule, Step, claim, drain};
use crate::plan::fleet::{Drain, Former, Grant, Phase};
use crate::plan::result::Assignment;

/// What stands goes on, so nothing is lost by it: whoever restores a backup puts the objects back first, and then their
/// status.
const RESTORE_PATIENCE: SignedDuration = SignedDuration::from_mins(30);

/// The ledger names no holder, and objects of this hub stand somewhere: they show who held it. Written down at once, for what
/// tells of its epoch may go, and who looked may have to start anew.
pub(super) fn lost(input: &Input<'_>) -> Step {
    let Some(found) = input.evidence.iter().max_by_key(|it| it.former.epoch) else { return Step::rest() };
    let next = Grant {
        cluster: found.former.cluster.clone(),
        cluster_uid: None,
        epoch: found.former.epoch,
        phase: Phase::Recovering,
        since: Some(input.now),
        until: None,
        deadline_seconds: found.deadline_seconds,
        highest_epoch: input.highest_epoch,
        from: Some(found.former.clone()),
    };
    let text = format!("the ledger does not know who holds it; {} is found to have held it", found.former.cluster);
    Step::grant(next, &standing(input)).saying("Recovering", text)
}

/// The ledger's record could not be read, or Kopia names a later owner than it, or it was lost.
pub(super) fn recovering(input: &Input<'_>, grant: &Grant, assignment: &Assignment) -> Step {
    let was_lost = grant.from.as_ref().is_some_and(|it| (&it.cluster, it.epoch) == (&grant.cluster, grant.epoch));
    let until = input.after(input.ledger_since.unwrap_or(input.now), RESTORE_PATIENCE);
    if was_lost && input.now < until {
        let text = format!(
            "the ledger does not know who holds it: nothing is granted, and what stands goes on. Restore the status of \
             the KopiaRepository; at {until} the hub takes up what it finds instead"
        );
        return Step::wait(until, "Recovering", text);
    }
    let itself = input.former(grant);
    let known = Some(itself).filter(|it| it.epoch > 0 && !it.cluster.as_str().is_empty());
    take_up(input, assignment, known.into_iter().chain(grant.from.clone()).max_by_key(|it| it.epoch))
}

/// What is drained, and every member in which anything stands.
fn standing(input: &Input<'_>) -> Vec<Drain> {
    input.evidence.iter().fold(input.drain.to_vec(), |drain, it| {
        let known = Input { drain: &drain, ..input.clone() };
        drain::with(&known, it.former.cluster.clone(), Some(it.deadline_seconds))
    })
}

/// Kopia's recorded owner is a later grant of this hub than any that the ledger knows.
pub(super) fn outdated(input: &Input<'_>, grant: &Grant, found: &Former) -> Step {
    let next = Grant {
        phase: Phase::Recovering,
        since: Some(input.now),
        highest_epoch: grant.highest_epoch.max(found.epoch),
        from: Some(found.clone()),
        ..grant.clone()
    };
    Step::grant(next, &drain::with_former(input, found))
        .saying("Recovering", format!("the recorded owner is of epoch {}, which the ledger does not know", found.epoch))
}

/// Rule: objects of a later grant than any that the ledger knows are taken up, not cleared away. They may be all that tells
/// of its epoch, where the ledger was put back from an old backup and somebody else is the recorded owner by now. In the
/// holder's own member an epoch that is too high is taken for an edit, and put right like any other: its runs tell.
pub(super) fn overtaken(input: &Input<'_>) -> Option<Step> {
    let grant = input.grant.filter(|grant| grant.phase != Phase::Recovering && input.keeps(Rule::LaterTakenUp))?;
    let is_holders = |former: &Former| former.cluster == grant.cluster || input.known_as == Some(&former.cluster);
    let elsewhere = input.evidence.iter().map(|it| &it.former).filter(|former| !is_holders(former));
    // The grant's own epoch was given to another member as well, before the ledger was lost.
    let is_twin = |former: &Former| input.is_own(former) && former.epoch == grant.epoch;
    let later = elsewhere.filter(|former| former.epoch >= grant.next_epoch() || is_twin(former));
    let found = later.max_by_key(|former| former.epoch)?;
    let text = format!("objects in {} are of epoch {}, which the ledger does not know", found.cluster, found.epoch);
    Some(outdated(input, grant, found).saying("Recovering", text))
}

/// Rule: no grant until each registered member has been read or was forgotten; then the highest epoch that is found
/// anywhere is taken up, and whoever may still run something under it is drained.
fn take_up(input: &Input<'_>, assignment: &Assignment, known: Option<Former>) -> Step {
    let waits = |why: &str| {
        Step::note(
            "Recovering",
            format!("the ledger does not know who holds it: nothing is granted, and what stands stays, {why}"),
        )
    };
    if let Some(member) = input.unread.filter(|_| input.keeps(Rule::AllRead)) {
        return waits(&format!("until {member} has been read; if that cluster is gone, remove its registration"));
    }
    if let Some(until) = input.settling_until.filter(|until| input.now < *until) {
        return Step { wake: Some(until), ..waits("until the members have been read") };
    }
    if !input.wanted() {
        return waits("until the repository is to be maintained again");
    }
    if !input.reachable {
        return waits(&format!("until {} can be reached", assignment.member));
    }
    let found = input.evidence.iter().map(|it| it.former.clone()).chain(known);
    let from = found.max_by_key(|former| former.epoch);
    let mut drain = standing(input);
    if let Some(from) = &from {
        drain = drain::with_former(&Input { drain: &drain, ..input.clone() }, from);
    }
    let step = Step::grant(claim::unsettled(input, claim::claiming(input, assignment, from)), &drain);
    claim::claims(&assignment.member, step)
}

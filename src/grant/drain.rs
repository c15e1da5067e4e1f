//! How long earlier grants are waited for, and how it is known that nothing of them runs any more.

use jiff::{SignedDuration, Timestamp};

use super::{Input, MARGIN, Rule, Seen, Step};
use crate::api::kopia_repository::DEADLINE_UNKNOWN;
use crate::names::{MemberName, RepositoryId};
use crate::plan::fleet::{Drain, Former, Grant, Phase};

/// Between two consistent lists. A CronJob controller may make a Job after its CronJob was suspended, from what it
/// had read before; it does not lag so far behind.
const BETWEEN_LISTS: SignedDuration = SignedDuration::from_secs(60);
/// What was seen to be busy is looked at again after this.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// Where an earlier holder can be seen: may its CronJob still start a Job?
pub(super) fn may_fire(input: &Input<'_>) -> bool {
    input.drain.iter().any(|entry| input.seen.get(&entry.cluster).is_some_and(|seen| !seen.suspended))
}

/// What is drained, and one member more. What was seen before a new claim tells nothing about after it.
/// Without a deadline: of a member that is not known to drain, nobody knows how long its runs may last.
pub(super) fn with(input: &Input<'_>, cluster: MemberName, deadline_seconds: Option<u32>) -> Vec<Drain> {
    let known = input.drain.iter().any(|entry| entry.cluster == cluster);
    if known || input.keeps(Rule::FormerDrained) { and(input, cluster, deadline_seconds) } else { anew(input) }
}

/// The same of a grant whose deadline nobody knows, with all that stands there under its id.
pub(super) fn with_former(input: &Input<'_>, former: &Former) -> Vec<Drain> {
    let mut drain = with(input, former.cluster.clone(), None);
    let is_another = input.held_otherwise.contains(&former.id);
    if let Some(entry) = drain.iter_mut().find(|entry| entry.cluster == former.cluster && !is_another) {
        entry.ids = union(&entry.ids, &[former.id]);
    }
    drain
}

/// The same of a member that held no earlier grant: the holder itself.
pub(super) fn and(input: &Input<'_>, cluster: MemberName, deadline_seconds: Option<u32>) -> Vec<Drain> {
    let mut drain = anew(input);
    match drain.iter_mut().find(|entry| entry.cluster == cluster) {
        Some(entry) => entry.deadline_seconds = entry.deadline_seconds.max(deadline_seconds.unwrap_or(0)),
        None => drain.push(Drain {
            cluster,
            deadline_seconds: deadline_seconds.unwrap_or(DEADLINE_UNKNOWN),
            ids: input.plan.ids.clone(),
            clear_since: None,
        }),
    }
    drain.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    drain
}

/// Whoever is drained already, by all names that the repository has now.
fn anew(input: &Input<'_>) -> Vec<Drain> {
    let clear_since = |it: &Drain| it.clear_since.filter(|_| !input.keeps(Rule::ListsAnew));
    let renewed =
        |it: &Drain| Drain { clear_since: clear_since(it), ids: union(&it.ids, &input.plan.ids), ..it.clone() };
    input.drain.iter().map(renewed).collect()
}

fn union(some: &[RepositoryId], others: &[RepositoryId]) -> Vec<RepositoryId> {
    let ids: std::collections::BTreeSet<_> = some.iter().chain(others).copied().collect();
    ids.into_iter().collect()
}

/// The claim was read back; each earlier holder leaves the list once nothing of it can run any more.
pub(super) fn draining(input: &Input<'_>, grant: &Grant) -> Step {
    let verified = grant.since.unwrap_or(input.now);
    let mut kept = Vec::new();
    let mut step = Step::rest();
    for entry in input.drain {
        match look(input, entry, verified) {
            Look::Over => {}
            Look::Clear(since) => kept.push(Drain { clear_since: Some(since), ..entry.clone() }),
            Look::Busy(again) => {
                step.wake_by(again);
                kept.push(Drain { clear_since: None, ..entry.clone() });
            }
            Look::List => {
                step.list.push(entry.cluster.clone());
                kept.push(entry.clone());
            }
            Look::Wait(until) => {
                step.wake_by(until);
                kept.push(entry.clone());
            }
        }
    }
    if kept != input.drain {
        return waits(input, grant, Step::grant(grant.clone(), &kept));
    }
    if let Some(until) = grant.until.filter(|until| input.now < *until) {
        step.wake_by(until);
        return waits(input, grant, step);
    }
    if kept.is_empty() || !input.keeps(Rule::DrainFirst) {
        let next = Grant { phase: Phase::Active, since: Some(input.now), until: None, from: None, ..grant.clone() };
        return Step::grant(next, &[]);
    }
    waits(input, grant, step)
}

/// What is known of one holder.
pub(super) enum Look {
    /// Nothing of it can be past the fence any more.
    Over,
    /// The first of two lists has shown nothing.
    Clear(Timestamp),
    /// Something of it runs; to be looked at again.
    Busy(Timestamp),
    /// A consistent list is needed now.
    List,
    Wait(Timestamp),
}

/// Rule: two consistent lists at least a minute apart show its CronJob suspended and nothing that runs; or so much
/// time has passed since the claim that whatever began before it must have ended, seen or not.
fn look(input: &Input<'_>, entry: &Drain, verified: Timestamp) -> Look {
    let deadline = SignedDuration::from_secs(entry.deadline_seconds.into());
    let over = input.after(input.after(verified, deadline), MARGIN);
    if input.now >= over || !(input.keeps(Rule::DeadlineWait) || input.seen.contains_key(&entry.cluster)) {
        return Look::Over;
    }
    // One that can't be seen goes on by itself: the fence holds whatever begins there.
    let Some(seen) = input.seen.get(&entry.cluster) else { return Look::Wait(over) };
    match quiet(input, entry, seen) {
        Look::Busy(again) => Look::Busy(again.min(over)),
        Look::Wait(until) => Look::Wait(until.min(over)),
        look => look,
    }
}

/// Whether two consistent lists show the CronJob suspended and nothing that runs.
/// What is waited for with no end in sight is told by the watch: [`Timestamp::MAX`].
pub(super) fn quiet(input: &Input<'_>, entry: &Drain, seen: &Seen) -> Look {
    if !seen.suspended || seen.live > 0 {
        let again = Timestamp::MAX;
        return if entry.clear_since.is_some() { Look::Busy(again) } else { Look::Wait(again) };
    }
    let between = if input.keeps(Rule::MinuteBetween) { BETWEEN_LISTS } else { SignedDuration::ZERO };
    let steady = if input.keeps(Rule::OwnClock) { input.steady_since } else { Timestamp::MIN };
    let measured = |since: &Timestamp| seen.first == Some(*since) && *since >= steady;
    let clear_since = entry.clear_since.filter(|since| !input.keeps(Rule::OwnClock) || measured(since));
    let from = clear_since.map_or(steady, |since| input.after(since, between));
    match seen.listed.filter(|listed| listed.began >= from) {
        Some(listed) if listed.clear && (clear_since.is_some() || !input.keeps(Rule::TwoLists)) => Look::Over,
        Some(listed) if listed.clear => Look::Clear(listed.recorded()),
        // The list saw more than the watch has brought so far.
        Some(listed) => {
            let again = input.after(listed.ended, LOOK_AGAIN);
            if input.now >= again { Look::List } else { Look::Busy(again) }
        }
        None if input.now < from => Look::Wait(from),
        None => Look::List,
    }
}

/// Says what the first run waits for. `until` is as the ledger keeps it.
pub(super) fn waits(input: &Input<'_>, grant: &Grant, step: Step) -> Step {
    let left: Vec<&str> = input.drain.iter().map(|entry| entry.cluster.as_str()).collect();
    if !left.is_empty() {
        let verified = grant.since.unwrap_or(input.now);
        let slowest = input.drain.iter().map(|entry| entry.deadline_seconds).max().unwrap_or(0);
        let by = input.after(input.after(verified, SignedDuration::from_secs(slowest.into())), MARGIN);
        let text = format!(
            "{} has claimed the repository; runs of {} are waited for, at the latest until {}",
            grant.cluster,
            left.join(", "),
            crate::time::whole_seconds(by)
        );
        return step.saying("WaitingForFormerHolder", text);
    }
    let Some(until) = grant.until else { return step };
    let text = format!("a run of the former owner may go on until {until}; the CronJob stays suspended until then");
    step.saying("WaitingForFormerOwner", text)
}

//! What is done where several ids are found to be one repository, and where one of them turns out to be another after all.

use std::collections::BTreeMap;

use super::{Input, Rule, Step, claim, drain};
use crate::names::RepositoryId;
use crate::plan::fleet::{Drain, Former, Grant, LedgerRecord, Merged, Phase};
use crate::plan::result::Assignment;

/// A grant under another id of the repository, which no grant of the whole has taken over yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    pub id: RepositoryId,
    pub grant: Grant,
    pub drain: Vec<Drain>,
}

impl Other {
    /// What its record keeps of the grant from now on.
    pub fn merged(&self) -> Merged {
        Merged {
            from: settled(&self.grant, self.id),
            deadline_seconds: self.grant.deadline_seconds,
            highest_epoch: self.grant.highest(),
        }
    }

    /// Does this record, the one that stands for all, account for the grant? Then that one has come to its end.
    pub fn is_taken_over(&self, grant: Option<&Grant>, drain: &[Drain]) -> bool {
        let later = grant.is_some_and(|grant| grant.epoch > self.grant.highest());
        let held = &self.grant.cluster;
        let waits = |entry: &Drain| entry.cluster == *held && entry.ids.contains(&self.id);
        later && (held.as_str().is_empty() || drain.iter().any(waits))
    }
}

/// Rule: ids that are one repository have one grant. It is a new one, of a higher epoch than any of theirs, and whoever
/// may run anything under any of them is drained.
pub(super) fn absorb(input: &Input<'_>, assignment: &Assignment) -> Option<Step> {
    let can = input.wanted() && input.reachable && input.settling_until.is_none_or(|until| until <= input.now);
    if input.others.is_empty() || !can {
        return None;
    }
    let own = || input.grant.map(|grant| (grant, input.plan.id));
    let theirs = || input.others.iter().map(|other| (&other.grant, other.id));
    let all = || own().into_iter().chain(theirs());
    let grants = || all().map(|(grant, _)| grant);
    // Which of them Kopia names is not known; the claim tells, and is made for another one where it was not this one.
    let from = all().filter_map(|(grant, id)| settled(grant, id)).max_by_key(|former| former.epoch);
    let known = from.is_some();
    let from = from.or_else(|| grants().filter_map(|grant| grant.from.clone()).max_by_key(|former| former.epoch));
    let next = claim::claiming(input, assignment, from);
    let until = grants().filter_map(|grant| grant.until).max();
    let epoch = grants().map(Grant::next_epoch).max().unwrap_or(1);
    let next = Grant { until: next.until.max(until), epoch: next.epoch.max(epoch), ..next };
    let next = if known { next } else { claim::unsettled(input, next) };
    Some(claim::claims(&assignment.member, Step::grant(next, &everybody(input))))
}

/// The grant's claim came through, so that Kopia named it when it was seen last.
fn settled(grant: &Grant, id: RepositoryId) -> Option<Former> {
    let is = matches!(grant.phase, Phase::Draining | Phase::Active | Phase::Resuming);
    is.then(|| Former { cluster: grant.cluster.clone(), epoch: grant.epoch, id })
}

/// Every member in which anything may run under any of the grants, by every id.
fn everybody(input: &Input<'_>) -> Vec<Drain> {
    let mut all = input.drain.to_vec();
    if !input.keeps(Rule::EveryName) {
        let own = input.grant.map(|grant| (grant.cluster.clone(), Some(grant.deadline_seconds)));
        return own.map_or(all, |(cluster, deadline)| drain::with(input, cluster, deadline));
    }
    for entry in input.others.iter().flat_map(|other| &other.drain) {
        match all.iter_mut().find(|known| known.cluster == entry.cluster) {
            Some(known) => {
                known.deadline_seconds = known.deadline_seconds.max(entry.deadline_seconds);
                known.ids.extend(&entry.ids);
            }
            None => all.push(entry.clone()),
        }
    }
    let grants = input.grant.into_iter().chain(input.others.iter().map(|other| &other.grant));
    let held = grants.map(|grant| (grant.cluster.clone(), grant.deadline_seconds));
    let standing = input.evidence.iter().map(|it| (it.former.cluster.clone(), it.deadline_seconds));
    for (cluster, deadline) in held.chain(standing).filter(|(cluster, _)| !cluster.as_str().is_empty()) {
        all = drain::with(&Input { drain: &all, ..input.clone() }, cluster, Some(deadline));
    }
    all
}

/// Another record stood for this one, and does no longer: it is granted anew, with an epoch that neither had. Kopia may
/// still name the grant from before.
pub(super) fn split(input: &Input<'_>, merged: &Merged, assignment: &Assignment) -> Step {
    // What the other record waited for when it stood for this one is not known here.
    let next = claim::unsettled(input, claim::claiming(input, assignment, merged.from.clone()));
    let drain = match &merged.from {
        Some(from) => drain::with(input, from.cluster.clone(), Some(merged.deadline_seconds)),
        None => input.drain.to_vec(),
    };
    claim::claims(&assignment.member, Step::grant(next, &drain))
}

/// An id that was split off and has got a grant of its own since is that one's to drain: its first run was let go once
/// whatever ran under it before was over. Whoever suspended its CronJob from here would fight with that grant.
pub fn leave_split_off(
    ledger: &BTreeMap<RepositoryId, LedgerRecord>,
    ids: &[RepositoryId],
    grant: Option<&Grant>,
    drain: &mut [Drain],
) {
    let Some(since) = grant.and_then(|grant| grant.since) else { return };
    let goes_on = |id: &RepositoryId| {
        let other = ledger.get(id).and_then(|record| record.grant.as_ref()).filter(|it| it.phase == Phase::Active);
        !ids.contains(id) && other.and_then(|other| other.since).is_some_and(|active| active > since)
    };
    for entry in drain {
        entry.ids.retain(|id| !goes_on(id));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, grant, input, plan};
    use super::super::{ClaimJob, LedgerChange, step};
    use super::*;
    use crate::grant::{ClaimReport, Recorded};
    use crate::outcome::Outcome;
    use crate::plan::result::RepositoryPlan;

    const SECOND: &str = "ffffffffffffffff";

    fn id(text: &str) -> RepositoryId {
        text.parse().unwrap()
    }

    /// The repository of member `a`, which goes by another id too.
    fn both() -> RepositoryPlan {
        let plan = plan("a");
        RepositoryPlan { ids: vec![plan.id, id(SECOND)], ..plan }
    }

    fn other(cluster: &str, epoch: u64, phase: Phase) -> Other {
        Other { id: id(SECOND), grant: Grant { epoch, ..grant(cluster, phase) }, drain: Vec::new() }
    }

    fn written(step: Step) -> (Grant, Vec<Drain>) {
        match step.ledger {
            Some(LedgerChange::Grant(grant, drain)) => (grant, drain),
            other => panic!("no grant: {other:?}"),
        }
    }

    #[test]
    fn two_grants_end_under_one_of_a_higher_epoch_and_all_members_are_drained() {
        let plan = both();
        for (own, theirs, from) in [(7, 12, ("b", 12)), (7, 3, ("a", 7))] {
            let grant = Grant { epoch: own, ..grant("a", Phase::Active) };
            let drained = Drain { cluster: "c".into(), deadline_seconds: 60, ids: vec![], clear_since: Some(at(0)) };
            let others = [Other { drain: vec![drained], ..other("b", theirs, Phase::Active) }];
            let input = Input { others: &others, ..input(&plan, Some(&grant), ClaimJob::Absent) };
            let (next, drain) = written(step(&input));
            assert_eq!((next.cluster.as_str(), next.phase), ("a", Phase::Claiming));
            assert!(next.epoch > own.max(theirs), "{next:?}");
            let of = if from.0 == "a" { plan.id } else { id(SECOND) };
            let expected = Former { cluster: from.0.into(), epoch: from.1, id: of };
            assert_eq!((next.from.as_ref(), next.until), (Some(&expected), None));
            let members: Vec<_> = drain.iter().map(|it| it.cluster.as_str()).collect();
            assert_eq!(members, ["a", "b", "c"]);
            assert!(drain.iter().all(|it| it.ids == plan.ids && it.clear_since.is_none()), "{drain:?}");
            // Which is what it takes for theirs to have come to an end.
            assert!(!others[0].is_taken_over(Some(&grant), &[]));
            assert!(others[0].is_taken_over(Some(&next), &drain));
            assert!(!others[0].is_taken_over(Some(&next), &drain[..1]), "it is not drained");
        }
    }

    #[test]
    fn where_no_claim_was_seen_to_come_through_a_foreign_run_is_waited_for() {
        let plan = both();
        let others = [other("b", 1, Phase::Recovering)];
        let (next, _) = written(step(&Input { others: &others, ..input(&plan, None, ClaimJob::Absent) }));
        assert_eq!((next.from, next.epoch > 1), (None, true));
        assert!(next.until.is_some_and(|until| until > at(10_800)));
    }

    #[test]
    fn nothing_is_merged_that_is_not_to_be_maintained_or_can_not_be_claimed() {
        let (plan, active) = (both(), grant("a", Phase::Active));
        let others = [other("b", 12, Phase::Active)];
        let merging = Input { others: &others, highest_epoch: 12, ..input(&plan, Some(&active), ClaimJob::Absent) };
        let frozen = RepositoryPlan { state: crate::plan::result::State::Frozen, ..plan.clone() };
        assert_eq!(step(&Input { plan: &frozen, ..merging.clone() }).ledger, None);
        let goes_on = step(&Input { reachable: false, ..merging.clone() });
        assert!(goes_on.ledger.is_none() && goes_on.run, "the holder goes on");
        assert!(step(&Input { settling_until: Some(at(61)), ..merging }).ledger.is_none());
    }

    #[test]
    fn a_former_holder_that_had_another_name_for_it_is_waited_for_before_it_goes_on() {
        let plan = both();
        let drained = |cluster: &str| Drain {
            cluster: cluster.into(),
            deadline_seconds: 60,
            ids: plan.ids.clone(),
            clear_since: None,
        };
        let drain = [drained("a"), drained("b")];
        let claiming =
            Grant { from: Some(Former { cluster: "a".into(), epoch: 5, id: plan.id }), ..grant("a", Phase::Claiming) };
        let report = ClaimReport {
            outcome: Outcome::ConnectFailed,
            reason: "why".to_owned(),
            secret: None,
            last_run_start: None,
            run_began: false,
            may_be_owner: false,
            over: true,
            at: at(50),
            unique_id: None,
            recorded: Recorded::Unknown,
            found: Recorded::Unknown,
        };
        let ended = ClaimJob::Ended(report);
        let (next, left) = written(step(&Input { drain: &drain, ..input(&plan, Some(&claiming), ended) }));
        assert_eq!((next.epoch, next.phase, left.len()), (5, Phase::Draining, 2), "not resumed before that");
    }

    #[test]
    fn what_is_split_off_is_granted_anew() {
        let plan = plan("a");
        let before = other("b", 9, Phase::Active).merged();
        assert_eq!(before.from, Some(Former { cluster: "b".into(), epoch: 9, id: id(SECOND) }));
        let split = Input { merged: Some(&before), highest_epoch: 9, ..input(&plan, None, ClaimJob::Absent) };
        let (next, drain) = written(step(&split));
        assert_eq!((next.cluster.as_str(), next.epoch, &next.from), ("a", 10, &before.from));
        assert_eq!(drain.iter().map(|it| it.cluster.as_str()).collect::<Vec<_>>(), ["b"]);
        let never = other("b", 9, Phase::Claiming).merged();
        assert_eq!((never.from, never.highest_epoch), (None, 9));
    }

    #[test]
    fn what_was_split_off_is_drained_until_it_has_got_a_grant_of_its_own_since() {
        let (own, other) = (plan("a").id, id(SECOND));
        let held = |phase, since| Grant { since: Some(at(since)), ..grant("a", phase) };
        let drained = |ids: &[RepositoryId], theirs: Option<Grant>| {
            let both = vec![own, other];
            let entry = Drain { cluster: "a".into(), deadline_seconds: 60, ids: both, clear_since: None };
            let (mut drain, mine) = ([entry], held(Phase::Draining, 60));
            let record = LedgerRecord { grant: theirs, ..LedgerRecord::default() };
            leave_split_off(&BTreeMap::from([(other, record)]), ids, Some(&mine), &mut drain);
            drain[0].ids.clone()
        };
        assert_eq!(drained(&[own], Some(held(Phase::Active, 61))), [own]);
        // It may still be what it was when both were one.
        assert_eq!(drained(&[own], Some(held(Phase::Active, 59))), [own, other]);
        assert_eq!(drained(&[own], Some(held(Phase::Draining, 61))), [own, other]);
        assert_eq!(drained(&[own], None), [own, other]);
        assert_eq!(drained(&[own, other], Some(held(Phase::Active, 61))), [own, other], "they are one");
    }
}

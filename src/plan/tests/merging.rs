//! Several keys that are one repository.

use serde_json::json;

use crate::names::RepositoryId;
use crate::plan::fleet::LedgerRecord;
use crate::plan::result::{Push, RepositoryPlan, State};
use crate::plan::testing::{Fixture, at, facts, grant};

/// Three repositories, each in one member, smallest id first, with KopiaRepositories.
fn three() -> (Fixture, [RepositoryId; 3]) {
    let mut fleet = Fixture::new(&["c1", "c2", "c3"]);
    fleet.default_policy();
    fleet.source("c1/app/one", "bucket-1").source("c2/app/one", "bucket-2").source("c3/app/one", "bucket-3");
    let plan = fleet.plan();
    let ids = [0, 1, 2].map(|at| plan.repositories[at].id);
    for repository in &plan.repositories {
        fleet.ledger(repository.id, |record| record.key = Some(repository.key));
    }
    (fleet, ids)
}

fn ids(fleet: &Fixture) -> Vec<Vec<RepositoryId>> {
    fleet
        .plan()
        .repositories
        .iter()
        .map(|plan| plan.keys.iter().map(crate::names::RepositoryKey::id).collect())
        .collect()
}

fn remarks(plan: &RepositoryPlan) -> Vec<&'static str> {
    plan.remarks.iter().map(|(reason, _)| *reason).collect()
}

fn unique(id: &str) -> impl Fn(&mut LedgerRecord) + '_ {
    move |record| record.unique_id = Some(id.into())
}

#[test]
fn one_unique_id_under_two_keys_is_one_repository_and_ambiguous() {
    let (mut fleet, [a, b, c]) = three();
    fleet.ledger(a, unique("u")).ledger(b, unique("u")).ledger(c, unique("other"));
    assert_eq!(ids(&fleet), [vec![a, b], vec![c]]);
    let merged = fleet.plan().repositories.remove(0);
    assert_eq!((merged.id, merged.clusters.len()), (a, 2));
    assert_eq!(remarks(&merged), ["Ambiguous"]);
    let problems = fleet.plan().problems;
    assert_eq!((problems.len(), problems[0].reason, &problems[0].object), (1, "Ambiguous", &a.ledger_name()));
    // Every source of the merged repository stands in it.
    let sources = fleet.plan().sources.iter().filter(|source| source.repository == Some(a)).count();
    assert_eq!(sources, 2);
}

#[test]
fn distinct_from_says_that_it_is_a_mirror_and_holds_both_ways() {
    for (namer, named) in [(0, 1), (1, 0)] {
        let (mut fleet, ids_of) = three();
        let [a, b, c] = ids_of;
        fleet.ledger(a, unique("u")).ledger(b, unique("u"));
        fleet.ledger(ids_of[namer], |record| record.distinct_from = Some(ids_of[named].to_string().into()));
        assert_eq!(ids(&fleet), [vec![a], vec![b], vec![c]]);
        assert!(fleet.plan().problems.is_empty());
    }
}

#[test]
fn with_three_keys_of_one_unique_id_only_the_named_pair_is_split() {
    for (pair, expected) in [([0, 1], [[0, 2].as_slice(), &[1]]), ([0, 2], [&[0, 1], &[2]]), ([1, 2], [&[0, 1], &[2]])]
    {
        let (mut fleet, ids_of) = three();
        for id in ids_of {
            fleet.ledger(id, unique("u"));
        }
        fleet.ledger(ids_of[pair[0]], |record| record.distinct_from = Some(ids_of[pair[1]].ledger_name().into()));
        let expected = expected.map(|group| group.iter().map(|at| ids_of[*at]).collect::<Vec<_>>());
        assert_eq!(ids(&fleet), expected, "{pair:?}");
    }
}

#[test]
fn same_as_joins_both_ways_and_through_chains() {
    let (mut fleet, [a, b, c]) = three();
    fleet.ledger(b, |record| record.same_as = Some(a.ledger_name().into()));
    assert_eq!(ids(&fleet), [vec![a, b], vec![c]]);
    fleet.ledger(c, |record| record.same_as = Some(b.to_string().into()));
    assert_eq!(ids(&fleet), [vec![a, b, c]]);
    assert!(remarks(&fleet.only()).is_empty(), "the operator said so: nothing is ambiguous");
}

#[test]
fn distinct_from_holds_through_what_same_as_joins() {
    let (mut fleet, [a, b, c]) = three();
    fleet.ledger(b, |record| record.same_as = Some(a.ledger_name().into()));
    fleet.ledger(a, unique("u")).ledger(c, unique("u"));
    assert_eq!(ids(&fleet), [vec![a, b, c]]);
    fleet.ledger(c, |record| record.distinct_from = Some(b.ledger_name().into()));
    assert_eq!(ids(&fleet), [vec![a, b], vec![c]]);
}

#[test]
fn a_kopia_repository_without_sources_is_a_target_and_a_link_of_chains() {
    let (mut fleet, [a, b, c]) = three();
    let bare: RepositoryId = "00000000000000aa".parse().unwrap();
    fleet.ledger(bare, |_| {});
    fleet.ledger(a, |record| record.same_as = Some(bare.to_string().into()));
    fleet.ledger(b, |record| record.same_as = Some(bare.to_string().into()));
    assert_eq!(ids(&fleet), [vec![a, b], vec![c]]);
    assert!(fleet.plan().problems.is_empty());
    assert_eq!(fleet.plan().repositories[0].ids, [bare, a, b]);
}

#[test]
fn a_target_that_is_nothing_is_a_problem_and_ignored() {
    for text in ["kr-00000000000000aa", "00000000000000aa", "bucket-1", "KR-00000000000000AA"] {
        let (mut fleet, [a, b, c]) = three();
        fleet.ledger(a, |record| record.same_as = Some(text.into()));
        fleet.ledger(b, |record| record.distinct_from = Some(text.into()));
        assert_eq!(ids(&fleet), [vec![a], vec![b], vec![c]]);
        let problems = fleet.plan().problems;
        let said: Vec<_> = problems.iter().map(|problem| (problem.object.clone(), problem.reason)).collect();
        let mut expected = vec![(a.ledger_name(), "UnknownTarget"), (b.ledger_name(), "UnknownTarget")];
        expected.sort();
        assert_eq!(said, expected, "{text}");
    }
}

#[test]
fn if_they_contradict_same_as_wins_with_a_problem() {
    let (mut fleet, [a, b, c]) = three();
    fleet.ledger(b, |record| record.same_as = Some(a.ledger_name().into()));
    fleet.ledger(a, |record| record.distinct_from = Some(b.ledger_name().into()));
    assert_eq!(ids(&fleet), [vec![a, b], vec![c]]);
    let problems = fleet.plan().problems;
    assert_eq!((problems.len(), problems[0].reason, &problems[0].object), (1, "Contradiction", &a.ledger_name()));
    // Through a chain, the same.
    fleet.ledger(a, |record| record.distinct_from = Some(c.ledger_name().into()));
    fleet.ledger(c, |record| record.same_as = Some(b.ledger_name().into()));
    assert_eq!(ids(&fleet), [vec![a, b, c]]);
    assert_eq!(fleet.plan().problems[0].reason, "Contradiction");
}

fn merged() -> (Fixture, RepositoryId, RepositoryId) {
    let (mut fleet, [a, b, _]) = three();
    fleet.fleet.sources.retain(|key, _| fleet.fleet.members.contains_key(&key.member));
    fleet.ledger(a, unique("u")).ledger(b, unique("u"));
    (fleet, a, b)
}

#[test]
fn of_two_grants_the_higher_epoch_holds() {
    let (mut fleet, a, b) = merged();
    let members: Vec<_> = fleet.plan().repositories[0].clusters.iter().map(|share| share.member.clone()).collect();
    for (one, two, holder) in [(3, 9, 1), (9, 3, 0), (5, 5, 0)] {
        fleet.ledger(a, |record| record.grant = Some(grant(members[0].as_str(), one)));
        fleet.ledger(b, |record| record.grant = Some(grant(members[1].as_str(), two)));
        let plan = fleet.plan().repositories.remove(0);
        assert_eq!((plan.cluster.as_ref(), plan.epoch), (Some(&members[holder]), Some(one.max(two))));
        assert_eq!(plan.id, a);
    }
}

#[test]
fn any_freeze_freezes_all() {
    for frozen in [0, 1] {
        let (mut fleet, a, b) = merged();
        fleet.ledger([a, b][frozen], |record| record.frozen_until = Some(at("2026-07-01T00:00:00Z")));
        assert_eq!(fleet.plan().repositories[0].state, State::Frozen);
    }
}

#[test]
fn of_two_pins_none_applies() {
    let (mut fleet, a, b) = merged();
    let members: Vec<_> = fleet.plan().repositories[0].clusters.iter().map(|share| share.member.clone()).collect();
    let elected = fleet.plan().repositories[0].cluster.clone();
    for pin in &members {
        fleet.ledger(a, |record| record.pin = Some(pin.clone()));
        assert_eq!(fleet.plan().repositories[0].cluster.as_ref(), Some(pin), "one pin holds for all");
    }
    fleet.ledger(a, |record| record.pin = Some(members[0].clone()));
    fleet.ledger(b, |record| record.pin = Some(members[1].clone()));
    let plan = fleet.plan();
    assert_eq!(plan.repositories[0].cluster, elected);
    assert!(plan.problems.iter().any(|problem| problem.reason == "ContradictingPins"));
}

#[test]
fn file_system_sources_in_a_merged_group_are_not_ready() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.default_policy().source("c1/app/one", "bucket").kopia("c2/app/one", &json!({"repository": "repo"}));
    fleet.secret("c2/app/repo", facts(&[("KOPIA_REPOSITORY", "filesystem:///data"), ("KOPIA_PASSWORD", "secret")]));
    let plan = fleet.plan();
    for repository in &plan.repositories {
        fleet.ledger(repository.id, |record| record.key = Some(repository.key));
    }
    let [a, b] = [0, 1].map(|at| plan.repositories[at].id);
    fleet.ledger(a, |record| record.same_as = Some(b.to_string().into()));
    let repository = fleet.only();
    assert_eq!((repository.state, repository.cluster.clone()), (State::Maintained, Some("c1".into())));
    assert_eq!(fleet.source_plan("c2/app/one").reason, Some("Filesystem"));
    let Push::Objects(assignment) = &repository.push else { panic!() };
    assert!(repository.keys.contains(&assignment.key));
    assert_eq!((assignment.id, repository.id), (a.min(b), a.min(b)));
}

#[test]
fn a_repository_that_only_the_ledger_knows_is_listed_without_a_policy() {
    let (mut fleet, [a, ..]) = three();
    let key = fleet.plan().repositories[0].key;
    fleet.fleet.sources.clear();
    fleet.fleet.ledger.retain(|id, _| *id == a);
    fleet.ledger(a, |record| {
        record.key = Some(key);
        record.backend = Some("s3".into());
        record.location = Some("s3://bucket/ at aws".into());
        record.grant = Some(grant("c1", 7));
    });
    let plan = fleet.only();
    assert_eq!((plan.id, plan.state, plan.backend, &*plan.location), (a, State::NoPolicy, "s3", "s3://bucket/ at aws"));
    assert_eq!((plan.cluster, plan.epoch, plan.push), (None, Some(7), Push::Remove));
}

//! What the incremental planner says of an observation.

use std::collections::BTreeSet;

use serde_json::json;

use crate::plan::fleet::{Contact, Observation, SecretState};
use crate::plan::testing::{Fixture, facts, name, observations, placed, policy, s3, source_key};
use crate::plan::{Applied, Planner};

fn planner(fleet: &Fixture) -> Planner {
    let mut planner = Planner::new(fleet.options.clone());
    for observation in observations(&fleet.fleet) {
        planner.apply(observation);
    }
    planner
}

fn two_repositories() -> Fixture {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.default_policy().source("c1/app/one", "bucket-1").source("c2/app/two", "bucket-2");
    let one = fleet.id_of("c1/app/one");
    fleet.namespace("c1", "app", &[]).pushed("c1", one, None);
    fleet
}

#[test]
fn what_changes_no_record_is_dropped() {
    let fleet = two_repositories();
    let mut planner = planner(&fleet);
    for observation in observations(&fleet.fleet) {
        assert_eq!(planner.apply(observation), Applied::default());
    }
    let gone = Observation::Source { key: source_key("c9/app/none"), record: None };
    assert_eq!(planner.apply(gone), Applied::default());
}

#[test]
fn an_observation_touches_its_repository_and_no_other() {
    let fleet = two_repositories();
    let [one, two] = ["c1/app/one", "c2/app/two"].map(|source| fleet.id_of(source));
    let mut record = fleet.fleet.sources[&source_key("c1/app/one")].clone();
    record.last_sync_succeeded = false;
    let mut away = fleet.fleet.members[&name("c2")].clone();
    away.contact = Contact::Syncing;
    let narrow = json!({"repositorySelector": {"repository": "two-*"}, "priority": 3});
    for (observation, expected) in [
        (Observation::Source { key: source_key("c1/app/one"), record: Some(Box::new(record)) }, vec![one]),
        (Observation::Secret { secret: placed("c2/app/two-secret"), state: Some(SecretState::Absent) }, vec![two]),
        (Observation::Policy { name: "narrow".into(), record: Some(Box::new(policy("narrow", &narrow))) }, vec![two]),
        (Observation::Member { name: name("c2"), record: Some(away) }, vec![two]),
        (Observation::HolderFailing { id: one, since: Some(fleet.now) }, vec![one]),
        (Observation::Ledger { id: two, record: Some(Box::default()) }, vec![two]),
    ] {
        let mut planner = planner(&fleet);
        let said = format!("{observation:?}");
        let expected: BTreeSet<_> = expected.into_iter().collect();
        assert_eq!(planner.apply(observation).dirty, expected, "{said}");
    }
}

#[test]
fn a_repository_that_is_gone_is_told_and_has_no_plan() {
    let fleet = two_repositories();
    let id = fleet.id_of("c1/app/one");
    let mut planner = planner(&fleet);
    let applied = planner.apply(Observation::Source { key: source_key("c1/app/one"), record: None });
    assert_eq!((applied.dirty, planner.plan(id, fleet.now)), (BTreeSet::from([id]), None));
    assert_eq!(applied.unwanted, [placed("c1/app/one-secret")]);
}

#[test]
fn a_secret_that_two_sources_name_is_wanted_until_the_last_is_gone() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.kopia("c1/app/one", &json!({"repository": "repo"})).kopia("c1/app/two", &json!({"repository": "repo"}));
    let mut planner = planner(&fleet);
    assert_eq!(planner.referenced_secrets(), BTreeSet::from([placed("c1/app/repo")]));
    let gone = |source: &str| Observation::Source { key: source_key(source), record: None };
    assert!(planner.apply(gone("c1/app/one")).unwanted.is_empty());
    assert_eq!(planner.apply(gone("c1/app/two")).unwanted, [placed("c1/app/repo")]);
}

#[test]
fn members_are_asked_for_a_direct_secret_only_once_the_hub_has_none() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    let clusters = json!({"matchNames": ["c1"]});
    fleet.policy("p", &json!({"repository": {"name": "repo", "namespace": "app"}, "clusterSelector": clusters}));
    let mut planner = planner(&fleet);
    assert_eq!(planner.referenced_secrets(), BTreeSet::from([placed("hub/app/repo")]));
    let mut see = |state| planner.apply(Observation::Secret { secret: placed("hub/app/repo"), state: Some(state) });
    assert_eq!(see(SecretState::Absent).wanted, [placed("c1/app/repo")]);
    let applied = see(s3("bucket"));
    assert_eq!((applied.wanted, applied.unwanted), (vec![], vec![placed("c1/app/repo")]));
}

#[test]
fn a_secret_that_vanishes_touches_the_repository_whose_copy_was_made_of_it() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().source("c1/app/one", "bucket");
    let plan = fleet.only();
    // Since then the Secret means another repository.
    fleet.held(plan.id, "c1", 1).ledger(plan.id, |record| record.key = Some(plan.key));
    fleet.pushed("c1", plan.id, Some("c1/app/one-secret"));
    fleet.secret("c1/app/one-secret", facts(&[("KOPIA_REPOSITORY", "s3://other"), ("KOPIA_PASSWORD", "p")]));
    let mut planner = planner(&fleet);
    let before = planner.plan(plan.id, fleet.now);
    let vanished = Observation::Secret { secret: placed("c1/app/one-secret"), state: Some(SecretState::Absent) };
    let dirty = planner.apply(vanished).dirty;
    assert_ne!(planner.plan(plan.id, fleet.now), before);
    assert!(dirty.contains(&plan.id));
}

#[test]
fn repositories_of_a_member_are_those_with_sources_grants_or_a_direct_policy_there() {
    let mut fleet = two_repositories();
    let two = fleet.id_of("c2/app/two");
    fleet.held(two, "c1", 1);
    fleet.policy(
        "p",
        &json!({"repository": {"name": "repo", "namespace": "app"}, "clusterSelector": {"matchNames": ["c2"]}}),
    );
    fleet.secret("hub/app/repo", s3("direct"));
    let planner = planner(&fleet);
    assert_eq!(planner.repositories_in(&name("c1")), BTreeSet::from([fleet.id_of("c1/app/one"), two]));
    let direct = fleet.plan().repositories.into_iter().find(|plan| plan.policy == Some("p".into())).unwrap().id;
    assert_eq!(planner.repositories_in(&name("c2")), BTreeSet::from([two, direct]));
    assert_eq!(planner.repositories(), fleet.plan().repositories.iter().map(|plan| plan.id).collect());
}

#[test]
fn a_member_whose_last_source_of_a_repository_is_gone_has_it_no_more() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.default_policy().source("c1/app/one", "bucket").source("c2/app/one", "bucket");
    let mut planner = planner(&fleet);
    let id = fleet.id_of("c1/app/one");
    assert_eq!(planner.repositories_in(&name("c2")), BTreeSet::from([id]));
    planner.apply(Observation::Source { key: source_key("c2/app/one"), record: None });
    assert_eq!(planner.repositories_in(&name("c2")), BTreeSet::new());
    assert_eq!(planner.repositories_in(&name("c1")), BTreeSet::from([id]));
}

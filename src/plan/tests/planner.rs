//! What the incremental planner says of an observation.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use crate::names::RepositoryId;
use crate::plan::fleet::{Contact, Grant, LedgerRecord, Observation, SecretState};
use crate::plan::testing::{Fixture, facts, grant, labels, name, observations, placed, policy, s3, source_key};
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
fn what_a_member_held_under_another_name_is_looked_at_when_a_secret_there_is_unread() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.default_policy().source("c2/app/one", "bucket-1").source("c1/app/two", "bucket-2");
    let one = fleet.id_of("c2/app/one");
    fleet.member("c1", |record| record.cluster_uid = Some("uid".into()));
    fleet.ledger(one, |record| record.grant = Some(Grant { cluster_uid: Some("uid".into()), ..grant("before", 2) }));
    let mut planner = planner(&fleet);
    // Whether c1 may be given up depends on what this says.
    let applied = planner.apply(Observation::Secret { secret: placed("c1/app/two-secret"), state: None });
    assert!(applied.dirty.contains(&one), "{:?}", applied.dirty);
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

#[test]
fn labels_of_a_namespace_touch_what_stands_in_it() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.default_policy().source("c1/app/one", "bucket-1").source("c1/web/two", "bucket-2");
    fleet.source("c2/app/three", "bucket-3");
    let labels = Some(Arc::new(labels(&[("env", "prod")])));
    let labelled = Observation::Namespace { member: name("c1"), namespace: "app".into(), labels };
    assert_eq!(planner(&fleet).apply(labelled).dirty, BTreeSet::from([fleet.id_of("c1/app/one")]));
}

#[test]
fn a_policy_that_hides_nothing_touches_no_repository_without_one() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.source("c1/app/one", "bucket");
    let other = Box::new(policy("p", &json!({"repositorySelector": {"repository": "other-*"}})));
    let told = Observation::Policy { name: "p".into(), record: Some(other) };
    assert_eq!(planner(&fleet).apply(told.clone()).dirty, BTreeSet::new());
    // What it matches in a member that is away can't be seen.
    fleet.member("c2", |member| member.contact = Contact::Unreachable);
    assert_eq!(planner(&fleet).apply(told).dirty, BTreeSet::from([fleet.id_of("c1/app/one")]));
}

#[test]
fn what_a_member_holds_that_is_away_is_touched_by_policies_only_that_begin_or_cease_to_admit_it() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    // Its sources were never read.
    let known = two_repositories().repository("c2/app/two");
    let id = known.id;
    fleet
        .held(id, "c2", 1)
        .ledger(id, |record| record.key = Some(known.key))
        .member("c2", |member| member.contact = Contact::Unreachable);
    let spec = |clusters: &[&str], schedule: &str| json!({"repositorySelector": {"repository": "*"}, "clusterSelector": {"matchNames": clusters}, "schedule": schedule});
    let said = |spec| Observation::Policy { name: "p".into(), record: Some(Box::new(policy("p", &spec))) };
    let mut planner = planner(&fleet);
    let mut touched = |clusters: &[&str], schedule| planner.apply(said(spec(clusters, schedule))).dirty.contains(&id);
    assert!(!touched(&["c1"], "0 1 * * *"));
    assert!(touched(&["c2"], "0 1 * * *"));
    assert!(!touched(&["c2"], "0 2 * * *"), "of another schedule it hears once it is back");
    assert!(!touched(&["c1", "c2"], "0 2 * * *"));
    assert!(touched(&["c1"], "0 2 * * *"));
    // The same under the name that its cluster has by now.
    fleet.member("c2", |member| member.cluster_uid = Some("uid".into()));
    fleet.ledger(id, |record| record.grant = Some(Grant { cluster_uid: Some("uid".into()), ..grant("before", 1) }));
    let mut planner = self::planner(&fleet);
    assert!(planner.apply(said(spec(&["c2"], "0 1 * * *"))).dirty.contains(&id));
}

#[test]
fn a_policy_has_something_to_tell_of_the_secrets_that_it_names() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.policy("p", &json!({"repository": {"name": "repo", "namespace": "app"}}));
    let planner = planner(&fleet);
    let [named, other] = ["hub/app/repo", "hub/app/other"].map(placed);
    assert!(planner.refers_to(&named) && !planner.refers_to(&other));
    let telling = |secret| planner.telling(&Observation::Secret { secret, state: Some(SecretState::Absent) });
    assert_eq!((telling(named), telling(other)), (BTreeSet::from(["p".into()]), BTreeSet::new()));
}

/// What `c1` holds, without a CronJob that tells which Secret it uses.
fn held_blindly() -> (Fixture, RepositoryId) {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().source("c1/app/one", "bucket");
    let plan = fleet.only();
    fleet.held(plan.id, "c1", 1).ledger(plan.id, |record| record.key = Some(plan.key));
    (fleet, plan.id)
}

#[test]
fn a_secret_that_can_be_seen_again_touches_what_its_member_holds_blindly() {
    let (mut fleet, id) = held_blindly();
    fleet.secret("c1/app/one-secret", SecretState::Absent);
    let other = || Observation::Secret { secret: placed("c1/app/one-secret"), state: Some(s3("other")) };
    assert!(planner(&fleet).apply(other()).dirty.contains(&id));
    let named = fleet.pushed("c1", id, Some("c1/app/gone-secret"));
    assert!(!planner(named).apply(other()).dirty.contains(&id), "its CronJob tells of another Secret");
    let (mut fleet, id) = held_blindly();
    fleet.fleet.sources.clear();
    fleet.secret("c1/app/one-secret", SecretState::Absent);
    assert!(!planner(&fleet).apply(other()).dirty.contains(&id), "no source names it");
}

#[test]
fn a_policy_touches_what_was_made_of_the_secret_that_it_names() {
    let mut fleet = Fixture::new(&["c1"]);
    let named = json!({"repository": {"name": "repo", "namespace": "app"}});
    fleet.policy("p", &named).secret("hub/app/repo", s3("bucket"));
    let plan = fleet.only();
    fleet.held(plan.id, "c1", 1).pushed("c1", plan.id, Some("hub/app/repo"));
    fleet.ledger(plan.id, |record| record.key = Some(plan.key));
    fleet.secret("hub/app/repo", SecretState::Forbidden);
    let dirty = |observation| planner(&fleet).apply(observation).dirty.contains(&plan.id);
    assert!(dirty(Observation::Policy { name: "p".into(), record: None }));
    assert!(dirty(Observation::Secret { secret: placed("hub/app/repo"), state: Some(SecretState::Absent) }));
}

#[test]
fn a_policy_touches_what_members_hold_that_can_not_be_seen() {
    let (mut fleet, id) = held_blindly();
    fleet.fleet.sources.clear();
    let gone = || Observation::Policy { name: "default".into(), record: None };
    assert!(!planner(&fleet).apply(gone()).dirty.contains(&id));
    fleet.member("c1", |member| member.contact = Contact::Unreachable);
    assert!(planner(&fleet).apply(gone()).dirty.contains(&id));
}

#[test]
fn repositories_that_shared_a_unique_id_touch_each_other_no_more() {
    let mut fleet = two_repositories();
    let [one, two] = ["c1/app/one", "c2/app/two"].map(|source| fleet.id_of(source));
    for id in [one, two] {
        fleet.ledger(id, |record| record.unique_id = Some("same".into()));
    }
    let mut planner = planner(&fleet);
    let mut told =
        |id, record: LedgerRecord| planner.apply(Observation::Ledger { id, record: Some(Box::new(record)) }).dirty;
    assert_eq!(told(one, LedgerRecord::default()), BTreeSet::from([one, two]));
    let pinned = LedgerRecord { pin: Some(name("c2")), unique_id: Some("same".into()), ..LedgerRecord::default() };
    assert_eq!(told(two, pinned), BTreeSet::from([two]));
}

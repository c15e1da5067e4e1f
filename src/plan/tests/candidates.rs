//! Which members may run a repository, which is elected, and with which Secret.

use serde_json::json;

use crate::names::ObjectName;
use crate::plan::candidates;
use crate::plan::election;
use crate::plan::fleet::{Contact, LedgerRecord, NotReady};
use crate::plan::result::{Push, RepositoryPlan, State};
use crate::plan::testing::{Fixture, at, facts, labels, name, placed, s3};

fn used(plan: &RepositoryPlan) -> (String, Option<String>) {
    let Push::Objects(assignment) = &plan.push else { panic!("nothing is pushed: {plan:#?}") };
    (assignment.secret.to_string(), assignment.source.as_ref().map(ToString::to_string))
}

fn rests(record: &mut LedgerRecord, cluster: &str, secret: &str, until: &str) {
    let (namespace, object) = secret.split_once('/').unwrap();
    let secret = ObjectName::new(namespace, object);
    let reason = "AuthFailed".into();
    record.not_ready.push(NotReady { cluster: cluster.into(), secret, until: at(until), reason, attempts: 1 });
}

/// One repository that three members share.
fn shared() -> Fixture {
    let mut fleet = Fixture::new(&["c1", "c2", "c3"]);
    fleet.default_policy();
    fleet.source("c1/app/one", "bucket").source("c2/app/one", "bucket").source("c3/app/one", "bucket");
    fleet
}

#[test]
fn only_members_whose_source_the_winner_matches_are_candidates() {
    let mut fleet = shared();
    fleet.policy(
        "c2",
        &json!({"repositorySelector": {"repository": "*"}, "clusterSelector": {"matchNames": ["c2"]}, "priority": 5}),
    );
    let repository = fleet.only();
    assert_eq!((repository.policy, repository.cluster), (Some("c2".into()), Some("c2".into())));
    let reasons: Vec<_> =
        repository.candidates.iter().map(|it| (it.member.as_str(), it.excluded.as_ref().map(|it| it.0))).collect();
    assert_eq!(reasons, [("c2", None), ("c1", Some("NotMatched")), ("c3", Some("NotMatched"))]);
}

#[test]
fn the_highest_weight_is_elected_and_the_others_follow_in_order() {
    let repository = shared().only();
    let weights: Vec<u64> =
        repository.candidates.iter().map(|it| election::weight(&repository.key, &it.member)).collect();
    assert!(weights.is_sorted_by(|one, two| one > two), "{weights:?}");
    assert_eq!(repository.cluster.as_ref(), Some(&repository.candidates[0].member));
}

#[test]
fn members_that_come_or_go_move_nothing_but_their_own() {
    let mut fleet = Fixture::new(&["c1", "c2", "c3"]);
    fleet.default_policy();
    for bucket in 0..20 {
        for member in ["c1", "c2", "c3"] {
            fleet.source(&format!("{member}/app/s{bucket}"), &format!("bucket-{bucket}"));
        }
    }
    let before = fleet.plan();
    assert_eq!(before.repositories.len(), 20);
    fleet.fleet.sources.retain(|key, _| key.member != name("c3"));
    let mut moved = 0;
    for (one, two) in before.repositories.iter().zip(&fleet.plan().repositories) {
        if one.cluster == Some("c3".into()) {
            moved += 1;
        } else {
            assert_eq!(one.cluster, two.cluster);
        }
    }
    assert!((1..19).contains(&moved));
}

#[test]
fn reachable_goes_before_unreachable_and_a_good_last_sync_before_a_bad_one() {
    let mut fleet = shared();
    let order = |fleet: &Fixture| -> Vec<String> {
        fleet.only().candidates.iter().map(|candidate| candidate.member.to_string()).collect()
    };
    let by_weight = order(&fleet);
    fleet.member(&by_weight[0], |member| member.contact = Contact::Unreachable);
    assert_eq!(order(&fleet), [&*by_weight[1], &by_weight[2], &by_weight[0]]);
    fleet.failed_sync(&format!("{}/app/one", by_weight[1]));
    assert_eq!(order(&fleet), [&*by_weight[2], &by_weight[1], &by_weight[0]]);
    // Even one that failed is better than one that can't be reached.
    fleet.member(&by_weight[2], |member| member.contact = Contact::Unreachable);
    assert_eq!(order(&fleet), [&*by_weight[1], &by_weight[0], &by_weight[2]]);
}

#[test]
fn the_last_sync_that_counts_is_that_of_the_source_that_brings_the_secret() {
    let mut fleet = shared();
    let first = fleet.only().candidates[0].member.to_string();
    fleet.source(&format!("{first}/web/younger"), "bucket").created(&format!("{first}/app/one"), 1);
    assert_eq!(fleet.only().cluster, Some(name(&first)));
    fleet.failed_sync(&format!("{first}/app/one"));
    assert_ne!(fleet.only().cluster, Some(name(&first)));
}

#[test]
fn an_unreachable_member_that_is_the_only_one_is_elected() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().source("c1/app/one", "bucket").member("c1", |member| member.contact = Contact::Unreachable);
    let repository = fleet.only();
    assert_eq!((repository.state, repository.cluster), (State::Maintained, Some("c1".into())));
}

#[test]
fn a_source_without_a_password_makes_no_candidate() {
    let mut fleet = shared();
    let winner = fleet.only().cluster.unwrap();
    fleet.secret(&format!("{winner}/app/one-secret"), facts(&[("KOPIA_REPOSITORY", "s3://bucket")]));
    let repository = fleet.only();
    assert!(repository.cluster.is_some() && repository.cluster != Some(winner.clone()));
    let excluded = repository.candidates.iter().find(|candidate| candidate.member == winner).unwrap();
    assert_eq!(excluded.excluded.as_ref().map(|it| it.0), Some("MissingKey"));
}

#[test]
fn a_secret_that_failed_rests_and_the_next_member_is_elected() {
    let mut fleet = shared();
    let before = fleet.only();
    let [first, second] = [&before.candidates[0], &before.candidates[1]].map(|candidate| candidate.member.to_string());
    fleet.ledger(before.id, |record| rests(record, &first, "app/one-secret", "2026-06-01T13:00:00Z"));
    let repository = fleet.only();
    assert_eq!(repository.cluster, Some(name(&second)));
    assert_eq!(repository.deadline, Some(at("2026-06-01T13:00:00Z")));
    let excluded = repository.candidates.iter().find(|candidate| candidate.member == name(&first)).unwrap();
    assert_eq!(excluded.excluded.as_ref().map(|it| it.0), Some("ClaimFailed"));
    // Until then, and no longer.
    fleet.now = at("2026-06-01T13:00:00Z");
    assert_eq!((fleet.only().cluster, fleet.only().deadline), (Some(name(&first)), None));
}

#[test]
fn a_secret_that_rests_by_its_bare_name_rests_in_every_namespace() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().source("c1/app/one", "bucket").source("c1/web/one", "bucket");
    let id = fleet.only().id;
    let status = json!({"notReady": [{"cluster": "c1", "secret": "one-secret", "until": "2026-06-01T13:00:00Z",
        "reason": "AuthFailed"}]});
    let object = json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "KopiaRepository",
        "metadata": {"name": id.ledger_name()}, "spec": {}, "status": status});
    fleet.fleet.ledger.insert(id, crate::plan::observe::ledger(&serde_json::from_value(object).unwrap()));
    assert_eq!(fleet.only().reason, Some("ClaimFailed"));
}

#[test]
fn another_matched_secret_comes_before_another_member() {
    let mut fleet = shared();
    let before = fleet.only();
    let first = before.cluster.clone().unwrap().to_string();
    let other = format!("{first}/web/two");
    fleet.source(&other, "bucket");
    fleet.ledger(before.id, |record| rests(record, &first, "app/one-secret", "2026-06-01T13:00:00Z"));
    let repository = fleet.only();
    assert_eq!(repository.cluster, before.cluster);
    assert_eq!(used(&repository), (format!("{first}:web/two-secret"), Some("web/two".to_owned())));
    // A Secret of that name in another member is another one.
    fleet.ledger(before.id, |record| rests(record, "c9", "web/two-secret", "2026-06-01T13:00:00Z"));
    assert_eq!(fleet.only().cluster, before.cluster);
}

#[test]
fn where_every_secret_rests_there_is_no_candidate() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().source("c1/app/one", "bucket");
    let id = fleet.only().id;
    fleet.ledger(id, |record| rests(record, "c1", "app/one-secret", "2026-06-01T13:00:00Z"));
    let repository = fleet.only();
    assert_eq!((repository.state, repository.reason), (State::NoCandidate, Some("ClaimFailed")));
    assert_eq!((repository.cluster, repository.deadline), (None, Some(at("2026-06-01T13:00:00Z"))));
}

#[test]
fn the_oldest_matched_ready_source_brings_secret_and_ca() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.policy(
        "p",
        &json!({"repositorySelector": {"repository": "*", "namespaceSelector": {"excludeNames": ["old"]}}}),
    );
    for (key, day) in
        [("c1/old/unmatched", 1), ("c1/app/unready", 2), ("c1/app/c", 3), ("c1/app/b", 3), ("c1/abc/z", 4)]
    {
        fleet.source(key, "bucket").created(key, day);
    }
    fleet.source("c1/aaa/ageless", "bucket");
    fleet.secret("c1/app/unready-secret", facts(&[("KOPIA_REPOSITORY", "s3://bucket")]));
    let ca = crate::policy::CustomCa { source: crate::policy::CaSource::Secret("ca".into()), key: "ca.crt".into() };
    let key = crate::plan::testing::source_key("c1/app/b");
    fleet.fleet.sources.get_mut(&key).unwrap().custom_ca = Some(Box::new(ca.clone()));
    let repository = fleet.only();
    assert_eq!(used(&repository), ("c1:app/b-secret".to_owned(), Some("app/b".to_owned())));
    let Push::Objects(assignment) = &repository.push else { panic!() };
    assert_eq!(assignment.custom_ca, Some(ca));
    assert_eq!(assignment.secret, placed("c1/app/b-secret"));
}

#[test]
fn equally_old_sources_stand_by_namespace_and_name() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy();
    for key in ["c1/b/a", "c1/a-b/a", "c1/a/z", "c1/a/y"] {
        fleet.source(key, "bucket").created(key, 1);
    }
    assert_eq!(used(&fleet.only()).1, Some("a/y".to_owned()));
    fleet.fleet.sources.retain(|key, _| *key.object.namespace != *"a");
    assert_eq!(used(&fleet.only()).1, Some("a-b/a".to_owned()));
}

#[test]
fn a_pin_to_a_candidate_makes_it_the_only_one() {
    let mut fleet = shared();
    let id = fleet.only().id;
    for member in ["c1", "c2", "c3"] {
        fleet.ledger(id, |record| record.pin = Some(member.into()));
        let repository = fleet.only();
        assert_eq!((repository.state, repository.cluster), (State::Maintained, Some(member.into())));
        let standing = repository.candidates.iter().filter(|candidate| candidate.excluded.is_none());
        assert_eq!(standing.count(), 1);
    }
}

#[test]
fn a_pin_to_anything_else_moves_nothing() {
    let mut fleet = shared();
    let id = fleet.only().id;
    fleet.member("c3", |member| member.paused = true).member("c4", |_| {});
    for pin in ["c3", "c4", "nowhere"] {
        let mut fleet = Fixture { fleet: fleet.fleet.clone(), options: fleet.options.clone(), now: fleet.now };
        fleet.ledger(id, |record| record.pin = Some(pin.into()));
        let repository = fleet.only();
        assert_eq!((repository.state, repository.reason), (State::NoCandidate, Some("PinUnsatisfied")), "{pin}");
        assert_eq!((repository.cluster, repository.push), (None, Push::Remove));
        fleet.held(id, "c1", 2).pushed("c1", id, None);
        let repository = fleet.only();
        assert_eq!((repository.state, repository.reason), (State::Held, Some("PinUnsatisfied")), "{pin}");
        assert_eq!((repository.cluster, repository.push), (Some("c1".into()), Push::Keep));
        assert!(repository.found.is_some());
    }
}

#[test]
fn labels_of_members_decide_who_is_a_candidate() {
    let mut fleet = shared();
    fleet.fleet.policies.clear();
    fleet.policy(
        "eu",
        &json!({"repositorySelector": {"repository": "*"}, "clusterSelector": {"matchLabels": {"region": "eu"}}}),
    );
    assert_eq!(fleet.only().state, State::NoPolicy);
    fleet.member("c2", |member| member.labels = labels(&[("region", "eu")]));
    assert_eq!(fleet.only().cluster, Some("c2".into()));
}

#[test]
fn a_secret_copied_from_the_wrong_source_is_impossible() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().secret("c1/app/repo", s3("bucket"));
    // Two sources with one Secret: one of them moves the repository elsewhere by an argument.
    fleet.kopia("c1/app/plain", &json!({"repository": "repo"}));
    fleet.kopia("c1/app/moved", &json!({"repository": "repo", "additionalArgs": ["--prefix=other/"]}));
    let plan = fleet.plan();
    assert_eq!(plan.repositories.len(), 2);
    for repository in &plan.repositories {
        let Push::Objects(assignment) = &repository.push else { panic!() };
        assert_eq!(assignment.key, repository.key);
        let prefix = assignment.connect_arguments.iter().any(|argument| argument.contains("other/"));
        assert_eq!(prefix, used(repository).1 == Some("app/moved".to_owned()));
    }
}

#[test]
fn why_nobody_stands_is_one_reason_where_all_have_the_same() {
    let mut fleet = shared();
    for member in ["c1", "c2", "c3"] {
        fleet.member(member, |member| member.paused = true);
    }
    assert_eq!(fleet.only().reason, Some("Paused"));
    fleet.member("c2", |member| (member.paused, member.eligible) = (false, false));
    assert_eq!(fleet.only().reason, Some("NotReady"));
    assert_eq!(candidates::why_none(&[]), "NoMember");
}

#[test]
fn what_a_secret_lacks_is_said_of_its_candidate() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().source("c1/app/one", "bucket");
    let mut said = |secret: &[(&str, &str)]| {
        fleet.secret("c1/app/one-secret", facts(secret));
        fleet.only().candidates.remove(0).excluded.unwrap()
    };
    let (reason, message) = said(&[("KOPIA_REPOSITORY", "s3://bucket/")]);
    assert!(reason == "MissingKey" && message.contains("KOPIA_PASSWORD"), "{reason}: {message}");
    let (reason, message) = said(&[("KOPIA_REPOSITORY", "filesystem:///data"), ("KOPIA_PASSWORD", "p")]);
    assert!(reason == "Filesystem" && message.contains("file system"), "{reason}: {message}");
}

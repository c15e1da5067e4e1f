//! When the holder keeps the grant, and when it goes.

use serde_json::json;

use crate::api::member_cluster::Lifecycle;
use crate::names::{MemberName, RepositoryId};
use crate::plan::fleet::{Contact, Former, Grant, Phase, SecretState};
use crate::plan::result::{Push, RepositoryPlan, State};
use crate::plan::testing::{Fixture, at, facts, grant, name, s3, source_key};

/// One repository that two members share, held by the one that would not be elected.
fn held() -> (Fixture, RepositoryId, String, String) {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.default_policy().source("c1/app/one", "bucket").source("c2/app/one", "bucket");
    let plan = fleet.only();
    let [other, holder] = [0, 1].map(|at| plan.candidates[at].member.to_string());
    fleet.held(plan.id, &holder, 4).pushed(&holder, plan.id, None);
    (fleet, plan.id, holder, other)
}

fn said(plan: &RepositoryPlan) -> (State, Option<&'static str>, Option<MemberName>) {
    (plan.state, plan.reason, plan.cluster.clone())
}

fn pending(holder: &str) -> (State, Option<&'static str>, Option<MemberName>) {
    (State::Held, Some("HandoverPending"), Some(name(holder)))
}

fn maintained(member: &str) -> (State, Option<&'static str>, Option<MemberName>) {
    (State::Maintained, None, Some(name(member)))
}

#[test]
fn the_holder_keeps_the_grant_whoever_would_be_elected() {
    let (fleet, _, holder, _) = held();
    let plan = fleet.only();
    assert_eq!(said(&plan), maintained(&holder));
    assert_eq!((plan.epoch, plan.holder), (Some(4), Some(name(&holder))));
    assert!(!plan.holder_failing);
}

#[test]
fn a_holder_that_is_no_candidate_is_held_for_a_while() {
    type Breakage = fn(&mut Fixture, &str);
    let breakages: [(&str, Breakage); 4] = [
        ("paused", |fleet, holder| {
            fleet.member(holder, |member| member.paused = true);
        }),
        ("no password", |fleet, holder| {
            fleet.secret(&format!("{holder}/app/one-secret"), facts(&[("KOPIA_REPOSITORY", "s3://bucket")]));
        }),
        ("not matched any more", |fleet, holder| {
            let exclude = json!({"matchExpressions": [{"key": "x", "operator": "In", "values": ["y"]}]});
            let spec = json!({"repositorySelector": {"repository": "*", "namespaceSelector": exclude}, "priority": 9});
            let other = if holder == "c1" { "c2" } else { "c1" };
            fleet.policy("p", &spec).namespace(other, "app", &[("x", "y")]);
        }),
        ("its member not admitted any more", |fleet, holder| {
            let other = if holder == "c1" { "c2" } else { "c1" };
            let spec = json!({"repositorySelector": {"repository": "*"}, "clusterSelector": {"matchNames": [other]}, "priority": 9});
            fleet.policy("p", &spec);
        }),
    ];
    for (what, breakage) in breakages {
        let (mut fleet, id, holder, other) = held();
        breakage(&mut fleet, &holder);
        let plan = fleet.only();
        assert_eq!(said(&plan), pending(&holder), "{what}");
        assert!(plan.holder_failing, "{what}");
        assert_eq!(plan.push, Push::Keep);
        let found = plan.found.unwrap();
        assert_eq!((&*found.schedule, found.suspend), ("1 1 * * *", false));

        // 15 minutes without a break, and not a second less.
        fleet.fleet.failing_since.insert(id, at("2026-06-01T11:45:01Z"));
        let plan = fleet.only();
        assert_eq!((said(&plan), plan.deadline), (pending(&holder), Some(at("2026-06-01T12:00:01Z"))), "{what}");
        fleet.now = at("2026-06-01T12:00:01Z");
        let plan = fleet.only();
        assert_eq!((said(&plan), plan.deadline), (maintained(&other), None), "{what}");
        assert_eq!((plan.holder, plan.holder_failing), (Some(name(&holder)), true));
    }
}

#[test]
fn a_holder_that_is_a_candidate_again_keeps_the_grant_whatever_the_clock_says() {
    let (mut fleet, id, holder, _) = held();
    fleet.fleet.failing_since.insert(id, at("2026-06-01T00:00:00Z"));
    assert_eq!(said(&fleet.only()), maintained(&holder));
}

#[test]
fn without_another_candidate_the_grant_stays_after_its_time() {
    let (mut fleet, id, holder, other) = held();
    fleet.member("c1", |member| member.paused = true).member("c2", |member| member.paused = true);
    fleet.fleet.failing_since.insert(id, at("2026-06-01T00:00:00Z"));
    assert_eq!(said(&fleet.only()), pending(&holder));
    fleet.member(&other, |member| member.paused = false);
    assert_eq!(said(&fleet.only()), maintained(&other));
}

#[test]
fn a_pin_to_another_candidate_moves_the_grant_at_once() {
    let (mut fleet, id, _, other) = held();
    fleet.ledger(id, |record| record.pin = Some(name(&other)));
    assert_eq!(said(&fleet.only()), maintained(&other));
}

#[test]
fn an_ineligible_holder_loses_the_grant_at_once() {
    let (mut fleet, _, holder, other) = held();
    fleet.member(&holder, |member| member.eligible = false);
    assert_eq!(said(&fleet.only()), maintained(&other));
    // Nothing runs there again, even where nobody else can.
    fleet.member(&other, |member| member.paused = true);
    let plan = fleet.only();
    assert_eq!((plan.state, plan.cluster, plan.push), (State::NoCandidate, None, Push::Remove));
}

#[test]
fn a_holder_without_any_source_left_loses_the_grant_at_once() {
    let (mut fleet, _, holder, other) = held();
    fleet.fleet.sources.remove(&source_key(&format!("{holder}/app/one")));
    assert_eq!(said(&fleet.only()), maintained(&other));
    // A list under way shows no sources either, and that means nothing.
    fleet.member(&holder, |member| member.contact = Contact::Syncing);
    let plan = fleet.only();
    assert_eq!((said(&plan), plan.holder_failing), (pending(&holder), false));
}

#[test]
fn a_secret_that_is_gone_for_a_moment_takes_no_grant() {
    for state in [Some(SecretState::Absent), Some(SecretState::Forbidden), None] {
        let (mut fleet, id, holder, _) = held();
        let secret = format!("{holder}/app/one-secret");
        fleet.pushed(&holder, id, Some(&secret));
        fleet.fleet.secrets.remove(&crate::plan::testing::placed(&secret));
        if let Some(state) = state {
            fleet.secret(&secret, state);
        }
        assert_eq!(said(&fleet.only()), pending(&holder));
        // The last source of all, the same: it is held, not given up.
        fleet.fleet.sources.retain(|key, _| key.member == name(&holder));
        fleet.ledger(id, |record| record.key = None);
        assert!(fleet.plan().repositories.is_empty());
        let key = held().0.only().key;
        fleet.ledger(id, |record| record.key = Some(key));
        let plan = fleet.only();
        assert_eq!((said(&plan), plan.policy), (pending(&holder), None));
    }
}

#[test]
fn where_no_cron_job_tells_its_secret_any_source_that_can_not_be_seen_may_be_the_last_one() {
    let (mut fleet, id, holder, other) = held();
    let secret = format!("{holder}/app/one-secret");
    fleet.secret(&secret, SecretState::Absent);
    assert_eq!(said(&fleet.only()), pending(&holder));
    // The same for a CronJob that says nothing.
    fleet.pushed(&holder, id, None);
    assert_eq!(said(&fleet.only()), pending(&holder));
    // It is seen, and means another repository.
    fleet.secret(&secret, s3("another"));
    assert_eq!(said(&fleet.repository(&format!("{other}/app/one"))), maintained(&other));
    // It is not seen, and was not the one that the CronJob used.
    fleet.secret(&secret, SecretState::Absent);
    fleet.pushed(&holder, id, Some(&format!("{holder}/app/two-secret")));
    assert_eq!(said(&fleet.only()), maintained(&other));
}

#[test]
fn at_once_goes_before_an_unsatisfied_pin() {
    let (mut fleet, id, holder, _) = held();
    fleet.ledger(id, |record| record.pin = Some("nowhere".into()));
    assert_eq!(said(&fleet.only()), (State::Held, Some("PinUnsatisfied"), Some(name(&holder))));
    fleet.member(&holder, |member| member.eligible = false);
    let plan = fleet.only();
    assert_eq!(said(&plan), (State::NoCandidate, Some("PinUnsatisfied"), None));
    assert_eq!(plan.push, Push::Remove);
}

#[test]
fn no_pin_says_that_an_unreachable_holder_is_dead() {
    let (mut fleet, id, holder, other) = held();
    fleet.member(&holder, |member| member.contact = Contact::Unreachable);
    assert_eq!(said(&fleet.only()), (State::Held, Some("HolderUnreachable"), Some(name(&holder))));
    fleet.ledger(id, |record| record.pin = Some(name(&other)));
    fleet.fleet.failing_since.insert(id, at("2026-06-01T00:00:00Z"));
    assert_eq!(said(&fleet.only()), pending(&holder));
    fleet.member(&holder, |member| member.eligible = false);
    assert_eq!(said(&fleet.only()), pending(&holder));
    // Its sources were never seen: the same.
    fleet.fleet.sources.retain(|key, _| key.member != name(&holder));
    assert_eq!(said(&fleet.only()), pending(&holder));
}

#[test]
fn a_holder_that_is_away_keeps_its_grant_until_failover() {
    let (mut fleet, id, holder, other) = held();
    fleet.member(&holder, |member| {
        member.contact = Contact::Unreachable;
        member.away_since = Some(at("2026-06-01T11:00:00Z"));
    });
    let unreachable = (State::Held, Some("HolderUnreachable"), Some(name(&holder)));
    let moved = maintained(&other);
    assert_eq!(said(&fleet.only()), unreachable, "mode: Manual");
    let automatic = |after: &str| json!({"repositorySelector": {"repository": "*"}, "failover": {"mode": "Automatic", "after": after}});
    fleet.policy("default", &automatic("61m"));
    let plan = fleet.only();
    assert_eq!((said(&plan), plan.deadline), (unreachable.clone(), Some(at("2026-06-01T12:01:00Z"))));
    assert!(plan.message.contains("another candidate takes over at 2026-06-01T12:01:00Z"), "{}", plan.message);
    fleet.policy("default", &automatic("1h"));
    assert_eq!(said(&fleet.only()), moved);
    fleet.options.time_factor = 60;
    fleet.policy("default", &automatic("59h"));
    assert_eq!(said(&fleet.only()), moved, "in test builds waits are shorter");
    fleet.options.time_factor = 1;
    fleet.member(&holder, |member| member.away_since = None);
    assert_eq!(said(&fleet.only()), unreachable, "it is not known since when");

    // The operator's word, for this very grant.
    let given_up = |epoch: u64| Some(Former { cluster: name(&holder), epoch, id: RepositoryId::default() });
    fleet.ledger(id, |record| record.failover = given_up(2));
    assert_eq!(said(&fleet.only()), unreachable, "another grant");
    fleet.ledger(id, |record| record.failover = given_up(4));
    assert_eq!(said(&fleet.only()), moved);
    fleet.ledger(id, |record| record.frozen_until = Some(at("2026-06-02T00:00:00Z")));
    assert_eq!(said(&fleet.only()), unreachable, "frozen");
    fleet.ledger(id, |record| record.frozen_until = None);
    fleet.ledger(id, |record| record.pin = Some(name(&holder)));
    assert_eq!(said(&fleet.only()), unreachable, "pinned to it");
    fleet.ledger(id, |record| record.pin = None);
    fleet.member(&other, |member| member.contact = Contact::Unreachable);
    let plan = fleet.only();
    assert_eq!(said(&plan), unreachable, "nobody can take over");
    assert!(plan.message.contains("failover waits until a candidate can be reached"), "{}", plan.message);
    fleet.member(&other, |member| member.contact = Contact::Synced);

    // The claim of whoever takes over fails: it is not the former holder's turn again.
    fleet.ledger(id, |record| {
        let from = Some(Former { cluster: name(&holder), epoch: 4, id: RepositoryId::default() });
        record.grant = Some(Grant { phase: Phase::Claiming, from, ..grant(&other, 5) });
    });
    assert_eq!(said(&fleet.only()), moved);
    fleet.member(&other, |member| member.contact = Contact::Unreachable);
    assert_eq!(said(&fleet.only()), unreachable);
}

#[test]
fn a_member_that_is_forgotten_loses_what_it_holds_and_one_that_is_back_does_not() {
    let (mut fleet, _, holder, other) = held();
    fleet.member(&holder, |member| {
        member.contact = Contact::Unreachable;
        member.lifecycle = Lifecycle::Forgotten;
    });
    assert_eq!(said(&fleet.only()), maintained(&other));
    fleet.member(&other, |member| member.contact = Contact::Unreachable);
    assert_eq!(said(&fleet.only()), maintained(&other), "its claim waits");
    fleet.member(&other, |member| member.paused = true);
    let plan = fleet.only();
    assert_eq!((plan.state, plan.push), (State::NoCandidate, Push::Remove));
}

#[test]
fn a_registration_that_disappears_counts_as_unreachable() {
    let (mut fleet, _, holder, _) = held();
    fleet.fleet.members.remove(&name(&holder));
    assert_eq!((fleet.only().state, fleet.only().cluster), (State::Held, Some(name(&holder))));
}

#[test]
fn a_freeze_keeps_the_grant_and_suspends() {
    let (mut fleet, id, holder, other) = held();
    fleet.ledger(id, |record| record.frozen_until = Some(at("2026-06-01T12:00:01Z")));
    let plan = fleet.only();
    assert_eq!(
        (said(&plan), plan.deadline),
        ((State::Frozen, None, Some(name(&holder))), Some(at("2026-06-01T12:00:01Z")))
    );
    assert!(
        matches!(&plan.push, Push::Objects(assignment) if assignment.suspend && assignment.member == name(&holder))
    );
    // Frozen goes before a pin: no hand-over.
    for pin in [other.as_str(), "nowhere"] {
        fleet.ledger(id, |record| record.pin = Some(name(pin)));
        assert_eq!(said(&fleet.only()), (State::Frozen, None, Some(name(&holder))));
    }
    fleet.ledger(id, |record| record.pin = None);
    fleet.now = at("2026-06-01T12:00:01Z");
    assert_eq!(said(&fleet.only()), maintained(&holder));
}

#[test]
fn a_freeze_suspends_what_stands_also_where_nothing_new_can_be_pushed() {
    let (mut fleet, id, holder, _) = held();
    fleet.pushed(&holder, id, Some(&format!("{holder}/app/one-secret")));
    fleet.ledger(id, |record| record.frozen_until = Some(at("2026-07-01T00:00:00Z")));
    // The grant stays, though the holder has nothing left from which a CronJob could be made.
    fleet.fleet.sources.remove(&source_key(&format!("{holder}/app/one")));
    let plan = fleet.only();
    assert_eq!(said(&plan), (State::Frozen, None, Some(name(&holder))));
    assert_eq!((&plan.push, plan.frozen), (&Push::Keep, true));
    assert!(plan.found.is_some_and(|found| found.suspend));
    // Held for another reason: it shows as it stands, and is to be suspended.
    fleet.policy("default", &json!({"repositorySelector": {"repository": "*"}, "schedule": "never"}));
    let plan = fleet.only();
    assert_eq!(said(&plan), (State::Held, Some("InvalidPolicy"), Some(name(&holder))));
    assert_eq!((&plan.push, plan.frozen), (&Push::Keep, true));
    fleet.now = at("2026-07-01T00:00:00Z");
    assert!(!fleet.only().frozen);
}

#[test]
fn a_freeze_elects_where_there_was_no_grant_yet() {
    let (mut fleet, id, _, other) = held();
    fleet.ledger(id, |record| {
        record.grant = None;
        record.frozen_until = Some(at("2026-07-01T00:00:00Z"));
    });
    let plan = fleet.only();
    assert_eq!(said(&plan), (State::Frozen, None, Some(name(&other))));
    assert!(matches!(&plan.push, Push::Objects(assignment) if assignment.suspend));
}

#[test]
fn the_states_come_in_their_order() {
    let (mut fleet, id, holder, _) = held();
    // Everything at once, taken away one by one.
    fleet.ledger(id, |record| record.frozen_until = Some(at("2026-07-01T00:00:00Z")));
    fleet.member("c1", |member| member.paused = true).member("c2", |member| member.paused = true);
    let selector = json!({"repository": "*"});
    fleet.fleet.policies.clear();
    assert_eq!(fleet.only().state, State::NoPolicy);
    fleet.policy("p", &json!({"repositorySelector": selector, "enabled": false, "suspend": true, "schedule": "x"}));
    assert_eq!((fleet.only().state, fleet.only().reason), (State::Held, Some("InvalidPolicy")));
    fleet.policy("p", &json!({"repositorySelector": selector, "enabled": false, "suspend": true}));
    assert_eq!(fleet.only().state, State::Disabled);
    fleet.policy("p", &json!({"repositorySelector": selector, "suspend": true}));
    assert_eq!(said(&fleet.only()), pending(&holder));
    fleet.ledger(id, |record| record.grant = None);
    assert_eq!(fleet.only().state, State::NoCandidate);
    fleet.member("c1", |member| member.paused = false);
    assert_eq!(fleet.only().state, State::Frozen);
    fleet.ledger(id, |record| record.frozen_until = None);
    assert_eq!(fleet.only().state, State::Suspended);
    fleet.policy("p", &json!({"repositorySelector": selector}));
    assert_eq!(fleet.only().state, State::Maintained);
}

#[test]
fn a_direct_holder_whose_secret_is_gone_or_who_is_not_admitted_loses_the_grant_at_once() {
    let direct = |clusters: serde_json::Value| json!({"repository": {"name": "repo", "namespace": "app"}, "clusterSelector": clusters});
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.policy("p", &direct(json!({}))).secret("hub/app/repo", SecretState::Absent);
    fleet.secret("c1/app/repo", s3("bucket")).secret("c2/app/repo", s3("bucket"));
    let plan = fleet.only();
    let [other, holder] = [0, 1].map(|at| plan.candidates[at].member.to_string());
    fleet.held(plan.id, &holder, 2);
    assert_eq!(said(&fleet.only()), maintained(&holder));

    let secret = format!("{holder}/app/repo");
    fleet.secret(&secret, SecretState::Absent);
    assert_eq!(said(&fleet.only()), maintained(&other));
    fleet.secret(&secret, SecretState::Forbidden);
    assert_eq!(said(&fleet.only()), pending(&holder));
    fleet.secret(&secret, s3("bucket")).policy("p", &direct(json!({"matchNames": [other]})));
    assert_eq!(said(&fleet.only()), maintained(&other));

    let of = |cluster: &str| json!({"repository": {"name": "repo", "namespace": "app", "cluster": cluster}});
    fleet.policy("p", &of(&other));
    assert_eq!(said(&fleet.only()), maintained(&other), "the policy names another member");
    fleet.policy("p", &of(&holder)).secret(&secret, facts(&[("KOPIA_REPOSITORY", "s3://bucket/")]));
    assert_eq!(said(&fleet.only()), pending(&holder), "where the policy names it, it has not left");
}

#[test]
fn a_ledger_record_of_another_repository_holds_nothing() {
    let (mut fleet, id, holder, other) = held();
    assert_eq!(fleet.only().cluster, Some(name(&holder)));
    // The same head, and another rest.
    let forged = *crate::names::RepositoryKey::range_of(id).start();
    fleet.ledger(id, |record| record.key = Some(forged));
    let plan = fleet.only();
    assert_eq!((plan.cluster, plan.epoch), (Some(name(&other)), None));
    assert!(plan.remarks.iter().any(|(reason, _)| *reason == "KeyMismatch"));
    // What the operator said of this name holds all the same.
    fleet.ledger(id, |record| record.frozen_until = Some(at("2026-07-01T00:00:00Z")));
    assert_eq!(fleet.only().state, State::Frozen);
}

#[test]
fn the_secret_of_a_cron_job_that_does_not_tell_is_that_of_its_member() {
    let (mut fleet, id, holder, _) = held();
    fleet.member(&holder, |member| member.paused = true);
    let secret = |fleet: &Fixture| fleet.only().found.unwrap().secret.map(|secret| secret.to_string());
    assert_eq!(secret(&fleet), Some(format!("{holder}:app/one-secret")));
    fleet.pushed(&holder, id, Some(&format!("{holder}/app/other")));
    assert_eq!(secret(&fleet), Some(format!("{holder}:app/other")));
}

#[test]
fn a_pin_to_an_unreachable_holder_says_no_more_than_that_it_is_away() {
    let (mut fleet, id, holder, _) = held();
    fleet.member(&holder, |member| member.contact = Contact::Unreachable);
    fleet.ledger(id, |record| record.pin = Some(name(&holder)));
    assert_eq!(said(&fleet.only()), (State::Held, Some("HolderUnreachable"), Some(name(&holder))));
}

#[test]
fn a_direct_holder_that_is_not_admitted_loses_the_grant_also_where_the_hub_has_the_secret() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    let admitting = |clusters: &[&str]| json!({"repository": {"name": "repo", "namespace": "app"}, "clusterSelector": {"matchNames": clusters}});
    fleet.policy("p", &admitting(&["c1", "c2"])).secret("hub/app/repo", s3("bucket"));
    let id = fleet.only().id;
    fleet.held(id, "c2", 2).policy("p", &admitting(&["c1"]));
    assert_eq!(said(&fleet.only()), maintained("c1"));
}

#[test]
fn a_cluster_that_is_registered_under_another_name_holds_what_it_held() {
    let mut fleet = Fixture::new(&["new", "other"]);
    fleet.default_policy().source("new/app/one", "bucket").source("other/app/one", "bucket");
    let id = fleet.only().id;
    fleet.ledger(id, |record| record.grant = Some(Grant { cluster_uid: Some("uid".into()), ..grant("old", 7) }));
    let before = fleet.only();
    assert_eq!((before.state, before.cluster), (State::Held, Some("old".into())));
    for name in ["new", "other"] {
        fleet.fleet.members.get_mut(&name.into()).unwrap().cluster_uid = Some("uid".into());
        let plan = fleet.only();
        assert_eq!((plan.state, plan.cluster, plan.epoch), (State::Maintained, Some(name.into()), Some(7)));
        fleet.fleet.members.get_mut(&name.into()).unwrap().cluster_uid = None;
    }
    // One that nobody can reach is no better.
    let record = fleet.fleet.members.get_mut(&"new".into()).unwrap();
    (record.cluster_uid, record.contact) = (Some("uid".into()), Contact::Unreachable);
    let plan = fleet.only();
    assert_eq!((plan.state, plan.cluster), (State::Held, Some("old".into())));
}

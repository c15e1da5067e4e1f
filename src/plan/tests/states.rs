//! What may never follow from missing data.

use serde_json::json;

use crate::plan::fleet::{Contact, MemberRecord};
use crate::plan::result::{Push, State};
use crate::plan::testing::{Fixture, member, name};

#[test]
fn no_policy_removes_what_is_pushed_even_with_a_grant() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.source("c1/app/one", "bucket");
    let id = fleet.only().id;
    fleet.held(id, "c1", 1).pushed("c1", id, None);
    let plan = fleet.only();
    assert_eq!((plan.state, plan.reason, plan.cluster, plan.found), (State::NoPolicy, None, None, None));
    assert_eq!((plan.push, plan.epoch), (Push::Remove, Some(1)));
}

#[test]
fn where_a_member_can_not_be_seen_no_policy_removes_nothing() {
    for contact in [Contact::Unreachable, Contact::Syncing] {
        let mut fleet = Fixture::new(&["c1", "c2"]);
        fleet.source("c1/app/one", "bucket");
        fleet.policy("p", &json!({"repositorySelector": {"repository": "other-*"}}));
        fleet.member("c2", |member| member.contact = contact);
        let plan = fleet.only();
        assert_eq!((plan.state, plan.push), (State::NoPolicy, Push::Keep));
        // A policy that does not let it in can match nothing there.
        let clusters = json!({"matchNames": ["c1"]});
        fleet.policy("p", &json!({"repositorySelector": {"repository": "other-*"}, "clusterSelector": clusters}));
        assert_eq!(fleet.only().push, Push::Remove);
    }
}

#[test]
fn a_repository_whose_only_known_holder_is_away_is_held() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().source("c1/app/one", "bucket");
    let plan = fleet.only();
    fleet.fleet.sources.clear();
    fleet.held(plan.id, "c1", 1).ledger(plan.id, |record| record.key = Some(plan.key));
    fleet.member("c1", |member| member.contact = Contact::Unreachable);
    let held = fleet.only();
    assert_eq!((held.state, held.cluster, held.push), (State::Held, Some(name("c1")), Push::Keep));
    let elsewhere = json!({"repositorySelector": {"repository": "*"}, "clusterSelector": {"matchNames": ["c2"]}});
    fleet.policy("default", &elsewhere);
    assert_eq!(fleet.only().state, State::NoPolicy, "no policy lets it in");
    fleet.default_policy();
    fleet.member("c1", |member| member.contact = Contact::Synced);
    assert_eq!(fleet.only().state, State::NoPolicy);
}

#[test]
fn an_empty_fleet_is_planned() {
    let plan = Fixture::new(&[]).plan();
    assert!(plan.repositories.is_empty() && plan.problems.is_empty());
}

#[test]
fn nothing_is_written_where_nothing_can_be_seen_or_the_operator_said_so() {
    for (contact, paused, written) in [
        (Contact::Synced, false, true),
        (Contact::Synced, true, false),
        (Contact::Syncing, false, false),
        (Contact::Unreachable, false, false),
        (Contact::Unreachable, true, false),
    ] {
        let record = MemberRecord { paused, contact, ..member() };
        assert_eq!(record.is_written_to(), written, "{contact:?} {paused}");
    }
}

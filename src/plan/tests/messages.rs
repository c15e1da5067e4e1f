//! What people are told of each state.

use serde_json::{Value, json};

use crate::plan::explain::{Seen, explain};
use crate::plan::fleet::Contact;
use crate::plan::testing::{Fixture, at, name};

fn one() -> Fixture {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.source("c1/app/one", "bucket");
    fleet
}

fn under(spec: &Value) -> Fixture {
    let mut fleet = one();
    fleet.policy("p", spec);
    fleet
}

#[test]
fn each_state_is_told_with_what_made_it() {
    let all = json!({"repository": "*"});
    let told = |fleet: &Fixture| fleet.only().message;
    assert_eq!(told(&one()), "no policy matches a source of it or names it");
    let disabled = under(&json!({"repositorySelector": all, "enabled": false}));
    assert_eq!(told(&disabled), "policy p says enabled: false");
    assert_eq!(told(&under(&json!({"repositorySelector": all}))), "maintained in c1 under policy p");
    let suspended = under(&json!({"repositorySelector": all, "suspend": true}));
    assert_eq!(told(&suspended), "policy p says suspend: true; the CronJob in c1 is suspended");
    let mut frozen = under(&json!({"repositorySelector": all}));
    let id = frozen.only().id;
    frozen.held(id, "c1", 1).ledger(id, |record| record.frozen_until = Some(at("2026-07-01T00:00:00Z")));
    assert_eq!(told(&frozen), "frozen until 2026-07-01T00:00:00Z; the CronJob in c1 is suspended");
}

#[test]
fn what_holds_a_repository_is_told() {
    let rest = "; what stands in the members stays as it is";
    let mut fleet = under(&json!({"repositorySelector": {"repository": "*"}}));
    let id = fleet.only().id;
    fleet.held(id, "c1", 1);
    fleet.ledger(id, |record| record.pin = Some(name("nowhere")));
    assert_eq!(fleet.only().message, format!("pinned to nowhere, which is no candidate{rest}"));
    fleet.ledger(id, |record| record.pin = None);
    fleet.member("c1", |member| member.paused = true);
    let pending = fleet.only().message;
    let why = "the holder c1 is no candidate any more: its MemberCluster says paused: true; ";
    assert!(pending.starts_with(why) && pending.ends_with(rest), "{pending}");
    fleet.policy("p", &json!({"repositorySelector": {"repository": "*"}, "schedule": "0 0 31 2 *"}));
    let invalid = fleet.only().message;
    assert!(invalid.starts_with("the winning policy p is invalid: spec.schedule: "), "{invalid}");
    assert!(invalid.ends_with(rest), "{invalid}");
}

#[test]
fn an_unreachable_holder_is_told_to_go_on_by_itself() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.default_policy().source("c1/app/one", "bucket").source("c2/app/one", "bucket");
    let plan = fleet.only();
    let holder = plan.cluster.unwrap();
    fleet.held(plan.id, holder.as_str(), 1);
    fleet.member(holder.as_str(), |member| member.contact = Contact::Unreachable);
    let message = fleet.only().message;
    assert!(message.starts_with(&format!("the holder {holder} can't be reached; it goes on by itself;")), "{message}");
}

#[test]
fn members_that_can_not_run_it_are_named_three_at_most() {
    let names = ["c1", "c2", "c3", "c4"];
    let mut fleet = Fixture::new(&names);
    fleet.default_policy();
    for name in names {
        fleet.source(&format!("{name}/app/one"), "bucket").member(name, |member| member.paused = true);
    }
    let paused = "its MemberCluster says paused: true";
    let message = format!("no member can run it: c1: {paused}; c2: {paused}; c3: {paused}");
    assert_eq!(fleet.only().message, message);
}

#[test]
fn eight_labels_are_shown_in_full_and_of_more_that_there_are_more() {
    let shown = |count: usize| {
        let mut fleet = under(&json!({"repositorySelector":
            {"repository": "*", "namespaceSelector": {"matchLabels": {"wanted": "yes"}}}}));
        let keys: Vec<String> = (0..count).map(|number| format!("k{number}")).collect();
        let pairs: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
        fleet.namespace("c1", "app", &pairs);
        let plan = fleet.only();
        let sources: Vec<_> = fleet.plan().sources.into_iter().map(|it| it.source).collect();
        let seen = Seen { fleet: &fleet.fleet, options: &fleet.options, now: fleet.now, sources: &sources };
        let explanation = explain(seen, &plan);
        explanation.policies[0].near_misses[0].message.clone()
    };
    assert!(shown(8).contains("k6=v, k7=v, not wanted=yes"), "{}", shown(8));
    assert!(shown(9).contains("k6=v, k7=v, …, not wanted=yes"), "{}", shown(9));
    assert!(shown(0).contains("no labels, not wanted=yes"), "{}", shown(0));
}

#[test]
fn a_pin_that_nobody_satisfies_is_told_also_where_nobody_holds() {
    let mut fleet = under(&json!({"repositorySelector": {"repository": "*"}}));
    let id = fleet.only().id;
    fleet.ledger(id, |record| record.pin = Some(name("nowhere")));
    assert_eq!(fleet.only().message, "pinned to nowhere, which is no candidate");
}

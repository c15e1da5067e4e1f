//! Who wins, and what a winner rules.

use serde_json::{Value, json};

use crate::plan::result::{Push, State};
use crate::plan::testing::{Fixture, s3};

fn selector(pattern: &str, priority: i32) -> Value {
    json!({"repositorySelector": {"repository": pattern}, "priority": priority})
}

fn fleet() -> Fixture {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.source("c1/app/one", "bucket");
    fleet
}

#[test]
fn the_highest_priority_wins_then_the_oldest_then_the_name() {
    let mut fleet = fleet();
    fleet.policy("low", &selector("*", -5)).policy("high", &selector("*", 50)).policy("b", &selector("*", 10));
    fleet.policy("a", &selector("*", 10)).policy("old", &selector("*", 10)).policy("B", &selector("*", 10));
    fleet.born("low", 1).born("high", 9).born("old", 1).born("a", 2).born("b", 2).born("B", 2);
    let repository = fleet.only();
    assert_eq!(repository.policy, Some("high".into()));
    let shadowed: Vec<&str> = repository.shadowed.iter().map(crate::names::PolicyName::as_str).collect();
    assert_eq!(shadowed, ["old", "B", "a", "b", "low"]);
}

#[test]
fn a_policy_without_a_creation_time_is_the_newest() {
    let mut fleet = fleet();
    fleet.policy("a", &selector("*", 0)).policy("z", &selector("*", 0)).born("z", 28);
    assert_eq!(fleet.only().policy, Some("z".into()));
}

#[test]
fn a_narrow_pattern_or_a_direct_name_is_no_precedence() {
    let mut fleet = fleet();
    fleet.policy("all", &selector("*", 1)).policy("exact", &selector("one-secret", 0));
    fleet.policy("direct", &json!({"repository": {"name": "repo", "namespace": "app"}}));
    fleet.secret("hub/app/repo", s3("bucket"));
    let repository = fleet.only();
    assert_eq!(repository.policy, Some("all".into()));
    let shadowed: Vec<&str> = repository.shadowed.iter().map(crate::names::PolicyName::as_str).collect();
    assert_eq!(shadowed, ["direct", "exact"]);
}

#[test]
fn the_winner_rules_also_the_sources_that_it_does_not_match() {
    let mut fleet = fleet();
    fleet.source("c1/web/two", "bucket").source("c1/web/alone", "other");
    fleet.policy("all", &selector("*", 0)).policy("one", &selector("one-*", 5));
    assert_eq!(fleet.source_plan("c1/web/two").policy, Some("one".into()));
    assert_eq!(fleet.source_plan("c1/web/alone").policy, Some("all".into()));
    assert_eq!(fleet.policy_plan("one").matched_sources, 1);
    assert_eq!((fleet.policy_plan("all").matched_sources, fleet.policy_plan("all").repositories), (3, 2));
}

#[test]
fn a_disabled_override_opts_a_repository_out() {
    let mut fleet = fleet();
    fleet
        .default_policy()
        .policy("off", &json!({"repositorySelector": {"repository": "one-*"}, "priority": 1, "enabled": false}));
    let id = fleet.only().id;
    fleet.held(id, "c1", 3).pushed("c1", id, None);
    let repository = fleet.only();
    assert_eq!((repository.state, repository.reason), (State::Disabled, None));
    assert_eq!((repository.cluster, repository.push, repository.found), (None, Push::Remove, None));
}

#[test]
fn a_suspended_winner_keeps_a_suspended_cron_job() {
    let mut fleet = fleet();
    fleet.policy("p", &json!({"repositorySelector": {"repository": "*"}, "suspend": true}));
    let repository = fleet.only();
    assert_eq!((repository.state, repository.cluster), (State::Suspended, Some("c1".into())));
    assert!(matches!(&repository.push, Push::Objects(assignment) if assignment.suspend));
}

#[test]
fn an_invalid_policy_competes_and_if_it_wins_the_repository_is_held() {
    let mut fleet = fleet();
    fleet
        .default_policy()
        .policy("typo", &json!({"repositorySelector": {"repository": "*"}, "priority": 5, "enabled": "no"}));
    let repository = fleet.only();
    assert_eq!((repository.state, repository.reason), (State::Held, Some("InvalidPolicy")));
    assert_eq!((repository.policy, repository.cluster), (Some("typo".into()), None));
    assert_eq!((repository.push, repository.found), (Push::Keep, None));
    assert_eq!(repository.shadowed, ["default".into()]);
    let policy = fleet.policy_plan("typo");
    assert!(!policy.valid && policy.message.contains("enabled"), "{}", policy.message);
    assert_eq!((policy.matched_sources, policy.repositories), (1, 1));
    assert!(fleet.policy_plan("default").valid);
}

#[test]
fn what_is_pushed_stays_under_an_invalid_winner() {
    let mut fleet = fleet();
    fleet.policy("typo", &json!({"repositorySelector": {"repository": "*"}, "schedule": "not a schedule"}));
    let id = fleet.only().id;
    fleet.held(id, "c1", 3).pushed("c1", id, None);
    let repository = fleet.only();
    assert_eq!((repository.state, repository.reason), (State::Held, Some("InvalidPolicy")));
    assert_eq!((repository.cluster, repository.epoch, &repository.push), (Some("c1".into()), Some(3), &Push::Keep));
    let found = repository.found.unwrap();
    assert_eq!(
        (&*found.schedule, found.time_zone.as_deref(), found.suspend),
        ("1 1 * * *", Some("Europe/Berlin"), false)
    );
    assert_eq!(*found.object.name, *id.object_name());
}

#[test]
fn an_invalid_policy_that_loses_is_shadowed() {
    let mut fleet = fleet();
    fleet.policy("best", &selector("*", 9));
    fleet.policy("typo", &json!({"repositorySelector": {"repository": "*"}, "schedule": "x"}));
    let repository = fleet.only();
    assert_eq!((repository.state, repository.shadowed), (State::Maintained, vec!["typo".into()]));
}

#[test]
fn a_policy_that_can_not_be_read_in_what_it_selects_competes_for_nothing() {
    for spec in [
        json!({"repositorySelector": {"repository": "*"}, "priority": 101}),
        json!({"repositorySelector": {"repository": "*"}, "priority": "high"}),
        json!({"repositorySelector": {}}),
        json!({"repositorySelector": {"repository": "*", "namespaceSelector": {"matchNames": "app"}}}),
        json!({"repositorySelector": {"repository": "*"}, "clusterSelector": ["c1"]}),
        json!({"repository": {"name": "repo"}}),
        json!({"repository": {"name": "a", "repository": "b", "namespace": "app"}}),
        json!({"repositorySelector": {"repository": "*"}, "repository": {"name": "repo", "namespace": "app"}}),
        json!({}),
    ] {
        let mut fleet = fleet();
        fleet.default_policy().policy("bad", &spec);
        let repository = fleet.only();
        assert_eq!((repository.policy, repository.shadowed), (Some("default".into()), vec![]), "{spec}");
        let policy = fleet.policy_plan("bad");
        assert_eq!((policy.valid, policy.matched_sources, policy.repositories), (false, 0, 0), "{spec}");
        assert!(!policy.message.is_empty(), "{spec}");
    }
}

#[test]
fn a_wrong_ca_leaves_no_doubt_about_what_is_selected() {
    let mut fleet = fleet();
    let ca = json!({"configMapName": "a", "secretName": "b"});
    fleet.secret("hub/app/repo", s3("bucket"));
    fleet.policy("bad", &json!({"repository": {"name": "repo", "namespace": "app", "customCA": ca}}));
    assert_eq!(fleet.only().reason, Some("InvalidPolicy"));
}

#[test]
fn no_match_is_no_policy() {
    let mut fleet = fleet();
    fleet.policy("p", &selector("other", 0));
    let repository = fleet.only();
    assert_eq!((repository.state, repository.policy), (State::NoPolicy, None));
    assert_eq!((repository.cluster, repository.push), (None, Push::Remove));
}

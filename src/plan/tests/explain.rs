//! What is said about a plan is what made it.

use serde_json::json;

use crate::plan::explain::{Explanation, PolicyOutcome, PolicyWhy, Seen, explain, near_misses};
use crate::plan::fields::{Field, Origin};
use crate::plan::fleet::Contact;
use crate::plan::result::Push;
use crate::plan::testing::{Fixture, at, source_key};

fn explained(fleet: &Fixture, source: &str) -> Explanation {
    let plan = fleet.repository(source);
    let sources: Vec<_> =
        fleet.plan().sources.into_iter().filter(|it| it.repository == Some(plan.id)).map(|it| it.source).collect();
    let seen = Seen { fleet: &fleet.fleet, options: &fleet.options, now: fleet.now, sources: &sources };
    explain(seen, &plan)
}

fn why<'a>(explanation: &'a Explanation, policy: &str) -> &'a PolicyWhy {
    explanation.policies.iter().find(|why| why.name == policy).unwrap()
}

fn fleet() -> Fixture {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.source("c1/app/one", "bucket").source("c2/app/one", "bucket").namespace("c1", "app", &[("env", "test")]);
    fleet.default_policy().born("default", 2);
    fleet
}

#[test]
fn every_loser_is_told_by_the_first_thing_in_which_it_differs() {
    let mut fleet = fleet();
    let selector = |priority: i32| json!({"repositorySelector": {"repository": "*"}, "priority": priority});
    fleet.policy("low", &selector(-1)).policy("young", &selector(0)).born("young", 3);
    fleet.policy("twin", &selector(0)).born("twin", 2).policy("ageless", &selector(0));
    let explanation = explained(&fleet, "c1/app/one");
    let names: Vec<_> = explanation.policies.iter().map(|why| (why.name.as_str(), why.outcome)).collect();
    let lost = PolicyOutcome::Lost;
    assert_eq!(
        names,
        [("default", PolicyOutcome::Won), ("twin", lost), ("young", lost), ("ageless", lost), ("low", lost)]
    );
    assert!(why(&explanation, "low").because.contains("priority 0, this one -1"));
    assert!(why(&explanation, "young").because.contains("older"));
    assert!(why(&explanation, "ageless").because.contains("unknown"));
    assert!(why(&explanation, "twin").because.contains("by name"));
    assert!(explanation.policies.iter().all(|why| why.matched_sources == 2));
}

#[test]
fn what_keeps_a_policy_from_matching_is_named_and_near_misses_are_told() {
    let mut fleet = fleet();
    let selector = json!({"repository": "one-*", "namespaceSelector": {"matchLabels": {"env": "prod"}}});
    fleet.policy("near", &json!({"repositorySelector": selector}));
    fleet.policy("far", &json!({"repositorySelector": {"repository": "x"}, "clusterSelector": {"matchNames": ["c9"]}}));
    let explanation = explained(&fleet, "c1/app/one");
    let near = why(&explanation, "near");
    assert_eq!((near.outcome, near.matched_sources), (PolicyOutcome::NotMatched, 0));
    let misses: Vec<_> =
        near.near_misses.iter().map(|it| (it.source.as_str(), it.field, it.message.as_str())).collect();
    let field = "repositorySelector.namespaceSelector.matchLabels";
    assert_eq!((misses[0].0, misses[0].1), ("c1/app/one", field));
    assert!(misses[0].2.contains("env=test") && misses[0].2.contains("env=prod"), "{}", misses[0].2);
    assert!(misses[1].2.contains("not known"), "{}", misses[1].2);
    let far = why(&explanation, "far");
    assert!(far.near_misses.is_empty());
    assert!(
        far.because.contains("one-secret") && far.because.contains("clusterSelector.matchNames"),
        "{}",
        far.because
    );
    // The same for a policy over the whole fleet.
    let record = &fleet.fleet.policies[&"near".into()];
    let claim = record.claim.as_ref().unwrap();
    assert_eq!(near_misses(&fleet.fleet, claim, None, 10).0, near.near_misses);
    let (mut one_by_one, mut after) = (Vec::new(), None);
    loop {
        let (some, last) = near_misses(&fleet.fleet, claim, after.as_ref(), 1);
        one_by_one.extend(some);
        after = last;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(one_by_one, near.near_misses);
}

#[test]
fn members_stand_in_the_order_of_the_election_with_what_excludes_them() {
    let mut fleet = fleet();
    let plan = fleet.only();
    let [first, second] = [0, 1].map(|at| plan.candidates[at].member.to_string());
    let explanation = explained(&fleet, "c1/app/one");
    let members: Vec<_> = explanation.members.iter().map(|it| (it.name.clone(), it.chosen, it.holder)).collect();
    assert_eq!(members, [(first.clone(), true, false), (second.clone(), false, false)]);
    assert!(explanation.members[0].weight > explanation.members[1].weight);
    fleet.held(plan.id, &second, 1).member(&first, |member| member.paused = true);
    let explanation = explained(&fleet, "c1/app/one");
    assert_eq!((explanation.members[0].name.clone(), explanation.members[0].holder), (second, true));
    assert_eq!(explanation.members[1].excluded, Some("Paused"));
}

#[test]
fn each_field_says_where_it_came_from() {
    let mut fleet = fleet();
    let spec = json!({"repositorySelector": {"repository": "*"}, "schedule": "0 4 * * *", "enabled": true,
        "nodeSelector": {"workload": "maintenance"}});
    fleet.policy("default", &spec);
    fleet.options.time_zone = "Europe/Berlin".parse().unwrap();
    let explanation = explained(&fleet, "c1/app/one");
    let from = |name: &str| explanation.fields.iter().find(|field| field.name == name).map(|field| field.from);
    assert_eq!(from("schedule"), Some(Origin::Policy));
    assert_eq!(from("nodeSelector"), Some(Origin::Policy));
    assert_eq!(from("timeZone"), Some(Origin::HubOption));
    assert_eq!(from("image"), Some(Origin::Member));
    assert_eq!((from("enabled"), from("resources")), (Some(Origin::Default), Some(Origin::Default)));
    assert_eq!(from("affinity"), None);
}

#[test]
fn each_default_is_told_from_what_a_policy_asks_for() {
    let origins = |more: &serde_json::Value| {
        let mut spec = json!({"repositorySelector": {"repository": "*"}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut fleet = fleet();
        fleet.policy("default", &spec);
        explained(&fleet, "c1/app/one").fields
    };
    let other = json!({"schedule": "0 3 * * *", "enabled": false, "suspend": true, "mode": "Observe", "cycle": "Full",
        "failover": {"mode": "Automatic", "after": "36h"}, "activeDeadlineSeconds": 600,
        "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 2, "resources": {"limits": {"memory": "2Gi"}}});
    let (defaults, asked) = (origins(&json!({})), origins(&other));
    for name in other.as_object().unwrap().keys() {
        let of = |fields: &[Field]| fields.iter().find(|field| field.name == name).map(|field| field.from);
        assert_eq!((of(&defaults), of(&asked)), (Some(Origin::Default), Some(Origin::Policy)), "{name}");
    }
    let failover = asked.iter().find(|field| field.name == "failover").unwrap();
    assert_eq!(failover.value, json!({"mode": "Automatic", "afterSeconds": 129_600}));
}

#[test]
fn runs_of_a_member_out_of_reach_are_foretold_where_what_stands_there_is_what_was_planned() {
    let mut fleet = fleet();
    let plan = fleet.only();
    let holder = plan.cluster.unwrap();
    fleet.held(plan.id, holder.as_str(), 1).pushed(holder.as_str(), plan.id, None);
    fleet.member(holder.as_str(), |member| member.contact = Contact::Unreachable);
    assert_eq!(fleet.only().push, Push::Keep);
    for (schedule, suspend, runs) in [("0 2 * * *", false, 3), ("0 2 * * *", true, 0), ("1 1 * * *", false, 0)] {
        let standing = fleet.fleet.cron_jobs.values_mut().next().unwrap();
        (standing.schedule, standing.suspend) = (schedule.into(), suspend);
        assert_eq!(explained(&fleet, "c1/app/one").next.len(), runs, "{schedule} {suspend}");
    }
}

#[test]
fn the_next_three_runs_are_those_of_the_cron_job_in_both_zones() {
    let mut fleet = fleet();
    let spec =
        json!({"repositorySelector": {"repository": "*"}, "schedule": "30 2 * * *", "timeZone": "Europe/Berlin"});
    fleet.policy("default", &spec);
    // The night in which clocks there go forward: half past two does not exist.
    fleet.now = at("2026-03-28T00:00:00Z");
    let next = explained(&fleet, "c1/app/one").next;
    let shown: Vec<_> = next.iter().map(|run| (run.utc.to_string(), run.local.as_str(), run.zone.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("2026-03-28T01:30:00Z".to_owned(), "Sat 2026-03-28 02:30 CET", "Europe/Berlin"),
            ("2026-03-30T00:30:00Z".to_owned(), "Mon 2026-03-30 02:30 CEST", "Europe/Berlin"),
            ("2026-03-31T00:30:00Z".to_owned(), "Tue 2026-03-31 02:30 CEST", "Europe/Berlin"),
        ]
    );
    for spec in [json!({"enabled": false}), json!({"suspend": true}), json!({"schedule": "x"})] {
        let mut whole = json!({"repositorySelector": {"repository": "*"}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        fleet.policy("default", &whole);
        assert!(explained(&fleet, "c1/app/one").next.is_empty(), "{spec}");
    }
}

#[test]
fn a_direct_policy_that_means_another_repository_says_so() {
    let mut fleet = fleet();
    fleet.policy("direct", &json!({"repository": {"name": "repo", "namespace": "app"}}));
    fleet.secret("hub/app/repo", crate::plan::testing::s3("other"));
    let explanation = explained(&fleet, "c1/app/one");
    assert!(why(&explanation, "direct").because.contains("another repository"));
    assert!(fleet.fleet.sources.contains_key(&source_key("c1/app/one")));
}

#[test]
fn a_member_that_could_run_it_is_told_whether_another_one_does() {
    let mut fleet = fleet();
    let told = |fleet: &Fixture, at: usize| explained(fleet, "c1/app/one").members[at].because.clone();
    assert_eq!(told(&fleet, 0), "it comes first in the election");
    assert_eq!(told(&fleet, 1), "another one holds the grant or comes before it");
    assert_eq!(why(&explained(&fleet, "c1/app/one"), "default").because, "no other policy that matches goes before it");
    fleet.policy("default", &json!({"repositorySelector": {"repository": "*"}, "enabled": false}));
    assert_eq!([0, 1].map(|at| told(&fleet, at)), ["it could run it", "it could run it"]);
}

#[test]
fn a_field_that_is_set_goes_before_the_option_of_the_hub_and_an_empty_one_is_none() {
    let mut fleet = fleet();
    let empty = json!({"repositorySelector": {"repository": "*"}, "timeZone": "Europe/Berlin", "tolerations": [],
        "nodeSelector": {}});
    fleet.policy("default", &empty);
    let fields = explained(&fleet, "c1/app/one").fields;
    let zone = fields.iter().find(|field| field.name == "timeZone").unwrap();
    assert_eq!((&zone.value, zone.from), (&json!("Europe/Berlin"), Origin::Policy));
    assert!(fields.iter().all(|field| field.value != json!([]) && field.value != json!({})), "{fields:?}");
}

//! What a Job gets of a Secret that was just read, and what only observes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::plan::Planner;
use crate::plan::result::{Assignment, Push, RepositoryPlan};
use crate::plan::testing::{Fixture, observations};

fn planner(fleet: &Fixture) -> Planner {
    let mut planner = Planner::new(fleet.options.clone());
    for observation in observations(&fleet.fleet) {
        planner.apply(observation);
    }
    planner
}

fn assignment(plan: &RepositoryPlan) -> &Assignment {
    match &plan.push {
        Push::Objects(assignment) => assignment,
        push => panic!("nothing is pushed: {push:?}"),
    }
}

fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

#[test]
fn a_copy_holds_the_credentials_and_says_which_repository_they_are_for() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().source("c1/app/one", "bucket");
    let plan = fleet.only();
    let planner = planner(&fleet);
    let secret = |bucket: &str| data(&[("KOPIA_REPOSITORY", bucket), ("KOPIA_PASSWORD", "p"), ("OTHER", "o")]);
    let (key, copy) = planner.copy_of(assignment(&plan), &secret("s3://bucket/"), &Value::Null).unwrap();
    assert_eq!((key, copy), (plan.key, data(&[("KOPIA_PASSWORD", "p")])));
    let (other, _) = planner.copy_of(assignment(&plan), &secret("s3://other/"), &Value::Null).unwrap();
    assert_ne!(other, plan.key);
    assert_eq!(planner.copy_of(assignment(&plan), &secret("nonsense"), &Value::Null), None);
}

#[test]
fn only_under_a_valid_policy_that_observes_is_a_repository_observed() {
    for (mode, observed) in [(json!("Observe"), true), (json!("Enforce"), false), (json!("x"), false)] {
        let mut fleet = Fixture::new(&["c1"]);
        fleet.policy("p", &json!({"repositorySelector": {"repository": "*"}, "mode": mode}));
        fleet.source("c1/app/one", "bucket");
        assert_eq!(planner(&fleet).is_observed(&fleet.only()), observed, "{mode}");
    }
    let mut fleet = Fixture::new(&["c1"]);
    fleet.source("c1/app/one", "bucket");
    assert!(!planner(&fleet).is_observed(&fleet.only()), "without a policy");
}

#[test]
fn a_source_with_something_to_say_of_its_repository_has_overrides() {
    for (kopia, expected) in [(json!({}), false), (json!({"additionalArgs": ["--prefix=x"]}), true)] {
        let mut fleet = Fixture::new(&["c1"]);
        fleet.default_policy().source("c1/app/one", "bucket");
        let mut whole = json!({"repository": "one-secret"});
        whole.as_object_mut().unwrap().extend(kopia.as_object().unwrap().clone());
        fleet.kopia("c1/app/one", &whole);
        assert_eq!(planner(&fleet).has_overrides(assignment(&fleet.only())), expected, "{kopia}");
    }
}

//! What a policy that selects matches.

use serde_json::{Value, json};

use crate::plan::testing::{Fixture, labels};

/// Three sources in two members; `app` is a production namespace in c1 only, `bare` has no Namespace object.
fn fleet() -> Fixture {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.member("c1", |member| member.labels = labels(&[("region", "eu"), ("tier", "gold")]));
    fleet.namespace("c1", "app", &[("env", "prod"), ("team", "a")]);
    fleet.namespace("c2", "app", &[("env", "test")]);
    fleet.source("c1/app/one", "bucket-1").source("c1/bare/two", "bucket-2").source("c2/app/three", "bucket-3");
    fleet
}

const ALL: [&str; 3] = ["c1/app/one", "c1/bare/two", "c2/app/three"];

fn matched(spec: &Value) -> Vec<&'static str> {
    let mut fleet = fleet();
    fleet.policy("p", spec);
    let plan = fleet.plan();
    assert!(plan.policies[0].valid, "{spec}: {}", plan.policies[0].message);
    let ruled: Vec<&str> = ALL.into_iter().filter(|source| fleet.source_plan(source).policy.is_some()).collect();
    assert_eq!(plan.policies[0].matched_sources, ruled.len());
    assert_eq!(plan.policies[0].repositories, ruled.len());
    ruled
}

#[test]
fn every_condition_has_to_hold() {
    let in_namespace =
        |namespaces: Value| json!({"repositorySelector": {"repository": "*", "namespaceSelector": namespaces}});
    let in_cluster = |clusters: Value| json!({"repositorySelector": {"repository": "*"}, "clusterSelector": clusters});
    let [one, two, three] = ALL;
    for (spec, expected) in [
        (json!({"repositorySelector": {"repository": "*"}}), vec![one, two, three]),
        // The glob is held against the Secret's name.
        (json!({"repositorySelector": {"repository": "one-*"}}), vec![one]),
        (json!({"repositorySelector": {"repository": "t*-secret"}}), vec![two, three]),
        (json!({"repositorySelector": {"repository": "one"}}), vec![]),
        (json!({"repositorySelector": {"repository": "bucket-1"}}), vec![]),
        (in_namespace(json!({})), vec![one, two, three]),
        (in_namespace(json!({"matchNames": ["app"]})), vec![one, three]),
        (in_namespace(json!({"matchNames": ["ap", "bare"]})), vec![two]),
        (in_namespace(json!({"excludeNames": ["app"]})), vec![two]),
        (in_namespace(json!({"matchNames": ["app"], "excludeNames": ["app"]})), vec![]),
        (in_namespace(json!({"matchLabels": {"env": "prod"}})), vec![one]),
        (in_namespace(json!({"matchLabels": {"env": "prod", "team": "b"}})), vec![]),
        (in_namespace(json!({"matchNames": ["app"], "matchLabels": {"env": "test"}})), vec![three]),
        (
            in_namespace(json!({"matchExpressions": [{"key": "env", "operator": "In", "values": ["prod", "test"]}]})),
            vec![one, three],
        ),
        (
            in_namespace(json!({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]})),
            vec![three],
        ),
        (in_namespace(json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]})), vec![one]),
        (in_namespace(json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]})), vec![three]),
        (in_cluster(json!({})), vec![one, two, three]),
        (in_cluster(json!({"matchNames": ["c1"]})), vec![one, two]),
        (in_cluster(json!({"matchNames": ["?2"]})), vec![three]),
        (in_cluster(json!({"matchNames": ["c"]})), vec![]),
        (in_cluster(json!({"matchLabels": {"region": "eu"}})), vec![one, two]),
        (in_cluster(json!({"matchLabels": {"region": "eu"}, "matchNames": ["c2"]})), vec![]),
        // A member without a MemberCluster is known to have no labels.
        (
            in_cluster(json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["gold"]}]})),
            vec![three],
        ),
        (in_cluster(json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]})), vec![three]),
        (in_cluster(json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]})), vec![one, two]),
    ] {
        assert_eq!(matched(&spec), expected, "{spec}");
    }
}

#[test]
fn without_a_namespace_object_no_label_condition_holds() {
    for selector in [
        json!({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]}),
        json!({"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}),
        json!({"matchLabels": {"env": "prod"}}),
    ] {
        let spec = json!({"repositorySelector": {"repository": "*", "namespaceSelector": selector}});
        assert!(!matched(&spec).contains(&"c1/bare/two"), "{selector}");
    }
}

#[test]
fn a_relabelled_namespace_moves_its_repository_to_another_policy() {
    let mut fleet = fleet();
    fleet.default_policy();
    let selector = json!({"repository": "*", "namespaceSelector": {"matchLabels": {"env": "prod"}}});
    fleet.policy("prod", &json!({"repositorySelector": selector, "priority": 10}));
    assert_eq!(fleet.repository("c1/app/one").policy, Some("prod".into()));
    fleet.namespace("c1", "app", &[("env", "test")]);
    assert_eq!(fleet.repository("c1/app/one").policy, Some("default".into()));
}

#[test]
fn a_source_whose_secret_can_not_be_read_is_matched_all_the_same() {
    let mut fleet = fleet();
    fleet.default_policy();
    fleet.secret("c1/app/one-secret", crate::plan::fleet::SecretState::Absent);
    fleet.kopia("c1/app/claim", &json!({"repository": "x", "repositoryPVC": "y"})).kopia("c1/app/none", &json!({}));
    let policy = fleet.policy_plan("default");
    assert_eq!((policy.matched_sources, policy.repositories), (3, 2));
    assert_eq!(fleet.source_plan("c1/app/one").policy, None);
}

#[test]
fn a_source_that_is_not_ready_is_matched_all_the_same() {
    let mut fleet = fleet();
    fleet.default_policy();
    fleet.secret("c1/app/one-secret", crate::plan::testing::facts(&[("KOPIA_REPOSITORY", "s3://bucket-1")]));
    assert_eq!(fleet.policy_plan("default").matched_sources, 3);
}

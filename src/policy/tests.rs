//! What is read of policies that are right, wrong in one place, or wrong all over.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(spec: &Value) -> PolicyRecord {
    let metadata = json!({"name": "p", "uid": "u", "generation": 3, "creationTimestamp": "2024-05-01T10:00:00Z"});
    let object = json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance", "metadata": metadata,
        "spec": spec});
    PolicyRecord::read(&object, &PolicyRules::default())
}

/// A policy for all repositories, with these fields on top.
fn with(more: &Value) -> PolicyRecord {
    let mut spec = json!({"repositorySelector": {"repository": "*"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    read(&spec)
}

fn settings(record: &PolicyRecord) -> &PolicySettings {
    record.settings.as_ref().unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn fields(record: &PolicyRecord) -> Vec<&str> {
    record.problems().iter().map(|problem| problem.field.as_str()).collect()
}

#[test]
fn a_short_policy_gets_every_default() {
    let record = with(&json!({}));
    assert_eq!((record.name.as_str(), record.uid.as_deref(), record.generation), ("p", Some("u"), 3));
    assert_eq!(record.created.unwrap().to_string(), "2024-05-01T10:00:00Z");
    let claim = record.claim.as_ref().unwrap();
    let everything = PolicyTarget::Selector { pattern: "*".into(), namespaces: NamespaceSelector::default() };
    assert_eq!((claim.priority, &claim.clusters, &claim.target), (0, &ClusterSelector::default(), &everything));
    let settings = settings(&record);
    assert_eq!((settings.enabled, settings.suspend, settings.observe), (true, false, false));
    assert_eq!((&*settings.schedule_text, settings.active_deadline_seconds), ("0 2 * * *", 10_800));
    assert_eq!((settings.successful_jobs_history_limit, settings.failed_jobs_history_limit), (3, 1));
    assert_eq!(
        (settings.cycle, settings.failover),
        (Cycle::Auto, Failover { automatic: false, after_seconds: 86_400 })
    );
    assert_eq!(settings.time_zone, None);
}

#[test]
fn the_memory_default_is_for_absent_resources_only() {
    let memory = |record: &PolicyRecord| {
        let resources = settings(record).resources.clone();
        let of = |amounts: Option<BTreeMap<String, _>>| amounts.and_then(|mut amounts| amounts.remove("memory"));
        (of(resources.requests).map(|quantity| quantity.0), of(resources.limits).map(|quantity| quantity.0))
    };
    let default = (Some("256Mi".to_owned()), Some("1Gi".to_owned()));
    assert_eq!(memory(&with(&json!({}))), default);
    assert_eq!(memory(&with(&json!({"resources": null}))), default);
    assert_eq!(memory(&with(&json!({"resources": {}}))), (None, None));
    assert_eq!(memory(&with(&json!({"resources": {"limits": {"memory": "2Gi"}}}))), (None, Some("2Gi".to_owned())));
    assert_eq!(memory(&with(&json!({"resources": {"requests": {"memory": 5}}}))), (Some("5".to_owned()), None));
}

#[test]
fn all_fields_arrive_where_they_belong() {
    let record = with(&json!({
        "clusterSelector": {"matchNames": ["eu-*"], "matchLabels": {"tier": "prod"},
            "matchExpressions": [{"key": "region", "operator": "In", "values": ["a"]}]},
        "schedule": "  0   3 * *  0 ", "timeZone": "Europe/Berlin", "spread": "1h30m", "priority": -5,
        "enabled": false, "suspend": true, "mode": "Observe", "cycle": "Quick",
        "failover": {"mode": "Automatic", "after": "36h"}, "activeDeadlineSeconds": 600,
        "successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 7, "cacheCapacity": "8Gi",
        "priorityClassName": "low", "imagePullSecrets": [{"name": "registry"}],
        "podLabels": {"team": "a"}, "podAnnotations": {"example.com/note": "free text, really"},
        "nodeSelector": {"workload": "maintenance"},
        "tolerations": [{"key": "maintenance", "operator": "Equal", "value": "true", "effect": "NoSchedule"}],
        "podSecurityContext": {"runAsUser": 2000}, "securityContext": {"readOnlyRootFilesystem": false},
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}]}},
    }));
    let clusters = &record.claim.as_ref().unwrap().clusters;
    assert_eq!((&*clusters.match_names[0], clusters.match_labels["tier"].as_str()), ("eu-*", "prod"));
    assert_eq!(clusters.match_expressions[0].operator, "In");
    assert_eq!(record.claim.as_ref().unwrap().priority, -5);
    let settings = settings(&record);
    assert_eq!((&*settings.schedule_text, settings.spread), ("0 3 * * 0", Some(Spread { minutes: 90 })));
    assert_eq!(settings.time_zone.as_ref().unwrap().as_str(), "Europe/Berlin");
    assert_eq!((settings.enabled, settings.suspend, settings.observe), (false, true, true));
    assert_eq!((settings.cycle, settings.failover.automatic), (Cycle::Quick, true));
    assert_eq!(settings.failover.after_seconds, 129_600);
    assert_eq!((settings.successful_jobs_history_limit, settings.failed_jobs_history_limit), (0, 7));
    assert_eq!(settings.cache_capacity.as_deref(), Some("8Gi"));
    assert_eq!(&*settings.image_pull_secrets[0], "registry");
    assert_eq!(settings.pod_security_context.as_ref().unwrap().run_as_user, Some(2000));
    assert_eq!(settings.security_context.as_ref().unwrap().read_only_root_filesystem, Some(false));
    assert_eq!(settings.pod_annotations["example.com/note"], "free text, really");
    assert!(settings.affinity.as_ref().unwrap().pod_anti_affinity.is_some() && settings.tolerations.len() == 1);
}

#[test]
fn a_direct_policy_takes_either_name_of_the_secret() {
    let target = |repository: Value| read(&json!({"repository": repository})).claim.map(|claim| claim.target);
    let ca = CustomCa { source: CaSource::ConfigMap("bundle".into()), key: "ca.crt".into() };
    for name in [json!({"name": "s"}), json!({"repository": "s"}), json!({"repository": "s", "name": "s"})] {
        let mut repository = json!({"namespace": "n", "cluster": "c", "customCA": {"configMapName": "bundle"}});
        repository.as_object_mut().unwrap().extend(name.as_object().unwrap().clone());
        let (secret, cluster) = (ObjectName::new("n", "s"), Some(MemberName::new("c")));
        assert_eq!(target(repository), Some(PolicyTarget::Direct { secret, cluster, custom_ca: Some(ca.clone()) }));
    }
    assert_eq!(target(json!({"repository": "s", "name": "t", "namespace": "n"})), None);
    assert_eq!(target(json!({"repository": "s"})), None);
    assert_eq!(target(json!({"namespace": "n"})), None);
    assert_eq!(target(json!({"repository": "s", "namespace": "n", "clutser": "c"})), None);
}

#[test]
fn a_wrong_ca_is_a_problem_but_the_policy_still_competes() {
    let both = json!({"configMapName": "a", "secretName": "b"});
    let record = read(&json!({"repository": {"name": "s", "namespace": "n", "customCA": both}}));
    assert_eq!(fields(&record), ["spec.repository.customCA"]);
    let Some(PolicyClaim { target: PolicyTarget::Direct { custom_ca: None, .. }, .. }) = record.claim else {
        panic!("{record:?}")
    };
    let empty = read(&json!({"repository": {"name": "s", "namespace": "n", "customCA": {}}}));
    assert!(empty.settings.is_ok());
}

#[test]
fn whatever_leaves_the_selection_in_doubt_takes_the_claim() {
    let doubtful = [
        json!({"repositorySelector": {"repository": 5}}),
        json!({"repositorySelector": {"repository": ""}}),
        json!({"repositorySelector": "x"}),
        json!({"repositorySelector": {"repository": "*", "namespaceSelecter": {}}}),
        json!({"repositorySelector": {"repository": "*", "namespaceSelector": {"matchNames": "a"}}}),
        json!({"repositorySelector": {"repository": "*", "namespaceSelector": {"matchLabels": {"a b": "c"}}}}),
        json!({"repositorySelector": null}),
        json!({"repository": {"name": "a", "namespace": "b"}}),
        json!({"clusterSelector": {"matchName": ["a"]}}),
        json!({"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
        json!({"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "in", "values": ["b"]}]}}),
        json!({"priority": 101}),
        json!({"priority": "10"}),
        json!({"priority": 1.5}),
    ];
    for more in doubtful {
        let record = with(&more);
        assert!(record.claim.is_none() && record.settings.is_err(), "{more}");
    }
    for object in [json!(null), json!([1]), json!({}), json!({"spec": 5}), json!({"metadata": 5, "spec": {}})] {
        let record = PolicyRecord::read(&object, &PolicyRules::default());
        assert!(record.claim.is_none() && !record.problems().is_empty(), "{object}");
    }
}

#[test]
fn any_other_mistake_leaves_the_claim() {
    let mistakes = [
        (json!({"schedul": "0 2 * * *"}), "spec.schedul"),
        (json!({"schedule": 5}), "spec.schedule"),
        (json!({"schedule": "61 * * * *"}), "spec.schedule"),
        (json!({"enabled": "false"}), "spec.enabled"),
        (json!({"spread": "90s"}), "spec.spread"),
        (json!({"spread": "24h"}), "spec.spread"),
        (json!({"activeDeadlineSeconds": 599}), "spec.activeDeadlineSeconds"),
        (json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}), "spec.resources"),
        (json!({"resources": {"claims": []}}), "spec.resources.claims"),
        (json!({"resources": {"limits": {"disk": 1}}}), "spec.resources.limits"),
        (json!({"resources": {"limits": {"a.b/c/d": 1}}}), "spec.resources.limits[a.b/c/d]"),
        (json!({"timeZone": "utc"}), "spec.timeZone"),
        (json!({"spread": "23h"}), "spec.spread"),
        (json!({"image": "x"}), "spec.image"),
        (json!({"serviceAccountName": "x"}), "spec.serviceAccountName"),
        (json!({"cacheCapacity": "0"}), "spec.cacheCapacity"),
        (json!({"nodeSelector": {"a/b/c": "d"}}), "spec.nodeSelector[a/b/c]"),
        (json!({"podLabels": {"hub.volsync.backube/x": "y"}}), "spec.podLabels"),
        (json!({"failover": {"after": "1s"}}), "spec.failover.after"),
        (json!({"tolerations": [{"operator": "Equal"}]}), "spec.tolerations[0].operator"),
        (json!({"podSecurityContext": {"runAsUser": "1000"}}), "spec.podSecurityContext.runAsUser"),
        (
            json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 101, "preference": {}}]}}}),
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight",
        ),
    ];
    for (more, field) in mistakes {
        let record = with(&more);
        assert!(record.claim.is_some(), "{more}");
        assert_eq!(fields(&record), [field], "{:?}", record.problems());
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let record = with(&json!({"priority": 500, "cycle": "auto", "x": 1, "tolerations": [{"effect": "No"}],
        "schedule": "0 2 30 13 *"}));
    let expected = [
        "spec.cycle",
        "spec.priority",
        "spec.schedule",
        "spec.tolerations[0].effect",
        "spec.tolerations[0].operator",
        "spec.x",
    ];
    assert_eq!(fields(&record), expected);
}

#[test]
fn images_and_service_accounts_are_those_of_the_hub() {
    let rules = PolicyRules { allowed_images: vec!["r/a:1".into()], allowed_service_accounts: vec!["sa".into()] };
    let spec = json!({"repositorySelector": {"repository": "*"}, "image": "r/a:1", "serviceAccountName": "sa"});
    let object = |spec: &Value| json!({"metadata": {"name": "p"}, "spec": spec});
    let record = PolicyRecord::read(&object(&spec), &rules);
    assert_eq!(settings(&record).image.as_deref(), Some("r/a:1"));
    assert_eq!(settings(&record).service_account_name.as_deref(), Some("sa"));
    let other = json!({"repositorySelector": {"repository": "*"}, "image": "r/a:2"});
    let record = PolicyRecord::read(&object(&other), &rules);
    assert_eq!(record.problems()[0].message, "is not allowed: the hub was started with --allowed-image r/a:1");
}

/// Any JSON, a few levels deep, with the words of the API among its keys and values.
fn any_json() -> impl Strategy<Value = Value> {
    let words =
        ["repository", "namespace", "name", "matchLabels", "matchNames", "key", "operator", "values", "In", "1h"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        proptest::sample::select(words.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        let key = prop_oneof!["\\PC{0,12}", proptest::sample::select(words.to_vec()).prop_map(str::to_owned)];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_that_a_policy_holds_stops_its_reading(
        value in any_json(),
        field in proptest::sample::select(KNOWN.to_vec()),
    ) {
        let record = with(&json!({field: value}));
        prop_assert!(record.settings.is_err() || record.claim.is_some());
        prop_assert!(record.problems().iter().all(|problem| !problem.field.is_empty() && !problem.message.is_empty()));
        let whole = PolicyRecord::read(&value, &PolicyRules::default());
        prop_assert!(whole.settings.is_err() || whole.claim.is_some());
    }
}

const KNOWN: [&str; 18] = [
    "repositorySelector",
    "repository",
    "clusterSelector",
    "schedule",
    "timeZone",
    "spread",
    "priority",
    "failover",
    "activeDeadlineSeconds",
    "resources",
    "podSecurityContext",
    "securityContext",
    "nodeSelector",
    "tolerations",
    "affinity",
    "podAnnotations",
    "imagePullSecrets",
    "cacheCapacity",
];

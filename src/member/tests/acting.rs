//! What is done in a member, and what is left alone.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};

use super::world::{World, cluster};
use crate::labels;
use crate::member::{Class, Guard, Member};
use crate::names::ObjectName;
use crate::sim::SimCluster;

const NAMESPACE: &str = "volsync-system";

async fn member() -> (World, SimCluster, Member) {
    let eu = cluster("eu", &[]).await;
    let mut world = World::start();
    world.write("eu", &eu.kubeconfig_yaml());
    world.wait("sync", |seen| seen.is_synced("eu")).await;
    let member = world.supervisor.member(&"eu".into()).unwrap();
    (world, eu, member)
}

fn metadata(name: &str, hub: &str) -> Value {
    json!({"name": name, "namespace": NAMESPACE, "labels": {
        labels::MANAGED_BY: labels::MANAGED_BY_VALUE, labels::HUB: hub, labels::MAINTENANCE: labels::MAINTENANCE_VALUE}})
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn config_map(name: &str, hub: &str, value: &str) -> ConfigMap {
    read(json!({"metadata": metadata(name, hub), "data": {"key": value}}))
}

fn name(name: &str) -> ObjectName {
    ObjectName::new(NAMESPACE, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_applied_changed_and_deleted_at_the_version_that_was_seen() {
    let (mut world, _eu, member) = member().await;
    let first = member.apply("hub", &config_map("a", "hub", "1"), None).await.unwrap();
    let again = member.apply("hub", &config_map("a", "hub", "1"), Some(&Guard::from(&first))).await.unwrap();
    assert_eq!(first, again, "nothing changed, nothing is written");
    let second = member.apply("hub", &config_map("a", "hub", "2"), None).await.unwrap();
    let late = member.apply("hub", &config_map("a", "hub", "3"), Some(&Guard::from(&first))).await.unwrap_err();
    assert_eq!(late.class, Class::Conflict, "{late}");
    world
        .wait("the event", |seen| {
            seen.owned.get(&name("a")).is_some_and(|it| it.resource_version == second.resource_version)
        })
        .await;
    let late = member.delete::<ConfigMap>("hub", &name("a"), &Guard::from(&first)).await.unwrap_err();
    assert_eq!(late.class, Class::Conflict, "{late}");
    assert!(member.delete::<ConfigMap>("hub", &name("a"), &Guard::from(&second)).await.unwrap());
    assert!(!member.delete::<ConfigMap>("hub", &name("a"), &Guard::from(&second)).await.unwrap());
    world.wait("its end", |seen| !seen.owned.contains_key(&name("a"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_others_and_of_other_hubs_are_left_alone() {
    let (_world, eu, member) = member().await;
    let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"key": "theirs"},
        "metadata": {"name": "plain", "namespace": NAMESPACE}});
    eu.actor("user").create(foreign).unwrap();
    member.apply("other", &config_map("others", "other", "theirs"), None).await.unwrap();
    for taken in ["plain", "others"] {
        let error = member.apply("hub", &config_map(taken, "hub", "ours"), None).await.unwrap_err();
        assert_eq!(error.class, Class::NotOurs, "{error}");
        let object = eu.actor("user").get("", "configmaps", NAMESPACE, taken).unwrap();
        let text = |value: &Value| value.as_str().unwrap().into();
        let guard = Guard {
            uid: text(&object["metadata"]["uid"]),
            resource_version: text(&object["metadata"]["resourceVersion"]),
        };
        let error = member.delete::<ConfigMap>("hub", &name(taken), &guard).await.unwrap_err();
        assert_eq!(error.class, Class::NotOurs, "{error}");
        assert_eq!(object["data"]["key"], "theirs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_one_name_is_created_once() {
    let (_world, eu, member) = member().await;
    let job: Job = read(json!({"metadata": metadata("claim", "hub"), "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}));
    let first = member.create_job("hub", &job).await.unwrap();
    let again = member.create_job("hub", &job).await.unwrap();
    assert_eq!(first.uid, again.uid);
    assert_eq!(eu.actor("user").list("batch", "jobs").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cron_job_is_suspended_at_the_version_that_was_seen_and_stays_as_it_was_otherwise() {
    let (_world, eu, member) = member().await;
    let cron_job: CronJob = read(json!({"metadata": metadata("a", "hub"), "spec": {"schedule": "0 2 * * *",
        "suspend": false, "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "i"}]}}}}}}));
    let applied = member.apply("hub", &cron_job, None).await.unwrap();
    let suspended = member.set_suspended(&name("a"), &Guard::from(&applied), true).await.unwrap();
    let late = member.set_suspended(&name("a"), &Guard::from(&applied), false).await.unwrap_err();
    assert_eq!(late.class, Class::Conflict, "{late}");
    let spec = eu.actor("user").get("batch", "cronjobs", NAMESPACE, "a").unwrap()["spec"].clone();
    assert_eq!((spec["suspend"].as_bool(), spec["schedule"].as_str()), (Some(true), Some("0 2 * * *")));
    member.apply("hub", &cron_job, Some(&Guard::from(&suspended))).await.unwrap();
    let spec = eu.actor("user").get("batch", "cronjobs", NAMESPACE, "a").unwrap()["spec"].clone();
    assert_eq!(spec["suspend"].as_bool(), Some(false), "the next apply decides again");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_was_attempted_where_and_quote_no_secret() {
    let (_world, eu, member) = member().await;
    let token = eu.add_user("nobody", crate::sim::Access::Rules(Vec::new()));
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&eu.kubeconfig_yaml_of(&token)).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    let nobody = Member::connect("eu".into(), config).await.unwrap();
    let error = nobody.read_secret(&ObjectName::new("default", "repo")).await.unwrap_err();
    assert!(error.to_string().starts_with("failed to get Secret default/repo in eu: "), "{error}");
    assert_eq!(error.class, Class::Forbidden { rule: "get secrets in namespace default".into() });
    assert_eq!(member.read_secret(&ObjectName::new("default", "repo")).await.unwrap(), None);
    let secret: Secret = read(json!({"metadata": metadata("b", "hub"), "stringData": {"k": "s3cr3t"}}));
    member.apply("hub", &secret, None).await.unwrap();
    let values = member.read_secret(&name("b")).await.unwrap().unwrap();
    assert_eq!(values.data["k"], b"s3cr3t");
    assert!(!format!("{values:?}").contains("s3cr3t"));
}

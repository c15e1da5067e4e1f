//! Members from Secrets of the hub, and two registrations of one name.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::settings;
use super::world::{View, World, cluster};
use crate::member::event::ConditionKind;
use crate::member::registry::secrets::MemberSecrets;
use crate::member::{Member, MemberConfig, MemberSettings, Registry, SecretRef, heartbeat};
use crate::plan::fleet::Contact;
use crate::sim::SimCluster;

const NAMESPACE: &str = "hub-system";

/// A hub whose Secrets register members, beside the folder.
async fn hub() -> (World, SimCluster) {
    let hub = SimCluster::start("hub").await.unwrap();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    hub.actor("user").create(namespace).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(hub.kubeconfig().unwrap(), &options).await.unwrap();
    let handle = Member::connect("hub".into(), config).await.unwrap();
    tokio::spawn(heartbeat(handle.clone()));
    let settings = MemberSettings { allow_loopback: true, ..settings() };
    let world = World::start_with(settings.clone(), |inputs| {
        let registry = MemberSecrets::new(handle, NAMESPACE.into(), settings, inputs.configs.clone());
        vec![Box::new(registry) as Box<dyn Registry>]
    });
    (world, hub)
}

fn secret(name: &str, labels: &Value, key: &str, kubeconfig: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "stringData": {key: kubeconfig},
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}})
}

fn labelled() -> Value {
    json!({"hub.volsync.backube/member": "true"})
}

fn is_gone(seen: &View, member: &str) -> bool {
    seen.contact_of(member) == Some(Contact::Unreachable) && !seen.registered.contains(&member.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_with_the_label_register_rotate_and_go_while_the_hub_runs() {
    let (mut world, hub) = hub().await;
    let (eu, us) = (cluster("eu", &["a"]).await, cluster("us", &["b"]).await);
    let actor = hub.actor("user");
    actor.create(secret("eu", &labelled(), "kubeconfig", &eu.kubeconfig_yaml())).unwrap();
    actor.create(secret("us", &labelled(), "value", &us.kubeconfig_yaml())).unwrap();
    actor.create(secret("plain", &json!({}), "kubeconfig", &us.kubeconfig_yaml())).unwrap();
    world.wait("sync", |seen| seen.is_synced("eu") && seen.is_synced("us")).await;
    let incarnation = |world: &World, name: &str| world.supervisor.member(&name.into()).unwrap().incarnation();
    let (before, other) = (incarnation(&world, "eu"), incarnation(&world, "us"));

    let token = eu.add_user("again", crate::sim::Access::Everything);
    let new = json!({"stringData": {"kubeconfig": eu.kubeconfig_yaml_of(&token)}});
    actor.merge(("", "secrets"), (NAMESPACE, "eu"), &new).unwrap();
    world.wait("another contact", |seen| !seen.is_synced("eu")).await;
    world.wait("sync again", |seen| seen.is_synced("eu")).await;
    assert!(incarnation(&world, "eu") > before);
    assert_eq!(incarnation(&world, "us"), other);

    // What is no kubeconfig is said, and what worked goes on.
    for (broken, why) in [("current-context: [", "YAML"), ("\u{0}\u{1}binary", "kubeconfig")] {
        actor.merge(("", "secrets"), (NAMESPACE, "eu"), &json!({"stringData": {"kubeconfig": broken}})).unwrap();
        let said = world.seen.problems.len();
        world.wait(why, |seen| seen.problems.len() > said && seen.problems.last().unwrap().contains(why)).await;
        assert!(world.seen.is_synced("eu"));
    }
    actor.delete("", "secrets", NAMESPACE, "eu").unwrap();
    world.wait("its end", |seen| is_gone(seen, "eu")).await;
    assert_eq!(world.seen.condition("eu", ConditionKind::Reachable).unwrap().reason, "NotRegistered");
    assert!(world.seen.is_synced("us"));
    assert_eq!(world.seen.sources.len(), 2, "what it had counts on");
    assert!(!world.seen.registered.contains(&"plain".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_a_member_cluster_names_needs_no_label() {
    let (mut world, hub) = hub().await;
    let eu = cluster("eu", &["a"]).await;
    hub.actor("user").create(secret("any-name", &json!({}), "prod", &eu.kubeconfig_yaml())).unwrap();
    let named = SecretRef { name: "any-name".into(), key: Some("prod".into()) };
    let config = MemberConfig { kubeconfig_secret: Some(named), ..MemberConfig::default() };
    world.configs.send_replace(Arc::new(BTreeMap::from([("eu".into(), config)])));
    world.wait("sync", |seen| seen.is_synced("eu")).await;
    assert_eq!(world.seen.registered.len(), 1);
    world.configs.send_replace(Arc::default());
    world.wait("its end", |seen| is_gone(seen, "eu")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_registrations_of_one_name_the_file_counts_and_the_secret_takes_over_when_it_goes() {
    let (mut world, hub) = hub().await;
    let (of_file, of_secret) = (cluster("file", &["a"]).await, cluster("secret", &["b"]).await);
    world.write("eu", &of_file.kubeconfig_yaml());
    world.wait("sync", |seen| seen.is_synced("eu")).await;
    hub.actor("user").create(secret("eu", &labelled(), "kubeconfig", &of_secret.kubeconfig_yaml())).unwrap();
    world.pass(std::time::Duration::from_secs(3)).await;
    let names = |seen: &View| seen.sources.iter().map(|it| it.object.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&world.seen), ["a"], "the Secret changes nothing");
    std::fs::remove_file(world.path("eu")).unwrap();
    world.wait("the Secret's cluster", |seen| seen.is_synced("eu") && names(seen) == ["b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_registration_is_said_until_it_is_gone() {
    let mut world = World::start();
    world.write("eu", "no kubeconfig");
    let reason = |seen: &View| seen.condition("eu", ConditionKind::Reachable).map(|it| it.reason);
    world.wait("what is wrong", |seen| reason(seen) == Some("InvalidKubeconfig")).await;
    std::fs::remove_file(world.path("eu")).unwrap();
    world.wait("its end", |seen| reason(seen) == Some("NotRegistered")).await;
}

//! What is observed, and what is not concluded from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::front::{Answer, Asked, Front};
use super::world::{View, World, cluster, crd, source};
use crate::member::MemberConfig;
use crate::member::event::ConditionKind;
use crate::names::{ObjectName, Place, PlacedName};
use crate::plan::fleet::{Contact, SecretState};
use crate::sim::{Access, Rule};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_synced_once_everything_was_seen_and_follows_changes() {
    let eu = cluster("eu", &["a", "b"]).await;
    let mut world = World::start();
    world.write("eu", &eu.kubeconfig_yaml());
    world.wait("sync", |seen| seen.is_synced("eu")).await;
    assert_eq!(world.seen.sources.len(), 2);
    assert!(world.seen.namespaces.contains(&("eu".into(), Arc::from("volsync-system"))));
    world.wait("facts", |seen| seen.facts.contains_key(&"eu".into())).await;
    let facts = &world.seen.facts[&"eu".into()];
    assert!(facts.supported && facts.volsync_installed && facts.namespace && !facts.openshift);
    assert_eq!(facts.cluster_uid.as_deref(), Some(&*eu.uid()));

    let actor = eu.actor("test");
    actor.create(source("c")).unwrap();
    actor.delete("volsync.backube", "replicationsources", "default", "a").unwrap();
    world
        .wait("the changes", |seen| {
            let names: Vec<_> = seen.sources.iter().map(|it| it.object.name.to_string()).collect();
            names == ["b", "c"]
        })
        .await;
    // A backup that ends as the one before did is of no interest.
    let events = world.seen.source_events;
    let place = ("default", "b");
    actor
        .merge(("volsync.backube", "replicationsources"), place, &json!({"metadata": {"labels": {"x": "y"}}}))
        .unwrap();
    actor.create(source("d")).unwrap();
    world.wait("another source", |seen| seen.sources.len() == 3).await;
    assert_eq!(world.seen.source_events, events + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_source_is_gone_because_its_crd_is() {
    let eu = cluster("eu", &["a", "b"]).await;
    let mut world = World::start();
    world.write("eu", &eu.kubeconfig_yaml());
    world.wait("sync", |seen| seen.is_synced("eu") && seen.sources.len() == 2).await;
    eu.actor("test")
        .delete("apiextensions.k8s.io", "customresourcedefinitions", "", "replicationsources.volsync.backube")
        .unwrap();
    world
        .wait("the condition", |seen| {
            let installed = seen.condition("eu", ConditionKind::VolSyncInstalled);
            installed.is_some_and(|it| it.status == Some(false)) && seen.contact_of("eu") == Some(Contact::Syncing)
        })
        .await;
    assert_eq!(world.seen.sources.len(), 2, "they count on");
    eu.actor("test").create(crd()).unwrap();
    eu.actor("test").create(source("b")).unwrap();
    world.wait("what is there now", |seen| seen.is_synced("eu") && seen.sources.len() == 1).await;
    world
        .wait("the condition's end", |seen| {
            seen.condition("eu", ConditionKind::VolSyncInstalled).is_some_and(|it| it.status == Some(true))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_namespace_that_is_made_later_is_picked_up() {
    let eu = cluster("eu", &["a"]).await;
    let actor = eu.actor("test");
    actor.delete("", "namespaces", "", "volsync-system").unwrap();
    let mut world = World::start();
    world.write("eu", &eu.kubeconfig_yaml());
    let installed = |seen: &View| seen.condition("eu", ConditionKind::VolSyncInstalled).cloned();
    let is_there = |seen: &View| seen.facts.get(&"eu".into()).map(|facts| facts.namespace);
    world
        .wait("the condition", |seen| {
            installed(seen).is_some_and(|it| it.reason == "NamespaceMissing") && is_there(seen) == Some(false)
        })
        .await;
    let told = installed(&world.seen).unwrap();
    assert_eq!((told.status, &*told.message), (Some(false), "run `kubectl create namespace volsync-system` there"));

    actor.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "volsync-system"}})).unwrap();
    // It is looked for each half minute while something is amiss.
    world.pass(Duration::from_secs(30)).await;
    world
        .wait("the condition's end", |seen| {
            installed(seen).is_some_and(|it| it.status == Some(true)) && is_there(seen) == Some(true)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_rotated_without_anything_being_said_twice() {
    let eu = cluster("eu", &["a", "b"]).await;
    let token = eu.add_user("hub", Access::Everything);
    let mut world = World::start();
    world.write("eu", &eu.kubeconfig_yaml_of(&token));
    world.wait("sync", |seen| seen.is_synced("eu")).await;
    let (before, events) = (world.supervisor.member(&"eu".into()).unwrap().incarnation(), world.seen.source_events);
    eu.revoke(&token);
    eu.faults().drop_connections();
    world
        .wait("refusal", |seen| {
            let reachable = seen.condition("eu", ConditionKind::Reachable);
            reachable.is_some_and(|it| it.reason == "Unauthorized")
                && seen.contact_of("eu") == Some(Contact::Unreachable)
        })
        .await;
    eu.actor("test").delete("volsync.backube", "replicationsources", "default", "a").unwrap();
    world.write("eu", "broken");
    world.wait("the problem", |seen| !seen.problems.is_empty()).await;
    world.write("eu", &eu.kubeconfig_yaml());
    world.wait("sync again", |seen| seen.is_synced("eu")).await;
    assert!(world.supervisor.member(&"eu".into()).unwrap().incarnation() > before);
    assert_eq!(world.seen.sources.len(), 1);
    assert_eq!(world.seen.source_events, events + 1, "only the deletion is new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_loses_nothing_and_disturbs_no_other() {
    let (eu, us) = (cluster("eu", &["a", "b"]).await, cluster("us", &["c"]).await);
    let mut world = World::start();
    world.write("eu", &eu.kubeconfig_yaml());
    world.write("us", &us.kubeconfig_yaml());
    world.wait("sync", |seen| seen.is_synced("eu") && seen.is_synced("us")).await;
    eu.faults().refuse_connections(true);
    world.wait("loss", |seen| seen.contact_of("eu") == Some(Contact::Unreachable)).await;
    assert_eq!(world.seen.sources.len(), 3);
    us.actor("test").create(source("d")).unwrap();
    world.wait("news from the other", |seen| seen.sources.len() == 4).await;
    assert!(world.seen.is_synced("us"));
    eu.actor("test").delete("volsync.backube", "replicationsources", "default", "a").unwrap();
    eu.faults().refuse_connections(false);
    world.wait("return", |seen| seen.is_synced("eu") && seen.sources.len() == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_every_watch_at_once_is_not_hammered() {
    let eu = cluster("eu", &["a"]).await;
    let mut world = World::start();
    world.write("eu", &eu.kubeconfig_yaml());
    world.wait("sync", |seen| seen.is_synced("eu")).await;
    eu.faults().end_watches_at_once(true);
    eu.faults().end_watches();
    world.pass(Duration::from_secs(1)).await;
    let before = eu.tally().told().requests();
    world.pass(Duration::from_secs(6)).await;
    let rate = (eu.tally().told().requests() - before) / 6;
    assert!(rate <= 10, "{rate} requests a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_later_name_of_one_cluster_is_ignored_until_the_earlier_is_gone() {
    let eu = cluster("eu", &["a"]).await;
    let mut world = World::start();
    let config = |created: &str| MemberConfig { created: Some(created.parse().unwrap()), ..MemberConfig::default() };
    let configs = [("old".into(), config("2026-01-01T00:00:00Z")), ("new".into(), config("2026-02-01T00:00:00Z"))];
    world.configs.send_replace(Arc::new(BTreeMap::from(configs)));
    world.write("new", &eu.kubeconfig_yaml());
    world.wait("sync", |seen| seen.is_synced("new")).await;
    world.write("old", &eu.kubeconfig_yaml());
    world.wait("the verdict", |seen| seen.duplicates.get(&"new".into()) == Some(&"old".into())).await;
    world.wait("the other", |seen| seen.is_synced("old") && seen.sources.len() == 1).await;
    assert!(world.seen.condition("new", ConditionKind::Duplicate).unwrap().message.contains("old"));
    std::fs::remove_file(world.path("old")).unwrap();
    world
        .wait("its return", |seen| {
            seen.duplicates.is_empty() && seen.sources.iter().any(|source| source.member == "new".into())
        })
        .await;
    assert_eq!(world.seen.contact_of("old"), Some(Contact::Unreachable));
    assert!(!world.seen.registered.contains(&"old".into()));
}

fn secret(namespace: &str, name: &str, repository: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "stringData": {"KOPIA_REPOSITORY": repository, "KOPIA_PASSWORD": "s3cr3t"},
    })
}

fn placed(namespace: &str, name: &str) -> PlacedName {
    PlacedName { place: Place::Member("eu".into()), object: ObjectName::new(namespace, name) }
}

#[tokio::test(flavor = "multi_thread")]
async fn referenced_secrets_are_read_when_they_change_and_no_others() {
    let eu = cluster("eu", &["a"]).await;
    let actor = eu.actor("test");
    for (name, repository) in [("repo", "s3://bucket/one"), ("other", "s3://bucket/two")] {
        actor.create(secret("default", name, repository)).unwrap();
    }
    let mut world = World::start();
    world.write("eu", &eu.kubeconfig_yaml());
    world.refer("eu", &[("default", "repo"), ("default", "missing")]);
    world.refer("us", &[("default", "other")]);
    world.wait("both", |seen| seen.secrets.len() == 2 && seen.is_synced("eu")).await;
    assert_eq!(world.seen.secrets[&placed("default", "missing")], SecretState::Absent);
    let SecretState::Present(first) = world.seen.secrets[&placed("default", "repo")].clone() else { panic!() };
    assert!(first.has_password());
    assert!(!format!("{:?}", world.seen).contains("s3cr3t"));
    let place = ("default", "repo");
    actor.merge(("", "secrets"), place, &json!({"stringData": {"KOPIA_REPOSITORY": "s3://bucket/three"}})).unwrap();
    actor.create(secret("default", "missing", "s3://bucket/four")).unwrap();
    world
        .wait("the changes", |seen| {
            seen.secrets.values().all(|state| matches!(state, SecretState::Present(facts) if *facts != first))
        })
        .await;
    // As if nobody had wanted them for a moment, in which what was told is forgotten.
    world.seen.secrets.clear();
    world.refer_in_term("eu", &[("default", "repo"), ("default", "missing")], 1);
    world.wait("both anew", |seen| seen.secrets.len() == 2).await;
    world.refer_in_term("eu", &[("default", "repo")], 1);
    world.wait("the reference's end", |seen| seen.secrets.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_may_be_allowed_in_some_namespaces_only_and_missing_rules_are_named() {
    let eu = cluster("eu", &["a"]).await;
    let actor = eu.actor("test");
    actor.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "closed"}})).unwrap();
    actor.create(secret("default", "repo", "s3://bucket")).unwrap();
    actor.create(secret("closed", "repo", "s3://bucket")).unwrap();
    let read = ["get", "list", "watch"];
    let rules = vec![
        Rule::new(&read, "volsync.backube", &["replicationsources"]),
        Rule::new(&read, "", &["namespaces"]),
        Rule::new(&read, "apiextensions.k8s.io", &["customresourcedefinitions"]),
        Rule::new(&["get"], "", &["secrets"]).in_namespaces(&["default"]),
        Rule::new(&["*"], "", &["secrets", "configmaps", "pods", "serviceaccounts", "events"])
            .in_namespaces(&["volsync-system"]),
        Rule::new(&["*"], "batch", &["jobs"]).in_namespaces(&["volsync-system"]),
        Rule::new(&["create"], "authorization.k8s.io", &["selfsubjectaccessreviews"]),
    ];
    let token = eu.add_user("hub", Access::Rules(rules.clone()));
    let mut world = World::start();
    world.write("eu", &eu.kubeconfig_yaml_of(&token));
    world.refer("eu", &[("default", "repo"), ("closed", "repo")]);
    world.wait("both", |seen| seen.secrets.len() == 2).await;
    assert!(matches!(world.seen.secrets[&placed("default", "repo")], SecretState::Present(_)));
    assert_eq!(world.seen.secrets[&placed("closed", "repo")], SecretState::Forbidden);
    world
        .wait("the missing rules", |seen| {
            let authorized = seen.condition("eu", ConditionKind::Authorized);
            authorized.is_some_and(|it| it.message.contains("list cronjobs.batch;"))
        })
        .await;
    assert_eq!(world.seen.contact_of("eu"), Some(Contact::Syncing), "a forbidden list is no empty list");
    let mut more = rules;
    more.push(Rule::new(&["*"], "batch", &["cronjobs"]));
    more.push(Rule::new(&["list"], "apps", &["deployments"]));
    more.push(Rule::new(&["list"], "*", &["kopiamaintenances", "maintenances", "backuprepositories"]));
    eu.set_access(&token, Access::Rules(more));
    world.wait("sync", |seen| seen.is_synced("eu")).await;
    world
        .wait("nothing missing", |seen| {
            seen.condition("eu", ConditionKind::Authorized).is_some_and(|it| it.status == Some(true))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_right_could_not_be_asked_about_it_is_asked_again_soon() {
    let eu = cluster("eu", &["a"]).await;
    let front = Front::before(&eu, "127.0.0.1", "").await;
    front.answer(|asked| match asked {
        _ if asked.path.contains("selfsubjectaccessreviews") => Answer::Say(500, String::new()),
        _ => Answer::Right,
    });
    let mut world = World::start();
    world.write("eu", &front.kubeconfig(&json!({})));
    let reviews = |front: &Front| front.asked().iter().filter(|it| it.path.contains("accessreviews")).count();
    world.wait("sync", |seen| seen.is_synced("eu")).await;
    let within = std::time::Instant::now() + Duration::from_secs(30);
    while reviews(&front) < 2 {
        assert!(std::time::Instant::now() < within, "the right is asked about again");
        world.pass(Duration::from_millis(200)).await;
    }
    front.answer(|_| Answer::Right);
    let watched = |asked: &Asked| asked.is_watch() && asked.path.starts_with("/api/v1/secrets");
    while !front.asked().iter().any(watched) {
        assert!(std::time::Instant::now() < within, "Secrets are watched");
        world.pass(Duration::from_millis(200)).await;
    }
}

//! Watches one kind of object on the hub's cluster and hands on what changed, never what is merely missing.
//!
//! The end of an object is believed only where its kind still exists: deleting a CRD reports each of its objects as
//! deleted first, and a mistake there must not stop maintenance in the fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Objects a list page; policies and ledger objects are of a few kilobytes.
const PAGE_SIZE: u32 = 250;
/// How often a CRD that is gone is looked for again.
const CRD_RETRY: Duration = Duration::from_secs(10);

/// What a watch of the hub's cluster saw.
#[derive(Clone, Debug)]
pub enum Seen {
    Object(Box<DynamicObject>),
    Gone {
        namespace: Option<String>,
        name: String,
    },
    /// The first complete list has been handed on.
    Listed,
}

/// What to watch.
#[derive(Clone, Debug)]
pub struct Target {
    pub resource: ApiResource,
    /// None: cluster-scoped, or all namespaces.
    pub namespace: Option<String>,
    pub labels: Option<String>,
    /// Its CRD; none for built-in kinds.
    pub crd: Option<String>,
}

impl Target {
    pub fn api(&self, client: &Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        }
    }
}

type Key = (Option<String>, String);

fn key(object: &DynamicObject) -> Key {
    (object.namespace(), object.name_any())
}

/// Runs until cancelled. `tx` is bounded: a slow reader slows the watch down, and nothing is lost.
pub async fn run<T: From<(&'static str, Seen)>>(
    client: Client,
    target: Target,
    kind: &'static str,
    tx: mpsc::Sender<T>,
    cancel: CancellationToken,
) {
    let mut known = BTreeMap::<Key, String>::new();
    let mut relisted = BTreeSet::<Key>::new();
    let mut config = watcher::Config::default().page_size(PAGE_SIZE);
    if let Some(labels) = &target.labels {
        config = config.labels(labels);
    }
    let start = || watcher(target.api(&client), config.clone()).default_backoff().boxed();
    let mut events = start();
    let mut failing = false;
    loop {
        let event = tokio::select! {
            () = cancel.cancelled() => return,
            event = events.next() => event,
        };
        let seen = match event {
            None => return,
            Some(Err(error)) => {
                if !failing {
                    warn!(kind, %error, "watching objects on the hub failed; what is known stays, and the watch goes on");
                }
                failing = true;
                continue;
            }
            Some(Ok(event)) => event,
        };
        if failing {
            info!(kind, "watching objects on the hub works again");
            failing = false;
        }
        let handed_on: Vec<Seen> = match seen {
            Event::Init => {
                relisted.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                relisted.insert(key(&object));
                changed(&mut known, object)
            }
            Event::Apply(object) => changed(&mut known, object),
            Event::Delete(object) => {
                if wait_for_crd(&client, &target, kind, &cancel).await.is_kept() {
                    events = later(&cancel, &start).await;
                    continue;
                }
                gone(&mut known, vec![key(&object)])
            }
            Event::InitDone => {
                let missing: Vec<_> = known.keys().filter(|key| !relisted.contains(*key)).cloned().collect();
                if !missing.is_empty() && wait_for_crd(&client, &target, kind, &cancel).await.is_kept() {
                    events = later(&cancel, &start).await;
                    continue;
                }
                let mut seen = gone(&mut known, missing);
                seen.push(Seen::Listed);
                seen
            }
        };
        for seen in handed_on {
            if tx.send((kind, seen).into()).await.is_err() {
                return;
            }
        }
    }
}

fn changed(known: &mut BTreeMap<Key, String>, mut object: DynamicObject) -> Vec<Seen> {
    object.metadata.managed_fields = None;
    let version = object.resource_version().unwrap_or_default();
    let before = known.insert(key(&object), version.clone());
    if before.is_some_and(|before| before == version) { Vec::new() } else { vec![Seen::Object(Box::new(object))] }
}

fn gone(known: &mut BTreeMap<Key, String>, keys: Vec<Key>) -> Vec<Seen> {
    let gone = |key: Key| known.remove(&key).map(|_| Seen::Gone { namespace: key.0, name: key.1 });
    keys.into_iter().filter_map(gone).collect()
}

/// A watch that begins with a list, for what went with the kind is missed by one that goes on.
async fn later<S>(cancel: &CancellationToken, start: impl Fn() -> S) -> S {
    cancel.run_until_cancelled(tokio::time::sleep(CRD_RETRY)).await;
    start()
}

enum Deletion {
    Real,
    /// The whole kind is going or gone: what was known stays known.
    Kept,
}

impl Deletion {
    fn is_kept(&self) -> bool {
        matches!(self, Self::Kept)
    }
}

/// Tells a deleted object from a deleted kind. Asks until it gets an answer: no answer is no permission.
async fn wait_for_crd(client: &Client, target: &Target, kind: &'static str, cancel: &CancellationToken) -> Deletion {
    let Some(name) = &target.crd else { return Deletion::Real };
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    loop {
        let asked = tokio::time::timeout(CRD_RETRY, api.get_opt(name)).await;
        match asked {
            Ok(Ok(Some(crd))) if crd.metadata.deletion_timestamp.is_none() => return Deletion::Real,
            Ok(Ok(_)) => {
                warn!(kind, crd = %name, "the CustomResourceDefinition is gone or going; nothing is removed because of that");
                return Deletion::Kept;
            }
            Ok(Err(error)) => {
                warn!(kind, crd = %name, %error, "reading the CustomResourceDefinition failed; a deletion waits for it");
            }
            Err(_) => {
                warn!(kind, crd = %name, "reading the CustomResourceDefinition took too long; a deletion waits for it");
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return Deletion::Kept,
            () = tokio::time::sleep(CRD_RETRY) => {}
        }
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::crd::{Kind, crd};
    use crate::hub::kinds;
    use crate::sim::{Access, Rule, SimCluster};
    use serde_json::json;

    struct Tail {
        hub: SimCluster,
        events: mpsc::Receiver<(&'static str, Seen)>,
        _stop: tokio_util::sync::DropGuard,
    }

    fn definition() -> serde_json::Value {
        crd(Kind::MemberCluster, kinds::POLICY_GROUP)
    }

    fn object(name: &str) -> serde_json::Value {
        json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "MemberCluster", "metadata": {"name": name}, "spec": {}})
    }

    /// A watch of the MemberClusters a and b, by a user of its own.
    async fn tail() -> (Tail, String) {
        let hub = SimCluster::start("hub").await.unwrap();
        let actor = hub.actor("user");
        actor.create(definition()).unwrap();
        for name in ["a", "b"] {
            actor.create(object(name)).unwrap();
        }
        let token = hub.add_user("hub", Access::Everything);
        let client = hub.client_of(&token).await.unwrap();
        let resource = kinds::member_cluster();
        let target = Target { crd: Some(kinds::crd_name(&resource)), resource, namespace: None, labels: None };
        let (tx, events) = mpsc::channel(16);
        let stop = CancellationToken::new();
        tokio::spawn(run(client, target, "MemberCluster", tx, stop.clone()));
        let mut tail = Tail { hub, events, _stop: stop.drop_guard() };
        assert_eq!(tail.next(10).await.unwrap(), "+a");
        assert_eq!(tail.next(10).await.unwrap(), "+b");
        assert_eq!(tail.next(10).await.unwrap(), "listed");
        (tail, token)
    }

    impl Tail {
        async fn next(&mut self, seconds: u64) -> Option<String> {
            let next = tokio::time::timeout(Duration::from_secs(seconds), self.events.recv()).await.ok()??;
            Some(match next.1 {
                Seen::Object(object) => format!("+{}", object.name_any()),
                Seen::Gone { name, .. } => format!("-{name}"),
                Seen::Listed => "listed".to_owned(),
            })
        }

        fn delete(&self, name: &str) {
            self.hub.actor("user").delete("hub.volsync.backube", "memberclusters", "", name).unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_object_that_is_deleted_while_its_kind_stands_is_gone() {
        let (mut tail, _) = tail().await;
        tail.delete("a");
        assert_eq!(tail.next(10).await.unwrap(), "-a");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_gone_because_its_kind_is_and_what_is_there_counts_once_it_is_back() {
        let (mut tail, _) = tail().await;
        let actor = tail.hub.actor("user");
        actor
            .delete("apiextensions.k8s.io", "customresourcedefinitions", "", "memberclusters.hub.volsync.backube")
            .unwrap();
        assert_eq!(tail.next(3).await, None, "nothing is said of what went with the kind");
        actor.create(definition()).unwrap();
        actor.create(object("b")).unwrap();
        let mut said = Vec::new();
        // It may be listed before b is there again.
        while !(said.contains(&"-a".to_owned()) && said.contains(&"+b".to_owned())) {
            said.push(tail.next(60).await.unwrap());
        }
        assert_ne!(said.iter().rfind(|it| it.ends_with('b')).unwrap(), "-b", "{said:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_deletion_waits_until_it_can_be_told_whether_the_kind_stands() {
        let (mut tail, token) = tail().await;
        let rules = vec![Rule::new(&["*"], "hub.volsync.backube", &["memberclusters"])];
        tail.hub.set_access(&token, Access::Rules(rules));
        tail.delete("a");
        assert_eq!(tail.next(3).await, None);
        tail.hub.set_access(&token, Access::Everything);
        assert_eq!(tail.next(30).await.unwrap(), "-a");
    }
}

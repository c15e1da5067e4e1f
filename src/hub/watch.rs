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
    let mut events = watcher(target.api(&client), config).default_backoff().boxed();
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
                    continue;
                }
                gone(&mut known, vec![key(&object)])
            }
            Event::InitDone => {
                let missing: Vec<_> = known.keys().filter(|key| !relisted.contains(*key)).cloned().collect();
                let mut seen = Vec::new();
                if !missing.is_empty() && !wait_for_crd(&client, &target, kind, &cancel).await.is_kept() {
                    seen = gone(&mut known, missing);
                }
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

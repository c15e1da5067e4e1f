//! A supervisor over simulated clusters, and what its events add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::settings;
use crate::member::event::{ConditionKind, MemberCondition, MemberFacts, OwnedObject};
use crate::member::inputs::{Inputs, Looks, Sheets};
use crate::member::registry::Registry;
use crate::member::registry::directory::Directory;
use crate::member::{MemberConfig, MemberEvent, MemberSettings, Supervisor};
use crate::names::{MemberName, ObjectName, PlacedName, SourceKey};
use crate::plan::fleet::{Contact, Observation, SecretState};
use crate::sim::SimCluster;

/// Longer than a breaker's pauses, also on a machine that does other things beside.
const WAIT: Duration = Duration::from_mins(2);

pub struct World {
    pub folder: tempfile::TempDir,
    pub supervisor: Supervisor,
    pub configs: watch::Sender<Arc<BTreeMap<MemberName, MemberConfig>>>,
    sheets: Arc<Sheets>,
    pub seen: View,
    events: mpsc::Receiver<MemberEvent>,
    _stop: tokio_util::sync::DropGuard,
}

/// The state that the events add up to.
#[derive(Debug, Default)]
pub struct View {
    pub contact: BTreeMap<MemberName, Contact>,
    pub sources: BTreeSet<SourceKey>,
    pub source_events: usize,
    pub namespaces: BTreeSet<(MemberName, Arc<str>)>,
    pub secrets: BTreeMap<PlacedName, SecretState>,
    pub versions: BTreeMap<ObjectName, Option<Box<str>>>,
    pub owned: BTreeMap<ObjectName, OwnedObject>,
    pub foreign: BTreeSet<ObjectName>,
    pub conditions: BTreeMap<(MemberName, ConditionKind), MemberCondition>,
    pub facts: BTreeMap<MemberName, MemberFacts>,
    pub duplicates: BTreeMap<MemberName, MemberName>,
    pub problems: Vec<String>,
    pub registered: BTreeSet<MemberName>,
}

impl View {
    fn take(&mut self, event: MemberEvent) {
        match event {
            MemberEvent::Registered { member, origin: Some(_) } => drop(self.registered.insert(member)),
            MemberEvent::Registered { member, origin: None } => drop(self.registered.remove(&member)),
            MemberEvent::Problem { name, message, .. } => self.problems.push(format!("{name}: {message}")),
            MemberEvent::Contact { member, contact } => drop(self.contact.insert(member, contact)),
            MemberEvent::Duplicate { member, of: Some(of) } => {
                self.sources.retain(|source| source.member != member);
                self.duplicates.insert(member, of);
            }
            MemberEvent::Duplicate { member, of: None } => drop(self.duplicates.remove(&member)),
            MemberEvent::Observed(observation) => self.observe(observation),
            MemberEvent::Owned { name, object, .. } => match object {
                Some(object) => drop(self.owned.insert(name, *object)),
                None => drop(self.owned.remove(&name)),
            },
            MemberEvent::Foreign { name, object: Some(_), .. } => drop(self.foreign.insert(name)),
            MemberEvent::Foreign { name, object: None, .. } => drop(self.foreign.remove(&name)),
            MemberEvent::Referenced { name, version, .. } => drop(self.versions.insert(name, version)),
            MemberEvent::Facts { member, facts } => drop(self.facts.insert(member, *facts)),
            MemberEvent::Condition { member, condition } => {
                self.conditions.insert((member, condition.kind), condition);
            }
            MemberEvent::Job { .. } | MemberEvent::Pod { .. } => {}
        }
    }

    fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::Source { key, record } => {
                self.source_events += 1;
                if record.is_some() {
                    self.sources.insert(key);
                } else {
                    self.sources.remove(&key);
                }
            }
            Observation::Namespace { member, namespace, labels: Some(_) } => {
                self.namespaces.insert((member, namespace));
            }
            Observation::Secret { secret, state: Some(state) } => drop(self.secrets.insert(secret, state)),
            Observation::Secret { secret, state: None } => drop(self.secrets.remove(&secret)),
            _ => {}
        }
    }

    pub fn contact_of(&self, member: &str) -> Option<Contact> {
        self.contact.get(&MemberName::from(member)).copied()
    }

    pub fn condition(&self, member: &str, kind: ConditionKind) -> Option<&MemberCondition> {
        self.conditions.get(&(member.into(), kind))
    }

    pub fn is_synced(&self, member: &str) -> bool {
        self.contact_of(member) == Some(Contact::Synced)
    }
}

impl World {
    pub fn start() -> Self {
        Self::start_with(settings(), |_| Vec::new())
    }

    /// `more`: other places where members are registered, beside the folder.
    pub fn start_with(settings: MemberSettings, more: impl FnOnce(&Inputs) -> Vec<Box<dyn Registry>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (configs, configs_received) = watch::channel(Arc::default());
        let sheets = Arc::<Sheets>::default();
        let inputs = Inputs { configs: configs_received, sheets: sheets.clone() };
        let stop = CancellationToken::new();
        let mut registries = more(&inputs);
        registries.push(Box::new(Directory::new(folder.path().to_owned(), settings.clone())));
        let (supervisor, events) = Supervisor::start(settings, registries, inputs, stop.clone());
        Self { folder, supervisor, configs, sheets, seen: View::default(), events, _stop: stop.drop_guard() }
    }

    pub fn path(&self, member: &str) -> PathBuf {
        self.folder.path().join(format!("{member}.yaml"))
    }

    /// Renamed into place, as a careful user does.
    pub fn write(&self, member: &str, kubeconfig: &str) {
        let partial = self.folder.path().join(".partial");
        std::fs::write(&partial, kubeconfig).unwrap();
        std::fs::rename(partial, self.path(member)).unwrap();
    }

    /// The Secrets that the plan needs of a member, `(namespace, name)`.
    pub fn refer(&self, member: &str, secrets: &[(&str, &str)]) {
        self.refer_in_term(member, secrets, 0);
    }

    /// As [`Self::refer`]; in another term they are told of anew.
    pub fn refer_in_term(&self, member: &str, secrets: &[(&str, &str)], term: u32) {
        let secrets = secrets.iter().map(|(namespace, name)| (ObjectName::new(*namespace, *name), term)).collect();
        self.sheets.write(&member.into(), Looks::default(), secrets, BTreeSet::new());
    }

    /// Takes events in until the condition holds.
    pub async fn wait(&mut self, what: &str, condition: impl Fn(&View) -> bool) {
        let waited = tokio::time::timeout(WAIT, async {
            while !condition(&self.seen) {
                let event = self.events.recv().await.expect("the supervisor runs");
                self.seen.take(event);
            }
        });
        let waited = waited.await;
        assert!(waited.is_ok(), "{what} did not come about: {:#?}", self.seen);
    }

    /// Takes events in for a while.
    pub async fn pass(&mut self, time: Duration) {
        let _ = tokio::time::timeout(time, async {
            while let Some(event) = self.events.recv().await {
                self.seen.take(event);
            }
        })
        .await;
    }
}

pub fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "replicationsources.volsync.backube"},
        "spec": {
            "group": "volsync.backube", "scope": "Namespaced",
            "names": {"kind": "ReplicationSource", "listKind": "ReplicationSourceList",
                      "plural": "replicationsources", "singular": "replicationsource"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

pub fn source(name: &str) -> Value {
    json!({
        "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"sourcePVC": "data", "kopia": {"repository": "repo"}},
    })
}

/// A cluster with VolSync's CRD, the member namespace and some sources.
pub async fn cluster(name: &str, sources: &[&str]) -> SimCluster {
    let cluster = SimCluster::start(name).await.unwrap();
    let actor = cluster.actor("test");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "volsync-system"}});
    actor.create(namespace).unwrap();
    actor.create(crd()).unwrap();
    for name in sources {
        actor.create(source(name)).unwrap();
    }
    cluster
}

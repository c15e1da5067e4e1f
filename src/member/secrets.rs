//! The Secrets that the plan refers to, and no others: read when they change, turned into facts at once, and dropped.
//!
//! Where the hub may watch Secrets of the whole cluster, changes are seen in their metadata; elsewhere each referenced
//! one is asked for its version every minute. CA ConfigMaps are asked for their versions only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::core::params::GetParams;
use kube::core::request::Request;
use tokio::sync::mpsc;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use zeroize::{Zeroize, Zeroizing};

use crate::identity::SecretFacts;
use crate::names::{MemberName, ObjectName, Place, PlacedName};
use crate::plan::fleet::{Observation, SecretState};

use super::access::{self, Rule};
use super::call::{CallError, Class, Member, Operation};
use super::contact::until_up;
use super::event::{MemberEvent, ReferencedKind};
use super::facts::{bare, optional};
use super::inputs::{Names, Terms};
use super::seen::Events;
use super::watch::Sink;
use super::wire::{Bare, Object, Secret};

/// How old the knowledge of a Secret that can't be watched may be.
const POLL: Duration = Duration::from_mins(1);
/// Until a read that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// Reads at once; a quarter of what may be in flight in a member.
const READS_AT_ONCE: usize = 8;
/// Versions on their way from the watch; more wait in the socket.
const VERSIONS_MAX: usize = 256;

/// What was last reported. Outlives a rotation of credentials.
#[derive(Debug, Default)]
pub struct Known(Mutex<BTreeMap<Key, Last>>);

type Key = (ReferencedKind, ObjectName);

#[derive(Clone, Debug, PartialEq)]
struct Last {
    version: Version,
    state: Option<SecretState>,
    /// In which it was told.
    term: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Absent,
    /// May not be read.
    Hidden,
    At(Box<str>),
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Last>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Reader {
    member: Member,
    events: Events,
    known: Arc<Known>,
    secrets: Receiver<Terms>,
    config_maps: Receiver<Names>,
    versions: mpsc::Receiver<(ObjectName, Version)>,
    watched: Receiver<bool>,
    /// To be read, for its present term.
    due: BTreeMap<Key, u32>,
}

/// Passes versions of referenced Secrets on from a metadata watch.
pub struct VersionSink {
    member: MemberName,
    secrets: Receiver<Terms>,
    versions: mpsc::Sender<(ObjectName, Version)>,
    listed: BTreeSet<ObjectName>,
    deleted: Vec<ObjectName>,
    watched: tokio::sync::watch::Sender<bool>,
}

/// A reader, and the sink that a metadata watch of all Secrets may feed.
pub fn reader(
    member: Member,
    events: Events,
    known: Arc<Known>,
    secrets: Receiver<Terms>,
    config_maps: Receiver<Names>,
) -> (Reader, VersionSink) {
    let (sender, versions) = mpsc::channel(VERSIONS_MAX);
    let watched = tokio::sync::watch::Sender::new(false);
    let sink = VersionSink {
        member: events.member.clone(),
        secrets: secrets.clone(),
        versions: sender,
        listed: BTreeSet::new(),
        deleted: Vec::new(),
        watched: watched.clone(),
    };
    let watched = watched.subscribe();
    (Reader { member, events, known, secrets, config_maps, versions, watched, due: BTreeMap::new() }, sink)
}

/// May Secrets be watched in the whole cluster? An API server that can't be asked does not count as a yes.
pub async fn may_watch(member: &Member) -> Result<bool, CallError> {
    for verb in ["list", "watch"] {
        let rule = Rule { verb, group: "", resource: "secrets", name: None, namespace: None };
        match access::allowed(member, &rule).await {
            Ok(true) => {}
            Ok(false) | Err(CallError { class: Class::NotFound | Class::NotServed | Class::Forbidden { .. }, .. }) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

impl Reader {
    /// Reads what is referenced, for as long as it is polled.
    pub async fn run(mut self) {
        let mut poll_at = Instant::now();
        self.update().await;
        loop {
            until_up(&self.member).await;
            self.read_due().await;
            let wake = if self.due.is_empty() { poll_at } else { poll_at.min(Instant::now() + RETRY) };
            tokio::select! {
                Ok(()) = self.secrets.changed() => self.update().await,
                Ok(()) = self.config_maps.changed() => self.update().await,
                Some((name, version)) = self.versions.recv() => self.compare(ReferencedKind::Secret, name, &version),
                () = tokio::time::sleep_until(wake) => {}
            }
            if Instant::now() >= poll_at {
                self.poll().await;
                poll_at = Instant::now() + POLL;
            }
        }
    }

    fn wanted(&mut self) -> BTreeMap<Key, u32> {
        let secrets = self.secrets.borrow_and_update().clone();
        let config_maps = self.config_maps.borrow_and_update().clone();
        let secrets = secrets.iter().map(|(name, term)| ((ReferencedKind::Secret, name.clone()), *term));
        secrets.chain(config_maps.iter().map(|name| ((ReferencedKind::ConfigMap, name.clone()), 0))).collect()
    }

    /// Takes the present references up: new ones are due, others are forgotten.
    async fn update(&mut self) {
        let wanted = self.wanted();
        // What was told in another term is told anew: nobody knows of it any more.
        self.known.lock().retain(|key, last| wanted.get(key).is_none_or(|term| *term == last.term));
        let known: BTreeSet<_> = self.known.lock().keys().cloned().collect();
        for key in known.iter().filter(|key| !wanted.contains_key(key)) {
            self.known.lock().remove(key);
            if key.0 == ReferencedKind::Secret {
                self.observed(&key.1, None).await;
            }
        }
        self.due.retain(|key, _| wanted.contains_key(key));
        self.due.extend(wanted.into_iter().filter(|(key, _)| !known.contains(key)));
    }

    fn compare(&mut self, kind: ReferencedKind, name: ObjectName, version: &Version) {
        let key = (kind, name);
        let changed = self.known.lock().get(&key).filter(|last| last.version != *version).map(|last| last.term);
        if let Some(term) = changed {
            self.due.insert(key, term);
        }
    }

    /// Asks for the versions of what no watch speaks for.
    async fn poll(&mut self) {
        let watched = *self.watched.borrow();
        let asked: Vec<_> = {
            let known = self.known.lock();
            let silent =
                |kind, last: &Last| !watched || kind == ReferencedKind::ConfigMap || last.version == Version::Hidden;
            known.iter().filter(|((kind, _), last)| silent(*kind, last)).map(|(key, _)| key.clone()).collect()
        };
        let member = &self.member;
        let answers = futures::stream::iter(asked).map(|(kind, name)| async move {
            let version = version_of(member, kind, &name).await;
            (kind, name, version)
        });
        let answers: Vec<_> = answers.buffer_unordered(READS_AT_ONCE).collect().await;
        for (kind, name, version) in answers {
            match version {
                Ok(version) => self.compare(kind, name, &version),
                Err(error) => tracing::debug!(member = %self.events.member, %error, "a version can't be read"),
            }
        }
    }

    /// Reads all that is due; what fails stays due.
    async fn read_due(&mut self) {
        let due = self.due.clone();
        let (member, known, events) = (&self.member, &self.known, &self.events);
        let reads = futures::stream::iter(due).map(|((kind, name), term)| async move {
            let read = match kind {
                ReferencedKind::Secret => secret(member, &name).await,
                ReferencedKind::ConfigMap => version_of(member, kind, &name).await.map(|version| (version, None)),
            };
            match read {
                Ok((version, state)) => {
                    report(known, events, kind, &name, Last { version, state, term }).await;
                    Some((kind, name))
                }
                Err(error) => {
                    tracing::warn!(member = %events.member, %error, "a referenced object can't be read");
                    None
                }
            }
        });
        let done: Vec<_> = reads.buffer_unordered(READS_AT_ONCE).collect().await;
        for key in done.into_iter().flatten() {
            self.due.remove(&key);
        }
    }

    async fn observed(&self, name: &ObjectName, state: Option<SecretState>) {
        observed(&self.events, name, state).await;
    }
}

async fn observed(events: &Events, name: &ObjectName, state: Option<SecretState>) -> bool {
    let secret = PlacedName { place: Place::Member(events.member.clone()), object: name.clone() };
    events.send(MemberEvent::Observed(Observation::Secret { secret, state })).await
}

async fn report(known: &Known, events: &Events, kind: ReferencedKind, name: &ObjectName, last: Last) {
    let key = (kind, name.clone());
    let before = known.lock().get(&key).cloned();
    if before.as_ref().map(|it| &it.state) != Some(&last.state)
        && let Some(state) = &last.state
        && !observed(events, name, Some(state.clone())).await
    {
        return;
    }
    if before.as_ref().map(|it| &it.version) != Some(&last.version) {
        let version = match &last.version {
            Version::At(version) => Some(version.clone()),
            Version::Absent | Version::Hidden => None,
        };
        let member = events.member.clone();
        if !events.send(MemberEvent::Referenced { member, kind, name: name.clone(), version }).await {
            return;
        }
    }
    known.lock().insert(key, last);
}

/// Reads one Secret and keeps nothing of it but facts.
async fn secret(member: &Member, name: &ObjectName) -> Result<(Version, Option<SecretState>), CallError> {
    let operation = Operation::new("get", format!("Secret {name}"));
    let request = Request::new(format!("/api/v1/namespaces/{}/secrets", name.namespace));
    let found = optional::<Secret>(member, &operation, request.get(&name.name, &GetParams::default())).await;
    let secret = match found {
        Ok(Some(secret)) => secret,
        Ok(None) => return Ok((Version::Absent, Some(SecretState::Absent))),
        Err(CallError { class: Class::Forbidden { .. }, .. }) => {
            return Ok((Version::Hidden, Some(SecretState::Forbidden)));
        }
        Err(error) => return Err(error),
    };
    let facts = facts_of(&secret);
    let version = Version::At(secret.metadata.resource_version);
    Ok((version, Some(SecretState::Present(Arc::new(facts)))))
}

/// The facts of a Secret's data; the decoded values are wiped.
fn facts_of(secret: &Secret) -> SecretFacts {
    let decode = |value: &super::wire::SecretValue| value.decode().unwrap_or_else(|| Zeroizing::new(Vec::new()));
    let mut data: BTreeMap<String, Vec<u8>> =
        secret.data.iter().map(|(key, value)| (key.clone(), std::mem::take(&mut *decode(value)))).collect();
    let facts = SecretFacts::read(&data);
    data.values_mut().for_each(Zeroize::zeroize);
    facts
}

async fn version_of(member: &Member, kind: ReferencedKind, name: &ObjectName) -> Result<Version, CallError> {
    let (kind, plural) = match kind {
        ReferencedKind::Secret => ("Secret", "secrets"),
        ReferencedKind::ConfigMap => ("ConfigMap", "configmaps"),
    };
    let path = format!("/api/v1/namespaces/{}/{plural}", name.namespace);
    match bare(member, &format!("{kind} of {}", name.namespace), &path, &name.name).await {
        Ok(Some(object)) => Ok(Version::At(object.metadata.resource_version)),
        Ok(None) => Ok(Version::Absent),
        Err(CallError { class: Class::Forbidden { .. }, .. }) => Ok(Version::Hidden),
        Err(error) => Err(error),
    }
}

impl VersionSink {
    fn is_wanted(&self, name: &ObjectName) -> bool {
        self.secrets.borrow().contains_key(name)
    }

    async fn pass(&self, name: ObjectName, version: Version) {
        // A closed queue means that the reader has ended, and this with it.
        let _ = self.versions.send((name, version)).await;
    }
}

impl Sink for VersionSink {
    type Object = Bare;

    fn begin(&mut self) {
        self.listed.clear();
        self.deleted.clear();
    }

    async fn apply(&mut self, object: Bare) {
        let name = object.meta().object_name();
        if self.is_wanted(&name) {
            self.listed.insert(name.clone());
            self.pass(name, Version::At(object.metadata.resource_version)).await;
        }
    }

    fn delete(&mut self, object: Bare) {
        self.deleted.push(object.meta().object_name());
    }

    /// What the list did not bring is read once more: only a 404 is absence.
    async fn complete(&mut self) -> Result<(), CallError> {
        let all = self.secrets.borrow().clone();
        for wanted in all.keys().filter(|name| !self.listed.contains(name)) {
            self.pass(wanted.clone(), Version::Absent).await;
        }
        self.listed.clear();
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), CallError> {
        for name in std::mem::take(&mut self.deleted) {
            if self.is_wanted(&name) {
                self.pass(name, Version::Absent).await;
            }
        }
        Ok(())
    }

    fn live(&mut self) {
        self.watched.send_replace(true);
    }

    async fn failed(&mut self, error: &CallError) {
        self.watched.send_replace(false);
        tracing::warn!(member = %self.member, %error, "Secrets are asked for one by one meanwhile");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_value_is_neither_printed_nor_kept() {
        let secret: Secret = serde_json::from_str(
            r#"{"metadata": {"name": "a", "resourceVersion": "7"}, "data": {"KOPIA_PASSWORD": "czNjcjN0"}}"#,
        )
        .unwrap();
        assert_eq!(secret.data["KOPIA_PASSWORD"].decode().unwrap().as_slice(), b"s3cr3t");
        assert!(!format!("{secret:?}").contains("czNjcjN0"));
        assert!(!format!("{:?}", facts_of(&secret)).contains("s3cr3t"));
    }
}

//! Members from Secrets in the hub's own namespace: those with the member label, and those that a MemberCluster names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::core::params::GetParams;
use kube::core::request::Request;
use tokio::sync::{Mutex, Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Origin, Registration, Registry, RegistryEvent, check_name};
use crate::labels;
use crate::member::call::{CallError, Member, Operation};
use crate::member::contact::until_up;
use crate::member::facts::optional;
use crate::member::inputs::Configs;
use crate::member::watch::{self, Sink, Target};
use crate::member::wire::Secret;
use crate::member::{MemberSettings, SecretRef, kubeconfig};
use crate::names::MemberName;

/// How soon a changed Secret that only a MemberCluster names is seen.
const POLL: Duration = Duration::from_secs(10);
/// Where a kubeconfig lies in a Secret: by our own habit, or by Cluster API's.
const KEYS: [&str; 2] = ["kubeconfig", "value"];
/// Pages of the one list that is made here.
const PAGES_AT_ONCE: usize = 1;

/// Follows the Secrets of one namespace of the hub's cluster.
#[derive(Debug)]
pub struct MemberSecrets {
    /// The hub's own cluster, with a heartbeat.
    hub: Member,
    namespace: Arc<str>,
    settings: MemberSettings,
    configs: Configs,
}

impl MemberSecrets {
    pub fn new(hub: Member, namespace: Arc<str>, settings: MemberSettings, configs: Configs) -> Self {
        Self { hub, namespace, settings, configs }
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", self.namespace)
    }

    /// Looks after the Secrets that a `MemberCluster` names.
    async fn follow_named(&self, book: Arc<Mutex<Book>>) {
        let mut configs = self.configs.clone();
        let look_again = book.lock().await.look_again.clone();
        loop {
            until_up(&self.hub).await;
            let named: BTreeMap<String, SecretRef> = configs
                .borrow_and_update()
                .iter()
                .filter_map(|(member, config)| Some((member.to_string(), config.kubeconfig_secret.clone()?)))
                .collect();
            let is_named = |(member, secret): &Key| named.get(member).is_some_and(|it| it.name == *secret);
            book.lock().await.keep_only(Claim::Named, is_named).await;
            for (member, SecretRef { name, key }) in &named {
                let operation = Operation::new("get", format!("Secret {}/{name}", self.namespace));
                let request = Request::new(self.path()).get(name, &GetParams::default());
                let found = optional::<Secret>(&self.hub, &operation, request).await;
                let mut book = book.lock().await;
                match found {
                    Ok(Some(found)) => book.present(Claim::Named, member, &found, key.as_deref()).await,
                    Ok(None) => book.gone(Claim::Named, &(member.clone(), name.clone())).await,
                    Err(error) => tracing::warn!(%member, %error, "its kubeconfig can't be read"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = look_again.notified() => {}
                Ok(()) = configs.changed() => {}
            }
        }
    }
}

impl Registry for MemberSecrets {
    fn run(self: Box<Self>, events: mpsc::Sender<RegistryEvent>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let book = Arc::new(Mutex::new(Book::new(events, self.settings.clone())));
            let mut labelled = Labelled { book: book.clone(), listed: BTreeSet::new(), deleted: Vec::new() };
            let selector = Some(format!("{}=true", labels::MEMBER));
            let target = Target { what: "Secrets of members", path: self.path(), selector, ..Target::default() };
            let pages = Arc::new(Semaphore::new(PAGES_AT_ONCE));
            tokio::select! {
                () = stop.cancelled() => {}
                () = watch::run(&self.hub, &target, &pages, &mut labelled) => {}
                () = self.follow_named(book) => {}
            }
        })
    }
}

/// A member and the Secret that registers it.
type Key = (String, Arc<str>);

/// Why a Secret registers a member. Either is enough: one that has lost its label counts on for as long as a
/// `MemberCluster` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Labelled,
    Named,
}

/// What was registered so far.
struct Book {
    events: mpsc::Sender<RegistryEvent>,
    settings: MemberSettings,
    known: BTreeMap<Key, Entry>,
    /// Wakes whoever follows the Secrets that are named.
    look_again: Arc<Notify>,
}

#[derive(Default)]
struct Entry {
    claims: BTreeSet<Claim>,
    fingerprint: Option<[u8; 32]>,
    problem: Option<String>,
}

impl Book {
    fn new(events: mpsc::Sender<RegistryEvent>, settings: MemberSettings) -> Self {
        Self { events, settings, known: BTreeMap::new(), look_again: Arc::default() }
    }

    async fn send(&self, event: RegistryEvent) {
        // A closed queue means that the hub is stopping.
        let _ = self.events.send(event).await;
    }

    /// `key`: where the kubeconfig lies, if that is said.
    async fn present(&mut self, claim: Claim, name: &str, secret: &Secret, key: Option<&str>) {
        let secret_name: Arc<str> = Arc::from(&*secret.metadata.name);
        let read = self.read(name, secret, key).await;
        let entry = self.known.entry((name.to_owned(), secret_name.clone())).or_default();
        entry.claims.insert(claim);
        match read {
            Ok(registration) => {
                let fingerprint = Some(registration.credentials.fingerprint);
                // Said again where a problem is over.
                if entry.problem.take().is_some() || entry.fingerprint != fingerprint {
                    entry.fingerprint = fingerprint;
                    self.send(RegistryEvent::Present(Box::new(registration))).await;
                }
            }
            Err((_, message)) if entry.problem.as_ref() == Some(&message) => {}
            Err((reason, message)) => {
                entry.problem = Some(message.clone());
                let (name, origin) = (Arc::from(name), Origin::Secret(secret_name));
                self.send(RegistryEvent::Broken { name, origin, reason, message }).await;
            }
        }
    }

    async fn read(
        &self,
        name: &str,
        secret: &Secret,
        key: Option<&str>,
    ) -> Result<Registration, (&'static str, String)> {
        let name = check_name(name).map_err(|message| ("InvalidName", message))?;
        let value = match key {
            Some(key) => secret.data.get(key).ok_or_else(|| format!("it has no key {key}")),
            None => KEYS
                .iter()
                .find_map(|key| secret.data.get(*key))
                .ok_or_else(|| "it has neither the key kubeconfig nor value".to_owned()),
        };
        let value = value.map_err(|message| ("InvalidKubeconfig", message))?;
        let bytes = value.decode().ok_or_else(|| ("InvalidKubeconfig", "its data is not base64".to_owned()))?;
        let origin = Origin::Secret(Arc::from(&*secret.metadata.name));
        let credentials = kubeconfig::read(&bytes, &origin, &self.settings).await;
        let credentials = credentials.map_err(|error| (error.reason, error.message))?;
        Ok(Registration { name, origin, created: secret.metadata.creation_timestamp, credentials })
    }

    async fn gone(&mut self, claim: Claim, key: &Key) {
        let Some(entry) = self.known.get_mut(key) else { return };
        entry.claims.remove(&claim);
        if !entry.claims.is_empty() {
            // Whether it is there still is for the other to see.
            self.look_again.notify_one();
            return;
        }
        self.known.remove(key);
        let (name, origin) = (MemberName::from(key.0.as_str()), Origin::Secret(key.1.clone()));
        self.send(RegistryEvent::Gone { name, origin }).await;
    }

    async fn keep_only(&mut self, claim: Claim, keep: impl Fn(&Key) -> bool) {
        let claimed = self.known.iter().filter(|(_, entry)| entry.claims.contains(&claim)).map(|(key, _)| key);
        let over: Vec<_> = claimed.filter(|key| !keep(key)).cloned().collect();
        for key in over {
            self.gone(claim, &key).await;
        }
    }
}

/// Takes in the Secrets with the member label: each registers a member of its own name.
struct Labelled {
    book: Arc<Mutex<Book>>,
    listed: BTreeSet<Key>,
    deleted: Vec<Key>,
}

fn key_of(secret: &Secret) -> Key {
    (secret.metadata.name.to_string(), Arc::from(&*secret.metadata.name))
}

impl Sink for Labelled {
    type Object = Secret;

    fn begin(&mut self) {
        self.listed.clear();
        self.deleted.clear();
    }

    async fn apply(&mut self, secret: Secret) {
        let key = key_of(&secret);
        self.deleted.retain(|deleted| *deleted != key);
        self.book.lock().await.present(Claim::Labelled, &key.0, &secret, None).await;
        self.listed.insert(key);
    }

    fn delete(&mut self, secret: Secret) {
        self.deleted.push(key_of(&secret));
    }

    async fn complete(&mut self) -> Result<(), CallError> {
        let listed = std::mem::take(&mut self.listed);
        self.book.lock().await.keep_only(Claim::Labelled, |key| listed.contains(key)).await;
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), CallError> {
        // What came since the list needs no place there.
        self.listed.clear();
        for key in std::mem::take(&mut self.deleted) {
            self.book.lock().await.gone(Claim::Labelled, &key).await;
        }
        Ok(())
    }

    fn live(&mut self) {}

    async fn failed(&mut self, error: &CallError) {
        tracing::warn!(%error, "members registered as Secrets can't be followed");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::member::tests::settings;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    fn secret(name: &str, key: &str, token: &str) -> Secret {
        let kubeconfig = format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
             clusters: [{{name: a, cluster: {{server: 'https://example.com'}}}}]\nusers: [{{name: a, user: {{{token}}}}}]\n"
        );
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "data": {key: STANDARD.encode(kubeconfig)},
        }))
        .unwrap()
    }

    fn labelled() -> (Labelled, mpsc::Receiver<RegistryEvent>) {
        let (events, received) = mpsc::channel(16);
        let book = Arc::new(Mutex::new(Book::new(events, settings())));
        (Labelled { book, listed: BTreeSet::new(), deleted: Vec::new() }, received)
    }

    fn next(events: &mut mpsc::Receiver<RegistryEvent>) -> Option<String> {
        events.try_recv().ok().map(|event| match event {
            RegistryEvent::Present(registration) => format!("+{}", registration.name),
            RegistryEvent::Gone { name, .. } => format!("-{name}"),
            RegistryEvent::Broken { name, message, .. } => format!("!{name} {message}"),
        })
    }

    #[tokio::test]
    async fn secrets_register_under_their_own_name_whichever_key_they_use() {
        let (mut labelled, mut events) = labelled();
        labelled.begin();
        labelled.apply(secret("eu", "kubeconfig", "token: a")).await;
        labelled.apply(secret("us", "value", "token: a")).await;
        labelled.complete().await.unwrap();
        assert_eq!(next(&mut events).unwrap(), "+eu");
        assert_eq!(next(&mut events).unwrap(), "+us");
        labelled.apply(secret("eu", "kubeconfig", "token: a")).await;
        assert_eq!(next(&mut events), None, "nothing changed");
        labelled.apply(secret("eu", "kubeconfig", "token: b")).await;
        assert_eq!(next(&mut events).unwrap(), "+eu");
        labelled.begin();
        labelled.apply(secret("us", "value", "token: a")).await;
        labelled.complete().await.unwrap();
        assert_eq!(next(&mut events).unwrap(), "-eu");
    }

    #[tokio::test]
    async fn an_exec_in_a_secret_is_refused_and_what_worked_before_stays() {
        let (mut labelled, mut events) = labelled();
        labelled.apply(secret("eu", "kubeconfig", "token: a")).await;
        assert_eq!(next(&mut events).unwrap(), "+eu");
        let exec = secret("eu", "kubeconfig", "exec: {apiVersion: client.authentication.k8s.io/v1, command: sh}");
        labelled.apply(exec.clone()).await;
        labelled.apply(exec).await;
        assert!(next(&mut events).unwrap().starts_with("!eu exec is refused"));
        assert_eq!(next(&mut events), None, "said once, and nothing is gone");
    }

    #[tokio::test]
    async fn a_secret_without_its_label_counts_for_as_long_as_a_member_cluster_names_it() {
        let (mut labelled, mut events) = labelled();
        let eu = secret("eu", "kubeconfig", "token: a");
        labelled.apply(eu.clone()).await;
        assert_eq!(next(&mut events).unwrap(), "+eu");
        let book = labelled.book.clone();
        book.lock().await.present(Claim::Named, "eu", &eu, None).await;
        assert_eq!(next(&mut events), None, "known already");
        labelled.delete(eu.clone());
        labelled.settle().await.unwrap();
        assert_eq!(next(&mut events), None, "it is named still");
        book.lock().await.gone(Claim::Named, &key_of(&eu)).await;
        assert_eq!(next(&mut events).unwrap(), "-eu");
    }

    #[tokio::test]
    async fn a_member_cluster_may_name_the_key_and_another_name() {
        let (labelled, mut events) = labelled();
        let shared = secret("shared", "prod", "token: a");
        let mut book = labelled.book.lock().await;
        book.present(Claim::Named, "eu", &shared, Some("prod")).await;
        assert_eq!(next(&mut events).unwrap(), "+eu");
        book.present(Claim::Named, "us", &shared, Some("test")).await;
        assert_eq!(next(&mut events).unwrap(), "!us it has no key test");
        book.present(Claim::Named, "us", &shared, None).await;
        assert!(next(&mut events).unwrap().starts_with("!us it has neither"), "the key is not guessed");
        book.keep_only(Claim::Named, |key| key.0 == "eu").await;
        assert_eq!(next(&mut events).unwrap(), "-us", "its problem is over");
    }
}

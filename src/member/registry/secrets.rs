//! Members from Secrets in the hub's own namespace: those with the member label, and those that a MemberCluster names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::core::params::GetParams;
use kube::core::request::Request;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Origin, Registration, Registry, RegistryEvent, check_name};
use crate::labels;
use crate::member::call::{CallError, Member, Operation};
use crate::member::contact::until_up;
use crate::member::facts::optional;
use crate::member::watch::{self, Sink, Target};
use crate::member::wire::{Object, Secret};
use crate::member::{Configs, MemberSettings, kubeconfig};
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
    async fn follow_named(&self, mut book: Book) {
        let mut configs = self.configs.clone();
        loop {
            until_up(&self.hub).await;
            let named: BTreeMap<MemberName, Arc<str>> = configs
                .borrow_and_update()
                .iter()
                .filter_map(|(member, config)| Some((member.clone(), config.kubeconfig_secret.clone()?)))
                .collect();
            book.keep_only(|member| named.contains_key(member)).await;
            for (member, secret) in &named {
                let operation = Operation::new("get", format!("Secret {}/{secret}", self.namespace));
                let request = Request::new(self.path()).get(secret, &GetParams::default());
                match optional::<Secret>(&self.hub, &operation, request).await {
                    Ok(Some(found)) => book.present(member.as_str(), &found).await,
                    Ok(None) => book.gone(member.as_str()).await,
                    Err(error) => tracing::warn!(%member, %error, "its kubeconfig can't be read"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                Ok(()) = configs.changed() => {}
            }
        }
    }
}

impl Registry for MemberSecrets {
    fn run(self: Box<Self>, events: mpsc::Sender<RegistryEvent>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let book = || Book { events: events.clone(), settings: self.settings.clone(), known: BTreeMap::new() };
            let mut labelled = Labelled { book: book(), listed: Vec::new(), deleted: Vec::new() };
            let selector = Some(format!("{}=true", labels::MEMBER));
            let target = Target { what: "Secrets of members", path: self.path(), selector, bare: false };
            let pages = Arc::new(Semaphore::new(PAGES_AT_ONCE));
            tokio::select! {
                () = stop.cancelled() => {}
                () = watch::run(&self.hub, &target, &pages, &mut labelled) => {}
                () = self.follow_named(book()) => {}
            }
        })
    }
}

/// What was registered so far, by member name.
struct Book {
    events: mpsc::Sender<RegistryEvent>,
    settings: MemberSettings,
    known: BTreeMap<String, Entry>,
}

struct Entry {
    secret: Arc<str>,
    fingerprint: Option<[u8; 32]>,
    problem: Option<String>,
}

impl Book {
    async fn send(&self, event: RegistryEvent) {
        // A closed queue means that the hub is stopping.
        let _ = self.events.send(event).await;
    }

    async fn present(&mut self, name: &str, secret: &Secret) {
        let secret_name: Arc<str> = Arc::from(&*secret.metadata.name);
        // Another Secret than before: what the former registered is over.
        if self.known.get(name).is_some_and(|entry| entry.secret != secret_name) {
            self.gone(name).await;
        }
        let (reason, message) = match self.read(name, secret).await {
            Ok(registration) => {
                let fingerprint = Some(registration.credentials.fingerprint);
                let entry = Entry { secret: secret_name, fingerprint, problem: None };
                let before = self.known.insert(name.to_owned(), entry);
                // Said again where a problem is over.
                if before.is_none_or(|it| it.fingerprint != fingerprint || it.problem.is_some()) {
                    self.send(RegistryEvent::Present(Box::new(registration))).await;
                }
                return;
            }
            Err(problem) => problem,
        };
        let entry = self.known.entry(name.to_owned()).or_insert_with(|| Entry {
            secret: secret_name.clone(),
            fingerprint: None,
            problem: None,
        });
        if entry.problem.as_ref() != Some(&message) {
            entry.problem = Some(message.clone());
            let (name, origin) = (Arc::from(name), Origin::Secret(secret_name));
            self.send(RegistryEvent::Broken { name, origin, reason, message }).await;
        }
    }

    async fn read(&self, name: &str, secret: &Secret) -> Result<Registration, (&'static str, String)> {
        let name = check_name(name).map_err(|message| ("InvalidName", message))?;
        let value = KEYS.iter().find_map(|key| secret.data.get(*key));
        let value =
            value.ok_or_else(|| ("InvalidKubeconfig", "it has neither the key kubeconfig nor value".to_owned()))?;
        let bytes = value.decode().ok_or_else(|| ("InvalidKubeconfig", "its data is not base64".to_owned()))?;
        let origin = Origin::Secret(Arc::from(&*secret.metadata.name));
        let credentials = kubeconfig::read(&bytes, &origin, &self.settings).await;
        let credentials = credentials.map_err(|error| (error.reason, error.message))?;
        Ok(Registration { name, origin, created: secret.metadata.creation_timestamp, credentials })
    }

    async fn gone(&mut self, name: &str) {
        let Some(entry) = self.known.remove(name) else { return };
        if entry.fingerprint.is_some() {
            let (name, origin) = (MemberName::from(name), Origin::Secret(entry.secret));
            self.send(RegistryEvent::Gone { name, origin }).await;
        }
    }

    async fn keep_only(&mut self, keep: impl Fn(&MemberName) -> bool) {
        let over: Vec<_> = self.known.keys().filter(|name| !keep(&MemberName::from(name.as_str()))).cloned().collect();
        for name in over {
            self.gone(&name).await;
        }
    }
}

/// Takes in the Secrets with the member label: each registers a member of its own name.
struct Labelled {
    book: Book,
    listed: Vec<String>,
    deleted: Vec<String>,
}

impl Sink for Labelled {
    type Object = Secret;

    fn begin(&mut self) {
        self.listed.clear();
        self.deleted.clear();
    }

    async fn apply(&mut self, secret: Secret) {
        let name = secret.meta().name.to_string();
        self.deleted.retain(|deleted| *deleted != name);
        self.book.present(&name, &secret).await;
        self.listed.push(name);
    }

    fn delete(&mut self, secret: Secret) {
        self.deleted.push(secret.metadata.name.to_string());
    }

    async fn complete(&mut self) -> Result<(), CallError> {
        let listed = std::mem::take(&mut self.listed);
        self.book.keep_only(|name| listed.iter().any(|it| it == name.as_str())).await;
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), CallError> {
        // What came since the list needs no place there.
        self.listed.clear();
        for name in std::mem::take(&mut self.deleted) {
            self.book.gone(&name).await;
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
        let book = Book { events, settings: settings(), known: BTreeMap::new() };
        (Labelled { book, listed: Vec::new(), deleted: Vec::new() }, received)
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
}

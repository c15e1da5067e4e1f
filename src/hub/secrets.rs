//! Secrets and CA bundles on the hub that direct policies name: seen when they change, read when they are copied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::hub::event::HubEvent;
use crate::identity::SecretFacts;
use crate::member::SecretValues;
use crate::member::event::ReferencedKind;
use crate::names::{ObjectName, Place, PlacedName};
use crate::plan::fleet::{Observation, SecretState};

/// The hub's API server is asked for each of them this often; a policy that is new, at once.
const POLL: Duration = Duration::from_secs(10);
const IN_FLIGHT_MAX: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the plan needs of the hub's own cluster.
pub type Wanted = BTreeSet<(ReferencedKind, ObjectName)>;

#[derive(Clone)]
pub struct HubSecrets {
    client: Client,
}

enum Read {
    Found(SecretValues),
    Absent,
    Forbidden,
    Failed(String),
}

impl HubSecrets {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// None: there is none.
    pub async fn read(&self, kind: ReferencedKind, name: &ObjectName) -> Result<Option<SecretValues>, String> {
        let what = match kind {
            ReferencedKind::Secret => "Secret",
            ReferencedKind::ConfigMap => "ConfigMap",
        };
        match self.get(kind, name).await {
            Read::Found(values) => Ok(Some(values)),
            Read::Absent => Ok(None),
            Read::Forbidden => {
                Err(format!("failed to read {what} {name} on the hub: the hub's ServiceAccount may not"))
            }
            Read::Failed(detail) => Err(format!("failed to read {what} {name} on the hub: {detail}")),
        }
    }

    async fn get(&self, kind: ReferencedKind, name: &ObjectName) -> Read {
        let asked = async {
            match kind {
                ReferencedKind::Secret => {
                    let api = Api::<Secret>::namespaced(self.client.clone(), &name.namespace);
                    let secret = api.get(&name.name).await?;
                    let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
                    Ok((secret.metadata, data.collect()))
                }
                ReferencedKind::ConfigMap => {
                    let api = Api::<ConfigMap>::namespaced(self.client.clone(), &name.namespace);
                    let map = api.get(&name.name).await?;
                    let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
                    let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
                    Ok((map.metadata, text.chain(binary).collect::<BTreeMap<_, _>>()))
                }
            }
        };
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Ok((metadata, data))) => Read::Found(SecretValues {
                uid: metadata.uid.unwrap_or_default().into(),
                resource_version: metadata.resource_version.unwrap_or_default().into(),
                data,
            }),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Read::Absent,
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Read::Forbidden,
            Ok(Err(error)) => Read::Failed(error.to_string()),
            Err(_) => Read::Failed(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    /// Tells of every change of what is wanted, until cancelled.
    pub async fn run(
        &self,
        mut wanted: watch::Receiver<Arc<Wanted>>,
        tx: mpsc::Sender<HubEvent>,
        cancel: CancellationToken,
    ) {
        let mut known = BTreeMap::new();
        loop {
            let now = Arc::clone(&wanted.borrow_and_update());
            known.retain(|key, _| now.contains(key));
            let answers: Vec<_> = futures::stream::iter(now.iter().cloned())
                .map(|(kind, name)| async move { (self.get(kind, &name).await, kind, name) })
                .buffer_unordered(IN_FLIGHT_MAX)
                .collect()
                .await;
            for (read, kind, name) in answers {
                for event in events(&mut known, &read, kind, name) {
                    if tx.send(event).await.is_err() {
                        return;
                    }
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = wanted.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}

/// What a read tells that was not known: nothing where it failed, for that says nothing of the object.
fn events(
    known: &mut BTreeMap<(ReferencedKind, ObjectName), Option<Box<str>>>,
    read: &Read,
    kind: ReferencedKind,
    name: ObjectName,
) -> Vec<HubEvent> {
    let (version, state) = match read {
        Read::Found(values) => {
            (Some(values.resource_version.clone()), SecretState::Present(Arc::new(SecretFacts::read(&values.data))))
        }
        Read::Absent => (None, SecretState::Absent),
        Read::Forbidden => (Some("forbidden".into()), SecretState::Forbidden),
        Read::Failed(detail) => {
            tracing::warn!(object = %name, detail, "reading an object on the hub failed; what was known of it stays");
            return Vec::new();
        }
    };
    if known.insert((kind, name.clone()), version.clone()).is_some_and(|before| before == version) {
        return Vec::new();
    }
    let mut events = Vec::new();
    if kind == ReferencedKind::Secret {
        let secret = PlacedName { place: Place::Hub, object: name.clone() };
        events.push(HubEvent::Observed(Observation::Secret { secret, state: Some(state) }));
    }
    events.push(HubEvent::Referenced { kind, name, version });
    events
}

//! The hub's own watches: policies, the ledger and MemberClusters, read into types and handed on.

use kube::Client;
use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::api::kopia_repository::KopiaRepository;
use crate::api::member_cluster::MemberCluster;
use crate::hub::event::{HubEvent, HubList, PolicyObject};
use crate::hub::kinds;
use crate::hub::watch::{self, Seen, Target};
use crate::names::{MemberName, PolicyName, RepositoryId};
use crate::plan::fleet::Observation;
use crate::policy::{PolicyRecord, PolicyRules};

/// Objects on their way from the watches; more wait there.
const SEEN_MAX: usize = 256;

const POLICY: &str = "KopiaMaintenance";
const LEDGER: &str = "KopiaRepository";
const MEMBER: &str = "MemberCluster";

/// Starts the watches. `group` is the one under which policies live.
pub fn start(
    client: &Client,
    group: &str,
    rules: PolicyRules,
    events: mpsc::Sender<HubEvent>,
    cancel: &CancellationToken,
) {
    let (tx, mut rx) = mpsc::channel::<(&'static str, Seen)>(SEEN_MAX);
    for (kind, resource) in
        [(POLICY, kinds::policy(group)), (LEDGER, kinds::ledger()), (MEMBER, kinds::member_cluster())]
    {
        let target = Target { crd: Some(kinds::crd_name(&resource)), resource, namespace: None, labels: None };
        tokio::spawn(watch::run(client.clone(), target, kind, tx.clone(), cancel.clone()));
    }
    tokio::spawn(async move {
        while let Some((kind, seen)) = rx.recv().await {
            if let Some(event) = read(kind, seen, &rules)
                && events.send(event).await.is_err()
            {
                return;
            }
        }
    });
}

fn read(kind: &'static str, seen: Seen, rules: &PolicyRules) -> Option<HubEvent> {
    match (kind, seen) {
        (POLICY, Seen::Object(object)) => Some(policy(&object, rules)),
        (POLICY, Seen::Gone { name, .. }) => {
            let name = PolicyName::from(name.as_str());
            let observation = Observation::Policy { name: name.clone(), record: None };
            Some(HubEvent::Policy { name, object: None, observation })
        }
        (POLICY, Seen::Listed) => Some(HubEvent::Listed(HubList::Policies)),
        (LEDGER, Seen::Object(object)) => {
            let id = ledger_id(object.metadata.name.as_deref()?)?;
            Some(HubEvent::Ledger { id, object: Some(Box::new(typed::<KopiaRepository>(kind, &object)?)) })
        }
        (LEDGER, Seen::Gone { name, .. }) => Some(HubEvent::Ledger { id: ledger_id(&name)?, object: None }),
        (LEDGER, Seen::Listed) => Some(HubEvent::Listed(HubList::Ledger)),
        (_, Seen::Object(object)) => {
            let name = MemberName::from(object.metadata.name.as_deref()?);
            Some(HubEvent::MemberCluster { name, object: Some(Box::new(typed::<MemberCluster>(kind, &object)?)) })
        }
        (_, Seen::Gone { name, .. }) => {
            Some(HubEvent::MemberCluster { name: MemberName::from(name.as_str()), object: None })
        }
        (_, Seen::Listed) => Some(HubEvent::Listed(HubList::MemberClusters)),
    }
}

fn policy(object: &DynamicObject, rules: &PolicyRules) -> HubEvent {
    // Dynamic objects hold plain JSON, which always reads back as such.
    let value = serde_json::to_value(object).unwrap_or_default();
    let record = PolicyRecord::read(&value, rules);
    let name = record.name.clone();
    let known = PolicyObject {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        status: value.get("status").cloned().unwrap_or(Value::Null),
    };
    let observation = Observation::Policy { name: name.clone(), record: Some(Box::new(record)) };
    HubEvent::Policy { name, object: Some(Box::new(known)), observation }
}

fn ledger_id(name: &str) -> Option<RepositoryId> {
    let id = name.starts_with("kr-").then(|| name.parse().ok()).flatten();
    if id.is_none() {
        warn!(
            object = name,
            "a KopiaRepository that is not named kr-<16 hex digits> is no record of the hub; it is ignored"
        );
    }
    id
}

/// An object that an older definition let through, and that does not read, keeps what it said before.
fn typed<K: DeserializeOwned>(kind: &'static str, object: &DynamicObject) -> Option<K> {
    let value = serde_json::to_value(object).unwrap_or_default();
    match serde_json::from_value(value) {
        Ok(typed) => Some(typed),
        Err(error) => {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            warn!(kind, object = name, %error, "an object on the hub can't be read; what it said before stays in force");
            None
        }
    }
}

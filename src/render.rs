//! Pure: an assignment and what is known of its member become the Kubernetes objects that stand there.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::names::{MemberName, RepositoryId};
use crate::plan::result::Assignment;

pub mod cron_job;
pub mod pod;
pub mod secret;
pub mod support;

/// The field manager of everything that the hub applies.
pub const FIELD_MANAGER: &str = "volsync-hub";

pub mod label {
    //! Labels and annotations of pushed objects.
    pub const MAINTENANCE: &str = "volsync.backube/kopia-maintenance";
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    pub const MANAGER: &str = "volsync-hub";
    pub const REPOSITORY: &str = "hub.volsync.backube/repository";
    pub const HUB: &str = "hub.volsync.backube/hub";
    pub const ROLE: &str = "hub.volsync.backube/role";
    pub const POLICY: &str = "hub.volsync.backube/policy";
    pub const EPOCH: &str = "hub.volsync.backube/epoch";
    /// Where a copy comes from: `cluster/namespace/name`.
    pub const SOURCE: &str = "hub.volsync.backube/source";
    /// The version of the source that was copied: `uid/resourceVersion`.
    pub const SOURCE_VERSION: &str = "hub.volsync.backube/source-version";
    /// The whole identity; names hold only its head.
    pub const KEY: &str = "hub.volsync.backube/repository-key";
    pub const APPLIED_HASH: &str = "hub.volsync.backube/applied-hash";
    /// On runs by hand: the token that asked for them.
    pub const RUN_NOW: &str = "hub.volsync.backube/run-now";
}

/// What rendering has to know of the hub and of one member.
#[derive(Clone, Debug)]
pub struct RenderContext<'a> {
    pub hub_id: &'a str,
    pub namespace: &'a str,
    pub member: &'a MemberSettings,
    pub epoch: u64,
    /// Divides the waits inside the mover; 1 but in test builds.
    pub time_factor: u32,
}

/// What a member's own VolSync and platform say about how Jobs have to look there.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberSettings {
    /// Image of the mover.
    pub image: String,
    /// `HTTP_PROXY` and the like of the VolSync Deployment: (name, value).
    pub proxies: Vec<(String, String)>,
    /// The platform assigns user and group ids itself.
    pub openshift: bool,
    /// Of the MemberCluster.
    pub image_pull_secrets: Vec<String>,
}

/// The name that Kopia records for a holder: the user before the `@`, the host behind it.
pub fn kopia_owner(epoch: u64, member: &MemberName, hub_id: &str) -> String {
    format!("volsync-hub-{epoch}@{member}.{hub_id}")
}

/// Labels that every pushed object of a repository has.
pub fn labels(id: RepositoryId, hub_id: &str) -> BTreeMap<String, String> {
    let mut labels = shared_labels(hub_id);
    labels.insert(label::REPOSITORY.to_owned(), id.to_string());
    labels
}

/// Labels of objects that serve all repositories of a member.
pub fn shared_labels(hub_id: &str) -> BTreeMap<String, String> {
    [(label::MAINTENANCE, "true"), (label::MANAGED_BY, label::MANAGER), (label::HUB, hub_id)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn meta(assignment: &Assignment, context: &RenderContext<'_>, name: String) -> ObjectMeta {
    let source = format!("{}/{}", assignment.secret.place, assignment.secret.object);
    let annotations = [
        (label::POLICY, assignment.policy.to_string()),
        (label::EPOCH, context.epoch.to_string()),
        (label::SOURCE, source),
        (label::KEY, assignment.key.to_string()),
    ];
    ObjectMeta {
        name: Some(name),
        namespace: Some(context.namespace.to_owned()),
        labels: Some(labels(assignment.id, context.hub_id)),
        annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
        ..ObjectMeta::default()
    }
}

/// An object as it is applied, with its hash in an annotation.
///
/// The hash covers all that is applied, so an equal annotation means that nothing has to be sent.
/// It must not be used for Secrets: a hash of their data would let a reader try passwords.
pub fn sealed(object: &impl Serialize) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(object)?;
    if value
        .get("status")
        .is_some_and(|status| status.is_null() || status.as_object().is_some_and(serde_json::Map::is_empty))
    {
        value.as_object_mut().map(|map| map.remove("status"));
    }
    let hash = Sha256::digest(value.to_string().as_bytes());
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    value["metadata"]["annotations"][label::APPLIED_HASH] = Value::String(hash);
    Ok(value)
}

//! Pure: an assignment and what is known of its member become the Kubernetes objects that stand there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::labels;
use crate::names::{MemberName, RepositoryId};
use crate::plan::fleet::Former;
use crate::plan::result::Assignment;

pub mod cron_job;
pub mod pod;
mod revision;
pub mod secret;
pub mod support;

/// What rendering has to know of the hub and of one member.
#[derive(Clone, Debug)]
pub struct RenderContext<'a> {
    pub hub_id: &'a str,
    pub namespace: &'a str,
    pub member: &'a Platform,
    pub epoch: u64,
    /// Divides the waits inside the mover; 1 but in test builds.
    pub time_factor: u32,
}

/// What a member's own VolSync and platform say about how Jobs have to look there.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Platform {
    /// Image of the mover.
    pub image: String,
    /// `HTTP_PROXY` and the like of the VolSync Deployment: (name, value).
    pub proxies: Vec<(String, String)>,
    /// The platform assigns user and group ids itself.
    pub openshift: bool,
    /// Of the MemberCluster.
    pub image_pull_secrets: Vec<String>,
}

/// The name that Kopia records for a holder: the user before the `@`, the host behind it. The id is part of it: a repository
/// that goes by two names has two grants until the hub knows, and the fence has to tell one from the other.
///
/// Id zero, which no repository has, stands for an owner that names none: hubs wrote such ones once.
pub fn kopia_owner(epoch: u64, member: &MemberName, id: RepositoryId, hub_id: &str) -> String {
    if id == RepositoryId::default() {
        format!("volsync-hub-{epoch}@{member}.{hub_id}")
    } else {
        format!("volsync-hub-{epoch}@{member}.{id}.{hub_id}")
    }
}

/// The grant of this hub that a recorded owner names, if it is one: whole and exactly as [`kopia_owner`] writes it.
pub fn former_of(owner: &str, hub_id: &str) -> Option<Former> {
    let (epoch, host) = owner.strip_prefix("volsync-hub-")?.split_once('@')?;
    let place = host.strip_suffix(hub_id)?.strip_suffix('.')?;
    let with_id = place.rsplit_once('.').and_then(|(member, id)| Some((member, id.parse().ok()?)));
    let (member, id) = with_id.unwrap_or((place, RepositoryId::default()));
    let (cluster, epoch) = (MemberName::from(member), epoch.parse().ok()?);
    (kopia_owner(epoch, &cluster, id, hub_id) == owner).then_some(Former { cluster, epoch, id })
}

/// Labels that every pushed object of a repository has.
pub fn object_labels(id: RepositoryId, hub_id: &str) -> BTreeMap<String, String> {
    let mut labels = shared_labels(hub_id);
    labels.insert(labels::REPOSITORY.to_owned(), id.to_string());
    labels
}

/// Labels of objects that serve all repositories of a member.
pub fn shared_labels(hub_id: &str) -> BTreeMap<String, String> {
    [
        (labels::MAINTENANCE, labels::MAINTENANCE_VALUE),
        (labels::MANAGED_BY, labels::MANAGED_BY_VALUE),
        (labels::HUB, hub_id),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn meta(assignment: &Assignment, context: &RenderContext<'_>, name: String) -> ObjectMeta {
    let secret = format!("{}/{}", assignment.secret.place, assignment.secret.object);
    let annotations = [
        (labels::POLICY, assignment.policy.to_string()),
        (labels::EPOCH, context.epoch.to_string()),
        (labels::SOURCE, secret),
        (labels::KEY, assignment.key.to_string()),
        // Tells whose it is where somebody removed the labels.
        (labels::HUB, context.hub_id.to_owned()),
    ];
    ObjectMeta {
        name: Some(name),
        namespace: Some(context.namespace.to_owned()),
        labels: Some(object_labels(assignment.id, context.hub_id)),
        annotations: Some(annotations.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ..ObjectMeta::default()
    }
}

/// Puts the hash of an object into an annotation of it, and returns it.
///
/// The hash covers all that is applied but since when it has been so, so an equal annotation means that nothing has to be sent.
/// It must not be used for Secrets: a hash of their data would let a reader try passwords.
pub fn seal<K: kube::Resource + Serialize>(object: &mut K) -> String {
    let since = object.meta_mut().annotations.as_mut().and_then(|all| all.remove_entry(labels::REVISION_SINCE));
    // Kubernetes types always write as JSON.
    let text = serde_json::to_string(object).unwrap_or_default();
    let hash = short_hash::<8>(text.as_bytes());
    let annotations = object.meta_mut().annotations.get_or_insert_default();
    annotations.extend(since);
    annotations.insert(labels::APPLIED_HASH.to_owned(), hash.clone());
    hash
}

/// The first bytes of the SHA-256, in hex.
fn short_hash<const BYTES: usize>(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * BYTES);
    for byte in Sha256::digest(bytes).iter().take(BYTES) {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;

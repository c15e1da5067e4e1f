//! What a member needs once: the ServiceAccount of the Jobs and the ConfigMap with the mover script.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{seal, shared_labels, short_hash};
use crate::labels;

pub const SERVICE_ACCOUNT: &str = "volsync-hub-mover";
pub const SCRIPT_KEY: &str = "maintain.sh";
const SCRIPT: &str = include_str!("../../deploy/mover/maintain.sh");

/// Holds the hash of the script: a new script gets a new ConfigMap, and running Jobs keep theirs.
pub fn script_name() -> String {
    // Asked for at each look at a repository, and the script is long.
    static NAME: LazyLock<String> =
        LazyLock::new(|| format!("volsync-hub-mover-{}", short_hash::<4>(SCRIPT.as_bytes())));
    NAME.clone()
}

/// What a member needs, with the hashes of [`seal`]: the same for all members and repositories of a hub, so it is made once.
#[derive(Clone, Debug)]
pub struct Support {
    pub account: ServiceAccount,
    pub account_hash: String,
    pub script: ConfigMap,
    pub script_hash: String,
}

impl Support {
    pub fn new(hub_id: &str, namespace: &str) -> Self {
        let (mut account, mut script) = (service_account(hub_id, namespace), script(hub_id, namespace));
        let (account_hash, script_hash) = (seal(&mut account), seal(&mut script));
        Self { account, account_hash, script, script_hash }
    }
}

pub fn script(hub_id: &str, namespace: &str) -> ConfigMap {
    ConfigMap {
        metadata: metadata(hub_id, namespace, script_name()),
        data: Some(BTreeMap::from([(SCRIPT_KEY.to_owned(), SCRIPT.to_owned())])),
        immutable: Some(true),
        binary_data: None,
    }
}

pub fn service_account(hub_id: &str, namespace: &str) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(hub_id, namespace, SERVICE_ACCOUNT.to_owned()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

fn metadata(hub_id: &str, namespace: &str, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(namespace.to_owned()),
        labels: Some(shared_labels(hub_id)),
        annotations: Some(BTreeMap::from([(labels::HUB.to_owned(), hub_id.to_owned())])),
        ..ObjectMeta::default()
    }
}

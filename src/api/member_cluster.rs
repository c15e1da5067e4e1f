//! MemberCluster: what the hub's operator says of a member, and what the hub found there.

// Clippy takes the columns of a table for one attribute given several times.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lenient;
use super::shapes::{self, DATA_KEY, IMAGE, LABEL, LocalName, SUBDOMAIN};

/// Settings of one member; its labels are what clusterSelector reads.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "hub.volsync.backube",
    version = "v1alpha1",
    kind = "MemberCluster",
    plural = "memberclusters",
    shortname = "vmc",
    category = "volsync",
    status = "MemberClusterStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Reachable",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Reachable\")].status"
    ),
    printcolumn(name = "Synced", type_ = "string", json_path = ".status.conditions[?(@.type==\"Synced\")].status"),
    printcolumn(name = "Sources", type_ = "integer", json_path = ".status.sourceCount"),
    printcolumn(name = "Repositories", type_ = "integer", json_path = ".status.repositoryCount"),
    printcolumn(name = "Held", type_ = "integer", json_path = ".status.heldCount"),
    printcolumn(name = "Paused", type_ = "boolean", json_path = ".spec.paused"),
    printcolumn(name = "Eligible", type_ = "boolean", json_path = ".spec.eligible"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.kubernetesVersion"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct MemberClusterSpec {
    /// A Secret with a kubeconfig in the hub's own namespace. Members from a directory have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub kubeconfig_secret_ref: Option<KubeconfigSecret>,
    /// True: nothing is written there.
    #[serde(default)]
    #[serde(deserialize_with = "lenient::paused")]
    pub paused: bool,
    /// False: it is read, and maintenance never runs there.
    #[serde(default = "yes")]
    #[serde(deserialize_with = "lenient::eligible")]
    pub eligible: bool,
    /// The domain of its Services.
    #[serde(default = "default_domain")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    #[serde(deserialize_with = "lenient::domain")]
    pub cluster_domain: String,
    /// Its Service and Pod networks: addresses in them mean something else in each member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::networks")]
    #[serde(deserialize_with = "lenient::entries")]
    pub cidrs: Vec<String>,
    /// Where VolSync's Deployment is; it is looked for where this is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    #[serde(deserialize_with = "lenient::or_default")]
    pub volsync_namespace: Option<String>,
    /// The image of maintenance Pods, in place of the one that VolSync uses there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = IMAGE))]
    #[serde(deserialize_with = "lenient::or_default")]
    pub mover_image: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[serde(deserialize_with = "lenient::entries")]
    pub image_pull_secrets: Vec<LocalName>,
    /// True: maintenance objects of other tools are suspended there, never deleted.
    #[serde(default)]
    #[serde(deserialize_with = "lenient::or_default")]
    pub adopt_foreign: bool,
    /// Retired: what it holds is handed over, and everything of the hub is taken away there. Forgotten: the same, and the
    /// operator's word that the cluster is gone for good, so that nothing waits for it.
    #[serde(default)]
    #[serde(deserialize_with = "lenient::lifecycle")]
    pub lifecycle: Lifecycle,
}

/// Whether a member is still part of the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Lifecycle {
    #[default]
    Active,
    Retired,
    Forgotten,
}

/// A key of a Secret in the hub's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KubeconfigSecret {
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub name: String,
    /// kubeconfig, else value, where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY))]
    pub key: Option<String>,
}

/// What the hub found there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberClusterStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub reachable_since: Option<Time>,
    /// Written only when Reachable changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub last_contact: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub kubernetes_version: Option<String>,
    /// The UID of its namespace kube-system.
    #[serde(default, rename = "clusterUID", skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub cluster_uid: Option<String>,
    /// The mover's image as VolSync's Deployment names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub volsync_image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub source_count: Option<i64>,
    /// Repositories that its sources use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub repository_count: Option<i64>,
    /// Repositories that it holds the grant of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub held_count: Option<i64>,
    /// When the hub's credentials for it end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub credential_expiry: Option<Time>,
    /// Reachable, Authorized, Supported, VolSyncInstalled, Synced, Duplicate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(deserialize_with = "lenient::entries")]
    pub conditions: Vec<Condition>,
}

/// Where `clusterDomain` is not set.
pub const DEFAULT_CLUSTER_DOMAIN: &str = "cluster.local";

fn default_domain() -> String {
    DEFAULT_CLUSTER_DOMAIN.to_owned()
}
const fn yes() -> bool {
    true
}

impl Default for MemberClusterSpec {
    fn default() -> Self {
        Self {
            kubeconfig_secret_ref: None,
            paused: false,
            eligible: true,
            cluster_domain: default_domain(),
            cidrs: Vec::new(),
            volsync_namespace: None,
            mover_image: None,
            image_pull_secrets: Vec::new(),
            adopt_foreign: false,
            lifecycle: Lifecycle::Active,
        }
    }
}

//! KopiaMaintenance: a maintenance policy on the hub.

// Clippy takes the columns of a table for one attribute given several times.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, PodSecurityContext, SecurityContext, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shapes::{
    self, DATA_KEY, DURATION, IMAGE, LABEL, LabelExpression, LocalName, SUBDOMAIN, ZONE, duration_seconds,
};
use super::{lenient, rules};

/// Which repositories are maintained, when, and how.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "volsync.backube",
    version = "v1alpha1",
    kind = "KopiaMaintenance",
    plural = "kopiamaintenances",
    shortname = "km",
    category = "volsync",
    status = "KopiaMaintenanceStatus",
    derive = "PartialEq",
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"),
    printcolumn(name = "Enabled", type_ = "boolean", json_path = ".spec.enabled"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Matched", type_ = "integer", json_path = ".status.matchedSourceCount"),
    printcolumn(name = "Repositories", type_ = "integer", json_path = ".status.repositoryCount"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastMaintenanceTime"),
    // A string, because kubectl shows a date in the future as <invalid>.
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextScheduledMaintenance"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::TARGET.rule(), validation = rules::SPREAD_FITS.rule())]
pub struct KopiaMaintenanceSpec {
    /// The repositories of ReplicationSources whose Secret's name matches. Either this or repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_selector: Option<RepositorySelector>,
    /// One Secret, with or without ReplicationSources. Either this or repositorySelector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<DirectRepository>,
    /// The members this policy is for; all where it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_selector: Option<ClusterSelection>,
    /// Five cron fields, in which H stands for a fixed value of each repository, or @daily and the like.
    #[serde(default = "default_schedule")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::SCHEDULE.rule())]
    pub schedule: String,
    /// The zone of schedule; the hub's own where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = ZONE))]
    #[x_kube(validation = rules::TIME_ZONE.rule())]
    pub time_zone: Option<String>,
    /// Shifts a fixed time of day by a fixed part of this duration for each repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = DURATION))]
    #[x_kube(validation = rules::SPREAD.rule(), validation = rules::SPREAD_MINUTES.rule())]
    pub spread: Option<String>,
    /// False: the repositories that this policy wins are not maintained.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Of several policies for one repository the highest priority wins, then the oldest policy.
    #[serde(default)]
    #[schemars(range(min = -100, max = 100))]
    pub priority: i32,
    /// True: no new runs; those under way end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Observe: everything is computed and reported, nothing is written to members.
    #[serde(default)]
    pub mode: Mode,
    /// Auto: quick each time and full about once a day.
    #[serde(default)]
    pub cycle: CycleName,
    /// What happens when the member that holds a repository can't be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverSpec>,
    #[serde(default = "default_successful_jobs")]
    #[schemars(range(min = 0))]
    pub successful_jobs_history_limit: i32,
    #[serde(default = "default_failed_jobs")]
    #[schemars(range(min = 0))]
    pub failed_jobs_history_limit: i32,
    /// Seconds after which a run is ended.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 600))]
    pub active_deadline_seconds: i32,
    /// Of the maintenance container; 256Mi requested and 1Gi at most where it is absent altogether.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Merged over the default, field by field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security_context: Option<PodSecurityContext>,
    /// Of the maintenance container; merged over the default, field by field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::labels")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Added to the Pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::labels")]
    #[x_kube(validation = rules::POD_LABELS.rule())]
    pub pod_labels: BTreeMap<String, String>,
    /// Added to the Pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::annotations")]
    #[x_kube(validation = rules::POD_ANNOTATIONS.rule())]
    pub pod_annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub priority_class_name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<LocalName>,
    /// The size of the cache volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::CAPACITY.rule())]
    pub cache_capacity: Option<Quantity>,
    /// Only an image that the hub was started with (--allowed-image).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = IMAGE))]
    pub image: Option<String>,
    /// Only one that the hub was started with (--allowed-service-account).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub service_account_name: Option<String>,
}

/// Repositories found through ReplicationSources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositorySelector {
    /// A name, or a pattern with * (any run of characters) and ? (exactly one), of the source's Secret.
    #[schemars(length(min = 1, max = 253))]
    pub repository: String,
    /// The namespaces of the sources; all where it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelection>,
}

/// What must hold of a namespace, all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelection {
    /// Exact names; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::namespaces")]
    pub match_names: Vec<String>,
    /// Exact names that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::namespaces")]
    pub exclude_names: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::labels")]
    pub match_labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<LabelExpression>,
}

/// What must hold of a member, all of it; the labels are those of its MemberCluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSelection {
    /// Names, or patterns with * and ?; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::member_globs")]
    pub match_names: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::labels")]
    pub match_labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<LabelExpression>,
}

/// A repository named by its Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::SECRET_NAMED.rule(), validation = rules::SECRET_ALIAS.rule())]
pub struct DirectRepository {
    /// The Secret with the repository's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub repository: Option<String>,
    /// An alias of repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub name: Option<String>,
    /// The namespace of the Secret.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub namespace: String,
    /// The one member where the Secret is looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cluster: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "customCA")]
    pub custom_ca: Option<CustomCaSpec>,
}

/// A bundle of certificate authorities, in the namespace of the repository's Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::ONE_CA.rule(), validation = rules::CA_OF_KEY.rule())]
pub struct CustomCaSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub config_map_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub secret_name: Option<String>,
    /// ca.crt where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY))]
    pub key: Option<String>,
}

/// Compute resources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = rules::REQUESTS.rule())]
pub struct Resources {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::quantities")]
    pub requests: BTreeMap<String, Quantity>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    #[default]
    Enforce,
    Observe,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CycleName {
    #[default]
    Auto,
    Full,
    Quick,
}

/// Whether another member takes over by itself, and after how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct FailoverSpec {
    #[serde(default)]
    pub mode: FailoverMode,
    /// A duration such as 24h.
    #[serde(default = "default_failover_after")]
    #[schemars(length(min = 1, max = 32), regex(pattern = DURATION))]
    #[x_kube(validation = rules::FAILOVER_AFTER.rule())]
    pub after: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailoverMode {
    #[default]
    Manual,
    Automatic,
}

/// The most entries of a list in the status, so that no object outgrows what etcd takes; the counts tell the rest.
pub const STATUS_LIST_MAX: usize = 50;

/// What became of the policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KopiaMaintenanceStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub observed_generation: Option<i64>,
    /// Sorted; the first 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[serde(deserialize_with = "lenient::entries")]
    pub matched_sources: Vec<MatchedSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub matched_source_count: Option<i64>,
    /// Repositories that it competes for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub repository_count: Option<i64>,
    /// Repositories that are maintained under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub maintained_count: Option<i64>,
    /// Sorted; the first 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[serde(deserialize_with = "lenient::entries")]
    pub active_cron_jobs: Vec<ActiveCronJob>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub active_cron_job_count: Option<i64>,
    /// Policies that it lost repositories to, sorted; the first 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[serde(deserialize_with = "lenient::entries")]
    pub conflicting_maintenances: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub last_maintenance_time: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub next_scheduled_maintenance: Option<Time>,
    /// Repositories whose last run failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub maintenance_failures: Option<i64>,
    /// Ready, Valid, Degraded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(deserialize_with = "lenient::entries")]
    pub conditions: Vec<Condition>,
}

/// A ReplicationSource of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct MatchedSource {
    pub cluster: String,
    pub namespace: String,
    pub name: String,
    /// The name of its Secret.
    pub repository: String,
}

/// A CronJob in a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ActiveCronJob {
    pub cluster: String,
    pub namespace: String,
    pub name: String,
}

// === defaults ===

pub const DEFAULT_SCHEDULE: &str = "0 2 * * *";
pub const DEFAULT_DEADLINE_SECONDS: i32 = 10_800;
pub const DEFAULT_FAILOVER_AFTER: &str = "24h";
pub const DEFAULT_CA_KEY: &str = "ca.crt";
/// Where `resources` is absent altogether.
pub const DEFAULT_MEMORY_REQUEST: &str = "256Mi";
pub const DEFAULT_MEMORY_LIMIT: &str = "1Gi";

fn default_schedule() -> String {
    DEFAULT_SCHEDULE.to_owned()
}
fn default_failover_after() -> String {
    DEFAULT_FAILOVER_AFTER.to_owned()
}
const fn yes() -> bool {
    true
}
const fn default_successful_jobs() -> i32 {
    3
}
const fn default_failed_jobs() -> i32 {
    1
}
const fn default_deadline() -> i32 {
    DEFAULT_DEADLINE_SECONDS
}

impl FailoverSpec {
    /// Whole seconds of `after`; none where it is no duration.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn after_seconds(&self) -> Option<u32> {
        duration_seconds(&self.after).filter(|seconds| *seconds <= f64::from(u32::MAX)).map(|seconds| seconds as u32)
    }
}

impl Default for FailoverSpec {
    fn default() -> Self {
        Self { mode: FailoverMode::default(), after: default_failover_after() }
    }
}

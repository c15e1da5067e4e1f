//! KopiaRepository: one physical repository on the hub, with the durable record of who may maintain it.

// Clippy takes the columns of a table for one attribute given several times.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shapes::{REPOSITORY_ID, TOKEN};
use super::{lenient, rules};
use crate::names::RepositoryId;

/// The operator's levers on one repository; all of them optional.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "hub.volsync.backube",
    version = "v1alpha1",
    kind = "KopiaRepository",
    plural = "kopiarepositories",
    shortname = "kr",
    category = "volsync",
    status = "KopiaRepositoryStatus",
    validation = rules::REPOSITORY_NAME.rule(),
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "Backend", type_ = "string", json_path = ".status.backend"),
    printcolumn(name = "Location", type_ = "string", json_path = ".status.location"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".status.policy"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".status.grant.cluster"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastSuccess"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.lastOutcome"),
    // A string, because kubectl shows a date in the future as <invalid>.
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextRun"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct KopiaRepositorySpec {
    /// Only this member may maintain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[serde(deserialize_with = "lenient::or_default")]
    pub cluster: Option<String>,
    /// No run starts before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::frozen")]
    pub frozen_until: Option<Time>,
    /// Why it is frozen or pinned, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[serde(deserialize_with = "lenient::or_default")]
    pub reason: Option<String>,
    /// Each new value starts one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = TOKEN))]
    #[serde(deserialize_with = "lenient::or_default")]
    pub run_now: Option<String>,
    /// Another KopiaRepository that is the same physical repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 19), regex(pattern = REPOSITORY_ID))]
    #[serde(deserialize_with = "lenient::or_default")]
    pub same_as: Option<String>,
    /// Another KopiaRepository that is a different physical repository in spite of an equal unique id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 19), regex(pattern = REPOSITORY_ID))]
    #[serde(deserialize_with = "lenient::or_default")]
    pub distinct_from: Option<String>,
    /// The grant that is given up although its member can't be reached: another member takes over. It counts for that
    /// one grant alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub failover: Option<GivenUp>,
}

/// One grant, as status.grant shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GivenUp {
    #[schemars(length(min = 1, max = 253))]
    pub cluster: String,
    #[schemars(range(min = 1))]
    pub epoch: i64,
}

/// How long a run may last of which nobody knows the deadline: a week, more than any sensible one. Seconds.
pub const DEADLINE_UNKNOWN: u32 = 7 * 86_400;
/// The most clusters that are listed; the counts tell the rest.
pub const CLUSTERS_MAX: usize = 20;
/// The most runs that are kept.
pub const RUNS_MAX: usize = 5;
/// The most grants that are remembered.
pub const HISTORY_MAX: usize = 3;
/// The most policies that are listed as shadowed; with names of usual length they take 1 KB.
pub const SHADOWED_MAX: usize = 20;
/// The most Secrets that are remembered as not ready. One more than a fleet's usual members of one repository.
pub const NOT_READY_MAX: usize = 21;

/// What the hub knows of it. Nothing here changes with each backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KopiaRepositoryStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub observed_generation: Option<i64>,
    /// s3, azure, gcs, b2, webdav, sftp, rclone, gdrive, filesystem or nfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub backend: Option<String>,
    /// Where it is; no credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub location: Option<String>,
    /// The whole identity, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub key: Option<String>,
    /// As Kopia itself reports it.
    #[serde(default, rename = "uniqueID", skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub unique_id: Option<String>,
    /// Maintained, Suspended, Disabled, NoPolicy, NoCandidate, Held or Frozen; Merged where another KopiaRepository stands
    /// for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub state: Option<String>,
    /// Why it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub reason: Option<String>,
    /// The policy that rules it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub policy: Option<String>,
    /// Policies that lost, in order of precedence; the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[serde(deserialize_with = "lenient::entries")]
    pub shadowed_policies: Vec<String>,
    /// The right to maintain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::grant")]
    pub grant: Option<GrantStatus>,
    /// Where it was found to be the same repository as another KopiaRepository: that one, which has a grant for both. It
    /// stays, for its epochs, until this one has a grant of its own again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub merged: Option<MergedStatus>,
    /// Members that may still run something of this repository; never shortened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "lenient::entries")]
    pub drain: Vec<DrainStatus>,
    /// Secrets that failed to claim; no candidates until then. The latest 21.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 21))]
    #[serde(deserialize_with = "lenient::entries")]
    pub not_ready: Vec<NotReadyStatus>,
    /// The first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[serde(deserialize_with = "lenient::entries")]
    pub clusters: Vec<ClusterCount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub cluster_count: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub source_count: Option<i64>,
    /// The last 5, latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[serde(deserialize_with = "lenient::entries")]
    pub runs: Vec<RunStatus>,
    /// Of the latest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub last_outcome: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub last_success: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub next_run: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub consecutive_failures: Option<i64>,
    /// How its grants came and went. The last 3, latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    #[serde(deserialize_with = "lenient::entries")]
    pub history: Vec<GrantRecord>,
    /// The value of runNow whose Job may have been made and has not been seen to end. No other one is acted upon before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub run_now_under_way: Option<String>,
    /// The value of runNow that was acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub run_now_seen: Option<String>,
    /// Maintained, Overdue, Contended, Ambiguous, Replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(deserialize_with = "lenient::entries")]
    pub conditions: Vec<Condition>,
}

/// Who may maintain a repository. The epoch only grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GrantStatus {
    pub cluster: String,
    /// The id of the hub that made it. Under another one it counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    #[serde(default, rename = "clusterUID", skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    #[schemars(range(min = 0))]
    pub epoch: i64,
    pub phase: GrantPhase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// In Draining: from when on the first run may start, as far as owners that are not this hub's are concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// The largest deadline that a run under this grant may have. Where it is missing, nobody knows it.
    #[serde(default, rename = "deadlineSeconds", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub deadline_seconds: Option<i64>,
    /// The highest epoch ever granted, where a later grant did not come through.
    #[serde(default, rename = "highestEpoch", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub highest_epoch: Option<i64>,
    /// The earlier grant that the claim takes over: the only owner of this hub that it may replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FormerStatus>,
}

/// Another KopiaRepository stands for this one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MergedStatus {
    /// Its id, as id16.
    pub into: String,
    /// The grant that this one had, where its claim had come through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub from: Option<FormerStatus>,
    /// The largest deadline that a run under it may have had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    #[schemars(range(min = 0))]
    pub deadline_seconds: Option<i64>,
    /// The highest epoch that this one was ever granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    #[schemars(range(min = 0))]
    pub highest_epoch: Option<i64>,
}

/// How one grant came to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GrantRecord {
    #[schemars(range(min = 0))]
    pub epoch: i64,
    pub cluster: String,
    /// The member that held it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub from: Option<String>,
    /// A fixed word: first grant, pinned, holder lost, failover, automatic failover, claim failed, claimed anew, recovered,
    /// merged, split, replaced.
    pub why: String,
    /// When the ledger named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub began: Option<Time>,
    /// Seconds from then until its claim was read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub claimed: Option<i64>,
    /// Seconds from then until it might run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub active: Option<i64>,
}

impl KopiaRepository {
    /// The repository whose record it is, as its name says; none where that is no id.
    pub fn id(&self) -> Option<RepositoryId> {
        self.metadata.name.as_deref()?.parse().ok()
    }
}

/// An earlier grant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FormerStatus {
    pub cluster: String,
    #[schemars(range(min = 0))]
    pub epoch: i64,
    /// The id under which it was granted, as id16, where that is not this one's: both are one repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub repository: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GrantPhase {
    Claiming,
    Draining,
    Active,
    /// A hand-over away from it did not come through: its CronJob is to be let go again.
    Resuming,
    Recovering,
}

/// A member that may still hold a CronJob or a Job of this repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    pub cluster: String,
    /// The largest deadline ever pushed there.
    #[serde(default = "lenient::unknown_deadline", deserialize_with = "lenient::deadline")]
    #[schemars(!default, range(min = 0))]
    pub deadline_seconds: i64,
    /// Every identity that its objects may bear, as id16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "lenient::entries")]
    pub ids: Vec<String>,
    /// When it was first seen without anything of this repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub clear_since: Option<Time>,
}

/// A Secret that failed to claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NotReadyStatus {
    pub cluster: String,
    /// namespace/name
    pub secret: String,
    pub until: Time,
    pub reason: String,
    /// How often in a row; the wait doubles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub attempts: Option<i64>,
}

/// Sources of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterCount {
    pub cluster: String,
    pub sources: i64,
    pub ready: i64,
}

/// One run and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub start: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub end: Option<Time>,
    pub cluster: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub epoch: Option<i64>,
    pub outcome: String,
    /// One line, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[serde(deserialize_with = "lenient::or_default")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "lenient::or_default")]
    pub reclaimed_bytes: Option<i64>,
}

impl RunStatus {
    /// Recorded when it was late; it may have started since.
    pub fn had_not_started(&self) -> bool {
        self.outcome == "NotStarted"
    }

    /// Two records of one Job.
    pub fn is_same_run(&self, other: &Self) -> bool {
        let second = |time: &Option<Time>| time.as_ref().map(|time| time.0.as_second());
        self.cluster == other.cluster && second(&self.start) == second(&other.start)
    }
}

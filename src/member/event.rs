//! What a member's observers report. Each event is a whole new state of one thing: the last one wins.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::names::{MemberName, ObjectName};
use crate::plan::fleet::{Contact, Observation};

use super::registry::Origin;

pub use crate::plan::foreign::{ForeignKind, ForeignObject};

/// Everything that leaves this layer, in the order in which it was seen in one member.
#[derive(Debug)]
pub enum MemberEvent {
    /// A registration is there (`origin`), or none is left for this name. What was observed stays valid as it was
    /// last seen: a registration that is gone makes a member unreachable, not empty.
    Registered {
        member: MemberName,
        origin: Option<Origin>,
    },
    /// A registration can't be used. One that was used before for this name stays in use. `name` may be no valid name.
    Problem {
        name: Arc<str>,
        origin: Origin,
        reason: &'static str,
        message: String,
    },
    /// `Syncing` until every list that planning needs is complete, and again after each loss of contact;
    /// `Unreachable` once the breaker opens, or the credentials are refused; `Synced` otherwise.
    Contact {
        member: MemberName,
        contact: Contact,
    },
    /// `of`: this is the same cluster as that member, which was there first. Everything observed of the later one is
    /// void from now on, and nothing more is observed there until an event with `of: None`.
    Duplicate {
        member: MemberName,
        of: Option<MemberName>,
    },
    /// Sources, namespaces, referenced Secrets and our CronJobs.
    Observed(Observation),
    /// An object with our `managed-by` label, of whatever hub; none: gone, or its label is.
    Owned {
        member: MemberName,
        kind: OwnedKind,
        name: ObjectName,
        object: Option<Box<OwnedObject>>,
    },
    /// A maintenance CronJob that no volsync-hub made; none: gone.
    Foreign {
        member: MemberName,
        kind: ForeignKind,
        name: ObjectName,
        object: Option<Box<ForeignObject>>,
    },
    /// A maintenance Job in the member namespace; none: gone.
    Job {
        member: MemberName,
        name: ObjectName,
        job: Option<Box<JobRecord>>,
    },
    /// A Pod of such a Job; none: gone.
    Pod {
        member: MemberName,
        name: ObjectName,
        pod: Option<Box<PodRecord>>,
    },
    /// A referenced Secret or CA ConfigMap has this resourceVersion now (none: absent or not to be read). Tells that
    /// contents may have changed where the planner's view of them did not.
    Referenced {
        member: MemberName,
        kind: ReferencedKind,
        name: ObjectName,
        version: Option<Box<str>>,
    },
    Facts {
        member: MemberName,
        facts: Box<MemberFacts>,
    },
    Condition {
        member: MemberName,
        condition: MemberCondition,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnedKind {
    CronJob,
    Secret,
    ConfigMap,
    ServiceAccount,
}

impl OwnedKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CronJob => "CronJob",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::ServiceAccount => "ServiceAccount",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReferencedKind {
    Secret,
    ConfigMap,
}

/// What is known of an object that the hub may have pushed, without its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedObject {
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    /// Grows with each change of its spec; 0 for kinds that have none.
    pub generation: i64,
    /// The hash that its last apply left in an annotation.
    pub applied_hash: Option<Box<str>>,
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// Only those under the hub's own prefix.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// A deletion is under way.
    pub deleting: bool,
    /// Field managers other than the hub that hold fields outside status: a sign of drift.
    pub other_managers: Vec<Box<str>>,
    /// CronJobs only.
    pub cron: Option<CronState>,
}

impl OwnedObject {
    /// What changes when its contents may have changed: not with each status of a CronJob.
    pub fn version(&self) -> String {
        version(self.generation, &self.resource_version)
    }
}

pub(super) fn version(generation: i64, resource_version: &str) -> String {
    if generation > 0 { format!("generation {generation}") } else { resource_version.to_owned() }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronState {
    pub schedule: Box<str>,
    pub time_zone: Option<Box<str>>,
    pub suspend: bool,
    pub active_deadline_seconds: Option<i64>,
    pub last_schedule: Option<Timestamp>,
    pub active: Vec<Box<str>>,
}

/// A Job, slimmed to what outcomes and draining need.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JobRecord {
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub created: Option<Timestamp>,
    pub labels: BTreeMap<Box<str>, Box<str>>,
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// The CronJob that started it.
    pub cron_job: Option<Box<str>>,
    pub active_deadline_seconds: Option<i64>,
    pub suspended: bool,
    pub active: i32,
    pub succeeded: i32,
    pub failed: i32,
    pub started: Option<Timestamp>,
    pub completed: Option<Timestamp>,
    pub conditions: Vec<ObjectCondition>,
    pub deleting: bool,
}

impl JobRecord {
    /// `Complete` or `Failed`: no Pod of it runs or will run.
    pub fn is_terminal(&self) -> bool {
        self.conditions.iter().any(|it| it.status == "True".into() && matches!(&*it.kind, "Complete" | "Failed"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectCondition {
    pub kind: Box<str>,
    pub status: Box<str>,
    pub reason: Box<str>,
    pub message: Box<str>,
    pub since: Option<Timestamp>,
}

/// A Pod, slimmed to how its one container fares.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PodRecord {
    pub uid: Box<str>,
    pub created: Option<Timestamp>,
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// The Job that it belongs to.
    pub job: Option<Box<str>>,
    pub phase: Box<str>,
    /// Of the whole Pod, such as `Evicted`.
    pub reason: Option<Box<str>>,
    pub message: Option<Box<str>>,
    pub started: Option<Timestamp>,
    pub termination: Option<Termination>,
    /// Why a container does not start: (reason, message), such as `ImagePullBackOff`.
    pub waiting: Option<(Box<str>, Box<str>)>,
    /// The scheduler's message while no node fits.
    pub unschedulable: Option<Box<str>>,
    pub deleting: bool,
}

impl PodRecord {
    pub fn is_terminal(&self) -> bool {
        matches!(&*self.phase, "Succeeded" | "Failed")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    pub exit_code: i32,
    pub signal: Option<i32>,
    /// `Completed`, `Error`, `OOMKilled`, ….
    pub reason: Box<str>,
    /// What the container wrote to its termination log.
    pub message: Box<str>,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
}

/// What the hub found out about a member, beyond its objects.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own; no state is hidden in them")]
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberFacts {
    /// Such as `v1.36.3`.
    pub kubernetes_version: Box<str>,
    /// 1.29 or newer.
    pub supported: bool,
    /// The UID of `kube-system`.
    pub cluster_uid: Option<Box<str>>,
    /// From the VolSync Deployment.
    pub mover_image: Option<Box<str>>,
    pub proxy: ProxyVariables,
    pub openshift: bool,
    /// The member namespace is there.
    pub namespace: bool,
    /// The ReplicationSource CRD is there and not on its way out.
    pub volsync_installed: bool,
    /// When the credentials end, where that can be read.
    pub credentials_expire: Option<Timestamp>,
    /// The mover's ServiceAccount, where it is there.
    pub service_account: Option<OwnedObject>,
}

/// `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of VolSync; their values may hold credentials.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ProxyVariables(pub Vec<(Box<str>, Box<str>)>);

impl fmt::Debug for ProxyVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// A condition of a MemberCluster, as this layer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberCondition {
    pub kind: ConditionKind,
    /// None is `Unknown`.
    pub status: Option<bool>,
    /// CamelCase, a fixed word.
    pub reason: &'static str,
    /// For people: what it means and what to do.
    pub message: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionKind {
    Reachable,
    Authorized,
    Supported,
    VolSyncInstalled,
    Synced,
    Duplicate,
}

impl ConditionKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "Reachable",
            Self::Authorized => "Authorized",
            Self::Supported => "Supported",
            Self::VolSyncInstalled => "VolSyncInstalled",
            Self::Synced => "Synced",
            Self::Duplicate => "Duplicate",
        }
    }
}

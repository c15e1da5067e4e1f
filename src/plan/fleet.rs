//! The compact records that observers write and the planner reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::member_cluster::Lifecycle;
use crate::identity::{Cidr, Overrides, SecretFacts};
use crate::names::{MemberName, ObjectName, PlacedName, PolicyName, RepositoryId, RepositoryKey, SourceKey};
use crate::policy::{CustomCa, PolicyRecord};
use crate::schedule::{Spread, ZoneName};

/// What the hub was started with, as far as it decides anything.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// For policies without `timeZone`.
    pub time_zone: ZoneName,
    /// For policies without `spread`.
    pub default_spread: Option<Spread>,
    /// The member that is the hub's own cluster (`--include-hub=NAME`).
    pub hub_member: Option<MemberName>,
    /// `--member-namespace`.
    pub member_namespace: Arc<str>,
    /// `--handover-after`, seconds.
    pub handover_after_seconds: u32,
    /// Divides `failover.after` of policies; 1 but in test builds.
    pub time_factor: u32,
    pub endpoint_aliases: BTreeMap<String, String>,
}

/// As the command line has it where nothing is said.
impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            time_zone: ZoneName::utc(),
            default_spread: None,
            hub_member: None,
            member_namespace: "volsync-system".into(),
            handover_after_seconds: 900,
            time_factor: 1,
            endpoint_aliases: BTreeMap::new(),
        }
    }
}

/// A member that the hub knows: by a registration, by a MemberCluster, or both.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberRecord {
    /// Those of its MemberCluster; empty without one.
    pub labels: BTreeMap<String, String>,
    pub eligible: bool,
    pub paused: bool,
    pub cluster_domain: Arc<str>,
    pub cidrs: Vec<Cidr>,
    pub contact: Contact,
    /// Since when it has not been reached without a break, where that is known and is its own fault: not while most of
    /// the fleet can't be reached.
    pub away_since: Option<Timestamp>,
    pub lifecycle: Lifecycle,
    /// UID of its namespace kube-system, where known.
    pub cluster_uid: Option<Box<str>>,
}

impl MemberRecord {
    /// May maintenance run there, as far as the operator is concerned?
    pub fn is_eligible(&self) -> bool {
        self.eligible && self.lifecycle == Lifecycle::Active
    }

    /// The operator's word that it is gone for good.
    pub fn is_forgotten(&self) -> bool {
        self.lifecycle == Lifecycle::Forgotten
    }

    /// Nothing is written where nothing can be seen, nor where the operator said so.
    pub fn is_written_to(&self) -> bool {
        self.contact == Contact::Synced && !self.paused
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// Every initial list is complete: what is not there is absent.
    Synced,
    /// Reachable, lists under way: absence means nothing yet.
    Syncing,
    /// Absence means nothing; it can still be elected where it is the only candidate.
    Unreachable,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SourceRecord {
    pub created: Option<Timestamp>,
    pub repository: SourceRepository,
    pub overrides: Option<Box<Overrides>>,
    pub custom_ca: Option<Box<CustomCa>>,
    /// The last backup ended well (`status.latestMoverStatus.result`, else `lastSyncTime` is there).
    pub last_sync_succeeded: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceRepository {
    /// `spec.kopia: {}`
    None,
    /// `repositoryPVC` is set; with the Secret that is named beside it, which nobody reads.
    Pvc(Option<Arc<str>>),
    /// `spec.kopia.repository`, a Secret in the source's namespace.
    Secret(Arc<str>),
}

impl SourceRepository {
    /// The Secret that the source names, whatever else it says.
    pub fn named(&self) -> Option<&Arc<str>> {
        match self {
            Self::Secret(name) => Some(name),
            Self::Pvc(name) => name.as_ref(),
            Self::None => None,
        }
    }
}

/// What is known of a referenced Secret. No entry in the fleet: not asked yet.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretState {
    Absent,
    /// The API server refused to show it.
    Forbidden,
    Present(Arc<SecretFacts>),
}

/// A KopiaRepository, as far as planning needs it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LedgerRecord {
    /// `status.key`; none in one that the hub did not write yet.
    pub key: Option<RepositoryKey>,
    /// `status.backend` and `status.location`: what to show of a repository that nothing points at any more.
    pub backend: Option<Box<str>>,
    pub location: Option<Box<str>>,
    /// As Kopia itself reported it after a connect.
    pub unique_id: Option<Box<str>>,
    pub grant: Option<Grant>,
    /// Another record stands for this one, or did until now.
    pub merged: Option<Merged>,
    pub drain: Vec<Drain>,
    pub not_ready: Vec<NotReady>,
    pub pin: Option<MemberName>,
    pub frozen_until: Option<Timestamp>,
    pub same_as: Option<Box<str>>,
    pub distinct_from: Option<Box<str>>,
    pub run_now: Option<RunNow>,
    /// The grant that the operator gives up, although its member can't be reached.
    pub failover: Option<Former>,
}

impl LedgerRecord {
    /// The member of the grant, and those where something of earlier ones may still run.
    pub fn holders(&self) -> impl Iterator<Item = &MemberName> {
        self.grant.iter().map(|grant| &grant.cluster).chain(self.drain.iter().map(|entry| &entry.cluster))
    }
}

/// A run that was asked for by hand and has not been acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunNow {
    pub token: Box<str>,
    /// The request that makes its Job may have been sent.
    pub under_way: bool,
}

/// The right to maintain a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub cluster: MemberName,
    pub cluster_uid: Option<Box<str>>,
    pub epoch: u64,
    pub phase: Phase,
    pub since: Option<Timestamp>,
    /// In `Draining`: from when on the first run may start, as far as owners that are not this hub's are concerned.
    pub until: Option<Timestamp>,
    /// The largest deadline that a run under this grant may have, seconds.
    pub deadline_seconds: u32,
    /// The highest epoch that was ever granted, where a later grant did not come through.
    pub highest_epoch: u64,
    /// What the claim takes over: the only owner of this hub that it may replace. None: no owner of this hub at all.
    pub from: Option<Former>,
}

impl Grant {
    /// The highest epoch that it knows to have been given.
    pub fn highest(&self) -> u64 {
        self.epoch.max(self.highest_epoch)
    }

    /// An epoch that no grant of this repository has had.
    pub fn next_epoch(&self) -> u64 {
        self.highest().saturating_add(1)
    }
}

/// What a record keeps of its grant while another one stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The grant that it had, where its claim had come through.
    pub from: Option<Former>,
    /// The largest deadline that a run under it may have had, seconds.
    pub deadline_seconds: u32,
    /// The highest epoch that it was ever granted.
    pub highest_epoch: u64,
}

/// An earlier grant of this hub, as Kopia's recorded owner names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Former {
    pub cluster: MemberName,
    pub epoch: u64,
    /// By which id it was granted: of several that are one repository each has had epochs of its own.
    pub id: RepositoryId,
}

/// A member where something of a repository may still run under an earlier grant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Drain {
    pub cluster: MemberName,
    /// The largest deadline ever pushed there.
    pub deadline_seconds: u32,
    /// Every identity that its objects may bear.
    pub ids: Vec<RepositoryId>,
    /// When the first of two consistent lists showed nothing there, in whole seconds, rounded up.
    pub clear_since: Option<Timestamp>,
}

impl Drain {
    /// Every identity that its objects may bear; where the ledger does not tell, those that the repository has now.
    pub fn ids_or<'a>(&'a self, now: &'a [RepositoryId]) -> &'a [RepositoryId] {
        if self.ids.is_empty() { now } else { &self.ids }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Phase {
    /// The claim Job has not ended well yet.
    Claiming,
    /// It is the recorded owner; what an earlier grant may still run is waited for.
    Draining,
    Active,
    /// A hand-over away from it did not come through: its CronJob is to be let go again.
    Resuming,
    Recovering,
}

/// A Secret in a member that failed to claim: no candidate until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    pub cluster: MemberName,
    /// An empty namespace means any.
    pub secret: ObjectName,
    pub until: Timestamp,
    /// How often in a row; the wait doubles.
    pub attempts: u32,
    pub reason: Box<str>,
}

impl NotReady {
    pub fn concerns(&self, secret: &ObjectName) -> bool {
        self.secret.name == secret.name
            && (self.secret.namespace.is_empty() || self.secret.namespace == secret.namespace)
    }
}

/// A CronJob of ours, or in our place, that was found in a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedCronJob {
    /// By its label, else by its name.
    pub repository: RepositoryId,
    /// It carries our `managed-by` label. What does not is never deleted.
    pub ours: bool,
    /// The Secret that its copy was made from, by its annotation.
    pub secret: Option<PlacedName>,
    pub schedule: Box<str>,
    pub time_zone: Option<Box<str>>,
    pub suspend: bool,
}

/// One thing that an observer saw. Each is a whole new state of one object: the last one wins.
#[derive(Clone, Debug)]
pub enum Observation {
    Member {
        name: MemberName,
        record: Option<MemberRecord>,
    },
    /// Labels of a namespace of a member.
    Namespace {
        member: MemberName,
        namespace: Arc<str>,
        labels: Option<Arc<BTreeMap<String, String>>>,
    },
    Source {
        key: SourceKey,
        record: Option<Box<SourceRecord>>,
    },
    Secret {
        secret: PlacedName,
        state: Option<SecretState>,
    },
    Policy {
        name: PolicyName,
        record: Option<Box<PolicyRecord>>,
    },
    Ledger {
        id: RepositoryId,
        record: Option<Box<LedgerRecord>>,
    },
    CronJob {
        member: MemberName,
        name: ObjectName,
        record: Option<PushedCronJob>,
    },
    /// Since when the holder of a repository has failed to be a candidate without a break.
    /// Whoever drives the planner keeps this time while a plan says `holder_failing`, and takes it back after.
    HolderFailing {
        id: RepositoryId,
        since: Option<Timestamp>,
    },
}

/// Everything observed. Holds records and keys, and nothing that follows from them.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    pub members: BTreeMap<MemberName, MemberRecord>,
    pub namespaces: BTreeMap<MemberName, Namespaces>,
    pub sources: BTreeMap<SourceKey, SourceRecord>,
    pub secrets: BTreeMap<PlacedName, SecretState>,
    pub policies: BTreeMap<PolicyName, Arc<PolicyRecord>>,
    pub ledger: BTreeMap<RepositoryId, LedgerRecord>,
    pub cron_jobs: BTreeMap<(MemberName, ObjectName), PushedCronJob>,
    /// See [`Observation::HolderFailing`]. No entry: not for long enough yet.
    pub failing_since: BTreeMap<RepositoryId, Timestamp>,
}

/// The namespaces of one member, with their labels.
pub type Namespaces = BTreeMap<Arc<str>, Arc<Labels>>;

/// The labels of a member or a namespace.
pub type Labels = BTreeMap<String, String>;

impl Fleet {
    /// Would it be another fleet after this observation?
    pub fn would_change(&self, observation: &Observation) -> bool {
        match observation {
            Observation::Member { name, record } => self.members.get(name) != record.as_ref(),
            Observation::Namespace { member, namespace, labels } => {
                self.namespaces.get(member).and_then(|known| known.get(namespace)) != labels.as_ref()
            }
            Observation::Source { key, record } => self.sources.get(key) != record.as_deref(),
            Observation::Secret { secret, state } => self.secrets.get(secret) != state.as_ref(),
            Observation::Policy { name, record } => self.policies.get(name).map(|known| &**known) != record.as_deref(),
            Observation::Ledger { id, record } => self.ledger.get(id) != record.as_deref(),
            Observation::CronJob { member, name, record } => {
                self.cron_jobs.get(&(member.clone(), name.clone())) != record.as_ref()
            }
            Observation::HolderFailing { id, since } => self.failing_since.get(id) != since.as_ref(),
        }
    }

    /// Takes one observation in: the last one of each object stands.
    pub fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::Member { name, record } => set(&mut self.members, name, record),
            Observation::Namespace { member, namespace, labels } => {
                let of_member = self.namespaces.entry(member.clone()).or_default();
                set(of_member, namespace, labels);
                if of_member.is_empty() {
                    self.namespaces.remove(&member);
                }
            }
            Observation::Source { key, record } => set(&mut self.sources, key, record.map(|record| *record)),
            Observation::Secret { secret, state } => set(&mut self.secrets, secret, state),
            Observation::Policy { name, record } => {
                set(&mut self.policies, name, record.map(|record| Arc::new(*record)));
            }
            Observation::Ledger { id, record } => set(&mut self.ledger, id, record.map(|record| *record)),
            Observation::CronJob { member, name, record } => set(&mut self.cron_jobs, (member, name), record),
            Observation::HolderFailing { id, since } => set(&mut self.failing_since, id, since),
        }
    }
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

/// Secrets that the plan needs to know, so that observers read these and no others.
pub type ReferencedSecrets = BTreeSet<PlacedName>;

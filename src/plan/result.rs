//! What the planner says of one repository, one source and one policy.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;

use crate::identity::Credential;
use crate::names::{MemberName, ObjectName, PlacedName, PolicyName, RepositoryId, RepositoryKey, SourceKey};
use crate::policy::{CustomCa, PolicySettings};
use crate::schedule::{FixedSchedule, ZoneName};

/// Everything, each list sorted: repositories by id, sources by cluster, namespace and name, policies by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetPlan {
    pub repositories: Vec<RepositoryPlan>,
    pub sources: Vec<SourcePlan>,
    pub policies: Vec<PolicyPlan>,
    pub problems: Vec<Problem>,
}

/// Something that a person should look at; it disturbs nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Such as `kr-0123456789abcdef` or a file's name.
    pub object: String,
    pub reason: &'static str,
    pub message: String,
}

/// What should be, regardless of claims under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum State {
    Maintained,
    Suspended,
    Disabled,
    NoPolicy,
    NoCandidate,
    Held,
    Frozen,
}

/// One physical repository: who maintains it, where, under which policy, and why.
/// Its sources are not listed here: they are many, and each says itself where it belongs.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct RepositoryPlan {
    pub id: RepositoryId,
    pub key: RepositoryKey,
    /// Every identity that was found to mean this repository, `key` among them, sorted.
    pub keys: Vec<RepositoryKey>,
    /// Every id that means it, also those that only the ledger knows, sorted: objects of ours may bear any of them.
    pub ids: Vec<RepositoryId>,
    pub backend: &'static str,
    pub location: String,
    pub state: State,
    /// CamelCase, a fixed word.
    pub reason: Option<&'static str>,
    /// What it means and what to do, for people.
    pub message: String,
    /// The winner.
    pub policy: Option<PolicyName>,
    /// The losers, in order of precedence.
    pub shadowed: Vec<PolicyName>,
    /// The member that holds or should hold the grant.
    pub cluster: Option<MemberName>,
    /// Of the grant in the ledger.
    pub epoch: Option<u64>,
    /// The member of the grant in the ledger. Where `cluster` is another one, a hand-over is due.
    pub holder: Option<MemberName>,
    /// The holder is no candidate, and its time runs: see [`super::fleet::Observation::HolderFailing`].
    pub holder_failing: bool,
    /// Members with sources of it, sorted by name.
    pub clusters: Vec<Share>,
    /// What has to stand in `cluster`; none: nothing of ours is pushed for this repository.
    pub push: Push,
    /// An operator's freeze is not over: whatever stands is suspended, also where nothing new is pushed.
    pub frozen: bool,
    /// Where nothing new is computed (`Held`): the CronJob found in the holder.
    pub found: Option<FoundCronJob>,
    /// In order of election; then those that can't be elected, by name.
    pub candidates: Vec<Candidate>,
    /// `Ambiguous`, `CredentialMismatch` and the like: (reason, message), sorted.
    pub remarks: Vec<(&'static str, String)>,
    /// When time alone may change this plan.
    pub deadline: Option<Timestamp>,
}

/// The sources of one repository in one member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Share {
    pub member: MemberName,
    pub sources: u32,
    /// Those whose Secret can be used.
    pub ready: u32,
}

/// A CronJob that stands in the holder and stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FoundCronJob {
    pub object: ObjectName,
    pub schedule: Box<str>,
    pub time_zone: Option<Box<str>>,
    pub suspend: bool,
    /// As far as its annotation, or the sources there, tell.
    pub secret: Option<PlacedName>,
}

/// What should stand in the members.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Push {
    /// This, in `cluster`.
    Objects(Box<Assignment>),
    /// What is there stays as it is; nothing new starts (`Held`).
    Keep,
    /// Nothing: what is there is removed.
    Remove,
}

/// Everything that rendering needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    pub member: MemberName,
    pub id: RepositoryId,
    /// Of the Secret that is used: in a merged repository not always the repository's first key.
    pub key: RepositoryKey,
    pub policy: PolicyName,
    pub settings: Arc<PolicySettings>,
    pub schedule: FixedSchedule,
    pub time_zone: ZoneName,
    /// By the policy or a freeze. While a claim is under way the controller suspends on top of it.
    pub suspend: bool,
    /// Where the Secret is copied from.
    pub secret: PlacedName,
    /// The source that brought the Secret; none where the policy names it.
    pub source: Option<ObjectName>,
    /// In the place and namespace of `secret`.
    pub custom_ca: Option<CustomCa>,
    /// After `kopia repository connect`.
    pub connect_arguments: Vec<String>,
    pub credentials: Vec<Credential>,
}

/// All but the settings, which are compared where policies change.
impl Hash for Assignment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { member, id, key, policy, settings: _, schedule, time_zone, suspend, .. } = self;
        (member, id, key, policy, schedule.as_str(), time_zone.as_str(), suspend).hash(state);
        let Self { secret, source, custom_ca, connect_arguments, credentials, .. } = self;
        (secret, source, custom_ca, connect_arguments, credentials).hash(state);
    }
}

/// A member that could hold the grant, or could not, with why.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    pub member: MemberName,
    /// The Secret that would be used there.
    pub secret: Option<PlacedName>,
    /// The source that brings it; none where the policy names the Secret.
    pub source: Option<ObjectName>,
    pub reachable: bool,
    /// The source that brings the Secret backed up well the last time; for a policy's own Secret, any source there.
    pub last_sync_succeeded: bool,
    /// None: it stands for election.
    pub excluded: Option<(&'static str, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePlan {
    pub source: SourceKey,
    pub secret: Option<Arc<str>>,
    pub repository: Option<RepositoryId>,
    pub policy: Option<PolicyName>,
    pub reason: Option<&'static str>,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyPlan {
    pub name: PolicyName,
    pub valid: bool,
    pub message: String,
    /// Sources that it matches, whether it won their repository or not.
    pub matched_sources: usize,
    /// Repositories that it competes for.
    pub repositories: usize,
}

//! What the planner says of one repository, one source and one policy.

use std::sync::Arc;

use crate::identity::Credential;
use crate::names::{MemberName, PlacedName, PolicyName, RepositoryId, RepositoryKey, SourceKey};
use crate::policy::{CustomCa, PolicySettings};
use crate::schedule::{FixedSchedule, ZoneName};

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
#[derive(Clone, Debug)]
pub struct RepositoryPlan {
    pub id: RepositoryId,
    pub key: RepositoryKey,
    /// Every identity that was found to mean this repository, `key` among them, sorted.
    pub keys: Vec<RepositoryKey>,
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
    pub sources: Vec<PlannedSource>,
    /// What has to stand in `cluster`; none: nothing of ours is pushed for this repository.
    pub push: Push,
    pub candidates: Vec<Candidate>,
    /// `Ambiguous`, `CredentialMismatch` and the like: (reason, message).
    pub remarks: Vec<(&'static str, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedSource {
    pub source: SourceKey,
    pub secret: Arc<str>,
    /// Not ready: why (`MissingKey`, `SecretMissing`, `SecretForbidden`, …).
    pub not_ready: Option<&'static str>,
}

/// What should stand in the members.
#[derive(Clone, Debug)]
pub enum Push {
    /// This, in `cluster`.
    Objects(Box<Assignment>),
    /// What is there stays as it is; nothing new starts (`Held`).
    Keep,
    /// Nothing: what is there is removed.
    Remove,
}

/// Everything that rendering needs.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub member: MemberName,
    pub id: RepositoryId,
    pub key: RepositoryKey,
    pub policy: PolicyName,
    pub settings: Arc<PolicySettings>,
    pub schedule: FixedSchedule,
    pub time_zone: ZoneName,
    /// By the policy or a freeze. While a claim is under way the controller suspends on top of it.
    pub suspend: bool,
    /// Where the Secret is copied from.
    pub secret: PlacedName,
    pub custom_ca: Option<CustomCa>,
    /// After `kopia repository connect`.
    pub connect_arguments: Vec<String>,
    pub credentials: Vec<Credential>,
}

/// A member that could hold the grant, in order of election; and those that could not, with why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub member: MemberName,
    /// The Secret that would be used there.
    pub secret: Option<PlacedName>,
    /// None: eligible for election.
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
    pub matched_sources: usize,
    pub repositories: usize,
}

//! A `KopiaMaintenance` object, read once into a type whose parts are valid.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

use crate::names::{MemberName, ObjectName, PolicyName};
use crate::schedule::{Schedule, Spread, ZoneName};

mod claim;
mod read;
mod resources;
mod scheduling;
mod settings;
mod syntax;

/// One thing that is wrong with a policy.
pub use crate::api::Problem as PolicyProblem;

/// A policy as the planner sees it. A broken one is a value too: it may still compete.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyRecord {
    pub name: PolicyName,
    pub uid: Option<Box<str>>,
    pub generation: i64,
    /// None: the newest of all.
    pub created: Option<Timestamp>,
    /// None: what it selects, or its priority, can't be read; it competes for nothing.
    pub claim: Option<PolicyClaim>,
    /// What it asks for; an error holds everything that is wrong with the object.
    pub settings: Result<Arc<PolicySettings>, Vec<PolicyProblem>>,
}

/// What a policy lays claim to, and how strongly.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyClaim {
    pub priority: i32,
    pub clusters: ClusterSelector,
    pub target: PolicyTarget,
}

impl PolicyClaim {
    /// Matches exactly the sources that the other one matches, in any fleet. How strongly does not matter.
    pub fn matches_as(&self, other: &Self) -> bool {
        (&self.clusters, &self.target) == (&other.clusters, &other.target)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum PolicyTarget {
    /// `repositorySelector`
    Selector { pattern: Box<str>, namespaces: NamespaceSelector },
    /// `repository`
    Direct { secret: ObjectName, cluster: Option<MemberName>, custom_ca: Option<CustomCa> },
}

impl PolicyTarget {
    /// The Secret that a direct policy names.
    pub fn named(&self) -> Option<&ObjectName> {
        match self {
            Self::Selector { .. } => None,
            Self::Direct { secret, .. } => Some(secret),
        }
    }
}

/// `clusterSelector`; empty admits every member and names none.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ClusterSelector {
    /// Globs.
    pub match_names: Vec<Box<str>>,
    pub match_labels: BTreeMap<String, String>,
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct NamespaceSelector {
    /// Exact; empty means all.
    pub match_names: Vec<Box<str>>,
    pub exclude_names: Vec<Box<str>>,
    pub match_labels: BTreeMap<String, String>,
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// A CA bundle beside the repository Secret, in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomCa {
    pub source: CaSource,
    /// Defaults to `ca.crt`.
    pub key: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaSource {
    ConfigMap(Box<str>),
    Secret(Box<str>),
}

/// Everything of a policy that shapes the Job, valid and with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySettings {
    pub enabled: bool,
    pub suspend: bool,
    pub observe: bool,
    pub schedule: Schedule,
    /// As written, blanks collapsed.
    pub schedule_text: Box<str>,
    pub time_zone: Option<ZoneName>,
    pub spread: Option<Spread>,
    pub active_deadline_seconds: u32,
    pub successful_jobs_history_limit: u32,
    pub failed_jobs_history_limit: u32,
    pub cycle: Cycle,
    pub failover: Failover,
    pub image: Option<Box<str>>,
    pub service_account_name: Option<Box<str>>,
    pub priority_class_name: Option<Box<str>>,
    pub image_pull_secrets: Vec<Box<str>>,
    pub cache_capacity: Option<Box<str>>,
    /// Default filled in.
    pub resources: core::ResourceRequirements,
    pub pod_security_context: Option<core::PodSecurityContext>,
    pub security_context: Option<core::SecurityContext>,
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<core::Toleration>,
    pub affinity: Option<core::Affinity>,
    pub pod_labels: BTreeMap<String, String>,
    pub pod_annotations: BTreeMap<String, String>,
}

/// Which maintenance a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cycle {
    Auto,
    Full,
    Quick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failover {
    pub automatic: bool,
    pub after_seconds: u32,
}

/// What the hub was started with and policies are held against.
#[derive(Clone, Debug, Default)]
pub struct PolicyRules {
    pub allowed_images: Vec<Box<str>>,
    pub allowed_service_accounts: Vec<Box<str>>,
}

#[cfg(test)]
mod tests;

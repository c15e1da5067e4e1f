//! What the hub's own watches report, already read into types.

use crate::api::kopia_repository::KopiaRepository;
use crate::api::member_cluster::MemberCluster;
use crate::member::event::ReferencedKind;
use crate::names::{MemberName, ObjectName, PolicyName, RepositoryId};
use crate::plan::fleet::Observation;

/// A policy on the hub, as far as its status and events need it.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyObject {
    pub uid: String,
    pub generation: i64,
    pub status: serde_json::Value,
}

/// What the hub's own watches saw, already read into types.
#[derive(Debug)]
pub enum HubEvent {
    Policy {
        name: PolicyName,
        object: Option<Box<PolicyObject>>,
        observation: Observation,
    },
    Ledger {
        id: RepositoryId,
        object: Option<Box<KopiaRepository>>,
    },
    MemberCluster {
        name: MemberName,
        object: Option<Box<MemberCluster>>,
    },
    /// A Secret or CA ConfigMap on the hub that a direct policy names has this version now.
    Referenced {
        kind: ReferencedKind,
        name: ObjectName,
        version: Option<Box<str>>,
    },
    Observed(Observation),
    Listed(HubList),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HubList {
    Policies,
    Ledger,
    MemberClusters,
}

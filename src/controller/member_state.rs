//! What is known of one member, besides what the planner knows of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::member_cluster::{Lifecycle, MemberCluster};
use crate::member::event::{
    ConditionKind, JobRecord, MemberCondition, MemberFacts, OwnedKind, OwnedObject, PodRecord, ReferencedKind,
};
use crate::member::registry::Origin;
use crate::names::{MemberName, ObjectName};
use crate::plan::fleet::Contact;
use crate::plan::foreign::ForeignObjects;

/// What is known of one member beyond what the planner knows.
#[derive(Debug, Default)]
pub struct MemberState {
    pub origin: Option<Origin>,
    pub contact: Option<Contact>,
    /// Since when it is being read, where it is.
    pub syncing_since: Option<Timestamp>,
    pub duplicate_of: Option<MemberName>,
    pub facts: Option<Arc<MemberFacts>>,
    pub conditions: BTreeMap<ConditionKind, MemberCondition>,
    pub owned: BTreeMap<(OwnedKind, ObjectName), OwnedObject>,
    pub foreign: ForeignObjects,
    /// When this hub suspended another tool's object last, by its uid: also where its note has gone since.
    pub adopted_at: BTreeMap<Box<str>, Timestamp>,
    pub jobs: BTreeMap<ObjectName, JobRecord>,
    pub pods: BTreeMap<ObjectName, PodRecord>,
    /// resourceVersions of referenced Secrets and CA ConfigMaps.
    pub versions: BTreeMap<(ReferencedKind, ObjectName), Box<str>>,
    /// Pushed objects whose contents were compared with what is wanted.
    pub verified: BTreeMap<(OwnedKind, ObjectName), Verified>,
    /// What is told while it is not believed that most of its sources are gone.
    pub shrink_held: Option<String>,
    /// Its MemberCluster on the hub.
    pub cluster: Option<Arc<MemberCluster>>,
}

impl MemberState {
    /// The operator lets the hub suspend other tools' maintenance there, and the member is part of the fleet. None: its
    /// MemberCluster has not been seen, so that nothing follows.
    pub fn adopts(&self) -> Option<bool> {
        let spec = &self.cluster.as_ref()?.spec;
        Some(spec.adopt_foreign && spec.lifecycle == Lifecycle::Active)
    }
}

/// A comparison that need not be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Of the pushed object.
    pub version: Box<str>,
    /// Hash of what was wanted, or the version of the source of a copy.
    pub wanted: Box<str>,
}

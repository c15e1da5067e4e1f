//! What is known of one member, besides what the planner knows of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::member_cluster::MemberCluster;
use crate::member::event::{
    ConditionKind, ForeignKind, ForeignObject, JobRecord, MemberCondition, MemberFacts, OwnedKind, OwnedObject,
    PodRecord, ReferencedKind,
};
use crate::member::registry::Origin;
use crate::names::{MemberName, ObjectName};
use crate::plan::fleet::Contact;

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
    pub foreign: BTreeMap<(ForeignKind, ObjectName), ForeignObject>,
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

/// A comparison that need not be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Of the pushed object.
    pub version: Box<str>,
    /// Hash of what was wanted, or the version of the source of a copy.
    pub wanted: Box<str>,
}

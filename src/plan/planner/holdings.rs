//! Which repositories the ledger says that a member holds.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use crate::names::{MemberName, RepositoryId};
use crate::plan::fleet::LedgerRecord;

/// By the member's name, and by its cluster, whatever that is called now.
#[derive(Debug, Default)]
pub struct Holdings {
    by_name: BTreeMap<MemberName, BTreeSet<RepositoryId>>,
    by_cluster: BTreeMap<Box<str>, BTreeSet<RepositoryId>>,
}

impl Holdings {
    pub fn note(&mut self, id: RepositoryId, record: &LedgerRecord) {
        for member in record.holders() {
            self.by_name.entry(member.clone()).or_default().insert(id);
        }
        if let Some(uid) = uid_of(record) {
            self.by_cluster.entry(uid.into()).or_default().insert(id);
        }
    }

    pub fn forget(&mut self, id: RepositoryId, record: &LedgerRecord) {
        for member in record.holders() {
            take(&mut self.by_name, member, id);
        }
        if let Some(uid) = uid_of(record) {
            take(&mut self.by_cluster, uid, id);
        }
    }

    pub fn of(&self, member: &MemberName) -> impl Iterator<Item = RepositoryId> + '_ {
        self.by_name.get(member).into_iter().flatten().copied()
    }

    pub fn of_cluster(&self, uid: &str) -> impl Iterator<Item = RepositoryId> + '_ {
        self.by_cluster.get(uid).into_iter().flatten().copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&MemberName, &BTreeSet<RepositoryId>)> {
        self.by_name.iter()
    }
}

fn uid_of(record: &LedgerRecord) -> Option<&str> {
    record.grant.as_ref()?.cluster_uid.as_deref()
}

fn take<K: Ord + Borrow<Q>, Q: Ord + ?Sized>(held: &mut BTreeMap<K, BTreeSet<RepositoryId>>, by: &Q, id: RepositoryId) {
    if let Some(ids) = held.get_mut(by) {
        ids.remove(&id);
        if ids.is_empty() {
            held.remove(by);
        }
    }
}

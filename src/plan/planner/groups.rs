//! Which ids stand together for one repository, kept up to date one component at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::index::Index;
use crate::names::RepositoryId;
use crate::plan::fleet::{Fleet, LedgerRecord};
use crate::plan::levers;
use crate::plan::merge::{self, Group, Links};

/// Only groups with something to say are kept: of several ids, or with problems. All others are their id alone.
#[derive(Debug, Default)]
pub struct Groups {
    of: BTreeMap<RepositoryId, Arc<Group>>,
    by_unique_id: BTreeMap<Box<str>, BTreeSet<RepositoryId>>,
    /// The ids whose records name this one in `sameAs` or `distinctFrom`.
    namers: BTreeMap<RepositoryId, BTreeSet<RepositoryId>>,
}

impl Groups {
    pub fn of(&self, id: RepositoryId) -> Arc<Group> {
        let alone = || Group { ids: BTreeSet::from([id]), by_unique_id: false, problems: Vec::new() };
        self.of.get(&id).cloned().unwrap_or_else(|| Arc::new(alone()))
    }

    /// Groups with problems, each once.
    pub fn with_problems(&self) -> impl Iterator<Item = &Group> {
        let first = |(id, group): &(&RepositoryId, &Arc<Group>)| group.ids.first() == Some(*id);
        self.of.iter().filter(first).map(|(_, group)| &**group).filter(|group| !group.problems.is_empty())
    }

    /// Forgets what a record that is about to change says.
    pub fn unlink(&mut self, id: RepositoryId, record: &LedgerRecord) {
        if let Some(unique_id) = &record.unique_id
            && let Some(ids) = self.by_unique_id.get_mut(unique_id)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_unique_id.remove(unique_id);
            }
        }
        for target in targets(record) {
            if let Some(namers) = self.namers.get_mut(&target) {
                namers.remove(&id);
                if namers.is_empty() {
                    self.namers.remove(&target);
                }
            }
        }
    }

    pub fn link(&mut self, id: RepositoryId, record: &LedgerRecord) {
        if let Some(unique_id) = &record.unique_id {
            self.by_unique_id.entry(unique_id.clone()).or_default().insert(id);
        }
        for target in targets(record) {
            self.namers.entry(target).or_default().insert(id);
        }
    }

    /// Every id that may stand together with this one: by a group as it was, or by what the ledger says now.
    fn component(&self, fleet: &Fleet, id: RepositoryId) -> BTreeSet<RepositoryId> {
        let mut component = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if !component.insert(id) {
                continue;
            }
            open.extend(self.of.get(&id).into_iter().flat_map(|group| &group.ids));
            open.extend(self.namers.get(&id).into_iter().flatten());
            if let Some(record) = fleet.ledger.get(&id) {
                open.extend(targets(record));
                let sharing = record.unique_id.as_ref().and_then(|unique_id| self.by_unique_id.get(unique_id));
                open.extend(sharing.into_iter().flatten());
            }
        }
        component
    }

    /// Groups the component of an id anew. Returns all its ids: each may have belonged to another group before.
    pub fn regroup(&mut self, fleet: &Fleet, index: &Index, id: RepositoryId) -> BTreeSet<RepositoryId> {
        let component = self.component(fleet, id);
        for id in &component {
            self.of.remove(id);
        }
        let exists = |id: &&RepositoryId| fleet.ledger.contains_key(*id) || index.keys_of(**id).next().is_some();
        let links = |id: &RepositoryId| (*id, links(fleet, index, *id));
        for group in merge::groups(&component.iter().filter(exists).map(links).collect()) {
            if group.ids.len() > 1 || !group.problems.is_empty() {
                let group = Arc::new(group);
                self.of.extend(group.ids.iter().map(|id| (*id, group.clone())));
            }
        }
        component
    }
}

/// A record whose status belongs to another repository.
pub fn is_foreign(index: &Index, id: RepositoryId, record: &LedgerRecord) -> bool {
    levers::is_foreign(id, record, index.keys_of(id).map(|(key, _)| key))
}

fn links<'a>(fleet: &'a Fleet, index: &Index, id: RepositoryId) -> Links<'a> {
    let Some(record) = fleet.ledger.get(&id) else { return Links::default() };
    let unique_id = record.unique_id.as_deref();
    Links {
        unique_id: unique_id.filter(|_| !is_foreign(index, id, record)),
        same_as: record.same_as.as_deref(),
        distinct_from: record.distinct_from.as_deref(),
    }
}

fn targets(record: &LedgerRecord) -> impl Iterator<Item = RepositoryId> + '_ {
    [&record.same_as, &record.distinct_from].into_iter().flatten().filter_map(|text| text.parse().ok())
}

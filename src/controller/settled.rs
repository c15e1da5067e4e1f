//! Which plan a repository was brought to last. Where an edit of a policy may have changed plans, but nothing that the
//! policy asks for, this tells which repositories there is anything to do for.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use super::engine::Engine;
use crate::hub::event::HubEvent;
use crate::names::RepositoryId;
use crate::plan::fleet::{Fleet, Observation};
use crate::plan::result::RepositoryPlan;

/// Hashes of plans, of repositories of which nothing was left to do but wait.
#[derive(Debug, Default)]
pub struct Settled(Mutex<BTreeMap<RepositoryId, u64>>);

impl Settled {
    pub fn note(&self, id: RepositoryId, plan: &RepositoryPlan) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, hash_of(plan));
    }

    pub fn forget(&self, id: RepositoryId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn is(&self, id: RepositoryId, plan: &RepositoryPlan) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id) == Some(&hash_of(plan))
    }
}

fn hash_of(plan: &RepositoryPlan) -> u64 {
    let mut hasher = DefaultHasher::new();
    plan.hash(&mut hasher);
    hasher.finish()
}

/// A policy asks for the same as before: at most who wins changes by this event.
pub fn changes_ranks_only(fleet: &Fleet, event: &HubEvent) -> bool {
    let HubEvent::Policy { name, observation: Observation::Policy { record: Some(record), .. }, .. } = event else {
        return false;
    };
    let known = fleet.policies.get(name);
    known.is_some_and(|known| known.settings.is_ok() && known.settings == record.settings)
}

impl Engine {
    /// The plan is the one of which nothing was left to do but wait.
    pub(super) fn is_as_planned(&self, id: RepositoryId) -> bool {
        let plan = self.world().planner.plan(id, Self::now());
        plan.is_some_and(|plan| self.settled.is(id, &plan))
    }
}

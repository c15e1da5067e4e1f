//! Which plan a repository was brought to last. Where an edit of a policy may have changed plans, but nothing that the
//! policy asks for, this tells which repositories there is anything to do for.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use super::engine::Engine;
use crate::hub::event::HubEvent;
use crate::names::RepositoryId;
use crate::plan::fleet::{Fleet, Observation};
use crate::plan::result::{Push, RepositoryPlan};
use crate::policy::PolicySettings;

/// Plans under which nothing was left to do but wait: their hashes, and what the policy asked for, which is not in these.
#[derive(Debug, Default)]
pub struct Settled(Mutex<BTreeMap<RepositoryId, (u64, Arc<PolicySettings>)>>);

impl Settled {
    /// Where nothing is pushed, what a policy asks for is looked at in other ways, too: those are always worked on.
    pub fn note(&self, id: RepositoryId, plan: &RepositoryPlan) {
        let mut settled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &plan.push {
            Push::Objects(assignment) => drop(settled.insert(id, (hash_of(plan), Arc::clone(&assignment.settings)))),
            Push::Keep | Push::Remove => drop(settled.remove(&id)),
        }
    }

    pub fn forget(&self, id: RepositoryId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn is(&self, id: RepositoryId, plan: &RepositoryPlan) -> bool {
        let Push::Objects(assignment) = &plan.push else { return false };
        let settled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        settled.get(&id).is_some_and(|(hash, settings)| *hash == hash_of(plan) && *settings == assignment.settings)
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

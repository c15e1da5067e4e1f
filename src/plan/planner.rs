//! Plans one repository at a time, and does again only what an observation touched.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::fleet::{Fleet, Observation, PlanOptions, ReferencedSecrets};
use super::result::{FleetPlan, PolicyPlan, Problem, RepositoryPlan, SourcePlan};
use super::{references, scratch};
use crate::names::{MemberName, PlacedName, PolicyName, RepositoryId, SourceKey};

/// Keeps the fleet and what follows from it.
#[derive(Debug)]
pub struct Planner {
    options: PlanOptions,
    fleet: Fleet,
    references: ReferencedSecrets,
}

/// What an observation changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Repositories to plan again, no more than there are: also those that are gone now, for which there is no plan
    /// any more.
    pub dirty: BTreeSet<RepositoryId>,
    /// Secrets that the plan depends on from now on, sorted.
    pub wanted: Vec<PlacedName>,
    /// Secrets that it does not depend on any more, sorted. Forget their state too.
    pub unwanted: Vec<PlacedName>,
}

impl Planner {
    pub fn new(options: PlanOptions) -> Self {
        Self { options, fleet: Fleet::default(), references: ReferencedSecrets::new() }
    }

    /// The records as they are now.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub fn options(&self) -> &PlanOptions {
        &self.options
    }

    /// Takes one observation in. Nothing is dirty where no field that planning reads has changed.
    pub fn apply(&mut self, observation: Observation) -> Applied {
        self.fleet.observe(observation);
        let references = references::of(&self.fleet, &self.options);
        let wanted = references.difference(&self.references).cloned().collect();
        let unwanted = self.references.difference(&references).cloned().collect();
        self.references = references;
        Applied { dirty: self.repositories(), wanted, unwanted }
    }

    /// Every repository that has a plan.
    pub fn repositories(&self) -> BTreeSet<RepositoryId> {
        self.all(Timestamp::UNIX_EPOCH).repositories.iter().map(|plan| plan.id).collect()
    }

    /// Those with sources in a member, or whose grant it holds, or that a direct policy may run there.
    pub fn repositories_in(&self, member: &MemberName) -> BTreeSet<RepositoryId> {
        let touches = |plan: &&RepositoryPlan| {
            plan.holder.as_ref() == Some(member)
                || plan.cluster.as_ref() == Some(member)
                || plan.clusters.iter().any(|share| share.member == *member)
                || plan.candidates.iter().any(|candidate| candidate.member == *member)
        };
        self.all(Timestamp::UNIX_EPOCH).repositories.iter().filter(touches).map(|plan| plan.id).collect()
    }

    /// The plan of one repository; none where nothing means this id (any more), or another id stands for it.
    pub fn plan(&mut self, id: RepositoryId, now: Timestamp) -> Option<RepositoryPlan> {
        self.all(now).repositories.into_iter().find(|plan| plan.id == id)
    }

    /// When time alone may change the plan of a repository.
    pub fn next_deadline(&mut self, id: RepositoryId, now: Timestamp) -> Option<Timestamp> {
        self.plan(id, now)?.deadline
    }

    pub fn source(&mut self, key: &SourceKey) -> Option<SourcePlan> {
        self.all(Timestamp::UNIX_EPOCH).sources.into_iter().find(|plan| plan.source == *key)
    }

    /// The sources of one repository, sorted. Costs its sources: for people, not for planning.
    pub fn sources_of(&mut self, id: RepositoryId) -> Vec<SourceKey> {
        let sources = self.all(Timestamp::UNIX_EPOCH).sources.into_iter();
        sources.filter(|plan| plan.repository == Some(id)).map(|plan| plan.source).collect()
    }

    /// Every policy, sorted by name.
    pub fn policies(&mut self) -> Vec<PolicyPlan> {
        self.all(Timestamp::UNIX_EPOCH).policies
    }

    pub fn policy(&mut self, name: &PolicyName) -> Option<PolicyPlan> {
        self.policies().into_iter().find(|plan| plan.name == *name)
    }

    /// What a person should look at, sorted.
    pub fn problems(&mut self, now: Timestamp) -> Vec<Problem> {
        self.all(now).problems
    }

    /// The Secrets that the plan depends on, so that observers read these and no others.
    pub fn referenced_secrets(&self) -> &ReferencedSecrets {
        &self.references
    }

    fn all(&self, now: Timestamp) -> FleetPlan {
        scratch::plan(&self.fleet, &self.options, now)
    }
}

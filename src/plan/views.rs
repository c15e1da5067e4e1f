//! What is copied for a Job of a Secret that was just read.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fleet::{Fleet, PlanOptions};
use super::planner::Planner;
use super::readiness;
use super::result::{Assignment, RepositoryPlan};
use crate::identity::{Overrides, SecretFacts};
use crate::names::{RepositoryKey, SourceKey};

impl Planner {
    /// What a Job gets of a Secret that was just read, and which repository that means. `kopia` is `spec.kopia` of
    /// the source that brings it, else null.
    pub fn copy_of(
        &self,
        assignment: &Assignment,
        data: &BTreeMap<String, Vec<u8>>,
        kopia: &Value,
    ) -> Option<(RepositoryKey, BTreeMap<String, Vec<u8>>)> {
        copy_of(self.fleet(), self.options(), assignment, data, kopia)
    }

    /// The winner only observes: whatever stands in the members stays.
    pub fn is_observed(&self, plan: &RepositoryPlan) -> bool {
        let winner = plan.policy.as_ref().and_then(|name| self.fleet().policies.get(name));
        winner.is_some_and(|policy| policy.settings.as_ref().is_ok_and(|settings| settings.observe))
    }

    /// Does the source say itself something about its repository, so that its Secret alone does not tell?
    pub fn has_overrides(&self, assignment: &Assignment) -> bool {
        let key = assignment.source.clone().map(|object| SourceKey { member: assignment.member.clone(), object });
        key.and_then(|key| self.fleet().sources.get(&key)).is_some_and(|source| source.overrides.is_some())
    }
}

/// As [`Planner::copy_of`], for a fleet that no planner follows.
pub fn copy_of(
    fleet: &Fleet,
    options: &PlanOptions,
    assignment: &Assignment,
    data: &BTreeMap<String, Vec<u8>>,
    kopia: &Value,
) -> Option<(RepositoryKey, BTreeMap<String, Vec<u8>>)> {
    let backend = SecretFacts::read(data).backend(&Overrides::read(kopia)).ok()?;
    let read = |scope: &crate::identity::Scope<'_>| {
        Some((backend.identity(scope).ok()?.key, backend.copy_data(data, kopia, scope)))
    };
    readiness::in_member(fleet, options, &assignment.member, &assignment.secret, read).0
}

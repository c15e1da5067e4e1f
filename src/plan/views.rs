//! What others than the planner ask of the fleet: which sources a policy matches, and what is copied for a Job.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::fleet::{Fleet, Labels, SourceRepository};
use super::planner::Planner;
use super::result::{Assignment, RepositoryPlan};
use super::selector::Subject;
use super::{direct, readiness, selector};
use crate::identity::{Overrides, SecretFacts};
use crate::names::{PolicyName, RepositoryKey, SourceKey};
use crate::policy::{PolicyClaim, PolicyTarget};

impl Planner {
    /// The plans of all repositories that a policy competes for.
    pub fn competed(&mut self, policy: &PolicyName, now: Timestamp) -> Vec<RepositoryPlan> {
        let ids = self.repositories();
        let plans = ids.into_iter().filter_map(|id| self.plan(id, now));
        plans.filter(|plan| plan.policy.as_ref() == Some(policy) || plan.shadowed.contains(policy)).collect()
    }

    /// The first `limit` sources that a policy matches, sorted, each with the name of its Secret.
    pub fn matched(
        &mut self,
        policy: &PolicyName,
        limit: usize,
        competed: &[RepositoryPlan],
    ) -> Vec<(SourceKey, Arc<str>)> {
        let Some(record) = self.fleet().policies.get(policy).cloned() else { return Vec::new() };
        let Some(claim) = &record.claim else { return Vec::new() };
        let secret = |planner: &Self, key: &SourceKey| match &planner.fleet().sources.get(key)?.repository {
            SourceRepository::Secret(name) => Some(name.clone()),
            _ => None,
        };
        match &claim.target {
            PolicyTarget::Selector { .. } => {
                let fleet = self.fleet();
                let matches =
                    |key: &&SourceKey| secret(self, key).is_some_and(|name| selects(fleet, claim, key, &name));
                fleet
                    .sources
                    .keys()
                    .filter(matches)
                    .take(limit)
                    .filter_map(|key| Some((key.clone(), secret(self, key)?)))
                    .collect()
            }
            PolicyTarget::Direct { .. } => {
                let mut keys: Vec<_> = competed.iter().flat_map(|plan| self.sources_of(plan.id)).collect();
                keys.sort();
                let admitted = |key: &SourceKey| {
                    direct::admitted(self.fleet(), &claim.clusters).any(|(member, _)| *member == key.member)
                };
                keys.into_iter()
                    .filter(admitted)
                    .filter_map(|key| Some((key.clone(), secret(self, &key)?)))
                    .take(limit)
                    .collect()
            }
        }
    }

    /// What a Job gets of a Secret that was just read, and which repository that means. `kopia` is `spec.kopia` of
    /// the source that brings it, else null.
    pub fn copy_of(
        &self,
        assignment: &Assignment,
        data: &BTreeMap<String, Vec<u8>>,
        kopia: &Value,
    ) -> Option<(RepositoryKey, BTreeMap<String, Vec<u8>>)> {
        let backend = SecretFacts::read(data).backend(&Overrides::read(kopia)).ok()?;
        let namespace = &assignment.secret.object.namespace;
        let read = |scope: &crate::identity::Scope<'_>| {
            Some((backend.identity(scope).ok()?.key, backend.copy_data(data, kopia, scope)))
        };
        readiness::in_member(self.fleet(), self.options(), &assignment.member, read, namespace).0
    }

    /// Does the source say itself something about its repository, so that its Secret alone does not tell?
    pub fn has_overrides(&self, assignment: &Assignment) -> bool {
        let key = assignment.source.clone().map(|object| SourceKey { member: assignment.member.clone(), object });
        key.and_then(|key| self.fleet().sources.get(&key)).is_some_and(|source| source.overrides.is_some())
    }
}

fn selects(fleet: &Fleet, claim: &PolicyClaim, key: &SourceKey, secret: &str) -> bool {
    let PolicyTarget::Selector { pattern, namespaces } = &claim.target else { return false };
    let none = Labels::new();
    let namespace_labels = fleet.namespaces.get(&key.member).and_then(|of| of.get(&key.object.namespace));
    let subject = Subject {
        member: &key.member,
        member_labels: fleet.members.get(&key.member).map_or(&none, |member| &member.labels),
        namespace: &key.object.namespace,
        namespace_labels: namespace_labels.map(|labels| &**labels),
        secret,
    };
    selector::unmet(pattern, namespaces, &claim.clusters, subject).next().is_none()
}

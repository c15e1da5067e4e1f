//! Answers about sources and policies, for status and for people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::Planner;
use super::slice::{self, View};
use crate::names::{MemberName, PolicyName, RepositoryId, RepositoryKey, SourceKey};
use crate::plan::fleet::SourceRepository;
use crate::plan::readiness::{self, Standing};
use crate::plan::result::{PolicyPlan, Problem, RepositoryPlan, SourcePlan};
use crate::plan::{precedence, scratch};
use crate::policy::{PolicyClaim, PolicyRecord, PolicyTarget};

/// A source that a policy matches, and the name of its Secret.
type Matched = (SourceKey, Arc<str>);

/// What a policy comes to in the fleet.
#[derive(Default)]
struct Tally {
    matched: usize,
    repositories: BTreeSet<RepositoryId>,
}

impl Planner {
    pub fn source(&mut self, key: &SourceKey) -> Option<SourcePlan> {
        let record = self.fleet.sources.get(key)?;
        let (standing, _) = readiness::of_source(&self.fleet, &self.options, key, record);
        let secret = record.repository.named().cloned();
        let repository = match &standing {
            Standing::In(meaning) => self.winner(meaning.identity.key.id()),
            Standing::Outside(_) => None,
        };
        Some(readiness::source_plan(key, secret, &standing, repository))
    }

    /// The sources of one repository, sorted. Costs its sources: for people, not for planning.
    pub fn sources_of(&self, id: RepositoryId) -> Vec<SourceKey> {
        let keys = self.keys_of(&self.groups.of(id));
        let entries = keys.iter().filter_map(|key| self.index.keys.get(key));
        let slices = entries.flat_map(|entry| &entry.members);
        let sources = slices.flat_map(|(member, slice)| {
            slice.sources.keys().map(|object| SourceKey { member: member.clone(), object: object.clone() })
        });
        sources.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Every policy, sorted by name.
    pub fn policies(&mut self) -> Vec<PolicyPlan> {
        let policies: Vec<_> = self.fleet.policies.values().cloned().collect();
        let plan = |policy: Arc<PolicyRecord>| {
            let tally = self.tally(&policy.name);
            self.policy_plan(&policy, &tally)
        };
        policies.into_iter().map(plan).collect()
    }

    /// What a policy comes to, and the first sources that it matches, with their Secrets, sorted; at most `limit`.
    pub fn policy(&mut self, name: &PolicyName, limit: usize) -> Option<(PolicyPlan, Vec<Matched>)> {
        let tally = self.tally(name);
        let policy = self.fleet.policies.get(name)?;
        let matched = policy.claim.as_ref().map(|claim| self.matched(claim, &tally.repositories, limit));
        Some((self.policy_plan(policy, &tally), matched.unwrap_or_default()))
    }

    /// The plans of all repositories that a policy competes for, whether it wins or not.
    pub fn competed(&mut self, name: &PolicyName, now: Timestamp) -> Vec<RepositoryPlan> {
        self.competes_for(name).into_iter().filter_map(|id| self.plan(id, now)).collect()
    }

    /// The repositories that a policy competes for.
    pub fn competes_for(&mut self, name: &PolicyName) -> BTreeSet<RepositoryId> {
        self.tally(name).repositories
    }

    fn matched(&self, claim: &PolicyClaim, competed: &BTreeSet<RepositoryId>, limit: usize) -> Vec<Matched> {
        let keys: BTreeSet<_> = competed.iter().flat_map(|id| self.keys_of(&self.groups.of(*id))).collect();
        let entries = keys.iter().filter_map(|key| self.index.keys.get(key));
        let members = entries.flat_map(|entry| entry.members.keys()).chain(self.index.outside.keys());
        let mut matched = Vec::new();
        for member in members.collect::<BTreeSet<_>>() {
            matched.extend(self.matched_in(member, claim, &keys));
            if matched.len() >= limit {
                break;
            }
        }
        matched.truncate(limit);
        matched
    }

    fn matched_in(
        &self,
        member: &MemberName,
        claim: &PolicyClaim,
        keys: &BTreeSet<RepositoryKey>,
    ) -> BTreeMap<SourceKey, Arc<str>> {
        let here = self.index.by_member.get(member).into_iter().flatten().filter(|key| keys.contains(key));
        let slices = here.filter_map(|key| self.index.keys.get(key)?.members.get(member));
        let inside = slices.flat_map(|slice| slice.sources.keys());
        let selects = matches!(claim.target, PolicyTarget::Selector { .. });
        let outside = self.index.outside.get(member).into_iter().flatten().filter(|_| selects);
        let view = View { fleet: &self.fleet, member };
        let matched = inside.chain(outside).filter_map(|object| {
            let key = SourceKey { member: member.clone(), object: object.clone() };
            let record = self.fleet.sources.get(&key)?;
            let SourceRepository::Secret(secret) = &record.repository else { return None };
            let matches = if selects { slice::selects(view, claim, object, record) } else { view.admits(claim) };
            matches.then(|| (key, secret.clone()))
        });
        matched.collect()
    }

    /// What a person should look at, sorted. Plans everything: for people, not for planning.
    pub fn problems(&mut self, now: Timestamp) -> Vec<Problem> {
        let mut problems: BTreeSet<Problem> =
            self.groups.with_problems().flat_map(|group| group.problems.iter().cloned()).collect();
        for id in self.repositories() {
            if let Some(plan) = self.plan(id, now) {
                problems.extend(scratch::problems(&plan));
            }
        }
        problems.into_iter().collect()
    }

    /// The repository that an id stands in, and its winner.
    fn winner(&mut self, id: RepositoryId) -> Option<(RepositoryId, Option<PolicyName>)> {
        let group = self.groups.of(id);
        let keys = self.keys_of(&group);
        let first = keys.first()?.id();
        self.digest(&keys);
        let entries = keys.iter().filter_map(|key| self.index.keys.get(key));
        let names = entries.flat_map(|entry| {
            let slices = entry.members.values().filter_map(slice::Slice::known);
            slices.flat_map(|digest| digest.policies.iter().map(|(name, _)| name)).chain(&entry.policies)
        });
        let policies = names.filter_map(|name| self.fleet.policies.get(name));
        let winner = policies.min_by_key(|policy| precedence::rank(policy));
        Some((first, winner.map(|winner| winner.name.clone())))
    }

    fn stands_for(&self, key: &RepositoryKey) -> RepositoryId {
        self.keys_of(&self.groups.of(key.id())).first().map_or(key.id(), RepositoryKey::id)
    }

    fn tally(&mut self, name: &PolicyName) -> Tally {
        let mut tally = Tally::default();
        self.index.digest_all(&self.fleet);
        for key in &self.index.chosen_by(name) {
            let slices = self.index.keys.get(key).into_iter().flat_map(|entry| entry.members.values());
            tally.matched += slices.filter_map(|slice| Some(slice.known()?.choice_of(name)?.matched)).sum::<usize>();
            tally.repositories.insert(self.stands_for(key));
        }
        let named = self.index.directs.get(name).into_iter().flat_map(|direct| direct.matches.keys());
        tally.repositories.extend(named.map(|key| self.stands_for(key)));
        let Some(claim) = self.fleet.policies.get(name).and_then(|policy| policy.claim.as_ref()) else { return tally };
        if matches!(claim.target, PolicyTarget::Direct { .. }) {
            let keys = tally.repositories.iter().flat_map(|id| self.keys_of(&self.groups.of(*id)));
            let entries = keys.filter_map(|key| self.index.keys.get(&key));
            let slices = entries.flat_map(|entry| &entry.members);
            let admitted = slices.filter(|(member, _)| View { fleet: &self.fleet, member }.admits(claim));
            tally.matched = admitted.map(|(_, slice)| slice.sources.len()).sum();
            return tally;
        }
        for (member, sources) in &self.index.outside {
            let view = View { fleet: &self.fleet, member };
            let selected = sources.iter().filter(|object| {
                let key = SourceKey { member: member.clone(), object: (*object).clone() };
                self.fleet.sources.get(&key).is_some_and(|record| slice::selects(view, claim, object, record))
            });
            tally.matched += selected.count();
        }
        tally
    }

    fn policy_plan(&self, policy: &PolicyRecord, tally: &Tally) -> PolicyPlan {
        let note = self.index.directs.get(&policy.name).and_then(|direct| direct.note.as_ref());
        PolicyPlan {
            name: policy.name.clone(),
            valid: policy.claim.is_some() && policy.settings.is_ok(),
            message: scratch::policy_message(policy, note.map(|(_, message)| message.as_str())),
            matched_sources: tally.matched,
            repositories: tally.repositories.len(),
        }
    }
}

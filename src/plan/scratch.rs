//! Plans the whole fleet from its records in one go, rule by rule, with no memory of any plan before.
//! The incremental planner is held against this one.

mod repository;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::direct::{self, Match, Resolution};
use super::fleet::{Fleet, Labels, LedgerRecord, PlanOptions, SourceRecord, SourceRepository};
use super::levers;
use super::merge::{self, Group, Links};
use super::readiness::{self, Meaning, Standing};
use super::result::{FleetPlan, PolicyPlan, Problem, RepositoryPlan, SourcePlan};
use super::selector::{self, Subject};
use crate::names::{PolicyName, RepositoryId, RepositoryKey, SourceKey};
use crate::policy::{PolicyClaim, PolicyRecord, PolicyTarget};
use repository::Repository;

/// What should be at `now`.
pub fn plan(fleet: &Fleet, options: &PlanOptions, now: Timestamp) -> FleetPlan {
    let directs = resolve(fleet, options);
    let world = World::see(fleet, options, now, &directs);
    let mut plan = FleetPlan::default();
    let mut of_key: BTreeMap<RepositoryKey, usize> = BTreeMap::new();
    let mut competing: BTreeMap<&PolicyName, usize> = BTreeMap::new();
    for group in world.groups() {
        plan.problems.extend(group.problems.iter().cloned());
        let Some(repository) = Repository::of(&world, &group) else { continue };
        let competitors = repository.competitors();
        for policy in &competitors {
            *competing.entry(&policy.name).or_default() += 1;
        }
        let planned = repository.plan(competitors);
        plan.problems.extend(problems(&planned));
        plan.repositories.push(planned);
    }
    plan.repositories.sort_by_key(|repository| repository.id);
    for (index, repository) in plan.repositories.iter().enumerate() {
        of_key.extend(repository.keys.iter().map(|key| (*key, index)));
    }
    plan.sources = fleet.sources.keys().filter_map(|key| world.source_plan(key, &plan.repositories, &of_key)).collect();
    let policies = fleet.policies.values();
    plan.policies = policies.map(|policy| world.policy_plan(policy, &plan, &of_key, &competing)).collect();
    plan.problems.sort();
    plan.problems.dedup();
    plan
}

/// What the Secret reference of every policy means.
fn resolve(fleet: &Fleet, options: &PlanOptions) -> BTreeMap<PolicyName, Resolution> {
    let claims = fleet.policies.values().filter_map(|policy| Some((policy.name.clone(), policy.claim.as_ref()?)));
    claims.map(|(name, claim)| (name, direct::resolve(fleet, options, claim))).collect()
}

/// What a person should look at in a planned repository.
pub fn problems(plan: &RepositoryPlan) -> impl Iterator<Item = Problem> + '_ {
    let object = plan.id.ledger_name();
    plan.remarks.iter().map(move |(reason, message)| Problem {
        object: object.clone(),
        reason,
        message: message.clone(),
    })
}

/// The records, and what each source and each direct policy means.
struct World<'a> {
    fleet: &'a Fleet,
    options: &'a PlanOptions,
    now: Timestamp,
    standings: BTreeMap<&'a SourceKey, Standing>,
    /// The sources that mean a key.
    by_key: BTreeMap<RepositoryKey, Vec<&'a SourceKey>>,
    directs: &'a BTreeMap<PolicyName, Resolution>,
    /// The direct policies that mean a key.
    named: BTreeMap<RepositoryKey, Vec<(&'a PolicyName, &'a Match)>>,
    /// Every key that a source or a direct policy means, by id.
    keys: BTreeMap<RepositoryId, BTreeSet<RepositoryKey>>,
}

impl<'a> World<'a> {
    fn see(
        fleet: &'a Fleet,
        options: &'a PlanOptions,
        now: Timestamp,
        directs: &'a BTreeMap<PolicyName, Resolution>,
    ) -> Self {
        let standing = |(key, record): (&'a SourceKey, &'a SourceRecord)| {
            (key, readiness::of_source(fleet, options, key, record).0)
        };
        let standings: BTreeMap<_, _> = fleet.sources.iter().map(standing).collect();
        let mut named: BTreeMap<RepositoryKey, Vec<(&PolicyName, &Match)>> = BTreeMap::new();
        for (name, resolution) in directs {
            for (key, found) in &resolution.matches {
                named.entry(*key).or_default().push((name, found));
            }
        }
        let of_sources = standings.values().filter_map(meaning_of).map(|meaning| meaning.identity.key);
        let of_policies = named.keys().copied();
        let mut by_key: BTreeMap<RepositoryKey, Vec<&SourceKey>> = BTreeMap::new();
        for (source, standing) in &standings {
            if let Some(meaning) = meaning_of(standing) {
                by_key.entry(meaning.identity.key).or_default().push(source);
            }
        }
        let mut keys: BTreeMap<RepositoryId, BTreeSet<RepositoryKey>> = BTreeMap::new();
        for key in of_sources.chain(of_policies) {
            keys.entry(key.id()).or_default().insert(key);
        }
        Self { fleet, options, now, standings, by_key, directs, named, keys }
    }

    /// A record whose status belongs to another repository ties nothing together.
    fn is_foreign(&self, id: RepositoryId, record: &LedgerRecord) -> bool {
        levers::is_foreign(id, record, self.keys.get(&id).into_iter().flatten())
    }

    fn groups(&self) -> Vec<Group> {
        let ids: BTreeSet<RepositoryId> = self.keys.keys().chain(self.fleet.ledger.keys()).copied().collect();
        let links = |id: RepositoryId| match self.fleet.ledger.get(&id) {
            None => Links::default(),
            Some(record) => Links {
                unique_id: record.unique_id.as_deref().filter(|_| !self.is_foreign(id, record)),
                same_as: record.same_as.as_deref(),
                distinct_from: record.distinct_from.as_deref(),
            },
        };
        merge::groups(&ids.into_iter().map(|id| (id, links(id))).collect())
    }

    /// Does a policy that selects match this source?
    fn selects(&self, claim: &PolicyClaim, key: &SourceKey, record: &SourceRecord) -> bool {
        let PolicyTarget::Selector { pattern, namespaces } = &claim.target else { return false };
        let SourceRepository::Secret(secret) = &record.repository else { return false };
        let none = Labels::new();
        let namespace = &key.object.namespace;
        let of_member = self.fleet.namespaces.get(&key.member);
        let subject = Subject {
            member: &key.member,
            member_labels: self.fleet.members.get(&key.member).map_or(&none, |member| &member.labels),
            namespace,
            namespace_labels: of_member.and_then(|namespaces| namespaces.get(namespace)).map(|labels| &**labels),
            secret,
        };
        selector::unmet(pattern, namespaces, &claim.clusters, subject).next().is_none()
    }

    fn source_plan(
        &self,
        key: &SourceKey,
        repositories: &[RepositoryPlan],
        of_key: &BTreeMap<RepositoryKey, usize>,
    ) -> Option<SourcePlan> {
        let secret = self.fleet.sources.get(key).and_then(|record| record.repository.named().cloned());
        let standing = self.standings.get(key)?;
        let index = meaning_of(standing).and_then(|meaning| of_key.get(&meaning.identity.key));
        let repository = index.and_then(|index| repositories.get(*index));
        let repository = repository.map(|repository| (repository.id, repository.policy.clone()));
        Some(readiness::source_plan(key, secret, standing, repository))
    }

    fn policy_plan(
        &self,
        policy: &PolicyRecord,
        plan: &FleetPlan,
        of_key: &BTreeMap<RepositoryKey, usize>,
        competing: &BTreeMap<&PolicyName, usize>,
    ) -> PolicyPlan {
        let matched = |(key, standing): &(&&SourceKey, &Standing)| match &policy.claim {
            Some(claim @ PolicyClaim { target: PolicyTarget::Selector { .. }, .. }) => {
                let record = self.fleet.sources.get(**key).filter(|_| standing.counts());
                record.is_some_and(|record| self.selects(claim, key, record))
            }
            Some(claim) => {
                let key_of = meaning_of(standing).map(|meaning| meaning.identity.key);
                let index = key_of.and_then(|key| of_key.get(&key));
                let repository = index.and_then(|index| plan.repositories.get(*index));
                let competes = repository.is_some_and(|repository| {
                    repository.policy.iter().chain(&repository.shadowed).any(|name| *name == policy.name)
                });
                competes && self.admits(claim, key)
            }
            None => false,
        };
        PolicyPlan {
            name: policy.name.clone(),
            valid: policy.claim.is_some() && policy.settings.is_ok(),
            message: self.policy_message(policy),
            matched_sources: self.standings.iter().filter(matched).count(),
            repositories: competing.get(&policy.name).copied().unwrap_or_default(),
        }
    }

    fn admits(&self, claim: &PolicyClaim, key: &SourceKey) -> bool {
        let none = Labels::new();
        let labels = self.fleet.members.get(&key.member).map_or(&none, |member| &member.labels);
        selector::admits(&claim.clusters, &key.member, labels)
    }

    fn policy_message(&self, policy: &PolicyRecord) -> String {
        let note = self.directs.get(&policy.name).and_then(|resolution| resolution.note.as_ref());
        policy_message(policy, note.map(|(_, message)| message.as_str()))
    }
}

/// What is wrong with a policy, or why it matches nothing.
pub fn policy_message(policy: &PolicyRecord, note: Option<&str>) -> String {
    let errors = policy.settings.as_ref().err().into_iter().flatten();
    let errors = errors.map(|error| format!("{}: {}", error.field, error.message));
    errors.chain(note.map(str::to_owned)).collect::<Vec<_>>().join("; ")
}

fn meaning_of(standing: &Standing) -> Option<&Meaning> {
    match standing {
        Standing::In(meaning) => Some(meaning),
        Standing::Outside(_) => None,
    }
}

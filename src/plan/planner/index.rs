//! Which sources and direct policies mean which repository key, and where.

use std::collections::{BTreeMap, BTreeSet};

use super::slice::{Slice, View};
use crate::names::{MemberName, ObjectName, PolicyName, RepositoryId, RepositoryKey, SourceKey};
use crate::plan::direct::{self, Resolution};
use crate::plan::fleet::{Fleet, PlanOptions};
use crate::plan::readiness::{self, Standing};
use crate::policy::PolicyClaim;

/// Follows from the fleet alone. An entry goes with the last that meant it.
#[derive(Debug, Default)]
pub struct Index {
    pub keys: BTreeMap<RepositoryKey, Entry>,
    /// The keys with sources in a member.
    pub by_member: BTreeMap<MemberName, BTreeSet<RepositoryKey>>,
    /// Sources that count, though they are in no repository.
    pub outside: BTreeMap<MemberName, BTreeSet<ObjectName>>,
    /// Every policy with a claim; those that select resolve to nothing.
    pub directs: BTreeMap<PolicyName, Resolution>,
    /// Sources whose meaning depends on whether a namespace of their member exists.
    consulted: BTreeMap<(MemberName, Box<str>), BTreeSet<ObjectName>>,
    /// Keys with a source that has come, gone or changed since they were digested.
    changed: BTreeSet<RepositoryKey>,
    /// The keys where a policy that selects matches a source, and some where it did.
    chosen: BTreeMap<PolicyName, BTreeSet<RepositoryKey>>,
}

#[derive(Debug, Default)]
pub struct Entry {
    pub members: BTreeMap<MemberName, Slice>,
    /// Direct policies that name it.
    pub policies: BTreeSet<PolicyName>,
}

impl Index {
    /// Takes a source out, as the fleet has it now: to be done before anything that its meaning depends on changes.
    pub fn unfile(&mut self, fleet: &Fleet, options: &PlanOptions, source: &SourceKey) -> Option<RepositoryKey> {
        let record = fleet.sources.get(source)?;
        let (standing, consulted) = readiness::of_source(fleet, options, source, record);
        for namespace in consulted {
            let place = (source.member.clone(), namespace);
            if let Some(sources) = self.consulted.get_mut(&place) {
                sources.remove(&source.object);
                if sources.is_empty() {
                    self.consulted.remove(&place);
                }
            }
        }
        let Standing::In(meaning) = standing else {
            if let Some(outside) = self.outside.get_mut(&source.member) {
                outside.remove(&source.object);
                if outside.is_empty() {
                    self.outside.remove(&source.member);
                }
            }
            return None;
        };
        let key = meaning.identity.key;
        self.changed.insert(key);
        let entry = self.keys.get_mut(&key)?;
        if let Some(slice) = entry.members.get_mut(&source.member) {
            slice.sources.remove(&source.object);
            slice.forget();
            if slice.sources.is_empty() {
                entry.members.remove(&source.member);
                forget(&mut self.by_member, &source.member, &key);
            }
        }
        self.tidy(&key);
        Some(key)
    }

    /// Puts a source in, as the fleet has it now.
    pub fn file(&mut self, fleet: &Fleet, options: &PlanOptions, source: &SourceKey) -> Option<RepositoryKey> {
        let record = fleet.sources.get(source)?;
        let (standing, consulted) = readiness::of_source(fleet, options, source, record);
        for namespace in consulted {
            self.consulted.entry((source.member.clone(), namespace)).or_default().insert(source.object.clone());
        }
        if !standing.counts() {
            return None;
        }
        let Standing::In(meaning) = standing else {
            self.outside.entry(source.member.clone()).or_default().insert(source.object.clone());
            return None;
        };
        let key = meaning.identity.key;
        self.changed.insert(key);
        let entry = self.keys.entry(key).or_default();
        entry.members.entry(source.member.clone()).or_default().insert(source.object.clone(), meaning);
        self.by_member.entry(source.member.clone()).or_default().insert(key);
        Some(key)
    }

    /// Resolves a policy anew. Returns every key that it meant or means.
    pub fn resolve(
        &mut self,
        fleet: &Fleet,
        options: &PlanOptions,
        (name, claim): (&PolicyName, Option<&PolicyClaim>),
    ) -> BTreeSet<RepositoryKey> {
        let before = self.directs.remove(name).unwrap_or_default();
        let mut touched: BTreeSet<RepositoryKey> = before.matches.into_keys().collect();
        let now = claim.map(|claim| direct::resolve(fleet, options, claim));
        let means: BTreeSet<RepositoryKey> = now.iter().flat_map(|now| now.matches.keys()).copied().collect();
        for key in touched.difference(&means) {
            if let Some(entry) = self.keys.get_mut(key) {
                entry.policies.remove(name);
            }
            self.tidy(key);
        }
        for key in &means {
            self.keys.entry(*key).or_default().policies.insert(name.clone());
        }
        touched.extend(means);
        self.directs.extend(now.map(|now| (name.clone(), now)));
        touched
    }

    /// The sources whose meaning depends on whether this namespace exists.
    pub fn consulting(&self, member: &MemberName, namespace: &str) -> impl Iterator<Item = SourceKey> + '_ {
        let sources = self.consulted.get(&(member.clone(), namespace.into())).into_iter().flatten();
        let member = member.clone();
        sources.map(move |object| SourceKey { member: member.clone(), object: object.clone() })
    }

    /// The keys with this id: one, unless somebody forged another.
    pub fn keys_of(&self, id: RepositoryId) -> impl Iterator<Item = (&RepositoryKey, &Entry)> {
        self.keys.range(RepositoryKey::range_of(id))
    }

    /// Brings the digests of a key up to date.
    pub fn digest(&mut self, fleet: &Fleet, key: &RepositoryKey) {
        if !self.changed.remove(key) {
            return;
        }
        for (member, slice) in self.keys.get_mut(key).into_iter().flat_map(|entry| &mut entry.members) {
            for (name, _) in &slice.digest(View { fleet, member }).policies {
                self.chosen.entry(name.clone()).or_default().insert(*key);
            }
        }
    }

    /// Brings every digest up to date.
    pub fn digest_all(&mut self, fleet: &Fleet) {
        while let Some(key) = self.changed.first().copied() {
            self.digest(fleet, &key);
        }
    }

    /// Considers one policy anew everywhere. Returns the keys where it matches a source, or did.
    pub fn reconsider(
        &mut self,
        fleet: &Fleet,
        name: &PolicyName,
        claim: Option<&PolicyClaim>,
    ) -> BTreeSet<RepositoryKey> {
        let mut touched = BTreeSet::new();
        for (key, entry) in &mut self.keys {
            for (member, slice) in &mut entry.members {
                if slice.reconsider(View { fleet, member }, name, claim) {
                    touched.insert(*key);
                }
            }
        }
        // Nobody asks after one that is gone.
        if claim.is_none() || touched.is_empty() {
            self.chosen.remove(name);
        } else {
            self.chosen.insert(name.clone(), touched.clone());
        }
        touched
    }

    /// The keys where a policy matches a source, or that have changed since anybody looked.
    pub fn chosen_by(&mut self, name: &PolicyName) -> BTreeSet<RepositoryKey> {
        let Self { keys, changed, chosen, .. } = self;
        let Some(chosen) = chosen.get_mut(name) else { return changed.clone() };
        chosen.retain(|key| {
            let mut slices = keys.get(key).into_iter().flat_map(|entry| entry.members.values());
            slices.any(|slice| slice.may_be_chosen_by(name))
        });
        chosen.union(changed).copied().collect()
    }

    fn tidy(&mut self, key: &RepositoryKey) {
        if self.keys.get(key).is_some_and(|entry| entry.members.is_empty() && entry.policies.is_empty()) {
            self.keys.remove(key);
        }
    }
}

fn forget(by_member: &mut BTreeMap<MemberName, BTreeSet<RepositoryKey>>, member: &MemberName, key: &RepositoryKey) {
    if let Some(keys) = by_member.get_mut(member) {
        keys.remove(key);
        if keys.is_empty() {
            by_member.remove(member);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::names::PolicyName;
    use crate::plan::fleet::Observation;
    use crate::plan::planner::Planner;
    use crate::plan::testing::{Fixture, now, observations, options};

    #[test]
    fn nothing_is_kept_of_a_policy_that_is_gone() {
        let mut fixture = Fixture::new(&["eu"]);
        fixture.source("eu/shop/db", "one").default_policy();
        let mut planner = Planner::new(options());
        for observation in observations(&fixture.fleet) {
            planner.apply(observation);
        }
        let policies: Vec<PolicyName> = planner.fleet().policies.keys().cloned().collect();
        for name in policies {
            assert_eq!(planner.competed(&name, now()).len(), 1);
            planner.apply(Observation::Policy { name: name.clone(), record: None });
            assert!(planner.competed(&name, now()).is_empty());
        }
        assert!(planner.index.chosen.is_empty());
    }
}

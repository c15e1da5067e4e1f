//! What the Secret reference of a direct policy resolves to, and which members may serve it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fleet::{Fleet, MemberRecord, PlanOptions, SecretState};
use super::readiness::{self, Meaning};
use super::selector;
use crate::identity::{Overrides, Reach, Scope, SecretFacts};
use crate::names::{MemberName, ObjectName, Place, PlacedName, RepositoryKey};
use crate::policy::{ClusterSelector, PolicyClaim, PolicyTarget};

/// Everything that one direct policy's reference means now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// By key: several where the Secret means several repositories.
    pub matches: BTreeMap<RepositoryKey, Match>,
    /// Why it matches nothing, or less than it could: (reason, message).
    pub note: Option<(&'static str, String)>,
    /// Every Secret that it depends on.
    pub wants: BTreeSet<PlacedName>,
    /// Namespaces of members that the meaning depended on.
    pub consulted: BTreeSet<(MemberName, Box<str>)>,
}

/// One repository that the reference means.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    pub origin: Origin,
    /// The members where the Secret means this repository, and what it says there.
    pub members: BTreeMap<MemberName, Arc<Meaning>>,
    /// One of them, or what it means where no member is admitted.
    pub meaning: Arc<Meaning>,
    pub secret: ObjectName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The Secret stands in each of the members.
    Members,
    /// The hub's Secret, which means the same from each of the members.
    Hub,
    /// The hub's Secret, which means this repository in one member only.
    HubLocal,
}

impl Match {
    /// What the Secret says: in each of the members, or to nobody where none is admitted.
    pub fn meanings(&self) -> impl Iterator<Item = &Meaning> {
        let nobody = self.members.is_empty().then_some(&self.meaning);
        self.members.values().chain(nobody).map(|meaning| &**meaning)
    }

    /// Where the Secret is copied from for a Job in this member.
    pub fn secret_for(&self, member: &MemberName) -> PlacedName {
        let place = match self.origin {
            Origin::Members => Place::Member(member.clone()),
            Origin::Hub | Origin::HubLocal => Place::Hub,
        };
        PlacedName { place, object: self.secret.clone() }
    }

    /// The members that may serve it. `with_source`: those that have a source of it.
    pub fn serving(
        &self,
        fleet: &Fleet,
        options: &PlanOptions,
        clusters: &ClusterSelector,
        with_source: impl Fn(&MemberName) -> bool,
    ) -> Vec<&MemberName> {
        let all = || self.members.keys();
        if self.origin != Origin::Hub {
            return all().collect();
        }
        let used: Vec<_> = all().filter(|member| with_source(member)).collect();
        if !used.is_empty() {
            return used;
        }
        if !selector::is_empty(clusters) {
            return all().collect();
        }
        let hub = options.hub_member.as_ref().filter(|hub| fleet.members.contains_key(*hub));
        let chosen = match hub {
            Some(hub) => Some(hub),
            None if fleet.members.len() == 1 => fleet.members.keys().next(),
            None => None,
        };
        all().filter(|member| Some(*member) == chosen).collect()
    }
}

/// The reason where a Secret of the hub could run in several members, and nothing says in which.
pub const CLUSTER_SELECTOR_NEEDED: &str = "ClusterSelectorNeeded";
const NOBODY_ADMITTED: &str = "NobodyAdmitted";
const CLUSTER_NOT_ADMITTED: &str = "ClusterNotAdmitted";
const CLUSTER_UNKNOWN: &str = "ClusterUnknown";

/// Resolves a direct policy; nothing for one that selects.
pub fn resolve(fleet: &Fleet, options: &PlanOptions, claim: &PolicyClaim) -> Resolution {
    let PolicyTarget::Direct { secret, cluster, .. } = &claim.target else { return Resolution::default() };
    let mut resolver = Resolver { fleet, options, secret, resolution: Resolution::default() };
    match cluster {
        Some(cluster) => resolver.in_one(cluster, &claim.clusters),
        None => resolver.anywhere(&claim.clusters),
    }
    resolver.resolution
}

/// The members that a policy lets in.
pub fn admitted<'a>(
    fleet: &'a Fleet,
    clusters: &'a ClusterSelector,
) -> impl Iterator<Item = (&'a MemberName, &'a MemberRecord)> {
    fleet.members.iter().filter(|(name, record)| selector::admits(clusters, name, &record.labels))
}

struct Resolver<'a> {
    fleet: &'a Fleet,
    options: &'a PlanOptions,
    secret: &'a ObjectName,
    resolution: Resolution,
}

impl<'a> Resolver<'a> {
    fn in_one(&mut self, cluster: &MemberName, clusters: &ClusterSelector) {
        let Some(record) = self.fleet.members.get(cluster) else {
            return self.note(CLUSTER_UNKNOWN, format!("repository.cluster: no member is called {cluster}"));
        };
        if !selector::admits(clusters, cluster, &record.labels) {
            let message = format!("repository.cluster: clusterSelector does not admit member {cluster}");
            return self.note(CLUSTER_NOT_ADMITTED, message);
        }
        self.in_members([cluster]);
    }

    fn anywhere(&mut self, clusters: &'a ClusterSelector) {
        match self.look(Place::Hub) {
            Some(SecretState::Present(facts)) => self.on_hub(facts, clusters),
            Some(SecretState::Absent) => {
                let fleet = self.fleet;
                self.in_members(admitted(fleet, clusters).map(|(member, _)| member));
            }
            // Whether it is there decides where to look, so nothing is known yet.
            Some(SecretState::Forbidden) => {
                let message = format!("the hub may not read Secret {} in its own cluster", self.secret);
                self.note(readiness::SECRET_FORBIDDEN, message);
            }
            None => {
                let message = format!("Secret {} has not been looked for on the hub yet", self.secret);
                self.note(readiness::SECRET_NOT_READ, message);
            }
        }
    }

    fn on_hub(&mut self, facts: &SecretFacts, clusters: &ClusterSelector) {
        let mut nobody = true;
        for (member, _) in admitted(self.fleet, clusters) {
            nobody = false;
            if let Some(meaning) = self.mean(facts, member, Place::Hub) {
                let shared = meaning.identity.reach == Reach::Shared;
                self.add(member, meaning, if shared { Origin::Hub } else { Origin::HubLocal });
            }
        }
        if nobody {
            self.on_hub_for_nobody(facts);
        }
    }

    /// No member is admitted: the repository is there all the same, if it is the same from everywhere.
    fn on_hub_for_nobody(&mut self, facts: &SecretFacts) {
        let nobody = MemberName::from("");
        let Some(meaning) = self.mean(facts, &nobody, Place::Hub) else { return };
        if meaning.identity.reach == Reach::Shared {
            let meaning = Arc::new(meaning);
            let found = Match {
                origin: Origin::Hub,
                members: BTreeMap::new(),
                meaning: meaning.clone(),
                secret: self.secret.clone(),
            };
            self.resolution.matches.insert(meaning.identity.key, found);
        } else {
            let message = format!("the place in Secret {} differs by cluster, and no member is admitted", self.secret);
            self.note(NOBODY_ADMITTED, message);
        }
    }

    fn in_members<'m>(&mut self, members: impl IntoIterator<Item = &'m MemberName>) {
        let mut seen = Vec::new();
        for member in members {
            match self.look(Place::Member(member.clone())) {
                Some(SecretState::Present(facts)) => {
                    if let Some(meaning) = self.mean(facts, member, Place::Member(member.clone())) {
                        self.add(member, meaning, Origin::Members);
                    }
                }
                Some(SecretState::Absent) => seen.push(format!("{member}: absent")),
                Some(SecretState::Forbidden) => seen.push(format!("{member}: may not be read")),
                None => seen.push(format!("{member}: not known")),
            }
        }
        if self.resolution.matches.is_empty() && self.resolution.note.is_none() {
            let places = if seen.is_empty() { "no member is admitted".to_owned() } else { seen.join(", ") };
            self.note(readiness::SECRET_MISSING, format!("Secret {} was found nowhere: {places}", self.secret));
        }
    }

    fn look(&mut self, place: Place) -> Option<&'a SecretState> {
        let placed = PlacedName { place, object: self.secret.clone() };
        let fleet = self.fleet;
        let state = fleet.secrets.get(&placed);
        self.resolution.wants.insert(placed);
        state
    }

    fn mean(&mut self, facts: &SecretFacts, member: &MemberName, place: Place) -> Option<Meaning> {
        let read = |scope: &Scope<'_>| readiness::meaning(facts, &Overrides::default(), scope);
        let placed = PlacedName { place, object: self.secret.clone() };
        let (meaning, consulted) = readiness::in_member(self.fleet, self.options, member, &placed, read);
        self.resolution.consulted.extend(consulted.into_iter().map(|name| (member.clone(), name)));
        match meaning {
            Ok(meaning) => Some(meaning),
            Err(problem) => {
                let message = format!("Secret {} on {} names no repository: {problem}", self.secret, placed.place);
                self.note(problem.reason, message);
                None
            }
        }
    }

    fn add(&mut self, member: &MemberName, meaning: Meaning, origin: Origin) {
        let meaning = Arc::new(meaning);
        let secret = self.secret;
        let found = self.resolution.matches.entry(meaning.identity.key).or_insert_with(|| Match {
            origin,
            members: BTreeMap::new(),
            meaning: meaning.clone(),
            secret: secret.clone(),
        });
        found.members.insert(member.clone(), meaning);
    }

    /// The first note stays: it concerns the smallest member.
    fn note(&mut self, reason: &'static str, message: String) {
        self.resolution.note.get_or_insert((reason, message));
    }
}

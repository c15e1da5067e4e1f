//! Everything that is known at this moment, in one place: events go in, keys of repositories to look at come out.
//! Holds no client; every change of it is a short synchronous step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::kopia_repository::KopiaRepository;
use crate::hub::event::{HubEvent, HubList, PolicyObject};
use crate::labels;
use crate::member::event::{MemberEvent, MemberFacts, OwnedKind, OwnedObject, ReferencedKind};
use crate::names::{MemberName, ObjectName, Place, PlacedName, PolicyName, RepositoryId, SourceKey};
use crate::plan::fleet::{Contact, Observation};
use crate::plan::observe;
use crate::plan::planner::Planner;

use tracing::warn;

use super::claims::Claims;
use super::competitors::Competitors;
use super::epochs::Epochs;
use super::here::Here;
use super::index::{Index, Seen};
use super::inherited::{Clock, Inherited};
use super::member_state::MemberState;
use super::own;
use super::published::{Untold, config_of, gist};
use super::push::Noted;

/// What an event makes necessary.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    pub repositories: BTreeSet<RepositoryId>,
    pub policies: BTreeSet<PolicyName>,
    pub members: BTreeSet<MemberName>,
}

pub struct World {
    pub(super) clock: Clock,
    /// Grants of other ids are none of this hub's. None: whoever's count.
    pub(super) hub_id: Option<Box<str>>,
    pub(super) inherited: Inherited,
    pub planner: Planner,
    pub members: BTreeMap<MemberName, MemberState>,
    pub policies: BTreeMap<PolicyName, PolicyObject>,
    pub ledger: BTreeMap<RepositoryId, Arc<KopiaRepository>>,
    listed: BTreeSet<HubList>,
    pub untold: Untold,
    pub(super) index: Index,
    pub hub_versions: BTreeMap<(ReferencedKind, ObjectName), Box<str>>,
    pub(super) claims: Claims,
    pub(super) epochs: Epochs,
    pub(super) competitors: Competitors,
}

impl World {
    pub fn new(planner: Planner) -> Self {
        Self {
            clock: Clock::default(),
            hub_id: None,
            inherited: Inherited::default(),
            planner,
            members: BTreeMap::new(),
            policies: BTreeMap::new(),
            ledger: BTreeMap::new(),
            listed: BTreeSet::new(),
            untold: Untold::default(),
            index: Index::default(),
            hub_versions: BTreeMap::new(),
            claims: Claims::default(),
            epochs: Epochs::default(),
            competitors: Competitors::default(),
        }
    }

    /// Tells the planner, and keeps what follows for others.
    pub(super) fn observe(&mut self, observation: Observation) -> BTreeSet<RepositoryId> {
        let applied = self.planner.apply(observation);
        self.untold.places.extend(applied.wanted.iter().chain(&applied.unwanted).map(|secret| secret.place.clone()));
        let mut ids = applied.dirty;
        for secret in applied.unwanted {
            ids.extend(self.planner.apply(Observation::Secret { secret, state: None }).dirty);
        }
        ids
    }

    /// Repositories that have, or should have, something in this member.
    pub(super) fn repositories_in(&self, member: &MemberName) -> BTreeSet<RepositoryId> {
        let present = self.index.ids_in(member);
        self.planner.repositories_in(member).into_iter().chain(present).collect()
    }

    /// Sources in a member.
    pub fn sources_in(&self, member: &MemberName) -> usize {
        let first = SourceKey { member: member.clone(), object: ObjectName::new("", "") };
        let from = self.planner.fleet().sources.range(first..);
        from.take_while(|(key, _)| key.member == *member).count()
    }

    /// Sources in a member, repositories that they or a policy bring there, and grants that it holds.
    pub fn counts(&self, member: &MemberName) -> (usize, usize, usize) {
        let holds = |id: &RepositoryId| {
            let status = self.ledger.get(id).and_then(|object| object.status.as_ref());
            let grant = status.and_then(|status| status.grant.as_ref());
            grant.is_some_and(|grant| grant.cluster == member.as_str())
        };
        let sources = self.sources_in(member);
        let held = self.planner.held_by(member).filter(holds).count();
        (sources, self.planner.repositories_in(member).len(), held)
    }

    /// What a push wrote or compared, before the watches tell of it.
    pub fn note(&mut self, member: &MemberName, note: Noted) {
        let key = (note.kind, note.name);
        if let Some(stands) = note.stands {
            let (kind, name) = key.clone();
            if kind == OwnedKind::ServiceAccount {
                self.note_service_account(member, stands);
            } else {
                self.owned_changed(member, kind, name, Some(stands));
            }
        }
        let state = self.members.entry(member.clone()).or_default();
        state.verified.insert(key, note.verified);
    }

    fn note_service_account(&mut self, member: &MemberName, written: OwnedObject) {
        let Some(facts) = self.members.get_mut(member).and_then(|state| state.facts.as_mut()) else { return };
        *facts = Arc::new(MemberFacts { service_account: Some(written), ..(**facts).clone() });
    }

    /// Policies, ledger and MemberClusters have been read once: before that nothing may be decided.
    pub fn hub_is_read(&self) -> bool {
        self.listed.len() == 3
    }

    pub fn everything(&self) -> Dirty {
        let known = self.ledger.keys().copied().chain(self.index.ids());
        Dirty {
            repositories: self.planner.repositories().into_iter().chain(known).collect(),
            policies: self.policies.keys().cloned().collect(),
            members: self.members.keys().cloned().collect(),
        }
    }

    pub fn contact(&self, member: &MemberName) -> Contact {
        let state = self.members.get(member).filter(|state| state.duplicate_of.is_none());
        state.and_then(|state| state.contact).unwrap_or(Contact::Unreachable)
    }

    /// What is known of a repository in a member; none where the member is not known.
    pub fn here(&self, id: RepositoryId, member: &MemberName) -> Option<Here<'_>> {
        Some(Here::of(self.members.get(member)?, self.index.seen(id, member)))
    }

    /// Members where anything of this repository was seen.
    pub fn places(&self, id: RepositoryId) -> impl Iterator<Item = &MemberName> {
        self.index.members(id)
    }

    /// Remembers what a repository copies, so that a change of it is noticed.
    pub fn set_uses(&mut self, id: RepositoryId, now: Vec<(ReferencedKind, PlacedName)>) {
        let known = |secret: &PlacedName| self.planner.refers_to(secret);
        // What the plan refers to is read anyway.
        let news = |(kind, name): &(ReferencedKind, PlacedName)| *kind != ReferencedKind::Secret || !known(name);
        let changed = self.index.set_uses(id, now).into_iter().filter(news);
        self.untold.places.extend(changed.map(|(_, name)| name.place));
    }

    /// CAs of a kind that are copied from somewhere.
    pub fn used_cas(&self, kind: ReferencedKind, place: &Place) -> impl Iterator<Item = &ObjectName> {
        self.index.used_in(kind, place)
    }

    pub fn version(&self, kind: ReferencedKind, of: &PlacedName) -> Option<&str> {
        let key = (kind, of.object.clone());
        match &of.place {
            Place::Hub => self.hub_versions.get(&key).map(|version| &**version),
            Place::Member(member) => self.members.get(member)?.versions.get(&key).map(|version| &**version),
        }
    }

    pub fn apply_hub(&mut self, event: HubEvent) -> Dirty {
        let mut dirty = Dirty::default();
        match event {
            HubEvent::Policy { name, object, observation } => {
                put(&mut self.policies, name.clone(), object.map(|it| *it));
                dirty.repositories.extend(self.observe(observation));
                dirty.policies.insert(name);
            }
            HubEvent::Ledger { id, object } => {
                // Our own writes are known before the watch brings them; of what is newer, others wrote the status.
                let known = self.ledger.get(&id).map_or(0, |known| version_of(known));
                let news = object.as_deref().filter(|object| version_of(object) > known);
                dirty.policies.extend(news.and_then(|it| Some(it.status.as_ref()?.policy.as_deref()?.into())));
                dirty.repositories.extend(self.set_ledger(id, object.map(|it| *it)));
            }
            HubEvent::MemberCluster { name, object } => {
                let object = object.map(|object| Arc::new(*object));
                let contact = self.contact(&name);
                let state = self.members.entry(name.clone()).or_default();
                let before = std::mem::replace(&mut state.cluster, object.clone());
                // The hub's own words in its status come back, too.
                if gist(before.as_deref(), contact) == gist(object.as_deref(), contact) {
                    dirty.members.insert(name);
                } else {
                    self.untold.configs |= before.as_deref().map(config_of) != object.as_deref().map(config_of);
                    self.untold.places.insert(Place::Member(name.clone()));
                    // Among them all of whose other maintainers something may be done now.
                    self.member_turned(name, &mut dirty);
                }
            }
            HubEvent::Referenced { kind, name, version } => {
                let changed = put(&mut self.hub_versions, (kind, name.clone()), version);
                if changed {
                    dirty.repositories.extend(self.index.users(kind, PlacedName { place: Place::Hub, object: name }));
                }
            }
            HubEvent::Observed(observation) => {
                dirty.policies = self.planner.telling(&observation);
                dirty.repositories = self.observe(observation);
            }
            HubEvent::Listed(list) => {
                if self.listed.insert(list) && self.hub_is_read() {
                    dirty = self.everything();
                }
            }
        }
        dirty
    }

    /// Also called with what a write of our own returned, so that the next decision need not wait for the watch.
    pub fn set_ledger(&mut self, id: RepositoryId, object: Option<KopiaRepository>) -> BTreeSet<RepositoryId> {
        let object = object.map(|object| match &self.hub_id {
            Some(hub_id) => own::disowned(object, hub_id),
            None => object,
        });
        let record = object.as_ref().map(|object| Box::new(observe::ledger(object)));
        match object {
            Some(object) => {
                let older = self.ledger.get(&id).is_some_and(|known| version_of(known) > version_of(&object));
                // The watch may deliver a state that is older than our own last write.
                if older && same_object(&self.ledger, id, &object) {
                    return BTreeSet::new();
                }
                self.ledger.insert(id, Arc::new(object));
            }
            None => drop(self.ledger.remove(&id)),
        }
        self.epochs.note(id, self.planner.fleet().ledger.get(&id), record.as_deref());
        self.claims.recorded(id, self.ledger.get(&id).map(|it| &**it), self.clock.now());
        let mut ids = self.observe(Observation::Ledger { id, record });
        ids.insert(id);
        ids
    }

    pub fn apply_member(&mut self, event: MemberEvent) -> Dirty {
        let mut dirty = Dirty::default();
        match event {
            MemberEvent::Registered { member, origin } => {
                self.members.entry(member.clone()).or_default().origin = origin;
                self.member_turned(member, &mut dirty);
            }
            MemberEvent::Problem { name, origin, reason, message } => {
                warn!(member = %name, %origin, reason, message, "a registration can't be used; what it said before stays in force");
                dirty.members.insert(MemberName::new(name));
            }
            MemberEvent::Contact { member, contact } => {
                let state = self.members.entry(member.clone()).or_default();
                state.contact = Some(contact);
                self.claims.knows(&member, contact == Contact::Synced);
                let being_read = match contact {
                    Contact::Syncing => true,
                    Contact::Synced => state.facts.is_none(),
                    Contact::Unreachable => false,
                };
                state.syncing_since = being_read.then(|| state.syncing_since.unwrap_or_else(|| self.clock.now()));
                self.member_turned(member, &mut dirty);
            }
            MemberEvent::Duplicate { member, of } => {
                self.members.entry(member.clone()).or_default().duplicate_of = of;
                self.member_turned(member, &mut dirty);
            }
            MemberEvent::Observed(observation) => {
                let of = match &observation {
                    Observation::Source { key, .. } => Some(key.member.clone()),
                    _ => None,
                };
                dirty.policies = self.planner.telling(&observation);
                dirty.repositories = self.observe(observation);
                // Its counts; a backup that ends changes nothing.
                dirty.members.extend(of.filter(|_| !dirty.repositories.is_empty()));
            }
            MemberEvent::Owned { member, kind, name, object } => {
                dirty.repositories.extend(self.owned_changed(&member, kind, name, object.map(|it| *it)));
            }
            MemberEvent::Foreign { member, kind, name, object } => {
                dirty.repositories = self.foreign_changed(&member, kind, name, object.map(|it| *it));
                if !dirty.repositories.is_empty() {
                    dirty.members.insert(member);
                }
            }
            MemberEvent::Job { member, name, job } => {
                let state = self.members.entry(member.clone()).or_default();
                let before = state.jobs.get(&name).and_then(|job| repository_of(&job.labels));
                let after = job.as_ref().and_then(|job| repository_of(&job.labels));
                self.claims.saw(&member, &name, job.as_deref());
                put(&mut state.jobs, name.clone(), job.map(|it| *it));
                dirty.repositories.extend(self.index.moved(&member, Seen::Job(name), (before, after)));
            }
            MemberEvent::Pod { member, name, pod } => {
                let state = self.members.entry(member.clone()).or_default();
                let before = state.pods.get(&name).and_then(|pod| repository_of(&pod.labels));
                let after = pod.as_ref().and_then(|pod| repository_of(&pod.labels));
                put(&mut state.pods, name.clone(), pod.map(|it| *it));
                dirty.repositories.extend(self.index.moved(&member, Seen::Pod(name), (before, after)));
            }
            MemberEvent::Referenced { member, kind, name, version } => {
                let state = self.members.entry(member.clone()).or_default();
                if put(&mut state.versions, (kind, name.clone()), version) {
                    dirty
                        .repositories
                        .extend(self.index.users(kind, PlacedName { place: Place::Member(member), object: name }));
                }
            }
            MemberEvent::Facts { member, facts } => {
                let state = self.members.entry(member.clone()).or_default();
                let facts = Some(Arc::new(*facts));
                // Its lists may be complete before; nothing can be rendered for it without these.
                if state.contact == Some(Contact::Synced) {
                    state.syncing_since = None;
                }
                if state.facts != facts {
                    state.facts = facts;
                    dirty.repositories.extend(self.repositories_in(&member));
                    dirty.members.insert(member);
                }
            }
            MemberEvent::Condition { member, condition } => {
                let state = self.members.entry(member.clone()).or_default();
                state.conditions.insert(condition.kind, condition);
                dirty.members.insert(member);
            }
        }
        dirty
    }

    fn owned_changed(
        &mut self,
        member: &MemberName,
        kind: OwnedKind,
        name: ObjectName,
        object: Option<OwnedObject>,
    ) -> BTreeSet<RepositoryId> {
        let state = self.members.entry(member.clone()).or_default();
        let key = (kind, name);
        let before = state.owned.get(&key).and_then(|object| repository_of(&object.labels));
        let after = object.as_ref().and_then(|object| repository_of(&object.labels));
        if object.is_none() {
            state.verified.remove(&key);
        }
        if !put(&mut state.owned, key.clone(), object) {
            return BTreeSet::new();
        }
        let mut ids = self.index.moved(member, Seen::Owned(key.0, key.1), (before, after));
        if before.is_none() && after.is_none() {
            // What serves all repositories of a member, such as the mover's script.
            ids.extend(self.repositories_in(member));
        }
        ids
    }
}

/// Whether anything changed.
fn put<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> bool {
    match value {
        Some(value) if map.get(&key) == Some(&value) => false,
        Some(value) => {
            map.insert(key, value);
            true
        }
        None => map.remove(&key).is_some(),
    }
}

pub(super) fn repository_of(of: &BTreeMap<Box<str>, Box<str>>) -> Option<RepositoryId> {
    of.get(labels::REPOSITORY)?.parse().ok()
}

/// Versions of one object grow; API servers promise that for comparing within one kind.
fn version_of(object: &KopiaRepository) -> u64 {
    object.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

fn same_object(
    ledger: &BTreeMap<RepositoryId, Arc<KopiaRepository>>,
    id: RepositoryId,
    object: &KopiaRepository,
) -> bool {
    ledger.get(&id).is_some_and(|known| known.metadata.uid == object.metadata.uid)
}

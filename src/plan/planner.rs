//! Plans one repository at a time, and does again only what an observation touched.

mod decide;
mod groups;
mod holdings;
mod index;
mod repository;
mod slice;
mod tally;
mod wants;

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::fleet::{Fleet, LedgerRecord, MemberRecord, Observation, PlanOptions};
use super::result::RepositoryPlan;
use super::{holder, references};
use crate::names::{MemberName, ObjectName, Place, PlacedName, PolicyName, RepositoryId, RepositoryKey, SourceKey};
use crate::policy::PolicyClaim;
use groups::Groups;
use holdings::Holdings;
use index::Index;
use slice::View;
use wants::{Wanted, Wants};

/// Keeps the fleet and what follows from it.
#[derive(Debug)]
pub struct Planner {
    options: PlanOptions,
    fleet: Fleet,
    index: Index,
    groups: Groups,
    held: Holdings,
    /// How many sources and policies want each Secret.
    wants: Wanted,
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

/// What has to be taken out of the index before an observation, and put in again after it.
#[derive(Default)]
struct Affected {
    sources: BTreeSet<SourceKey>,
    policies: BTreeSet<PolicyName>,
    /// Repositories whose plan reads what changes, though their contents stay.
    ids: BTreeSet<RepositoryId>,
    /// The policy whose own record changes.
    policy: Option<PolicyName>,
    /// It matches what it matched: an edit of a schedule, say.
    matches_as_before: bool,
    ledger: Option<RepositoryId>,
}

impl Planner {
    pub fn new(options: PlanOptions) -> Self {
        Self {
            options,
            fleet: Fleet::default(),
            index: Index::default(),
            groups: Groups::default(),
            held: Holdings::default(),
            wants: Wanted::default(),
        }
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
        if !self.fleet.would_change(&observation) {
            return Applied::default();
        }
        let mut affected = self.affected(&observation);
        let mut wants = Wants::default();
        let decides_what_is_hidden = matches!(observation, Observation::Policy { .. } | Observation::Member { .. });
        let hidden = decides_what_is_hidden && self.something_is_hidden();

        self.take_out(&mut affected, &mut wants);
        self.fleet.observe(observation);
        self.put_in(&mut affected, &mut wants);

        if decides_what_is_hidden && hidden != self.something_is_hidden() {
            affected.ids.extend(self.unruled());
        }
        let mut dirty = BTreeSet::new();
        for id in affected.ids {
            dirty.extend(self.groups.regroup(&self.fleet, &self.index, id));
        }
        let (wanted, unwanted) = wants.settle(&mut self.wants);
        Applied { dirty, wanted, unwanted }
    }

    /// The id under which a repository is planned; none where nothing means this one.
    pub fn representing(&self, id: RepositoryId) -> Option<RepositoryId> {
        Some(self.keys_of(&self.groups.of(id)).first()?.id())
    }

    /// The records of these ids, where they tell of them and not of another repository of the same short id.
    pub fn records<'a>(&'a self, ids: &'a [RepositoryId]) -> impl Iterator<Item = (RepositoryId, &'a LedgerRecord)> {
        let records = ids.iter().filter_map(|id| Some((*id, self.fleet.ledger.get(id)?)));
        records.filter(|(id, record)| !groups::is_foreign(&self.index, *id, record))
    }

    /// The Secrets by which the sources of a member mean one of these ids.
    pub fn secrets_in(&self, ids: &[RepositoryId], member: &MemberName) -> BTreeSet<ObjectName> {
        let entries = ids.iter().flat_map(|id| self.index.keys_of(*id)).map(|(_, entry)| entry);
        let sources = entries.filter_map(|entry| entry.members.get(member)).flat_map(|slice| slice.sources.keys());
        let secret = |object: &ObjectName| {
            let key = SourceKey { member: member.clone(), object: object.clone() };
            Some(references::of_source(&key, self.fleet.sources.get(&key)?)?.object)
        };
        sources.filter_map(secret).collect()
    }

    /// Every repository that has a plan.
    pub fn repositories(&self) -> BTreeSet<RepositoryId> {
        let ids = self.index.keys.keys().map(RepositoryKey::id).chain(self.fleet.ledger.keys().copied());
        ids.filter_map(|id| self.representing(id)).collect()
    }

    /// Those with sources in a member, or whose grant it holds, or that a direct policy may run there.
    pub fn repositories_in(&self, member: &MemberName) -> BTreeSet<RepositoryId> {
        self.ids_in(member).into_iter().filter_map(|id| self.representing(id)).collect()
    }

    /// Those that a member holds, or has to do with until it has let go, as the ledger says.
    pub fn held_by(&self, member: &MemberName) -> impl Iterator<Item = RepositoryId> + '_ {
        self.held.of(member)
    }

    /// The plan of one repository; none where nothing means this id (any more), or another id stands for it.
    pub fn plan(&mut self, id: RepositoryId, now: Timestamp) -> Option<RepositoryPlan> {
        let group = self.groups.of(id);
        self.plan_group(&group, now).filter(|plan| plan.id == id)
    }

    /// The Secrets that the plan depends on, so that observers read these and no others.
    pub fn referenced_secrets(&self) -> BTreeSet<PlacedName> {
        self.wants.iter().cloned().collect()
    }

    /// Those of [`Self::referenced_secrets`] that are in one place, each with a number that is another one each time that it
    /// comes to be wanted: what was known of it then is forgotten.
    pub fn secrets_in_place<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = (&'a ObjectName, u32)> {
        // Sorted by place first: its own lie together.
        let first = PlacedName { place: place.clone(), object: ObjectName::new("", "") };
        let from = self.wants.from(first).take_while(|(it, _)| it.place == *place);
        from.map(|(it, term)| (&it.object, term))
    }

    /// Does the plan depend on this Secret?
    pub fn refers_to(&self, secret: &PlacedName) -> bool {
        self.wants.contains(secret)
    }

    // === what an observation touches ===

    fn affected(&self, observation: &Observation) -> Affected {
        let mut affected = Affected::default();
        match observation {
            Observation::Member { name, record } => self.affected_by_member(name, record.as_ref(), &mut affected),
            Observation::Namespace { member, namespace, labels } => {
                let sources = holder::sources_in(&self.fleet, member, namespace);
                affected.sources.extend(sources.map(|(key, _)| key.clone()));
                let known = self.fleet.namespaces.get(member).is_some_and(|known| known.contains_key(namespace));
                if known != labels.is_some() {
                    affected.sources.extend(self.index.consulting(member, namespace));
                    let place = (member.clone(), Box::from(&**namespace));
                    let consulting = self.index.directs.iter().filter(|(_, direct)| direct.consulted.contains(&place));
                    affected.policies.extend(consulting.map(|(name, _)| name.clone()));
                }
            }
            Observation::Source { key, record } => {
                affected.sources.insert(key.clone());
                let records = self.fleet.sources.get(key).into_iter().chain(record.as_deref());
                for secret in records.filter_map(|record| references::of_source(key, record)) {
                    affected.ids.extend(self.ids_pushed_from(&key.member, &secret));
                    if holder::is_unseen(&self.fleet, &secret) {
                        affected.ids.extend(self.ids_held_blindly(&key.member));
                    }
                }
            }
            Observation::Secret { secret, .. } => {
                if let Place::Member(member) = &secret.place {
                    let sources = holder::sources_in(&self.fleet, member, &secret.object.namespace);
                    let naming =
                        sources.filter(|(key, record)| references::of_source(key, record).as_ref() == Some(secret));
                    affected.sources.extend(naming.map(|(key, _)| key.clone()));
                    affected.ids.extend(self.ids_pushed_from(member, secret));
                    if !affected.sources.is_empty() {
                        affected.ids.extend(self.ids_held_blindly(member));
                    }
                }
                affected.policies.extend(self.naming(secret).cloned());
                if !affected.policies.is_empty() {
                    affected.ids.extend(holder::given(&self.fleet, &secret.object));
                }
            }
            Observation::Policy { name, record } => {
                affected.policy = Some(name.clone());
                let before = self.fleet.policies.get(name).and_then(|known| known.claim.as_ref());
                let after = record.as_deref().and_then(|policy| policy.claim.as_ref());
                affected.matches_as_before = before.zip(after).is_some_and(|(before, after)| before.matches_as(after));
                let claims = self.fleet.policies.get(name).map(|known| &**known).into_iter().chain(record.as_deref());
                for secret in claims.filter_map(|policy| policy.claim.as_ref()?.target.named()) {
                    affected.ids.extend(holder::given(&self.fleet, secret));
                }
                affected.ids.extend(self.held_unseen(before, after));
            }
            Observation::Ledger { id, .. } => {
                affected.ids.insert(*id);
                affected.ledger = Some(*id);
            }
            Observation::CronJob { member, name, record } => {
                let known = self.fleet.cron_jobs.get(&(member.clone(), name.clone()));
                affected.ids.extend(known.into_iter().chain(record).map(|record| record.repository));
                affected.ids.extend(RepositoryId::of_object_name(&name.name));
            }
            Observation::HolderFailing { id, .. } => {
                affected.ids.insert(*id);
            }
        }
        affected
    }

    fn affected_by_member(&self, name: &MemberName, record: Option<&MemberRecord>, affected: &mut Affected) {
        affected.ids.extend(self.ids_in(name));
        let known = self.fleet.members.get(name);
        // It may have had another name when it was granted what it holds.
        let uids = known.into_iter().chain(record).filter_map(|record| record.cluster_uid.as_deref());
        affected.ids.extend(uids.flat_map(|uid| self.held.of_cluster(uid)));
        let place = |record: &MemberRecord| {
            let MemberRecord { labels, cluster_domain, cidrs, .. } = record;
            (labels.clone(), cluster_domain.clone(), cidrs.clone())
        };
        if known.map(place) != record.map(place) {
            affected.sources.extend(holder::sources_of(&self.fleet, name).map(|(key, _)| key.clone()));
            affected.policies.extend(self.index.directs.keys().cloned());
        }
    }

    /// Ids that a member has to do with.
    fn ids_in(&self, member: &MemberName) -> BTreeSet<RepositoryId> {
        let of_sources = self.index.by_member.get(member).into_iter().flatten().map(RepositoryKey::id);
        let held = self.held.of(member);
        let matches = self.index.directs.values().flat_map(|direct| &direct.matches);
        let named = matches.filter(|(_, found)| found.members.contains_key(member)).map(|(key, _)| key.id());
        of_sources.chain(held).chain(named).collect()
    }

    /// Policies that have something else to say of themselves after this.
    pub fn telling(&self, observation: &Observation) -> BTreeSet<PolicyName> {
        let Observation::Secret { secret, .. } = observation else { return BTreeSet::new() };
        self.naming(secret).cloned().collect()
    }

    /// Direct policies to which it matters what a Secret says.
    fn naming<'a>(&'a self, secret: &'a PlacedName) -> impl Iterator<Item = &'a PolicyName> {
        self.index.directs.iter().filter(|(_, direct)| direct.wants.contains(secret)).map(|(name, _)| name)
    }

    /// Ids whose CronJob in a member uses a copy of this Secret.
    fn ids_pushed_from(&self, member: &MemberName, secret: &PlacedName) -> BTreeSet<RepositoryId> {
        let first = (member.clone(), ObjectName::new("", ""));
        let there = self.fleet.cron_jobs.range(first..).take_while(|((place, _), _)| place == member);
        let using = there.filter(|(_, record)| record.secret.as_ref() == Some(secret));
        using
            .flat_map(|((_, name), record)| {
                RepositoryId::of_object_name(&name.name).into_iter().chain([record.repository])
            })
            .collect()
    }

    /// Ids that a member holds, under whatever name, without a CronJob that tells which Secret it uses.
    fn ids_held_blindly(&self, member: &MemberName) -> Vec<RepositoryId> {
        let told = |id: &RepositoryId| holder::copied(&self.fleet, &self.options, &[*id], member).is_some();
        self.held_under_any_name(member).filter(|id| !told(id)).collect()
    }

    /// Ids that a member holds, or that were granted to its cluster when that had another name.
    fn held_under_any_name(&self, member: &MemberName) -> impl Iterator<Item = RepositoryId> + '_ {
        let uid = self.fleet.members.get(member).and_then(|record| record.cluster_uid.as_deref());
        self.held.of(member).chain(uid.into_iter().flat_map(|uid| self.held.of_cluster(uid)))
    }

    fn claims(&self) -> impl Iterator<Item = &PolicyClaim> {
        self.fleet.policies.values().filter_map(|policy| policy.claim.as_ref())
    }

    fn something_is_hidden(&self) -> bool {
        holder::may_be_hidden(&self.fleet, self.claims())
    }

    /// Ids of sources that no policy matches.
    fn unruled(&mut self) -> Vec<RepositoryId> {
        self.index.digest_all(&self.fleet);
        let ruled = |entry: &index::Entry| {
            !entry.policies.is_empty()
                || entry.members.values().any(|slice| slice.known().is_some_and(|digest| !digest.policies.is_empty()))
        };
        self.index.keys.iter().filter(|(_, entry)| !ruled(entry)).map(|(key, _)| key.id()).collect()
    }

    /// Ids held by members that can't be seen, and that one of two claims lets in and the other does not: which policies
    /// let these in decides what the grants are worth.
    fn held_unseen(&self, before: Option<&PolicyClaim>, after: Option<&PolicyClaim>) -> Vec<RepositoryId> {
        let members = &self.fleet.members;
        let unregistered = self.held.iter().map(|(holder, _)| holder).filter(|holder| !members.contains_key(*holder));
        let unseen = members.keys().chain(unregistered).filter(|member| !holder::is_synced(&self.fleet, member));
        let turns = unseen.filter(|member| {
            let view = View { fleet: &self.fleet, member };
            let admits = |claim: Option<&PolicyClaim>| claim.is_some_and(|claim| view.admits(claim));
            admits(before) != admits(after)
        });
        turns.flat_map(|member| self.held_under_any_name(member)).collect()
    }

    // === out and in ===

    fn take_out(&mut self, affected: &mut Affected, wants: &mut Wants) {
        let Self { options, fleet, index, groups, held, .. } = self;
        for key in &affected.sources {
            wants.less(fleet.sources.get(key).and_then(|record| references::of_source(key, record)));
            affected.ids.extend(index.unfile(fleet, options, key).map(|key| key.id()));
        }
        for name in affected.policies.iter().chain(&affected.policy) {
            wants.less(index.directs.get(name).into_iter().flat_map(|direct| direct.wants.iter().cloned()));
        }
        if affected.policy.is_some() {
            index.digest_all(fleet);
        }
        if let Some(id) = affected.ledger
            && let Some(record) = fleet.ledger.get(&id)
        {
            groups.unlink(id, record);
            held.forget(id, record);
        }
    }

    fn put_in(&mut self, affected: &mut Affected, wants: &mut Wants) {
        let Self { options, fleet, index, groups, held, .. } = self;
        for key in &affected.sources {
            wants.more(fleet.sources.get(key).and_then(|record| references::of_source(key, record)));
            affected.ids.extend(index.file(fleet, options, key).map(|key| key.id()));
        }
        if let Some(name) = &affected.policy {
            let claim = fleet.policies.get(name).and_then(|policy| policy.claim.as_ref());
            let touched =
                if affected.matches_as_before { index.chosen_by(name) } else { index.reconsider(fleet, name, claim) };
            affected.ids.extend(touched.into_iter().map(|key| key.id()));
        }
        for name in affected.policies.iter().chain(&affected.policy) {
            let claim = fleet.policies.get(name).and_then(|policy| policy.claim.as_ref());
            affected.ids.extend(index.resolve(fleet, options, (name, claim)).into_iter().map(|key| key.id()));
            wants.more(index.directs.get(name).into_iter().flat_map(|direct| direct.wants.iter().cloned()));
        }
        if let Some(id) = affected.ledger
            && let Some(record) = fleet.ledger.get(&id)
        {
            groups.link(id, record);
            held.note(id, record);
        }
    }
}

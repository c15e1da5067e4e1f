//! What a member's registration, its contact and the operator's word mean to the planner.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::world::{Dirty, World};
use crate::api::kopia_maintenance::DEFAULT_DEADLINE_SECONDS;
use crate::api::kopia_repository::DEADLINE_UNKNOWN;
use crate::names::{MemberName, RepositoryId};
use crate::plan::fleet::{Contact, Drain, MemberRecord, Observation};
use crate::plan::observe;

impl World {
    /// A member is registered, gone, read or lost.
    pub(super) fn member_turned(&mut self, member: MemberName, dirty: &mut Dirty) {
        dirty.repositories.extend(self.member_changed(&member));
        dirty.repositories.extend(self.recount_away());
        // Those that match nothing say how many members are left to be read.
        dirty.policies.extend(self.policies.keys().filter(|name| !self.competitors.competes(name)).cloned());
        dirty.members.insert(member);
    }

    /// Tells the planner what a member looks like now, from its registration, its MemberCluster and its contact.
    fn member_changed(&mut self, name: &MemberName) -> BTreeSet<RepositoryId> {
        let contact = self.contact(name);
        let Some(state) = self.members.get(name) else { return BTreeSet::new() };
        let known = (state.origin.is_some() || state.cluster.is_some()) && state.duplicate_of.is_none();
        let record = known.then(|| observe::member(state.cluster.as_deref(), contact));
        let sees_well = contact == Contact::Unreachable && self.sees_well();
        let record = record.map(|record| MemberRecord { away_since: self.away_since(name, sees_well), ..record });
        let observation = Observation::Member { name: name.clone(), record };
        let mut ids = self.observe(observation);
        // What was not pushed or removed while it was away.
        ids.extend(self.index.ids_in(name));
        ids.extend(self.repositories_in(name));
        ids
    }

    /// A hub that has just started has not looked yet, and one that can't reach most of the fleet has lost its own
    /// network: neither says anything of a member.
    fn sees_well(&self) -> bool {
        !self.starts() && !self.is_cut_off()
    }

    /// What of a member's time away counts.
    fn away_since(&self, name: &MemberName, sees_well: bool) -> Option<Timestamp> {
        if !sees_well || self.contact(name) != Contact::Unreachable {
            return None;
        }
        observe::away_since(self.members.get(name)?.cluster.as_deref()?)
    }

    /// More than half of the members can't be reached.
    fn is_cut_off(&self) -> bool {
        let members = || self.planner.fleet().members.values().filter(|record| !record.is_forgotten());
        let away = members().filter(|record| record.contact == Contact::Unreachable).count();
        away * 2 > members().count()
    }

    /// The times of members that count from now on, or do not count any more.
    pub(super) fn recount_away(&mut self) -> BTreeSet<RepositoryId> {
        let (fleet, sees_well) = (&self.planner.fleet().members, self.sees_well());
        let away = fleet.iter().filter(|(_, record)| record.contact == Contact::Unreachable);
        let other = away.filter(|(name, record)| record.away_since != self.away_since(name, sees_well));
        let other: Vec<MemberName> = other.map(|(name, _)| name.clone()).collect();
        other.iter().flat_map(|name| self.member_changed(name)).collect()
    }
}

/// Of a member that is gone for good nobody will find out how long its runs may last: as long as usual.
pub fn shorten_unknown(drain: &mut [Drain], members: &BTreeMap<MemberName, MemberRecord>) {
    let usual = u32::try_from(DEFAULT_DEADLINE_SECONDS).unwrap_or(DEADLINE_UNKNOWN);
    for entry in drain.iter_mut().filter(|entry| entry.deadline_seconds == DEADLINE_UNKNOWN) {
        if members.get(&entry.cluster).is_some_and(MemberRecord::is_forgotten) {
            entry.deadline_seconds = usual;
        }
    }
}

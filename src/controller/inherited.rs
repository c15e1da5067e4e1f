//! What a hub that starts finds written stays as it is until what it depends on has been read anew: what has not been
//! read yet would pass for what is not there. So a restart where all is as it should be writes nothing.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::world::World;
use crate::api::kopia_maintenance::KopiaMaintenanceStatus;
use crate::member::event::ConditionKind;
use crate::names::{MemberName, Place, PolicyName, RepositoryId};
use crate::plan::fleet::Contact;

/// Registrations of members come in one by one at the start.
const SETTLE_MIN: SignedDuration = SignedDuration::from_secs(2);
/// A member with thousands of sources over a slow line is read in less.
const SETTLE_MAX: SignedDuration = SignedDuration::from_secs(30);
/// A member that has not answered by then is most likely down.
const SETTLE_SILENT: SignedDuration = SignedDuration::from_secs(4);

/// Empty in a hub that has been running for a while.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The hub has just started, and the fleet has not been looked at once.
    starts: bool,
    repositories: BTreeSet<RepositoryId>,
    policies: BTreeSet<PolicyName>,
    members: BTreeSet<MemberName>,
    /// Members that have not been looked at.
    unread: BTreeSet<MemberName>,
    /// Secrets on the hub that policies name have not.
    hub_unread: bool,
}

/// The system's, but where a simulation tells the time.
#[derive(Debug)]
pub(super) struct Clock {
    /// When the hub began to look.
    started: Timestamp,
    told: Option<Timestamp>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { started: Timestamp::now(), told: None }
    }
}

impl Clock {
    pub(super) fn now(&self) -> Timestamp {
        self.told.unwrap_or_else(Timestamp::now)
    }
}

impl World {
    /// It is this late now; to be told before each event.
    #[cfg(feature = "sim")]
    pub fn tell_time(&mut self, now: Timestamp) {
        if self.clock.told.is_none() {
            self.clock.started = now;
        }
        self.clock.told = Some(now);
    }

    /// Until when members that are being read are waited for, before anything is granted for the first time: else
    /// the first member that was read would get it all. One that never ends to be read holds up nobody for long.
    pub fn settling_until(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.members.values().filter_map(|state| {
            let reachable = state.conditions.get(&ConditionKind::Reachable);
            let answers = reachable.is_some_and(|condition| condition.status == Some(true));
            state.syncing_since?.checked_add(if answers { SETTLE_MAX } else { SETTLE_SILENT }).ok()
        });
        ends.chain(self.clock.started.checked_add(SETTLE_MIN)).filter(|end| now < *end).max()
    }

    /// Takes down what is there. To be called once the hub's own objects have been read.
    pub fn inherit(&mut self) {
        let has_status = |status: &serde_json::Value| status.as_object().is_some_and(|status| !status.is_empty());
        self.inherited = Inherited {
            starts: true,
            repositories: self.ledger.keys().copied().collect(),
            policies: self
                .policies
                .iter()
                .filter(|(_, policy)| has_status(&policy.status))
                .map(|(name, _)| name.clone())
                .collect(),
            members: self.members.keys().cloned().collect(),
            unread: self.members.keys().cloned().collect(),
            hub_unread: true,
        };
    }

    /// The fleet has not been looked at once.
    pub(super) const fn starts(&self) -> bool {
        self.inherited.starts
    }

    /// Looks what has been read by now. True: there is nothing more to wait for. A member that does not answer counts
    /// as read; one that takes too long does not count for ever.
    pub fn look_around(&mut self, now: Timestamp) -> bool {
        let age = now.duration_since(self.clock.started);
        if age >= SETTLE_MAX {
            self.inherited = Inherited::default();
            return true;
        }
        let mut unread: BTreeSet<_> = self.members.keys().filter(|name| !self.is_read(name)).cloned().collect();
        let mut hub_unread = false;
        for secret in self.planner.referenced_secrets() {
            if self.planner.fleet().secrets.contains_key(&secret) {
                continue;
            }
            match secret.place {
                Place::Hub => hub_unread = true,
                Place::Member(member) if self.contact(&member) == Contact::Synced => {
                    unread.insert(member);
                }
                Place::Member(_) => {}
            }
        }
        let over = age >= SETTLE_MIN && unread.is_empty() && !hub_unread;
        self.inherited = if over {
            Inherited::default()
        } else {
            Inherited { unread, hub_unread, ..std::mem::take(&mut self.inherited) }
        };
        over
    }

    fn is_read(&self, name: &MemberName) -> bool {
        self.members.get(name).is_some_and(|state| match state.contact {
            Some(Contact::Unreachable) => true,
            Some(Contact::Synced) => state.facts.is_some(),
            Some(Contact::Syncing) | None => state.duplicate_of.is_some(),
        })
    }

    /// Too early to decide anything about this repository, or to tell of it.
    pub fn must_wait_for(&self, id: RepositoryId) -> bool {
        if !self.inherited.repositories.contains(&id) {
            // It would be told of first as what it looks like while its member is being read.
            return self.inherited.starts && !self.ledger.contains_key(&id);
        }
        let status = self.ledger.get(&id).and_then(|object| object.status.as_ref());
        let grant = status.and_then(|status| status.grant.as_ref()).map(|grant| grant.cluster.as_str());
        let clusters: Vec<_> = status.iter().flat_map(|status| &status.clusters).map(|it| &*it.cluster).collect();
        let listed = status.is_none_or(|status| status.cluster_count.unwrap_or(0) <= count(clusters.len()));
        self.waits(clusters.into_iter().chain(grant), listed)
    }

    /// Too early to tell of a policy of which this was told last.
    pub fn must_wait_to_tell(&self, name: &PolicyName, last: &KopiaMaintenanceStatus) -> bool {
        if !self.inherited.policies.contains(name) {
            return false;
        }
        let sources = last.matched_sources.iter().map(|source| source.cluster.as_str());
        let cron_jobs = last.active_cron_jobs.iter().map(|cron_job| cron_job.cluster.as_str());
        let listed = last.matched_source_count.unwrap_or(0) <= count(last.matched_sources.len())
            && last.active_cron_job_count.unwrap_or(0) <= count(last.active_cron_jobs.len());
        self.waits(sources.chain(cron_jobs), listed)
    }

    /// Too early to tell of a member.
    pub fn must_wait_to_tell_of(&self, name: &MemberName) -> bool {
        self.inherited.members.contains(name) && self.inherited.unread.contains(name)
    }

    /// What depends on nobody that can be named may depend on anybody.
    fn waits<'a>(&self, on: impl Iterator<Item = &'a str>, listed: bool) -> bool {
        let on: BTreeSet<&str> = on.collect();
        let unread = |name: &&str| self.inherited.unread.contains(&MemberName::from(*name));
        let anybody = (on.is_empty() || !listed) && !self.inherited.unread.is_empty();
        self.inherited.hub_unread || anybody || on.iter().any(unread)
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

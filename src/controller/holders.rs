//! What is seen of the member that holds a grant, and of those that held earlier ones.

use std::collections::BTreeMap;

use super::here::Here;
use super::work::is_ours;
use super::world::World;
use crate::api::kopia_repository::DEADLINE_UNKNOWN;
use crate::grant::{Evidence, Seen};
use crate::labels;
use crate::member::Guard;
use crate::member::event::{CronState, OwnedKind, OwnedObject};
use crate::names::{MemberName, ObjectName, RepositoryId};
use crate::plan::fleet::{Contact, Former, MemberRecord};

/// A CronJob of this hub that starts Jobs, and what it takes to suspend it.
pub type Firing = (ObjectName, Guard);

/// Of one member, by all ids of a repository. None where it can't be seen, or the operator said that nothing is
/// written there.
pub fn seen(world: &World, ids: &[RepositoryId], hub_id: &str, member: &MemberName) -> Option<Seen> {
    let here = heres(world, ids, member)?;
    Some(Seen {
        suspended: here.iter().all(|here| firing_of(here, hub_id).next().is_none()),
        live: here.iter().map(Here::live).sum(),
        listed: None,
        first: None,
    })
}

/// CronJobs that start Jobs in a member that may be written to.
pub fn firing(world: &World, ids: &[RepositoryId], hub_id: &str, member: &MemberName) -> Vec<Firing> {
    let here = heres(world, ids, member).unwrap_or_default();
    here.iter().flat_map(|here| firing_of(here, hub_id)).collect()
}

/// See [`MemberRecord::is_written_to`].
pub fn is_written_to(world: &World, member: &MemberName) -> bool {
    world.planner.fleet().members.get(member).is_some_and(MemberRecord::is_written_to)
}

fn heres<'a>(world: &'a World, ids: &[RepositoryId], member: &MemberName) -> Option<Vec<Here<'a>>> {
    is_written_to(world, member).then(|| ids.iter().filter_map(|id| world.here(*id, member)).collect())
}

fn firing_of<'a>(here: &'a Here<'a>, hub_id: &'a str) -> impl Iterator<Item = Firing> + 'a {
    cron_jobs(here, hub_id).filter(|(.., cron)| !cron.suspend).map(|(name, object, _)| (name.clone(), object.into()))
}

fn cron_jobs<'a>(
    here: &'a Here<'a>,
    hub_id: &'a str,
) -> impl Iterator<Item = (&'a ObjectName, &'a OwnedObject, &'a CronState)> + 'a {
    let ours =
        here.owned.iter().filter(move |(kind, _, object)| *kind == OwnedKind::CronJob && is_ours(object, hub_id));
    ours.filter_map(|(_, name, object)| Some((*name, *object, object.cron.as_ref()?)))
}

/// The CronJob of a repository, where it stands suspended.
pub fn suspended(world: &World, id: RepositoryId, hub_id: &str, member: &MemberName) -> Option<Firing> {
    let here = world.here(id, member)?;
    cron_jobs(&here, hub_id).find(|(.., cron)| cron.suspend).map(|(name, object, _)| (name.clone(), object.into()))
}

/// One grant a minute for two years: an epoch that is so far above all that is known was written by somebody else.
const EPOCHS_AHEAD_MAX: u64 = 1_000_000;

/// Epochs are for ever: whoever may write to one member must not use them up for all.
pub(super) fn is_plausible(epoch: u64, recorded: u64) -> bool {
    (1..=recorded.saturating_add(EPOCHS_AHEAD_MAX)).contains(&epoch)
}

/// Epochs that our CronJobs and Jobs of a repository bear, by all of its ids, the highest of each member. `recorded` is
/// the highest that the ledger knows.
pub fn evidence(world: &World, ids: &[RepositoryId], hub_id: &str, recorded: u64) -> Vec<Evidence> {
    let mut found: BTreeMap<&MemberName, Evidence> = BTreeMap::new();
    let epoch = |annotations: &BTreeMap<Box<str>, Box<str>>| annotations.get(labels::EPOCH)?.parse::<u64>().ok();
    let of_id = |id: &RepositoryId| {
        let id = *id;
        world.places(id).filter_map(move |member| Some((id, member, world.here(id, member)?)))
    };
    for (id, member, here) in ids.iter().flat_map(of_id) {
        let cron_jobs = cron_jobs(&here, hub_id);
        let cron_jobs =
            cron_jobs.filter_map(|(_, object, cron)| Some((epoch(&object.annotations)?, cron.active_deadline_seconds)));
        let jobs = here.jobs.iter().filter(|(_, job)| job.labels.get(labels::HUB).is_some_and(|hub| **hub == *hub_id));
        let jobs = jobs.filter_map(|(_, job)| Some((epoch(&job.annotations)?, job.active_deadline_seconds)));
        for (epoch, deadline) in cron_jobs.chain(jobs).filter(|(epoch, _)| is_plausible(*epoch, recorded)) {
            let deadline = deadline.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(DEADLINE_UNKNOWN);
            let entry = found.entry(member).or_insert_with(|| Evidence {
                former: Former { cluster: member.clone(), epoch, id },
                deadline_seconds: deadline,
            });
            if epoch > entry.former.epoch {
                (entry.former.epoch, entry.former.id) = (epoch, id);
            }
            entry.deadline_seconds = entry.deadline_seconds.max(deadline);
        }
    }
    found.into_values().collect()
}

/// A member that is known and has not been read, so that objects may stand there of which nobody knows. One that the
/// operator has said to be gone is not waited for.
pub fn unread(world: &World) -> Option<&MemberName> {
    let is_gone = |name: &MemberName| world.planner.fleet().members.get(name).is_some_and(MemberRecord::is_forgotten);
    let known = world.members.iter().filter(|(name, state)| state.duplicate_of.is_none() && !is_gone(name));
    known.map(|(name, _)| name).find(|name| world.contact(name) != Contact::Synced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_out_of_all_proportion_is_no_evidence() {
        assert!(is_plausible(1, 0) && is_plausible(EPOCHS_AHEAD_MAX, 0) && is_plausible(7, 1_000));
        assert!(!is_plausible(0, 3) && !is_plausible(EPOCHS_AHEAD_MAX + 1, 0));
        assert!(!is_plausible(999_999_999_999_999, 12) && !is_plausible(u64::MAX, 12));
    }
}

//! Several ids that are one repository: the first of them stands for all, and the records of the others say so.

use jiff::Timestamp;
use tracing::info;

use super::act::Trouble;
use super::engine::Engine;
use super::jobs::{self, EndedRun};
use super::work::Work;
use super::world::World;
use crate::grant::{ClaimJob, Other, Recorded};
use crate::names::RepositoryId;
use crate::plan::fleet::{Grant, LedgerRecord, Merged};
use crate::plan::result::RepositoryPlan;
use crate::status::merged;

/// Grants in the records of a repository's other ids.
pub fn others(world: &World, plan: &RepositoryPlan) -> Vec<Other> {
    let others = world.planner.records(&plan.ids).filter(|(id, _)| *id != plan.id);
    let other = |(id, record): (RepositoryId, &LedgerRecord)| {
        Some(Other { id, grant: record.grant.clone()?, drain: record.drain.clone() })
    };
    others.filter_map(other).collect()
}

/// The highest epoch that any record of a repository knows.
pub fn highest_epoch(world: &World, ids: &[RepositoryId]) -> u64 {
    let of = |record: &LedgerRecord| {
        let grant = record.grant.as_ref().map_or(0, Grant::highest);
        grant.max(record.merged.as_ref().map_or(0, |merged| merged.highest_epoch))
    };
    world.planner.records(ids).map(|(_, record)| of(record)).max().unwrap_or(0)
}

/// Of the owners that Jobs have found, and of the one that the grant takes over, the ids that are no part of this
/// repository and have grants in records of their own.
pub fn held_otherwise(
    world: &World,
    (plan, grant): (&RepositoryPlan, Option<&Grant>),
    (claim, runs): (&ClaimJob, &[EndedRun]),
    hub_id: &str,
) -> Vec<RepositoryId> {
    let claimed = match claim {
        ClaimJob::Ended(report) => vec![report.recorded.clone(), report.found.clone()],
        _ => Vec::new(),
    };
    let found = runs.iter().map(|run| jobs::recorded(run.report.owner.as_deref(), hub_id)).chain(claimed);
    let ids = found.filter_map(|recorded| match recorded {
        Recorded::Ours(former) => Some(former.id),
        Recorded::Foreign | Recorded::Unknown => None,
    });
    let ids = ids.chain(grant.and_then(|grant| Some(grant.from.as_ref()?.id)));
    let ledger = &world.planner.fleet().ledger;
    let is_held = |id: &RepositoryId| ledger.get(id).is_some_and(|record| record.grant.is_some());
    ids.filter(|id| !plan.ids.contains(id)).filter(is_held).collect()
}

impl Engine {
    /// Grants that this repository has taken over come to their end, before anything else happens under its own. True:
    /// everything is to be looked at anew.
    pub(super) async fn end_taken_over(&self, work: &Work, now: Timestamp) -> Result<bool, Trouble> {
        for other in &work.taken_over {
            self.stands_for(other.id, work.id, Some(&other.merged()), now).await?;
            info!(repository = %work.id, merged = %other.id, epoch = other.grant.epoch, "has taken over its grant");
        }
        Ok(!work.taken_over.is_empty())
    }

    /// The record of an id for which another one stands says so. A grant in it stays until that one has taken it over.
    pub(super) async fn tell_merged(&self, id: RepositoryId, now: Timestamp) -> Result<(), Trouble> {
        let into = {
            let world = self.world();
            let record = world.planner.fleet().ledger.get(&id);
            let into = world.planner.representing(id).filter(|into| *into != id);
            into.filter(|_| record.is_some_and(|record| record.grant.is_none()))
        };
        let writes = self.leads() && !self.settings.observe && self.settings.share.owns_repository(id, None);
        match into.filter(|_| writes) {
            Some(into) => self.stands_for(id, into, None, now).await,
            None => Ok(()),
        }
    }

    async fn stands_for(
        &self,
        id: RepositoryId,
        into: RepositoryId,
        ended: Option<&Merged>,
        now: Timestamp,
    ) -> Result<(), Trouble> {
        let Some(object) = self.world().ledger.get(&id).cloned() else { return Ok(()) };
        let status = merged::status(&object, into, ended, now);
        if object.status.as_ref() == Some(&status) {
            return Ok(());
        }
        self.write_record(id, &object, status).await.map(drop)
    }
}

//! Several ids that are one repository: the first of them stands for all, and the records of the others say so.

use jiff::Timestamp;
use tracing::info;

use super::act::Trouble;
use super::engine::Engine;
use super::epochs::highest_of;
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

/// The highest epoch that any record of a repository knows, or knew.
pub fn highest_epoch(world: &World, ids: &[RepositoryId]) -> u64 {
    let recorded = world.planner.records(ids).map(|(_, record)| highest_of(record));
    recorded.chain(ids.iter().map(|id| world.epochs.of(*id))).max().unwrap_or(0)
}

/// Of the owners that Jobs have found, and of the one that the grant takes over, the ids that are no part of this
/// repository and have grants in records of their own. One whose record was lost may be a part of it, until a Job has told
/// what it is.
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
    let is_held = |id: &RepositoryId| ledger.get(id).is_some_and(|it| it.grant.is_some() && it.unique_id.is_some());
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::kopia_repository::KopiaRepository;
    use crate::plan::fleet::{Former, Phase};
    use crate::plan::planner::Planner;
    use crate::plan::testing::{Fixture, options};

    const ANOTHER: &str = "ffffffffffffffff";

    fn record(id: RepositoryId, status: &serde_json::Value) -> KopiaRepository {
        serde_json::from_value(serde_json::json!({"apiVersion": "hub.volsync.backube/v1alpha1",
            "kind": "KopiaRepository", "metadata": {"name": format!("kr-{id}")}, "spec": {}, "status": status}))
        .unwrap()
    }

    #[test]
    fn a_record_that_was_lost_may_be_of_the_same_repository() {
        let mut fixture = Fixture::new(&["a"]);
        fixture.source("a/app/db", "bucket").default_policy();
        let (plan, another) = (fixture.only(), ANOTHER.parse().unwrap());
        let from = Former { cluster: "b".into(), epoch: 3, id: another };
        let grant = Grant {
            cluster: "a".into(),
            cluster_uid: None,
            epoch: 4,
            phase: Phase::Claiming,
            since: None,
            until: None,
            deadline_seconds: 60,
            highest_epoch: 0,
            from: Some(from),
        };
        let mut world = World::new(Planner::new(options()));
        let mut held = |status: serde_json::Value| {
            world.set_ledger(another, Some(record(another, &status)));
            held_otherwise(&world, (&plan, Some(&grant)), (&ClaimJob::Absent, &[]), "hub-1")
        };
        let granted = serde_json::json!({"cluster": "b", "epoch": 3, "phase": "Active"});
        assert_eq!(
            held(serde_json::json!({"grant": granted, "uniqueID": "00ff"})),
            [another],
            "it would be one of the ids"
        );
        assert_eq!(held(serde_json::json!({"grant": granted})), [], "no Job has told what it is since");
        assert_eq!(held(serde_json::json!({"uniqueID": "00ff"})), []);
    }

    #[test]
    fn no_epoch_is_given_again_because_its_record_is_gone() {
        let (mut world, id) = (World::new(Planner::new(options())), ANOTHER.parse().unwrap());
        let granted =
            |epoch: u64| record(id, &serde_json::json!({"grant": {"cluster": "b", "epoch": epoch, "phase": "Active"}}));
        world.set_ledger(id, Some(granted(7)));
        world.set_ledger(id, None);
        assert_eq!(highest_epoch(&world, &[id]), 7);
        world.set_ledger(id, Some(granted(2)));
        assert_eq!(highest_epoch(&world, &[id]), 7);
        world.set_ledger(id, Some(granted(8)));
        assert_eq!(highest_epoch(&world, &[id]), 8);
    }
}

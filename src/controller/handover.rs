//! What a hand-over takes in the members that held a repository before: suspending, looking, letting go again.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use tracing::info;

use super::act::Trouble;
use super::engine::Engine;
use super::lists::Lists;
use super::work::Work;
use crate::grant::{Listed, Seen, Step};
use crate::names::{MemberName, RepositoryId};
use crate::plan::result::Push;

impl Engine {
    /// Suspends the CronJobs of earlier holders. One that refuses does not keep the others from it.
    pub(super) async fn suspend_former(&self, work: &Work) -> Result<(), Trouble> {
        let mut result = Ok(());
        for (member, (name, guard)) in work.to_suspend().filter(|(member, _)| self.writes_to(member)) {
            let done = match self.member(member) {
                Ok(client) => client.set_suspended(name, guard, true).await.map_err(Trouble::from),
                Err(trouble) => Err(trouble),
            };
            match done {
                Ok(_) => info!(cluster = %member, object = %name, "suspended: the repository moves"),
                Err(trouble) => result = Err(trouble),
            }
        }
        result
    }

    /// Lets the CronJob of a holder go again that was suspended for a hand-over, where nothing new is pushed.
    pub(super) async fn resume(&self, work: &Work, step: &Step) -> Result<(), Trouble> {
        let (Push::Keep, true, Some(grant), Some((name, guard))) =
            (&work.plan.push, step.run, &work.grant, &work.suspended)
        else {
            return Ok(());
        };
        self.member(&grant.cluster)?.set_suspended(name, guard, false).await?;
        info!(cluster = %grant.cluster, object = %name, "let go again: the hand-over did not come through");
        Ok(())
    }

    /// Makes the consistent lists that the grant asks for, and has it decide again.
    pub(super) async fn list(&self, work: &Work, step: &Step) -> Result<(), Trouble> {
        if step.list.is_empty() {
            return Ok(());
        }
        for member in &step.list {
            let began = Self::now();
            let (hub, namespace) = (&self.settings.hub_id, &self.settings.member_namespace);
            let clear = self.member(member)?.is_clear(hub, namespace, work.ids_in(member)).await?;
            let listed = Listed { began, ended: Self::now(), clear };
            self.lists().entry(work.id).or_default().insert(member.clone(), listed);
        }
        self.repositories.add(work.id);
        Ok(())
    }

    /// Lists from before a change of the ledger tell nothing.
    pub(super) fn forget_lists(&self, id: RepositoryId) {
        if let Some(lists) = self.lists().get_mut(&id) {
            lists.ledger_changes();
        }
    }

    /// What is seen, with what consistent lists have shown of it.
    pub(super) fn with_lists(&self, work: &Work) -> BTreeMap<MemberName, Seen> {
        let mut lists = self.lists();
        // Nobody is waited for any more.
        if work.drain.is_empty() {
            lists.remove(&work.id);
        }
        lists.get(&work.id).unwrap_or(&Lists::default()).with(&work.seen, &work.drain)
    }

    fn lists(&self) -> std::sync::MutexGuard<'_, BTreeMap<RepositoryId, Lists>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What the hub would write to the members if it acted now. Reads what stands there and writes nothing.

use futures::{StreamExt, stream};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::Secret;

use super::act::Trouble;
use super::engine::Engine;
use super::foreign::Adoption;
use super::jobs::{Look, Told};
use super::push::{body, name_of};
use super::work::{Target, Work};
use crate::diff::{self, Action, Change, Kind};
use crate::member::Member;
use crate::member::apply::Pushed;
use crate::names::{MemberName, ObjectName};
use crate::outcome::start_limit;
use crate::plan::fleet::{MemberRecord, Phase};
use crate::plan::result::{Assignment, Problem, Push};
use crate::render::{self, RenderContext, cron_job};

/// Repositories that are compared at once: most of the time they wait for answers of members.
const COMPARED_AT_ONCE: usize = 32;

/// In the order of its parts.
#[derive(Debug, Default)]
pub struct Preview {
    pub changes: Vec<Change>,
    /// Why something can't be written now.
    pub problems: Vec<Problem>,
}

impl Engine {
    /// Everything, for the whole fleet. What a claim has to come before is shown as if it had.
    pub async fn preview(&self) -> Preview {
        let works: Vec<Work> = {
            let mut world = self.world();
            let (hub, namespace) = (&self.settings.hub_id, &self.settings.member_namespace);
            let ids = world.everything().repositories;
            let told = Told::new();
            let look = Look { now: Self::now(), limit: start_limit(self.settings.time_factor), told: &told };
            ids.into_iter().filter_map(|id| Work::gather(&mut world, id, hub, namespace, look)).collect()
        };
        // Of a lost grant, and under a policy that only observes, everything stays as it is.
        let works: Vec<&Work> = works.iter().filter(|work| !work.ledger_is_lost() && !work.observed).collect();
        let mut members: Vec<&MemberName> =
            works.iter().filter_map(|work| Some(&self.written_to(work)?.1.member)).collect();
        members.sort();
        members.dedup();
        let mut preview = Preview::default();
        preview.changes.extend(works.iter().flat_map(|work| &work.adoptions).filter_map(Adoption::change));
        for member in members {
            let result = self.preview_support(member, &mut preview.changes).await;
            preview.note(member.as_str(), result);
        }
        let mut parts = stream::iter(works)
            .map(|work| async move {
                let mut changes = Vec::new();
                let result = self.preview_repository(work, &mut changes).await;
                (work.id.ledger_name(), changes, result)
            })
            .buffer_unordered(COMPARED_AT_ONCE);
        while let Some((object, changes, result)) = parts.next().await {
            preview.changes.extend(changes);
            preview.note(&object, result);
        }
        drop(parts);
        preview.changes.sort_by_key(Change::order);
        preview.problems.sort();
        preview
    }

    /// What is pushed for it, and where; none where nothing is written.
    fn written_to<'a>(&self, work: &'a Work) -> Option<(&'a Assignment, &'a Target)> {
        let (Push::Objects(assignment), Some(target), true) = (&work.plan.push, &work.target, work.may_push()) else {
            return None;
        };
        let world = self.world();
        let member = world.planner.fleet().members.get(&target.member);
        member.is_some_and(MemberRecord::is_written_to).then_some((assignment, target))
    }

    /// What all repositories of a member share.
    async fn preview_support(&self, member: &MemberName, changes: &mut Vec<Change>) -> Result<(), Trouble> {
        let member = self.member(member)?;
        changes.extend(self.compare(&member, Kind::ServiceAccount, &self.support.account).await?);
        changes.extend(self.compare(&member, Kind::ConfigMap, &self.support.script).await?);
        Ok(())
    }

    async fn preview_repository(&self, work: &Work, changes: &mut Vec<Change>) -> Result<(), Trouble> {
        changes.extend(leftovers(work));
        let Some((assignment, target)) = self.written_to(work) else { return Ok(()) };
        let platform = self.platform(assignment, target)?;
        let context: RenderContext<'_> = self.context(&platform, work.epoch());
        let member = self.member(&target.member)?;
        let copy = self.secret_copy(assignment, &context, &member).await?;
        changes.extend(self.compare::<Secret>(&member, Kind::Secret, &copy.object).await?);
        if let Some(ca) = &assignment.custom_ca {
            let copy = self.ca_copy(assignment, ca, &context, &member).await?;
            changes.extend(self.compare::<Secret>(&member, Kind::Secret, &copy.object).await?);
        }
        let waits = work.grant.as_ref().is_some_and(|grant| grant.phase != Phase::Active);
        let mut wanted: CronJob = cron_job::cron_job(assignment, &context, assignment.suspend || waits);
        render::seal(&mut wanted);
        changes.extend(self.compare(&member, Kind::CronJob, &wanted).await?);
        Ok(())
    }

    async fn compare<K: Pushed>(&self, member: &Member, kind: Kind, wanted: &K) -> Result<Option<Change>, Trouble> {
        let object: ObjectName = name_of(wanted);
        let live: Option<K> = member.get_own(&self.settings.hub_id, &object).await?;
        let fields = live.as_ref().map(|live| diff::fields(kind, &body(wanted), &body(live)));
        let action = match &fields {
            None => Action::Create,
            Some(fields) if fields.is_empty() => return Ok(None),
            Some(_) => Action::Update,
        };
        let (cluster, fields) = (member.name().clone(), fields.unwrap_or_default());
        Ok(Some(Change { cluster, action, kind, object, fields }))
    }
}

/// What stands where it should not goes; under a freeze it stays, suspended.
fn leftovers(work: &Work) -> Vec<Change> {
    let stays = matches!(work.plan.push, Push::Keep);
    let mut changes = Vec::new();
    for leftover in work.leftovers.iter().filter(|leftover| !work.is_holders(leftover)) {
        let removal = |kind, object: &ObjectName| {
            let (cluster, object) = (leftover.member.clone(), object.clone());
            Change { cluster, action: Action::Delete, kind, object, fields: Vec::new() }
        };
        match &leftover.cron_job {
            Some((name, _, cron)) if stays && !cron.suspend => {
                changes.push(Change::suspended(leftover.member.clone(), name.clone()));
            }
            Some((name, ..)) if !stays => changes.push(removal(Kind::CronJob, name)),
            _ => {}
        }
        if !stays {
            changes.extend(leftover.secrets.iter().map(|copy| removal(Kind::Secret, &copy.name)));
        }
    }
    changes
}

impl Preview {
    fn note(&mut self, object: &str, result: Result<(), Trouble>) {
        if let Err(Trouble { reason, message, .. }) = result {
            self.problems.push(Problem { object: object.to_owned(), reason, message });
        }
    }
}

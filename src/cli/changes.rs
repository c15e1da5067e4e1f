//! What a plan would change in the members, as far as their CronJobs show it.

use std::collections::BTreeSet;

use crate::diff::{Action, Change, Kind};
use crate::names::{MemberName, ObjectName, RepositoryId};
use crate::plan::fleet::{Contact, Fleet, Phase, PlanOptions, PushedCronJob};
use crate::plan::holder;
use crate::plan::result::{Assignment, FleetPlan, Push, RepositoryPlan};

/// The difference between what should stand in the members and what stands there.
pub fn changes(plan: &FleetPlan, fleet: &Fleet, options: &PlanOptions) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut wanted = BTreeSet::new();
    let mut kept: BTreeSet<RepositoryId> = BTreeSet::new();
    for repository in &plan.repositories {
        let policy = repository.policy.as_ref().and_then(|name| fleet.policies.get(name));
        let observed = policy.is_some_and(|policy| policy.settings.as_ref().is_ok_and(|settings| settings.observe));
        match &repository.push {
            _ if observed => kept.extend(&repository.ids),
            Push::Keep => kept.extend(&repository.ids),
            Push::Remove => {}
            Push::Objects(assignment) => {
                let object = ObjectName::new(options.member_namespace.clone(), repository.id.object_name());
                let standing = fleet.cron_jobs.get(&(assignment.member.clone(), object.clone()));
                if let Some(action) = action(assignment, standing, is_claimed(fleet, repository)) {
                    let member = assignment.member.clone();
                    changes.push(Change { cluster: member, action, kind: Kind::CronJob, object: object.clone() });
                }
                wanted.insert((assignment.member.clone(), object));
            }
        }
    }
    for ((member, object), standing) in &fleet.cron_jobs {
        let place = (member.clone(), object.clone());
        let left = || holder::source_may_be_left(fleet, options, &[standing.repository], member);
        if standing.ours && !wanted.contains(&place) && !kept.contains(&standing.repository) && !left() {
            let cluster = member.clone();
            changes.push(Change { cluster, action: Action::Delete, kind: Kind::CronJob, object: object.clone() });
        }
    }
    changes.retain(|change| writable(fleet, &change.cluster));
    changes.sort();
    changes
}

/// Until its grant is claimed and waited for, a CronJob stands there suspended.
fn is_claimed(fleet: &Fleet, repository: &RepositoryPlan) -> bool {
    let grants = repository.ids.iter().filter_map(|id| fleet.ledger.get(id)?.grant.as_ref());
    grants.max_by_key(|grant| grant.epoch).is_none_or(|grant| grant.phase == Phase::Active)
}

fn action(assignment: &Assignment, standing: Option<&PushedCronJob>, claimed: bool) -> Option<Action> {
    let Some(standing) = standing else { return Some(Action::Create) };
    let same = *standing.schedule == *assignment.schedule.as_str()
        && standing.time_zone.as_deref() == Some(assignment.time_zone.as_str())
        && standing.suspend == (assignment.suspend || !claimed)
        && standing.ours;
    (!same).then_some(Action::Update)
}

/// Nothing is written where nothing can be seen, nor where the operator said so.
fn writable(fleet: &Fleet, member: &MemberName) -> bool {
    fleet.members.get(member).is_some_and(|record| record.contact == Contact::Synced && !record.paused)
}

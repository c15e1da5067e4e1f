//! Objects of a repository that stand where none should.

use super::holders;
use super::work::is_ours;
use super::world::World;
use crate::labels;
use crate::member::Guard;
use crate::member::event::{CronState, OwnedKind};
use crate::names::{MemberName, ObjectName, PlacedName, RepositoryId};
use crate::plan::observe;
use crate::plan::result::{Push, RepositoryPlan};
use crate::render::secret;

/// Objects of this repository in a member where none should be.
pub struct Leftover {
    pub member: MemberName,
    pub cron_job: Option<(ObjectName, Guard, CronState)>,
    pub secrets: Vec<Copy>,
    /// Jobs and Pods that have not ended.
    pub live: usize,
}

/// A copied Secret or CA.
pub struct Copy {
    pub name: ObjectName,
    pub guard: Guard,
    /// The repository Secret that it was made for, as its annotation says.
    pub source: Option<PlacedName>,
}

/// What stands under one id where it should not. Only in members that were read completely: missing is not empty.
pub fn leftovers(world: &World, id: RepositoryId, hub_id: &str, plan: &RepositoryPlan) -> Vec<Leftover> {
    let wanted = match &plan.push {
        Push::Objects(assignment) => Some(&**assignment),
        Push::Keep if !plan.frozen => return Vec::new(),
        Push::Keep | Push::Remove => None,
    };
    let ca = secret::ca_name(id);
    let mut leftovers = Vec::new();
    for member in world.places(id) {
        let wanted_here = wanted.filter(|assignment| assignment.member == *member && assignment.id == id);
        let Some(here) = world.here(id, member).filter(|_| holders::is_written_to(world, member)) else { continue };
        let mut leftover = Leftover { member: member.clone(), cron_job: None, secrets: Vec::new(), live: 0 };
        // Where it is maintained, only the copy of a CA that is not named any more.
        let is_left = |name: &ObjectName| wanted_here.is_none_or(|it| it.custom_ca.is_none() && *name.name == *ca);
        let standing = here.owned.iter().filter(|(.., object)| is_ours(object, hub_id) && !object.deleting);
        for (kind, name, object) in standing.copied().filter(|(_, name, _)| is_left(name)) {
            match (kind, &object.cron) {
                (OwnedKind::CronJob, Some(cron)) => {
                    leftover.cron_job = Some((name.clone(), object.into(), cron.clone()));
                }
                (OwnedKind::Secret, _) => {
                    let source = object.annotations.get(labels::SOURCE);
                    let source = source.and_then(|source| observe::placed(member, source));
                    leftover.secrets.push(Copy { name: name.clone(), guard: object.into(), source });
                }
                _ => {}
            }
        }
        leftover.live = here.live();
        if leftover.cron_job.is_some() || !leftover.secrets.is_empty() {
            leftovers.push(leftover);
        }
    }
    leftovers
}

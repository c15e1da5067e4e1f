//! From a step to the writes that follow from it, in the order of `controller/act.rs`: suspend whoever is drained, let
//! a resumed holder go, push, claim, tidy the claim, take away what is left over, list.

use super::fleet::Fleet;
use super::objects::{COPY, CronSpec};
use super::{Alias, Site};
use crate::controller::jobs::attempt;
use crate::controller::work::{Target, Work};
use crate::grant::Step;
use crate::member::Guard;
use crate::member::event::OwnedKind;
use crate::plan::fleet::Contact;
use crate::plan::result::{Assignment, Push};
use crate::render::cron_job::{claim_name, manual_name};
use crate::render::pod::Permit;

/// One request to a member, or why none is made.
#[derive(Clone, Debug)]
pub enum Order {
    /// `former`: one that refuses does not keep the others from theirs.
    Suspend {
        site: Site,
        alias: Alias,
        guard: Guard,
        suspend: bool,
        former: bool,
    },
    Apply {
        site: Site,
        alias: Alias,
        spec: CronSpec,
        guard: Option<Guard>,
    },
    Claim {
        site: Site,
        alias: Alias,
        /// What the copy of the Secret says that is written with it.
        copy: Alias,
        name: String,
        epoch: u64,
        permit: Permit,
        attempt: String,
    },
    /// A run by hand.
    Manual {
        site: Site,
        alias: Alias,
        name: String,
        epoch: u64,
        deadline: u32,
    },
    DeleteJob {
        site: Site,
        name: String,
        guard: Guard,
    },
    DeleteCronJob {
        site: Site,
        alias: Alias,
        guard: Guard,
    },
    List {
        site: Site,
        aliases: Vec<Alias>,
    },
    /// Here it ends.
    Fail {
        reason: &'static str,
    },
}

impl Order {
    pub fn site(&self) -> Option<Site> {
        match self {
            Self::Suspend { site, .. }
            | Self::Apply { site, .. }
            | Self::Claim { site, .. }
            | Self::Manual { site, .. }
            | Self::DeleteJob { site, .. }
            | Self::DeleteCronJob { site, .. }
            | Self::List { site, .. } => Some(*site),
            Self::Fail { .. } => None,
        }
    }
}

/// Everything that one look at a repository leads to in the members.
/// `copy` is by which of its names each member's Secret means the repository, as far as the hub knows.
pub fn orders(fleet: &Fleet, work: &Work, step: &Step, copy: impl Fn(Site) -> Alias) -> Vec<Order> {
    let mut orders = Vec::new();
    if work.ledger_is_lost() {
        return orders;
    }
    for (member, (name, guard)) in work.to_suspend() {
        let place = fleet.site(member).zip(fleet.alias_of(name));
        let suspends =
            |(site, alias)| Order::Suspend { site, alias, guard: guard.clone(), suspend: true, former: true };
        orders.extend(place.map(suspends));
    }
    if let (Push::Keep, true, Some(grant), Some((name, guard))) =
        (&work.plan.push, step.run, &work.grant, &work.suspended)
        && let Some((site, alias)) = fleet.site(&grant.cluster).zip(fleet.alias_of(name))
    {
        orders.push(Order::Suspend { site, alias, guard: guard.clone(), suspend: false, former: false });
    }
    if let (Push::Objects(assignment), Some(target), true) = (&work.plan.push, &work.target, work.may_push()) {
        push(fleet, work, step, (assignment, target), &copy, &mut orders);
    }
    if step.remove_claim
        && let (Some(grant), Some((name, guard))) = (&work.grant, &work.claim_job)
        && let Some(site) = fleet.site(&grant.cluster)
    {
        orders.push(Order::DeleteJob { site, name: name.name.to_string(), guard: guard.clone() });
    }
    clear(fleet, work, &mut orders);
    orders.extend(step.list.iter().filter_map(|member| {
        Some(Order::List { site: fleet.site(member)?, aliases: fleet.aliases(work.ids_in(member)) })
    }));
    orders
}

fn push(
    fleet: &Fleet,
    work: &Work,
    step: &Step,
    (assignment, target): (&Assignment, &Target),
    copy: &impl Fn(Site) -> Alias,
    orders: &mut Vec<Order>,
) {
    let Some(site) = fleet.site(&target.member).filter(|_| target.contact == Contact::Synced) else {
        return orders.push(Order::Fail { reason: "MemberUnreachable" });
    };
    if target.facts.is_none() {
        return orders.push(Order::Fail { reason: "MemberUnread" });
    }
    let Some(alias) = fleet.aliases(&[work.id]).first().copied() else { return };
    let spec = CronSpec {
        epoch: work.epoch(),
        suspend: assignment.suspend || !step.run,
        deadline: assignment.settings.active_deadline_seconds,
        period: assignment.schedule.shortest_period() / 60,
        copy: copy(site),
    };
    let standing = target.standing.owned.get(&(OwnedKind::CronJob, fleet.objects[alias].clone()));
    let stands = standing.is_some_and(|object| {
        let number = |annotation: &str| object.annotations.get(annotation).and_then(|number| number.parse().ok());
        let copied = number(COPY) == Some(spec.copy as u64);
        let epoch = number(crate::labels::EPOCH);
        object.cron.as_ref().is_some_and(|cron| {
            epoch == Some(spec.epoch)
                && copied
                && cron.suspend == spec.suspend
                && cron.active_deadline_seconds == Some(spec.deadline.into())
                && *cron.schedule == *assignment.schedule.as_str()
        })
    });
    if !stands {
        orders.push(Order::Apply { site, alias, spec, guard: standing.map(Guard::from) });
    }
    if let Some(token) = &step.manual {
        orders.push(Order::Manual {
            site,
            alias,
            name: manual_name(assignment.id, token),
            epoch: work.epoch(),
            deadline: assignment.settings.active_deadline_seconds,
        });
    }
    if let (Some(permit), Some(grant)) = (&step.claim, &work.grant) {
        orders.push(Order::Claim {
            site,
            alias,
            copy: copy(site),
            name: claim_name(assignment.id, grant.epoch),
            epoch: grant.epoch,
            permit: permit.clone(),
            attempt: grant.since.map(attempt).unwrap_or_default(),
        });
    }
}

fn clear(fleet: &Fleet, work: &Work, orders: &mut Vec<Order>) {
    let stays = matches!(work.plan.push, Push::Keep);
    for leftover in work.leftovers.iter().filter(|leftover| !work.drains(leftover)) {
        let Some(site) = fleet.site(&leftover.member) else { continue };
        let Some((name, guard, cron)) = &leftover.cron_job else { continue };
        let Some(alias) = fleet.alias_of(name) else { continue };
        if !stays && work.is_holders(leftover) {
            continue;
        }
        if !cron.suspend {
            orders.push(Order::Suspend { site, alias, guard: guard.clone(), suspend: true, former: false });
        } else if !stays && leftover.live == 0 {
            orders.push(Order::DeleteCronJob { site, alias, guard: guard.clone() });
        }
    }
}

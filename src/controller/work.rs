//! Everything that one decision about one repository depends on, taken out of the world at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::foreign::Adoption;
use super::holders::{self, Firing};
use super::jobs::{self, EndedRun, Late, Look};
use super::leftovers::{Leftover, leftovers};
use super::member_state::MemberState;
use super::merge;
use super::push::Standing;
use super::reconcile::due;
use super::world::World;
use super::{by_hand, contacts};
use crate::api::kopia_repository::{GrantPhase, KopiaRepository, KopiaRepositoryStatus};
use crate::grant::{ClaimJob, Evidence, ManualJob, Other, Recorded, Seen, leave_split_off};
use crate::labels;
use crate::member::Guard;
use crate::member::event::{MemberFacts, OwnedKind, OwnedObject};
use crate::names::{MemberName, ObjectName, RepositoryId};
use crate::outcome::Outcome;
use crate::plan::fleet::{Contact, Drain, Grant, Merged, Phase, RunNow};
use crate::plan::foreign::Contender;
use crate::plan::result::{Push, RepositoryPlan};
use crate::plan::{holder, observe};
use crate::render::{secret, support};
use crate::telemetry::trace;

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Work {
    pub id: RepositoryId,
    pub plan: RepositoryPlan,
    /// None: the ledger does not know it yet.
    pub object: Option<Arc<KopiaRepository>>,
    pub grant: Option<Grant>,
    /// The present name of the grant's member, where that is another one.
    pub known_as: Option<MemberName>,
    /// What the record kept while another one stood for it.
    pub merged: Option<Merged>,
    /// Grants under other ids, and of these ids the ones that this record's grant has taken over.
    pub others: Vec<Other>,
    pub taken_over: Vec<Other>,
    /// Ids of recorded owners that are other repositories, with grants of their own.
    pub held_otherwise: Vec<RepositoryId>,
    pub claim: ClaimJob,
    pub claim_job: Option<(ObjectName, Guard)>,
    pub runs: Vec<EndedRun>,
    /// What has not started in time, and nobody has been asked why.
    pub late: Vec<Late>,
    /// When something that should have started by then is looked at.
    pub next_look: Option<Timestamp>,
    /// A Job has ended whose Pod, which knows more, may still be seen.
    pub pod_missing: bool,
    /// The member where objects should stand, if it can be written to.
    pub target: Option<Target>,
    /// Under a freeze that keeps what stands: that, to be suspended.
    pub leftovers: Vec<Leftover>,
    /// What an earlier grant may still run.
    pub drain: Vec<Drain>,
    /// The grant's member and those of `drain`, as far as they can be seen.
    pub seen: BTreeMap<MemberName, Seen>,
    /// CronJobs of `drain` that may still start Jobs.
    pub firing: Vec<(MemberName, Firing)>,
    /// What was asked for by hand and has not been acted upon, and its Job.
    pub run_now: Option<RunNow>,
    pub manual: ManualJob,
    /// Another Job by hand has not ended in the holder.
    pub stray: bool,
    /// Until when the holder's CronJob would start a run at once, were it let go.
    pub missed_until: Option<Timestamp>,
    /// The holder's CronJob, where it stands suspended.
    pub suspended: Option<Firing>,
    pub evidence: Vec<Evidence>,
    /// Where the ledger is lost: a member that has not been read.
    pub unread: Option<MemberName>,
    /// The planned member has been read, and may be written to.
    pub reachable: bool,
    pub highest_epoch: u64,
    pub settling_until: Option<Timestamp>,
    /// The policy only observes.
    pub observed: bool,
    /// Others who maintain it.
    pub contenders: Vec<Contender>,
    /// What is to be done about them.
    pub adoptions: Vec<Adoption>,
}

/// The member that the plan assigns, as it is known.
pub struct Target {
    pub member: MemberName,
    pub contact: Contact,
    pub facts: Option<Arc<MemberFacts>>,
    pub mover_image: Option<String>,
    pub image_pull_secrets: Vec<String>,
    pub standing: Standing,
    pub secret_version: Option<String>,
    pub ca_version: Option<String>,
}

impl Work {
    /// None: nobody knows a repository of this id.
    pub fn gather(world: &mut World, id: RepositoryId, hub_id: &str, namespace: &str, look: Look<'_>) -> Option<Self> {
        let now = look.now;
        let planning = tracing::info_span!(target: trace::TARGET, "plan");
        let plan = planning.in_scope(|| world.planner.plan(id, now))?;
        let object = world.ledger.get(&id).cloned();
        let record = object.as_deref().map(observe::ledger);
        let run_now = record.as_ref().and_then(|record| record.run_now.clone());
        let (grant, merged, mut drain) =
            record.map(|record| (record.grant, record.merged, record.drain)).unwrap_or_default();
        contacts::shorten_unknown(&mut drain, &world.planner.fleet().members);
        leave_split_off(&world.planner.fleet().ledger, &plan.ids, grant.as_ref(), &mut drain);
        let (taken_over, others): (Vec<_>, Vec<_>) =
            merge::others(world, &plan).into_iter().partition(|other| other.is_taken_over(grant.as_ref(), &drain));
        let status = object.as_ref().and_then(|object| object.status.clone()).unwrap_or_default();
        let holder = grant.as_ref().and_then(|grant| world.here(id, &grant.cluster));
        let holder = holder.as_ref();
        let holder_synced = grant.as_ref().is_some_and(|grant| world.contact(&grant.cluster) == Contact::Synced);
        let (claim, claim_job) = match (&grant, holder) {
            (Some(grant), Some(here)) if holder_synced => jobs::claim(here, (hub_id, namespace), id, grant, look),
            _ => (ClaimJob::Unknown, None),
        };
        let due = due(&world.planner, &plan);
        let mut runs = Vec::new();
        // What began under an earlier grant ends while it is waited for.
        for member in drain
            .iter()
            .map(|entry| &entry.cluster)
            .filter(|it| grant.as_ref().is_none_or(|grant| grant.cluster != **it))
        {
            runs.extend(
                world.here(id, member).iter().flat_map(|here| jobs::runs(here, (member, hub_id), &status, look)),
            );
        }
        let manual = run_now.as_ref().zip(holder).filter(|_| holder_synced);
        let manual = manual.map(|(it, here)| by_hand::job(here, namespace, (id, &it.token), now)).unwrap_or_default();
        let token = run_now.as_ref().map(|it| &*it.token);
        let stray = holder.is_some_and(|here| by_hand::stray(here, id, token));
        let (mut late, mut next_look, mut missed_until) = (Vec::new(), None, None);
        if let (Some(grant), Some(here)) = (&grant, holder) {
            let member = &grant.cluster;
            let cron_job = here.state.owned.get(&(OwnedKind::CronJob, ObjectName::new(namespace, id.object_name())));
            // A member that is away is no proof of anything that has not happened.
            let cron_job = cron_job.filter(|object| holder_synced && is_ours(object, hub_id)).zip(due.as_ref());
            runs.extend(jobs::runs(here, (member, hub_id), &status, look));
            runs.extend(cron_job.and_then(|(object, due)| jobs::refused(member, object, due, &status, look)));
            if holder_synced {
                late = jobs::late((here, member), cron_job, &status, look);
            }
            next_look = jobs::next_look(here, cron_job, look);
            missed_until = cron_job.and_then(|(object, due)| jobs::missed_until(object.cron.as_ref()?, due, now));
        }
        runs.sort_by_key(|run| run.report.ended);
        let recorded = merge::highest_epoch(world, &plan.ids);
        let evidence = holders::evidence(world, &plan.ids, hub_id, recorded);
        let target = target(world, id, (hub_id, namespace), &plan);
        let places = drain.iter().map(|entry| (&entry.cluster, entry.ids_or(&plan.ids)));
        let places = places.chain(grant.iter().map(|grant| (&grant.cluster, &plan.ids[..])));
        let seen = places
            .filter_map(|(member, ids)| Some((member.clone(), holders::seen(world, ids, hub_id, member)?)))
            .collect();
        let firing = drain.iter().flat_map(|entry| {
            let there = holders::firing(world, entry.ids_or(&plan.ids), hub_id, &entry.cluster);
            there.into_iter().map(|it| (entry.cluster.clone(), it))
        });
        let contenders = world.contenders(&plan, hub_id);
        let held_otherwise = merge::held_otherwise(world, (&plan, grant.as_ref()), (&claim, &runs), hub_id);
        Some(Self {
            id,
            held_otherwise,
            adoptions: world.adoptions(&plan, &contenders, hub_id, now),
            contenders,
            leftovers: plan.ids.iter().flat_map(|id| leftovers(world, *id, hub_id, &plan)).collect(),
            highest_epoch: evidence.iter().map(|it| it.former.epoch).chain([recorded]).max().unwrap_or(0),
            seen,
            firing: firing.collect(),
            unread: ledger_is_lost(grant.as_ref(), merged.as_ref(), &evidence)
                .then(|| holders::unread(world).cloned())
                .flatten(),
            suspended: grant.as_ref().and_then(|grant| holders::suspended(world, id, hub_id, &grant.cluster)),
            reachable: target.as_ref().is_some_and(|target| target.contact == Contact::Synced),
            evidence,
            drain,
            run_now,
            manual,
            stray,
            missed_until,
            settling_until: world.settling_until(now),
            observed: world.planner.is_observed(&plan),
            plan,
            object,
            known_as: grant.as_ref().and_then(|grant| holder::known_as(world.planner.fleet(), grant)).cloned(),
            grant,
            merged,
            others,
            taken_over,
            claim,
            claim_job,
            pod_missing: holder.is_some_and(|here| jobs::pod_missing(here, now)),
            runs,
            late,
            next_look,
            target,
        })
    }

    pub fn status(&self) -> KopiaRepositoryStatus {
        self.object.as_ref().and_then(|object| object.status.clone()).unwrap_or_default()
    }

    /// The ids under which something of the repository may stand in a member that is looked at.
    pub fn ids_in(&self, member: &MemberName) -> &[RepositoryId] {
        let entry = self.drain.iter().find(|entry| entry.cluster == *member);
        entry.map_or(&self.plan.ids[..], |entry| entry.ids_or(&self.plan.ids))
    }

    /// The grant, if there is one, is for the member where the objects should stand.
    pub fn may_push(&self) -> bool {
        match (&self.grant, &self.target) {
            (Some(grant), Some(target)) => grant.cluster == target.member,
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }

    /// CronJobs of earlier holders. The planned member's own is suspended by what is pushed there.
    pub fn to_suspend(&self) -> impl Iterator<Item = &(MemberName, Firing)> {
        let planned = self.target.as_ref().map(|target| &target.member);
        let own = self.id.object_name();
        self.firing.iter().filter(move |(member, (name, _))| Some(member) != planned || *name.name != *own)
    }

    /// A run tells of another repository at this place than the ledger, or told of one since the grant was claimed.
    pub fn replaced(&self) -> bool {
        let status = self.status();
        let fresh = self.runs.iter().rev().filter(|run| !run.recorded).find_map(|run| run.report.unique_id.as_ref());
        let news = fresh.zip(status.unique_id.as_ref()).is_some_and(|(fresh, known)| fresh != known);
        let since = self.grant.as_ref().and_then(|grant| grant.since);
        let told = status.conditions.iter().find(|it| it.type_ == "Replaced" && it.status == "True");
        news || told.zip(since).is_some_and(|(told, since)| told.last_transition_time.0 > since)
    }

    /// The owner that the latest run of the holder found instead of this grant's.
    pub fn turned_away(&self, hub_id: &str) -> Option<Recorded> {
        let grant = self.grant.as_ref()?;
        let runs = self.runs.iter().filter(|run| run.run.cluster == grant.cluster.as_str());
        let latest = runs.max_by_key(|run| run.report.ended)?;
        let epoch = latest.run.epoch.and_then(|epoch| u64::try_from(epoch).ok());
        let refused = matches!(latest.report.outcome, Outcome::Fenced | Outcome::NotGranted);
        (refused && epoch == Some(grant.epoch)).then(|| jobs::recorded(latest.report.owner.as_deref(), hub_id))
    }

    /// Objects of a grant that the ledger has lost are evidence: they stay as they are.
    pub fn ledger_is_lost(&self) -> bool {
        ledger_is_lost(self.grant.as_ref(), self.merged.as_ref(), &self.evidence)
    }

    /// What stands there may be needed again, and what runs there is waited for. Nothing is, where nothing is to stand.
    pub fn drains(&self, leftover: &Leftover) -> bool {
        !matches!(self.plan.push, Push::Remove) && self.drain.iter().any(|entry| entry.cluster == leftover.member)
    }

    /// What stands in the member that still holds the grant, though another one should, stays until a hand-over.
    pub fn is_holders(&self, leftover: &Leftover) -> bool {
        let holds = |grant: &Grant| grant.cluster == leftover.member && grant.phase != Phase::Claiming;
        let moves = self.plan.cluster.as_ref().is_some_and(|cluster| *cluster != leftover.member);
        moves && self.grant.as_ref().is_some_and(holds)
    }

    /// The grant is claimed, or on its way: the epoch that pushed objects carry.
    pub fn epoch(&self) -> u64 {
        self.grant.as_ref().map_or(0, |grant| grant.epoch)
    }
}

fn ledger_is_lost(grant: Option<&Grant>, merged: Option<&Merged>, evidence: &[Evidence]) -> bool {
    grant.map_or(merged.is_none() && !evidence.is_empty(), |grant| grant.phase == Phase::Recovering)
}

pub fn is_claimed(status: &KopiaRepositoryStatus) -> bool {
    status
        .grant
        .as_ref()
        .is_some_and(|grant| matches!(grant.phase, GrantPhase::Draining | GrantPhase::Active | GrantPhase::Resuming))
}

pub(super) fn is_ours(object: &OwnedObject, hub_id: &str) -> bool {
    object.labels.get(labels::HUB).is_some_and(|hub| **hub == *hub_id)
        && object.labels.get(labels::MANAGED_BY).is_some_and(|by| &**by == labels::MANAGED_BY_VALUE)
}

/// What stands under our names and is not marked as ours does not count: the write looks whose it is.
fn target(world: &World, id: RepositoryId, (hub_id, namespace): (&str, &str), plan: &RepositoryPlan) -> Option<Target> {
    let Push::Objects(assignment) = &plan.push else { return None };
    let state = world.members.get(&assignment.member)?;
    let named = |kind, name: String| (kind, ObjectName::new(namespace, name));
    let mine = [
        named(OwnedKind::CronJob, id.object_name()),
        named(OwnedKind::Secret, id.object_name()),
        named(OwnedKind::Secret, secret::ca_name(id)),
    ];
    let mine: Vec<_> = mine.into_iter().chain(shared_names(namespace)).collect();
    let spec = state.cluster.as_ref().map(|cluster| &cluster.spec);
    let ca = assignment.custom_ca.as_ref().map(|ca| ca.placed(&assignment.secret));
    Some(Target {
        member: assignment.member.clone(),
        contact: world.contact(&assignment.member),
        facts: state.facts.clone(),
        mover_image: spec.and_then(|spec| spec.mover_image.clone()),
        image_pull_secrets: spec
            .map(|spec| spec.image_pull_secrets.iter().map(|it| it.name.clone()).collect())
            .unwrap_or_default(),
        standing: standing(state, &mine, hub_id),
        secret_version: world
            .version(crate::member::event::ReferencedKind::Secret, &assignment.secret)
            .map(str::to_owned),
        ca_version: ca.and_then(|(kind, name)| world.version(kind, &name).map(str::to_owned)),
    })
}

/// What stands under our names of what all repositories of a member share.
pub(super) fn shared(world: &World, member: &MemberName, hub_id: &str, namespace: &str) -> Standing {
    let Some(state) = world.members.get(member) else { return Standing::default() };
    standing(state, &shared_names(namespace), hub_id)
}

fn shared_names(namespace: &str) -> [(OwnedKind, ObjectName); 2] {
    [
        (OwnedKind::ConfigMap, ObjectName::new(namespace, support::script_name())),
        (OwnedKind::ServiceAccount, ObjectName::new(namespace, support::SERVICE_ACCOUNT)),
    ]
}

fn standing(state: &MemberState, names: &[(OwnedKind, ObjectName)], hub_id: &str) -> Standing {
    let account = state.facts.as_ref().and_then(|facts| facts.service_account.as_ref());
    Standing {
        owned: names
            .iter()
            .filter_map(|key| state.owned.get_key_value(key))
            .filter(|(_, object)| is_ours(object, hub_id))
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect(),
        verified: names
            .iter()
            .filter_map(|key| state.verified.get_key_value(key))
            .map(|(key, it)| (key.clone(), it.clone()))
            .collect(),
        service_account: account.filter(|account| is_ours(account, hub_id)).cloned(),
    }
}

//! Other tools' maintenance of a repository, in every member: what is told of it, and what the hub suspends or lets go
//! again where the operator lets it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tracing::{info, warn};

use super::engine::Engine;
use super::holders::{self, is_written_to};
use super::index::Seen;
use super::member_state::MemberState;
use super::work::Work;
use super::world::World;
use crate::diff::{Change, Kind};
use crate::labels;
use crate::member::event::OwnedKind;
use crate::member::{CallError, Class};
use crate::names::{MemberName, ObjectName, RepositoryId};
use crate::plan::adoption::{self, Act, Restored, Terms, Wish};
use crate::plan::foreign::{self, Adopted, Contender, ForeignKind, ForeignObject, ForeignObjects};
use crate::plan::result::{Push, RepositoryPlan};
use crate::status::conditions::Wanted;
use crate::status::member::ADOPTED;
use crate::time::whole_seconds;

/// After a write that did not go through, mostly because the object had changed.
const RETRY: Duration = Duration::from_secs(10);
/// Somebody has to grant the right first.
const FORBIDDEN_RETRY: Duration = Duration::from_mins(1);

/// What is to be done to one object of another tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    pub member: MemberName,
    pub kind: ForeignKind,
    pub name: ObjectName,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub act: Act,
}

impl Adoption {
    fn of(member: &MemberName, (kind, name): (ForeignKind, &ObjectName), object: &ForeignObject, act: Act) -> Self {
        let (uid, resource_version) = (object.uid.clone(), object.resource_version.clone());
        Self { member: member.clone(), kind, name: name.clone(), uid, resource_version, act }
    }

    /// As `plan` shows it; none where nothing but the note goes.
    pub fn change(&self) -> Option<Change> {
        let kind = match self.kind {
            ForeignKind::CronJob => Kind::CronJob,
            _ => Kind::KopiaMaintenance,
        };
        let (from, to) = match self.act {
            Act::Suspend => (None, Some(true)),
            Act::Resume(Restored::Is(before)) => (Some(true), Some(before)),
            Act::Resume(Restored::Unset) => (Some(true), None),
            Act::Resume(Restored::Stays) => return None,
        };
        Some(Change::suspension((self.member.clone(), kind, self.name.clone()), from, to))
    }
}

impl World {
    /// Takes in what was seen of another tool's object. Returns the repositories to which it is news.
    pub(super) fn foreign_changed(
        &mut self,
        member: &MemberName,
        kind: ForeignKind,
        name: ObjectName,
        object: Option<ForeignObject>,
    ) -> BTreeSet<RepositoryId> {
        let state = self.members.entry(member.clone()).or_default();
        let key = (kind, name.clone());
        let before = state.foreign.remove(&key);
        if let (Some(before), None) = (&before, &object) {
            state.adopted_at.remove(&before.uid);
        }
        if let Some(object) = &object {
            state.foreign.insert(key, object.clone());
        }
        match (&before, &object) {
            (None, None) => return BTreeSet::new(),
            (Some(before), Some(object)) if before.says_the_same(object) => return BTreeSet::new(),
            _ => {}
        }
        let adopted = |object: &Option<ForeignObject>| Some(object.as_ref()?.adopted.as_ref()?.repository);
        let (was, is) = (adopted(&before), adopted(&object));
        let mut ids = self.index.moved(member, Seen::Adopted(kind, name), (was, is));
        let secrets: BTreeSet<_> = before.into_iter().chain(object).flat_map(|object| object.secrets).collect();
        let (fleet, options) = (self.planner.fleet(), self.planner.options());
        let meant = secrets.iter().flat_map(|secret| foreign::meant_by(fleet, options, member, secret));
        ids.extend(meant.collect::<BTreeSet<_>>());
        // A merged repository is looked at under one of its ids.
        ids.into_iter().map(|id| self.planner.representing(id).unwrap_or(id)).collect()
    }

    /// Who maintains a repository besides the hub, wherever the hub or one of its sources is in their way.
    pub(super) fn contenders(&self, plan: &RepositoryPlan, hub: &str) -> Vec<Contender> {
        let mut found = self.of_other_hubs(plan, hub);
        let sharing = plan.clusters.iter().map(|share| &share.member);
        let running = plan.candidates.iter().map(|candidate| &candidate.member);
        for member in sharing.chain(running).collect::<BTreeSet<_>>() {
            let Some(objects) = self.foreign_in(member) else { continue };
            let secrets = self.secrets_of(plan, member);
            if !secrets.is_empty() {
                found.extend(foreign::contenders(member, objects, &secrets));
            }
        }
        found
    }

    fn of_other_hubs(&self, plan: &RepositoryPlan, hub: &str) -> Vec<Contender> {
        let mut found = Vec::new();
        let places = plan.ids.iter().flat_map(|id| self.places(*id).map(|member| (*id, member)));
        for (id, member) in places {
            let owned = self.here(id, member).map(|here| here.owned).unwrap_or_default();
            for (_, name, object) in owned.into_iter().filter(|(kind, ..)| *kind == OwnedKind::CronJob) {
                let starts = object.cron.as_ref().is_some_and(|cron| !cron.suspend);
                let other = object.labels.get(labels::HUB).filter(|other| starts && ***other != *hub);
                found.extend(other.map(|other| Contender {
                    member: member.clone(),
                    kind: ForeignKind::CronJob,
                    name: name.clone(),
                    let_go: None,
                    hub: Some(other.clone()),
                }));
            }
        }
        found
    }

    /// What a member shows of other tools, if anything. What was seen before contact was lost still counts.
    fn foreign_in(&self, member: &MemberName) -> Option<&ForeignObjects> {
        let state = self.members.get(member).filter(|state| state.duplicate_of.is_none())?;
        Some(&state.foreign).filter(|objects| !objects.is_empty())
    }

    fn secrets_of(&self, plan: &RepositoryPlan, member: &MemberName) -> BTreeSet<ObjectName> {
        let mut secrets = self.planner.secrets_in(&plan.ids, member);
        secrets.extend(foreign::named_by_policies(plan, member));
        secrets
    }

    /// What is to be suspended for a repository, and what of it is to be let go again.
    pub(super) fn adoptions(
        &self,
        plan: &RepositoryPlan,
        contenders: &[Contender],
        hub: &str,
        now: Timestamp,
    ) -> Vec<Adoption> {
        let time_factor = self.planner.options().time_factor;
        let mut found = Vec::new();
        let mut add = |member: &MemberName, kind, name: &ObjectName, wish| {
            let Some(state) = self.members.get(member) else { return };
            let Some(object) = state.foreign.get(&(kind, name.clone())) else { return };
            let last = state.adopted_at.get(&object.uid).copied();
            let terms = Terms { hub, now, last, time_factor };
            let act = adoption::decide(kind, object, wish, terms);
            found.extend(act.map(|act| Adoption::of(member, (kind, name), object, act)));
        };
        let may_write = |member: &MemberName| is_written_to(self, member);
        for contender in contenders.iter().filter(|it| may_write(&it.member)) {
            let adopts = self.members.get(&contender.member).and_then(MemberState::adopts);
            if adopts == Some(true) && adoption::wish(plan, true) == Wish::Suspend {
                add(&contender.member, contender.kind, &contender.name, Wish::Suspend);
            }
        }
        for id in &plan.ids {
            for member in self.places(*id).filter(|member| may_write(member)) {
                let Some(here) = self.here(*id, member).filter(|here| !here.adopted.is_empty()) else { continue };
                let Some(adopts) = here.state.adopts() else { continue };
                // Whoever is let go may begin at once: not beside a run of the hub.
                if adoption::wish(plan, adopts) == Wish::Resume && self.is_quiet(plan, member, hub) {
                    for (kind, name, _) in here.adopted {
                        add(member, kind, name, Wish::Resume);
                    }
                }
            }
        }
        found
    }

    /// Nothing of a repository runs where that can be seen, and nothing will start in this member, nor anywhere where it
    /// is not maintained any more.
    fn is_quiet(&self, plan: &RepositoryPlan, member: &MemberName, hub: &str) -> bool {
        let over = matches!(plan.push, Push::Remove);
        let stays = matches!(&plan.push, Push::Objects(assignment) if assignment.member == *member);
        plan.ids.iter().all(|id| {
            let mut heres = self.places(*id).filter_map(|place| Some((place, self.here(*id, place)?)));
            heres.all(|(place, here)| {
                let counts = over || (place == member && !stays);
                here.live() == 0 && (!counts || holders::firing(self, &[*id], hub, place).is_empty())
            })
        })
    }

    /// This hub has suspended them for a repository of which nobody knows anything any more.
    pub(super) fn orphans(&self, id: RepositoryId, hub: &str) -> Vec<Adoption> {
        if self.starts() || holders::unread(self).is_some() || self.planner.representing(id).is_some() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for member in self.places(id).filter(|member| is_written_to(self, member)) {
            let Some(here) = self.here(id, member).filter(|here| here.live() == 0) else { continue };
            for (kind, name, object) in here.adopted {
                let terms = Terms { hub, now: Timestamp::UNIX_EPOCH, last: None, time_factor: 1 };
                let act = adoption::decide(kind, object, Wish::Resume, terms);
                found.extend(act.map(|act| Adoption::of(member, (kind, name), object, act)));
            }
        }
        found
    }

    /// What this hub has suspended in a member, for people.
    pub fn adopted_in(&self, member: &MemberName, hub: &str) -> Vec<String> {
        let Some(state) = self.members.get(member) else { return Vec::new() };
        let adopted = state.foreign.iter().filter(|(_, object)| object.adopted_by(hub).is_some());
        adopted.map(|((kind, name), _)| format!("{} {name}", kind.as_str())).collect()
    }
}

/// Objects that are named in a condition.
const NAMED_MAX: usize = 5;

/// What the hub has suspended in a member, as a condition that is only there where it is or was so.
pub(super) fn adopted(before: &[Condition], adopted: &[String]) -> Option<Wanted> {
    if adopted.is_empty() {
        let was = before.iter().any(is_adopted);
        return was.then(|| Wanted::new(ADOPTED, false, "NothingSuspended", "nothing of other tools is suspended"));
    }
    let named = adopted.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let more = adopted.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!("suspended by this hub, and let go again with adoptForeign: false: {named}{more}");
    Some(Wanted::new(ADOPTED, true, "ForeignSuspended", message))
}

/// Either way it is as it should be.
pub(super) fn is_adopted(condition: &Condition) -> bool {
    condition.type_ == ADOPTED
}

impl Engine {
    /// Who else maintains the repositories of the fleet.
    pub fn all_contenders(&self) -> BTreeMap<RepositoryId, Vec<Contender>> {
        let mut world = self.world();
        let (ids, now) = (world.everything().repositories, Self::now());
        let mut found = BTreeMap::new();
        for id in ids {
            let Some(plan) = world.planner.plan(id, now) else { continue };
            let there = world.contenders(&plan, &self.settings.hub_id);
            if !there.is_empty() {
                found.insert(id, there);
            }
        }
        found
    }

    /// Suspends other tools' objects, and lets go again what it suspended. What can't be done is no trouble of the
    /// repository: its condition tells that somebody else maintains it, and the member's which right is missing.
    pub(super) async fn adopt(&self, work: &Work) {
        self.carry_out(work.id, &work.adoptions).await;
    }

    pub(super) async fn release_orphans(&self, id: RepositoryId) {
        if !self.leads() || self.settings.observe {
            return;
        }
        let orphans = self.world().orphans(id, &self.settings.hub_id);
        self.carry_out(id, &orphans).await;
    }

    async fn carry_out(&self, id: RepositoryId, adoptions: &[Adoption]) {
        for adoption in adoptions.iter().filter(|adoption| self.writes_to(&adoption.member)) {
            let Adoption { member, kind, name, .. } = adoption;
            match self.carry_out_one(id, adoption).await {
                Ok(()) => {}
                Err(CallError { class: Class::Forbidden { .. }, .. }) => {
                    self.repositories.add_after(id, FORBIDDEN_RETRY);
                }
                Err(error) => {
                    warn!(cluster = %member, kind = kind.as_str(), object = %name, repository = %id, %error,
                        "another tool's maintenance stays as it is");
                    self.repositories.add_after(id, RETRY);
                }
            }
        }
    }

    async fn carry_out_one(&self, id: RepositoryId, adoption: &Adoption) -> Result<(), CallError> {
        let Adoption { member, kind, name, uid, .. } = adoption;
        let Some(handle) = self.supervisor.member(member) else { return Ok(()) };
        let now = whole_seconds(Self::now());
        let current = if *kind == ForeignKind::CronJob {
            let world = self.world();
            world.members.get(member).and_then(|state| state.foreign.get(&(*kind, name.clone()))).cloned()
        } else {
            // Its own operator writes its status all the time, and it is looked for now and then only.
            handle.find_foreign(*kind, name).await?
        };
        let Some(current) = current.filter(|current| current.uid == *uid) else { return Ok(()) };
        let hub = &self.settings.hub_id;
        let (note, suspend) = match adoption.act {
            Act::Suspend if current.is_stopped() => return Ok(()),
            Act::Suspend => {
                // What it was before the first time is what it becomes in the end.
                let before = current.adopted_by(hub).map_or(current.suspend, |adopted| adopted.suspend);
                let note = Adopted { hub: hub.as_str().into(), repository: id, suspend: before, at: now };
                (Some(note), Restored::Is(true))
            }
            Act::Resume(_) => match adoption::decide(*kind, &current, Wish::Resume, self.terms()) {
                Some(Act::Resume(restored)) => (None, restored),
                _ => return Ok(()),
            },
        };
        let written = handle.mark_foreign(*kind, name, &current, note.as_ref(), suspend).await?;
        info!(cluster = %member, kind = kind.as_str(), object = %name, repository = %id,
            "another tool's maintenance is {}", if note.is_some() { "suspended" } else { "let go again" });
        let mut world = self.world();
        let adopted_at = &mut world.members.entry(member.clone()).or_default().adopted_at;
        match &note {
            Some(note) => drop(adopted_at.insert(uid.clone(), note.at)),
            None => drop(adopted_at.remove(uid)),
        }
        let suspend = match suspend {
            Restored::Stays => current.suspend,
            Restored::Unset => None,
            Restored::Is(suspend) => Some(suspend),
        };
        let object = ForeignObject { resource_version: written, suspend, adopted: note, ..current };
        let news = world.foreign_changed(member, *kind, name.clone(), Some(object));
        drop(world);
        for id in news {
            self.repositories.add(id);
        }
        self.members.add(member.clone());
        Ok(())
    }

    fn terms(&self) -> Terms<'_> {
        let time_factor = self.settings.time_factor;
        Terms { hub: &self.settings.hub_id, now: Self::now(), last: None, time_factor }
    }
}

//! What the workers share: the world, the queues, and the ways to act.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ApiResource;
use tokio::sync::{mpsc, watch};

use super::causes::{self, Causes};
use super::claims::Claims;
use super::deletions::{Deletions, Notice, Turn};
use super::lists::Lists;
use super::matches;
use super::push::Noted;
use super::queue::Queue;
use super::report::Written;
use super::rollout::Rollouts;
use super::settled::{Settled, changes_ranks_only};
use super::shared::Turns;
use super::steady::Steady;
use super::world::{Dirty, World};
use crate::hub::event::HubEvent;
use crate::hub::events::Events;
use crate::hub::kinds;
use crate::hub::ledger::Ledger;
use crate::hub::rights::Missing;
use crate::hub::secrets::HubSecrets;
use crate::hub::statuses::Statuses;
use crate::member::event::MemberEvent;
use crate::member::registry::Origin;
use crate::member::{Fence, Supervisor};
use crate::metrics::Metrics;
use crate::names::{MemberName, ObjectName, PolicyName, RepositoryId};
use crate::outcome::Outcome;
use crate::render::support::Support;
use crate::shard::Share;
use crate::shrink::Moment;
use tracing::warn;

/// What follows from a change is done first, and people are told of it then: both compete for the same API servers.
const TELL_AFTER: Duration = Duration::from_millis(100);

/// What the hub was started with, as far as acting is concerned.
#[derive(Clone, Debug)]
pub struct Settings {
    pub hub_id: String,
    /// The hub's own namespace: the Secrets that register members are there.
    pub namespace: String,
    pub member_namespace: String,
    /// `--observe`: nothing is written to members.
    pub observe: bool,
    /// `--mover-image`, where neither policy, MemberCluster nor VolSync says which.
    pub mover_image: Option<String>,
    /// `--max-claims`
    pub max_claims: usize,
    /// `--shrink-hold`: how long deletions of most objects at once are not believed.
    pub shrink_hold: Duration,
    /// `--rollout-wave`: how long a wave of a rollout lasts whose runs tell nothing. Zero: all CronJobs change at once.
    pub rollout_wave: SignedDuration,
    /// Divides the waits of the protocol; 1 but in test builds.
    pub time_factor: u32,
    /// Divides those between a claim and the first run alone, where a test build leaves all others as they are.
    pub grant_factor: u32,
    /// What of the fleet this replica writes to while it leads.
    pub share: Share,
}

pub struct Engine {
    pub settings: Settings,
    world: Mutex<World>,
    pub repositories: Queue<RepositoryId>,
    pub policies: Queue<PolicyName>,
    pub members: Queue<MemberName>,
    pub ledger: Ledger,
    pub statuses: Statuses,
    pub events: Events,
    pub secrets: HubSecrets,
    pub supervisor: Arc<Supervisor>,
    /// What the hub's own watches report, until it is taken in.
    pub(super) hub_events: mpsc::WeakSender<HubEvent>,
    /// What every member gets that has a repository to maintain.
    pub(super) support: Support,
    pub metrics: Metrics,
    pub(super) causes: Causes,
    /// Open while this replica leads.
    pub fence: Fence,
    /// What the hub may not do on its own cluster, and should.
    pub(super) missing: watch::Receiver<Missing>,
    pub(super) written: Written,
    pub(super) told: matches::Told,
    /// Registrations by Secret that can't be used: reason and message by the Secret's name.
    problems: Mutex<BTreeMap<String, (&'static str, String)>>,
    /// What consistent lists showed of earlier holders.
    pub(super) lists: Mutex<BTreeMap<RepositoryId, Lists>>,
    /// By which it is told whether the system's clock was set: what was measured before counts no more.
    clocks: (Instant, Mutex<Steady>),
    /// What runs another image or script than it should, and gets it in its turn.
    rollouts: Mutex<Rollouts>,
    /// The plan, as a hash, of which nothing was left to do but wait.
    pub(super) settled: Settled,
    /// Failed attempts in a row, for the wait before the next.
    failures: Mutex<BTreeMap<RepositoryId, u32>>,
    /// Since when the source of a copy is gone that should go too. A hub that starts anew counts anew.
    gone: Mutex<BTreeMap<(MemberName, ObjectName), Timestamp>>,
    pub(super) shared_turns: Turns,
}

impl Engine {
    // One argument a collaborator: they have nothing else in common.
    #[expect(clippy::too_many_arguments, reason = "each is another way to act")]
    pub fn new(
        settings: Settings,
        world: World,
        ledger: Ledger,
        statuses: Statuses,
        events: Events,
        secrets: HubSecrets,
        supervisor: Arc<Supervisor>,
        hub_events: mpsc::WeakSender<HubEvent>,
        fence: Fence,
        missing: watch::Receiver<Missing>,
    ) -> Self {
        let support = Support::new(&settings.hub_id, &settings.member_namespace);
        Self {
            settings,
            world: Mutex::new(world),
            repositories: Queue::new(),
            policies: Queue::new(),
            members: Queue::new(),
            ledger,
            statuses,
            events,
            secrets,
            supervisor,
            hub_events,
            support,
            metrics: Metrics::new(Outcome::ALL.map(Outcome::as_str)),
            causes: Causes::default(),
            fence,
            missing,
            written: Written::default(),
            told: Mutex::default(),
            problems: Mutex::default(),
            lists: Mutex::default(),
            clocks: (Instant::now(), Mutex::default()),
            rollouts: Mutex::default(),
            settled: Settled::default(),
            failures: Mutex::default(),
            gone: Mutex::default(),
            shared_turns: Turns::default(),
        }
    }

    // Steps under the lock are short and leave the world whole, so a poisoned lock is no reason to stop.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rollouts(&self) -> MutexGuard<'_, Rollouts> {
        self.rollouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A replica that stands by plans and logs like the one that leads, and writes nothing.
    pub fn leads(&self) -> bool {
        self.fence.is_open()
    }

    /// Since when waits can be told from this process's own clock: it leads, and nobody has set that clock.
    pub(super) fn steady_since(&self) -> Timestamp {
        let (began, steady) = &self.clocks;
        let (now, passed) = (Self::now(), began.elapsed());
        let leads = now.checked_sub(self.fence.open_for()).unwrap_or(now);
        steady.lock().unwrap_or_else(PoisonError::into_inner).tell(now, passed).max(leads)
    }

    /// Everything is looked at once: this replica has begun to lead, or has just started.
    pub fn look_at_everything(&self) {
        let dirty = self.world().everything();
        self.enqueue(dirty);
    }

    pub fn look_at_policies(&self) {
        let policies = self.world().policies.keys().cloned().collect();
        self.enqueue(Dirty { policies, ..Dirty::default() });
    }

    /// Rights that are missing are told of where no policy's status can be written, too.
    pub fn tell_of_rights(&self) {
        if let Some(message) = self.missing.borrow().as_deref() {
            self.events.publish(crd_of(self.statuses.policy_resource()), false, "MissingRules", message);
        }
    }

    /// Registrations that can't be used are told of once, and again by a replica that begins to lead.
    pub fn tell_of_problems(&self) {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (secret, (reason, message)) in problems {
            self.tell_of_problem(&secret, reason, &message);
        }
    }

    fn note_problem(&self, event: &MemberEvent) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            MemberEvent::Problem { origin: Origin::Secret(secret), reason, message, .. } => {
                problems.insert(secret.to_string(), (reason, message.clone()));
                drop(problems);
                self.tell_of_problem(secret, reason, message);
            }
            MemberEvent::Registered { origin: Some(Origin::Secret(secret)), .. } => {
                problems.remove(&**secret);
            }
            // Of a registration that is gone nothing needs to be said any more.
            MemberEvent::Registered { member, origin: None } => {
                problems.remove(member.as_str());
            }
            _ => {}
        }
    }

    fn tell_of_problem(&self, secret: &str, reason: &str, message: &str) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            namespace: Some(self.settings.namespace.clone()),
            name: Some(secret.to_owned()),
            ..ObjectReference::default()
        };
        self.events.publish(about, false, reason, message);
    }

    /// What a member's observers report.
    pub fn take_in(&self, event: MemberEvent) {
        self.note_problem(&event);
        let change = causes::of_member(&event);
        let dirty = self.world().apply_member(event);
        if let Some(change) = change {
            self.causes.note(&change, &dirty.repositories);
        }
        self.enqueue(dirty);
        self.call_next();
    }

    /// Turns to claim that are free go to those who have waited longest.
    pub(super) fn call_next(&self) {
        self.call(&mut self.world().claims);
    }

    fn call(&self, claims: &mut Claims) {
        for id in claims.call(self.settings.max_claims, Self::now()) {
            self.repositories.add(id);
        }
    }

    /// It claims nothing now: others may.
    pub(super) fn claims_nothing(&self, id: RepositoryId) {
        let claims = &mut self.world().claims;
        claims.leave(id);
        self.call(claims);
    }

    /// What the hub's own watches report.
    pub fn take_in_of_hub(&self, event: HubEvent) {
        let change = causes::of_hub(&event);
        let (mut dirty, ranks_only) = {
            let mut world = self.world();
            let ranks_only = changes_ranks_only(world.planner.fleet(), &event);
            (world.apply_hub(event), ranks_only)
        };
        if let Some(change) = change {
            self.causes.note(&change, &dirty.repositories);
        }
        if ranks_only {
            for id in std::mem::take(&mut dirty.repositories) {
                self.repositories.add_doubtful(id);
            }
        }
        self.enqueue(dirty);
        self.call_next();
    }

    /// Takes in the deletions that are believed by now, and tells of those that are held. Returns when to ask again.
    pub fn believe(&self, deletions: &mut Deletions, now: Moment) -> Option<Moment> {
        let believed = deletions.decide(&self.world(), now);
        for event in believed.hub {
            self.take_in_of_hub(event);
        }
        for event in believed.members {
            self.take_in(event);
        }
        for notice in &believed.notices {
            self.tell_of_hold(notice);
        }
        believed.wake
    }

    fn tell_of_hold(&self, notice: &Notice) {
        let Notice { member, kind, turn } = notice;
        let minutes = self.settings.shrink_hold.as_secs() / 60;
        let (reason, text) = match turn {
            Turn::Held(count) => (
                "ShrinkHeld",
                format!(
                    "{count} {kind} objects, most of all, were deleted at once: that is believed only if they are still \
                     gone after {minutes} min (--shrink-hold); until then nothing is removed because of it"
                ),
            ),
            Turn::Restored => ("ShrinkRestored", format!("{kind} objects came back; nothing was removed")),
            Turn::Over => ("ShrinkBelieved", format!("{kind} objects stayed away; what served them is removed")),
        };
        let cluster = member.as_ref().map_or("the hub", MemberName::as_str);
        warn!(cluster, kind, reason, "{text}");
        if let Some(member) = member {
            let held = matches!(turn, Turn::Held(_)).then(|| text.clone());
            self.world().members.entry(member.clone()).or_default().shrink_held = held;
            self.members.add(member.clone());
        }
        let about = match member {
            Some(member) => ObjectReference {
                api_version: Some("hub.volsync.backube/v1alpha1".to_owned()),
                kind: Some("MemberCluster".to_owned()),
                name: Some(member.to_string()),
                ..ObjectReference::default()
            },
            // One object a kind: Events of one reason about one object are counted as one.
            None => crd_of(&match *kind {
                "KopiaRepository" => kinds::ledger(),
                "MemberCluster" => kinds::member_cluster(),
                _ => self.statuses.policy_resource().clone(),
            }),
        };
        self.events.publish(about, *turn == Turn::Restored, reason, &text);
    }

    pub fn enqueue(&self, dirty: Dirty) {
        for id in dirty.repositories {
            self.repositories.add(id);
        }
        for name in dirty.policies {
            self.policies.add_after(name, TELL_AFTER);
        }
        for name in dirty.members {
            self.members.add_after(name, TELL_AFTER);
        }
    }

    /// Remembers what a push wrote or compared.
    pub fn note(&self, member: &MemberName, noted: Vec<Noted>) {
        let mut world = self.world();
        for note in noted {
            world.note(member, note);
        }
    }

    pub fn failed(&self, id: RepositoryId) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(id).or_default();
        *count = count.saturating_add(1);
        *count
    }

    pub fn succeeded(&self, id: RepositoryId) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Notes whether the source of a copy is gone now, and says since when it is.
    pub fn gone_since(&self, copy: (MemberName, ObjectName), now: Option<Timestamp>) -> Option<Timestamp> {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        match now {
            Some(now) => Some(*gone.entry(copy).or_insert(now)),
            None => gone.remove(&copy),
        }
    }

    pub fn now() -> Timestamp {
        Timestamp::now()
    }
}

fn crd_of(resource: &ApiResource) -> ObjectReference {
    ObjectReference {
        api_version: Some("apiextensions.k8s.io/v1".to_owned()),
        kind: Some("CustomResourceDefinition".to_owned()),
        name: Some(kinds::crd_name(resource)),
        ..ObjectReference::default()
    }
}

//! What the workers share: the world, the queues, and the ways to act.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use super::push::Noted;
use super::queue::Queue;
use super::report::Written;
use super::world::{Dirty, World};
use crate::hub::events::Events;
use crate::hub::ledger::Ledger;
use crate::hub::secrets::HubSecrets;
use crate::hub::statuses::Statuses;
use crate::member::Supervisor;
use crate::member::event::MemberEvent;
use crate::member::registry::Origin;
use crate::names::{MemberName, ObjectName, PolicyName, RepositoryId};

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
    /// Divides the waits of the protocol; 1 but in test builds.
    pub time_factor: u32,
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
    pub(super) written: Written,
    /// Failed attempts in a row, for the wait before the next.
    failures: Mutex<BTreeMap<RepositoryId, u32>>,
    /// Since when the source of a copy is gone that should go too. A hub that starts anew counts anew.
    gone: Mutex<BTreeMap<(MemberName, ObjectName), Timestamp>>,
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
    ) -> Self {
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
            written: Written::default(),
            failures: Mutex::default(),
            gone: Mutex::default(),
        }
    }

    // Steps under the lock are short and leave the world whole, so a poisoned lock is no reason to stop.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a member's observers report.
    pub fn take_in(&self, event: MemberEvent) {
        if let MemberEvent::Problem { origin: Origin::Secret(name), reason, message, .. } = &event {
            let about = ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Secret".to_owned()),
                namespace: Some(self.settings.namespace.clone()),
                name: Some(name.to_string()),
                ..ObjectReference::default()
            };
            self.events.publish(about, false, reason, message);
        }
        let dirty = self.world().apply_member(event);
        self.enqueue(dirty);
    }

    pub fn enqueue(&self, dirty: Dirty) {
        for id in dirty.repositories {
            self.repositories.add(id);
        }
        for name in dirty.policies {
            self.policies.add(name);
        }
        for name in dirty.members {
            self.members.add(name);
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

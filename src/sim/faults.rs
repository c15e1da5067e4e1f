//! What a test can make a simulated cluster do wrong, switched while it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// A handle to the faults of one cluster; clones share them. All are off at the start.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Raised to end all watches cleanly.
    watches_cut: watch::Sender<u64>,
    /// Raised to drop all connections.
    connections_cut: watch::Sender<u64>,
    /// Wakes what waits for a fault to be lifted.
    lifted: watch::Sender<u64>,
}

// Each switch is a fault of its own; they combine freely.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Copy, Debug, Default)]
struct State {
    latency: Duration,
    answer: Option<Refusal>,
    refuse: bool,
    silent: bool,
    hang: bool,
    stall_watches: bool,
    end_watches_at_once: bool,
    expire_versions: bool,
    bodies: Bodies,
}

/// How bodies of answers are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bodies {
    /// As through a thin line.
    pub bytes_a_second: Option<u64>,
    /// Each ends cleanly after so many bytes, as behind a proxy that loses the rest.
    pub cut_after: Option<u64>,
}

/// An answer given to every request instead of the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 429 with Retry-After.
    TooManyRequests,
    /// 503
    Unavailable,
    /// 401, as if every token had expired.
    Unauthorized,
}

impl Default for Faults {
    fn default() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State::default()),
            watches_cut: watch::Sender::new(0),
            connections_cut: watch::Sender::new(0),
            lifted: watch::Sender::new(0),
        }))
    }
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.lifted.send_modify(|count| *count += 1);
    }

    /// Waits this long before each answer.
    pub fn set_latency(&self, latency: Duration) {
        self.set(|state| state.latency = latency);
    }
    /// Answers every request so; none: rightly again. Watches under way go on.
    pub fn answer_with(&self, refusal: Option<Refusal>) {
        self.set(|state| state.answer = refusal);
    }
    /// True: drops all connections and takes no new one (connection refused by reset). False: serves again.
    pub fn refuse_connections(&self, refuse: bool) {
        self.set(|state| state.refuse = refuse);
        if refuse {
            self.drop_connections();
        }
    }
    /// True: drops all connections and takes new ones without ever saying a word. False: goes on with these.
    pub fn silence(&self, silent: bool) {
        self.set(|state| state.silent = silent);
        if silent {
            self.drop_connections();
        }
    }
    /// True: takes requests and never answers; those under way wait until it is false again.
    pub fn hang(&self, hang: bool) {
        self.set(|state| state.hang = hang);
    }
    /// True: open watches send nothing more and don't end, as behind a half-open connection.
    pub fn stall_watches(&self, stall: bool) {
        self.set(|state| state.stall_watches = stall);
    }
    /// True: each new watch ends cleanly at once, as behind a broken proxy.
    pub fn end_watches_at_once(&self, end: bool) {
        self.set(|state| state.end_watches_at_once = end);
    }
    /// True: every watch that is open or resumes, and every list that goes on from a page, gets 410.
    pub fn expire_versions(&self, expire: bool) {
        self.set(|state| state.expire_versions = expire);
        if expire {
            self.end_watches();
        }
    }
    pub fn send_bodies(&self, bodies: Bodies) {
        self.set(|state| state.bodies = bodies);
    }
    /// Ends all watches cleanly, once.
    pub fn end_watches(&self) {
        self.0.watches_cut.send_modify(|count| *count += 1);
    }
    /// Drops all connections, once.
    pub fn drop_connections(&self) {
        self.0.connections_cut.send_modify(|count| *count += 1);
    }

    pub(super) fn latency(&self) -> Duration {
        self.state().latency
    }
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.state().answer
    }
    pub(super) fn refuses(&self) -> bool {
        self.state().refuse
    }
    pub(super) fn stalls_watches(&self) -> bool {
        self.state().stall_watches
    }
    pub(super) fn ends_watches_at_once(&self) -> bool {
        self.state().end_watches_at_once
    }
    pub(super) fn expires_versions(&self) -> bool {
        self.state().expire_versions
    }
    pub(super) fn bodies(&self) -> Bodies {
        self.state().bodies
    }
    pub(super) fn cuts(&self) -> watch::Receiver<u64> {
        self.0.watches_cut.subscribe()
    }
    pub(super) fn connection_cuts(&self) -> watch::Receiver<u64> {
        self.0.connections_cut.subscribe()
    }
    /// Returns once connections are spoken on.
    pub(super) async fn until_speaking(&self) {
        self.until(|state| !state.silent).await;
    }
    /// Returns once requests are answered.
    pub(super) async fn until_answering(&self) {
        self.until(|state| !state.hang).await;
    }
    /// Returns once watches flow.
    pub(super) async fn until_flowing(&self) {
        self.until(|state| !state.stall_watches).await;
    }
    async fn until(&self, good: impl Fn(&State) -> bool) {
        let mut lifted = self.0.lifted.subscribe();
        while !good(&self.state()) {
            // The sender lives as long as this handle.
            if lifted.changed().await.is_err() {
                return;
            }
        }
    }
}

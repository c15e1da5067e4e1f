//! The gate before every write to any cluster: open while this process may write, and shut before another may.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Cheap to clone; all clones are one gate.
#[derive(Clone)]
pub struct Fence(Arc<Gate>);

struct Gate {
    /// And since when it is open, or was the last time.
    state: Mutex<(State, Instant)>,
    /// Writes under way.
    writing: watch::Sender<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Somebody else sees to it that there is one writer.
    Open,
    /// Writes may start until `starts`, and have to have ended at `ends`.
    Until {
        starts: Instant,
        ends: Instant,
    },
    Shut,
}

impl State {
    fn check(self) -> Result<Option<Instant>, NotLeading> {
        match self {
            Self::Open => Ok(None),
            Self::Until { starts, ends } if Instant::now() < starts => Ok(Some(ends)),
            Self::Until { .. } | Self::Shut => Err(NotLeading),
        }
    }
}

/// Why a write was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process does not lead, so it writes nothing")]
pub struct NotLeading;

/// A write under way. The fence counts it until it is dropped.
pub struct Pass {
    gate: Arc<Gate>,
    ends: Option<Instant>,
}

impl Fence {
    pub fn open() -> Self {
        Self::new(State::Open)
    }

    /// Nothing is written until [`Fence::lead`].
    pub fn shut() -> Self {
        Self::new(State::Shut)
    }

    fn new(state: State) -> Self {
        Self(Arc::new(Gate { state: Mutex::new((state, Instant::now())), writing: watch::Sender::new(0) }))
    }

    /// Writes may start until `ends - margin`; those under way are given up at `ends`.
    pub fn lead(&self, ends: Instant, margin: Duration) {
        let starts = ends.checked_sub(margin).unwrap_or(ends);
        self.set(State::Until { starts, ends });
    }

    /// No write starts from now on. Those under way go on, at most until their Lease ends.
    pub fn close(&self) {
        self.set(State::Shut);
    }

    fn set(&self, next: State) {
        // A plain value that is whole whoever panicked.
        let mut known = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, since) = &mut *known;
        if state.check().is_err() {
            *since = Instant::now();
        }
        *state = next;
    }

    /// For how long it has been open without a break, where it is open.
    pub fn open_for(&self) -> Duration {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).1.elapsed()
    }

    pub fn is_open(&self) -> bool {
        self.check().is_ok()
    }

    /// When a write that starts now has to have ended; none: whenever it likes.
    fn check(&self) -> Result<Option<Instant>, NotLeading> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).0.check()
    }

    /// Asks for one write.
    pub fn pass(&self) -> Result<Pass, NotLeading> {
        // Counted first: who closes the fence and then sees no write under way can be sure of it.
        self.0.writing.send_modify(|count| *count += 1);
        let mut pass = Pass { gate: self.0.clone(), ends: None };
        pass.ends = self.check()?;
        Ok(pass)
    }

    /// Waits until no write is under way.
    pub async fn drained(&self) {
        let _ = self.0.writing.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Pass {
    /// Sends the write: gives it up, as far as this side can, when the Lease ends.
    pub async fn send<T>(self, write: impl Future<Output = T>) -> Result<T, NotLeading> {
        match self.ends {
            None => Ok(write.await),
            Some(ends) => tokio::time::timeout_at(ends, write).await.map_err(|_| NotLeading),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.writing.send_modify(|count| *count -= 1);
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence({})", if self.is_open() { "open" } else { "shut" })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);
    const MARGIN: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn writes_start_until_the_margin_and_end_with_the_lease() {
        let fence = Fence::shut();
        assert!(fence.pass().is_err());
        let end = Instant::now() + LEASE;
        fence.lead(end, MARGIN);
        tokio::time::advance(Duration::from_millis(4_999)).await;
        let late = fence.pass().unwrap();
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(fence.pass().is_err(), "no write starts within the margin");
        assert_eq!(late.send(std::future::pending::<()>()).await, Err(NotLeading));
        assert_eq!(Instant::now(), end, "a write that hangs is given up when the Lease ends");
    }

    #[tokio::test(start_paused = true)]
    async fn who_closes_it_can_wait_for_the_writes_under_way() {
        let fence = Fence::open();
        let pass = fence.pass().unwrap();
        fence.close();
        assert!(fence.pass().is_err());
        let waiting = tokio::spawn({
            let fence = fence.clone();
            async move { fence.drained().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        pass.send(async {}).await.unwrap();
        waiting.await.unwrap();
    }
}

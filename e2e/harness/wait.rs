//! Waiting for something to become true, with a deadline and never by sleeping a guessed time.

use std::time::{Duration, Instant};

use super::Fail;

/// Long enough that two busy cores do not fail a test, short enough to see a hang.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Between two looks: API servers on one machine answer within milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// What a look found.
pub enum Seen<T> {
    Done(T),
    /// Not yet: what was there instead, for the message if time runs out.
    NotYet(String),
}

impl<T> Seen<T> {
    /// Done as soon as there is a value.
    pub fn some(value: Option<T>, otherwise: impl Into<String>) -> Self {
        value.map_or_else(|| Self::NotYet(otherwise.into()), Self::Done)
    }
}

impl Seen<()> {
    /// Done as soon as the condition holds.
    pub fn when(condition: bool, otherwise: impl Into<String>) -> Self {
        if condition { Self::Done(()) } else { Self::NotYet(otherwise.into()) }
    }
}

/// Looks until it sees what it waits for. An error of the look counts as "not yet". After the deadline the
/// error says what was waited for and what was seen last.
pub async fn wait_for<T, L>(what: &str, deadline: Duration, mut look: L) -> Result<T, Fail>
where
    L: AsyncFnMut() -> Result<Seen<T>, Fail>,
{
    let started = Instant::now();
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        let last = match tokio::time::timeout(left.max(LOOK_EVERY), look()).await {
            Ok(Ok(Seen::Done(value))) => return Ok(value),
            Ok(Ok(Seen::NotYet(seen))) => seen,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "nothing: the look itself took too long".to_owned(),
        };
        if started.elapsed() >= deadline {
            return Err(format!("waited {} s for {what}; last seen: {last}", deadline.as_secs()).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

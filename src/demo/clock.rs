//! Time inside simulated members: it starts now and runs faster, so that schedules come round while one watches.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// A clock by which CronJobs are due.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Timestamp,
    started: Instant,
    speed: u32,
}

impl Clock {
    /// `speed` 6 makes a minute pass in ten seconds.
    pub fn starting_now(speed: u32) -> Self {
        Self { start: Timestamp::now(), started: Instant::now(), speed }
    }

    pub fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.started.elapsed() * self.speed).unwrap_or(SignedDuration::MAX);
        self.start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }
    pub fn speed(&self) -> u32 {
        self.speed
    }
}

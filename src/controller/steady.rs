//! Since when a process can tell from its own clock alone how much time has passed.

use std::time::Duration;

use jiff::Timestamp;

use crate::time::after;

/// A clock that is set by no more counts as not set.
const LEEWAY: Duration = Duration::from_secs(1);

/// Compares the system's clock, which may be set at any time, with one that only runs.
#[derive(Debug, Default)]
pub struct Steady {
    /// Where both stood, when they had gone alike from.
    since: Option<(Timestamp, Duration)>,
}

impl Steady {
    /// `passed` is how much time has passed since some fixed moment. Returns since when both have gone alike, by the
    /// system's clock.
    pub fn tell(&mut self, now: Timestamp, passed: Duration) -> Timestamp {
        let goes_on = |(since, then): &(Timestamp, Duration)| {
            let expected = after(*since, passed.saturating_sub(*then).try_into().unwrap_or_default());
            now.duration_since(expected).unsigned_abs() <= LEEWAY
        };
        let (since, then) = self.since.filter(goes_on).unwrap_or((now, passed));
        self.since = Some((since, then));
        since
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_measured_before_the_clock_was_set_does_not_count() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let mut steady = Steady::default();
        let mut tell = |now, passed| steady.tell(at(now), Duration::from_secs(passed));
        assert_eq!(tell(10, 3), at(10));
        assert_eq!(tell(70, 63), at(10), "both have gone on by a minute");
        assert_eq!(tell(81, 73), at(10), "a second is nothing");
        assert_eq!(tell(82, 73), at(82), "set forward");
        assert_eq!(tell(92, 83), at(82));
        assert_eq!(tell(40, 93), at(40), "set back");
        // As little as each time is still all of it in the end.
        assert_eq!(tell(51, 103), at(40));
        assert_eq!(tell(62, 113), at(62));
    }
}

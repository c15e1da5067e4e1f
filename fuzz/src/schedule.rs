//! A policy's schedule, spread and time zone, at any time.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use volsync_hub::names::RepositoryKey;
use volsync_hub::schedule::{FixedSchedule, Schedule, ScheduleError, Spread, ZoneName};

use super::{assert_message, in_time};

/// Some time with everything ahead of it within five years: leap days, changes of clocks.
const NOW: i64 = 1_790_000_000;

/// One line each: schedule, spread, time zone, seconds of Unix time.
pub fn schedule(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (schedule, spread, zone, seconds) = (next(), next(), next(), next());
    let spread = checked(spread.parse::<Spread>());
    let zone = checked(zone.parse::<ZoneName>()).map_or(TimeZone::UTC, |zone| zone.time_zone());
    let now = seconds.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let now = now.unwrap_or_else(|| Timestamp::from_second(NOW).expect("a time"));
    if let Some(spread) = spread {
        assert_eq!(spread.to_string().parse(), Ok(spread), "{spread}");
    }
    let Some(read) = in_time("reading a schedule", || checked(schedule.parse::<Schedule>())) else { return };
    assert_eq!(read.as_str().parse().as_ref(), Ok(&read), "what is shown reads as what it is");
    for salt in ["a", "b"] {
        let repository = RepositoryKey::of_tuple([salt, schedule]);
        let fixed = read.fix(&repository, None).expect("without a spread every schedule can be fixed");
        check(&fixed, now, &zone);
        let Some(spread) = spread else { continue };
        let fixed = checked(read.fix(&repository, Some(spread)));
        assert_eq!(fixed.is_some(), read.check_spread(spread).is_ok(), "{schedule:?} spread over {spread}");
        if let Some(fixed) = fixed {
            check(&fixed, now, &zone);
        }
    }
}

fn checked<T>(outcome: Result<T, ScheduleError>) -> Option<T> {
    outcome.map_err(|error| assert_message(&error.to_string())).ok()
}

/// What is pushed says the same to everyone who reads it, and fires.
fn check(fixed: &FixedSchedule, now: Timestamp, zone: &TimeZone) {
    let again: Schedule = fixed.as_str().parse().expect("what is pushed is a schedule");
    assert!(!again.differs_by_repository(), "{}", fixed.as_str());
    let other = RepositoryKey::of_tuple(["other"]);
    assert_eq!(again.fix(&other, None).as_ref(), Ok(fixed));
    let mut last = now;
    in_time("finding fire times", || {
        for fire in fixed.upcoming(now, zone).take(8) {
            assert!(fire > last, "{} fires at {fire} after {last}", fixed.as_str());
            last = fire;
        }
    });
    let start = Timestamp::from_second(NOW).expect("a time");
    let fires: Vec<Timestamp> = fixed.upcoming(start, &TimeZone::UTC).take(8).collect();
    assert!(!fires.is_empty(), "{} never fires", fixed.as_str());
    for pair in fires.windows(2) {
        let gap = (pair[1] - pair[0]).total(jiff::Unit::Second).expect("a number of seconds");
        assert!(gap >= f64::from(fixed.shortest_period()), "{} fires {gap} s apart", fixed.as_str());
    }
}

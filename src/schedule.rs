//! When maintenance runs: a policy's schedule, made fixed for one repository, and its next fire times
//! as the CronJob controller computes them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::names::RepositoryKey;

/// A valid schedule of a policy; may hold `H`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {}

impl std::str::FromStr for Schedule {
    type Err = ScheduleError;
    fn from_str(_text: &str) -> Result<Self, ScheduleError> {
        Ok(Self {})
    }
}

impl Schedule {
    /// Replaces `H` and applies `spread` for one repository. Fails where `spread` does not fit the schedule.
    pub fn fix(&self, _repository: &RepositoryKey, _spread: Option<Spread>) -> Result<FixedSchedule, ScheduleError> {
        Ok(FixedSchedule {})
    }
    /// The same rules as [`Schedule::fix`], for the policy alone: `spread` fits every repository or none.
    pub fn check_spread(&self, _spread: Spread) -> Result<(), ScheduleError> {
        Ok(())
    }
}

/// A width in whole minutes over which a fixed minute-and-hour schedule is spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    pub(crate) minutes: u32,
}

/// A schedule as it is pushed: what robfig/cron v3 `ParseStandard` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedSchedule {}

impl FixedSchedule {
    /// The text for `CronJob.spec.schedule`.
    pub fn as_str(&self) -> &str {
        ""
    }
    /// The first fire time after `after`, as the CronJob controller computes it; none within 5 years.
    pub fn next_after(&self, _after: Timestamp, _zone: &TimeZone) -> Option<Timestamp> {
        None
    }
    /// The shortest time between two fire times that follow `after`, in seconds.
    pub fn shortest_period(&self, _after: Timestamp, _zone: &TimeZone) -> u32 {
        0
    }
}

/// A zone name that the members' API servers know too, case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneName {
    name: Box<str>,
}

impl ZoneName {
    pub fn as_str(&self) -> &str {
        &self.name
    }
    pub fn time_zone(&self) -> TimeZone {
        TimeZone::UTC
    }
}

impl std::str::FromStr for ZoneName {
    type Err = ScheduleError;
    fn from_str(name: &str) -> Result<Self, ScheduleError> {
        Ok(Self { name: name.into() })
    }
}

/// Says which part of the schedule is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScheduleError(pub(crate) String);

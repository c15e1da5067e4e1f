//! When maintenance runs: a policy's schedule, made fixed for one repository, and its next fire times
//! as the CronJob controller computes them.
//!
//! A schedule is what a CronJob takes, and on top of it 7 as Sunday and `H`, a value that is fixed for each repository.
//! What a CronJob takes though nobody can mean it, and what never fires, is refused.

mod fields;
mod hash;
mod next;
mod parse;
mod zone;

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::names::RepositoryKey;
use fields::{Field, TimeFields};
pub use zone::ZoneName;

/// A valid schedule of a policy; may hold `H`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// As written, blanks collapsed.
    text: Box<str>,
    /// Minute, hour, day of month, month, day of week.
    fields: [Field; 5],
    /// Written as `@daily` and the like; `fields` says what it means.
    descriptor: bool,
}

impl FromStr for Schedule {
    type Err = ScheduleError;
    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        parse::schedule(text)
    }
}

/// As written, blanks collapsed.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Schedule {
    /// As written, blanks collapsed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// It holds `H`: each repository has its own fire times.
    pub fn differs_by_repository(&self) -> bool {
        self.fields.iter().any(Field::has_hash)
    }

    /// Replaces `H` and applies `spread` for one repository. Fails where `spread` does not fit the schedule.
    pub fn fix(&self, repository: &RepositoryKey, spread: Option<Spread>) -> Result<FixedSchedule, ScheduleError> {
        if let Some(spread) = spread.filter(|spread| spread.minutes > 0) {
            let start = self.start_of_spread(spread)?;
            let minute_of_day = start + hash::offset(repository, spread.minutes);
            return Ok(self.fixed_at(minute_of_day, repository));
        }
        if self.descriptor {
            return Ok(FixedSchedule { text: self.text.clone(), fields: self.time_fields(repository) });
        }
        let texts = self.fields.each_ref().map(|field| field.text(repository));
        Ok(FixedSchedule { text: texts.join(" ").into(), fields: self.time_fields(repository) })
    }

    /// The same rules as [`Schedule::fix`], for the policy alone: `spread` fits every repository or none.
    pub fn check_spread(&self, spread: Spread) -> Result<(), ScheduleError> {
        if spread.minutes == 0 { Ok(()) } else { self.start_of_spread(spread).map(drop) }
    }

    fn time_fields(&self, repository: &RepositoryKey) -> TimeFields {
        let [minute, hour, day, month, weekday] = self.fields.each_ref().map(|field| field.bits(repository));
        TimeFields { minute, hour, day, month, weekday }
    }

    /// The minute of the day from which the runs are spread.
    fn start_of_spread(&self, spread: Spread) -> Result<u32, ScheduleError> {
        let [minute, hour, ..] = &self.fields;
        let (Some(minute), Some(hour)) = (minute.number(), hour.number()) else {
            return Err(ScheduleError(format!(
                "spread needs one fixed minute and hour, such as \"0 2 * * *\", and the schedule is {:?}: \
                 drop spread and let H choose, such as \"H H(2-5) * * *\"",
                fields::excerpt(&self.text)
            )));
        };
        let start = 60 * hour + minute;
        if start + spread.minutes < MINUTES_OF_DAY {
            return Ok(start);
        }
        Err(ScheduleError(format!(
            "spread {spread} after {hour:02}:{minute:02} does not end before midnight: \
             start earlier, make it shorter, or let H choose over the whole day, such as \"H H * * *\""
        )))
    }

    fn fixed_at(&self, minute_of_day: u32, repository: &RepositoryKey) -> FixedSchedule {
        let (minute, hour) = (minute_of_day % 60, minute_of_day / 60);
        let [_, _, days @ ..] = &self.fields;
        let days = days.each_ref().map(|field| field.text(repository)).join(" ");
        let fields = TimeFields { minute: 1 << minute, hour: 1 << hour, ..self.time_fields(repository) };
        FixedSchedule { text: format!("{minute} {hour} {days}").into(), fields }
    }
}

const MINUTES_OF_DAY: u32 = 24 * 60;

/// A width in whole minutes over which a fixed minute-and-hour schedule is spread; 0 spreads nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    pub(crate) minutes: u32,
}

/// `90m`, `2h`, `1h30m`: whole minutes, less than a day; `0s` spreads nothing.
impl FromStr for Spread {
    type Err = ScheduleError;
    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        parse::spread(text)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.minutes / 60, self.minutes % 60) {
            (0, minutes) => write!(f, "{minutes}m"),
            (hours, 0) => write!(f, "{hours}h"),
            (hours, minutes) => write!(f, "{hours}h{minutes}m"),
        }
    }
}

/// A schedule as it is pushed: what robfig/cron v3 `ParseStandard` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedSchedule {
    text: Box<str>,
    fields: TimeFields,
}

impl FixedSchedule {
    /// The text for `CronJob.spec.schedule`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first fire time after `after`, as the CronJob controller computes it; none within 5 years.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        next::next_after(&self.fields, after, zone)
    }

    /// The fire times after `after`, first to last.
    pub fn upcoming(&self, after: Timestamp, zone: &TimeZone) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(after, zone), |last| self.next_after(*last, zone))
    }

    /// The shortest time between two fire times on clocks that never change, in seconds. It depends on nothing but
    /// the schedule, so that what is computed from it stays what it is from day to day.
    pub fn shortest_period(&self) -> u32 {
        next::shortest_period_minutes(&self.fields) * 60
    }
}

/// Says which part of the schedule is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScheduleError(pub(crate) String);

#[cfg(test)]
mod tests;

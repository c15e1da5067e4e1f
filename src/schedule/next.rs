//! The next fire time, step for step as robfig/cron v3.0.1 finds it: that is what runs in the members.
//!
//! Its search walks over clock readings: a month at a time to a month that matches, then days, hours, minutes,
//! seconds. Each step is arithmetic on readings as Go does it, and where the clock is put forward or back the two
//! together have habits of their own: a time in the gap is skipped, a time in the overlap fires twice, and in a zone
//! that changes at midnight, or by half an hour, a day or an hour can be missed, or the day after taken. All of that is
//! kept.

use jiff::civil::{Date, DateTime, date};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};

use super::fields::TimeFields;

/// robfig gives up after this many years.
const HORIZON_YEARS: i16 = 5;

/// The first fire time after `after`; none where robfig finds none, or would search for ever.
pub(super) fn next_after(fields: &TimeFields, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    // Whole seconds, and the next one at the earliest.
    let start = after.as_nanosecond().div_euclid(1_000_000_000) + 1;
    let now = Reading::at(i64::try_from(start).ok()?, zone)?;
    let last_year = now.local.year() + HORIZON_YEARS;
    let mut search = Search { fields, zone, now, rounded: false };
    while search.now.local.year() <= last_year {
        if search.month()? && search.day()? && search.hour()? && search.minute()? && search.second()? {
            return Timestamp::from_second(search.now.second).ok();
        }
    }
    None
}

/// An instant, and what the clock on the wall shows.
#[derive(Clone, Copy)]
struct Reading {
    /// Since 1970.
    second: i64,
    local: DateTime,
}

impl Reading {
    fn at(second: i64, zone: &TimeZone) -> Option<Self> {
        let instant = Timestamp::from_second(second).ok()?;
        Some(Self { second, local: zone.to_offset(instant).to_datetime(instant) })
    }

    /// The instant at which Go takes the clock to show `local`. In a gap or an overlap that is one of two answers.
    fn of(local: DateTime, zone: &TimeZone) -> Option<Self> {
        let as_utc = Offset::UTC.to_timestamp(local).ok()?;
        let guess = zone.to_offset(as_utc);
        if guess == Offset::UTC {
            return Self::at(as_utc.as_second(), zone);
        }
        let offset = zone.to_offset(guess.to_timestamp(local).ok()?);
        Self::at(offset.to_timestamp(local).ok()?.as_second(), zone)
    }
}

/// The search for a fire time. Each field's step says whether the reading fits; where it says no, a larger field has
/// turned over and all of them have to be looked at again. It says nothing at all where the search would never end.
struct Search<'a> {
    fields: &'a TimeFields,
    zone: &'a TimeZone,
    now: Reading,
    /// The smaller fields were set to their first values. That happens once, at the first step of all.
    rounded: bool,
}

impl Search<'_> {
    fn month(&mut self) -> Option<bool> {
        while !self.fields.in_month(self.now.local.date()) {
            self.round_to(|now| now.date().first_of_month().at(0, 0, 0, 0))?;
            self.step_to(Reading::of(a_month_later(self.now.local)?, self.zone)?)?;
            if self.now.local.month() == 1 {
                return Some(false);
            }
        }
        Some(true)
    }

    fn day(&mut self) -> Option<bool> {
        while !self.fields.on_day(self.now.local.date()) {
            self.round_to(|now| now.date().at(0, 0, 0, 0))?;
            let tomorrow = self.now.local.checked_add(1.day()).ok()?;
            let mut next = Reading::of(tomorrow, self.zone)?;
            // Without a midnight that day, it is back to the hour 0, on this day or the next.
            let hour = i64::from(next.local.hour());
            if hour > 12 {
                next = Reading::at(next.second + (24 - hour) * 3600, self.zone)?;
            } else if hour > 0 {
                next = Reading::at(next.second - hour * 3600, self.zone)?;
            }
            self.step_to(next)?;
            if self.now.local.day() == 1 {
                return Some(false);
            }
        }
        Some(true)
    }

    fn hour(&mut self) -> Option<bool> {
        while self.fields.hour & 1 << self.now.local.hour() == 0 {
            self.round_to(|now| now.date().at(now.hour(), 0, 0, 0))?;
            self.step_by(3600)?;
            if self.now.local.hour() == 0 {
                return Some(false);
            }
        }
        Some(true)
    }

    fn minute(&mut self) -> Option<bool> {
        while self.fields.minute & 1 << self.now.local.minute() == 0 {
            if !self.rounded {
                self.rounded = true;
                // To the minute of UTC, not of the zone.
                self.now = Reading::at(self.now.second - self.now.second.rem_euclid(60), self.zone)?;
            }
            self.step_by(60)?;
            if self.now.local.minute() == 0 {
                return Some(false);
            }
        }
        Some(true)
    }

    fn second(&mut self) -> Option<bool> {
        while self.now.local.second() != 0 {
            self.rounded = true;
            self.step_by(1)?;
            if self.now.local.second() == 0 {
                return Some(false);
            }
        }
        Some(true)
    }

    fn round_to(&mut self, rounded: impl Fn(DateTime) -> DateTime) -> Option<()> {
        if !self.rounded {
            self.rounded = true;
            self.now = Reading::of(rounded(self.now.local), self.zone)?;
        }
        Some(())
    }

    fn step_by(&mut self, seconds: i64) -> Option<()> {
        self.step_to(Reading::at(self.now.second + seconds, self.zone)?)
    }

    /// A step that does not lead forward would be taken again and again: so it is in zones that skipped a whole day.
    fn step_to(&mut self, next: Reading) -> Option<()> {
        if next.second <= self.now.second {
            return None;
        }
        self.now = next;
        Some(())
    }
}

/// The same day and time in the next month; days that it does not have run over into the month after it.
fn a_month_later(local: DateTime) -> Option<DateTime> {
    let first = local.date().first_of_month().checked_add(1.month()).ok()?;
    let day = first.checked_add((local.day() - 1).days()).ok()?;
    Some(day.to_datetime(local.time()))
}

/// The shortest distance between two fire times in a calendar without changes of the clock.
pub(super) fn shortest_period_minutes(fields: &TimeFields) -> u32 {
    let minutes_of_day: Vec<u32> = (0..MINUTES_OF_DAY)
        .filter(|at| fields.hour & 1 << (at / 60) != 0 && fields.minute & 1 << (at % 60) != 0)
        .collect();
    let (Some(first), Some(last)) = (minutes_of_day.first(), minutes_of_day.last()) else {
        return CALENDAR_DAYS * MINUTES_OF_DAY;
    };
    let within_a_day = minutes_of_day.windows(2).map(|pair| pair[1] - pair[0]).min();
    let over_midnight = MINUTES_OF_DAY - last + first;
    match within_a_day {
        Some(within) if within <= over_midnight => within,
        Some(within) => within.min(over_midnight + (shortest_gap_days(fields) - 1) * MINUTES_OF_DAY),
        None => shortest_gap_days(fields) * MINUTES_OF_DAY,
    }
}

const MINUTES_OF_DAY: u32 = 24 * 60;
/// Four years: every month in every length.
const CALENDAR_DAYS: u32 = 1461;
/// And one more, for what lies between the last day of these and the first.
const LOOKED_AT_DAYS: u32 = CALENDAR_DAYS + 366;
const CALENDAR_START: Date = date(2024, 1, 1);

/// The shortest distance between two days on which it fires, found in five fixed years; at most four years.
fn shortest_gap_days(fields: &TimeFields) -> u32 {
    let mut shortest = CALENDAR_DAYS;
    let mut last = None;
    for (number, day) in (0..LOOKED_AT_DAYS).zip(CALENDAR_START.series(1.day())) {
        if !(fields.in_month(day) && fields.on_day(day)) {
            continue;
        }
        if let Some(last) = last.replace(number) {
            shortest = shortest.min(number - last);
        }
        if shortest == 1 {
            break;
        }
    }
    shortest
}

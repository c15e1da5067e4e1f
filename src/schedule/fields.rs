//! The five fields of a schedule: their bounds and names, their terms, and the set of values that they stand for.

use jiff::civil::Date;

use super::hash;
use crate::names::RepositoryKey;

/// Marks a set whose field was written with a star, for the rule about two restricted day fields. No field has a
/// value this high.
pub(super) const STAR: u64 = 1 << 63;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldKind {
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
}

impl FieldKind {
    pub(super) const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::DayOfMonth, Self::Month, Self::DayOfWeek];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
        }
    }

    pub(super) fn low(self) -> u8 {
        match self {
            Self::Minute | Self::Hour | Self::DayOfWeek => 0,
            Self::DayOfMonth | Self::Month => 1,
        }
    }

    /// In the schedule that is pushed: 7 as Sunday is ours.
    pub(super) fn high(self) -> u8 {
        match self {
            Self::Minute => 59,
            Self::Hour => 23,
            Self::DayOfMonth => 31,
            Self::Month => 12,
            Self::DayOfWeek => 6,
        }
    }

    /// Where a bare `H` ends: every month has a 28th.
    pub(super) fn hash_high(self) -> u8 {
        if self == Self::DayOfMonth { 28 } else { self.high() }
    }

    /// Names of the values from `low` on.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Minute | Self::Hour | Self::DayOfMonth => &[],
            Self::Month => &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
            Self::DayOfWeek => &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        }
    }
}

/// One field: terms with commas between them; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) kind: FieldKind,
    pub(super) terms: Box<[Term]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// The same for every repository: how it is pushed, and the values it stands for.
    Fixed { text: Box<str>, bits: u64 },
    /// `H` between two values, both included; with a step, each step from a start on that `H` chooses.
    /// The high end may be 7 in the day of week.
    Hash { low: u8, high: u8, step: Option<u8> },
}

impl Field {
    pub(super) fn has_hash(&self) -> bool {
        self.terms.iter().any(|term| matches!(term, Term::Hash { .. }))
    }

    /// Its value, if it is one plain number.
    pub(super) fn number(&self) -> Option<u32> {
        match &*self.terms {
            [Term::Fixed { text, bits }] if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(bits.trailing_zeros())
            }
            _ => None,
        }
    }

    /// As it is pushed.
    pub(super) fn text(&self, repository: &RepositoryKey) -> String {
        let texts: Vec<String> = self.choices(repository).map(|(text, _)| text).collect();
        texts.join(",")
    }

    pub(super) fn bits(&self, repository: &RepositoryKey) -> u64 {
        self.choices(repository).fold(0, |all, (_, bits)| all | bits)
    }

    fn choices(&self, repository: &RepositoryKey) -> impl Iterator<Item = (String, u64)> {
        self.terms.iter().enumerate().map(move |(place, term)| match term {
            Term::Fixed { text, bits } => (text.to_string(), *bits),
            Term::Hash { low, high, step } => {
                let width = step.unwrap_or(high - low + 1);
                let first = low + hash::choose(repository, self.kind, place, width);
                chosen(self.kind, first, *high, *step)
            }
        })
    }

    fn has_star(&self) -> bool {
        self.terms.iter().any(|term| matches!(term, Term::Fixed { bits, .. } if bits & STAR != 0))
    }
}

/// What `H` became: one value, or steps from it on.
fn chosen(kind: FieldKind, first: u8, high: u8, step: Option<u8>) -> (String, u64) {
    match step {
        // 7 as Sunday.
        None if first > kind.high() => ("0".to_owned(), 1),
        Some(step) if first + step <= high => {
            (format!("{first}-{high}/{step}"), bits(first.into(), high.into(), step.into()))
        }
        _ => (first.to_string(), 1 << first),
    }
}

/// The set of values from `low` to `high`, each `step`; at most 63.
pub(super) fn bits(low: u64, high: u64, step: u64) -> u64 {
    let step = usize::try_from(step).unwrap_or(usize::MAX).max(1);
    (low..=high).step_by(step).fold(0, |bits, value| bits | 1 << value)
}

/// Is there, whatever `H` becomes, a day on which it fires?
pub(super) fn always_fires(day: &Field, month: &Field, weekday: &Field) -> bool {
    // Some weekday comes up in every month; a star in the day of month admits every day.
    if day.has_star() || !weekday.has_star() {
        return true;
    }
    let first_day = day.terms.iter().map(latest_first_day).min();
    let longest_month = month.terms.iter().map(shortest_longest_month).max();
    first_day <= longest_month
}

/// The first day of the term, where `H` is least lucky.
fn latest_first_day(term: &Term) -> u32 {
    match term {
        Term::Fixed { bits, .. } => bits.trailing_zeros(),
        Term::Hash { high, step: None, .. } => u32::from(*high),
        Term::Hash { low, step: Some(step), .. } => u32::from(low + step - 1),
    }
}

/// The length of the longest month of the term, where `H` is least lucky.
fn shortest_longest_month(term: &Term) -> u32 {
    match term {
        Term::Fixed { bits, .. } => longest_month(*bits),
        Term::Hash { low, high, step } => {
            let last_start = step.map_or(*high, |step| low + step - 1);
            let lengths =
                (*low..=last_start).map(|first| longest_month(chosen(FieldKind::Month, first, *high, *step).1));
            lengths.min().unwrap_or(0)
        }
    }
}

fn longest_month(months: u64) -> u32 {
    let length = |month| match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1..=12).filter(|month| months & 1 << month != 0).map(length).max().unwrap_or(0)
}

/// The values at which a fixed schedule fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeFields {
    pub(super) minute: u64,
    pub(super) hour: u64,
    pub(super) day: u64,
    pub(super) month: u64,
    pub(super) weekday: u64,
}

impl TimeFields {
    pub(super) fn in_month(&self, date: Date) -> bool {
        self.month & 1 << date.month() != 0
    }

    /// Both day fields must agree if one has a star; where both are restricted, one is enough.
    pub(super) fn on_day(&self, date: Date) -> bool {
        let day = self.day & 1 << date.day() != 0;
        let weekday = self.weekday & 1 << date.weekday().to_sunday_zero_offset() != 0;
        if (self.day | self.weekday) & STAR != 0 { day && weekday } else { day || weekday }
    }
}

/// Text of users in an error: enough to be recognised, never a flood.
pub(super) fn excerpt(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

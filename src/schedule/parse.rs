//! The text of a schedule, read strictly: what a CronJob takes, plus 7 as Sunday and `H`, minus what nobody means.

use super::fields::{Field, FieldKind, STAR, Term, always_fires, bits, excerpt};
use super::{MINUTES_OF_DAY, Schedule, ScheduleError, Spread};
use crate::api::shapes::duration_seconds;

/// The names for whole schedules, and what they mean.
const DESCRIPTORS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

pub(super) fn schedule(text: &str) -> Result<Schedule, ScheduleError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text: Box<str> = words.join(" ").into();
    let Some(first) = words.first() else {
        return refuse("the schedule is empty: write five fields, such as \"0 2 * * *\", or @daily");
    };
    if first.starts_with("TZ=") || first.starts_with("CRON_TZ=") {
        return refuse("a time zone does not belong into the schedule: write it into timeZone");
    }
    if first.starts_with('@') {
        let fields = five_fields(&meaning(&text)?.split(' ').collect::<Vec<_>>())?;
        return Ok(Schedule { text, fields, descriptor: true });
    }
    let fields = five_fields(&words)?;
    let [_, _, day, month, weekday] = &fields;
    if always_fires(day, month, weekday) {
        return Ok(Schedule { text, fields, descriptor: false });
    }
    let may = if day.has_hash() || month.has_hash() { "may never fire, for H can become that" } else { "never fires" };
    refuse(format!("schedule {:?} {may}: no month that it names has such a day", excerpt(&text)))
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, ScheduleError> {
    Err(ScheduleError(reason.into()))
}

fn meaning(descriptor: &str) -> Result<&'static str, ScheduleError> {
    if let Some((_, meaning)) = DESCRIPTORS.iter().find(|(name, _)| *name == descriptor) {
        return Ok(meaning);
    }
    match descriptor.split(' ').next() {
        Some("@every") => refuse(
            "@every counts from when the CronJob was made and so has no fixed times: write fields, such as \"H */6 * * *\"",
        ),
        Some("@reboot") => refuse("@reboot means nothing in a cluster: write fields, such as \"0 2 * * *\""),
        _ => {
            let known = DESCRIPTORS.map(|(name, _)| name).join(", ");
            refuse(format!("unknown schedule {:?}: known are {known}", excerpt(descriptor)))
        }
    }
}

fn five_fields(words: &[&str]) -> Result<[Field; 5], ScheduleError> {
    let [minute, hour, day, month, weekday] = words else {
        let hint = if words.len() > 5 { "; seconds and years have none" } else { "" };
        return refuse(format!(
            "a schedule has five fields (minute, hour, day of month, month, day of week){hint}, and this one has {}",
            words.len()
        ));
    };
    let [of_minute, of_hour, of_day, of_month, of_weekday] = FieldKind::ALL;
    Ok([
        field(of_minute, minute)?,
        field(of_hour, hour)?,
        field(of_day, day)?,
        field(of_month, month)?,
        field(of_weekday, weekday)?,
    ])
}

fn field(kind: FieldKind, text: &str) -> Result<Field, ScheduleError> {
    let terms: Result<Box<[Term]>, String> = text.split(',').map(|part| term(kind, part)).collect();
    match terms {
        Ok(terms) => Ok(Field { kind, terms }),
        Err(reason) => refuse(format!("{} {:?}: {reason}", kind.label(), excerpt(text))),
    }
}

/// One term; an error says what is wrong with it.
fn term(kind: FieldKind, text: &str) -> Result<Term, String> {
    if text.is_empty() {
        return Err("a value is missing beside a comma".to_owned());
    }
    let (range, step) = match text.split_once('/') {
        None => (text, None),
        Some((_, step)) if step.contains('/') => return Err("one \"/\" is enough".to_owned()),
        Some((range, step)) => (range, Some(step_width(step)?)),
    };
    if let Some(range) = range.strip_prefix('H') {
        return hash_term(kind, range, step);
    }
    if range.starts_with(['*', '?']) {
        return star_term(kind, text, range, step);
    }
    let Some((low, high)) = range.split_once('-') else {
        let value = value(kind, range)?;
        return single_term(kind, text, value.number, step);
    };
    range_term(kind, text, (value(kind, low)?, value(kind, high)?), step)
}

fn star_term(kind: FieldKind, text: &str, range: &str, step: Option<u64>) -> Result<Term, String> {
    if range.len() != 1 {
        return Err(format!("{:?} stands alone or before a step, such as \"*/2\"", &range[..1]));
    }
    let all = bits(kind.low().into(), kind.high().into(), step.unwrap_or(1));
    // A star with a real step counts as a restriction.
    let star = if step.unwrap_or(1) == 1 { STAR } else { 0 };
    Ok(Term::Fixed { text: text.into(), bits: all | star })
}

fn single_term(kind: FieldKind, text: &str, number: u8, step: Option<u64>) -> Result<Term, String> {
    match step {
        None if number > kind.high() => Ok(Term::Fixed { text: "0".into(), bits: 1 }),
        None => Ok(Term::Fixed { text: text.into(), bits: 1 << number }),
        Some(_) if number > kind.high() => Err(SEVEN_WITH_STEP.to_owned()),
        // As far as the field goes.
        Some(step) => Ok(Term::Fixed { text: text.into(), bits: bits(number.into(), kind.high().into(), step) }),
    }
}

const SEVEN_WITH_STEP: &str = "7 goes with no step: list the days, such as \"1,3,5,0\"";

fn range_term(kind: FieldKind, text: &str, (low, high): (Value, Value), step: Option<u64>) -> Result<Term, String> {
    check_order(&low, &high)?;
    if high.number <= kind.high() {
        let bits = bits(low.number.into(), high.number.into(), step.unwrap_or(1));
        return Ok(Term::Fixed { text: text.into(), bits });
    }
    if step.is_some() {
        return Err(SEVEN_WITH_STEP.to_owned());
    }
    let mut days: Vec<String> = (low.number..7).map(|day| day.to_string()).collect();
    let mut bits = bits(low.number.into(), 6, 1);
    if bits & 1 == 0 {
        days.push("0".to_owned());
        bits |= 1;
    }
    Ok(Term::Fixed { text: days.join(",").into(), bits })
}

fn check_order(low: &Value, high: &Value) -> Result<(), String> {
    if low.named && low.number == 0 && high.number == 7 {
        return Err("from Sunday to Sunday is every day, or one: write \"*\" or \"SUN\"".to_owned());
    }
    if low.number > high.number {
        return Err("a range goes from low to high; list the values if it has to go over the end".to_owned());
    }
    Ok(())
}

/// After the `H`: nothing, or a range in parentheses.
fn hash_term(kind: FieldKind, range: &str, step: Option<u64>) -> Result<Term, String> {
    let (low, high) = if range.is_empty() {
        (kind.low(), kind.hash_high())
    } else {
        let inner = range.strip_prefix('(').and_then(|range| range.strip_suffix(')'));
        let Some((low, high)) = inner.and_then(|inner| inner.split_once('-')) else {
            return Err("H is written as H, H(a-b), H/n or H(a-b)/n".to_owned());
        };
        let (low, high) = (value(kind, low)?, value(kind, high)?);
        check_order(&low, &high)?;
        (low.number, high.number)
    };
    // One is no step: it would be every value, and then there is nothing to choose.
    let Some(step) = step.filter(|step| *step > 1) else {
        return Ok(Term::Hash { low, high, step: None });
    };
    if high > kind.high() {
        return Err(SEVEN_WITH_STEP.to_owned());
    }
    match u8::try_from(step) {
        Ok(step) if step <= high - low + 1 => Ok(Term::Hash { low, high, step: Some(step) }),
        _ => Err(format!("a step of {step} is wider than the {} values from {low} to {high}", high - low + 1)),
    }
}

struct Value {
    number: u8,
    /// Written as a name.
    named: bool,
}

/// A number or name within the field's bounds; 7 too in the day of week.
fn value(kind: FieldKind, text: &str) -> Result<Value, String> {
    let names = kind.names();
    if let Some(place) = (0u8..).zip(names).find_map(|(place, name)| name.eq_ignore_ascii_case(text).then_some(place)) {
        return Ok(Value { number: kind.low() + place, named: true });
    }
    if text.is_empty() {
        return Err("a number is missing beside \"-\" or \"/\"".to_owned());
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(not_a_value(kind, text));
    }
    let high = if kind == FieldKind::DayOfWeek { 7 } else { kind.high() };
    match number(text).and_then(|number| u8::try_from(number).ok()) {
        Some(number) if (kind.low()..=high).contains(&number) => Ok(Value { number, named: false }),
        _ => Err(format!("{} is not within {}-{high}", excerpt(text), kind.low())),
    }
}

fn not_a_value(kind: FieldKind, text: &str) -> String {
    let text = excerpt(text);
    if text.contains('#') || text.ends_with(['L', 'W']) {
        return format!("{text:?}: CronJobs know no L, W or #");
    }
    if text.starts_with('+') {
        return format!("{text:?}: write the number without a sign");
    }
    if text.starts_with('h') {
        return format!("{text:?}: H is written in upper case");
    }
    match kind.names() {
        [] => format!("{text:?} is no number"),
        [first, .., last] => format!("{text:?} is no number and no name of {first} to {last}"),
        [only] => format!("{text:?} is no number and not {only}"),
    }
}

/// As wide as the API server's integers, and no wider: what we take it must take too.
fn number(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|number| i64::try_from(*number).is_ok())
}

fn step_width(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("the step {:?} is no number", excerpt(text)));
    }
    match number(text) {
        None => Err(format!("the step {} is too large", excerpt(text))),
        Some(0) => Err("a step is at least 1".to_owned()),
        Some(step) => Ok(step),
    }
}

/// `1h30m` and the like.
pub(super) fn spread(text: &str) -> Result<Spread, ScheduleError> {
    let seconds = duration_seconds(text).filter(|seconds| seconds % 60.0 == 0.0);
    let Some(seconds) = seconds else {
        return refuse(format!(
            "spread {:?} is no duration in whole minutes, such as \"30m\" or \"1h30m\"",
            excerpt(text)
        ));
    };
    // Whole minutes, of which there are few: found by counting, for a float does not turn into an integer safely.
    match (0..MINUTES_OF_DAY).find(|minutes| f64::from(*minutes) * 60.0 >= seconds) {
        Some(minutes) => Ok(Spread { minutes }),
        None => refuse(format!(
            "spread {:?} is not less than a day: to spread over the whole day write \"H H * * *\"",
            excerpt(text)
        )),
    }
}

//! Conditions that keep the time of their last transition.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::time::whole_seconds;

/// Longer messages are cut: a status is for reading, and objects have a size limit. Bytes.
const MESSAGE_MAX: usize = 1024;

/// One condition as it should be now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub kind: &'static str,
    /// None is `Unknown`.
    pub status: Option<bool>,
    /// CamelCase, a fixed word.
    pub reason: &'static str,
    pub message: String,
}

impl Wanted {
    pub fn new(kind: &'static str, status: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, status: Some(status), reason, message: message.into() }
    }
}

/// The new list, in the order wanted; `before` gives the times of those whose status stays.
/// Conditions that somebody else set are kept behind ours.
pub fn update(before: &[Condition], wanted: Vec<Wanted>, generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let mut conditions: Vec<Condition> = Vec::with_capacity(wanted.len());
    for want in wanted {
        let status = match want.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let old = before.iter().find(|old| old.type_ == want.kind);
        let since = old.filter(|old| old.status == status).map(|old| old.last_transition_time.clone());
        conditions.push(Condition {
            type_: want.kind.to_owned(),
            status: status.to_owned(),
            reason: want.reason.to_owned(),
            message: cut(want.message, MESSAGE_MAX),
            observed_generation: generation,
            last_transition_time: since.unwrap_or_else(|| Time(whole_seconds(now))),
        });
    }
    let others = before.iter().filter(|old| !conditions.iter().any(|new| new.type_ == old.type_)).cloned();
    let others: Vec<_> = others.collect();
    conditions.extend(others);
    conditions
}

/// A condition of which the status, the reason or the message is new: worth an event.
pub fn changed<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<&'a Condition> {
    let same = |new: &Condition| {
        before.iter().any(|old| old.type_ == new.type_ && old.status == new.status && old.reason == new.reason)
    };
    after.iter().filter(|new| !same(new)).collect()
}

/// Cuts at a character's border, with a mark.
pub fn cut(mut text: String, bytes: usize) -> String {
    const MARK: &str = "…";
    if text.len() > bytes {
        let end = (0..=bytes.saturating_sub(MARK.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_status_that_stays_keeps_its_time_and_one_that_turns_gets_a_new_one() {
        let first = update(&[], vec![Wanted::new("Ready", true, "A", "one")], Some(1), at(10));
        let second = update(&first, vec![Wanted::new("Ready", true, "B", "two")], Some(2), at(20));
        let third = update(&second, vec![Wanted::new("Ready", false, "C", "three")], Some(2), at(30));
        assert_eq!(second[0].last_transition_time.0, at(10));
        assert_eq!(third[0].last_transition_time.0, at(30));
        assert_eq!(changed(&first, &second).len(), 1);
        assert!(changed(&third, &third).is_empty());
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let text = cut("ä".repeat(1000), 1024);
        assert!(text.len() <= 1024 && text.ends_with('…'));
        assert_eq!(cut("short".to_owned(), 1024), "short");
    }
}

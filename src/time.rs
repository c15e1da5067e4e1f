//! Points in time that hold whatever a hostile clock or ledger says.

use jiff::{SignedDuration, Timestamp};

/// Saturating: a hostile time must not stop the hub.
pub fn after(start: Timestamp, wait: SignedDuration) -> Timestamp {
    start.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// API servers keep whole seconds: what is compared with what they return must have no more.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

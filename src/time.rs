//! Points in time that hold whatever a hostile clock or ledger says.

use jiff::{SignedDuration, Timestamp};

/// Saturating: a hostile time must not stop the hub.
pub fn after(start: Timestamp, wait: SignedDuration) -> Timestamp {
    start.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// A wait as short as a test build has it; the factor is 1 otherwise.
pub fn scaled(wait: SignedDuration, factor: u32) -> SignedDuration {
    wait / i32::try_from(factor.max(1)).unwrap_or(i32::MAX)
}

/// API servers keep whole seconds: what is compared with what they return must have no more.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

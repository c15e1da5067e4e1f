//! Only in builds for tests: ends the process as abruptly as a kill does, right after a write has been answered.

use std::sync::atomic::{AtomicBool, Ordering};

static AFTER_A_WRITE: AtomicBool = AtomicBool::new(false);

/// From now on the first write is the last one.
pub fn after_a_write() {
    AFTER_A_WRITE.store(true, Ordering::Relaxed);
}

/// A write has been answered. Leases are no part of what is gone on from.
pub fn written(path: &str) {
    if AFTER_A_WRITE.load(Ordering::Relaxed) && !path.contains("/leases") {
        std::process::abort();
    }
}

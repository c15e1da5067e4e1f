//! Whole members against simulated clusters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use super::MemberSettings;

#[cfg(feature = "sim")]
mod acting;
#[cfg(feature = "sim")]
mod observing;
#[cfg(feature = "sim")]
pub mod world;

pub fn settings() -> MemberSettings {
    MemberSettings {
        hub_id: Arc::from("hub"),
        member_namespace: Arc::from("volsync-system"),
        volsync_namespace: Arc::from("volsync-system"),
        allow_exec: false,
        allow_loopback: false,
    }
}

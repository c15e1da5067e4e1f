//! Whole members against simulated clusters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use super::MemberSettings;

#[cfg(feature = "sim")]
mod acting;
#[cfg(feature = "sim")]
mod front;
#[cfg(feature = "sim")]
mod hostile;
#[cfg(feature = "sim")]
mod observing;
#[cfg(feature = "sim")]
mod programs;
#[cfg(feature = "sim")]
mod proxies;
#[cfg(feature = "sim")]
mod reaching;
#[cfg(feature = "sim")]
mod registering;
#[cfg(feature = "sim")]
pub mod world;

pub fn settings() -> MemberSettings {
    MemberSettings {
        fence: crate::member::Fence::open(),
        share: crate::shard::Share::Whole,
        hub_id: Arc::from("hub"),
        member_namespace: Arc::from("volsync-system"),
        volsync_namespace: Arc::from("volsync-system"),
        allow_exec: false,
        allow_loopback: false,
    }
}

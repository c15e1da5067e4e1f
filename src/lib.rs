//! Maintains every Kopia repository of a VolSync fleet on schedule, by exactly one cluster at a time.
//!
//! Pure layers: [`names`], [`labels`], [`api`], [`identity`], [`schedule`], [`policy`], [`plan`], [`render`], [`diff`],
//! [`outcome`], [`grant`], [`lease`], [`shrink`], [`status`], [`time`].
//! They name no client, runtime, clock, file or environment. Everything else acts on what they decide.

pub mod api;
pub mod bounds;
#[cfg(feature = "sim")]
pub mod chaos;
pub mod cli;
pub mod controller;
#[cfg(feature = "demo")]
pub mod demo;
pub mod descriptors;
pub mod diff;
#[cfg(feature = "demo")]
pub mod fleet;
pub mod grant;
pub mod hub;
pub mod identity;
pub mod labels;
pub mod lease;
pub mod member;
pub mod metrics;
pub mod names;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod render;
pub mod schedule;
pub mod shard;
pub mod shrink;
#[cfg(feature = "sim")]
pub mod sim;
pub mod status;
pub mod telemetry;
pub mod time;
pub mod web;

#[cfg(test)]
mod fitness;

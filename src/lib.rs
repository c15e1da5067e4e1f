//! Maintains every Kopia repository of a VolSync fleet on schedule, by exactly one cluster at a time.
//!
//! Pure layers, from the bottom: [`names`], [`identity`], [`schedule`], [`policy`], [`plan`].
//! They name no client, runtime, clock, file or environment. Everything else acts on what they decide.

#[cfg(feature = "demo")]
pub mod demo;
pub mod identity;
pub mod labels;
pub mod names;
pub mod plan;
pub mod policy;
pub mod schedule;
#[cfg(feature = "sim")]
pub mod sim;

//! The loop: observe, plan, act, report.

pub mod act;
pub mod ca;
pub mod causes;
pub mod census;
mod claims;
mod clear;
mod competitors;
mod contacts;
pub mod decide;
pub mod deletions;
pub mod engine;
mod foreign;
mod handover;
pub mod here;
mod holders;
pub mod index;
pub mod inherited;
pub mod jobs;
pub mod look;
pub mod member_state;
mod merge;
pub mod observe;
pub mod observed;
mod own;
pub mod preview;
pub mod push;
pub mod queue;
pub mod reconcile;
pub mod report;
mod rollout;
pub mod run;
pub mod tell;
#[cfg(all(test, feature = "demo"))]
mod tests;
mod waves;
pub mod work;
pub mod world;

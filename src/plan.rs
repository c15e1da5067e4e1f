//! Pure: the observed fleet goes in, what should be comes out. No client, clock or environment.
//!
//! [`scratch`] plans everything at once and is written for reading; [`Planner`] plans one repository at a time and
//! does again only what an observation touched. They share the records, the results and the small files that answer
//! one question each, and a property test holds them equal.

pub mod adoption;
pub mod assignment;
pub mod candidates;
mod compose;
pub mod direct;
pub mod election;
pub mod explain;
pub mod fields;
pub mod fleet;
pub mod foreign;
pub mod glob;
pub mod holder;
pub mod levers;
pub mod merge;
pub mod observe;
pub mod outlook;
pub mod planner;
pub mod precedence;
pub mod readiness;
pub mod references;
pub mod result;
pub mod scratch;
pub mod selector;
pub mod verdict;

pub use planner::{Applied, Planner};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod properties;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(crate) mod testing;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
pub mod views;

//! The chaos simulation: the hub's own decisions over a network, a clock and members that fail at random, the same way
//! again for the same seed.
//!
//! A *schedule* is made from a seed: faults and operators' wishes with their times ([`schedule`]). A *trial* plays it
//! in virtual time ([`trial`]): two replicas of the hub, three members that back up into one repository, and the
//! repository, with a mirror of it in some schedules, which alone judge ([`kopia`]): two runs past the fence at once,
//! one epoch with two owners, or, once all faults have ceased, no run that succeeds within a bound.
//!
//! Real, the code that the hub runs: what is known ([`crate::controller::world`]) with the planner in it, deletions
//! that are held back, what one decision depends on ([`crate::controller::work`]), Jobs and Pods and the mover's report
//! as they are read, the decision itself ([`crate::grant::step`] with all around it), the ledger's status as it is
//! written and read again.
//!
//! Stand-ins, written after the original and to be kept like it: the queue and the order of a look at a repository
//! ([`replica`], after `controller/reconcile.rs` and `queue.rs`), which writes follow from a step ([`act`], after
//! `controller/act.rs`, `handover.rs` and `clear.rs`), who leads ([`lead`]), API servers with their preconditions and
//! watches ([`hub`], [`member`]), the CronJob controller ([`cron`]), kubelet, mover script and Kopia ([`mover`]). No
//! HTTP, no JSON but the mover's report, of copied Secrets only which name they mean, no events, statuses of policies
//! and members, or metrics; one repository and its mirror, so that claims never queue; a replica that stands by listens
//! and does not plan.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::grant::Rule;

pub mod act;
pub mod campaign;
pub mod cron;
pub mod faults;
pub mod fleet;
pub mod hub;
pub mod kopia;
pub mod lead;
pub mod member;
pub mod mover;
pub mod objects;
pub mod random;
pub mod record;
pub mod replica;
pub mod report;
pub mod schedule;
pub mod shrink;
pub mod suspects;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod trial;

pub use campaign::{Campaign, Findings};
pub use fleet::Fleet;
pub use kopia::Violation;
pub use schedule::Schedule;

/// Virtual time since the trial began.
pub type Millis = i64;
/// A member.
pub type Site = usize;
/// One of the names under which the repository goes, each of which the hub takes for a repository until it knows better.
pub type Alias = usize;

pub const SITES: usize = 3;
pub const ALIASES: usize = 2;
pub const REPLICAS: usize = 2;
pub const SECOND: Millis = 1000;
pub const MINUTE: Millis = 60 * SECOND;
pub const HOUR: Millis = 60 * MINUTE;

/// The first of June 2026: a whole hour, so that fire times are easy to follow.
const BEGIN_SECONDS: i64 = 1_780_272_000;

/// The moment as a time of day.
pub fn stamp(at: Millis) -> Timestamp {
    Timestamp::from_millisecond(BEGIN_SECONDS * 1000 + at).unwrap_or(Timestamp::MAX)
}

/// Seconds since 1970.
pub fn unix(at: Millis) -> i64 {
    BEGIN_SECONDS + at.div_euclid(1000)
}

/// All rules, by name.
pub fn rules() -> BTreeMap<String, Rule> {
    const ALL: [Rule; 20] = [
        Rule::EpochsOnce,
        Rule::ClaimVerified,
        Rule::FormerDrained,
        Rule::DrainFirst,
        Rule::TwoLists,
        Rule::MinuteBetween,
        Rule::OwnClock,
        Rule::ListsAnew,
        Rule::DeadlineWait,
        Rule::NothingSet,
        Rule::OthersBeforeResume,
        Rule::AllRead,
        Rule::NobodyBetween,
        Rule::LaterTakenUp,
        Rule::NamedFirst,
        Rule::EveryName,
        Rule::OwnerNamesId,
        Rule::OwnerExact,
        Rule::PermitExact,
        Rule::ReadBack,
    ];
    ALL.into_iter().map(|rule| (format!("{rule:?}"), rule)).collect()
}

/// The rules that are taken away in a trial. Those of owners and the mover script can go along with one of the machine.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub struct Without {
    pub machine: Option<Rule>,
    pub owner_names_id: bool,
    pub owner_exact: bool,
    pub permit_exact: bool,
    pub read_back: bool,
}

impl Without {
    #[must_use]
    pub fn and(mut self, rule: Rule) -> Self {
        match rule {
            Rule::OwnerNamesId => self.owner_names_id = true,
            Rule::OwnerExact => self.owner_exact = true,
            Rule::PermitExact => self.permit_exact = true,
            Rule::ReadBack => self.read_back = true,
            rule => self.machine = Some(rule),
        }
        self
    }
}

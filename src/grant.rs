//! Pure: from the ledger's record of a repository and what is seen of its members to the next record and what is done.
//!
//! At most one run of a repository in the whole fleet. Always in this order: the ledger names the holder, a claim Job
//! makes it Kopia's recorded owner, what an earlier grant or a foreign owner may still run is waited for, and only
//! then may the CronJob run. Each step can be taken by a process that knows nothing but the ledger and the members.
//!
//! `claim` is how a holder becomes the recorded owner, `handover` how a grant moves and what becomes of one whose
//! claim did not come through, `manual` is one run by hand, `drain` how long earlier grants are waited for, `merge` what becomes of the
//! grants of ids that are one repository, `recover` what is done where the ledger is lost or older than what is found.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::names::{MemberName, ObjectName, RepositoryId};
use crate::outcome::Outcome;
use crate::plan::fleet::{Drain, Former, Grant, Merged, NotReady, Phase};
use crate::plan::result::{Assignment, Push, RepositoryPlan, State};
use crate::render::pod::Permit;
use crate::time::{after, scaled, whole_seconds};

mod claim;
mod drain;
mod handover;
mod manual;
mod merge;
mod recover;
mod rules;

pub use claim::rest;
pub use manual::{ByHand, ManualJob};
pub use merge::{Other, leave_split_off};
pub use rules::Rule;

/// On top of every wait: clocks differ, and so do the moments at which a Pod starts and is told to stop.
const MARGIN: SignedDuration = SignedDuration::from_secs(300);

/// What is known of the claim Job of the grant's epoch, in the grant's member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one a decision, and none is kept")]
pub enum ClaimJob {
    /// The member is not reachable or not synced.
    Unknown,
    Absent,
    Running,
    Ended(ClaimReport),
    /// It belongs to an attempt before the present one, and has ended without a claim.
    Stale,
}

/// How a claim Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimReport {
    pub outcome: Outcome,
    /// Why, for people.
    pub reason: String,
    /// The Secret in the member that it was made from.
    pub secret: Option<ObjectName>,
    /// The newest run of whatever owner that Kopia knew of after the claim.
    pub last_run_start: Option<Timestamp>,
    /// A run of whomever may have begun between the reading of the owner and the first time it was read back.
    pub run_began: bool,
    /// It may have become the recorded owner, even where it did not end well.
    pub may_be_owner: bool,
    /// False: it has not started in time, and may start yet.
    pub over: bool,
    pub at: Timestamp,
    pub unique_id: Option<String>,
    /// The owner that it read last.
    pub recorded: Recorded,
    /// The owner that it found.
    pub found: Recorded,
}

impl ClaimReport {
    /// It has ended for good, and the recorded owner is what it was before.
    fn set_nothing(&self) -> bool {
        self.over && !self.may_be_owner
    }
}

/// Kopia's recorded maintenance owner, as a Job reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    Unknown,
    /// Nobody, or whoever is not this hub.
    Foreign,
    Ours(Former),
}

/// What stands of a repository in a member that is synced and may be written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Nothing there starts a Job by itself: the CronJob is suspended, or there is none.
    pub suspended: bool,
    /// Jobs and Pods that have not ended.
    pub live: usize,
    /// The latest consistent list that was asked for since the ledger was last changed: one from before tells nothing.
    pub listed: Option<Listed>,
    /// When the first of two lists ended that show nothing, as the ledger has it; none where another process made it: how long
    /// that is ago its clock alone can tell.
    pub first: Option<Timestamp>,
}

/// What a consistent list showed: CronJobs suspended, and neither Job nor Pod that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    pub began: Timestamp,
    pub ended: Timestamp,
    pub clear: bool,
}

impl Listed {
    /// When it ended, as the ledger keeps it, in whole seconds: none may be counted that has not passed.
    pub fn recorded(&self) -> Timestamp {
        let whole = whole_seconds(self.ended);
        if whole < self.ended { after(whole, SignedDuration::from_secs(1)) } else { whole }
    }
}

/// Objects of this hub for a repository that bear an epoch, wherever they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub former: Former,
    /// The largest deadline seen on them, seconds.
    pub deadline_seconds: u32,
}

/// Everything that a step depends on.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    pub plan: &'a RepositoryPlan,
    pub grant: Option<&'a Grant>,
    pub drain: &'a [Drain],
    /// Grants under other ids of this repository.
    pub others: &'a [Other],
    /// Ids of recorded owners that are known to be other repositories, with grants of their own: of a mirror, that is a copy of
    /// another one with its recorded owner, and in which nothing of that one runs.
    pub held_otherwise: &'a [RepositoryId],
    /// What the record kept while another one stood for it.
    pub merged: Option<&'a Merged>,
    /// The ledger's entries, for how often one failed before.
    pub not_ready: &'a [NotReady],
    pub claim: ClaimJob,
    /// The grant's member and those of `drain`. One that is missing can't be seen, or must not be written to.
    pub seen: &'a BTreeMap<MemberName, Seen>,
    /// The latest run under this grant found this owner instead, and did nothing.
    pub turned_away: Option<Recorded>,
    /// Another repository stands there than at the time of the claim: it was wiped and made anew.
    pub replaced: bool,
    /// The planned member can be reached and has been read.
    pub reachable: bool,
    /// The highest epoch seen anywhere: in the ledger, and on our objects in the members.
    pub highest_epoch: u64,
    /// Our objects with their epochs, one entry a member.
    pub evidence: &'a [Evidence],
    /// When the ledger's object was made.
    pub ledger_since: Option<Timestamp>,
    /// A registered member that has not been read: objects may stand there of which nobody knows.
    pub unread: Option<&'a MemberName>,
    /// Members are being read: until then nothing is granted that nobody holds.
    pub settling_until: Option<Timestamp>,
    /// The present name of the grant's member, where it is registered under another one now.
    pub known_as: Option<&'a MemberName>,
    /// UID of the planned member's cluster, where known.
    pub cluster_uid: Option<&'a str>,
    pub by_hand: ByHand<'a>,
    pub now: Timestamp,
    /// What was measured before tells nothing about how much time has passed: another process measured it, or this one's clock was
    /// set since.
    pub steady_since: Timestamp,
    /// Divides every wait; 1 but in test builds.
    pub time_factor: u32,
    /// A rule that a checker takes away.
    #[cfg(any(test, feature = "sim"))]
    pub without: Option<Rule>,
}

impl Input<'_> {
    /// Is this rule in force? All are, but where a checker takes one away to see what follows.
    #[cfg(any(test, feature = "sim"))]
    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    #[cfg(not(any(test, feature = "sim")))]
    #[expect(clippy::unused_self, reason = "as where rules can be taken away")]
    const fn keeps(&self, _: Rule) -> bool {
        true
    }

    fn after(&self, start: Timestamp, wait: SignedDuration) -> Timestamp {
        after(start, scaled(wait, self.time_factor))
    }

    /// Nothing starts and nothing moves but under a policy that wants it maintained now.
    fn wanted(&self) -> bool {
        self.plan.state == State::Maintained
    }

    /// A grant of this record, as the recorded owner would name it.
    fn former(&self, grant: &Grant) -> Former {
        Former { cluster: grant.cluster.clone(), epoch: grant.epoch, id: self.plan.id }
    }

    /// It was granted by this record, and not by one for which this one stands by now, or that nobody knows any more.
    fn is_own(&self, former: &Former) -> bool {
        former.id == self.plan.id
    }

    /// The ledger names no holder, and objects of this hub stand somewhere.
    fn ledger_is_lost(&self) -> bool {
        self.grant.is_none() && self.merged.is_none() && !self.evidence.is_empty()
    }
}

/// What has to happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The ledger is written before anything else, and everything is decided anew afterwards.
    pub ledger: Option<LedgerChange>,
    /// Start the claim Job of the grant's epoch.
    pub claim: Option<Permit>,
    /// Remove the claim Job of an earlier attempt, to make room for the next of the same name.
    pub remove_claim: bool,
    /// The CronJob may run.
    pub run: bool,
    /// Start the Job of this token of `spec.runNow`.
    pub manual: Option<Box<str>>,
    /// Members of which a consistent list is needed.
    pub list: Vec<MemberName>,
    /// Time alone changes the answer then.
    pub wake: Option<Timestamp>,
    /// What the repository waits for: (CamelCase reason, sentence).
    pub note: Option<(&'static str, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerChange {
    /// Replaces the grant and what is drained.
    Grant(Grant, Vec<Drain>),
    /// A run by hand begins or is over: what is drained, the token whose Job may be made, the one that was acted upon.
    Manual { drain: Vec<Drain>, under_way: Option<Box<str>>, seen: Option<Box<str>> },
    /// The claim failed: this Secret of this member makes room for the next.
    NotReady(NotReady),
}

impl Step {
    pub fn rest() -> Self {
        Self {
            ledger: None,
            claim: None,
            remove_claim: false,
            run: false,
            manual: None,
            list: Vec::new(),
            wake: None,
            note: None,
        }
    }

    pub fn write(change: LedgerChange) -> Self {
        Self { ledger: Some(change), ..Self::rest() }
    }

    fn grant(grant: Grant, drain: &[Drain]) -> Self {
        Self::write(LedgerChange::Grant(grant, drain.to_vec()))
    }

    fn wait(until: Timestamp, reason: &'static str, text: String) -> Self {
        Self { wake: Some(until), note: Some((reason, text)), ..Self::rest() }
    }

    fn note(reason: &'static str, text: impl Into<String>) -> Self {
        Self { note: Some((reason, text.into())), ..Self::rest() }
    }

    /// Looks again then, or sooner.
    fn wake_by(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn saying(self, reason: &'static str, text: impl Into<String>) -> Self {
        Self { note: Some((reason, text.into())), ..self }
    }
}

/// Decides the next step of one repository.
pub fn step(input: &Input<'_>) -> Step {
    let (assignment, member) = match (&input.plan.push, &input.plan.cluster, input.grant) {
        (Push::Objects(assignment), Some(member), _) => (assignment, member),
        (Push::Keep, _, Some(grant)) if !input.plan.frozen => return handover::held(input, grant),
        _ => return Step::rest(),
    };
    if let Some(step) = merge::absorb(input, assignment).or_else(|| recover::overtaken(input)) {
        return step;
    }
    match (input.grant, input.merged) {
        (None, Some(merged)) if input.wanted() => return merge::split(input, merged, assignment),
        (None, Some(_)) => return Step::rest(),
        _ => {}
    }
    match input.grant {
        None if input.ledger_is_lost() => recover::lost(input),
        None if input.wanted() => claim::first(input, assignment),
        None => Step::rest(),
        Some(grant) if grant.phase == Phase::Recovering => recover::recovering(input, grant, assignment),
        Some(grant) if &grant.cluster == member => holding(input, grant, assignment),
        Some(grant) => handover::due(input, grant, assignment),
    }
}

fn holding(input: &Input<'_>, grant: &Grant, assignment: &Assignment) -> Step {
    match grant.phase {
        // A frozen or suspended repository starts nothing, a claim neither.
        Phase::Claiming if !input.wanted() => Step::rest(),
        Phase::Claiming => claim::claim(input, grant, assignment),
        Phase::Draining => drain::draining(input, grant),
        // Pushing the CronJob anew lets it go.
        Phase::Resuming => {
            Step::grant(Grant { phase: Phase::Active, since: Some(input.now), ..grant.clone() }, input.drain)
        }
        // Written before a run can last so long: a later hand-over waits for as long as any run may last.
        Phase::Active if assignment.settings.active_deadline_seconds > grant.deadline_seconds => {
            let deadline_seconds = assignment.settings.active_deadline_seconds;
            Step::grant(Grant { deadline_seconds, ..grant.clone() }, input.drain)
        }
        Phase::Active => match &input.turned_away {
            Some(recorded) if input.wanted() => claim::anew(input, grant, assignment, recorded),
            _ => manual::active(input, grant),
        },
        Phase::Recovering => Step::rest(),
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

//! Pure: the first grant of a repository, from the ledger's record to an unsuspended CronJob.
//!
//! Always in this order: the ledger names the holder, a claim Job makes it Kopia's recorded owner, runs of an
//! owner before that are waited out, and only then may the CronJob run. Each step can be taken by a process that
//! knows nothing but the ledger and the members. Moving a grant that has been claimed is a hand-over: this
//! machine refuses it with a word, and changes nothing.

use jiff::{SignedDuration, Timestamp};

use crate::names::{MemberName, ObjectName};
use crate::outcome::Outcome;
use crate::plan::fleet::{Grant, NotReady, Phase};
use crate::plan::result::{Push, RepositoryPlan, State};
use crate::render::cron_job::PERMIT_SECONDS;
use crate::render::pod::Permit;
use crate::time::{after, whole_seconds};

/// A run of a foreign owner may go on for this long after it began (the default deadline of other maintainers).
const FOREIGN_DEADLINE: SignedDuration = SignedDuration::from_secs(10_800);
/// On top of every wait: clocks differ, and so do the moments at which a Pod starts and is told to stop.
const MARGIN: SignedDuration = SignedDuration::from_secs(300);
/// A claim that failed for a reason of its Secret or member: not ready for this long at first, then doubling.
const NOT_READY_FIRST: SignedDuration = SignedDuration::from_hours(1);
const NOT_READY_MAX: SignedDuration = SignedDuration::from_hours(24);
/// A claim that failed for a reason that may pass is tried again after this.
const RETRY: SignedDuration = SignedDuration::from_mins(10);
/// A claim that another maintainer undid is tried again once a day: more often would be a fight.
const CONTENDED_RETRY: SignedDuration = SignedDuration::from_hours(24);

/// What is known of the claim Job of the grant's epoch, in the grant's member.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// It may have become the recorded owner, even where it did not end well.
    pub may_be_owner: bool,
    /// False: it has not started in time, and may start yet.
    pub over: bool,
    pub at: Timestamp,
    pub unique_id: Option<String>,
}

/// Everything that a step depends on.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    pub plan: &'a RepositoryPlan,
    pub grant: Option<&'a Grant>,
    /// The ledger's entries, for how often one failed before.
    pub not_ready: &'a [NotReady],
    pub claim: ClaimJob,
    /// The highest epoch seen anywhere: in the ledger, and on our objects in the members.
    pub highest_epoch: u64,
    /// Our objects stand in members though the ledger names no holder.
    pub ledger_lost: bool,
    /// Members are being read: until then nothing is granted that nobody holds.
    pub settling_until: Option<Timestamp>,
    /// UID of the planned member's cluster, where known.
    pub cluster_uid: Option<&'a str>,
    pub now: Timestamp,
    /// Divides every wait; 1 but in test builds.
    pub time_factor: u32,
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
    /// Time alone changes the answer then.
    pub wake: Option<Timestamp>,
    /// What the repository waits for: (CamelCase reason, sentence).
    pub note: Option<(&'static str, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerChange {
    /// Replaces the grant.
    Grant(Grant),
    /// The claim failed: this Secret of this member makes room for the next.
    NotReady(NotReady),
}

impl Step {
    pub fn rest() -> Self {
        Self { ledger: None, claim: None, remove_claim: false, run: false, wake: None, note: None }
    }
    pub fn write(change: LedgerChange) -> Self {
        Self { ledger: Some(change), ..Self::rest() }
    }
    fn wait(until: Timestamp, reason: &'static str, text: String) -> Self {
        Self { wake: Some(until), note: Some((reason, text)), ..Self::rest() }
    }
    fn note(reason: &'static str, text: impl Into<String>) -> Self {
        Self { note: Some((reason, text.into())), ..Self::rest() }
    }
}

/// Decides the next step of one repository.
pub fn step(input: &Input<'_>) -> Step {
    let (Push::Objects(_), Some(member)) = (&input.plan.push, &input.plan.cluster) else {
        return Step::rest();
    };
    match input.grant {
        None if input.ledger_lost => Step::note(
            "Recovering",
            "the ledger names no holder, but objects of this hub for this repository stand in a member; \
             nothing is granted and they stay as they are: restore the KopiaRepository, or remove those objects",
        ),
        None if input.plan.state == State::Maintained => first(input, member),
        None => Step::rest(),
        Some(grant) if &grant.cluster == member => holding(input, grant),
        Some(grant) if grant.phase == Phase::Claiming => elsewhere(input, grant, member),
        Some(grant) => Step::note(
            "HandoverPending",
            format!("{} holds the grant and {member} should; moving it is not supported yet", grant.cluster),
        ),
    }
}

fn first(input: &Input<'_>, member: &MemberName) -> Step {
    if let Some(until) = input.settling_until.filter(|until| input.now < *until) {
        let text = "members are being read; who maintains it is decided once that is done";
        return Step::wait(until, "MembersUnread", text.to_owned());
    }
    claims(member, Step::write(LedgerChange::Grant(claiming(input, member))))
}

/// Says so from the write of the grant until the claim has ended: what is told does not change with each step.
fn claims(member: &MemberName, step: Step) -> Step {
    Step { note: Some(("Claiming", format!("{member} claims the repository"))), ..step }
}

/// `until` is as the ledger keeps it.
fn waits(until: Timestamp, step: Step) -> Step {
    let text = format!("a run of the former owner may go on until {until}; the CronJob stays suspended until then");
    Step { note: Some(("WaitingForFormerOwner", text)), ..step }
}

fn claiming(input: &Input<'_>, member: &MemberName) -> Grant {
    Grant {
        cluster: member.clone(),
        cluster_uid: input.cluster_uid.map(Into::into),
        epoch: input.highest_epoch.saturating_add(1),
        phase: Phase::Claiming,
        since: Some(input.now),
        until: None,
    }
}

fn holding(input: &Input<'_>, grant: &Grant) -> Step {
    match grant.phase {
        // A frozen or suspended repository starts nothing, a claim neither.
        Phase::Claiming if input.plan.state != State::Maintained => Step::rest(),
        Phase::Claiming => claim(input, grant),
        Phase::Draining => match grant.until {
            Some(until) if input.now < until => waits(until, Step { wake: Some(until), ..Step::rest() }),
            _ => Step::write(LedgerChange::Grant(phase(input, grant, Phase::Active, None))),
        },
        Phase::Active => Step { run: true, ..Step::rest() },
        Phase::Recovering => Step::note("Recovering", "the grant is being recovered; nothing starts until it is"),
    }
}

fn phase(input: &Input<'_>, grant: &Grant, phase: Phase, until: Option<Timestamp>) -> Grant {
    Grant { phase, since: Some(input.now), until, ..grant.clone() }
}

fn claim(input: &Input<'_>, grant: &Grant) -> Step {
    match &input.claim {
        ClaimJob::Unknown => Step::note(
            "MemberUnreachable",
            format!("the claim waits until {} can be reached and has been read", grant.cluster),
        ),
        ClaimJob::Absent => {
            let issued = input.now.as_second();
            let permit = Permit { replaces: "foreign".to_owned(), issued, not_after: issued + PERMIT_SECONDS };
            claims(&grant.cluster, Step { claim: Some(permit), ..Step::rest() })
        }
        ClaimJob::Running => claims(&grant.cluster, Step::rest()),
        ClaimJob::Stale => Step { remove_claim: true, ..Step::note("Claiming", "a former claim Job is removed") },
        ClaimJob::Ended(report) => ended(input, grant, report),
    }
}

fn ended(input: &Input<'_>, grant: &Grant, report: &ClaimReport) -> Step {
    if report.outcome == Outcome::Claimed {
        // The ledger keeps whole seconds, and so does what is told.
        let until = whole_seconds(foreign_wait(report.last_run_start, input.now, input.time_factor));
        return waits(until, Step::write(LedgerChange::Grant(phase(input, grant, Phase::Draining, Some(until)))));
    }
    let attempt = grant.since.unwrap_or(report.at);
    let planned = match &input.plan.push {
        Push::Objects(assignment) => Some(&assignment.secret.object),
        _ => None,
    };
    let retry = if report.outcome.counts_against_candidate() && report.secret.is_some() {
        let former = input
            .not_ready
            .iter()
            .find(|entry| entry.cluster == grant.cluster && Some(&entry.secret) == report.secret.as_ref());
        match former {
            Some(entry) if recorded_at(entry, input.time_factor) < attempt => {
                return Step::write(makes_room(input, grant, report));
            }
            None => return Step::write(makes_room(input, grant, report)),
            // Another Secret of this member is next, and need not wait.
            Some(_) if planned != report.secret.as_ref() => input.now,
            Some(entry) => entry.until,
        }
    } else if matches!(report.outcome, Outcome::ClaimRefused | Outcome::ClaimIneffective) {
        after(attempt, scaled(CONTENDED_RETRY, input.time_factor))
    } else {
        after(attempt, scaled(RETRY, input.time_factor))
    };
    if input.now >= retry {
        // The same epoch again: the Job may have become the recorded owner before it failed.
        return claims(&grant.cluster, Step::write(LedgerChange::Grant(phase(input, grant, Phase::Claiming, None))));
    }
    let text = format!(
        "the claim in {} ended {}. To do: {}. It is tried again at {retry}",
        grant.cluster,
        report.outcome.because(&report.reason),
        report.outcome.fix()
    );
    Step { remove_claim: !report.over, ..Step::wait(retry, report.outcome.as_str(), text) }
}

/// From when on no run of an owner before the claim can still be going on.
fn foreign_wait(last_run_start: Option<Timestamp>, claimed: Timestamp, factor: u32) -> Timestamp {
    let margin = after(claimed, scaled(MARGIN, factor));
    match last_run_start {
        Some(start) if after(start, FOREIGN_DEADLINE) > claimed => {
            // In test builds the wait shrinks, never the rule.
            let rest = after(start, FOREIGN_DEADLINE).duration_since(claimed);
            after(margin, scaled(rest, factor))
        }
        _ => margin,
    }
}

fn makes_room(input: &Input<'_>, grant: &Grant, report: &ClaimReport) -> LedgerChange {
    let nowhere = ObjectName::new("", "");
    let secret = report.secret.as_ref().unwrap_or(&nowhere);
    let when = (input.now, input.time_factor);
    LedgerChange::NotReady(rest(
        input.not_ready,
        (&grant.cluster, secret),
        &report.outcome.because(&report.reason),
        when,
    ))
}

/// The ledger's entry for a Secret of a member that makes room for the next, for longer each time.
pub fn rest(
    known: &[NotReady],
    (cluster, secret): (&MemberName, &ObjectName),
    reason: &str,
    (now, time_factor): (Timestamp, u32),
) -> NotReady {
    let former = known.iter().find(|entry| entry.cluster == *cluster && entry.secret == *secret);
    let attempts = former.map_or(1, |entry| entry.attempts.saturating_add(1));
    NotReady {
        cluster: cluster.clone(),
        secret: secret.clone(),
        until: after(now, scaled(not_ready_for(attempts), time_factor)),
        attempts,
        reason: reason.into(),
    }
}

/// An hour, doubling to a day.
fn not_ready_for(attempts: u32) -> SignedDuration {
    let doublings = attempts.saturating_sub(1).min(5);
    (NOT_READY_FIRST * (1 << doublings)).min(NOT_READY_MAX)
}

fn recorded_at(entry: &NotReady, factor: u32) -> Timestamp {
    entry.until.checked_sub(scaled(not_ready_for(entry.attempts), factor)).unwrap_or(Timestamp::MIN)
}

/// The plan names another member while the grant's claim has not ended well: where nothing was set, it may move.
fn elsewhere(input: &Input<'_>, grant: &Grant, member: &MemberName) -> Step {
    match &input.claim {
        ClaimJob::Ended(report) if !report.over => {
            Step { remove_claim: true, ..Step::note("Claiming", "a claim Job that did not start is removed") }
        }
        ClaimJob::Ended(report) if report.may_be_owner => Step::note(
            "HandoverPending",
            format!(
                "{} may be the recorded owner and {member} should be; moving it is not supported yet",
                grant.cluster
            ),
        ),
        // The permit lets the next claim replace no owner of this hub, so a claim that went unseen stays the fence.
        ClaimJob::Ended(_) | ClaimJob::Absent if input.plan.state == State::Maintained => first(input, member),
        ClaimJob::Ended(_) | ClaimJob::Absent => Step::rest(),
        ClaimJob::Running | ClaimJob::Unknown | ClaimJob::Stale => Step::note(
            "HandoverPending",
            format!("a claim of {} may be under way; {member} follows once it has ended", grant.cluster),
        ),
    }
}

fn scaled(wait: SignedDuration, factor: u32) -> SignedDuration {
    wait / i32::try_from(factor.max(1)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;

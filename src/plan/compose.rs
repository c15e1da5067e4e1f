//! Writes a decided repository out: the plan for the runtime, with words for people.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::assignment::assign;
use super::fleet::{Fleet, PlanOptions, SecretState};
use super::holder;
use super::levers::{Levers, Pin};
use super::outlook::View;
use super::result::{Candidate, FoundCronJob, Push, RepositoryPlan, Share, State};
use super::verdict::{self, Act, Verdict};
use crate::names::{MemberName, RepositoryId, RepositoryKey};
use crate::policy::PolicyRecord;

/// One repository with everything that was found out and decided about it.
pub struct Decided<'a> {
    pub id: RepositoryId,
    pub key: RepositoryKey,
    pub keys: Vec<RepositoryKey>,
    /// All ids that mean it, also those known to the ledger alone, sorted.
    pub ids: Vec<RepositoryId>,
    pub view: View,
    /// The competing policies, in order of precedence.
    pub competitors: Vec<&'a PolicyRecord>,
    pub levers: Levers<'a>,
    pub clusters: Vec<Share>,
    pub candidates: Vec<Candidate>,
    /// More than the tally of the above: (reason, message).
    pub remarks: Vec<(&'static str, String)>,
    pub verdict: Verdict,
}

/// Shown where only an old ledger record tells of a repository, and says no more.
const UNKNOWN: &str = "unknown";

pub fn compose(fleet: &Fleet, options: &PlanOptions, now: Timestamp, decided: Decided<'_>) -> RepositoryPlan {
    let Decided { id, key, keys, ids, view, competitors, levers, clusters, candidates, remarks, verdict } = decided;
    let winner = competitors.first().copied();
    let holder = levers.grant.map(|grant| grant.cluster.clone());
    let push = push(fleet, options, (id, &key), winner, &verdict, &candidates);
    let found = match (&push, &verdict.cluster) {
        (Push::Keep, Some(member)) => found(fleet, options, &ids, member, &candidates),
        _ => None,
    };
    // The holder may have nothing left from which the CronJob could be made anew; what stands is suspended all the same.
    let suspend =
        |found: FoundCronJob| FoundCronJob { suspend: found.suspend || verdict.state == State::Frozen, ..found };
    let found = found.map(suspend);
    let (backend, location) = shown(fleet, &ids, &view);
    let mut plan = RepositoryPlan {
        id,
        key,
        keys,
        ids,
        backend,
        location,
        state: verdict.state,
        reason: verdict.reason,
        message: String::new(),
        policy: winner.map(|winner| winner.name.clone()),
        shadowed: competitors.iter().skip(1).map(|policy| policy.name.clone()).collect(),
        cluster: verdict.cluster,
        epoch: levers.grant.map(|grant| grant.epoch),
        holder,
        holder_failing: verdict.holder_failing,
        clusters,
        push,
        frozen: levers.frozen(now),
        found,
        candidates,
        remarks: all_remarks(remarks, &view, &levers),
        deadline: levers.deadline(now).into_iter().chain(verdict.deadline).min(),
    };
    plan.message = message(&plan, winner, &levers, verdict.deadline);
    let unread = plan.holder.as_ref().filter(|_| plan.reason == Some(verdict::HANDOVER_PENDING));
    let unread = unread.and_then(|holder| holder::copied(fleet, options, &plan.ids, holder));
    if let Some(secret) = unread.filter(|secret| fleet.secrets.get(secret) == Some(&SecretState::Forbidden)) {
        plan.message = format!("{}; the hub may not read Secret {secret}", plan.message);
    }
    plan
}

fn push(
    fleet: &Fleet,
    options: &PlanOptions,
    repository: (RepositoryId, &RepositoryKey),
    winner: Option<&PolicyRecord>,
    verdict: &Verdict,
    candidates: &[Candidate],
) -> Push {
    match verdict.act {
        Act::Remove => Push::Remove,
        Act::Keep => Push::Keep,
        Act::Assign => {
            let suspend = verdict.state != State::Maintained;
            let chosen = candidates.iter().find(|candidate| Some(&candidate.member) == verdict.cluster.as_ref());
            let assignment = winner
                .zip(chosen)
                .and_then(|(winner, chosen)| assign(fleet, options, repository, winner, (chosen, suspend)));
            assignment.map_or(Push::Keep, |assignment| Push::Objects(Box::new(assignment)))
        }
    }
}

fn found(
    fleet: &Fleet,
    options: &PlanOptions,
    ids: &[RepositoryId],
    member: &MemberName,
    candidates: &[Candidate],
) -> Option<FoundCronJob> {
    let (object, record) = holder::pushed(fleet, options, ids, member)?;
    let of_candidate = || candidates.iter().find(|candidate| candidate.member == *member)?.secret.clone();
    Some(FoundCronJob {
        object,
        schedule: record.schedule.clone(),
        time_zone: record.time_zone.clone(),
        suspend: record.suspend,
        secret: record.secret.clone().or_else(of_candidate),
    })
}

fn shown(fleet: &Fleet, ids: &[RepositoryId], view: &View) -> (&'static str, String) {
    if let Some((backend, location)) = &view.shown {
        return (backend, location.to_string());
    }
    let mut records = ids.iter().filter_map(|id| fleet.ledger.get(id)).filter(|record| record.key.is_some());
    let record = records.next();
    let backend = record.and_then(|record| record.backend.as_deref()).map_or(UNKNOWN, known_backend);
    let location = record.and_then(|record| record.location.as_deref()).unwrap_or_default();
    (backend, location.to_owned())
}

fn known_backend(name: &str) -> &'static str {
    const BACKENDS: [&str; 10] =
        ["s3", "azure", "gcs", "b2", "webdav", "sftp", "rclone", "gdrive", "filesystem", "nfs"];
    BACKENDS.into_iter().find(|backend| *backend == name).unwrap_or(UNKNOWN)
}

pub const AMBIGUOUS: &str = "Ambiguous";
pub const CREDENTIAL_MISMATCH: &str = "CredentialMismatch";

/// Remarks on a repository that has several keys.
pub fn of_keys(keys: &BTreeSet<RepositoryKey>, by_unique_id: bool) -> Vec<(&'static str, String)> {
    let mut remarks = Vec::new();
    if by_unique_id {
        let message = "Kopia reports one unique id for several locations, so they are taken for one repository; \
            if one is a mirror of the other, set distinctFrom";
        remarks.push((AMBIGUOUS, message.to_owned()));
    }
    let mut heads = keys.iter().map(RepositoryKey::id);
    let mut last = heads.next();
    if heads.any(|id| last.replace(id) == Some(id)) {
        let message = "two locations have the same short id; they are taken for one repository to be safe";
        remarks.push((AMBIGUOUS, message.to_owned()));
    }
    remarks
}

/// The remark on a ledger record whose status belongs to another repository.
pub fn of_foreign(id: RepositoryId) -> (&'static str, String) {
    let message = format!("the status of {} holds the key of another repository and is left out", id.ledger_name());
    ("KeyMismatch", message)
}

fn all_remarks(
    mut remarks: Vec<(&'static str, String)>,
    view: &View,
    levers: &Levers<'_>,
) -> Vec<(&'static str, String)> {
    if let Some(warning) = &view.ambiguous {
        let mut message = "its location can be read in more than one way and was merged to be safe".to_owned();
        if !warning.is_empty() {
            message = format!("{message}: {warning}");
        }
        remarks.push((AMBIGUOUS, message));
    }
    if view.passwords_differ {
        let message = "Secrets with different KOPIA_PASSWORDs point at it: only one of them can be right".to_owned();
        remarks.push((CREDENTIAL_MISMATCH, message));
    }
    if levers.pin == Pin::Contradicting {
        let message = "its KopiaRepositories are pinned to different members; none of these pins applies".to_owned();
        remarks.push(("ContradictingPins", message));
    }
    remarks.sort();
    remarks.dedup();
    remarks
}

fn message(
    plan: &RepositoryPlan,
    winner: Option<&PolicyRecord>,
    levers: &Levers<'_>,
    until: Option<Timestamp>,
) -> String {
    let policy = plan.policy.as_ref().map_or("", |name| name.as_str());
    let cluster = plan.cluster.as_ref().map_or("", MemberName::as_str);
    match plan.state {
        State::NoPolicy => "no policy matches a source of it or names it".to_owned(),
        State::Disabled => format!("policy {policy} says enabled: false"),
        State::Maintained => format!("maintained in {cluster} under policy {policy}"),
        State::Suspended => format!("policy {policy} says suspend: true; the CronJob in {cluster} is suspended"),
        State::Frozen => {
            let until = levers.frozen_until.map(|until| until.to_string()).unwrap_or_default();
            format!("frozen until {until}; the CronJob in {cluster} is suspended")
        }
        State::Held => format!("{}; what stands in the members stays as it is", held(plan, winner, levers, until)),
        State::NoCandidate => no_candidate(plan, levers),
    }
}

fn held(plan: &RepositoryPlan, winner: Option<&PolicyRecord>, levers: &Levers<'_>, until: Option<Timestamp>) -> String {
    let cluster = plan.cluster.as_ref().map_or("nobody", MemberName::as_str);
    match plan.reason {
        Some(verdict::INVALID_POLICY) => {
            let errors = winner.and_then(|winner| winner.settings.as_ref().err());
            let first = errors.and_then(|errors| errors.first());
            let first = first.map(|error| format!(": {}: {}", error.field, error.message)).unwrap_or_default();
            format!("the winning policy {} is invalid{first}", plan.policy.as_ref().map_or("", |name| name.as_str()))
        }
        Some(verdict::PIN_UNSATISFIED) => format!("pinned to {}, which is no candidate", pinned(levers)),
        Some(verdict::HOLDER_UNREACHABLE) => away(plan, levers, cluster, until),
        _ => pending(plan, cluster, until),
    }
}

/// The holder is to be followed by another, and what speaks against it may pass.
fn pending(plan: &RepositoryPlan, cluster: &str, until: Option<Timestamp>) -> String {
    let itself = plan.candidates.iter().find(|candidate| candidate.member.as_str() == cluster);
    let why = itself.and_then(|it| it.excluded.as_ref()).map(|(_, why)| format!(": {why}")).unwrap_or_default();
    let then = until.map_or_else(
        || "if that lasts for --handover-after, another candidate takes over".to_owned(),
        |at| format!("if that lasts, another candidate takes over at {at:.0}"),
    );
    format!("the holder {cluster} is no candidate any more{why}; {then}")
}

/// Who waits wants to know for what.
fn away(plan: &RepositoryPlan, levers: &Levers<'_>, cluster: &str, until: Option<Timestamp>) -> String {
    let goes_on = format!("the holder {cluster} can't be reached; it goes on by itself");
    let given_up = plan.cluster.as_ref().is_some_and(|holder| levers.gives_up(holder));
    match until {
        _ if given_up => format!("{goes_on}, and failover waits until a candidate can be reached"),
        Some(at) => format!("{goes_on}; if that lasts, another candidate takes over at {at:.0}"),
        None => goes_on,
    }
}

fn no_candidate(plan: &RepositoryPlan, levers: &Levers<'_>) -> String {
    match plan.reason {
        Some(verdict::PIN_UNSATISFIED) => format!("pinned to {}, which is no candidate", pinned(levers)),
        Some(super::direct::CLUSTER_SELECTOR_NEEDED) => {
            "the policy's Secret could be used in several members: set clusterSelector to say in which".to_owned()
        }
        _ => {
            let why: Vec<String> = plan.candidates.iter().filter_map(said).take(SAID).collect();
            let why = if why.is_empty() { "the policy admits no member".to_owned() } else { why.join("; ") };
            format!("no member can run it: {why}")
        }
    }
}

/// So many members are named in a message; all are in the plan.
const SAID: usize = 3;

fn said(candidate: &Candidate) -> Option<String> {
    candidate.excluded.as_ref().map(|(_, message)| format!("{}: {message}", candidate.member))
}

fn pinned(levers: &Levers<'_>) -> String {
    match &levers.pin {
        Pin::To(member) => member.to_string(),
        Pin::None | Pin::Contradicting => String::new(),
    }
}

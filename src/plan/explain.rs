//! Why a repository is planned as it is: read off the plan and the conditions that made it, never decided anew.

use std::ops::Bound;

use jiff::Timestamp;
use serde::Serialize;

use super::fields::{self, Field};
use super::fleet::{Fleet, Labels, PlanOptions, SourceRepository};
use super::precedence;
use super::result::{Candidate, Push, RepositoryPlan};
use super::selector::{self, Condition, Subject};
use super::{assignment, direct, election, scratch};
use crate::names::SourceKey;
use crate::policy::{PolicyClaim, PolicyRecord, PolicyTarget};

/// What was known when the repository was planned.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    pub fleet: &'a Fleet,
    pub options: &'a PlanOptions,
    pub now: Timestamp,
    /// Those of the repository.
    pub sources: &'a [SourceKey],
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Every policy of the fleet: the winner, the losers in order, then those that do not compete, by name.
    pub policies: Vec<PolicyWhy>,
    /// In order of election; then those that can't be elected, by name.
    pub members: Vec<MemberWhy>,
    /// What the winner asks for; empty without a valid winner.
    pub fields: Vec<Field>,
    /// The next three runs; empty where the winner schedules nothing.
    pub next: Vec<Run>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyWhy {
    pub name: String,
    pub outcome: PolicyOutcome,
    pub priority: Option<i32>,
    pub created: Option<Timestamp>,
    /// Sources of this repository that it matches by itself.
    pub matched_sources: usize,
    pub because: String,
    /// Where a single condition keeps it from matching.
    pub near_misses: Vec<NearMiss>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PolicyOutcome {
    Won,
    Lost,
    NotMatched,
    Unreadable,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NearMiss {
    /// `cluster/namespace/name`
    pub source: String,
    /// The field of the policy.
    pub field: &'static str,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, for JSON")]
pub struct MemberWhy {
    pub name: String,
    /// It holds, or should hold, the grant.
    pub chosen: bool,
    /// It has the grant in the ledger.
    pub holder: bool,
    pub secret: Option<String>,
    pub reachable: bool,
    pub last_sync_succeeded: bool,
    /// Of the election: the highest comes first among equals.
    pub weight: String,
    pub excluded: Option<&'static str>,
    pub because: String,
}

/// One run, as its policy's zone and UTC show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    pub local: String,
    pub zone: String,
    pub utc: Timestamp,
}

/// So many runs are shown.
const RUNS: usize = 3;
/// So many near misses of one policy are shown: the first, by source.
const NEAR_MISSES: usize = 5;

pub fn explain(seen: Seen<'_>, plan: &RepositoryPlan) -> Explanation {
    let winner = plan.policy.as_ref().and_then(|name| seen.fleet.policies.get(name)).map(|policy| &**policy);
    let settings = winner.and_then(|winner| winner.settings.as_ref().ok());
    Explanation {
        policies: policies(seen, plan, winner),
        members: plan.candidates.iter().map(|candidate| member(plan, candidate)).collect(),
        fields: settings.map(|settings| fields::of(settings, seen.options)).unwrap_or_default(),
        next: winner.map(|winner| next(seen, plan, winner)).unwrap_or_default(),
    }
}

/// Of `at_once` sources of the fleet `after` one, sorted, those that only one condition keeps from a policy; and the last
/// one that was looked at, if there may be more.
pub fn near_misses(
    fleet: &Fleet,
    claim: &PolicyClaim,
    after: Option<&SourceKey>,
    at_once: usize,
) -> (Vec<NearMiss>, Option<SourceKey>) {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let (mut misses, mut last) = (Vec::new(), None);
    for (source, _) in fleet.sources.range((from, Bound::Unbounded)).take(at_once) {
        misses.extend(near_miss(fleet, claim, source));
        last = Some(source);
    }
    (misses, last.cloned())
}

// === policies ===

fn policies(seen: Seen<'_>, plan: &RepositoryPlan, winner: Option<&PolicyRecord>) -> Vec<PolicyWhy> {
    let competing = plan.policy.iter().chain(&plan.shadowed);
    let others = seen.fleet.policies.keys().filter(|name| !competing.clone().any(|competitor| competitor == *name));
    let ordered = competing.clone().chain(others);
    ordered.filter_map(|name| Some(policy(seen, plan, winner, seen.fleet.policies.get(name)?))).collect()
}

fn policy(seen: Seen<'_>, plan: &RepositoryPlan, winner: Option<&PolicyRecord>, policy: &PolicyRecord) -> PolicyWhy {
    let claim = policy.claim.as_ref();
    let outcome = match claim {
        None => PolicyOutcome::Unreadable,
        Some(_) if plan.policy.as_ref() == Some(&policy.name) => PolicyOutcome::Won,
        Some(_) if plan.shadowed.contains(&policy.name) => PolicyOutcome::Lost,
        Some(_) => PolicyOutcome::NotMatched,
    };
    let matches = |source: &&SourceKey| {
        claim.is_some_and(|claim| unmet(seen.fleet, claim, source).is_some_and(|it| it.is_empty()))
    };
    let near = |claim| seen.sources.iter().filter_map(move |source| near_miss(seen.fleet, claim, source));
    let near_misses = match outcome {
        PolicyOutcome::NotMatched => claim.into_iter().flat_map(near).take(NEAR_MISSES).collect(),
        _ => Vec::new(),
    };
    PolicyWhy {
        name: policy.name.to_string(),
        outcome,
        priority: claim.map(|claim| claim.priority),
        created: policy.created,
        matched_sources: seen.sources.iter().filter(matches).count(),
        because: because(seen, outcome, winner, policy),
        near_misses,
    }
}

fn because(seen: Seen<'_>, outcome: PolicyOutcome, winner: Option<&PolicyRecord>, policy: &PolicyRecord) -> String {
    let invalid = |text: String| match policy.settings {
        Ok(_) => text,
        Err(_) => format!("{text}; it is invalid: {}", scratch::policy_message(policy, None)),
    };
    match (outcome, &policy.claim) {
        (PolicyOutcome::Won, _) => invalid("no other policy that matches goes before it".to_owned()),
        (PolicyOutcome::Lost, _) => invalid(winner.map(|winner| lost_to(winner, policy)).unwrap_or_default()),
        (PolicyOutcome::NotMatched, Some(claim)) => match &claim.target {
            PolicyTarget::Direct { secret, .. } => {
                let note = direct::resolve(seen.fleet, seen.options, claim).note;
                note.map_or_else(|| format!("Secret {secret} means another repository"), |(_, message)| message)
            }
            PolicyTarget::Selector { .. } => selected_nothing(seen, claim),
        },
        _ => scratch::policy_message(policy, None),
    }
}

/// The first thing in which two competing policies differ.
fn lost_to(winner: &PolicyRecord, loser: &PolicyRecord) -> String {
    let name = &winner.name;
    let (Some((best, first, _)), Some((own, second, _))) = (precedence::rank(winner), precedence::rank(loser)) else {
        return String::new();
    };
    if best != own {
        return format!("{name} has priority {}, this one {}", best.0, own.0);
    }
    if first != second {
        let created =
            |policy: &PolicyRecord| policy.created.map_or("unknown".to_owned(), |created| created.to_string());
        return format!("same priority, and {name} is older ({} and {})", created(winner), created(loser));
    }
    format!("same priority and age, and {name} comes first by name")
}

fn selected_nothing(seen: Seen<'_>, claim: &PolicyClaim) -> String {
    let closest = seen.sources.iter().filter_map(|source| Some((unmet(seen.fleet, claim, source)?, source)));
    let Some((conditions, source)) = closest.min_by_key(|(conditions, _)| conditions.len()) else {
        return "the repository has no source that it could match".to_owned();
    };
    let said: Vec<String> =
        conditions.iter().map(|condition| describe(seen.fleet, claim, source, *condition)).collect();
    format!("it matches no source; closest is {source}: {}", said.join("; "))
}

// === conditions ===

/// The conditions that a source does not meet; none for a policy that selects nothing, or a source without Secret.
fn unmet(fleet: &Fleet, claim: &PolicyClaim, source: &SourceKey) -> Option<Vec<Condition>> {
    let PolicyTarget::Selector { pattern, namespaces } = &claim.target else { return None };
    let unlabelled = Labels::new();
    let subject = subject(fleet, source, &unlabelled)?;
    Some(selector::unmet(pattern, namespaces, &claim.clusters, subject).collect())
}

fn subject<'a>(fleet: &'a Fleet, source: &'a SourceKey, unlabelled: &'a Labels) -> Option<Subject<'a>> {
    let SourceRepository::Secret(secret) = &fleet.sources.get(source)?.repository else { return None };
    let namespace = &source.object.namespace;
    let of_member = fleet.namespaces.get(&source.member);
    Some(Subject {
        member: &source.member,
        member_labels: fleet.members.get(&source.member).map_or(unlabelled, |member| &member.labels),
        namespace,
        namespace_labels: of_member.and_then(|labels| labels.get(namespace)).map(|labels| &**labels),
        secret,
    })
}

fn near_miss(fleet: &Fleet, claim: &PolicyClaim, source: &SourceKey) -> Option<NearMiss> {
    let conditions = unmet(fleet, claim, source)?;
    let [condition] = conditions[..] else { return None };
    let message = describe(fleet, claim, source, condition);
    Some(NearMiss { source: source.to_string(), field: condition.field(), message })
}

fn describe(fleet: &Fleet, claim: &PolicyClaim, source: &SourceKey, condition: Condition) -> String {
    let unlabelled = Labels::new();
    let (PolicyTarget::Selector { pattern, namespaces }, Some(subject)) =
        (&claim.target, subject(fleet, source, &unlabelled))
    else {
        return String::new();
    };
    let (namespace, member, secret) = (subject.namespace, subject.member, subject.secret);
    let of_namespace = || {
        subject.namespace_labels.map_or_else(
            || format!("the labels of namespace {namespace} of {member} are not known"),
            |labels| format!("namespace {namespace} has {}", listed(labels)),
        )
    };
    let of_member = || format!("member {member} has {}", listed(subject.member_labels));
    let field = condition.field();
    match condition {
        Condition::SecretName => format!("Secret {secret} is not like {pattern:?} ({field})"),
        Condition::NamespaceNames => {
            format!("namespace {namespace} is not one of {:?} ({field})", namespaces.match_names)
        }
        Condition::NamespaceExcluded => format!("namespace {namespace} is excluded ({field})"),
        Condition::NamespaceLabels => format!("{}, not {} ({field})", of_namespace(), listed(&namespaces.match_labels)),
        Condition::NamespaceExpressions => format!("{}, which {field} does not admit", of_namespace()),
        Condition::ClusterNames => {
            format!("member {member} is not like any of {:?} ({field})", claim.clusters.match_names)
        }
        Condition::ClusterLabels => format!("{}, not {} ({field})", of_member(), listed(&claim.clusters.match_labels)),
        Condition::ClusterExpressions => format!("{}, which {field} does not admit", of_member()),
    }
}

/// `a=1, b=2`; so many labels that a line stays a line.
fn listed(labels: &Labels) -> String {
    const SHOWN: usize = 8;
    if labels.is_empty() {
        return "no labels".to_owned();
    }
    let shown: Vec<String> = labels.iter().take(SHOWN).map(|(key, value)| format!("{key}={value}")).collect();
    let more = if labels.len() > SHOWN { ", …" } else { "" };
    shown.join(", ") + more
}

// === members and times ===

fn member(plan: &RepositoryPlan, candidate: &Candidate) -> MemberWhy {
    let chosen = plan.cluster.as_ref() == Some(&candidate.member);
    let holder = plan.holder.as_ref() == Some(&candidate.member);
    let because = match (&candidate.excluded, chosen, holder) {
        (Some((_, message)), ..) => message.clone(),
        (None, true, true) => "it holds the grant and keeps it".to_owned(),
        (None, true, false) => "it comes first in the election".to_owned(),
        (None, false, _) if plan.cluster.is_none() => "it could run it".to_owned(),
        (None, false, _) => "another one holds the grant or comes before it".to_owned(),
    };
    MemberWhy {
        name: candidate.member.to_string(),
        chosen,
        holder,
        secret: candidate.secret.as_ref().map(ToString::to_string),
        reachable: candidate.reachable,
        last_sync_succeeded: candidate.last_sync_succeeded,
        weight: format!("{:016x}", election::weight(&plan.key, &candidate.member)),
        excluded: candidate.excluded.as_ref().map(|(reason, _)| *reason),
        because,
    }
}

/// Nothing is due where it is disabled, suspended or frozen, or where nothing new starts.
fn next(seen: Seen<'_>, plan: &RepositoryPlan, winner: &PolicyRecord) -> Vec<Run> {
    let (fixed, zone) = match &plan.push {
        Push::Objects(assignment) if !assignment.suspend => (assignment.schedule.clone(), assignment.time_zone.clone()),
        Push::Objects(_) | Push::Remove => return Vec::new(),
        // What stands goes on by itself; it may have been pushed under another policy, so only our own is foretold.
        Push::Keep => match winner
            .settings
            .as_ref()
            .map(|settings| (assignment::schedule(settings, seen.options, &plan.key), settings.time_zone.clone()))
        {
            Ok((Ok(fixed), zone))
                if plan.found.as_ref().is_some_and(|found| !found.suspend && *found.schedule == *fixed.as_str()) =>
            {
                (fixed, zone.unwrap_or_else(|| seen.options.time_zone.clone()))
            }
            _ => return Vec::new(),
        },
    };
    let time_zone = zone.time_zone();
    let shown = |utc: Timestamp| Run {
        local: utc.to_zoned(time_zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string(),
        zone: zone.as_str().to_owned(),
        utc,
    };
    fixed.upcoming(seen.now, &time_zone).take(RUNS).map(shown).collect()
}

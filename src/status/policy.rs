//! The status of a KopiaMaintenance.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{Wanted, update};
use crate::api::kopia_maintenance::{ActiveCronJob, KopiaMaintenanceStatus, MatchedSource};
use crate::names::PolicyName;
use crate::plan::result::{PolicyPlan, State};

/// The most entries of a list in the status; counts tell the rest.
pub const LISTED_MAX: usize = 50;

/// One repository that the policy competes for, as it stands.
#[derive(Clone, Debug)]
pub struct Competed {
    pub winner: Option<PolicyName>,
    pub state: State,
    pub cron_job: Option<ActiveCronJob>,
    /// The CronJob may run.
    pub maintained: bool,
    pub overdue: bool,
    pub last_success: Option<Timestamp>,
    pub next_run: Option<Timestamp>,
    pub failing: bool,
    /// It waits for its turn to claim, which is expected then.
    pub claim_expected: Option<Timestamp>,
}

pub struct Input<'a> {
    pub plan: &'a PolicyPlan,
    pub generation: i64,
    /// Sorted; no more than [`LISTED_MAX`].
    pub matched: Vec<MatchedSource>,
    pub repositories: Vec<Competed>,
    /// Why nothing can be matched yet: members that were not read.
    pub unread_members: usize,
    /// What the hub lacks on its own cluster.
    pub missing_rights: Option<Arc<str>>,
    pub now: Timestamp,
}

pub fn status(before: &KopiaMaintenanceStatus, input: &Input<'_>) -> KopiaMaintenanceStatus {
    let name = &input.plan.name;
    let won: Vec<_> = input.repositories.iter().filter(|it| it.winner.as_ref() == Some(name)).collect();
    let lost_to: BTreeSet<_> =
        input.repositories.iter().filter_map(|it| it.winner.as_ref()).filter(|it| *it != name).collect();
    let mut cron_jobs: Vec<_> = won.iter().filter_map(|it| it.cron_job.clone()).collect();
    cron_jobs.sort();
    let mut status = KopiaMaintenanceStatus {
        observed_generation: Some(input.generation),
        matched_sources: input.matched.clone(),
        matched_source_count: Some(count(input.plan.matched_sources)),
        repository_count: Some(count(input.plan.repositories)),
        maintained_count: Some(count(won.iter().filter(|it| it.maintained).count())),
        active_cron_job_count: Some(count(cron_jobs.len())),
        active_cron_jobs: cron_jobs.into_iter().take(LISTED_MAX).collect(),
        conflicting_maintenances: lost_to.iter().take(LISTED_MAX).map(ToString::to_string).collect(),
        last_maintenance_time: won.iter().filter_map(|it| it.last_success).max().map(Time),
        next_scheduled_maintenance: won.iter().filter_map(|it| it.next_run).min().map(Time),
        maintenance_failures: Some(count(won.iter().filter(|it| it.failing).count())),
        conditions: Vec::new(),
    };
    let wanted = vec![ready(input, &won), valid(input), degraded(input, &won)];
    status.conditions = update(&before.conditions, wanted, Some(input.generation), input.now);
    status
}

/// True where only counts, times and lists differ: such a change can wait.
pub fn is_minor(before: &KopiaMaintenanceStatus, after: &KopiaMaintenanceStatus) -> bool {
    let plain = |status: &KopiaMaintenanceStatus| {
        let conditions: Vec<_> =
            status.conditions.iter().map(|it| (it.type_.clone(), it.status.clone(), it.reason.clone())).collect();
        (status.observed_generation, conditions)
    };
    plain(before) == plain(after)
}

fn ready(input: &Input<'_>, won: &[&Competed]) -> Wanted {
    let plan = input.plan;
    if !plan.valid {
        return Wanted::new("Ready", false, "InvalidPolicy", "the policy is not valid; see the condition Valid");
    }
    if plan.repositories == 0 {
        let unread = match input.unread_members {
            0 => String::new(),
            members => format!("; {members} member(s) have not been read completely"),
        };
        let message = format!("no repository matches{unread}; `volsync-hub explain` shows near misses");
        return Wanted::new("Ready", false, "NoMatchingRepositories", message);
    }
    if won.is_empty() {
        return Wanted::new("Ready", true, "Shadowed", "every repository that it matches is ruled by another policy");
    }
    let settled =
        |it: &&&Competed| it.maintained || !matches!(it.state, State::Maintained | State::NoCandidate | State::Held);
    let waiting = won.len() - won.iter().filter(settled).count();
    if waiting > 0 {
        let expected: Vec<_> = won.iter().filter_map(|it| it.claim_expected).collect();
        let queued = expected.iter().max().map(|last| {
            format!("; {} wait for their turn to claim, the last of them until about {last}", expected.len())
        });
        let message = format!(
            "{waiting} of the {} repositories that it rules are not maintained yet{}; see the KopiaRepositories",
            won.len(),
            queued.unwrap_or_default()
        );
        return Wanted::new("Ready", false, "Progressing", message);
    }
    // What can't be seen goes on by itself, as far as anybody knows.
    let held = won.iter().filter(|it| it.state == State::Held).count();
    if held > 0 {
        let message = format!(
            "{held} of the {} repositories that it rules stay where they are for now, and go on there: a holder can't be \
             reached, or a hand-over waits; see the KopiaRepositories",
            won.len()
        );
        return Wanted::new("Ready", true, "Held", message);
    }
    Wanted::new("Ready", true, "Reconciled", "every repository that it rules is as it should be")
}

fn valid(input: &Input<'_>) -> Wanted {
    let plan = input.plan;
    if !plan.valid {
        return Wanted::new("Valid", false, "InvalidPolicy", plan.message.clone());
    }
    let message = if plan.message.is_empty() { "the policy can be read" } else { plan.message.as_str() };
    Wanted::new("Valid", true, "Valid", message)
}

fn degraded(input: &Input<'_>, won: &[&Competed]) -> Wanted {
    if let Some(missing) = &input.missing_rights {
        return Wanted::new("Degraded", true, "MissingRules", format!("of the hub on its own cluster: {missing}"));
    }
    let failing = won.iter().filter(|it| it.failing).count();
    let overdue = won.iter().filter(|it| it.overdue).count();
    if failing + overdue > 0 {
        let message =
            format!("the last run of {failing} repositories failed, {overdue} are overdue; see the KopiaRepositories");
        return Wanted::new("Degraded", true, if overdue > 0 { "Overdue" } else { "RunsFail" }, message);
    }
    Wanted::new("Degraded", false, "RunsSucceed", "no run failed")
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

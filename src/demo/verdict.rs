//! Is every repository of the demo as it should be? What the hub says is held against what stands in the simulated
//! members and repositories.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fleet::DemoFleet;
use super::objects::{CRON_JOBS, meta};
use super::repositories::Repository;
use super::scenario::{Expected, MEMBERS, POLICIES, REPOSITORIES};
use super::view::{RepositoryRow, Stage, View};
use crate::labels;

/// What was reached, and what is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Locations, by what became of them.
    pub maintained: Vec<String>,
    pub opted_out: Vec<String>,
    /// With the reason.
    pub held: Vec<(String, String)>,
    pub runs: u32,
    /// Times at which two runs were in one repository at once.
    pub collisions: u32,
    /// A sentence each; none: everything is as it should be.
    pub missing: Vec<String>,
}

/// What stands in the simulated clusters and stores.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub repositories: BTreeMap<String, Repository>,
    /// By id of the repository: members with a CronJob for it that may run.
    pub running_cron_jobs: BTreeMap<String, Vec<String>>,
}

impl Truth {
    pub fn of(fleet: &DemoFleet) -> Self {
        let mut running_cron_jobs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for member in &fleet.members {
            for cron_job in member.actor("demo").list(CRON_JOBS.0, CRON_JOBS.1) {
                if let Some(id) = repository_of(&cron_job).filter(|_| cron_job["spec"]["suspend"] != true) {
                    running_cron_jobs.entry(id.to_owned()).or_default().push(member.name().to_owned());
                }
            }
        }
        Self { repositories: fleet.repositories.all(), running_cron_jobs }
    }
}

fn repository_of(cron_job: &Value) -> Option<&str> {
    let ours = !meta(cron_job, "name").is_empty();
    cron_job["metadata"]["labels"][labels::REPOSITORY].as_str().filter(|_| ours)
}

/// Repositories that somebody in a member within reach uses, or a policy names.
fn expected_repositories() -> usize {
    let down = |member: &str| MEMBERS.iter().any(|plan| plan.name == member && plan.down);
    REPOSITORIES.iter().filter(|plan| plan.uses.is_empty() || plan.uses.iter().any(|used| !down(used.member))).count()
}

pub fn verdict(view: &View, truth: &Truth) -> Verdict {
    let mut verdict = Verdict {
        runs: truth.repositories.values().map(|repository| repository.runs).sum(),
        collisions: truth.repositories.values().map(|repository| repository.collisions).sum(),
        ..Verdict::default()
    };
    for row in &view.repositories {
        judge(row, truth, &mut verdict);
    }
    let missing = expected_repositories().saturating_sub(view.repositories.len());
    if missing > 0 {
        verdict.missing.push(format!("{missing} repositories have not been found"));
    }
    for plan in MEMBERS.iter().filter(|plan| view.is_reachable(plan.name) == plan.down) {
        let what = if plan.down { "is shown as reachable, and is not" } else { "is not reached" };
        verdict.missing.push(format!("member {} {what}", plan.name));
    }
    if verdict.collisions > 0 {
        verdict.missing.push(format!("{} times two runs were in one repository at once", verdict.collisions));
    }
    verdict
}

fn judge(row: &RepositoryRow, truth: &Truth, verdict: &mut Verdict) {
    let plan = POLICIES.iter().find(|plan| Some(plan.name) == row.policy.as_deref());
    let id = row.name.strip_prefix("kr-").unwrap_or(&row.name);
    let running = truth.running_cron_jobs.get(id).map(Vec::as_slice).unwrap_or_default();
    let missing = match plan.map(|plan| plan.expected) {
        None => Some("no policy rules it".to_owned()),
        Some(Expected::Run | Expected::Scheduled) if row.stage != Stage::Maintained => {
            Some(format!("{}: {}", row.stage.word(), row.why))
        }
        Some(Expected::Run) if !row.runs.iter().any(|run| run.outcome == "Succeeded") => {
            Some("no run has succeeded yet".to_owned())
        }
        Some(Expected::Run | Expected::Scheduled) => not_exactly_one(row, running, truth),
        Some(Expected::Disabled) if row.stage != Stage::OptedOut || !running.is_empty() => {
            Some("it should be opted out".to_owned())
        }
        Some(Expected::Held) if row.stage != Stage::Held || !running.is_empty() => {
            Some("nothing should start under a broken policy".to_owned())
        }
        Some(Expected::Disabled | Expected::Held) => None,
    };
    match (missing, row.stage) {
        (Some(missing), _) => verdict.missing.push(format!("{}: {missing}", row.location)),
        (None, Stage::OptedOut) => verdict.opted_out.push(row.location.clone()),
        (None, Stage::Held) => verdict.held.push((row.location.clone(), row.why.clone())),
        (None, _) => verdict.maintained.push(row.location.clone()),
    }
}

/// The holder has the only CronJob that may run, and is the recorded owner in a repository.
fn not_exactly_one(row: &RepositoryRow, running: &[String], truth: &Truth) -> Option<String> {
    let (holder, epoch) = row.holder.as_ref()?;
    if running != [holder.clone()] {
        return Some(format!("{holder} should have the only CronJob that may run; they are in {running:?}"));
    }
    let owner = format!("volsync-hub-{epoch}@{holder}.");
    let is_owned = truth.repositories.values().any(|repository| repository.owner.starts_with(&owner));
    (!is_owned).then(|| format!("no repository has an owner that begins {owner}"))
}

//! The plan as `plan` and `explain` print it: a stable interface. Every list is sorted.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::diff::Change;
use crate::names::{Place, PlacedName, RepositoryId};
use crate::plan::fleet::PlanOptions;
use crate::plan::result::{FleetPlan, PolicyPlan, Problem, Push, RepositoryPlan, SourcePlan, State};

#[derive(Debug, Serialize)]
pub struct Document {
    pub repositories: Vec<Repository>,
    pub sources: Vec<Source>,
    pub policies: Vec<Policy>,
    pub changes: Vec<Change>,
    pub problems: Vec<ProblemLine>,
}

#[derive(Debug, Serialize)]
pub struct Repository {
    pub id: String,
    pub key: String,
    pub backend: &'static str,
    pub location: String,
    pub state: State,
    pub reason: Option<&'static str>,
    pub policy: Option<String>,
    pub shadowed: Vec<String>,
    pub cluster: Option<String>,
    pub epoch: Option<u64>,
    pub sources: Vec<RepositorySource>,
    #[serde(rename = "cronJob")]
    pub cron_job: Option<CronJob>,
}

#[derive(Debug, Serialize)]
pub struct RepositorySource {
    pub cluster: String,
    pub namespace: String,
    pub name: String,
    pub secret: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CronJob {
    pub namespace: String,
    pub name: String,
    pub schedule: String,
    pub time_zone: Option<String>,
    pub suspend: bool,
    pub secret_from: Option<SecretFrom>,
}

/// `cluster` is null for the hub.
#[derive(Debug, Serialize)]
pub struct SecretFrom {
    pub cluster: Option<String>,
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Serialize)]
pub struct Source {
    pub cluster: String,
    pub namespace: String,
    pub name: String,
    pub secret: Option<String>,
    pub policy: Option<String>,
    pub repository: Option<String>,
    pub reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub name: String,
    pub valid: bool,
    pub message: String,
    pub matched_sources: usize,
    pub repositories: usize,
}

#[derive(Debug, Serialize)]
pub struct ProblemLine {
    pub object: String,
    pub reason: &'static str,
    pub message: String,
}

/// Writes a plan out, with what it would change and what was wrong besides.
pub fn document(plan: &FleetPlan, options: &PlanOptions, mut changes: Vec<Change>, others: &[Problem]) -> Document {
    changes.sort_by_key(Change::order);
    let mut problems: Vec<&Problem> = plan.problems.iter().chain(others).collect();
    problems.sort();
    problems.dedup();
    let mut by_repository: BTreeMap<RepositoryId, Vec<&SourcePlan>> = BTreeMap::new();
    for source in &plan.sources {
        if let Some(id) = source.repository {
            by_repository.entry(id).or_default().push(source);
        }
    }
    let of_repository = |plan: &RepositoryPlan| {
        let sources = by_repository.get(&plan.id).map_or(&[][..], Vec::as_slice);
        repository(plan, sources, options)
    };
    Document {
        repositories: plan.repositories.iter().map(of_repository).collect(),
        sources: plan.sources.iter().map(source).collect(),
        policies: plan.policies.iter().map(policy).collect(),
        changes,
        problems: problems.into_iter().map(problem).collect(),
    }
}

/// `sources`: those of the repository, sorted.
pub fn repository(plan: &RepositoryPlan, sources: &[&SourcePlan], options: &PlanOptions) -> Repository {
    Repository {
        id: plan.id.to_string(),
        key: plan.key.to_string(),
        backend: plan.backend,
        location: plan.location.clone(),
        state: plan.state,
        reason: plan.reason,
        policy: plan.policy.as_ref().map(ToString::to_string),
        shadowed: plan.shadowed.iter().map(ToString::to_string).collect(),
        cluster: plan.cluster.as_ref().map(ToString::to_string),
        epoch: plan.epoch,
        sources: sources.iter().map(|source| repository_source(source)).collect(),
        cron_job: cron_job(plan, options),
    }
}

fn repository_source(source: &SourcePlan) -> RepositorySource {
    RepositorySource {
        cluster: source.source.member.to_string(),
        namespace: source.source.object.namespace.to_string(),
        name: source.source.object.name.to_string(),
        secret: source.secret.as_ref().map(ToString::to_string),
    }
}

/// The CronJob that should stand, or that stands and stays.
pub fn cron_job(plan: &RepositoryPlan, options: &PlanOptions) -> Option<CronJob> {
    if let Push::Objects(assignment) = &plan.push {
        return Some(CronJob {
            namespace: options.member_namespace.to_string(),
            name: plan.id.object_name(),
            schedule: assignment.schedule.as_str().to_owned(),
            time_zone: Some(assignment.time_zone.as_str().to_owned()),
            suspend: assignment.suspend,
            secret_from: Some(secret_from(&assignment.secret)),
        });
    }
    let found = plan.found.as_ref()?;
    Some(CronJob {
        namespace: found.object.namespace.to_string(),
        name: found.object.name.to_string(),
        schedule: found.schedule.to_string(),
        time_zone: found.time_zone.as_deref().map(str::to_owned),
        suspend: found.suspend,
        secret_from: found.secret.as_ref().map(secret_from),
    })
}

fn secret_from(secret: &PlacedName) -> SecretFrom {
    let cluster = match &secret.place {
        Place::Hub => None,
        Place::Member(member) => Some(member.to_string()),
    };
    SecretFrom { cluster, namespace: secret.object.namespace.to_string(), name: secret.object.name.to_string() }
}

fn source(plan: &SourcePlan) -> Source {
    Source {
        cluster: plan.source.member.to_string(),
        namespace: plan.source.object.namespace.to_string(),
        name: plan.source.object.name.to_string(),
        secret: plan.secret.as_ref().map(ToString::to_string),
        policy: plan.policy.as_ref().map(ToString::to_string),
        repository: plan.repository.map(|id| id.to_string()),
        reason: plan.reason,
    }
}

fn policy(plan: &PolicyPlan) -> Policy {
    Policy {
        name: plan.name.to_string(),
        valid: plan.valid,
        message: plan.message.clone(),
        matched_sources: plan.matched_sources,
        repositories: plan.repositories,
    }
}

fn problem(problem: &Problem) -> ProblemLine {
    ProblemLine { object: problem.object.clone(), reason: problem.reason, message: problem.message.clone() }
}

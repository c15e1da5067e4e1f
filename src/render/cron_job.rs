//! The CronJob of a repository, and the one-shot Job of a claim.

use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest, Sha256};

use super::pod::{Permit, Role, template};
use super::{RenderContext, meta, revision};
use crate::labels;
use crate::names::RepositoryId;
use crate::plan::result::Assignment;
use crate::schedule::FixedSchedule;

/// A missed fire time older than this is not caught up, however rare the schedule.
const STARTING_DEADLINE_MAX: u32 = 3600;
/// Below this the CronJob controller, which looks every 10 s, may miss a fire time for good.
const STARTING_DEADLINE_MIN: u32 = 60;
/// How long a claim Job is kept for people to look at, once it has ended.
const CLAIM_TTL_SECONDS: i32 = 3600;
/// How long the Job of a run by hand is kept: for longer than the hub may be away, which tells by it what was done.
const MANUAL_TTL_SECONDS: i32 = 86_400;
/// How long a permit holds: long enough for a slow image pull, short enough that no clock drifts far.
pub const PERMIT_SECONDS: i64 = 600;
/// A claim may start at the end of its permit and waits half a minute twice; the rest is for slow stores.
pub const CLAIM_DEADLINE_SECONDS: u32 = 900;

/// A CronJob never carries a permit: it can run only where a claim went before.
pub fn cron_job(assignment: &Assignment, context: &RenderContext<'_>, suspend: bool) -> batch::CronJob {
    let mut cron_job = plain(assignment, context, suspend);
    revision::mark(&mut cron_job, assignment, context);
    cron_job
}

/// Without the words for what it was made from.
pub(super) fn plain(assignment: &Assignment, context: &RenderContext<'_>, suspend: bool) -> batch::CronJob {
    let settings = &assignment.settings;
    // With a limit of 0 the Job would be gone before its outcome is read; the hub deletes it afterwards.
    let keep = |limit: u32| Some(i32::try_from(limit.max(1)).unwrap_or(i32::MAX));
    batch::CronJob {
        metadata: meta(assignment, context, assignment.id.object_name()),
        spec: batch::CronJobSpec {
            schedule: assignment.schedule.as_str().to_owned(),
            time_zone: Some(assignment.time_zone.as_str().to_owned()),
            suspend: Some(suspend),
            concurrency_policy: Some("Forbid".to_owned()),
            starting_deadline_seconds: Some(starting_deadline(&assignment.schedule).into()),
            successful_jobs_history_limit: keep(settings.successful_jobs_history_limit),
            failed_jobs_history_limit: keep(settings.failed_jobs_history_limit),
            job_template: batch::JobTemplateSpec {
                metadata: Some(job_meta(assignment, context, &Role::Run, None)),
                spec: Some(job_spec(assignment, context, &Role::Run, settings.active_deadline_seconds)),
            },
        },
        status: None,
    }
}

/// The name of the claim Job of an epoch: fixed, so that no epoch is ever claimed by two Jobs.
pub fn claim_name(id: RepositoryId, epoch: u64) -> String {
    format!("{}-claim-{epoch}", id.object_name())
}

pub fn claim_job(assignment: &Assignment, context: &RenderContext<'_>, permit: Permit, attempt: &str) -> batch::Job {
    let role = Role::Claim(permit);
    let mut spec = job_spec(assignment, context, &role, CLAIM_DEADLINE_SECONDS);
    spec.ttl_seconds_after_finished = Some(CLAIM_TTL_SECONDS);
    let mut metadata = job_meta(assignment, context, &role, Some(claim_name(assignment.id, context.epoch)));
    metadata.annotations.get_or_insert_default().insert(labels::ATTEMPT.to_owned(), attempt.to_owned());
    batch::Job { metadata, spec: Some(spec), status: None }
}

/// From when on a fire time that was missed is not caught up any more. Seconds.
pub fn starting_deadline(schedule: &FixedSchedule) -> u32 {
    (schedule.shortest_period() / 2).clamp(STARTING_DEADLINE_MIN, STARTING_DEADLINE_MAX)
}

/// The name of the Job of a run by hand: fixed by its token, so that no token starts two.
pub fn manual_name(id: RepositoryId, token: &str) -> String {
    let hash = Sha256::digest(token).iter().take(4).fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
    format!("{}{hash:08x}", manual_prefix(id))
}

/// How the names of all Jobs by hand of a repository begin.
pub fn manual_prefix(id: RepositoryId) -> String {
    format!("{}-now-", id.object_name())
}

/// The run that the CronJob would start, once.
pub fn manual_job(assignment: &Assignment, context: &RenderContext<'_>, token: &str) -> batch::Job {
    let mut spec = job_spec(assignment, context, &Role::Run, assignment.settings.active_deadline_seconds);
    spec.ttl_seconds_after_finished = Some(MANUAL_TTL_SECONDS);
    let mut metadata = job_meta(assignment, context, &Role::Run, Some(manual_name(assignment.id, token)));
    metadata.annotations.get_or_insert_default().insert(labels::RUN_NOW.to_owned(), token.to_owned());
    batch::Job { metadata, spec: Some(spec), status: None }
}

fn job_meta(assignment: &Assignment, context: &RenderContext<'_>, role: &Role, name: Option<String>) -> ObjectMeta {
    let whole = meta(assignment, context, String::new());
    let mut named = whole.labels.unwrap_or_default();
    named.insert(labels::ROLE.to_owned(), role.as_str().to_owned());
    ObjectMeta {
        namespace: name.is_some().then(|| context.namespace.to_owned()),
        name,
        labels: Some(named),
        annotations: whole.annotations,
        ..ObjectMeta::default()
    }
}

fn job_spec(
    assignment: &Assignment,
    context: &RenderContext<'_>,
    role: &Role,
    deadline_seconds: u32,
) -> batch::JobSpec {
    batch::JobSpec {
        active_deadline_seconds: Some(deadline_seconds.into()),
        backoff_limit: Some(0),
        pod_replacement_policy: Some("Failed".to_owned()),
        template: template(assignment, context, role, deadline_seconds),
        ..batch::JobSpec::default()
    }
}

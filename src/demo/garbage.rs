//! Plays the garbage collector, the limits of a CronJob's history and the time to live of Jobs in a simulated member.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::objects::{JOBS, PODS, ending, is_of, meta, place, time_of};
use crate::sim::Actor;

/// Deletes what its controller, its limits or its time say is over.
pub fn collect(actor: &Actor, cron_jobs: &[Arc<Value>], jobs: &[Arc<Value>], pods: &[Arc<Value>]) {
    let now = actor.store().now();
    for pod in pods {
        if is_orphan(pod, jobs) {
            delete(actor, PODS, pod);
        }
    }
    for job in jobs {
        if is_orphan(job, cron_jobs) || is_past_its_time(job, now) {
            delete(actor, JOBS, job);
        }
    }
    for cron_job in cron_jobs {
        let limit = |field: &str, default: u64| cron_job["spec"][field].as_u64().unwrap_or(default);
        shorten(actor, cron_job, jobs, "Complete", limit("successfulJobsHistoryLimit", 3));
        shorten(actor, cron_job, jobs, "Failed", limit("failedJobsHistoryLimit", 1));
    }
}

fn delete(actor: &Actor, kind: (&str, &str), object: &Value) {
    let (namespace, name) = place(object);
    // Somebody else may have been faster.
    let _ = actor.delete(kind.0, kind.1, namespace, name);
}

/// Has owners, and none of them is there.
fn is_orphan(object: &Value, owners: &[Arc<Value>]) -> bool {
    let named = object["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty());
    named && !owners.iter().any(|owner| is_of(object, meta(owner, "uid")))
}

fn is_past_its_time(job: &Value, now: Timestamp) -> bool {
    let Some(seconds) = job["spec"]["ttlSecondsAfterFinished"].as_i64() else { return false };
    let over = ended(job).and_then(|end| end.checked_add(SignedDuration::from_secs(seconds)).ok());
    over.is_some_and(|over| now >= over)
}

fn ended(job: &Value) -> Option<Timestamp> {
    let conditions = job["status"]["conditions"].as_array();
    let mut last = conditions.into_iter().flatten().filter(|condition| condition["status"] == "True");
    last.find_map(|condition| time_of(&condition["lastTransitionTime"]))
}

fn shorten(actor: &Actor, cron_job: &Value, jobs: &[Arc<Value>], kind: &str, limit: u64) {
    let mut over: Vec<&Arc<Value>> =
        jobs.iter().filter(|job| is_of(job, meta(cron_job, "uid")) && ending(job) == Some(kind)).collect();
    over.sort_by_key(|job| ended(job));
    let excess = over.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    for job in over.into_iter().take(excess) {
        delete(actor, JOBS, job);
    }
}

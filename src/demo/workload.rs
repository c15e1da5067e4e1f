//! Plays the CronJob and Job controllers of a simulated member. They work on its objects directly, so they go on
//! when nobody else can reach the cluster, as real ones do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::select_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Clock;
use super::garbage;
use super::kubelet::Kubelet;
use super::objects::{self, CRON_JOBS, JOBS, PODS, meta, place, text_of};
use super::outline::Outlines;
use super::repositories::Repositories;
use crate::names::RepositoryKey;
use crate::schedule::{FixedSchedule, Schedule};
use crate::sim::{Actor, SimCluster};

/// Looks come so long after a change, and so often while Pods are on their way: nobody sees the steps.
const TICK: Duration = Duration::from_millis(100);
/// Schedules are in whole minutes; a look every ten seconds of the member's clock is what the real controller does.
const FIRE_STEP_SECONDS: u32 = 10;
/// The controller's own bound on fire times that were missed.
const MISSED_MAX: usize = 100;

/// The controllers and the kubelet of one member.
#[derive(Debug)]
pub struct Workload {
    actor: Actor,
    clock: Clock,
    kubelet: Kubelet,
    cron_jobs: Outlines,
    jobs: Outlines,
    pods: Outlines,
    /// By uid of the CronJob: the last fire time that became a Job, else when it was first seen.
    fired: BTreeMap<String, Timestamp>,
    schedules: BTreeMap<String, Option<FixedSchedule>>,
    /// What the last full look saw: the version of what is looked at, and the second of its clock.
    seen: (u64, i64),
}

impl Workload {
    pub fn new(cluster: &SimCluster, clock: Clock, repositories: Repositories) -> Self {
        let actor = cluster.actor("kube-controller-manager");
        Self {
            kubelet: Kubelet::new(cluster, repositories),
            actor,
            clock,
            cron_jobs: Outlines::of(CRON_JOBS),
            jobs: Outlines::of(JOBS),
            pods: Outlines::of(PODS),
            fired: BTreeMap::new(),
            schedules: BTreeMap::new(),
            seen: (0, 0),
        }
    }

    /// Pods run for so long, and up to twice as long.
    #[must_use]
    pub fn with_runs_of(mut self, time: Duration) -> Self {
        self.kubelet.runs_of(time);
        self
    }

    /// Works until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let pause_at_most = (Duration::from_secs(FIRE_STEP_SECONDS.into()) / self.clock.speed().max(1)).max(TICK);
        let mut kinds = Vec::from([CRON_JOBS, JOBS, PODS].map(|kind| self.actor.changes(kind.0, kind.1)));
        loop {
            self.tick();
            let pause = if self.kubelet.is_idle() { pause_at_most } else { TICK };
            let changed = select_all(kinds.iter_mut().flatten().map(|kind| kind.changed().boxed()));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => continue,
                _ = changed => {}
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// One look at everything, where anything can have changed.
    pub fn tick(&mut self) {
        let now =
            (self.actor.changed(&[JOBS, CRON_JOBS, PODS]), self.clock.now().as_second() / i64::from(FIRE_STEP_SECONDS));
        if now == self.seen && self.kubelet.is_idle() {
            return;
        }
        self.seen = now;
        let [cron_jobs, jobs, pods] =
            [&mut self.cron_jobs, &mut self.jobs, &mut self.pods].map(|outlines| outlines.look(&self.actor));
        for cron_job in &cron_jobs {
            self.look_at_cron_job(cron_job, &jobs);
        }
        for job in jobs.iter().filter(|job| objects::ending(job).is_none()) {
            self.look_at_job(job, &pods);
        }
        self.kubelet.tick(&pods);
        garbage::collect(&self.actor, &cron_jobs, &jobs, &pods);
    }

    fn schedule(&mut self, text: &str) -> Option<FixedSchedule> {
        let fixed = |text: &str| {
            // No `H` is left in what the hub pushes, so the key has no effect.
            text.parse::<Schedule>().ok()?.fix(&RepositoryKey::of_tuple([text]), None).ok()
        };
        self.schedules.entry(text.to_owned()).or_insert_with(|| fixed(text)).clone()
    }

    /// Starts a Job where a fire time has come, or was missed not too long ago.
    fn look_at_cron_job(&mut self, cron_job: &Value, jobs: &[Arc<Value>]) {
        let (now, uid) = (self.clock.now(), meta(cron_job, "uid"));
        let since = *self.fired.entry(uid.to_owned()).or_insert(now);
        if cron_job["spec"]["suspend"] == true {
            return;
        }
        let Some(due) = self.due(cron_job, since, now) else { return };
        let unfinished = jobs.iter().any(|job| objects::is_of(job, uid) && objects::ending(job).is_none());
        if unfinished && cron_job["spec"]["concurrencyPolicy"] == "Forbid" {
            return;
        }
        let Some(cron_job) = self.actor.find(CRON_JOBS, cron_job) else { return };
        let name = format!("{}-{}", meta(&cron_job, "name"), due.as_second() / 60);
        let template = &cron_job["spec"]["jobTemplate"];
        let mut metadata = template["metadata"].clone();
        if !metadata.is_object() {
            metadata = json!({});
        }
        metadata["name"] = name.as_str().into();
        metadata["namespace"] = meta(&cron_job, "namespace").into();
        metadata["ownerReferences"] = objects::controller_reference("batch/v1", "CronJob", &cron_job);
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]});
        // A Job of that name is one of an earlier look.
        let _ = self.actor.create(job);
        self.fired.insert(uid.to_owned(), due);
        let status = json!({"lastScheduleTime": text_of(self.actor.store().now())});
        let _ = self.actor.merge_status(CRON_JOBS, place(&cron_job), &status);
    }

    /// The latest fire time up to now that may still be started.
    fn due(&mut self, cron_job: &Value, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let schedule = self.schedule(cron_job["spec"]["schedule"].as_str()?)?;
        let zone = jiff::tz::TimeZone::get(cron_job["spec"]["timeZone"].as_str().unwrap_or("UTC")).ok()?;
        let deadline = cron_job["spec"]["startingDeadlineSeconds"].as_i64();
        let earliest = deadline.and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
        let from = earliest.map_or(since, |earliest| earliest.max(since));
        let times = std::iter::successors(schedule.next_after(from, &zone), |last| schedule.next_after(*last, &zone));
        times.take_while(|time| *time <= now).take(MISSED_MAX).last()
    }

    /// Makes the Pod, and tells the Job how it goes.
    fn look_at_job(&self, job: &Value, pods: &[Arc<Value>]) {
        if job["spec"]["suspend"] == true || job["metadata"]["deletionTimestamp"].is_string() {
            return;
        }
        let pod = pods.iter().find(|pod| objects::is_of(pod, meta(job, "uid")));
        let Some(pod) = pod else { return self.make_pod(job) };
        let now = text_of(self.actor.store().now());
        let condition = |kind: &str, reason: &str| {
            json!({"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": now,
                "lastProbeTime": now})
        };
        let status = match pod["status"]["phase"].as_str() {
            Some("Succeeded") => json!({"active": null, "ready": 0, "succeeded": 1, "completionTime": now,
                "conditions": [condition("SuccessCriteriaMet", "CompletionsReached"),
                    condition("Complete", "CompletionsReached")]}),
            Some("Failed") => json!({"active": null, "ready": 0, "failed": 1,
                "conditions": [condition("FailureTarget", "BackoffLimitExceeded"),
                    condition("Failed", "BackoffLimitExceeded")]}),
            _ => return,
        };
        let _ = self.actor.merge_status(JOBS, place(job), &status);
    }

    fn make_pod(&self, job: &Value) {
        let Some(job) = self.actor.find(JOBS, job) else { return };
        let template = &job["spec"]["template"];
        let mut metadata = template["metadata"].clone();
        if !metadata.is_object() {
            metadata = json!({});
        }
        metadata["generateName"] = format!("{}-", meta(&job, "name")).into();
        metadata["namespace"] = meta(&job, "namespace").into();
        metadata["ownerReferences"] = objects::controller_reference("batch/v1", "Job", &job);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]});
        if self.actor.create(pod).is_ok() {
            let status = json!({"active": 1, "ready": 0, "startTime": text_of(self.actor.store().now())});
            let _ = self.actor.merge_status(JOBS, place(&job), &status);
        }
    }
}

//! Plays the kubelets of a simulated member: Pods start, take their time, and end with what the mover left behind.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::mover::Mission;
use super::objects::{PODS, meta, place, text_of};
use super::repositories::Repositories;
use crate::sim::{Actor, SimCluster};

/// Finding a node and pulling an image, in a hurry.
const START_AFTER: Duration = Duration::from_millis(400);
/// A Pod works for this long, and up to as long again, where nothing else is said.
pub const WORK: Duration = Duration::from_millis(1500);

#[derive(Debug)]
pub struct Kubelet {
    actor: Actor,
    member: String,
    repositories: Repositories,
    start_after: Duration,
    work: Duration,
    /// By uid of the Pod.
    pods: BTreeMap<String, Life>,
}

#[derive(Debug)]
struct Life {
    seen: Instant,
    running: Option<(Mission, Timestamp)>,
    works_for: Duration,
}

impl Kubelet {
    pub fn new(cluster: &SimCluster, repositories: Repositories) -> Self {
        Self {
            actor: cluster.actor("kubelet"),
            member: cluster.name().to_owned(),
            repositories,
            start_after: START_AFTER,
            work: WORK,
            pods: BTreeMap::new(),
        }
    }

    /// Pods work for so long, and up to as long again.
    pub fn runs_of(&mut self, time: Duration) {
        (self.start_after, self.work) = (START_AFTER.min(time), time);
    }

    /// No Pod is on its way.
    pub fn is_idle(&self) -> bool {
        self.pods.is_empty()
    }

    pub fn tick(&mut self, pods: &[Arc<Value>]) {
        self.leave_deleted(pods);
        for pod in pods.iter().filter(|pod| matches!(pod["status"]["phase"].as_str(), Some("Pending" | "Running"))) {
            let uid = meta(pod, "uid");
            let life = self.pods.entry(uid.to_owned()).or_insert_with(|| Life {
                seen: Instant::now(),
                running: None,
                works_for: self.work + self.work.mul_f32(share(uid)),
            });
            let age = life.seen.elapsed();
            if life.running.is_none() && age >= self.start_after {
                self.start(pod);
            } else if age >= self.start_after + life.works_for {
                self.finish(pod);
            }
        }
    }

    /// A Pod that is deleted in mid-run is killed: it is in its repository no longer.
    fn leave_deleted(&mut self, pods: &[Arc<Value>]) {
        let gone: Vec<String> =
            self.pods.keys().filter(|uid| !pods.iter().any(|pod| meta(pod, "uid") == **uid)).cloned().collect();
        for uid in gone {
            if let Some((mission, _)) = self.pods.remove(&uid).and_then(|life| life.running) {
                mission.abandon(&self.repositories);
            }
        }
    }

    fn start(&mut self, pod: &Value) {
        let Some(pod) = self.actor.find(PODS, pod) else { return };
        let namespace = meta(&pod, "namespace");
        let mission = Mission::read(&pod, &self.member, |name| self.actor.get("", "secrets", namespace, name));
        mission.begin(&self.repositories);
        let now = self.actor.store().now();
        let started = text_of(now);
        if let Some(life) = self.pods.get_mut(meta(&pod, "uid")) {
            life.running = Some((mission, now));
        }
        let state = json!({"running": {"startedAt": started}});
        let status = json!({"phase": "Running", "startTime": started, "containerStatuses": container(&pod, &state)});
        let _ = self.actor.merge_status(PODS, place(&pod), &status);
    }

    fn finish(&mut self, pod: &Value) {
        let life = self.pods.remove(meta(pod, "uid"));
        let Some((mission, started)) = life.and_then(|life| life.running) else { return };
        let Some(pod) = self.actor.find(PODS, pod) else { return mission.abandon(&self.repositories) };
        let now = self.actor.store().now();
        let ending = mission.end(&self.repositories, started, now);
        let good = ending.exit_code == 0;
        let state = json!({"terminated": {
            "exitCode": ending.exit_code,
            "reason": if good { "Completed" } else { "Error" },
            "message": ending.message,
            "startedAt": text_of(started),
            "finishedAt": text_of(now),
        }});
        let phase = if good { "Succeeded" } else { "Failed" };
        let status = json!({"phase": phase, "containerStatuses": container(&pod, &state)});
        let _ = self.actor.merge_status(PODS, place(&pod), &status);
    }
}

fn container(pod: &Value, state: &Value) -> Value {
    let spec = &pod["spec"]["containers"][0];
    let name = spec["name"].as_str().unwrap_or("mover");
    json!([{"name": name, "image": spec["image"], "imageID": "", "ready": state["running"].is_object(),
        "restartCount": 0, "state": state}])
}

/// 0 to 1, the same for the same Pod.
fn share(uid: &str) -> f32 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    f32::from(u16::try_from(hasher.finish() & 0xffff).unwrap_or_default()) / f32::from(u16::MAX)
}

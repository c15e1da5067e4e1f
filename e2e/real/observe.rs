//! Sees what changes in the fleet, for whoever does it: the hub or the floor. The same watches for both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde::Deserialize;
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::stage::{CRON_JOBS, LEDGER, SECRETS, Stage, ours};
use super::wire::{JSON, Wire};
use crate::harness::{Fail, tools};

/// A fleet that takes longer than this to converge does not.
const PATIENCE: Duration = Duration::from_mins(8);
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// A reaction that takes longer than this has been missed.
const REACTION_MAX: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Event {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    data: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    suspend: Option<bool>,
    schedule: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    grant: Option<Grant>,
}

#[derive(Deserialize)]
struct Grant {
    phase: String,
}

type Task = AbortOnDropHandle<()>;

async fn follow(
    wire: &Wire,
    collection: &str,
    mut take: impl FnMut(Object, Instant) + Send + 'static,
) -> Result<Task, Fail> {
    let join = if collection.contains('?') { '&' } else { '?' };
    let (_, version) = wire.list(&format!("{collection}{join}limit=1")).await?;
    let mut events = wire.watch(collection, &version, JSON).await?;
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(line) = events.next().await {
            let at = Instant::now();
            match line.and_then(|line| Ok(serde_json::from_slice::<Event>(&line)?)) {
                Ok(event) => take(event.object, at),
                Err(error) => return tools::say(&format!("what happens is not seen any more: {error}")),
            }
        }
    })))
}

/// When each repository was granted, and when its CronJob might run.
#[derive(Default)]
struct Progress {
    granted: HashMap<String, Instant>,
    running: HashMap<String, Instant>,
}

/// Waits for a fleet to converge.
pub struct Convergence {
    progress: Arc<Mutex<Progress>>,
    changed: Arc<Notify>,
    _tasks: Vec<Task>,
}

impl Convergence {
    pub async fn follow(stage: &Stage) -> Result<Self, Fail> {
        let (progress, changed) = (Arc::<Mutex<Progress>>::default(), Arc::new(Notify::new()));
        let mut tasks = Vec::new();
        let taken = |into: fn(&mut Progress) -> &mut HashMap<String, Instant>, is: fn(&Object) -> bool| {
            let (progress, changed) = (progress.clone(), changed.clone());
            move |object: Object, at: Instant| {
                if is(&object) {
                    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                    into(&mut progress).entry(object.metadata.name).or_insert(at);
                    changed.notify_one();
                }
            }
        };
        let is_granted: fn(&Object) -> bool =
            |object| object.status.grant.as_ref().is_some_and(|grant| grant.phase == "Active");
        tasks.push(follow(&stage.hub, LEDGER, taken(|it| &mut it.granted, is_granted)).await?);
        for member in &stage.members {
            let runs = taken(|it| &mut it.running, |object| object.spec.suspend == Some(false));
            tasks.push(follow(member, &ours(CRON_JOBS), runs).await?);
        }
        Ok(Self { progress, changed, _tasks: tasks })
    }

    /// How long each repository took from `began` on, the last of so many at the end.
    pub async fn whole(&self, count: usize, began: Instant) -> Result<Vec<Duration>, Fail> {
        let mut told = Instant::now();
        while began.elapsed() < PATIENCE {
            {
                let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
                if progress.granted.len() >= count && progress.running.len() >= count {
                    let last = progress.granted.values().max();
                    let times = progress.running.values().chain(last).map(|at| *at - began);
                    let mut times: Vec<_> = times.collect();
                    times.sort();
                    return Ok(times);
                }
                if told.elapsed() > PROGRESS_EVERY {
                    told = Instant::now();
                    let (granted, running) = (progress.granted.len(), progress.running.len());
                    tools::say(&format!(
                        "{} s: {granted} granted and {running} CronJobs let go, of {count}",
                        began.elapsed().as_secs()
                    ));
                }
            }
            let _ = tokio::time::timeout(PROGRESS_EVERY, self.changed.notified()).await;
        }
        Err(format!("{count} repositories did not converge within {} s", PATIENCE.as_secs()).into())
    }
}

/// Sees CronJobs and copies as they become.
pub struct Reactions {
    seen: mpsc::UnboundedReceiver<(String, String, Instant)>,
    _tasks: Vec<Task>,
}

impl Reactions {
    pub async fn follow(stage: &Stage) -> Result<Self, Fail> {
        let (sender, seen) = mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for member in &stage.members {
            let schedules = sender.clone();
            let of_cron_job = move |object: Object, at| {
                // Nobody listens at the end.
                let _ = schedules.send((object.metadata.name, object.spec.schedule, at));
            };
            tasks.push(follow(member, &ours(CRON_JOBS), of_cron_job).await?);
            let keys = sender.clone();
            let of_copy = move |mut object: Object, at| {
                let key = object.data.remove("AWS_SECRET_ACCESS_KEY").unwrap_or_default();
                let _ = keys.send((object.metadata.name, key, at));
            };
            tasks.push(follow(member, &ours(SECRETS), of_copy).await?);
        }
        Ok(Self { seen, _tasks: tasks })
    }

    /// When the object of this name has become so.
    pub async fn until(&mut self, name: &str, value: &str) -> Result<Instant, Fail> {
        let seen = async {
            while let Some((of, is, at)) = self.seen.recv().await {
                if of == name && is == value {
                    return Ok(at);
                }
            }
            Err("nothing is seen any more".into())
        };
        let seen = tokio::time::timeout(REACTION_MAX, seen).await;
        seen.map_err(|_| format!("{name} did not become {value} within {} s", REACTION_MAX.as_secs()))?
    }
}

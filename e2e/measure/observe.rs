//! Sees what changes in the fleet, for whoever does it: the hub or the floor. The same watches for both.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::paths::{CRON_JOBS, SECRETS, ours};
use super::wire::{JSON, Wire};
use crate::harness::Fail;
use crate::say;

/// A reaction that takes longer than this has been missed.
const REACTION_MAX: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Event {
    object: Object,
}

/// The little that is read of an object.
#[derive(Deserialize)]
pub struct Object {
    pub metadata: Metadata,
    #[serde(default)]
    pub spec: Spec,
    #[serde(default)]
    pub status: Status,
    #[serde(default)]
    pub data: HashMap<String, String>,
}

#[derive(Deserialize)]
pub struct Metadata {
    pub name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    pub suspend: Option<bool>,
    pub schedule: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub grant: Option<Grant>,
}

#[derive(Deserialize)]
pub struct Grant {
    pub phase: String,
}

pub type Task = AbortOnDropHandle<()>;

/// Tells of each change in a collection from now on, until it is dropped.
pub async fn follow(
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
                Err(error) => return say(&format!("what happens is not seen any more: {error}")),
            }
        }
    })))
}

/// Sees CronJobs and copies as they become.
pub struct Reactions {
    seen: mpsc::UnboundedReceiver<(String, String, Instant)>,
    _tasks: Vec<Task>,
}

impl Reactions {
    pub async fn follow(members: impl Iterator<Item = &Wire>) -> Result<Self, Fail> {
        let (sender, seen) = mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for member in members {
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

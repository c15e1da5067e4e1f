//! Waits for a fleet to converge, whoever does it: the hub or the floor. The same watches for both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::stage::Stage;
use crate::harness::Fail;
use crate::measure::observe::{Object, Task, follow};
use crate::measure::paths::{CRON_JOBS, LEDGER, ours};
use crate::say;

/// A fleet that takes longer than this to converge does not.
const PATIENCE: Duration = Duration::from_mins(8);
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

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
                    say(&format!(
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

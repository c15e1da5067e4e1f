//! Changes sources, Secrets and namespaces of the simulated fleet at given rates, as its users and VolSync would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Fleet;
use super::fill::{self, NAMESPACES, SECRETS, SOURCES};
use super::scheme::{SourcePlan, mix};
use crate::demo::objects::text_of;

/// Often enough that a rate of some hundreds comes evenly.
const TICK: Duration = Duration::from_millis(50);
/// More than this machine's part of a fleet makes.
pub const RATE_MAX: f64 = 10_000.0;
/// One of so many changes of a source takes it away, or brings it back.
const COMING_AND_GOING: u64 = 20;

/// Changes a second in the whole fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Rates {
    /// The status of a source after a backup.
    pub backups: f64,
    /// Likewise, and one in twenty is a source that goes or comes back.
    pub sources: f64,
    /// Credentials that are rotated.
    pub secrets: f64,
    /// Labels.
    pub namespaces: f64,
}

/// Counts what was changed.
#[derive(Debug, Default)]
pub struct Made([AtomicU64; KINDS.len()]);

const KINDS: [&str; 4] = ["backups", "sources", "secrets", "namespaces"];

impl Rates {
    /// In the order of [`KINDS`].
    fn all(&self) -> [f64; KINDS.len()] {
        [self.backups, self.sources, self.secrets, self.namespaces]
    }

    pub fn check(&self) -> Result<(), String> {
        match KINDS.into_iter().zip(self.all()).find(|(_, rate)| !(0.0..=RATE_MAX).contains(rate)) {
            Some((what, rate)) => Err(format!("{what}: {rate} a second is no rate from 0 to {RATE_MAX}")),
            None => Ok(()),
        }
    }
}

impl Made {
    pub fn told(&self) -> Value {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed).into());
        Value::Object(KINDS.into_iter().map(str::to_owned).zip(counts).collect())
    }
}

/// Changes at the rates that come, until it is told to stop.
pub async fn run(fleet: Arc<Fleet>, made: Arc<Made>, rates: watch::Receiver<Rates>, stop: CancellationToken) {
    let (mut owed, mut last, mut number) = ([0.0_f64; KINDS.len()], Instant::now(), 0);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // Nobody makes up for more than a second that was missed.
        let passed = last.elapsed().min(Duration::from_secs(1)).as_secs_f64();
        last = Instant::now();
        let now = *rates.borrow();
        for (kind, rate) in now.all().into_iter().enumerate() {
            owed[kind] += rate * passed;
            while owed[kind] >= 1.0 {
                owed[kind] -= 1.0;
                number += 1;
                if change(&fleet, kind, number) {
                    made.0[kind].fetch_add(1, Ordering::Relaxed);
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

/// One change, drawn by its number; false where a person was faster.
fn change(fleet: &Fleet, kind: usize, number: u64) -> bool {
    let scheme = &fleet.scheme;
    let index = scheme.draw_below(5, number, scheme.members);
    let plan = scheme.source(index, scheme.draw_below(6, number, scheme.sources));
    let Some(member) = fleet.members.get(index) else { return false };
    let done = match kind {
        0 => back_up(fleet, index, &plan, number),
        1 => change_source(fleet, index, &plan, number),
        2 => {
            let key = STANDARD.encode(format!("rotated-{number}"));
            let change = json!({"data": {"AWS_SECRET_ACCESS_KEY": key}});
            let secret = scheme.repository(plan.repository).secret;
            member.actor("user").merge(SECRETS, (&plan.namespace, &secret), &change).map(drop)
        }
        _ => {
            let change = json!({"metadata": {"labels": {"changed": number.to_string()}}});
            member.actor("user").merge(NAMESPACES, ("", &plan.namespace), &change).map(drop)
        }
    };
    done.is_ok()
}

fn change_source(fleet: &Fleet, member: usize, plan: &SourcePlan, number: u64) -> Result<(), crate::sim::Failure> {
    let actor = fleet.members[member].actor("manager");
    let place = (plan.namespace.as_str(), plan.name.as_str());
    if actor.get(SOURCES.0, SOURCES.1, place.0, place.1).is_none() {
        return actor.apply(&fill::source(&fleet.scheme, plan)).map(drop);
    }
    if mix(fleet.scheme.seed, number).is_multiple_of(COMING_AND_GOING) {
        return actor.delete(SOURCES.0, SOURCES.1, place.0, place.1);
    }
    back_up(fleet, member, plan, number)
}

fn back_up(fleet: &Fleet, member: usize, plan: &SourcePlan, number: u64) -> Result<(), crate::sim::Failure> {
    let actor = fleet.members[member].actor("manager");
    let place = (plan.namespace.as_str(), plan.name.as_str());
    let status =
        json!({"lastSyncTime": text_of(actor.store().now()), "lastSyncDuration": format!("{}.5s", number % 60)});
    actor.merge_status(SOURCES, place, &status).map(drop)
}

//! What happens from the beginning to the end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::hubs::Replica;
use super::samples::Samples;
use super::troubles::{Draw, Troubles};
use super::verdict::{self, Seen};
use crate::harness::Fail;
use crate::measure::paths::{POLICIES, SCHEDULE};
use crate::measure::wire::{IN_FLIGHT, MERGE, Wire};
use crate::scale::fleet::{Fleet, Size};
use crate::{Args, say};

/// Every repository is maintained so often that the runs and Jobs that are kept of each are as many as they get before the first
/// third is over: what grows after that is no history.
const BUSY: &str = "*/2 * * * *";
const STEP: Duration = Duration::from_secs(8);
const SAMPLE: Duration = Duration::from_secs(5);
const TELL: Duration = Duration::from_secs(30);
const RESTART: Duration = Duration::from_secs(75);
/// Longer than a Lease lasts.
const SUSPENDED: Duration = Duration::from_secs(15);
const CLAIMED_WITHIN: Duration = Duration::from_mins(10);
/// Nothing was written for so long, so nothing more follows.
const QUIET: Duration = Duration::from_secs(20);
const QUIET_WITHIN: Duration = Duration::from_mins(15);
/// Several connections of one member last as long as watches do that began on them, and then until they have been idle.
const CONNECTIONS_LAST: Duration = Duration::from_mins(6);
const DESCRIPTORS_MORE: usize = 8;
const WATCHED: Duration = Duration::from_secs(30);

/// True: it ended as it should.
pub async fn run(args: &Args) -> Result<bool, Fail> {
    let folder = tempfile::tempdir()?;
    let seen = play(args, folder.path()).await;
    if !matches!(&seen, Ok(seen) if seen.well()) {
        say(&format!("logs are in {}", folder.keep().display()));
    }
    let seen = seen?;
    verdict::tell(&seen)?;
    Ok(seen.well())
}

async fn play(args: &Args, folder: &Path) -> Result<Seen, Fail> {
    let fleet = Fleet::start(Size::of(args), folder, "2s").await?;
    let hub = Wire::new(&fleet.hub_kubeconfig(), Arc::new(Semaphore::new(IN_FLIGHT)), false).await?;
    schedule(&hub, BUSY).await?;
    let mut replicas = [Replica::start("long-lived", &fleet, folder)?, Replica::start("restarted", &fleet, folder)?];
    for replica in &mut replicas {
        replica.ready().await?;
    }
    fleet.until_claimed(args.repositories, CLAIMED_WITHIN).await?;
    say("every repository is claimed; the trouble begins");
    let first = replicas[0].load()?;
    #[expect(clippy::cast_precision_loss, reason = "counts of sources fit")]
    let sources = (args.members * args.sources) as f64;
    let rates = json!({"backups": sources / 120.0, "sources": sources / 2_000.0, "secrets": 0.3, "namespaces": 0.3});
    fleet.changes(&rates).await?;
    let mut seen = trouble(args, &fleet, &mut replicas).await?;
    say("the trouble is over; what is due is done");
    fleet.changes(&json!({})).await?;
    schedule(&hub, SCHEDULE).await?;
    fleet.until_still(|asked| asked.writes, QUIET, QUIET_WITHIN).await?;
    let more = fewest_more(&replicas[0], first.descriptors).await?;
    seen.goal("descriptors more than before the trouble", count(more), count(DESCRIPTORS_MORE));
    seen.rest(&fleet, &hub).await?;
    // Backups alone are no reason to write anything.
    let before = fleet.asked().await?;
    fleet.changes(&json!({"backups": sources / 120.0})).await?;
    tokio::time::sleep(WATCHED).await;
    fleet.changes(&json!({})).await?;
    let idle = fleet.asked().await? - before;
    seen.goal("writes to members while there are backups only", count(idle.writes), 0.0);
    let before = fleet.asked().await?;
    for replica in &mut replicas {
        replica.restart("TERM")?;
    }
    for replica in &mut replicas {
        replica.ready().await?;
    }
    tokio::time::sleep(WATCHED).await;
    fleet.until_still(|asked| asked.writes, QUIET, QUIET_WITHIN).await?;
    let again = fleet.asked().await? - before;
    seen.goal("writes to members after a restart of both replicas", count(again.writes), 0.0);
    Ok(seen)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a soak fit")]
pub fn count(number: impl TryInto<u64>) -> f64 {
    number.try_into().unwrap_or(u64::MAX) as f64
}

async fn trouble(args: &Args, fleet: &Fleet, replicas: &mut [Replica; 2]) -> Result<Seen, Fail> {
    let began = Instant::now();
    let (mut draw, mut troubles) = (Draw::new(args.seed), Troubles::default());
    let mut samples = Samples::from(began);
    let (mut stepped, mut measured, mut spoke, mut restarted) = (began, began, began, began);
    let mut wakes: Option<Instant> = None;
    while began.elapsed() < args.run_for {
        tokio::time::sleep(Duration::from_millis(250)).await;
        // From then on one process lives to the end, and is measured.
        let settled = began.elapsed() > args.run_for / 3;
        for replica in &mut *replicas {
            replica.runs()?;
        }
        if stepped.elapsed() > STEP {
            stepped = Instant::now();
            troubles.step(fleet, &mut draw).await?;
        }
        if measured.elapsed() > SAMPLE {
            measured = Instant::now();
            if settled {
                samples.take(replicas[0].load()?);
            }
            let collisions = fleet.collisions().await?;
            if collisions > 0 {
                return Err(format!("two runs were in one repository {collisions} times").into());
            }
        }
        if wakes.is_some_and(|at| at <= Instant::now()) {
            wakes = None;
            replicas[0].signal("CONT")?;
        }
        if restarted.elapsed() > RESTART && wakes.is_none() {
            restarted = Instant::now();
            match draw.below(4) {
                0 => {
                    replicas[0].signal("STOP")?;
                    wakes = Some(Instant::now() + SUSPENDED);
                    troubles.count("replica suspended");
                }
                1 if !settled => restart(&mut replicas[0], "KILL", &mut troubles)?,
                1 | 2 => restart(&mut replicas[1], "KILL", &mut troubles)?,
                _ => restart(&mut replicas[usize::from(settled)], "TERM", &mut troubles)?,
            }
        }
        if spoke.elapsed() > TELL {
            spoke = Instant::now();
            tell(fleet, replicas, &troubles, began).await?;
        }
    }
    if wakes.is_some() {
        replicas[0].signal("CONT")?;
    }
    troubles.heal(fleet).await?;
    Ok(Seen::new(args, troubles.made, &samples, fleet.asked().await?))
}

/// Descriptors more than there were, once that is few or connections that were made in trouble have had their time.
async fn fewest_more(replica: &Replica, before: usize) -> Result<usize, Fail> {
    let began = Instant::now();
    loop {
        let more = replica.load()?.descriptors.saturating_sub(before);
        if more <= DESCRIPTORS_MORE || began.elapsed() > CONNECTIONS_LAST {
            return Ok(more);
        }
        tokio::time::sleep(SAMPLE).await;
    }
}

fn restart(replica: &mut Replica, by: &str, troubles: &mut Troubles) -> Result<(), Fail> {
    replica.restart(by)?;
    troubles.count(if by == "KILL" { "replica killed" } else { "replica stopped" });
    Ok(())
}

async fn tell(fleet: &Fleet, replicas: &[Replica; 2], troubles: &Troubles, began: Instant) -> Result<(), Fail> {
    let [long, other] = [replicas[0].load()?, replicas[1].load()?];
    let leads = if replicas[0].metric("volsync_hub_leader").await == Some(1.0) { "leads" } else { "does not lead" };
    let (asked, runs) = (fleet.asked().await?, fleet.runs().await?);
    let made: u64 = troubles.made.values().sum();
    say(&format!(
        "{:>5} s  {:.0} MB, {} files, {:.0} s of CPU, {leads}; the other {:.0} MB, {} files; {runs} runs, {} writes, {} of them in vain, {made} \
         troubles",
        began.elapsed().as_secs(),
        long.rss_mb,
        long.descriptors,
        long.cpu_s,
        other.rss_mb,
        other.descriptors,
        asked.writes,
        asked.unchanged,
    ));
    Ok(())
}

async fn schedule(hub: &Wire, schedule: &str) -> Result<(), Fail> {
    let body: Value = json!({"spec": {"schedule": schedule}});
    hub.send(Method::PATCH, &format!("{POLICIES}/all"), MERGE, body.to_string()).await.map(drop)
}

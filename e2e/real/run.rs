//! The scenarios, one after the other.

use std::time::{Duration, Instant};

use super::observe::Convergence;
use super::report::{self, Scenario};
use super::stage::{CLAIMS_MAX, MEMBERS, Stage, TUNED};
use crate::Args;
use crate::harness::Fail;
use crate::harness::tools::say;
use crate::measure::child::Floor;
use crate::measure::figures::{self, percentile};
use crate::measure::floor::{Orders, Told, Work};
use crate::measure::record::{self, Chain};
use crate::measure::sample::{Edit, REACTIONS, reactions};
use crate::measure::usage;

const COLD: &str = "cold-start-";

pub async fn all(args: &Args) -> Result<(), Fail> {
    let machine = usage::machine();
    let wants = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let usual = [300, 3000].map(|count| format!("{COLD}{count}"));
    let colds = if args.only.is_empty() { &usual[..] } else { &args.only };
    let mut counts: Vec<usize> = colds.iter().filter_map(|name| name.strip_prefix(COLD)?.parse().ok()).collect();
    let edits: Vec<_> = REACTIONS.into_iter().filter(|(_, name)| wants(name)).collect();
    if counts.is_empty() && !edits.is_empty() {
        counts.push(MEMBERS.len() * TUNED * 2);
    }
    let mut scenarios = Vec::new();
    if let Some(last) = counts.last().copied() {
        let mut stage = Stage::start(args.own).await?;
        for count in counts {
            let scenario = cold(&mut stage, count, args, count == last).await?;
            say(&format!("{}\n{}", scenario.name, report::table(std::slice::from_ref(&scenario), &[])));
            scenarios.push(scenario);
        }
        if !edits.is_empty() {
            scenarios.extend(reacting(&mut stage, &edits, args.samples).await?);
        }
    }
    let micro = if wants("micro") { figures::micro().await? } else { Vec::new() };
    let file = figures::write("real.json", &machine, &scenarios, &micro)?;
    println!("{}", report::table(&scenarios, &micro));
    println!("written to {}", file.display());
    Ok(())
}

/// A hub that is started on sources that were never maintained; then floors that do the same. Leaves what the last of
/// them made where `stays`.
async fn cold(stage: &mut Stage, count: usize, args: &Args, stays: bool) -> Result<Scenario, Fail> {
    stage.grow(count).await?;
    stage.policies().await?;
    let (sources, count) = (stage.sources(), stage.repositories());
    say(&format!("the hub starts on {sources} sources of {count} repositories"));
    let (moment, convergence) = (stage.fleet.moment()?, Convergence::follow(stage).await?);
    let began = Instant::now();
    let mut hub = stage.start_hub()?;
    hub.ready().await?;
    let times = convergence.whole(count, began).await?;
    let used = usage::of(hub.process().pid())?;
    drop(convergence);
    stage.quiet().await?;
    let quiet = usage::of(hub.process().pid())?;
    let writes = stage.fleet.hub_writes(&moment)?.len();
    hub.stop()?;
    let chains = record::read(&stage.hub, &stage.members).await?;
    stage.clean().await?;
    let (floor_times, told) = floor_cold(stage, &chains, true).await?;
    let mut unlimited = None;
    if !args.limited {
        stage.clean().await?;
        unlimited = Some(seconds(&floor_cold(stage, &chains, false).await?.0));
    }
    if stays {
        stage.policies().await?;
    } else {
        stage.clean().await?;
    }
    Ok(Scenario {
        name: format!("{COLD}{sources}"),
        wall_s: seconds(&times),
        cpu_s: used.cpu_s,
        floor_wall_s: seconds(&floor_times),
        floor_cpu_s: told.cpu_s,
        ratio: seconds(&times) / seconds(&floor_times),
        rss_mb: quiet.rss_mb,
        peak_rss_mb: quiet.peak_mb,
        writes,
        n: count,
        floor_requests_per_s: rate(&told),
        floor_unlimited_wall_s: unlimited,
        ..percentiles(&times, &floor_times)
    })
}

fn seconds(times: &[Duration]) -> f64 {
    times.last().map_or(0.0, Duration::as_secs_f64)
}

#[expect(clippy::cast_precision_loss, reason = "no floor makes so many requests")]
fn rate(told: &Told) -> f64 {
    told.requests as f64 / told.wall_s
}

fn percentiles(times: &[Duration], floor: &[Duration]) -> Scenario {
    Scenario {
        p50_ms: percentile(times, 50),
        p95_ms: percentile(times, 95),
        p99_ms: percentile(times, 99),
        floor_p50_ms: percentile(floor, 50),
        floor_p95_ms: percentile(floor, 95),
        ..Scenario::default()
    }
}

async fn floor_cold(stage: &Stage, chains: &[Chain], limited: bool) -> Result<(Vec<Duration>, Told), Fail> {
    say(if limited { "the floor does the same" } else { "the floor does the same without a limit" });
    let mut floor = floor(stage, chains, limited, Work::Cold).await?;
    let convergence = Convergence::follow(stage).await?;
    let began = Instant::now();
    floor.go().await?;
    let times = convergence.whole(chains.len(), began).await?;
    Ok((times, floor.told().await?))
}

/// Edits on a quiet fleet: half of the floor's before the hub's, and half after, for a machine may change.
async fn reacting(stage: &mut Stage, edits: &[(Edit, &str)], samples: usize) -> Result<Vec<Scenario>, Fail> {
    let mut hub = stage.start_hub()?;
    hub.ready().await?;
    stage.quiet().await?;
    hub.stop()?;
    let chains = record::read(&stage.hub, &stage.members).await?;
    let picked: Vec<(Edit, Vec<&Chain>)> = edits.iter().map(|(edit, _)| (*edit, pick(&chains, *edit))).collect();
    let mut scenarios: Vec<Scenario> =
        edits.iter().map(|(_, name)| Scenario { name: (*name).to_owned(), ..Scenario::default() }).collect();
    let mut floors = floor_reacting(stage, &chains, &picked, samples / 2).await?;
    let (mut hub, moment) = (stage.start_hub()?, stage.fleet.moment()?);
    hub.ready().await?;
    stage.quiet().await?;
    say(&format!("a hub that starts anew wrote {} times", stage.fleet.hub_writes(&moment)?.len()));
    for ((edit, chains), scenario) in picked.iter().zip(&mut scenarios) {
        say(&format!("{}: the hub", scenario.name));
        let (before, moment, began) = (usage::of(hub.process().pid())?, stage.fleet.moment()?, Instant::now());
        let times = reactions(&stage.hub, &stage.members, chains, *edit, samples).await?;
        let (after, wall) = (usage::of(hub.process().pid())?, began.elapsed());
        stage.quiet().await?;
        *scenario = Scenario {
            name: scenario.name.clone(),
            wall_s: wall.as_secs_f64(),
            cpu_s: after.cpu_s - before.cpu_s,
            rss_mb: after.rss_mb,
            peak_rss_mb: after.peak_mb,
            writes: stage.fleet.hub_writes(&moment)?.len(),
            n: times.len(),
            ..percentiles(&times, &[])
        };
    }
    hub.stop()?;
    let again = floor_reacting(stage, &chains, &picked, samples / 2).await?;
    for ((scenario, floor), more) in scenarios.iter_mut().zip(&mut floors).zip(again) {
        floor.0.extend(more.0);
        scenario.floor_wall_s = floor.1.wall_s + more.1.wall_s;
        scenario.floor_cpu_s = floor.1.cpu_s + more.1.cpu_s;
        scenario.floor_requests_per_s = rate(&floor.1);
        scenario.floor_p50_ms = percentile(&floor.0, 50);
        scenario.floor_p95_ms = percentile(&floor.0, 95);
        scenario.ratio = scenario.p95_ms / scenario.floor_p95_ms;
    }
    Ok(scenarios)
}

/// For policies those repositories that have one of their own; for Secrets as many of the others.
fn pick(chains: &[Chain], edit: Edit) -> Vec<&Chain> {
    let all = chains.iter().filter(|chain| (chain.policy != "all") == (edit == Edit::Policy));
    let all: Vec<_> = all.collect();
    let step = (all.len() / (MEMBERS.len() * TUNED)).max(1);
    all.into_iter().step_by(step).take(MEMBERS.len() * TUNED).collect()
}

async fn floor(stage: &Stage, chains: &[Chain], limited: bool, work: Work) -> Result<Floor, Fail> {
    let (hub, members) = stage.kubeconfigs();
    let orders = Orders { hub, members, limited, work, claims: CLAIMS_MAX, chains: chains.to_vec() };
    Floor::start(&orders, &stage.fleet.dir.join("floor.json"), None).await
}

type OfFloor = (Vec<Duration>, Told);

async fn floor_reacting(
    stage: &Stage,
    chains: &[Chain],
    picked: &[(Edit, Vec<&Chain>)],
    samples: usize,
) -> Result<Vec<OfFloor>, Fail> {
    let mut found = Vec::new();
    for (edit, which) in picked {
        say(&format!("{edit:?} edits: the floor"));
        let floor = floor(stage, chains, true, Work::Follow).await?;
        let times = reactions(&stage.hub, &stage.members, which, *edit, samples).await?;
        found.push((times, floor.told().await?));
    }
    Ok(found)
}

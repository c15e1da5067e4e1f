//! Which scenarios there are, one after the other.

use std::time::Duration;

use super::edits;
use super::fleet::Size;
use super::floors::{self, Floors};
use super::report::{self, Scenario};
use super::stage::Stage;
use super::{cold, growth, loss, steady, takeover};
use crate::harness::Fail;
use crate::measure::figures;
use crate::measure::record::{self, Chain};
use crate::measure::sample::REACTIONS;
use crate::measure::usage;
use crate::{Args, Part, say};

const READ_WITHIN: Duration = Duration::from_mins(15);
const QUIET: Duration = Duration::from_secs(10);
/// The large fleet of `big`: each member has so many sources, and so many repositories for them.
const BIG: (usize, usize) = (1_000, 50);
/// Claims are not what it is about there.
const BIG_CLAIMS: &str = "--max-claims=1";

pub async fn all(args: &Args) -> Result<(), Fail> {
    let machine = usage::machine();
    let mut scenarios = Vec::new();
    let ended = parts(args, &mut scenarios).await;
    let micro = if args.wants(Part::Micro) && ended.is_ok() { figures::micro().await? } else { Vec::new() };
    // Of what was measured before something went wrong, too.
    let file = figures::write("report.json", &machine, &scenarios, &micro)?;
    say(&format!("written to {}", file.display()));
    #[expect(clippy::print_stdout, reason = "this is what it is for")]
    {
        println!("{}", report::table(&scenarios, &micro));
    }
    ended
}

async fn parts(args: &Args, scenarios: &mut Vec<Scenario>) -> Result<(), Fail> {
    if args.wants(Part::Main) {
        let stage = Stage::set(Size::of(args)).await?;
        let from = scenarios.len();
        let played = play(args, &stage, scenarios).await;
        if played.is_err() {
            say(&format!("the hub's last words, latest first:\n{}", stage.last_words()));
        }
        let chains = played?;
        drop(stage);
        let floors = floors::run(Size::of(args), &chains, samples(args)).await?;
        compare(&mut scenarios[from..], &floors);
        troubled_cold_start(args, scenarios).await?;
    }
    if args.wants(Part::Loss) {
        scenarios.push(loss::members(Size::of(args)).await?);
    }
    if args.wants(Part::Takeover) {
        scenarios.extend(takeover::all(Size::of(args)).await?);
    }
    if args.wants(Part::Growth) {
        scenarios.extend(growth::all(args).await?);
    }
    if args.wants(Part::Big) {
        scenarios.extend(big(args).await?);
    }
    Ok(())
}

fn samples(args: &Args) -> usize {
    if args.quick { 80 } else { 500 }
}

/// The hub's part of the main scenarios; what it made.
async fn play(args: &Args, stage: &Stage, found: &mut Vec<Scenario>) -> Result<Vec<Chain>, Fail> {
    // Each member is asked for a sign of life every 75 s: in any other time it is asked too often or too seldom.
    let watched = Duration::from_secs(if args.quick { 75 } else { 600 });
    let mut hub = stage.start_hub(&[])?;
    let mut first = cold::start(stage, &mut hub, "cold-start").await?;
    first.goal("peak of resident memory, MB", first.rss_peak_mb, 400.0);
    found.push(first);
    stage.all_quiet(QUIET).await?;
    let chains = record::read(&stage.hub, &stage.members).await?;
    found.push(steady::idle(stage, &hub, watched).await?);
    found.push(steady::churn(stage, &hub, watched).await?);
    stage.all_quiet(QUIET).await?;
    for (edit, name) in REACTIONS {
        found.push(edits::reacting(stage, &hub, &chains, (name, edit), samples(args)).await?);
        stage.all_quiet(QUIET).await?;
    }
    found.push(edits::none(stage, &hub, "policy-edit-none").await?);
    let ruled = chains.iter().filter(|chain| chain.policy == "all").count();
    found.push(edits::all(stage, &hub, ruled).await?);
    stage.all_quiet(QUIET).await?;
    hub.stop()?;
    let mut hub = stage.start_hub(&[])?;
    found.push(cold::restart(stage, &mut hub).await?);
    found.extend(steady::faults(stage, &hub, watched).await?);
    for (edit, name) in REACTIONS {
        let troubled = format!("faults-{name}");
        let mut scenario = edits::reacting(stage, &hub, &chains, (&troubled, edit), samples(args)).await?;
        if let Some(well) = found.iter().find(|it| it.name == name) {
            scenario.goal("its p50 over that without faults", scenario.p50_ms / well.p50_ms, 1.2);
        }
        found.push(scenario);
    }
    hub.stop()?;
    match stage.fleet.collisions().await? {
        0 => Ok(chains),
        collisions => Err(format!("two runs were in one repository {collisions} times").into()),
    }
}

/// Puts the floors beside.
fn compare(scenarios: &mut [Scenario], floors: &Floors) {
    for scenario in scenarios {
        let told = match scenario.name.as_str() {
            "cold-start" => Some(floors.cold),
            "policy-edit-all" => Some(floors.edit_all),
            _ => None,
        };
        if let Some(told) = told {
            scenario.floor_wall_s = told.wall_s;
            scenario.floor_cpu_s = told.cpu_s;
            scenario.floor_requests = told.requests;
            scenario.ratio = scenario.wall_s / told.wall_s;
            scenario.goal("times the floor", scenario.ratio, 1.5);
        }
        let edit = REACTIONS.iter().find(|(_, name)| *name == scenario.name).map(|(edit, _)| *edit);
        if let Some((_, times)) = floors.reactions.iter().find(|(of, _)| Some(*of) == edit) {
            scenario.floor_timed(times);
            scenario.goal("p50, times the floor's", scenario.p50_ms / scenario.floor_p50_ms, 2.0);
            scenario.goal("p99, times the floor's", scenario.p99_ms / scenario.floor_p99_ms, 2.0);
        }
    }
}

/// As many repositories as can be claimed while members are in trouble, at which rate.
#[expect(clippy::cast_precision_loss, reason = "counts of repositories fit")]
async fn troubled_cold_start(args: &Args, scenarios: &mut Vec<Scenario>) -> Result<(), Fail> {
    let stage = Stage::set(Size::of(args)).await?;
    steady::trouble(&stage).await?;
    let hub = stage.start_hub(&[])?;
    let began = stage.begin(&hub).await?;
    // Of four in five members nearly all.
    let enough = stage.fleet.size.repositories * 3 / 4;
    cold::claimed(&stage, enough).await?;
    let mut scenario = stage.end("faults-cold-start", &hub, &began).await?;
    hub.stop()?;
    if let Some(well) = scenarios.iter().find(|it| it.name == "cold-start") {
        let each = |it: &Scenario, count: usize| it.wall_s / count as f64;
        let times = each(&scenario, enough) / each(well, well.repositories);
        scenario.goal("its seconds a repository over those without faults", times, 1.2);
    }
    scenario.notes = format!("until {enough} repositories were claimed");
    scenarios.push(scenario);
    Ok(())
}

/// A thousand sources a member: what the hub holds of each, once all members have been read.
#[expect(clippy::cast_precision_loss, reason = "counts of sources fit")]
async fn big(args: &Args) -> Result<Vec<Scenario>, Fail> {
    let members = args.members();
    let size = Size { members, sources: BIG.0, repositories: members * BIG.1, seed: args.seed };
    let stage = Stage::set(size).await?;
    let mut hub = stage.start_hub(&[BIG_CLAIMS])?;
    let began = stage.begin(&hub).await?;
    hub.ready().await?;
    while hub.sum("volsync_hub_member_synced").await != Some(members as f64) {
        if began.at.elapsed() > READ_WITHIN {
            return Err("not all members were read".into());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let took = began.at.elapsed();
    tokio::time::sleep(QUIET).await;
    let mut read = stage.end("big", &hub, &began).await?;
    read.wall_s = took.as_secs_f64();
    read.notes = format!("{} sources known", hub.sum("volsync_hub_member_sources").await.unwrap_or_default());
    read.goal("resident memory, MB", read.rss_mb, 1_200.0);
    read.goal("resident bytes of all a source", read.rss_mb * 1_048_576.0 / read.sources as f64, 500.0);
    let edited = edits::none(&stage, &hub, "big-policy-edit-none").await;
    hub.stop()?;
    Ok(vec![read, edited?])
}

//! What is judged, and how it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::course::count;
use super::samples::{Samples, Trend};
use crate::harness::Fail;
use crate::measure::paths::LEDGER;
use crate::measure::wire::{IN_FLIGHT, Wire};
use crate::scale::fleet::{Asked, Fleet};
use crate::{Args, say};

const SOURCES: &str = "/apis/volsync.backube/v1alpha1/replicationsources";
/// Of the mean: what a line through scattered samples may rise by chance.
const GROWTH_MAX: f64 = 0.05;
/// Until every repository is held again after the trouble.
const HELD_WITHIN: Duration = Duration::from_mins(10);

#[derive(Debug, Serialize)]
pub struct Seen {
    members: usize,
    repositories: usize,
    seconds: u64,
    seed: u64,
    /// How often each kind of trouble was made.
    troubles: BTreeMap<&'static str, u64>,
    /// Of the process that lived through the last two thirds.
    memory_mb: Option<Trend>,
    descriptors: Option<Trend>,
    member_writes: u64,
    hub_writes: u64,
    runs: usize,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Goal {
    what: String,
    is: f64,
    most: f64,
}

impl Seen {
    pub fn new(args: &Args, troubles: BTreeMap<&'static str, u64>, samples: &Samples, asked: Asked) -> Self {
        let (memory, descriptors) = (samples.memory(), samples.descriptors());
        let mut seen = Self {
            members: args.members,
            repositories: args.repositories,
            seconds: args.run_for.as_secs(),
            seed: args.seed,
            troubles,
            memory_mb: memory,
            descriptors,
            member_writes: asked.writes,
            hub_writes: asked.hub_writes,
            runs: 0,
            goals: Vec::new(),
        };
        for (what, trend) in [("memory", memory), ("descriptors", descriptors)] {
            if let Some(trend) = trend {
                seen.goal(
                    &format!("growth of {what} over the last two thirds, of its mean"),
                    trend.growth / trend.mean,
                    GROWTH_MAX,
                );
            }
        }
        seen
    }

    /// At most so much.
    pub fn goal(&mut self, what: &str, is: f64, most: f64) {
        self.goals.push(Goal { what: what.to_owned(), is, most });
    }

    pub fn well(&self) -> bool {
        self.goals.iter().all(|goal| goal.is <= goal.most)
    }

    /// What the repositories themselves and the API servers tell in the end.
    pub async fn rest(&mut self, fleet: &Fleet, hub: &Wire) -> Result<(), Fail> {
        self.runs = fleet.runs().await?;
        let (asked, collisions) = (fleet.asked().await?, fleet.collisions().await?);
        self.goal("two runs in one repository", count(collisions), 0.0);
        self.goal("writes to members that changed nothing", count(asked.unchanged), 0.0);
        let began = std::time::Instant::now();
        let lost = loop {
            let lost = lost(fleet, hub).await?;
            if lost.is_empty() || began.elapsed() > HELD_WITHIN {
                break lost;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        for (repository, why) in lost.iter().take(10) {
            say(&format!("{repository} is lost: {why}"));
        }
        self.goal("repositories with a source that nobody holds", count(lost.len()), 0.0);
        Ok(())
    }
}

/// Repositories of the fleet's sources that have no holder with a source of theirs, and why.
async fn lost(fleet: &Fleet, hub: &Wire) -> Result<BTreeMap<String, String>, Fail> {
    let gate = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for kubeconfig in fleet.member_kubeconfigs()? {
        let member = kubeconfig.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let wire = Wire::new(&kubeconfig, gate.clone(), false).await?;
        for source in wire.list(SOURCES).await?.0 {
            if let Some(number) =
                source["spec"]["kopia"]["repository"].as_str().and_then(|it| it.strip_prefix("repository-"))
            {
                wanted.entry(number.to_owned()).or_default().insert(member.clone());
            }
        }
    }
    let ledger: Vec<(String, Value)> = hub.list(LEDGER).await?.0.into_iter().map(|it| (it.to_string(), it)).collect();
    let mut lost = BTreeMap::new();
    for (number, members) in wanted {
        let bucket = format!("backups-{number}");
        let grant =
            ledger.iter().find(|(text, _)| text.contains(&bucket)).map(|(_, record)| &record["status"]["grant"]);
        let why = match grant {
            None => "no KopiaRepository".to_owned(),
            Some(grant) if grant["phase"] != "Active" => format!("its grant is {grant}"),
            Some(grant) => match grant["cluster"].as_str() {
                Some(holder) if members.contains(holder) => continue,
                _ => format!("held by {}, with sources in {members:?}", grant["cluster"]),
            },
        };
        lost.insert(bucket, why);
    }
    Ok(lost)
}

/// A table for people, and a file beside this program's target directory for machines.
pub fn tell(seen: &Seen) -> Result<(), Fail> {
    let program = std::env::current_exe()?;
    // Where it was copied to another place there is none, which is no reason to keep the result of half an hour back.
    let target = program.ancestors().nth(3).filter(|target| target.ends_with("target"));
    let file = target.map_or_else(|| "soak.json".into(), |target| target.join("bench").join("soak.json"));
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(&file, serde_json::to_string_pretty(seen)? + "\n")?;
    #[expect(clippy::print_stdout, reason = "this is what it is for")]
    {
        println!(
            "\n{} s, {} runs, {} writes to members, {} to the hub's cluster",
            seen.seconds, seen.runs, seen.member_writes, seen.hub_writes
        );
        for (kind, times) in &seen.troubles {
            println!("  {times:>5}  {kind}");
        }
        for (what, trend) in [("memory, MB", seen.memory_mb), ("descriptors", seen.descriptors)] {
            if let Some(trend) = trend {
                println!(
                    "\n{what}: {:.1} at first, {:.1} at last, {:.1} on average, {:.1} at most in {:.1} minutes; slope {:+.2} an hour",
                    trend.first, trend.last, trend.mean, trend.highest, trend.minutes, trend.an_hour
                );
            }
        }
        println!();
        for goal in &seen.goals {
            let word = if goal.is <= goal.most { "well  " } else { "MISSED" };
            println!("{word}  {}: {:.3}, at most {}", goal.what, goal.is, goal.most);
        }
    }
    say(&format!("written to {}", file.display()));
    Ok(())
}

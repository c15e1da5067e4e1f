//! Plays many random schedules of faults, and shows what was found: see `src/chaos.rs`.
//!
//! ```sh
//! cargo run --release --features sim --example chaos -- --schedules 1000000 --seed 1
//! cargo run --release --features sim --example chaos -- --replay 81          # step by step
//! cargo run --release --features sim --example chaos -- --without DrainFirst --stop
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use volsync_hub::chaos::{self, Campaign, Findings, Fleet, Without};

/// As in the product, and faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A thread takes so many schedules at a time.
const PORTION: u64 = 250;
/// Failures that are shrunk and shown; more seldom tell more.
const SHOWN_MAX: usize = 3;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 2000)]
    schedules: u64,
    /// Of the first schedule; each one more has the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Takes a rule of the protocol away; of those of the mover script more than one.
    #[arg(long, value_name = "RULE")]
    without: Vec<String>,
    /// Only faults of these kinds.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    only: Vec<String>,
    #[arg(long, default_value_t = 1)]
    threads: u64,
    /// Ends at the first schedule that fails.
    #[arg(long)]
    stop: bool,
    /// Plays this seed alone, and tells all that happens.
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// True: nothing failed.
fn run(args: &Args) -> Result<bool, String> {
    let rules = chaos::rules();
    let mut without = Without::default();
    for name in &args.without {
        let known = || rules.keys().cloned().collect::<Vec<_>>().join(", ");
        without = without.and(*rules.get(name).ok_or_else(|| format!("no rule {name}; there are {}", known()))?);
    }
    let campaign = Campaign {
        seed: args.seed,
        schedules: args.schedules,
        without,
        only: args.only.clone(),
        stop: args.stop,
        unless: None,
    };
    if let Some(seed) = args.replay {
        let (schedule, verdict, lines) = campaign.replay(&Fleet::new()?, seed);
        println!("{schedule:#?}\n{}\n{verdict:#?}", lines.join("\n"));
        return Ok(verdict.violation.is_none());
    }
    let began = Instant::now();
    let found = play(&campaign, args.threads, began)?;
    let seconds = began.elapsed().as_secs_f64();
    println!("{}", found.hits);
    println!(
        "{} schedules in {seconds:.0} s, {:.0} a second; {} count (a fault struck outside Active, or the grant moved); {} \
         events, {} decisions; the slowest was maintained again after {}",
        found.played,
        number(found.played) / seconds,
        found.counted,
        found.events,
        found.looks,
        found.slowest.map_or("-".to_owned(), |(wait, seed)| format!("{} min (seed {seed})", wait / 60_000)),
    );
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, verdict) in &found.failed {
        *kinds.entry(verdict.violation.as_ref().map_or("", |it| it.kind())).or_default() += 1;
    }
    println!("{} schedules failed: {kinds:?}", found.failed.len());
    let seeds: Vec<u64> = found.failed.iter().take(40).map(|(seed, _)| *seed).collect();
    println!("seeds: {seeds:?}");
    let fleet = Fleet::new()?;
    for (seed, _) in found.failed.iter().take(SHOWN_MAX) {
        let (schedule, verdict, lines) = campaign.explain(&fleet, *seed);
        println!("\nseed {seed}, {:?}\n{schedule:#?}\n{}", verdict.violation, lines.join("\n"));
    }
    Ok(found.failed.is_empty())
}

fn play(campaign: &Campaign, threads: u64, began: Instant) -> Result<Findings, String> {
    let next = AtomicU64::new(0);
    let worker = || -> Result<Findings, String> {
        let (fleet, mut found) = (Fleet::new()?, Findings::default());
        loop {
            let first = next.fetch_add(PORTION, Ordering::Relaxed);
            if first >= campaign.schedules || (campaign.stop && !found.failed.is_empty()) {
                return Ok(found);
            }
            let schedules = PORTION.min(campaign.schedules - first);
            let portion = Campaign { seed: campaign.seed + first, schedules, ..campaign.clone() };
            found.add(portion.run(&fleet));
            if first.is_multiple_of(40 * PORTION) && first > 0 {
                eprintln!("{first} schedules, {:.0} a second", number(first) / began.elapsed().as_secs_f64());
            }
        }
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(worker)).collect();
        let mut all = Findings::default();
        for thread in running {
            all.add(thread.join().map_err(|_| "a thread broke off")??);
        }
        all.failed.sort_by_key(|(seed, _)| *seed);
        Ok(all)
    })
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn number(count: u64) -> f64 {
    count as f64
}

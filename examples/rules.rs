//! A table of the protocol's rules: takes one rule away at a time, plays random schedules of
//! faults until something goes wrong, makes the one that shows it as short as it can, and prints a row of it.
//!
//! ```sh
//! cargo run --release --features sim --example rules -- --schedules 5000
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]

use std::process::ExitCode;

use clap::Parser;
use volsync_hub::chaos::{self, Campaign, Fleet, Without, stamp};

/// Where each rule says in a sentence what it demands.
const RULES: &str = include_str!("../src/grant/rules.rs");
#[derive(Parser)]
struct Args {
    /// So many are tried before nothing is said to be found.
    #[arg(long, default_value_t = 5000)]
    schedules: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let rules = chaos::rules();
    let fleet = Fleet::new()?;
    println!("| | rule | demands | without it |\n|---|---|---|---|");
    for (number, (name, demand)) in sentences().into_iter().enumerate() {
        let rule = *rules.get(name).ok_or_else(|| format!("the simulation can't take {name} away"))?;
        let shown = worst(args, &fleet, Without::default().and(rule));
        let shown = shown.unwrap_or_else(|| format!("nothing in {} schedules", args.schedules));
        println!("| {} | `{name}` | {demand} | {shown} |", number + 1);
        eprintln!("{name}: {shown}");
    }
    Ok(())
}

/// Each rule with the sentence above it, in order.
fn sentences() -> Vec<(&'static str, String)> {
    let (mut found, mut sentence) = (Vec::new(), Vec::new());
    for line in RULES.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            sentence.push(text);
            continue;
        }
        let name = line.strip_suffix(',').filter(|name| name.chars().all(char::is_alphanumeric));
        found.extend(name.map(|name| (name, sentence.join(" "))));
        sentence.clear();
    }
    found
}

/// The first schedule at which anything goes wrong, as short as it can be made.
fn worst(args: &Args, fleet: &Fleet, without: Without) -> Option<String> {
    let campaign = Campaign { seed: args.seed, schedules: args.schedules, without, stop: true, ..Campaign::default() };
    let (seed, _) = campaign.run(fleet).failed.into_iter().next()?;
    let (schedule, verdict, _) = campaign.explain(fleet, seed);
    let faults = schedule.faults.iter().map(|(at, fault)| {
        let time = stamp(*at).strftime("%H:%M:%S").to_string();
        format!("{time} `{fault:?}`")
    });
    let faults: Vec<String> = faults.collect();
    let what = verdict.violation.as_ref().map_or("", |violation| violation.kind());
    Some(format!(
        "**{what}** (seed {seed}): {}",
        if faults.is_empty() { "no fault at all".to_owned() } else { faults.join(", ") }
    ))
}

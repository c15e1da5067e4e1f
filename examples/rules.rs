//! A table of the protocol's rules: takes one rule away at a time, plays random schedules of
//! faults until something goes wrong, makes the one that shows it as short as it can, and prints a row of it.
//!
//! ```sh
//! cargo run --release --features sim --example rules -- --schedules 400
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]

use std::process::ExitCode;

use clap::Parser;
use volsync_hub::chaos::shrink::{fails, shrink};
use volsync_hub::chaos::{self, Campaign, Fleet, Schedule, Without, stamp};
use volsync_hub::grant::Rule;

/// As in the product, and faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where each rule says in a sentence what it demands.
const RULES: &str = include_str!("../src/grant/rules.rs");

#[derive(Parser)]
struct Args {
    /// So many of each kind are tried.
    #[arg(long, default_value_t = 400)]
    schedules: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these rules
    #[arg(long, value_name = "RULE")]
    rule: Vec<String>,
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
        if !args.rule.is_empty() && !args.rule.iter().any(|rule| rule == name) {
            continue;
        }
        let rule = *rules.get(name).ok_or_else(|| format!("the simulation can't take {name} away"))?;
        let shown = worst(args, &fleet, rule).unwrap_or_else(|| "not shown yet".to_owned());
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

/// A rule that the fence covers for shows what it is for once the fence is gone too; schedules that fail by that alone are
/// left out.
const FENCE: Rule = Rule::OwnerExact;

/// What has to come together for what a rule is against, where chance does not bring it about soon.
const WHERE_TO_LOOK: [&[&str]; 9] = [
    &["ClaimStalls", "ForeignOwner", "Pin"],
    &["Pin", "LateController", "RunStalls", "SlowStart"],
    &["Pin", "ClaimDies", "ClaimStalls", "ForeignOwner", "MemberClock", "RunStalls"],
    &["Pin", "LoseLedger", "Partition", "RunStalls"],
    &["RunNow", "RequestLate"],
    &["Pin", "RunNow", "RequestLate", "Unpin"],
    &["Pin", "ClaimStalls", "Partition", "OldLedger", "LoseLedger"],
    &["Renamed", "LoseLedger", "ForeignOwner"],
    &["Renamed", "Pin", "RunStalls", "ClaimStalls", "Partition"],
];

/// What is taken away, and without what a schedule must not fail already.
type Setting = (Without, Option<Without>);

/// The first schedule at which anything goes wrong, as short as it can be made.
fn worst(args: &Args, fleet: &Fleet, rule: Rule) -> Option<String> {
    let (alone, fence) = (Without::default().and(rule), Without::default().and(FENCE));
    let settings = [(alone, None), (alone.and(FENCE), Some(fence))];
    thought_of(fleet, rule, &settings).or_else(|| searched(args, fleet, &settings))
}

fn thought_of(fleet: &Fleet, rule: Rule, settings: &[Setting]) -> Option<String> {
    let schedules = chaos::suspects::of(rule);
    settings.iter().find_map(|(without, unless)| {
        let shows = |schedule: &&Schedule| {
            fails(fleet, schedule, *without).is_some()
                && unless.is_none_or(|unless| fails(fleet, schedule, unless).is_none())
        };
        let schedule = shrink(fleet, schedules.iter().find(shows)?, *without, *unless);
        Some(shown(&schedule, fails(fleet, &schedule, *without)?, unless.is_some()))
    })
}

fn searched(args: &Args, fleet: &Fleet, settings: &[Setting]) -> Option<String> {
    let kinds = || std::iter::once(&[][..]).chain(WHERE_TO_LOOK);
    let tries = settings.iter().flat_map(|setting| kinds().map(move |kinds| (*setting, kinds)));
    tries.into_iter().find_map(|((without, unless), kinds)| {
        let only = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let campaign = Campaign { seed: args.seed, schedules: args.schedules, without, unless, only, stop: true };
        let (seed, _) = campaign.run(fleet).failed.into_iter().next()?;
        Some(told(&campaign, fleet, seed))
    })
}

fn told(campaign: &Campaign, fleet: &Fleet, seed: u64) -> String {
    let (schedule, verdict, _) = campaign.explain(fleet, seed);
    let what = verdict.violation.as_ref().map_or("", |violation| violation.kind());
    shown(&schedule, what, campaign.unless.is_some())
}

fn shown(schedule: &Schedule, what: &str, without_fence: bool) -> String {
    let faults = schedule.faults.iter().map(|(at, fault)| {
        let time = stamp(*at).strftime("%H:%M:%S").to_string();
        format!("{time} `{fault:?}`")
    });
    let faults: Vec<String> = faults.collect();
    let beside = if without_fence { format!(" with `{FENCE:?}` gone too") } else { String::new() };
    format!("**{what}**{beside}: {}", if faults.is_empty() { "no fault at all".to_owned() } else { faults.join(", ") })
}

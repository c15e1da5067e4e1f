//! A first part of the long run, in the ordinary tests.
#![allow(clippy::unwrap_used)]

use super::report::Hits;
use super::trial::Trial;
use super::*;

/// Few, for a debug build is slow; `cargo run --release --features sim --example chaos` plays more.
#[test]
fn no_schedule_lets_two_runs_overlap_and_all_are_maintained_once_faults_have_ceased() {
    let fleet = Fleet::new().unwrap();
    let campaign = Campaign { seed: 1, schedules: 100, ..Campaign::default() };
    let found = campaign.run(&fleet);
    println!("{}", found.hits);
    let failed: Vec<_> = found.failed.iter().map(|(seed, verdict)| (seed, verdict.violation.clone())).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_seed_is_the_same_again_to_the_bit() {
    let fleet = Fleet::new().unwrap();
    for seed in 1..20 {
        let schedule = Schedule::of(seed, &[]);
        let play = || Trial::new(&fleet, &schedule, Without::default(), &mut Hits::default()).play().0;
        assert_eq!(play(), play());
    }
}

#[test]
fn each_rule_has_one_row_in_the_table_of_what_happens_without_it() {
    let page = include_str!("../../docs/exactly-once.md");
    for rule in rules().into_keys() {
        let rows =
            page.lines().filter(|line| line.starts_with("| ") && line.contains(&format!("| `{rule}` |"))).count();
        assert_eq!(rows, 1, "{rule}: cargo run --release --features sim --example rules -- --schedules 400");
    }
}

//! Schedules that were thought out, for rules that chance strikes too seldom: what has to come together, over a grid of
//! times. Each is played like any other, and counts only if something goes wrong in it.

use super::schedule::{Fault, Schedule};
use super::{MINUTE, Millis, SECOND};
use crate::grant::Rule;

/// What may go wrong without the rule.
pub fn of(rule: Rule) -> Vec<Schedule> {
    match rule {
        Rule::ListsAnew => late_jobs(),
        Rule::AllRead => unread_claims(),
        _ => Vec::new(),
    }
}

/// A run by hand was named, and the request that makes its Job is on its way when the repository moves: what was seen of
/// the member before that Job was asked for says nothing about it.
fn late_jobs() -> Vec<Schedule> {
    let mut found = Vec::new();
    for seed in 1..=6 {
        for before_it_fires in [130, 150, 170, 190, 210] {
            for by in (60..=160).step_by(10) {
                let asked = 50 * MINUTE - before_it_fires * SECOND;
                let faults = vec![
                    (asked, Fault::RunNow),
                    (asked + 30 * SECOND, Fault::RequestLate { site: 0, by: by * SECOND }),
                    (asked + 66 * SECOND, Fault::Pin(1)),
                ];
                found.push(Schedule { seed, period: 10, deadline: 900, faults });
            }
        }
    }
    found
}

/// The claim of the latest grant stalls in a member that can't be reached, the ledger is put back from before the grant
/// before it, and the hub starts anew: of the latest epoch only that member tells.
fn unread_claims() -> Vec<Schedule> {
    let mut found = Vec::new();
    for seed in 1..=6 {
        for away in [12, 16, 20, 24, 28] {
            for stalls in [180, 300, 420] {
                let moves: Millis = 25 * MINUTE;
                let lost = moves + (away + 12) * SECOND;
                let faults = vec![
                    (10 * MINUTE, Fault::Pin(1)),
                    (moves, Fault::Pin(2)),
                    (moves, Fault::ClaimStalls { site: 2, stage: 2, length: stalls * SECOND }),
                    (moves + away * SECOND, Fault::Partition { site: 2, length: 20 * MINUTE }),
                    // Neither remembers it.
                    (lost - 2 * SECOND, Fault::Kill { replica: 0, down: 4 * SECOND }),
                    (lost - 2 * SECOND, Fault::Kill { replica: 1, down: 4 * SECOND }),
                    (lost, Fault::OldLedger),
                    (lost + SECOND, Fault::Unpin),
                ];
                found.push(Schedule { seed, period: 60, deadline: 900, faults });
            }
        }
    }
    found
}

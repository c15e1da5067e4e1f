//! Takes faults out of a schedule that fails, for as long as it still fails in the same way.

use super::fleet::Fleet;
use super::report::Hits;
use super::schedule::Schedule;
use super::trial::Trial;
use super::{SECOND, Without};

/// How it fails, if it does.
pub fn fails(fleet: &Fleet, schedule: &Schedule, without: Without) -> Option<&'static str> {
    let mut hits = Hits::default();
    Trial::new(fleet, schedule, without, &mut hits).play().0.violation.map(|it| it.kind())
}

/// The shortest schedule that was found, among those that do not fail with other rules gone already.
pub fn shrink(fleet: &Fleet, failing: &Schedule, without: Without, unless: Option<Without>) -> Schedule {
    let Some(kind) = fails(fleet, failing, without) else { return failing.clone() };
    let still = |schedule: &Schedule| {
        fails(fleet, schedule, without) == Some(kind)
            && unless.is_none_or(|unless| fails(fleet, schedule, unless).is_none())
    };
    let mut best = failing.clone();
    loop {
        let before = best.clone();
        let mut index = best.faults.len();
        while index > 0 {
            index -= 1;
            let mut fewer = best.clone();
            fewer.faults.remove(index);
            if still(&fewer) {
                best = fewer;
            }
        }
        // Two that only make sense together.
        for first in (0..best.faults.len()).rev() {
            for second in (0..first).rev() {
                let mut fewer = best.clone();
                if first >= fewer.faults.len() {
                    continue;
                }
                fewer.faults.remove(first);
                fewer.faults.remove(second);
                if still(&fewer) {
                    best = fewer;
                }
            }
        }
        // Round times are easier to follow.
        for index in 0..best.faults.len() {
            let mut rounder = best.clone();
            rounder.faults[index].0 -= rounder.faults[index].0 % (10 * SECOND);
            if rounder != best && rounder.faults.is_sorted_by_key(|it| it.0) && still(&rounder) {
                best = rounder;
            }
        }
        if best == before {
            return best;
        }
    }
}

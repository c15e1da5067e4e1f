//! Many schedules one after another, and what was found.

use super::report::Hits;
use super::schedule::Schedule;
use super::shrink::{fails, shrink};
use super::trial::{Trial, Verdict};
use super::{Fleet, Millis, Without};

/// Which schedules are played, and how.
#[derive(Clone, Debug, Default)]
pub struct Campaign {
    /// The seed of the first; each one more has the next.
    pub seed: u64,
    pub schedules: u64,
    pub without: Without,
    /// A schedule that fails already without these tells nothing.
    pub unless: Option<Without>,
    /// Kinds of faults; all where empty.
    pub only: Vec<String>,
    /// Ends at the first that fails.
    pub stop: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub played: u64,
    /// Schedules that left `Active`, or in which a fault struck elsewhere.
    pub counted: u64,
    pub events: u64,
    pub looks: u64,
    pub hits: Hits,
    /// Schedules that fail, by seed, with how.
    pub failed: Vec<(u64, Verdict)>,
    pub slowest: Option<(Millis, u64)>,
}

impl Findings {
    pub fn add(&mut self, other: Self) {
        self.played += other.played;
        self.counted += other.counted;
        self.events += other.events;
        self.looks += other.looks;
        self.hits.add(&other.hits);
        self.failed.extend(other.failed);
        self.slowest = self.slowest.max(other.slowest);
    }
}

impl Campaign {
    pub fn run(&self, fleet: &Fleet) -> Findings {
        let mut found = Findings::default();
        for seed in self.seed..self.seed + self.schedules {
            let schedule = Schedule::of(seed, &self.only);
            let (verdict, _) = Trial::new(fleet, &schedule, self.without, &mut found.hits).play();
            found.played += 1;
            found.counted += u64::from(verdict.counts);
            found.events += verdict.events;
            found.looks += verdict.looks;
            found.slowest = found.slowest.max(verdict.recovered.map(|wait| (wait, seed)));
            if verdict.violation.is_some() && !self.fails_anyway(fleet, &schedule) {
                found.failed.push((seed, verdict));
                if self.stop {
                    break;
                }
            }
        }
        found
    }

    fn fails_anyway(&self, fleet: &Fleet, schedule: &Schedule) -> bool {
        self.unless.is_some_and(|unless| fails(fleet, schedule, unless).is_some())
    }

    /// One schedule as it is, step by step.
    pub fn replay(&self, fleet: &Fleet, seed: u64) -> (Schedule, Verdict, Vec<String>) {
        let schedule = Schedule::of(seed, &self.only);
        let mut hits = Hits::default();
        let (verdict, lines) = Trial::new(fleet, &schedule, self.without, &mut hits).recorded().play();
        (schedule, verdict, lines)
    }

    /// A schedule that fails, as short as it can be made, step by step.
    pub fn explain(&self, fleet: &Fleet, seed: u64) -> (Schedule, Verdict, Vec<String>) {
        let schedule = shrink(fleet, &Schedule::of(seed, &self.only), self.without, self.unless);
        let mut hits = Hits::default();
        let (verdict, lines) = Trial::new(fleet, &schedule, self.without, &mut hits).recorded().play();
        (schedule, verdict, lines)
    }
}

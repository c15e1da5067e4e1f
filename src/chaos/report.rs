//! How often each fault struck in each phase of the protocol.

use std::collections::BTreeMap;
use std::fmt;

use super::schedule::{FOREIGN, KINDS};
use crate::plan::fleet::Phase;

const PHASES: [Phase; 5] = [Phase::Claiming, Phase::Draining, Phase::Active, Phase::Resuming, Phase::Recovering];

/// The last column is a ledger that names nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits(BTreeMap<&'static str, [u64; 6]>);

impl Hits {
    pub fn count(&mut self, kind: &'static str, phase: Option<Phase>) {
        let column = phase.and_then(|phase| PHASES.iter().position(|it| *it == phase)).unwrap_or(PHASES.len());
        self.0.entry(kind).or_default()[column] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (kind, counts) in &other.0 {
            let sum = self.0.entry(kind).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }

    /// Kinds of faults that never struck in a phase.
    pub fn missing(&self, phase: Phase) -> Vec<&'static str> {
        let column = PHASES.iter().position(|it| *it == phase).unwrap_or(0);
        let hit = |kind: &&&str| self.0.get(**kind).is_some_and(|counts| counts[column] > 0);
        KINDS.iter().chain([&FOREIGN]).filter(|kind| !hit(kind)).copied().collect()
    }
}

impl fmt::Display for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:18}", "fault")?;
        for phase in PHASES {
            write!(f, "{:>11}", format!("{phase:?}"))?;
        }
        writeln!(f, "{:>11}", "no grant")?;
        for kind in KINDS.iter().chain([&FOREIGN]) {
            write!(f, "{kind:18}")?;
            for count in self.0.get(kind).copied().unwrap_or_default() {
                write!(f, "{count:>11}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

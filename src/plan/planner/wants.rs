//! Which Secrets the plan depends on, counted by who refers to them.

use std::collections::BTreeMap;

use crate::names::PlacedName;

/// Counts of wanted Secrets before they are settled: what is put in again was never away.
#[derive(Default)]
pub struct Wants {
    changes: BTreeMap<PlacedName, i64>,
}

impl Wants {
    pub fn less(&mut self, secrets: impl IntoIterator<Item = PlacedName>) {
        secrets.into_iter().for_each(|secret| *self.changes.entry(secret).or_default() -= 1);
    }

    pub fn more(&mut self, secrets: impl IntoIterator<Item = PlacedName>) {
        secrets.into_iter().for_each(|secret| *self.changes.entry(secret).or_default() += 1);
    }

    /// Newly wanted, and wanted no more.
    pub fn settle(self, counts: &mut BTreeMap<PlacedName, u32>) -> (Vec<PlacedName>, Vec<PlacedName>) {
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        for (secret, change) in self.changes {
            let before = counts.get(&secret).copied().unwrap_or(0);
            let after = u32::try_from(i64::from(before) + change).unwrap_or(0);
            match (before, after) {
                (0, 0) => {}
                (_, 0) => {
                    counts.remove(&secret);
                    unwanted.push(secret);
                }
                (before, after) => {
                    counts.insert(secret.clone(), after);
                    if before == 0 {
                        wanted.push(secret);
                    }
                }
            }
        }
        (wanted, unwanted)
    }
}

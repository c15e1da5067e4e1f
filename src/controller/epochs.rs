//! The highest epochs of records that were deleted or put back from a backup, for as long as this process remembers them:
//! what stood in members under them may be gone as well.

use std::collections::BTreeMap;

use super::holders::is_plausible;
use crate::names::RepositoryId;
use crate::plan::fleet::{Grant, LedgerRecord};

/// So many records that are remembered. Of more, some are forgotten: members and Kopia still tell of most.
const REMEMBERED_MAX: usize = 10_000;

/// The highest epoch that a record knows to have been given.
pub fn highest_of(record: &LedgerRecord) -> u64 {
    let grant = record.grant.as_ref().map_or(0, Grant::highest);
    grant.max(record.merged.as_ref().map_or(0, |merged| merged.highest_epoch))
}

#[derive(Debug, Default)]
pub struct Epochs(BTreeMap<RepositoryId, u64>);

impl Epochs {
    /// The record of an id becomes another one.
    pub fn note(&mut self, id: RepositoryId, before: Option<&LedgerRecord>, after: Option<&LedgerRecord>) {
        self.note_highest(id, before.map_or(0, highest_of), after.map_or(0, highest_of));
    }

    fn note_highest(&mut self, id: RepositoryId, before: u64, after: u64) {
        let highest = before.max(self.of(id));
        // One that nobody can have been granted was put there by an edit, and is put right by the next.
        if highest <= after || !is_plausible(highest, after) {
            self.0.remove(&id);
            return;
        }
        self.0.insert(id, highest);
        if self.0.len() > REMEMBERED_MAX {
            self.0.pop_first();
        }
    }

    /// 0: nothing else is known than what the record says.
    pub fn of(&self, id: RepositoryId) -> u64 {
        self.0.get(&id).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_record_forgets_is_remembered_until_it_knows_better() {
        let (mut epochs, id) = (Epochs::default(), "0123456789abcdef".parse().unwrap());
        for (before, after, remembered) in [
            (0, 7, 0),
            (7, 0, 7),
            (0, 3, 7),
            (3, 8, 0),
            (8, 2, 8),
            // An edit, and its correction.
            (2, u64::MAX, 0),
            (u64::MAX, 2, 0),
        ] {
            epochs.note_highest(id, before, after);
            assert_eq!(epochs.of(id), remembered, "{before} -> {after}");
        }
    }

    #[test]
    fn there_is_a_bound() {
        let mut epochs = Epochs::default();
        for number in 0..=REMEMBERED_MAX {
            epochs.note_highest(format!("{number:016x}").parse().unwrap(), 1, 0);
        }
        assert_eq!(epochs.0.len(), REMEMBERED_MAX);
    }
}

//! What consistent lists have shown of the members that are waited for. The ledger keeps when the first of two ended; how
//! long that is ago only the process knows that made it, by its own clock.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::grant::{Listed, Seen};
use crate::names::MemberName;
use crate::plan::fleet::Drain;

/// More than one first list is in question only where the ledger's answer was lost.
const FIRSTS_MAX: usize = 4;

/// Of one repository.
#[derive(Debug, Default)]
pub struct Lists {
    latest: BTreeMap<MemberName, Listed>,
    /// When lists of this process ended that were clear, as the ledger would have it.
    firsts: BTreeMap<MemberName, Vec<Timestamp>>,
}

impl Lists {
    pub fn insert(&mut self, member: MemberName, listed: Listed) {
        if listed.clear {
            let firsts = self.firsts.entry(member.clone()).or_default();
            if firsts.len() == FIRSTS_MAX {
                firsts.remove(0);
            }
            firsts.push(listed.recorded());
        }
        self.latest.insert(member, listed);
    }

    /// Lists from before a change of the ledger tell nothing: each wait begins anew.
    pub fn ledger_changes(&mut self) {
        self.latest.clear();
    }

    /// What is seen of the members, with what lists have shown of them.
    pub fn with(&self, seen: &BTreeMap<MemberName, Seen>, drain: &[Drain]) -> BTreeMap<MemberName, Seen> {
        let first = |member: &MemberName| {
            let recorded = drain.iter().find(|entry| entry.cluster == *member)?.clear_since?;
            self.firsts.get(member)?.contains(&recorded).then_some(recorded)
        };
        let listed = |member: &MemberName| self.latest.get(member).copied();
        let with = |(member, seen): (&MemberName, &Seen)| {
            (member.clone(), Seen { listed: listed(member), first: first(member), ..seen.clone() })
        };
        seen.iter().map(with).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_this_process_has_listed_itself_counts_as_the_first_of_two_lists() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let member = || MemberName::from("eu");
        let seen = BTreeMap::from([(member(), Seen { suspended: true, ..Seen::default() })]);
        let mut lists = Lists::default();
        let first = |lists: &Lists, recorded: Option<i64>| {
            let entry =
                Drain { cluster: member(), deadline_seconds: 60, ids: Vec::new(), clear_since: recorded.map(at) };
            lists.with(&seen, &[entry])[&member()].first
        };
        assert_eq!(first(&lists, Some(10)), None, "another process made that one");
        lists.insert(member(), Listed { began: at(9), ended: at(10), clear: true });
        lists.ledger_changes();
        assert_eq!(first(&lists, Some(10)), Some(at(10)));
        assert_eq!((first(&lists, Some(11)), first(&lists, None)), (None, None));
        assert_eq!(lists.with(&seen, &[])[&member()].listed, None, "it is from before");
        lists.insert(member(), Listed { began: at(20), ended: at(21), clear: false });
        assert_eq!((first(&lists, Some(10)), first(&lists, Some(21))), (Some(at(10)), None));
        for more in 30..34 {
            lists.insert(member(), Listed { began: at(more), ended: at(more), clear: true });
        }
        assert_eq!((first(&lists, Some(10)), first(&lists, Some(30))), (None, Some(at(30))));
    }
}

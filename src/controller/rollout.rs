//! Pure: another image, script or rendering goes through the fleet in waves.
//!
//! First one repository and one in a hundred, then one in ten, then all. A wave is over once a run of each of its
//! repositories has told how it goes, or a day after its last repository got the change. Nobody gets it any more
//! while more than one in twenty of those that were maintained well before fail since. All of this is read off the
//! CronJobs and the ledger: whichever replica leads goes on where the other was.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::names::RepositoryId;
use crate::time::after;

/// By then every repository of the fleet has been looked at, and the waves are known.
const SETTLES: SignedDuration = SignedDuration::from_secs(60);
/// Of all, those in the first wave and in the first two. One repository is always the very first.
const WAVES: [f64; 2] = [0.01, 0.1];
/// One in so many may fail.
const MAY_FAIL: usize = 20;

/// How runs under the present revision went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    NotYet,
    Well,
    /// The latest one failed, and the latest one before the change had not.
    TurnedBad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Now,
    Later,
    /// So many of the repositories that have it fail since, and so many don't.
    Halted {
        bad: usize,
        well: usize,
    },
}

/// Repositories by where they are, over all rollouts that are not through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub waiting: usize,
    pub well: usize,
    pub bad: usize,
}

#[derive(Debug, Default)]
pub struct Rollouts {
    entries: BTreeMap<RepositoryId, Entry>,
    groups: BTreeMap<Box<str>, Group>,
}

#[derive(Debug)]
struct Entry {
    revision: Box<str>,
    known_since: Timestamp,
    /// It has the revision, since then.
    at: Option<Timestamp>,
    tried: Tried,
}

/// Everything that has or gets one revision.
#[derive(Debug)]
struct Group {
    began: Timestamp,
    /// Where each comes in turn, from 0 to 1.
    order: BTreeSet<(u32, RepositoryId)>,
    waves: [Wave; 3],
}

#[derive(Clone, Copy, Debug, Default)]
struct Wave {
    total: usize,
    at: usize,
    well: usize,
    bad: usize,
    /// When the last one got it.
    last: Option<Timestamp>,
}

impl Rollouts {
    /// What a repository's CronJob is to have, and since when it does. True: it is news that it turned bad.
    pub fn note(
        &mut self,
        id: RepositoryId,
        revision: &str,
        at: Option<Timestamp>,
        tried: Tried,
        now: Timestamp,
    ) -> bool {
        let known = self.entries.get(&id).filter(|entry| *entry.revision == *revision);
        if known.is_some_and(|entry| entry.at == at && entry.tried == tried) {
            return false;
        }
        let is_news = tried == Tried::TurnedBad && known.is_none_or(|entry| entry.tried != tried);
        let known_since = known.map_or(now, |entry| entry.known_since);
        self.forget(id);
        let entry = Entry { revision: revision.into(), known_since, at, tried };
        let group = self.groups.entry(entry.revision.clone()).or_insert_with(|| Group {
            began: now,
            order: BTreeSet::new(),
            waves: [Wave::default(); 3],
        });
        let rank = rank(id, revision);
        group.order.insert((rank, id));
        let wave = &mut group.waves[wave_of(rank)];
        wave.total += 1;
        wave.count(&entry, |count| *count += 1);
        wave.last = wave.last.max(at);
        self.entries.insert(id, entry);
        is_news
    }

    /// Nothing can be pushed for it, or nothing is to be.
    pub fn forget(&mut self, id: RepositoryId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        let Some(group) = self.groups.get_mut(&entry.revision) else { return };
        let rank = rank(id, &entry.revision);
        group.order.remove(&(rank, id));
        let wave = &mut group.waves[wave_of(rank)];
        wave.total -= 1;
        wave.count(&entry, |count| *count -= 1);
        if group.order.is_empty() {
            self.groups.remove(&entry.revision);
        }
    }

    /// May this repository, which has something else, get its revision now? `lasts`: a wave that tells nothing;
    /// `factor` divides the wait for others to be known.
    pub fn turn(&self, id: RepositoryId, lasts: SignedDuration, factor: u32, now: Timestamp) -> Turn {
        let Some((entry, group)) = self.entries.get(&id).and_then(|it| Some((it, self.groups.get(&it.revision)?)))
        else {
            return Turn::Later;
        };
        if lasts.is_zero() {
            return Turn::Now;
        }
        let (well, bad) = group.waves.iter().fold((0, 0), |(well, bad), wave| (well + wave.well, bad + wave.bad));
        if bad * MAY_FAIL > well + bad {
            return Turn::Halted { bad, well };
        }
        if now < after(entry.known_since, crate::time::scaled(SETTLES, factor)) {
            return Turn::Later;
        }
        let first = group.order.first().map(|(_, id)| *id);
        if first == Some(id) {
            return Turn::Now;
        }
        let proven = |wave: &Wave| {
            wave.at == wave.total && wave.well + wave.bad == wave.total
                || now >= after(wave.last.unwrap_or(group.began), lasts)
        };
        let is_tried =
            |entry: &Entry| entry.tried != Tried::NotYet || entry.at.is_some_and(|at| now >= after(at, lasts));
        let first_is_tried =
            first.and_then(|id| self.entries.get(&id)).is_some_and(is_tried) || now >= after(group.began, lasts);
        let before = wave_of(rank(id, &entry.revision));
        if before == 0 || first_is_tried && group.waves[..before].iter().all(proven) { Turn::Now } else { Turn::Later }
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for group in self.groups.values() {
            let waiting: usize = group.waves.iter().map(|wave| wave.total - wave.at).sum();
            if waiting > 0 {
                counts.waiting += waiting;
                counts.well += group.waves.iter().map(|wave| wave.well).sum::<usize>();
                counts.bad += group.waves.iter().map(|wave| wave.bad).sum::<usize>();
            }
        }
        counts
    }
}

impl Wave {
    fn count(&mut self, entry: &Entry, change: impl Fn(&mut usize)) {
        if entry.at.is_some() {
            change(&mut self.at);
            match entry.tried {
                Tried::NotYet => {}
                Tried::Well => change(&mut self.well),
                Tried::TurnedBad => change(&mut self.bad),
            }
        }
    }
}

/// Another order for each revision: not always the same repositories go first.
fn rank(id: RepositoryId, revision: &str) -> u32 {
    let digest = Sha256::digest(format!("{id} {revision}"));
    digest.iter().take(4).fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn wave_of(rank: u32) -> usize {
    WAVES.iter().take_while(|share| f64::from(rank) >= *share * f64::from(u32::MAX)).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn id(number: usize) -> RepositoryId {
        format!("{number:016x}").parse().unwrap()
    }

    /// A fleet of so many repositories, all of which have the former revision.
    struct Fleet {
        rollouts: Rollouts,
        has: Vec<Option<(Timestamp, Tried)>>,
    }

    impl Fleet {
        fn new(size: usize) -> Self {
            let mut fleet = Self { rollouts: Rollouts::default(), has: vec![None; size] };
            fleet.look(0, |_| Tried::NotYet);
            fleet
        }

        /// Each repository is looked at, and gets it if it is its turn; returns how many have it. `tried`: how runs of
        /// those that have it went.
        fn look(&mut self, now: i64, tried: impl Fn(usize) -> Tried) -> usize {
            for (number, has) in self.has.iter_mut().enumerate() {
                *has = has.map(|(since, _)| (since, tried(number)));
                let (since, tried) = has.map_or((None, Tried::NotYet), |(since, tried)| (Some(since), tried));
                self.rollouts.note(id(number), "new", since, tried, at(now));
            }
            for (number, has) in self.has.iter_mut().enumerate().filter(|(_, has)| has.is_none()) {
                if self.rollouts.turn(id(number), DAY, 1, at(now)) == Turn::Now {
                    *has = Some((at(now), Tried::NotYet));
                    self.rollouts.note(id(number), "new", Some(at(now)), Tried::NotYet, at(now));
                }
            }
            self.has.iter().flatten().count()
        }
    }

    #[test]
    fn first_one_in_a_hundred_then_one_in_ten_then_all() {
        let mut fleet = Fleet::new(1_000);
        assert_eq!(fleet.look(59, |_| Tried::NotYet), 0, "not before all are known");
        let first = fleet.look(60, |_| Tried::NotYet);
        assert!((1..=25).contains(&first), "{first}");
        assert_eq!(fleet.look(3_600, |_| Tried::NotYet), first, "no run has told yet");
        let second = fleet.look(3_601, |_| Tried::Well);
        assert!((70..=140).contains(&second), "{second}");
        let half = fleet.look(3_602, |number| if number % 2 == 0 { Tried::Well } else { Tried::NotYet });
        assert_eq!(half, second, "all of a wave have to be tried");
        fleet.look(3_603, |_| Tried::Well);
        assert_eq!(fleet.look(3_604, |_| Tried::Well), 1_000);
        assert_eq!(fleet.rollouts.counts(), Counts::default(), "it is through");
    }

    #[test]
    fn runs_that_tell_nothing_hold_a_wave_up_for_a_day() {
        let mut fleet = Fleet::new(1_000);
        let first = fleet.look(60, |_| Tried::NotYet);
        assert_eq!(fleet.look(60 + 86_399, |_| Tried::NotYet), first);
        let second = fleet.look(60 + 86_400, |_| Tried::NotYet);
        assert!(second > first && second < 200);
        assert_eq!(fleet.look(60 + 2 * 86_400, |_| Tried::NotYet), 1_000);
    }

    #[test]
    fn nobody_gets_what_others_fail_by_until_they_do_no_longer() {
        for size in [1, 2, 7, 1_000] {
            let mut fleet = Fleet::new(size);
            let first = fleet.look(60, |_| Tried::NotYet);
            assert!(first >= 1, "one of {size}");
            assert_eq!(fleet.look(90 * 86_400, |_| Tried::TurnedBad), first, "of {size}");
            if first < size {
                let other = (0..size).find(|number| fleet.has[*number].is_none()).unwrap();
                let turn = fleet.rollouts.turn(id(other), DAY, 1, at(90 * 86_400));
                assert_eq!(turn, Turn::Halted { bad: first, well: 0 });
            }
            for second in 0..3 {
                fleet.look(91 * 86_400 + second, |_| Tried::Well);
            }
            assert_eq!(fleet.has.iter().flatten().count(), size, "all of {size}");
        }
    }

    #[test]
    fn a_few_that_fail_among_many_halt_nothing() {
        let mut fleet = Fleet::new(10_000);
        fleet.look(60, |_| Tried::NotYet);
        for second in 61..65 {
            fleet.look(second, |number| if number % 50 == 0 { Tried::TurnedBad } else { Tried::Well });
        }
        assert_eq!(fleet.has.iter().flatten().count(), 10_000);
    }

    #[test]
    fn the_former_revision_goes_back_to_all_that_had_it_at_once() {
        let mut fleet = Fleet::new(100);
        let first = fleet.look(60, |_| Tried::NotYet);
        // All others never had anything else, and their runs went well.
        let mut rollouts = Rollouts::default();
        for (number, has) in fleet.has.iter().enumerate() {
            let since = has.is_none().then(|| at(0));
            let tried = if since.is_some() { Tried::Well } else { Tried::NotYet };
            rollouts.note(id(number), "old", since, tried, at(1_000));
        }
        let back = |number: &usize| rollouts.turn(id(*number), DAY, 1, at(1_060)) == Turn::Now;
        let first_wave = |number: &usize| wave_of(rank(id(*number), "old")) == 0;
        let with_new = || (0..100).filter(|number| fleet.has[*number].is_some());
        assert_eq!(with_new().filter(back).count(), first, "{:?}", with_new().filter(first_wave).count());
    }

    #[test]
    fn what_is_forgotten_holds_up_nobody() {
        let mut fleet = Fleet::new(3);
        fleet.look(60, |_| Tried::NotYet);
        for number in 0..3 {
            fleet.rollouts.forget(id(number));
        }
        assert!(fleet.rollouts.groups.is_empty() && fleet.rollouts.entries.is_empty());
    }

    #[test]
    fn without_waves_all_change_at_once() {
        let mut rollouts = Rollouts::default();
        for number in 0..10 {
            rollouts.note(id(number), "new", None, Tried::NotYet, at(0));
        }
        assert!((0..10).all(|number| rollouts.turn(id(number), SignedDuration::ZERO, 1, at(0)) == Turn::Now));
    }
}

//! Pure: deletions that come all at once are held back, because they are more often a mistake than a wish.
//!
//! Each deletion waits for a moment, in which it is seen how many come along. Where they are more than half of all, those of
//! the last minutes included, they are held for a while: objects that come back meanwhile were never gone, and what is
//! still gone afterwards is.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Time since the process began.
pub type Moment = Duration;

/// How long a deletion waits for others that belong to the same mistake. A namespace or a Helm release that goes takes its
/// objects along one by one, in a second or two.
pub const SETTLE: Duration = Duration::from_secs(2);

/// What counts as too much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fewer than this are never held, however many are left.
    pub at_least: usize,
    /// The last one is held too, though it is one only.
    pub last: bool,
    /// How long they are held.
    pub hold: Duration,
    /// How long one waits for others.
    pub settle: Duration,
}

impl Limits {
    /// `waiting` of `known` objects want to go.
    fn is_too_much(self, waiting: usize, known: usize) -> bool {
        let most = waiting.saturating_mul(2) > known && waiting >= self.at_least;
        most || self.last && waiting > 0 && waiting >= known
    }
}

/// Deletions of one kind of object in one place; `E` is what is to be done once one is believed.
#[derive(Debug)]
pub struct Gate<K, E> {
    waiting: BTreeMap<K, (Moment, E)>,
    /// How many were believed when, for as long as a hold lasts.
    recent: VecDeque<(Moment, usize)>,
    held_until: Option<Moment>,
}

/// What has become of the deletions.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict<E> {
    /// They are believed.
    pub believed: Vec<E>,
    /// A hold has just begun, of so many.
    pub began: Option<usize>,
    /// A hold has just ended: true if its time was over, false if all of the objects came back.
    pub ended: Option<bool>,
    /// When to ask again.
    pub wake: Option<Moment>,
}

impl<K: Ord, E> Default for Gate<K, E> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), recent: VecDeque::new(), held_until: None }
    }
}

impl<K: Ord, E> Gate<K, E> {
    /// An object was deleted.
    pub fn gone(&mut self, key: K, effect: E, now: Moment) {
        let since = self.waiting.get(&key).map_or(now, |(since, _)| *since);
        self.waiting.insert(key, (since, effect));
    }

    /// It is there, or there again. True: its deletion was waiting, and is void.
    pub fn back(&mut self, key: &K) -> bool {
        self.waiting.remove(key).is_some()
    }

    /// Nothing waits, and nothing is held.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.held_until.is_none()
    }

    /// As [`Gate::is_empty`], and nothing was believed lately.
    pub fn is_quiet(&self) -> bool {
        self.is_empty() && self.recent.is_empty()
    }

    /// Decides; `known` counts the objects, with those whose deletion waits.
    pub fn decide(&mut self, known: usize, limits: Limits, now: Moment) -> Verdict<E> {
        let mut verdict = Verdict { believed: Vec::new(), began: None, ended: None, wake: None };
        match self.held_until {
            Some(until) if now >= until => {
                // They were insisted on, so what was believed before counts no more.
                self.held_until = None;
                self.recent.clear();
                verdict.ended = Some(true);
                verdict.believed = self.take_due(limits, now);
                verdict.wake = self.next_due(limits);
                return verdict;
            }
            // Objects come back one by one: nothing is believed of the rest meanwhile.
            Some(until) if !self.waiting.is_empty() => {
                verdict.wake = Some(until);
                return verdict;
            }
            Some(_) => {
                self.held_until = None;
                verdict.ended = Some(false);
            }
            None => {}
        }
        self.recent.retain(|(at, _)| *at + limits.hold > now);
        let recent: usize = self.recent.iter().map(|(_, count)| count).sum();
        // Many clients delete one by one, so that few wait at any moment.
        if !self.waiting.is_empty() && limits.is_too_much(self.waiting.len() + recent, known + recent) {
            let until = now + limits.hold;
            self.held_until = Some(until);
            verdict.began = Some(self.waiting.len() + recent);
            verdict.wake = Some(until);
            return verdict;
        }
        verdict.believed = self.take_due(limits, now);
        if !verdict.believed.is_empty() {
            self.recent.push_back((now, verdict.believed.len()));
        }
        verdict.wake = self.next_due(limits);
        verdict
    }

    fn next_due(&self, limits: Limits) -> Option<Moment> {
        self.waiting.values().map(|(since, _)| *since + limits.settle).min()
    }

    fn take_due(&mut self, limits: Limits, now: Moment) -> Vec<E> {
        let is_due = |since: Moment| since + limits.settle <= now;
        let (due, rest) = std::mem::take(&mut self.waiting).into_iter().partition(|(_, (since, _))| is_due(*since));
        self.waiting = rest;
        let due: BTreeMap<K, (Moment, E)> = due;
        due.into_values().map(|(_, effect)| effect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { at_least: 10, last: false, hold: Duration::from_mins(10), settle: SETTLE };

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn gone(gate: &mut Gate<u32, u32>, keys: std::ops::Range<u32>, now: Moment) {
        for key in keys {
            gate.gone(key, key, now);
        }
    }

    #[test]
    fn a_few_deletions_are_believed_after_a_moment() {
        let mut gate = Gate::default();
        gone(&mut gate, 0..3, at(0));
        let verdict = gate.decide(4, LIMITS, at(1));
        assert_eq!((verdict.believed, verdict.began, verdict.wake), (vec![], None, Some(at(2))));
        let verdict = gate.decide(4, LIMITS, at(2));
        assert_eq!((verdict.believed, verdict.wake), (vec![0, 1, 2], None), "fewer than ten, though more than half");
        let mut gate = Gate::default();
        gone(&mut gate, 0..15, at(3));
        assert_eq!(gate.decide(30, LIMITS, at(5)).believed.len(), 15, "half is not more than half");
    }

    #[test]
    fn more_than_half_at_once_are_held_and_then_believed() {
        let mut gate = Gate::default();
        gone(&mut gate, 0..16, at(0));
        let verdict = gate.decide(30, LIMITS, at(0));
        assert_eq!((verdict.believed.len(), verdict.began, verdict.wake), (0, Some(16), Some(at(600))));
        gone(&mut gate, 16..17, at(5));
        gone(&mut gate, 17..18, at(599));
        let verdict = gate.decide(30, LIMITS, at(599));
        assert_eq!((verdict.believed.len(), verdict.began, verdict.ended), (0, None, None));
        let verdict = gate.decide(30, LIMITS, at(600));
        assert_eq!((verdict.believed.len(), verdict.ended, verdict.wake), (17, Some(true), Some(at(601))));
        assert_eq!(gate.decide(13, LIMITS, at(601)).believed, vec![17], "who insisted is not asked again");
        assert!(gate.is_empty());
    }

    #[test]
    fn objects_that_come_back_were_never_gone_and_the_rest_waits_for_them() {
        let mut gate = Gate::default();
        gone(&mut gate, 0..20, at(0));
        assert_eq!(gate.decide(20, LIMITS, at(0)).began, Some(20));
        for key in 0..19 {
            assert!(gate.back(&key));
            assert!(gate.decide(20, LIMITS, at(60)).believed.is_empty(), "{key}");
        }
        assert!(gate.back(&19) && !gate.back(&19) && !gate.is_empty());
        let verdict = gate.decide(20, LIMITS, at(61));
        assert!(verdict.ended == Some(false) && verdict.believed.is_empty());
        assert!(gate.is_empty());
        gone(&mut gate, 0..20, at(100_000));
        assert_eq!(gate.decide(20, LIMITS, at(100_000)).began, Some(20), "a former hold excuses no later one");
    }

    #[test]
    fn a_slow_mass_deletion_is_held_once_most_are_gone() {
        let mut gate = Gate::default();
        let (mut known, mut believed) = (5_000, 0);
        let held = (0..5_000u32).find(|second| {
            gone(&mut gate, *second * 10..(*second + 1) * 10, at((*second).into()));
            let verdict = gate.decide(known, LIMITS, at((*second).into()));
            known -= verdict.believed.len();
            believed += verdict.believed.len();
            verdict.began.is_some()
        });
        assert!(held.is_some_and(|second| second < 260), "{held:?}");
        assert!(believed <= 2_500, "{believed}");
    }

    #[test]
    fn the_last_one_is_held_where_that_matters() {
        let limits = Limits { at_least: 2, last: true, ..LIMITS };
        let mut gate = Gate::default();
        gone(&mut gate, 0..1, at(0));
        assert_eq!(gate.decide(1, limits, at(0)).began, Some(1));
        let mut gate = Gate::default();
        gone(&mut gate, 0..1, at(0));
        assert_eq!(gate.decide(2, limits, at(2)).believed, vec![0]);
        assert!(!limits.is_too_much(0, 0), "nothing is not the last one");
    }
}

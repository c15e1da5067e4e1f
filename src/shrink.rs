//! Pure: deletions that come all at once are held back, because they are more often a mistake than a wish.
//!
//! Each deletion waits for a moment, in which it is seen how many come along. Where they are more than half of all, they
//! are held for a while: objects that come back meanwhile were never gone, and what is still gone afterwards is.

use std::collections::BTreeMap;
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
    held_until: Option<Moment>,
}

/// What has become of the deletions.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict<E> {
    /// They are believed.
    pub believed: Vec<E>,
    /// A hold has just begun, of so many.
    pub began: Option<usize>,
    /// A hold has just ended: true if its time was over, false if enough of the objects came back.
    pub ended: Option<bool>,
    /// When to ask again.
    pub wake: Option<Moment>,
}

impl<K: Ord, E> Default for Gate<K, E> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), held_until: None }
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

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Until when deletions are held; none: they are not.
    pub fn held_until(&self) -> Option<Moment> {
        self.held_until
    }

    /// Decides; `known` counts the objects, with those whose deletion waits.
    pub fn decide(&mut self, known: usize, limits: Limits, now: Moment) -> Verdict<E> {
        let mut verdict = Verdict { believed: Vec::new(), began: None, ended: None, wake: None };
        let too_much = limits.is_too_much(self.waiting.len(), known);
        match self.held_until {
            Some(until) if now >= until => {
                self.held_until = None;
                verdict.ended = Some(true);
                verdict.believed = self.take(|_| true);
                return verdict;
            }
            Some(until) if too_much => {
                verdict.wake = Some(until);
                return verdict;
            }
            Some(_) => {
                self.held_until = None;
                verdict.ended = Some(false);
            }
            None if too_much => {
                let until = now + limits.hold;
                self.held_until = Some(until);
                verdict.began = Some(self.waiting.len());
                verdict.wake = Some(until);
                return verdict;
            }
            None => {}
        }
        verdict.believed = self.take(|since| since + limits.settle <= now);
        verdict.wake = self.waiting.values().map(|(since, _)| *since + limits.settle).min();
        verdict
    }

    fn take(&mut self, is_due: impl Fn(Moment) -> bool) -> Vec<E> {
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
        let verdict = gate.decide(30, LIMITS, at(599));
        assert_eq!((verdict.believed.len(), verdict.began, verdict.ended), (0, None, None));
        let verdict = gate.decide(30, LIMITS, at(600));
        assert_eq!((verdict.believed.len(), verdict.ended), (17, Some(true)));
        assert!(gate.is_empty());
    }

    #[test]
    fn objects_that_come_back_were_never_gone() {
        let mut gate = Gate::default();
        gone(&mut gate, 0..20, at(0));
        assert_eq!(gate.decide(20, LIMITS, at(0)).began, Some(20));
        for key in 0..15 {
            assert!(gate.back(&key));
        }
        assert!(!gate.back(&0));
        let verdict = gate.decide(20, LIMITS, at(60));
        assert_eq!((verdict.ended, verdict.believed.len()), (Some(false), 5), "what is still gone is few, and old");
        assert_eq!(gate.held_until(), None);
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

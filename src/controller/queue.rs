//! A keyed queue: the first event of a key is handed on at once, what follows within a moment is folded into one.
//!
//! One key is never worked on twice at the same time. What is added while its key is being worked on comes up
//! once more afterwards. A steady stream of events can't starve a key: the moment counts from its last start and
//! is never pushed out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Two starts of the same key are at least this far apart.
const DEBOUNCE: Duration = Duration::from_millis(300);

pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    changed: Notify,
}

/// When a key was due before somebody had doubts.
pub struct Doubt(Option<Instant>);

struct Inner<K> {
    due: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
    working: BTreeSet<K>,
    again: BTreeMap<K, Instant>,
    /// Of those that are due or being worked on: only to be looked at whether there is anything to do, and when they were
    /// due before.
    doubtful: BTreeMap<K, Option<Instant>>,
    started: BTreeMap<K, Instant>,
    /// The same starts, the earliest first, until they matter no longer.
    starts: VecDeque<(Instant, K)>,
}

impl<K: Clone + Ord> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Ord> Queue<K> {
    pub fn new() -> Self {
        let inner = Inner {
            due: BTreeMap::new(),
            order: BTreeSet::new(),
            working: BTreeSet::new(),
            again: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            started: BTreeMap::new(),
            starts: VecDeque::new(),
        };
        Self { inner: Mutex::new(inner), changed: Notify::new() }
    }

    /// As soon as the debounce of the key allows.
    pub fn add(&self, key: K) {
        self.add_after(key, Duration::ZERO);
    }

    /// Not before `wait`, unless another call asks for it sooner.
    pub fn add_after(&self, key: K, wait: Duration) {
        let now = Instant::now();
        let mut inner = self.lock();
        let allowed = inner.allowed(&key, now);
        if !inner.working.contains(&key) {
            inner.doubtful.remove(&key);
        }
        inner.schedule(key, (now + wait).max(allowed));
        drop(inner);
        self.changed.notify_one();
    }

    /// As [`Queue::add`], where it may well be that nothing has to be done: [`Queue::doubt`] says so to whoever takes it.
    pub fn add_doubtful(&self, key: K) {
        let now = Instant::now();
        let mut inner = self.lock();
        let before = inner.due.get(&key).copied();
        let allowed = inner.allowed(&key, now);
        let comes_anyway = inner.working.contains(&key) || before.is_some_and(|due| due <= allowed);
        if !comes_anyway {
            inner.doubtful.entry(key.clone()).or_insert(before);
        }
        inner.schedule(key, allowed);
        drop(inner);
        self.changed.notify_one();
    }

    /// Whether a key that was taken came up by [`Queue::add_doubtful`] alone.
    pub fn doubt(&self, key: &K) -> Option<Doubt> {
        self.lock().doubtful.remove(key).map(Doubt)
    }

    /// Gives a key back of which there was nothing to do: it is due again when it was before.
    pub fn done_without(&self, key: &K, Doubt(before): Doubt) {
        if let Some(before) = before {
            self.lock().schedule(key.clone(), before);
        }
        self.done(key);
    }

    /// The next key that is due. Give it back with [`Queue::done`].
    pub async fn take(&self) -> K {
        loop {
            let wait = {
                let mut inner = self.lock();
                match inner.pop(Instant::now()) {
                    Ok(key) => {
                        drop(inner);
                        // Another worker may be waiting for what is left.
                        self.changed.notify_one();
                        return key;
                    }
                    Err(next) => next,
                }
            };
            match wait {
                Some(next) => {
                    let _ = tokio::time::timeout_at(next, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    pub fn done(&self, key: &K) {
        let mut inner = self.lock();
        inner.working.remove(key);
        if let Some(at) = inner.again.remove(key) {
            let at = inner.started.get(key).map_or(at, |start| at.max(*start + DEBOUNCE));
            inner.schedule(key.clone(), at);
        }
        inner.forget_starts(Instant::now());
        drop(inner);
        self.changed.notify_one();
    }

    /// Keys that wait or are being worked on.
    pub fn len(&self) -> usize {
        let inner = self.lock();
        inner.due.len() + inner.working.len()
    }

    /// Keys that are being worked on.
    pub fn working(&self) -> usize {
        self.lock().working.len()
    }

    /// No key waits or is being worked on.
    pub fn is_empty(&self) -> bool {
        let inner = self.lock();
        inner.due.is_empty() && inner.working.is_empty()
    }

    /// No key is due or being worked on at `now`; those that wait for a later moment do not count.
    pub fn is_quiet(&self) -> bool {
        let inner = self.lock();
        let now = Instant::now();
        inner.working.is_empty() && inner.order.first().is_none_or(|(at, _)| *at > now)
    }

    // A poisoned lock guards plain collections that no panic leaves half changed.
    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Ord> Inner<K> {
    /// When a key may start that is wanted at once.
    fn allowed(&self, key: &K, now: Instant) -> Instant {
        self.started.get(key).map_or(now, |start| now.max(*start + DEBOUNCE))
    }

    fn schedule(&mut self, key: K, at: Instant) {
        if self.working.contains(&key) {
            let again = self.again.entry(key).or_insert(at);
            *again = (*again).min(at);
            return;
        }
        match self.due.get(&key) {
            Some(due) if *due <= at => return,
            Some(due) => {
                let old = (*due, key.clone());
                self.order.remove(&old);
            }
            None => {}
        }
        self.due.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// The key that is due, or when the next one will be.
    fn pop(&mut self, now: Instant) -> Result<K, Option<Instant>> {
        match self.order.first() {
            Some((at, _)) if *at <= now => {}
            next => return Err(next.map(|(at, _)| *at)),
        }
        let Some((_, key)) = self.order.pop_first() else { return Err(None) };
        self.due.remove(&key);
        self.working.insert(key.clone());
        self.started.insert(key.clone(), now);
        self.starts.push_back((now, key.clone()));
        Ok(key)
    }

    /// Those after which the debounce is over.
    fn forget_starts(&mut self, now: Instant) {
        while let Some((start, key)) = self.starts.pop_front_if(|(start, _)| *start + DEBOUNCE <= now) {
            // It may have started once more since.
            if self.started.get(&key) == Some(&start) {
                self.started.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_event_goes_at_once_and_the_rest_are_folded() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add("a");
        assert_eq!(queue.take().await, "a");
        assert_eq!(Instant::now(), start);
        for _ in 0..10 {
            queue.add("a");
        }
        queue.done(&"a");
        assert_eq!(queue.take().await, "a");
        assert_eq!(Instant::now() - start, DEBOUNCE);
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubt_lasts_until_something_else_brings_the_key_up_and_leaves_its_time_as_it_was() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("a", Duration::from_mins(1));
        for key in ["a", "b"] {
            queue.add_doubtful(key);
            assert_eq!(queue.take().await, key);
            assert_eq!(Instant::now(), start);
            let doubt = queue.doubt(&key).unwrap();
            queue.done_without(&key, doubt);
        }
        assert_eq!(queue.take().await, "a");
        assert_eq!(Instant::now() - start, Duration::from_mins(1));
        assert!(queue.doubt(&"a").is_none());
        // What is due anyway, or is being worked on, is in no doubt.
        queue.add_doubtful("a");
        queue.done(&"a");
        assert_eq!(queue.take().await, "a");
        assert!(queue.doubt(&"a").is_none());
        queue.done(&"a");
        tokio::time::advance(DEBOUNCE).await;
        for both in [[false, true], [true, false]] {
            for doubtful in both {
                if doubtful { queue.add_doubtful("c") } else { queue.add("c") }
            }
            assert_eq!(queue.take().await, "c");
            assert!(queue.doubt(&"c").is_none());
            queue.done(&"c");
            tokio::time::advance(DEBOUNCE).await;
        }
        // Of what was folded into a later start, too, the doubtful cause is not the only one.
        queue.add("d");
        assert_eq!(queue.take().await, "d");
        queue.done(&"d");
        queue.add("d");
        queue.add_doubtful("d");
        assert_eq!(queue.take().await, "d");
        assert!(queue.doubt(&"d").is_none());
        queue.done(&"d");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_never_worked_on_twice_at_once() {
        let queue = Queue::new();
        queue.add("a");
        let key = queue.take().await;
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.take().await, "b");
        assert!(tokio::time::timeout(Duration::from_mins(1), queue.take()).await.is_err());
        queue.done(&key);
        assert_eq!(queue.take().await, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_stream_does_not_push_a_key_out() {
        let queue = Queue::new();
        queue.add(1);
        queue.take().await;
        queue.done(&1);
        let start = Instant::now();
        for _ in 0..29 {
            queue.add(1);
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        queue.take().await;
        assert!(Instant::now() - start <= DEBOUNCE);
    }

    #[tokio::test(start_paused = true)]
    async fn the_sooner_of_two_waits_counts() {
        let queue = Queue::new();
        queue.add_after("a", Duration::from_mins(1));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("a", Duration::from_secs(30));
        let start = Instant::now();
        assert!(queue.is_quiet());
        queue.take().await;
        assert_eq!(Instant::now() - start, Duration::from_secs(5));
    }
}

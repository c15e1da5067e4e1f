//! What was asked of a simulated cluster over its connections: requests by verb, and bytes sent in answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Asking what one may do is a `create` that writes nothing.
pub(super) const REVIEW: &str = "review";
/// The verbs in the order in which they are counted; the last stands for discovery and all that is no object.
const VERBS: [&str; 10] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", REVIEW, "other"];
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

pub(super) fn is_write(verb: &str) -> bool {
    WRITES.contains(&verb)
}

/// The counters of one cluster; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    by_verb: [AtomicU64; VERBS.len()],
    bytes: AtomicU64,
    unchanged: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    by_verb: [u64; VERBS.len()],
    /// Of bodies of answers, as they were handed to the connection.
    pub bytes: u64,
    /// Writes that left their object as it was.
    pub unchanged: u64,
}

impl Tally {
    /// Requests that were answered or hang, whatever the answer.
    pub fn told(&self) -> Told {
        Told {
            by_verb: std::array::from_fn(|index| self.0.by_verb[index].load(Ordering::Relaxed)),
            bytes: self.0.bytes.load(Ordering::Relaxed),
            unchanged: self.0.unchanged.load(Ordering::Relaxed),
        }
    }

    pub(super) fn count_request(&self, verb: &str) {
        let index = VERBS.iter().position(|known| *known == verb).unwrap_or(VERBS.len() - 1);
        self.0.by_verb[index].fetch_add(1, Ordering::Relaxed);
    }
    pub(super) fn count_unchanged(&self) {
        self.0.unchanged.fetch_add(1, Ordering::Relaxed);
    }
    pub(super) fn count_bytes(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Told {
    pub fn requests(&self) -> u64 {
        self.by_verb.iter().sum()
    }
    pub fn writes(&self) -> u64 {
        self.by_verb().filter(|(verb, _)| is_write(verb)).map(|(_, count)| count).sum()
    }
    /// Those that came at all.
    pub fn by_verb(&self) -> impl Iterator<Item = (&'static str, u64)> {
        VERBS.into_iter().zip(self.by_verb).filter(|(_, count)| *count > 0)
    }
    /// Adds what another cluster was asked.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.by_verb.iter_mut().zip(other.by_verb) {
            *sum += more;
        }
        self.bytes += other.bytes;
        self.unchanged += other.unchanged;
    }
}

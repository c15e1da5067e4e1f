//! What was last reported of each object of a kind, as hashes: changes of no interest are dropped here, and what a
//! new list no longer brings is found.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::names::{MemberName, ObjectName};

use super::event::MemberEvent;

/// Outlives a rotation of credentials, so that the first list afterwards finds what was deleted meanwhile.
#[derive(Debug, Default)]
pub struct Seen {
    list: u32,
    objects: BTreeMap<ObjectName, Mark>,
}

#[derive(Debug)]
struct Mark {
    /// The list that brought it last.
    list: u32,
    /// Of what was reported.
    hash: u64,
}

impl Seen {
    pub fn begin(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// It is still there. False: it was reported just like this before.
    pub fn note(&mut self, name: &ObjectName, hash: u64) -> bool {
        let list = self.list;
        match self.objects.get_mut(name) {
            Some(mark) => {
                mark.list = list;
                mark.hash != hash
            }
            None => true,
        }
    }

    /// It was reported.
    pub fn reported(&mut self, name: ObjectName, hash: u64) {
        self.objects.insert(name, Mark { list: self.list, hash });
    }

    /// True if it was known.
    pub fn forget(&mut self, name: &ObjectName) -> bool {
        self.objects.remove(name).is_some()
    }

    pub fn contains(&self, name: &ObjectName) -> bool {
        self.objects.contains_key(name)
    }

    /// Known from before, and not brought by the list that is complete now.
    pub fn missing(&self) -> Vec<ObjectName> {
        self.objects.iter().filter(|(_, mark)| mark.list != self.list).map(|(name, _)| name.clone()).collect()
    }
}

/// Equal values have equal hashes, within one process.
pub fn hash_of(value: &impl Debug) -> u64 {
    struct Hashed(DefaultHasher);
    impl Write for Hashed {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut hashed = Hashed(DefaultHasher::new());
    // Writing into a hash does not fail.
    let _ = write!(hashed, "{value:?}");
    hashed.0.finish()
}

/// Where one incarnation of a member reports to; what comes from an earlier one is dropped.
#[derive(Clone, Debug)]
pub struct Events {
    pub member: MemberName,
    incarnation: u64,
    current: Arc<AtomicU64>,
    queue: mpsc::Sender<MemberEvent>,
}

impl Events {
    pub fn new(
        member: MemberName,
        incarnation: u64,
        current: Arc<AtomicU64>,
        queue: mpsc::Sender<MemberEvent>,
    ) -> Self {
        Self { member, incarnation, current, queue }
    }

    /// Waits for room in the queue: a slow consumer slows the watches down, to the sockets.
    /// False: it was not delivered, because this incarnation is over.
    pub async fn send(&self, event: MemberEvent) -> bool {
        // A closed queue means that the hub is stopping.
        let Ok(room) = self.queue.reserve().await else { return false };
        let is_current = self.current.load(Ordering::Acquire) == self.incarnation;
        if is_current {
            room.send(event);
        }
        is_current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ObjectName {
        ObjectName::new("ns", name)
    }

    #[test]
    fn what_a_new_list_does_not_bring_is_missing_and_nothing_else() {
        let mut seen = Seen::default();
        seen.begin();
        for it in ["a", "b", "c"] {
            assert!(seen.note(&name(it), 1));
            seen.reported(name(it), 1);
        }
        assert!(seen.missing().is_empty());
        seen.begin();
        assert!(!seen.note(&name("a"), 1), "unchanged");
        assert!(seen.note(&name("b"), 2), "changed");
        seen.reported(name("b"), 2);
        assert_eq!(seen.missing(), [name("c")]);
    }

    #[tokio::test]
    async fn events_of_an_earlier_incarnation_are_dropped() {
        let (queue, mut events) = mpsc::channel(4);
        let current = Arc::new(AtomicU64::new(1));
        let old = Events::new("eu".into(), 1, current.clone(), queue.clone());
        let new = Events::new("eu".into(), 2, current.clone(), queue);
        let event = |text: &str| MemberEvent::Duplicate { member: text.into(), of: None };
        old.send(event("before")).await;
        current.store(2, Ordering::Release);
        old.send(event("late")).await;
        new.send(event("after")).await;
        drop((old, new));
        let mut members = Vec::new();
        while let Some(MemberEvent::Duplicate { member, .. }) = events.recv().await {
            members.push(member.to_string());
        }
        assert_eq!(members, ["before", "after"]);
    }
}

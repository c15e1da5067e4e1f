//! The objects of one simulated cluster: what is there, what happened to it, and since which resourceVersion.
//! Objects rest as JSON text, so that many clusters fit in one process and lists cost a copy.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::watch;

use super::failure::Failure;
use super::resource::{BUILT_IN_RESOURCES, Resource, ResourceId};
use super::selector::{FieldSelector, LabelSelector, Labels};

/// Events kept for watches that resume. A hub's watch that reconnects within seconds finds its place even after
/// every object of a large member (some hundreds) changed several times.
const EVENTS_MAX: usize = 4096;
/// Text of the events of a kind: what [`EVENTS_MAX`] events of usual size have. Where thousands of clusters share one
/// process, each has less.
const HISTORY_BYTES_MAX: usize = 16 << 20;

/// One version of an object.
#[derive(Debug)]
pub struct Stored {
    pub resource_version: u64,
    /// Empty for objects of the cluster.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub(super) labels: Labels,
    pub json: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Modified,
    Deleted,
}

#[derive(Debug)]
struct Event {
    change: Change,
    /// Of a deleted object: as it was, with the resourceVersion of its end.
    object: Arc<Stored>,
    previous: Option<Arc<Stored>>,
}

pub(super) type Key = (Arc<str>, Arc<str>);

/// The objects of one kind.
#[derive(Debug)]
pub(super) struct Table {
    pub objects: BTreeMap<Key, Arc<Stored>>,
    events: VecDeque<Event>,
    /// Text of the objects in `events`, and the most that is kept.
    history: (usize, usize),
    /// Every event after this resourceVersion is still there.
    oldest: u64,
    /// The resourceVersion of the last event.
    changed: watch::Sender<u64>,
    /// The kind is no longer served.
    closed: bool,
}

/// What a list or watch asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub namespace: Option<String>,
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

/// One event as a filtered watch sees it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub change: Change,
    pub resource_version: u64,
    pub json: Bytes,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub resource_version: u64,
    /// No event up to here is known any longer.
    pub compacted: u64,
    pub tables: BTreeMap<ResourceId, Table>,
    pub custom: BTreeMap<ResourceId, Arc<Resource>>,
    pub clock_ahead: SignedDuration,
    /// Makes uids, tokens and generated names; where nobody gave one, unique in the process.
    pub seed: u64,
    pub drawn: u64,
    history_bytes_max: usize,
}

/// A handle to the objects of one simulated cluster; clones share them.
#[derive(Clone, Debug)]
pub struct Store(Arc<Mutex<Inner>>);

impl Stored {
    /// Reads what is indexed from an object that has its final form.
    pub(super) fn new(object: &Value, resource_version: u64) -> Self {
        let metadata = &object["metadata"];
        let text = |key: &str| metadata[key].as_str().unwrap_or_default().into();
        let labels = metadata["labels"].as_object().into_iter().flatten();
        Self {
            resource_version,
            namespace: text("namespace"),
            name: text("name"),
            labels: labels.filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into()))).collect(),
            // Without what the text grew in beyond its length.
            json: Bytes::from(object.to_string().into_boxed_str().into_boxed_bytes()),
        }
    }
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }
    fn key(&self) -> Key {
        (self.namespace.clone(), self.name.clone())
    }
}

impl Filter {
    pub(super) fn admits(&self, object: &Stored) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == &*object.namespace)
            && self.labels.matches(&object.labels)
            && self.fields.matches(&object.namespace, &object.name, || object.value())
    }
}

impl Event {
    fn resource_version(&self) -> u64 {
        self.object.resource_version
    }
    /// Entering the filter is an addition, leaving it a deletion.
    fn seen(&self, filter: &Filter) -> Option<Seen> {
        let before = self.previous.as_ref().filter(|previous| filter.admits(previous));
        let after = (self.change != Change::Deleted && filter.admits(&self.object)).then_some(&self.object);
        let (change, json) = match (before, after) {
            (None, None) => return None,
            (None, Some(object)) => (Change::Added, object.json.clone()),
            (Some(_), Some(object)) => (Change::Modified, object.json.clone()),
            (Some(_), None) if self.change == Change::Deleted => (Change::Deleted, self.object.json.clone()),
            (Some(previous), None) => (Change::Deleted, versioned(previous, self.resource_version())),
        };
        Some(Seen { change, resource_version: self.resource_version(), json })
    }
}

fn versioned(object: &Stored, resource_version: u64) -> Bytes {
    let mut value = object.value();
    value["metadata"]["resourceVersion"] = resource_version.to_string().into();
    Bytes::from(value.to_string())
}

impl Table {
    pub(super) fn new(oldest: u64, history_bytes_max: usize) -> Self {
        Self {
            objects: BTreeMap::new(),
            events: VecDeque::new(),
            history: (0, history_bytes_max),
            oldest,
            changed: watch::Sender::new(oldest),
            closed: false,
        }
    }

    /// Takes a new version of an object in, or its end, and tells the watches.
    pub(super) fn commit(&mut self, change: Change, object: Stored) -> Arc<Stored> {
        let object = Arc::new(object);
        let previous = match change {
            Change::Deleted => self.objects.remove(&object.key()),
            _ => self.objects.insert(object.key(), object.clone()),
        };
        self.history.0 += object.json.len();
        self.events.push_back(Event { change, object: object.clone(), previous });
        while (self.events.len() > EVENTS_MAX || (self.history.0 > self.history.1 && self.events.len() > 1))
            && let Some(dropped) = self.events.pop_front()
        {
            self.history.0 -= dropped.object.json.len();
            self.oldest = dropped.resource_version();
        }
        self.changed.send_replace(object.resource_version);
        object
    }

    /// Takes an object in as if it had always been there.
    pub(super) fn load(&mut self, object: Stored) {
        self.forget(object.resource_version);
        self.objects.insert(object.key(), Arc::new(object));
    }

    pub(super) fn unload(&mut self, namespace: &str, version: u64) {
        self.forget(version);
        self.objects.retain(|(place, _), _| &**place != namespace);
    }

    fn forget(&mut self, until: u64) {
        self.events = VecDeque::new();
        self.history.0 = 0;
        self.oldest = until;
    }

    /// The resourceVersion of the last change.
    pub(super) fn changed(&self) -> u64 {
        *self.changed.borrow()
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.changed.send_modify(|_| {});
    }
    pub(super) fn reopen(&mut self) {
        self.closed = false;
    }

    /// The objects as they were at an earlier resourceVersion; none if that is too long ago.
    pub(super) fn at(&self, resource_version: u64) -> Option<Cow<'_, BTreeMap<Key, Arc<Stored>>>> {
        if resource_version < self.oldest {
            return None;
        }
        let mut later =
            self.events.iter().rev().take_while(|event| event.resource_version() > resource_version).peekable();
        if later.peek().is_none() {
            return Some(Cow::Borrowed(&self.objects));
        }
        let mut objects = self.objects.clone();
        for event in later {
            match &event.previous {
                Some(previous) => objects.insert(previous.key(), previous.clone()),
                None => objects.remove(&event.object.key()),
            };
        }
        Some(Cow::Owned(objects))
    }

    /// Up to `most` objects after a key, and whether and how many more there are.
    pub(super) fn page<'a>(
        objects: &'a BTreeMap<Key, Arc<Stored>>,
        filter: &Filter,
        after: Option<&Key>,
        most: usize,
    ) -> (Vec<&'a Arc<Stored>>, usize) {
        let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
        let mut admitted =
            objects.range((from, Bound::Unbounded)).map(|(_, object)| object).filter(|object| filter.admits(object));
        let page: Vec<_> = admitted.by_ref().take(most).collect();
        (page, admitted.count())
    }
}

impl Inner {
    pub(super) fn resource(&self, group: &str, plural: &str) -> Option<Arc<Resource>> {
        let built_in =
            BUILT_IN_RESOURCES.iter().find(|resource| &*resource.group == group && &*resource.plural == plural);
        built_in.or_else(|| self.custom.get(&(group.into(), plural.into()))).cloned()
    }
    pub(super) fn resources(&self) -> Vec<Arc<Resource>> {
        BUILT_IN_RESOURCES.iter().chain(self.custom.values()).cloned().collect()
    }
    pub(super) fn table(&mut self, resource: &Resource) -> &mut Table {
        let (oldest, history) = (self.compacted, self.history_bytes_max);
        self.tables.entry(resource.id()).or_insert_with(|| Table::new(oldest, history))
    }
    pub(super) fn find(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Arc<Stored>, Failure> {
        let found =
            self.tables.get(&resource.id()).and_then(|table| table.objects.get(&(namespace.into(), name.into())));
        found.cloned().ok_or_else(|| Failure::not_found(resource, name))
    }
    pub(super) fn next_version(&mut self) -> u64 {
        self.resource_version += 1;
        self.resource_version
    }
    pub(super) fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_add(self.clock_ahead).unwrap_or(now)
    }
    /// RFC 3339 in seconds, as in metadata.
    pub(super) fn now_text(&self) -> String {
        self.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
    /// Fresh hex digits, 32 of them.
    pub(super) fn draw(&mut self) -> String {
        use sha2::{Digest, Sha256};
        self.drawn += 1;
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(self.drawn.to_be_bytes());
        let mut head = [0; 16];
        head.copy_from_slice(&hash.finalize()[..16]);
        format!("{:032x}", u128::from_be_bytes(head))
    }
    pub(super) fn draw_uid(&mut self) -> String {
        let hex = self.draw();
        format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
    }
}

impl Store {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            resource_version: 1,
            compacted: 0,
            tables: BTreeMap::new(),
            custom: BTreeMap::new(),
            clock_ahead: SignedDuration::ZERO,
            seed,
            drawn: 0,
            history_bytes_max: HISTORY_BYTES_MAX,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in another request leaves the maps whole: each change is one insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all events: a watch or page that resumes from before now gets 410.
    pub fn compact(&self) {
        let mut inner = self.lock();
        let now = inner.resource_version;
        inner.compacted = now;
        for table in inner.tables.values_mut() {
            table.forget(now);
        }
    }

    /// Keeps at most so many bytes of past versions of each kind.
    pub fn keep_history(&self, bytes: usize) {
        let mut inner = self.lock();
        inner.history_bytes_max = bytes;
        for table in inner.tables.values_mut() {
            table.history.1 = bytes;
        }
    }

    /// Sets this cluster's clock ahead of (or behind) the real time.
    pub fn set_clock_ahead(&self, by: SignedDuration) {
        self.lock().clock_ahead = by;
    }
    pub fn now(&self) -> Timestamp {
        self.lock().now()
    }
    pub fn resource_version(&self) -> u64 {
        self.lock().resource_version
    }

    /// Tells of each change of a kind. Subscribe before listing, so that nothing falls between.
    pub(super) fn subscribe(&self, resource: &Resource) -> watch::Receiver<u64> {
        self.lock().table(resource).changed.subscribe()
    }

    /// Events after a resourceVersion, and whether the kind is served any longer.
    pub(super) fn events_after(
        &self,
        resource: &Resource,
        after: u64,
        filter: &Filter,
    ) -> Result<(Vec<Seen>, bool), Failure> {
        let mut inner = self.lock();
        let table = inner.table(resource);
        if after < table.oldest {
            return Err(Failure::too_old(after, table.oldest));
        }
        let start = table.events.partition_point(|event| event.resource_version() <= after);
        let seen = table.events.range(start..).filter_map(|event| event.seen(filter)).collect();
        Ok((seen, !table.closed))
    }
}

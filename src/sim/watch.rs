//! Watches: a stream of events from a resourceVersion on, with bookmarks, initial events and an end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use bytes::Bytes;
use futures::Stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::failure::Failure;
use super::faults::Faults;
use super::present::Form;
use super::read;
use super::request::{Query, Target};
use super::resource::Resource;
use super::store::{Change, Filter, Store, Table};

/// As on the real server.
const BOOKMARK_EVERY: Duration = Duration::from_mins(1);
/// The last bookmark comes this long before the end.
const LAST_BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Real servers end a watch after 30 to 60 minutes where the client names no time.
const TIMEOUT_DEFAULT: u64 = 1800;

/// A watch under way.
pub(super) struct Watch {
    store: Store,
    faults: Faults,
    resource: Arc<Resource>,
    filter: Filter,
    form: Form,
    last: u64,
    /// What was there at the beginning: comes first, and is written as it is read.
    present: vec::IntoIter<Bytes>,
    end_mark: Option<Bytes>,
    pending: VecDeque<Bytes>,
    changed: watch::Receiver<u64>,
    cut: watch::Receiver<u64>,
    end: Instant,
    bookmarks: bool,
    next_bookmark: Instant,
    columns_sent: bool,
    over: bool,
}

/// From where a watch starts.
enum Start {
    /// After this resourceVersion.
    At(u64),
    /// With an addition for each object that is there; true: and a bookmark behind them.
    Present { end_mark: bool },
}

fn start(query: &Query) -> Result<Start, Failure> {
    let version = query.resource_version()?.unwrap_or(0);
    let (initial, matching) = (query.is_set("sendInitialEvents"), query.get("resourceVersionMatch"));
    if initial && matching != Some("NotOlderThan") {
        let why = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        let cause = super::failure::Cause::new("FieldValueForbidden", "resourceVersionMatch", why);
        return Err(Failure::invalid("meta.k8s.io", "ListOptions", "", &[cause]));
    }
    // A watch from "any" version shows what is there; the end mark comes only where bookmarks may come.
    let end_mark = query.is_set("allowWatchBookmarks");
    Ok(if initial || version == 0 { Start::Present { end_mark } } else { Start::At(version) })
}

impl Watch {
    pub(super) fn open(
        store: &Store,
        faults: &Faults,
        resource: Arc<Resource>,
        (target, query): (&Target, &Query),
        form: Form,
    ) -> Result<Self, Failure> {
        let filter = read::filter(target, query, &resource)?;
        let start = start(query)?;
        let timeout = query.number("timeoutSeconds")?.filter(|&seconds| seconds > 0).unwrap_or(TIMEOUT_DEFAULT);
        // Subscribed before the first look, so that nothing falls between.
        let changed = store.subscribe(&resource);
        let mut watch = Self {
            store: store.clone(),
            faults: faults.clone(),
            resource,
            filter,
            form,
            last: 0,
            present: Vec::new().into_iter(),
            end_mark: None,
            pending: VecDeque::new(),
            changed,
            cut: faults.cuts(),
            end: Instant::now() + Duration::from_secs(timeout),
            bookmarks: query.is_set("allowWatchBookmarks"),
            next_bookmark: Instant::now() + BOOKMARK_EVERY,
            columns_sent: false,
            over: false,
        };
        watch.schedule_bookmark();
        match start {
            Start::At(version) => watch.last = version,
            Start::Present { end_mark } => watch.send_present(end_mark),
        }
        // What has happened since is looked for once all of that is sent.
        watch.changed.mark_changed();
        Ok(watch)
    }

    fn send_present(&mut self, end_mark: bool) {
        let present: Vec<Bytes> = {
            let mut inner = self.store.lock();
            self.last = inner.resource_version;
            let table = inner.table(&self.resource);
            let (objects, _) = Table::page(&table.objects, &self.filter, None, usize::MAX);
            objects.into_iter().map(|object| object.json.clone()).collect()
        };
        self.present = present.into_iter();
        self.end_mark = end_mark.then(|| self.bookmark(true));
    }

    fn of_the_beginning(&mut self) -> Option<Bytes> {
        match self.present.next() {
            Some(json) => Some(self.event(Change::Added, &json)),
            None => self.end_mark.take(),
        }
    }

    /// Takes over what happened since the last look.
    fn collect(&mut self) {
        let found = if self.faults.expires_versions() {
            Err(Failure::too_old(self.last, self.store.resource_version()))
        } else {
            self.store.events_after(&self.resource, self.last, &self.filter)
        };
        match found {
            Ok((events, open)) => {
                for event in events {
                    self.last = event.resource_version;
                    let line = self.event(event.change, &event.json);
                    self.pending.push_back(line);
                }
                self.over |= !open;
            }
            Err(expired) => {
                self.pending.push_back(line("ERROR", &Bytes::from(expired.status().to_string())));
                self.over = true;
            }
        }
    }

    fn event(&mut self, change: Change, json: &Bytes) -> Bytes {
        let kind = match change {
            Change::Added => "ADDED",
            Change::Modified => "MODIFIED",
            Change::Deleted => "DELETED",
        };
        let object = self.form.object(json, &self.resource, !self.columns_sent, self.store.now());
        self.columns_sent = true;
        line(kind, &object)
    }

    fn bookmark(&self, initial_end: bool) -> Bytes {
        let bookmark = self.form.bookmark(&self.resource, self.last, initial_end);
        line("BOOKMARK", &Bytes::from(bookmark.to_string()))
    }

    fn schedule_bookmark(&mut self) {
        let now = Instant::now();
        let last = self.end.checked_sub(LAST_BOOKMARK_BEFORE_END).unwrap_or(now);
        self.next_bookmark = match now + BOOKMARK_EVERY {
            regular if regular < last => regular,
            _ if now < last => last,
            // No more after the last.
            _ => self.end + BOOKMARK_EVERY,
        };
    }

    /// Every event up to now is behind this bookmark.
    fn bookmark_now(&mut self) {
        let version = self.store.resource_version();
        self.collect();
        self.last = self.last.max(version);
        if self.bookmarks {
            let line = self.bookmark(false);
            self.pending.push_back(line);
        }
        self.schedule_bookmark();
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.faults.stalls_watches() {
                // Half open: nothing comes, and no end either, until the fault is lifted or the connection is cut.
                self.faults.until_flowing().await;
            }
            if let Some(line) = self.of_the_beginning().or_else(|| self.pending.pop_front()) {
                return Some(line);
            }
            if self.over {
                return None;
            }
            tokio::select! {
                change = self.changed.changed() => match change {
                    Ok(()) => self.collect(),
                    Err(_) => self.over = true,
                },
                _ = self.cut.changed() => {
                    self.over = true;
                    if self.faults.expires_versions() {
                        self.collect();
                    }
                }
                () = sleep_until(self.next_bookmark) => self.bookmark_now(),
                () = sleep_until(self.end) => self.over = true,
            }
        }
    }

    /// One line for each event.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let line = watch.next().await?;
            Some((Ok(line), watch))
        })
    }
}

fn line(kind: &str, object: &Bytes) -> Bytes {
    let mut line = Vec::with_capacity(object.len() + 32);
    line.extend_from_slice(format!(r#"{{"type":"{kind}","object":"#).as_bytes());
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    Bytes::from(line)
}

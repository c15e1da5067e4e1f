//! Lists one kind of one member, then follows it: pages under a fleet-wide bound, resumption at the last version seen,
//! silence noticed, pauses that grow. What is seen goes to a [`Sink`]; the sink's deletions happen here, too, after a
//! complete list.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use http::HeaderValue;
use http::header::ACCEPT_ENCODING;
use kube::core::WatchEvent;
use kube::core::params::{ListParams, WatchParams};
use kube::core::request::Request;
use tokio::sync::Semaphore;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::call::{CallError, Class, Member, Operation};
use super::contact::{until_down, until_up};
use super::error::classify_status;
use super::lines::Lines;
use super::seen::hash_of;
use super::streamed;
use super::wire::{Object, Page};

/// Objects in one page: 2.5 MB at 10 KB each while it is parsed.
pub(super) const PAGE_SIZE: u32 = 250;
/// 250,000 objects of a kind: beyond what a member is made for, and an end to a server that never ends a list.
pub(super) const LIST_MAX: usize = 250_000;
const PAGES_MAX: usize = LIST_MAX / PAGE_SIZE as usize;
/// Pages that may be under way or in memory at once in the whole fleet: 80 MB at the size above.
pub const PAGES_AT_ONCE: usize = 32;
/// API servers send a bookmark about each minute; two that are missing mean that nothing gets through, so that a list
/// has to tell what is there.
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// Asked of the server, seconds; below the 295 that the client refuses to exceed.
const WATCH_SECONDS: u32 = 290;
/// Watches end up to so much earlier, each after a time of its own: what began together in a thousand members does not
/// end, and begin anew, together.
const WATCH_SPREAD: u64 = 90;
/// A watch that lasted less than this did not help: the pause before the next one grows.
const WATCH_SHORT: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// Rights and CRDs change by a person's hand, and are asked for by other means as well.
const PAUSE_REFUSED: Duration = Duration::from_secs(15);
/// Deletions that are confirmed together.
const BATCH_MAX: usize = 500;

/// What is listed and watched.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// For people, such as `ReplicationSources`.
    pub what: &'static str,
    /// Such as `/apis/batch/v1/namespaces/volsync-system/jobs`.
    pub path: String,
    pub selector: Option<String>,
    /// Only metadata is asked for.
    pub bare: bool,
    /// It tells how Jobs go on, which others wait for.
    pub runs: bool,
}

/// Takes in what was seen, in order. Calls of `apply` between `begin` and `complete` are a list.
pub trait Sink: Send {
    type Object: Object;

    /// A list begins: what it does not bring again will be gone at its end.
    fn begin(&mut self);
    fn apply(&mut self, object: Self::Object) -> impl Future<Output = ()> + Send;
    /// Deleted, or no longer selected. May be held until `settle`.
    fn delete(&mut self, object: Self::Object);
    /// The list is complete. Fails where it can't be told whether what is missing was really deleted.
    fn complete(&mut self) -> impl Future<Output = Result<(), CallError>> + Send;
    /// Nothing more is waiting to be read: deletions so far take effect now. Fails as `complete` does.
    fn settle(&mut self) -> impl Future<Output = Result<(), CallError>> + Send;
    /// The list is complete and changes are coming in.
    fn live(&mut self);
    /// It can't be listed or watched for now.
    fn failed(&mut self, error: &CallError) -> impl Future<Output = ()> + Send;
}

/// Observes for as long as it is polled.
pub async fn run<S: Sink>(member: &Member, target: &Target, pages: &Arc<Semaphore>, sink: &mut S) {
    let (mut listing, mut watching) = (Pause::default(), Pause::default());
    let mut made = member.under_way().follow();
    loop {
        until_up(member).await;
        // Its room is needed for a moment only.
        let listed = match Box::pin(list(member, target, pages, sink)).await {
            Ok(listed) => listed,
            Err(error) => {
                sink.failed(&error).await;
                tokio::time::sleep(listing.after(&error)).await;
                continue;
            }
        };
        listing.reset();
        match follow(member, target, listed, sink, (&mut watching, &mut made)).await {
            Over::Deaf => {}
            // A server that says so of every watch would be listed without end.
            Over::Failed(error) if error.class == Class::Expired => {
                rest(member, target, &mut made, watching.next()).await;
            }
            Over::Failed(error) => {
                sink.failed(&error).await;
                tokio::time::sleep(watching.after(&error)).await;
            }
        }
    }
}

/// Why a new list is needed.
enum Over {
    /// Watches tell nothing: they fall silent or end at once, as behind a proxy that does not know them.
    Deaf,
    Failed(CallError),
}

/// Brings the whole kind to the sink; returns the version to go on from, and the watch that does so where it came as one.
async fn list<S: Sink>(
    member: &Member,
    target: &Target,
    pages: &Arc<Semaphore>,
    sink: &mut S,
) -> Result<(String, Option<Lines>), CallError> {
    if let Some((version, lines)) = streamed::list(member, target, pages, sink).await? {
        return Ok((version, Some(lines)));
    }
    let version = page_by_page(member, target, pages, sink).await?;
    member.streaming().listed().await;
    Ok((version, None))
}

async fn page_by_page<S: Sink>(
    member: &Member,
    target: &Target,
    pages: &Arc<Semaphore>,
    sink: &mut S,
) -> Result<String, CallError> {
    let operation = Operation::list(target.what);
    let mut parameters = ListParams { label_selector: target.selector.clone(), ..ListParams::default() };
    parameters.limit = Some(PAGE_SIZE);
    sink.begin();
    for _ in 0..PAGES_MAX {
        let request = Request::new(target.path.as_str());
        let request = if target.bare { request.list_metadata(&parameters) } else { request.list(&parameters) };
        let (text, _permits) = member.page(&operation, request, pages).await?;
        let page: Page<S::Object> = member.parse(&operation, &text)?;
        drop(text);
        for object in page.items {
            sink.apply(object).await;
        }
        if page.metadata.next.is_empty() {
            sink.complete().await?;
            return Ok(page.metadata.resource_version);
        }
        parameters.continue_token = Some(page.metadata.next);
    }
    Err(endless(member, &operation))
}

/// An event that is too long to be read is counted.
pub(super) fn count_too_long(member: &Member, error: &kube::Error) {
    if matches!(error, kube::Error::LinesCodecMaxLineLengthExceeded) {
        member.counters().cut_off.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn endless(member: &Member, operation: &Operation) -> CallError {
    member.counters().cut_off.fetch_add(1, Ordering::Relaxed);
    let detail = format!("it does not end after {LIST_MAX} objects");
    CallError::new(member.name(), operation, Class::Other, &detail)
}

/// Watches from where the list ended on, again and again, until a new list is needed; returns why.
async fn follow<S: Sink>(
    member: &Member,
    target: &Target,
    (mut version, mut opened): (String, Option<Lines>),
    sink: &mut S,
    (pause, made): (&mut Pause, &mut Receiver<()>),
) -> Over {
    loop {
        let began = Instant::now();
        let ended = watch(member, target, (&mut version, opened.take()), sink).await;
        if began.elapsed() >= WATCH_SHORT {
            pause.reset();
        }
        match ended {
            Ok(End::Silent) => return Over::Deaf,
            Ok(End::Clean) if began.elapsed() >= WATCH_SHORT => {}
            // Whether it is still allowed or there at all is for a list to tell.
            Err(error) if !matches!(error.class, Class::Unreachable | Class::Timeout | Class::Unauthorized) => {
                return Over::Failed(error);
            }
            ended => {
                let length = pause.next();
                // Out of contact, a list would tell no more.
                let list = if ended.is_ok() {
                    rest(member, target, made, length).await
                } else {
                    tokio::time::sleep(length).await;
                    false
                };
                if list || length == PAUSE_MAX {
                    return Over::Deaf;
                }
            }
        }
        until_up(member).await;
    }
}

/// The pause after a watch that did not help. True: a list is needed already, because Jobs are under way.
async fn rest(member: &Member, target: &Target, made: &mut Receiver<()>, pause: Duration) -> bool {
    if target.runs {
        return member.under_way().wait(made, pause).await;
    }
    tokio::time::sleep(pause).await;
    false
}

enum End {
    /// The server ended it, or the member is out of contact: the next one goes on where this one was.
    Clean,
    /// Nothing came, not even a bookmark.
    Silent,
}

/// Seconds.
fn earlier(member: &Member, target: &Target) -> u32 {
    let hash = hash_of(&(member.name(), target.what));
    u32::try_from(hash % WATCH_SPREAD).unwrap_or_default()
}

/// Begins a watch from a version on; none: with what is there.
pub(super) async fn open(
    member: &Member,
    target: &Target,
    operation: &Operation,
    version: Option<&str>,
) -> Result<Lines, CallError> {
    let parameters = WatchParams {
        label_selector: target.selector.clone(),
        timeout: Some(WATCH_SECONDS - earlier(member, target)),
        bookmarks: true,
        send_initial_events: version.is_none(),
        ..WatchParams::default()
    };
    // An empty one asks for nothing older than this moment, where 0 is content with whatever is at hand.
    let version = version.unwrap_or_default();
    let request = Request::new(target.path.as_str());
    let request =
        if target.bare { request.watch_metadata(&parameters, version) } else { request.watch(&parameters, version) };
    let mut request = member.made(operation, request)?;
    // Kubernetes from 1.37 on compresses each event of a watch for itself, of which the client reads the first one only.
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(Lines::new(member.call(operation, member.client().request_stream(request)).await?))
}

/// One watch, until it ends or falls silent: one that is open, or one from this version on.
async fn watch<S: Sink>(
    member: &Member,
    target: &Target,
    (version, opened): (&mut String, Option<Lines>),
    sink: &mut S,
) -> Result<End, CallError> {
    let operation = Operation::new("watch", target.what);
    let mut events = match opened {
        Some(lines) => lines,
        None => Box::pin(open(member, target, &operation, Some(version))).await?,
    };
    sink.live();
    let mut held = 0;
    loop {
        // While more is there to be read, deletions are collected.
        let ready = events.next::<S::Object>().now_or_never();
        if ready.is_none() || held >= BATCH_MAX {
            sink.settle().await?;
            held = 0;
        }
        let next = if let Some(next) = ready {
            next
        } else {
            tokio::select! {
                next = tokio::time::timeout(SILENCE_MAX, events.next()) => match next {
                    Ok(next) => next,
                    Err(_) => return Ok(End::Silent),
                },
                () = until_down(member) => return Ok(End::Clean),
            }
        };
        let Some(event) = next else { return sink.settle().await.map(|()| End::Clean) };
        let event = event.map_err(|error| {
            count_too_long(member, &error);
            CallError::of_kube(member.name(), &operation, &error)
        })?;
        if let WatchEvent::Error(status) = event {
            return Err(CallError::new(member.name(), &operation, classify_status(&status), &status.message));
        }
        held += usize::from(matches!(event, WatchEvent::Deleted(_)));
        // Between events, which is nearly always, no room is kept for one.
        Box::pin(take(event, version, sink)).await;
    }
}

async fn take<S: Sink>(event: WatchEvent<S::Object>, version: &mut String, sink: &mut S) {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            *version = object.meta().resource_version.to_string();
            sink.apply(object).await;
        }
        WatchEvent::Deleted(object) => {
            *version = object.meta().resource_version.to_string();
            sink.delete(object);
        }
        WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
        WatchEvent::Error(_) => {}
    }
}

/// Pauses that double.
#[derive(Default)]
pub(super) struct Pause {
    last: Option<Duration>,
}

impl Pause {
    fn reset(&mut self) {
        self.last = None;
    }

    pub(super) fn next(&mut self) -> Duration {
        let next = self.last.map_or(PAUSE_MIN, |last| (last * 2).min(PAUSE_MAX));
        *self.last.insert(next)
    }

    fn after(&mut self, error: &CallError) -> Duration {
        match error.class {
            Class::Forbidden { .. } | Class::NotFound | Class::NotServed => PAUSE_REFUSED,
            _ => self.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use http::{Request as Asked, Response};
    use http_body_util::combinators::UnsyncBoxBody;
    use http_body_util::{BodyExt, Empty, Full, StreamBody};
    use hyper::body::Frame;
    use kube::Client;
    use kube::client::Body;

    use super::*;
    use crate::member::contact::Part;
    use crate::member::wire::Bare;
    use crate::names::ObjectName;

    type Answer = UnsyncBoxBody<Bytes, std::convert::Infallible>;

    /// Counts what comes to it, and lists nothing.
    struct Nothing;

    impl Sink for Nothing {
        type Object = Bare;
        fn begin(&mut self) {}
        async fn apply(&mut self, _: Bare) {}
        fn delete(&mut self, _: Bare) {}
        async fn complete(&mut self) -> Result<(), CallError> {
            Ok(())
        }
        async fn settle(&mut self) -> Result<(), CallError> {
            Ok(())
        }
        fn live(&mut self) {}
        async fn failed(&mut self, _: &CallError) {}
    }

    /// How many lists a server of such watches is asked for within `time`; with a Job, Jobs that are under way.
    async fn lists_within(time: Duration, watch: fn() -> Answer, job: Option<&ObjectName>) -> usize {
        let lists = Arc::new(AtomicUsize::new(0));
        let count = lists.clone();
        let service = tower::service_fn(move |asked: Asked<Body>| {
            let is_watch = asked.uri().query().is_some_and(|query| query.contains("watch=true"));
            let list = r#"{"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": []}"#;
            let body = if is_watch { watch() } else { Full::from(list).boxed_unsync() };
            count.fetch_add((!is_watch).into(), Ordering::SeqCst);
            async move { Ok::<_, std::convert::Infallible>(Response::new(body)) }
        });
        let member = Member::new("eu".into(), 1, Client::new(service, "default"), Arc::default());
        let path = "/api/v1/pods".to_owned();
        let target = Target { what: "Pods", path, bare: true, runs: job.is_some(), ..Target::default() };
        if let Some(job) = job {
            member.under_way().saw(Part::Jobs, job, true);
        }
        let pages = Arc::new(Semaphore::new(PAGES_AT_ONCE));
        let _ = tokio::time::timeout(time, run(&member, &target, &pages, &mut Nothing)).await;
        lists.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_falls_silent_is_followed_by_a_list() {
        let silent = || StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, _>>()).boxed_unsync();
        assert_eq!(lists_within(SILENCE_MAX.mul_f64(0.9), silent, None).await, 1);
        assert_eq!(lists_within(SILENCE_MAX.mul_f64(3.9), silent, None).await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn where_watches_end_at_once_lists_tell_what_is_there_once_a_minute() {
        let ends = || Empty::new().boxed_unsync();
        let lists = lists_within(Duration::from_mins(30), ends, None).await;
        assert!((25..=31).contains(&lists), "{lists} lists in half an hour");
        let job = ObjectName::new("volsync-system", "claim");
        let lists = lists_within(Duration::from_mins(1), ends, Some(&job)).await;
        assert!((12..=16).contains(&lists), "{lists} lists in the minute of a Job");
        let silent = || StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, _>>()).boxed_unsync();
        assert_eq!(lists_within(Duration::from_mins(1), silent, Some(&job)).await, 1, "a good watch tells by itself");
    }
}

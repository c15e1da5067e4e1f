//! Lists that come as the first events of a watch, from API servers that have them (`WatchList`: on by default in
//! Kubernetes 1.32 and from 1.34 on): one request where a list and a watch are two, and nothing of it is held whole on
//! either side. Nothing tells whether a server has them but trying, and not each proxy lets them through: where one is
//! refused or breaks off, lists come page by page from then on, as long as the client lives.

use std::sync::Arc;
use std::time::Duration;

use kube::core::WatchEvent;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::call::{CallError, Class, Member, Operation};
use super::lines::Lines;
use super::watch::{self, LIST_MAX, PAGE_SIZE, Sink, Target};
use super::wire::Object;

/// Marks the bookmark behind what was there at the beginning.
const END_MARK: &str = "k8s.io/initial-events-end";
/// The first watch of a client finds out for all; the others list page by page where that takes longer.
const TRIAL_MAX: Duration = Duration::from_secs(2);
/// A server that has them does not pause so long before the end mark; one that never heard of them says nothing more
/// after the last object.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// As many objects as a page has, in as much time as a page has.
const PART_MAX: Duration = Duration::from_mins(1);
/// Who pauses for longer leaves the turn to read to other members.
const TURN_PAUSE: Duration = Duration::from_millis(500);
/// Of events that are in memory at once, beyond the last of them.
const PART_BYTES: usize = 4 << 20;

/// Whether a client's API server has them.
#[derive(Default)]
pub struct Streaming(Mutex<State>);

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Unknown,
    Has,
    HasNone,
    /// It did not answer. Tried again once a list has come through: else watches alone could keep lists from being tried.
    NoAnswer,
}

impl Streaming {
    async fn give_up(&self) {
        *self.0.lock().await = State::HasNone;
    }

    /// A list came page by page.
    pub(super) async fn listed(&self) {
        let mut state = self.0.lock().await;
        if matches!(*state, State::NoAnswer) {
            *state = State::Unknown;
        }
    }
}

/// The version of what was there, and the watch that goes on from it. None: this is to be listed page by page.
pub(super) async fn list<S: Sink>(
    member: &Member,
    target: &Target,
    pages: &Arc<Semaphore>,
    sink: &mut S,
) -> Result<Option<(String, Lines)>, CallError> {
    let Some((own, mut lines)) = open(member, target).await? else { return Ok(None) };
    sink.begin();
    let whole = initial(member, target, (own, pages), &mut lines, sink).await;
    if !matches!(whole, Ok(Some(_))) {
        member.streaming().give_up().await;
    }
    let Some(version) = whole? else { return Ok(None) };
    sink.complete().await?;
    Ok(Some((version, lines)))
}

async fn open(member: &Member, target: &Target) -> Result<Option<(OwnedSemaphorePermit, Lines)>, CallError> {
    let operation = Operation::new("watch", target.what);
    let own = member.own_page(&operation).await?;
    let Ok(mut state) = tokio::time::timeout(TRIAL_MAX, member.streaming().0.lock()).await else { return Ok(None) };
    let opening = watch::open(member, target, &operation, None);
    let opened = match *state {
        State::HasNone | State::NoAnswer => return Ok(None),
        State::Has => {
            drop(state);
            let opened = opening.await;
            state = member.streaming().0.lock().await;
            opened
        }
        State::Unknown => opening.await,
    };
    match opened {
        Ok(lines) => {
            *state = State::Has;
            Ok(Some((own, lines)))
        }
        Err(error) => {
            tracing::debug!(member = %member.name(), %error, "this is listed page by page");
            *state = match error.class {
                // Of the credentials, a missing right or kind a list tells as well.
                Class::Unauthorized | Class::Forbidden { .. } | Class::NotServed => *state,
                Class::Unreachable => State::NoAnswer,
                _ => State::HasNone,
            };
            Ok(None)
        }
    }
}

/// Takes in what is there at the beginning, as many objects at a time as a page has, under the same bounds. None: the
/// watch is no list.
async fn initial<S: Sink>(
    member: &Member,
    target: &Target,
    (_own, pages): (OwnedSemaphorePermit, &Arc<Semaphore>),
    lines: &mut Lines,
    sink: &mut S,
) -> Result<Option<String>, CallError> {
    let operation = Operation::list(target.what);
    // The server's time, not that in which the hub was busy.
    let (mut count, mut of_page, mut spent) = (0, 0, Duration::ZERO);
    loop {
        let (mut part, mut quiet) = (Vec::new(), Duration::ZERO);
        let (read, _shared) = loop {
            let began = Instant::now();
            let waited = tokio::time::timeout(PAUSE_MAX.saturating_sub(quiet), lines.wait()).await;
            quiet += began.elapsed();
            if waited.is_err() || spent + quiet > PART_MAX {
                return Ok(None);
            }
            let shared = member.permit(&operation, pages).await?;
            let began = Instant::now();
            let read = member.call(&operation, read(member, lines, &mut part)).await?;
            quiet += began.elapsed();
            if !part.is_empty() || !matches!(read, Read::Part) {
                break (read, shared);
            }
        };
        spent += quiet;
        count += part.len();
        of_page += part.len();
        for change in part {
            match change {
                Change::Is(object) => sink.apply(object).await,
                Change::Gone(object) => sink.delete(object),
            }
        }
        if of_page >= PAGE_SIZE as usize {
            (of_page, spent) = (0, Duration::ZERO);
        }
        match read {
            Read::Part if count >= LIST_MAX => return Err(watch::endless(member, &operation)),
            Read::Part => {}
            Read::Whole(version) => return Ok(Some(version)),
            Read::NoList => return Ok(None),
        }
    }
}

enum Change<T> {
    Is(T),
    Gone(T),
}

enum Read {
    Part,
    /// With the version to go on from.
    Whole(String),
    NoList,
}

async fn read<T: Object>(member: &Member, lines: &mut Lines, part: &mut Vec<Change<T>>) -> Result<Read, kube::Error> {
    let began = lines.bytes();
    while part.len() < PAGE_SIZE as usize && lines.bytes() - began < PART_BYTES {
        let Ok(next) = tokio::time::timeout(TURN_PAUSE, lines.next::<T>()).await else { return Ok(Read::Part) };
        let Some(event) = next else { return Ok(Read::NoList) };
        match event.inspect_err(|error| watch::count_too_long(member, error))? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => part.push(Change::Is(object)),
            WatchEvent::Deleted(object) => part.push(Change::Gone(object)),
            WatchEvent::Bookmark(mark) => {
                let marked = mark.metadata.annotations.contains_key(END_MARK);
                let version = mark.metadata.resource_version;
                return Ok(if marked && !version.is_empty() { Read::Whole(version) } else { Read::NoList });
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(Read::Part)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::convert::Infallible;
    use std::mem;
    use std::sync::Mutex;

    use bytes::Bytes;
    use futures::{StreamExt, stream};
    use http::{Request, Response, StatusCode};
    use http_body_util::combinators::UnsyncBoxBody;
    use http_body_util::{BodyExt, Full, StreamBody};
    use hyper::body::Frame;
    use kube::Client;
    use kube::client::Body;

    use super::*;
    use crate::member::watch::PAGES_AT_ONCE;
    use crate::member::wire::Bare;

    type Answer = UnsyncBoxBody<Bytes, Infallible>;

    const SILENCE: &str = "…";
    const PAUSE: &str = "…15 s";

    /// What is there, as far as was told.
    #[derive(Default)]
    struct Told {
        listed: BTreeSet<String>,
        present: BTreeSet<String>,
        deleted: Vec<String>,
        failed: usize,
    }

    impl Sink for Told {
        type Object = Bare;
        fn begin(&mut self) {
            self.listed.clear();
        }
        async fn apply(&mut self, object: Bare) {
            self.listed.insert(object.metadata.name.to_string());
        }
        fn delete(&mut self, object: Bare) {
            self.deleted.push(object.metadata.name.to_string());
        }
        async fn complete(&mut self) -> Result<(), CallError> {
            self.present = mem::take(&mut self.listed);
            Ok(())
        }
        async fn settle(&mut self) -> Result<(), CallError> {
            self.present.append(&mut self.listed);
            for name in mem::take(&mut self.deleted) {
                self.present.remove(&name);
            }
            Ok(())
        }
        fn live(&mut self) {}
        async fn failed(&mut self, _: &CallError) {
            self.failed += 1;
        }
    }

    fn event(kind: &str, name: &str) -> String {
        format!(
            "{{\"type\": \"{kind}\", \"object\": {{\"metadata\": {{\"name\": \"{name}\", \"resourceVersion\": \"7\"}}}}}}\n"
        )
    }

    fn bookmark(annotations: &str) -> String {
        format!(
            "{{\"type\": \"BOOKMARK\", \"object\": {{\"kind\": \"Pod\", \"apiVersion\": \"v1\", \
             \"metadata\": {{\"resourceVersion\": \"8\", \"annotations\": {{{annotations}}}}}}}}}\n"
        )
    }

    fn end_mark() -> String {
        bookmark("\"k8s.io/initial-events-end\": \"true\"")
    }

    /// These lines; a `PAUSE` takes fifteen seconds, and behind `SILENCE` the answer does not end.
    fn answer(lines: &[String]) -> Answer {
        let lines = stream::iter(lines.to_owned()).then(async |line| match line.as_str() {
            SILENCE => std::future::pending().await,
            PAUSE => {
                tokio::time::sleep(Duration::from_secs(15)).await;
                Ok(Frame::data(Bytes::new()))
            }
            _ => Ok(Frame::data(line.into())),
        });
        StreamBody::new(lines).boxed_unsync()
    }

    /// A server that answers streamed lists like this; it has `a` and `c` in lists. And the requests that it got, as
    /// `list`, `stream` and the version for watches.
    fn server(status: u16, lines: Vec<String>) -> (Member, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let requests = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let (what, status, body) = if query.contains("sendInitialEvents=true") {
                ("stream".to_owned(), status, answer(&lines))
            } else if query.contains("watch=true") {
                let version = query.rsplit("resourceVersion=").next().unwrap_or_default().to_owned();
                (version, 200, answer(&[SILENCE.to_owned()]))
            } else {
                let list = r#"{"kind": "PodList", "metadata": {"resourceVersion": "5"},
                    "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "c"}}]}"#;
                ("list".to_owned(), 200, Full::from(list).boxed_unsync())
            };
            requests.lock().unwrap().push(what);
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            async move { Ok::<_, Infallible>(response) }
        });
        (Member::new("eu".into(), 1, Client::new(service, "default"), Arc::default()), asked)
    }

    /// Follows a kind for so long.
    async fn follow(member: &Member, time: Duration, told: &mut Told) {
        let target = Target { what: "Pods", path: "/api/v1/pods".to_owned(), bare: true, ..Target::default() };
        let pages = Arc::new(Semaphore::new(PAGES_AT_ONCE));
        let _ = tokio::time::timeout(time, watch::run(member, &target, &pages, told)).await;
        assert_eq!(pages.available_permits(), PAGES_AT_ONCE, "none is kept by a watch");
    }

    /// What was told and asked when the kind was followed twice, for so long each.
    async fn followed(time: Duration, status: u16, lines: Vec<String>) -> (Told, Vec<String>) {
        let (member, asked) = server(status, lines);
        let mut told = Told::default();
        for _ in 0..2 {
            follow(&member, time, &mut told).await;
        }
        let asked = asked.lock().unwrap().clone();
        (told, asked)
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_and_what_follows_comes_by_one_request() {
        let lines = [event("ADDED", "a"), event("ADDED", "b"), event("DELETED", "b"), end_mark(), event("ADDED", "d")];
        let lines = lines.into_iter().chain([SILENCE.to_owned()]).collect();
        let (told, asked) = followed(Duration::from_secs(100), 200, lines).await;
        assert_eq!(told.present, names(&["a", "d"]));
        assert_eq!((asked, told.failed), (vec!["stream".to_owned(); 2], 0), "one of each of two who follow");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_over_goes_on_from_the_end_mark() {
        let (told, asked) = followed(Duration::from_secs(3), 200, vec![event("ADDED", "a"), end_mark()]).await;
        assert_eq!(told.present, names(&["a"]));
        assert_eq!(asked, ["stream", "8", "stream", "8"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_has_none_is_asked_once() {
        let status = "{\"kind\": \"Status\", \"apiVersion\": \"v1\", \"status\": \"Failure\", \"code\": 422, \
            \"reason\": \"Invalid\", \"message\": \"sendInitialEvents is forbidden for watch\"}";
        let (told, asked) = followed(Duration::from_secs(100), 422, vec![status.to_owned()]).await;
        assert_eq!((told.present, told.failed), (names(&["a", "c"]), 0));
        assert_eq!(asked, ["stream", "list", "5", "list", "5"]);

        // Also where all kinds begin together.
        let (member, asked) = server(422, vec![status.to_owned()]);
        let (mut one, mut other) = (Told::default(), Told::default());
        let time = Duration::from_secs(100);
        tokio::join!(follow(&member, time, &mut one), follow(&member, time, &mut other));
        let asked = asked.lock().unwrap().clone();
        assert_eq!(asked.iter().filter(|it| *it == "stream").count(), 1, "{asked:?}");
        assert_eq!((one.present, other.present), (names(&["a", "c"]), names(&["a", "c"])));
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_before_its_mark_or_has_none_is_no_list() {
        let cases = [
            vec![event("ADDED", "a")],
            vec![event("ADDED", "a"), SILENCE.to_owned()],
            vec![event("ADDED", "a"), bookmark(""), SILENCE.to_owned()],
            vec![event("ADDED", "a"), event("ADDED", "b")[..20].to_owned()],
            vec![end_mark().replace('8', "")],
            vec![],
        ];
        for lines in cases {
            let shown = format!("{lines:?}");
            let (told, asked) = followed(Duration::from_secs(100), 200, lines).await;
            assert_eq!((told.present, told.failed), (names(&["a", "c"]), 0), "{shown}");
            assert_eq!(asked, ["stream", "list", "5", "list", "5"], "{shown}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_drop_by_drop_is_given_up_as_a_page_is() {
        let slow = (0..20).flat_map(|number| [event("ADDED", &format!("n{number}")), PAUSE.to_owned()]);
        let (told, asked) = followed(Duration::from_secs(100), 200, slow.chain([end_mark()]).collect()).await;
        assert_eq!(told.present, names(&["a", "c"]));
        assert_eq!(asked, ["stream", "list", "5", "list", "5"]);
        // A pause is none.
        let lines = [event("ADDED", "a"), PAUSE.to_owned(), event("ADDED", "b"), end_mark(), SILENCE.to_owned()];
        let (told, asked) = followed(Duration::from_secs(100), 200, lines.to_vec()).await;
        assert_eq!((told.present, asked), (names(&["a", "b"]), vec!["stream".to_owned(); 2]));
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_watches_get_no_answer_lists_still_come_through() {
        let (member, asked) = server(503, vec!["no".to_owned()]);
        let mut told = [(); 8].map(|()| Told::default());
        let time = Duration::from_secs(5);
        futures::future::join_all(told.iter_mut().map(|told| follow(&member, time, told))).await;
        assert!(told.iter().all(|told| told.present == names(&["a", "c"]) && told.failed == 0));
        let asked = asked.lock().unwrap();
        assert_eq!(asked.iter().filter(|it| *it == "list").count(), 8, "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_in_the_middle_is_told_and_then_listed() {
        let error = "{\"type\": \"ERROR\", \"object\": {\"kind\": \"Status\", \"code\": 500, \"message\": \"no\"}}\n";
        let lines = vec![event("ADDED", "a"), error.to_owned()];
        let (told, asked) = followed(Duration::from_secs(100), 200, lines).await;
        assert_eq!((told.present, told.failed), (names(&["a", "c"]), 1));
        assert_eq!(asked, ["stream", "list", "5", "list", "5"]);
    }

    #[tokio::test(start_paused = true)]
    async fn where_watches_are_forbidden_a_list_says_what_is_there() {
        let status = "{\"kind\": \"Status\", \"apiVersion\": \"v1\", \"status\": \"Failure\", \"code\": 403, \
            \"reason\": \"Forbidden\", \"message\": \"pods is forbidden\"}";
        let (told, asked) = followed(Duration::from_secs(10), 403, vec![status.to_owned()]).await;
        assert_eq!((told.present, told.failed), (names(&["a", "c"]), 0));
        assert_eq!(asked, ["stream", "list", "5", "stream", "list", "5"]);
    }
}

//! Keeps the logs of the containers and serves them as a kubelet does, so that `kubectl logs` works.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::harness::Fail;
use crate::harness::pki::Identity;

/// How soon a follower sees a new line.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Namespace, Pod, container.
type Key = (String, String, String);

/// The logs of all containers of one cluster.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<HashMap<Key, Log>>>);

/// The log of one container: a file in which each line begins with its time.
#[derive(Clone)]
pub struct Log {
    path: PathBuf,
    /// False for a file of plain lines that somebody else writes.
    timed: bool,
    ended: Arc<AtomicBool>,
}

impl Log {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), timed: true, ended: Arc::default() }
    }

    /// A file that another process writes.
    pub fn of_file(path: &Path) -> Self {
        Self { timed: false, ..Self::new(path) }
    }

    pub fn write(&self, line: &str) {
        if let Ok(mut file) = File::options().create(true).append(true).open(&self.path) {
            let _ = file.write_all(format!("{} {line}\n", Timestamp::now()).as_bytes());
        }
    }

    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// All lines without their times.
    pub fn text(&self) -> String {
        let lines = self.lines_after(0).0;
        lines.iter().fold(String::new(), |text, line| text + self.content(line) + "\n")
    }

    fn content<'a>(&self, line: &'a str) -> &'a str {
        if self.timed { line.split_once(' ').map_or(line, |(_, content)| content) } else { line }
    }

    /// The whole lines after a place in the file, and the place after them.
    fn lines_after(&self, start: usize) -> (Vec<String>, usize) {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        let new = bytes.get(start..).unwrap_or_default();
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = String::from_utf8_lossy(&new[..whole]).lines().map(str::to_owned).collect();
        (lines, start + whole)
    }

    fn is_since(&self, line: &str, since: Option<Timestamp>) -> bool {
        let time = line.split_once(' ').and_then(|(time, _)| time.parse::<Timestamp>().ok());
        !self.timed || since.is_none_or(|since| time.is_none_or(|time| time >= since))
    }
}

impl Logs {
    pub fn add(&self, key: Key, log: Log) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, log);
    }

    /// Serves until stopped; returns the port.
    pub async fn serve(&self, identity: &Identity, stop: CancellationToken) -> Result<u16, Fail> {
        let acceptor = TlsAcceptor::from(Arc::new(identity.server_config()?));
        let router = Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(answer));
        let router = router.with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    () = stop.cancelled() => return,
                    stream = listener.accept() => stream,
                };
                if let Ok((stream, _)) = stream {
                    tokio::spawn(converse(acceptor.clone(), stream, router.clone()));
                }
            }
        });
        Ok(port)
    }
}

async fn converse(acceptor: TlsAcceptor, stream: TcpStream, router: Router) {
    if let Ok(stream) = acceptor.accept(stream).await {
        let service = TowerToHyperService::new(router);
        let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    }
}

/// What `kubectl logs` may ask for; the API server hands it on.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wish {
    follow: bool,
    timestamps: bool,
    tail_lines: Option<usize>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
}

async fn answer(State(logs): State<Logs>, UrlPath(key): UrlPath<Key>, Query(wish): Query<Wish>) -> Response {
    let log = logs.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
    let Some(log) = log else {
        let (namespace, pod, container) = key;
        let message = format!("container \"{container}\" in pod \"{namespace}/{pod}\" is waiting to start");
        return (StatusCode::BAD_REQUEST, message).into_response();
    };
    let since = wish.since_time.or_else(|| {
        let seconds = wish.since_seconds?;
        Some(Timestamp::now() - jiff::SignedDuration::from_secs(seconds))
    });
    let (mut lines, end) = log.lines_after(0);
    lines.retain(|line| log.is_since(line, since));
    if let Some(tail) = wish.tail_lines {
        lines.drain(..lines.len().saturating_sub(tail));
    }
    let first = Bytes::from(shown(&log, &lines, wish.timestamps));
    if !wish.follow {
        return Body::from(first).into_response();
    }
    let rest = futures::stream::unfold((log, end), move |(log, at)| async move {
        let (lines, end) = next_lines(&log, at).await?;
        let text = Bytes::from(shown(&log, &lines, wish.timestamps));
        Some((Ok::<_, Infallible>(text), (log, end)))
    });
    let first = futures::stream::once(async { Ok(first) });
    Body::from_stream(futures::StreamExt::chain(first, rest)).into_response()
}

/// Waits for new lines; `None` once the container has ended and all is told.
async fn next_lines(log: &Log, at: usize) -> Option<(Vec<String>, usize)> {
    loop {
        let ended = log.ended.load(Ordering::Acquire);
        let (lines, end) = log.lines_after(at);
        if !lines.is_empty() {
            return Some((lines, end));
        }
        if ended {
            return None;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn shown(log: &Log, lines: &[String], timestamps: bool) -> String {
    lines.iter().fold(String::new(), |text, line| {
        let line = if timestamps { line } else { log.content(line) };
        text + line + "\n"
    })
}

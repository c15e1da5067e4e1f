//! The outermost layer of a client: no write passes a shut fence, a minimum gap between the starts of one watch, a bound
//! on what a server may send, and request counters.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body, Frame};
use kube::client::Body as KubeBody;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, ServiceExt};
use tracing::Instrument;

use super::lines::LINE_MAX;
use super::peer::Peer;
use super::request_span;

/// A server that ends every watch at once would otherwise be asked thousands of times a second.
const WATCH_GAP: Duration = Duration::from_secs(1);
/// A member has at most 8 watches; entries older than the gap are dropped when there are more.
const WATCHES_MAX: usize = 64;
/// A page of 250 objects of 100 KB, more than twice over.
const BODY_MAX: u64 = 64 << 20;
/// One watch event: whoever reads events gives one up sooner, and says so.
const EVENT_MAX: u64 = 2 * LINE_MAX as u64;

/// What was sent to one member and how it ended, since the client was made.
#[derive(Debug, Default)]
pub struct Counters {
    pub requests: AtomicU64,
    pub watches: AtomicU64,
    /// No response at all.
    pub failures: AtomicU64,
    pub client_errors: AtomicU64,
    pub server_errors: AtomicU64,
    pub bytes_received: AtomicU64,
    /// Answers, events and lists that were given up because they were larger than is taken.
    pub cut_off: AtomicU64,
    /// Of the member's cluster, once it was read: for traces.
    pub cluster_uid: OnceLock<Box<str>>,
}

#[derive(Clone)]
pub struct TransportLayer {
    counters: Arc<Counters>,
    watches: Arc<Gaps>,
    peer: Peer,
}

impl TransportLayer {
    pub fn new(counters: Arc<Counters>, peer: Peer) -> Self {
        Self { counters, watches: Arc::default(), peer }
    }
}

impl<S> Layer<S> for TransportLayer {
    type Service = Transport<S>;

    fn layer(&self, inner: S) -> Transport<S> {
        Transport { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub struct Transport<S> {
    inner: S,
    layer: TransportLayer,
}

impl<S, B> Service<Request<KubeBody>> for Transport<S>
where
    S: Service<Request<KubeBody>, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<Metered<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Readiness is awaited in the call, on a clone: waiting for the gap must not hold up other requests.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<KubeBody>) -> Self::Future {
        let (inner, TransportLayer { counters, watches, peer }) = (self.inner.clone(), self.layer.clone());
        let watch = watch_key(request.uri());
        let span = request_span::open(&mut request, &peer, counters.cluster_uid.get().map(|uid| &**uid));
        let within = span.clone();
        let answer = async move {
            let pass = if writes(&request) { Some(peer.fence.pass()?) } else { None };
            counters.requests.fetch_add(1, Ordering::Relaxed);
            if let Some(key) = watch {
                counters.watches.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep_until(watches.next_start(key)).await;
            }
            let result = match pass {
                Some(pass) => {
                    #[cfg(feature = "sim")]
                    let path = request.uri().path().to_owned();
                    let answer = pass.send(inner.oneshot(request)).await?;
                    #[cfg(feature = "sim")]
                    super::crash::written(&path);
                    answer
                }
                None => inner.oneshot(request).await,
            };
            let counter = match &result {
                Err(_) => Some(&counters.failures),
                Ok(response) if response.status().is_server_error() => Some(&counters.server_errors),
                Ok(response) if response.status().is_client_error() => Some(&counters.client_errors),
                Ok(_) => None,
            };
            if let Some(counter) = counter {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            if result.as_ref().is_ok_and(|response| response.status() == StatusCode::FORBIDDEN) {
                peer.forbidden.notify_one();
            }
            Ok(result?.map(|body| Metered { body, counters, watch: watch.is_some(), seen: 0 }))
        };
        // It ends with the head of the answer: a watch would keep it open for minutes.
        Box::pin(async move {
            let answer: Result<Self::Response, BoxError> = answer.instrument(within).await;
            match &answer {
                Ok(answer) => request_span::answered(&span, answer.status(), answer.headers()),
                Err(error) => request_span::failed(&span, error),
            }
            answer
        })
    }
}

/// Does it change anything? Asking for a right is a POST, and a dry run whatever it tries.
fn writes(request: &Request<KubeBody>) -> bool {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_dry_run = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "dryRun=All"));
    !is_read && !is_dry_run && !request.uri().path().starts_with("/apis/authorization.k8s.io/")
}

/// Tells one watch from another, whatever version it starts at; none for other requests.
fn watch_key(uri: &http::Uri) -> Option<u64> {
    let query = uri.query()?;
    let mut hash = DefaultHasher::new();
    uri.path().hash(&mut hash);
    let mut is_watch = false;
    for part in query.split('&') {
        is_watch |= matches!(part, "watch=true" | "watch=1");
        if !part.starts_with("resourceVersion=") {
            part.hash(&mut hash);
        }
    }
    is_watch.then(|| hash.finish())
}

#[derive(Default)]
struct Gaps {
    /// By watch: when the last one started or will start.
    starts: Mutex<HashMap<u64, Instant>>,
}

impl Gaps {
    fn next_start(&self, key: u64) -> Instant {
        let now = Instant::now();
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        if starts.len() >= WATCHES_MAX {
            starts.retain(|_, start| *start + WATCH_GAP > now);
        }
        let start = starts.get(&key).map_or(now, |last| (*last + WATCH_GAP).max(now));
        starts.insert(key, start);
        start
    }
}

/// Of more bytes than are taken.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is larger than {0} bytes, so it is not read")]
pub struct TooLarge(u64);

/// Ends a response that is larger than anything a sane API server sends.
pub struct Metered<B> {
    body: B,
    counters: Arc<Counters>,
    watch: bool,
    /// Bytes of this response, or of the watch event under way.
    seen: u64,
}

impl<B> Body for Metered<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other.map(|result| result.map_err(Into::into))),
        };
        if let Some(data) = frame.data_ref() {
            let size = data.len() as u64;
            self.counters.bytes_received.fetch_add(size, Ordering::Relaxed);
            let after_line = data.iter().rposition(|byte| *byte == b'\n').map(|end| (data.len() - end - 1) as u64);
            self.seen = match after_line {
                Some(rest) if self.watch => rest,
                _ => self.seen + size,
            };
            let limit = if self.watch { EVENT_MAX } else { BODY_MAX };
            if self.seen > limit {
                self.counters.cut_off.fetch_add(1, Ordering::Relaxed);
                return Poll::Ready(Some(Err(TooLarge(limit).into())));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::{BodyExt, Full};

    use crate::member::fence::Fence;

    fn peer(fence: Fence) -> Peer {
        Peer::new("eu", fence)
    }

    fn service(
        layer: &TransportLayer,
        body: &'static [u8],
    ) -> impl Service<Request<KubeBody>, Response = Response<Metered<Full<Bytes>>>, Error = BoxError, Future: Send>
    {
        layer.layer(tower::service_fn(move |_: Request<KubeBody>| async move {
            Ok::<_, BoxError>(Response::new(Full::new(Bytes::from_static(body))))
        }))
    }

    fn get(uri: &str) -> Request<KubeBody> {
        Request::get(uri).body(KubeBody::empty()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_ends_at_once_starts_again_after_the_gap_only() {
        let layer = TransportLayer::new(Arc::default(), peer(Fence::open()));
        let began = Instant::now();
        for version in 0..5 {
            let request = get(&format!("/api/v1/pods?watch=true&resourceVersion={version}"));
            service(&layer, b"").oneshot(request).await.unwrap();
        }
        assert_eq!(began.elapsed(), WATCH_GAP * 4);
        assert_eq!(layer.counters.watches.load(Ordering::Relaxed), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn other_watches_and_plain_requests_do_not_wait() {
        let layer = TransportLayer::new(Arc::default(), peer(Fence::open()));
        let began = Instant::now();
        for uri in ["/api/v1/pods?watch=true", "/api/v1/secrets?watch=true", "/api/v1/pods", "/api/v1/pods?limit=1"] {
            service(&layer, b"").oneshot(get(uri)).await.unwrap();
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn nothing_but_reads_passes_a_shut_fence() {
        let layer = TransportLayer::new(Arc::default(), peer(Fence::shut()));
        let send = async |method: Method, uri: &str| {
            let request = Request::builder().method(method).uri(uri).body(KubeBody::empty()).unwrap();
            service(&layer, b"").oneshot(request).await.map(|_| ())
        };
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let refused = send(method, "/api/v1/namespaces/a/secrets/b").await.unwrap_err();
            assert!(refused.is::<super::super::fence::NotLeading>());
        }
        send(Method::GET, "/api/v1/pods").await.unwrap();
        send(Method::PATCH, "/api/v1/namespaces/a/secrets/b?dryRun=All&force=true").await.unwrap();
        send(Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").await.unwrap();
        assert_eq!(layer.counters.requests.load(Ordering::Relaxed), 3, "what is refused is never sent");
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_off() {
        let layer = TransportLayer::new(Arc::default(), peer(Fence::open()));
        let response = service(&layer, b"{}").oneshot(get("/api/v1/pods")).await.unwrap();
        let mut body = response.into_body();
        body.seen = BODY_MAX - 1;
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn a_watch_may_last_as_long_as_its_events_are_small() {
        let layer = TransportLayer::new(Arc::default(), peer(Fence::open()));
        let response = service(&layer, b"{}\n{}\n").oneshot(get("/api/v1/pods?watch=1")).await.unwrap();
        let mut body = response.into_body();
        body.seen = EVENT_MAX - 1;
        assert!(body.collect().await.is_ok());
    }
}

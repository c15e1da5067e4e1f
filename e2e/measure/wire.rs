//! A bare client of one API server: kept-alive connections, bodies as they come, so many requests in flight, and the
//! rate that the hub keeps to where that is wanted. It reads no more of an answer than it is asked for.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, stream};
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use secrecy::ExposeSecret as _;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use crate::harness::Fail;

/// Requests under way at once, of one process.
pub const IN_FLIGHT: usize = 32;
/// What the hub allows itself in one member: so many a second, and as many at once after a pause.
pub const PER_SECOND: u32 = 100;

pub const JSON: &str = "application/json";
pub const MERGE: &str = "application/merge-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";

/// Cheap to clone: the same client.
#[derive(Clone)]
pub struct Wire {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: Arc<str>,
    token: Option<HeaderValue>,
    gate: Arc<Semaphore>,
    /// When the next request would go out if none were saved up.
    rate: Option<Arc<Mutex<Option<Instant>>>>,
    sent: Arc<AtomicUsize>,
}

/// Lines of a watch.
pub type Lines = Pin<Box<dyn Stream<Item = Result<Bytes, Fail>> + Send>>;

impl Wire {
    /// `gate` bounds what is in flight together with others; `limited` keeps to the hub's rate.
    pub async fn new(kubeconfig: &Path, gate: Arc<Semaphore>, limited: bool) -> Result<Self, Fail> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.rustls_client_config()?)
            .https_only()
            .enable_http1()
            .enable_http2()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .http2_adaptive_window(true)
            .build(connector);
        let token = config.auth_info.token.as_ref();
        let token =
            token.map(|token| HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))).transpose()?;
        let base = config.cluster_url.to_string().trim_end_matches('/').into();
        let rate = limited.then(Arc::default);
        Ok(Self { client, base, token, gate, rate, sent: Arc::default() })
    }

    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    async fn open(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<Incoming, Fail> {
        let mut request = Request::builder().method(&method).uri(format!("{}{path}", self.base));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if kind.contains("as=") {
            request = request.header(header::ACCEPT, kind);
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        let response = self.client.request(request.body(Full::new(body))?).await?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let status = response.status();
        let said = response.into_body().collect().await?.to_bytes();
        Err(format!("{method} {path}: {status}: {}", String::from_utf8_lossy(&said)).into())
    }

    pub async fn send(&self, method: Method, path: &str, kind: &str, body: impl Into<Bytes>) -> Result<Bytes, Fail> {
        self.turn().await;
        let _permit = self.gate.acquire().await?;
        let answer = self.open(method, path, kind, body.into()).await?;
        Ok(answer.collect().await?.to_bytes())
    }

    pub async fn get(&self, path: &str) -> Result<Bytes, Fail> {
        self.send(Method::GET, path, JSON, Bytes::new()).await
    }

    /// As [`Self::get`], parsed.
    pub async fn value(&self, path: &str) -> Result<serde_json::Value, Fail> {
        Ok(serde_json::from_slice(&self.get(path).await?)?)
    }

    /// All objects of a collection, and the version from which a watch goes on.
    pub async fn list(&self, path: &str) -> Result<(Vec<serde_json::Value>, String), Fail> {
        let mut list = self.value(path).await?;
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        Ok((items, version))
    }

    /// What changes from a version on, again and again: API servers end watches that are slow for a moment. `path`
    /// may have a query.
    pub async fn watch(&self, path: &str, version: &str, kind: &'static str) -> Result<Lines, Fail> {
        let join = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{join}watch=true&timeoutSeconds=3000");
        let from =
            Watched { wire: self.clone(), path, kind, version: version.to_owned(), read: BytesMut::new(), body: None };
        let opened = from.opened().await?;
        Ok(Box::pin(stream::try_unfold(opened, |mut from| async move {
            loop {
                if let Some(end) = from.read.iter().position(|byte| *byte == b'\n') {
                    let line = from.read.split_to(end + 1).freeze();
                    if line.starts_with(br#"{"type":"ERROR""#) {
                        return Err(format!("{}: {}", from.path, String::from_utf8_lossy(&line)).into());
                    }
                    if let Some(version) = field(&line, "resourceVersion") {
                        version.clone_into(&mut from.version);
                    }
                    return Ok(Some((line, from)));
                }
                let frame = match &mut from.body {
                    Some(body) => body.frame().await,
                    None => None,
                };
                match frame {
                    Some(Ok(frame)) => from.read.extend_from_slice(&frame.into_data().unwrap_or_default()),
                    Some(Err(_)) | None => from = from.opened().await?,
                }
            }
        })))
    }

    /// As the hub's own limit: slots of 10 ms, of which a hundred may be saved up.
    async fn turn(&self) {
        let Some(rate) = &self.rate else { return };
        let step = Duration::from_secs(1) / PER_SECOND;
        let slot = {
            let mut next = rate.lock().await;
            let now = Instant::now();
            let saved = now.checked_sub(step * PER_SECOND).unwrap_or(now);
            let slot = next.unwrap_or(now).max(saved);
            *next = Some(slot + step);
            slot
        };
        tokio::time::sleep_until(slot).await;
    }
}

/// A watch, and where it goes on.
struct Watched {
    wire: Wire,
    path: String,
    kind: &'static str,
    version: String,
    read: BytesMut,
    body: Option<Incoming>,
}

impl Watched {
    async fn opened(mut self) -> Result<Self, Fail> {
        let path = format!("{}&resourceVersion={}", self.path, self.version);
        self.read.clear();
        self.body = Some(self.wire.open(Method::GET, &path, self.kind, Bytes::new()).await?);
        Ok(self)
    }
}

/// The first value of a text field in JSON as API servers write it, which is enough for names and versions.
pub fn field<'a>(json: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(json).ok()?;
    let key = format!("\"{name}\":\"");
    let start = text.find(&key)? + key.len();
    let length = text[start..].find('"')?;
    Some(&text[start..start + length])
}

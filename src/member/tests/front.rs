//! A server before a simulated cluster, as proxies and load balancers stand before real ones: it has a certificate, a
//! name and a path of its own, takes down what it is asked, and answers something else where a test says so.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, Version, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, service_fn};

use crate::sim::{SimCluster, pki};

type Body = UnsyncBoxBody<Bytes, BoxError>;
type Rule = Box<dyn Fn(&Asked) -> Answer + Send>;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// With the query.
    pub path: String,
    pub agent: String,
    pub version: Version,
}

impl Asked {
    pub fn is_watch(&self) -> bool {
        self.path.contains("watch=true")
    }

    /// A list of this plural in the whole cluster.
    pub fn lists(&self, plural: &str) -> bool {
        !self.is_watch() && self.path.contains(&format!("/{plural}?"))
    }
}

pub enum Answer {
    /// What the cluster says.
    Right,
    Say(u16, String),
    /// Half of what the cluster says, and then the connection's end.
    Half,
    /// What the cluster says, but a byte a second.
    Drip,
    Never,
}

pub struct Front {
    pub address: SocketAddr,
    authority: Arc<str>,
    shared: Arc<Shared>,
    _stop: tokio_util::sync::DropGuard,
}

struct Shared {
    cluster: kube::Client,
    prefix: String,
    asked: Mutex<Vec<Asked>>,
    rule: Mutex<Rule>,
    watches: Arc<AtomicUsize>,
    cut: tokio::sync::watch::Sender<()>,
}

impl Front {
    /// Its certificate is for `name`; it serves the cluster below `prefix`.
    pub async fn before(cluster: &SimCluster, name: &str, prefix: &str) -> Self {
        let identity = pki::identity(name, &[name]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            cluster: cluster.client().await.unwrap(),
            prefix: prefix.to_owned(),
            asked: Mutex::default(),
            rule: Mutex::new(Box::new(|_| Answer::Right)),
            watches: Arc::default(),
            cut: tokio::sync::watch::Sender::new(()),
        });
        let stop = CancellationToken::new();
        let acceptor = TlsAcceptor::from(identity.config);
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(listener, acceptor, shared.clone())));
        Self { address, authority: identity.authority, shared, _stop: stop.drop_guard() }
    }

    /// A kubeconfig for it, with these fields of the cluster beside the CA.
    pub fn kubeconfig(&self, cluster: &Value) -> String {
        use base64::Engine;
        let authority = base64::engine::general_purpose::STANDARD.encode(&*self.authority);
        let mut fields = json!({
            "server": format!("https://{}{}", self.address, self.shared.prefix),
            "certificate-authority-data": authority,
        });
        json_patch::merge(&mut fields, cluster);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": fields}],
            "users": [{"name": "it", "user": {"token": "any"}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        config.to_string()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// From now on every request is answered so. Connections are dropped, so that it counts for watches, too.
    pub fn answer(&self, rule: impl Fn(&Asked) -> Answer + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
        self.shared.cut.send_replace(());
    }

    /// Watches that are open now.
    pub fn watches(&self) -> usize {
        self.shared.watches.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, acceptor.clone(), shared.clone()));
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request| answer(shared.clone(), request));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().max_concurrent_streams(1000);
    tokio::select! {
        _ = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)) => {}
        _ = cut.changed() => {}
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    let asked = Asked {
        path: request.uri().path_and_query().unwrap().to_string(),
        agent: request.headers().get(header::USER_AGENT).map(|it| it.to_str().unwrap().to_owned()).unwrap_or_default(),
        version: request.version(),
    };
    let answer = shared.rule.lock().unwrap()(&asked);
    shared.asked.lock().unwrap().push(asked.clone());
    let Some(path) = asked.path.strip_prefix(&shared.prefix) else { return Ok(say(404, "no such page".to_owned())) };
    match answer {
        Answer::Say(status, text) => return Ok(say(status, text)),
        Answer::Never => std::future::pending().await,
        Answer::Right | Answer::Half | Answer::Drip => {}
    }
    let response = forward(&shared.cluster, path, request).await?;
    let open = asked.is_watch().then(|| Open::new(&shared.watches));
    Ok(match answer {
        Answer::Half => {
            broken(response, |bytes| {
                let half = bytes.slice(..bytes.len() / 2);
                futures::stream::iter([Ok(half), Err("cut off".into())]).boxed()
            })
            .await
        }
        Answer::Drip => {
            broken(response, |bytes| {
                let drops = futures::stream::iter((0..bytes.len()).map(move |at| bytes.slice(at..=at)));
                drops
                    .then(|drop| async {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        Ok(drop)
                    })
                    .boxed()
            })
            .await
        }
        _ => response.map(|body| {
            body.map_frame(move |frame| {
                let _ = &open;
                frame
            })
            .boxed_unsync()
        }),
    })
}

async fn forward(client: &kube::Client, path: &str, request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut forwarded = Request::builder().method(parts.method).uri(path);
    for name in [header::ACCEPT, header::CONTENT_TYPE, header::USER_AGENT] {
        if let Some(value) = parts.headers.get(&name) {
            forwarded = forwarded.header(name, value);
        }
    }
    let response = client.send(forwarded.body(kube::client::Body::from(body.to_vec()))?).await?;
    let (parts, body) = response.into_parts();
    let mut response = Response::builder().status(parts.status);
    if let Some(kind) = parts.headers.get(header::CONTENT_TYPE) {
        response = response.header(header::CONTENT_TYPE, kind);
    }
    Ok(response.body(body.map_err(BoxError::from).boxed_unsync())?)
}

async fn broken(
    response: Response<Body>,
    how: impl FnOnce(Bytes) -> futures::stream::BoxStream<'static, Result<Bytes, BoxError>>,
) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = StreamBody::new(how(bytes).map(|it| it.map(Frame::data)));
    Response::from_parts(parts, body.boxed_unsync())
}

fn say(status: u16, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(BoxError::from).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}

/// Counted as long as it lives.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

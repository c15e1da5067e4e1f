//! One client for one cluster: a connector of our own (HTTP/2 where the server has it, proxies, bounded connecting),
//! with kube's layers for address, credentials and headers above it, and [`transport`](super::transport) on top.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderValue, Uri, header};
use hyper::rt::{Read, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use rustls::client::Resumption;
use tower::util::MapRequestLayer;
use tower::{BoxError, Service, ServiceBuilder};

use super::exec::{Authorization, ExecError, Renewal};
use super::kubeconfig::Credentials;
use super::peer::Peer;
use super::resolver::{GuardedResolver, Reach};
use super::transport::TransportLayer;

pub use super::transport::Counters;

/// TCP, proxy and TLS handshake together: three round trips on a slow line, with a lost packet or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections beyond this are closed. A connection on which watches are open is forgotten as well where nothing else
/// was asked for so long, and the next request makes another one: longer than between two signs of life.
const POOL_IDLE: Duration = Duration::from_secs(100);
const POOL_IDLE_MAX: usize = 2;
/// Bytes of one answer that may be on their way unread: of a member at the other end of the world, 2 MB come in a second.
const STREAM_WINDOW: u32 = 512 << 10;
/// Of all answers of a connection: as much as its watches, pages and calls may have together. With less, one that is not
/// read for a moment holds up all others, and a member that is well seems not to answer.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX;
/// Seven watches, four pages of lists, 32 calls, and room.
const STREAMS_MAX: u32 = 64;
/// A silent connection is found dead after 45 s, well before a watch's own time limit.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(15);
/// HTTP/1.1 has no pings of its own.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("volsync-hub/", env!("CARGO_PKG_VERSION"));

/// Why no client could be made. Holds no credential.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the TLS material or server address can't be used: {0}")]
    Tls(String),
    #[error("the credentials can't be used; check token, certificate and key, or the credential program")]
    Credentials,
    #[error(transparent)]
    Program(#[from] ExecError),
    #[error("proxy-url {0:?} can't be used: its scheme has to be http, https or socks5")]
    Proxy(String),
}

/// A client, and what its credentials need to stay good.
pub struct Made {
    pub client: Client,
    pub counters: Arc<Counters>,
    pub renewal: Option<Renewal>,
}

/// Makes the client of a member: runs the credential program first, where there is one.
pub async fn make(credentials: Credentials, peer: Peer) -> Result<Made, ConnectError> {
    let Credentials { mut config, reach, program, .. } = credentials;
    let mut renewal = None;
    if let Some(program) = program {
        let credential = program.run().await?;
        let value = credential.authorization().map_err(|_| ConnectError::Credentials)?;
        if let Some((certificate, key)) = &credential.certificate {
            let encode = |pem: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
            config.auth_info.client_certificate_data = Some(encode(certificate));
            config.auth_info.client_key_data = Some(encode(key).into());
        }
        let authorization: Option<Authorization> = value.map(|value| Arc::new(ArcSwap::from_pointee(value)));
        renewal = Some(Renewal { program, authorization, expires: credential.expires });
    }
    let authorization = renewal.as_ref().and_then(|renewal| renewal.authorization.clone());
    // Reads the system's certificates.
    let building = tokio::task::spawn_blocking(move || build_with(config, reach, Outer { peer, authorization }));
    let (client, counters) = building.await.map_err(|_| ConnectError::Credentials)??;
    Ok(Made { client, counters, renewal })
}

/// Makes a client. Runs a credential program where the configuration names one, so it may block: call it on a thread
/// that may. Needs a runtime. Dials nothing yet. Writes are sent only while the peer's fence is open.
pub fn build(config: Config, reach: Reach, peer: Peer) -> Result<(Client, Arc<Counters>), ConnectError> {
    build_with(config, reach, Outer { peer, authorization: None })
}

/// What lies above the connection.
struct Outer {
    peer: Peer,
    /// Of a credential program, renewed while the client lives.
    authorization: Option<Authorization>,
}

fn build_with(mut config: Config, reach: Reach, outer: Outer) -> Result<(Client, Arc<Counters>), ConnectError> {
    // The breaker decides about retries, and a second opinion would multiply them.
    config.default_retry = false;
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
    let mut http = HttpConnector::new_with_resolver(GuardedResolver::new(reach));
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(TCP_KEEP_ALIVE));
    let Some(proxy) = config.proxy_url.clone() else { return finish(&config, http, outer) };
    // A user part may hold a password, so it is not shown.
    let shown = || format!("{}://{}", proxy.scheme_str().unwrap_or_default(), proxy.host().unwrap_or_default());
    match proxy.scheme_str() {
        Some("http") => finish(&config, tunnel(&proxy, http), outer),
        Some("https") => {
            let tls = HttpsConnectorBuilder::new().with_tls_config(tls(&config)?).https_or_http().enable_http1();
            finish(&config, tunnel(&proxy, tls.wrap_connector(http)), outer)
        }
        Some("socks5") => match user_of(&proxy) {
            Some((user, password)) => finish(&config, SocksV5::new(proxy, http).with_auth(user, password), outer),
            None => finish(&config, SocksV5::new(proxy, http), outer),
        },
        _ => Err(ConnectError::Proxy(shown())),
    }
}

fn finish<C>(config: &Config, connector: C, outer: Outer) -> Result<(Client, Arc<Counters>), ConnectError>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    let connector = Bounded { inner: https(config, connector)? };
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_IDLE_MAX)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .build::<_, Body>(connector);
    let counters = Arc::new(Counters::default());
    let service = ServiceBuilder::new()
        .layer(TransportLayer::new(counters.clone(), outer.peer))
        .layer(config.base_uri_layer())
        .option_layer(outer.authorization.map(|authorization| {
            MapRequestLayer::new(move |mut request: http::Request<Body>| {
                request.headers_mut().insert(header::AUTHORIZATION, authorization.load().as_ref().clone());
                request
            })
        }))
        .option_layer(config.auth_layer().map_err(|_| ConnectError::Credentials)?)
        .layer(config.extra_headers_layer().map_err(|_| ConnectError::Credentials)?)
        .map_err(BoxError::from)
        .service(http);
    let client = ClientBuilder::new(service, config.default_namespace.clone()).build();
    Ok((client, counters))
}

fn tls(config: &Config) -> Result<rustls::ClientConfig, ConnectError> {
    // The text of an error about a credential program may hold what it printed.
    let mut tls = config.rustls_client_config().map_err(|error| match error {
        kube::Error::RustlsTls(error) => ConnectError::Tls(error.to_string()),
        _ => ConnectError::Credentials,
    })?;
    // Room for one server; by default there is room for 256, in each client.
    tls.resumption = Resumption::in_memory_sessions(1);
    Ok(tls)
}

fn https<C>(config: &Config, connector: C) -> Result<HttpsConnector<C>, ConnectError> {
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls(config)?).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into();
        let name =
            name.map_err(|_| ConnectError::Tls("tls-server-name is neither a name nor an address".to_owned()))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_http1().enable_http2().wrap_connector(connector))
}

fn tunnel<C>(proxy: &Uri, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.clone(), connector);
    let Some((user, password)) = user_of(proxy) else { return tunnel };
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{user}:{password}"));
    match HeaderValue::from_str(&format!("Basic {encoded}")) {
        Ok(header) => tunnel.with_auth(header),
        Err(_) => tunnel,
    }
}

/// User and password of a proxy address, percent-decoded.
fn user_of(proxy: &Uri) -> Option<(String, String)> {
    let (user, _) = proxy.authority()?.as_str().rsplit_once('@')?;
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    Some((percent_decoded(user), percent_decoded(password)))
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let hex = bytes.get(index + 1..index + 3).filter(|hex| byte == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let value = hex.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(value.unwrap_or(byte));
        index += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Bounds the whole of connecting; the connector's own limit ends with TCP.
#[derive(Clone)]
struct Bounded<C> {
    inner: C,
}

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(result) => result.map_err(Into::into),
                Err(_) => Err(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_proxys_user_is_percent_decoded() {
        let proxy: Uri = "http://me:pa%40ss%3Aword@proxy:3128".parse().unwrap();
        assert_eq!(user_of(&proxy), Some(("me".to_owned(), "pa@ss:word".to_owned())));
        assert_eq!(user_of(&"http://proxy:3128".parse().unwrap()), None);
        assert_eq!(percent_decoded("100%+A%4"), "100%+A%4");
    }
}

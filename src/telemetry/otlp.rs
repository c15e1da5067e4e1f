//! Sends spans to a collector by OTLP over HTTP or gRPC, as the `OTEL_*` variables say.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::{Key, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;
use tracing::{info, warn};

use super::{grpc, with_causes};

/// A collector that does not answer may not hold the exporter up for ever. Its own limit (`OTEL_EXPORTER_OTLP_TIMEOUT`)
/// counts attempts; this is for one.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What a collector answers is a few bytes.
const ANSWER_MAX: usize = 1 << 20;

/// What the variables ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    No,
    /// With the collector's address where the variables name none and the exporter's own default is another.
    Otlp(Protocol, Option<&'static str>),
}

/// How the collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Grpc,
}

/// Spans are sent where `OTEL_TRACES_EXPORTER=otlp`, or where it is unset and a collector is named. (The specification's
/// default, a collector on this machine, would be an error every few seconds in most Pods.)
pub fn wanted(variable: impl Fn(&str) -> Option<String>) -> Result<Wanted, String> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(Wanted::No);
    }
    let endpoint = || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
    match set("OTEL_TRACES_EXPORTER").as_deref().map(str::trim) {
        Some("none") => return Ok(Wanted::No),
        None if endpoint().is_none() => return Ok(Wanted::No),
        None | Some("otlp") => {}
        Some(other) => return Err(format!("OTEL_TRACES_EXPORTER={other} is not known here; set otlp or none")),
    }
    let protocol = set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"));
    match protocol.as_deref().map(str::trim) {
        None | Some("http/protobuf") => Ok(Wanted::Otlp(Protocol::Http, None)),
        Some("grpc") => match endpoint() {
            Some(address) if !address.contains("://") => Err(format!(
                "OTEL_EXPORTER_OTLP_ENDPOINT={address} does not say whether to use TLS; set http://{address} or \
                 https://{address}"
            )),
            address => Ok(Wanted::Otlp(Protocol::Grpc, address.is_none().then_some("http://localhost:4317"))),
        },
        Some(other) => Err(format!(
            "OTEL_EXPORTER_OTLP_PROTOCOL={other} is not spoken here; set http/protobuf (on most collectors port 4318) or \
             grpc (4317)"
        )),
    }
}

/// Needs a runtime: requests are made on it, whatever thread asks for them. `certificate` is the value of
/// `OTEL_EXPORTER_OTLP_CERTIFICATE`, a file of PEM certificates that a collector's own has to come from.
pub fn provider(
    protocol: Protocol,
    address: Option<&str>,
    certificate: Option<&str>,
) -> Result<SdkTracerProvider, String> {
    let (client, runtime) = (client(protocol, certificate)?, Handle::current());
    let client = Collector { client, protocol, runtime, failing: AtomicBool::new(false) };
    // The exporter's message is the same for both.
    let exporter = SpanExporter::builder().with_http().with_protocol(opentelemetry_otlp::Protocol::HttpBinary);
    let exporter = address.into_iter().fold(exporter, WithExportConfig::with_endpoint);
    let exporter = exporter
        .with_http_client(client)
        .build()
        .map_err(|error| format!("the OTEL_EXPORTER_OTLP_ variables can't be used: {error}"))?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build())
}

/// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, with our own name where they give none.
fn resource() -> Resource {
    let given = Resource::builder().build();
    let named = given
        .get(&Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let builder = Resource::builder().with_attribute(version);
    if named { builder.build() } else { builder.with_service_name("volsync-hub").build() }
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client(protocol: Protocol, certificate: Option<&str>) -> Result<Http, String> {
    let mut roots = RootCertStore::empty();
    match certificate {
        Some(file) => {
            let tried =
                |error: &dyn fmt::Display| format!("failed to read OTEL_EXPORTER_OTLP_CERTIFICATE {file}: {error}");
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| tried(&error))? {
                let added = roots.add(certificate.map_err(|error| tried(&error))?);
                added.map_err(|error| tried(&error))?;
            }
        }
        // Those that can't be read are no use to anybody; a collector that needs one is refused, with that reason.
        None => {
            let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    Ok(match protocol {
        Protocol::Http => Client::builder(TokioExecutor::new()).build(connector.enable_http1().build()),
        Protocol::Grpc => {
            Client::builder(TokioExecutor::new()).http2_only(true).build(connector.enable_http2().build())
        }
    })
}

/// The exporter runs on a thread of its own without a runtime, so requests are handed to ours.
struct Collector {
    client: Http,
    protocol: Protocol,
    runtime: Handle,
    /// One line says that it can't be reached, and one that it can again.
    failing: AtomicBool,
}

impl Collector {
    fn tell(&self, answer: Result<&Response<Bytes>, String>) {
        let trouble = match answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(error),
        };
        if self.failing.swap(trouble.is_some(), Ordering::Relaxed) != trouble.is_some() {
            if let Some(trouble) = trouble {
                warn!("the collector of traces does not take them; what is not sent is lost: {trouble}");
            } else {
                info!("the collector takes traces again");
            }
        }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, protocol) = (self.client.clone(), self.protocol);
        let request = if protocol == Protocol::Grpc { grpc::call(request)? } else { request };
        let sent = async move {
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await?;
            let trailers = body.trailers().cloned();
            let answer = Response::from_parts(head, body.to_bytes());
            Ok::<_, HttpError>(match protocol {
                Protocol::Http => answer,
                Protocol::Grpc => grpc::answer(answer, trailers.as_ref()),
            })
        };
        // A timer may be made on a runtime only, and this thread has none.
        let sent = self.runtime.spawn(async { tokio::time::timeout(TIMEOUT, sent).await });
        let sent = match sent.await? {
            Ok(sent) => sent,
            Err(elapsed) => Err(elapsed.into()),
        };
        self.tell(sent.as_ref().map_err(|error| with_causes(&**error)));
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Wanted, String> {
        wanted(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn spans_are_sent_where_a_collector_is_named() {
        const HTTP: Result<Wanted, String> = Ok(Wanted::Otlp(Protocol::Http, None));
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(with(&[]), Ok(Wanted::No));
        assert_eq!(with(&[ENDPOINT]), HTTP);
        assert_eq!(with(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces")]), HTTP);
        assert_eq!(with(&[("OTEL_TRACES_EXPORTER", "otlp")]), HTTP);
        assert_eq!(with(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(Wanted::No));
        assert_eq!(with(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(Wanted::No));
        assert_eq!(with(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]), HTTP);
        assert_eq!(with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(Wanted::No), "empty is unset");
    }

    #[tokio::test]
    async fn spans_leave_a_thread_that_has_no_runtime() {
        let client = client(Protocol::Http, None).unwrap();
        let collector =
            Collector { client, protocol: Protocol::Http, runtime: Handle::current(), failing: AtomicBool::new(false) };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(async || "taken")).await });
        let request = Request::post(address).body(Bytes::new()).unwrap();
        let thread = std::thread::spawn(move || futures::executor::block_on(collector.send_bytes(request)));
        let answer = tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap().unwrap();
        assert_eq!(&answer.body()[..], b"taken");
    }

    #[test]
    fn what_is_not_spoken_is_refused_with_what_is() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let refused = with(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]).unwrap_err();
        assert!(refused.contains("http/protobuf"), "{refused}");
        let refused = with(&[("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err();
        assert!(refused.contains("otlp or none"), "{refused}");
    }

    #[test]
    fn grpc_has_a_port_of_its_own_and_needs_a_word_about_tls() {
        const GRPC: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let named = with(&[GRPC, ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317")]);
        assert_eq!(named, Ok(Wanted::Otlp(Protocol::Grpc, None)));
        let unnamed = with(&[GRPC, ("OTEL_TRACES_EXPORTER", "otlp")]);
        assert_eq!(unnamed, Ok(Wanted::Otlp(Protocol::Grpc, Some("http://localhost:4317"))));
        let refused = with(&[GRPC, ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")]).unwrap_err();
        assert!(refused.contains("set http://collector:4317 or https://collector:4317"), "{refused}");
    }
}

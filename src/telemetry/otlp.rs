//! Sends spans to a collector by OTLP over HTTP, as the `OTEL_*` variables say.

use std::fmt;
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
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

/// A collector that does not answer may not hold the exporter up for ever. Its own limit (`OTEL_EXPORTER_OTLP_TIMEOUT`)
/// counts attempts; this is for one.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What a collector answers is a few bytes.
const ANSWER_MAX: usize = 1 << 20;

/// What the variables ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    No,
    Otlp,
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
        None | Some("http/protobuf") => Ok(Wanted::Otlp),
        Some(other) => Err(format!(
            "OTEL_EXPORTER_OTLP_PROTOCOL={other} is not spoken here; set http/protobuf, on most collectors at port 4318"
        )),
    }
}

/// Needs a runtime: requests are made on it, whatever thread asks for them. `certificate` is the value of
/// `OTEL_EXPORTER_OTLP_CERTIFICATE`, a file of PEM certificates that a collector's own has to come from.
pub fn provider(certificate: Option<&str>) -> Result<SdkTracerProvider, String> {
    let client = Collector { client: client(certificate)?, runtime: Handle::current() };
    let exporter = SpanExporter::builder()
        .with_http()
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

fn client(certificate: Option<&str>) -> Result<Http, String> {
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
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// The exporter runs on a thread of its own without a runtime, so requests are handed to ours.
struct Collector {
    client: Http,
    runtime: Handle,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(tokio::time::timeout(TIMEOUT, async move {
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        }));
        sent.await??
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
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(with(&[]), Ok(Wanted::No));
        assert_eq!(with(&[ENDPOINT]), Ok(Wanted::Otlp));
        assert_eq!(
            with(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces")]),
            Ok(Wanted::Otlp)
        );
        assert_eq!(with(&[("OTEL_TRACES_EXPORTER", "otlp")]), Ok(Wanted::Otlp));
        assert_eq!(with(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(Wanted::No));
        assert_eq!(with(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(Wanted::No));
        assert_eq!(with(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]), Ok(Wanted::Otlp));
        assert_eq!(with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(Wanted::No), "empty is unset");
    }

    #[test]
    fn what_is_not_spoken_is_refused_with_what_is() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let refused = with(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err();
        assert!(refused.contains("http/protobuf"), "{refused}");
        let refused = with(&[("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err();
        assert!(refused.contains("otlp or none"), "{refused}");
    }
}

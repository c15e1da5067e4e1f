//! A collector of OpenTelemetry traces: OTLP over gRPC, which API servers speak, and over HTTP, on one port, with TLS or
//! without it. It keeps every span that it is sent.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span as WireSpan;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Fail;
use super::pki::Identity;

const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HTTP_PATH: &str = "/v1/traces";

/// A span as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// `service.name` of the process.
    pub service: String,
    /// How it was sent: `grpc` or `http`.
    pub protocol: &'static str,
    pub name: String,
    /// Ids in hexadecimal; the parent's is empty where there is none.
    pub trace: String,
    pub id: String,
    pub parent: String,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
    pub attributes: BTreeMap<String, String>,
}

impl Span {
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Is it linked to the other one?
    pub fn links_to(&self, other: &Self) -> bool {
        self.links.iter().any(|(trace, id)| *trace == other.trace && *id == other.id)
    }
}

/// A running collector. Dropping it ends it.
pub struct Collector {
    /// Plain, for API servers too: they export without TLS.
    pub port: u16,
    /// With TLS.
    pub tls_port: u16,
    spans: Arc<Spans>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Spans(Mutex<Vec<Span>>);

impl Collector {
    pub async fn start(identity: &Identity) -> Result<Self, Fail> {
        let (spans, stop) = (Arc::<Spans>::default(), CancellationToken::new());
        let port = serve(None, &spans, &stop).await?;
        let mut tls = identity.server_config()?;
        tls.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
        let tls_port = serve(Some(TlsAcceptor::from(Arc::new(tls))), &spans, &stop).await?;
        Ok(Self { port, tls_port, spans, stop })
    }

    /// Everything that came so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves on a free port until it is told to stop.
async fn serve(tls: Option<TlsAcceptor>, spans: &Arc<Spans>, stop: &CancellationToken) -> Result<u16, Fail> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let (spans, stop) = (spans.clone(), stop.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, spans) = (tls.clone(), spans.clone());
            tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
                match tls {
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            connection(stream, spans).await;
                        }
                    }
                    None => connection(stream, spans).await,
                }
            }));
        }
    }));
    Ok(port)
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, spans: Arc<Spans>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let spans = spans.clone();
        async move { Ok::<_, Infallible>(answer(request, &spans).await) }
    });
    // A client that goes away in the middle has nothing to be told.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, spans: &Spans) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else { return refused() };
    let encoded = |name: &str| head.headers.get(name).is_some_and(|it| it != "identity");
    let accepted = ExportTraceServiceResponse::default().encode_to_vec();
    match head.uri.path() {
        // Five bytes go before a message: whether it is compressed, and its length.
        GRPC_PATH if body.len() >= 5 => {
            let compressed = body[0] == 1 && encoded("grpc-encoding");
            if !spans.take(&body[5..], compressed, "grpc") {
                return refused();
            }
            let framed = Bytes::from([&[0; 5], &accepted[..]].concat());
            let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
            let body = Full::new(framed).with_trailers(std::future::ready(Some(Ok(trailers)))).boxed_unsync();
            let mut response = Response::new(body);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            response
        }
        HTTP_PATH if spans.take(&body, encoded(CONTENT_ENCODING.as_str()), "http") => {
            Response::new(Full::new(accepted.into()).boxed_unsync())
        }
        _ => refused(),
    }
}

fn refused() -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

impl Spans {
    /// Takes in one message; false where it can't be read. An empty one is none.
    fn take(&self, message: &[u8], compressed: bool, protocol: &'static str) -> bool {
        let mut unpacked = Vec::new();
        let message = if compressed {
            if std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(message), &mut unpacked).is_err() {
                return false;
            }
            &unpacked
        } else {
            message
        };
        let Ok(request) = ExportTraceServiceRequest::decode(message) else { return false };
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_process in request.resource_spans {
            let resource = of_process.resource.unwrap_or_default();
            let service = texts(&resource.attributes).remove("service.name").unwrap_or_default();
            let all = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(all.map(|span| read(&service, protocol, span)));
        }
        true
    }
}

fn read(service: &str, protocol: &'static str, span: WireSpan) -> Span {
    let links = span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect();
    // What a span says in events and in its status has to be as discreet as what it says in attributes.
    let mut attributes = texts(&span.attributes);
    if let Some(status) = &span.status {
        attributes.insert("status".into(), status.message.clone());
    }
    for (place, event) in span.events.iter().enumerate() {
        attributes.insert(format!("event {place}"), format!("{} {:?}", event.name, texts(&event.attributes)));
    }
    Span {
        service: service.to_owned(),
        protocol,
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links,
        attributes,
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|it| it.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(truth)) => truth.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    };
    attributes.iter().map(|it| (it.key.clone(), text(&it.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

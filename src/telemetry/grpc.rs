//! What OTLP over gRPC adds to OTLP over HTTP: both send the same message, and a gRPC call of one message and one answer
//! is an HTTP/2 request with five bytes before each and the outcome in the trailers.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri, Version};

const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// One byte says whether the message is compressed, four how long it is.
const HEAD_BYTES: usize = 5;

/// Turns a request of OTLP over HTTP into the call. The path of the endpoint says nothing here.
pub fn call(request: Request<Bytes>) -> Result<Request<Bytes>, String> {
    let (mut head, message) = request.into_parts();
    let mut parts = head.uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static(PATH));
    head.uri = Uri::from_parts(parts).map_err(|error| format!("the collector's address can't be used: {error}"))?;
    head.version = Version::HTTP_2;
    let encoding = head.headers.remove(CONTENT_ENCODING);
    let length = u32::try_from(message.len()).map_err(|_| "4 GiB of spans at once can't be sent".to_owned())?;
    let mut body = BytesMut::with_capacity(HEAD_BYTES + message.len());
    body.put_u8(u8::from(encoding.is_some()));
    body.put_u32(length);
    body.put(message);
    if let Some(encoding) = encoding {
        head.headers.insert("grpc-encoding", encoding);
    }
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.insert(TE, HeaderValue::from_static("trailers"));
    Ok(Request::from_parts(head, body.freeze()))
}

/// Turns the answer to the call into the one that OTLP over HTTP would have given, so that one exporter knows what to
/// try again. A failure before any message has its outcome among the headers.
pub fn answer(answer: Response<Bytes>, trailers: Option<&HeaderMap>) -> Response<Bytes> {
    let (mut head, body) = answer.into_parts();
    let of = |name: &str| trailers.and_then(|it| it.get(name)).or_else(|| head.headers.get(name)).cloned();
    let text = |name: &str| of(name).and_then(|value| value.to_str().ok().map(str::to_owned));
    // No outcome at all: this was a proxy's word, or that of a server which speaks no gRPC.
    let Some(code) = text("grpc-status") else {
        if head.status.is_success() {
            head.status = StatusCode::BAD_GATEWAY;
        }
        return Response::from_parts(head, body);
    };
    head.status = status(&code);
    let body = match code.as_str() {
        "0" => body.get(HEAD_BYTES..).map_or_else(Bytes::new, |message| body.slice_ref(message)),
        _ => text("grpc-message").unwrap_or_default().into(),
    };
    Response::from_parts(head, body)
}

/// Those that the specification of OTLP has a client try again become 503.
fn status(code: &str) -> StatusCode {
    match code {
        "0" => StatusCode::OK,
        // Cancelled, deadline exceeded, aborted, out of range, unavailable, data loss.
        "1" | "4" | "10" | "11" | "14" | "15" => StatusCode::SERVICE_UNAVAILABLE,
        "7" => StatusCode::FORBIDDEN,
        "12" => StatusCode::NOT_IMPLEMENTED,
        "16" => StatusCode::UNAUTHORIZED,
        _ => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(encoding: Option<&str>) -> Request<Bytes> {
        let request = Request::post("https://collector:4317/v1/traces").header("x-token", "t");
        let request = encoding.into_iter().fold(request, |it, encoding| it.header(CONTENT_ENCODING, encoding));
        request.body(Bytes::from_static(b"spans")).unwrap()
    }

    #[test]
    fn a_call_is_the_message_with_its_length_at_the_method_of_the_service() {
        let call = call(request(None)).unwrap();
        assert_eq!(call.uri(), &*format!("https://collector:4317{PATH}"));
        assert_eq!((call.version(), &call.headers()["x-token"]), (Version::HTTP_2, &HeaderValue::from_static("t")));
        assert_eq!(&call.headers()[CONTENT_TYPE], "application/grpc");
        assert_eq!(&call.headers()[TE], "trailers");
        assert_eq!(&call.body()[..], b"\0\0\0\0\x05spans");
    }

    #[test]
    fn a_compressed_message_is_marked_as_such() {
        let call = call(request(Some("gzip"))).unwrap();
        assert_eq!(call.body()[0], 1);
        assert_eq!(&call.headers()["grpc-encoding"], "gzip");
        assert!(!call.headers().contains_key(CONTENT_ENCODING));
    }

    #[test]
    fn the_outcome_is_in_the_trailers_or_else_in_the_headers() {
        let framed = || Response::new(Bytes::from_static(b"\0\0\0\0\x02ok"));
        let trailers =
            |code: &'static str| HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.parse().unwrap())]);
        let good = answer(framed(), Some(&trailers("0")));
        assert_eq!((good.status(), &good.body()[..]), (StatusCode::OK, &b"ok"[..]));
        let late = answer(framed(), Some(&trailers("14")));
        assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
        let mut refused = Response::new(Bytes::new());
        refused.headers_mut().extend(trailers("16"));
        refused.headers_mut().insert("grpc-message", "no token".parse().unwrap());
        let refused = answer(refused, None);
        assert_eq!((refused.status(), &refused.body()[..]), (StatusCode::UNAUTHORIZED, &b"no token"[..]));
    }

    #[test]
    fn an_answer_that_is_no_grpc_is_no_success() {
        assert_eq!(answer(Response::new(Bytes::new()), None).status(), StatusCode::BAD_GATEWAY);
        let missing = Response::builder().status(404).body(Bytes::new()).unwrap();
        assert_eq!(answer(missing, None).status(), StatusCode::NOT_FOUND);
    }
}

//! The span of one request to one API server, from sending it to the head of the answer.

use http::{HeaderMap, Request, StatusCode};
use kube::client::Body;
use tower::BoxError;
use tracing::Span;
use tracing::field::Empty;

use super::peer::Peer;
use crate::telemetry::trace;

/// What a path names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Target<'a> {
    group: &'a str,
    namespace: Option<&'a str>,
    resource: &'a str,
    name: Option<&'a str>,
    subresource: Option<&'a str>,
}

/// None: a path that names no resource, such as `/version`.
fn target(path: &str) -> Option<Target<'_>> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let group = match parts.next()? {
        "api" => "",
        "apis" => parts.next()?,
        _ => return None,
    };
    parts.next()?;
    let mut target = Target { group, resource: parts.next()?, ..Target::default() };
    target.name = parts.next();
    if target.resource == "namespaces"
        && let Some(resource) = parts.next()
    {
        // `namespaces/x/status` would be of a namespace itself; the hub asks for none of those.
        target = Target { namespace: target.name, resource, name: parts.next(), ..target };
    }
    target.subresource = parts.next();
    Some(target)
}

/// Opens the span of a request as a child of the current one, and gives the request its place in the trace.
/// `uid` is that of the cluster, where it is known.
pub fn open(request: &mut Request<Body>, peer: &Peer, uid: Option<&str>) -> Span {
    let method = request.method().as_str();
    let path = request.uri().path();
    let target = target(path).unwrap_or_default();
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let verb = if is_watch { "WATCH" } else { method };
    let what = if target.resource.is_empty() { path } else { target.resource };
    let slash = if target.subresource.is_some() { "/" } else { "" };
    let span = tracing::info_span!(
        target: trace::TARGET,
        "request",
        otel.name = format!("{verb} {what}{slash}{}", target.subresource.unwrap_or_default()),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = method,
        http.response.status_code = Empty,
        url.path = path,
        error.type = Empty,
        k8s.cluster.name = &*peer.name,
        k8s.cluster.uid = uid,
        k8s.namespace.name = target.namespace,
        k8s.resource.group = target.group,
        k8s.resource.name = target.name,
        k8s.audit_id = Empty,
    );
    trace::inject_headers(&span, request.headers_mut());
    span
}

/// The head of the answer is there.
pub fn answered(span: &Span, status: StatusCode, headers: &HeaderMap) {
    span.record("http.response.status_code", status.as_u16());
    if let Some(id) = headers.get("audit-id").and_then(|id| id.to_str().ok()) {
        span.record("k8s.audit_id", id);
    }
    if status.is_client_error() || status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "ERROR");
    }
}

/// There is no answer. The error's text stays out: a credential program may have a part in it.
pub fn failed(span: &Span, error: &BoxError) {
    let kind = if error.is::<super::fence::NotLeading>() { "not_leading" } else { "no_answer" };
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_what_is_asked_for() {
        let cron_job = Target {
            group: "batch",
            namespace: Some("a"),
            resource: "cronjobs",
            name: Some("b"),
            subresource: Some("status"),
        };
        assert_eq!(target("/apis/batch/v1/namespaces/a/cronjobs/b/status"), Some(cron_job));
        let pods = Target { namespace: Some("a"), resource: "pods", ..Target::default() };
        assert_eq!(target("/api/v1/namespaces/a/pods"), Some(pods));
        let namespace = Target { resource: "namespaces", name: Some("kube-system"), ..Target::default() };
        assert_eq!(target("/api/v1/namespaces/kube-system"), Some(namespace));
        let repositories = Target { group: "hub.volsync.backube", resource: "kopiarepositories", ..Target::default() };
        assert_eq!(target("/apis/hub.volsync.backube/v1alpha1/kopiarepositories"), Some(repositories));
        for none in ["/version", "/", "", "/api", "/apis/batch", "/apis/batch/v1"] {
            assert_eq!(target(none), None, "{none}");
        }
    }
}

//! Spans that leave the process: one trace from an observed change over the plan and the ledger to every request, and
//! from a run's end back to what pushed it.
//!
//! Spans hold names, ids and outcomes. No value of a Secret is ever near one.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of every span that leaves the process.
pub const TARGET: &str = "volsync_hub_trace";

/// `traceparent` of a span; none where no trace is kept of it.
pub fn traceparent(span: &Span) -> Option<String> {
    let mut headers = Headers(HeaderMap::new());
    inject(span, &mut headers);
    headers.0.get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Adds `traceparent` and `tracestate` to a request that is made within `span`.
pub fn inject_headers(span: &Span, headers: &mut HeaderMap) {
    let mut carrier = Headers(std::mem::take(headers));
    inject(span, &mut carrier);
    *headers = carrier.0;
}

fn inject(span: &Span, carrier: &mut Headers) {
    let context = span.context();
    if context.span().span_context().is_valid() {
        opentelemetry::global::get_text_map_propagator(|propagator| propagator.inject_context(&context, carrier));
    }
}

/// Where a span stands in its trace; none where no trace is kept of it.
pub fn context_of(span: &Span) -> Option<SpanContext> {
    let context = span.context().span().span_context().clone();
    context.is_valid().then_some(context)
}

/// What a `traceparent` names; none where it is none.
pub fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut headers = Headers(HeaderMap::new());
    headers.set("traceparent", traceparent.to_owned());
    let context = opentelemetry::global::get_text_map_propagator(|propagator| propagator.extract(&headers));
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}

/// Makes `span` go on where its cause was; links it to what else led to it.
pub fn follow(span: &Span, causes: &[SpanContext]) {
    if let Some((first, others)) = causes.split_first() {
        // A span that is not kept has no parent to set.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(first.clone()));
        for other in others {
            span.add_link(other.clone());
        }
    }
}

/// Links `span` to what a `traceparent` names.
pub fn link(span: &Span, traceparent: &str) {
    if let Some(context) = parse(traceparent) {
        span.add_link(context);
    }
}

struct Headers(HeaderMap);

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        // An empty tracestate says nothing.
        if value.is_empty() {
            return;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(key.as_bytes()), HeaderValue::from_str(&value)) {
            self.0.insert(name, value);
        }
    }
}

impl Extractor for Headers {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }
    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

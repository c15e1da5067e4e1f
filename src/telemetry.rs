//! Structured logs on standard error, as text for people or JSON for machines, and traces to a collector where one is
//! named. Every line that belongs to a trace names it.

pub mod format;
pub mod grpc;
pub mod otlp;
pub mod trace;

use std::error::Error;
use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use self::format::Traced;
use self::otlp::Wanted;

/// Spans that are still to be sent may take this long at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The error and its causes, each once.
pub fn with_causes(error: &dyn Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        source = cause.source();
    }
    parts.join(": ")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Hold it as long as the process works; it sends what is left when it is dropped.
#[must_use]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_TIMEOUT)
        {
            warn!(%error, "the last spans were not sent");
        }
    }
}

/// `filter` is a directive list such as `info,volsync_hub=debug`. Call it on a runtime.
///
/// The client library logs each failed request as an error of its own; every one of them comes back to us as a
/// value that says more, so that target is quiet unless it is named.
pub fn init(filter: &str, format: LogFormat) -> Result<Telemetry, String> {
    // Spans of traces are not for the log: its lines name the trace instead.
    let quiet = format!("kube_client::client::builder=off,{}=off", trace::TARGET);
    let filter = EnvFilter::try_new(format!("{quiet},{filter}")).map_err(|error| {
        format!("--log {filter:?} is not a filter: {error}; try `info` or `info,volsync_hub=debug`")
    })?;
    let (provider, refused) = match provider() {
        Ok(provider) => (provider, None),
        Err(error) => (None, Some(error)),
    };
    // Only what our own spans say leaves the process; libraries' spans may name what ours do not.
    let traces = provider.as_ref().map(|provider| {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("volsync-hub")).with_threads(false);
        layer.with_location(false).with_tracked_inactivity(false).with_filter(filter_fn(is_trace_span))
    });
    let ansi = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_span_events(FmtSpan::NONE);
    let lines = match format {
        LogFormat::Text => {
            let inner = tracing_subscriber::fmt::format().with_target(false).with_ansi(ansi);
            lines.with_ansi(ansi).event_format(Traced { inner, json: false }).with_filter(filter).boxed()
        }
        LogFormat::Json => {
            let inner = tracing_subscriber::fmt::format().json().flatten_event(true).with_current_span(false);
            let fields = tracing_subscriber::fmt::format::JsonFields::new();
            lines.fmt_fields(fields).event_format(Traced { inner, json: true }).with_filter(filter).boxed()
        }
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(traces)
        .try_init()
        .map_err(|error| format!("failed to start logging: {error}"))?;
    if let Some(error) = refused {
        warn!(error, "no traces are sent");
    }
    Ok(Telemetry(provider))
}

fn provider() -> Result<Option<SdkTracerProvider>, String> {
    match otlp::wanted(variable)? {
        Wanted::No => Ok(None),
        Wanted::Otlp(protocol, address) => {
            let certificate = variable("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE");
            let certificate = certificate.or_else(|| variable("OTEL_EXPORTER_OTLP_CERTIFICATE"));
            otlp::provider(protocol, address, certificate.as_deref()).map(Some)
        }
    }
}

/// Variables whose names the OpenTelemetry specification gives; the SDK reads others of them by itself.
fn variable(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the specification names variables, and options would be second names"
    )]
    std::env::var(name).ok()
}

/// Only what our own spans say leaves the process.
pub(crate) fn is_trace_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == trace::TARGET
}

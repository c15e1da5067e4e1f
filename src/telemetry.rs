//! Structured logs on standard error, as text for people or JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// `filter` is a directive list such as `info,volsync_hub=debug`.
///
/// The client library logs each failed request as an error of its own; every one of them comes back to us as a
/// value that says more, so that target is quiet unless it is named.
pub fn init(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("kube_client::client::builder=off,{filter}")).map_err(|error| {
        format!("--log {filter:?} is not a filter: {error}; try `info` or `info,volsync_hub=debug`")
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let done = match format {
        LogFormat::Text => {
            registry.with(layer.with_target(false).with_ansi(std::io::stderr().is_terminal())).try_init()
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_current_span(false)).try_init(),
    };
    done.map_err(|error| format!("failed to start logging: {error}"))
}

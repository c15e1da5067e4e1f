//! Log lines that name the trace they belong to.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Adds `trace_id` and `span_id` to what another format writes, in its manner.
pub struct Traced<F> {
    pub inner: F,
    pub json: bool,
}

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let ids = Context::current().span().span_context().clone();
        if !ids.is_valid() {
            return self.inner.format_event(ctx, writer, event);
        }
        let mut line = String::new();
        // Such a writer knows no colours: the inner format has to be told of them.
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        writer.write_str(&named(line.trim_end(), &ids.trace_id().to_string(), &ids.span_id().to_string(), self.json))
    }
}

fn named(line: &str, trace: &str, span: &str, json: bool) -> String {
    match line.strip_suffix('}').filter(|_| json) {
        Some(object) => format!("{object},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}\n"),
        None => format!("{line} trace_id={trace} span_id={span}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_added_in_the_manner_of_the_format() {
        assert_eq!(named("INFO applied", "a1", "b2", false), "INFO applied trace_id=a1 span_id=b2\n");
        assert_eq!(
            named("{\"level\":\"INFO\"}", "a1", "b2", true),
            "{\"level\":\"INFO\",\"trace_id\":\"a1\",\"span_id\":\"b2\"}\n"
        );
        assert_eq!(named("odd {x}", "a1", "b2", false), "odd {x} trace_id=a1 span_id=b2\n");
    }
}

//! One trace leads from a change to the requests that follow from it, and a run back to what pushed it.
#![allow(clippy::unwrap_used)]

use std::future::{Future, ready};
use std::sync::Arc;

use http::Request;
use kube::client::Body;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use super::*;
use crate::api::kopia_repository::RunStatus;
use crate::member::{Fence, Peer, request_span};
use crate::outcome::{Outcome, RunReport};

/// Keeps the spans that would be sent.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        self.0.lock().unwrap().extend(batch);
        ready(Ok(()))
    }
}

/// The spans that are sent of what is done here, in the order in which they ended.
fn spans(work: impl FnOnce()) -> Vec<SpanData> {
    // For the whole process, and the same for every test.
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
    // With the filter that the process has: it decides which changes are put into words at all.
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let layer = layer.with_filter(filter_fn(crate::telemetry::is_trace_span));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
    let spans = kept.0.lock().unwrap();
    spans.clone()
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> Vec<&'a SpanData> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn change(member: &str) -> Change {
    of_member(&MemberEvent::Registered { member: member.into(), origin: None }).unwrap()
}

#[test]
fn one_trace_leads_from_a_change_over_the_look_to_the_request_and_names_itself_there() {
    let id: RepositoryId = "0123456789abcdef".parse().unwrap();
    let other: RepositoryId = "fedcba9876543210".parse().unwrap();
    let mut request = Request::get("/apis/batch/v1/namespaces/volsync-system/cronjobs/a").body(Body::empty()).unwrap();
    let sent = spans(|| {
        let causes = Causes::default();
        causes.note(&change("eu"), &[id].into());
        causes.note(&change("us"), &[id, other].into());
        causes.look(id).in_scope(|| {
            let span = request_span::open(&mut request, &Peer::new("eu", Fence::open()), None);
            request_span::answered(&span, http::StatusCode::OK, &http::HeaderMap::new());
        });
        drop(causes.look(id));
    });
    let [first, second] = named(&sent, "observed registration")[..] else { unreachable!("{sent:#?}") };
    let [look, later] = named(&sent, "reconcile")[..] else { unreachable!("{sent:#?}") };
    let [asked] = named(&sent, "GET cronjobs")[..] else { unreachable!("{sent:#?}") };
    let trace = first.span_context.trace_id();
    assert_eq!((look.span_context.trace_id(), asked.span_context.trace_id()), (trace, trace));
    assert_eq!(look.parent_span_id, first.span_context.span_id());
    assert_eq!(asked.parent_span_id, look.span_context.span_id());
    let links: Vec<_> = look.links.iter().map(|link| &link.span_context).collect();
    assert_eq!(links, [&second.span_context], "the other cause is in a trace of its own");
    assert_ne!(second.span_context.trace_id(), trace);
    let traceparent = format!("00-{trace}-{}-01", asked.span_context.span_id());
    assert_eq!(request.headers()["traceparent"], traceparent.as_str());
    assert_ne!(later.span_context.trace_id(), trace, "a cause leads to one look");
    assert!(later.links.is_empty());
}

#[test]
fn a_run_that_ended_is_linked_to_what_pushed_it() {
    const PUSHED_BY: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let ended = |pushed_by: Option<&str>| EndedRun {
        recorded: false,
        job: None,
        report: RunReport::plain(Outcome::Succeeded, ""),
        run: RunStatus { cluster: "eu".to_owned(), ..RunStatus::default() },
        pushed_by: pushed_by.map(Into::into),
    };
    let sent = spans(|| {
        for pushed_by in [Some(PUSHED_BY), None, Some("nonsense")] {
            run_ended(&ended(pushed_by));
        }
    });
    let links = |span: &&SpanData| {
        let link = |link: &opentelemetry::trace::Link| {
            format!("{} {}", link.span_context.trace_id(), link.span_context.span_id())
        };
        span.links.iter().map(link).collect::<Vec<_>>()
    };
    let runs: Vec<_> = named(&sent, "run").iter().map(links).collect();
    assert_eq!(runs, [vec!["0af7651916cd43dd8448eb211c80319c b7ad6b7169203331".to_owned()], vec![], vec![]]);
}

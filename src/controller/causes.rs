//! What traces tell of the hub's own work: the change that was observed, the look at each repository that it led to, and
//! the run that ended long after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use opentelemetry::trace::SpanContext;
use tracing::field::Empty;
use tracing::{Level, Span, info_span};

use super::jobs::EndedRun;
use super::work::Work;
use crate::hub::event::HubEvent;
use crate::member::event::MemberEvent;
use crate::names::RepositoryId;
use crate::plan::fleet::Observation;
use crate::telemetry::trace;

/// Changes that one look at a repository is traced back to; more add nothing to the picture.
const CAUSES_MAX: usize = 8;

/// The changes that wait for a look at their repositories.
#[derive(Default)]
pub struct Causes(Mutex<BTreeMap<RepositoryId, Vec<SpanContext>>>);

/// What changed, for people.
pub struct Change {
    kind: &'static str,
    cluster: Option<String>,
    object: String,
}

impl Causes {
    /// Takes down that a change makes a look at these repositories necessary.
    pub fn note(&self, change: &Change, repositories: &BTreeSet<RepositoryId>) {
        if repositories.is_empty() {
            return;
        }
        let span = info_span!(
            target: trace::TARGET,
            parent: None,
            "observed",
            otel.name = format!("observed {}", change.kind),
            k8s.cluster.name = change.cluster.as_deref(),
            k8s.object.name = change.object,
            repositories = repositories.len(),
        );
        let Some(context) = trace::context_of(&span) else { return };
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in repositories {
            let causes = causes.entry(*id).or_default();
            if causes.len() < CAUSES_MAX {
                causes.push(context.clone());
            }
        }
    }

    /// The span of one look at a repository: it goes on where the first of its causes was.
    pub fn look(&self, id: RepositoryId) -> Span {
        let span = info_span!(
            target: trace::TARGET,
            parent: None,
            "reconcile",
            volsync_hub.repository = %id,
            volsync_hub.policy = Empty,
            volsync_hub.state = Empty,
            volsync_hub.epoch = Empty,
            k8s.cluster.name = Empty,
        );
        let causes = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).unwrap_or_default();
        trace::follow(&span, &causes);
        span
    }

    /// Nothing follows from what has changed so far.
    pub fn forget(&self, id: RepositoryId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// Adds to the present look what was decided.
pub fn decided(work: &Work) {
    let span = Span::current();
    if let Some(policy) = &work.plan.policy {
        span.record("volsync_hub.policy", policy.as_str());
    }
    if let Some(cluster) = &work.plan.cluster {
        span.record("k8s.cluster.name", cluster.as_str());
    }
    span.record("volsync_hub.state", format!("{:?}", work.plan.state));
    span.record("volsync_hub.epoch", work.epoch());
}

/// A run that is recorded now, linked to the look that pushed its CronJob.
pub fn run_ended(run: &EndedRun) {
    let time = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.as_ref().map(|time| time.0.to_string()).unwrap_or_default()
    };
    let span = info_span!(
        target: trace::TARGET,
        "run",
        k8s.cluster.name = run.run.cluster,
        volsync_hub.outcome = run.report.outcome.as_str(),
        volsync_hub.epoch = run.run.epoch,
        volsync_hub.run.start = time(&run.run.start),
        volsync_hub.run.end = time(&run.run.end),
        otel.status_code = if run.report.outcome.is_success() { "OK" } else { "ERROR" },
    );
    if let Some(traceparent) = &run.pushed_by {
        trace::link(&span, traceparent);
    }
}

/// None where no trace is kept, so that nothing is put into words for nobody.
pub fn of_member(event: &MemberEvent) -> Option<Change> {
    tracing::span_enabled!(target: trace::TARGET, Level::INFO).then(|| {
        let (kind, cluster, object) = match event {
            MemberEvent::Registered { member, .. } => ("registration", Some(member), String::new()),
            MemberEvent::Problem { name, .. } => ("registration", None, name.to_string()),
            MemberEvent::Contact { member, contact } => ("contact", Some(member), format!("{contact:?}")),
            MemberEvent::Duplicate { member, .. } => ("duplicate", Some(member), String::new()),
            MemberEvent::Observed(observation) => return observed(observation),
            MemberEvent::Owned { member, kind, name, .. } => (kind.as_str(), Some(member), name.to_string()),
            MemberEvent::Foreign { member, name, .. } => ("foreign maintenance", Some(member), name.to_string()),
            MemberEvent::Job { member, name, .. } => ("Job", Some(member), name.to_string()),
            MemberEvent::Pod { member, name, .. } => ("Pod", Some(member), name.to_string()),
            MemberEvent::Referenced { member, name, .. } => ("referenced object", Some(member), name.to_string()),
            MemberEvent::Facts { member, .. } => ("facts", Some(member), String::new()),
            MemberEvent::Condition { member, .. } => ("condition", Some(member), String::new()),
        };
        Change { kind, cluster: cluster.map(ToString::to_string), object }
    })
}

/// None where no trace is kept.
pub fn of_hub(event: &HubEvent) -> Option<Change> {
    tracing::span_enabled!(target: trace::TARGET, Level::INFO).then(|| {
        let (kind, object) = match event {
            HubEvent::Policy { name, .. } => ("KopiaMaintenance", name.to_string()),
            HubEvent::Ledger { id, .. } => ("KopiaRepository", id.ledger_name()),
            HubEvent::MemberCluster { name, .. } => ("MemberCluster", name.to_string()),
            HubEvent::Referenced { name, .. } => ("referenced object", name.to_string()),
            HubEvent::Observed(observation) => return observed(observation),
            HubEvent::Listed(list) => ("list", format!("{list:?}")),
        };
        Change { kind, cluster: None, object }
    })
}

fn observed(observation: &Observation) -> Change {
    let (kind, cluster, object) = match observation {
        Observation::Member { name, .. } => ("member", Some(name), String::new()),
        Observation::Namespace { member, namespace, .. } => ("Namespace", Some(member), namespace.to_string()),
        Observation::Source { key, .. } => ("ReplicationSource", Some(&key.member), key.object.to_string()),
        Observation::Secret { secret, .. } => ("Secret", secret.place.member(), secret.object.to_string()),
        Observation::Policy { name, .. } => ("KopiaMaintenance", None, name.to_string()),
        Observation::Ledger { id, .. } => ("KopiaRepository", None, id.ledger_name()),
        Observation::CronJob { member, name, .. } => ("CronJob", Some(member), name.to_string()),
        Observation::HolderFailing { id, .. } => ("failing holder", None, id.ledger_name()),
    };
    Change { kind, cluster: cluster.map(ToString::to_string), object }
}

#[cfg(test)]
mod tests;

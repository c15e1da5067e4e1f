//! What is wrong with a cluster of the simulated fleet, as people write it.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::fill::SOURCES;
use crate::sim::{Bodies, Refusal, SimCluster};

/// Beyond what a member is made for, and within the memory of a usual machine.
const PILE_MAX: usize = 1_000_000;
/// Longer than any client waits.
const LATENCY_MAX: u64 = 3_600_000;
const PILE_NAMESPACE: &str = "pile";

/// All faults of one cluster; a field that is not named is no fault.
// Each is a fault of its own; they combine freely.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Given {
    /// Each answer comes so much later.
    pub latency_millis: u64,
    /// Each request is answered so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Connections are refused.
    pub down: bool,
    /// Connections are taken, and nothing is ever said on them.
    pub silent: bool,
    /// Requests are taken, and answered only once this is over.
    pub hang: bool,
    /// Open watches send nothing, and do not end.
    pub stall_watches: bool,
    /// Each new watch ends cleanly at once.
    pub end_watches: bool,
    /// Each watch that resumes, and each further page of a list, gets 410.
    pub expire_versions: bool,
    /// Bodies come no faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Bodies end cleanly after so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_bodies_after: Option<u64>,
    /// Of the cluster's clock; may be negative.
    pub clock_ahead_seconds: i64,
    /// So many more sources, of another mover than Kopia: what a hub has to list, and has no use for.
    pub pile: usize,
}

/// A code in place of the right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Answer(Refusal);

impl TryFrom<u16> for Answer {
    type Error = String;

    fn try_from(code: u16) -> Result<Self, String> {
        match code {
            401 => Ok(Self(Refusal::Unauthorized)),
            429 => Ok(Self(Refusal::TooManyRequests)),
            503 => Ok(Self(Refusal::Unavailable)),
            _ => Err(format!("a simulated API server answers with 401, 429 or 503, not with {code}")),
        }
    }
}

impl From<Answer> for u16 {
    fn from(Answer(refusal): Answer) -> Self {
        match refusal {
            Refusal::Unauthorized => 401,
            Refusal::TooManyRequests => 429,
            Refusal::Unavailable => 503,
        }
    }
}

impl Given {
    /// Bounds that keep this process alive.
    pub fn check(&self) -> Result<(), String> {
        if self.pile > PILE_MAX {
            return Err(format!("a pile of {} is too high: {PILE_MAX} objects are the most", self.pile));
        }
        if self.latency_millis > LATENCY_MAX {
            return Err(format!(
                "latencyMillis {} is too long: an hour, {LATENCY_MAX}, is the most",
                self.latency_millis
            ));
        }
        if SignedDuration::from_secs(self.clock_ahead_seconds).as_hours().abs() > 24 * 366 * 100 {
            return Err(format!("clockAheadSeconds {} is more than a century", self.clock_ahead_seconds));
        }
        Ok(())
    }

    /// Makes exactly this wrong with a cluster, after `before`.
    pub fn put(&self, before: &Self, cluster: &SimCluster) -> Result<(), String> {
        // First, for it is the one that can be refused.
        if self.pile != before.pile {
            pile(cluster, self.pile)?;
        }
        let faults = cluster.faults();
        faults.set_latency(Duration::from_millis(self.latency_millis));
        faults.answer_with(self.answer.map(|Answer(refusal)| refusal));
        faults.hang(self.hang);
        faults.stall_watches(self.stall_watches);
        faults.end_watches_at_once(self.end_watches);
        faults.send_bodies(Bodies { bytes_a_second: self.bytes_per_second, cut_after: self.cut_bodies_after });
        cluster.store().set_clock_ahead(SignedDuration::from_secs(self.clock_ahead_seconds));
        if self.expire_versions != before.expire_versions {
            faults.expire_versions(self.expire_versions);
        }
        // Watches that are open already have bodies of before.
        if self.end_watches && !before.end_watches {
            faults.end_watches();
        }
        if self.silent != before.silent {
            faults.silence(self.silent);
        }
        if self.down != before.down {
            faults.refuse_connections(self.down);
        }
        Ok(())
    }
}

/// Heaps up so many sources; those of before go.
fn pile(cluster: &SimCluster, height: usize) -> Result<(), String> {
    let actor = cluster.actor("fleet");
    actor.unload(SOURCES, PILE_NAMESPACE);
    let failed = |refused| format!("failed to pile up sources in {}: {refused}", cluster.name());
    if height > 0 && actor.get("", "namespaces", "", PILE_NAMESPACE).is_none() {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PILE_NAMESPACE}});
        actor.create(namespace).map_err(failed)?;
    }
    for number in 0..height {
        let name = format!("pile-{number:06}");
        let object = json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
            "metadata": {"name": name, "namespace": PILE_NAMESPACE, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"sourcePVC": name, "trigger": {"schedule": "0 * * * *"}, "restic": {"repository": "pile"}}});
        actor.load(object).map_err(failed)?;
    }
    // No event tells of them: who watches has to list anew.
    cluster.faults().end_watches();
    Ok(())
}

#[cfg(test)]
mod tests;

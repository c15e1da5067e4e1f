//! Keeps a KopiaRepository small: there may be thousands, each is watched, and each write carries all of it.

use std::io;

use serde::Serialize;

use crate::api::kopia_repository::{KopiaRepositorySpec, KopiaRepositoryStatus};

use super::conditions::cut;

/// The whole object as it is stored, without `drain`, which is never shortened. Bytes.
pub const OBJECT_MAX: usize = 8 * 1024;
/// What stands in it besides spec and status: its metadata, and who manages which field, which grows with the
/// conditions. Bytes.
pub const METADATA_MAX: usize = 2560;
/// Enough of a condition's message, of a run's reason and of a location to know where to look for the rest. Bytes.
const MESSAGE_SHORT: usize = 160;
const REASON_SHORT: usize = 80;
const LOCATION_SHORT: usize = 256;

/// Shortens what is only for reading, the least useful first, until the object is small enough. The grant, the
/// identity and the counts always stay.
pub fn fit(status: &mut KopiaRepositoryStatus, spec: &KopiaRepositorySpec) {
    let room = OBJECT_MAX - METADATA_MAX;
    let room = room.saturating_sub(json_size(spec));
    while size(status) > room && shorten(status) {}
}

/// False: nothing is left that could be shortened.
fn shorten(status: &mut KopiaRepositoryStatus) -> bool {
    // What led to the present grant is told for as long as there is room.
    let popped = status.history.pop().is_some();
    let popped = popped || status.shadowed_policies.pop().is_some() || status.clusters.pop().is_some();
    if popped {
        return true;
    }
    if let Some(reason) =
        status.runs.iter_mut().filter_map(|run| run.reason.as_mut()).find(|it| it.len() > REASON_SHORT)
    {
        *reason = cut(std::mem::take(reason), REASON_SHORT);
        return true;
    }
    if let Some(condition) = status.conditions.iter_mut().find(|condition| condition.message.len() > MESSAGE_SHORT) {
        condition.message = cut(std::mem::take(&mut condition.message), MESSAGE_SHORT);
        return true;
    }
    if let Some(location) = status.location.as_mut().filter(|location| location.len() > LOCATION_SHORT) {
        *location = cut(std::mem::take(location), LOCATION_SHORT);
        return true;
    }
    // The latest of both say most: the oldest go.
    if status.runs.len() > 1 {
        return status.runs.pop().is_some();
    }
    status.not_ready.pop().is_some()
}

fn size(status: &KopiaRepositoryStatus) -> usize {
    let drain = if status.drain.is_empty() { 0 } else { r#""drain":,"#.len() + json_size(&status.drain) };
    json_size(status) - drain
}

/// Bytes as JSON, of which none is kept: it is asked for whenever a status changes.
fn json_size(value: &impl Serialize) -> usize {
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).map_or(0, |()| counter.0)
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

    use super::*;
    use crate::api::kopia_repository::{
        CLUSTERS_MAX, ClusterCount, DrainStatus, FormerStatus, GrantPhase, GrantRecord, GrantStatus, HISTORY_MAX,
        NOT_READY_MAX, NotReadyStatus, RUNS_MAX, RunStatus, SHADOWED_MAX,
    };

    fn time() -> Time {
        Time(Timestamp::from_second(1_800_000_000).unwrap())
    }

    /// Every list full, every name `name` bytes long and every sentence `sentence` bytes.
    fn full(name: usize, sentence: usize) -> KopiaRepositoryStatus {
        let named = |number: usize| format!("{number:02}{}", "n".repeat(name - 2));
        let text = "t".repeat(sentence);
        let condition = |kind: &str| Condition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: "ReasonOfUsualLength".to_owned(),
            message: text.clone(),
            observed_generation: Some(7),
            last_transition_time: time(),
        };
        let run = |number| RunStatus {
            start: Some(time()),
            end: Some(time()),
            cluster: named(number),
            epoch: Some(12),
            outcome: "DeadlineExceeded".to_owned(),
            reason: Some(text.chars().take(256).collect()),
            reclaimed_bytes: Some(123_456_789),
        };
        let drain = |number| DrainStatus {
            cluster: named(number),
            deadline_seconds: 10_800,
            ids: vec!["0123456789abcdef".to_owned()],
            clear_since: None,
        };
        let not_ready = |number| NotReadyStatus {
            cluster: named(number),
            secret: format!("{}/{}", "n".repeat(name.min(63)), named(number)),
            until: time(),
            reason: "ConnectFailed".to_owned(),
            attempts: Some(3),
        };
        let grant = |number| GrantRecord {
            epoch: 12,
            cluster: named(number),
            from: Some(named(number + 1)),
            why: "AutomaticFailover".to_owned(),
            began: Some(time()),
            claimed: Some(60),
            active: Some(360),
        };
        let kinds = ["Maintained", "Overdue", "Contended", "RunNowPending", "Ambiguous", "Replaced"];
        KopiaRepositoryStatus {
            observed_generation: Some(7),
            backend: Some("s3".to_owned()),
            location: Some("l".repeat(sentence)),
            key: Some("0".repeat(64)),
            unique_id: Some("1".repeat(64)),
            state: Some("Maintained".to_owned()),
            policy: Some(named(0)),
            shadowed_policies: (0..SHADOWED_MAX).map(named).collect(),
            grant: Some(GrantStatus {
                cluster: named(0),
                hub: Some("h".repeat(32)),
                cluster_uid: Some("f".repeat(36)),
                epoch: 12,
                phase: GrantPhase::Active,
                since: Some(time()),
                until: Some(time()),
                deadline_seconds: Some(10_800),
                highest_epoch: Some(13),
                from: Some(FormerStatus {
                    cluster: named(1),
                    epoch: 11,
                    repository: Some("0123456789abcdef".to_owned()),
                }),
            }),
            drain: (0..30).map(drain).collect(),
            not_ready: (0..NOT_READY_MAX).map(not_ready).collect(),
            clusters: (0..CLUSTERS_MAX)
                .map(|number| ClusterCount { cluster: named(number), sources: 99, ready: 98 })
                .collect(),
            cluster_count: Some(99),
            source_count: Some(999),
            runs: (0..RUNS_MAX).map(run).collect(),
            history: (0..HISTORY_MAX).map(grant).collect(),
            last_outcome: Some("Succeeded".to_owned()),
            last_success: Some(time()),
            next_run: Some(time()),
            consecutive_failures: Some(3),
            conditions: kinds.map(condition).into(),
            ..KopiaRepositoryStatus::default()
        }
    }

    fn stored(status: &KopiaRepositoryStatus, spec: &KopiaRepositorySpec) -> usize {
        METADATA_MAX + serde_json::to_vec(spec).unwrap().len() + size(status)
    }

    #[test]
    fn the_longest_names_in_the_fullest_lists_fit_and_drain_stays_whole() {
        let spec = KopiaRepositorySpec {
            cluster: Some("c".repeat(253)),
            reason: Some("r".repeat(1024)),
            run_now: Some("w".repeat(63)),
            ..KopiaRepositorySpec::default()
        };
        let long = full(253, 1024);
        assert!(stored(&long, &spec) > 3 * OBJECT_MAX);
        let without_drain = KopiaRepositoryStatus { drain: Vec::new(), ..long.clone() };
        assert_eq!(size(&long), serde_json::to_vec(&without_drain).unwrap().len());
        let mut status = long.clone();
        fit(&mut status, &spec);
        assert!(stored(&status, &spec) <= OBJECT_MAX, "{} bytes", stored(&status, &spec));
        assert_eq!((&status.drain, &status.grant, &status.key), (&long.drain, &long.grant, &long.key));
        assert_eq!((status.cluster_count, status.conditions.len()), (Some(99), 6));
        assert_eq!(status.runs[0].outcome, long.runs[0].outcome);
        let before = status.clone();
        fit(&mut status, &spec);
        assert_eq!(status, before);
    }

    #[test]
    fn twenty_clusters_with_names_of_usual_length_are_left_as_they_are() {
        let mut usual = full(24, 80);
        usual.not_ready.truncate(2);
        usual.shadowed_policies.truncate(4);
        usual.history.truncate(1);
        let mut status = usual.clone();
        fit(&mut status, &KopiaRepositorySpec::default());
        assert_eq!(status, usual);
    }

    #[test]
    fn a_typical_repository_takes_three_kilobytes() {
        let mut usual = full(16, 60);
        usual.drain.clear();
        if let Some(grant) = &mut usual.grant {
            (grant.highest_epoch, grant.from, grant.hub) = (None, None, Some("hub-7c73ffbb".to_owned()));
        }
        usual.not_ready.clear();
        usual.shadowed_policies.truncate(2);
        usual.history.truncate(1);
        usual.clusters.truncate(3);
        usual.conditions.truncate(2);
        let size = size(&usual);
        assert!(size < 2700, "{size} bytes besides the metadata");
    }
}

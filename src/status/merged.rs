//! The status of a KopiaRepository for which another one stands: both were found to be one repository.

use jiff::Timestamp;

use super::conditions::update;
use super::repository::former_status;
use crate::api::kopia_repository::{KopiaRepository, KopiaRepositoryStatus, MergedStatus};
use crate::names::RepositoryId;
use crate::plan::fleet::Merged;

/// `status.state`, and its reason.
pub const STATE: &str = "Merged";
/// What is told of a repository, and not of one for which another stands.
const OURS: [&str; 6] = ["Maintained", "Overdue", "Contended", "RunNowPending", "Ambiguous", "Replaced"];

/// `ended` is the grant that was taken over just now. What was kept of an earlier one stays otherwise. Of what it was, where
/// it is and how its runs went nothing is lost.
pub fn status(
    object: &KopiaRepository,
    into: RepositoryId,
    ended: Option<&Merged>,
    now: Timestamp,
) -> KopiaRepositoryStatus {
    let before = object.status.clone().unwrap_or_default();
    let own = object.id().unwrap_or_default();
    let kept = before.merged.clone().unwrap_or_default();
    let merged = match ended {
        Some(ended) => MergedStatus {
            from: ended.from.as_ref().map(|from| former_status(from, own)),
            deadline_seconds: Some(ended.deadline_seconds.into()),
            highest_epoch: Some(kept.highest_epoch.unwrap_or(0).max(number(ended.highest_epoch))),
            into: into.to_string(),
        },
        None => MergedStatus { into: into.to_string(), ..kept },
    };
    let others = before.conditions.iter().filter(|it| !OURS.contains(&it.type_.as_str())).cloned();
    KopiaRepositoryStatus {
        observed_generation: object.metadata.generation,
        state: Some(STATE.to_owned()),
        reason: Some(STATE.to_owned()),
        policy: None,
        shadowed_policies: Vec::new(),
        grant: before.grant.filter(|_| ended.is_none()),
        merged: Some(merged),
        run_now_under_way: before.run_now_under_way.filter(|_| ended.is_none()),
        drain: if ended.is_some() { Vec::new() } else { before.drain },
        clusters: Vec::new(),
        cluster_count: None,
        source_count: None,
        next_run: None,
        consecutive_failures: None,
        conditions: update(&others.collect::<Vec<_>>(), Vec::new(), object.metadata.generation, now),
        ..before
    }
}

fn number(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

//! What a policy matches, and what it just misses: a line in the log for each change of it, in every replica.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tracing::info;

use super::engine::Engine;
use crate::api::kopia_maintenance::KopiaMaintenanceStatus;
use crate::names::{PolicyName, SourceKey};
use crate::plan::explain::{NearMiss, near_misses};
use crate::policy::PolicyClaim;

/// Near misses in a line: enough to see what a selector gets wrong.
const NEAR_MISSES_MAX: usize = 5;
/// Sources that are looked at in one go: less than a millisecond in which nothing else is decided.
const LOOKED_AT_ONCE: usize = 1024;

/// Of which change of each policy a line has told.
pub type Told = Mutex<BTreeMap<PolicyName, (Change, Option<PolicyClaim>)>>;

/// UID and generation.
type Change = (String, i64);

impl Engine {
    pub(super) fn forget_matches(&self, name: &PolicyName) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    pub(super) async fn log_matches(
        &self,
        (name, uid): (&PolicyName, &str),
        before: &KopiaMaintenanceStatus,
        status: &KopiaMaintenanceStatus,
    ) {
        let Some(generation) = status.observed_generation else { return };
        let change = (uid.to_owned(), generation);
        let told = || self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told().get(name).is_some_and(|(last, _)| *last == change) {
            return;
        }
        let claim = self.world().planner.fleet().policies.get(name).and_then(|policy| policy.claim.clone());
        let last = told().insert(name.clone(), (change, claim.clone()));
        // A replica that starts and finds a policy that was told of before need not tell of it again.
        if last.is_none() && before.observed_generation == Some(generation) {
            return;
        }
        let last_claim = last.and_then(|(_, claim)| claim);
        let misses = match &claim {
            // What it misses was told when it began to.
            Some(claim) if last_claim.is_some_and(|last| last.matches_as(claim)) => Vec::new(),
            Some(claim) => self.near_misses(claim).await,
            None => Vec::new(),
        };
        let misses: Vec<String> = misses.iter().map(|near| format!("{}: {}", near.source, near.message)).collect();
        info!(
            matched = status.matched_source_count,
            repositories = status.repository_count,
            near_misses = misses.join("; "),
            "KopiaMaintenance {name}"
        );
    }

    /// The first of the whole fleet. Others get their turn in between.
    async fn near_misses(&self, claim: &PolicyClaim) -> Vec<NearMiss> {
        let (mut found, mut after) = (Vec::new(), None::<SourceKey>);
        loop {
            let (some, last) = near_misses(self.world().planner.fleet(), claim, after.as_ref(), LOOKED_AT_ONCE);
            found.extend(some);
            found.truncate(NEAR_MISSES_MAX);
            if found.len() == NEAR_MISSES_MAX || last.is_none() {
                return found;
            }
            after = last;
            tokio::task::yield_now().await;
        }
    }
}

//! Tells people what has changed with a repository: an Event and a log line for each turn.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use tracing::info;

use super::causes;
use super::engine::Engine;
use super::work::Work;
use crate::api::kopia_repository::{KopiaRepository, KopiaRepositoryStatus};
use crate::status::conditions;

impl Engine {
    /// One event and one log line for each turn.
    pub(super) fn tell(&self, work: &Work, before: &KopiaRepositoryStatus, written: &KopiaRepository) {
        let after = written.status.clone().unwrap_or_default();
        let about = written.object_ref(&());
        let old = |of: &Condition| before.conditions.iter().find(|old| old.type_ == of.type_);
        // That nothing is wrong is no news of a repository that was not known before, nor is its turn in the line.
        let is_news = |it: &&Condition| match old(it) {
            None => it.type_ == "Maintained" || it.status == "True",
            Some(old) => !(is_on_its_way(old) && is_on_its_way(it)),
        };
        for condition in conditions::changed(&before.conditions, &after.conditions).into_iter().filter(is_news) {
            let good = is_good(condition);
            info!(repository = %work.id, location = %work.plan.location, condition = %condition.type_, status = %condition.status,
                reason = %condition.reason, message = %condition.message, "repository");
            self.events.publish(about.clone(), good, &condition.reason, &condition.message);
        }
        for rests in after.not_ready.iter().filter(|entry| !before.not_ready.contains(entry)) {
            let note = format!(
                "Secret {} in {} is left aside until {}: {}",
                rests.secret, rests.cluster, rests.until.0, rests.reason
            );
            self.events.publish(about.clone(), false, "NotReady", &note);
        }
        for run in work.runs.iter().filter(|run| !run.recorded) {
            let outcome = run.report.outcome;
            self.metrics.run_ended(outcome.as_str());
            causes::run_ended(run);
            let note = format!(
                "run in {} ended {}: {} {}",
                run.run.cluster,
                outcome.as_str(),
                run.report.reason,
                outcome.fix()
            );
            info!(repository = %work.id, cluster = %run.run.cluster, outcome = outcome.as_str(), reason = %run.report.reason, "run ended");
            self.events.publish(about.clone(), outcome.is_success(), outcome.as_str(), note.trim());
        }
    }
}

/// Between the first grant and the end of its claim.
fn is_on_its_way(condition: &Condition) -> bool {
    condition.type_ == "Maintained" && matches!(condition.reason.as_str(), "Claiming" | "ClaimQueued")
}

fn is_good(condition: &Condition) -> bool {
    match condition.type_.as_str() {
        "Maintained" => {
            condition.status == "True"
                || matches!(
                    condition.reason.as_str(),
                    "Claiming"
                        | "ClaimQueued"
                        | "WaitingForFormerOwner"
                        | "Suspended"
                        | "Disabled"
                        | "Frozen"
                        | "Pending"
                        | "Observe"
                )
        }
        _ => condition.status != "True",
    }
}

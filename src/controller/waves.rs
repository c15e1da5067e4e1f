//! Puts off what only another image, script or rendering asks for, until the repository's turn in the rollout.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::CronJob;
use kube::Resource;
use tracing::{debug, info};

use super::engine::Engine;
use super::push::{asks_the_same, name_of};
use super::rollout::{Tried, Turn};
use super::work::{Target, Work};
use crate::api::kopia_repository::RunStatus;
use crate::labels;
use crate::member::event::OwnedKind;
use crate::names::MemberName;
use crate::outcome::Outcome;
use crate::time::{scaled, whole_seconds};

/// A repository that waits asks again then.
const ASKS_AGAIN: Duration = Duration::from_mins(2);
/// These runs did nothing that an image or script could have done wrong.
const TELLS_NOTHING: [Outcome; 3] = [Outcome::Fenced, Outcome::NotGranted, Outcome::Busy];

impl Engine {
    /// Does this CronJob stay as it stands for now? Otherwise it is marked with since when it has its revision.
    pub(super) fn holds_back(&self, work: &Work, target: &Target, wanted: &mut CronJob) -> bool {
        let Some(revision) = annotation(wanted, labels::REVISION) else { return false };
        let now = Self::now();
        let standing = target.standing.owned.get(&(OwnedKind::CronJob, name_of(wanted)));
        let has = |key: &str| standing.and_then(|object| object.annotations.get(key)).map(|value| &**value);
        let is_there = has(labels::REVISION) == Some(&revision);
        let told = has(labels::REVISION_SINCE).filter(|_| is_there);
        let since = if is_there {
            told.and_then(|since| since.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
        } else {
            whole_seconds(now)
        };
        let mark = told.map_or_else(|| since.to_string(), str::to_owned);
        wanted.metadata.annotations.get_or_insert_default().insert(labels::REVISION_SINCE.to_owned(), mark);
        let waits = standing.filter(|_| !is_there);
        let at = waits.is_none().then_some(since);
        let recorded = work.object.as_ref().and_then(|object| object.status.as_ref()).map_or(&[][..], |it| &it.runs);
        let tried = at.map_or(Tried::NotYet, |at| tried(recorded, &target.member, at));
        let turned_bad = self.rollouts().note(work.id, &revision, at, tried, now);
        if turned_bad {
            self.tell_turned_bad(work, since);
        }
        let Some(standing) = waits.filter(|standing| asks_the_same(wanted, standing)) else { return false };
        let lasts = scaled(self.settings.rollout_wave, self.settings.time_factor);
        let turn = self.rollouts().turn(work.id, lasts, self.settings.time_factor, now);
        let runs = work.seen.get(&target.member).is_some_and(|seen| seen.live > 0);
        if turn == Turn::Now && !runs {
            info!(cluster = %target.member, repository = %work.id, revision, was = has(labels::REVISION),
                version = standing.version(), "its turn in the rollout of another image, script or rendering");
            return false;
        }
        debug!(cluster = %target.member, repository = %work.id, revision, ?turn, runs, "waits for its turn in a rollout");
        self.repositories.add_after(work.id, ASKS_AGAIN / self.settings.time_factor.max(1));
        true
    }

    fn tell_turned_bad(&self, work: &Work, since: Timestamp) {
        let Some(object) = &work.object else { return };
        let waiting = self.rollouts().counts().waiting;
        let note = format!(
            "its runs fail since its CronJob got another image, script or rendering at {since}; {waiting} repositories \
             wait for that to go well. See the outcome of the run; if the change is to blame, put the former image or \
             release back"
        );
        self.events.publish(object.object_ref(&()), false, "RolloutFails", &note);
    }
}

fn annotation(cron_job: &CronJob, key: &str) -> Option<String> {
    cron_job.metadata.annotations.as_ref()?.get(key).cloned()
}

/// What the ledger tells of runs in this member since then.
fn tried(runs: &[RunStatus], member: &MemberName, since: Timestamp) -> Tried {
    let tells = |run: &RunStatus| TELLS_NOTHING.iter().all(|outcome| run.outcome != outcome.as_str());
    let told = |run: &&RunStatus| run.cluster == member.as_str() && tells(run);
    let is_later = |run: &&RunStatus| run.start.as_ref().is_some_and(|start| start.0 >= since);
    let good = |run: &RunStatus| run.outcome == "Succeeded";
    let runs = || runs.iter().filter(told);
    match (runs().find(is_later).map(good), runs().find(|run| !is_later(run)).map(good)) {
        (Some(true), _) => Tried::Well,
        (Some(false), Some(true)) => Tried::TurnedBad,
        _ => Tried::NotYet,
    }
}

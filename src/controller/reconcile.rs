//! One repository, from what is known to what is done: decide, write the ledger, act, tell.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{Instrument, debug, info_span, warn};

use super::act::Trouble;
use super::causes;
use super::decide::{self, Terms};
use super::engine::Engine;
use super::jobs::{Late, Look, Told};
use super::own;
use super::work::Work;
use crate::api::kopia_repository::{KopiaRepository, KopiaRepositoryStatus};
use crate::grant::{ClaimJob, LedgerChange, Step};
use crate::hub::event::HubEvent;
use crate::hub::ledger::LedgerError;
use crate::member::event::ReferencedKind;
use crate::names::{PolicyName, RepositoryId};
use crate::outcome::{Outcome, start_limit};
use crate::plan::assignment;
use crate::plan::fleet::Observation;
use crate::plan::planner::Planner;
use crate::plan::result::{Push, RepositoryPlan, State};
use crate::status::repository::Due;
use crate::status::size;
use crate::telemetry::trace;

/// Ledger writes in a row for one repository before others get their turn: a grant takes two.
const WRITES_MAX: usize = 4;
/// Until a hub that has just started looks again whether what something depends on has been read.
pub(super) const EARLY: Duration = Duration::from_millis(500);
/// Waits after failures double up to this.
const RETRY_MAX: Duration = Duration::from_mins(5);

impl Engine {
    /// Works on one repository until there is nothing to do but wait.
    pub(super) async fn reconcile(&self, id: RepositoryId) {
        self.look_at(id).instrument(self.causes.look(id)).await;
    }

    async fn look_at(&self, id: RepositoryId) {
        for _ in 0..WRITES_MAX {
            let now = Self::now();
            {
                let world = self.world();
                if !world.hub_is_read() {
                    return;
                }
                if world.must_wait_for(id) {
                    return self.repositories.add_after(id, EARLY);
                }
            }
            let Some(work) = self.gather(id, now).await else {
                self.settled.forget(id);
                self.world().set_uses(id, Vec::new());
                self.release_orphans(id).await;
                self.competed_for(id, Vec::new());
                self.claims_nothing(id);
                if let Err(trouble) = self.tell_merged(id, now).await {
                    self.later(id, &trouble);
                }
                return;
            };
            causes::decided(&work);
            self.note_uses(&work);
            self.competed_for(id, work.plan.policy.iter().chain(&work.plan.shadowed).cloned().collect());
            if self.note_failing(&work, now) {
                continue;
            }
            let began = std::time::Instant::now();
            let passed = self.pass(&work, now).await;
            self.metrics.reconciled(began.elapsed());
            match passed {
                Ok(Next::Again) => {}
                Ok(Next::Rest(wait)) => {
                    self.succeeded(id);
                    self.settled.note(id, &work.plan);
                    return self.repositories.add_after(id, wait);
                }
                Err(trouble) => {
                    self.settled.forget(id);
                    self.claims_nothing(id);
                    return self.later(id, &trouble);
                }
            }
        }
        self.repositories.add(id);
    }

    /// Takes everything out of the world; what has not started in time is asked about, and all is taken anew.
    async fn gather(&self, id: RepositoryId, now: Timestamp) -> Option<Work> {
        let limit = start_limit(self.settings.time_factor);
        let (hub_id, namespace) = (&self.settings.hub_id, &self.settings.member_namespace);
        let nothing = Told::new();
        let first = Work::gather(&mut self.world(), id, hub_id, namespace, Look { now, limit, told: &nothing })?;
        if first.late.is_empty() {
            return Some(first);
        }
        let told = self.ask_why(&first.late).await;
        Work::gather(&mut self.world(), id, hub_id, namespace, Look { now, limit, told: &told })
    }

    /// Events of what is late. Where they can't be read, what the Job and its Pod say has to do.
    async fn ask_why(&self, late: &[Late]) -> Told {
        let mut told = Told::new();
        for Late { member, subject, about } in late {
            let Some(member) = self.supervisor.member(member) else { continue };
            let events = member.warnings(&self.settings.member_namespace, about).await.unwrap_or_else(|error| {
                warn!(%error, "why something has not started can't be read");
                Vec::new()
            });
            told.insert(subject.clone(), events);
        }
        told
    }

    fn later(&self, id: RepositoryId, trouble: &Trouble) {
        // Who leads no longer is not in trouble: the replica that leads does it.
        if !self.leads() {
            return self.repositories.add_after(id, RETRY_MAX);
        }
        self.metrics.trouble(trouble.reason);
        let failures = self.failed(id);
        let wait =
            trouble.retry.saturating_mul(1 << failures.min(8).saturating_sub(1)).min(RETRY_MAX.max(trouble.retry));
        if failures <= 1 {
            debug!(repository = %id, reason = trouble.reason, message = %trouble.message, "not yet as it should be");
        } else {
            warn!(repository = %id, reason = trouble.reason, message = %trouble.message, failures, "still not as it should be");
        }
        self.repositories.add_after(id, wait);
    }

    async fn pass(&self, work: &Work, now: Timestamp) -> Result<Next, Trouble> {
        let leads = self.leads();
        let writes = leads && self.owns(work);
        if writes && !self.observes(work) && self.end_taken_over(work, now).await? {
            return Ok(Next::Again);
        }
        let step = self.decide(work, now);
        if step.claim.is_none() || !writes {
            self.claims_nothing(work.id);
        }
        if !writes {
            self.forget_lists(work.id);
            debug!(repository = %work.id, state = ?work.plan.state, cluster = ?work.plan.cluster, next = ?step.note,
                "planned; another replica writes it");
            if leads && !self.observes(work) {
                self.act_beside(work, &step).await?;
            }
            return Ok(Next::Rest(self.wait(work, &step, now)));
        }
        if step.ledger.is_some() {
            self.forget_lists(work.id);
            self.write_ledger(work, &step, now).await?;
            return Ok(Next::Again);
        }
        let acted = if self.observes(work) {
            Ok(None)
        } else {
            self.act(work, &step).instrument(info_span!(target: trace::TARGET, "act")).await
        };
        let told = match &acted {
            Ok(None) => step,
            Ok(Some((note, until))) => Step { note: Some(note.clone()), wake: Some(*until), ..step },
            // A conflict is over before anybody could read of it.
            Err(trouble) if trouble.is_conflict() => step,
            Err(trouble) => Step { note: Some((trouble.reason, trouble.message.clone())), ..step },
        };
        self.write_ledger(work, &told, now).await?;
        acted?;
        Ok(Next::Rest(self.wait(work, &told, now)))
    }

    /// Whether this replica writes the repository's record and acts for its holder.
    fn owns(&self, work: &Work) -> bool {
        let held_in = work.grant.as_ref().map(|grant| &grant.cluster).or(work.plan.cluster.as_ref());
        self.settings.share.owns_repository(work.id, held_in)
    }

    fn observes(&self, work: &Work) -> bool {
        self.settings.observe || work.observed
    }

    fn decide(&self, work: &Work, now: Timestamp) -> Step {
        if self.observes(work) {
            let note = ("Observe", "computed and reported only; nothing is written to members".to_owned());
            return Step { note: Some(note), ..Step::rest() };
        }
        let terms = Terms {
            hub_id: &self.settings.hub_id,
            time_factor: self.settings.time_factor,
            grant_factor: self.settings.grant_factor,
            steady_since: self.steady_since(),
            #[cfg(any(test, feature = "sim"))]
            without: None,
        };
        decide::decide(work, &self.with_lists(work), now, &terms)
    }

    /// Keeps the time since when a holder has failed to be a candidate. True: it was begun or ended, so plan again.
    fn note_failing(&self, work: &Work, now: Timestamp) -> bool {
        let mut world = self.world();
        let known = world.planner.fleet().failing_since.contains_key(&work.id);
        if work.plan.holder_failing == known {
            return false;
        }
        let since = work.plan.holder_failing.then_some(now);
        let dirty = world.apply_hub(HubEvent::Observed(Observation::HolderFailing { id: work.id, since }));
        drop(world);
        self.enqueue(dirty);
        true
    }

    /// Remembers what is copied, so that a change of it brings the repository up again.
    fn note_uses(&self, work: &Work) {
        let mut uses = Vec::new();
        if let Push::Objects(assignment) = &work.plan.push {
            uses.push((ReferencedKind::Secret, assignment.secret.clone()));
            uses.extend(assignment.custom_ca.as_ref().map(|ca| ca.placed(&assignment.secret)));
        }
        self.world().set_uses(work.id, uses);
    }

    /// Policies to which it is news that they compete, or no longer, are looked at.
    fn competed_for(&self, id: RepositoryId, by: Vec<PolicyName>) {
        let news = self.world().competitors.note(id, by);
        for name in news {
            self.policies.add(name);
        }
    }

    /// Writes the ledger where anything of it has changed, and takes what was written as known.
    async fn write_ledger(&self, work: &Work, step: &Step, now: Timestamp) -> Result<(), Trouble> {
        let object = match &work.object {
            Some(object) => object.clone(),
            None => std::sync::Arc::new(self.ledger.create(work.id).await?),
        };
        let mut status = decide::status(&self.world().planner, work, &object, step, now);
        own::stamp(&mut status, object.status.as_ref(), &self.settings.hub_id);
        size::fit(&mut status, &object.spec);
        if object.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let before = object.status.clone().unwrap_or_default();
        let written = self.write_record(work.id, &object, status).await;
        if let Ok(written) = &written {
            self.tell(work, &before, written);
        }
        // Also where somebody else wrote it: what they wrote is known now.
        if written.as_ref().err().is_none_or(Trouble::is_conflict) {
            self.looks_after(work);
        }
        written.map(drop)
    }

    /// Writes a status on the version that was read, and takes what stands there then as known, whoever wrote it.
    pub(super) async fn write_record(
        &self,
        id: RepositoryId,
        read: &KopiaRepository,
        status: KopiaRepositoryStatus,
    ) -> Result<KopiaRepository, Trouble> {
        let write = self.ledger.write(read, status);
        match write.instrument(info_span!(target: trace::TARGET, "ledger")).await {
            Ok(written) => {
                self.metrics.ledger_written();
                self.known(id, written.clone());
                Ok(written)
            }
            Err(LedgerError::Conflict(name)) => {
                let current = self.ledger.get(id).await?;
                self.known(id, current);
                Err(Trouble::conflict(&name))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn known(&self, id: RepositoryId, object: KopiaRepository) {
        let ids = self.world().set_ledger(id, Some(object));
        for other in ids.into_iter().filter(|other| *other != id) {
            self.repositories.add(other);
        }
    }

    /// Policies and members that tell of this repository.
    fn looks_after(&self, work: &Work) {
        for name in work.plan.policy.iter().chain(&work.plan.shadowed) {
            self.policies.add(name.clone());
        }
        for member in work.plan.cluster.iter().chain(&work.plan.holder) {
            self.members.add(member.clone());
        }
    }

    fn wait(&self, work: &Work, step: &Step, now: Timestamp) -> Duration {
        decide::wait(&self.world(), work, step, now, self.settings.time_factor)
    }
}

enum Next {
    Again,
    Rest(Duration),
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        Self { reason: "LedgerFailed", message: error.to_string(), retry: Duration::from_secs(2) }
    }
}

/// What the latest Jobs reported: the repository's unique id, and a (member, Secret) that works again.
pub(super) fn claim_facts(work: &Work, step: &Step) -> (Option<String>, Option<(crate::names::MemberName, String)>) {
    let of_run = work.runs.iter().rev().filter(|run| !run.recorded).find_map(|run| run.report.unique_id.clone());
    let ClaimJob::Ended(report) = &work.claim else { return (of_run, None) };
    let claimed = report.outcome == Outcome::Claimed && matches!(step.ledger, Some(LedgerChange::Grant(..)));
    let ready = work.grant.as_ref().filter(|_| claimed).zip(report.secret.as_ref());
    (
        of_run.or_else(|| report.unique_id.clone()),
        ready.map(|(grant, secret)| (grant.cluster.clone(), secret.to_string())),
    )
}

/// When the winner wants it to be maintained; none where it wants nothing, or nobody rules it.
pub(super) fn due(planner: &Planner, plan: &RepositoryPlan) -> Option<Due> {
    let wanted = matches!(plan.state, State::Maintained | State::NoCandidate | State::Held);
    let policy = planner.fleet().policies.get(plan.policy.as_ref().filter(|_| wanted)?)?;
    let settings = policy.settings.as_ref().ok().filter(|settings| settings.enabled && !settings.suspend)?;
    let options = planner.options();
    Some(Due {
        schedule: assignment::schedule(settings, options, &plan.key).ok()?,
        zone: settings.time_zone.clone().unwrap_or_else(|| options.time_zone.clone()),
        deadline_seconds: settings.active_deadline_seconds,
    })
}

//! Does what was decided for one repository: pushes its objects, starts and removes its claim Job.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Secret;
use tracing::info;

use super::claims::{InLine, Turn};
use super::engine::Engine;
use super::jobs::attempt;
use super::push::{self, Push};
use super::work::{Target, Work};
use crate::grant::Step;
use crate::member::event::ReferencedKind;
use crate::member::{CallError, Class, Member, SecretValues};
use crate::names::{MemberName, ObjectName, Place, PlacedName, RepositoryId};
use crate::plan::fleet::Contact;
use crate::plan::result::{Assignment, Push as Planned};
use crate::policy::CustomCa;
use crate::render::{Platform, RenderContext, cron_job, secret};

/// Why a repository is not yet as it should be. The next attempt is made after `retry`, or when something changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// CamelCase, a fixed word.
    pub reason: &'static str,
    pub message: String,
    pub retry: Duration,
}

/// What somebody has to mend first: looked at again now and then, and at once when it changes.
const MENDED_BY_PEOPLE: Duration = Duration::from_mins(1);
/// What mends itself.
const SOON: Duration = Duration::from_secs(1);

/// What it waits for, as in [`Step::note`], and until when.
pub(super) type Waits = ((&'static str, String), Timestamp);

/// A copy of a Secret or CA as it should stand, and of which state of it.
pub(super) struct WantedCopy {
    pub object: Secret,
    version: Box<str>,
}

impl Trouble {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry: MENDED_BY_PEOPLE }
    }
}

impl Trouble {
    /// Somebody else wrote a KopiaRepository since it was read.
    pub(super) fn conflict(name: &str) -> Self {
        Self { retry: Duration::ZERO, ..Self::new("Conflict", format!("KopiaRepository {name} changed")) }
    }

    pub(super) fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        let (reason, retry) = match &error.class {
            // Somebody changed it since it was looked at: the watch tells, and it is decided anew.
            Class::Conflict | Class::AlreadyExists => ("Conflict", SOON),
            Class::Forbidden { .. } => ("Forbidden", MENDED_BY_PEOPLE),
            Class::Unauthorized => ("Unauthorized", MENDED_BY_PEOPLE),
            Class::NotOurs => ("NotOurs", MENDED_BY_PEOPLE),
            Class::Unreachable | Class::Timeout => ("MemberUnreachable", Duration::from_secs(5)),
            _ => ("WriteFailed", Duration::from_secs(10)),
        };
        Self { reason, message: error.to_string(), retry }
    }
}

impl Engine {
    /// Brings the members to what the plan and the grant allow. Returns what has to wait its turn, and until when.
    pub(super) async fn act(&self, work: &Work, step: &Step) -> Result<Option<Waits>, Trouble> {
        if work.ledger_is_lost() {
            return Ok(None);
        }
        // Before the claim: from then on the others' runs would only fail, or take the ownership back.
        self.adopt(work).await;
        // First of all of ours: what is to move must not begin anything new.
        let held_up = self.suspend_former(work).await;
        self.resume(work, step).await?;
        let mut waits = None;
        if let (Planned::Objects(assignment), Some(target)) = (&work.plan.push, &work.target)
            && work.may_push()
            && self.writes_to(&target.member)
        {
            waits = self.push(work, step, assignment, target).await?;
        } else {
            self.rollouts().forget(work.id);
        }
        if step.remove_claim {
            self.remove_claim(work).await?;
        }
        self.tidy_runs(work).await?;
        self.clear(work).await?;
        self.list(work, step).await?;
        held_up?;
        Ok(waits)
    }

    /// Where another replica writes the repository's record: what is to end in the members of this one ends. What the
    /// record is still to say comes first, as it does where one replica writes both.
    pub(super) async fn act_beside(&self, work: &Work, step: &Step) -> Result<(), Trouble> {
        self.rollouts().forget(work.id);
        self.forget_lists(work.id);
        if work.ledger_is_lost() {
            return Ok(());
        }
        let held_up = self.suspend_former(work).await;
        if step.ledger.is_none() {
            self.adopt(work).await;
            self.clear(work).await?;
        }
        held_up
    }

    /// Other members are another replica's to write to.
    pub(super) fn writes_to(&self, member: &MemberName) -> bool {
        self.settings.share.owns_member(member)
    }

    pub(super) fn member(&self, name: &MemberName) -> Result<Member, Trouble> {
        self.supervisor.member(name).ok_or_else(|| Trouble {
            reason: "MemberUnreachable",
            message: format!("member {name} has no registration that can be used"),
            retry: MENDED_BY_PEOPLE,
        })
    }

    async fn push(
        &self,
        work: &Work,
        step: &Step,
        assignment: &Assignment,
        target: &Target,
    ) -> Result<Option<Waits>, Trouble> {
        if target.contact != Contact::Synced {
            self.rollouts().forget(work.id);
            let message =
                format!("member {} can't be reached or is being read; what stands there stays", target.member);
            return Err(Trouble::new("MemberUnreachable", message));
        }
        let platform = self.platform(assignment, target)?;
        let context = self.context(&platform, work.epoch());
        let member = self.member(&target.member)?;
        let mut push = Push::new(&member, &self.settings.hub_id, &target.standing);
        let mut cron_job = cron_job::cron_job(assignment, &context, assignment.suspend || !step.run);
        let cron_job = if self.holds_back(work, target, &mut cron_job) { None } else { Some(&mut cron_job) };
        self.push_shared(&member, &target.standing, work.id).await?;
        let done = self.push_all(&mut push, assignment, target, &context, cron_job).await;
        self.note_push(&target.member, push.noted, work.id);
        done?;
        if let Some(token) = &step.manual {
            let job = cron_job::manual_job(assignment, &context, token);
            member.create_job(&self.settings.hub_id, &job).await?;
            info!(cluster = %target.member, repository = %work.id, token = &**token, "Job of a run by hand started");
        }
        let (Some(permit), Some(grant)) = (&step.claim, &work.grant) else { return Ok(None) };
        let since = grant.since.map(attempt).unwrap_or_default();
        let job = cron_job::claim_job(assignment, &context, permit.clone(), &since);
        let waits = self.turn(work.id, (&target.member, &push::name_of(&job)));
        if waits.is_none() {
            self.claim(work.id, &member, &job).await?;
        }
        Ok(waits)
    }

    async fn push_all(
        &self,
        push: &mut Push<'_>,
        assignment: &Assignment,
        target: &Target,
        context: &RenderContext<'_>,
        cron_job: Option<&mut CronJob>,
    ) -> Result<(), Trouble> {
        self.copy_secret(push, assignment, target, context).await?;
        self.copy_ca(push, assignment, target, context).await?;
        if let Some(cron_job) = cron_job {
            push.cron_job(cron_job).await?;
        }
        Ok(())
    }

    pub(super) fn context<'a>(&'a self, platform: &'a Platform, epoch: u64) -> RenderContext<'a> {
        RenderContext {
            hub_id: &self.settings.hub_id,
            namespace: &self.settings.member_namespace,
            member: platform,
            epoch,
            time_factor: self.settings.time_factor,
        }
    }

    pub(super) fn platform(&self, assignment: &Assignment, target: &Target) -> Result<Platform, Trouble> {
        let Some(facts) = &target.facts else {
            return Err(Trouble {
                retry: SOON,
                ..Trouble::new("MemberUnread", format!("member {} is being read", target.member))
            });
        };
        if !facts.namespace {
            let namespace = &self.settings.member_namespace;
            return Err(Trouble::new(
                "NamespaceMissing",
                format!(
                    "member {} has no namespace {namespace}: kubectl apply -f deploy/namespace.yaml there, then deploy/member",
                    target.member
                ),
            ));
        }
        let image = assignment.settings.image.as_deref().map(str::to_owned).or_else(|| target.mover_image.clone());
        let image = image.or_else(|| facts.mover_image.as_deref().map(str::to_owned));
        let Some(image) = image.or_else(|| self.settings.mover_image.clone()) else {
            return Err(Trouble::new(
                "NoMoverImage",
                format!(
                    "no mover image is known for member {}: its VolSync Deployment does not name one in \
                     RELATED_IMAGE_KOPIA_CONTAINER; set spec.moverImage of its MemberCluster, or --mover-image",
                    target.member
                ),
            ));
        };
        Ok(Platform {
            image,
            proxies: facts.proxy.0.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            openshift: facts.openshift,
            image_pull_secrets: target.image_pull_secrets.clone(),
        })
    }

    async fn copy_secret(
        &self,
        push: &mut Push<'_>,
        assignment: &Assignment,
        target: &Target,
        context: &RenderContext<'_>,
    ) -> Result<(), Trouble> {
        let name = push::copy_name(context.namespace, assignment.id);
        if target.secret_version.as_deref().is_some_and(|version| push.copy_is_current(&name, version)) {
            return Ok(());
        }
        // What is wanted and what stands are read at the same time.
        let (copy, live) =
            tokio::join!(self.secret_copy(assignment, context, push.member), push.standing_secret(&name));
        let copy = copy?;
        push.ensure_secret(copy.object, live?, &copy.version).await?;
        Ok(())
    }

    /// What the Job needs of the Secret as it is now.
    pub(super) async fn secret_copy(
        &self,
        assignment: &Assignment,
        context: &RenderContext<'_>,
        member: &Member,
    ) -> Result<WantedCopy, Trouble> {
        let values = self.read(&assignment.secret, ReferencedKind::Secret, member).await?;
        // The plan was made from what the Secret said a moment ago. A copy never gets contents of another identity.
        let kopia = match &assignment.source {
            Some(source) if self.world().planner.has_overrides(assignment) => member.read_kopia(source).await?,
            _ => None,
        };
        let copy = self.world().planner.copy_of(assignment, &values.data, &kopia.unwrap_or_default());
        let Some((_, data)) = copy.filter(|(key, _)| *key == assignment.key) else {
            let message = format!("Secret {} means another repository now", assignment.secret);
            return Err(Trouble { retry: SOON, ..Trouble::new("SecretChanged", message) });
        };
        let object = secret::copy(assignment, context, data, &values.resource_version);
        Ok(WantedCopy { object, version: values.resource_version.clone() })
    }

    async fn copy_ca(
        &self,
        push: &mut Push<'_>,
        assignment: &Assignment,
        target: &Target,
        context: &RenderContext<'_>,
    ) -> Result<(), Trouble> {
        let Some(ca) = &assignment.custom_ca else { return Ok(()) };
        let name = ObjectName::new(context.namespace, secret::ca_name(assignment.id));
        if target.ca_version.as_deref().is_some_and(|version| push.copy_is_current(&name, version)) {
            return Ok(());
        }
        let (copy, live) =
            tokio::join!(self.ca_copy(assignment, ca, context, push.member), push.standing_secret(&name));
        let copy = copy?;
        push.ensure_secret(copy.object, live?, &copy.version).await?;
        Ok(())
    }

    pub(super) async fn ca_copy(
        &self,
        assignment: &Assignment,
        ca: &CustomCa,
        context: &RenderContext<'_>,
        member: &Member,
    ) -> Result<WantedCopy, Trouble> {
        let (kind, from) = ca.placed(&assignment.secret);
        let values = self.read(&from, kind, member).await?;
        let bundle = push::bundle(&values, &ca.key, &from.to_string())
            .map_err(|message| Trouble::new("CustomCAMissing", message))?;
        let object = secret::ca_copy(assignment, context, bundle, &values.resource_version);
        Ok(WantedCopy { object, version: values.resource_version.clone() })
    }

    pub(super) async fn read(
        &self,
        from: &PlacedName,
        kind: ReferencedKind,
        member: &Member,
    ) -> Result<SecretValues, Trouble> {
        let values = match (&from.place, kind) {
            (Place::Hub, kind) => self
                .secrets
                .read(kind, &from.object)
                .await
                .map_err(|message| Trouble::new("SecretUnreadable", message))?,
            (Place::Member(_), ReferencedKind::Secret) => member.read_secret(&from.object).await?,
            (Place::Member(_), ReferencedKind::ConfigMap) => member.read_config_map(&from.object).await?,
        };
        let what = match kind {
            ReferencedKind::Secret => "Secret",
            ReferencedKind::ConfigMap => "ConfigMap",
        };
        values.ok_or_else(|| {
            Trouble::new("SecretMissing", format!("{what} {from} is not there; create it, or change the reference"))
        })
    }

    /// Makes the claim Job; the turn for it has been given.
    async fn claim(&self, id: RepositoryId, member: &Member, job: &Job) -> Result<(), Trouble> {
        let created = member.create_job(&self.settings.hub_id, job).await;
        // Where no answer came the Job may stand: the turn is taken until it must have ended.
        if created.as_ref().err().is_none_or(|error| error.class.may_have_been_done()) {
            self.world().claims.made(id, Self::now());
        }
        created?;
        info!(cluster = %member.name(), repository = %id, "claim Job started");
        Ok(())
    }

    /// Takes a turn to claim, or says what it waits for and until when.
    fn turn(&self, id: RepositoryId, place: (&MemberName, &ObjectName)) -> Option<Waits> {
        let max = self.settings.max_claims;
        let turn = self.world().claims.ask(id, place, max, Self::now());
        let Turn::Wait(InLine { ahead, expected }) = turn else { return None };
        self.call_next();
        let text = format!(
            "as many claims are under way in the fleet as --max-claims allows, {max}; {ahead} repositories come before \
             this one, whose claim is expected to start about {expected}"
        );
        Some((("ClaimQueued", text), expected))
    }

    async fn remove_claim(&self, work: &Work) -> Result<(), Trouble> {
        let (Some(grant), Some((name, guard))) = (&work.grant, &work.claim_job) else { return Ok(()) };
        let member = self.member(&grant.cluster)?;
        member.delete::<Job>(&self.settings.hub_id, name, guard).await?;
        Ok(())
    }

    /// A policy may keep no Jobs at all; the CronJob keeps one, and it goes once its outcome has been recorded.
    async fn tidy_runs(&self, work: &Work) -> Result<(), Trouble> {
        let (Planned::Objects(assignment), Some(grant)) = (&work.plan.push, &work.grant) else { return Ok(()) };
        let settings = &assignment.settings;
        for (done, (name, guard)) in
            work.runs.iter().filter(|done| done.recorded).filter_map(|it| it.job.as_ref().map(|job| (it, job)))
        {
            let limit = if done.report.outcome.is_success() {
                settings.successful_jobs_history_limit
            } else {
                settings.failed_jobs_history_limit
            };
            if limit == 0 && !self.settings.observe {
                self.member(&grant.cluster)?.delete::<Job>(&self.settings.hub_id, name, guard).await?;
            }
        }
        Ok(())
    }
}

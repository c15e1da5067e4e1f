//! Takes away what should not stand in the members.

use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::Secret;
use tracing::info;

use super::act::Trouble;
use super::engine::Engine;
use super::leftovers::{Copy, Leftover};
use super::work::Work;
use crate::member::Member;
use crate::member::event::ReferencedKind;
use crate::names::{ObjectName, PlacedName};
use crate::plan::result::Push as Planned;
use crate::time::scaled;

/// How long a copy outlives its source.
const COPY_KEPT: SignedDuration = SignedDuration::from_hours(24);

impl Engine {
    /// Takes away what should not stand: the CronJob once nothing of it runs, the Secrets after it.
    pub(super) async fn clear(&self, work: &Work) -> Result<(), Trouble> {
        let stays = matches!(work.plan.push, Planned::Keep);
        for leftover in work.leftovers.iter().filter(|leftover| self.writes_to(&leftover.member)) {
            if work.drains(leftover) {
                continue;
            }
            if stays {
                self.suspend(leftover, "suspended by a freeze").await?;
            } else if !work.is_holders(leftover) {
                self.clear_member(leftover).await?;
            }
        }
        Ok(())
    }

    /// True: it was not suspended before. The watch brings the new version, and with it the next step.
    async fn suspend(&self, leftover: &Leftover, why: &str) -> Result<bool, Trouble> {
        let Some((name, guard, _)) = leftover.cron_job.as_ref().filter(|(.., cron)| !cron.suspend) else {
            return Ok(false);
        };
        self.member(&leftover.member)?.set_suspended(name, guard, true).await?;
        info!(cluster = %leftover.member, object = %name, "{why}");
        Ok(true)
    }

    async fn clear_member(&self, leftover: &Leftover) -> Result<(), Trouble> {
        if self.suspend(leftover, "suspended before its removal").await? {
            return Ok(());
        }
        let member = self.member(&leftover.member)?;
        let hub = &self.settings.hub_id;
        if let Some((name, guard, _)) = &leftover.cron_job {
            if leftover.live == 0 && member.delete::<CronJob>(hub, name, guard).await? {
                info!(cluster = %leftover.member, object = %name, "removed");
            }
            return Ok(());
        }
        if leftover.live == 0 {
            for Copy { name, guard, source } in &leftover.secrets {
                if self.is_kept(&member, name, source.as_ref()).await {
                    continue;
                }
                if member.delete::<Secret>(hub, name, guard).await? {
                    info!(cluster = %leftover.member, object = %name, "removed");
                }
                self.gone_since((leftover.member.clone(), name.clone()), None);
            }
        }
        Ok(())
    }

    /// The copy of a Secret that has disappeared may be the last one that there is, so it stays for a day: whoever
    /// deleted that by mistake has it back. What can't be read now counts as gone too.
    async fn is_kept(&self, member: &Member, copy: &ObjectName, source: Option<&PlacedName>) -> bool {
        let Some(source) = source else { return false };
        if self.read(source, ReferencedKind::Secret, member).await.is_ok() {
            return false;
        }
        let now = Self::now();
        let since = self.gone_since((member.name().clone(), copy.clone()), Some(now)).unwrap_or(now);
        now.duration_since(since) < scaled(COPY_KEPT, self.settings.time_factor)
    }
}

//! A policy is suspended, disabled or deleted while a run of its repository goes on: the run ends in peace.

use std::path::{Path, PathBuf};

use futures::try_join;
use serde_json::Value;

use crate::harness::audit::{Mark, Request};
use crate::harness::cluster::Cluster;
use crate::harness::fleet::HUB_USER;
use crate::harness::objects::{S3, backed_up};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

use super::stage::{Maintained, SETTLED, Stage, far_schedule, find, get, policy, text};

/// Long enough for the hub to do something wrong while the run goes on, on a busy machine too.
const RUN_SECONDS: &str = "20";

/// A repository of which a run is under way.
struct Running<'a> {
    stage: &'a Stage,
    member: &'a Cluster,
    /// Of the policy, the namespace, the bucket and the Job.
    name: &'a str,
    before: Maintained,
    store: PathBuf,
}

impl<'a> Running<'a> {
    async fn start(stage: &'a Stage, name: &'a str) -> Result<Self, Fail> {
        let place = S3::bucket(name);
        place.create(&stage.fleet).await?;
        let bucket = format!("--bucket={name}");
        let store = stage.fleet.kopia(&["directory", "s3", &bucket, "--endpoint=s3.example.com"], &[]).await?;
        let store = Path::new(store.trim()).to_owned();
        let schedule = format!("schedule: {}", far_schedule());
        stage.apply(&policy(name, name, &[&schedule, "cycle: Quick"])).await?;
        let member = stage.fleet.member("member-a")?;
        backed_up(member, name, "backup", &place).await?;
        let before = stage.maintained(name).await?;
        std::fs::write(store.join("run-seconds"), RUN_SECONDS)?;
        stage.run(&before, name).await?;
        let running = Self { stage, member, name, before, store };
        wait_for(&format!("the run of {name} to be at work"), SETTLED, async || {
            let log = running.journal()?;
            Ok(Seen::when(log.lines().any(|line| line.starts_with("begin")), log))
        })
        .await?;
        Ok(running)
    }

    /// Who was in the repository when.
    fn journal(&self) -> Result<String, Fail> {
        Ok(std::fs::read_to_string(self.store.join("runs.log"))?)
    }

    async fn cron_job(&self) -> Result<Option<Value>, Fail> {
        let path = format!("/apis/batch/v1/namespaces/volsync-system/cronjobs/{}", self.before.name);
        find(self.member, &path).await
    }

    /// Waits until the CronJob starts nothing new, and looks that the run still goes on then, with its Secret.
    async fn held_back(&self) -> Result<(), Fail> {
        wait_for(&format!("the CronJob of {} to be suspended", self.name), SETTLED, async || {
            let cron_job = self.cron_job().await?.ok_or("the CronJob is gone though a run goes on")?;
            Ok(Seen::when(cron_job["spec"]["suspend"] == true, cron_job["spec"].to_string()))
        })
        .await?;
        let journal = self.journal()?;
        assert!(!journal.lines().any(|line| line.starts_with("end")), "the run was over too early: {journal}");
        let secret = format!("/api/v1/namespaces/volsync-system/secrets/{}", self.before.name);
        get(self.member, &secret).await?;
        let job = format!("/apis/batch/v1/namespaces/volsync-system/jobs/{}", self.name);
        assert_eq!(get(self.member, &job).await?["status"]["active"], 1);
        Ok(())
    }

    async fn ends_well(&self) -> Result<(), Fail> {
        let runs = self.stage.runs(self.name, 1).await?;
        assert_eq!(runs[0]["outcome"], "Succeeded", "{runs:?}");
        Ok(())
    }

    async fn state(&self, state: &str) -> Result<(), Fail> {
        wait_for(&format!("{} to be {state}", self.name), SETTLED, async || {
            let ledger = self.stage.repository(self.name).await?.unwrap_or_default();
            Ok(Seen::when(text(&ledger, "/status/state") == state, ledger["status"].to_string()))
        })
        .await
    }

    /// The same grant as before serves again, without a claim.
    async fn goes_on(&self) -> Result<(), Fail> {
        let again = self.stage.maintained(self.name).await?;
        let grant = |of: &Maintained| of.ledger["status"]["grant"].clone();
        assert_eq!(grant(&again), grant(&self.before));
        Ok(())
    }

    /// What the hub removed, in order, and that nothing of it went before the run was over.
    fn removed_in_order(&self) -> Result<(), Fail> {
        let log = self.member.audit().since(Mark::START)?;
        let place = |is: &dyn Fn(&Request) -> bool| log.iter().rposition(is);
        let deleted = |resource: &'static str| {
            let name = self.before.name.clone();
            move |it: &Request| {
                it.user == HUB_USER
                    && it.verb == "delete"
                    && it.resource == resource
                    && it.name == name
                    && it.code == 200
            }
        };
        let over = place(&|it| it.resource == "batch/jobs/status" && it.name == self.name);
        let (cron_job, secret) = (place(&deleted("batch/cronjobs")), place(&deleted("secrets")));
        assert!(over.is_some() && over < cron_job && cron_job < secret, "{over:?} {cron_job:?} {secret:?}");
        Ok(())
    }
}

async fn patch(stage: &Stage, name: &str, spec: &str) -> Result<(), Fail> {
    let command = format!("patch kopiamaintenance {name} --type=merge -p {{\"spec\":{{{spec}}}}}");
    stage.fleet.hub.shell.kubectl(&command).await?.ok().map(drop)
}

async fn suspended() -> Result<(), Fail> {
    let stage = Stage::shared().await?;
    let run = Running::start(stage, "levers-suspended").await?;
    patch(stage, run.name, "\"suspend\":true").await?;
    run.held_back().await?;
    run.ends_well().await?;
    run.state("Suspended").await?;
    let cron_job = run.cron_job().await?.ok_or("a suspended policy keeps its CronJob")?;
    assert_eq!(cron_job["spec"]["suspend"], true);
    patch(stage, run.name, "\"suspend\":false").await?;
    run.goes_on().await
}

async fn disabled() -> Result<(), Fail> {
    let stage = Stage::shared().await?;
    let run = Running::start(stage, "levers-disabled").await?;
    patch(stage, run.name, "\"enabled\":false").await?;
    run.held_back().await?;
    run.ends_well().await?;
    stage.gone(&run.before.name).await?;
    run.removed_in_order()?;
    run.state("Disabled").await?;
    patch(stage, run.name, "\"enabled\":true").await?;
    run.goes_on().await
}

async fn deleted() -> Result<(), Fail> {
    let stage = Stage::shared().await?;
    let run = Running::start(stage, "levers-deleted").await?;
    let delete = format!("delete kopiamaintenance {}", run.name);
    stage.fleet.hub.shell.kubectl(&delete).await?.ok()?;
    run.held_back().await?;
    run.ends_well().await?;
    stage.gone(&run.before.name).await?;
    run.removed_in_order()?;
    run.state("NoPolicy").await
}

#[test]
fn a_run_ends_in_peace_when_its_policy_is_suspended_disabled_or_deleted() -> Result<(), Fail> {
    harness::run(async { try_join!(suspended(), disabled(), deleted()).map(drop) })
}

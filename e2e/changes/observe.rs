//! A hub or a policy that only observes: everything is worked out and reported, and nothing is written to a member.

use serde_json::json;

use super::stage::{LONG, Stage, condition, cron_job, id, policy};
use crate::harness::fleet::Moment;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

#[test]
fn who_observes_reports_everything_and_writes_nothing_to_members() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::of_policies().await?;
        let mut hub = stage.hub.write().await;
        let (shell, member) = (&stage.fleet.hub.shell, stage.member("member-a")?);
        for name in ["observed-first", "observed-second"] {
            S3::bucket(name).create(&stage.fleet).await?;
        }
        objects::backed_up(member, "observed-first", "observed-repository", &S3::bucket("observed-first")).await?;
        let moment = stage.fleet.moment()?;

        // The whole hub.
        shell.apply(&policy("observed", "observed-*", "schedule: \"0 3 1 1 *\"")).await?;
        *hub = Some(stage.start_hub(&["--observe"]).await?);
        is_reported_only(stage, "observed-first", &moment).await?;
        stage.member_condition("member-a", ("Synced", "True", "Complete")).await?;
        hub.take().ok_or("no hub runs")?.stop()?;

        // One policy.
        let mode =
            |mode| format!("patch kopiamaintenance observed --type merge -p {{\"spec\":{{\"mode\":\"{mode}\"}}}}");
        shell.kubectl(&mode("Observe")).await?.ok()?;
        *hub = Some(stage.start_hub(&[]).await?);
        objects::backed_up(member, "observed-second", "observed-repository", &S3::bucket("observed-second")).await?;
        is_reported_only(stage, "observed-second", &moment).await?;
        is_reported_only(stage, "observed-first", &moment).await?;

        // Once it is enforced the same decision is carried out.
        shell.kubectl(&mode("Enforce")).await?.ok()?;
        let mut pushed = Vec::new();
        for bucket in ["observed-first", "observed-second"] {
            let id = id(&stage.maintained(bucket).await?);
            pushed.push(
                wait_for("the CronJob to be let go", LONG, async || {
                    let seen = cron_job(member, &id).await?;
                    Ok(if seen["spec"]["suspend"] == false { Seen::Done(seen) } else { Seen::NotYet(seen.to_string()) })
                })
                .await?,
            );
        }
        stage.policy_condition("observed", ("Ready", "True", "Reconciled")).await?;

        // Back to observing, what stands is left alone, whatever the policy says now.
        shell.kubectl(&mode("Observe")).await?.ok()?;
        stage.repository_when("observed-first", "to be observed again", |status| status["reason"] == "Observe").await?;
        let moment = stage.fleet.moment()?;
        let other = "patch kopiamaintenance observed --type merge -p {\"spec\":{\"schedule\":\"@weekly\"}}";
        shell.kubectl(other).await?.ok()?;
        let generation = stage.policy("observed").await?["metadata"]["generation"].clone();
        wait_for("the hub to know the new schedule", LONG, async || {
            let seen = stage.policy("observed").await?;
            Ok(Seen::when(seen["status"]["observedGeneration"] == generation, seen["status"].to_string()))
        })
        .await?;
        let first = id(&stage.repository("observed-first").await?);
        assert_eq!(cron_job(member, &first).await?["spec"], pushed[0]["spec"]);
        assert_eq!(writes_to_members(stage, &moment)?, Vec::<String>::new());
        shell.kubectl(&mode("Enforce")).await?.ok()?;
        wait_for("the CronJob to follow", LONG, async || {
            let schedule = cron_job(member, &first).await?["spec"]["schedule"].clone();
            Ok(Seen::when(schedule == "@weekly", schedule.to_string()))
        })
        .await?;
        stage.clear(&mut hub, member).await
    })
}

fn writes_to_members(stage: &Stage, since: &Moment) -> Result<Vec<String>, Fail> {
    Ok(stage.fleet.hub_writes(since)?.into_iter().filter(|write| !write.starts_with("hub: ")).collect())
}

/// The decision is in every status, nothing of it in a member.
async fn is_reported_only(stage: &Stage, bucket: &str, since: &Moment) -> Result<(), Fail> {
    let seen = stage.repository_when(bucket, "to be observed", |status| status["reason"] == "Observe").await?;
    let status = &seen["status"];
    assert_eq!((&status["state"], &status["policy"]), (&json!("Maintained"), &json!("observed")), "{seen}");
    assert_eq!(status["clusters"], json!([{"cluster": "member-a", "sources": 1, "ready": 1}]), "{seen}");
    assert!(status["grant"].is_null(), "{seen}");
    let maintained = condition(&seen, "Maintained");
    assert_eq!((&maintained["status"], &maintained["reason"]), (&json!("False"), &json!("Observe")), "{seen}");
    wait_for("the policy to list its source", LONG, async || {
        let seen = stage.policy("observed").await?;
        let matched = seen["status"]["matchedSources"].as_array().cloned().unwrap_or_default();
        Ok(Seen::when(matched.iter().any(|it| it["namespace"] == bucket), seen["status"].to_string()))
    })
    .await?;
    let policy = stage.policy("observed").await?;
    assert_eq!(policy["status"]["activeCronJobCount"], 0, "no CronJob is there: {policy}");
    assert!(cron_job(stage.member("member-a")?, &id(&seen)).await?.is_null());
    assert_eq!(writes_to_members(stage, since)?, Vec::<String>::new());
    Ok(())
}

//! A grant moves between real clusters while runs go on, by pin and by failover, and a run is started by hand.

use serde_json::{Value, json};

use super::moving::{Moving, gone};
use super::stage::{LONG, cron_job, id, object};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

#[test]
fn a_repository_moves_by_pin_and_by_failover_and_is_never_maintained_twice_at_once() -> Result<(), Fail> {
    harness::run(async {
        let moving = Moving::set("grants").await?;
        let hub = moving.stage.start_hub(&[]).await?;
        let first = moving.stage.maintained(&moving.bucket).await?;
        let (name, id) = (format!("kr-{}", id(&first)), id(&first));
        let holder = first["status"]["grant"]["cluster"].as_str().ok_or("no holder")?.to_owned();
        let other = if holder == "member-a" { "member-b" } else { "member-a" };
        let counted = |status: &Value| status["clusterCount"] == 2;
        moving.stage.repository_when(&moving.bucket, "to have two candidates", counted).await?;

        // While a run goes on there.
        moving.runs_in(&holder).await?;
        moving.lever(&name, &json!({"cluster": other})).await?;
        moving.held_by(other, 2).await?;
        gone(moving.member(&holder)?, &id).await?;
        moving.runs_in(other).await?;

        by_hand(&moving, (&name, &id), other).await?;
        failover(&moving, (&name, &id), (other, &holder)).await?;
        moving.runs_in(&holder).await?;
        moving.never_two_at_once()?;
        hub.stop().map(drop)
    })
}

/// Beside a schedule that fires in the same minute.
async fn by_hand(moving: &Moving, (name, id): (&str, &str), holder: &str) -> Result<(), Fail> {
    let member = moving.member(holder)?;
    moving.lever(name, &json!({"runNow": "tonight"})).await?;
    let seen = |status: &Value| status["runNowSeen"] == "tonight";
    moving.stage.repository_when(&moving.bucket, "to have been run by hand", seen).await?;
    let jobs = object(member, "/apis/batch/v1/namespaces/volsync-system/jobs").await?;
    let by_hand = |job: &&Value| job["metadata"]["name"].as_str().is_some_and(|name| name.contains("-now-"));
    let jobs: Vec<&Value> = jobs["items"].as_array().into_iter().flatten().filter(by_hand).collect();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["status"]["succeeded"], 1, "{}", jobs[0]["status"]);
    wait_for("the CronJob to go on", LONG, async || {
        let suspend = cron_job(member, id).await?["spec"]["suspend"].clone();
        Ok(Seen::when(suspend == false, suspend.to_string()))
    })
    .await?;
    moving.never_two_at_once()
}

/// The holder's API server can't be reached by the hub, and its own CronJob controller goes on.
async fn failover(moving: &Moving, (name, id): (&str, &str), (from, to): (&str, &str)) -> Result<(), Fail> {
    // Nothing but its being away shall keep it where it is.
    moving.lever(name, &json!({"cluster": null})).await?;
    moving.link(from)?.cut();
    let held = |status: &Value| status["state"] == "Held" && status["reason"] == "HolderUnreachable";
    moving.stage.repository_when(&moving.bucket, "to be held", held).await?;
    moving.runs_in(from).await?;
    let before = moving.stage.repository(&moving.bucket).await?["status"]["grant"].clone();
    assert_eq!((&before["cluster"], &before["epoch"]), (&json!(from), &json!(2)), "{before}");

    moving.lever(name, &json!({"failover": {"cluster": from, "epoch": 2}, "reason": "the line is dead"})).await?;
    moving.held_by(to, 3).await?;
    // What the former holder starts by itself is turned away.
    let member = moving.member(from)?;
    wait_for("a run of the former holder to be fenced", LONG, async || {
        let pods = object(member, "/api/v1/namespaces/volsync-system/pods").await?;
        let fenced =
            pods["items"].as_array().into_iter().flatten().any(|pod| pod["status"].to_string().contains("Fenced"));
        Ok(Seen::when(fenced, pods["items"].as_array().map_or(0, Vec::len).to_string()))
    })
    .await?;
    moving.link(from)?.mend();
    gone(member, id).await?;
    let after = moving.stage.repository(&moving.bucket).await?["status"]["grant"].clone();
    assert_eq!((&after["cluster"], &after["epoch"]), (&json!(to), &json!(3)), "{after}");
    Ok(())
}

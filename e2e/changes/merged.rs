//! Two places turn out to be one repository; it is wiped and made anew; and a mirror of it is told apart.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::moving::{HANDED_OVER, MEMBERS, Moving, gone, make};
use super::stage::{condition, cron_job, id};
use crate::harness::objects::S3;
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

const BUCKET: &str = "merged";
const ALIAS: &str = "merged-alias";

/// The KopiaRepository that holds the grant, and the one for which it stands.
async fn one_for_both(moving: &Moving, epoch: i64) -> Result<(Value, Value), Fail> {
    wait_for("one grant to be for both names", HANDED_OVER, async || {
        let seen = (moving.stage.repository(BUCKET).await?, moving.stage.repository(ALIAS).await?);
        let (first, second) = if id(&seen.0) < id(&seen.1) { seen } else { (seen.1, seen.0) };
        let grant = &first["status"]["grant"];
        let holds = grant["phase"] == "Active" && grant["epoch"].as_i64() > Some(epoch);
        let merged = second["status"]["state"] == "Merged" && second["status"]["merged"]["into"] == id(&first).as_str();
        let told = format!("{}\n{}", first["status"], second["status"]);
        Ok(if holds && merged { Seen::Done((first, second)) } else { Seen::NotYet(told) })
    })
    .await
}

fn epoch(repository: &Value) -> i64 {
    repository["status"]["grant"]["epoch"].as_i64().unwrap_or_default()
}

#[test]
#[ignore = "takes ten minutes: cargo test --all-features --test e2e merged -- --ignored"]
fn two_names_of_one_repository_get_one_grant_and_a_mirror_gets_its_own() -> Result<(), Fail> {
    harness::run(async {
        let alias = S3::bucket(ALIAS);
        let moving = Moving::set_at(BUCKET, &alias).await?;
        let hub = moving.stage.start_hub(&[]).await?;
        let (first, second) = one_for_both(&moving, 1).await?;
        assert_eq!(condition(&first, "Ambiguous")["status"], "True");
        for member in MEMBERS {
            gone(moving.member(member)?, &id(&second)).await?;
        }
        let holder = first["status"]["grant"]["cluster"].as_str().ok_or("no holder")?.to_owned();
        moving.runs_in(&holder).await?;
        moving.never_two_at_once()?;

        // Somebody wipes it and makes it anew, under the feet of everybody.
        let store = moving.place.store(&moving.stage.fleet);
        fs::remove_dir_all(&store)?;
        make(&moving.stage.fleet, &moving.place).await?;
        let (first, second) = one_for_both(&moving, epoch(&first)).await?;
        let holder = first["status"]["grant"]["cluster"].as_str().ok_or("no holder")?.to_owned();
        moving.runs_in(&holder).await?;
        moving.never_two_at_once()?;

        // Not in the middle of a run, which would end in the one place and have begun in the other.
        moving.journal.rests().await?;
        // A mirror is a copy with the same unique id, and with the same recorded owner.
        let other = alias.store(&moving.stage.fleet);
        fs::remove_file(&other)?;
        assert!(Command::new("cp").arg("-r").args([&store, &other]).status()?.success());
        moving.lever(&format!("kr-{}", id(&second)), &json!({"distinctFrom": id(&first)})).await?;
        for bucket in [BUCKET, ALIAS] {
            wait_for(&format!("{bucket} to be maintained on its own"), HANDED_OVER, async || {
                let seen = moving.stage.repository(bucket).await?;
                let holder = seen["status"]["grant"]["cluster"].as_str().unwrap_or_default();
                let alone = seen["status"]["grant"]["phase"] == "Active" && seen["status"]["clusterCount"] == 1;
                let free = alone && cron_job(moving.member(holder)?, &id(&seen)).await?["spec"]["suspend"] == false;
                Ok(Seen::when(free && seen["status"]["lastOutcome"] == "Succeeded", seen["status"].to_string()))
            })
            .await?;
        }
        moving.never_two_at_once()?;
        hub.stop().map(drop)
    })
}

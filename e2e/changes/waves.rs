//! Another mover image goes through the repositories of a real member in waves, between runs that start each minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::journal::Journal;
use super::moving::make;
use super::stage::{LONG, Stage, cron_job, id};
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

const BUCKETS: [&str; 4] = ["wave-one", "wave-two", "wave-three", "wave-four"];
const NEXT: &str = "registry.example.com/mover:next";
const SINCE: &str = "hub.volsync.backube/revision-since";

#[test]
fn another_image_goes_to_one_repository_first_and_to_the_rest_once_it_has_run_well() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::set("waves", &["member-a"]).await?;
        let member = stage.member("member-a")?;
        let mut journals: Vec<Journal> = Vec::new();
        for bucket in BUCKETS {
            let place = S3::bucket(bucket);
            journals.push(make(&stage.fleet, &place).await?);
            objects::backed_up(member, bucket, "repository", &place).await?;
        }
        stage.register("member-a")?;
        let policy = objects::policy_in("waves", &BUCKETS, "schedule: \"* * * * *\"\nactiveDeadlineSeconds: 600");
        stage.fleet.hub.shell.apply(&policy).await?;
        let hub = stage.start_hub(&["--mover-image=registry.example.com/mover:first"]).await?;
        let mut ids = BTreeMap::new();
        for bucket in BUCKETS {
            let ran = |status: &Value| status["lastOutcome"] == "Succeeded";
            ids.insert(bucket, id(&stage.repository_when(bucket, "to have been maintained", ran).await?));
        }

        let named = format!(
            "apiVersion: hub.volsync.backube/v1alpha1\nkind: MemberCluster\nmetadata: {{name: member-a}}\nspec: {{moverImage: {NEXT:?}}}\n"
        );
        stage.fleet.hub.shell.apply(&named).await?;
        let have = async || {
            let mut have = BTreeMap::new();
            for (bucket, id) in &ids {
                let cron_job = cron_job(member, id).await?;
                let container = &cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
                if container["image"] == NEXT {
                    have.insert(*bucket, cron_job["metadata"]["annotations"][SINCE].clone());
                }
            }
            Ok::<_, Fail>(have)
        };
        let first = wait_for("one to have it", LONG, async || {
            let have = have().await?;
            Ok(if have.is_empty() { Seen::NotYet("none".into()) } else { Seen::Done(have) })
        })
        .await?;
        assert_eq!(first.len(), 1, "{first:?}");
        let (canary, since) = first.iter().next().ok_or("no first one")?;
        let since: jiff::Timestamp = since.as_str().ok_or("since when is not said")?.parse()?;

        // Others follow only once the ledger tells of a run that began afterwards and went well.
        let mut told = BTreeSet::new();
        wait_for("all to have it", Duration::from_mins(8), async || {
            // Read before: what is there then was there when others got it.
            let had = have().await?;
            let runs = stage.repository(canary).await?["status"]["runs"].clone();
            let went_well = runs.as_array().into_iter().flatten().any(|run| {
                let start = run["start"].as_str().and_then(|start| start.parse::<jiff::Timestamp>().ok());
                run["outcome"] == "Succeeded" && start.is_some_and(|start| start >= since)
            });
            assert!(had.len() == 1 || went_well, "{had:?} before a run of {canary} since {since}: {runs}");
            told.insert(had.len());
            Ok(Seen::when(had.len() == BUCKETS.len(), format!("{had:?}")))
        })
        .await?;
        assert!(told.contains(&1), "{told:?}");
        for journal in &journals {
            journal.runs("a run after the rollout", |_| true).await?;
            journal.never_two_at_once()?;
        }
        hub.stop().map(drop)
    })
}

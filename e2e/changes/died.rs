//! The hub dies after every single write of a hand-over, and another process goes on from the ledger and the members alone.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::moving::{Moving, gone};
use super::stage::{Stage, id};
use crate::harness::audit::{Mark, Request};
use crate::harness::fleet::HUB_USER;
use crate::harness::hub::Hub;
use crate::harness::{self, Fail, tools};

/// A process that has nothing to write for so long has come to the end of it: less than a minute, for then a run is recorded.
const AT_REST: Duration = Duration::from_secs(25);
/// Milliseconds.
const AT_ONCE: i128 = 500;
/// Far more than a hand-over has writes.
const LIVES_MAX: usize = 120;

/// Writes in every cluster, oldest first. Leases and Events aside: they are nothing that anybody goes on from.
fn writes(stage: &Stage, since: jiff::Timestamp) -> Result<Vec<(jiff::Timestamp, String)>, Fail> {
    let mut found = Vec::new();
    for cluster in [&stage.fleet.hub].into_iter().chain(&stage.fleet.members) {
        let requests = cluster.audit().writes_by(HUB_USER, Mark::START)?;
        let counts = |it: &&Request| it.at > since && !it.resource.contains("leases");
        found.extend(requests.iter().filter(counts).map(|it| (it.at, format!("{} {}", it.verb, it.resource))));
    }
    found.sort();
    Ok(found)
}

#[test]
#[ignore = "takes ten minutes: cargo test --all-features --test e2e dies_after -- --ignored"]
fn a_hub_that_dies_after_every_write_of_a_hand_over_is_gone_on_from() -> Result<(), Fail> {
    harness::run(async {
        let moving = Moving::set("died").await?;
        let stage = &moving.stage;
        let hub = stage.start_hub(&[]).await?;
        let first = stage.maintained(&moving.bucket).await?;
        let (name, id) = (format!("kr-{}", id(&first)), id(&first));
        let holder = first["status"]["grant"]["cluster"].as_str().ok_or("no holder")?.to_owned();
        let other = if holder == "member-a" { "member-b" } else { "member-a" };
        let counted = |status: &Value| status["clusterCount"] == 2;
        stage.repository_when(&moving.bucket, "to have two candidates", counted).await?;
        moving.runs_in(&holder).await?;
        hub.stop()?;

        let began = jiff::Timestamp::now();
        moving.lever(&name, &json!({"cluster": other})).await?;
        let (mut deaths, started) = (Vec::new(), Instant::now());
        // Two of them, as a hub is installed: one leads, and when it dies the other one goes on.
        let crashing = || async { Hub::start(&stage.fleet, &stage.hub_options(&["--crash-after-write"])) };
        let mut lives = [crashing().await?, crashing().await?];
        let mut quiet = Instant::now();
        while quiet.elapsed() < AT_REST {
            for life in &mut lives {
                if life.ended()?.is_some() {
                    deaths.push(jiff::Timestamp::now());
                    assert!(deaths.len() < LIVES_MAX, "it comes to no end: {:#?}", writes(stage, began)?);
                    *life = crashing().await?;
                    quiet = Instant::now();
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            moving.never_two_at_once()?;
            let grant = stage.repository(&moving.bucket).await?["status"]["grant"].clone();
            if grant["phase"] != "Active" || grant["cluster"] != other {
                quiet = Instant::now();
            }
        }
        let all = writes(stage, began)?;
        tools::say(&format!(
            "a hand-over in {} lives took {} s and {} writes",
            deaths.len() + 1,
            started.elapsed().as_secs(),
            all.len()
        ));
        // A write that nobody died after would be one that does not pass the gate. What was on its way at the same moment
        // may have arrived.
        let mut from = began;
        for death in deaths.iter().copied() {
            let written: Vec<_> = all.iter().filter(|(at, _)| *at > from && *at <= death).collect();
            if let (Some((first, _)), Some((last, _))) = (written.first(), written.last()) {
                assert!(last.duration_since(*first).as_millis() < AT_ONCE, "went on writing: {written:#?}");
            }
            from = death;
        }
        assert!(all.iter().all(|(at, _)| *at <= from), "nobody died after the last of {all:#?}");
        assert!(deaths.len() >= 8, "{all:#?}");

        drop(lives);
        let hub = stage.start_hub(&[]).await?;
        let moved = moving.held_by(other, 2).await?;
        assert!(moved["status"]["drain"].is_null(), "{moved}");
        gone(moving.member(&holder)?, &id).await?;
        moving.runs_in(other).await?;
        moving.never_two_at_once()?;
        hub.stop().map(drop)
    })
}

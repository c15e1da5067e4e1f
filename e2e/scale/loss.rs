//! Members that vanish for good, whose repositories other members take over.

use std::time::{Duration, Instant};

use serde_json::json;

use super::cold;
use super::fleet::Size;
use super::report::Scenario;
use super::stage::Stage;
use crate::harness::Fail;
use crate::say;

/// One in twenty.
const LOST: [&str; 5] = ["member-*00", "member-*10", "member-*20", "member-*30", "member-*40"];
/// Of `failover.after`: the least.
const AFTER: &str = "1m";
/// Nobody takes over anything any more.
const DONE: Duration = Duration::from_secs(30);
const WITHIN: Duration = Duration::from_mins(20);

#[expect(clippy::cast_precision_loss, reason = "counts of repositories fit")]
pub async fn members(size: Size) -> Result<Scenario, Fail> {
    let stage = Stage::set(size).await?;
    stage.change_policy(&json!({"failover": {"mode": "Automatic", "after": AFTER}})).await?;
    let mut hub = stage.start_hub(&[])?;
    cold::start(&stage, &mut hub, "before the loss").await?;
    let before = held(&stage).await?;
    let began = stage.begin(&hub).await?;
    for lost in LOST {
        stage.fleet.faults(lost, &json!({"down": true})).await?;
    }
    let mut last = (before, Instant::now());
    while last.0 == before || last.1.elapsed() < DONE {
        if began.at.elapsed() > WITHIN {
            return Err(format!("nothing was taken over within {} s: {}", WITHIN.as_secs(), stage.last_words()).into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = held(&stage).await?;
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    let mut scenario = stage.end("member-loss", &hub, &began).await?;
    hub.stop()?;
    scenario.wall_s = (last.1 - began.at).as_secs_f64();
    say(&format!("of {before} repositories of lost members {} have another holder", before - last.0));
    scenario.notes = format!(
        "{} of {before} repositories of the lost members have another holder, the others have no source elsewhere; {AFTER} of \
         failover.after among it",
        before - last.0
    );
    scenario.goal("two runs in one repository", stage.fleet.collisions().await? as f64, 0.0);
    Ok(scenario)
}

/// Repositories that the lost members hold.
async fn held(stage: &Stage) -> Result<usize, Fail> {
    let mut held = 0;
    for lost in LOST {
        held += stage.fleet.held_by(lost).await?;
    }
    Ok(held)
}

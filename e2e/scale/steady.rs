//! What the hub does for a while by itself: while nothing happens, while backups run, while members are in trouble.

use std::time::Duration;

use serde_json::json;

use super::hub::Hub;
use super::report::Scenario;
use super::stage::Stage;
use crate::harness::Fail;

/// What follows from faults is over once nothing has been written for so long.
const SETTLED: Duration = Duration::from_secs(10);

/// It has so many cores at most.
async fn watch(stage: &Stage, name: &str, hub: &Hub, watched: Duration, cores: f64) -> Result<Scenario, Fail> {
    let began = stage.begin(hub).await?;
    tokio::time::sleep(watched).await;
    let mut scenario = stage.end(name, hub, &began).await?;
    scenario.goal("cores", scenario.cpu_s / scenario.wall_s, cores);
    Ok(scenario)
}

#[expect(clippy::cast_precision_loss, reason = "counts of minutes fit")]
pub async fn idle(stage: &Stage, hub: &Hub, watched: Duration) -> Result<Scenario, Fail> {
    let mut scenario = watch(stage, "idle", hub, watched, 0.05).await?;
    let hundreds = stage.fleet.size.members as f64 / 100.0;
    scenario.goal("writes to members", scenario.writes as f64, 0.0);
    let beyond_watches = (scenario.member_requests - scenario.watches) as f64;
    scenario.goal("requests/s/100 members beyond watches", beyond_watches / scenario.wall_s / hundreds, 2.0);
    scenario.goal("resident memory, MB", scenario.rss_mb, 250.0);
    Ok(scenario)
}

/// Each source's status changes every ten minutes.
#[expect(clippy::cast_precision_loss, reason = "counts of minutes fit")]
pub async fn churn(stage: &Stage, hub: &Hub, watched: Duration) -> Result<Scenario, Fail> {
    let size = stage.fleet.size;
    stage.fleet.changes(&json!({"backups": (size.members * size.sources) as f64 / 600.0})).await?;
    let mut scenario = watch(stage, "churn", hub, watched, 0.15).await?;
    stage.fleet.changes(&json!({})).await?;
    scenario.goal("writes to members", scenario.writes as f64, 0.0);
    Ok(scenario)
}

/// One member in ten is dead, one in twenty says nothing, one in twenty ends every watch at once.
pub async fn trouble(stage: &Stage) -> Result<(), Fail> {
    stage.fleet.faults("member-*0", &json!({"down": true})).await?;
    for digit in 0..10 {
        let fault = if digit < 5 { json!({"silent": true}) } else { json!({"endWatches": true}) };
        stage.fleet.faults(&format!("member-*{digit}1"), &fault).await?;
    }
    Ok(())
}

/// What it takes until the trouble is recorded, and what it costs from then on.
pub async fn faults(stage: &Stage, hub: &Hub, watched: Duration) -> Result<[Scenario; 2], Fail> {
    let began = stage.begin(hub).await?;
    trouble(stage).await?;
    tokio::time::sleep(SETTLED).await;
    stage.all_quiet(SETTLED).await?;
    let recorded = stage.end("faults-come", hub, &began).await?;
    Ok([recorded, watch(stage, "faults", hub, watched, 0.3).await?])
}

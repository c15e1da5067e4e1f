//! From nothing pushed to everything claimed and let go; and the same hub once more.

use std::time::Duration;

use super::hub::Hub;
use super::report::Scenario;
use super::stage::Stage;
use crate::harness::Fail;
use crate::say;

/// All repositories are claimed by then.
const CLAIMED_WITHIN: Duration = Duration::from_mins(30);
/// The last CronJob has been let go when members were not written to for so long.
const SETTLED: Duration = Duration::from_secs(2);
/// What is under way after a restart has ended when nothing was written for so long.
const QUIET: Duration = Duration::from_secs(10);

/// Until every repository is claimed and its CronJob let go; the time of the last write is the end.
pub async fn start(stage: &Stage, hub: &mut Hub, name: &str) -> Result<Scenario, Fail> {
    let began = stage.begin(hub).await?;
    let ready = hub.ready().await?;
    say(&format!("the hub is ready after {:.1} s", ready.as_secs_f64()));
    claimed(stage, stage.fleet.size.repositories).await?;
    let last = stage.quiet(SETTLED).await?;
    let mut scenario = stage.end(name, hub, &began).await?;
    scenario.wall_s = (last - began.at).as_secs_f64();
    Ok(scenario)
}

/// Waits until so many repositories are claimed.
pub async fn claimed(stage: &Stage, all: usize) -> Result<(), Fail> {
    stage.fleet.until_claimed(all, CLAIMED_WITHIN).await
}

/// A hub on what another one left.
#[expect(clippy::cast_precision_loss, reason = "counts of seconds fit")]
pub async fn restart(stage: &Stage, hub: &mut Hub) -> Result<Scenario, Fail> {
    let began = stage.begin(hub).await?;
    let ready = hub.ready().await?;
    stage.all_quiet(QUIET).await?;
    let mut scenario = stage.end("restart", hub, &began).await?;
    scenario.goal("seconds until it is ready", ready.as_secs_f64(), 30.0);
    scenario.goal("writes to members", scenario.writes as f64, 0.0);
    scenario.goal("resident memory, MB", scenario.rss_mb, 250.0);
    Ok(scenario)
}

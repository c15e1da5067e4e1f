//! Edits on a converged fleet: of one policy for all, and of one object after the other.

use std::time::{Duration, Instant};

use serde_json::json;

use super::hub::Hub;
use super::report::Scenario;
use super::stage::{Stage, stays_well};
use crate::harness::Fail;
use crate::measure::paths::OTHER_SCHEDULE;
use crate::measure::record::Chain;
use crate::measure::sample::{Edit, reactions};

const FOLLOWS_WITHIN: Duration = Duration::from_mins(10);
const SETTLED: Duration = Duration::from_secs(2);

#[expect(clippy::cast_precision_loss, reason = "counts of seconds fit")]
pub async fn none(stage: &Stage, hub: &Hub, name: &str) -> Result<Scenario, Fail> {
    let began = stage.begin(hub).await?;
    let took = stage.edit_policy(&json!({"priority": 1})).await?;
    let mut scenario = stage.end(name, hub, &began).await?;
    scenario.wall_s = took.as_secs_f64();
    scenario.goal("seconds until the policy's status is of it", took.as_secs_f64(), 1.0);
    scenario.goal("writes to members", scenario.writes as f64, 0.0);
    Ok(scenario)
}

/// Another schedule for every CronJob; the last write is the end.
pub async fn all(stage: &Stage, hub: &Hub, ruled: usize) -> Result<Scenario, Fail> {
    let began = stage.begin(hub).await?;
    stage.change_policy(&json!({"schedule": OTHER_SCHEDULE})).await?;
    // One apply of each CronJob.
    while (stage.fleet.asked().await? - began.asked).patches < ruled as u64 {
        if began.at.elapsed() > FOLLOWS_WITHIN {
            return Err("the CronJobs did not follow the policy".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let last: Instant = stage.quiet(SETTLED).await?;
    let mut scenario = stage.end("policy-edit-all", hub, &began).await?;
    scenario.wall_s = (last - began.at).as_secs_f64();
    Ok(scenario)
}

/// In members that stay well: for policies those repositories that have one of their own, for Secrets as many others.
pub fn pick(chains: &[Chain], edit: Edit) -> Vec<&Chain> {
    let tuned = |chain: &&Chain| stays_well(chain.member) && chain.policy != "all";
    let count = chains.iter().filter(tuned).count();
    if edit == Edit::Policy {
        return chains.iter().filter(tuned).collect();
    }
    let others: Vec<_> = chains.iter().filter(|chain| stays_well(chain.member) && chain.policy == "all").collect();
    let step = (others.len() / count.max(1)).max(1);
    others.into_iter().step_by(step).take(count).collect()
}

/// How long what follows from each edit took.
pub async fn react(stage: &Stage, chains: &[Chain], edit: Edit, samples: usize) -> Result<Vec<Duration>, Fail> {
    reactions(&stage.hub, &stage.members, &pick(chains, edit), edit, samples).await
}

/// As [`react`], with what it cost.
pub async fn reacting(
    stage: &Stage,
    hub: &Hub,
    chains: &[Chain],
    (name, edit): (&str, Edit),
    samples: usize,
) -> Result<Scenario, Fail> {
    let began = stage.begin(hub).await?;
    let times = react(stage, chains, edit, samples).await?;
    Ok(stage.end(name, hub, &began).await?.timed(&times))
}

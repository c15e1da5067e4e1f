//! How long a fleet is without a leader, when the one that leads is killed and when it is stopped.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use super::cold;
use super::edits;
use super::fleet::Size;
use super::hub::Hub;
use super::report::Scenario;
use super::stage::Stage;
use crate::harness::Fail;
use crate::measure::observe::Reactions;
use crate::measure::paths::{OTHER_SCHEDULE, POLICIES, SCHEDULE};
use crate::measure::record;
use crate::measure::sample::Edit;
use crate::measure::wire::MERGE;

const REPLICAS: &[&str] = &["--leader-election=true"];
const QUIET: Duration = Duration::from_secs(10);
const LEADS_WITHIN: Duration = Duration::from_mins(1);

/// From the signal until what an edit asks for that was made at the same moment stands in a member.
#[expect(clippy::cast_precision_loss, reason = "counts of requests fit")]
pub async fn all(size: Size) -> Result<Vec<Scenario>, Fail> {
    let stage = Stage::set(size).await?;
    let mut hubs = [stage.start_hub(REPLICAS)?, stage.start_hub(REPLICAS)?];
    hubs[1].ready().await?;
    cold::start(&stage, &mut hubs[0], "before the change of leader").await?;
    let chains = record::read(&stage.hub, &stage.members).await?;
    let chain = *edits::pick(&chains, Edit::Policy).first().ok_or("no policy rules a single repository")?;
    let mut found = Vec::new();
    for (name, signal, most, schedule) in
        [("takeover-killed", "KILL", 15.0, OTHER_SCHEDULE), ("takeover-stopped", "TERM", 2.0, SCHEDULE)]
    {
        stage.all_quiet(QUIET).await?;
        let leads = leader(&hubs).await?;
        let mut seen = Reactions::follow(std::iter::once(&stage.members[chain.member])).await?;
        let began = stage.begin(&hubs[1 - leads]).await?;
        hubs[leads].signal(signal)?;
        let at = Instant::now();
        let body = json!({"spec": {"schedule": schedule}}).to_string();
        stage.hub.send(Method::PATCH, &format!("{POLICIES}/{}", chain.policy), MERGE, body).await?;
        let took = seen.until(&chain.name, schedule).await? - at;
        let mut scenario = stage.end(name, &hubs[1 - leads], &began).await?;
        scenario.wall_s = took.as_secs_f64();
        scenario.goal("seconds until the other one acts", took.as_secs_f64(), most);
        // Some are due anyway, for facts; a fleet that is read anew takes seven of each member.
        scenario.goal("lists a member", scenario.lists as f64 / size.members as f64, 1.0);
        found.push(scenario);
        hubs[leads] = stage.start_hub(REPLICAS)?;
        hubs[leads].ready().await?;
    }
    Ok(found)
}

/// Which of the two.
async fn leader(hubs: &[Hub; 2]) -> Result<usize, Fail> {
    let began = Instant::now();
    while began.elapsed() < LEADS_WITHIN {
        for (number, hub) in hubs.iter().enumerate() {
            if hub.metric("volsync_hub_leader").await == Some(1.0) {
                return Ok(number);
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(format!("neither replica led within {} s", LEADS_WITHIN.as_secs()).into())
}

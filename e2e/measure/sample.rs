//! Edits one object after the other on a quiet fleet, and measures when what follows from it stands.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;

use super::observe::Reactions;
use super::paths::{OTHER_SCHEDULE, POLICIES, SCHEDULE};
use super::record::Chain;
use super::wire::{MERGE, Wire};
use crate::harness::Fail;

/// Between two edits: what follows from the one is over before the next.
const GAP: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edit {
    /// A policy's schedule on the hub, which changes a CronJob in a member.
    Policy,
    /// A source's Secret, which changes its copy.
    Secret,
}

/// The edits that are measured, and how the scenarios are called.
pub const REACTIONS: [(Edit, &str); 2] = [(Edit::Policy, "reaction-policy"), (Edit::Secret, "reaction-secret")];

/// Values that alternate: after two rounds everything is as before.
fn value(edit: Edit, round: usize) -> &'static str {
    match (edit, round % 2) {
        (Edit::Policy, 0) => OTHER_SCHEDULE,
        (Edit::Policy, _) => SCHEDULE,
        (Edit::Secret, 0) => "second",
        (Edit::Secret, _) => "first",
    }
}

/// From sending the edit to seeing what follows from it. Goes over the chains an even number of times, `samples` or
/// somewhat more in all.
pub async fn reactions(
    hub: &Wire,
    members: &[Wire],
    chains: &[&Chain],
    edit: Edit,
    samples: usize,
) -> Result<Vec<Duration>, Fail> {
    let here: BTreeSet<usize> = chains.iter().map(|chain| chain.member).collect();
    let mut seen = Reactions::follow(here.into_iter().map(|number| &members[number])).await?;
    let rounds = samples.div_ceil(chains.len()).next_multiple_of(2);
    let mut times = Vec::new();
    for round in 0..rounds {
        let value = value(edit, round);
        for chain in chains {
            tokio::time::sleep(GAP).await;
            let began = Instant::now();
            match edit {
                Edit::Policy => {
                    let path = format!("{POLICIES}/{}", chain.policy);
                    let body = json!({"spec": {"schedule": value}}).to_string();
                    hub.send(Method::PATCH, &path, MERGE, body).await?;
                    times.push(seen.until(&chain.name, value).await? - began);
                }
                Edit::Secret => {
                    let encoded = STANDARD.encode(value);
                    let body = json!({"data": {"AWS_SECRET_ACCESS_KEY": encoded}}).to_string();
                    members[chain.member].send(Method::PATCH, &chain.source, MERGE, body).await?;
                    times.push(seen.until(&chain.name, &encoded).await? - began);
                }
            }
        }
    }
    Ok(times)
}

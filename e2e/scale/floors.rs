//! The floors of a run, on a fleet of their own that is the same.

use std::time::Duration;

use super::cores;
use super::edits::react;
use super::fleet::Size;
use super::hub::CLAIMS_MAX;
use super::stage::Stage;
use crate::harness::Fail;
use crate::measure::child::Floor;
use crate::measure::floor::{Orders, Told, Work};
use crate::measure::record::Chain;
use crate::measure::sample::{Edit, REACTIONS};
use crate::say;

/// A floor that takes longer waits for something that does not come.
const WITHIN: Duration = Duration::from_mins(15);

/// What the floors took.
pub struct Floors {
    pub cold: Told,
    pub reactions: Vec<(Edit, Vec<Duration>)>,
    pub edit_all: Told,
}

pub async fn run(size: Size, chains: &[Chain], samples: usize) -> Result<Floors, Fail> {
    say("the floors, on the same fleet anew");
    let stage = Stage::set(size).await?;
    let cold = once(&stage, chains, Work::Cold).await?;
    say(&format!("cold-start: the floor took {:.1} s", cold.wall_s));
    let mut reactions = Vec::new();
    for (edit, name) in REACTIONS {
        let floor = floor(&stage, chains, Work::Follow).await?;
        reactions.push((edit, react(&stage, chains, edit, samples).await?));
        floor.told().await?;
        say(&format!("{name}: the floor is done"));
    }
    let edit_all = once(&stage, chains, Work::EditAll).await?;
    say(&format!("policy-edit-all: the floor took {:.1} s", edit_all.wall_s));
    Ok(Floors { cold, reactions, edit_all })
}

async fn floor(stage: &Stage, chains: &[Chain], work: Work) -> Result<Floor, Fail> {
    let orders = Orders {
        hub: stage.fleet.hub_kubeconfig(),
        members: stage.fleet.member_kubeconfigs()?,
        limited: true,
        work,
        claims: CLAIMS_MAX,
        chains: chains.to_vec(),
    };
    Floor::start(&orders, &stage.folder().join("floor.json"), cores::of_hub()).await
}

async fn once(stage: &Stage, chains: &[Chain], work: Work) -> Result<Told, Fail> {
    let mut floor = floor(stage, chains, work).await?;
    floor.go().await?;
    let told = tokio::time::timeout(WITHIN, floor.told()).await;
    told.map_err(|_| format!("the floor did not end within {} s", WITHIN.as_secs()))?
}

//! The fleet as a hub sees it that does nothing, for people who ask.

use std::time::Duration;

use kube::Config;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::engine::Engine;
use super::observed::{Observed, Start};
use super::run::Options;
use super::world::World;
use crate::hub::event::HubEvent;
use crate::member::MemberEvent;
use crate::plan::observe;
use crate::plan::result::Problem;
use crate::policy::PolicyRecord;

/// Nothing new for this long: the fleet has been read.
const QUIET: Duration = Duration::from_secs(1);

/// Observes until it is dropped.
pub struct Look {
    pub engine: Engine,
    /// Registrations that can't be used, and deletions that the running hub does not believe yet.
    pub problems: Vec<Problem>,
    /// Observers that nobody listens to would end.
    _events: (mpsc::Receiver<HubEvent>, mpsc::Receiver<MemberEvent>),
    _stop: DropGuard,
}

/// Waits until every member has been read or can't be reached, but no longer than `patience`. Nothing is written
/// anywhere. `policies` are taken as if they were applied.
pub async fn look(
    config: Config,
    options: &Options,
    policies: Vec<PolicyRecord>,
    patience: Duration,
) -> Result<Look, String> {
    let cancel = CancellationToken::new();
    let stop = cancel.clone().drop_guard();
    let mut fleet = Observed::start(config, options, Start::Look, &cancel).await?;
    for record in policies {
        let tried = observe::tried(fleet.world.planner.fleet(), record);
        fleet.world.apply_hub(HubEvent::Observed(tried));
    }
    fleet.published.publish(&mut fleet.world);
    let mut problems = Vec::new();
    let end = Instant::now() + patience;
    loop {
        // Registrations come in one by one, so that quiet is the only sign of being whole.
        let wait = if fleet.is_whole() { QUIET } else { patience };
        tokio::select! {
            () = tokio::time::sleep_until(end.min(Instant::now() + wait)) => break,
            Some(event) = fleet.hub.recv() => { fleet.world.apply_hub(event); }
            Some(event) = fleet.members.recv() => {
                if let MemberEvent::Problem { name, reason, message, .. } = &event {
                    problems.push(Problem { object: name.to_string(), reason, message: message.clone() });
                }
                fleet.world.apply_member(event);
            }
        }
        fleet.published.publish(&mut fleet.world);
    }
    problems.extend(holds(&fleet.world));
    let (engine, hub, members, _) = fleet.into_engine(options);
    Ok(Look { engine, problems, _events: (hub, members), _stop: stop })
}

/// Whoever looks anew sees what is there; the hub goes by what was there before.
fn holds(world: &World) -> impl Iterator<Item = Problem> {
    world.members.iter().filter_map(|(name, state)| {
        let conditions = &state.cluster.as_ref()?.status.as_ref()?.conditions;
        let held = conditions.iter().find(|it| it.type_ == "Synced" && it.reason == "ShrinkHeld")?;
        let message = format!("the running hub does not act upon this yet: {}", held.message);
        Some(Problem { object: format!("MemberCluster {name}"), reason: "ShrinkHeld", message })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::member_cluster::MemberCluster;
    use crate::names::MemberName;
    use crate::plan::planner::Planner;
    use crate::plan::testing::options;

    #[test]
    fn a_hold_of_the_running_hub_is_told_of() {
        let mut world = World::new(Planner::new(options()));
        for (name, reason) in [("held", "ShrinkHeld"), ("whole", "Complete")] {
            let condition = serde_json::json!({"type": "Synced", "status": "False", "reason": reason,
                "message": "5 of 6 are gone", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let object: MemberCluster = serde_json::from_value(serde_json::json!({
                "apiVersion": "hub.volsync.backube/v1alpha1", "kind": "MemberCluster", "metadata": {"name": name},
                "spec": {}, "status": {"conditions": [condition]}}))
            .unwrap();
            world.apply_hub(HubEvent::MemberCluster { name: MemberName::from(name), object: Some(Box::new(object)) });
        }
        let told: Vec<_> = holds(&world).collect();
        assert_eq!((told.len(), told[0].object.as_str(), told[0].reason), (1, "MemberCluster held", "ShrinkHeld"));
        assert!(told[0].message.ends_with("5 of 6 are gone"), "{}", told[0].message);
    }
}

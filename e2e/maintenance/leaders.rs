//! Two replicas of one hub: one leads, the other takes over when it stops, dies or is held up, and a change of the leader
//! writes nothing to a fleet that is as it should be.

use std::time::{Duration, Instant};

use crate::harness::fleet::Fleet;
use crate::harness::hub::Hub;
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

use super::converged::{calm, reads_of_the_hubs_secret, set_up, settled};
use super::stage::{SETTLED, Stage, find, policy, replica, text};

/// Until a replica that stands by leads: the Lease's 10 s, and a look a second.
const AFTER_A_CRASH: Duration = Duration::from_secs(15);
const AFTER_A_STOP: Duration = Duration::from_secs(2);

/// Three times the gap between two writes of one status.
const STATUS_GAPS: Duration = Duration::from_secs(3);

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/volsync-system/leases/volsync-hub";

/// How long it takes until a replica holds the Lease.
async fn until_leads(fleet: &Fleet, name: &str, since: Instant, at_most: Duration) -> Result<Duration, Fail> {
    wait_for(&format!("{name} to lead"), at_most.saturating_sub(since.elapsed()), async || {
        let lease = find(&fleet.hub, LEASE).await?.unwrap_or_default();
        let holder = text(&lease, "/spec/holderIdentity");
        Ok(Seen::when(holder.starts_with(&format!("{name}_")), format!("held by {holder:?}")))
    })
    .await?;
    Ok(since.elapsed())
}

/// The hub looks at everything again and again, and finds nothing to write.
async fn nothing_to_write(stage: &Stage, when: &str) -> Result<(), Fail> {
    let (since, mark) = (stage.fleet.moment()?, stage.fleet.hub.audit().mark()?);
    reads_of_the_hubs_secret(&stage.fleet, mark).await?;
    calm(&stage.fleet, &since, when)
}

/// Counts and times in a status follow a second after what they count.
async fn nothing_outstanding(stage: &Stage) -> Result<(), Fail> {
    wait_for("no write to be outstanding", SETTLED, async || {
        let since = stage.fleet.moment()?;
        tokio::time::sleep(STATUS_GAPS).await;
        let writes = stage.fleet.hub_writes(&since)?;
        Ok(Seen::when(writes.is_empty(), writes.join("; ")))
    })
    .await
}

/// Edits a policy, and waits until its CronJob follows.
async fn follows(stage: &Stage, minute: u8) -> Result<(), Fail> {
    edit(stage, minute).await?;
    let schedule = schedule(minute);
    let is = |found: &super::stage::Maintained| found.schedule() == schedule;
    stage.maintained_as("calm-alone", "its schedule to follow the policy", is).await.map(drop)
}

async fn edit(stage: &Stage, minute: u8) -> Result<(), Fail> {
    stage.apply(&policy("alone", "alone", &[&format!("schedule: {}", schedule(minute))])).await
}

/// Once a year, so that no run starts by itself.
fn schedule(minute: u8) -> String {
    format!("{minute} 4 29 2 *")
}

fn says(hub: &Hub, words: &str) -> bool {
    hub.log_text().lines().any(|line| line.contains(words))
}

#[test]
fn a_replica_that_stands_by_takes_over_and_a_change_of_leader_writes_nothing() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::start("leaders", &["member-a", "member-b"]).await?;
        set_up(&stage).await?;
        settled(&stage).await?;
        let Stage { fleet, hub: first } = stage;

        let second = replica(&fleet, "second").await?;
        assert!(!says(&second, "this replica leads"), "two replicas lead");
        let stopped = Instant::now();
        let ended = tokio::task::spawn_blocking(move || first.stop());
        let took = until_leads(&fleet, "second", stopped, AFTER_A_STOP).await?;
        eprintln!("after a graceful stop the other replica led within {took:.1?}");
        assert!(ended.await??.success());
        let stage = Stage { fleet, hub: second };
        nothing_to_write(&stage, "after a graceful change of leader").await?;
        follows(&stage, 1).await?;

        let Stage { fleet, hub: second } = stage;
        let third = replica(&fleet, "third").await?;
        let stage = Stage { fleet, hub: third };
        let heard = async |words: &str| {
            wait_for(&format!("the replica that stands by to say {words:?}"), AFTER_A_CRASH, async || {
                Ok(Seen::when(says(&stage.hub, words), stage.hub.process().last_words()))
            })
            .await
        };
        heard("the fleet has been looked at").await?;
        follows(&stage, 2).await?;
        // Both tell what a changed policy matches; the one that leads acts on it.
        heard("KopiaMaintenance alone").await?;
        settled(&stage).await?;
        nothing_outstanding(&stage).await?;
        let since = stage.fleet.moment()?;
        let killed = Instant::now();
        second.kill();
        let took = until_leads(&stage.fleet, "third", killed, AFTER_A_CRASH).await?;
        eprintln!("after a crash the other replica led within {took:.1?}");
        calm(&stage.fleet, &since, "while nobody led")?;
        nothing_to_write(&stage, "after a crash of the leader").await?;
        follows(&stage, 3).await?;

        // A leader that is held up past its Lease, with something to do.
        let Stage { fleet, hub: third } = stage;
        let fourth = replica(&fleet, "fourth").await?;
        third.process().signal("STOP")?;
        let held_up = Instant::now();
        let stage = Stage { fleet, hub: fourth };
        edit(&stage, 4).await?;
        until_leads(&stage.fleet, "fourth", held_up, AFTER_A_CRASH).await?;
        follows(&stage, 4).await?;
        settled(&stage).await?;
        nothing_outstanding(&stage).await?;
        let since = stage.fleet.moment()?;
        third.process().signal("CONT")?;
        wait_for("the former leader to step back", AFTER_A_CRASH, async || {
            Ok(Seen::when(says(&third, "does not lead any more"), third.process().last_words()))
        })
        .await?;
        nothing_to_write(&stage, "after a leader that was held up woke").await?;
        calm(&stage.fleet, &since, "by a leader that woke too late")
    })
}

//! One member's API server hangs or dies, or refuses the credentials: the others work as before, nothing is deleted, and
//! it is taken up again when it is back.

use std::time::{Duration, Instant};

use super::deleted::standing;
use super::stage::{LONG, Stage, condition, cron_job, id, policy};
use crate::harness::cluster::Cluster;
use crate::harness::fleet::HUB_USER;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

/// Edits in one series. The 95th percentile of 20 is the second largest: one that the machine disturbs does not decide.
const EDITS: usize = 20;
/// Longer than what follows an edit is held back for: each is a first one, which is acted upon at once.
const APART: Duration = Duration::from_millis(400);
/// Reactions are of tens of milliseconds, and the scheduler of a busy machine is not exact to so many.
const FLOOR: Duration = Duration::from_millis(20);
/// A busy machine may spoil a series; a member that disturbs the others spoils each.
const SERIES: usize = 4;
/// What the test itself edits and writes, to see how fast the API servers are without the hub.
const BARE: &str = "/api/v1/namespaces/default/configmaps/bare";

/// The 95th percentiles of one series.
#[derive(Clone, Copy, Debug)]
struct Reactions {
    /// From an edit of a policy on the hub to the CronJob in the member.
    hub: Duration,
    /// The same chain of requests without the hub, each in turn with one of those: an edit there, a watch that brings
    /// it here, a write to the member, a watch that brings that. What else the machine has to do slows both.
    bare: Duration,
}

fn p95(mut taken: Vec<Duration>) -> Duration {
    taken.sort();
    taken[taken.len() * 95 / 100 - 1]
}

/// Lines of a watch, one event each.
struct Lines(std::pin::Pin<Box<dyn futures::Stream<Item = std::io::Result<String>> + Send>>);

impl Lines {
    async fn of(cluster: &Cluster, path: &str) -> Result<Self, Fail> {
        use futures::AsyncBufReadExt as _;
        let stream = cluster.client.request_stream(http::Request::get(path).body(Vec::new())?).await?;
        Ok(Self(Box::pin(stream.lines())))
    }

    async fn until(&mut self, wanted: &str) -> Result<(), Fail> {
        use futures::StreamExt as _;
        let arrived = async {
            while let Some(line) = self.0.next().await {
                if line?.contains(wanted) {
                    return Ok(());
                }
            }
            Err(Fail::from("the watch ended"))
        };
        tokio::time::timeout(LONG, arrived).await?
    }
}

async fn merge(cluster: &Cluster, path: &str, change: &serde_json::Value) -> Result<(), Fail> {
    let request = http::Request::patch(path)
        .header("Content-Type", "application/merge-patch+json")
        .body(serde_json::to_vec(change)?)?;
    cluster.client.request::<serde_json::Value>(request).await?;
    Ok(())
}

async fn reactions(stage: &Stage, member: &Cluster, id: &str) -> Result<Reactions, Fail> {
    let hub = &stage.fleet.hub;
    let named = |collection: &str, name: &str| format!("{collection}?watch=1&fieldSelector=metadata.name={name}");
    for cluster in [hub, member] {
        cluster.shell.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: bare, namespace: default}}").await?;
    }
    let cron_jobs = named("/apis/batch/v1/namespaces/volsync-system/cronjobs", &format!("kopia-maintenance-{id}"));
    let mut cron_jobs = Lines::of(member, &cron_jobs).await?;
    let bare = named("/api/v1/namespaces/default/configmaps", "bare");
    let (mut edited, mut written) = (Lines::of(hub, &bare).await?, Lines::of(member, &bare).await?);
    let (mut through_hub, mut alone) = (Vec::new(), Vec::new());
    for minute in 0..EDITS {
        let schedule = format!("{minute} 4 1 1 *");
        let before = cron_job(member, id).await?["spec"]["schedule"].clone();
        assert_ne!(before, schedule.as_str(), "an edit that changes nothing");
        tokio::time::sleep(APART).await;
        let edit = serde_json::json!({"spec": {"schedule": schedule}});
        let began = Instant::now();
        merge(hub, "/apis/volsync.backube/v1alpha1/kopiamaintenances/near", &edit).await?;
        cron_jobs.until(&format!("\"schedule\":\"{schedule}\"")).await?;
        through_hub.push(began.elapsed());

        tokio::time::sleep(APART).await;
        let value = format!("{minute} of {:?}", Instant::now());
        let edit = serde_json::json!({"data": {"value": value}});
        let arrived = format!("\"value\":{}", serde_json::to_string(&value)?);
        let began = Instant::now();
        merge(hub, BARE, &edit).await?;
        edited.until(&arrived).await?;
        merge(member, BARE, &edit).await?;
        written.until(&arrived).await?;
        alone.push(began.elapsed());
    }
    // The first edit of the next series is a change again.
    let reset = "patch kopiamaintenance near --type merge -p {\"spec\":{\"schedule\":\"@yearly\"}}";
    hub.shell.kubectl(reset).await?.ok()?;
    wait_for("the edit after a series", LONG, async || {
        let seen = cron_job(member, id).await?["spec"]["schedule"].clone();
        Ok(Seen::when(seen == "@yearly", seen.to_string()))
    })
    .await?;
    Ok(Reactions { hub: p95(through_hub), bare: p95(alone) })
}

/// Compares series before with series while the other member is away: at most 1.2 times as slow, where the API servers
/// are as fast as before. The best of some series counts, as the machine is shared.
async fn as_fast_as(stage: &Stage, member: &Cluster, id: &str, before: Reactions, what: &str) -> Result<(), Fail> {
    let mut seen = Vec::new();
    for _ in 0..SERIES {
        let now = reactions(stage, member, id).await?;
        seen.push(now);
        let slower = (now.bare.as_secs_f64() / before.bare.as_secs_f64()).max(1.0);
        let bound = before.hub.mul_f64(1.2).max(before.hub + FLOOR).mul_f64(slower);
        if now.hub <= bound {
            harness::tools::say(&format!("{what}: p95 {now:?}; before {before:?}"));
            return Ok(());
        }
    }
    Err(format!("{what}: p95 of {seen:?}, before {before:?}").into())
}

#[test]
fn a_member_that_hangs_or_dies_slows_nobody_down_and_loses_nothing() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::set("away", &["near", "away"]).await?;
        stage.register("near")?;
        stage.register("away")?;
        let (near, away) = (stage.member("near")?, stage.member("away")?);
        for (member, place) in [(near, "near"), (away, "away")] {
            let bucket = S3::bucket(place);
            bucket.create(&stage.fleet).await?;
            objects::backed_up(member, place, place, &bucket).await?;
            stage.fleet.hub.shell.apply(&policy(place, place, "schedule: \"0 3 1 1 *\"")).await?;
        }
        let mut hub = stage.start_hub(&[]).await?;
        let near_id = id(&stage.maintained("near").await?);
        let granted = stage.maintained("away").await?;
        let away_id = id(&granted);
        wait_for("the CronJobs to be let go", LONG, async || {
            let seen = [cron_job(near, &near_id).await?, cron_job(away, &away_id).await?];
            Ok(Seen::when(seen.iter().all(|it| it["spec"]["suspend"] == false), "suspended"))
        })
        .await?;
        let before = standing(away).await?;
        let mark = away.audit().mark()?;
        let mut calm = reactions(&stage, near, &near_id).await?;
        let second = reactions(&stage, near, &near_id).await?;
        if second.hub < calm.hub {
            calm = second;
        }

        // It hangs: connections stay open, and nothing is answered.
        away.control_plane.api_server.signal("STOP")?;
        // Something to do for it: the hub runs into the silence at once.
        let edit = "patch kopiamaintenance away --type merge -p {\"spec\":{\"schedule\":\"@monthly\"}}";
        stage.fleet.hub.shell.kubectl(edit).await?.ok()?;
        as_fast_as(&stage, near, &near_id, calm, "a member has just begun to hang").await?;
        stage.member_condition("away", ("Reachable", "False", "NotAnswering")).await?;
        as_fast_as(&stage, near, &near_id, calm, "a member hangs and is known to").await?;
        stage.member_condition("near", ("Reachable", "True", "Answering")).await?;
        let held = stage.repository("away").await?;
        assert_eq!(held["status"]["grant"], granted["status"]["grant"], "{held}");

        away.control_plane.api_server.signal("CONT")?;
        stage.member_condition("away", ("Reachable", "True", "Answering")).await?;
        stage.member_condition("away", ("Synced", "True", "Complete")).await?;
        wait_for("what was edited meanwhile to arrive", LONG, async || {
            let seen = cron_job(away, &away_id).await?["spec"]["schedule"].clone();
            Ok(Seen::when(seen == "@monthly", seen.to_string()))
        })
        .await?;
        let after = standing(away).await?;
        assert!(before.iter().all(|(name, (uid, _))| after.get(name).is_some_and(|it| it.0 == *uid)), "{after:?}");
        let deletes = away.audit().writes_by(HUB_USER, mark)?;
        assert!(!deletes.iter().any(|it| it.verb.starts_with("delete")), "{deletes:?}");

        // It dies: connections are refused.
        away.control_plane.api_server.signal("KILL")?;
        as_fast_as(&stage, near, &near_id, calm, "a member has just died").await?;
        stage.member_condition("away", ("Reachable", "False", "NotAnswering")).await?;
        as_fast_as(&stage, near, &near_id, calm, "a member is dead and known to be").await?;
        let held = stage.repository("away").await?;
        assert_eq!(held["status"]["grant"], granted["status"]["grant"], "{held}");
        let synced = condition(&stage.member_cluster("away").await?, "Synced");
        assert_eq!((&synced["status"], &synced["reason"]), (&"Unknown".into(), &"NoContact".into()), "{synced}");

        assert!(hub.ended()?.is_none(), "the hub ended meanwhile");
        // It is started again as its node would: same address, same data.
        away.control_plane.restart_api_server().await?;
        stage.member_condition("away", ("Reachable", "True", "Answering")).await?;
        stage.member_condition("away", ("Synced", "True", "Complete")).await?;
        let back = standing(away).await?;
        assert_eq!(back, after, "a member that was dead gets no needless write");
        stage.maintained("away").await?;
        hub.stop()?;
        Ok(())
    })
}

#[test]
fn credentials_that_end_while_watches_are_open_are_told_of_and_new_ones_heal_that_member_alone() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::set("expiry", &["steady", "ends"]).await?;
        let (steady, ends) = (stage.member("steady")?, stage.member("ends")?);
        stage.register("steady")?;
        let file = stage.fleet.dir.join("ends-soon.kubeconfig");
        let group = "system:serviceaccounts";
        let place = S3::bucket("ends");
        place.create(&stage.fleet).await?;
        objects::backed_up(ends, "ends", "ends", &place).await?;
        stage.fleet.hub.shell.apply(&policy("ends", "ends", "schedule: \"0 3 1 1 *\"")).await?;
        let mut hub = stage.start_hub(&[]).await?;
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(75);
        ends.write_certificate_kubeconfig_until(&file, HUB_USER, group, Some(end))?;
        stage.write_registration("ends", &std::fs::read(&file)?)?;
        let granted = stage.maintained("ends").await?;
        let id = id(&granted);
        wait_for("the CronJob to be let go", LONG, async || {
            let seen = cron_job(ends, &id).await?;
            Ok(Seen::when(seen["spec"]["suspend"] == false, seen["spec"].to_string()))
        })
        .await?;
        let told = stage.member_cluster("ends").await?["status"]["credentialExpiry"].clone();
        let told: jiff::Timestamp = told.as_str().ok_or("no credentialExpiry")?.parse()?;
        assert_eq!(told.as_second(), end.as_second());
        assert!(jiff::Timestamp::now() < end, "they ended before the test began");
        let (before, mark) = (standing(ends).await?, ends.audit().mark()?);
        let steady_mark = steady.audit().mark()?;

        let said = stage.member_condition("ends", ("Reachable", "False", "Unauthorized")).await?;
        assert!(jiff::Timestamp::now() >= end, "too early");
        assert!(said.contains("ended at") && said.contains(&told.to_string()), "{said}");
        // Watches that were opened before go on, and hide nothing.
        ends.shell.kubectl("annotate replicationsource data -n ends example.com/touched=now").await?.ok()?;
        ends.shell.kubectl("annotate namespace ends example.com/touched=now").await?.ok()?;
        let edit = "patch kopiamaintenance ends --type merge -p {\"spec\":{\"schedule\":\"@monthly\"}}";
        stage.fleet.hub.shell.kubectl(edit).await?.ok()?;
        stage
            .repository_when("ends", "to wait for its member", |status| {
                status["conditions"].to_string().contains("refuses the credentials")
                    || status["state"] == "Held"
                    || status["state"] == "Maintained"
            })
            .await?;
        let reachable = condition(&stage.member_cluster("ends").await?, "Reachable");
        assert_eq!(reachable["reason"], "Unauthorized", "{reachable}");
        stage.member_condition("steady", ("Reachable", "True", "Answering")).await?;
        assert_eq!(stage.repository("ends").await?["status"]["grant"], granted["status"]["grant"]);
        assert_eq!(standing(ends).await?, before);

        // New ones: that member is served again, and what was edited meanwhile arrives.
        ends.write_certificate_kubeconfig_until(&file, HUB_USER, group, None)?;
        stage.write_registration("ends", &std::fs::read(&file)?)?;
        stage.member_condition("ends", ("Reachable", "True", "Answering")).await?;
        stage.member_condition("ends", ("Synced", "True", "Complete")).await?;
        wait_for("what was edited meanwhile to arrive", LONG, async || {
            let seen = cron_job(ends, &id).await?["spec"]["schedule"].clone();
            Ok(Seen::when(seen == "@monthly", seen.to_string()))
        })
        .await?;
        let writes = ends.audit().writes_by(HUB_USER, mark)?;
        assert!(!writes.iter().any(|it| it.verb.starts_with("delete")), "{writes:?}");
        let lists = steady.audit().by(HUB_USER, steady_mark)?;
        assert!(!lists.iter().any(|it| it.is_list() && it.resource == "volsync.backube/replicationsources"));
        assert!(hub.ended()?.is_none(), "the hub ended meanwhile");
        hub.stop()?;
        Ok(())
    })
}

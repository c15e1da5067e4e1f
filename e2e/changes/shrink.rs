//! Most of something is deleted at once: it is held for a while, told of, and nothing is removed until then.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::deleted::{kept, let_go, put_back, standing};
use super::stage::{LONG, Stage, condition, cron_job, id, object, policy};
use crate::harness::cluster::Cluster;
use crate::harness::fleet::HUB_USER;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

/// An hour, which the time factor makes a minute: as long as a busy machine may take to put something back.
const HOLD: &str = "--shrink-hold=1h";

/// The messages of Events with a reason, as `kubectl get events` has them.
async fn events(stage: &Stage, reason: &str) -> Result<Vec<String>, Fail> {
    let list = object(&stage.fleet.hub, "/apis/events.k8s.io/v1/events").await?;
    let with = list["items"].as_array().into_iter().flatten().filter(|it| it["reason"] == reason);
    Ok(with.map(|it| format!("{} {}: {}", it["type"], it["regarding"]["name"], it["note"])).collect())
}

async fn told(stage: &Stage, reason: &str, kind: &str) -> Result<String, Fail> {
    wait_for(&format!("an Event {reason} about {kind}"), LONG, async || {
        let seen = events(stage, reason).await?;
        Ok(Seen::some(seen.iter().find(|it| it.contains(kind)).cloned(), format!("{seen:?}")))
    })
    .await
}

fn deleted_by_hub(member: &Cluster, mark: harness::audit::Mark) -> Result<usize, Fail> {
    Ok(member.audit().writes_by(HUB_USER, mark)?.iter().filter(|it| it.verb.starts_with("delete")).count())
}

#[test]
fn what_shrinks_by_more_than_half_at_once_is_held_and_then_believed() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::set("shrinking", &["member-a"]).await?;
        stage.register("member-a")?;
        let member = stage.member("member-a")?;
        for (place, count) in [("many", 11), ("few", 3)] {
            let bucket = S3::bucket(place);
            bucket.create(&stage.fleet).await?;
            objects::backed_up(member, place, "repository", &bucket).await?;
            let more = (1..count).map(|number| objects::source(place, &format!("data-{number}"), "repository"));
            member.shell.apply(&more.collect::<String>()).await?;
        }
        let hub = stage.start_hub(&[HOLD]).await?;
        for place in ["many", "few"] {
            let of_one = objects::policy_in(place, &[place], "schedule: \"0 3 1 1 *\"");
            stage.fleet.hub.shell.apply(&of_one).await?;
        }
        let (many, few) = (id(&stage.maintained("many").await?), id(&stage.maintained("few").await?));
        stage.member_condition("member-a", ("Synced", "True", "Complete")).await?;

        sources_go_and_come_back(&stage, member, &many).await?;
        the_ledger_goes(&stage, member).await?;
        sources_go(&stage, member, &many).await?;
        policies_go(&stage, member, &few).await?;
        hub.stop()?;
        Ok(())
    })
}

async fn deleted_at_once(stage: &Stage, member: &Cluster) -> Result<(), Fail> {
    member.shell.kubectl("delete replicationsources --all -n many --wait=false").await?.ok()?;
    let said = stage.member_condition("member-a", ("Synced", "False", "ShrinkHeld")).await?;
    assert!(said.contains("ReplicationSource objects") && said.contains("60 min"), "{said}");
    Ok(())
}

/// A mistake that somebody mends in time.
async fn sources_go_and_come_back(stage: &Stage, member: &Cluster, many: &str) -> Result<(), Fail> {
    let (before, mark) = (let_go(member, 2).await?, member.audit().mark()?);
    let kept = member.shell.kubectl("get replicationsources -n many -o json").await?.ok()?;
    deleted_at_once(stage, member).await?;
    let said = told(stage, "ShrinkHeld", "ReplicationSource").await?;
    assert!(said.contains("Warning") && said.contains("member-a"), "{said}");
    let mut kept: Value = serde_json::from_str(&kept)?;
    for item in kept["items"].as_array_mut().into_iter().flatten() {
        item["metadata"] = serde_json::json!({"name": item["metadata"]["name"], "namespace": "many"});
    }
    member.shell.apply(&kept.to_string()).await?;
    told(stage, "ShrinkRestored", "ReplicationSource").await?;
    stage.member_condition("member-a", ("Synced", "True", "Complete")).await?;
    assert_eq!(standing(member).await?, before);
    assert!(member.audit().writes_by(HUB_USER, mark)?.is_empty());
    assert!(!cron_job(member, many).await?.is_null());
    Ok(())
}

/// `kubectl delete kopiarepositories --all`: members see nothing of it, and what was kept is put back as it was.
async fn the_ledger_goes(stage: &Stage, member: &Cluster) -> Result<(), Fail> {
    let (before, mark) = (standing(member).await?, member.audit().mark()?);
    let saved = kept(stage, "kopiarepositories").await?;
    let mut grants = Vec::new();
    for place in ["many", "few"] {
        let grant = stage.repository(place).await?["status"]["grant"].clone();
        grants.push((place, grant["cluster"].clone(), grant["epoch"].clone()));
    }
    stage.fleet.hub.shell.kubectl("delete kopiarepositories --all").await?.ok()?;
    told(stage, "ShrinkHeld", "KopiaRepository").await?;
    assert_eq!(standing(member).await?, before);
    put_back(stage, &saved).await?;
    for (place, cluster, epoch) in grants {
        let back = stage.maintained(place).await?;
        let grant = &back["status"]["grant"];
        assert_eq!((&grant["cluster"], &grant["epoch"]), (&cluster, &epoch), "{back}");
    }
    assert_eq!(standing(member).await?, before);
    let writes = member.audit().writes_by(HUB_USER, mark)?;
    assert!(writes.is_empty(), "{writes:#?}");
    Ok(())
}

/// It was meant: nothing goes while it is held, and then what served them does.
async fn sources_go(stage: &Stage, member: &Cluster, many: &str) -> Result<(), Fail> {
    let (mark, since) = (member.audit().mark()?, Instant::now());
    deleted_at_once(stage, member).await?;
    // For most of the hold: what follows its end may be there before the condition tells of it.
    let mut over = Ok(0);
    wait_for("the end of the hold", LONG, async || {
        let synced = condition(&stage.member_cluster("member-a").await?, "Synced");
        if synced["reason"] != "ShrinkHeld" {
            return Ok(Seen::Done(()));
        }
        let seen = deleted_by_hub(member, mark);
        if since.elapsed() < Duration::from_secs(50) {
            over = seen;
        }
        Ok(Seen::NotYet(synced.to_string()))
    })
    .await?;
    assert_eq!(over?, 0, "something was removed during the hold");
    told(stage, "ShrinkBelieved", "ReplicationSource").await?;
    // The copy of its Secret goes after it, in a step of its own.
    wait_for("what served them to go", LONG, async || {
        let left = standing(member).await?;
        let left: Vec<_> = left.into_keys().filter(|it| it.contains(many) && !it.contains("-claim-")).collect();
        Ok(Seen::when(left.is_empty(), format!("{left:?}")))
    })
    .await
}

/// One of two goes at once; the last one does not.
async fn policies_go(stage: &Stage, member: &Cluster, few: &str) -> Result<(), Fail> {
    let shell = &stage.fleet.hub.shell;
    shell.kubectl("delete kopiamaintenance many").await?.ok()?;
    let kept = policy("few", "*", "schedule: \"0 3 1 1 *\"");
    let (before, mark) = (standing(member).await?, member.audit().mark()?);
    shell.kubectl("delete kopiamaintenance few").await?.ok()?;
    let said = told(stage, "ShrinkHeld", "KopiaMaintenance").await?;
    assert!(said.contains("kopiamaintenances.volsync.backube"), "{said}");
    assert_eq!(standing(member).await?, before);
    shell.apply(&kept).await?;
    told(stage, "ShrinkRestored", "KopiaMaintenance").await?;
    stage.policy_condition("few", ("Ready", "True", "Reconciled")).await?;
    assert_eq!(deleted_by_hub(member, mark)?, 0);
    assert!(!cron_job(member, few).await?.is_null());

    shell.kubectl("delete kopiamaintenance few").await?.ok()?;
    told(stage, "ShrinkBelieved", "KopiaMaintenance").await?;
    wait_for("everything that was pushed to go", LONG, async || {
        let left = standing(member).await?;
        let left: Vec<_> =
            left.into_keys().filter(|it| it.starts_with("cronjobs/") || it.starts_with("secrets/")).collect();
        Ok(Seen::when(left.is_empty(), format!("{left:?}")))
    })
    .await
}

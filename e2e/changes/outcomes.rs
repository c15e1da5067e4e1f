//! Claims and runs that end in every way that there is, also while nobody watches, and what the ledger says of them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::stage::{HUB_ID, LONG, Stage, condition, cron_job, id, object, policy};
use crate::harness::cluster::Cluster;
use crate::harness::kubelet::{Answer, Rule};
use crate::harness::objects::{S3, namespace, source};
use crate::harness::wait::{PATIENCE, Seen, wait_for};
use crate::harness::{self, Fail};

/// What makes a run end in which way, once the repository has been claimed.
#[derive(Clone, Copy)]
enum Cause {
    Nothing,
    /// Another client has become the recorded owner since.
    Owner(&'static str, &'static str),
    /// The place has a fault.
    Fault(&'static str),
    /// A full run of somebody has begun, and not ended.
    FullRunUnderWay,
    OutOfMemory,
    /// As the script leaves it when its time is over: the least deadline is ten minutes.
    DeadlineExceeded,
    CannotStart,
}

/// The outcome, its cause, and words of the reason that a person reads.
const RUNS: [(&str, Cause, &str); 11] = [
    ("Succeeded", Cause::Nothing, "quick and full maintenance went well"),
    ("NotGranted", Cause::Owner("root", "somebody"), "the recorded owner is root@somebody"),
    ("Fenced", Cause::Owner("volsync-hub-1", "member-b.stage"), "a newer grant has taken over"),
    ("Busy", Cause::FullRunUnderWay, "has not ended"),
    ("ConnectFailed", Cause::Fault("connect"), "i/o timeout"),
    ("AuthFailed", Cause::Fault("auth"), "Access Denied"),
    ("ClockSkew", Cause::Fault("store-clock"), "too large"),
    ("Failed", Cause::Fault("fail"), ""),
    ("OutOfMemory", Cause::OutOfMemory, "memory"),
    ("DeadlineExceeded", Cause::DeadlineExceeded, "its whole time"),
    ("NotStarted", Cause::CannotStart, "no such file or directory"),
];

fn bucket(outcome: &str) -> String {
    format!("outcome-{}", outcome.to_lowercase())
}

#[test]
fn every_way_in_which_a_run_can_end_is_recorded_also_while_the_hub_is_down() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let member = stage.member("member-a")?;
        let hub = stage.hub.read().await;
        let names: Vec<_> = RUNS.iter().map(|(outcome, ..)| bucket(outcome)).collect();
        back_up(stage, member, "outcomes", &names).await?;
        back_up(stage, member, "minutely", &["minutely".to_owned()]).await?;
        let yearly = "schedule: \"0 3 1 1 *\"\nfailedJobsHistoryLimit: 5\nsuccessfulJobsHistoryLimit: 5";
        let minutely = "schedule: \"* * * * *\"\nfailedJobsHistoryLimit: 9\nsuccessfulJobsHistoryLimit: 9";
        let policies = [policy("outcomes", "outcome-*", yearly), policy("minutely", "minutely", minutely)];
        stage.fleet.hub.shell.apply(&policies.concat()).await?;
        for (outcome, ..) in RUNS {
            stage.maintained(&bucket(outcome)).await?;
        }
        for (outcome, cause, _) in RUNS {
            bring_about(stage, member, outcome, cause).await?;
        }
        for (outcome, ..) in RUNS {
            run_now(stage, member, &bucket(outcome), "first").await?;
        }
        for (outcome, _, words) in RUNS {
            check_first(stage, outcome, words).await?;
        }
        let table = stage.fleet.hub.shell.kubectl("get kopiarepositories").await?.ok()?;
        for (outcome, ..) in RUNS {
            let row = table.lines().find(|line| line.contains(&bucket(outcome))).ok_or("a repository without a row")?;
            assert!(row.split_whitespace().any(|word| word == outcome), "{row}");
        }
        stage.policy_condition("outcomes", ("Degraded", "True", "RunsFail")).await?;
        let anew = |status: &Value| status["grant"]["epoch"] == 2 && status["grant"]["phase"] == "Active";
        stage.repository_when(&bucket("Fenced"), "to be claimed anew from the other member", anew).await?;
        drop(hub);
        while_the_hub_is_down(stage, member).await?;
        let delete = "delete kopiamaintenance outcomes minutely";
        stage.fleet.hub.shell.kubectl(delete).await?.ok()?;
        stage.assert_discreet().await?;
        Ok(())
    })
}

/// A namespace with a source for each place; Secrets and sources have the buckets' names.
pub async fn back_up(stage: &Stage, member: &Cluster, name: &str, buckets: &[String]) -> Result<(), Fail> {
    let mut manifests = namespace(name, &[]);
    for bucket in buckets {
        let place = S3::bucket(bucket);
        place.create(&stage.fleet).await?;
        manifests += &(place.secret(name, bucket) + &source(name, bucket, bucket));
    }
    member.shell.apply(&manifests).await.map(drop)
}

async fn bring_about(stage: &Stage, member: &Cluster, outcome: &str, cause: Cause) -> Result<(), Fail> {
    let fleet = &stage.fleet;
    let place = S3::bucket(&bucket(outcome));
    let id = id(&stage.repository(&place.bucket).await?);
    let answer = |answer| {
        let labels = [("hub.volsync.backube/repository", id.as_str()), ("hub.volsync.backube/role", "run")];
        member.kubelet.answer(Rule::new("volsync-system", &labels, answer));
    };
    match cause {
        Cause::Nothing => {}
        Cause::Owner(user, host) => place.set_owner(fleet, user, host).await?,
        Cause::Fault(fault) => place.break_with(fleet, fault)?,
        Cause::FullRunUnderWay => {
            let path = place.store(fleet).join("schedule.json");
            let mut schedule: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
            let tomorrow = Timestamp::now() + SignedDuration::from_hours(24);
            schedule["nextFullMaintenance"] = json!(tomorrow.to_string());
            std::fs::write(&path, schedule.to_string())?;
        }
        Cause::OutOfMemory => answer(Answer::OutOfMemory),
        Cause::DeadlineExceeded => {
            let message = "stopped after 10790 s, its whole time, while full maintenance";
            answer(Answer::exit(1, json!({"outcome": "DeadlineExceeded", "message": message}).to_string()));
        }
        Cause::CannotStart => answer(Answer::CannotStart("exec: /bin/bash: no such file or directory".into())),
    }
    Ok(())
}

/// Starts a run as an administrator of the member does.
pub async fn run_now(stage: &Stage, member: &Cluster, bucket: &str, name: &str) -> Result<(), Fail> {
    let id = id(&stage.repository(bucket).await?);
    wait_for("the CronJob to be let go", LONG, async || {
        let seen = cron_job(member, &id).await?;
        Ok(Seen::when(seen["spec"]["suspend"] == false, seen["spec"].to_string()))
    })
    .await?;
    let cron_job = format!("kopia-maintenance-{id}");
    let create = format!("create job {bucket}-{name} -n volsync-system --from=cronjob/{cron_job}");
    member.shell.kubectl(&create).await?.ok().map(drop)
}

/// What the ledger says of the first run: its outcome, why, and what is to be done about it.
async fn check_first(stage: &Stage, outcome: &str, words: &str) -> Result<(), Fail> {
    let seen = stage
        .repository_when(&bucket(outcome), &format!("to have a run that ended {outcome}"), |status| {
            status["runs"].as_array().is_some_and(|runs| !runs.is_empty())
        })
        .await?;
    let (status, run) = (&seen["status"], &seen["status"]["runs"][0]);
    assert_eq!((&run["outcome"], &status["lastOutcome"]), (&json!(outcome), &json!(outcome)), "{status}");
    assert_eq!((&run["cluster"], &run["epoch"]), (&json!("member-a"), &json!(1)), "{status}");
    assert!(run["reason"].as_str().unwrap_or_default().contains(words), "{outcome}: {run}");
    assert!(run["start"].is_string() && run["end"].is_string(), "{run}");
    let good = outcome == "Succeeded";
    assert_eq!(status["consecutiveFailures"], if good { json!(0) } else { json!(1) }, "{status}");
    assert_eq!(status["lastSuccess"].is_string(), good, "{status}");
    // The hub claims it anew at once.
    if outcome != "Fenced" {
        let maintained = condition(&seen, "Maintained");
        let expected = match outcome {
            "Succeeded" => ("True", "Active"),
            "NotGranted" => ("False", "ForeignOwner"),
            _ => ("False", "RunFailed"),
        };
        assert_eq!((&maintained["status"], &maintained["reason"]), (&json!(expected.0), &json!(expected.1)), "{seen}");
        assert_eq!(condition(&seen, "Contended")["status"] == "True", outcome == "NotGranted", "{seen}");
    }
    let name = seen["metadata"]["name"].as_str().unwrap_or_default();
    wait_for(&format!("an event about the run of {name}"), PATIENCE, async || {
        let path = format!("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={name}");
        let events = object(&stage.fleet.hub, &path).await?;
        let of_run = |it: &&Value| it["reason"] == outcome && it["type"] == if good { "Normal" } else { "Warning" };
        let found = events["items"].as_array().into_iter().flatten().any(|it| of_run(&it));
        Ok(Seen::when(found, events["items"].to_string()))
    })
    .await
}

/// The names of a repository's ended Jobs in a member that are runs.
async fn ended_runs(member: &Cluster, id: &str) -> Result<Vec<String>, Fail> {
    let labels = format!("hub.volsync.backube/repository={id},hub.volsync.backube/role=run");
    let jobs = object(member, &format!("/apis/batch/v1/namespaces/volsync-system/jobs?labelSelector={labels}")).await?;
    let over = |job: &&Value| ["Complete", "Failed"].iter().any(|kind| condition(job, kind)["status"] == "True");
    let jobs = jobs["items"].as_array().into_iter().flatten().filter(over);
    Ok(jobs.filter_map(|job| job["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

/// What a repository's second run ends with, while no hub runs, and its first before: the causes of the first stand
/// still, but for two that change places, and one that was claimed anew.
fn second(outcome: &'static str) -> &'static str {
    match outcome {
        "AuthFailed" | "Fenced" => "Succeeded",
        "Succeeded" => "AuthFailed",
        other => other,
    }
}

/// A Job of each class that was started by hand, and those of a CronJob, end while no hub runs.
async fn while_the_hub_is_down(stage: &Stage, member: &Cluster) -> Result<(), Fail> {
    let minutely = id(&stage.maintained("minutely").await?);
    let mut hub = stage.hub.write().await;
    hub.take().ok_or("no hub runs")?.stop()?;
    S3::bucket(&bucket("AuthFailed")).mend(&stage.fleet, "auth")?;
    S3::bucket(&bucket("Succeeded")).break_with(&stage.fleet, "auth")?;
    let before = ended_runs(member, &minutely).await?;
    for (outcome, ..) in RUNS {
        run_now(stage, member, &bucket(outcome), "second").await?;
    }
    for (outcome, ..) in RUNS {
        let id = id(&stage.repository(&bucket(outcome)).await?);
        wait_for(&format!("both runs of {} to end", bucket(outcome)), LONG, async || {
            let ended = ended_runs(member, &id).await?;
            Ok(Seen::when(ended.len() == 2, format!("{ended:?}")))
        })
        .await?;
    }
    let alone = wait_for("the member to run one by itself", LONG + Duration::from_mins(1), async || {
        let ended = ended_runs(member, &minutely).await?;
        Ok(Seen::some(ended.iter().find(|name| !before.contains(name)).cloned(), format!("{ended:?}")))
    })
    .await?;
    let start = object(member, &format!("/apis/batch/v1/namespaces/volsync-system/jobs/{alone}")).await?;
    let start = start["status"]["startTime"].clone();
    *hub = Some(stage.start_hub(&[]).await?);
    drop(hub);
    for (outcome, ..) in RUNS {
        let seen = stage
            .repository_when(&bucket(outcome), "to have both of its runs", |status| {
                status["runs"].as_array().is_some_and(|runs| runs.len() >= 2)
            })
            .await?;
        let runs: Vec<_> = seen["status"]["runs"].as_array().into_iter().flatten().map(|run| &run["outcome"]).collect();
        assert_eq!(runs, [second(outcome), outcome], "{seen}");
    }
    recorded_once(stage, &start).await
}

/// The run that the member made by itself is in the ledger, and none is there twice.
async fn recorded_once(stage: &Stage, start: &Value) -> Result<(), Fail> {
    let seen = stage
        .repository_when("minutely", "to have the run that the member made by itself", |status| {
            status["runs"].as_array().is_some_and(|runs| runs.iter().any(|run| run["start"] == *start))
        })
        .await?;
    let runs = seen["status"]["runs"].as_array().cloned().unwrap_or_default();
    let starts: std::collections::BTreeSet<_> = runs.iter().map(|run| run["start"].to_string()).collect();
    assert_eq!(starts.len(), runs.len(), "a run was recorded twice: {runs:#?}");
    assert!(runs.iter().all(|run| run["outcome"] == "Succeeded"), "{runs:#?}");
    Ok(())
}

#[test]
fn a_claim_that_is_refused_or_undone_starts_nothing_and_says_why() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let _hub = stage.hub.read().await;
        let (fleet, member) = (&stage.fleet, stage.member("member-b")?);
        let (refused, undone) = (S3::bucket("claim-refused"), S3::bucket("claim-undone"));
        // An earlier grant of this hub, to a member that nobody knows any more; and an owner whose clock is an hour ahead.
        refused.create(fleet).await?;
        refused.set_owner(fleet, "volsync-hub-0", &format!("member-z.{HUB_ID}")).await?;
        undone.create_with(fleet, &[("KOPIA_STANDIN_CLOCK_OFFSET", "3600")]).await?;
        let mut manifests = namespace("claims", &[]);
        for place in [&refused, &undone] {
            manifests += &(place.secret("claims", &place.bucket) + &source("claims", &place.bucket, &place.bucket));
        }
        member.shell.apply(&manifests).await?;
        fleet.hub.shell.apply(&policy("claims", "claim-*", "schedule: \"* * * * *\"")).await?;
        for (place, reason, words) in [
            (&refused, "WaitingForFormerHolder", "member-z are waited for"),
            (&undone, "ClaimIneffective", "correct the clock of the former owner"),
        ] {
            let seen = stage
                .repository_when(&place.bucket, &format!("to end its claim {reason}"), |status| {
                    status["reason"] == reason
                })
                .await?;
            let maintained = condition(&seen, "Maintained");
            assert_eq!((&maintained["status"], &maintained["reason"]), (&json!("False"), &json!(reason)), "{seen}");
            assert!(maintained["message"].as_str().unwrap_or_default().contains(words), "{maintained}");
            let phase = if place.bucket == refused.bucket { "Draining" } else { "Claiming" };
            let grant = &seen["status"]["grant"];
            assert_eq!((&grant["epoch"], &grant["phase"]), (&json!(1), &json!(phase)), "{seen}");
            let pushed = cron_job(member, &id(&seen)).await?;
            assert_eq!(pushed["spec"]["suspend"], true, "{pushed}");
            assert_eq!(seen["status"]["notReady"].as_array().map_or(0, Vec::len), 0, "{seen}");
        }
        fleet.hub.shell.kubectl("delete kopiamaintenance claims").await?.ok()?;
        Ok(())
    })
}

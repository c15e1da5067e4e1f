//! Another image goes through the repositories of a member in waves, and an edit of a policy does not wait for that.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::bench::{Bench, NAMESPACE, id};
use crate::labels;

const BUCKETS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

async fn six() -> Bench {
    let bench = Bench::start(60).await;
    for bucket in BUCKETS {
        bench.back_up_as(bucket, &format!("repo-{bucket}"), bucket, &json!({}));
    }
    bench.policy(&json!({}));
    bench
        .until("all are maintained", || {
            BUCKETS
                .iter()
                .all(|bucket| bench.cron_job(bucket).is_some_and(|it| it["spec"]["suspend"] == false))
                .then_some(())
        })
        .await;
    bench
}

fn image(of: &Value) -> String {
    let container = &of["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    container["image"].as_str().unwrap().to_owned()
}

/// Buckets whose CronJobs have this image.
fn with(bench: &Bench, wanted: &str) -> Vec<&'static str> {
    BUCKETS.into_iter().filter(|bucket| bench.cron_job(bucket).is_some_and(|it| image(&it) == wanted)).collect()
}

fn mover(bench: &Bench, image: &str) {
    bench.hub_apply(&json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "MemberCluster",
        "metadata": {"name": "eu"}, "spec": {"moverImage": image}}));
}

/// Runs one by hand, and waits until the ledger tells that it went well.
async fn run(bench: &Bench, bucket: &str, token: &str) {
    let kind = ("hub.volsync.backube", "kopiarepositories");
    let record = format!("kr-{}", id(bucket));
    bench.hub.actor("user").merge(kind, ("", &record), &json!({"spec": {"runNow": token}})).unwrap();
    bench
        .until("it has been run", || {
            let status = bench.repository(bucket)?["status"].clone();
            (status["runNowSeen"] == token && status["runs"][0]["outcome"] == "Succeeded").then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_image_goes_to_one_repository_first_and_to_others_once_its_run_went_well() {
    let mut bench = six().await;
    mover(&bench, "mover:2");
    bench.until("the first has it", || (!with(&bench, "mover:2").is_empty()).then_some(())).await;
    // Longer than a repository waits before it asks again.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let first = with(&bench, "mover:2");
    assert_eq!(first.len(), 1, "one goes first: {first:?}");
    // Another process reads off what stands how far it is.
    bench.restart().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(with(&bench, "mover:2"), first);

    let mut tried = BTreeSet::new();
    while with(&bench, "mover:2").len() < BUCKETS.len() {
        let next = bench
            .until("the next wave", || {
                let has = with(&bench, "mover:2");
                let all = has.len() == BUCKETS.len();
                has.into_iter().find(|bucket| all || !tried.contains(bucket))
            })
            .await;
        if tried.insert(next) {
            run(&bench, next, "once").await;
        }
    }
    assert!(tried.len() < BUCKETS.len(), "the last wave does not wait for runs of its own: {tried:?}");
    let since =
        |bucket: &str| bench.cron_job(bucket).unwrap()["metadata"]["annotations"][labels::REVISION_SINCE].clone();
    assert!(BUCKETS.iter().all(|bucket| since(bucket).is_string()));
    let version = bench.settled().await;
    bench.restart().await;
    bench.settled().await;
    assert_eq!(bench.member.store().resource_version(), version, "nothing is written for what stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_a_policy_and_a_freeze_do_not_wait_for_a_rollout() {
    let bench = six().await;
    mover(&bench, "mover:2");
    bench.until("the first has it", || (!with(&bench, "mover:2").is_empty()).then_some(())).await;
    let kind = ("hub.volsync.backube", "kopiarepositories");
    let waits = BUCKETS.into_iter().find(|bucket| !with(&bench, "mover:2").contains(bucket)).unwrap();
    let freeze = json!({"spec": {"frozenUntil": "2999-01-01T00:00:00Z", "reason": "audit"}});
    bench.hub.actor("user").merge(kind, ("", &format!("kr-{}", id(waits))), &freeze).unwrap();
    bench.until("it is suspended", || bench.cron_job(waits).filter(|it| it["spec"]["suspend"] == true)).await;

    bench.policy(&json!({"nodeSelector": {"disk": "fast"}}));
    let edited = |bucket: &&str| {
        let cron_job = bench.cron_job(bucket).unwrap();
        cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["nodeSelector"]["disk"] == "fast"
    };
    bench.until("all follow the policy", || BUCKETS.iter().all(edited).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_gets_another_image_between_its_runs() {
    let bench = Bench::maintaining("bucket").await;
    bench.job_of("bucket", true);
    bench.until("its Job stands", || (!bench.list("jobs").is_empty()).then_some(())).await;
    mover(&bench, "mover:2");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(image(&bench.cron_job("bucket").unwrap()), "mover:1", "a Job of it has not ended");
    bench.member.actor("user").delete("batch", "jobs", NAMESPACE, "by-hand").unwrap();
    bench.until("it has the image", || bench.cron_job("bucket").filter(|it| image(it) == "mover:2")).await;
}

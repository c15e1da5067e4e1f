//! One run by hand, through the whole controller.

use serde_json::{Value, json};

use super::bench::Bench;

fn suspended(bench: &Bench, is: bool) -> Option<Value> {
    bench.cron_job("bucket").filter(|it| it["spec"]["suspend"] == is)
}

fn seen(token: &'static str) -> impl Fn(&Value) -> bool {
    move |status| status["runNowSeen"] == token
}

#[tokio::test(flavor = "multi_thread")]
async fn each_new_token_starts_one_run_while_the_cron_job_is_suspended() {
    let mut bench = Bench::maintaining("bucket").await;
    // One that is due in the same minute goes on, and is waited for.
    bench.job_of("bucket", false);
    bench.lever(&json!({"runNow": "first"}));
    bench.until("the CronJob is suspended", || suspended(&bench, true)).await;
    let told = bench.reason("RunByHand").await;
    assert!(told.contains("a run by hand was asked for"), "{told}");
    // Another replica goes on from the ledger.
    bench.restart().await;
    let status = bench.until("it has been run", || bench.ledger().filter(seen("first"))).await;
    let by_hand = |job: &Value| job["metadata"]["name"].as_str().unwrap().contains("-now-");
    let jobs: Vec<_> = bench.list("jobs").into_iter().filter(by_hand).collect();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["metadata"]["annotations"][crate::labels::RUN_NOW], "first");
    assert!(jobs[0]["metadata"]["ownerReferences"].is_null(), "it outlives the CronJob's own history");
    assert_eq!(status["runs"][0]["outcome"], "Succeeded", "{status}");
    assert_eq!(status["drain"], Value::Null);
    bench.until("the CronJob goes on", || suspended(&bench, false)).await;
    let version = bench.settled().await;
    bench.restart().await;
    bench.settled().await;
    assert_eq!(bench.member.store().resource_version(), version, "it is not run again");

    bench.lever(&json!({"runNow": "second"}));
    bench.until("it has been run again", || bench.ledger().filter(seen("second"))).await;
    assert_eq!(bench.list("jobs").into_iter().filter(by_hand).count(), 2);
    bench.until("the CronJob goes on", || suspended(&bench, false)).await;
    bench.never_two_at_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_run_by_hand_while_it_is_frozen() {
    let bench = Bench::maintaining("bucket").await;
    bench.lever(&json!({"frozenUntil": "2999-01-01T00:00:00Z", "reason": "audit"}));
    bench.until("it is frozen", || suspended(&bench, true)).await;
    bench.lever(&json!({"runNow": "now"}));
    let pending = |status: &Value| status["conditions"].to_string().contains("RunNowPending");
    let status = bench.until("it is told", || bench.ledger().filter(pending)).await;
    assert!(status["conditions"].to_string().contains("NotMaintained"), "{status}");
    bench.settled().await;
    assert!(!bench.list("jobs").iter().any(|job| job["metadata"]["name"].as_str().unwrap().contains("-now-")));
    bench.lever(&json!({"frozenUntil": null, "reason": null}));
    bench.until("it has been run", || bench.ledger().filter(seen("now"))).await;
}

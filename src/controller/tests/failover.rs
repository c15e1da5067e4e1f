//! A grant is taken from a member that can't be reached, that is retired, or that is said to be gone.

use serde_json::{Value, json};

use super::bench::{Bench, NAMESPACE, name};
use super::handover::{cron_job_in, held_by, two_candidates};
use crate::sim::SimCluster;

/// `eu`, which holds it, can't be reached any more and goes on by itself; `us` is a candidate.
async fn holder_is_away(failover: &Value) -> (Bench, SimCluster) {
    // As short as runs may be, so that who can't be seen is not waited for for long.
    let (bench, other) = two_candidates(&json!({"activeDeadlineSeconds": 600, "failover": failover})).await;
    bench.work_in(&other);
    away(&bench, true);
    (bench, other)
}

fn away(bench: &Bench, is: bool) {
    bench.member.faults().refuse_connections(is);
    bench.member.faults().drop_connections();
}

fn member(bench: &Bench, name: &str, spec: &Value) {
    let kind = ("hub.volsync.backube", "memberclusters");
    bench.hub.actor("user").merge(kind, ("", name), &json!({"spec": spec})).unwrap();
}

async fn moved(bench: &Bench, other: &SimCluster) {
    let waits = |status: &Value| status["grant"]["cluster"] == "us" && status["drain"][0]["cluster"] == "eu";
    bench.until("it is claimed, and the former holder is waited for", || bench.ledger().filter(waits)).await;
    assert!(bench.cron_job("bucket").is_some_and(|it| it["spec"]["suspend"] == false), "nobody can reach it");
    bench.until("the grant has moved", || bench.ledger().filter(held_by("us", 2))).await;
    bench.until("it runs there", || cron_job_in(other).filter(|it| it["spec"]["suspend"] == false)).await;
    bench.never_two_at_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_by_itself_and_by_the_operators_word_it_does() {
    let (bench, other) = holder_is_away(&json!({})).await;
    let held = |status: &Value| status["state"] == "Held" && status["reason"] == "HolderUnreachable";
    bench.until("it is held", || bench.ledger().filter(held)).await;
    bench.lever(&json!({"failover": {"cluster": "eu", "epoch": 1}, "reason": "eu burns"}));
    moved(&bench, &other).await;

    // What the former holder does by itself is harmless, and once it is back its objects go first.
    let job = bench.job_of("bucket", false);
    let fenced = |job: &Value| job["status"]["conditions"].to_string().contains("Failed");
    bench.until("a run there is turned away", || bench.get_of("batch", "jobs", &job).filter(fenced)).await;
    bench.never_two_at_once();
    away(&bench, false);
    bench.until("nothing is left there", || bench.cron_job("bucket").is_none().then_some(())).await;
    bench.until("nor a copy", || bench.get("secrets", &name("bucket")).is_none().then_some(())).await;
    // The lever was for that one grant.
    assert!(bench.ledger().is_some_and(|status| held_by("us", 2)(&status)));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_automatic_failover_another_member_takes_over_after_a_while() {
    let (bench, other) = holder_is_away(&json!({"mode": "Automatic", "after": "10m"})).await;
    let told = |status: &Value| status["conditions"].to_string().contains("another candidate takes over at");
    bench.until("when it does is told", || bench.ledger().filter(told)).await;
    moved(&bench, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_can_not_reach_most_of_the_fleet_takes_nothing_from_anybody() {
    let (bench, other) = holder_is_away(&json!({"mode": "Automatic", "after": "1m"})).await;
    other.faults().refuse_connections(true);
    other.faults().drop_connections();
    bench.reason("HolderUnreachable").await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let status = bench.ledger().unwrap();
    assert_eq!((&status["grant"]["cluster"], &status["grant"]["epoch"]), (&json!("eu"), &json!(1)), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_retired_member_holds_moves_and_nothing_of_it_is_left_there() {
    let (bench, other) = two_candidates(&json!({})).await;
    bench.work_in(&other);
    member(&bench, "eu", &json!({"lifecycle": "Retired"}));
    bench.until("the grant has moved", || bench.ledger().filter(held_by("us", 2))).await;
    bench.until("nothing is left", || bench.cron_job("bucket").is_none().then_some(())).await;
    bench.until("nor a copy", || bench.get("secrets", &name("bucket")).is_none().then_some(())).await;
    bench.never_two_at_once();
    // The last one: nobody maintains it any more.
    member(&bench, "us", &json!({"lifecycle": "Retired"}));
    let nobody = |status: &Value| status["state"] == "NoCandidate" && status["reason"] == "Ineligible";
    bench.until("nobody can", || bench.ledger().filter(nobody)).await;
    bench.until("nothing is left there either", || cron_job_in(&other).is_none().then_some(())).await;
    let copies = || other.actor("user").get("", "secrets", NAMESPACE, &name("bucket")).is_none().then_some(());
    bench.until("nor a copy there", copies).await;
    // And back: the epoch goes on where it was.
    member(&bench, "us", &json!({"lifecycle": "Active"}));
    bench.until("it is maintained again", || cron_job_in(&other).filter(|it| it["spec"]["suspend"] == false)).await;
    let status = bench.ledger().unwrap();
    assert!(status["grant"]["cluster"] == "us" && status["grant"]["epoch"].as_i64() >= Some(2), "{status}");
    bench.never_two_at_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_said_to_be_gone_loses_what_it_holds() {
    let (bench, other) = holder_is_away(&json!({})).await;
    bench.reason("HolderUnreachable").await;
    member(&bench, "eu", &json!({"lifecycle": "Forgotten"}));
    moved(&bench, &other).await;
    // It comes back after all: its objects go, and it gets nothing.
    away(&bench, false);
    bench.until("nothing is left there", || bench.cron_job("bucket").is_none().then_some(())).await;
    assert!(bench.ledger().is_some_and(|status| held_by("us", 2)(&status)));
}

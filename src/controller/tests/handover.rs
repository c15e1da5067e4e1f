//! A repository moves from one member to another, through the whole controller; the stand-in repository tells whether
//! two runs were ever in it at once.

use std::time::Duration;

use serde_json::{Value, json};

use super::bench::{Bench, NAMESPACE, id, name, place_of};
use crate::sim::SimCluster;

fn pin(bench: &Bench, cluster: &Value) {
    bench.lever(&json!({"cluster": cluster}));
}

pub fn cron_job_in(member: &SimCluster) -> Option<Value> {
    member.actor("user").get("batch", "cronjobs", NAMESPACE, &name("bucket"))
}

/// `eu` maintains it, and `us` is a candidate too.
pub async fn two_candidates(policy: &Value) -> (Bench, SimCluster) {
    let bench = Bench::start(60).await;
    bench.back_up("bucket", &json!({}));
    bench.policy(policy);
    bench.maintained().await;
    let other = bench.also_backed_up_in("us", "bucket").await;
    let both = |status: &Value| status["clusterCount"] == 2 && status["state"] == "Maintained";
    bench.until("both members are candidates", || bench.ledger().filter(both)).await;
    (bench, other)
}

pub fn held_by(cluster: &'static str, epoch: i64) -> impl Fn(&Value) -> bool {
    move |status| {
        let grant = &status["grant"];
        grant["phase"] == "Active" && grant["cluster"] == cluster && grant["epoch"] == epoch
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_moves_a_repository_after_the_former_holder_has_ended() {
    let (bench, other) = two_candidates(&json!({})).await;
    bench.work_in(&other);
    // A run that goes on while the repository moves.
    let job = bench.job_of("bucket", false);
    pin(&bench, &"us".into());
    let drains = |status: &Value| status["drain"][0]["cluster"] == "eu";
    bench.until("the ledger names the former holder", || bench.ledger().filter(drains)).await;
    let suspended = || cron_job_in(&bench.member).filter(|it| it["spec"]["suspend"] == true);
    bench.until("its CronJob is suspended", suspended).await;
    let at_once = cron_job_in(&other);
    assert!(at_once.is_none_or(|it| it["spec"]["suspend"] == true), "nobody runs before the claim");
    let moved = bench.until("the grant has moved", || bench.ledger().filter(held_by("us", 2))).await;
    assert_eq!((&moved["drain"], &moved["grant"]["from"]), (&Value::Null, &Value::Null));

    let conditions = |it: &Value| it["status"]["conditions"].to_string();
    let ended = |it: &Value| ["Complete", "Failed"].iter().any(|kind| conditions(it).contains(kind));
    assert!(bench.get_of("batch", "jobs", &job).is_none_or(|it| ended(&it)), "what ran has ended before");
    let recorded = |status: &Value| status["runs"].to_string().contains("\"cluster\":\"eu\"");
    bench.until("its run is recorded", || bench.ledger().filter(recorded)).await;
    bench.until("its CronJob runs there", || cron_job_in(&other).filter(|it| it["spec"]["suspend"] == false)).await;
    bench.until("nothing is left here", || bench.cron_job("bucket").is_none().then_some(())).await;
    bench.until("nor a copy", || bench.get("secrets", &name("bucket")).is_none().then_some(())).await;
    let repository = bench.repositories.all().into_values().next().unwrap();
    assert_eq!((repository.owner, repository.collisions), (format!("volsync-hub-2@us.{}.hub-t", id("bucket")), 0));
    // And back again.
    pin(&bench, &"eu".into());
    bench.until("the grant is back", || bench.ledger().filter(held_by("eu", 3))).await;
    bench.until("it runs here", || bench.cron_job("bucket").filter(|it| it["spec"]["suspend"] == false)).await;
    bench.until("nothing is left there", || cron_job_in(&other).is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_claim_can_start_the_former_holder_goes_on_under_its_epoch() {
    let (bench, other) = two_candidates(&json!({})).await;
    // Nothing runs the Jobs of `us`.
    pin(&bench, &"us".into());
    let claims = |status: &Value| status["grant"]["cluster"] == "us";
    bench.until("it is to claim", || bench.ledger().filter(claims)).await;
    let resumed = bench.until("it did not come through", || bench.ledger().filter(held_by("eu", 1))).await;
    assert_eq!(resumed["grant"]["highestEpoch"], 2, "no epoch is given twice");
    assert_eq!((&resumed["state"], &resumed["reason"]), (&json!("Held"), &json!("PinUnsatisfied")));
    bench.until("it is let go", || bench.cron_job("bucket").filter(|it| it["spec"]["suspend"] == false)).await;
    let annotation = bench.cron_job("bucket").unwrap()["metadata"]["annotations"][crate::labels::EPOCH].clone();
    assert_eq!(annotation, "1");
    pin(&bench, &Value::Null);
    let as_before = |status: &Value| status["state"] == "Maintained" && held_by("eu", 1)(status);
    bench.until("it is maintained as before", || bench.ledger().filter(as_before)).await;
    bench.until("nothing is left there", || cron_job_in(&other).is_none().then_some(())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.cron_job("bucket").unwrap()["spec"]["suspend"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_is_taken_up_with_a_higher_epoch() {
    let mut bench = Bench::maintaining("bucket").await;
    bench.stop().await;
    let repository = format!("kr-{}", id("bucket"));
    bench.hub.actor("user").delete("hub.volsync.backube", "kopiarepositories", "", &repository).unwrap();
    bench.run().await;
    let taken = bench.until("it is taken up", || bench.ledger().filter(held_by("eu", 2))).await;
    assert_eq!(taken["drain"], Value::Null);
    bench.until("it is let go", || bench.cron_job("bucket").filter(|it| it["spec"]["suspend"] == false)).await;
    let repository = bench.repositories.all().into_values().next().unwrap();
    assert_eq!((repository.owner, repository.collisions), (format!("volsync-hub-2@eu.{}.hub-t", id("bucket")), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_was_wiped_and_made_anew_is_claimed_at_once() {
    let bench = Bench::maintaining("bucket").await;
    bench.repositories.create(&place_of("bucket"), "password", "somebody@laptop");
    bench.repositories.change(&place_of("bucket"), |it| it.unique_id = "ab".repeat(32)).unwrap();
    bench.job_of("bucket", false);
    let moved = bench.until("it is claimed anew", || bench.ledger().filter(held_by("eu", 2))).await;
    assert_eq!(moved["history"][0]["why"], "Replaced");
    assert_eq!(moved["uniqueID"], "ab".repeat(32).as_str());
    let replaced = moved["conditions"].as_array().unwrap().iter().find(|it| it["type"] == "Replaced").unwrap();
    assert_eq!((&replaced["status"], &replaced["reason"]), (&json!("True"), &json!("UniqueIDChanged")));
    let owner = bench.repositories.get(&place_of("bucket")).unwrap().owner;
    assert_eq!(owner, format!("volsync-hub-2@eu.{}.hub-t", id("bucket")));
    bench.until("it is let go", || bench.cron_job("bucket").filter(|it| it["spec"]["suspend"] == false)).await;
}

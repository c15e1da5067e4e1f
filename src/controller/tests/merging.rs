//! Two Secrets turn out to mean one repository, through the whole controller; and to mean two after all.

use std::time::Duration;

use serde_json::{Value, json};

use super::bench::{Bench, NAMESPACE, id, name, place_of};
use crate::sim::SimCluster;

/// Two buckets of which the second has a smaller id, or a larger one.
fn buckets(smaller: bool) -> (&'static str, String) {
    let found = (0..1000).map(|number| format!("other-{number}")).find(|it| (id(it) < id("bucket")) == smaller);
    ("bucket", found.unwrap())
}

fn cron_job(member: &SimCluster, bucket: &str) -> Option<Value> {
    member.actor("user").get("batch", "cronjobs", NAMESPACE, &name(bucket))
}

/// CronJobs that may start something, in both members.
fn free(bench: &Bench, other: &SimCluster) -> Vec<String> {
    let all = [&bench.member, other].map(|member| member.actor("user").list("batch", "cronjobs"));
    let free = all.into_iter().flatten().filter(|it| it["spec"]["suspend"] == false);
    free.map(|it| it["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn grant(bench: &Bench, bucket: &str) -> Value {
    bench.repository(bucket).map(|it| it["status"]["grant"].clone()).unwrap_or_default()
}

fn owner_of(grant: &Value, id: &str) -> String {
    format!("volsync-hub-{}@{}.{id}.hub-t", grant["epoch"], grant["cluster"].as_str().unwrap_or_default())
}

async fn merged(bench: &Bench, other: &SimCluster, first: &str, second: &str, epoch: u64) {
    bench
        .until("one grant is for both", || {
            let grant = grant(bench, first);
            (grant["phase"] == "Active" && grant["epoch"].as_u64() >= Some(epoch)).then_some(())
        })
        .await;
    let told = bench
        .until("the other record says which one stands for it", || {
            bench.repository(second).filter(|it| it["status"]["merged"]["into"] == id(first).as_str())
        })
        .await;
    assert_eq!((&told["status"]["state"], &told["status"]["grant"]), (&json!("Merged"), &Value::Null), "{told}");
    bench
        .until("nothing is left of the other name", || {
            let gone = cron_job(&bench.member, second).is_none() && cron_job(other, second).is_none();
            (gone && free(bench, other) == [name(first)]).then_some(())
        })
        .await;
    let conditions = bench.repository(first).unwrap()["status"]["conditions"].to_string();
    assert!(conditions.contains("\"Ambiguous\""), "{conditions}");
}

/// A store goes by two names of which the hub does not know that they are one.
async fn one_store_by_two_names(newcomer_is_smaller: bool) {
    let (known, unknown) = buckets(newcomer_is_smaller);
    let bench = Bench::maintaining(known).await;
    bench.repositories.alias(&place_of(&unknown), &place_of(known));
    // A run that goes on while it is found out.
    bench.job_of(known, false);
    let other = bench.also_backed_up_in("us", &unknown).await;
    bench.work_in(&other);
    let (first, second) = if newcomer_is_smaller { (unknown.as_str(), known) } else { (known, unknown.as_str()) };
    merged(&bench, &other, first, second, 2).await;
    let holder = grant(&bench, first);
    let owner = bench.repositories.get(&place_of(known)).unwrap().owner;
    assert_eq!(owner, owner_of(&holder, &id(first)));
    bench.never_two_at_once();
    let written = bench.settled().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.member.store().resource_version(), written, "it is at rest");
    assert_eq!(grant(&bench, first), holder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_is_a_known_repository_joins_it() {
    one_store_by_two_names(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_is_a_known_repository_and_has_the_smaller_id_stands_for_both() {
    one_store_by_two_names(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_taken_for_the_same_until_the_operator_says_otherwise() {
    let (original, mirror) = buckets(false);
    let bench = Bench::maintaining(original).await;
    let copied = bench.repositories.get(&place_of(original)).unwrap();
    let unique = copied.unique_id;
    // With the owner that was recorded at the time.
    bench.repositories.create(&place_of(&mirror), "password", &copied.owner);
    bench.repositories.change(&place_of(&mirror), |it| it.unique_id.clone_from(&unique)).unwrap();
    let other = bench.also_backed_up_in("us", &mirror).await;
    bench.work_in(&other);
    merged(&bench, &other, original, &mirror, 2).await;

    let repository = (("hub.volsync.backube", "kopiarepositories"), ("", format!("kr-{}", id(&mirror))));
    let says = json!({"spec": {"distinctFrom": id(original)}});
    bench.hub.actor("user").merge(repository.0, (repository.1.0, &repository.1.1), &says).unwrap();
    let active = |bucket: &str| grant(&bench, bucket)["phase"] == "Active";
    bench.until("both have a grant", || (active(original) && active(&mirror)).then_some(())).await;
    let told = bench.repository(&mirror).unwrap()["status"].clone();
    assert_eq!((&told["merged"], &told["history"][0]["why"]), (&Value::Null, &json!("Split")), "{told}");
    let both = [name(original), name(&mirror)];
    bench
        .until("both are let go", || {
            let mut free = free(&bench, &other);
            free.sort();
            let mut both = both.to_vec();
            both.sort();
            (free == both).then_some(())
        })
        .await;
    for bucket in [original, mirror.as_str()] {
        let (grant, owner) = (grant(&bench, bucket), bench.repositories.get(&place_of(bucket)).unwrap().owner);
        assert_eq!(owner, owner_of(&grant, &id(bucket)), "{bucket}");
    }
    bench.never_two_at_once();
}

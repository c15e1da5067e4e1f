//! A member with many repositories vanishes, and the others take them all over at once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::bench::{Bench, secret};
use crate::sim::SimCluster;

fn buckets(repositories: usize) -> impl Iterator<Item = String> {
    (0..repositories).map(|number| format!("bucket-{number:03}"))
}

/// Backs up into every bucket, by sources that their Secrets are called after.
fn back_up(bench: &Bench, member: &SimCluster, repositories: usize) {
    for bucket in buckets(repositories) {
        bench.apply(member, &secret("default", &bucket, &bucket));
        let mut source = crate::member::tests::world::source(&bucket);
        source["spec"]["kopia"]["repository"] = bucket.as_str().into();
        bench.apply(member, &source);
    }
}

/// How many repositories each member holds with its claim behind it, and under which epochs.
fn held(bench: &Bench) -> BTreeMap<String, (usize, BTreeSet<u64>)> {
    let mut held: BTreeMap<String, (usize, BTreeSet<u64>)> = BTreeMap::new();
    for repository in bench.hub.actor("user").list("hub.volsync.backube", "kopiarepositories") {
        let grant = &repository["status"]["grant"];
        if grant["phase"] == "Active" {
            let of = held.entry(grant["cluster"].as_str().unwrap_or_default().to_owned()).or_default();
            of.0 += 1;
            of.1.insert(grant["epoch"].as_u64().unwrap_or_default());
        }
    }
    held
}

/// Those that were under way at one moment: members are asked one after the other, and meanwhile one claim may end and the next
/// begin.
fn claims_under_way(members: &[&SimCluster]) -> usize {
    let ended = |job: &Value| {
        let conditions = job["status"]["conditions"].to_string();
        conditions.contains("Complete") || conditions.contains("Failed")
    };
    let is_claim = |job: &Value| job["metadata"]["labels"]["hub.volsync.backube/role"] == "claim";
    let under_way = || -> BTreeSet<String> {
        let jobs = members.iter().flat_map(|member| member.actor("user").list("batch", "jobs"));
        jobs.filter(|job| is_claim(job) && !ended(job)).map(|job| job["metadata"]["uid"].to_string()).collect()
    };
    let before = under_way();
    under_way().intersection(&before).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repositories_of_a_member_that_vanishes_are_taken_over_in_portions_by_all_others() {
    vanishes(60, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "both cores for four minutes"]
async fn two_hundred_repositories_of_a_member_that_vanishes_are_taken_over_in_portions_by_all_others() {
    // As many claims as without `--max-claims`.
    vanishes(200, 50).await;
}

async fn vanishes(repositories: usize, max_claims: usize) {
    let bench = Bench::start_with(60, max_claims).await;
    back_up(&bench, &bench.member, repositories);
    bench.policy(&json!({"activeDeadlineSeconds": 600, "failover": {"mode": "Automatic", "after": "5m"}}));
    let all = |member: &'static str| {
        let bench = &bench;
        move || held(bench).get(member).is_some_and(|it| it.0 == repositories).then_some(())
    };
    bench.until("the only member holds them all", all("eu")).await;
    let mut others = Vec::new();
    for name in ["ap", "us"] {
        let member = bench.joins(name).await;
        back_up(&bench, &member, repositories);
        bench.work_in(&member);
        others.push(member);
    }
    let counted = |it: &Value| it["status"]["clusterCount"] == 3;
    bench
        .until("all three are candidates", || {
            let all = bench.hub.actor("user").list("hub.volsync.backube", "kopiarepositories");
            (all.len() == repositories && all.iter().all(counted)).then_some(())
        })
        .await;
    assert_eq!(held(&bench)["eu"].0, repositories, "nothing moves because others come");

    bench.member.faults().refuse_connections(true);
    bench.member.faults().drop_connections();
    let members: Vec<&SimCluster> = others.iter().collect();
    let mut most = 0;
    let after = bench
        .until("the others hold them all", || {
            most = most.max(claims_under_way(&members));
            let held = held(&bench);
            let there = |name: &str| held.get(name).map_or(0, |it| it.0);
            (there("ap") + there("us") == repositories).then_some(held)
        })
        .await;
    bench.never_two_at_once();
    assert!((1..=max_claims).contains(&most), "{most} claims at once");
    assert!(after.values().all(|(_, epochs)| *epochs == BTreeSet::from([2])), "{after:?}");
    let least = after.values().map(|it| it.0).min().unwrap();
    assert!(least > repositories / 4, "spread over the members: {after:?}");
}

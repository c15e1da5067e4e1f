//! What the repositories of a member share there is written once, and nothing is written that is there already.

use kube::config::KubeConfigOptions;
use serde_json::json;

use super::bench::{Bench, NAMESPACE};
use crate::controller::push::{Push, Standing};
use crate::member::Member;
use crate::member::event::OwnedKind;
use crate::render::support::Support;

const BUCKETS: [&str; 12] =
    ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

fn unchanged(bench: &Bench) -> u64 {
    bench.member.tally().told().unchanged
}

/// Every CronJob is let go, with this schedule.
async fn scheduled(bench: &Bench, schedule: &str) {
    bench.policy(&json!({"schedule": schedule}));
    bench
        .until("all are maintained", || {
            let stands = |bucket: &str| {
                let cron_job = bench.cron_job(bucket)?;
                (cron_job["spec"]["suspend"] == false && cron_job["spec"]["schedule"] == schedule).then_some(())
            };
            BUCKETS.iter().filter_map(|bucket| stands(bucket)).count().eq(&BUCKETS.len()).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_that_come_at_once_write_what_they_share_once() {
    let bench = Bench::start(60).await;
    for bucket in BUCKETS {
        bench.back_up_as(bucket, &format!("repo-{bucket}"), bucket, &json!({}));
    }
    scheduled(&bench, "0 3 1 1 *").await;
    scheduled(&bench, "0 4 1 1 *").await;
    assert_eq!(unchanged(&bench), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_of_which_only_another_replica_knows_is_not_written_again() {
    let bench = Bench::maintaining("bucket").await;
    let (kubeconfig, options) = (bench.member.kubeconfig().unwrap(), KubeConfigOptions::default());
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    let member = Member::connect("eu".into(), config).await.unwrap();
    let before = unchanged(&bench);
    // As in a replica that has stood by since before it was written. Of the ConfigMap a watch would have told.
    let standing = Standing::default();
    let mut push = Push::new(&member, "hub-t", &standing);
    push.support(&Support::new("hub-t", NAMESPACE)).await.unwrap();
    let wrote = |kind| push.noted.iter().any(|note| note.kind == kind && note.wrote);
    assert!(wrote(OwnedKind::ConfigMap) && !wrote(OwnedKind::ServiceAccount));
    assert!(push.noted.iter().all(|note| note.stands.is_some()));
    assert_eq!(unchanged(&bench), before + 1);
}

//! The whole controller over HTTP, against a simulated hub and one simulated member: the order of what it does, and
//! what it leaves alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod failover;
mod foreign;
mod handover;
mod manual;
mod many;
mod merging;
mod rollout;
mod shared;
mod shares;

use std::time::Duration;

use serde_json::{Value, json};

use super::run;
use crate::labels;
use crate::sim::{Access, Refusal, Rule};
use bench::{Bench, NAMESPACE, POLICY, id, name, secret};

/// Everything but writing Secrets.
fn without_secrets() -> Access {
    let others = ["serviceaccounts", "configmaps", "cronjobs", "jobs", "selfsubjectaccessreviews"];
    let reads = Rule::new(&["get", "list", "watch", "delete"], "*", &["*"]);
    Access::Rules(vec![reads, Rule::new(&["create", "patch"], "*", &others)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cron_job_does_not_stand_before_its_secret() {
    let bench = Bench::start(60).await;
    bench.member.set_access(bench.member.token(), without_secrets());
    bench.back_up("bucket", &json!({}));
    bench.policy(&json!({}));
    bench.reason("Forbidden").await;
    assert!(bench.get("serviceaccounts", "volsync-hub-mover").is_some(), "what all Jobs need is there");
    assert_eq!(bench.list("configmaps").len(), 1);
    assert!(bench.cron_job("bucket").is_none() && bench.list("jobs").is_empty());
    bench.member.set_access(bench.member.token(), Access::Everything);
    bench.maintained().await;
    assert_eq!(bench.cron_job("bucket").unwrap()["spec"]["suspend"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cron_job_does_not_stand_before_its_ca_of_which_one_key_is_copied() {
    let bench = Bench::start(60).await;
    bench.back_up("bucket", &json!({"customCA": {"secretName": "ca", "key": "tls.crt"}}));
    bench.policy(&json!({}));
    bench.reason("SecretMissing").await;
    assert!(bench.get("secrets", &name("bucket")).is_some());
    bench.member_apply(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca", "namespace": "default"},
        "stringData": {"other": "key of a key"}}),
    );
    bench.reason("CustomCAMissing").await;
    assert!(bench.cron_job("bucket").is_none());
    bench.member_apply(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca", "namespace": "default"},
        "stringData": {"tls.crt": "PEM", "tls.key": "key of a key"}}),
    );
    bench.maintained().await;
    let copy = format!("{}-ca", name("bucket"));
    assert_eq!(bench.get("secrets", &copy).unwrap()["data"], json!({"ca.crt": "UEVN"}));

    bench.back_up("bucket", &json!({}));
    bench
        .until("the CA that nobody names any more is gone", || bench.get("secrets", &copy).is_none().then_some(()))
        .await;
    assert!(bench.get("secrets", &name("bucket")).is_some() && bench.cron_job("bucket").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_in_the_reverse_order_and_the_secret_after_the_last_job() {
    let bench = Bench::maintaining("bucket").await;
    // Suspended, so that nobody here runs it; it may go on any time.
    let job = bench.job_of("bucket", true);
    bench.hub.actor("user").delete(POLICY.0, POLICY.1, "", "nightly").unwrap();
    bench
        .until("the CronJob is suspended", || bench.cron_job("bucket")?["spec"]["suspend"].as_bool()?.then_some(()))
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(bench.cron_job("bucket").is_some() && bench.get("secrets", &name("bucket")).is_some(), "a Job is there");
    bench.member.actor("user").delete("batch", "jobs", NAMESPACE, &job).unwrap();
    bench
        .until("all is gone", || {
            // In this order: a CronJob that is seen after its Secret was gone is one without it.
            let secret = bench.get("secrets", &name("bucket"));
            let cron_job = bench.cron_job("bucket");
            assert!(secret.is_some() || cron_job.is_none(), "the Secret went first");
            (secret.is_none() && cron_job.is_none()).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_of_a_secret_that_disappears_stays_for_a_day() {
    let bench = Bench::start(60).await;
    bench.hub_apply(&secret(NAMESPACE, "direct", "bucket"));
    bench.policy(&json!({"repository": {"repository": "direct", "namespace": NAMESPACE}, "repositorySelector": null}));
    bench.maintained().await;
    bench.hub.actor("user").delete("", "secrets", NAMESPACE, "direct").unwrap();
    bench.until("the CronJob is gone", || bench.cron_job("bucket").is_none().then_some(())).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(bench.get("secrets", &name("bucket")).is_some(), "24 h are 24 minutes here");
    bench.hub_apply(&secret(NAMESPACE, "direct", "bucket"));
    bench.until("the CronJob is back", || bench.cron_job("bucket").map(drop)).await;
    bench.hub.actor("user").delete(POLICY.0, POLICY.1, "", "nightly").unwrap();
    bench
        .until("the copy goes, for its source is there", || {
            bench.get("secrets", &name("bucket")).is_none().then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_of_a_secret_that_disappeared_a_day_ago_goes() {
    let bench = Bench::start(14_400).await;
    bench.hub_apply(&secret(NAMESPACE, "direct", "bucket"));
    bench.policy(&json!({"repository": {"repository": "direct", "namespace": NAMESPACE}, "repositorySelector": null}));
    bench.maintained().await;
    bench.hub.actor("user").delete("", "secrets", NAMESPACE, "direct").unwrap();
    bench.until("the CronJob is gone", || bench.cron_job("bucket").is_none().then_some(())).await;
    assert!(bench.get("secrets", &name("bucket")).is_some(), "24 h are 6 s here");
    bench.until("the copy is gone", || bench.get("secrets", &name("bucket")).is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_never_gets_the_contents_of_another_repository() {
    let bench = Bench::start(60).await;
    bench.hub_apply(&secret(NAMESPACE, "direct", "bucket"));
    bench.policy(&json!({"repository": {"repository": "direct", "namespace": NAMESPACE}, "repositorySelector": null}));
    bench.maintained().await;
    let before = bench.get("secrets", &name("bucket")).unwrap()["data"].clone();
    // The hub looks at its own Secrets every ten seconds, and at what it pushed at once: so it reads the new contents
    // while its plan is still that of the old ones.
    bench.hub_apply(&secret(NAMESPACE, "direct", "elsewhere"));
    bench.member.actor("user").delete("", "secrets", NAMESPACE, &name("bucket")).unwrap();
    bench
        .until("the other repository has its own copy", || {
            if let Some(copy) = bench.get("secrets", &name("bucket")) {
                assert_eq!(copy["data"], before, "another repository's contents");
            }
            bench.get("secrets", &name("elsewhere"))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_another_hub_are_reported_and_left_alone() {
    let bench = Bench::start(60).await;
    bench.member_apply(&json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"theirs": "1"}, "metadata": {
        "name": name("bucket"), "namespace": NAMESPACE, "labels": {labels::MANAGED_BY: labels::MANAGED_BY_VALUE,
        labels::HUB: "another", labels::REPOSITORY: id("bucket"), labels::MAINTENANCE: "true"}}}));
    let theirs = bench.get("secrets", &name("bucket")).unwrap();
    bench.back_up("bucket", &json!({}));
    bench.policy(&json!({}));
    let message = bench.reason("NotOurs").await;
    assert!(message.contains("it belongs to the hub \"another\""), "{message}");
    bench.hub.actor("user").delete(POLICY.0, POLICY.1, "", "nightly").unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.get("secrets", &name("bucket")), Some(theirs));
    assert!(bench.cron_job("bucket").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_where_all_is_as_it_should_be() {
    let mut bench = Bench::start(60).await;
    bench.back_up("bucket", &json!({"customCA": {"secretName": "ca", "key": "tls.crt"}}));
    bench.member_apply(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca", "namespace": "default"},
        "stringData": {"tls.crt": "PEM"}}),
    );
    bench.policy(&json!({}));
    bench.maintained().await;
    let version = bench.settled().await;
    bench.restart().await;
    // A whole resync: 20 minutes are 20 s here.
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(bench.member.store().resource_version(), version);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_keeps_no_jobs_has_them_deleted_once_they_are_recorded() {
    let bench = Bench::start(60).await;
    bench.back_up("bucket", &json!({}));
    bench.policy(&json!({"successfulJobsHistoryLimit": 0}));
    bench.maintained().await;
    assert_eq!(bench.cron_job("bucket").unwrap()["spec"]["successfulJobsHistoryLimit"], 1);
    let job = bench.job_of("bucket", false);
    let recorded = |status: &Value| status["runs"][0]["outcome"] == "Succeeded";
    bench.until("its outcome is in the ledger", || bench.ledger().filter(recorded).map(drop)).await;
    bench.until("the Job is gone", || bench.get_of("batch", "jobs", &job).is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_whose_claim_fails_is_left_aside_and_people_are_told_why() {
    let bench = Bench::start(60).await;
    bench.back_up("bucket", &json!({}));
    let mut stale = secret("default", "repo", "bucket");
    stale["stringData"]["KOPIA_PASSWORD"] = "changed long ago".into();
    bench.member_apply(&stale);
    bench.policy(&json!({}));
    let rests =
        |status: &Value| status["notReady"][0]["reason"].as_str().is_some_and(|it| it.starts_with("AuthFailed ("));
    bench.until("the ledger has the Secret and why", || bench.ledger().filter(rests).map(drop)).await;
    let told = |event: &Value| {
        let note = event["message"].as_str().unwrap_or_default();
        event["reason"] == "NotReady" && note.starts_with("Secret default/repo in eu is left aside until ")
    };
    bench.until("an event says so", || bench.hub.actor("user").list("", "events").iter().any(told).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_made_two_at_a_time_and_those_that_wait_say_until_when() {
    let bench = Bench::start_with(60, 2).await;
    for number in 0..7 {
        bench.back_up_as(&format!("db-{number}"), &format!("repo-{number}"), &format!("bucket-{number}"), &json!({}));
    }
    bench.policy(&json!({}));
    let ledger = || bench.hub.actor("user").list("hub.volsync.backube", "kopiarepositories");
    let of_claim = |job: &&Value| job["metadata"]["labels"][labels::ROLE] == "claim";
    let goes_on = |job: &&Value| !job["status"]["conditions"].to_string().contains("Complete");
    let (mut most, mut told) = (0, None);
    bench
        .until("all are let go", || {
            most = most.max(bench.list("jobs").iter().filter(of_claim).filter(goes_on).count());
            let told_now = ledger().into_iter().find(|it| it["status"]["reason"] == "ClaimQueued");
            told = told.take().or(told_now);
            let cron_jobs = bench.member.actor("user").list("batch", "cronjobs");
            (cron_jobs.iter().filter(|it| it["spec"]["suspend"] == false).count() == 7).then_some(())
        })
        .await;
    assert_eq!(most, 2, "as many as allowed, and never more");
    let told = told.unwrap()["status"]["conditions"].to_string();
    assert!(told.contains("2; ") && told.contains("whose claim is expected to start about 20"), "{told}");
}

/// The condition Ready of the only policy: its reason and message.
fn ready(bench: &Bench) -> Option<(String, String)> {
    let status = bench.hub.actor("user").get(POLICY.0, POLICY.1, "", "nightly")?["status"].clone();
    let ready = status["conditions"].as_array()?.iter().find(|it| it["type"] == "Ready")?.clone();
    let text = |field: &str| ready[field].as_str().map(str::to_owned);
    Some((text("reason")?, text("message")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_new_is_told_of_its_repositories_though_their_records_say_what_they_said() {
    let mut bench = Bench::maintaining("bucket").await;
    bench.settled().await;
    bench.stop().await;
    // The same policy anew, while nobody looks: it is told of before the member has been read.
    bench.hub.actor("user").delete(POLICY.0, POLICY.1, "", "nightly").unwrap();
    bench.policy(&json!({}));
    bench.member.faults().set_latency(Duration::from_millis(300));
    bench.run().await;
    let told = |reason: &'static str| move |told: &(String, String)| told.0 == reason;
    bench.until("nothing is known yet", || ready(&bench).filter(told("NoMatchingRepositories"))).await;
    bench.until("it rules what it ruled", || ready(&bench).filter(told("Reconciled"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_matches_nothing_blames_no_member_that_has_been_read() {
    let mut bench = Bench::start(60).await;
    bench.stop().await;
    bench.policy(&json!({}));
    bench.member.faults().set_latency(Duration::from_secs(2));
    bench.run().await;
    let unread = |told: &(String, String)| told.1.contains("1 member(s) have not been read completely");
    bench.until("the member has not been read", || ready(&bench).filter(unread)).await;
    bench.until("it has been", || ready(&bench).filter(|told| !unread(told))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_the_hub_before_count_as_long_as_their_member_is_away() {
    let mut bench = Bench::start_with(60, 1).await;
    bench.stop().await;
    let (kind, name) = (("hub.volsync.backube", "kopiarepositories"), ("", "kr-ffffffffffffffff"));
    bench.hub_apply(&json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "KopiaRepository",
        "metadata": {"name": name.1}, "spec": {}}));
    let status = |phase: &str| {
        json!({"grant": {"cluster": "away", "epoch": 1, "phase": phase}, "conditions": [{"type": "Maintained",
            "status": "False", "reason": "Claiming", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    };
    let user = bench.hub.actor("user");
    user.merge_status(kind, name, &status("Claiming")).unwrap();
    bench.back_up("bucket", &json!({}));
    bench.policy(&json!({}));
    bench.run().await;
    bench.reason("ClaimQueued").await;
    assert!(bench.list("jobs").is_empty());
    user.merge_status(kind, name, &status("Active")).unwrap();
    bench.maintained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_starts_warns_of_no_member_that_is_being_read() {
    let mut bench = Bench::start(60).await;
    bench.stop().await;
    for number in 0..20 {
        bench.back_up_as(&format!("db-{number}"), &format!("repo-{number}"), &format!("bucket-{number}"), &json!({}));
    }
    bench.policy(&json!({}));
    bench.member.faults().set_latency(Duration::from_millis(100));
    bench.run().await;
    bench.maintained().await;
    let events = bench.hub.actor("user").list("events.k8s.io", "events");
    let told = |reason: &str| events.iter().filter(|it| it["reason"] == reason).count();
    assert!(told("Claiming") > 0);
    assert_eq!((told("MemberUnreachable"), told("MemberUnread")), (0, 0), "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_starts_while_its_api_server_is_away_waits_for_it() {
    let mut bench = Bench::start(60).await;
    bench.stop().await;
    bench.hub.faults().answer_with(Some(Refusal::Unavailable));
    bench.run().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    bench.hub.faults().answer_with(None);
    bench.back_up("bucket", &json!({}));
    bench.policy(&json!({}));
    bench.maintained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_priority_alone_changes_who_wins() {
    let bench = Bench::maintaining("bucket").await;
    let weekly = |priority: i32| {
        bench.hub_apply(&json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance",
            "metadata": {"name": "weekly"}, "spec": {"repositorySelector": {"repository": "*"}, "schedule": "0 0 * * 0",
                "priority": priority}}));
    };
    let ruled_by = async |policy: &str, schedule: &str| {
        bench
            .until("it rules", || {
                let by = bench.repository("bucket")?["status"]["policy"] == policy;
                (by && bench.cron_job("bucket")?["spec"]["schedule"] == schedule).then_some(())
            })
            .await;
    };
    weekly(-1);
    bench
        .until("it competes", || {
            let shadowed = &bench.repository("bucket")?["status"]["shadowedPolicies"];
            (!shadowed.as_array()?.is_empty()).then_some(())
        })
        .await;
    weekly(1);
    ruled_by("weekly", "0 0 * * 0").await;
    weekly(-1);
    ruled_by("nightly", "0 0 29 2 *").await;
}

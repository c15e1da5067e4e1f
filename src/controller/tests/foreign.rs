//! Other tools' maintenance beside the hub's: it is reported, and suspended only where the operator lets the hub.

use std::time::Duration;

use serde_json::{Value, json};

use super::bench::{Bench, POLICY, id};
use crate::labels;
use crate::sim::{Access, Rule};

const CRON_JOBS: (&str, &str) = ("batch", "cronjobs");
const MEMBERS: (&str, &str) = ("hub.volsync.backube", "memberclusters");
const ALIEN: (&str, &str) = ("default", "kopia-maint-repo");

/// Somebody's maintenance CronJob for the Secret of the bench's source.
fn alien() -> Value {
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "kopia", "image": "mover:1",
        "envFrom": [{"secretRef": {"name": "repo"}}]}]});
    json!({"apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"namespace": ALIEN.0, "name": ALIEN.1, "labels": {labels::MAINTENANCE: "true"}},
        "spec": {"schedule": "0 0 29 2 *", "jobTemplate": {"spec": {"template": {"spec": pod}}}}})
}

/// The fork's kind, as far as it matters.
fn fork_crd() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "kopiamaintenances.volsync.backube"},
        "spec": {"group": "volsync.backube", "scope": "Namespaced",
            "names": {"kind": "KopiaMaintenance", "plural": "kopiamaintenances", "singular": "kopiamaintenance"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": schema}]}})
}

impl Bench {
    fn alien(&self) -> Value {
        let found = self.member.actor("user").get(CRON_JOBS.0, CRON_JOBS.1, ALIEN.0, ALIEN.1);
        found.expect("nothing of other tools is ever deleted")
    }

    fn note(&self) -> Option<String> {
        Some(self.alien()["metadata"]["annotations"][labels::ADOPTED].as_str()?.to_owned())
    }

    fn adopt(&self, spec: &Value) {
        self.hub.actor("user").merge(MEMBERS, ("", "eu"), &json!({"spec": spec})).unwrap();
    }

    /// Once the member is known.
    async fn adopts(&self) {
        self.until("the member is known", || self.of_member("Reachable")).await;
        self.adopt(&json!({"adoptForeign": true}));
    }

    fn condition(&self, kind: &str) -> Option<(String, String)> {
        condition(&self.ledger()?, kind)
    }

    fn of_member(&self, kind: &str) -> Option<(String, String)> {
        condition(&self.hub.actor("user").get(MEMBERS.0, MEMBERS.1, "", "eu")?["status"], kind)
    }

    async fn is(&self, kind: &str, reason: &str) -> String {
        self.until(&format!("{kind}: {reason}"), || self.condition(kind).filter(|it| it.0 == reason)).await.1
    }

    async fn member_is(&self, kind: &str, reason: &str) -> String {
        self.until(&format!("member {kind}: {reason}"), || self.of_member(kind).filter(|it| it.0 == reason)).await.1
    }

    async fn alien_is(&self, suspended: bool, noted: bool) {
        self.until(&format!("suspended: {suspended}, noted: {noted}"), || {
            let is = self.alien()["spec"]["suspend"] == true;
            (is == suspended && self.note().is_some() == noted).then_some(())
        })
        .await;
    }
}

/// A hub that maintains a repository, and somebody else's object for it.
async fn beside(theirs: &Value) -> Bench {
    let bench = Bench::start(60).await;
    bench.member_apply(theirs);
    bench.back_up("bucket", &json!({}));
    bench.policy(&json!({}));
    bench
}

fn condition(status: &Value, kind: &str) -> Option<(String, String)> {
    let found = status["conditions"].as_array()?.iter().find(|it| it["type"] == kind)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("reason"), text("message")))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_maintainer_is_reported_with_what_ends_it_and_left_alone() {
    let bench = beside(&alien()).await;
    bench.maintained().await;
    let message = bench.is("Contended", "ForeignMaintainer").await;
    let command =
        r#"kubectl --context eu -n default patch cronjob kopia-maint-repo --type merge -p '{"spec":{"suspend":true}}'"#;
    assert!(message.ends_with(command), "{message}");
    assert_ne!(bench.alien()["spec"]["suspend"], true);
    // As the command does it.
    let patch = json!({"spec": {"suspend": true}});
    bench.member.actor("user").merge(CRON_JOBS, ALIEN, &patch).unwrap();
    bench.is("Contended", "Resolved").await;
    assert_eq!(bench.note(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_adopted_is_let_go_again_when_the_operator_no_longer_wants_it_or_the_hub_no_longer_maintains() {
    let bench = beside(&alien()).await;
    bench.is("Contended", "ForeignMaintainer").await;
    bench.adopt(&json!({"adoptForeign": true}));
    bench.alien_is(true, true).await;
    let note: Value = serde_json::from_str(&bench.note().unwrap()).unwrap();
    assert_eq!((&note["hub"], &note["repository"]), (&json!("hub-t"), &json!(id("bucket"))));
    let managers = bench.alien()["metadata"]["managedFields"].to_string();
    assert!(managers.contains(labels::ADOPTER), "{managers}");
    bench.is("Contended", "Resolved").await;
    bench.maintained().await;
    let message = bench.member_is("Adopted", "ForeignSuspended").await;
    assert!(message.ends_with("CronJob default/kopia-maint-repo"), "{message}");

    bench.adopt(&json!({"adoptForeign": false}));
    bench.alien_is(false, false).await;
    bench.is("Contended", "ForeignMaintainer").await;
    bench.member_is("Adopted", "NothingSuspended").await;
    bench.adopt(&json!({"adoptForeign": true}));
    bench.alien_is(true, true).await;

    // Nobody starts beside the hub's own: that goes first.
    bench.hub.actor("user").delete(POLICY.0, POLICY.1, "", "nightly").unwrap();
    bench
        .until("it is let go", || {
            let ours = bench.cron_job("bucket").is_some_and(|it| it["spec"]["suspend"] == false);
            let theirs = bench.alien()["spec"]["suspend"] == false;
            assert!(!(ours && theirs), "both may start a run");
            (theirs && bench.note().is_none()).then_some(())
        })
        .await;
    bench.is("Contended", "Resolved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_retired_gets_back_what_was_suspended_there() {
    let mut bench = beside(&alien()).await;
    bench.adopts().await;
    bench.alien_is(true, true).await;
    bench.maintained().await;
    let version = bench.settled().await;
    bench.restart().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.member.store().resource_version(), version, "what is adopted stays so without a write");
    bench.adopt(&json!({"lifecycle": "Retired"}));
    bench.alien_is(false, false).await;
    assert!(bench.cron_job("bucket").is_none_or(|it| it["spec"]["suspend"] == true), "not beside the hub's own");
    bench.member_is("Adopted", "NothingSuspended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_somebody_lets_go_by_hand_is_reported_and_not_fought_over() {
    let bench = beside(&alien()).await;
    bench.adopts().await;
    bench.alien_is(true, true).await;
    bench.maintained().await;
    bench.is("Contended", "Resolved").await;
    // With its note, and once more without.
    for note in [json!({}), json!({"annotations": {labels::ADOPTED: null}})] {
        let patch = json!({"metadata": note, "spec": {"suspend": false}});
        bench.member.actor("user").merge(CRON_JOBS, ALIEN, &patch).unwrap();
        bench.is("Contended", "ForeignMaintainer").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(bench.alien()["spec"]["suspend"], false, "a day is 24 minutes here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named_and_keeps_nothing_from_being_maintained() {
    let bench = Bench::start(60).await;
    let others = Rule::new(&["get", "list", "watch", "create", "delete"], "*", &["*"]);
    let here = Rule::new(&["patch"], "*", &["*"]).in_namespaces(&["volsync-system"]);
    bench.member.set_access(bench.member.token(), Access::Rules(vec![others, here]));
    bench.member_apply(&alien());
    bench.back_up("bucket", &json!({}));
    bench.policy(&json!({}));
    bench.until("the member is known", || bench.of_member("Reachable")).await;
    bench.member_is("Authorized", "Complete").await;
    bench.adopt(&json!({"adoptForeign": true}));
    let message = bench.member_is("Authorized", "MissingRules").await;
    for right in ["patch cronjobs.batch (for its adoptForeign", "patch kopiamaintenances.volsync.backube (for"] {
        assert!(message.contains(right), "{message}");
    }
    bench.maintained().await;
    bench.is("Contended", "ForeignMaintainer").await;
    assert_ne!(bench.alien()["spec"]["suspend"], true);
    bench.is("Maintained", "Active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_volsyncs_own_operator_made_is_suspended_at_its_owner() {
    let mut bench = Bench::start(60).await;
    bench.stop().await;
    bench.member_apply(&fork_crd());
    bench.member_apply(&json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance",
        "metadata": {"namespace": "default", "name": "km"}, "spec": {"repository": {"repository": "repo"}}}));
    let mut made = alien();
    made["metadata"]["ownerReferences"] = json!([{"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance",
        "name": "km", "uid": "0", "controller": true}]);
    bench.member_apply(&made);
    bench.back_up("bucket", &json!({}));
    bench.policy(&json!({}));
    bench.run().await;
    let message = bench.is("Contended", "ForeignMaintainer").await;
    assert!(message.starts_with("KopiaMaintenance default/km in eu") && !message.contains("cronjob"), "{message}");
    bench.adopt(&json!({"adoptForeign": true}));
    let km = || bench.member.actor("user").get("volsync.backube", "kopiamaintenances", "default", "km").unwrap();
    bench.until("its owner is suspended", || (km()["spec"]["suspend"] == true).then_some(())).await;
    assert!(km()["metadata"]["annotations"][labels::ADOPTED].is_string());
    assert_ne!(bench.alien()["spec"]["suspend"], true, "that is its operator's");
    bench.adopt(&json!({"adoptForeign": false}));
    bench.until("as it was", || km()["spec"].get("suspend").is_none().then_some(())).await;
    assert!(km()["metadata"]["annotations"].get(labels::ADOPTED).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_hubs_cron_job_is_reported_and_left_to_that_hub() {
    let mut theirs = alien();
    theirs["metadata"]["labels"] = json!({labels::MAINTENANCE: "true", labels::MANAGED_BY: labels::MANAGED_BY_VALUE,
        labels::HUB: "another", labels::REPOSITORY: id("bucket")});
    let bench = beside(&theirs).await;
    bench.adopts().await;
    bench.maintained().await;
    let message = bench.is("Contended", "ForeignMaintainer").await;
    assert!(message.contains("it belongs to the hub \"another\""), "{message}");
    assert_ne!(bench.alien()["spec"]["suspend"], true);
}

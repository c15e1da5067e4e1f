//! `get`, `doctor` and `adopt` as people type them, against a simulated hub over HTTP.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod typed;

use serde_json::{Value, json};
use tempfile::TempDir;
use typed::{ONE, Said, TWO};
use volsync_hub::sim::SimCluster;

const GROUP: &str = "hub.volsync.backube";

struct Stage {
    hub: SimCluster,
    folder: TempDir,
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

impl Stage {
    /// A member and two repositories: one is well, the other is another hub's.
    async fn start() -> Self {
        let (hub, folder) = typed::hub().await;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "volsync-system"}});
        hub.actor("test").create(namespace).unwrap();
        let stage = Self { hub, folder };
        stage.create("MemberCluster", "memberclusters", "east", &json!({"sourceCount": 2,
            "conditions": [condition("Reachable", "True", "Answering", ""), condition("Duplicate", "False", "Single", "")]}));
        let grant =
            |epoch: u64, phase: &str| json!({"cluster": "east", "epoch": epoch, "phase": phase, "hub": "hub-new"});
        stage.create(
            "KopiaRepository",
            "kopiarepositories",
            ONE,
            &json!({"location": "s3://shop/ at aws",
            "state": "NoPolicy", "conditions": [condition("Maintained", "False", "NoPolicy", "no policy matches")]}),
        );
        let stranger = "failed to apply x in east: it belongs to the hub \"hub-old\", so it is left alone";
        stage.create(
            "KopiaRepository",
            "kopiarepositories",
            TWO,
            &json!({"location": "s3://wiki/ at aws",
            "policy": "nightly", "state": "Maintained", "grant": grant(1, "Claiming"),
            "conditions": [condition("Maintained", "False", "NotOurs", stranger)]}),
        );
        stage
    }

    fn create(&self, kind: &str, plural: &str, name: &str, status: &Value) {
        let object =
            json!({"apiVersion": format!("{GROUP}/v1alpha1"), "kind": kind, "metadata": {"name": name}, "spec": {}});
        self.hub.actor("test").create(object).unwrap();
        self.hub.actor("hub").merge_status((GROUP, plural), ("", name), status).unwrap();
    }

    fn lease(&self, holder: &str, renewed: &str) {
        let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 10, "renewTime": renewed});
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec,
            "metadata": {"name": "volsync-hub", "namespace": "volsync-system"}});
        self.hub.actor("hub").apply(&lease).unwrap();
    }

    fn keep_id(&self, id: &str) {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"hubID": id},
            "metadata": {"name": "volsync-hub-id", "namespace": "volsync-system"}});
        self.hub.actor("hub").apply(&map).unwrap();
    }

    fn id(&self) -> Value {
        self.hub.actor("test").get("", "configmaps", "volsync-system", "volsync-hub-id").unwrap_or_default()
    }

    async fn say(&self, line: &str) -> Said {
        typed::say(&self.folder, "hub", line).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_is_shown_with_what_is_wrong_first_and_as_a_list_for_scripts() {
    let stage = Stage::start().await;
    let said = stage.say("get").await;
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(said.code == 0 && lines[1].starts_with(TWO) && lines[1].ends_with("NotOurs"), "{said:?}");
    assert!(lines[3].starts_with("2 repositories: 1 Maintained, 1 NoPolicy; something is wrong"), "{said:?}");
    assert!(!said.out.contains('\u{1b}'), "colours are for terminals: {said:?}");
    let said = stage.say("get kr wiki s3://shop/").await;
    assert!(said.code == 1 && said.err.contains("s3://wiki/ at aws"), "{said:?}");
    let list: Value = serde_json::from_str(&stage.say("get -o json --state nopolicy").await.out).unwrap();
    assert_eq!((&list["kind"], &list["items"][0]["metadata"]["name"]), (&json!("List"), &json!(ONE)), "{list}");
    assert_eq!(list["items"][0]["metadata"]["managedFields"], Value::Null);
    let said = stage.say("get members -o wide").await;
    assert!(said.out.contains("east") && said.out.ends_with("1 member\n"), "{said:?}");
    assert!(stage.say("get policies --cluster east").await.err.contains("are for repositories"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_checked_and_the_exit_code_says_whether_something_failed() {
    let stage = Stage::start().await;
    stage.keep_id("hub-new");
    stage.lease("pod_1", "2026-01-01T00:00:00.000000Z");
    let said = stage.say("doctor").await;
    assert!(said.code == 1 && said.out.contains("no hub runs: pod_1 led"), "{said:?}");
    let fix = "if hub hub-old is no more: volsync-hub adopt --from-hub hub-old";
    assert!(said.out.contains(fix) && said.out.contains("as this program has it"), "{said:?}");
    stage.hub.actor("hub").delete(GROUP, "kopiarepositories", "", TWO).unwrap();
    stage.lease("pod_1", &format!("{:.6}", jiff::Timestamp::now()));
    let said = stage.say("doctor -o json").await;
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &report["failed"]), (0, &json!(0)), "{report:#}");
    assert!(report["findings"].as_array().unwrap().iter().any(|it| it["level"] == "warn"), "{report:#}");
    std::fs::write(stage.folder.path().join("hub"), stage.hub.kubeconfig_yaml().replace("127.0.0.1", "127.0.0.2"))
        .unwrap();
    let said = stage.say("doctor").await;
    let tried = format!("tried --hub-kubeconfig {}", stage.folder.path().join("hub").display());
    assert!(said.code == 1 && said.out.contains(&tried), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_hub_goes_on_as_the_old_one_once_somebody_has_said_yes() {
    let stage = Stage::start().await;
    let said = stage.say("adopt --from-hub hub-old --dry-run").await;
    assert!(said.code == 0 && said.out.contains("has no id yet") && stage.id().is_null(), "{said:?}");
    stage.keep_id("hub-new");
    let said = stage.say("adopt").await;
    assert!(said.out.contains(&format!("objects of hub hub-old stand in the way of 1 repository: {TWO}")), "{said:?}");
    let said = stage.say("adopt --from-hub hub-old").await;
    assert!(said.code == 1 && said.err.contains("--yes") && stage.id()["data"]["hubID"] == "hub-new", "{said:?}");
    let said = stage.say("adopt --from-hub hub-old --yes").await;
    assert!(said.code == 0 && said.out.contains("this hub goes on as hub-old"), "{said:?}");
    let map = stage.id();
    assert_eq!(map["data"]["hubID"], "hub-old", "{map}");
    assert_eq!(map["metadata"]["annotations"]["hub.volsync.backube/former-hub-id"], "hub-new", "{map}");
    let said = stage.say("adopt --from-hub Hub_Old --yes").await;
    assert!(said.code == 1 && said.err.contains("is not usable"), "{said:?}");
}

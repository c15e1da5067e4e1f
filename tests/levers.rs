//! `freeze`, `thaw`, `pin`, `unpin`, `failover`, `trigger`, `members` and `uninstall` as people type them, against a simulated hub over HTTP.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod typed;

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use typed::{ONE, Said, TWO};
use volsync_hub::sim::{Access, Rule, SimCluster};

const LEDGER: (&str, &str) = ("hub.volsync.backube", "kopiarepositories");

struct Stage {
    hub: SimCluster,
    folder: TempDir,
}

impl Stage {
    async fn start() -> Self {
        let (hub, folder) = typed::hub().await;
        Self { hub, folder }
    }

    /// Two repositories that east holds and west could, and the two members.
    async fn with_fleet() -> Self {
        let stage = Self::start().await;
        for name in ["east", "west"] {
            stage.create("MemberCluster", name, &json!({}));
            let condition = |kind: &str, status: &str, message: &str| {
                json!({"type": kind, "status": status, "reason": "Any", "message": message,
                       "lastTransitionTime": "2026-01-01T00:00:00Z"})
            };
            let away = if name == "west" { ("False", "no answer") } else { ("True", "") };
            let conditions = [condition("Reachable", away.0, away.1), condition("Duplicate", "False", "")];
            let status = json!({"sourceCount": 2, "conditions": conditions});
            let of = ("hub.volsync.backube", "memberclusters");
            stage.hub.actor("hub").merge_status(of, ("", name), &status).unwrap();
        }
        for (name, bucket) in [(ONE, "shop"), (TWO, "wiki")] {
            stage.create("KopiaRepository", name, &json!({}));
            let status = json!({
                "location": format!("s3://{bucket}/ at aws"), "policy": "nightly", "state": "Maintained",
                "grant": {"cluster": "east", "epoch": 1, "phase": "Active"}, "sourceCount": 2, "clusterCount": 2,
                "clusters": [{"cluster": "east", "sources": 1, "ready": 1}, {"cluster": "west", "sources": 1, "ready": 1}],
            });
            stage.hub.actor("hub").merge_status(LEDGER, ("", name), &status).unwrap();
        }
        stage
    }

    fn create(&self, kind: &str, name: &str, spec: &Value) {
        let object = json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": kind, "metadata": {"name": name},
            "spec": spec});
        self.hub.actor("test").create(object).unwrap();
    }

    /// Takes note of every edit, as the hub does.
    fn take_note(&self) -> tokio::task::JoinHandle<()> {
        let hub = self.hub.clone();
        tokio::spawn(async move {
            loop {
                for object in hub.actor("hub").list(LEDGER.0, LEDGER.1) {
                    let (metadata, spec) = (&object["metadata"], &object["spec"]);
                    if object["status"]["observedGeneration"] != metadata["generation"] {
                        let state = if spec["frozenUntil"].is_string() { "Frozen" } else { "Maintained" };
                        let status = json!({"observedGeneration": metadata["generation"], "state": state});
                        let name = metadata["name"].as_str().unwrap();
                        hub.actor("hub").merge_status(LEDGER, ("", name), &status).unwrap();
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }

    fn reach(&self, member: &str, status: &str) {
        let condition = json!({"type": "Reachable", "status": status, "reason": "Any", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"conditions": [condition]});
        self.hub.actor("hub").merge_status(("hub.volsync.backube", "memberclusters"), ("", member), &status).unwrap();
    }

    /// Moves each repository whose grant is given up to this member, a step each half second or so.
    fn hand_over(&self, to: &'static str) -> tokio::task::JoinHandle<()> {
        let hub = self.hub.clone();
        tokio::spawn(async move {
            loop {
                let objects = hub.actor("hub").list(LEDGER.0, LEDGER.1);
                for object in objects.iter().filter(|object| object["spec"]["failover"].is_object()) {
                    let grant = &object["status"]["grant"];
                    let (phase, message) = match grant["phase"].as_str() {
                        _ if grant["cluster"] != to => ("Claiming", "claims"),
                        Some("Claiming") => ("Draining", "waits for east"),
                        _ => ("Active", "well"),
                    };
                    let condition = json!({"type": "Maintained", "status": "False", "reason": "Any", "message": message,
                        "lastTransitionTime": "2026-01-01T00:00:00Z"});
                    let status = json!({"observedGeneration": object["metadata"]["generation"],
                        "grant": {"cluster": to, "epoch": 2, "phase": phase}, "conditions": [condition]});
                    let name = object["metadata"]["name"].as_str().unwrap();
                    hub.actor("hub").merge_status(LEDGER, ("", name), &status).unwrap();
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        })
    }

    /// Hands over what retired and forgotten members hold, to this member or to nobody.
    fn let_go(&self, to: Option<&'static str>) -> tokio::task::JoinHandle<()> {
        let hub = self.hub.clone();
        tokio::spawn(async move {
            loop {
                let actor = hub.actor("hub");
                let members = actor.list("hub.volsync.backube", "memberclusters");
                let is_out = |name: &Value| {
                    let mut named = members.iter().filter(|member| member["metadata"]["name"] == *name);
                    named.any(|member| member["spec"]["lifecycle"].as_str().is_some_and(|word| word != "Active"))
                };
                for object in actor.list(LEDGER.0, LEDGER.1) {
                    if is_out(&object["status"]["grant"]["cluster"]) {
                        let status = match to {
                            Some(to) => json!({"grant": {"cluster": to, "epoch": 2, "phase": "Active"}}),
                            None => json!({"state": "NoCandidate"}),
                        };
                        let name = object["metadata"]["name"].as_str().unwrap();
                        actor.merge_status(LEDGER, ("", name), &status).unwrap();
                    }
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
    }

    fn member(&self, name: &str) -> Value {
        self.hub.actor("test").get("hub.volsync.backube", "memberclusters", "", name).unwrap()
    }

    /// Records a run with this outcome where one is asked for.
    fn run_once(&self, outcome: &'static str) -> tokio::task::JoinHandle<()> {
        let hub = self.hub.clone();
        tokio::spawn(async move {
            loop {
                for object in hub.actor("hub").list(LEDGER.0, LEDGER.1) {
                    let (token, status) = (&object["spec"]["runNow"], &object["status"]);
                    if token.is_string() && status["runNowSeen"] != *token {
                        let minute = status["runs"].as_array().map_or(0, Vec::len);
                        let start = format!("2026-01-01T00:{minute:02}:00Z");
                        let run = json!({"cluster": "east", "start": start, "end": start, "outcome": outcome});
                        let runs: Vec<Value> = std::iter::once(&run)
                            .chain(status["runs"].as_array().into_iter().flatten())
                            .cloned()
                            .collect();
                        let generation = &object["metadata"]["generation"];
                        let status = json!({"observedGeneration": generation, "runNowSeen": token, "runs": runs});
                        let name = object["metadata"]["name"].as_str().unwrap();
                        hub.actor("hub").merge_status(LEDGER, ("", name), &status).unwrap();
                    }
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        })
    }

    async fn say(&self, line: &str) -> Said {
        self.say_as("hub", line).await
    }

    async fn say_as(&self, kubeconfig: &str, line: &str) -> Said {
        typed::say(&self.folder, kubeconfig, line).await
    }

    fn spec(&self, name: &str) -> Value {
        self.hub.actor("test").get(LEDGER.0, LEDGER.1, "", name).unwrap()["spec"].clone()
    }

    fn managers(&self, name: &str) -> String {
        let object = self.hub.actor("test").get(LEDGER.0, LEDGER.1, "", name).unwrap();
        object["metadata"]["managedFields"].to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_is_an_edit_that_the_hub_takes_note_of_and_a_thaw_undoes_it() {
    let stage = Stage::with_fleet().await;
    let hub = stage.take_note();
    let said = stage.say("freeze s3://shop/ --until 2099-01-01T00:00:00Z --reason moving").await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(stage.spec(ONE), json!({"frozenUntil": "2099-01-01T00:00:00Z", "reason": "moving"}));
    assert_eq!(stage.spec(TWO), json!({}));
    assert!(stage.managers(ONE).contains("volsync-hub-cli"), "{}", stage.managers(ONE));
    for part in ["s3://shop/ at aws", "not frozen", "no run starts before 2099-01-01T00:00:00Z", "Frozen"] {
        assert!(said.out.contains(part), "no {part} in {said:?}");
    }

    let shorter = stage.say(&format!("freeze {ONE} --for 2d --reason soon")).await;
    assert_eq!(shorter.code, 1, "{shorter:?}");
    assert!(shorter.err.contains("this freeze ends sooner") && shorter.err.contains("nothing was done"), "{shorter:?}");
    assert_eq!(stage.spec(ONE)["reason"], "moving");

    let thawed = stage.say("thaw 0000000000000001").await;
    assert_eq!((thawed.code, stage.spec(ONE)), (0, json!({})), "{thawed:?}");
    assert!(thawed.out.contains("Maintained"), "{thawed:?}");
    let again = stage.say("thaw 0000000000000001").await;
    assert!(again.code == 0 && again.out.contains("nothing to do"), "{again:?}");
    hub.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_refused_without_a_terminal_and_done_with_yes() {
    let stage = Stage::with_fleet().await;
    let hub = stage.take_note();
    for line in ["freeze --all --for 4h --reason r", "freeze --policy nightly --for 4h --reason r"] {
        let said = stage.say(line).await;
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("stops maintenance of 2 repositories") && said.err.contains("--yes"), "{said:?}");
        assert!(said.out.contains(ONE) && said.out.contains(TWO), "what it would do is shown: {said:?}");
        let dry = stage.say(&format!("{line} --dry-run")).await;
        assert!(dry.code == 0 && dry.out.contains("would ask first: this stops maintenance of 2"), "{dry:?}");
    }
    assert_eq!((stage.spec(ONE), stage.spec(TWO)), (json!({}), json!({})));
    let said = stage.say("freeze --all --for 4h --reason r --yes").await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!((&stage.spec(ONE)["reason"], &stage.spec(TWO)["reason"]), (&json!("r"), &json!("r")));
    assert_eq!(stage.say("thaw --policy nightly -y").await.code, 0);
    assert_eq!((stage.spec(ONE), stage.spec(TWO)), (json!({}), json!({})));
    hub.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_goes_to_members_that_there_are_and_asks_where_a_hand_over_follows() {
    let stage = Stage::with_fleet().await;
    let hub = stage.take_note();
    let typo = stage.say(&format!("pin {ONE} wset -y")).await;
    assert!(typo.code == 1 && typo.err.contains("did you mean west?"), "{typo:?}");
    let asked = stage.say(&format!("pin {ONE} west")).await;
    assert!(asked.code == 1 && asked.err.contains("a hand-over to west follows"), "{asked:?}");
    assert!(asked.out.contains("west can't be reached now"), "{asked:?}");
    assert_eq!(stage.spec(ONE), json!({}));
    let said = stage.say(&format!("pin {ONE} west --reason nearer --yes --wait 1s")).await;
    assert_eq!((said.code, stage.spec(ONE)), (0, json!({"cluster": "west", "reason": "nearer"})), "{said:?}");
    let unpinned = stage.say(&format!("unpin {ONE}")).await;
    assert_eq!((unpinned.code, stage.spec(ONE)), (0, json!({})), "{unpinned:?}");
    let stays = stage.say(&format!("pin {TWO} east")).await;
    assert_eq!(
        (stays.code, stage.spec(TWO)),
        (0, json!({"cluster": "east"})),
        "the holder needs no question: {stays:?}"
    );
    hub.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_takes_a_grant_from_a_member_that_is_away_and_from_no_other() {
    let stage = Stage::with_fleet().await;
    let near = stage.say(&format!("failover {ONE} --force --reason r -y")).await;
    assert!(near.code == 1 && near.err.contains("east, which holds") && near.err.contains("pin"), "{near:?}");
    stage.reach("east", "False");
    stage.reach("west", "True");
    let unforced = stage.say(&format!("failover {ONE}")).await;
    assert!(unforced.code == 1 && unforced.err.contains("--force --reason TEXT"), "{unforced:?}");
    let asked = stage.say(&format!("failover {ONE} --force --reason fire")).await;
    assert!(asked.code == 1 && asked.err.contains("this takes") && asked.err.contains("--yes"), "{asked:?}");
    assert_eq!(stage.spec(ONE), json!({}));

    let hub = stage.hand_over("west");
    let said = stage.say(&format!("failover {ONE} --force --reason fire --yes --wait 20s")).await;
    let given_up = json!({"cluster": "east", "epoch": 1});
    assert_eq!((said.code, stage.spec(ONE)), (0, json!({"failover": given_up, "reason": "fire"})), "{said:?}");
    for part in ["  Claiming in west: claims", "  Draining in west: waits for east", "west maintains it, epoch 2"] {
        assert_eq!(said.out.matches(part).count(), 1, "{part} once in {said:?}");
    }
    hub.abort();

    let rest = stage.say("failover --from east --to west --force --reason fire --yes --no-wait").await;
    let spec = json!({"failover": given_up, "reason": "fire", "cluster": "west"});
    assert_eq!((rest.code, stage.spec(TWO)), (0, spec), "{rest:?}");
    assert!(rest.out.contains("edited 1 KopiaRepository"), "the first is west's by now: {rest:?}");
    let typo = stage.say("failover --from esat --force --reason r").await;
    assert!(typo.code == 1 && typo.err.contains("did you mean east?"), "{typo:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_takes_longer_is_told_of_with_what_it_waits_for() {
    let stage = Stage::with_fleet().await;
    let hub = stage.take_note();
    let said = stage.say(&format!("pin {ONE} west --yes --wait 2s")).await;
    assert!(said.code == 0 && said.out.contains("after 2s it has not moved yet: Active in east"), "{said:?}");
    hub.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_asked_for_and_waited_for_and_its_outcome_is_the_exit_code() {
    let stage = Stage::with_fleet().await;
    for (outcome, code) in [("Succeeded", 0), ("Busy", 1)] {
        let hub = stage.run_once(outcome);
        let said = stage.say(&format!("trigger {ONE} --wait=20s")).await;
        assert!(said.code == code && said.out.contains(&format!("ended: {outcome} in east")), "{said:?}");
        hub.abort();
    }
    let first = stage.spec(ONE)["runNow"].clone();
    let late = stage.say(&format!("trigger {ONE} --wait=1s")).await;
    assert!(late.code == 1 && late.out.contains("has not taken note yet"), "{late:?}");
    assert_ne!(stage.spec(ONE)["runNow"], first);
    let dry = stage.say(&format!("trigger {TWO} --dry-run")).await;
    assert!(dry.code == 0 && stage.spec(TWO) == json!({}), "{dry:?}");
    assert_eq!(stage.say(&format!("trigger {TWO} --no-wait")).await.code, 0);
    assert_eq!(stage.say(&format!("freeze {TWO} --for 4h --reason r --no-wait")).await.code, 0);
    let frozen = stage.say(&format!("trigger {TWO}")).await;
    assert!(frozen.code == 1 && frozen.err.contains("volsync-hub thaw"), "{frozen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_takes_no_note_is_told_of_and_the_edit_stands() {
    let stage = Stage::with_fleet().await;
    let said = stage.say(&format!("freeze {ONE} --for 4h --reason r --wait 1s")).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("has not taken note yet") && said.err.contains("Does it run"), "{said:?}");
    let said = stage.say(&format!("freeze {TWO} --for 4h --reason r --no-wait")).await;
    assert!(said.code == 0 && !said.out.contains("taken note"), "{said:?}");
    assert!(stage.spec(ONE)["frozenUntil"].is_string() && stage.spec(TWO)["frozenUntil"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_edit_is_told_what_was_tried_and_which_rights_it_takes() {
    let stage = Stage::with_fleet().await;
    let reader = Access::Rules(vec![Rule::new(&["get", "list"], "*", &["*"])]);
    let token = stage.hub.add_user("reader", reader);
    std::fs::write(stage.folder.path().join("reader"), stage.hub.kubeconfig_yaml_of(&token)).unwrap();
    let said = stage.say_as("reader", &format!("freeze {ONE} --for 4h --reason r")).await;
    assert_eq!((said.code, stage.spec(ONE)), (1, json!({})), "{said:?}");
    let tried = format!("failed to patch KopiaRepository {ONE} on the hub at https://{}", stage.hub.address());
    assert!(said.err.contains(&tried) && said.err.contains("docs/operations.md"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_found_by_a_source_of_a_member() {
    let stage = Stage::start().await;
    let east = SimCluster::start("east").await.unwrap();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "replicationsources.volsync.backube"},
        "spec": {"group": "volsync.backube", "scope": "Namespaced",
            "names": {"kind": "ReplicationSource", "listKind": "ReplicationSourceList",
                      "plural": "replicationsources", "singular": "replicationsource"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
    });
    for object in [
        definition,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "volsync-system"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "repo", "namespace": "default"},
            "stringData": {"KOPIA_REPOSITORY": "s3://shop/", "KOPIA_PASSWORD": "p", "AWS_ACCESS_KEY_ID": "k",
                           "AWS_SECRET_ACCESS_KEY": "s"}}),
        json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
            "metadata": {"name": "db", "namespace": "default"}, "spec": {"kopia": {"repository": "repo"}}}),
    ] {
        east.actor("test").apply(&object).unwrap();
    }
    std::fs::write(stage.folder.path().join("members/east.yaml"), east.kubeconfig_yaml()).unwrap();

    let unknown = stage.say("freeze east/default/bd --for 4h --reason r --no-wait").await;
    assert!(unknown.code == 1 && unknown.err.contains("did you mean east/default/db?"), "{unknown:?}");
    let none = stage.say("freeze east/default/db --for 4h --reason r --no-wait").await;
    let name = none.err.split_whitespace().find(|word| word.starts_with("kr-")).expect(&none.err).to_owned();
    assert!(none.code == 1 && none.err.contains("there is no KopiaRepository"), "{none:?}");
    stage.create("KopiaRepository", &name, &json!({}));
    let said = stage.say("freeze east/default/db --for 4h --reason r --no-wait").await;
    assert_eq!((said.code, &stage.spec(&name)["reason"]), (0, &json!("r")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_listed_for_people_and_for_programs() {
    let stage = Stage::with_fleet().await;
    let said = stage.say("members list").await;
    assert_eq!(said.code, 0, "{said:?}");
    let lines: Vec<Vec<&str>> = said.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..4], ["MEMBER", "REACHABLE", "SYNCED", "SOURCES"]);
    assert_eq!(lines[1][..4], ["east", "True", "Unknown", "2"]);
    assert!(said.out.contains("Any: no answer"), "{said:?}");
    let said = stage.say("members list -o json").await;
    let members: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&members[1]["name"], &members[1]["reachable"]), (&json!("west"), &json!("False")));
    assert_eq!(members[0]["problems"], json!([]));
    assert_eq!(members[1]["problems"][0]["message"], "no answer");
    assert!(stage.say("members list -o yaml").await.out.starts_with("- name: east\n"));
    let empty = Stage::start().await.say("members list").await;
    assert!(empty.code == 0 && empty.err.contains("no MemberCluster"), "{empty:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_retired_after_asking_and_followed_until_it_holds_nothing_and_taken_back() {
    let stage = Stage::with_fleet().await;
    stage.reach("west", "True");
    let typo = stage.say("members retire esat").await;
    assert!(typo.code == 1 && typo.err.contains("did you mean east?"), "{typo:?}");
    let asked = stage.say("members retire east").await;
    assert!(asked.code == 1 && asked.err.contains("this retires east: 2 repositories can go to others"), "{asked:?}");
    assert!(asked.out.contains("goes to west") && stage.member("east")["spec"]["lifecycle"] == "Active", "{asked:?}");
    let dry = stage.say("members retire east --dry-run").await;
    assert!(dry.code == 0 && dry.out.contains("would ask first") && dry.out.contains("nothing was done"), "{dry:?}");

    let late = stage.say("members retire east --yes --wait 1s").await;
    assert!(late.code == 0 && late.out.contains("east still holds 2 repositories"), "{late:?}");
    assert_eq!(stage.member("east")["spec"]["lifecycle"], "Retired");
    let listed = stage.say("members list").await;
    assert!(listed.out.lines().nth(1).is_some_and(|line| line.ends_with("retired")), "{listed:?}");
    let listed: Value = serde_json::from_str(&stage.say("members list -o json").await.out).unwrap();
    assert_eq!((&listed[0]["lifecycle"], &listed[1]["lifecycle"]), (&json!("Retired"), &json!("Active")));

    let hub = stage.let_go(Some("west"));
    let said = stage.say("members retire east --wait 20s").await;
    for part in ["east is retired already", "east holds nothing any more", "kubectl delete membercluster east"] {
        assert!(said.code == 0 && said.out.contains(part), "no {part} in {said:?}");
    }
    hub.abort();
    let back = stage.say("members activate east").await;
    assert!(back.code == 0 && stage.member("east")["spec"]["lifecycle"] == "Active", "{back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_gone_is_forgotten_by_force_and_with_a_reason() {
    let stage = Stage::with_fleet().await;
    let near = stage.say("members forget east --force --reason flood --yes").await;
    assert!(near.code == 1 && near.err.contains("members retire east"), "{near:?}");
    stage.reach("east", "False");
    let unsure = stage.say("members forget east").await;
    assert!(unsure.code == 1 && unsure.err.contains("--force --reason TEXT"), "{unsure:?}");
    assert_eq!(stage.say("members forget east --force").await.code, 2, "not without a reason");
    assert_eq!(stage.member("east")["spec"]["lifecycle"], "Active");
    let said = stage.say("members forget east --force --reason flood --yes --no-wait").await;
    let east = stage.member("east");
    assert!(said.code == 0 && east["spec"]["lifecycle"] == "Forgotten", "{said:?}");
    assert_eq!(east["metadata"]["annotations"]["hub.volsync.backube/reason"], "flood");
    assert_eq!(stage.say("members activate east").await.code, 0);
    let east = stage.member("east");
    assert_eq!(east["spec"]["lifecycle"], "Active");
    assert!(east["metadata"]["annotations"]["hub.volsync.backube/reason"].is_null(), "{east}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uninstall_retires_every_member_and_says_what_is_left_to_do() {
    let stage = Stage::with_fleet().await;
    let asked = stage.say("uninstall").await;
    assert!(asked.code == 1 && asked.err.contains("this retires 2 members: 2 repositories will not be"), "{asked:?}");
    let dry = stage.say("uninstall --dry-run").await;
    assert!(dry.code == 0 && dry.out.contains("nothing was done"), "{dry:?}");
    let late = stage.say("uninstall --yes --wait 1s").await;
    assert!(late.code == 1 && late.out.contains("east holds 2 repositories"), "{late:?}");
    assert!(late.out.contains("not yet: members that can be reached still hold something"), "{late:?}");
    for name in ["east", "west"] {
        assert_eq!(stage.member(name)["spec"]["lifecycle"], "Retired");
    }
    let hub = stage.let_go(None);
    let said = stage.say("uninstall --wait 20s").await;
    assert_eq!(said.code, 0, "{said:?}");
    for part in [
        "every member is retired or forgotten already",
        "no member that can be reached holds anything",
        "kubectl --context east get cronjobs,secrets -n volsync-system -l app.kubernetes.io/managed-by=volsync-hub",
        "west can't be reached, and its CronJobs go on",
        "kubectl delete -k deploy/hub",
        "kubectl delete -f deploy/crds",
    ] {
        assert!(said.out.contains(part), "no {part} in {said:?}");
    }
    hub.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_the_hubs_kinds_and_arguments_that_contradict_are_told_of() {
    let stage = Stage::start().await;
    let other = SimCluster::start("other").await.unwrap();
    std::fs::write(stage.folder.path().join("other"), other.kubeconfig_yaml()).unwrap();
    let said = stage.say_as("other", "thaw --all").await;
    assert!(said.code == 1 && said.err.contains("is this the hub's cluster?"), "{said:?}");
    for (line, word) in [
        ("freeze kr-1 --for 4h", "--reason"),
        ("freeze kr-1 --reason r", "--for"),
        ("freeze --for 4h --reason r", "--all"),
        ("freeze kr-1 --all --for 4h --reason r", "--all"),
        ("freeze kr-1 --for soon --reason r", "30m, 4h, 2d"),
        ("thaw kr-1 --wait 1s --no-wait", "--no-wait"),
    ] {
        let said = stage.say(line).await;
        assert!(said.code == 2 && said.err.contains(word), "{line}: {said:?}");
    }
    let past = stage.say("freeze kr-1 --until 2020-01-01T00:00:00Z --reason r").await;
    assert!(past.code == 1 && past.err.contains("not ahead"), "{past:?}");
}

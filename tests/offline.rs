//! `plan --offline` and `explain --offline` as a program sees them: layout, exit codes, shape and order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const DEFAULT: &str = "
apiVersion: volsync.backube/v1alpha1
kind: KopiaMaintenance
metadata: {name: default, creationTimestamp: 2026-01-01T00:00:00Z}
spec:
  repositorySelector: {repository: '*'}
";

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn run(command: &str, directory: &Path, more: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_volsync-hub"));
    program.env_remove("TZ").args([command, "--offline"]).arg(directory).args(more).output().unwrap()
}

fn plan_with(files: &[(&str, &str)], more: &[&str]) -> (Value, i32) {
    let directory = directory(files);
    let output = run("plan", directory.path(), &[&["-o", "json"], more].concat());
    let plan = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (plan, output.status.code().unwrap())
}

fn plan(files: &[(&str, &str)]) -> (Value, i32) {
    plan_with(files, &[])
}

fn source(namespace: &str, name: &str, bucket: &str) -> String {
    format!(
        "
apiVersion: volsync.backube/v1alpha1
kind: ReplicationSource
metadata: {{namespace: {namespace}, name: {name}}}
spec: {{kopia: {{repository: {name}-secret}}}}
---
apiVersion: v1
kind: Secret
metadata: {{namespace: {namespace}, name: {name}-secret}}
stringData: {{KOPIA_REPOSITORY: s3://{bucket}, KOPIA_PASSWORD: secret}}
"
    )
}

#[test]
fn the_json_has_exactly_these_fields() {
    let one = source("app", "one", "bucket");
    let (plan, code) = plan(&[("hub/policy.yaml", DEFAULT), ("members/c1/deep/er/one.yaml", &one)]);
    assert_eq!(code, 0);
    let id = plan["repositories"][0]["id"].as_str().unwrap().to_owned();
    let key = plan["repositories"][0]["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with(&id) && id.len() == 16 && key.len() == 64);
    assert_eq!(
        plan["repositories"],
        json!([{
            "id": id, "key": key, "backend": "s3", "location": plan["repositories"][0]["location"],
            "state": "Maintained", "reason": null, "policy": "default", "shadowed": [], "cluster": "c1", "epoch": null,
            "sources": [{"cluster": "c1", "namespace": "app", "name": "one", "secret": "one-secret"}],
            "cronJob": {"namespace": "volsync-system", "name": format!("kopia-maintenance-{id}"),
                "schedule": "0 2 * * *", "timeZone": "UTC", "suspend": false,
                "secretFrom": {"cluster": "c1", "namespace": "app", "name": "one-secret"}},
        }])
    );
    assert_eq!(
        plan["sources"],
        json!([{"cluster": "c1", "namespace": "app", "name": "one", "secret": "one-secret", "policy": "default",
            "repository": id, "reason": null}])
    );
    assert_eq!(
        plan["policies"],
        json!([{"name": "default", "valid": true, "message": "", "matchedSources": 1, "repositories": 1}])
    );
    assert_eq!(plan["problems"], json!([]));
    let changes = plan["changes"].as_array().unwrap();
    assert!(changes.iter().any(|change| change["kind"] == "CronJob" && change["cluster"] == "c1"), "{changes:?}");
}

#[test]
fn every_list_is_sorted_whatever_the_files_are_called() {
    let sources: Vec<String> = (0..6).map(|n| source("app", &format!("s{n}"), &format!("bucket-{n}"))).collect();
    let policies = DEFAULT.replace("default", "zeta") + "---" + &DEFAULT.replace("default", "alpha");
    let (plan, _) = plan(&[
        ("hub/policy.yaml", &policies),
        ("members/c2/a.yaml", &sources[..3].join("---")),
        ("members/c1/z.yaml", &sources[3..].join("---")),
        ("members/c1/a.yaml", &sources[1]),
    ]);
    let texts = |list: &str, keys: &[&str]| -> Vec<String> {
        let rows = plan[list].as_array().unwrap();
        rows.iter()
            .map(|row| keys.iter().map(|key| row[*key].as_str().unwrap()).collect::<Vec<_>>().join("/"))
            .collect()
    };
    for (list, keys) in [
        ("repositories", &["id"][..]),
        ("sources", &["cluster", "namespace", "name"]),
        ("policies", &["name"]),
        ("changes", &["cluster"]),
    ] {
        assert!(texts(list, keys).is_sorted(), "{list}: {:?}", texts(list, keys));
    }
    assert_eq!(plan["sources"].as_array().unwrap().len(), 7);
}

#[test]
fn invalid_policies_are_planned_and_exit_with_0() {
    let one = source("app", "one", "bucket");
    for (spec, claims) in [
        ("{repositorySelector: {repository: '*'}, schedule: nonsense}", true),
        ("{repositorySelector: {repository: '*'}, unknown: 1}", true),
        ("{repositorySelector: {repository: '*'}, enabled: 'yes please'}", true),
        ("{repositorySelector: {repository: '*'}, suspend: true, suspend: false}", true),
        ("{repositorySelector: {repository: '*', repository: 'x'}}", false),
        ("{repositorySelector: {repository: '*'}, priority: 101}", false),
        ("{repositorySelector: {repository: 7}}", false),
        ("5", false),
        ("[]", false),
        ("{}", false),
    ] {
        let policy = format!(
            "apiVersion: volsync.backube/v1alpha1\nkind: KopiaMaintenance\nmetadata: {{name: p}}\nspec: {spec}\n"
        );
        let (plan, code) = plan(&[("hub/p.yaml", &policy), ("members/c1/one.yaml", &one)]);
        assert_eq!(code, 0, "{spec}");
        let told = &plan["policies"][0];
        assert_eq!(told["valid"], false, "{spec}");
        assert!(!told["message"].as_str().unwrap().is_empty(), "{spec}");
        let repository = &plan["repositories"][0];
        let expected = if claims { ("Held", json!("InvalidPolicy")) } else { ("NoPolicy", Value::Null) };
        assert_eq!((repository["state"].as_str().unwrap(), repository["reason"].clone()), expected, "{spec}");
    }
}

#[test]
fn a_policy_of_a_version_that_there_is_not_is_invalid() {
    let policy = DEFAULT.replace("v1alpha1", "v2");
    let (plan, code) = plan(&[("hub/p.yaml", &policy), ("members/c1/one.yaml", &source("app", "one", "bucket"))]);
    assert_eq!((code, &plan["policies"][0]["valid"]), (0, &json!(false)));
    assert!(plan["policies"][0]["message"].as_str().unwrap().contains("apiVersion"), "{plan}");
    assert_eq!(plan["repositories"][0]["reason"], "InvalidPolicy");
}

#[test]
fn what_can_not_be_read_exits_with_2_and_the_rest_is_planned() {
    let one = source("app", "one", "bucket");
    let secret = |data: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: x, namespace: y}}\n{data}\n");
    for (file, bad) in [
        ("hub/bad.yaml", "a: [1".to_owned()),
        ("hub/bad.yaml", "just words".to_owned()),
        ("hub/bad.yaml", "metadata: {name: x}".to_owned()),
        ("hub/bad.yaml", "apiVersion: volsync.backube/v1alpha1\nkind: KopiaMaintenance\nspec: {}".to_owned()),
        (
            "hub/bad.yaml",
            "apiVersion: hub.volsync.backube/v1alpha1\nkind: KopiaRepository\nmetadata: {name: x}".to_owned(),
        ),
        ("members/c1/bad.yaml", secret("data: {KEY: '%%%'}")),
        ("members/c1/bad.yaml", secret("data: [1]")),
        ("members/c1/bad.yaml", secret("stringData: {KEY: 7}")),
        ("members/c1/bad.yaml", secret("stringData: {KEY: 1e777}")),
        ("members/lost.yaml", one.clone()),
    ] {
        let (plan, code) = plan(&[("hub/policy.yaml", DEFAULT), ("members/c1/one.yaml", &one), (file, &bad)]);
        assert_eq!(code, 2, "{bad}");
        assert_eq!(plan["repositories"][0]["state"], "Maintained", "{bad}");
        let problem = &plan["problems"][0];
        assert!(problem["object"].as_str().unwrap().contains(file), "{problem}");
        let message = problem["message"].as_str().unwrap();
        assert!(!message.contains("secret") && !message.contains("777"), "{problem}");
    }
}

#[test]
fn what_an_api_server_would_refuse_in_the_hubs_own_kinds_is_a_problem() {
    let objects = "
apiVersion: hub.volsync.backube/v1alpha1
kind: MemberCluster
metadata: {name: c1}
spec: {eligable: false, cidrs: [10.0.0.0/8]}
---
apiVersion: hub.volsync.backube/v1alpha1
kind: KopiaRepository
metadata: {name: kr-0123456789abcdef}
spec: {frozenUntil: tomorrow}
";
    let (plan, code) = plan(&[("hub/p.yaml", DEFAULT), ("hub/own.yaml", objects)]);
    assert_eq!(code, 0);
    let told: Vec<_> = plan["problems"].as_array().unwrap().iter().map(|it| (&it["object"], &it["reason"])).collect();
    let invalid = json!("Invalid");
    let (repository, member) = (json!("KopiaRepository/kr-0123456789abcdef"), json!("MemberCluster/c1"));
    assert_eq!(told, [(&repository, &invalid), (&member, &invalid)]);
}

#[test]
fn a_broken_document_hides_no_other_in_its_file() {
    let file = format!("{DEFAULT}---\na: [1\n---\n{}", DEFAULT.replace("default", "second"));
    let (plan, code) = plan(&[("hub/all.yaml", &file)]);
    assert_eq!((code, plan["policies"].as_array().unwrap().len()), (2, 2));
}

#[test]
fn what_is_of_no_concern_is_passed_over() {
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {}\n---\n\n---\n";
    let restic = "apiVersion: volsync.backube/v1alpha1\nkind: ReplicationSource\nmetadata: {name: r, namespace: n}\nspec: {restic: {}}";
    let (plan, code) = plan(&[("hub/x.yaml", other), ("members/c1/x.yaml", restic), ("hub/readme.md", "[")]);
    assert_eq!((code, &plan["sources"], &plan["problems"]), (0, &json!([]), &json!([])));
}

#[test]
fn a_directory_that_is_not_there_exits_with_2() {
    let output = run("plan", Path::new("/nowhere/at/all"), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/at/all"));
    let empty = directory(&[]);
    assert_eq!(run("plan", empty.path(), &[]).status.code(), Some(0));
}

#[test]
fn secrets_are_read_from_data_and_string_data() {
    let source = "apiVersion: volsync.backube/v1alpha1\nkind: ReplicationSource\nmetadata: {name: s, namespace: n}\nspec: {kopia: {repository: repo}}\n---\n";
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: repo, namespace: n}\n";
    for data in [
        "data: {KOPIA_REPOSITORY: czM6Ly9idWNrZXQ=, KOPIA_PASSWORD: ''}",
        "data: {KOPIA_REPOSITORY: czM6Ly9idWNrZXQ=}\nstringData: {KOPIA_PASSWORD: p}",
        "data: {KOPIA_REPOSITORY: eHh4, KOPIA_PASSWORD: cA==}\nstringData: {KOPIA_REPOSITORY: s3://bucket}",
        "data:\n  KOPIA_PASSWORD: cA==\n  KOPIA_REPOSITORY: |\n    czM6Ly9i\n    dWNrZXQ=\n",
    ] {
        let (plan, code) = plan(&[("hub/p.yaml", DEFAULT), ("members/c1/a.yaml", &format!("{source}{secret}{data}"))]);
        assert_eq!(code, 0);
        assert_eq!(plan["repositories"][0]["state"], "Maintained", "{data}: {plan}");
    }
}

#[test]
fn a_member_cluster_without_a_folder_is_an_unreachable_member() {
    let clusters = "
apiVersion: hub.volsync.backube/v1alpha1
kind: MemberCluster
metadata: {name: c2}
---
apiVersion: hub.volsync.backube/v1alpha1
kind: MemberCluster
metadata: {name: c1, labels: {region: eu}}
spec: {paused: true}
";
    let direct = "
apiVersion: volsync.backube/v1alpha1
kind: KopiaMaintenance
metadata: {name: direct}
spec: {repository: {name: repo, namespace: app}, clusterSelector: {matchNames: [c2]}}
---
apiVersion: v1
kind: Secret
metadata: {name: repo, namespace: app}
stringData: {KOPIA_REPOSITORY: s3://other, KOPIA_PASSWORD: secret}
";
    let one = source("app", "one", "bucket");
    let files =
        [("hub/policy.yaml", DEFAULT), ("hub/c.yaml", clusters), ("hub/d.yaml", direct), ("members/c1/one.yaml", &one)];
    let (plan, _) = plan(&files);
    let rows = plan["repositories"].as_array().unwrap();
    let of = |policy: &str| rows.iter().find(|row| row["policy"] == policy).unwrap();
    assert_eq!(of("default")["state"], "NoCandidate");
    assert_eq!((&of("direct")["state"], &of("direct")["cluster"]), (&json!("Maintained"), &json!("c2")));
    assert_eq!(of("direct")["cronJob"]["secretFrom"], json!({"cluster": null, "namespace": "app", "name": "repo"}));
    let changes = plan["changes"].as_array().unwrap();
    assert!(changes.iter().all(|change| change["cluster"] != "c2"), "nothing is written where nothing is seen");
}

#[test]
fn the_ledger_is_the_status_of_the_kopia_repositories() {
    let (one, two) = (source("app", "one", "bucket"), source("app", "two", "bucket"));
    let files = [("hub/policy.yaml", DEFAULT), ("members/c1/a.yaml", &*one), ("members/c2/a.yaml", &two)];
    let (first, _) = plan(&files);
    let id = first["repositories"][0]["id"].as_str().unwrap();
    for (holder, pin, frozen) in
        [("c1", None, false), ("c2", None, false), ("c1", Some("c2"), false), ("c2", None, true)]
    {
        let pin_line = pin.map(|pin| format!("  cluster: {pin}\n")).unwrap_or_default();
        let frozen_line = if frozen { "  frozenUntil: 2999-01-01T00:00:00Z\n" } else { "" };
        let ledger = format!(
            "apiVersion: hub.volsync.backube/v1alpha1\nkind: KopiaRepository\nmetadata: {{name: kr-{id}}}\n\
             spec:\n  reason: test\n{pin_line}{frozen_line}status:\n  grant: {{cluster: {holder}, epoch: 7, phase: Active}}\n"
        );
        let (plan, code) = plan(&[&files[..], &[("hub/ledger.yaml", &ledger)]].concat());
        let repository = &plan["repositories"][0];
        assert_eq!((code, &repository["cluster"]), (0, &json!(pin.unwrap_or(holder))), "{plan}");
        assert_eq!(repository["epoch"], 7);
        assert_eq!(repository["state"], if frozen { "Frozen" } else { "Maintained" });
        assert_eq!(repository["cronJob"]["suspend"], frozen);
    }
}

#[test]
fn a_held_repository_shows_the_cron_job_that_stands() {
    let one = source("app", "one", "bucket");
    let bad = DEFAULT.replace("spec:", "spec:\n  schedule: nonsense");
    let (first, _) = plan(&[("hub/p.yaml", &bad), ("members/c1/a.yaml", &one)]);
    let id = first["repositories"][0]["id"].as_str().unwrap();
    assert_eq!(
        (&first["repositories"][0]["cluster"], &first["repositories"][0]["cronJob"]),
        (&Value::Null, &Value::Null)
    );
    let ledger = format!(
        "apiVersion: hub.volsync.backube/v1alpha1\nkind: KopiaRepository\nmetadata: {{name: kr-{id}}}\n\
         status:\n  grant: {{cluster: c1, epoch: 2, phase: Active}}\n"
    );
    let standing = format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  namespace: volsync-system\n  name: kopia-maintenance-{id}\n  \
         labels: {{app.kubernetes.io/managed-by: volsync-hub, hub.volsync.backube/repository: {id}}}\n\
         spec: {{schedule: 5 5 * * *, timeZone: Asia/Tokyo, suspend: true}}\n"
    );
    let files =
        [("hub/p.yaml", &*bad), ("hub/l.yaml", &ledger), ("members/c1/a.yaml", &one), ("members/c1/c.yaml", &standing)];
    let (plan, _) = plan(&files);
    let repository = &plan["repositories"][0];
    assert_eq!((&repository["state"], &repository["cluster"]), (&json!("Held"), &json!("c1")));
    let cron_job = &repository["cronJob"];
    assert_eq!(
        (&cron_job["schedule"], &cron_job["timeZone"], &cron_job["suspend"]),
        (&json!("5 5 * * *"), &json!("Asia/Tokyo"), &json!(true))
    );
    assert_eq!(plan["changes"], json!([]));
}

#[test]
fn the_hubs_options_are_the_plans() {
    let one = source("app", "one", "bucket");
    let files = [("hub/policy.yaml", DEFAULT), ("members/c1/one.yaml", &*one)];
    let cron_job = |more: &[&str]| plan_with(&files, more).0["repositories"][0]["cronJob"].clone();
    assert_eq!(cron_job(&["--time-zone", "Europe/Berlin"])["timeZone"], "Europe/Berlin");
    assert_eq!(cron_job(&["--member-namespace", "backup"])["namespace"], "backup");
    assert_ne!(cron_job(&["--default-spread", "5h"])["schedule"], "0 2 * * *");
}

#[test]
fn yaml_and_tables_say_the_same() {
    let one = source("app", "one", "bucket");
    let directory = directory(&[("hub/policy.yaml", DEFAULT), ("members/c1/one.yaml", &one)]);
    let text = |format: &str| String::from_utf8(run("plan", directory.path(), &["-o", format]).stdout).unwrap();
    let id =
        serde_json::from_str::<Value>(&text("json")).unwrap()["repositories"][0]["id"].as_str().unwrap().to_owned();
    assert!(text("yaml").contains(&id) && text("yaml").contains("cronJob:"));
    assert!(text("table").contains(&format!("kr-{id}")) && text("table").contains("Maintained"));
}

#[test]
fn explain_says_why_for_an_id_a_source_and_a_location() {
    let one = source("app", "one", "bucket");
    let policies = DEFAULT.to_owned() + "---" + &DEFAULT.replace("default", "other").replace("'*'", "prod-*");
    let directory = directory(&[("hub/policy.yaml", &policies), ("members/c1/one.yaml", &one)]);
    let explain = |name: &str| run("explain", directory.path(), &[name, "-o", "json", "--at", "2026-03-01T00:00:00Z"]);
    let by_source: Value = serde_json::from_slice(&explain("c1/app/one").stdout).unwrap();
    let id = by_source["id"].as_str().unwrap();
    for name in [id, &format!("kr-{id}"), "bucket"] {
        assert_eq!(serde_json::from_slice::<Value>(&explain(name).stdout).unwrap(), by_source);
    }
    let outcomes: Vec<_> = by_source["policies"].as_array().unwrap().iter().map(|it| it["outcome"].clone()).collect();
    assert_eq!(outcomes, ["Won", "NotMatched"]);
    assert_eq!(by_source["policies"][1]["nearMisses"][0]["field"], "repositorySelector.repository");
    let next: Vec<_> = by_source["next"].as_array().unwrap().iter().map(|it| it["utc"].clone()).collect();
    assert_eq!(next, ["2026-03-01T02:00:00Z", "2026-03-02T02:00:00Z", "2026-03-03T02:00:00Z"]);
    let nothing = explain("c1/app/nothing");
    assert_eq!(nothing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("c1/app/nothing"));
}

#[test]
fn other_tools_maintenance_is_told_with_what_ends_it() {
    let cron_job = |name: &str, more: &str| {
        format!(
            "
---
apiVersion: batch/v1
kind: CronJob
metadata: {{namespace: shop, name: {name}, labels: {{volsync.backube/kopia-maintenance: 'true'{more}}}}}
spec:
  schedule: 0 2 * * *
  suspend: {}
  jobTemplate: {{spec: {{template: {{spec: {{containers: [{{name: c, envFrom: [{{secretRef: {{name: db-secret}}}}]}}]}}}}}}}}
",
            name == "stands"
        )
    };
    let member = source("shop", "db", "bucket")
        + &cron_job("theirs", "")
        + &cron_job("stands", "")
        + &cron_job("ours", ", app.kubernetes.io/managed-by: volsync-hub")
        + "
---
apiVersion: volsync.backube/v1alpha1
kind: KopiaMaintenance
metadata: {namespace: shop, name: km}
spec: {repository: {repository: db-secret}}
";
    let files = [("hub/policy.yaml", DEFAULT), ("members/east/all.yaml", member.as_str())];
    let (document, code) = plan(&files);
    assert_eq!(code, 0);
    let id = format!("kr-{}", document["repositories"][0]["id"].as_str().unwrap());
    let problems = document["problems"].as_array().unwrap();
    let told: Vec<_> = problems.iter().filter(|it| it["reason"] == "ForeignMaintainer").collect();
    assert!(told.iter().all(|it| it["object"] == json!(id)), "{told:?}");
    let messages: Vec<_> = told.iter().map(|it| it["message"].as_str().unwrap()).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].starts_with("CronJob shop/theirs in east") && messages[1].contains("KopiaMaintenance shop/km"));
    let command = r#"kubectl --context east -n shop patch cronjob theirs --type merge -p '{"spec":{"suspend":true}}'"#;
    assert!(messages[0].ends_with(command), "{}", messages[0]);

    let directory = directory(&files);
    let output = run("explain", directory.path(), &[&id]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("ForeignMaintainer") && text.contains(command), "{text}");
    // Where nothing of the hub is to run, nobody is in its way.
    let off = format!("{DEFAULT}  enabled: false\n");
    let (document, _) = plan(&[("hub/policy.yaml", &off), files[1]]);
    assert_eq!(document["problems"], json!([]));
}

//! Golden files of everything that is pushed, one for each case, and what holds for all of them.
//!
//! `UPDATE_GOLDEN=1 cargo test --all-features --lib render` writes the files anew; `git diff` then shows what changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use k8s_openapi::api::batch::v1 as batch;
use serde_json::{Value, json};

use super::pod::{Permit, Replaces};
use super::*;
use crate::api::kopia_maintenance::KopiaMaintenanceSpec;
use crate::plan::result::{Push, RepositoryPlan};
use crate::plan::testing::{Fixture, facts};

const HUB: &str = "hub-3f2a";
const EPOCH: u64 = 7;

/// One repository under one policy, in the one member `eu`.
struct Case {
    name: &'static str,
    policy: Value,
    secret: Vec<(&'static str, &'static str)>,
    kopia: Value,
    platform: Platform,
}

impl Case {
    fn new(name: &'static str, secret: &[(&'static str, &'static str)]) -> Self {
        let platform = Platform { image: "quay.io/example/mover:1".to_owned(), ..Platform::default() };
        Self { name, policy: json!({}), secret: secret.to_vec(), kopia: json!({}), platform }
    }

    fn policy(self, policy: Value) -> Self {
        Self { policy, ..self }
    }

    fn platform(mut self, change: impl FnOnce(&mut Platform)) -> Self {
        change(&mut self.platform);
        self
    }

    fn assignment(&self) -> Assignment {
        let mut spec = json!({"schedule": "0 2 * * *"});
        let direct = self.policy.get("repository").is_some();
        if !direct {
            spec["repositorySelector"] = json!({"repository": "*"});
        }
        merge(&mut spec, &self.policy);
        serde_json::from_value::<KopiaMaintenanceSpec>(spec.clone()).expect("a policy that the API knows");
        let mut fixture = Fixture::new(&["eu"]);
        fixture.secret(if direct { "hub/volsync-system/repo" } else { "eu/app/repo" }, facts(&self.secret));
        let mut kopia = json!({"repository": "repo"});
        merge(&mut kopia, &self.kopia);
        if !direct {
            fixture.kopia("eu/app/db", &kopia);
        }
        fixture.policy("nightly", &spec);
        match fixture.only() {
            RepositoryPlan { push: Push::Objects(assignment), .. } => *assignment,
            other => panic!("{}: {} {:?}", self.name, other.message, fixture.policy_plan("nightly")),
        }
    }

    fn render<T>(&self, of: impl FnOnce(&Assignment, &RenderContext<'_>) -> T) -> T {
        let context = RenderContext {
            hub_id: HUB,
            namespace: "volsync-system",
            member: &self.platform,
            epoch: EPOCH,
            time_factor: 1,
        };
        of(&self.assignment(), &context)
    }

    fn cron_job(&self) -> batch::CronJob {
        self.render(|assignment, context| {
            let mut cron_job = cron_job::cron_job(assignment, context, assignment.suspend);
            seal(&mut cron_job);
            cron_job
        })
    }

    fn claim_job(&self) -> batch::Job {
        let permit = Permit { replaces: Replaces::Foreign, issued: 1_800_000_000, not_after: 1_800_000_600 };
        self.render(|assignment, context| cron_job::claim_job(assignment, context, permit, "1800000000"))
    }

    /// What depends on the backend: where the repository is, and how the credentials get there.
    fn connection(&self) -> Value {
        let pod = template_of(&json!(self.cron_job()));
        let container = &pod["spec"]["containers"][0];
        let of_secret = |variable: &&Value| {
            let name = variable["name"].as_str().unwrap();
            variable.get("valueFrom").is_some()
                || variable["value"].as_str().unwrap().starts_with("/c")
                    && !["HUB_CACHE_DIR", "HUB_CREDENTIALS_DIR", "HOME"].contains(&name)
        };
        let env: Vec<_> = container["env"].as_array().unwrap().iter().filter(of_secret).collect();
        json!({"args": container["args"], "env": env, "volumes": pod["spec"]["volumes"],
            "volumeMounts": container["volumeMounts"]})
    }
}

fn merge(into: &mut Value, from: &Value) {
    into.as_object_mut().unwrap().extend(from.as_object().unwrap().clone());
}

fn template_of(cron_job: &Value) -> Value {
    cron_job["spec"]["jobTemplate"]["spec"]["template"].clone()
}

const S3: [(&str, &str); 5] = [
    ("KOPIA_REPOSITORY", "s3://bucket/prefix/"),
    ("KOPIA_PASSWORD", "planted"),
    ("AWS_S3_ENDPOINT", "https://minio.example.com:9000"),
    ("AWS_ACCESS_KEY_ID", "planted"),
    ("AWS_SECRET_ACCESS_KEY", "planted"),
];

fn s3(name: &'static str) -> Case {
    Case::new(name, &S3)
}

/// Cases of which the whole CronJob is kept.
fn whole() -> Vec<Case> {
    let ca = json!({"customCA": {"secretName": "ca", "key": "tls.crt"}});
    vec![
        Case { kopia: ca, ..s3("s3-with-ca") },
        s3("direct").policy(json!({"repository": {"repository": "repo", "namespace": "volsync-system",
            "customCA": {"configMapName": "ca", "key": "ca.pem"}}, "clusterSelector": {"matchNames": ["eu"]}})),
        s3("openshift").platform(|platform| platform.openshift = true),
        s3("proxies").platform(|platform| {
            let proxies = [("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", ".svc,10.0.0.0/8")];
            platform.proxies = proxies.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            platform.image_pull_secrets = vec!["registry".to_owned()];
        }),
        s3("quick-and-suspended").policy(json!({"cycle": "Quick", "schedule": "*/10 * * * *", "suspend": true,
            "successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 0})),
        s3("everything-set").policy(json!({"schedule": "0 */6 * * *", "timeZone": "Europe/Berlin", "cycle": "Full", "activeDeadlineSeconds": 7200,
            "successfulJobsHistoryLimit": 2, "failedJobsHistoryLimit": 4, 
            "priorityClassName": "low", "imagePullSecrets": [{"name": "own-registry"}], "podLabels": {"team": "storage"},
            "podAnnotations": {"example.com/inject": "false"}, "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "backup", "operator": "Exists"}], "cacheCapacity": "20Gi",
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
            "podSecurityContext": {"runAsUser": 568, "runAsGroup": 568, "fsGroup": 568}})),
    ]
}

/// Cases of which only the connection is kept: the rest is the same everywhere.
fn connections() -> Vec<Case> {
    vec![
        Case::new(
            "azure",
            &[
                ("KOPIA_AZURE_CONTAINER", "c"),
                ("KOPIA_AZURE_STORAGE_ACCOUNT", "account"),
                ("KOPIA_AZURE_STORAGE_KEY", "planted"),
                ("KOPIA_PASSWORD", "planted"),
            ],
        ),
        Case::new(
            "gcs",
            &[
                ("KOPIA_GCS_BUCKET", "bucket"),
                ("KOPIA_PASSWORD", "planted"),
                ("GOOGLE_APPLICATION_CREDENTIALS", "{\"private_key\": \"planted\"}"),
            ],
        ),
        Case::new(
            "gdrive",
            &[
                ("GOOGLE_DRIVE_FOLDER_ID", "folder"),
                ("KOPIA_PASSWORD", "planted"),
                ("GOOGLE_DRIVE_CREDENTIALS", "{\"private_key\": \"planted\"}"),
            ],
        ),
        Case::new(
            "b2",
            &[
                ("KOPIA_B2_BUCKET", "bucket"),
                ("B2_ACCOUNT_ID", "planted"),
                ("B2_APPLICATION_KEY", "planted"),
                ("KOPIA_PASSWORD", "planted"),
            ],
        ),
        Case::new(
            "webdav",
            &[
                ("WEBDAV_URL", "https://dav.example.com/x"),
                ("WEBDAV_USERNAME", "planted"),
                ("WEBDAV_PASSWORD", "planted"),
                ("KOPIA_PASSWORD", "planted"),
            ],
        ),
        Case::new(
            "sftp-with-key",
            &[
                ("SFTP_HOST", "files.example.com"),
                ("SFTP_PATH", "/repo"),
                ("SFTP_USERNAME", "kopia"),
                ("SFTP_KEY_FILE", "planted"),
                ("SFTP_KNOWN_HOSTS", "planted"),
                ("KOPIA_PASSWORD", "planted"),
            ],
        ),
        Case::new(
            "sftp-with-password",
            &[
                ("SFTP_HOST", "files.example.com"),
                ("SFTP_PATH", "/repo"),
                ("SFTP_USERNAME", "kopia"),
                ("SFTP_PASSWORD", "planted"),
                ("KOPIA_PASSWORD", "planted"),
            ],
        ),
        Case::new(
            "rclone",
            &[
                ("RCLONE_REMOTE_PATH", "remote:bucket/x"),
                ("RCLONE_CONFIG", "[remote]\ntype = s3\nprovider = AWS\nsecret_access_key = planted\n"),
                ("KOPIA_PASSWORD", "planted"),
            ],
        ),
    ]
}

fn all() -> Vec<Case> {
    whole().into_iter().chain(connections()).collect()
}

fn without_hash(line: &str) -> String {
    let key = format!("{}: ", labels::APPLIED_HASH);
    line.find(&key).map_or(line.to_owned(), |at| format!("{}HASH", &line[..at + key.len()])) + "\n"
}

fn check(name: &str, objects: &[Value]) {
    let documents: Vec<_> = objects.iter().map(|object| serde_saphyr::to_string(object).unwrap()).collect();
    // A change of the script is not to show in every file.
    let text = documents.join("---\n").replace(&support::script_name(), "volsync-hub-mover-HASH");
    let text: String = text.lines().map(without_hash).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render/golden").join(format!("{name}.yaml"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let line = golden.lines().zip(text.lines()).position(|(old, new)| old != new);
    assert!(
        golden == text,
        "{} differs from line {:?} on; see the head of this file",
        path.display(),
        line.map(|it| it + 1)
    );
}

#[test]
fn cron_jobs_are_as_their_golden_files() {
    for case in whole() {
        check(case.name, &[json!(case.cron_job())]);
    }
}

#[test]
fn each_backend_connects_as_its_golden_file() {
    for case in connections() {
        check(case.name, &[case.connection()]);
    }
}

#[test]
fn a_claim_job_is_as_its_golden_file() {
    check("claim-job", &[json!(s3("claim").claim_job())]);
}

#[test]
fn copies_and_what_all_jobs_of_a_member_share_are_as_their_golden_files() {
    let data = BTreeMap::from([("KOPIA_PASSWORD".to_owned(), b"planted".to_vec())]);
    let case = &whole()[0];
    let copy = case.render(|assignment, context| secret::copy(assignment, context, data, "4711"));
    let ca = case.render(|assignment, context| secret::ca_copy(assignment, context, b"PEM".to_vec(), "4712"));
    check("copies", &[json!(copy), json!(ca)]);
    let account = support::service_account(HUB, "volsync-system");
    let mut script = support::script(HUB, "volsync-system");
    let text = script.data.as_mut().unwrap().insert(support::SCRIPT_KEY.to_owned(), "(the script)".to_owned()).unwrap();
    assert!(text.starts_with("#!/bin/bash\n") && script.metadata.name == Some(support::script_name()));
    script.metadata.name = Some("volsync-hub-mover-HASH".to_owned());
    check("shared", &[json!(account), json!(script)]);
}

#[test]
fn every_golden_file_belongs_to_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render/golden");
    let known: Vec<_> = all().iter().map(|case| case.name).chain(["claim-job", "copies", "shared"]).collect();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.iter().any(|known| name == format!("{known}.yaml")), "{name} belongs to no case");
    }
}

/// The objects of every case in which Pods are made: (case, labels of the object, labels of the Job, its spec).
fn every_job() -> Vec<(&'static str, Value, Value)> {
    let of_case = |case: &Case| {
        let cron_job = json!(case.cron_job());
        let template = &cron_job["spec"]["jobTemplate"];
        let claim = json!(case.claim_job());
        let run = (case.name, template["metadata"].clone(), template["spec"].clone());
        [run, (case.name, claim["metadata"].clone(), claim["spec"].clone())]
    };
    all().iter().flat_map(of_case).collect()
}

#[test]
fn every_object_job_and_pod_is_marked_as_ours_and_never_as_an_older_operators() {
    let older = "volsync.backube/source-namespace";
    let id = |case: &Case| case.assignment().id.to_string();
    for case in all() {
        let cron_job = json!(case.cron_job());
        let claim = json!(case.claim_job());
        let template = &cron_job["spec"]["jobTemplate"];
        let marked = [
            (&cron_job["metadata"], None),
            (&template["metadata"], Some("run")),
            (&template["spec"]["template"]["metadata"], Some("run")),
            (&claim["metadata"], Some("claim")),
            (&claim["spec"]["template"]["metadata"], Some("claim")),
        ];
        for (metadata, role) in marked {
            let labels = &metadata["labels"];
            assert_eq!(labels[labels::MAINTENANCE], "true", "{}", case.name);
            assert_eq!(labels[labels::MANAGED_BY], "volsync-hub", "{}", case.name);
            assert_eq!((&labels[labels::REPOSITORY], &labels[labels::HUB]), (&json!(id(&case)), &json!(HUB)));
            assert_eq!(labels[labels::ROLE].as_str(), role, "{}", case.name);
            assert!(labels.get(older).is_none());
        }
        for annotations in [&cron_job["metadata"]["annotations"], &claim["metadata"]["annotations"]] {
            assert_eq!((&annotations[labels::POLICY], &annotations[labels::EPOCH]), (&json!("nightly"), &json!("7")));
            assert!(annotations[labels::SOURCE].as_str().unwrap().ends_with("/repo"), "{annotations}");
        }
        assert!(cron_job["metadata"]["annotations"][labels::APPLIED_HASH].is_string());
    }
}

#[test]
fn no_secret_value_stands_in_a_job_and_every_variable_of_a_secret_comes_by_reference() {
    for (case, _, spec) in every_job() {
        let text = spec.to_string();
        assert!(!text.contains("planted") && !text.contains("envFrom"), "{case}: {text}");
        let variables = spec["template"]["spec"]["containers"][0]["env"].as_array().unwrap().clone();
        let password = variables.iter().find(|it| it["name"] == "KOPIA_PASSWORD").unwrap();
        assert_eq!(password["valueFrom"]["secretKeyRef"]["key"], "KOPIA_PASSWORD", "{case}");
    }
}

#[test]
fn every_pod_passes_the_restricted_standard() {
    for (case, _, spec) in every_job() {
        let pod = &spec["template"]["spec"];
        let [container] = pod["containers"].as_array().unwrap().as_slice() else { panic!("{case}: one container") };
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false, "{case}");
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{case}");
        assert_eq!((&security["runAsNonRoot"], &security["readOnlyRootFilesystem"]), (&json!(true), &json!(true)));
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{case}");
        assert_eq!(pod["securityContext"]["seccompProfile"], json!({"type": "RuntimeDefault"}), "{case}");
        for field in ["hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"] {
            assert!(pod.get(field).is_none(), "{case}: {field}");
        }
        for volume in pod["volumes"].as_array().unwrap() {
            let kinds = ["emptyDir", "secret", "configMap"];
            assert!(kinds.iter().any(|kind| volume.get(kind).is_some()), "{case}: {volume}");
        }
        let writable = |path: &str| {
            let mounts = container["volumeMounts"].as_array().unwrap();
            let mount = mounts.iter().find(|mount| mount["mountPath"] == path).unwrap();
            let volume = pod["volumes"].as_array().unwrap().iter().find(|it| it["name"] == mount["name"]).unwrap();
            volume.get("emptyDir").is_some() && mount.get("readOnly").is_none()
        };
        assert!(writable("/cache") && writable("/tmp"), "{case}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{case}");
    }
}

#[test]
fn every_job_ends_once_and_stays_to_be_read() {
    for (case, metadata, spec) in every_job() {
        let pod = &spec["template"]["spec"];
        assert_eq!((&spec["backoffLimit"], &pod["restartPolicy"]), (&json!(0), &json!("Never")), "{case}");
        assert_eq!(spec["podReplacementPolicy"], "Failed", "{case}");
        assert!(spec["activeDeadlineSeconds"].as_i64().unwrap() > 0, "{case}");
        let is_claim = metadata["labels"][labels::ROLE] == "claim";
        assert_eq!(spec.get("ttlSecondsAfterFinished"), is_claim.then_some(&json!(3600)), "{case}");
        let deadline = |it: &&Value| it["name"] == "HUB_DEADLINE_SECONDS";
        let variables = pod["containers"][0]["env"].as_array().unwrap();
        let told = variables.iter().find(deadline).unwrap()["value"].as_str().unwrap();
        assert_eq!(told, spec["activeDeadlineSeconds"].to_string(), "{case}: the script knows the same deadline");
        let permit = variables.iter().any(|it| it["name"].as_str().unwrap().starts_with("HUB_PERMIT"));
        assert_eq!(permit, is_claim, "{case}: a CronJob never carries a permit");
    }
}

#[test]
fn a_missed_run_is_caught_up_within_half_the_period_a_minute_at_least_and_an_hour_at_most() {
    let cases =
        [("* * * * *", 60), ("*/10 * * * *", 300), ("0 * * * *", 1800), ("0 */6 * * *", 3600), ("@yearly", 3600)];
    for (schedule, seconds) in cases {
        let spec = s3("schedule").policy(json!({"schedule": schedule})).cron_job().spec;
        assert_eq!(spec.starting_deadline_seconds, Some(seconds), "{schedule}");
        assert_eq!((spec.concurrency_policy.as_deref(), spec.time_zone.as_deref()), (Some("Forbid"), Some("UTC")));
    }
}

#[test]
fn a_time_zone_is_always_set_and_one_job_is_always_kept() {
    let policy = json!({"successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 0});
    let spec = s3("plain").policy(policy).cron_job().spec;
    assert!(spec.time_zone.is_some());
    assert_eq!((spec.successful_jobs_history_limit, spec.failed_jobs_history_limit), (Some(1), Some(1)));
}

#[test]
fn names_fit_where_kubernetes_puts_them() {
    for case in all() {
        let cron_job = case.cron_job().metadata.name.unwrap();
        assert!(cron_job.len() <= 52, "a CronJob's Jobs add eleven characters to {cron_job}");
        let id = case.assignment().id;
        assert_eq!(cron_job, format!("kopia-maintenance-{id}"));
        assert!(cron_job::claim_name(id, u64::MAX).len() <= 63);
    }
}

#[test]
fn an_owner_is_read_as_it_was_written_and_everybody_else_is_a_stranger() {
    let id: RepositoryId = "00be1e7bf517f36a".parse().unwrap();
    let (member, hub) = (MemberName::from("eu.west"), "hub-3f2a");
    for id in [id, RepositoryId::default()] {
        let owner = kopia_owner(7, &member, id, hub);
        assert_eq!(former_of(&owner, hub), Some(Former { cluster: member.clone(), epoch: 7, id }), "{owner}");
    }
    assert_eq!(kopia_owner(7, &member, id, hub), "volsync-hub-7@eu.west.00be1e7bf517f36a.hub-3f2a");
    for other in [
        "root@laptop",
        "volsync-hub-7@eu.00be1e7bf517f36a.another-hub",
        "volsync-hub-07@eu.00be1e7bf517f36a.hub-3f2a",
        "volsync-hub-x@eu.00be1e7bf517f36a.hub-3f2a",
        "volsync-hub-7@hub-3f2a",
    ] {
        assert_eq!(former_of(other, hub), None, "{other}");
    }
}

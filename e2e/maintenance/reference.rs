//! Every example of the KopiaMaintenance reference, applied as it stands there, does what it says.

use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::harness::control_plane::base64;
use crate::harness::objects::{S3, namespace, source};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

use super::stage::{Maintained, SETTLED, Stage, get, text};

type Labels = &'static [(&'static str, &'static str)];

/// The sources of the one member: namespace, its labels, and the names of the Secrets, each with a bucket of its
/// own that is called the same.
const SOURCES: [(&str, Labels, &[&str]); 4] = [
    (
        "production",
        &[("environment", "production"), ("team", "platform")],
        &["prod-db", "us-prod-db", "critical-app-backup", "platform-cache", "app-backup-config"],
    ),
    ("staging", &[("environment", "staging")], &["redis-backup", "finance-ledger", "platform-lab"]),
    ("critical-apps", &[("backup-required", "true")], &["app-1-data", "app-12-data"]),
    ("lab", &[], &["prod-test", "mysql-backup"]),
];

struct Scene {
    stage: Stage,
}

impl Scene {
    async fn start() -> Result<Self, Fail> {
        let stage = Stage::start("reference", &["member-a"]).await?;
        let mut manifest = String::new();
        for (name, labels, secrets) in SOURCES {
            manifest += &namespace(name, labels);
            for secret in secrets {
                manifest += &(S3::bucket(secret).secret(name, secret) + &source(name, secret, secret));
            }
        }
        manifest += &namespace("backup-system", &[]);
        for secret in ["central-backup-config", "central-backup-secret"] {
            manifest += &S3::bucket(secret).secret("backup-system", secret);
        }
        let ca = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "custom-ca-bundle", "namespace": "backup-system"},
            "data": {"ca.crt": CA, "other.crt": "not asked for"}});
        manifest = [manifest.as_str(), "---\n", &ca.to_string(), "\n"].concat();
        let buckets = SOURCES.iter().flat_map(|(_, _, secrets)| secrets.iter().copied());
        let places: Vec<_> =
            buckets.chain(["central-backup-config", "central-backup-secret"]).map(S3::bucket).collect();
        try_join_all(places.iter().map(|place| place.create(&stage.fleet))).await?;
        let member = stage.fleet.member("member-a")?;
        member.shell.apply(&manifest).await?;
        Ok(Self { stage })
    }

    async fn kubectl(&self, command: &str, example: &str) -> Result<(), Fail> {
        let command = format!("{command} -f e2e/manifests/good/reference-{example}.yaml");
        self.stage.fleet.hub.shell.kubectl(&command).await?.ok().map(drop)
    }

    async fn apply(&self, example: &str) -> Result<(), Fail> {
        self.kubectl("apply", example).await
    }

    /// Takes an example away again.
    async fn delete(&self, example: &str) -> Result<(), Fail> {
        self.kubectl("delete", example).await
    }

    /// Waits until each bucket has the policy and the schedule of its line.
    async fn ruled(&self, expected: &[(&str, &str, &str)]) -> Result<Vec<Maintained>, Fail> {
        try_join_all(expected.iter().map(|(bucket, policy, schedule)| {
            let what = format!("ruled by {policy} at {schedule}");
            async move {
                let is = |it: &Maintained| it.policy() == *policy && it.schedule() == *schedule;
                self.stage.maintained_as(bucket, &what, is).await
            }
        }))
        .await
    }

    /// Waits until no policy rules these buckets, and nothing of theirs stands anywhere.
    async fn unruled(&self, buckets: &[&str]) -> Result<(), Fail> {
        for bucket in buckets {
            let name = wait_for(&format!("{bucket} to be without a policy"), SETTLED, async || {
                let ledger = self.stage.repository(bucket).await?.unwrap_or_default();
                let name = text(&ledger, "/metadata/name").replace("kr-", "kopia-maintenance-");
                let is = text(&ledger, "/status/state") == "NoPolicy";
                Ok(Seen::some(is.then_some(name), ledger["status"].to_string()))
            })
            .await?;
            self.stage.gone(&name).await?;
        }
        Ok(())
    }
}

const CA: &str = "-----BEGIN CERTIFICATE-----\ncmVmZXJlbmNl\n-----END CERTIFICATE-----\n";

fn container(of: &Maintained) -> &Value {
    &of.pod()["containers"][0]
}

#[test]
fn every_example_of_the_reference_does_what_it_says() -> Result<(), Fail> {
    harness::run(async {
        let scene = Scene::start().await?;
        priorities(&scene).await?;
        selection(&scene).await?;
        overrides(&scene).await?;
        team(&scene).await?;
        direct(&scene).await?;
        fragments(&scene).await
    })
}

async fn priorities(scene: &Scene) -> Result<(), Fail> {
    scene.apply("3-priority-hierarchy").await?;
    let default = "global-maintenance";
    let ruled = scene
        .ruled(&[
            ("critical-app-backup", "critical-app-override", "*/30 * * * *"),
            ("finance-ledger", "finance-dept-maintenance", "0 1 * * *"),
            ("prod-db", default, "0 2 * * *"),
            ("mysql-backup", default, "0 2 * * *"),
        ])
        .await?;
    assert_eq!(ruled[0].ledger["status"]["shadowedPolicies"], json!([default]));
    // Nothing is said about resources, so the defaults hold.
    let resources = &container(&ruled[2])["resources"];
    assert_eq!(*resources, json!({"requests": {"memory": "256Mi"}, "limits": {"memory": "1Gi"}}));
    assert_eq!(ruled[2].cron_job["spec"]["successfulJobsHistoryLimit"], 3);
    assert_eq!(ruled[2].cron_job["spec"]["failedJobsHistoryLimit"], 1);
    scene.delete("3-priority-hierarchy").await
}

async fn selection(scene: &Scene) -> Result<(), Fail> {
    scene.apply("1-selector-mode").await?;
    scene.ruled(&[("prod-db", "all-production-repos", "0 2 * * *")]).await?;
    // Another namespace, another name: both conditions count.
    scene.unruled(&["prod-test", "us-prod-db", "finance-ledger"]).await?;
    scene.delete("1-selector-mode").await
}

async fn overrides(scene: &Scene) -> Result<(), Fail> {
    let (example, production) = ("4-global-default-with-overrides", "production-frequent");
    scene.apply(example).await?;
    let ruled = scene
        .ruled(&[
            ("prod-db", production, "0 */6 * * *"),
            ("app-backup-config", production, "0 */6 * * *"),
            ("redis-backup", "global-default", "0 2 * * *"),
            ("prod-test", "global-default", "0 2 * * *"),
        ])
        .await?;
    let memory = |of: &Maintained| container(of)["resources"].to_string();
    assert!(memory(&ruled[0]).contains("512Mi") && memory(&ruled[0]).contains("2Gi"), "{}", memory(&ruled[0]));
    assert!(memory(&ruled[2]).contains("256Mi") && memory(&ruled[2]).contains("1Gi"), "{}", memory(&ruled[2]));
    scene.delete(example).await
}

async fn team(scene: &Scene) -> Result<(), Fail> {
    scene.apply("5-team-based").await?;
    let ruled = scene.ruled(&[("platform-cache", "platform-team-maintenance", "0 3 * * *")]).await?;
    assert_eq!(ruled[0].pod()["nodeSelector"], json!({"workload": "maintenance"}));
    assert_eq!(
        ruled[0].pod()["tolerations"],
        json!([{"key": "maintenance", "operator": "Equal", "value": "true", "effect": "NoSchedule"}])
    );
    scene.unruled(&["platform-lab"]).await?;
    scene.delete("5-team-based").await
}

async fn direct(scene: &Scene) -> Result<(), Fail> {
    let policy = "central-backup-maintenance";
    scene.apply("2-direct-mode").await?;
    let ruled = scene.ruled(&[("central-backup-config", policy, "0 3 * * 0")]).await?;
    assert_eq!(container(&ruled[0])["resources"]["requests"]["memory"], "512Mi");
    // The other example has the same name: it changes the policy, as kubectl apply does.
    scene.apply("6-direct-repository").await?;
    let ruled = scene.ruled(&[("central-backup-secret", policy, "0 4 * * 0")]).await?;
    let resources = json!({"requests": {"memory": "1Gi", "cpu": "500m"}, "limits": {"memory": "4Gi", "cpu": "2"}});
    assert_eq!(container(&ruled[0])["resources"], resources);
    let preferred = "/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution/0";
    let term = ruled[0].pod().pointer(preferred).ok_or("no affinity")?;
    assert_eq!(
        (&term["weight"], &term["preference"]["matchExpressions"][0]["key"]),
        (&json!(100), &json!("node-type"))
    );
    let copy = format!("/api/v1/namespaces/volsync-system/secrets/{}-ca", ruled[0].name);
    let copy = get(scene.stage.fleet.member("member-a")?, &copy).await?;
    assert_eq!(copy["data"], json!({"ca.crt": base64(CA)}));
    scene.stage.run(&ruled[0], "central-backup").await?;
    assert_eq!(scene.stage.runs("central-backup-secret", 1).await?[0]["outcome"], "Succeeded");
    scene.unruled(&["central-backup-config"]).await?;
    scene.delete("6-direct-repository").await
}

/// Examples of single fields, made whole. Those that select everything tie in priority; the first created wins,
/// and of those made within one second the first by name.
async fn fragments(scene: &Scene) -> Result<(), Fail> {
    let hub = &scene.stage.fleet.hub.shell;
    scene.apply("7-fragments").await?;
    hub.kubectl("delete kopiamaintenance memory pod-security").await?.ok()?;
    scene
        .ruled(&[
            ("critical-app-backup", "namespaces-by-name", "0 2 * * *"),
            ("redis-backup", "namespaces-by-name", "0 2 * * *"),
            ("us-prod-db", "namespaces-by-label", "0 2 * * *"),
            ("app-1-data", "namespaces-combined", "0 2 * * *"),
            ("app-backup-config", "one-of-several", "0 2 * * *"),
        ])
        .await?;
    scene.unruled(&["app-12-data", "mysql-backup", "finance-ledger"]).await?;

    scene.apply("7-fragments").await?;
    hub.kubectl("delete kopiamaintenance pod-security").await?.ok()?;
    let limited = scene.ruled(&[("mysql-backup", "memory", "0 2 * * *")]).await?;
    let resources = json!({"requests": {"memory": "256Mi"}, "limits": {"memory": "2Gi"}});
    assert_eq!(container(&limited[0])["resources"], resources);

    scene.apply("7-fragments").await?;
    hub.kubectl("delete kopiamaintenance memory").await?.ok()?;
    let secured = scene.ruled(&[("mysql-backup", "pod-security", "0 2 * * *")]).await?;
    let pod = &secured[0].pod()["securityContext"];
    for (field, value) in [("runAsNonRoot", json!(true)), ("runAsUser", json!(1000)), ("fsGroup", json!(1000))] {
        assert_eq!(pod[field], value, "{pod}");
    }
    assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault");
    let of_container = &container(&secured[0])["securityContext"];
    assert_eq!(of_container["readOnlyRootFilesystem"], true);
    assert_eq!(of_container["capabilities"]["drop"], json!(["ALL"]));
    scene.stage.run(&secured[0], "secured").await?;
    assert_eq!(scene.stage.runs("mysql-backup", 1).await?[0]["outcome"], "Succeeded");
    Ok(())
}

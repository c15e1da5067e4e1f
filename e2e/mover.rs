//! The mover script in a member's Pod, through the stand-in kubelet and on the stand-in for Kopia.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::cluster::Cluster;
use crate::harness::fleet::Fleet;
use crate::harness::objects::{PASSWORD, S3};
use crate::harness::wait::{PATIENCE, Seen, wait_for};
use crate::harness::{self, Fail};

/// A Job with the script, as the hub would push it.
fn job(name: &str, verb: &str, variables: &[(&str, &str)]) -> Value {
    let mut env: Vec<_> = variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    for (name, value) in [
        ("HUB_REPOSITORY", "0123456789abcdef"),
        ("HUB_ID", "hub-1"),
        ("HUB_EPOCH", "1"),
        ("HUB_OWNER", "volsync-hub-1@member-c.hub-1"),
        ("HUB_DEADLINE_SECONDS", "600"),
        ("HUB_CACHE_DIR", "/cache"),
        ("HUB_TERMINATION_LOG", "/dev/termination-log"),
        ("TMPDIR", "/tmp"),
    ] {
        env.push(json!({"name": name, "value": value}));
    }
    for key in ["KOPIA_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        env.push(json!({"name": key, "valueFrom": {"secretKeyRef": {"name": "mover-test", "key": key}}}));
    }
    let container = json!({
        "name": "maintenance", "image": "example.com/volsync/mover-kopia:v0.17.11",
        "command": ["/bin/bash", "/mover/maintain.sh"],
        "args": [verb, "s3", "--bucket=mover-test", "--endpoint=s3.example.com"],
        "env": env,
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "mover", "mountPath": "/mover"}, {"name": "cache", "mountPath": "/cache"},
            {"name": "tmp", "mountPath": "/tmp"}],
    });
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "volsync-system"},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {"test": name}}, "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "mover", "configMap": {"name": "mover-test", "defaultMode": 0o555}},
                {"name": "cache", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        }}},
    })
}

/// Runs a Job to its end and returns what it left as its termination message.
async fn outcome(member: &Cluster, job: &Value) -> Result<Value, Fail> {
    member.shell.apply(&job.to_string()).await?;
    let name = job["metadata"]["name"].as_str().unwrap_or_default();
    let message = wait_for(&format!("the end of {name}"), PATIENCE, async || {
        let path = "{.items[0].status.containerStatuses[0].state.terminated.message}";
        let message = member.shell.value(&format!("pods -n volsync-system -l test={name}"), path).await?;
        Ok(Seen::some((!message.is_empty()).then_some(message), "no message"))
    })
    .await?;
    Ok(serde_json::from_str(&message)?)
}

#[test]
fn a_claim_and_a_run_report_back_through_their_pods() -> Result<(), Fail> {
    harness::run(async {
        let fleet = Fleet::shared().await?;
        let member = fleet.member("member-c")?;
        let place = S3::bucket("mover-test");
        place.create(fleet).await?;
        member.shell.apply(&place.secret("volsync-system", "mover-test")).await?;
        let script = "create configmap mover-test -n volsync-system --from-file=deploy/mover/maintain.sh";
        member.shell.kubectl(script).await?.ok()?;
        let early = outcome(member, &job("mover-early", "run", &[("HUB_CYCLE", "Auto")])).await?;
        assert_eq!(early["outcome"], "NotGranted", "{early}");
        let now = Timestamp::now().as_second();
        let permit = [
            ("HUB_PERMIT_REPLACES", "foreign"),
            ("HUB_PERMIT_ISSUED", &now.to_string()),
            ("HUB_PERMIT_NOT_AFTER", &(now + 600).to_string()),
            ("HUB_READ_BACK_SECONDS", "1"),
        ];
        let claimed = outcome(member, &job("mover-claim", "claim", &permit)).await?;
        assert_eq!((&claimed["outcome"], &claimed["epoch"]), (&json!("Claimed"), &json!(1)), "{claimed}");
        let ran = outcome(member, &job("mover-run", "run", &[("HUB_CYCLE", "Auto")])).await?;
        assert_eq!(ran["outcome"], "Succeeded", "{ran}");
        assert_eq!((&ran["uniqueID"], &ran["owner"]), (&claimed["uniqueID"], &json!("volsync-hub-1@member-c.hub-1")));
        let logs = member.shell.kubectl("logs -n volsync-system job/mover-run").await?.ok()?;
        assert!(logs.contains("full maintenance") && !logs.contains(PASSWORD), "{logs}");
        Ok(())
    })
}

//! A member full of what nobody expects: huge and binary Secrets, names as long as may be, thousands of namespaces and
//! labels, objects of other versions. The hub stays small, and serves everybody else.

use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::stage::{LONG, Stage, cron_job, id};
use crate::harness::cluster::Cluster;
use crate::harness::control_plane::base64;
use crate::harness::hub::Hub;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail, tools};

const NAMESPACES: usize = 5_000;
const LABELS: usize = 3_000;
/// Of a debug build with all of that, twenty-five Secrets of a mebibyte among it. An idle hub has about 40.
const RSS_MB_MAX: u64 = 128;

fn long(length: usize) -> String {
    "n".repeat(length)
}

/// The memory of a process that is in RAM, and its greatest so far, in MB.
fn memory(hub: &Hub) -> Result<(u64, u64), Fail> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", hub.process().pid()))?;
    let of = |key: &str| -> Result<u64, Fail> {
        let line = status.lines().find(|line| line.starts_with(key)).ok_or("no such line")?;
        Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<u64>()? / 1024)
    };
    Ok((of("VmRSS:")?, of("VmHWM:")?))
}

async fn create(member: &Cluster, path: &str, object: &Value) -> Result<(), Fail> {
    let request = http::Request::post(path).header("Content-Type", "application/json");
    // The answer is not read: what is nested too deeply for a client is stored all the same.
    member.client.request_text(request.body(serde_json::to_vec(object)?)?).await.map(drop).map_err(Into::into)
}

/// Nothing but the API server works for a namespace here: that is all that the hub looks at.
async fn thousands_of_namespaces(member: &Cluster) -> Result<(), Fail> {
    member.control_plane.controller_manager.signal("STOP")?;
    let began = std::time::Instant::now();
    let labels: serde_json::Map<String, Value> =
        (0..LABELS).map(|number| (format!("example.com/label-{number}"), "x".into())).collect();
    let labelled = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "labelled", "labels": labels}});
    create(member, "/api/v1/namespaces", &labelled).await?;
    futures::stream::iter(0..NAMESPACES)
        .map(|number| async move {
            let name = format!("crowd-{number}");
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            create(member, "/api/v1/namespaces", &object).await
        })
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await?;
    tools::say(&format!("{NAMESPACES} namespaces were created in {} s", began.elapsed().as_secs()));
    Ok(())
}

/// As large as an API server takes them: a mebibyte of values, none of them text.
async fn huge_secrets(member: &Cluster) -> Result<(), Fail> {
    let bytes: String = (0..1_048_000_u32).map(|at| char::from((at % 128) as u8)).collect();
    let (binary, huge) = ("/+8A/v8=", base64(&bytes));
    member.shell.apply(&objects::namespace("huge", &[])).await?;
    for number in 0..25 {
        let name = format!("huge-{number}");
        let data = match number % 5 {
            0 => json!({"KOPIA_PASSWORD": huge}),
            1 => json!({"KOPIA_REPOSITORY": huge, "KOPIA_PASSWORD": binary}),
            2 => json!({"KOPIA_REPOSITORY": binary, "KOPIA_PASSWORD": binary}),
            3 => json!({"KOPIA_REPOSITORY": base64("s3://huge/"), "KOPIA_PASSWORD": binary, "more": huge}),
            _ => json!({"RCLONE_CONFIG": huge, "KOPIA_REPOSITORY": base64("rclone://a:b")}),
        };
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data});
        create(member, "/api/v1/namespaces/huge/secrets", &secret).await?;
        member.shell.apply(&objects::source("huge", &name, &name)).await?;
    }
    Ok(())
}

/// Stored while the CRD let everything through, as releases did whose types were others.
async fn other_versions(member: &Cluster) -> Result<(), Fail> {
    let any = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]);
    let crd = "replicationsources.volsync.backube";
    member.shell.kubectl(&format!("patch crd {crd} --type=json -p {any}")).await?.ok()?;
    member.shell.apply(&objects::namespace("strange", &[])).await?;
    let nested = (0..200).fold(json!("deep"), |inner, _| json!({"a": inner}));
    let specs = [
        json!({"kopia": {"repository": 5}}),
        json!({"kopia": {"repository": ["a", "b"]}}),
        json!({"kopia": {"repository": {"name": "a"}}}),
        json!({"kopia": "kopia"}),
        json!({"kopia": []}),
        json!({"kopia": {"repository": "a", "moverVolumes": "x", "customCA": 7, "paused": {}}}),
        json!({"kopia": {"repository": "a", "moverVolumes": [1, {"mountPath": 3, "volumeSource": "y"}]}}),
        json!({"kopia": {"repository": "", "repositoryPVC": 9}}),
        json!({"kopia": {"repository": "../../etc/passwd"}, "sourcePVC": 1, "paused": "perhaps"}),
        json!({"kopia": {"repository": "a", "unknown": nested}}),
        json!({"unknown": true}),
    ];
    let path = "/apis/volsync.backube/v1alpha1/namespaces/strange/replicationsources";
    wait_for("the CRD to let everything through", LONG, async || {
        let object = json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
            "metadata": {"name": "first"}, "spec": {"kopia": 1}});
        create(member, path, &object).await?;
        Ok(Seen::Done(()))
    })
    .await?;
    for (number, spec) in specs.iter().enumerate() {
        let object = json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
            "metadata": {"name": format!("strange-{number}")}, "spec": spec});
        create(member, path, &object).await?;
    }
    member.shell.kubectl("apply --server-side --force-conflicts -f e2e/manifests/volsync").await?.ok().map(drop)
}

#[test]
fn what_is_hostile_in_one_member_costs_little_memory_and_hinders_nobody() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::set("hostile", &["hostile", "good"]).await?;
        let (hostile, good) = (stage.member("hostile")?, stage.member("good")?);
        // The longest name of a member.
        let name = long(63);
        stage.register("hostile")?;
        stage.write_registration(&name, &std::fs::read(stage.fleet.kubeconfig_of("good"))?)?;
        let (place, plain) = (S3::bucket("longest"), S3::bucket("plain"));
        place.create(&stage.fleet).await?;
        plain.create(&stage.fleet).await?;
        let (namespace, longest) = (long(63), long(253));
        let manifest = [
            objects::namespace(&namespace, &[]),
            place.secret(&namespace, &longest),
            objects::source(&namespace, &longest, &longest),
        ];
        good.shell.apply(&manifest.concat()).await?;
        let of_one = objects::policy_in(&longest, &[&namespace, "plain"], "schedule: \"0 3 1 1 *\"");
        stage.fleet.hub.shell.apply(&of_one).await?;
        huge_secrets(hostile).await?;
        other_versions(hostile).await?;
        thousands_of_namespaces(hostile).await?;

        let moment = stage.fleet.moment()?;
        let mut hub = stage.start_hub(&[]).await?;
        let granted = stage.maintained("longest").await?;
        assert_eq!(granted["status"]["grant"]["cluster"], name.as_str());
        let id = id(&granted);
        stage.policy_condition(&longest, ("Ready", "True", "Reconciled")).await?;
        stage.member_condition("hostile", ("Synced", "True", "Complete")).await?;
        wait_for("the hub to count all sources of the hostile member", LONG, async || {
            let count = stage.member_cluster("hostile").await?["status"]["sourceCount"].clone();
            Ok(Seen::when(count.as_u64() >= Some(25), count.to_string()))
        })
        .await?;
        super::outcomes::run_now(&stage, good, "longest", "by-hand").await?;
        let run = stage
            .repository_when("longest", "to have a run", |status| {
                status["runs"].as_array().is_some_and(|it| !it.is_empty())
            })
            .await?;
        assert_eq!(run["status"]["runs"][0]["outcome"], "Succeeded", "{run}");
        // And what is new beside all that is served like anything else.
        objects::backed_up(good, "plain", "plain", &plain).await?;
        stage.maintained("plain").await?;
        assert!(!cron_job(good, &id).await?.is_null());

        let (now, greatest) = memory(&hub)?;
        tools::say(&format!("the hub beside a hostile member: {now} MB in RAM, {greatest} MB at most"));
        assert!(greatest <= RSS_MB_MAX, "{greatest} MB");
        assert!(hub.ended()?.is_none() && !stage.log().contains("panicked"), "the hub panicked");
        let writes = stage.fleet.hub_writes(&moment)?;
        let strange = |it: &&String| it.contains(": delete") || it.starts_with("hostile: ");
        assert!(!writes.is_empty() && !writes.iter().any(|it| strange(&it)), "{writes:#?}");
        stage.assert_discreet().await?;
        hub.stop()?;
        Ok(())
    })
}

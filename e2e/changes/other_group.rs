//! Where the hub's cluster has VolSync's own namespaced kind of the same name, policies live under the hub's group;
//! and on the way everything that people and programs can see of a hub at work.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::stage::{Stage, condition, id, object, policy};
use crate::harness::audit::Mark;
use crate::harness::fleet::HUB_USER;
use crate::harness::hub::{self, Hub};
use crate::harness::objects::{self, S3};
use crate::harness::wait::{PATIENCE, Seen, wait_for};
use crate::harness::{self, Fail};

/// As the VolSync fork has it, as far as its place and scope go.
const NAMESPACED: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: kopiamaintenances.volsync.backube}
spec:
  group: volsync.backube
  names: {kind: KopiaMaintenance, plural: kopiamaintenances, singular: kopiamaintenance}
  scope: Namespaced
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

const INSTALL: &str = "\"$HUB\" crd --group hub.volsync.backube km | kubectl apply --server-side -f -";
const WAIT: &str = "wait --for condition=Established --timeout 60s crd/kopiamaintenances.hub.volsync.backube";

#[test]
fn policies_live_under_the_hubs_own_group_where_volsync_has_their_name() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::set("group", &["member-a"]).await?;
        stage.register("member-a")?;
        let (shell, member) = (&stage.fleet.hub.shell, stage.member("member-a")?);
        shell.kubectl("delete crd kopiamaintenances.volsync.backube").await?.ok()?;
        let said = refusal(&stage).await?;
        assert!(
            said.contains("does not have the CustomResourceDefinition kopiamaintenances.volsync.backube"),
            "{said}"
        );
        assert!(said.contains("volsync-hub crd | kubectl apply --server-side -f -"), "{said}");
        shell.apply(NAMESPACED).await?;
        let said = refusal(&stage).await?;
        assert!(said.contains("volsync-hub crd --group hub.volsync.backube | kubectl apply"), "{said}");

        let binary = hub::binary()?.display().to_string();
        shell.bash(INSTALL, &[("HUB", &binary)]).await?.ok()?;
        shell.kubectl(WAIT).await?.ok()?;
        let before = stage.log().len();
        let hub = stage.start_hub(&["--log-format=json"]).await?;
        let place = S3::bucket("group");
        place.create(&stage.fleet).await?;
        objects::backed_up(member, "group", "group-repository", &place).await?;
        // One of VolSync's own changes nothing for the hub.
        let theirs =
            policy("theirs", "*", "priority: 100").replace("{name: theirs}", "{name: theirs, namespace: default}");
        let ours = policy("ours", "group-*", "schedule: \"0 3 1 1 *\"");
        let ours = ours.replace("volsync.backube/v1alpha1", "hub.volsync.backube/v1alpha1");
        shell.apply(&(theirs + &ours)).await?;
        let granted = stage.maintained("group").await?;
        assert_eq!(
            (&granted["status"]["policy"], &granted["status"]["shadowedPolicies"]),
            (&"ours".into(), &Value::Null)
        );
        let told = async || object(&stage.fleet.hub, "/apis/hub.volsync.backube/v1alpha1/kopiamaintenances/ours").await;
        stage.condition(told, ("Ready", "True", "Reconciled")).await?;
        let wrong = ours.replace("spec:", "spec:\n  priority: 101");
        assert!(shell.kubectl_with("create", &wrong).await?.refused()?.contains("spec.priority"));

        probes(&hub).await?;
        columns(&stage).await?;
        events(&stage, &id(&granted)).await?;
        member_status(&stage).await?;
        writes(&stage).await?;
        stage.assert_discreet().await?;
        let status = hub.stop()?;
        assert!(status.success(), "a graceful stop ended with {status}");
        json_lines(&stage.log()[before..]);
        Ok(())
    })
}

/// What a hub says that can't start.
async fn refusal(stage: &Stage) -> Result<String, Fail> {
    match stage.start_hub(&[]).await {
        Ok(_) => Err("the hub started".into()),
        Err(error) => Ok(error.to_string()),
    }
}

async fn probes(hub: &Hub) -> Result<(), Fail> {
    assert_eq!(hub::get(hub.port, "/healthz").await?, (200, "ok\n".to_owned()));
    assert_eq!(hub::get(hub.port, "/readyz").await?, (200, "ready\n".to_owned()));
    let (status, text) = hub::get(hub.port, "/metrics").await?;
    assert_eq!((status, text.ends_with("# EOF\n")), (200, true), "{text}");
    let (served, told) = (served(&text), documented(include_str!("../../docs/telemetry.md")));
    let untold: Vec<_> = served.difference(&told).collect();
    assert!(untold.is_empty(), "not in docs/telemetry.md: {untold:?}");
    // What never happened here has no series: no run has ended, and only some hubs meet trouble.
    let mut missing: Vec<_> = told.difference(&served).map(String::as_str).collect();
    missing.retain(|name| !matches!(*name, "volsync_hub_runs_total" | "volsync_hub_troubles_total"));
    assert!(missing.is_empty(), "in docs/telemetry.md, and not served: {missing:?}\n{text}");
    Ok(())
}

/// The metrics of an answer, by the names that queries use.
fn served(text: &str) -> BTreeSet<String> {
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let name = |(family, kind): (&str, &str)| match kind {
        "counter" => format!("{family}_total"),
        "info" => format!("{family}_info"),
        _ => family.to_owned(),
    };
    families.map(name).collect()
}

/// The names in the first column of the page's first table.
fn documented(page: &str) -> BTreeSet<String> {
    let rows = page.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let cells = rows.take_while(|line| line.starts_with('|')).filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

async fn columns(stage: &Stage) -> Result<(), Fail> {
    let tables = [
        ("km", "NAME SCHEDULE PRIORITY ENABLED SUSPENDED MATCHED REPOSITORIES LAST NEXT READY AGE"),
        ("kr", "NAME BACKEND LOCATION POLICY CLUSTER STATE LAST OUTCOME NEXT"),
        ("vmc", "NAME REACHABLE SYNCED SOURCES REPOSITORIES HELD PAUSED ELIGIBLE VERSION AGE"),
    ];
    for (kind, columns) in tables {
        let table = stage.fleet.hub.shell.kubectl(&format!("get {kind}")).await?.ok()?;
        let head = table.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(head, columns);
        assert_eq!(table.lines().count(), 2, "{table}");
    }
    Ok(())
}

/// One Event for each change of state, about the object that changed.
async fn events(stage: &Stage, id: &str) -> Result<(), Fail> {
    let repository = format!("kr-{id}");
    for (kind, name, reasons) in [
        ("KopiaMaintenance", "ours", &["Reconciled", "Valid", "RunsSucceed"][..]),
        ("KopiaRepository", repository.as_str(), &["Claiming", "WaitingForFormerOwner", "Active"]),
        ("MemberCluster", "member-a", &["Answering", "Complete", "Supported", "Installed", "Single"]),
    ] {
        let of = format!("events -A --field-selector involvedObject.kind={kind},involvedObject.name={name}");
        let path = "{range .items[*]}{.reason} {.source.component}{.reportingComponent}{\"\\n\"}{end}";
        wait_for(&format!("an Event for each change of {kind} {name}"), PATIENCE, async || {
            let said = stage.fleet.hub.shell.value(&of, path).await?;
            let told = |reason: &&str| said.lines().any(|line| line.starts_with(&format!("{reason} volsync-hub")));
            Ok(Seen::when(reasons.iter().all(told), said))
        })
        .await?;
    }
    Ok(())
}

async fn member_status(stage: &Stage) -> Result<(), Fail> {
    let member = stage.member("member-a")?;
    let status = wait_for("the counts of the member", PATIENCE, async || {
        let seen = stage.member_cluster("member-a").await?;
        let counts = ["sourceCount", "repositoryCount", "heldCount"].map(|count| seen["status"][count].as_i64());
        Ok(if counts == [Some(1); 3] { Seen::Done(seen) } else { Seen::NotYet(seen["status"].to_string()) })
    })
    .await?;
    for kind in ["Reachable", "Authorized", "Supported", "VolSyncInstalled", "Synced"] {
        assert_eq!(condition(&status, kind)["status"], "True", "{kind}: {status}");
    }
    assert_eq!(condition(&status, "Duplicate")["status"], "False", "{status}");
    let status = &status["status"];
    let uid = member.shell.value("namespace kube-system", "{.metadata.uid}").await?;
    assert_eq!(status["clusterUID"], uid.as_str());
    assert_eq!(status["volsyncImage"], "example.com/volsync/mover-kopia:v0.17.11");
    assert!(status["kubernetesVersion"].as_str().is_some_and(|version| version.starts_with("v1.")), "{status}");
    for time in ["reachableSince", "lastContact", "credentialExpiry"] {
        let read = status[time].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        assert!(read.is_some(), "{time}: {status}");
    }
    Ok(())
}

/// However fast a policy changes, its status is written a second apart.
async fn writes(stage: &Stage) -> Result<(), Fail> {
    let hub = &stage.fleet.hub;
    for priority in 1..=6 {
        let patch = format!("patch km ours --type merge -p {{\"spec\":{{\"priority\":{priority}}}}}");
        hub.shell.kubectl(&patch).await?.ok()?;
    }
    wait_for("the status of the last change", PATIENCE, async || {
        let seen = hub.shell.value("km ours", "{.metadata.generation} {.status.observedGeneration}").await?;
        Ok(Seen::when(seen.split_once(' ').is_some_and(|(changed, told)| changed == told), seen))
    })
    .await?;
    let writes = hub.audit().writes_by(HUB_USER, Mark::START)?;
    let told = writes.iter().filter(|one| one.object() == "hub.volsync.backube/kopiamaintenances/status ours");
    let times: Vec<Timestamp> = told.map(|one| one.at).collect();
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect();
    assert!(gaps.len() >= 2 && gaps.iter().all(|gap| gap.as_millis() >= 1000), "{gaps:?}");
    Ok(())
}

/// Every line is one JSON object with level, time and message, and the policy's change is one of them.
fn json_lines(log: &str) {
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
        assert!(line["timestamp"].as_str().is_some_and(|time| time.parse::<Timestamp>().is_ok()), "{line}");
    }
    let policy =
        lines.iter().find(|line| line["message"] == "KopiaMaintenance ours" && line["near_misses"].is_string());
    assert!(policy.is_some_and(|line| line["matched"].is_number()), "no line of the policy");
}

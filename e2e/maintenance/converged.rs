//! A fleet that is as it should be gets no writes: not as time goes by, not when its objects are touched without a
//! change, not when the hub starts again.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::harness::audit::{Mark, Request};
use crate::harness::cluster::Cluster;
use crate::harness::fleet::{Fleet, HUB_USER, Moment};
use crate::harness::hub::binary;
use crate::harness::objects::{S3, backed_up, namespace};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

use super::stage::{SETTLED, Stage, far_schedule, hub, items, name_of, policy, text};

/// Reads of a Secret on the hub that a direct policy names: one each ten seconds, so that a resync, which comes
/// each four with the time factor of these tests, lies between two of them for sure.
const READS: usize = 2;

/// Everything the hub may have in a fleet: one location in two members, one suspended, one that nobody rules, one
/// of a direct policy, one that is invalid.
pub async fn set_up(stage: &Stage) -> Result<(), Fail> {
    let (one, other) = (stage.fleet.member("member-a")?, stage.fleet.member("member-b")?);
    let places = ["shared", "alone", "suspended", "unruled", "direct"].map(|name| S3::bucket(&format!("calm-{name}")));
    try_join_all(places.iter().map(|place| place.create(&stage.fleet))).await?;
    let [shared, alone, suspended, unruled, direct] = &places;
    backed_up(one, "shared", "here", shared).await?;
    backed_up(other, "shared", "there", shared).await?;
    backed_up(one, "alone", "backup", alone).await?;
    backed_up(other, "suspended", "backup", suspended).await?;
    backed_up(other, "unruled", "backup", unruled).await?;
    let schedule = format!("schedule: {}", far_schedule());
    let direct_policy = format!(
        "---\napiVersion: volsync.backube/v1alpha1\nkind: KopiaMaintenance\nmetadata: {{name: direct}}\nspec:\n  \
         repository: {{repository: central, namespace: backup-system}}\n  \
         clusterSelector: {{matchNames: [member-b]}}\n  {schedule}\n"
    );
    let manifest = [
        namespace("backup-system", &[]),
        direct.secret("backup-system", "central"),
        policy("shared", "shared", &[&schedule]),
        policy("alone", "alone", &[&schedule]),
        policy("default-of-alone", "alone", &[&schedule, "priority: -1"]),
        policy("suspended", "suspended", &[&schedule, "suspend: true"]),
        policy("invalid", "nowhere", &["schedule: 0 0 30 2 *"]),
        direct_policy,
    ];
    stage.apply(&manifest.concat()).await
}

/// Waits until all is settled, and no write is outstanding: counts in a status may come a minute late.
pub async fn settled(stage: &Stage) -> Result<(), Fail> {
    for bucket in ["calm-shared", "calm-alone", "calm-direct"] {
        stage.maintained(bucket).await?;
    }
    for (bucket, state) in [("calm-suspended", "Suspended"), ("calm-unruled", "NoPolicy")] {
        wait_for(&format!("{bucket} to be {state}"), SETTLED, async || {
            let ledger = stage.repository(bucket).await?.unwrap_or_default();
            Ok(Seen::when(text(&ledger, "/status/state") == state, ledger["status"].to_string()))
        })
        .await?;
    }
    for (name, expected) in [
        ("shared", "2 1 1 1"),
        ("alone", "1 1 1 1"),
        ("default-of-alone", "1 1 0 0"),
        ("direct", "0 1 1 1"),
        ("suspended", "1 1 1 0"),
        ("invalid", "0 0 0 0"),
    ] {
        let counts = ["matchedSourceCount", "repositoryCount", "activeCronJobCount", "maintainedCount"];
        let path = counts.map(|count| format!("{{.status.{count}}}")).join(" ");
        wait_for(&format!("the counts of policy {name}"), SETTLED, async || {
            let counts = stage.fleet.hub.shell.value(&format!("kopiamaintenance {name}"), &path).await?;
            Ok(Seen::when(counts == expected, counts))
        })
        .await?;
    }
    wait_for("the counts of the members", SETTLED, async || {
        let members = items(&stage.fleet.hub, "/apis/hub.volsync.backube/v1alpha1/memberclusters").await?;
        let sum = |count: &str| members.iter().filter_map(|it| it["status"][count].as_i64()).sum::<i64>();
        let counts = ["sourceCount", "repositoryCount", "heldCount"].map(sum);
        Ok(Seen::when(counts == [5, 6, 3], format!("{counts:?}")))
    })
    .await?;
    Ok(())
}

pub async fn reads_of_the_hubs_secret(fleet: &Fleet, mark: Mark) -> Result<(), Fail> {
    wait_for("the hub to look at its Secret again and again", SETTLED, async || {
        let requests = fleet.hub.audit().by(HUB_USER, mark)?;
        let reads = requests.iter().filter(|it| it.verb == "get" && it.resource == "secrets").count();
        Ok(Seen::when(reads >= READS, format!("{reads} reads")))
    })
    .await
}

pub fn calm(fleet: &Fleet, since: &Moment, when: &str) -> Result<(), Fail> {
    let writes = fleet.hub_writes(since)?;
    if writes.is_empty() { Ok(()) } else { Err(format!("writes {when}:\n{}", writes.join("\n")).into()) }
}

/// Touches what the hub reads, without changing what it says.
async fn touch_everything(fleet: &Fleet) -> Result<(), Fail> {
    for member in &fleet.members {
        let touch = "for kind in replicationsources secrets; do
            kubectl annotate $kind --all --all-namespaces example.com/touched=now
        done
        kubectl annotate namespaces --all example.com/touched=now";
        member.shell.bash(touch, &[]).await?.ok()?;
    }
    let touch = "kubectl annotate kopiamaintenances,kopiarepositories,memberclusters --all example.com/touched=now
        kubectl annotate secret central -n backup-system example.com/touched=now";
    fleet.hub.shell.bash(touch, &[]).await?.ok().map(drop)
}

/// Waits until a hub that has just started has compared all that it once pushed.
async fn compared_everything(member: &Cluster, mark: Mark) -> Result<(), Fail> {
    let mut pushed = BTreeSet::new();
    for (resource, path) in [
        ("batch/cronjobs", "/apis/batch/v1/namespaces/volsync-system/cronjobs"),
        ("secrets", "/api/v1/namespaces/volsync-system/secrets"),
        ("configmaps", "/api/v1/namespaces/volsync-system/configmaps"),
        ("serviceaccounts", "/api/v1/namespaces/volsync-system/serviceaccounts"),
    ] {
        let ours = items(member, path).await?;
        let ours = ours.iter().filter(|it| it["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "volsync-hub");
        pushed.extend(ours.map(|it| (resource, name_of(it).to_owned())));
    }
    assert!(pushed.len() >= 4, "{pushed:?}");
    wait_for(&format!("the new hub to compare what is in {}", member.name), SETTLED, async || {
        let requests = member.audit().by(HUB_USER, mark)?;
        let was_read = |resource: &str, name: &str| {
            requests.iter().any(|it: &Request| it.verb == "get" && it.resource == resource && it.name == name)
        };
        let left: Vec<_> = pushed.iter().filter(|(resource, name)| !was_read(resource, name)).collect();
        Ok(Seen::when(left.is_empty(), format!("not read: {left:?}")))
    })
    .await
}

/// What a command says that looks at the fleet with the rights and options of the hub.
async fn said(fleet: &Fleet, command: &str, more: &[&str]) -> Result<Value, Fail> {
    let mut hub = tokio::process::Command::new(binary()?);
    hub.args([command, "-o", "json", "--time-zone=UTC"]).args(more);
    hub.env("KUBECONFIG", &fleet.hub_kubeconfig).env("VOLSYNC_HUB_KUBECONFIG_DIR", &fleet.kubeconfigs);
    let output = hub.output().await?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{command}: {complaints}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What `volsync-hub plan` says would change.
async fn planned_changes(fleet: &Fleet, more: &[&str]) -> Result<Vec<Value>, Fail> {
    let plan = said(fleet, "plan", more).await?;
    assert_eq!(plan["problems"], json!([]), "{plan}");
    Ok(plan["changes"].as_array().cloned().unwrap_or_default())
}

/// Which policy won, and over which; who maintains it, and where else it is backed up; where the schedule came from.
async fn explain_tells_why(fleet: &Fleet) -> Result<(), Fail> {
    let of = |list: &Value, name: &str| {
        list.as_array().into_iter().flatten().find(|it| it["name"] == name).cloned().unwrap_or_default()
    };
    let alone = said(fleet, "explain", &["member-a/alone/data"]).await?;
    assert_eq!((&alone["state"], &alone["policy"]), (&json!("Maintained"), &json!("alone")), "{alone}");
    assert_eq!(of(&alone["policies"], "alone")["outcome"], "Won", "{alone}");
    assert_eq!(of(&alone["policies"], "default-of-alone")["outcome"], "Lost", "{alone}");
    assert_eq!(of(&alone["policies"], "shared")["outcome"], "NotMatched", "{alone}");
    let schedule = of(&alone["fields"], "schedule");
    assert_eq!((&schedule["value"], &schedule["from"]), (&json!(far_schedule()), &json!("Policy")), "{alone}");
    assert_eq!(alone["next"].as_array().map(Vec::len), Some(3), "{alone}");
    let id = text(&alone, "/id");
    assert_eq!(said(fleet, "explain", &[&format!("kr-{id}")]).await?, alone, "by its id as by a source");

    let shared = said(fleet, "explain", &["member-b/shared/data"]).await?;
    assert_eq!(shared["members"].as_array().map(Vec::len), Some(2), "{shared}");
    assert_eq!(shared["sources"].as_array().map(Vec::len), Some(2), "{shared}");
    Ok(())
}

/// Nothing, until a policy is tried that says otherwise.
async fn plan_tells_what_a_policy_would_change(fleet: &Fleet) -> Result<(), Fail> {
    assert_eq!(planned_changes(fleet, &[]).await?, Vec::<Value>::new(), "the fleet is as it should be");
    let file = fleet.dir.join("tried.yaml");
    std::fs::write(&file, policy("shared", "shared", &["schedule: 7 7 7 7 *"]))?;
    let changes = planned_changes(fleet, &["-f", &file.display().to_string()]).await?;
    let [change] = &changes[..] else { return Err(format!("not one change: {changes:?}").into()) };
    assert_eq!((&change["action"], &change["kind"]), (&json!("update"), &json!("CronJob")));
    let schedule = json!({"path": "spec.schedule", "from": far_schedule(), "to": "7 7 7 7 *"});
    let fields = change["fields"].as_array().cloned().unwrap_or_default();
    assert!(fields.contains(&schedule), "{fields:?}");
    Ok(())
}

/// While no hub runs, what others did is what the next one would mend.
async fn plan_tells_of_drift(fleet: &Fleet) -> Result<(), Fail> {
    let member = fleet.member("member-b")?;
    let jobs = items(member, "/apis/batch/v1/namespaces/volsync-system/cronjobs").await?;
    let name = name_of(jobs.first().ok_or("no CronJob in member-b")?).to_owned();
    let drift = format!(
        "kubectl patch cronjob {name} -n volsync-system --type merge -p '{{\"spec\":{{\"concurrencyPolicy\":\"Allow\"}}}}'
        kubectl patch secret {name} -n volsync-system --type merge -p '{{\"stringData\":{{\"KOPIA_PASSWORD\":\"edited\"}}}}'
        kubectl delete serviceaccount volsync-hub-mover -n volsync-system"
    );
    member.shell.bash(&drift, &[]).await?.ok()?;
    let changes = planned_changes(fleet, &[]).await?;
    let change = |action: &str, kind: &str, name: &str, fields: Value| {
        let mut change = json!({"cluster": "member-b", "action": action, "kind": kind,
            "namespace": "volsync-system", "name": name});
        if !fields.is_null() {
            change["fields"] = fields;
        }
        change
    };
    let policy = json!([{"path": "spec.concurrencyPolicy", "from": "Allow", "to": "Forbid"}]);
    assert_eq!(
        changes,
        [
            change("create", "ServiceAccount", "volsync-hub-mover", Value::Null),
            change("update", "Secret", &name, json!([{"path": "data.KOPIA_PASSWORD"}])),
            change("update", "CronJob", &name, policy),
        ]
    );
    Ok(())
}

#[test]
fn a_converged_fleet_gets_no_writes() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::start("converged", &["member-a", "member-b"]).await?;
        set_up(&stage).await?;
        settled(&stage).await?;
        let Stage { fleet, hub: running } = stage;

        let start = fleet.moment()?;
        let mark = fleet.hub.audit().mark()?;
        reads_of_the_hubs_secret(&fleet, mark).await?;
        plan_tells_what_a_policy_would_change(&fleet).await?;
        explain_tells_why(&fleet).await?;
        calm(&fleet, &start, "as time goes by, and as somebody plans and asks why")?;

        let mark = fleet.hub.audit().mark()?;
        touch_everything(&fleet).await?;
        reads_of_the_hubs_secret(&fleet, mark).await?;
        calm(&fleet, &start, "after a touch of everything")?;

        let marks: Vec<_> = fleet.members.iter().map(|member| member.audit().mark()).collect::<Result<_, _>>()?;
        let mark = fleet.hub.audit().mark()?;
        assert!(running.stop()?.success());
        let again = hub(&fleet).await?;
        for (member, mark) in fleet.members.iter().zip(marks) {
            compared_everything(member, mark).await?;
        }
        reads_of_the_hubs_secret(&fleet, mark).await?;
        calm(&fleet, &start, "after a restart")?;

        again.kill();
        let mark = fleet.hub.audit().mark()?;
        let marks: Vec<_> = fleet.members.iter().map(|member| member.audit().mark()).collect::<Result<_, _>>()?;
        let third = hub(&fleet).await?;
        for (member, mark) in fleet.members.iter().zip(marks) {
            compared_everything(member, mark).await?;
        }
        reads_of_the_hubs_secret(&fleet, mark).await?;
        calm(&fleet, &start, "after a kill")?;

        third.kill();
        plan_tells_of_drift(&fleet).await
    })
}

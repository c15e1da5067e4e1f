//! A CRD is deleted by mistake, or the whole hub: no member loses an object by it, and what is put back is taken up.

use std::collections::BTreeMap;

use serde_json::Value;

use super::stage::{LONG, Stage, id, object};
use crate::harness::cluster::Cluster;
use crate::harness::fleet::HUB_USER;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

/// How often the hub has to ask for a kind in vain: ten seconds lie between two questions, and longer than the hold
/// of these tests between the first and the last.
const ASKED: usize = 3;

/// Everything in a member that the hub answers for, with what tells one write from none.
pub async fn standing(member: &Cluster) -> Result<BTreeMap<String, (Value, Value)>, Fail> {
    let mut found = BTreeMap::new();
    let core = "/api/v1/namespaces/volsync-system";
    let batch = "/apis/batch/v1/namespaces/volsync-system";
    for (base, kind) in
        [(batch, "cronjobs"), (batch, "jobs"), (core, "secrets"), (core, "configmaps"), (core, "serviceaccounts")]
    {
        let ours = format!("{base}/{kind}?labelSelector=app.kubernetes.io/managed-by=volsync-hub");
        for item in object(member, &ours).await?["items"].as_array().into_iter().flatten() {
            let metadata = &item["metadata"];
            let name = format!("{kind}/{}", metadata["name"].as_str().unwrap_or_default());
            // The status of a Job is written by its controller, also some time after its Pod has told how it ended.
            let version = if kind == "jobs" { "generation" } else { "resourceVersion" };
            found.insert(name, (metadata["uid"].clone(), metadata[version].clone()));
        }
    }
    Ok(found)
}

/// Waits until so many CronJobs may run; returns what stands then.
pub async fn let_go(member: &Cluster, count: usize) -> Result<BTreeMap<String, (Value, Value)>, Fail> {
    wait_for("every CronJob to be let go", LONG, async || {
        let jobs = object(member, "/apis/batch/v1/namespaces/volsync-system/cronjobs").await?;
        let jobs = jobs["items"].as_array().cloned().unwrap_or_default();
        let go = jobs.iter().filter(|it| it["spec"]["suspend"] == false).count();
        let standing = standing(member).await?;
        Ok(if go == count { Seen::Done(standing) } else { Seen::NotYet(format!("{go}")) })
    })
    .await
}

fn count_of(standing: &BTreeMap<String, (Value, Value)>, kind: &str) -> usize {
    standing.keys().filter(|name| name.starts_with(kind)).count()
}

/// Deletes a CRD of the hub's, and waits until the hub has asked for the kind in vain for longer than it holds anything.
async fn delete_crd(stage: &Stage, crd: &str) -> Result<(), Fail> {
    let (plural, group) = crd.split_once('.').ok_or("no group")?;
    let resource = format!("{group}/{plural}");
    let mark = stage.fleet.hub.audit().mark()?;
    stage.fleet.hub.shell.kubectl(&format!("delete crd {crd}")).await?.ok()?;
    wait_for(&format!("the hub to ask for {plural} in vain"), LONG, async || {
        let asked = stage.fleet.hub.audit().by(HUB_USER, mark)?;
        let vain = asked.iter().filter(|it| it.resource == resource && it.verb == "list" && it.code == 404).count();
        Ok(Seen::when(vain >= ASKED, format!("{vain} times")))
    })
    .await
}

/// What somebody has who kept the objects as `kubectl get -o yaml` shows them.
pub async fn kept(stage: &Stage, plural: &str) -> Result<String, Fail> {
    let list = stage.fleet.hub.shell.kubectl(&format!("get {plural} -o json")).await?.ok()?;
    let mut list: Value = serde_json::from_str(&list)?;
    for item in list["items"].as_array_mut().into_iter().flatten() {
        let name = item["metadata"]["name"].clone();
        let labels = item["metadata"]["labels"].clone();
        item["metadata"] = serde_json::json!({"name": name, "labels": labels});
    }
    Ok(list.to_string())
}

/// As `docs/operations.md` has it: the objects, and then their status, in which the grants are.
pub async fn put_back(stage: &Stage, saved: &str) -> Result<(), Fail> {
    let shell = &stage.fleet.hub.shell;
    shell.apply(saved).await?;
    shell.kubectl_with("replace --subresource=status", saved).await?.ok().map(drop)
}

#[test]
fn a_crd_deleted_by_mistake_takes_nothing_from_members_and_comes_back_without_a_write_to_them() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::set("deleted", &["member-a"]).await?;
        stage.register("member-a")?;
        let member = stage.member("member-a")?;
        let places = ["kept-one", "kept-two", "kept-three"];
        for place in places {
            let bucket = S3::bucket(place);
            bucket.create(&stage.fleet).await?;
            objects::backed_up(member, place, "kept-repository", &bucket).await?;
        }
        // As long as a busy machine may take to put everything back.
        let mut hub = stage.start_hub(&["--shrink-hold=2h"]).await?;
        for place in places {
            let of_one = objects::policy_in(place, &[place], "schedule: \"0 3 1 1 *\"");
            stage.fleet.hub.shell.apply(&of_one).await?;
        }
        let mut granted = BTreeMap::new();
        for place in places {
            let repository = stage.maintained(place).await?;
            granted.insert(place, (id(&repository), repository["status"]["grant"]["epoch"].clone()));
        }
        stage.member_condition("member-a", ("Synced", "True", "Complete")).await?;
        let before = let_go(member, places.len()).await?;
        assert_eq!(count_of(&before, "cronjobs/"), 3, "{before:?}");
        assert_eq!(count_of(&before, "secrets/"), 3, "{before:?}");
        assert_eq!(count_of(&before, "jobs/"), 3, "{before:?}");
        assert_eq!(count_of(&before, "configmaps/"), 1, "{before:?}");
        assert_eq!(count_of(&before, "serviceaccounts/"), 1, "{before:?}");

        for (crd, plural) in [
            ("kopiamaintenances.volsync.backube", "kopiamaintenances"),
            ("kopiarepositories.hub.volsync.backube", "kopiarepositories"),
            ("memberclusters.hub.volsync.backube", "memberclusters"),
        ] {
            let mark = member.audit().mark()?;
            let saved = kept(&stage, plural).await?;
            delete_crd(&stage, crd).await?;
            assert_eq!(standing(member).await?, before, "after {crd} was deleted");
            stage.fleet.hub.shell.kubectl("apply --server-side -f deploy/crds").await?.ok()?;
            stage
                .fleet
                .hub
                .shell
                .kubectl("wait --for condition=Established --timeout 60s -f deploy/crds")
                .await?
                .ok()?;
            put_back(&stage, &saved).await?;
            for place in places {
                let back = stage
                    .repository_when(place, &format!("to be as before {crd} went"), |status| {
                        status["state"] == "Maintained" && status["grant"]["phase"] == "Active"
                    })
                    .await?;
                assert_eq!((id(&back), back["status"]["grant"]["epoch"].clone()), granted[place], "{back}");
                stage.policy_condition(place, ("Ready", "True", "Reconciled")).await?;
            }
            stage.member_condition("member-a", ("Synced", "True", "Complete")).await?;
            assert_eq!(standing(member).await?, before, "after {crd} came back");
            let writes = member.audit().writes_by(HUB_USER, mark)?;
            assert!(writes.is_empty(), "{crd}: {writes:#?}");
        }
        assert!(hub.ended()?.is_none(), "the hub ended meanwhile");

        // What a policy says counts again: nothing is stuck in what was kept.
        let other = "patch kopiamaintenance kept-one --type merge -p {\"spec\":{\"schedule\":\"@weekly\"}}";
        stage.fleet.hub.shell.kubectl(other).await?.ok()?;
        wait_for("an edit after all that to reach the member", LONG, async || {
            let job = super::stage::cron_job(member, &granted["kept-one"].0).await?;
            Ok(Seen::when(job["spec"]["schedule"] == "@weekly", job["spec"].to_string()))
        })
        .await?;

        volsync_goes_and_comes(&stage, member, &granted["kept-two"].0).await?;
        the_hub_goes(&stage, member, hub).await
    })
}

/// VolSync's CRD in a member takes its sources along; once both are back, nothing was missed.
async fn volsync_goes_and_comes(stage: &Stage, member: &Cluster, id: &str) -> Result<(), Fail> {
    let before = standing(member).await?;
    let mark = member.audit().mark()?;
    member.shell.kubectl("delete crd replicationsources.volsync.backube").await?.ok()?;
    stage.member_condition("member-a", ("VolSyncInstalled", "False", "NotInstalled")).await?;
    member.shell.kubectl("apply --server-side -f e2e/manifests/volsync").await?.ok()?;
    let wait = "wait crd replicationsources.volsync.backube --for condition=Established --timeout 60s";
    member.shell.kubectl(wait).await?.ok()?;
    for place in ["kept-one", "kept-two", "kept-three"] {
        member.shell.apply(&objects::source(place, "data", "kept-repository")).await?;
    }
    stage.member_condition("member-a", ("VolSyncInstalled", "True", "Installed")).await?;
    stage.member_condition("member-a", ("Synced", "True", "Complete")).await?;
    wait_for("the sources to be counted again", LONG, async || {
        let count = stage.member_cluster("member-a").await?["status"]["sourceCount"].clone();
        Ok(Seen::when(count == 3, count.to_string()))
    })
    .await?;
    assert_eq!(standing(member).await?, before);
    let writes = member.audit().writes_by(HUB_USER, mark)?;
    assert!(writes.is_empty(), "{writes:#?}");
    assert!(!super::stage::cron_job(member, id).await?.is_null());
    Ok(())
}

/// `kubectl delete -k deploy/hub`, policies and all still there: what was pushed stays and goes on.
async fn the_hub_goes(stage: &Stage, member: &Cluster, mut hub: harness::hub::Hub) -> Result<(), Fail> {
    let before = standing(member).await?;
    let (mark, hub_shell) = (member.audit().mark()?, &stage.fleet.hub.shell);
    let listed = "get kopiamaintenances,kopiarepositories,memberclusters,configmaps -n volsync-system -o name";
    let records = hub_shell.kubectl(listed).await?.ok()?;
    hub_shell.kubectl("delete -k deploy/hub").await?.ok()?;
    // The Pod ends with its Deployment; the process that stands for it has no rights any more until then.
    let mut lost = None;
    wait_for("the hub to lose its rights", LONG, async || {
        let (status, said) = harness::hub::get(hub.port, "/readyz").await?;
        lost = Some(said.clone());
        // Its roles go first and its account later: whichever its Lease meets, the hub tells of once.
        let log = stage.log();
        let refused = ["401", "Unauthorized", "this replica does not lead any more"].iter().any(|it| log.contains(it));
        Ok(Seen::when(refused || hub.ended()?.is_some(), format!("{status} {said}")))
    })
    .await?;
    if hub.ended()?.is_none() {
        hub.stop()?;
    }
    assert_eq!(standing(member).await?, before);
    let writes = member.audit().writes_by(HUB_USER, mark)?;
    assert!(writes.is_empty(), "{writes:#?}");
    assert_eq!(hub_shell.kubectl(listed).await?.ok()?, records, "the hub's records are not part of it");
    for kind in ["deployment", "networkpolicy", "poddisruptionbudget", "role", "rolebinding", "serviceaccount"] {
        let left = hub_shell.kubectl(&format!("get {kind} -n volsync-system -o name")).await?.ok()?;
        let left: Vec<_> = left.lines().filter(|it| !it.ends_with("/default")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    // Installed again it goes on where it ended.
    hub_shell.kubectl("apply --server-side -k deploy/hub").await?.ok()?;
    let token = hub_shell.kubectl("create token volsync-hub --namespace volsync-system --duration 24h").await?.ok()?;
    stage.fleet.hub.write_token_kubeconfig(&stage.fleet.hub_kubeconfig, token.trim())?;
    let again = stage.start_hub(&[]).await?;
    stage.member_condition("member-a", ("Synced", "True", "Complete")).await?;
    for place in ["kept-one", "kept-two", "kept-three"] {
        stage.maintained(place).await?;
    }
    again.stop()?;
    assert_eq!(standing(member).await?, before, "a hub that is installed again");
    Ok(())
}

//! Each right that the hub was given is taken away while it runs: people are told which one it is, and nothing else
//! suffers. And none was given that it never uses.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::try_join3;
use serde_json::{Value, json};

use super::deleted::standing;
use super::outcomes::run_now;
use super::stage::{LONG, Stage, TIME_FACTOR, condition, cron_job, id, object};
use crate::harness::audit::Mark;
use crate::harness::cluster::Cluster;
use crate::harness::control_plane::base64;
use crate::harness::fleet::HUB_USER;
use crate::harness::hub::{Hub, Options, binary};
use crate::harness::kubelet::{Answer, Rule};
use crate::harness::objects::{self, S3};
use crate::harness::rbac::{Grant, Roles, RuleAt};
use crate::harness::wait::{PATIENCE, Seen, wait_for};
use crate::harness::{self, Fail, tools};

/// Two that lose rights, and one that never does.
const MEMBERS: [&str; 3] = ["member-a", "member-b", "whole"];
/// How soon an edit reaches the member that lost nothing, while others did.
const REACTION: Duration = Duration::from_secs(10);

/// Other tools' kinds, as far as a list of them goes.
fn foreign_kind(group: &str, kind: &str, plural: &str) -> String {
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    format!("---\n{crd}\n")
}

fn ca(namespace: &str, name: &str) -> String {
    let data = json!({"ca.crt": format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64(name))});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace},
        "data": data});
    format!("---\n{map}\n")
}

/// A source with something of its own to say, so that it is read again when its Secret is copied.
fn telling_source(ca: &str) -> String {
    objects::source("member-a", "data", "repository").replace(
        "kopia: {",
        &format!("kopia: {{additionalArgs: [\"--region=eu\"], customCA: {{configMapName: {ca}, key: ca.crt}}, "),
    )
}

fn yearly(minute: usize) -> String {
    format!("{} 3 1 1 *", minute % 60)
}

/// Everything in the fleet that any right is for.
async fn set_up(stage: &Stage) -> Result<(), Fail> {
    let fleet = &stage.fleet;
    for name in MEMBERS {
        let (member, place) = (stage.member(name)?, S3::bucket(name));
        place.create(fleet).await?;
        // Everybody may ask what they may do: that is taken away, so that the manifests' own rule counts.
        member.shell.kubectl("delete clusterrolebinding system:basic-user").await?.ok()?;
        let kinds = foreign_kind("kopiur.home-operations.com", "Maintenance", "maintenances")
            + &foreign_kind("velero.io", "BackupRepository", "backuprepositories");
        member.shell.apply(&kinds).await?;
        objects::backed_up(member, name, "repository", &place).await?;
        let more = format!("schedule: {:?}\nsuccessfulJobsHistoryLimit: 0\npodLabels: {{case: {name}}}", yearly(0));
        fleet.hub.shell.apply(&objects::policy_in(name, &[name], &more)).await?;
    }
    stage.member("member-a")?.shell.apply(&(ca("member-a", "first") + &telling_source("first"))).await?;
    stage.register("member-a")?;
    stage.register("member-b")?;
    let whole = base64(&std::fs::read_to_string(fleet.kubeconfig_of("whole"))?);
    let registration = json!({"apiVersion": "v1", "kind": "Secret", "data": {"kubeconfig": whole}, "metadata": {
        "name": "whole", "namespace": "volsync-system", "labels": {"hub.volsync.backube/member": "true"}}});
    fleet.hub.shell.kubectl("delete clusterrolebinding system:basic-user").await?.ok()?;
    fleet.hub.shell.apply(&registration.to_string()).await?;
    // A repository that only a policy knows of, with everything that is read for it on the hub.
    let place = S3::bucket("direct");
    place.create(fleet).await?;
    let there = objects::namespace("direct", &[]) + &place.secret("direct", "repository") + &ca("direct", "authority");
    let direct = json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance",
        "metadata": {"name": "direct"}, "spec": {"schedule": yearly(0), "clusterSelector": {"matchNames": ["member-b"]},
            "repository": {"name": "repository", "namespace": "direct",
                "customCA": {"configMapName": "authority", "key": "ca.crt"}}}});
    fleet.hub.shell.apply(&format!("{there}---\n{direct}\n")).await.map(drop)
}

/// One that keeps its id itself, as installed.
async fn start_hub(stage: &Stage) -> Result<Hub, Fail> {
    let options = Options {
        args: vec!["--allow-loopback".to_owned(), format!("--time-factor={TIME_FACTOR}")],
        kubeconfigs: Some(stage.registered.clone()),
        ..Options::default()
    };
    let mut hub = Hub::start(&stage.fleet, &options)?;
    hub.ready().await?;
    Ok(hub)
}

/// The rights that a condition or an Event names.
fn named(message: &str) -> BTreeSet<String> {
    let listed = message.split_once("missing: ").map(|(_, listed)| listed);
    listed
        .into_iter()
        .flat_map(|it| it.split("; "))
        .take_while(|it| !it.starts_with("an administrator"))
        .map(str::to_owned)
        .collect()
}

fn names(grants: &BTreeSet<Grant>) -> BTreeSet<String> {
    grants.iter().map(ToString::to_string).collect()
}

/// Secrets and CAs that sources and policies refer to may be allowed in some places only: nobody asks for that right.
fn is_of_references(grants: &[Grant]) -> bool {
    grants.iter().all(|it| it.namespace.is_none() && matches!(it.resource.as_str(), "secrets" | "configmaps"))
}

struct Rights<'a> {
    cluster: &'a Cluster,
    roles: Roles,
    /// Those whose absence is asked for, one after the other.
    asked: Vec<RuleAt>,
    of_references: Vec<RuleAt>,
}

impl<'a> Rights<'a> {
    async fn of(cluster: &'a Cluster) -> Result<Self, Fail> {
        let roles = Roles::deployed(cluster).await?;
        let (of_references, asked) =
            roles.rules().into_iter().partition(|rule| is_of_references(&roles.grants_of(*rule)));
        Ok(Self { cluster, roles, asked, of_references })
    }

    /// Takes the rule away, and gives all others; returns what the hub should name.
    async fn take(&self, rule: Option<RuleAt>) -> Result<BTreeSet<Grant>, Fail> {
        let rules = rule.map(|rule| self.roles.with_what_covers(rule)).unwrap_or_default();
        self.roles.leave_out(self.cluster, &rules).await?;
        let lost = self.roles.lost_with(&rules);
        Ok(lost.into_iter().filter(|it| !is_of_references(std::slice::from_ref(it))).collect())
    }
}

/// Waits until a member's condition names exactly these rights.
async fn member_names(stage: &Stage, member: &str, lost: &BTreeSet<Grant>) -> Result<(), Fail> {
    wait_for(&format!("{member} to lack exactly {:?}", names(lost)), PATIENCE, async || {
        let found = condition(&stage.member_cluster(member).await?, "Authorized");
        let said = named(found["message"].as_str().unwrap_or_default());
        let status = if lost.is_empty() { "True" } else { "False" };
        Ok(Seen::when(found["status"] == status && said == names(lost), found.to_string()))
    })
    .await
}

/// The same of the hub's own rights: in every policy, or where no policy's status can be written, in an Event.
async fn hub_names(stage: &Stage, lost: &BTreeSet<Grant>) -> Result<(), Fail> {
    let silent = lost.iter().any(|it| it.resource == "kopiamaintenances/status");
    wait_for(&format!("the hub to lack exactly {:?}", names(lost)), PATIENCE, async || {
        let mut messages = Vec::new();
        if silent {
            let events = object(&stage.fleet.hub, "/apis/events.k8s.io/v1/namespaces/default/events").await?;
            let about =
                |it: &&Value| it["reason"] == "MissingRules" && it["regarding"]["kind"] == "CustomResourceDefinition";
            messages.extend(events["items"].as_array().into_iter().flatten().find(about).map(|it| it["note"].clone()));
        } else {
            for name in MEMBERS {
                let degraded = condition(&stage.policy(name).await?, "Degraded");
                let is = if lost.is_empty() { "RunsSucceed" } else { "MissingRules" };
                messages.extend((degraded["reason"] == is).then(|| degraded["message"].clone()));
            }
        }
        let told = messages.len() == if silent { 1 } else { MEMBERS.len() };
        let exact = messages.iter().all(|it| named(it.as_str().unwrap_or_default()) == names(lost));
        Ok(Seen::when(told && exact, format!("{messages:?}")))
    })
    .await
}

/// What was not touched answers as ever.
async fn whole_reacts(stage: &Stage, id: &str, schedule: &str) -> Result<(), Fail> {
    let patch = json!({"spec": {"schedule": schedule}}).to_string();
    let edit = "kubectl patch kopiamaintenance whole --type merge -p \"$PATCH\"";
    stage.fleet.hub.shell.bash(edit, &[("PATCH", &patch)]).await?.ok()?;
    wait_for("an edit to reach the member that lost nothing", REACTION, async || {
        let seen = cron_job(stage.member("whole")?, id).await?;
        Ok(Seen::when(seen["spec"]["schedule"] == schedule, seen["spec"]["schedule"].to_string()))
    })
    .await?;
    let cluster = stage.member_cluster("whole").await?;
    for kind in ["Reachable", "Authorized", "Supported", "VolSyncInstalled", "Synced"] {
        assert_eq!(condition(&cluster, kind)["status"], "True", "{kind}: {cluster}");
    }
    assert_eq!(condition(&stage.repository("whole").await?, "Maintained")["status"], "True");
    Ok(())
}

#[test]
fn each_right_that_is_taken_away_is_named_and_hinders_nothing_else_and_none_is_superfluous() -> Result<(), Fail> {
    harness::run(async {
        // Where lists come as the beginning of a watch, the right to list is for when that fails.
        let stage = &Stage::set_with("rights", &MEMBERS, &[], &["--feature-gates=WatchList=false"]).await?;
        set_up(stage).await?;
        let hub = start_hub(stage).await?;
        for bucket in MEMBERS.into_iter().chain(["direct"]) {
            stage.let_go(bucket).await?;
        }
        of_references(stage).await?;
        let began = std::time::Instant::now();
        taken_in_turn(stage).await?;
        tools::say(&format!("each right was taken away in turn in {} s", began.elapsed().as_secs()));
        rare_uses(stage).await?;
        let hub = in_the_other_group(stage, hub).await?;
        hub.stop()?;
        none_is_superfluous(stage).await
    })
}

/// One in each of two members and one on the hub at a time.
async fn taken_in_turn(stage: &Stage) -> Result<(), Fail> {
    let (a, b) = (Rights::of(stage.member("member-a")?).await?, Rights::of(stage.member("member-b")?).await?);
    let hub = Rights::of(&stage.fleet.hub).await?;
    let whole = id(&stage.repository("whole").await?);
    let turns = |every: usize| a.asked.iter().skip(every).step_by(2).copied().map(Some).collect::<Vec<_>>();
    let (in_a, in_b) = (turns(0), turns(1));
    let mut on_hub: Vec<_> = hub.asked.clone();
    // Events of one reason about one object are counted as one for a while: the first has to be the one that is read.
    // And without the last ones nothing can be said of a member.
    on_hub.sort_by_key(|rule| {
        let concerns = |resource: &str| hub.roles.grants_of(*rule).iter().any(|it| it.resource == resource);
        (!concerns("kopiamaintenances/status"), concerns("memberclusters/status") || concerns("leases"))
    });
    assert!(a.asked.len() >= 17 && on_hub.len() >= 14, "{} and {}", a.asked.len(), on_hub.len());
    let before = (standing(a.cluster).await?, standing(b.cluster).await?);
    let moment = stage.fleet.moment()?;
    for round in 0..=in_a.len().max(on_hub.len()) {
        let of = |list: &[Option<RuleAt>]| list.get(round).copied().flatten();
        let rule = on_hub.get(round).copied();
        let (lost_a, lost_b) = (a.take(of(&in_a)).await?, b.take(of(&in_b)).await?);
        let mut lost = hub.take(rule).await?;
        lost.retain(|it| it.resource.split('/').next() != Some("kopiamaintenances") || it.group == "volsync.backube");
        // It is looked for each half hour, and when the MemberCluster says something new.
        let namespace = if round % 2 == 0 { json!("volsync-system") } else { Value::Null };
        let patch = json!({"spec": {"volsyncNamespace": namespace}}).to_string();
        let poke = "kubectl patch membercluster member-a member-b --type merge -p \"$PATCH\"";
        stage.fleet.hub.shell.bash(poke, &[("PATCH", &patch)]).await?.ok()?;
        let told = try_join3(
            member_names(stage, "member-a", &lost_a),
            member_names(stage, "member-b", &lost_b),
            hub_names(stage, &lost),
        );
        told.await?;
        // Without its ledger or its Lease the hub does nothing anywhere, and says so.
        let stops = lost.iter().any(|it| it.resource == "kopiarepositories/status" || it.resource == "leases");
        if !stops {
            whole_reacts(stage, &whole, &yearly(round + 1)).await?;
        }
    }
    assert_eq!((standing(a.cluster).await?, standing(b.cluster).await?), before);
    let writes = stage.fleet.hub_writes(&moment)?;
    // An account that may not be read is applied once more as it stands; that nothing is different was asserted above.
    let again = |it: &str| it.contains("patch serviceaccounts volsync-system/volsync-hub-mover");
    let strange = |it: &&String| it.contains(": delete") || (it.starts_with("member-") && !again(it));
    assert!(!writes.iter().any(|it| strange(&it)), "{writes:#?}");
    Ok(())
}

/// Whoever refers to what the hub may not read hears of it; what was copied before stays.
async fn of_references(stage: &Stage) -> Result<(), Fail> {
    let (a, b) = (Rights::of(stage.member("member-a")?).await?, Rights::of(stage.member("member-b")?).await?);
    let hub = Rights::of(&stage.fleet.hub).await?;
    let of = |rights: &Rights<'_>, resource: &str| -> Result<RuleAt, Fail> {
        let is = |rule: &&RuleAt| rights.roles.grants_of(**rule).iter().any(|it| it.resource == resource);
        rights.of_references.iter().find(is).copied().ok_or_else(|| format!("no rule for {resource}").into())
    };
    let before = standing(b.cluster).await?;
    a.roles.leave_out(a.cluster, &[of(&a, "configmaps")?]).await?;
    b.roles.leave_out(b.cluster, &[of(&b, "secrets")?]).await?;
    hub.roles.leave_out(hub.cluster, &[of(&hub, "secrets")?]).await?;
    a.cluster.shell.apply(&(ca("member-a", "second") + &telling_source("second"))).await?;
    b.cluster.shell.kubectl("annotate secret repository -n member-b touched=yes").await?.ok()?;
    for (bucket, words) in [
        ("member-a", "cannot get resource \"configmaps\""),
        ("member-b", "the hub may not read Secret member-b:member-b/repository"),
        ("direct", "the hub may not read Secret hub:direct/repository"),
    ] {
        stage
            .repository_when(bucket, &format!("to say: {words}"), |status| {
                condition(&json!({"status": status}), "Maintained")["message"]
                    .to_string()
                    .replace('\\', "")
                    .contains(words)
            })
            .await?;
    }
    wait_for("the policy that names a Secret to say what it can't read", PATIENCE, async || {
        let valid = condition(&stage.policy("direct").await?, "Valid");
        let words = "the hub may not read Secret direct/repository in its own cluster";
        Ok(Seen::when(valid["message"].to_string().contains(words), valid.to_string()))
    })
    .await?;
    let whole = id(&stage.repository("whole").await?);
    whole_reacts(stage, &whole, &yearly(50)).await?;
    assert_eq!(standing(b.cluster).await?, before);
    for rights in [&a, &b, &hub] {
        rights.take(None).await?;
    }
    // The other one asks for its Secret once a minute.
    let again = |status: &Value| status["state"] == "Maintained" && status["reason"].is_null();
    stage.repository_when("member-a", "to have its CA copied", again).await.map(drop)
}

/// What is needed now and then only: each is provoked here.
async fn rare_uses(stage: &Stage) -> Result<(), Fail> {
    let (a, b, whole) = (stage.member("member-a")?, stage.member("member-b")?, stage.member("whole")?);
    let hub = &stage.fleet.hub;
    for bucket in MEMBERS.into_iter().chain(["direct"]) {
        stage.repository_when(bucket, "to be maintained again", |status| status["state"] == "Maintained").await?;
    }
    // A policy that keeps no Jobs, and a run that does not start.
    run_now(stage, a, "member-a", "unkept").await?;
    let runs = [("case", "member-b"), ("hub.volsync.backube/role", "run")];
    b.kubelet.answer(Rule::new("volsync-system", &runs, Answer::NoImage));
    run_now(stage, b, "member-b", "late").await?;
    // What the hub pushed is changed by somebody.
    let id = id(&stage.repository("whole").await?);
    let name = format!("kopia-maintenance-{id}");
    let changes =
        "kubectl patch cronjob $NAME -n volsync-system --type merge -p '{\"spec\": {\"schedule\": \"1 1 1 1 1\"}}'
        kubectl patch secret $NAME -n volsync-system --type merge -p '{\"data\": {\"KOPIA_PASSWORD\": \"eA==\"}}'";
    whole.shell.bash(changes, &[("NAME", &name)]).await?.ok()?;
    let copy = format!("/api/v1/namespaces/volsync-system/secrets/{name}");
    wait_for("both to be repaired", LONG, async || {
        let schedule = cron_job(whole, &id).await?["spec"]["schedule"].clone();
        let password = object(whole, &copy).await?["data"]["KOPIA_PASSWORD"].clone();
        let repaired = schedule != "1 1 1 1 1" && password == base64(objects::PASSWORD);
        Ok(Seen::when(repaired, schedule.to_string()))
    })
    .await?;
    unusable_registrations(stage).await?;
    conflicts(stage).await?;
    hub.shell.kubectl("delete kopiamaintenance whole").await?.ok()?;
    let outcome = |wanted: &'static str| move |status: &Value| status["runs"][0]["outcome"] == wanted;
    stage.repository_when("member-b", "to have a run that did not start", outcome("NotStarted")).await?;
    stage.repository_when("member-a", "to have a run", outcome("Succeeded")).await?;
    wait_for("what no policy wants any more to be gone", LONG, async || {
        let left: Vec<_> =
            standing(whole).await?.into_keys().filter(|it| it.contains(&id) && !it.contains("claim")).collect();
        Ok(Seen::when(left.is_empty(), left.join(", ")))
    })
    .await
}

/// A Secret that can't be used as a member is told of, and again when it changes.
async fn unusable_registrations(stage: &Stage) -> Result<(), Fail> {
    for kubeconfig in ["not one", "{}"] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"kubeconfig": kubeconfig}, "metadata": {
            "name": "unusable", "namespace": "volsync-system", "labels": {"hub.volsync.backube/member": "true"}}});
        let mark = stage.fleet.hub.audit().mark()?;
        stage.fleet.hub.shell.apply(&secret.to_string()).await?;
        wait_for("an Event about it", PATIENCE, async || {
            let told = stage.fleet.hub.audit().writes_by(HUB_USER, mark)?;
            let is =
                |it: &harness::audit::Request| it.resource.ends_with("/events") && it.namespace == "volsync-system";
            Ok(Seen::when(told.iter().any(is), "none"))
        })
        .await?;
    }
    Ok(())
}

/// Somebody else writes a record of the ledger at the same time, again and again, until both meet.
async fn conflicts(stage: &Stage) -> Result<(), Fail> {
    let hub = &stage.fleet.hub;
    let name = format!("kr-{}", id(&stage.repository("whole").await?));
    let (record, mark) = (format!("/apis/hub.volsync.backube/v1alpha1/kopiarepositories/{name}"), hub.audit().mark()?);
    let mut count = 0;
    wait_for("a conflict, after which the record is read again", LONG, async || {
        count += 1;
        let patch = json!({"spec": {"schedule": yearly(count)}}).to_string();
        let edit = "kubectl patch kopiamaintenance whole --type merge -p \"$PATCH\"";
        let writes = async {
            for number in 0..100 {
                let patch = serde_json::to_vec(&json!({"metadata": {"annotations": {"count": number.to_string()}}}))?;
                let request = http::Request::patch(&record).header("Content-Type", "application/merge-patch+json");
                hub.client.request::<Value>(request.body(patch)?).await?;
            }
            Ok::<_, Fail>(())
        };
        let edit = async { hub.shell.bash(edit, &[("PATCH", &patch)]).await?.ok().map(drop) };
        futures::future::try_join(writes, edit).await?;
        let read = hub.audit().by(HUB_USER, mark)?.into_iter().any(|it| it.verb == "get" && it.name == name);
        Ok(Seen::when(read, format!("{count} times")))
    })
    .await
}

/// The same hub where policies live under its own group.
async fn in_the_other_group(stage: &Stage, hub: Hub) -> Result<Hub, Fail> {
    let shell = &stage.fleet.hub.shell;
    hub.stop()?;
    let install = "\"$HUB\" crd --group hub.volsync.backube km | kubectl apply --server-side -f -";
    shell.bash(install, &[("HUB", &binary()?.display().to_string())]).await?.ok()?;
    let wait = "wait --for condition=Established --timeout 60s crd/kopiamaintenances.hub.volsync.backube";
    shell.kubectl(wait).await?.ok()?;
    for name in ["member-a", "member-b"] {
        let policy = shell.kubectl(&format!("get kopiamaintenance.volsync.backube {name} -o json")).await?.ok()?;
        let policy: Value = serde_json::from_str(&policy)?;
        let policy = json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "KopiaMaintenance",
            "metadata": {"name": name}, "spec": policy["spec"]});
        shell.apply(&policy.to_string()).await?;
    }
    let hub = start_hub(stage).await?;
    let path = "/apis/hub.volsync.backube/v1alpha1/kopiamaintenances/member-a";
    stage.condition(async || object(&stage.fleet.hub, path).await, ("Ready", "True", "Reconciled")).await?;
    Ok(hub)
}

/// Every verb on every resource that the manifests grant was needed, and allowed, somewhere above.
async fn none_is_superfluous(stage: &Stage) -> Result<(), Fail> {
    let hub = Roles::deployed(&stage.fleet.hub).await?;
    let requests = stage.fleet.hub.audit().by(HUB_USER, Mark::START)?;
    let unused = names(&hub.unused(&requests));
    assert!(unused.is_empty(), "the hub is granted, and never uses: {unused:#?}");
    let member = Roles::deployed(stage.member("member-a")?).await?;
    let mut requests = Vec::new();
    for name in MEMBERS {
        requests.extend(stage.member(name)?.audit().by(HUB_USER, Mark::START)?);
    }
    let unused = names(&member.unused(&requests));
    assert!(unused.is_empty(), "a member grants, and the hub never uses: {unused:#?}");
    // One that is not used would be found.
    requests.retain(|it| !(it.verb == "delete" && it.resource == "batch/cronjobs"));
    assert_eq!(
        names(&member.unused(&requests)),
        ["delete cronjobs.batch in namespace volsync-system".to_owned()].into()
    );
    Ok(())
}

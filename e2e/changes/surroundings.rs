//! What real clusters are like: a proxy, OpenShift, workload identity, a regional registry, VolSync elsewhere, Secrets that
//! may be read in some namespaces only, one object store with two names.

use serde_json::{Value, json};

use super::stage::{LONG, Stage, cron_job, id, policy};
use crate::harness::cluster::Cluster;
use crate::harness::hub::binary;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail, repository};

const REGIONAL: &str = "registry.eu.example.com/volsync/mover-kopia:v0.17.11";

const ROLE: &str = "arn:aws:iam::111122223333:role/backups";

/// The API group that tells OpenShift from others.
const OPENSHIFT: &str = "---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: securitycontextconstraints.security.openshift.io}
spec:
  group: security.openshift.io
  scope: Cluster
  names: {kind: SecurityContextConstraints, plural: securitycontextconstraints}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// VolSync's Deployment in a namespace of its own, with what an administrator of that cluster sets.
async fn volsync_elsewhere(member: &Cluster, proxy: &str) -> Result<(), Fail> {
    let deployment = std::fs::read_to_string(repository("e2e/manifests/volsync/deployment.yaml"))?;
    let variables = format!(
        "env:\n            - {{name: HTTPS_PROXY, value: {proxy:?}}}\n            - {{name: NO_PROXY, value: \".svc,10.0.0.0/8\"}}"
    );
    let deployment = deployment
        .replace("namespace: volsync-system", "namespace: backup-operators")
        .replace("example.com/volsync/mover-kopia:v0.17.11", REGIONAL)
        .replacen("env:", &variables, 1);
    member.shell.apply(&deployment).await.map(drop)
}

/// The hub looks at VolSync's Deployment and the ServiceAccount each half hour, and when it is asked to.
async fn look_again(stage: &Stage, asked: &str) -> Result<(), Fail> {
    let annotate = format!("annotate membercluster here --overwrite hub.volsync.backube/look-again={asked}");
    stage.fleet.hub.shell.kubectl(&annotate).await?.ok().map(drop)
}

fn pod(cron_job: &Value) -> &Value {
    &cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
}

async fn pod_when(member: &Cluster, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value, Fail> {
    wait_for(&format!("the CronJob: {what}"), LONG, async || {
        let seen = cron_job(member, id).await?;
        Ok(if is(pod(&seen)) { Seen::Done(seen) } else { Seen::NotYet(pod(&seen).to_string()) })
    })
    .await
}

async fn set_up(stage: &Stage, member: &Cluster) -> Result<(), Fail> {
    let moves = "kubectl delete deployment volsync -n volsync-system
        kubectl create namespace backup-operators
        kubectl create role volsync-hub-member --verb=list --resource=deployments.apps -n backup-operators
        kubectl create rolebinding volsync-hub-member --role=volsync-hub-member \
            --serviceaccount=volsync-system:volsync-hub -n backup-operators
        kubectl create namespace production
        kubectl apply --server-side -k deploy/member-chosen-namespaces
        kubectl delete clusterrolebinding volsync-hub-member-secrets";
    member.shell.bash(moves, &[]).await?.ok()?;
    volsync_elsewhere(member, "http://proxy.example.com:3128").await?;
    member.shell.apply(OPENSHIFT).await?;
    member
        .shell
        .kubectl("wait --for condition=Established --timeout 60s crd/securitycontextconstraints.security.openshift.io")
        .await?
        .ok()?;
    let named = "apiVersion: hub.volsync.backube/v1alpha1\nkind: MemberCluster\nmetadata: {name: here}\n\
                 spec: {volsyncNamespace: backup-operators}\n";
    stage.fleet.hub.shell.apply(named).await?;

    let one = S3::bucket("two-names");
    one.create(&stage.fleet).await?;
    let other = S3 { endpoint: "objects.example.com".into(), ..one.clone() };
    let elsewhere = S3::bucket("elsewhere");
    // No static keys: the Pod's ServiceAccount is who it is.
    let keyless = S3::bucket("keyless").secret("production", "keyless");
    let keyless: Vec<_> = keyless.lines().filter(|line| !line.contains("ACCESS_KEY")).collect();
    objects::backed_up(member, "production", "backup", &one).await?;
    objects::backed_up(member, "elsewhere", "backup", &elsewhere).await?;
    let more = [
        other.secret("production", "other-name"),
        objects::source("production", "other-name", "other-name"),
        keyless.join("\n"),
        "\n".to_owned(),
        objects::source("production", "keyless", "keyless"),
    ];
    member.shell.apply(&more.concat()).await?;
    stage.fleet.hub.shell.apply(&policy("everywhere", "*", "schedule: \"0 3 * * *\"")).await.map(drop)
}

/// What `volsync-hub plan` says, with the hub's own options and credentials.
async fn plan(stage: &Stage) -> Result<Value, Fail> {
    let mut hub = tokio::process::Command::new(binary()?);
    hub.args(["plan", "-o", "json", "--endpoint-alias=objects.example.com=s3.example.com", "--default-spread=30m"]);
    hub.env("KUBECONFIG", &stage.fleet.hub_kubeconfig).env("VOLSYNC_HUB_KUBECONFIG_DIR", &stage.registered);
    let output = hub.output().await?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn what_surrounds_volsync_in_a_real_cluster_reaches_the_movers_pods() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::set("surroundings", &["here"]).await?;
        let member = stage.member("here")?;
        set_up(&stage, member).await?;
        stage.register("here")?;
        let args = [
            "--default-spread=30m",
            "--endpoint-alias=objects.example.com=s3.example.com",
            "--mover-image=registry.example.com/fallback:1",
        ];
        let hub = stage.start_hub(&args).await?;
        let repository = stage.maintained("two-names").await?;
        let id = id(&repository);
        let seen = pod_when(member, &id, "with an image", |pod| pod["containers"][0]["image"].is_string()).await?;

        // VolSync elsewhere, its registry, its proxies; OpenShift gives ids itself.
        let container = &pod(&seen)["containers"][0];
        assert_eq!(container["image"], REGIONAL);
        let env = |name: &str| {
            let all = container["env"].as_array().cloned().unwrap_or_default();
            all.into_iter().find(|it| it["name"] == name).map(|it| it["value"].clone()).unwrap_or_default()
        };
        assert_eq!(env("HTTPS_PROXY"), "http://proxy.example.com:3128", "{container}");
        assert_eq!(env("NO_PROXY"), ".svc,10.0.0.0/8", "{container}");
        for context in [&pod(&seen)["securityContext"], &container["securityContext"]] {
            for given in ["runAsUser", "runAsGroup", "fsGroup"] {
                assert!(context[given].is_null(), "{given}: {context}");
            }
        }
        assert_eq!(pod(&seen)["securityContext"]["runAsNonRoot"], true);

        // The namespace enforces Pod Security "restricted": the claim's Pod ran, and so does a run.
        super::outcomes::run_now(&stage, member, "two-names", "by-hand").await?;
        let run = stage
            .repository_when("two-names", "to have a run", |status| {
                status["runs"].as_array().is_some_and(|it| !it.is_empty())
            })
            .await?;
        assert_eq!(run["status"]["runs"][0]["outcome"], "Succeeded", "{run}");

        // One store with two names is one repository; without an alias it would be two.
        let plan = plan(&stage).await?;
        let of = |name: &str| {
            let all = plan["sources"].as_array().cloned().unwrap_or_default();
            all.into_iter().find(|it| it["name"] == name && it["namespace"] != "elsewhere").unwrap_or_default()
        };
        assert_eq!(of("data")["repository"], id.as_str(), "{plan}");
        assert_eq!(of("other-name")["repository"], id.as_str(), "{plan}");
        // Spread over half an hour, and always the same.
        let schedule = seen["spec"]["schedule"].as_str().unwrap_or_default().to_owned();
        let minute: u32 = schedule.strip_suffix(" 3 * * *").ok_or("another hour")?.parse()?;
        assert!(minute < 30, "{schedule}");

        secrets_of_chosen_namespaces(&stage, &plan).await?;
        of_a_repository_without_keys(&stage, member).await?;
        annotations_of_others_stay(&stage, member).await?;
        changes_roll_out(&stage, member, &id).await?;
        hub.stop()?;
        Ok(())
    })
}

/// Elsewhere they are forbidden, which is said, and hinders nothing.
async fn secrets_of_chosen_namespaces(stage: &Stage, plan: &Value) -> Result<(), Fail> {
    let sources = plan["sources"].as_array().cloned().unwrap_or_default();
    let elsewhere = sources.iter().find(|it| it["namespace"] == "elsewhere").ok_or("no source elsewhere")?;
    assert_eq!(elsewhere["reason"], "SecretForbidden", "{elsewhere}");
    assert!(elsewhere["repository"].is_null(), "{elsewhere}");
    stage.member_condition("here", ("Synced", "True", "Complete")).await?;
    stage.member_condition("here", ("VolSyncInstalled", "True", "Installed")).await.map(drop)
}

async fn of_a_repository_without_keys(stage: &Stage, member: &Cluster) -> Result<(), Fail> {
    // Its claim runs as the mover's ServiceAccount; the stand-in for Kopia has no cloud that would let it in.
    let id = id(&stage.repository("keyless").await?);
    let path =
        format!("/apis/batch/v1/namespaces/volsync-system/jobs?labelSelector=hub.volsync.backube/repository={id}");
    let claim = wait_for("the claim of a repository without keys", LONG, async || {
        let job = super::stage::object(member, &path).await?["items"][0].clone();
        Ok(if job.is_null() { Seen::NotYet("none".into()) } else { Seen::Done(job) })
    })
    .await?;
    let pod = &claim["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "volsync-hub-mover", "{pod}");
    assert!(!pod["containers"][0]["env"].to_string().contains("AWS_SECRET_ACCESS_KEY"), "{pod}");
    Ok(())
}

/// Workload identity: what an administrator writes on the ServiceAccount outlives its repair.
async fn annotations_of_others_stay(stage: &Stage, member: &Cluster) -> Result<(), Fail> {
    let account = "serviceaccount volsync-hub-mover -n volsync-system";
    member.shell.kubectl(&format!("annotate {account} eks.amazonaws.com/role-arn={ROLE}")).await?.ok()?;
    member.shell.kubectl(&format!("label {account} hub.volsync.backube/hub-")).await?.ok()?;
    look_again(stage, "first").await?;
    let path = "/api/v1/namespaces/volsync-system/serviceaccounts/volsync-hub-mover";
    wait_for("the ServiceAccount to be repaired", LONG, async || {
        let metadata = super::stage::object(member, path).await?["metadata"].clone();
        assert_eq!(metadata["annotations"]["eks.amazonaws.com/role-arn"], ROLE, "{metadata}");
        Ok(Seen::when(metadata["labels"]["hub.volsync.backube/hub"].is_string(), metadata.to_string()))
    })
    .await
}

/// Another proxy, an image of the MemberCluster's own, and none of VolSync's.
async fn changes_roll_out(stage: &Stage, member: &Cluster, id: &str) -> Result<(), Fail> {
    volsync_elsewhere(member, "http://other.example.com:8080").await?;
    look_again(stage, "second").await?;
    let first = pod_when(member, id, "with another proxy", |pod| {
        pod["containers"][0]["env"].to_string().contains("http://other.example.com:8080")
    })
    .await?;
    assert_eq!(pod(&first)["containers"][0]["image"], REGIONAL, "{first}");

    let change = async |spec: Value| {
        let patch = json!({"spec": spec});
        stage
            .fleet
            .hub
            .shell
            .kubectl(&format!("patch membercluster here --type=merge -p {patch}"))
            .await?
            .ok()
            .map(drop)
    };
    change(json!({"moverImage": "registry.us.example.com/mover:2", "imagePullSecrets": [{"name": "pull"}]})).await?;
    pod_when(member, id, "with the image of its MemberCluster", |pod| {
        pod["containers"][0]["image"] == "registry.us.example.com/mover:2"
            && pod["imagePullSecrets"][0]["name"] == "pull"
    })
    .await?;

    member.shell.kubectl("delete deployment volsync -n backup-operators").await?.ok()?;
    look_again(stage, "third").await?;
    change(json!({"moverImage": null, "imagePullSecrets": null})).await?;
    let last = pod_when(member, id, "with the image that the hub was started with", |pod| {
        pod["containers"][0]["image"] == "registry.example.com/fallback:1"
            && !pod["containers"][0]["env"].to_string().contains("HTTPS_PROXY")
    })
    .await?;
    assert!(pod(&last)["imagePullSecrets"].is_null(), "{last}");
    Ok(())
}

//! Somebody edits, deletes or unlabels what the hub pushed: it comes back. What is not the hub's is left alone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::audit::Mark;
use crate::harness::cluster::Cluster;
use crate::harness::control_plane::base64;
use crate::harness::fleet::HUB_USER;
use crate::harness::objects::{S3, namespace, source};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

use super::stage::{Maintained, SETTLED, Stage, far_schedule, find, get, items, name_of, policy, text};

const TOLD: Duration = Duration::from_secs(20);
const LABELS: [&str; 4] = [
    "volsync.backube/kopia-maintenance",
    "app.kubernetes.io/managed-by",
    "hub.volsync.backube/repository",
    "hub.volsync.backube/hub",
];

/// A pushed object, as it was before anybody touched it.
struct Pushed<'a> {
    member: &'a Cluster,
    /// As kubectl takes it: `cronjob NAME`.
    object: String,
    path: String,
    before: Value,
}

impl<'a> Pushed<'a> {
    async fn find(member: &'a Cluster, kind: &str, api: &str, name: &str) -> Result<Self, Fail> {
        let path = format!("{api}/namespaces/volsync-system/{kind}s/{name}");
        let before = get(member, &path).await?;
        Ok(Self { member, object: format!("{kind} {name}"), path, before })
    }

    /// What the hub answers for: all but what the API server and other people keep there.
    fn essence(object: &Value) -> Value {
        let mut metadata = object["metadata"].clone();
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.retain(|key, _| matches!(key.as_str(), "labels" | "annotations"));
        }
        // One that is made anew has had its image since then.
        if let Some(annotations) = metadata["annotations"].as_object_mut() {
            annotations.remove("hub.volsync.backube/revision-since");
        }
        json!([metadata, object["spec"], object["data"], object["immutable"], object["automountServiceAccountToken"]])
    }

    /// Runs a command against it, `OBJECT` standing for its name, and waits until it is as before.
    async fn survives(&self, command: &str) -> Result<(), Fail> {
        let command = command.replace("OBJECT", &self.object);
        let script = format!("kubectl {command} -n volsync-system");
        let mark = self.member.audit().mark()?;
        self.member.shell.bash(&script, &[]).await?.ok()?;
        let wanted = Self::essence(&self.before);
        wait_for(&format!("{} to be repaired after `{command}`", self.object), SETTLED, async || {
            let Some(now) = find(self.member, &self.path).await? else { return Ok(Seen::NotYet("gone".into())) };
            Ok(Seen::when(Self::essence(&now) == wanted, now.to_string()))
        })
        .await?;
        // Else it would be as before because nothing had been done to it.
        let name = name_of(&self.before);
        wait_for(&format!("{} to be told of as repaired after `{command}`", self.object), TOLD, async || {
            // The API server writes down what it did a moment later.
            let writes = self.member.audit().writes_by(HUB_USER, mark)?;
            Ok(Seen::when(writes.iter().any(|it| it.name == name && it.code < 300), format!("{writes:?}")))
        })
        .await?;
        Ok(())
    }

    async fn survives_the_loss_of_its_labels(&self) -> Result<(), Fail> {
        let labels = self.before["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        let of_its = LABELS.into_iter().filter(|label| labels.contains_key(*label)).collect::<Vec<_>>();
        assert!(of_its.len() >= 3, "{labels:?}");
        for label in &of_its {
            self.survives(&format!("label OBJECT {label}-")).await?;
        }
        let all: Vec<_> = of_its.iter().map(|label| format!("{label}-")).collect();
        self.survives(&format!("label OBJECT {}", all.join(" "))).await?;
        self.survives("label --overwrite OBJECT volsync.backube/kopia-maintenance=false").await
    }
}

async fn cron_job(member: &Cluster, name: &str) -> Result<(), Fail> {
    let pushed = Pushed::find(member, "cronjob", "/apis/batch/v1", name).await?;
    for edit in [
        r#"patch OBJECT --type=merge -p '{"spec":{"schedule":"*/5 * * * *","timeZone":"Asia/Tokyo"}}'"#,
        r#"patch OBJECT --type=merge -p '{"spec":{"suspend":true}}'"#,
        r#"patch OBJECT --type=json -p '[{"op":"add","path":"/spec/jobTemplate/spec/template/spec/containers/0/args/-","value":"--rclone-exe=/bin/sh"}]'"#,
        r#"patch OBJECT --type=json -p '[{"op":"replace","path":"/spec/jobTemplate/spec/template/spec/containers/0/image","value":"example.com/other"}]'"#,
        r#"patch OBJECT --type=json -p '[{"op":"remove","path":"/spec/jobTemplate/spec/activeDeadlineSeconds"}]'"#,
        "annotate OBJECT hub.volsync.backube/applied-hash-",
        "annotate --overwrite OBJECT hub.volsync.backube/epoch=99",
        "delete OBJECT",
    ] {
        pushed.survives(edit).await?;
    }
    pushed.survives_the_loss_of_its_labels().await
}

async fn secret(member: &Cluster, name: &str, key: &str) -> Result<(), Fail> {
    let pushed = Pushed::find(member, "secret", "/api/v1", name).await?;
    let edit = format!(r#"patch OBJECT --type=merge -p '{{"data":{{"{key}":"ZWRpdGVk"}}}}'"#);
    pushed.survives(&edit).await?;
    pushed.survives(&format!(r#"patch OBJECT --type=json -p '[{{"op":"remove","path":"/data/{key}"}}]'"#)).await?;
    pushed.survives("delete OBJECT").await?;
    pushed.survives_the_loss_of_its_labels().await
}

async fn script(member: &Cluster) -> Result<(), Fail> {
    let maps = items(member, "/api/v1/namespaces/volsync-system/configmaps").await?;
    let ours = maps.iter().find(|it| it["data"].get("maintain.sh").is_some()).ok_or("no script")?;
    let name = name_of(ours);
    let pushed = Pushed::find(member, "configmap", "/api/v1", name).await?;
    pushed.survives("delete OBJECT").await?;
    pushed.survives_the_loss_of_its_labels().await
}

/// It is looked at every ten minutes, and when the MemberCluster changes; the test does not wait so long.
async fn service_account(stage: &Stage, member: &Cluster) -> Result<(), Fail> {
    let pushed = Pushed::find(member, "serviceaccount", "/api/v1", "volsync-hub-mover").await?;
    let touch = async |namespace: &str| {
        let spec = format!("{{\"spec\":{{\"volsyncNamespace\":{namespace}}}}}");
        let command = format!("patch membercluster {} --type=merge -p {spec}", member.name);
        stage.fleet.hub.shell.kubectl(&command).await?.ok().map(drop)
    };
    let edit_of_a_field =
        r#"kubectl patch serviceaccount volsync-hub-mover --type=merge -p '{"automountServiceAccountToken":true}'"#;
    for (edit, namespace) in [
        ("kubectl delete serviceaccount volsync-hub-mover", "\"volsync-system\""),
        ("kubectl label serviceaccount volsync-hub-mover hub.volsync.backube/hub-", "null"),
        (edit_of_a_field, "\"volsync-system\""),
        ("kubectl annotate serviceaccount volsync-hub-mover example.com/role=kept", "null"),
    ] {
        member.shell.bash(&format!("{edit} -n volsync-system"), &[]).await?.ok()?;
        let mark = member.audit().mark()?;
        touch(namespace).await?;
        wait_for(&format!("the ServiceAccount to be looked at and repaired after `{edit}`"), SETTLED, async || {
            let requests = member.audit().by(HUB_USER, mark)?;
            let looked = requests.iter().any(|it| it.verb == "get" && it.resource == "serviceaccounts");
            let Some(now) = find(member, &pushed.path).await? else { return Ok(Seen::NotYet("gone".into())) };
            let same = now["metadata"]["labels"] == pushed.before["metadata"]["labels"]
                && now["automountServiceAccountToken"] == pushed.before["automountServiceAccountToken"];
            Ok(Seen::when(looked && same, format!("looked at: {looked}; {now}")))
        })
        .await?;
    }
    let now = get(member, &pushed.path).await?;
    assert_eq!(now["metadata"]["annotations"]["example.com/role"], "kept", "what others add stays");
    Ok(())
}

/// Objects that look as if they were the hub's, and are not.
fn of_others(repository: &Maintained) -> String {
    let id = repository.name.trim_start_matches("kopia-maintenance-");
    let job = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "automountServiceAccountToken": false,
        "containers": [{"name": "main", "image": "example.com/other", "command": ["true"]}]}}}});
    let another_hub = json!({LABELS[0]: "true", LABELS[1]: "volsync-hub", LABELS[2]: id, LABELS[3]: "another-hub"});
    let objects = [
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "kopia-maint-of-volsync",
            "labels": {LABELS[0]: "true"}}, "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": job}}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "of-another-hub",
            "labels": another_hub}, "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": job}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "secret-of-another-hub",
            "labels": another_hub}, "stringData": {"KOPIA_PASSWORD": "theirs"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kopia-maintenance-mine"},
            "stringData": {"KOPIA_PASSWORD": "mine"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "volsync-hub-mover-00000000"}}),
    ];
    let objects = objects.map(|mut object| {
        object["metadata"]["namespace"] = "volsync-system".into();
        format!("---\n{object}\n")
    });
    objects.concat()
}

const OTHERS: [&str; 5] = [
    "kopia-maint-of-volsync",
    "of-another-hub",
    "secret-of-another-hub",
    "kopia-maintenance-mine",
    "volsync-hub-mover-00000000",
];

#[test]
fn what_was_pushed_is_repaired_and_what_others_made_is_left_alone() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let member = stage.fleet.member("member-b")?;
        let place = S3::bucket("drift");
        place.create(&stage.fleet).await?;
        let ca = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca", "namespace": "drift"},
            "data": {"bundle.pem": base64("-----BEGIN CERTIFICATE-----\nZHJpZnQ=\n-----END CERTIFICATE-----\n")}});
        let with_ca = source("drift", "data", "backup")
            .replace("{repository: backup}", "{repository: backup, customCA: {secretName: ca, key: bundle.pem}}");
        let manifest = namespace("drift", &[]) + &place.secret("drift", "backup") + &with_ca;
        member.shell.apply(&format!("{manifest}---\n{ca}\n")).await?;
        stage.apply(&policy("drift", "drift", &[&format!("schedule: {}", far_schedule())])).await?;
        let done = stage.maintained("drift").await?;
        member.shell.apply(&of_others(&done)).await?;
        let mark = member.audit().mark()?;

        cron_job(member, &done.name).await?;
        secret(member, &done.name, "KOPIA_PASSWORD").await?;
        secret(member, &format!("{}-ca", done.name), "ca.crt").await?;
        script(member).await?;
        service_account(stage, member).await?;

        stage.run(&done, "drift").await?;
        assert_eq!(stage.runs("drift", 1).await?[0]["outcome"], "Succeeded", "all is as it was");
        let writes = member.audit().writes_by(HUB_USER, mark)?;
        let touched: Vec<_> = writes.iter().filter(|it| OTHERS.contains(&it.name.as_str())).collect();
        assert!(touched.is_empty(), "{touched:?}");
        Ok(())
    })
}

#[test]
fn an_object_of_other_people_under_the_hubs_name_is_not_overwritten() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let member = stage.fleet.member("member-a")?;
        let place = S3::bucket("name-taken");
        place.create(&stage.fleet).await?;
        let manifest = namespace("taken", &[]) + &place.secret("taken", "backup") + &source("taken", "data", "backup");
        member.shell.apply(&manifest).await?;
        let ledger = wait_for("the hub to know the repository", SETTLED, async || {
            Ok(Seen::some(stage.repository("name-taken").await?, "no KopiaRepository"))
        })
        .await?;
        let name = format!("kopia-maintenance-{}", name_of(&ledger).trim_start_matches("kr-"));
        let theirs = format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: {name}, namespace: volsync-system}}, \
             stringData: {{mine: mine}}}}"
        );
        member.shell.apply(&theirs).await?;
        let path = format!("/api/v1/namespaces/volsync-system/secrets/{name}");
        let before = get(member, &path).await?;
        let mark = Mark::START;
        stage.apply(&policy("taken", "taken", &[&format!("schedule: {}", far_schedule())])).await?;
        let said = wait_for("the refusal to be told", SETTLED, async || {
            let ledger = stage.repository("name-taken").await?.unwrap_or_default();
            let conditions = ledger["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let refused = conditions.into_iter().find(|it| it["reason"] == "NotOurs");
            Ok(Seen::some(refused, ledger["status"].to_string()))
        })
        .await?;
        assert!(text(&said, "/message").contains("left alone"), "{said}");
        assert_eq!(get(member, &path).await?, before);
        let writes = member.audit().writes_by(HUB_USER, mark)?;
        assert!(!writes.iter().any(|it| it.name == name), "{writes:?}");
        stage.fleet.hub.shell.kubectl("delete kopiamaintenance taken").await?.ok().map(drop)
    })
}

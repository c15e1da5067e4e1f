//! Policies that are wrong: refused where the API server can tell, and harmless where an older definition let them in.

use serde_json::{Value, json};

use super::stage::{LONG, Stage, cron_job, id, policy};
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

/// Spec lines that the API server refuses, with words of the answer: the field, and what is allowed.
const REFUSED: [(&str, &[&str]); 4] = [
    ("schedule: \"61 2 * * *\"", &["spec.schedule", "minute"]),
    ("priority: 101", &["spec.priority", "less than or equal to 100"]),
    ("failedJobsHistoryLimit: -1", &["spec.failedJobsHistoryLimit", "greater than or equal to 0"]),
    ("repository: {repository: a, namespace: b}", &["repositorySelector", "repository", "not both"]),
];

/// A definition as releases before the rules had it.
const OLD_DEFINITION: &str = r#"kubectl patch crd kopiamaintenances.volsync.backube --type json -p '[{"op": "replace",
  "path": "/spec/versions/0/schema/openAPIV3Schema",
  "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]'"#;

#[test]
fn a_wrong_policy_is_refused_or_held_and_disturbs_no_other() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::of_policies().await?;
        let mut hub = stage.hub.write().await;
        *hub = Some(stage.start_hub(&[]).await?);
        let (shell, member) = (&stage.fleet.hub.shell, stage.member("member-a")?);
        for (spec, words) in REFUSED {
            let said = shell.kubectl_with("create", &policy("refused", "none-*", spec)).await?.refused()?;
            assert!(words.iter().all(|word| said.to_lowercase().contains(&word.to_lowercase())), "{spec}: {said}");
        }

        for name in ["sound", "spoiled", "spoiled-later"] {
            S3::bucket(name).create(&stage.fleet).await?;
        }
        for name in ["sound", "spoiled"] {
            objects::backed_up(member, name, &format!("{name}-repository"), &S3::bucket(name)).await?;
            shell.apply(&policy(name, &format!("{name}-*"), "schedule: \"0 3 1 1 *\"")).await?;
        }
        let ids = [id(&stage.maintained("sound").await?), id(&stage.maintained("spoiled").await?)];
        let mut before = Vec::new();
        for id in &ids {
            before.push(let_go(stage, id).await?);
        }

        // An older definition lets everything in.
        shell.bash(OLD_DEFINITION, &[]).await?.ok()?;
        let moment = stage.fleet.moment()?;
        let wrong = [
            policy("wrong-schedule", "spoiled-*", "schedule: \"61 2 * * *\"\npriority: 50"),
            policy("wrong-priority", "*", "priority: high"),
            policy("wrong-modes", "*", "repository: {repository: a, namespace: b}\npriority: 100"),
        ];
        let apply = async || shell.apply(&wrong.concat()).await;
        wait_for("the older definition to be in force", LONG, async || Ok(Seen::some(apply().await.ok(), "refused")))
            .await?;
        objects::backed_up(member, "spoiled-later", "spoiled-later-repository", &S3::bucket("spoiled-later")).await?;
        are_held(stage).await?;
        // What has been pushed stays, nothing new starts, and nobody else is disturbed.
        for (id, before) in ids.iter().zip(&before) {
            let now = cron_job(member, id).await?;
            assert_eq!((&now["metadata"]["uid"], &now["spec"]), (&before["metadata"]["uid"], &before["spec"]));
        }
        let later = stage.repository("spoiled-later").await?;
        assert!(later["status"]["grant"].is_null(), "{later}");
        assert!(cron_job(member, &id(&later)).await?.is_null());
        let sound = stage.repository("sound").await?;
        assert_eq!((&sound["status"]["policy"], &sound["status"]["state"]), (&json!("sound"), &json!("Maintained")));
        assert_eq!(stage.policy("sound").await?["status"]["conflictingMaintenances"], Value::Null);

        // The present definition comes, and a new hub with it: what was let in is still there.
        shell.kubectl("apply --server-side --force-conflicts -f deploy/crds").await?.ok()?;
        hub.take().ok_or("no hub runs")?.stop()?;
        *hub = Some(stage.start_hub(&[]).await?);
        are_held(stage).await?;
        let writes: Vec<_> =
            stage.fleet.hub_writes(&moment)?.into_iter().filter(|write| !write.starts_with("hub: ")).collect();
        assert!(writes.is_empty(), "{writes:#?}");

        // Nobody's mistake outweighs a freeze: nothing runs under it.
        let freeze = async |until: &str| {
            let lever =
                format!("patch kopiarepository kr-{} --type merge -p {{\"spec\":{{\"frozenUntil\":{until}}}}}", ids[1]);
            shell.kubectl(&lever).await?.ok()
        };
        freeze("\"2099-01-01T00:00:00Z\"").await?;
        wait_for("the CronJob to be suspended by the freeze", LONG, async || {
            let seen = cron_job(member, &ids[1]).await?;
            Ok(Seen::when(seen["spec"]["suspend"] == true, seen["spec"].to_string()))
        })
        .await?;
        are_held(stage).await?;
        freeze("null").await?;

        // Put right, it rules.
        let right = "patch kopiamaintenance wrong-schedule --type merge -p {\"spec\":{\"schedule\":\"@weekly\"}}";
        shell.kubectl(right).await?.ok()?;
        stage.policy_condition("wrong-schedule", ("Valid", "True", "Valid")).await?;
        stage.maintained("spoiled-later").await?;
        wait_for("the CronJob to follow", LONG, async || {
            let spec = cron_job(member, &ids[1]).await?["spec"].clone();
            Ok(Seen::when(spec["schedule"] == "@weekly" && spec["suspend"] == false, spec.to_string()))
        })
        .await?;
        stage.clear(&mut hub, member).await
    })
}

/// Waits until a repository's CronJob may run, and returns it.
async fn let_go(stage: &Stage, id: &str) -> Result<Value, Fail> {
    let member = stage.member("member-a")?;
    wait_for("the CronJob to be let go", LONG, async || {
        let seen = cron_job(member, id).await?;
        Ok(if seen["spec"]["suspend"] == false { Seen::Done(seen) } else { Seen::NotYet(seen.to_string()) })
    })
    .await
}

/// Each wrong policy says what is wrong; the one whose selection can be read holds what it won.
async fn are_held(stage: &Stage) -> Result<(), Fail> {
    for (name, words) in
        [("wrong-schedule", "61"), ("wrong-priority", "priority"), ("wrong-modes", "repositorySelector")]
    {
        let said = stage.policy_condition(name, ("Valid", "False", "InvalidPolicy")).await?;
        assert!(said.contains(words), "{name}: {said}");
        stage.policy_condition(name, ("Ready", "False", "InvalidPolicy")).await?;
    }
    for bucket in ["spoiled", "spoiled-later"] {
        let seen = stage
            .repository_when(bucket, "to be held", |status| {
                status["state"] == "Held" && status["reason"] == "InvalidPolicy"
            })
            .await?;
        assert_eq!(seen["status"]["policy"], "wrong-schedule", "{seen}");
    }
    let unread = stage.policy("wrong-modes").await?;
    assert_eq!(unread["status"]["repositoryCount"], 0, "{unread}");
    Ok(())
}

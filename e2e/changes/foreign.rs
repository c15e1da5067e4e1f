//! Somebody else's maintenance stands in a member: it is reported, suspended where the operator lets the hub, and
//! resumed when the member is taken out.

use serde_json::{Value, json};

use super::stage::{LONG, Stage, object};
use crate::harness::hub::binary;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

const BUCKET: &str = "adopted";
const PATH: &str = "/apis/batch/v1/namespaces/adopted/cronjobs/kopia-maint-theirs";

/// As other tools leave it there.
fn theirs() -> String {
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "kopia", "image": "example.com/mover:1",
        "envFrom": [{"secretRef": {"name": "repository"}}]}]});
    let cron_job = json!({"apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"namespace": BUCKET, "name": "kopia-maint-theirs",
            "labels": {"volsync.backube/kopia-maintenance": "true"}},
        "spec": {"schedule": "0 3 1 1 *", "jobTemplate": {"spec": {"template": {"spec": pod}}}}});
    format!("---\n{cron_job}\n")
}

#[test]
fn somebody_elses_cron_job_is_reported_suspended_where_that_is_wanted_and_resumed_in_the_end() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::set("foreign", &["member-a"]).await?;
        stage.register("member-a")?;
        let (hub, member) = (&stage.fleet.hub, stage.member("member-a")?);
        let place = S3::bucket(BUCKET);
        place.create(&stage.fleet).await?;
        objects::backed_up(member, BUCKET, "repository", &place).await?;
        member.shell.apply(&theirs()).await?;
        hub.shell.apply(&objects::policy_in(BUCKET, &[BUCKET], "schedule: \"0 4 1 1 *\"")).await?;
        let running = stage.start_hub(&[]).await?;
        let uid = object(member, PATH).await?["metadata"]["uid"].clone();
        let theirs_is = async |suspended: bool| {
            wait_for(&format!("theirs to be suspended: {suspended}"), LONG, async || {
                let seen = object(member, PATH).await?;
                assert_eq!(seen["metadata"]["uid"], uid, "it is never deleted");
                let is = seen["spec"]["suspend"] == suspended;
                Ok(if is { Seen::Done(seen) } else { Seen::NotYet(seen["spec"]["suspend"].to_string()) })
            })
            .await
        };

        stage.maintained(BUCKET).await?;
        let told = async || stage.repository(BUCKET).await;
        let message = stage.condition(told, ("Contended", "True", "ForeignMaintainer")).await?;
        let command = r#"-n adopted patch cronjob kopia-maint-theirs --type merge -p '{"spec":{"suspend":true}}'"#;
        assert!(message.contains("kubectl --context member-a") && message.ends_with(command), "{message}");

        // Wanted, and not allowed yet: the right is named, and nothing else suffers.
        let patch = r#"patch membercluster member-a --type merge -p {"spec":{"adoptForeign":true}}"#;
        hub.shell.kubectl(patch).await?.ok()?;
        let message = stage.member_condition("member-a", ("Authorized", "False", "MissingRules")).await?;
        assert!(message.contains("patch cronjobs.batch (for its adoptForeign"), "{message}");
        theirs_is(false).await?;
        stage.condition(told, ("Maintained", "True", "Active")).await?;

        member.shell.kubectl("apply --server-side -k deploy/member-adopt-foreign").await?.ok()?;
        let seen = theirs_is(true).await?;
        let note = seen["metadata"]["annotations"]["hub.volsync.backube/adopted"].as_str().unwrap_or_default();
        let note: Value = serde_json::from_str(note)?;
        assert_eq!((&note["hub"], &note["suspend"]), (&json!("stage"), &json!(false)));
        stage.condition(told, ("Contended", "False", "Resolved")).await?;
        stage.member_condition("member-a", ("Adopted", "True", "ForeignSuspended")).await?;
        stage.member_condition("member-a", ("Authorized", "True", "Complete")).await?;

        // The command waits until it is resumed.
        let retire = "\"$HUB\" members retire member-a --yes --wait 3m";
        let said = hub.shell.bash(retire, &[("HUB", &binary()?.display().to_string())]).await?.ok()?;
        assert!(said.contains("member-a holds nothing any more"), "{said}");
        let seen = object(member, PATH).await?;
        assert_eq!(seen["spec"]["suspend"], false, "{seen}");
        assert_eq!(seen["metadata"]["annotations"]["hub.volsync.backube/adopted"], Value::Null, "{seen}");
        stage.member_condition("member-a", ("Adopted", "False", "NothingSuspended")).await?;
        stage.assert_discreet().await?;
        running.stop().map(drop)
    })
}

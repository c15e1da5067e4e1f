//! A Secret that has gone stale in one member does not keep a repository from being maintained by another.

use serde_json::json;

use super::stage::{LONG, Stage, condition, cron_job, id, policy};
use crate::harness::objects::{self, PASSWORD, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

const STALE: &str = "l4st-y34rs-p4ssw0rd";

#[test]
fn a_stale_secret_makes_room_for_the_next_member() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let _hub = stage.hub.read().await;
        let (fleet, members) = (&stage.fleet, ["member-a", "member-b"]);
        let place = S3::bucket("stale");
        place.create(fleet).await?;
        for member in members {
            objects::backed_up(stage.member(member)?, "stale", "stale-repository", &place).await?;
        }
        // Suspended, so that it can be seen who is to have it before anybody tries.
        let suspended = policy("stale", "stale-repository", "schedule: \"0 3 1 1 *\"\nsuspend: true");
        fleet.hub.shell.apply(&suspended).await?;
        let seen = stage
            .repository_when("stale", "to be seen in both members", |status| {
                let clusters = status["clusters"].as_array().into_iter().flatten();
                status["state"] == "Suspended" && clusters.filter(|it| it["ready"] == 1).count() == 2
            })
            .await?;
        let id = id(&seen);
        let first = wait_for("a member to get the suspended CronJob", LONG, async || {
            for name in members {
                if !cron_job(stage.member(name)?, &id).await?.is_null() {
                    return Ok(Seen::Done(name));
                }
            }
            Ok(Seen::NotYet("in neither".into()))
        })
        .await?;
        let next = members.into_iter().find(|name| *name != first).ok_or("two members")?;

        let data = format!("{{\"stringData\":{{\"KOPIA_PASSWORD\":\"{STALE}\"}}}}");
        let patch = format!("kubectl patch secret stale-repository -n stale -p '{data}'");
        stage.member(first)?.shell.bash(&patch, &[]).await?.ok()?;
        let go = "patch kopiamaintenance stale --type merge -p {\"spec\":{\"suspend\":false}}";
        fleet.hub.shell.kubectl(go).await?.ok()?;

        let failed = stage
            .repository_when("stale", "to know of the stale Secret", |status| status["notReady"][0].is_object())
            .await?;
        let entry = &failed["status"]["notReady"][0];
        let expected = (&json!(first), &json!("stale/stale-repository"));
        assert_eq!((&entry["cluster"], &entry["secret"]), expected, "{failed}");
        assert!(entry["reason"].as_str().unwrap_or_default().starts_with("AuthFailed ("), "{failed}");
        assert!(entry["until"].is_string(), "{entry}");
        let granted = stage
            .repository_when("stale", &format!("to be maintained by {next}"), |status| {
                status["grant"]["phase"] == "Active" && status["grant"]["cluster"] == next
            })
            .await?;
        assert_eq!(granted["status"]["grant"]["epoch"], 2, "{granted}");

        // One CronJob in the fleet, and it works.
        wait_for("one CronJob in the fleet", LONG, async || {
            let mut seen = Vec::new();
            for name in members {
                seen.push(cron_job(stage.member(name)?, &id).await?["spec"]["suspend"].clone());
            }
            let expected = if first == members[0] { [json!(null), json!(false)] } else { [json!(false), json!(null)] };
            Ok(Seen::when(seen == expected, format!("{seen:?}")))
        })
        .await?;
        let create = format!("create job stale-run -n volsync-system --from=cronjob/kopia-maintenance-{id}");
        stage.member(next)?.shell.kubectl(&create).await?.ok()?;
        let ran = stage
            .repository_when("stale", "to have been maintained", |status| status["lastOutcome"] == "Succeeded")
            .await?;
        assert_eq!(ran["status"]["runs"][0]["cluster"], next, "{ran}");
        assert_eq!(condition(&ran, "Maintained")["status"], "True", "{ran}");
        let everything = format!("{}{ran}", stage.log());
        assert!(!everything.contains(STALE) && !everything.contains(PASSWORD), "a password got out");
        fleet.hub.shell.kubectl("delete kopiamaintenance stale").await?.ok()?;
        Ok(())
    })
}

//! Members are added, get new credentials and go, and VolSync comes to one of them, while one hub runs on.

use std::fs;

use super::stage::{LONG, Stage, cron_job, id, policy};
use crate::harness::fleet::{HUB_USER, KUBECONFIG_PAGE};
use crate::harness::objects::{self, S3};
use crate::harness::wait::{PATIENCE, Seen, wait_for};
use crate::harness::{self, Fail, readme};

/// Commands of the page that a user follows, as one script.
fn page(blocks: &[&str]) -> Result<String, Fail> {
    let blocks: Result<Vec<_>, Fail> = blocks.iter().map(|name| readme::block(KUBECONFIG_PAGE, name)).collect();
    Ok(blocks?.join("\n"))
}

#[test]
fn a_member_is_added_gets_new_credentials_and_goes_while_the_hub_runs() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::set("rotation", &["steady", "comes"]).await?;
        stage.register("steady")?;
        stage.fleet.hub.shell.kubectl("apply --server-side -k deploy/member").await?.ok()?;
        let mut hub = stage.start_hub(&["--include-hub=management"]).await?;
        let (fleet, comes) = (&stage.fleet, stage.member("comes")?);
        let place = S3::bucket("comes-and-goes");
        place.create(fleet).await?;
        objects::backed_up(comes, "comes", "comes-repository", &place).await?;
        fleet.hub.shell.apply(&policy("comes", "comes-*", "schedule: \"0 3 1 1 *\"")).await?;
        stage.member_condition("steady", ("Synced", "True", "Complete")).await?;
        assert!(stage.repository("comes-and-goes").await.is_err(), "seen before its member was added");
        // The hub's own cluster is a member like any other; VolSync is not there.
        stage.member_condition("management", ("Reachable", "True", "Answering")).await?;
        stage.member_condition("management", ("Authorized", "True", "Complete")).await?;
        stage.member_condition("management", ("VolSyncInstalled", "False", "NotInstalled")).await?;

        // Added: a token that holds until its Secret is deleted, so that it can be taken away.
        let file = fleet.dir.join("comes.kubeconfig").display().to_string();
        let variables = [("MEMBER", "comes"), ("FILE", file.as_str())];
        comes.shell.bash(&page(&["long-token", "kubeconfig"])?, &variables).await?.ok()?;
        stage.write_registration("comes", &fs::read(&file)?)?;
        let granted = stage.maintained("comes-and-goes").await?;
        assert_eq!(granted["status"]["grant"]["cluster"], "comes");
        let id = id(&granted);
        let pushed = wait_for("the CronJob to be let go", LONG, async || {
            let seen = cron_job(comes, &id).await?;
            Ok(if seen["spec"]["suspend"] == false { Seen::Done(seen) } else { Seen::NotYet(seen.to_string()) })
        })
        .await?;

        // Taken away: nothing but that member is affected, and nothing there is touched.
        comes.shell.kubectl("delete secret volsync-hub-token -n volsync-system").await?.ok()?;
        stage.member_condition("comes", ("Reachable", "False", "Unauthorized")).await?;
        stage.member_condition("steady", ("Reachable", "True", "Answering")).await?;
        let away = stage
            .repository_when("comes-and-goes", "to be held by a member that is away", |it| {
                it["state"] == "Maintained" || it["state"] == "Held"
            })
            .await?;
        assert_eq!(away["status"]["grant"], granted["status"]["grant"]);

        // New ones: that member's client is rebuilt, and nothing else is read again.
        let steady_mark = stage.member("steady")?.audit().mark()?;
        let mark = comes.audit().mark()?;
        comes.shell.bash(&page(&["short-token", "kubeconfig"])?, &variables).await?.ok()?;
        stage.write_registration("comes", &fs::read(&file)?)?;
        stage.member_condition("comes", ("Reachable", "True", "Answering")).await?;
        stage.member_condition("comes", ("Synced", "True", "Complete")).await?;
        let read: Vec<_> =
            comes.audit().by(HUB_USER, mark)?.into_iter().filter(|one| one.is_list() && one.code == 200).collect();
        assert!(read.iter().any(|one| one.resource == "volsync.backube/replicationsources"), "{read:?}");
        let lists = stage.member("steady")?.audit().by(HUB_USER, steady_mark)?;
        let lists: Vec<_> = lists
            .into_iter()
            .filter(|one| one.is_list() && one.resource == "volsync.backube/replicationsources")
            .collect();
        assert!(lists.is_empty(), "the other member was read again: {lists:?}");
        // It works: what is deleted there comes back.
        let before_deletion = fleet.moment()?;
        comes
            .shell
            .kubectl(&format!("delete cronjob -n volsync-system -l hub.volsync.backube/repository={id}"))
            .await?
            .ok()?;
        let again = wait_for("the CronJob to come back", LONG, async || {
            let seen = cron_job(comes, &id).await?;
            Ok(if seen.is_null() { Seen::NotYet("none".into()) } else { Seen::Done(seen) })
        })
        .await?;
        assert_ne!(again["metadata"]["uid"], pushed["metadata"]["uid"]);
        // An object is seen a moment before the audit log has the request that made it.
        wait_for("the audit log to have it", LONG, async || {
            let writes = fleet.hub_writes(&before_deletion)?;
            let has = writes.iter().any(|write| write.starts_with("comes: patch batch/cronjobs"));
            Ok(if has { Seen::Done(()) } else { Seen::NotYet(format!("{writes:#?}")) })
        })
        .await?;

        // Gone: a registration that is missing is no order to clean up.
        let before_removal = fleet.moment()?;
        stage.unregister("comes")?;
        stage.member_condition("comes", ("Reachable", "False", "NotRegistered")).await?;
        let held = stage.repository("comes-and-goes").await?;
        assert_eq!(held["status"]["grant"], granted["status"]["grant"], "{held}");
        let left = cron_job(comes, &id).await?;
        assert_eq!(left["metadata"]["uid"], again["metadata"]["uid"]);
        let writes = fleet.hub_writes(&before_removal)?;
        assert!(writes.iter().all(|write| write.starts_with("hub: ")), "{writes:#?}");

        // Back under the same name, now from a Secret on the hub.
        fleet.hub.shell.bash(&page(&["register-secret"])?, &variables).await?.ok()?;
        stage.member_condition("comes", ("Reachable", "True", "Answering")).await?;
        stage.member_condition("comes", ("Synced", "True", "Complete")).await?;
        fleet.hub.shell.kubectl("delete secret comes -n volsync-system").await?.ok()?;
        stage.member_condition("comes", ("Reachable", "False", "NotRegistered")).await?;
        assert_eq!(cron_job(comes, &id).await?["metadata"]["uid"], again["metadata"]["uid"]);
        assert!(hub_still_runs(&mut hub), "the hub ended meanwhile");
        stage.assert_discreet().await?;
        Ok(())
    })
}

fn hub_still_runs(hub: &mut harness::hub::Hub) -> bool {
    hub.ended().is_ok_and(|ended| ended.is_none())
}

#[test]
fn a_kubeconfig_that_runs_a_program_is_refused_in_a_secret() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let _hub = stage.hub.read().await;
        let fleet = &stage.fleet;
        let ran = fleet.dir.join("exec-ran");
        // What a user of a cloud has: everything else about it is in order.
        let mut kubeconfig: serde_json::Value = {
            let path = fleet.dir.join("with-exec.kubeconfig");
            stage.member("member-c")?.write_token_kubeconfig(&path, "unused")?;
            serde_json::from_slice(&fs::read(&path)?)?
        };
        kubeconfig["users"][0]["user"] = serde_json::json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/touch",
            "args": [ran.display().to_string()], "interactiveMode": "Never"}});
        let file = fleet.dir.join("with-exec.kubeconfig");
        fs::write(&file, kubeconfig.to_string())?;
        let file = file.display().to_string();
        let variables = [("MEMBER", "with-exec"), ("FILE", file.as_str())];
        fleet.hub.shell.bash(&page(&["register-secret"])?, &variables).await?.ok()?;
        let said = wait_for("an event about the Secret", PATIENCE, async || {
            let events =
                "events -n volsync-system --field-selector involvedObject.kind=Secret,involvedObject.name=with-exec";
            let said = fleet.hub.shell.value(events, "{.items[*].type} {.items[*].reason} {.items[*].message}").await?;
            Ok(if said.contains("RefusedKubeconfig") { Seen::Done(said) } else { Seen::NotYet(said) })
        })
        .await?;
        assert!(said.contains("Warning") && said.contains("exec is refused in a kubeconfig from a Secret"), "{said}");
        assert!(stage.log().contains("RefusedKubeconfig"), "the log does not say so");
        assert!(stage.member_cluster("with-exec").await.is_err(), "it became a member");
        assert!(!ran.exists(), "the program was run");
        fleet.hub.shell.kubectl("delete secret with-exec -n volsync-system").await?.ok()?;
        Ok(())
    })
}

#[test]
fn a_member_without_volsync_is_served_once_volsync_is_installed() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let _hub = stage.hub.read().await;
        let (fleet, member) = (&stage.fleet, stage.member("member-c")?);
        let crd = "customresourcedefinition replicationsources.volsync.backube";
        member.shell.kubectl(&format!("delete {crd}")).await?.ok()?;
        stage.register("member-c")?;
        let said = stage.member_condition("member-c", ("VolSyncInstalled", "False", "NotInstalled")).await?;
        assert!(said.contains("replicationsources.volsync.backube"), "{said}");
        stage.member_condition("member-a", ("VolSyncInstalled", "True", "Installed")).await?;

        // VolSync comes, and a source with it.
        let place = S3::bucket("volsync-comes");
        place.create(fleet).await?;
        fleet.hub.shell.apply(&policy("volsync-comes", "volsync-comes-*", "schedule: \"0 3 1 1 *\"")).await?;
        member.shell.kubectl("apply --server-side -f e2e/manifests/volsync").await?.ok()?;
        member.shell.kubectl(&format!("wait {crd} --for condition=Established --timeout 60s")).await?.ok()?;
        objects::backed_up(member, "volsync-comes", "volsync-comes-repository", &place).await?;
        stage.member_condition("member-c", ("VolSyncInstalled", "True", "Installed")).await?;
        let granted = stage.maintained("volsync-comes").await?;
        assert_eq!(granted["status"]["grant"]["cluster"], "member-c");
        let id = id(&granted);
        let pushed = cron_job(member, &id).await?;
        assert!(!pushed.is_null(), "no CronJob");

        // VolSync goes, and takes every source along: that is no word about what is to be maintained.
        let before = member.audit().mark()?;
        member.shell.kubectl(&format!("delete {crd}")).await?.ok()?;
        stage.member_condition("member-c", ("VolSyncInstalled", "False", "NotInstalled")).await?;
        let left = cron_job(member, &id).await?;
        assert_eq!(left["metadata"]["uid"], pushed["metadata"]["uid"]);
        let deletes: Vec<_> = member
            .audit()
            .writes_by(HUB_USER, before)?
            .into_iter()
            .filter(|one| one.verb.starts_with("delete"))
            .collect();
        assert!(deletes.is_empty(), "{deletes:?}");
        Ok(())
    })
}

//! A hub whose cluster is lost with its ledger and its id is built anew, and goes on as the old one by `adopt`.

use std::process::ExitStatus;

use serde_json::{Value, json};

use super::journal::Journal;
use super::stage::{LONG, Stage, cron_job, id, object};
use crate::harness::hub::{Hub, binary};
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

const BUCKET: &str = "rebuilt";
/// So long a run is in the repository.
const RUN_SECONDS: &str = "3";

struct Rebuilt {
    stage: Stage,
    journal: Journal,
}

impl Rebuilt {
    async fn set() -> Result<Self, Fail> {
        let stage = Stage::set("rebuilt", &["member-a"]).await?;
        stage.register("member-a")?;
        let place = S3::bucket(BUCKET);
        place.create(&stage.fleet).await?;
        let journal = Journal::of(&place, &stage.fleet);
        journal.runs_take(RUN_SECONDS)?;
        objects::backed_up(stage.member("member-a")?, BUCKET, "repository", &place).await?;
        Ok(Self { stage, journal })
    }

    async fn apply_policy(&self) -> Result<(), Fail> {
        let policy = objects::policy_in(BUCKET, &[BUCKET], "schedule: \"* * * * *\"\nactiveDeadlineSeconds: 600");
        self.stage.fleet.hub.shell.apply(&policy).await.map(drop)
    }

    async fn hub_id(&self) -> Result<String, Fail> {
        let map = object(&self.stage.fleet.hub, "/api/v1/namespaces/volsync-system/configmaps/volsync-hub-id").await?;
        map["data"]["hubID"].as_str().map(str::to_owned).ok_or_else(|| format!("no id in {map}").into())
    }

    async fn command(&self, line: &str) -> Result<harness::shell::Output, Fail> {
        let hub = binary()?.display().to_string();
        self.stage.fleet.hub.shell.bash(&format!("\"$HUB\" {line}"), &[("HUB", &hub)]).await
    }

    async fn job(&self, repository: &str) -> Result<Value, Fail> {
        cron_job(self.stage.member("member-a")?, repository).await
    }

    async fn ended(&self, hub: &mut Hub) -> Result<ExitStatus, Fail> {
        wait_for("the hub to notice that its id is another one", LONG, async || {
            Ok(hub.ended()?.map_or_else(|| Seen::NotYet("it runs".to_owned()), Seen::Done))
        })
        .await
    }
}

#[test]
fn a_hub_that_is_built_anew_leaves_the_old_ones_objects_alone_until_it_goes_on_as_that() -> Result<(), Fail> {
    harness::run(async {
        let journey = Rebuilt::set().await?;
        let stage = &journey.stage;
        journey.apply_policy().await?;
        let hub = stage.start_hub_without_id(&[]).await?;
        stage.let_go(BUCKET).await?;
        journey.journal.runs("a run under the old hub", |_| true).await?;
        let (old, first) = (journey.hub_id().await?, stage.repository(BUCKET).await?);
        let grant = &first["status"]["grant"];
        assert_eq!((&grant["hub"], &grant["epoch"]), (&json!(old), &json!(1)), "{grant}");
        hub.stop()?;

        let repository = id(&first);
        let hub = lost_and_built_anew(&journey, (&old, &repository)).await?;
        adopted(&journey, hub, (&old, &repository)).await?;
        journey.journal.never_two_at_once()
    })
}

/// Nothing of the hub's own is left but its kinds; it is a stranger to what it pushed before.
async fn lost_and_built_anew(journey: &Rebuilt, (old, repository): (&str, &str)) -> Result<Hub, Fail> {
    let stage = &journey.stage;
    let shell = &stage.fleet.hub.shell;
    for what in ["kopiamaintenances", "kopiarepositories", "memberclusters"] {
        shell.kubectl(&format!("delete {what} --all")).await?.ok()?;
    }
    shell.kubectl("delete configmap volsync-hub-id -n volsync-system").await?.ok()?;
    shell.kubectl("delete lease volsync-hub -n volsync-system").await?.ok()?;
    let before = journey.job(repository).await?;

    journey.apply_policy().await?;
    let hub = stage.start_hub_without_id(&[]).await?;
    let new = journey.hub_id().await?;
    assert_ne!(new, old);
    let told = async || stage.repository(BUCKET).await;
    let message = stage.condition(told, ("Contended", "True", "ForeignMaintainer")).await?;
    assert!(message.contains(&format!("it belongs to the hub {old:?}")), "{message}");
    stage.condition(told, ("Maintained", "False", "NotOurs")).await?;
    journey.journal.runs("the old hub's CronJob to go on", |entry| entry.client.ends_with(&format!(".{old}"))).await?;
    let after = journey.job(repository).await?;
    for field in ["uid", "generation", "labels"] {
        assert_eq!(after["metadata"][field], before["metadata"][field], "{after}");
    }
    Ok(hub)
}

async fn adopted(journey: &Rebuilt, mut hub: Hub, (old, repository): (&str, &str)) -> Result<(), Fail> {
    let stage = &journey.stage;
    let new = journey.hub_id().await?;
    let listed = journey.command("adopt").await?.ok()?;
    assert!(listed.contains(&format!("objects of hub {old} stand in the way of 1 repository")), "{listed}");
    let unasked = journey.command(&format!("adopt --from-hub {old}")).await?.refused()?;
    assert!(unasked.contains("No other hub with that id may run any more"), "{unasked}");
    assert_eq!(journey.hub_id().await?, new, "nobody has said yes");
    let said = journey.command(&format!("adopt --from-hub {old} --yes")).await?.ok()?;
    assert!(said.contains(&format!("this hub goes on as {old}")), "{said}");
    assert_eq!(journey.hub_id().await?, old);
    let status = journey.ended(&mut hub).await?;
    assert!(status.success(), "{status}");

    // A run of whoever came between may go on for three hours after the claim: three minutes here, and now less.
    let hub = stage.start_hub_without_id(&["--grant-factor=600"]).await?;
    let again = stage
        .repository_when(BUCKET, "to be taken up", |status| {
            status["grant"]["phase"] == "Active" && status["grant"]["hub"] == old
        })
        .await?;
    assert_eq!(again["status"]["grant"]["epoch"], 2, "{again}");
    assert_eq!(again["status"]["history"][0]["why"], "Recovered", "{again}");
    stage.condition(async || stage.repository(BUCKET).await, ("Contended", "False", "Resolved")).await?;
    journey.journal.runs("a run of the new grant", |entry| entry.epoch == 2).await?;
    let job = journey.job(repository).await?;
    let (labels, annotations) = (&job["metadata"]["labels"], &job["metadata"]["annotations"]);
    assert_eq!(labels["hub.volsync.backube/hub"], old, "{job}");
    assert_eq!((&annotations["hub.volsync.backube/epoch"], &job["spec"]["suspend"]), (&json!("2"), &json!(false)));
    let said = journey.command(&format!("adopt --from-hub {old} --yes")).await?.ok()?;
    assert!(said.contains("nothing to do"), "{said}");
    let said = journey.command("doctor").await?.ok()?;
    let kinds: Vec<&str> = said.lines().filter(|line| line.contains(" kinds ")).collect();
    assert!(kinds.len() == 3 && kinds.iter().all(|line| line.starts_with("ok ")), "{said}");
    assert!(said.contains("\n0 failed, "), "{said}");
    hub.stop().map(drop)
}

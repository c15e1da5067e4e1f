//! One S3 location that sources of two members know under different Secret names and in different spellings.

use crate::harness::audit::Mark;
use crate::harness::fleet::HUB_USER;
use crate::harness::objects::{PASSWORD, S3, SECRET_KEY, namespace, source};
use crate::harness::wait::{PATIENCE, Seen, wait_for};
use crate::harness::{self, Fail};

use super::stage::{SECRETS, Stage, far_schedule, items, name_of, policy, text};

#[test]
fn one_location_under_different_secret_names_in_two_members_gets_one_cron_job() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let (one, other) = (stage.fleet.member("member-a")?, stage.fleet.member("member-b")?);
        let place = S3 { prefix: "team/".into(), ..S3::bucket("shared-ledger") };
        place.create(&stage.fleet).await?;
        stage.apply(&policy("shared-location", "payments", &[&format!("schedule: {}", far_schedule())])).await?;
        let manifest = [
            namespace("payments", &[]),
            place.secret("payments", "kopia-eu"),
            source("payments", "orders", "kopia-eu"),
        ];
        one.shell.apply(&manifest.concat()).await?;
        let spelled_otherwise = format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: backup-config, namespace: payments}}\nstringData:\n  \
             KOPIA_REPOSITORY: s3://shared-ledger/team\n  KOPIA_PASSWORD: {PASSWORD}\n  \
             AWS_S3_ENDPOINT: https://S3.Example.com:443\n  AWS_ACCESS_KEY_ID: access-key-id\n  \
             AWS_SECRET_ACCESS_KEY: {SECRET_KEY}\n"
        );
        let manifest = [namespace("payments", &[]), spelled_otherwise, source("payments", "invoices", "backup-config")];
        other.shell.apply(&manifest.concat()).await?;

        let done = stage
            .maintained_as("shared-ledger", "known in both members", |it| it.ledger["status"]["clusterCount"] == 2)
            .await?;
        assert_eq!(done.ledger["status"]["sourceCount"], 2, "{}", done.ledger);
        let ledger = stage.ledger().await?;
        let of_bucket = ledger.iter().filter(|it| text(it, "/status/location").contains("shared-ledger"));
        assert_eq!(of_bucket.count(), 1, "one location, one KopiaRepository");
        stage.run(&done, "shared-once").await?;
        assert_eq!(stage.runs("shared-ledger", 1).await?[0]["outcome"], "Succeeded");

        let idle = if done.member == one.name { other } else { one };
        let secrets = items(idle, SECRETS).await?;
        assert!(!secrets.iter().any(|it| name_of(it).starts_with(&done.name)), "a copy where nothing runs");
        let touched = idle.audit().writes_by(HUB_USER, Mark::START)?;
        assert!(!touched.iter().any(|it| it.name.starts_with(&done.name)), "{touched:?}");

        let listed = wait_for("the policy to list both sources", PATIENCE * 2, async || {
            let found = "kopiamaintenance shared-location";
            let path = "{.status.matchedSources[*].repository} {.status.repositoryCount} {.status.activeCronJobCount}";
            let listed = stage.fleet.hub.shell.value(found, path).await?;
            Ok(Seen::when(listed == "kopia-eu backup-config 1 1", listed))
        });
        listed.await
    })
}

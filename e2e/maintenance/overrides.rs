//! A default for everything, an override for production, and a namespace that becomes production.

use std::time::Duration;

use serde_json::json;

use crate::harness::objects::{S3, namespace, source};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

use super::stage::{Maintained, Stage};

const DEFAULT: (&str, &str, &str) = ("global-default", "0 2 * * *", "1Gi");
const OVERRIDE: (&str, &str, &str) = ("production-frequent", "0 */6 * * *", "2Gi");

const COUNTED: Duration = Duration::from_mins(2);

fn is_ruled_by(found: &Maintained, (policy, schedule, memory): (&str, &str, &str)) -> bool {
    found.policy() == policy
        && found.schedule() == schedule
        && found.pod()["containers"][0]["resources"]["limits"]["memory"] == memory
}

#[test]
fn a_relabelled_namespace_moves_its_repository_to_another_policy() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::start("overrides", &["member-a"]).await?;
        let (hub, member) = (&stage.fleet.hub.shell, stage.fleet.member("member-a")?);
        let mut manifest = namespace("web", &[("environment", "production")]) + &namespace("lab", &[]);
        for name in ["web", "lab"] {
            let place = S3::bucket(&format!("overrides-{name}"));
            place.create(&stage.fleet).await?;
            manifest += &(place.secret(name, "backup") + &source(name, "data", "backup"));
        }
        member.shell.apply(&manifest).await?;
        let example = "apply -f e2e/manifests/good/reference-4-global-default-with-overrides.yaml";
        hub.kubectl(example).await?.ok()?;

        let web = stage.maintained_as("overrides-web", "overridden", |it| is_ruled_by(it, OVERRIDE)).await?;
        let lab = stage.maintained_as("overrides-lab", "by default", |it| is_ruled_by(it, DEFAULT)).await?;
        assert_eq!(web.ledger["status"]["shadowedPolicies"], json!(["global-default"]));
        assert_eq!(lab.ledger["status"].get("shadowedPolicies"), None);
        wait_for("the default to say what it lost", COUNTED, async || {
            let path = "{.status.conflictingMaintenances} {.status.matchedSourceCount} {.status.activeCronJobCount}";
            let said = hub.value("kopiamaintenance global-default", path).await?;
            Ok(Seen::when(said == r#"["production-frequent"] 2 1"#, said))
        })
        .await?;

        member.shell.kubectl("label namespace lab environment=production").await?.ok()?;
        let moved = stage.maintained_as("overrides-lab", "overridden", |it| is_ruled_by(it, OVERRIDE)).await?;
        assert_eq!(moved.cron_job["metadata"]["uid"], lab.cron_job["metadata"]["uid"], "changed in place");
        assert_eq!(moved.ledger["status"]["grant"], lab.ledger["status"]["grant"], "nothing is claimed again");
        member.shell.kubectl("label namespace web environment-").await?.ok()?;
        stage.maintained_as("overrides-web", "by default", |it| is_ruled_by(it, DEFAULT)).await?;

        hub.kubectl("delete kopiamaintenance production-frequent").await?.ok()?;
        stage.maintained_as("overrides-lab", "by default again", |it| is_ruled_by(it, DEFAULT)).await?;
        Ok(())
    })
}

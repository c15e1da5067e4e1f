//! Policies that name a repository Secret themselves, on the hub or in a member, with a CA of its own.

use serde_json::{Value, json};

use crate::harness::control_plane::base64;
use crate::harness::objects::{S3, namespace};
use crate::harness::wait::{PATIENCE, Seen, wait_for};
use crate::harness::{self, Fail};

use super::stage::{Maintained, Stage, far_schedule, get, text};

/// A bundle that another authority would not have, and that no parser looks into on its way.
fn bundle(whose: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64(whose))
}

fn direct(name: &str, secret: &str, custom_ca: &Value, more: &Value) -> String {
    let mut policy = json!({
        "apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance", "metadata": {"name": name},
        "spec": {
            "repository": {"name": secret, "namespace": name, "customCA": custom_ca},
            "schedule": far_schedule(),
        },
    });
    if let (Some(spec), Some(more)) = (policy["spec"].as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    policy.to_string()
}

/// The member's copies: of the repository Secret, and of the CA.
async fn copies(stage: &Stage, of: &Maintained) -> Result<(Value, Value), Fail> {
    let member = stage.fleet.member(&of.member)?;
    let path = |name: &str| format!("/api/v1/namespaces/volsync-system/secrets/{name}");
    Ok((get(member, &path(&of.name)).await?, get(member, &path(&format!("{}-ca", of.name))).await?))
}

#[test]
fn a_secret_on_the_hub_with_a_ca_in_a_config_map() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let place = S3::bucket("direct-of-hub");
        place.create(&stage.fleet).await?;
        let config_map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authorities", "namespace": "on-the-hub"},
            "data": {"private.crt": bundle("hub"), "unrelated": "stays where it is"},
        });
        let there = namespace("on-the-hub", &[]) + &place.secret("on-the-hub", "central");
        stage.apply(&format!("{there}---\n{config_map}\n")).await?;
        // Nobody has a source of it, and two members could do it: the policy has to say which.
        let custom_ca = json!({"configMapName": "authorities", "key": "private.crt"});
        stage.apply(&direct("on-the-hub", "central", &custom_ca, &json!({}))).await?;
        let undecided = wait_for("the repository to have no candidate", PATIENCE, async || {
            let ledger = stage.repository("direct-of-hub").await?.unwrap_or_default();
            let said = ledger["status"].to_string();
            Ok(if text(&ledger, "/status/state") == "NoCandidate" { Seen::Done(said) } else { Seen::NotYet(said) })
        })
        .await?;
        assert!(undecided.contains("clusterSelector"), "{undecided}");
        let chosen = json!({"clusterSelector": {"matchNames": ["member-b"]}});
        stage.apply(&direct("on-the-hub", "central", &custom_ca, &chosen)).await?;

        let done = stage.maintained("direct-of-hub").await?;
        assert_eq!(done.member, "member-b");
        let (secret, ca) = copies(stage, &done).await?;
        assert_eq!(ca["data"], json!({"ca.crt": base64(&bundle("hub"))}));
        assert!(secret["data"].get("KOPIA_PASSWORD").is_some());
        stage.run(&done, "direct-of-hub").await?;
        assert_eq!(stage.runs("direct-of-hub", 1).await?[0]["outcome"], "Succeeded");

        let renewed = json!({"data": {"private.crt": bundle("renewed")}}).to_string();
        let renew = "kubectl patch configmap authorities -n on-the-hub -p \"$RENEWED\"";
        stage.fleet.hub.shell.bash(renew, &[("RENEWED", &renewed)]).await?.ok()?;
        wait_for("the renewed CA to be copied", PATIENCE, async || {
            let (_, ca) = copies(stage, &done).await?;
            Ok(Seen::when(ca["data"]["ca.crt"] == base64(&bundle("renewed")), ca["data"].to_string()))
        })
        .await?;
        stage.fleet.hub.shell.kubectl("delete kopiamaintenance on-the-hub").await?.ok()?;
        stage.gone(&done.name).await
    })
}

#[test]
fn a_secret_in_a_member_with_a_ca_in_a_secret() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let member = stage.fleet.member("member-a")?;
        let place = S3::bucket("direct-of-member");
        place.create(&stage.fleet).await?;
        let ca = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "authority", "namespace": "vault"},
            "stringData": {"ca.crt": bundle("member"), "ca.key": "must never leave this namespace"},
        });
        let there = namespace("vault", &[]) + &place.secret("vault", "central");
        member.shell.apply(&format!("{there}---\n{ca}\n")).await?;
        stage.apply(&direct("vault", "central", &json!({"secretName": "authority"}), &json!({}))).await?;

        let done = stage.maintained("direct-of-member").await?;
        assert_eq!(done.member, "member-a", "where the Secret was found");
        let (_, copy) = copies(stage, &done).await?;
        assert_eq!(copy["data"], json!({"ca.crt": base64(&bundle("member"))}));
        let mounts = done.pod()["containers"][0]["volumeMounts"].to_string();
        assert!(mounts.contains("/customCA"), "{mounts}");
        stage.run(&done, "direct-of-member").await?;
        assert_eq!(stage.runs("direct-of-member", 1).await?[0]["outcome"], "Succeeded");
        let logs = member.shell.kubectl("logs -n volsync-system job/direct-of-member").await?.ok()?;
        assert!(!logs.contains("must never"), "{logs}");

        stage.fleet.hub.shell.kubectl("delete kopiamaintenance vault").await?.ok()?;
        stage.gone(&done.name).await?;
        get(member, "/api/v1/namespaces/vault/secrets/central").await.map(drop)
    })
}

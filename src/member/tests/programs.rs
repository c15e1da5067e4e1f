//! Credential programs of kubeconfig files, run for real.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::config::ExecConfig;
use serde_json::{Value, json};

use super::settings;
use super::world::{World, cluster};
use crate::member::event::ConditionKind;
use crate::member::exec::{Program, Renewal};
use crate::member::{Member, MemberSettings};
use crate::sim::{Access, SimCluster};

fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    // Renamed into place: a file that is open for writing can't be run.
    let partial = folder.join(format!("{name}.partial"));
    std::fs::write(&partial, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&partial, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(partial, &path).unwrap();
    path
}

fn exec(command: &str) -> ExecConfig {
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never",
        "env": [{"name": "WHO", "value": "hub"}], "args": ["get-token"], "installHint": "ask your cloud"});
    serde_json::from_value(exec).unwrap()
}

fn kubeconfig(cluster: &SimCluster, command: &Path) -> String {
    let mut config: Value = serde_json::from_str(&cluster.kubeconfig_yaml()).unwrap();
    config["users"][0]["user"] = json!({"exec": exec(&command.display().to_string())});
    config.to_string()
}

fn world() -> World {
    World::start_with(MemberSettings { allow_exec: true, ..settings() }, |_| Vec::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gives_the_token_and_is_asked_again_when_it_is_refused() {
    let eu = cluster("eu", &["a"]).await;
    let first = eu.add_user("first", Access::Everything);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, &first).unwrap();
    let print = format!(
        r#"test "$WHO $1" = "hub get-token" || exit 3
case "$KUBERNETES_EXEC_INFO" in *ExecCredential*) ;; *) exit 4 ;; esac
echo "{{\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"$(cat {})\"}}}}""#,
        token.display()
    );
    let command = script(folder.path(), "print", &print);
    let mut world = world();
    world.write("eu", &kubeconfig(&eu, &command));
    world.wait("sync", |seen| seen.is_synced("eu") && seen.sources.len() == 1).await;
    let incarnation = world.supervisor.member(&"eu".into()).unwrap().incarnation();
    std::fs::write(&token, eu.add_user("second", Access::Everything)).unwrap();
    eu.revoke(&first);
    eu.faults().drop_connections();
    world.wait("the refusal", |seen| !seen.is_synced("eu")).await;
    world.wait("sync with the new token", |seen| seen.is_synced("eu")).await;
    assert_eq!(world.supervisor.member(&"eu".into()).unwrap().incarnation(), incarnation, "the same client");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_hangs_holds_up_neither_the_start_nor_other_members() {
    let (eu, us) = (cluster("eu", &["a"]).await, cluster("us", &["b"]).await);
    let folder = tempfile::tempdir().unwrap();
    let command = script(folder.path(), "hang", "exec sleep 600");
    let mut world = world();
    // More than there are threads.
    for number in 0..20 {
        world.write(&format!("hangs-{number}"), &kubeconfig(&eu, &command));
    }
    world.wait("them", |seen| seen.registered.len() == 20).await;
    let began = Instant::now();
    world.write("us", &us.kubeconfig_yaml());
    world.wait("the other", |seen| seen.is_synced("us") && seen.sources.len() == 1).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    world
        .wait("the condition", |seen| {
            let reachable = seen.condition("hangs-0", ConditionKind::Reachable);
            reachable
                .is_some_and(|it| it.reason == "InvalidKubeconfig" && it.message.contains("did not end within 20 s"))
        })
        .await;
}

#[tokio::test]
async fn a_certificate_that_ends_calls_for_a_new_client() {
    let folder = tempfile::tempdir().unwrap();
    let ends = Timestamp::now().checked_add(Duration::from_secs(62)).unwrap();
    let print = format!(
        r#"echo '{{"status":{{"clientCertificateData":"CERTIFICATE","clientKeyData":"KEY","expirationTimestamp":"{ends}"}}}}'"#
    );
    let command = script(folder.path(), "certificate", &print);
    let program = Program::new(exec("./certificate"), folder.path()).unwrap();
    assert!(command.exists());
    let credential = program.run().await.unwrap();
    assert_eq!(credential.certificate.as_ref().unwrap().0, "CERTIFICATE");
    assert!(credential.authorization().unwrap().is_none());
    let eu = cluster("eu", &[]).await;
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(eu.kubeconfig().unwrap(), &options).await.unwrap();
    let member = Member::connect("eu".into(), config).await.unwrap();
    let renewal = Renewal { program, authorization: None, expires: credential.expires };
    let kept = tokio::time::timeout(Duration::from_secs(20), renewal.keep(member)).await;
    assert!(kept.is_ok(), "it goes on with a certificate that ends within a minute");
}

#[tokio::test]
async fn what_goes_wrong_is_said_without_what_was_printed() {
    let folder = tempfile::tempdir().unwrap();
    let error = |name: &'static str, text: &'static str| {
        script(folder.path(), name, text);
        let program = Program::new(exec(&format!("./{name}")), folder.path()).unwrap();
        async move { program.run().await.err().unwrap().to_string() }
    };
    assert!(error("fails", "echo s3cr3t; exit 7").await.contains("failed (exit status: 7)"));
    for (name, text) in [
        ("prose", "echo s3cr3t"),
        ("empty", "echo '{\"status\":{\"token\":\"\"}}'"),
        ("half", "echo '{\"status\":{\"clientCertificateData\":\"s3cr3t\"}}'"),
        ("none", "echo '{}'"),
    ] {
        let said = error(name, text).await;
        assert!(said.contains(" printed ") && !said.contains("s3cr3t"), "{said}");
    }
    let missing = Program::new(exec("./nowhere"), folder.path()).unwrap().run().await.err().unwrap().to_string();
    assert!(missing.contains("can't be started") && missing.contains("ask your cloud"), "{missing}");
    let old = ExecConfig { api_version: Some("client.authentication.k8s.io/v1alpha1".to_owned()), ..exec("x") };
    assert!(Program::new(old, folder.path()).err().unwrap().contains("apiVersion"));
}

//! What kubeconfigs say, and what they must not say.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::member::tests::settings;

fn kubeconfig(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: now\ncontexts:\n- name: other\n  context: {{cluster: gone, user: gone}}\n\
         - name: now\n  context: {{cluster: c, user: u}}\nclusters:\n- name: c\n  cluster: {{{cluster}}}\nusers:\n\
         - name: u\n  user: {{{user}}}\n"
    )
}

fn secret() -> Origin {
    Origin::Secret(Arc::from("eu"))
}

fn file() -> Origin {
    Origin::File(PathBuf::from("/nowhere/eu.yaml"))
}

const SERVER: &str = "server: 'https://api.example.com:6443/k8s/clusters/c-1'";

async fn message(cluster: &str, user: &str, origin: Origin) -> String {
    read(kubeconfig(cluster, user).as_bytes(), &origin, &settings()).await.unwrap_err().message
}

#[tokio::test]
async fn the_current_context_counts_with_path_name_and_proxy() {
    let cluster = format!("{SERVER}, tls-server-name: kube, proxy-url: 'socks5://proxy:1080'");
    let text = kubeconfig(&cluster, "token: abc");
    let credentials = read(text.as_bytes(), &secret(), &settings()).await.unwrap();
    assert_eq!(credentials.server(), "https://api.example.com:6443/k8s/clusters/c-1");
    assert_eq!(credentials.config.tls_server_name.as_deref(), Some("kube"));
    assert_eq!(credentials.config.proxy_url, Some("socks5://proxy:1080".parse().unwrap()));
}

#[tokio::test]
async fn a_secret_may_name_neither_programs_nor_files() {
    let users = [
        ("exec", "exec: {apiVersion: client.authentication.k8s.io/v1, command: sh}"),
        ("auth-provider", "auth-provider: {name: oidc}"),
        ("tokenFile", "tokenFile: /var/run/secrets/token"),
        ("client-certificate", "client-certificate: /a, client-certificate-data: YQ=="),
        ("client-key", "client-key: /a"),
    ];
    for (field, user) in users {
        let message = message(SERVER, user, secret()).await;
        assert!(message.starts_with(&format!("{field} is refused")), "{message}");
    }
    let cluster = format!("{SERVER}, certificate-authority: /a");
    assert!(message(&cluster, "token: a", secret()).await.starts_with("certificate-authority is refused"));
    let cluster = format!("{SERVER}, insecure-skip-tls-verify: true");
    assert!(message(&cluster, "token: a", secret()).await.starts_with("insecure-skip-tls-verify is refused"));
}

#[tokio::test]
async fn a_secret_may_not_lead_to_the_hub_or_its_cloud() {
    for server in
        ["https://169.254.169.254", "https://127.0.0.1:6443", "https://[::1]", "https://LOCALHOST", "http://a.b"]
    {
        let text = kubeconfig(&format!("server: '{server}'"), "token: a");
        let error = read(text.as_bytes(), &secret(), &settings()).await.unwrap_err();
        assert_eq!(error.reason, "RefusedKubeconfig", "{server}");
    }
    let cluster = format!("{SERVER}, proxy-url: 'http://169.254.169.254:80'");
    assert!(message(&cluster, "token: a", secret()).await.starts_with("proxy-url 169.254.169.254 is refused"));
}

#[tokio::test]
async fn names_are_quoted_in_part_where_they_are_long() {
    let long = "n".repeat(3000);
    let names = ["current-context: now", "cluster: c,", "user: u}"];
    for name in names {
        let (field, value) = name.split_once(": ").unwrap();
        let end = value.trim_start_matches(char::is_alphanumeric);
        let text = kubeconfig(SERVER, "token: abc").replace(name, &format!("{field}: {long}{end}"));
        let message = read(text.as_bytes(), &secret(), &settings()).await.unwrap_err().message;
        assert!(message.contains("is not among the") && message.len() < 200, "{message}");
    }
}

#[tokio::test]
async fn exec_in_a_file_needs_the_operators_word() {
    let text = kubeconfig(SERVER, "exec: {apiVersion: client.authentication.k8s.io/v1, command: sh}");
    let refused = read(text.as_bytes(), &file(), &settings()).await.unwrap_err();
    assert!(refused.message.contains("--allow-exec"));
    let settings = MemberSettings { allow_exec: true, ..settings() };
    assert!(read(text.as_bytes(), &file(), &settings).await.unwrap().program.is_some());
}

#[tokio::test]
async fn the_same_program_is_no_new_registration_however_often_it_is_read() {
    let variables = "[{name: A, value: a}, {name: B, value: b}, {name: C, value: c}, {name: D, value: d}]";
    let exec = format!("exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, env: {variables}}}");
    let text = kubeconfig(SERVER, &exec);
    let settings = MemberSettings { allow_exec: true, ..settings() };
    let first = read(text.as_bytes(), &file(), &settings).await.unwrap().fingerprint;
    for _ in 0..20 {
        assert_eq!(read(text.as_bytes(), &file(), &settings).await.unwrap().fingerprint, first);
    }
}

#[tokio::test]
async fn files_that_a_file_names_are_read_relative_to_it_and_count_as_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::File(folder.path().join("eu.yaml"));
    let text = kubeconfig(SERVER, "tokenFile: token");
    std::fs::write(folder.path().join("token"), "one\n").unwrap();
    let first = read(text.as_bytes(), &origin, &settings()).await.unwrap();
    assert_eq!(first.config.auth_info.token.as_ref().unwrap().expose_secret(), "one");
    std::fs::write(folder.path().join("token"), "two\n").unwrap();
    let second = read(text.as_bytes(), &origin, &settings()).await.unwrap();
    assert_ne!(first.fingerprint, second.fingerprint);
    std::fs::remove_file(folder.path().join("token")).unwrap();
    assert!(read(text.as_bytes(), &origin, &settings()).await.unwrap_err().message.starts_with("tokenFile"));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let text = "apiVersion: v1\nkind: Config\nclusters: []\n";
    assert!(read(text.as_bytes(), &file(), &settings()).await.unwrap_err().message.starts_with("current-context"));
    assert!(message("insecure-skip-tls-verify: true", "token: a", file()).await.contains("no server address"));
    assert!(message("server: example", "token: a", file()).await.contains("has to be a URL"));
    assert!(message(SERVER, "client-certificate-data: YQ==", file()).await.contains("client-key-data"));
    let cluster = format!("{SERVER}, certificate-authority-data: '%%'");
    assert_eq!(message(&cluster, "token: a", file()).await, "certificate-authority-data is not base64");
}

#[tokio::test]
async fn no_error_and_no_debug_text_quotes_a_credential() {
    let broken = "users:\n- name: u\n  user: {token: s3cr3t-token\n  oops";
    let error = read(broken.as_bytes(), &secret(), &settings()).await.unwrap_err();
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
    let text = kubeconfig(SERVER, "token: s3cr3t-token, client-key-data: s3cr3t");
    let error = read(text.as_bytes(), &secret(), &settings()).await.unwrap_err();
    assert!(!format!("{error:?}").contains("s3cr3t"));
    let credentials = read(kubeconfig(SERVER, "token: s3cr3t").as_bytes(), &secret(), &settings()).await.unwrap();
    assert!(!format!("{credentials:?}").contains("s3cr3t"));
}

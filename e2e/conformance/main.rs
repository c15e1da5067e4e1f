//! Runs the conformance suite against the simulated API server; with `CONFORMANCE_KUBECONFIG=FILE` against the cluster
//! that the file's current context names (it needs an administrator, and leaves two definitions and some namespaces).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "breakages.rs"]
mod breakages;
#[path = "broken.rs"]
mod broken;
#[path = "suite.rs"]
mod suite;

use kube::config::{KubeConfigOptions, Kubeconfig};
use suite::{PATIENCE, Target};
use volsync_hub::sim::{Access, SimCluster};

async fn client(kubeconfig: Kubeconfig) -> kube::Client {
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    // The cases want to see the first answer, also where it says to come again.
    config.default_retry = false;
    kube::Client::try_from(config).unwrap()
}

fn with_token(mut kubeconfig: Kubeconfig, token: &str) -> Kubeconfig {
    for user in &mut kubeconfig.auth_infos {
        let user = user.auth_info.get_or_insert_default();
        *user = kube::config::AuthInfo { token: Some(token.to_owned().into()), ..Default::default() };
    }
    kubeconfig
}

/// A simulated cluster with an administrator, a user without rights, and somebody whom it does not know.
async fn simulated(name: &str) -> (SimCluster, [Kubeconfig; 3]) {
    let cluster = SimCluster::start(name).await.unwrap();
    let limited = cluster.add_user("limited", Access::Rules(Vec::new()));
    let admin = cluster.kubeconfig().unwrap();
    let [limited, stranger] = [limited.as_str(), "unknown"].map(|token| with_token(admin.clone(), token));
    (cluster, [admin, limited, stranger])
}

#[tokio::test]
async fn the_simulated_api_server_behaves_as_the_suite_says() {
    if std::env::var_os("CONFORMANCE_KUBECONFIG").is_some() {
        return;
    }
    let (_cluster, [admin, limited, stranger]) = simulated("conformance").await;
    let target = Target {
        name: "the simulated API server",
        setup: client(admin.clone()).await,
        admin: client(admin).await,
        limited: Some(client(limited).await),
        stranger: client(stranger).await,
        patience: PATIENCE,
    };
    suite::run(&target).await;
}

#[tokio::test]
async fn the_given_api_server_behaves_as_the_suite_says() {
    let Some(path) = std::env::var_os("CONFORMANCE_KUBECONFIG") else { return };
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let limited = match std::env::var_os("CONFORMANCE_LIMITED_TOKEN").and_then(|token| token.into_string().ok()) {
        Some(token) => Some(client(with_token(kubeconfig.clone(), &token)).await),
        None => None,
    };
    let target = Target {
        name: "the given API server",
        setup: client(kubeconfig.clone()).await,
        admin: client(kubeconfig.clone()).await,
        limited,
        stranger: client(with_token(kubeconfig, "unknown")).await,
        patience: PATIENCE,
    };
    suite::run(&target).await;
}

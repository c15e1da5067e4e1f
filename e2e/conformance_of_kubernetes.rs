//! The conformance suite of the simulated API server, held against a real one: what the simulation is built by is
//! what Kubernetes does.

#[path = "conformance/suite.rs"]
mod suite;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::harness::cluster::Cluster;
use crate::harness::fleet::Fleet;
use crate::harness::{self, Fail};

/// A client that hands on the first answer, also where it says to come again.
async fn client(
    cluster: &Cluster,
    name: &str,
    write: impl FnOnce(&std::path::Path) -> Result<(), Fail>,
) -> Result<Client, Fail> {
    let path = cluster.dir.join(format!("conformance-{name}.kubeconfig"));
    write(&path)?;
    let kubeconfig = Kubeconfig::read_from(&path)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

#[test]
fn kubernetes_behaves_as_the_suite_says() -> Result<(), Fail> {
    harness::run(async {
        let mut fleet = Fleet::start("conformance", &[]).await?;
        // Controllers would put objects of their own into the namespaces of the cases.
        fleet.hub.control_plane.controller_manager.kill();
        let cluster = &fleet.hub;
        let user = |name: &'static str, group: &'static str| {
            client(cluster, name, move |path| cluster.write_certificate_kubeconfig(path, name, group))
        };
        let target = suite::Target {
            name: "kube-apiserver",
            setup: user("conformance-setup", "system:masters").await?,
            admin: user("conformance-admin", "system:masters").await?,
            limited: Some(user("limited", "nobodies").await?),
            stranger: client(cluster, "stranger", |path| cluster.write_token_kubeconfig(path, "unknown")).await?,
            patience: suite::PATIENCE,
        };
        suite::run(&target).await;
        Ok(())
    })
}

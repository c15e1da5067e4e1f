//! Commands as people type them, against a simulated hub over HTTP.

use std::process::{Command, Stdio};

use tempfile::TempDir;
use volsync_hub::sim::SimCluster;

pub const ONE: &str = "kr-0000000000000001";
pub const TWO: &str = "kr-0000000000000002";

/// What a command said, and with which exit code it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A hub with its kinds and nothing else, and the folder with kubeconfigs: `hub`, and those of `members`.
pub async fn hub() -> (SimCluster, TempDir) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let hub = SimCluster::start("hub").await.unwrap();
    for definition in [
        include_str!("../../deploy/crds/kopiamaintenances.yaml"),
        include_str!("../../deploy/crds/kopiarepositories.yaml"),
        include_str!("../../deploy/crds/memberclusters.yaml"),
    ] {
        hub.actor("test").apply(&serde_saphyr::from_str(definition).unwrap()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("members")).unwrap();
    std::fs::write(folder.path().join("hub"), hub.kubeconfig_yaml()).unwrap();
    (hub, folder)
}

/// With a kubeconfig of the folder, and standard input that is no terminal.
pub async fn say(folder: &TempDir, kubeconfig: &str, line: &str) -> Said {
    let mut program = Command::new(env!("CARGO_BIN_EXE_volsync-hub"));
    program.args(line.split(' ')).stdin(Stdio::null());
    program.env("VOLSYNC_HUB_KUBECONFIG", folder.path().join(kubeconfig));
    program.env("VOLSYNC_HUB_KUBECONFIG_DIR", folder.path().join("members"));
    let output = tokio::task::spawn_blocking(move || program.output()).await.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

//! A hub and two members on real control planes, with the hub running, for trying things by hand:
//! `cargo run --features e2e --example playground`.

mod harness;

use std::path::Path;
use std::process::ExitCode;

use harness::Fail;
use harness::fleet::Fleet;
use harness::hub::{Hub, Options};
use harness::tools::say;

fn main() -> ExitCode {
    match harness::run(play()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn play() -> Result<(), Fail> {
    build_hub().await?;
    let fleet = Fleet::start("playground", &["member-a", "member-b"]).await?;
    let mut hub = Hub::start(&fleet, &Options::default())?;
    if let Err(error) = hub.ready().await {
        say(&format!("the hub is not ready, the clusters are there all the same: {error}"));
    }
    for cluster in fleet.clusters() {
        println!("export KUBECONFIG={}", path(&cluster.control_plane.admin));
    }
    say(&format!("the hub's log: {}", hub.log().display()));
    say("apply a KopiaMaintenance on the hub and ReplicationSources with their Secrets in the members; Ctrl-C ends it");
    tokio::signal::ctrl_c().await?;
    hub.stop()?;
    Ok(())
}

/// Cargo does not build the binary for an example.
async fn build_hub() -> Result<(), Fail> {
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    let mut build = tokio::process::Command::new(cargo);
    // With the example, so that both are built from the same dependencies.
    build.args(["build", "--quiet", "--features", "e2e", "--bin", "volsync-hub", "--example", "playground"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().await?;
    if status.success() { Ok(()) } else { Err("the hub does not build".into()) }
}

/// A path that can be pasted into a shell.
fn path(path: &Path) -> String {
    format!("'{}'", path.display())
}

//! The ordinary part of the chaos campaign. A debug build plays two schedules a second, so the simulation is built as it is
//! for the long run.

#![cfg(feature = "sim")]
#![allow(clippy::expect_used)]

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn thousands_of_fault_schedules_pass() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let campaign = "run --release --features sim --example chaos -- --schedules 10000 --threads 2";
    // Cargo and the campaign tell on stderr how far they are.
    let played = Command::new(cargo)
        .args(campaign.split(' '))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stderr(Stdio::inherit())
        .output()
        .expect("the cargo that runs this test");
    let told = String::from_utf8_lossy(&played.stdout);
    println!("{told}");
    assert!(played.status.success(), "cargo {campaign}: {}\n{told}", played.status);
    assert!(told.contains("\n10000 schedules in "), "all were played\n{told}");
}

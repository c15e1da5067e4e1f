//! The demo as a newcomer starts it: the program, half a minute, nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

#[test]
fn the_demo_ends_by_itself_and_says_that_all_that_should_be_is_maintained() {
    let output = Command::new(env!("CARGO_BIN_EXE_volsync-hub")).args(["demo", "--for", "40s"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    for line in [
        "12 maintained on schedule, each by exactly one cluster",
        "opted out by a policy: s3://scratch-space/ at aws",
        "held, nothing starts: s3://games-saves/ at aws: the winning policy games-typo is invalid",
        "never two were in one repository at once",
        "accra out of reach, which changes nothing for the others",
        "Everything that should be maintained is.",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
    assert!(errors.is_empty(), "{errors}");
    assert!(!text.contains('\u{1b}'), "no escape sequences where the output is no terminal");
    let folder = text.lines().find_map(|line| line.trim().strip_prefix("export KUBECONFIG=")).unwrap();
    assert!(!std::path::Path::new(folder).exists(), "kubeconfigs go with the demo");
}

#[test]
fn a_demo_that_ends_before_all_is_maintained_says_so_and_fails() {
    let output = Command::new(env!("CARGO_BIN_EXE_volsync-hub")).args(["demo", "--for", "1s"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("Not as it should be (yet):"), "{text}");
    assert!(!text.contains("Everything that should be maintained is."), "{text}");
}

//! The stand-in itself, held against what was seen on a real kopia; and the checks for a real one, run on the stand-in.

use std::process::{Command, Output};

use crate::bench::{Bench, root};

const A: &str = "m@hub-e1.cluster-a";
const B: &str = "m@hub-e2.cluster-b";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

fn owner(bench: &Bench, client: &str) -> String {
    let info = bench.kopia(client, &["maintenance", "info", "--json"]);
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    info["owner"].as_str().unwrap().to_owned()
}

fn shared() -> Bench {
    let bench = Bench::without_repository(&crate::bench::S3);
    bench.create(A);
    for client in [A, B] {
        bench.connect_as(client, "connect", &["--max-list-cache-duration=0s"]);
    }
    bench
}

#[test]
fn the_recorded_owner_is_a_fence() {
    let bench = shared();
    assert!(bench.kopia(A, &["maintenance", "run", "--full"]).status.success());
    let refused = bench.kopia(B, &["maintenance", "run", "--full"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains(&format!("maintenance must be run by designated user: {A}")));
    assert!(
        text(&bench.kopia(B, &["maintenance", "set", "--owner=me"]))
            .contains(&format!("Setting maintenance owner to {B}"))
    );
    assert!(bench.kopia(B, &["maintenance", "run"]).status.success());
    assert!(text(&bench.kopia(A, &["maintenance", "run"])).contains(&format!("designated user: {B}")));
}

#[test]
fn the_latest_writer_time_wins_whatever_the_clock() {
    let mut bench = shared();
    bench.set("KOPIA_STANDIN_CLOCK_OFFSET", "3600");
    assert!(bench.kopia(A, &["maintenance", "set", "--owner=me"]).status.success());
    bench.set("KOPIA_STANDIN_CLOCK_OFFSET", "0");
    assert!(bench.kopia(B, &["maintenance", "set", "--owner=me"]).status.success());
    assert_eq!(owner(&bench, B), A);
}

#[test]
fn a_list_cache_shows_an_owner_that_is_no_more() {
    let bench = shared();
    bench.connect_as(A, "connect", &[]);
    assert_eq!(owner(&bench, A), A);
    assert!(bench.kopia(B, &["maintenance", "set", "--owner=me"]).status.success());
    assert_eq!((owner(&bench, A), owner(&bench, B)), (A.to_owned(), B.to_owned()));
}

#[test]
fn what_is_not_in_the_table_is_refused() {
    let mut bench = shared();
    for arguments in [
        &["snapshot", "list"][..],
        &["maintenance", "run", "--force"],
        &["maintenance", "info", "--json", "--max-list-cache-duration=0s"],
        &["maintenance", "info"],
        &["repository", "connect", "s3", "--bucket=b", "--access-key=x"],
        &["repository", "connect", "rclone", "--remote-path=r:", "--rclone-exe=/x"],
        &["repository", "connect", "tape"],
    ] {
        assert_eq!(bench.kopia(A, arguments).status.code(), Some(64), "{arguments:?}");
    }
    bench.set("KOPIA_STRUCTURED_REPOSITORY_CONFIG", "{}");
    assert_eq!(bench.kopia(A, &["--version"]).status.code(), Some(64));
}

#[test]
fn the_checks_for_a_real_kopia_hold_on_the_stand_in() {
    let bench = shared();
    let path = format!("{}:{}", bench.path("bin").display(), std::env::var_os("PATH").unwrap().display());
    let checks = Command::new("bash")
        .arg(root().join("e2e/mover/check.sh"))
        .arg(root().join("e2e/mover/kopia-standin"))
        .env_clear()
        .env("PATH", path)
        .env("TMPDIR", bench.path("tmp"))
        .output()
        .unwrap();
    assert_eq!(checks.status.code(), Some(0), "{}", text(&checks));
    assert!(text(&checks).contains("all of them hold") && !text(&checks).contains("LEFT OUT"), "{}", text(&checks));
}

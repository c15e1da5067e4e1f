//! How things go wrong: refused, unreachable, out of memory, out of time, killed.

use std::fs;
use std::time::{Duration, Instant};

use volsync_hub::outcome::Outcome;

use crate::bench::{Bench, ME, family, lives, signal, until};

fn claimed() -> Bench {
    let bench = Bench::new();
    bench.claim_as(ME);
    bench
}

#[test]
fn a_wrong_password_is_refused_credentials() {
    let mut bench = Bench::new();
    bench.set("KOPIA_PASSWORD", "battery staple");
    for verb in ["claim", "run"] {
        let report = bench.run(verb).expect(Outcome::AuthFailed);
        assert!(report.reason.contains("invalid repository password"), "{}", report.reason);
        assert!(report.outcome.counts_against_candidate());
    }
}

#[test]
fn what_the_object_store_answers_decides_the_outcome() {
    for (fault, outcome) in [
        ("auth", Outcome::AuthFailed),
        ("connect", Outcome::ConnectFailed),
        ("store-clock", Outcome::ClockSkew),
        ("missing", Outcome::ConnectFailed),
    ] {
        let mut bench = Bench::new();
        bench.set("KOPIA_STANDIN_FAULT", fault);
        bench.run("claim").expect(outcome);
        bench.run("run").expect(outcome);
    }
}

#[test]
fn where_there_is_no_repository_none_is_created() {
    let bench = Bench::without_repository(&crate::bench::S3);
    let report = bench.run("claim").expect(Outcome::ConnectFailed);
    assert!(report.reason.contains("there is no repository at this place"), "{}", report.reason);
    assert_eq!(bench.calls("repository create"), 0);
    assert!(!bench.store().exists());
}

#[test]
fn kopias_own_refusal_of_a_clock_is_a_clock_skew() {
    let mut bench = claimed();
    bench.set("KOPIA_STANDIN_CLOCK_OFFSET", "400");
    bench.run("run").expect(Outcome::ClockSkew);
    assert!(bench.run_log().is_empty());
}

#[test]
fn a_kopia_that_was_killed_for_memory_says_so() {
    let bench = claimed();
    bench.fault("oom");
    bench.run("run").expect(Outcome::OutOfMemory);
}

#[test]
fn a_missing_kopia_or_a_broken_contract_is_said_plainly() {
    let bench = claimed();
    fs::remove_file(bench.path("bin/kopia")).unwrap();
    let report = bench.run("run").expect(Outcome::Failed);
    assert_eq!(report.reason, "there is no kopia in this image");
    for (name, value) in [
        ("HUB_EPOCH", "seven"),
        ("HUB_OWNER", "volsync-hub-8@m1.hub-3f2a"),
        ("HUB_CYCLE", "auto"),
        ("HUB_DEADLINE_SECONDS", "0"),
        ("CUSTOM_CA", "/nowhere/ca.crt"),
    ] {
        let mut bench = claimed();
        bench.set(name, value);
        bench.run("run").expect(Outcome::Failed);
        assert!(bench.run_log().is_empty());
    }
}

#[test]
fn the_deadline_ends_a_run_without_any_control_plane() {
    let mut bench = claimed();
    bench.set("HUB_DEADLINE_SECONDS", "20").set("KOPIA_STANDIN_RUN_SECONDS", "300");
    let begun = Instant::now();
    let report = bench.run("run").expect(Outcome::DeadlineExceeded);
    assert!(begun.elapsed() < Duration::from_mins(1));
    assert!(report.reason.contains("quick maintenance"), "{}", report.reason);
    assert_eq!(report.owner.as_deref(), Some(ME));
    assert_eq!(bench.run_log().len(), 2, "kopia had the chance to end well");
}

#[test]
fn a_kopia_that_does_not_listen_is_killed_at_the_deadline() {
    let mut bench = claimed();
    bench.set("HUB_DEADLINE_SECONDS", "20").set("KOPIA_STANDIN_FAULT", "hang");
    let child = bench.start("run");
    until("the run", || !bench.run_log().is_empty());
    let members = family(child.id());
    bench.finish(child).expect(Outcome::DeadlineExceeded);
    until("the end of the killed", || !members.iter().any(|it| lives(*it)));
}

#[test]
fn a_stop_from_outside_leaves_an_outcome_and_no_process() {
    let mut bench = claimed();
    bench.set("KOPIA_STANDIN_RUN_SECONDS", "300");
    let child = bench.start("run");
    until("the run", || !bench.run_log().is_empty());
    let members = family(child.id());
    signal(child.id(), "-TERM");
    let report = bench.finish(child).expect(Outcome::Failed);
    assert!(report.reason.contains("stopped from outside") && report.reason.contains("quick maintenance"));
    until("the end of the stopped", || !members.iter().any(|it| lives(*it)));
    assert_eq!(fs::read_dir(bench.path("tmp")).unwrap().count(), 0);
}

#[test]
fn a_stop_between_the_read_backs_tells_that_the_owner_was_written() {
    let mut bench = Bench::new();
    bench.set("HUB_READ_BACK_SECONDS", "300");
    let child = bench.start("claim");
    until("the first read-back", || bench.calls("maintenance info") >= 2);
    signal(child.id(), "-TERM");
    let report = bench.finish(child).expect(Outcome::Failed);
    assert_eq!(report.owner_written, Some(true));
}

#[test]
fn the_inner_part_killed_leaves_the_outcome_to_the_outer_one() {
    let mut bench = claimed();
    bench.set("KOPIA_STANDIN_RUN_SECONDS", "300");
    let child = bench.start("run");
    until("the run", || !bench.run_log().is_empty());
    let members = family(child.id());
    // The script, the timeout, the script inside it, and what that called.
    for member in &members[2..] {
        signal(*member, "-KILL");
    }
    bench.finish(child).expect(Outcome::OutOfMemory);
}

#[test]
fn all_killed_leaves_nothing_and_the_next_run_finds_the_place_busy() {
    let mut bench = claimed();
    bench.set("KOPIA_STANDIN_RUN_SECONDS", "3");
    let child = bench.start("run");
    let schedule = bench.store().join("schedule.json");
    until("the full run", || fs::read_to_string(&schedule).unwrap().contains("snapshot-gc"));
    for member in family(child.id()) {
        signal(member, "-KILL");
    }
    let ran = bench.finish(child);
    assert_eq!((ran.code, ran.message.as_str()), (None, ""));
    bench.set("KOPIA_STANDIN_RUN_SECONDS", "0");
    bench.run("run").expect(Outcome::Busy);
}

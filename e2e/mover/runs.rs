//! Runs: who may, what is run, and what counts as success.

use std::fs;

use volsync_hub::outcome::Outcome;

use crate::bench::{Bench, ME, now, signal, until};

fn claimed() -> Bench {
    let bench = Bench::new();
    bench.claim_as(ME);
    bench
}

fn runs(bench: &Bench) -> Vec<String> {
    bench
        .run_log()
        .into_iter()
        .filter_map(|line| line.strip_prefix(&format!("begin {ME} ")).map(str::to_owned))
        .collect()
}

#[test]
fn auto_runs_full_once_in_20_hours_and_quick_always() {
    let bench = claimed();
    fs::write(bench.store().join("garbage"), "123456").unwrap();
    let first = bench.run("run").expect(Outcome::Succeeded);
    assert_eq!(first.reclaimed_bytes, Some(123_456));
    assert!(first.last_run_start.unwrap().as_second().cast_unsigned() + 60 > now());
    let second = bench.run("run").expect(Outcome::Succeeded);
    assert_eq!(second.reclaimed_bytes, Some(0));
    assert_eq!(runs(&bench), ["quick", "full", "quick"]);
}

#[test]
fn auto_runs_full_again_when_the_last_one_is_20_hours_old() {
    let bench = claimed();
    bench.run("run").expect(Outcome::Succeeded);
    bench.age(71_900);
    bench.run("run").expect(Outcome::Succeeded);
    assert_eq!(runs(&bench), ["quick", "full", "quick"]);
    bench.age(200);
    bench.run("run").expect(Outcome::Succeeded);
    assert_eq!(runs(&bench), ["quick", "full", "quick", "quick", "full"]);
}

#[test]
fn the_cycle_of_the_policy_decides_about_full_runs() {
    let mut bench = claimed();
    bench.set("HUB_CYCLE", "Quick");
    bench.run("run").expect(Outcome::Succeeded);
    bench.set("HUB_CYCLE", "Full");
    bench.run("run").expect(Outcome::Succeeded);
    bench.run("run").expect(Outcome::Succeeded);
    assert_eq!(runs(&bench), ["quick", "quick", "full", "quick", "full"]);
}

#[test]
fn a_crashed_full_run_of_the_old_format_is_not_taken_for_a_success() {
    let mut bench = claimed();
    fs::write(bench.store().join("old-format"), "").unwrap();
    bench.fault("fail");
    bench.run("run").expect(Outcome::Failed);
    fs::remove_file(bench.store().join("faults/fail")).unwrap();
    bench.set("HUB_CYCLE", "Quick");
    bench.run("run").expect(Outcome::Succeeded);
    bench.set("HUB_CYCLE", "Auto");
    bench.run("run").expect(Outcome::Succeeded);
    assert_eq!(runs(&bench), ["quick", "full", "quick", "quick", "full"]);
}

#[test]
fn a_newer_or_equal_epoch_of_this_hub_fences_this_grant_off() {
    let bench = Bench::new();
    for owner in ["volsync-hub-7@m2.hub-3f2a", "volsync-hub-8@m2.hub-3f2a", "volsync-hub-10@m1.hub-3f2a"] {
        bench.claim_as(owner);
        let report = bench.run("run").expect(Outcome::Fenced);
        assert_eq!(report.owner.as_deref(), Some(owner));
    }
    assert!(bench.run_log().is_empty());
}

#[test]
fn any_other_owner_means_that_nothing_is_granted() {
    let bench = Bench::new();
    bench.run("run").expect(Outcome::NotGranted);
    for owner in
        ["volsync-hub-6@m1.hub-3f2a", "volsync-hub-9@m1.another", "maintenance@volsync", "volsync-hub-x@m.hub-3f2a"]
    {
        bench.claim_as(owner);
        bench.run("run").expect(Outcome::NotGranted);
    }
    assert!(bench.run_log().is_empty());
    assert_eq!(bench.calls("maintenance set") + bench.calls("maintenance run"), 0);
}

#[test]
fn a_claim_in_the_middle_of_a_run_fences_the_rest_of_it_off() {
    let mut bench = claimed();
    bench.set("KOPIA_STANDIN_RUN_SECONDS", "8");
    let child = bench.start("run");
    until("the quick run", || !bench.run_log().is_empty());
    bench.claim_as("volsync-hub-8@m2.hub-3f2a");
    let report = bench.finish(child).expect(Outcome::Fenced);
    assert_eq!(report.owner.as_deref(), Some("volsync-hub-8@m2.hub-3f2a"));
    assert_eq!(runs(&bench), ["quick"]);
}

#[test]
fn a_full_run_that_was_killed_keeps_others_out_until_its_deadline() {
    let bench = claimed();
    bench.connect_as(ME, "connect", &[]);
    fs::write(bench.store().join("run-seconds"), "60").unwrap();
    let begun = now();
    // In the background, as another Pod would have it.
    std::thread::scope(|scope| {
        let running = scope.spawn(|| bench.kopia(ME, &["maintenance", "run", "--full"]));
        let log = bench.store().join("schedule.json");
        until("the first task", || fs::read_to_string(&log).unwrap().contains("snapshot-gc"));
        let line = fs::read_to_string(bench.store().join("runs.log")).unwrap();
        signal(line.split(' ').nth(4).unwrap().parse().unwrap(), "-KILL");
        running.join().unwrap();
    });
    let killed = now();
    fs::remove_file(bench.store().join("run-seconds")).unwrap();
    let report = bench.run("run").expect(Outcome::Busy);
    let busy_until = report.busy_until.unwrap().as_second().cast_unsigned();
    assert!((begun + 600..=killed + 600).contains(&busy_until), "{busy_until} {begun} {killed}");
    assert_eq!(runs(&bench), ["full"]);
    bench.age(600);
    bench.run("run").expect(Outcome::Succeeded);
}

#[test]
fn a_full_run_that_failed_or_was_paused_keeps_nobody_out() {
    let bench = claimed();
    bench.fault("fail");
    let report = bench.run("run").expect(Outcome::Failed);
    assert!(report.reason.contains("full maintenance failed: error rewriting contents"), "{}", report.reason);
    fs::remove_file(bench.store().join("faults/fail")).unwrap();
    bench.run("run").expect(Outcome::Succeeded);
    // "maintenance set --pause-full" moves the next time and begins nothing.
    let file = bench.store().join("schedule.json");
    let schedule = fs::read_to_string(&file).unwrap();
    let mut schedule: serde_json::Value = serde_json::from_str(&schedule).unwrap();
    schedule["nextFullMaintenance"] = "2090-01-01T00:00:00.5+02:00".into();
    fs::write(file, schedule.to_string()).unwrap();
    bench.run("run").expect(Outcome::Succeeded);
}

#[test]
fn a_run_that_did_nothing_is_no_success() {
    let bench = claimed();
    bench.fault("nothing");
    let report = bench.run("run").expect(Outcome::Failed);
    assert!(report.reason.contains("shows no quick maintenance that went well"), "{}", report.reason);
}

#[test]
fn times_with_zones_and_without_parts_of_seconds_are_understood() {
    let bench = claimed();
    let file = bench.store().join("schedule.json");
    let schedule = r#"{"nextFullMaintenance":"2026-01-02T12:00:00+02:00","nextQuickMaintenance":"2026-01-01T23:30:00.25-07:00",
        "runs":{"snapshot-gc":null}}"#;
    fs::write(file, schedule).unwrap();
    // 23:30 at -07:00 less one hour is later than 12:00 at +02:00 less one day.
    let report = bench.run("claim").expect(Outcome::Claimed);
    assert_eq!(report.last_run_start.unwrap().to_string(), "2026-01-02T05:30:00Z");
}

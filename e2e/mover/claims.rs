//! Claims: whom the permit lets this grant replace, and when a claim counts.

use std::fs;

use volsync_hub::outcome::Outcome;

use crate::bench::{Bench, ME, now, until};

#[test]
fn a_claim_replaces_a_foreign_owner_and_reads_it_back_twice_in_new_processes() {
    let bench = Bench::new();
    let report = bench.run("claim").expect(Outcome::Claimed);
    assert_eq!(report.owner.as_deref(), Some(ME));
    assert_eq!(report.previous_owner.as_deref(), Some("root@before"));
    assert_eq!((report.epoch, report.owner_written, report.last_run_start), (Some(7), Some(true), None));
    assert_eq!(report.run_began, Some(false));
    assert_eq!(report.unique_id.map(|id| id.len()), Some(64));
    assert_eq!(report.kopia.as_deref(), Some("0.22.3"));
    let connects: Vec<_> = bench.journal().into_iter().filter(|it| it.starts_with("repository connect")).collect();
    assert_eq!(connects.len(), 3);
    assert!(connects.iter().all(|it| it.contains("--max-list-cache-duration=0s")), "{connects:?}");
    assert!(connects.iter().all(|it| it.contains("--no-auto-maintenance")), "{connects:?}");
}

#[test]
fn a_claim_never_maintains_and_never_creates() {
    let bench = Bench::new();
    bench.run("claim").expect(Outcome::Claimed);
    assert_eq!(bench.calls("maintenance run") + bench.calls("repository create"), 0);
    assert!(bench.run_log().is_empty());
}

#[test]
fn a_claim_that_had_come_through_sets_nothing_and_is_proven_again() {
    let bench = Bench::new();
    bench.run("claim").expect(Outcome::Claimed);
    let report = bench.run("claim").expect(Outcome::Claimed);
    assert_eq!((report.previous_owner.as_deref(), report.owner_written), (Some(ME), Some(false)));
    assert_eq!(bench.calls("maintenance set"), 1);
}

#[test]
fn a_permit_for_one_owner_covers_that_one_only() {
    let mut bench = Bench::new();
    bench.set("HUB_PERMIT_REPLACES", "volsync-hub-6@m0.hub-3f2a");
    let refused = bench.run("claim").expect(Outcome::ClaimRefused);
    assert_eq!((refused.owner.as_deref(), refused.owner_written), (Some("root@before"), Some(false)));
    assert_eq!(bench.calls("maintenance set"), 0);
    bench.claim_as("volsync-hub-6@m0.hub-3f2a");
    bench.run("claim").expect(Outcome::Claimed);
}

#[test]
fn a_permit_for_foreign_owners_covers_no_owner_of_this_hub() {
    let bench = Bench::new();
    for owner in ["volsync-hub-6@m0.hub-3f2a", "volsync-hub-8@m0.hub-3f2a"] {
        bench.claim_as(owner);
        let report = bench.run("claim").expect(Outcome::ClaimRefused);
        assert_eq!(report.owner.as_deref(), Some(owner));
    }
    bench.claim_as("volsync-hub-8@m0.another-hub");
    bench.run("claim").expect(Outcome::Claimed);
}

#[test]
fn a_former_owner_with_a_fast_clock_makes_the_claim_ineffective() {
    let mut bench = Bench::new();
    bench.set("KOPIA_STANDIN_CLOCK_OFFSET", "3600");
    bench.claim_as("fast@clock");
    bench.set("KOPIA_STANDIN_CLOCK_OFFSET", "0");
    let report = bench.run("claim").expect(Outcome::ClaimIneffective);
    assert_eq!((report.owner.as_deref(), report.owner_written), (Some("fast@clock"), Some(true)));
}

#[test]
fn an_owner_that_flips_back_between_the_read_backs_makes_the_claim_ineffective() {
    let mut bench = Bench::new();
    bench.set("HUB_READ_BACK_SECONDS", "8");
    let child = bench.start("claim");
    until("the first read-back", || bench.calls("maintenance info") >= 2);
    bench.claim_as("maintenance@volsync");
    let report = bench.finish(child).expect(Outcome::ClaimIneffective);
    assert_eq!(report.owner.as_deref(), Some("maintenance@volsync"));
}

#[test]
fn a_claim_tells_of_a_run_that_began_between_reading_and_setting_the_owner() {
    let mut bench = Bench::new();
    bench.claim_as("root@before");
    assert!(bench.kopia("root@before", &["maintenance", "run", "--full"]).status.success());
    for arguments in [&["maintenance", "run"][..], &["maintenance", "run", "--full"]] {
        bench.set("KOPIA_STANDIN_FAULT", "slow-set");
        let before = bench.calls("maintenance set");
        let child = bench.start("claim");
        until("the owner to be set", || bench.calls("maintenance set") > before);
        bench.set("KOPIA_STANDIN_FAULT", "");
        bench.claim_as("somebody@else");
        assert!(bench.kopia("somebody@else", arguments).status.success());
        let report = bench.finish(child).expect(Outcome::Claimed);
        let found = report.previous_owner.as_deref();
        assert_eq!((found, report.run_began), (Some("root@before"), Some(true)), "{arguments:?}");
        bench.claim_as("root@before");
        assert_eq!(bench.run("claim").expect(Outcome::Claimed).run_began, Some(false), "it began before");
        bench.claim_as("root@before");
    }
}

#[test]
fn a_repository_that_is_replaced_meanwhile_makes_the_claim_ineffective() {
    let mut bench = Bench::new();
    bench.set("HUB_READ_BACK_SECONDS", "8");
    let child = bench.start("claim");
    until("the first read-back", || bench.calls("maintenance info") >= 2);
    let format = bench.store().join("format.json");
    let other = fs::read_to_string(&format).unwrap().replacen("\"uniqueIDHex\":\"", "\"uniqueIDHex\":\"ff", 1);
    fs::write(&format, other).unwrap();
    bench.finish(child).expect(Outcome::ClaimIneffective);
}

#[test]
fn a_permit_holds_from_two_minutes_before_it_was_issued_to_its_end() {
    let mut bench = Bench::new();
    for (issued, not_after) in [(now() + 140, now() + 740), (now() - 700, now() - 2)] {
        bench.set("HUB_PERMIT_ISSUED", issued.to_string()).set("HUB_PERMIT_NOT_AFTER", not_after.to_string());
        let report = bench.run("claim").expect(Outcome::ClockSkew);
        assert_eq!((report.owner_written, bench.calls("repository connect")), (Some(false), 0));
    }
    bench.set("HUB_PERMIT_ISSUED", (now() + 100).to_string()).set("HUB_PERMIT_NOT_AFTER", (now() + 700).to_string());
    bench.run("claim").expect(Outcome::Claimed);
}

#[test]
fn credentials_that_may_not_write_are_refused_credentials() {
    let bench = Bench::new();
    bench.fault("denied-set");
    let report = bench.run("claim").expect(Outcome::AuthFailed);
    assert_eq!(report.owner_written, Some(true));
    assert_eq!(bench.owners().len(), 1);
}

#[test]
fn a_claim_reports_when_the_newest_run_of_the_former_owner_began() {
    let bench = Bench::new();
    bench.connect_as("root@before", "connect", &[]);
    let begun = now();
    assert!(bench.kopia("root@before", &["maintenance", "run", "--full"]).status.success());
    let ended = now();
    let report = bench.run("claim").expect(Outcome::Claimed);
    let start = report.last_run_start.unwrap().as_second().cast_unsigned();
    assert!((begun..=ended).contains(&start), "{start} is not within {begun} and {ended}");
}

#[test]
fn a_run_of_a_former_owner_with_a_fast_clock_began_no_later_than_now() {
    let mut bench = Bench::new();
    bench.set("KOPIA_STANDIN_CLOCK_OFFSET", "200");
    bench.connect_as("root@before", "connect", &[]);
    assert!(bench.kopia("root@before", &["maintenance", "run"]).status.success());
    bench.set("KOPIA_STANDIN_CLOCK_OFFSET", "0");
    let report = bench.run("claim").expect(Outcome::Claimed);
    assert!(report.last_run_start.unwrap().as_second().cast_unsigned() <= now());
}

#[test]
fn an_owner_of_any_length_leaves_a_message_that_a_kubelet_reads() {
    let bench = Bench::new();
    bench.claim_as(&format!("{}@\"{}", "x".repeat(2000), "\\".repeat(2500)));
    let report = bench.run("claim").expect(Outcome::Claimed);
    assert_eq!(report.previous_owner, None);
}

//! Which rests and which grants count.

use crate::plan::fleet::{LedgerRecord, NotReady, Phase};
use crate::plan::levers::{self, Pin};
use crate::plan::testing::{at, grant, name, object};

/// `c1` is in the middle of a claim, and a Secret rests in `cluster` until `until`.
fn claiming(cluster: &str, until: &str) -> LedgerRecord {
    let mut grant = grant("c1", 1);
    grant.phase = Phase::Claiming;
    let rest = NotReady {
        cluster: name(cluster),
        secret: object("app/repo"),
        until: at(until),
        reason: "AuthFailed".into(),
        attempts: 1,
    };
    LedgerRecord { grant: Some(grant), not_ready: vec![rest], ..LedgerRecord::default() }
}

#[test]
fn a_claim_has_failed_only_where_a_secret_of_its_own_member_rests_now() {
    let now = at("2026-06-01T12:00:00Z");
    let held = |cluster: &str, until: &str| {
        let record = claiming(cluster, until);
        let levers = levers::of([(&record, false)]);
        levers.holder(now, &[]).is_some()
    };
    assert!(!held("c1", "2026-06-01T12:00:01Z"));
    assert!(held("c1", "2026-06-01T12:00:00Z"), "its rest is over");
    assert!(held("c2", "2026-06-01T13:00:00Z"), "another member's");
}

#[test]
fn of_two_grants_the_one_with_the_higher_epoch_counts_then_the_first() {
    let with =
        |cluster: &str, epoch: u64| LedgerRecord { grant: Some(grant(cluster, epoch)), ..LedgerRecord::default() };
    let counts = |first: LedgerRecord, second: LedgerRecord| {
        levers::of([(&first, false), (&second, false)]).grant.unwrap().cluster.to_string()
    };
    assert_eq!(counts(with("c1", 2), with("c2", 3)), "c2");
    assert_eq!(counts(with("c1", 3), with("c2", 2)), "c1");
    assert_eq!(counts(with("c1", 2), with("c2", 2)), "c1");
}

#[test]
fn two_records_that_pin_to_one_member_agree() {
    let pinned = |member: &str| LedgerRecord { pin: Some(name(member)), ..LedgerRecord::default() };
    let (one, two, other) = (pinned("c1"), pinned("c1"), pinned("c2"));
    assert_eq!(levers::of([(&one, false), (&two, false)]).pin, Pin::To(&name("c1")));
    assert_eq!(levers::of([(&one, false), (&other, false)]).pin, Pin::Contradicting);
}

#[test]
fn a_secret_rests_by_its_name_and_by_its_namespace_where_that_is_known() {
    let concerns = |resting: &str, secret: &str| {
        let mut record = claiming("c1", "2026-06-01T13:00:00Z");
        record.not_ready[0].secret = object(resting);
        record.not_ready[0].concerns(&object(secret))
    };
    assert!(concerns("app/repo", "app/repo") && concerns("/repo", "app/repo"));
    assert!(!concerns("app/repo", "web/repo") && !concerns("app/repo", "app/other") && !concerns("/repo", "app/other"));
}

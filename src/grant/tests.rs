//! The first grant, step by step, and what must never follow from any of its inputs.

use proptest::prelude::*;

use super::*;
use crate::plan::testing::Fixture;

const START: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

/// The only member has the only source, so that it is elected.
fn plan(member: &str) -> RepositoryPlan {
    let mut fixture = Fixture::new(&[member]);
    fixture.source(&format!("{member}/app/db"), "bucket").default_policy();
    fixture.only()
}

fn secret_of(plan: &RepositoryPlan) -> Option<ObjectName> {
    match &plan.push {
        Push::Objects(assignment) => Some(assignment.secret.object.clone()),
        Push::Keep | Push::Remove => None,
    }
}

fn grant(member: &str, phase: Phase) -> Grant {
    Grant { cluster: member.into(), cluster_uid: None, epoch: 7, phase, since: Some(at(0)), until: None }
}

fn input<'a>(plan: &'a RepositoryPlan, grant: Option<&'a Grant>, claim: ClaimJob) -> Input<'a> {
    Input {
        plan,
        grant,
        not_ready: &[],
        claim,
        highest_epoch: grant.map_or(0, |grant| grant.epoch),
        ledger_lost: false,
        settling_until: None,
        cluster_uid: None,
        now: at(60),
        time_factor: 1,
    }
}

fn ended(outcome: Outcome) -> ClaimReport {
    ClaimReport {
        outcome,
        reason: "why".to_owned(),
        secret: secret_of(&plan("a")),
        last_run_start: None,
        may_be_owner: outcome == Outcome::Claimed,
        over: true,
        at: at(50),
        unique_id: None,
    }
}

fn granted(step: &Step) -> &Grant {
    match &step.ledger {
        Some(LedgerChange::Grant(grant)) => grant,
        other => panic!("no grant is written: {other:?}"),
    }
}

#[test]
fn the_ledger_is_written_before_anything_is_claimed() {
    let plan = plan("a");
    let step = step(&input(&plan, None, ClaimJob::Absent));
    assert_eq!((granted(&step).epoch, granted(&step).phase), (1, Phase::Claiming));
    assert!(step.claim.is_none() && !step.run);
}

#[test]
fn a_claim_may_replace_foreign_owners_only_and_not_for_long() {
    let (plan, grant) = (plan("a"), grant("a", Phase::Claiming));
    let permit = step(&input(&plan, Some(&grant), ClaimJob::Absent)).claim.unwrap();
    assert_eq!(permit.replaces, "foreign");
    assert_eq!((permit.issued, permit.not_after), (at(60).as_second(), at(660).as_second()));
}

#[test]
fn after_a_claim_the_run_of_a_former_owner_is_waited_out() {
    let (plan, grant) = (plan("a"), grant("a", Phase::Claiming));
    let until = |start: Option<i64>| {
        let report = ClaimReport { last_run_start: start.map(at), ..ended(Outcome::Claimed) };
        let step = step(&input(&plan, Some(&grant), ClaimJob::Ended(report)));
        assert_eq!(granted(&step).phase, Phase::Draining);
        granted(&step).until.unwrap()
    };
    assert_eq!(until(None), at(60 + 300), "none began: five minutes");
    assert_eq!(until(Some(-100)), at(-100 + 10_800 + 300), "one began: three hours after its start, and five minutes");
    assert_eq!(until(Some(-20_000)), at(60 + 300), "one that must be over by now");
}

#[test]
fn nothing_runs_before_the_wait_is_over() {
    let plan = plan("a");
    let draining = Grant { until: Some(at(100)), ..grant("a", Phase::Draining) };
    let before = step(&input(&plan, Some(&draining), ClaimJob::Absent));
    assert_eq!((before.run, before.wake), (false, Some(at(100))));
    let after = step(&Input { now: at(100), ..input(&plan, Some(&draining), ClaimJob::Absent) });
    assert_eq!(granted(&after).phase, Phase::Active);
    assert!(!after.run, "the ledger is written first");
    assert!(step(&input(&plan, Some(&grant("a", Phase::Active)), ClaimJob::Absent)).run);
}

#[test]
fn a_failed_claim_makes_room_once_and_for_longer_each_time() {
    let (plan, grant) = (plan("a"), grant("a", Phase::Claiming));
    let failed = || ClaimJob::Ended(ended(Outcome::AuthFailed));
    let Some(LedgerChange::NotReady(first)) = step(&input(&plan, Some(&grant), failed())).ledger else { panic!() };
    assert_eq!((first.attempts, first.until), (1, at(60 + 3600)));
    let known = [first.clone()];
    let again = step(&Input { not_ready: &known, now: at(90), ..input(&plan, Some(&grant), failed()) });
    assert_eq!((again.ledger, again.wake), (None, Some(first.until)), "it is recorded once");
    let later = Grant { since: Some(at(4000)), ..grant.clone() };
    let second = step(&Input { not_ready: &known, now: at(4060), ..input(&plan, Some(&later), failed()) });
    let Some(LedgerChange::NotReady(second)) = second.ledger else { panic!() };
    assert_eq!((second.attempts, second.until), (2, at(4060 + 7200)));
    assert_eq!(not_ready_for(40), NOT_READY_MAX);
}

#[test]
fn after_a_failed_claim_the_next_member_gets_a_higher_epoch() {
    let (plan, grant) = (plan("b"), grant("a", Phase::Claiming));
    let next = step(&input(&plan, Some(&grant), ClaimJob::Ended(ended(Outcome::ConnectFailed))));
    assert_eq!((granted(&next).cluster.as_str(), granted(&next).epoch), ("b", 8));
    let unsure = ClaimReport { may_be_owner: true, ..ended(Outcome::DeadlineExceeded) };
    let held = step(&input(&plan, Some(&grant), ClaimJob::Ended(unsure)));
    assert!(held.ledger.is_none(), "it may be the recorded owner");
    let late = ClaimReport { over: false, ..ended(Outcome::NotStarted) };
    let removed = step(&input(&plan, Some(&grant), ClaimJob::Ended(late)));
    assert!(removed.remove_claim && removed.ledger.is_none(), "it may start yet");
}

#[test]
fn a_claimed_grant_is_not_moved() {
    let plan = plan("b");
    for phase in [Phase::Draining, Phase::Active, Phase::Recovering] {
        let step = step(&input(&plan, Some(&grant("a", phase)), ClaimJob::Absent));
        assert_eq!(step.note.map(|note| note.0), Some("HandoverPending"));
        assert!(step.ledger.is_none() && step.claim.is_none() && !step.run);
    }
}

#[test]
fn objects_without_a_ledger_are_left_alone() {
    let plan = plan("a");
    let lost = step(&Input { ledger_lost: true, highest_epoch: 4, ..input(&plan, None, ClaimJob::Absent) });
    assert_eq!(lost.note.map(|note| note.0), Some("Recovering"));
    assert!(lost.ledger.is_none() && !lost.run);
}

#[test]
fn suspended_and_frozen_repositories_start_nothing() {
    for state in [State::Suspended, State::Frozen, State::Held] {
        let plan = RepositoryPlan { state, ..plan("a") };
        assert_eq!(step(&input(&plan, None, ClaimJob::Absent)), Step::rest());
        assert!(step(&input(&plan, Some(&grant("a", Phase::Claiming)), ClaimJob::Absent)).claim.is_none());
    }
}

fn claims() -> impl Strategy<Value = ClaimJob> {
    let reports = (0..Outcome::ALL.len(), any::<(bool, bool)>(), -20_000..200_i64).prop_map(|(index, flags, start)| {
        let (may_be_owner, over) = flags;
        ClaimJob::Ended(ClaimReport {
            may_be_owner,
            over,
            last_run_start: Some(at(start)),
            ..ended(Outcome::ALL[index])
        })
    });
    prop_oneof![
        Just(ClaimJob::Unknown),
        Just(ClaimJob::Absent),
        Just(ClaimJob::Running),
        Just(ClaimJob::Stale),
        reports
    ]
}

fn grants() -> impl Strategy<Value = Option<Grant>> {
    let phases =
        prop_oneof![Just(Phase::Claiming), Just(Phase::Draining), Just(Phase::Active), Just(Phase::Recovering)];
    let some = (prop_oneof![Just("a"), Just("b")], phases, proptest::option::of(-500..500_i64), 1..9_u64);
    proptest::option::of(some.prop_map(|(member, phase, until, epoch)| Grant {
        until: until.map(at),
        epoch,
        ..grant(member, phase)
    }))
}

proptest! {
    /// One step does one thing; epochs grow with each new holder; nothing runs but under an active grant of the
    /// planned member; and a grant that was claimed never changes its member.
    #[test]
    fn no_input_lets_a_step_skip_a_phase(claim in claims(), grant in grants(), lost in any::<bool>(), now in 0..100_000_i64) {
        let plan = plan("a");
        let given = Input { now: at(now), ledger_lost: lost, ..input(&plan, grant.as_ref(), claim.clone()) };
        let step = step(&given);
        let may_run = grant.as_ref().is_some_and(|it| it.phase == Phase::Active && it.cluster.as_str() == "a");
        prop_assert_eq!(step.run, may_run);
        prop_assert!(step.ledger.is_none() || (step.claim.is_none() && !step.run));
        if step.claim.is_some() {
            let grant = grant.as_ref().unwrap();
            prop_assert!(grant.phase == Phase::Claiming && grant.cluster.as_str() == "a" && claim == ClaimJob::Absent);
        }
        if let Some(LedgerChange::Grant(next)) = &step.ledger {
            let before = grant.as_ref();
            prop_assert!(next.epoch >= before.map_or(1, |it| it.epoch));
            if before.is_none_or(|it| it.cluster != next.cluster) {
                prop_assert!(before.is_none_or(|it| it.phase == Phase::Claiming && next.epoch > it.epoch));
                prop_assert_eq!(next.phase, Phase::Claiming);
            }
            if next.phase == Phase::Draining {
                let claimed = matches!(&claim, ClaimJob::Ended(report) if report.outcome == Outcome::Claimed);
                prop_assert!(claimed && next.until.is_some_and(|until| until >= at(now + 300)));
            }
            if next.phase == Phase::Active {
                prop_assert!(before.is_some_and(|it| it.phase == Phase::Draining && it.until.is_none_or(|until| until <= at(now))));
            }
        }
    }
}

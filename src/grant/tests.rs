//! The first grant, step by step, and what must never follow from any of its inputs.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::names::RepositoryId;
use crate::plan::testing::Fixture;
use crate::render::pod::Replaces;

mod recover;

pub(super) const START: i64 = 1_800_000_000;
static NOTHING_SEEN: BTreeMap<MemberName, Seen> = BTreeMap::new();

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

/// The only member has the only source, so that it is elected.
pub(super) fn plan(member: &str) -> RepositoryPlan {
    let mut fixture = Fixture::new(&[member]);
    fixture.source(&format!("{member}/app/db"), "bucket").default_policy();
    fixture.only()
}

/// The id of that repository.
pub(super) fn own() -> RepositoryId {
    static OWN: LazyLock<RepositoryId> = LazyLock::new(|| plan("a").id);
    *OWN
}

fn secret_of(plan: &RepositoryPlan) -> Option<ObjectName> {
    match &plan.push {
        Push::Objects(assignment) => Some(assignment.secret.object.clone()),
        Push::Keep | Push::Remove => None,
    }
}

pub(super) fn grant(member: &str, phase: Phase) -> Grant {
    Grant {
        cluster: member.into(),
        cluster_uid: None,
        epoch: 7,
        phase,
        since: Some(at(0)),
        until: None,
        deadline_seconds: 10_800,
        highest_epoch: 0,
        from: None,
    }
}

pub(super) fn input<'a>(plan: &'a RepositoryPlan, grant: Option<&'a Grant>, claim: ClaimJob) -> Input<'a> {
    Input {
        plan,
        grant,
        drain: &[],
        others: &[],
        held_otherwise: &[],
        merged: None,
        not_ready: &[],
        claim,
        seen: &NOTHING_SEEN,
        turned_away: None,
        replaced: false,
        reachable: true,
        highest_epoch: grant.map_or(0, |grant| grant.epoch),
        evidence: &[],
        unread: None,
        ledger_since: None,
        settling_until: None,
        by_hand: ByHand::default(),
        known_as: None,
        cluster_uid: None,
        now: at(60),
        steady_since: Timestamp::MIN,
        time_factor: 1,
        without: None,
    }
}

fn ended(outcome: Outcome) -> ClaimReport {
    ClaimReport {
        outcome,
        reason: "why".to_owned(),
        secret: secret_of(&plan("a")),
        last_run_start: None,
        run_began: false,
        may_be_owner: outcome == Outcome::Claimed,
        over: true,
        at: at(50),
        unique_id: None,
        recorded: Recorded::Unknown,
        found: Recorded::Foreign,
    }
}

fn granted(step: &Step) -> &Grant {
    match &step.ledger {
        Some(LedgerChange::Grant(grant, _)) => grant,
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
    assert_eq!(permit.replaces, Replaces::Foreign);
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
fn whatever_began_while_a_claim_was_under_way_is_waited_for() {
    let plan = plan("b");
    let claiming = Grant { from: Some(from("a", 6)), ..grant("b", Phase::Claiming) };
    let until = |run_began| {
        let found = Recorded::Ours(from("a", 6));
        let report = ClaimReport { run_began, found, last_run_start: Some(at(10)), ..ended(Outcome::Claimed) };
        granted(&step(&input(&plan, Some(&claiming), ClaimJob::Ended(report)))).until
    };
    assert_eq!(until(false), None, "the former holder is drained, and nobody else was there");
    assert_eq!(until(true), Some(at(10 + 10_800 + 300)));
}

#[test]
fn a_grant_that_follows_one_of_which_nobody_knows_whom_it_replaced_waits_for_foreign_runs() {
    let over = Some(at(60 + 10_800 + 300));
    let (here, there) = (plan("a"), plan("b"));
    // Its claim has died, and may have set the owner.
    let dead = ClaimReport { may_be_owner: true, ..ended(Outcome::Failed) };
    for former in [None, Some(from("c", 6))] {
        let claiming = Grant { from: former, ..grant("a", Phase::Claiming) };
        let moved = step(&input(&there, Some(&claiming), ClaimJob::Ended(dead.clone())));
        assert_eq!((granted(&moved).from.clone(), granted(&moved).until), (Some(from("a", claiming.epoch)), over));
    }
    // It has certainly set nothing: whoever was recorded before is what is to be replaced.
    let nothing = ClaimReport { may_be_owner: false, ..dead };
    let claiming = Grant { from: Some(from("c", 6)), ..grant("a", Phase::Claiming) };
    let moved = step(&input(&there, Some(&claiming), ClaimJob::Ended(nothing)));
    assert_eq!((granted(&moved).from.clone(), granted(&moved).until), (Some(from("c", 6)), None));
    // A run of the holder, or a claim, has met an owner of which the ledger does not tell.
    let turned_away = Some(Recorded::Ours(from("c", 6)));
    let active = grant("a", Phase::Active);
    let anew = step(&Input { turned_away, ..input(&here, Some(&active), ClaimJob::Absent) });
    assert_eq!((granted(&anew).from.clone(), granted(&anew).until), (Some(from("c", 6)), over));
    let refused = ClaimReport { recorded: Recorded::Ours(from("c", 5)), ..ended(Outcome::ClaimRefused) };
    let claiming = grant("a", Phase::Claiming);
    let again = step(&input(&here, Some(&claiming), ClaimJob::Ended(refused)));
    assert_eq!((granted(&again).from.clone(), granted(&again).until), (Some(from("c", 5)), over));
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
    assert_eq!(claim::not_ready_for(40), claim::NOT_READY_MAX);
}

#[test]
fn after_a_failed_claim_the_next_member_gets_a_higher_epoch() {
    let (plan, grant) = (plan("b"), grant("a", Phase::Claiming));
    let next = step(&input(&plan, Some(&grant), ClaimJob::Ended(ended(Outcome::ConnectFailed))));
    assert_eq!((granted(&next).cluster.as_str(), granted(&next).epoch), ("b", 8));
    let unsure = ClaimReport { may_be_owner: true, ..ended(Outcome::DeadlineExceeded) };
    let moved = step(&input(&plan, Some(&grant), ClaimJob::Ended(unsure)));
    let from = Former { cluster: "a".into(), epoch: 7, id: own() };
    assert_eq!((granted(&moved).epoch, &granted(&moved).from), (8, &Some(from)), "it may be the recorded owner");
    let late = ClaimReport { over: false, ..ended(Outcome::NotStarted) };
    let removed = step(&input(&plan, Some(&grant), ClaimJob::Ended(late)));
    assert!(removed.remove_claim && removed.ledger.is_none(), "it may start yet");
}

#[test]
fn suspended_and_frozen_repositories_start_nothing() {
    for state in [State::Suspended, State::Frozen, State::Held] {
        let plan = RepositoryPlan { state, ..plan("a") };
        assert_eq!(step(&input(&plan, None, ClaimJob::Absent)), Step::rest());
        assert!(step(&input(&plan, Some(&grant("a", Phase::Claiming)), ClaimJob::Absent)).claim.is_none());
    }
}

/// What is seen of an earlier holder.
fn sees(suspended: bool, live: usize, listed: Option<(i64, i64, bool)>) -> Seen {
    let listed = listed.map(|(began, ended, clear)| Listed { began: at(began), ended: at(ended), clear });
    Seen { suspended, live, listed, first: None }
}

/// The first of two lists was this process's own.
pub(super) fn own_lists(seen: &BTreeMap<MemberName, Seen>, drain: &[Drain]) -> BTreeMap<MemberName, Seen> {
    let first = |member: &MemberName| drain.iter().find(|entry| entry.cluster == *member)?.clear_since;
    seen.iter().map(|(member, it)| (member.clone(), Seen { first: first(member), ..it.clone() })).collect()
}

fn drains(member: &str, clear_since: Option<i64>) -> Drain {
    Drain { cluster: member.into(), deadline_seconds: 10_800, ids: Vec::new(), clear_since: clear_since.map(at) }
}

fn drained(step: &Step) -> Vec<(&str, Option<Timestamp>)> {
    match &step.ledger {
        Some(LedgerChange::Grant(_, drain)) => drain.iter().map(|it| (it.cluster.as_str(), it.clear_since)).collect(),
        other => panic!("no grant is written: {other:?}"),
    }
}

fn from(member: &str, epoch: u64) -> Former {
    Former { cluster: member.into(), epoch, id: own() }
}

#[test]
fn a_minute_that_another_clock_has_measured_begins_anew() {
    let (plan, grant) = (plan("a"), grant("a", Phase::Draining));
    let drain = [drains("b", Some(10))];
    let decided = |first: Option<i64>, steady: i64| {
        let seen = Seen { first: first.map(at), ..sees(true, 0, Some((70, 70, true))) };
        let seen = BTreeMap::from([("b".into(), seen)]);
        let given = Input { drain: &drain, seen: &seen, now: at(100), ..input(&plan, Some(&grant), ClaimJob::Absent) };
        let step = step(&Input { steady_since: at(steady), ..given });
        drained(&step).first().and_then(|entry| entry.1)
    };
    assert_eq!(decided(Some(10), 0), None, "nothing is waited for any more");
    assert_eq!(decided(None, 0), Some(at(70)), "another process made the first list: this one's is the first");
    assert_eq!(decided(Some(10), 50), Some(at(70)), "its clock was set, or it did not lead, since the first");
    let seen = BTreeMap::from([("b".into(), Seen { first: Some(at(10)), ..sees(true, 0, Some((9, 10, true))) })]);
    let given = Input { drain: &drain, seen: &seen, now: at(100), ..input(&plan, Some(&grant), ClaimJob::Absent) };
    let next = step(&Input { steady_since: at(50), ..given });
    assert_eq!(
        (next.ledger.is_none(), &*next.list),
        (true, &["b".into()][..]),
        "the list from before its clock was set"
    );
}

#[test]
fn a_hand_over_begins_with_the_ledger_a_new_epoch_and_the_former_holder_to_be_drained() {
    let plan = plan("b");
    for phase in [Phase::Draining, Phase::Active, Phase::Resuming] {
        let held = Grant { highest_epoch: 9, ..grant("a", phase) };
        let given = input(&plan, Some(&held), ClaimJob::Unknown);
        let begun = step(&given);
        let next = granted(&begun);
        assert_eq!((next.cluster.as_str(), next.epoch, next.phase), ("b", 10, Phase::Claiming));
        assert_eq!(next.from, Some(from("a", 7)), "it may replace exactly that owner");
        assert_eq!(drained(&begun), [("a", None)]);
        let away = step(&Input { reachable: false, ..given });
        assert!(away.ledger.is_none(), "nothing moves to where nobody can claim");
        assert_eq!(away.note.map(|note| note.0), Some("HandoverPending"));
    }
}

#[test]
fn the_claim_of_a_hand_over_waits_for_the_former_holder_to_be_suspended_but_not_for_ever() {
    let (plan, next) = (plan("b"), Grant { epoch: 8, from: Some(from("a", 7)), ..grant("b", Phase::Claiming) });
    let drain = [drains("a", None)];
    let fires = BTreeMap::from([("a".into(), sees(false, 1, None))]);
    let given = Input { drain: &drain, seen: &fires, now: at(10), ..input(&plan, Some(&next), ClaimJob::Absent) };
    assert_eq!((step(&given).claim, step(&given).wake), (None, Some(at(60))));
    let suspended = BTreeMap::from([("a".into(), sees(true, 1, None))]);
    let permit = step(&Input { seen: &suspended, ..given.clone() }).claim.unwrap();
    assert_eq!(permit.replaces, Replaces::Exactly(Former { cluster: "a".into(), epoch: 7, id: own() }));
    assert!(
        step(&Input { seen: &NOTHING_SEEN, ..given.clone() }).claim.is_some(),
        "one that is away is not waited for"
    );
    assert!(step(&Input { now: at(60), ..given }).claim.is_some(), "nor one that refuses");
}

#[test]
fn a_former_holder_is_drained_by_two_lists_a_minute_apart() {
    let (plan, next) = (plan("b"), Grant { epoch: 8, from: Some(from("a", 7)), ..grant("b", Phase::Draining) });
    let step_of = |clear: Option<i64>, seen: Option<Seen>, now: i64| {
        let drain = [drains("a", clear)];
        let seen = own_lists(&seen.into_iter().map(|seen| ("a".into(), seen)).collect(), &drain);
        step(&Input { drain: &drain, seen: &seen, now: at(now), ..input(&plan, Some(&next), ClaimJob::Absent) })
    };
    assert_eq!(step_of(None, Some(sees(true, 0, None)), 1).list, [MemberName::from("a")]);
    assert_eq!(drained(&step_of(None, Some(sees(true, 0, Some((1, 2, true)))), 3)), [("a", Some(at(2)))]);
    let between = step_of(Some(2), Some(sees(true, 0, Some((1, 2, true)))), 30);
    assert_eq!((between.ledger, between.list.len(), between.wake), (None, 0, Some(at(62))));
    assert_eq!(step_of(Some(2), Some(sees(true, 0, Some((1, 2, true)))), 62).list.len(), 1);
    assert_eq!(drained(&step_of(Some(2), Some(sees(true, 0, Some((62, 63, true)))), 64)), []);
    assert_eq!(
        drained(&step_of(Some(2), Some(sees(true, 0, Some((62, 63, false)))), 64)),
        [("a", None)],
        "from the start"
    );
    assert_eq!(
        drained(&step_of(Some(2), Some(sees(true, 1, None)), 64)),
        [("a", None)],
        "a Job came after the suspend"
    );
    let fires = step_of(None, Some(sees(false, 0, None)), 64);
    assert_eq!((fires.ledger, fires.list.len()), (None, 0));
    let away = step_of(None, None, 64);
    assert_eq!((away.ledger, away.wake), (None, Some(at(10_800 + 300))), "its deadline and five minutes");
    assert_eq!(drained(&step_of(None, None, 11_100)), []);
    assert_eq!(drained(&step_of(None, Some(sees(false, 3, None)), 11_100)), [], "what runs there is fenced by now");
}

#[test]
fn where_nothing_was_set_the_former_holder_goes_on() {
    let (plan, next) = (plan("b"), Grant { epoch: 8, from: Some(from("a", 7)), ..grant("b", Phase::Claiming) });
    let refused = ended(Outcome::Failed);
    let drain = [drains("a", None)];
    let given = Input { drain: &drain, ..input(&plan, Some(&next), ClaimJob::Ended(refused)) };
    let resumed = step(&given);
    let held = granted(&resumed);
    assert_eq!((held.cluster.as_str(), held.epoch, held.phase, held.highest_epoch), ("a", 7, Phase::Resuming, 8));
    assert_eq!(drained(&resumed), []);
    let others = [drains("a", None), drains("c", None)];
    assert_eq!(granted(&step(&Input { drain: &others, ..given.clone() })).phase, Phase::Draining, "c may run yet");
    let unsure = ClaimReport { may_be_owner: true, ..ended(Outcome::Failed) };
    let waits = step(&Input { claim: ClaimJob::Ended(unsure), ..given });
    assert!(waits.ledger.is_none() && waits.wake.is_some(), "it may be the recorded owner: it claims again");
}

#[test]
fn a_resumed_holder_is_let_go_where_nothing_new_is_pushed() {
    let held = Grant { highest_epoch: 8, ..grant("a", Phase::Resuming) };
    let keeps = RepositoryPlan { push: Push::Keep, state: State::Held, ..plan("a") };
    let suspended = BTreeMap::from([("a".into(), sees(true, 0, None))]);
    let given = Input { seen: &suspended, ..input(&keeps, Some(&held), ClaimJob::Absent) };
    assert!(step(&given).run);
    let goes = BTreeMap::from([("a".into(), sees(false, 0, None))]);
    assert_eq!(granted(&step(&Input { seen: &goes, ..given.clone() })).phase, Phase::Active);
    let frozen = RepositoryPlan { frozen: true, ..keeps.clone() };
    assert_eq!(step(&Input { plan: &frozen, ..given }), Step::rest());
    let elected = plan("a");
    assert_eq!(granted(&step(&input(&elected, Some(&held), ClaimJob::Absent))).phase, Phase::Active);
}

#[test]
fn a_claim_that_meets_another_owner_than_its_permit_says_is_tried_with_that_one() {
    let (plan, next) = (plan("b"), Grant { epoch: 9, from: Some(from("a", 7)), ..grant("b", Phase::Claiming) });
    let drain = [drains("a", None)];
    let met = |recorded| {
        let report = ClaimReport { recorded, ..ended(Outcome::ClaimRefused) };
        step(&Input { drain: &drain, ..input(&plan, Some(&next), ClaimJob::Ended(report)) })
    };
    let unseen = met(Recorded::Ours(Former { cluster: "c".into(), epoch: 8, id: own() }));
    assert_eq!((granted(&unseen).epoch, granted(&unseen).from.clone()), (9, Some(from("c", 8))));
    assert_eq!(drained(&unseen).iter().map(|it| it.0).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(granted(&met(Recorded::Foreign)).from, None);
    let newer = met(Recorded::Ours(Former { cluster: "c".into(), epoch: 12, id: own() }));
    assert_eq!((granted(&newer).phase, granted(&newer).highest_epoch), (Phase::Recovering, 12));
}

#[test]
fn a_longer_deadline_is_written_down_before_a_run_may_last_so_long() {
    let plan = plan("a");
    let short = Grant { deadline_seconds: 600, ..grant("a", Phase::Active) };
    let raised = step(&input(&plan, Some(&short), ClaimJob::Absent));
    assert_eq!((granted(&raised).deadline_seconds, raised.run), (10_800, false));
}

fn recorded() -> impl Strategy<Value = Recorded> {
    let ours = (prop_oneof![Just("a"), Just("b"), Just("c")], 1..12_u64)
        .prop_map(|(member, epoch)| Recorded::Ours(Former { cluster: member.into(), epoch, id: own() }));
    prop_oneof![Just(Recorded::Unknown), Just(Recorded::Foreign), ours]
}

fn claims() -> impl Strategy<Value = ClaimJob> {
    let facts = (0..Outcome::ALL.len(), any::<(bool, bool, bool)>(), -20_000..200_i64, recorded(), recorded());
    let reports = facts.prop_map(|(index, (may_be_owner, over, run_began), start, recorded, found)| {
        ClaimJob::Ended(ClaimReport {
            may_be_owner,
            over,
            run_began,
            recorded,
            found,
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

fn members() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("c")]
}

/// Records as this machine writes them: what a claim may take over is drained.
fn records() -> impl Strategy<Value = Option<(Grant, Vec<Drain>)>> {
    let phases = prop_oneof![
        Just(Phase::Claiming),
        Just(Phase::Draining),
        Just(Phase::Active),
        Just(Phase::Resuming),
        Just(Phase::Recovering)
    ];
    let entries = proptest::collection::btree_map(members(), proptest::option::of(-100..500_i64), 0..3);
    let some = (members(), phases, proptest::option::of(-500..500_i64), 1..9_u64, any::<bool>(), entries);
    proptest::option::of(some.prop_map(|(member, phase, until, epoch, takes_over, entries)| {
        let mut drain: Vec<_> = entries.into_iter().map(|(member, clear)| drains(member, clear)).collect();
        if matches!(phase, Phase::Active | Phase::Resuming) {
            drain.clear();
        }
        let from = drain.first().filter(|_| takes_over).map(|entry| Former {
            cluster: entry.cluster.clone(),
            epoch: 0,
            id: own(),
        });
        (Grant { until: until.map(at), epoch, from, ..grant(member, phase) }, drain)
    }))
}

fn seen() -> impl Strategy<Value = BTreeMap<MemberName, Seen>> {
    let listed = proptest::option::of((-100..90_000_i64, 0..10_i64, any::<bool>()));
    let one = (any::<bool>(), 0..2_usize, listed).prop_map(|(suspended, live, listed)| {
        sees(suspended, live, listed.map(|(began, took, clear)| (began, began + took, clear)))
    });
    proptest::collection::btree_map(members().prop_map(MemberName::from), one, 0..4)
}

proptest! {
    /// One step does one thing; epochs grow with each new holder; nothing runs but under an active grant of the
    /// planned member; no holder is forgotten before it is known to run nothing.
    #[test]
    fn no_input_lets_a_step_skip_a_phase(
        claim in claims(),
        record in records(),
        seen in seen(),
        lost in any::<bool>(),
        reachable in any::<bool>(),
        keep in any::<bool>(),
        now in 0..100_000_i64,
    ) {
        let mut plan = plan("a");
        if keep {
            plan = RepositoryPlan { push: Push::Keep, state: State::Held, ..plan };
        }
        let evidence = [Evidence { former: Former { cluster: "c".into(), epoch: 4, id: own() }, deadline_seconds: 600 }];
        let (grant, drain) = record.clone().unzip();
        let (grant, drain) = (grant.as_ref(), drain.unwrap_or_default());
        let seen = own_lists(&seen, &drain);
        let given = Input {
            now: at(now),
            drain: &drain,
            seen: &seen,
            reachable,
            evidence: if lost { &evidence } else { &[] },
            highest_epoch: grant.map_or(0, |grant| grant.epoch).max(if lost { 4 } else { 0 }),
            ..input(&plan, grant, claim.clone())
        };
        let step = step(&given);
        if step.run {
            let grant = grant.unwrap();
            let active = grant.phase == Phase::Active && grant.cluster.as_str() == "a" && !keep;
            prop_assert!(active || (grant.phase == Phase::Resuming && keep));
        }
        prop_assert!(step.ledger.is_none() || (step.claim.is_none() && !step.run && step.list.is_empty()));
        if let Some(permit) = &step.claim {
            let grant = grant.unwrap();
            prop_assert!(grant.phase == Phase::Claiming && grant.cluster.as_str() == "a" && claim == ClaimJob::Absent);
            let wanted = grant.from.clone().map_or(Replaces::Foreign, Replaces::Exactly);
            prop_assert_eq!(&permit.replaces, &wanted);
        }
        let Some(LedgerChange::Grant(next, left)) = &step.ledger else { return Ok(()) };
        let is_left = |member: &MemberName| left.iter().any(|entry| entry.cluster == *member);
        let resumed = grant.is_some_and(|it| it.from == Some(Former { cluster: next.cluster.clone(), epoch: next.epoch, id: own() }));
        if let Some(before) = grant {
            let highest = |it: &Grant| it.epoch.max(it.highest_epoch);
            prop_assert!(highest(next) >= highest(before), "an epoch may be given again");
            prop_assert!(next.epoch >= before.epoch || resumed);
            // Whoever could run stays known, but for the one that is resumed under its own epoch.
            if before.cluster != next.cluster && before.phase != Phase::Claiming && before.phase != Phase::Recovering {
                prop_assert!(is_left(&before.cluster));
                prop_assert!(next.phase == Phase::Claiming && next.epoch > highest(before));
            }
        }
        if next.phase == Phase::Claiming && let Some(from) = &next.from {
            prop_assert!(is_left(&from.cluster), "what is taken over is drained");
        }
        for entry in &drain {
            if is_left(&entry.cluster) || (resumed && entry.cluster == next.cluster) {
                continue;
            }
            let since = grant.and_then(|it| it.since).unwrap();
            let over = at(now) >= after(since, SignedDuration::from_secs(10_800 + 300));
            let listed = seen.get(&entry.cluster).filter(|it| it.suspended && it.live == 0).and_then(|it| it.listed);
            let clear = entry.clear_since.zip(listed).is_some_and(|(first, second)| {
                second.clear && second.began >= after(first, SignedDuration::from_secs(60))
            });
            prop_assert!(grant.unwrap().phase == Phase::Draining && (over || clear));
        }
        if next.phase == Phase::Draining && grant.is_some_and(|it| it.phase == Phase::Claiming) && !resumed {
            let ClaimJob::Ended(report) = &claim else { panic!("drained without a claim") };
            let takes_over = matches!(&report.found, Recorded::Ours(found) if next.from.as_ref() == Some(found));
            prop_assert_eq!(report.outcome, Outcome::Claimed);
            prop_assert!(takes_over || next.until.is_some_and(|until| until >= at(now + 300)));
        }
        if next.phase == Phase::Active {
            let before = grant.unwrap();
            let waited = before.phase == Phase::Draining && before.until.is_none_or(|until| until <= at(now));
            prop_assert!(left.is_empty());
            prop_assert!(waited || matches!(before.phase, Phase::Resuming | Phase::Active));
        }
    }
}

#[test]
fn a_member_that_has_another_name_now_takes_its_own_grant_over_and_waits_for_itself() {
    let (plan, held) = (plan("new"), grant("old", Phase::Active));
    let new = MemberName::from("new");
    let moved = step(&Input { known_as: Some(&new), ..input(&plan, Some(&held), ClaimJob::Unknown) });
    let Some(LedgerChange::Grant(next, drain)) = &moved.ledger else { panic!("{moved:?}") };
    let former = Former { cluster: "old".into(), epoch: held.epoch, id: own() };
    assert_eq!((&next.cluster, next.epoch, next.from.as_ref()), (&new, held.epoch + 1, Some(&former)));
    assert_eq!(drain.iter().map(|it| &it.cluster).collect::<Vec<_>>(), [&new]);
}

#[test]
fn a_repository_that_was_made_anew_is_claimed_without_waiting_a_day() {
    let (plan, held) = (plan("a"), grant("a", Phase::Active));
    let refused = Input { turned_away: Some(Recorded::Foreign), ..input(&plan, Some(&held), ClaimJob::Absent) };
    assert!(step(&refused).ledger.is_none());
    let anew = step(&Input { replaced: true, ..refused });
    assert!(matches!(anew.ledger, Some(LedgerChange::Grant(next, _)) if next.epoch == held.epoch + 1));
}

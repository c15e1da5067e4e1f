//! Turns are never more than there are, go to who waited longest, and are lost by nobody who is in trouble.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::member::event::ObjectCondition;

const START: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

fn id(number: u64) -> RepositoryId {
    format!("{number:016x}").parse().unwrap()
}

fn job_of(number: u64) -> ObjectName {
    ObjectName::new("volsync-system", format!("claim-{number}"))
}

fn record(number: u64, started: Timestamp, ended: Option<Timestamp>) -> JobRecord {
    let label = |key: &str, value: String| (key.into(), value.into());
    let done = || ObjectCondition {
        kind: "Complete".into(),
        status: "True".into(),
        since: ended,
        reason: "".into(),
        message: "".into(),
    };
    JobRecord {
        labels: [label(labels::ROLE, "claim".into()), label(labels::REPOSITORY, id(number).to_string())].into(),
        created: Some(started),
        started: Some(started),
        completed: ended,
        conditions: ended.map(|_| done()).into_iter().collect(),
        ..JobRecord::default()
    }
}

/// A line with its fleet of one member, in which Jobs are seen only when the test says so.
struct Fleet {
    claims: Claims,
    max: usize,
    now: i64,
}

impl Fleet {
    fn new(max: usize) -> Self {
        Self { claims: Claims::default(), max, now: 0 }
    }
    fn ask(&mut self, number: u64) -> Turn {
        self.claims.ask(id(number), (&"a".into(), &job_of(number)), self.max, at(self.now))
    }
    fn starts(&mut self, number: u64) -> bool {
        self.ask(number) == Turn::Start
    }
    fn place(&mut self, number: u64) -> InLine {
        match self.ask(number) {
            Turn::Wait(place) => place,
            Turn::Start => panic!("{number} needs not wait"),
        }
    }
    fn made(&mut self, number: u64) {
        self.claims.made(id(number), at(self.now));
    }
    fn seen(&mut self, number: u64) {
        let began = at(self.now);
        self.claims.saw(&"a".into(), &job_of(number), Some(&record(number, began, None)));
    }
    fn ended(&mut self, number: u64, took: i64) {
        let job = record(number, at(self.now - took), Some(at(self.now)));
        self.claims.saw(&"a".into(), &job_of(number), Some(&job));
    }
    fn called(&mut self) -> Vec<RepositoryId> {
        self.claims.call(self.max, at(self.now))
    }
}

/// A record in the phase Claiming, which is told of with this reason.
fn claiming(member: &str, reason: &str) -> KopiaRepository {
    let grant = json!({"cluster": member, "epoch": 1, "phase": "Claiming"});
    let condition = json!({"type": "Maintained", "status": "False", "reason": reason, "message": "",
        "lastTransitionTime": at(0).to_string()});
    let record = json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "KopiaRepository",
        "metadata": {"name": "kr"}, "spec": {}, "status": {"grant": grant, "conditions": [condition]}});
    serde_json::from_value(record).unwrap()
}

#[test]
fn a_claim_in_a_member_that_has_not_been_read_takes_a_turn_until_it_is_known_or_must_have_ended() {
    let mut fleet = Fleet::new(3);
    for number in 1..=3 {
        fleet.claims.recorded(id(number), Some(&claiming("away", "Claiming")), at(0));
    }
    // Those have no Job yet.
    fleet.claims.recorded(id(4), Some(&claiming("away", "ClaimQueued")), at(0));
    assert_eq!((fleet.claims.under_way(at(0)), fleet.place(10).ahead), (3, 0));
    // Its own claim is nobody's but its own.
    assert!(!fleet.starts(11) && fleet.called().is_empty());
    // One is recorded to have ended, and one is seen: that one is not counted twice.
    fleet.claims.recorded(id(1), None, at(1));
    fleet.claims.saw(&"away".into(), &job_of(2), Some(&record(2, at(0), None)));
    assert_eq!((fleet.claims.under_way(at(1)), fleet.called()), (2, vec![id(10)]));
    // All that is said again or of the member changes nothing: it must have ended when it must have.
    fleet.now = LONGEST.as_secs() - 1;
    for reason in ["MemberUnreachable", "Claiming"] {
        fleet.claims.recorded(id(3), Some(&claiming("away", reason)), at(fleet.now));
        assert_eq!(fleet.claims.under_way(at(fleet.now)), 2, "{reason}");
    }
    assert_eq!(fleet.claims.under_way(at(LONGEST.as_secs())), 0);
    // It waits for another turn, or another member has it.
    fleet.claims.recorded(id(5), Some(&claiming("away", "Claiming")), at(2000));
    fleet.claims.recorded(id(5), Some(&claiming("away", "ClaimQueued")), at(2000));
    fleet.claims.recorded(id(6), Some(&claiming("away", "Claiming")), at(2000));
    fleet.claims.recorded(id(6), Some(&claiming("other", "MemberUnreachable")), at(2000));
    assert_eq!(fleet.claims.under_way(at(2000)), 0);
}

#[test]
fn what_has_been_read_counts_more_than_what_is_recorded() {
    let mut fleet = Fleet::new(1);
    fleet.claims.recorded(id(1), Some(&claiming("a", "Claiming")), at(0));
    assert!(!fleet.starts(2));
    fleet.claims.knows(&"a".into(), true);
    assert_eq!((fleet.claims.under_way(at(0)), fleet.called()), (0, vec![id(2)]));
    // It went away, and another hub claims there.
    fleet.claims.knows(&"a".into(), false);
    assert_eq!(fleet.claims.under_way(at(0)), 2);
}

#[test]
fn workers_that_ask_at_the_same_moment_get_no_more_turns_than_there_are() {
    let mut fleet = Fleet::new(2);
    assert!(fleet.starts(1) && fleet.starts(2), "no Job of either has been made yet");
    assert!(!fleet.starts(3) && fleet.starts(1), "a turn is kept by who has it");
    fleet.made(1);
    fleet.seen(1);
    assert!(!fleet.starts(3), "one Job, and one about to be made");
    assert_eq!(fleet.claims.under_way(at(0)), 2);
}

#[test]
fn who_waited_longest_is_called_first_and_newcomers_do_not_go_before() {
    let mut fleet = Fleet::new(1);
    assert!(fleet.starts(1));
    assert_eq!((fleet.place(2).ahead, fleet.place(3).ahead, fleet.place(2).ahead), (0, 1, 0));
    fleet.seen(1);
    assert!(fleet.called().is_empty());
    fleet.ended(1, 10);
    assert_eq!(fleet.called(), [id(2)]);
    assert!(!fleet.starts(4) && !fleet.starts(3) && fleet.starts(2));
}

#[test]
fn a_turn_of_which_no_use_is_made_goes_to_the_next() {
    let mut fleet = Fleet::new(1);
    assert!(fleet.starts(1) && !fleet.starts(2) && !fleet.starts(3));
    fleet.claims.leave(id(1));
    assert_eq!(fleet.called(), [id(2)]);
    fleet.now = CALLED.as_secs();
    assert_eq!(fleet.called(), [id(3)], "2 was called and did not come");
    fleet.claims.leave(id(3));
    assert!(fleet.starts(2) && fleet.claims.waiting() == 0);
}

#[test]
fn a_claim_that_may_have_been_made_keeps_its_turn_until_it_must_have_ended() {
    let mut fleet = Fleet::new(1);
    assert!(fleet.starts(1) && !fleet.starts(2));
    fleet.made(1);
    fleet.claims.leave(id(1));
    fleet.now = LONGEST.as_secs() - 1;
    assert!(fleet.called().is_empty(), "nobody knows whether it runs");
    fleet.now += 1;
    assert_eq!(fleet.called(), [id(2)]);
}

#[test]
fn a_job_in_a_member_that_went_away_holds_up_the_others_no_longer_than_it_can_run() {
    let mut fleet = Fleet::new(1);
    fleet.seen(1);
    assert!(!fleet.starts(2));
    fleet.now = LONGEST.as_secs();
    assert!(fleet.starts(2) || fleet.called() == [id(2)]);
}

#[test]
fn a_former_job_of_the_repository_takes_nothing_and_gives_nothing_back() {
    let mut fleet = Fleet::new(1);
    fleet.seen(1);
    let next = ObjectName::new("volsync-system", "claim-1-again");
    assert_eq!(
        fleet.claims.ask(id(1), (&"a".into(), &next), 1, at(0)),
        Turn::Start,
        "its own former Job is nobody else's"
    );
    fleet.ended(1, 5);
    assert!(!fleet.starts(2), "the turn is that of the Job to come");
}

#[test]
fn the_expected_time_follows_from_the_place_and_from_what_claims_took() {
    let mut fleet = Fleet::new(2);
    assert!(fleet.starts(101) && fleet.starts(102));
    for number in 1..=4 {
        fleet.ask(number);
    }
    let expected = |fleet: &mut Fleet, number| fleet.place(number).expected;
    assert_eq!(expected(&mut fleet, 2), at(60), "until one has ended, a minute each");
    assert_eq!(expected(&mut fleet, 3), at(120), "two at a time");
    fleet.seen(101);
    fleet.seen(102);
    fleet.now = 100;
    fleet.ended(101, 400);
    assert_eq!(fleet.called(), [id(1)]);
    assert_eq!(fleet.place(3), InLine { ahead: 1, expected: at(500) }, "one took 400 s");
    let told = fleet.place(4);
    assert_eq!(told, InLine { ahead: 2, expected: at(900) });
    fleet.now = 110;
    assert_eq!(fleet.place(4), told, "what is near enough is not told anew");
    fleet.now = 900;
    assert_eq!(fleet.place(4).expected, at(1700), "what is over is");
}

#[test]
fn where_the_line_moves_more_slowly_than_claims_do_its_own_pace_tells_and_nobody_is_told_every_second() {
    let mut fleet = Fleet::new(1);
    for number in 0..=200 {
        fleet.ask(number);
    }
    for number in 0..10 {
        fleet.seen(number);
        fleet.now += 10;
        fleet.ended(number, 1);
        assert_eq!(fleet.called(), [id(number + 1)]);
        assert!(fleet.starts(number + 1));
    }
    assert_eq!(fleet.place(111), InLine { ahead: 100, expected: at(100 + 1000) }, "ten seconds each");
    let mut fleet = Fleet::new(1);
    assert!(fleet.starts(0));
    let told = fleet.place(1).expected;
    assert_eq!(told, at(60));
    fleet.now = 60;
    assert_eq!(fleet.place(1).expected, at(120), "it is over, and a claim takes a minute");
    fleet.seen(0);
    fleet.ended(0, 1);
    fleet.now = 120;
    assert_eq!(fleet.place(1).expected, at(180), "also where a claim takes a second");
}

#[test]
fn each_member_has_a_fair_share_of_the_turns_while_others_wait() {
    let mut claims = Claims::default();
    let [one, two] = ["one", "two"].map(MemberName::from);
    let ask = |claims: &mut Claims, number, member| claims.ask(id(number), (member, &job_of(number)), 4, at(0));
    for number in 1..=4 {
        assert_eq!(ask(&mut claims, number, &one), Turn::Start);
        claims.saw(&one, &job_of(number), Some(&record(number, at(0), None)));
    }
    for number in 5..=7 {
        ask(&mut claims, number, &one);
    }
    for number in 8..=11 {
        ask(&mut claims, number, &two);
    }
    let end = |claims: &mut Claims, number| claims.saw(&one, &job_of(number), None);
    end(&mut claims, 1);
    assert_eq!(claims.call(4, at(0)), [id(8)], "the first one has three turns of four");
    end(&mut claims, 2);
    assert_eq!(claims.call(4, at(0)), [id(9)], "now each has two");
    end(&mut claims, 3);
    assert_eq!(claims.call(4, at(0)), [id(5)], "who has waited longest");
    // It has gone elsewhere meanwhile, and stands where it stood.
    ask(&mut claims, 6, &two);
    for number in 8..=11 {
        claims.leave(id(number));
    }
    assert_eq!(claims.call(4, at(0)), [id(6), id(7)]);
    assert_eq!((claims.waiting(), claims.waiting_in.len()), (0, 0));
}

proptest! {
    /// Any order of asking, making, seeing, ending, leaving and calling, with time going on.
    #[test]
    fn turns_are_never_more_than_there_are_and_none_is_left_unused(
        max in 1_usize..4, steps in proptest::collection::vec((0_u8..7, 0_u64..8, 0_i64..20), 1..120)
    ) {
        let mut fleet = Fleet::new(max);
        // Turns that were given and whose claim may be going on, as the test itself counts them.
        let mut running = BTreeMap::new();
        for (step, number, seconds) in steps {
            fleet.now += seconds;
            running.retain(|_, until| fleet.now < *until);
            match step {
                0 | 1 => {
                    if fleet.starts(number) {
                        fleet.made(number);
                        running.insert(number, fleet.now + LONGEST.as_secs());
                    }
                }
                2 if running.contains_key(&number) => fleet.seen(number),
                3 | 4 if running.contains_key(&number) => {
                    fleet.ended(number, 1);
                    running.remove(&number);
                }
                5 => fleet.claims.leave(id(number)),
                _ => {
                    let called = fleet.called();
                    prop_assert!(called.len() <= max);
                    prop_assert!(fleet.claims.waiting() == 0 || fleet.claims.under_way(at(fleet.now)) >= max);
                }
            }
            prop_assert!(running.len() <= max, "{} claims at once", running.len());
            prop_assert_eq!(fleet.claims.line.len(), fleet.claims.waiting.len());
        }
        // Nobody waits forever once all ends.
        for number in 0..8 {
            fleet.now += LONGEST.as_secs();
            fleet.called();
            fleet.ask(number);
        }
        fleet.now += LONGEST.as_secs();
        for _ in 0..9 {
            for called in fleet.called() {
                fleet.claims.leave(called);
            }
        }
        prop_assert_eq!(fleet.claims.waiting(), 0);
    }
}

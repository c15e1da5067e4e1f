//! A ledger that is lost, or older than what the members and Kopia tell.

use super::*;

#[test]
fn objects_of_a_later_grant_are_taken_up_before_they_are_cleared() {
    let plan = plan("a");
    let stands = |epoch| [Evidence { former: from("c", epoch), deadline_seconds: 600 }];
    let active = grant("a", Phase::Active);
    let known = stands(active.epoch - 1);
    let goes_on = step(&Input { evidence: &known, ..input(&plan, Some(&active), ClaimJob::Absent) });
    assert!(goes_on.run && goes_on.ledger.is_none());
    // A copy of the holder's objects, or what a lost ledger gave to somebody else: one of them needs another epoch.
    let twin = stands(active.epoch);
    let given_twice = Input { evidence: &twin, ..input(&plan, Some(&active), ClaimJob::Absent) };
    assert_eq!(granted(&step(&given_twice)).phase, Phase::Recovering);
    let renamed = MemberName::from("c");
    assert!(step(&Input { known_as: Some(&renamed), ..given_twice }).run, "the holder itself, under another name");
    let later = stands(active.epoch + 1);
    let stops = step(&Input { evidence: &later, ..input(&plan, Some(&active), ClaimJob::Absent) });
    assert_eq!((granted(&stops).phase, granted(&stops).highest_epoch), (Phase::Recovering, active.epoch + 1));
    let edited = [Evidence { former: from("a", active.epoch + 1), deadline_seconds: 600 }];
    assert!(step(&Input { evidence: &edited, ..input(&plan, Some(&active), ClaimJob::Absent) }).run, "put right");
    // Given to a claim that did not come through: the ledger knows it.
    let resumed = Grant { highest_epoch: active.epoch + 1, ..active };
    assert!(step(&Input { evidence: &later, ..input(&plan, Some(&resumed), ClaimJob::Absent) }).run);
}

#[test]
fn who_takes_over_a_grant_of_another_id_drains_both_but_not_where_that_one_goes_on_elsewhere() {
    let (plan, claiming) = (plan("b"), grant("b", Phase::Claiming));
    let another: RepositoryId = "00000000000000aa".parse().unwrap();
    let found = Recorded::Ours(Former { cluster: "c".into(), epoch: 9, id: another });
    let refused = ClaimReport { recorded: found, ..ended(Outcome::ClaimRefused) };
    let given = input(&plan, Some(&claiming), ClaimJob::Ended(refused));
    let ids = |step: &Step| match &step.ledger {
        Some(LedgerChange::Grant(next, drain)) => (next.epoch, drain[0].ids.clone()),
        other => panic!("{other:?}"),
    };
    let mut both = vec![plan.id, another];
    both.sort();
    assert_eq!(ids(&step(&given)), (10, both), "its record is lost, and its CronJob may stand");
    let mirror = Input { held_otherwise: &[another], ..given };
    assert_eq!(ids(&step(&mirror)), (10, vec![plan.id]), "a copy of a repository that goes on");
}

#[test]
fn a_lost_ledger_is_taken_up_from_what_stands_once_all_members_have_been_read() {
    let plan = plan("b");
    let stands = |member: &str, epoch, deadline_seconds| Evidence {
        former: Former { cluster: member.into(), epoch, id: own() },
        deadline_seconds,
    };
    let evidence = [stands("a", 7, 3600), stands("c", 5, 600)];
    let fresh = Input { evidence: &evidence, highest_epoch: 7, ..input(&plan, None, ClaimJob::Unknown) };
    // Written down before it can go.
    let lost = step(&fresh);
    let noted = granted(&lost).clone();
    assert_eq!((noted.cluster.as_str(), noted.epoch, noted.phase), ("a", 7, Phase::Recovering));
    assert_eq!(drained(&lost).iter().map(|it| it.0).collect::<Vec<_>>(), ["a", "c"]);
    let fresh = Input { grant: Some(&noted), ..fresh };
    let restores = step(&Input { ledger_since: Some(at(0)), ..fresh.clone() });
    assert_eq!((restores.ledger, restores.wake), (None, Some(at(1800))), "whoever restores it has half an hour");
    let given = Input { ledger_since: Some(at(-1740)), ..fresh };
    let gone = step(&Input { evidence: &[], highest_epoch: noted.epoch, ..given.clone() });
    assert_eq!((granted(&gone).epoch, granted(&gone).from.clone()), (8, Some(from("a", 7))));
    let unread = MemberName::from("d");
    let waits = step(&Input { unread: Some(&unread), ..given.clone() });
    assert_eq!((waits.ledger, waits.note.map(|note| note.0)), (None, Some("Recovering")));
    let taken = step(&given);
    assert_eq!((granted(&taken).cluster.as_str(), granted(&taken).epoch), ("b", 8));
    assert_eq!(granted(&taken).from, Some(from("a", 7)));
    assert_eq!(drained(&taken).iter().map(|it| it.0).collect::<Vec<_>>(), ["a", "c"]);
    // The record can't be read, or is older than the recorded owner.
    let outdated = Grant { from: Some(from("d", 12)), highest_epoch: 12, ..grant("b", Phase::Recovering) };
    let taken = step(&Input { grant: Some(&outdated), ..given });
    assert_eq!((granted(&taken).epoch, granted(&taken).from.clone()), (13, Some(from("d", 12))));
    assert_eq!(drained(&taken).iter().map(|it| it.0).collect::<Vec<_>>(), ["a", "c", "d"]);
}

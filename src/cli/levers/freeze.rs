//! A freeze and its end.

use jiff::Timestamp;
use serde_json::json;

use super::decide::{Edit, NO_CHANGE, Scope, Step, condition, find};
use super::resolve::Repository;
use crate::api::member_cluster::MemberCluster;
use crate::cli::output::relative;

pub fn freeze<'a>(
    repository: Repository<'a>,
    (until, reason): (Timestamp, &str),
    (scope, members): (&Scope, &[MemberCluster]),
    now: Timestamp,
) -> Step<'a> {
    let before = repository.frozen_until().filter(|before| *before > now);
    let longer = before.filter(|before| *before > until);
    // Whoever freezes many has not looked at each: a longer freeze there was meant by somebody.
    let kept = longer.is_some() && *scope != Scope::One;
    let first = repository.first();
    let mut edits = Vec::new();
    for record in repository.records().filter(|_| !kept) {
        let ends = record.spec.frozen_until.as_ref().map(|time| time.0);
        let is_first = std::ptr::eq(record, first);
        if is_first && (ends != Some(until) || record.spec.reason.as_deref() != Some(reason)) {
            edits.push(Edit::new(record, json!({"frozenUntil": until.to_string(), "reason": reason})));
        } else if !is_first && ends.is_some_and(|ends| ends > until) {
            edits.push(Edit::new(record, json!({"frozenUntil": until.to_string()})));
        }
    }
    let mut notes = Vec::new();
    if kept {
        notes.push("its freeze is longer already and stays as it is: name the repository to shorten it".to_owned());
    } else if let Some(old) = repository.reason().filter(|old| *old != reason && !edits.is_empty()) {
        let of_pin = if repository.pins().is_empty() { "" } else { ", which may be that of its pin," };
        notes.push(format!("its former reason {old:?}{of_pin} is replaced"));
    }
    if !edits.is_empty() {
        notes.extend(unreachable(&repository, members));
    }
    let question = longer.filter(|_| !kept).map(|longer| {
        let name = repository.name();
        let why = repository.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("{name} is frozen until {longer}{why} already, and this freeze ends sooner")
    });
    let frozen_then = || format!("frozen until {until} ({})", relative(until, now));
    let then = if edits.is_empty() { NO_CHANGE.to_owned() } else { frozen_then() };
    Step { now: frozen(&repository, now), then, edits, notes, question, refused: None, repository }
}

fn frozen(repository: &Repository<'_>, now: Timestamp) -> String {
    match repository.frozen_until() {
        None => "not frozen".to_owned(),
        Some(until) if until <= now => format!("freeze ended {}", relative(until, now)),
        // Read so where it can't be read.
        Some(until) if until == Timestamp::MAX => "frozen for good".to_owned(),
        Some(until) => format!("frozen until {until}"),
    }
}

pub fn thaw(repository: Repository<'_>, now: Timestamp) -> Step<'_> {
    let frozen_records = repository.records().filter(|record| record.spec.frozen_until.is_some());
    let edits: Vec<Edit> = frozen_records
        .map(|record| {
            // One reason stands for both levers.
            let pinned = record.spec.cluster.is_some();
            let spec = if pinned { json!({"frozenUntil": null}) } else { json!({"frozenUntil": null, "reason": null}) };
            Edit::new(record, spec)
        })
        .collect();
    let mut notes = Vec::new();
    if let Some(reason) = repository.reason().filter(|_| !edits.is_empty() && !repository.pins().is_empty()) {
        notes.push(format!("its reason {reason:?} stays, for it is pinned as well"));
    }
    let then = if edits.is_empty() { NO_CHANGE } else { "not frozen" }.to_owned();
    Step { now: frozen(&repository, now), then, edits, notes, question: None, refused: None, repository }
}

/// The hub suspends a CronJob by asking the member's API server.
fn unreachable(repository: &Repository<'_>, members: &[MemberCluster]) -> Option<String> {
    let holder = &repository.grant()?.cluster;
    let object = find(members, holder)?;
    (condition(object, "Reachable") == Some("False")).then(|| {
        format!(
            "{holder}, which maintains it, can't be reached: its CronJob goes on there until the hub reaches it again"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::decide::Lever;
    use super::super::testing::{FOUR, decided, freeze_until, held, member, name, record};
    use super::*;

    const LONGER: &str = "2026-03-09T00:00:00Z";

    #[test]
    fn a_freeze_of_one_repository_is_not_asked_about() {
        let told = decided(&freeze_until(FOUR), &Scope::One, &[held(1, &json!({}))], &[]);
        assert_eq!(told.edits, [(name(1), json!({"frozenUntil": FOUR, "reason": "store moves"}))]);
        assert_eq!(told.thens, [format!("frozen until {FOUR} (in 4h)")]);
        assert!(told.questions.is_empty() && told.notes.is_empty(), "{told:?}");
    }

    #[test]
    fn a_longer_freeze_is_shortened_by_name_after_asking_and_never_in_bulk() {
        let objects = [held(1, &json!({"frozenUntil": LONGER, "reason": "audit"})), held(2, &json!({}))];
        let one = decided(&freeze_until(FOUR), &Scope::One, &objects[..1], &[]);
        assert_eq!(one.edits.len(), 1);
        assert_eq!(
            one.questions,
            [format!("{} is frozen until {LONGER} (audit) already, and this freeze ends sooner", name(1))]
        );
        let all = decided(&freeze_until(FOUR), &Scope::All, &objects, &[]);
        assert_eq!(all.edits.iter().map(|edit| &edit.0).collect::<Vec<_>>(), [&name(2)]);
        assert_eq!(all.questions, ["this stops maintenance of 1 repository of the whole fleet"]);
        assert!(all.notes[0].contains("longer already and stays"), "{all:?}");
        assert_eq!(all.thens[0], "no change");
        // One that is over is none.
        let over = [held(1, &json!({"frozenUntil": "2026-02-01T00:00:00Z"}))];
        assert!(decided(&freeze_until(FOUR), &Scope::One, &over, &[]).questions.is_empty());
    }

    #[test]
    fn of_one_repository_every_record_that_would_freeze_it_longer_is_shortened() {
        let objects = [held(1, &json!({})), record(2, &json!({"sameAs": name(1), "frozenUntil": LONGER}), &json!({}))];
        let told = decided(&freeze_until(FOUR), &Scope::One, &objects, &[]);
        assert_eq!(told.edits[1], (name(2), json!({"frozenUntil": FOUR})));
        assert_eq!((told.edits.len(), told.questions.len()), (2, 1));
        let thawed = decided(&Lever::Thaw, &Scope::One, &objects, &[]);
        assert_eq!(thawed.edits, [(name(2), json!({"frozenUntil": null, "reason": null}))]);
    }

    #[test]
    fn the_same_freeze_again_and_a_thaw_of_what_is_not_frozen_change_nothing() {
        let objects = [held(1, &json!({"frozenUntil": FOUR, "reason": "store moves"}))];
        let again = decided(&freeze_until(FOUR), &Scope::All, &objects, &[]);
        assert!(again.edits.is_empty() && again.questions.is_empty() && again.thens == ["no change"], "{again:?}");
        let warm = decided(&Lever::Thaw, &Scope::All, &[held(1, &json!({}))], &[]);
        assert!(warm.edits.is_empty() && warm.questions.is_empty(), "{warm:?}");
    }

    #[test]
    fn who_maintains_it_and_can_not_be_reached_goes_on() {
        let away = member("east", &json!({}), "False");
        let told = decided(&freeze_until(FOUR), &Scope::One, &[held(1, &json!({}))], &[away]);
        assert!(told.notes[0].contains("its CronJob goes on there"), "{told:?}");
    }
}

//! A pin and its end.

use jiff::Timestamp;
use serde_json::json;

use super::decide::{Edit, NO_CHANGE, Step, condition, find};
use super::resolve::Repository;
use crate::api::member_cluster::{Lifecycle, MemberCluster};

fn pinned(repository: &Repository<'_>) -> String {
    match repository.pins()[..] {
        [] => "not pinned".to_owned(),
        [pin] => format!("pinned to {pin}"),
        _ => format!("contradicting pins to {}", repository.pins().join(" and ")),
    }
}

pub fn pin<'a>(
    repository: Repository<'a>,
    (member, reason): (&str, Option<&str>),
    members: &[MemberCluster],
    now: Timestamp,
) -> Step<'a> {
    let edits = edits(&repository, member, reason);
    let mut notes: Vec<String> = other_reason(&repository, reason).into_iter().collect();
    let holder = repository.grant().map(|grant| grant.cluster.as_str()).filter(|holder| *holder != member);
    if !edits.is_empty() {
        notes.extend(no_candidate(&repository, member, members));
    }
    let question = holder.filter(|_| !edits.is_empty()).map(|holder| {
        let name = repository.name();
        format!("{holder} holds the grant of {name}: a hand-over to {member} follows where {member} can run it")
    });
    notes.extend(frozen_first(&repository, now).filter(|_| question.is_some()));
    let then = if edits.is_empty() { NO_CHANGE.to_owned() } else { format!("pinned to {member}") };
    Step { now: pinned(&repository), then, edits, notes, question, refused: None, repository }
}

/// What it takes until no record says anything else.
pub fn edits(repository: &Repository<'_>, member: &str, reason: Option<&str>) -> Vec<Edit> {
    let first = repository.first();
    let mut edits = Vec::new();
    for record in repository.records() {
        let (is, because) = (record.spec.cluster.as_deref(), record.spec.reason.as_deref());
        if std::ptr::eq(record, first) {
            let other_reason = reason.is_some() && because != reason;
            if is != Some(member) || other_reason {
                let mut spec = json!({"cluster": member});
                if let Some(reason) = reason {
                    spec["reason"] = reason.into();
                }
                edits.push(Edit::new(record, spec));
            }
        } else if is.is_some_and(|is| is != member) {
            // Two pins that contradict each other are followed by nobody.
            edits.push(Edit::new(record, json!({"cluster": null})));
        }
    }
    edits
}

pub fn other_reason(repository: &Repository<'_>, reason: Option<&str>) -> Option<String> {
    let old = repository.reason().filter(|old| reason.is_some_and(|reason| reason != *old))?;
    Some(format!("its former reason {old:?} is replaced"))
}

/// A freeze goes before everything that moves a grant.
pub fn frozen_first(repository: &Repository<'_>, now: Timestamp) -> Option<String> {
    let until = repository.frozen_until().filter(|until| *until > now)?;
    Some(format!("it is frozen until {until}: no hand-over begins before"))
}

/// What speaks against the member, as far as status tells. The hub decides; a pin may be meant for later.
pub fn no_candidate(repository: &Repository<'_>, member: &str, members: &[MemberCluster]) -> Option<String> {
    let object = find(members, member)?;
    let status = repository.status();
    let listed = status.is_some_and(|status| {
        !repository.lists_all_clusters()
            || status.clusters.iter().any(|count| count.cluster == member && count.ready > 0)
    });
    let why = if object.spec.paused {
        "it is paused"
    } else if object.spec.lifecycle != Lifecycle::Active {
        "it is retired or forgotten"
    } else if !object.spec.eligible {
        "it is not eligible"
    } else if condition(object, "Reachable").is_some_and(|status| status != "True") {
        return Some(format!("{member} can't be reached now: it takes over once it can"));
    } else if !listed {
        "status knows of no source with a usable Secret there"
    } else {
        return None;
    };
    Some(format!("{member} may be no candidate ({why}): then the pin moves nothing, and status says PinUnsatisfied"))
}

pub fn unpin(repository: Repository<'_>, now: Timestamp) -> Step<'_> {
    let pinned_records = repository.records().filter(|record| record.spec.cluster.is_some());
    let edits: Vec<Edit> = pinned_records
        .map(|record| {
            let frozen = record.spec.frozen_until.as_ref().is_some_and(|until| until.0 > now);
            let spec = if frozen { json!({"cluster": null}) } else { json!({"cluster": null, "reason": null}) };
            Edit::new(record, spec)
        })
        .collect();
    let frozen = repository.frozen_until().is_some_and(|until| until > now);
    let mut notes = Vec::new();
    if let Some(reason) = repository.reason().filter(|_| frozen && !edits.is_empty()) {
        notes.push(format!("its reason {reason:?} stays, for it is frozen as well"));
    }
    let then = if edits.is_empty() { NO_CHANGE } else { "not pinned" }.to_owned();
    Step { now: pinned(&repository), then, edits, notes, question: None, refused: None, repository }
}

#[cfg(test)]
mod tests {
    use super::super::decide::{Lever, Scope};
    use super::super::testing::{FOUR, decided, held, member, name, pin_to, record};
    use super::*;

    #[test]
    fn a_pin_away_from_the_holder_is_asked_about_and_one_to_it_is_not() {
        let members = [member("east", &json!({}), "True"), member("west", &json!({}), "True")];
        let away = decided(&pin_to("west"), &Scope::One, &[held(1, &json!({}))], &members);
        assert_eq!(away.edits, [(name(1), json!({"cluster": "west"}))]);
        assert!(away.questions[0].contains("a hand-over to west follows") && away.notes.is_empty(), "{away:?}");
        let stays = decided(&pin_to("east"), &Scope::One, &[held(1, &json!({}))], &members);
        assert!(stays.questions.is_empty() && stays.edits.len() == 1, "{stays:?}");
        let frozen = decided(&pin_to("west"), &Scope::One, &[held(1, &json!({"frozenUntil": FOUR}))], &members);
        assert_eq!(frozen.notes, [format!("it is frozen until {FOUR}: no hand-over begins before")]);
        let again = decided(&pin_to("west"), &Scope::One, &[held(1, &json!({"cluster": "west"}))], &members);
        assert!(again.edits.is_empty() && again.questions.is_empty(), "{again:?}");
    }

    #[test]
    fn contradicting_pins_of_one_repository_become_one() {
        let objects = [
            held(1, &json!({"cluster": "east"})),
            record(2, &json!({"sameAs": name(1), "cluster": "west"}), &json!({})),
        ];
        let told = decided(&pin_to("east"), &Scope::One, &objects, &[]);
        assert_eq!(told.edits, [(name(2), json!({"cluster": null}))]);
        assert_eq!(decided(&Lever::Unpin, &Scope::One, &objects, &[]).edits.len(), 2);
    }

    #[test]
    fn what_speaks_against_a_member_is_told() {
        let cases = [
            ("west", json!({"paused": true}), "True", "it is paused"),
            ("west", json!({"eligible": false}), "True", "it is not eligible"),
            ("west", json!({"lifecycle": "Retired"}), "True", "it is retired"),
            ("west", json!({}), "False", "west can't be reached now"),
            ("north", json!({}), "True", "no source with a usable Secret"),
        ];
        for (to, spec, reachable, said) in cases {
            let told = decided(&pin_to(to), &Scope::One, &[held(1, &json!({}))], &[member(to, &spec, reachable)]);
            assert!(told.notes[0].contains(said), "{told:?}");
        }
    }
}

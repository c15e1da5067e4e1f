//! Failover: a grant is given up whose member can't be reached.

use jiff::Timestamp;
use serde_json::json;

use super::decide::{Edit, NO_CHANGE, Scope, Step, condition, find, is_reachable};
use super::pin;
use super::resolve::Repository;
use crate::api::kopia_repository::{GivenUp, GrantPhase, KopiaRepository};
use crate::api::member_cluster::{Lifecycle, MemberCluster};

/// `to` and `reason`, where given.
pub fn failover<'a>(
    repository: Repository<'a>,
    (to, reason): (Option<&str>, Option<&str>),
    (scope, members): (&Scope, &[MemberCluster]),
    now: Timestamp,
) -> Step<'a> {
    let name = repository.name();
    let (record, subject) = match subject(&repository) {
        Ok(found) => found,
        Err(why) => return refused(repository, "no grant to give up".to_owned(), why),
    };
    let holder = subject.cluster.clone();
    let held_by = format!("held by {holder}, epoch {}", subject.epoch);
    if is_reachable(members, &holder) {
        let why = format!(
            "{holder}, which holds {name}, can be reached: `volsync-hub pin {name} MEMBER` moves it in peace, and \
             `volsync-hub members retire {holder}` moves all that it holds"
        );
        return refused(repository, held_by, why);
    }
    if to == Some(holder.as_str()) {
        let why = format!("{holder} is the member that can't be reached: {name} can't be handed over to it");
        return refused(repository, held_by, why);
    }
    let edits = edits(&repository, (record, &subject), to, reason);
    let mut notes = Vec::new();
    if !edits.is_empty() {
        notes.extend(pin::other_reason(&repository, reason));
        notes.extend(match to {
            Some(to) => pin::no_candidate(&repository, to, members),
            None => waits(&repository, &holder, members),
        });
        notes.extend(pin::frozen_first(&repository, now));
    }
    let asked = *scope == Scope::One && !edits.is_empty();
    let question = asked.then(|| {
        format!(
            "this takes {name} from {holder}, which nobody can see into: a run that is under way there can't be stopped"
        )
    });
    let heir = to.unwrap_or("another candidate");
    let then = if edits.is_empty() { NO_CHANGE.to_owned() } else { format!("given up, {heir} takes over") };
    Step { now: held_by, then, edits, notes, question, refused: None, repository }
}

fn refused(repository: Repository<'_>, now: String, why: String) -> Step<'_> {
    let (then, notes) = (NO_CHANGE.to_owned(), vec![why.clone()]);
    Step { now, then, edits: Vec::new(), notes, question: None, refused: Some(why), repository }
}

/// The record with the grant, and what is given up: the grant, or while its claim is under way the one before, for until
/// that is through the former holder goes on.
fn subject<'a>(repository: &Repository<'a>) -> Result<(&'a KopiaRepository, GivenUp), String> {
    let name = repository.name();
    let Some((record, grant)) = repository.granted() else {
        return Err(format!("{name} has no grant: nobody holds it, so nothing is to be taken from anybody"));
    };
    let subject = match &grant.from {
        Some(from) if grant.phase == GrantPhase::Claiming => {
            GivenUp { cluster: from.cluster.clone(), epoch: from.epoch }
        }
        _ => GivenUp { cluster: grant.cluster.clone(), epoch: grant.epoch },
    };
    if subject.epoch < 1 {
        return Err(format!(
            "the ledger does not know under which epoch {} holds {name} (phase {:?}): the hub finds out by itself, or \
             restore the status of the KopiaRepository",
            subject.cluster, grant.phase
        ));
    }
    Ok((record, subject))
}

fn edits(
    repository: &Repository<'_>,
    (record, subject): (&KopiaRepository, &GivenUp),
    to: Option<&str>,
    reason: Option<&str>,
) -> Vec<Edit> {
    let mut edits = to.map(|to| pin::edits(repository, to, None)).unwrap_or_default();
    let other_reason = reason.is_some() && record.spec.reason.as_deref() != reason;
    if record.spec.failover.as_ref() == Some(subject) && !other_reason {
        return edits;
    }
    let name = record.metadata.name.as_deref().unwrap_or_default();
    let place = edits.iter().position(|edit| edit.name == name).unwrap_or_else(|| {
        edits.push(Edit::new(record, json!({})));
        edits.len() - 1
    });
    let spec = &mut edits[place].spec;
    spec["failover"] = json!(subject);
    if let Some(reason) = reason {
        spec["reason"] = reason.into();
    }
    edits
}

/// Who could take over must be there itself. The hub decides; status tells of no more than twenty members.
fn waits(repository: &Repository<'_>, holder: &str, members: &[MemberCluster]) -> Option<String> {
    if let [pin] = repository.pins()[..] {
        if pin == holder || !is_reachable(members, pin) {
            return Some(format!(
                "it is pinned to {pin}, which can't be reached, so nobody takes over: give --to MEMBER, or unpin it"
            ));
        }
        return None;
    }
    let others = heirs(repository, holder, members);
    (others.is_empty() && repository.lists_all_clusters()).then(|| {
        "status knows of no other member that can be reached and has a usable source of it: it waits until there is one"
            .to_owned()
    })
}

/// Members that could take a repository over, as far as status tells.
pub fn heirs<'a>(repository: &Repository<'a>, holder: &str, members: &[MemberCluster]) -> Vec<&'a str> {
    let clusters = repository.status().map(|status| status.clusters.as_slice()).unwrap_or_default();
    let stands = |name: &str| {
        let may = |object: &MemberCluster| {
            let spec = &object.spec;
            spec.eligible && !spec.paused && spec.lifecycle == Lifecycle::Active
        };
        find(members, name).is_some_and(|object| may(object) && condition(object, "Reachable") == Some("True"))
    };
    let others = clusters.iter().filter(|count| count.ready > 0 && count.cluster != holder);
    others.map(|count| count.cluster.as_str()).filter(|name| stands(name)).collect()
}

/// What to make sure of first, and how to go on then.
pub fn unforced(steps: &[Step<'_>], scope: &Scope, to: Option<&str>) -> String {
    let mut edited = steps.iter().filter(|step| !step.edits.is_empty());
    let name = edited.next().map(|step| step.repository.name()).unwrap_or_default();
    let which = match scope {
        Scope::From(member) => format!("--from {member}"),
        _ => name,
    };
    let to = to.map(|to| format!(" --to {to}")).unwrap_or_default();
    format!(
        "nothing was done, for nobody can see into the member, and its own CronJob goes on there. Make sure that it is \
         really gone, or stops: switch its nodes off, or delete its CronJobs with a context of it. Then another member \
         claims the repository under a new epoch, so that every later run of the former holder is fenced, and the first \
         run waits for that holder's deadline and five minutes. What is left is a run that has begun already and lasts \
         longer than its deadline, on a machine that was frozen. Once you are sure: \
         volsync-hub failover {which}{to} --force --reason TEXT"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::decide::Lever;
    use super::super::testing::{FOUR, Told, decided, held, member, name, record};
    use super::*;

    fn lever(to: Option<&str>, force: bool) -> Lever {
        let reason = force.then(|| "burnt down".to_owned());
        Lever::Failover { to: to.map(str::to_owned), reason, force }
    }

    fn fleet(east: &str, west: &str) -> [MemberCluster; 2] {
        [member("east", &json!({}), east), member("west", &json!({}), west)]
    }

    fn one(object: KopiaRepository, members: &[MemberCluster]) -> Told {
        decided(&lever(None, true), &Scope::One, &[object], members)
    }

    fn granted(grant: &Value) -> KopiaRepository {
        record(1, &json!({}), &json!({"grant": grant, "sourceCount": 1}))
    }

    #[test]
    fn the_grant_that_stands_in_the_ledger_is_given_up_and_it_is_asked_first() {
        let told = one(held(1, &json!({})), &fleet("False", "True"));
        let spec = json!({"failover": {"cluster": "east", "epoch": 1}, "reason": "burnt down"});
        assert_eq!(told.edits, [(name(1), spec)]);
        assert_eq!(told.thens, ["given up, another candidate takes over"]);
        assert!(told.questions[0].starts_with(&format!("this takes {} from east", name(1))), "{told:?}");
        assert!(told.notes.is_empty() && told.refusal.is_none(), "{told:?}");
        // A member without a MemberCluster is gone.
        assert_eq!(one(held(1, &json!({})), &fleet("False", "True")[1..]).edits.len(), 1);
        let unknown = one(held(1, &json!({})), &fleet("Unknown", "True"));
        assert_eq!(unknown.edits.len(), 1);
    }

    #[test]
    fn while_a_claim_is_under_way_the_grant_before_it_counts() {
        let claiming =
            json!({"cluster": "west", "epoch": 5, "phase": "Claiming", "from": {"cluster": "east", "epoch": 3}});
        let told = one(granted(&claiming), &fleet("False", "True"));
        assert_eq!(told.edits[0].1["failover"], json!({"cluster": "east", "epoch": 3}));
        let back = one(granted(&claiming), &fleet("True", "False"));
        assert!(back.refusal.unwrap().contains("east, which holds"), "the former holder goes on");
        let first = json!({"cluster": "east", "epoch": 1, "phase": "Claiming"});
        assert_eq!(one(granted(&first), &fleet("False", "True")).edits.len(), 1);
    }

    #[test]
    fn what_can_be_reached_has_no_grant_or_no_epoch_is_refused() {
        let told = one(held(1, &json!({})), &fleet("True", "True"));
        let refusal = told.refusal.unwrap();
        assert!(told.edits.is_empty() && told.questions.is_empty());
        for part in
            ["east, which holds", "can be reached", "volsync-hub pin", "members retire east", "nothing was done"]
        {
            assert!(refusal.contains(part), "no {part} in {refusal}");
        }
        let none = one(record(1, &json!({}), &json!({})), &fleet("False", "True"));
        assert!(none.refusal.unwrap().contains("has no grant"));
        let lost =
            one(granted(&json!({"cluster": "east", "epoch": 0, "phase": "Recovering"})), &fleet("False", "True"));
        assert!(lost.refusal.unwrap().contains("Recovering"));
        let to_itself =
            decided(&lever(Some("east"), true), &Scope::One, &[held(1, &json!({}))], &fleet("False", "True"));
        assert!(to_itself.refusal.unwrap().contains("can't be handed over to it"));
    }

    #[test]
    fn without_force_nothing_is_done_and_it_says_what_to_make_sure_of() {
        let told = decided(&lever(Some("west"), false), &Scope::One, &[held(1, &json!({}))], &fleet("False", "True"));
        let refusal = told.refusal.unwrap();
        let again = format!("volsync-hub failover {} --to west --force --reason TEXT", name(1));
        for part in ["its own CronJob goes on", "new epoch", "five minutes", "frozen", &again] {
            assert!(refusal.contains(part), "no {part} in {refusal}");
        }
        let from = Scope::From("east".to_owned());
        let told =
            decided(&lever(None, false), &from, &[held(1, &json!({})), held(2, &json!({}))], &fleet("False", "True"));
        assert!(told.refusal.unwrap().ends_with("volsync-hub failover --from east --force --reason TEXT"));
    }

    #[test]
    fn with_a_member_it_is_pinned_there_too() {
        let objects = [
            held(1, &json!({"cluster": "east", "reason": "near"})),
            record(2, &json!({"sameAs": name(1), "cluster": "north"}), &json!({})),
        ];
        let told = decided(&lever(Some("west"), true), &Scope::One, &objects, &fleet("False", "True"));
        let spec = json!({"cluster": "west", "failover": {"cluster": "east", "epoch": 1}, "reason": "burnt down"});
        assert_eq!(told.edits, [(name(1), spec), (name(2), json!({"cluster": null}))]);
        assert_eq!(told.notes, ["its former reason \"near\" is replaced"]);
        let away = decided(&lever(Some("west"), true), &Scope::One, &objects, &fleet("False", "False"));
        assert!(away.notes[1].contains("west can't be reached now"), "{away:?}");
    }

    #[test]
    fn the_record_that_has_the_grant_gives_it_up() {
        let objects = [
            record(
                1,
                &json!({}),
                &json!({"sourceCount": 1, "grant": {"cluster": "east", "epoch": 2, "phase": "Active"}}),
            ),
            record(
                2,
                &json!({"sameAs": name(1)}),
                &json!({"grant": {"cluster": "north", "epoch": 4, "phase": "Active"}}),
            ),
        ];
        let told = decided(&lever(None, true), &Scope::One, &objects, &fleet("False", "True"));
        assert_eq!(told.edits[0].0, name(2));
        assert_eq!(told.edits[0].1["failover"], json!({"cluster": "north", "epoch": 4}));
    }

    #[test]
    fn what_it_waits_for_is_told() {
        let away = fleet("False", "False");
        assert!(one(held(1, &json!({})), &away).notes[0].contains("it waits until there is one"));
        let retired = [away[0].clone(), member("west", &json!({"lifecycle": "Retired"}), "True")];
        assert!(one(held(1, &json!({})), &retired).notes[0].contains("it waits until there is one"));
        let pinned = one(held(1, &json!({"cluster": "east"})), &fleet("False", "True"));
        assert!(pinned.notes[0].contains("it is pinned to east, which can't be reached"), "{pinned:?}");
        let frozen = one(held(1, &json!({"frozenUntil": FOUR})), &fleet("False", "True"));
        assert_eq!(frozen.notes, [format!("it is frozen until {FOUR}: no hand-over begins before")]);
    }

    #[test]
    fn the_same_again_changes_nothing_and_many_are_asked_about_once() {
        let spec = json!({"failover": {"cluster": "east", "epoch": 1}, "reason": "burnt down"});
        let again = one(held(1, &spec), &fleet("False", "True"));
        assert!(again.edits.is_empty() && again.questions.is_empty() && again.refusal.is_none(), "{again:?}");
        let from = Scope::From("east".to_owned());
        let many =
            decided(&lever(None, true), &from, &[held(1, &json!({})), held(2, &json!({}))], &fleet("False", "True"));
        assert_eq!(many.questions, ["this takes 2 repositories from east, which nobody can see into"]);
    }
}

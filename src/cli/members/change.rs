//! Retiring, forgetting and taking back a member: what becomes of what it holds, and what is asked first.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::bound::counted;
use crate::api::member_cluster::{Lifecycle, MemberCluster, MemberClusterSpec};
use crate::cli::levers::decide::{Edit, find, is_reachable};
use crate::cli::levers::failover::heirs;
use crate::cli::levers::resolve::{self, Repository};
use crate::cli::output::{Cell, Table, Tone, one_line};

/// Why it was forgotten, on its MemberCluster.
pub const REASON: &str = "hub.volsync.backube/reason";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Retire,
    Forget { force: bool, reason: Option<String> },
    Activate,
}

impl Change {
    pub fn lifecycle(&self) -> Lifecycle {
        match self {
            Self::Retire => Lifecycle::Retired,
            Self::Forget { .. } => Lifecycle::Forgotten,
            Self::Activate => Lifecycle::Active,
        }
    }
}

/// What becomes of one repository that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub location: String,
    pub state: String,
    pub then: String,
    /// Nobody will maintain it.
    pub is_lost: bool,
}

#[derive(Clone, Debug)]
pub struct Decided {
    pub rows: Vec<Row>,
    pub notes: Vec<String>,
    pub questions: Vec<String>,
    /// Why nothing is done.
    pub refusal: Option<String>,
    /// None: it says so already.
    pub edit: Option<Edit<MemberClusterSpec>>,
}

pub fn decide(
    change: &Change,
    member: &MemberCluster,
    (repositories, members): (&[Repository<'_>], &[MemberCluster]),
    now: Timestamp,
) -> Decided {
    let name = member.metadata.name.clone().unwrap_or_default();
    let reachable = is_reachable(members, &name);
    let held = resolve::by_holder(repositories, &name);
    let rows: Vec<Row> = match change {
        Change::Activate => Vec::new(),
        _ => held.iter().map(|repository| row(repository, &name, members, now)).collect(),
    };
    let edit = edit(change, member);
    let mut notes = Vec::new();
    if edit.is_some() {
        let lost = rows.iter().filter(|row| row.is_lost);
        notes.extend(
            lost.map(|row| format!("{}: no other member can have it: it is not maintained any more", row.name)),
        );
        notes.extend(note(change, (&name, member), reachable));
    }
    let questions = edit.as_ref().and_then(|_| question(change, &name, &rows)).into_iter().collect();
    let refusal = edit.as_ref().and_then(|_| refusal(change, &name, reachable));
    Decided { rows, notes, questions, refusal, edit }
}

fn edit(change: &Change, member: &MemberCluster) -> Option<Edit<MemberClusterSpec>> {
    let wanted = match change {
        Change::Forget { reason: Some(reason), .. } => Value::from(reason.as_str()),
        _ => Value::Null,
    };
    let is = member.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REASON));
    let other_reason =
        wanted.as_str() != is.map(String::as_str) && matches!(change, Change::Forget { reason: Some(_), .. });
    if member.spec.lifecycle == change.lifecycle() && !other_reason {
        return None;
    }
    let mut edit = Edit::new(member, json!({"lifecycle": change.lifecycle()}));
    if wanted.as_str() != is.map(String::as_str) {
        edit.annotations = json!({REASON: wanted});
    }
    Some(edit)
}

/// Where a repository goes once its holder counts no more, as far as status tells.
fn row(repository: &Repository<'_>, holder: &str, members: &[MemberCluster], now: Timestamp) -> Row {
    let status = repository.status();
    let clusters = status.map(|status| status.clusters.as_slice()).unwrap_or_default();
    let pins = repository.pins();
    let pinned = |name: &str| pins.len() != 1 || pins[0] == name;
    let heirs: Vec<&str> = heirs(repository, holder, members).into_iter().filter(|name| pinned(name)).collect();
    let is_away = |name: &str| {
        find(members, name).is_some_and(|object| object.spec.lifecycle == Lifecycle::Active && object.spec.eligible)
            && !is_reachable(members, name)
    };
    let ready = clusters.iter().filter(|count| count.ready > 0 && count.cluster != holder);
    let away: Vec<&str> =
        ready.map(|count| count.cluster.as_str()).filter(|name| pinned(name) && is_away(name)).collect();
    let pinned_here = pins.len() == 1 && pins[0] == holder;
    let (mut then, is_lost) = match (heirs.is_empty(), away.is_empty()) {
        (false, _) => (format!("goes to {}", heirs.join(" or ")), false),
        (true, false) => (format!("waits until {} can be reached", away.join(" or ")), false),
        (true, true) if pinned_here => ("not maintained: it is pinned there".to_owned(), true),
        (true, true) if !repository.lists_all_clusters() => ("goes to another, if one can have it".to_owned(), false),
        (true, true) => ("not maintained: no other can have it".to_owned(), true),
    };
    if let Some(until) = repository.frozen_until().filter(|until| *until > now) {
        then = format!("frozen until {until}, then {then}");
    }
    let state = status.and_then(|status| status.state.clone()).unwrap_or_default();
    Row { name: repository.name(), location: repository.location().to_owned(), state, then, is_lost }
}

fn note(change: &Change, (name, member): (&str, &MemberCluster), reachable: bool) -> Option<String> {
    match change {
        Change::Retire if !reachable => Some(format!(
            "{name} can't be reached: what it holds stays with it, and its own CronJobs go on, until it can. If the \
             cluster is gone for good: volsync-hub members forget {name} --force --reason TEXT"
        )),
        Change::Activate if !member.spec.eligible => {
            Some(format!("{name} is not eligible: nothing is granted there before spec.eligible is true"))
        }
        Change::Activate if member.spec.lifecycle == Lifecycle::Forgotten => Some(format!(
            "what still stands in {name} of repositories that have moved is taken away before anything else happens there"
        )),
        _ => None,
    }
}

fn question(change: &Change, name: &str, rows: &[Row]) -> Option<String> {
    let lost = rows.iter().filter(|row| row.is_lost).count();
    let moves = match (rows.len() - lost, lost) {
        (0, 0) => "it holds nothing".to_owned(),
        (moving, 0) => format!("{} can go to others", counted(moving)),
        (0, lost) => format!("{lost} of its repositories will not be maintained any more"),
        (moving, lost) => format!("{} can go to others, and {lost} will not be maintained any more", counted(moving)),
    };
    match change {
        Change::Retire if rows.is_empty() => None,
        Change::Retire => Some(format!("this retires {name}: {moves}")),
        Change::Forget { .. } => Some(format!("this is your word that the cluster {name} is gone for good: {moves}")),
        Change::Activate => None,
    }
}

fn refusal(change: &Change, name: &str, reachable: bool) -> Option<String> {
    let Change::Forget { force, .. } = change else { return None };
    if reachable {
        return Some(format!(
            "{name} can be reached, so it is not gone: `volsync-hub members retire {name}` hands over what it holds and \
             takes away what is there; nothing was done"
        ));
    }
    (!force).then(|| {
        format!(
            "nothing was done. To forget {name} is your word that the cluster is gone for good: what it holds is handed \
             over to members that can be reached, and nothing waits for it longer than the deadlines of its runs that are \
             known, for its own CronJobs go on if it is there after all. If it ever comes back, its objects go before \
             anything else happens there. Once you are sure: volsync-hub members forget {name} --force --reason TEXT"
        )
    })
}

/// What is shown before anything is done.
pub fn before(decided: &Decided) -> String {
    let mut table = Table::new(["REPOSITORY", "LOCATION", "STATE", "THEN"]);
    for row in &decided.rows {
        let tone = if row.is_lost { Tone::Bad } else { Tone::Warning };
        table.row([
            Cell::from(&row.name),
            (&row.location).into(),
            (&row.state).into(),
            Cell::new(&row.then, if decided.edit.is_some() { tone } else { Tone::Plain }),
        ]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.render() };
    text.extend(decided.notes.iter().map(|note| format!("{}\n", one_line(note))));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::kopia_repository::KopiaRepository;
    use crate::cli::levers::resolve::repositories;
    use crate::cli::levers::testing::{FOUR, held, member, name, now, record};

    fn decided(change: &Change, objects: &[KopiaRepository], members: &[MemberCluster]) -> Decided {
        decide(change, &members[0], (&repositories(objects), members), now())
    }

    fn fleet(east: &str, west: &str) -> [MemberCluster; 2] {
        [member("east", &json!({}), east), member("west", &json!({}), west)]
    }

    fn alone(number: u8) -> KopiaRepository {
        let status = json!({"grant": {"cluster": "east", "epoch": 1, "phase": "Active"}, "clusterCount": 1,
            "clusters": [{"cluster": "east", "sources": 1, "ready": 1}]});
        record(number, &json!({}), &status)
    }

    fn forget(force: bool) -> Change {
        Change::Forget { force, reason: force.then(|| "flood".to_owned()) }
    }

    #[test]
    fn who_is_retired_hands_over_what_others_can_have_and_the_rest_is_warned_of() {
        let told = decided(&Change::Retire, &[held(1, &json!({})), alone(2)], &fleet("True", "True"));
        let thens: Vec<&str> = told.rows.iter().map(|row| row.then.as_str()).collect();
        assert_eq!(thens, ["goes to west", "not maintained: no other can have it"]);
        let lost = format!("{}: no other member can have it: it is not maintained any more", name(2));
        assert_eq!(told.notes, [lost]);
        let asks = "this retires east: 1 repository can go to others, and 1 will not be maintained any more";
        assert_eq!(told.questions, [asks]);
        let edit = told.edit.unwrap();
        assert_eq!((edit.spec, edit.annotations), (json!({"lifecycle": "Retired"}), Value::Null));
        let idle = decided(&Change::Retire, &[], &fleet("True", "True"));
        assert!(idle.questions.is_empty() && idle.edit.is_some());
    }

    #[test]
    fn pins_freezes_and_members_that_are_away_decide_where_it_goes() {
        let then = |spec: &Value, west: &str| {
            let told = decided(&Change::Retire, &[held(1, spec)], &fleet("True", west));
            (told.rows[0].then.clone(), told.rows[0].is_lost)
        };
        assert_eq!(then(&json!({}), "False"), ("waits until west can be reached".to_owned(), false));
        assert_eq!(then(&json!({"cluster": "east"}), "True"), ("not maintained: it is pinned there".to_owned(), true));
        assert_eq!(then(&json!({"cluster": "west"}), "True"), ("goes to west".to_owned(), false));
        assert_eq!(then(&json!({"frozenUntil": FOUR}), "True").0, format!("frozen until {FOUR}, then goes to west"));
    }

    #[test]
    fn who_can_be_reached_is_not_forgotten_and_nobody_without_force() {
        let near = decided(&forget(true), &[held(1, &json!({}))], &fleet("True", "True"));
        assert!(near.refusal.unwrap().contains("volsync-hub members retire east"));
        let unsure = decided(&forget(false), &[held(1, &json!({}))], &fleet("False", "True"));
        let refusal = unsure.refusal.unwrap();
        for part in ["your word", "if it ever comes back", "members forget east --force --reason TEXT"] {
            assert!(refusal.to_lowercase().contains(&part.to_lowercase()), "no {part} in {refusal}");
        }
        let told = decided(&forget(true), &[held(1, &json!({}))], &fleet("Unknown", "True"));
        assert!(told.refusal.is_none() && told.questions[0].contains("gone for good: 1 repository can go to others"));
        let edit = told.edit.unwrap();
        assert_eq!(edit.spec, json!({"lifecycle": "Forgotten"}));
        assert_eq!(edit.annotations, json!({"hub.volsync.backube/reason": "flood"}));
        assert_eq!(
            decided(&forget(true), &[], &fleet("False", "True")).questions.len(),
            1,
            "also where it holds nothing"
        );
    }

    #[test]
    fn who_is_taken_back_loses_the_reason_and_the_same_again_changes_nothing() {
        let mut gone = member("east", &json!({"lifecycle": "Forgotten", "eligible": false}), "False");
        gone.metadata.annotations = Some([(REASON.to_owned(), "flood".to_owned())].into());
        let members = [gone];
        let back = decided(&Change::Activate, &[held(1, &json!({}))], &members);
        let edit = back.edit.unwrap();
        assert_eq!((edit.spec, edit.annotations), (json!({"lifecycle": "Active"}), json!({REASON: null})));
        assert!(back.rows.is_empty() && back.questions.is_empty() && back.notes[0].contains("not eligible"));
        assert!(decided(&forget(true), &[], &members).edit.is_none());
        let other = Change::Forget { force: true, reason: Some("fire".to_owned()) };
        assert!(decided(&other, &[], &members).edit.is_some());
        assert!(decided(&Change::Activate, &[], &fleet("True", "True")).edit.is_none());
        let away = decided(&Change::Retire, &[held(1, &json!({}))], &fleet("False", "True"));
        assert!(away.notes[0].contains("members forget east"), "{away:?}");
    }

    #[test]
    fn what_is_shown_first_has_a_row_a_repository() {
        let told = decided(&Change::Retire, &[held(1, &json!({})), alone(2)], &fleet("True", "True"));
        let text = anstream::adapter::strip_str(&before(&told)).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with(&name(1)) && lines[1].ends_with("goes to west"), "{text}");
        assert!(lines[3].contains("not maintained any more"), "{text}");
    }
}

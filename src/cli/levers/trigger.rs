//! One run now: a new value of spec.runNow, and how that run ended.

use jiff::Timestamp;
use serde_json::json;

use super::decide::{Edit, NO_CHANGE, Step, condition, find};
use super::resolve::Repository;
use crate::api::kopia_repository::{GrantPhase, KopiaRepository, KopiaRepositoryStatus, RunStatus};
use crate::api::member_cluster::MemberCluster;
use crate::cli::output::{duration, one_line};
use crate::outcome::Outcome;
use crate::time::whole_seconds;

pub fn trigger<'a>(repository: Repository<'a>, members: &[MemberCluster], now: Timestamp) -> Step<'a> {
    let pending = pending(&repository);
    let shown = pending.map_or_else(|| "no run asked for".to_owned(), |token| format!("run asked for, {token}"));
    if let Some(why) = refusal(&repository, now) {
        let (then, notes) = (NO_CHANGE.to_owned(), vec![why.clone()]);
        return Step { now: shown, then, edits: Vec::new(), notes, question: None, refused: Some(why), repository };
    }
    let mut notes = Vec::new();
    if let Some(pending) = pending {
        notes.push(format!("the run that was asked for with {pending} has not ended: this one takes its place"));
    }
    notes.extend(waits(&repository, members));
    let token = token(&repository, now);
    let then = format!("one run now, {token}");
    let edits = vec![Edit::new(repository.first(), json!({"runNow": token}))];
    Step { now: shown, then, edits, notes, question: None, refused: None, repository }
}

/// The time, in whole seconds; another one where that token was given already.
fn token(repository: &Repository<'_>, now: Timestamp) -> String {
    let plain = whole_seconds(now).to_string();
    let taken = |token: &str| {
        repository.records().any(|record| {
            let seen = record.status.as_ref().and_then(|status| status.run_now_seen.as_deref());
            record.spec.run_now.as_deref() == Some(token) || seen == Some(token)
        })
    };
    let more = (2..).map(|number: u32| format!("{plain}-{number}"));
    std::iter::once(plain.clone()).chain(more).find(|token| !taken(token)).unwrap_or(plain)
}

/// A token that the hub has not acted upon to the end.
fn pending<'a>(repository: &Repository<'a>) -> Option<&'a str> {
    let seen = repository.status().and_then(|status| status.run_now_seen.as_deref());
    repository.first().spec.run_now.as_deref().filter(|token| Some(*token) != seen)
}

fn refusal(repository: &Repository<'_>, now: Timestamp) -> Option<String> {
    let name = repository.name();
    if let Some(until) = repository.frozen_until().filter(|until| *until > now) {
        let why = repository.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
        return Some(format!(
            "{name} is frozen until {until}{why}, and nothing runs before: `volsync-hub thaw {name}` first"
        ));
    }
    let status = repository.status();
    let state = status.and_then(|status| status.state.as_deref()).unwrap_or("unknown");
    let message = status.and_then(maintained).map(|message| format!(": {}", one_line(message))).unwrap_or_default();
    let Some(grant) = repository.grant() else {
        return Some(format!(
            "{name} has no grant, so nobody may run it; its state is {state}{message}. `volsync-hub explain {name}` says why"
        ));
    };
    if grant.phase != GrantPhase::Active {
        return Some(format!(
            "{name} can't run yet: its grant in {} is {:?}, its state {state}{message}. Ask again once it is Active; \
             a run that was missed meanwhile is caught up by itself",
            grant.cluster, grant.phase
        ));
    }
    matches!(state, "NoPolicy" | "NoCandidate" | "Disabled").then(|| {
        format!("{name} is not maintained, its state is {state}{message}. `volsync-hub explain {name}` says why")
    })
}

/// Of the condition that tells of the grant.
pub fn maintained(status: &KopiaRepositoryStatus) -> Option<&str> {
    let condition = status.conditions.iter().find(|condition| condition.type_ == "Maintained")?;
    Some(condition.message.as_str()).filter(|message| !message.is_empty())
}

fn waits(repository: &Repository<'_>, members: &[MemberCluster]) -> Option<String> {
    let holder = &repository.grant()?.cluster;
    let object = find(members, holder)?;
    if condition(object, "Reachable") == Some("False") {
        return Some(format!("{holder}, which maintains it, can't be reached: the run starts once the hub reaches it"));
    }
    object.spec.paused.then(|| format!("{holder}, which maintains it, is paused: the run starts once it is not"))
}

/// The run that a token led to: the latest that was not in status before, once the hub says that it has ended. Whatever
/// ran before has ended by then, and clocks of members are not asked.
pub fn ended<'a>(object: &'a KopiaRepository, token: &str, before: &[RunStatus]) -> Option<Ended<'a>> {
    let status = object.status.as_ref()?;
    if status.run_now_seen.as_deref() != Some(token) {
        return None;
    }
    let is_new = |run: &&RunStatus| !before.iter().any(|known| known.is_same_run(run));
    Some(status.runs.iter().find(is_new).map_or(Ended::NotRecorded, Ended::With))
}

/// How the run of a token ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ended<'a> {
    With(&'a RunStatus),
    /// The hub is done with the token, and the ledger has no run of it yet.
    NotRecorded,
}

pub fn is_success(run: &RunStatus) -> bool {
    Outcome::ALL.iter().any(|outcome| outcome.as_str() == run.outcome && outcome.is_success())
}

/// One run, for people: how it ended, where, how long it took, and what can be done about it.
pub fn told(run: &RunStatus) -> String {
    let took = match (&run.start, &run.end) {
        (Some(start), Some(end)) if end.0 >= start.0 => {
            let seconds = end.0.as_second() - start.0.as_second();
            format!(" after {}", duration(seconds.unsigned_abs()))
        }
        _ => String::new(),
    };
    let reason = run.reason.as_deref().map(|reason| format!(": {}", one_line(reason))).unwrap_or_default();
    let known = Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == run.outcome);
    let fix = known.filter(|outcome| !outcome.is_success()).map(|outcome| format!(". To do: {}", outcome.fix()));
    format!("{} in {}{took}{reason}{}", run.outcome, run.cluster, fix.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::decide::{Lever, Scope};
    use super::super::resolve::repositories;
    use super::super::testing::{FOUR, Told, decided, held, member, name, now, record};
    use super::*;

    const TOKEN: &str = "2026-03-01T12:00:00Z";

    fn asked(object: KopiaRepository, members: &[MemberCluster]) -> Told {
        decided(&Lever::Trigger { to_the_end: false }, &Scope::One, &[object], members)
    }

    fn with(state: &str, phase: &str) -> KopiaRepository {
        let status = json!({"state": state, "grant": {"cluster": "east", "epoch": 1, "phase": phase},
            "conditions": [{"type": "Maintained", "status": "False", "reason": "Any", "message": "waits for west",
                            "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        record(1, &json!({}), &status)
    }

    #[test]
    fn a_run_is_asked_for_with_the_time_and_never_with_the_same_token_twice() {
        let told = asked(held(1, &json!({})), &[]);
        assert_eq!(told.edits, [(name(1), json!({"runNow": TOKEN}))]);
        assert!(told.questions.is_empty() && told.notes.is_empty() && told.refusal.is_none(), "{told:?}");
        let given = |spec: &Value, status: &Value| {
            let objects = [record(1, spec, status)];
            token(&repositories(&objects)[0], now())
        };
        assert_eq!(given(&json!({}), &json!({})), TOKEN);
        assert_eq!(given(&json!({"runNow": TOKEN}), &json!({})), format!("{TOKEN}-2"));
        let both = given(&json!({"runNow": TOKEN}), &json!({"runNowSeen": format!("{TOKEN}-2")}));
        assert_eq!(both, format!("{TOKEN}-3"));
        assert!(both.len() <= 63);
    }

    #[test]
    fn what_can_not_run_is_refused_with_its_state_and_what_to_do() {
        let frozen = held(1, &json!({"frozenUntil": FOUR, "reason": "audit"}));
        let cases = [
            (frozen, vec![FOUR, "(audit)", "volsync-hub thaw"]),
            (
                record(1, &json!({}), &json!({"state": "NoPolicy"})),
                vec!["has no grant", "NoPolicy", "volsync-hub explain"],
            ),
            (with("Maintained", "Draining"), vec!["Draining", "waits for west", "Ask again"]),
            (with("NoCandidate", "Active"), vec!["not maintained", "NoCandidate", "volsync-hub explain"]),
        ];
        for (object, parts) in cases {
            let told = asked(object, &[]);
            let refusal = told.refusal.unwrap();
            assert!(told.edits.is_empty());
            for part in parts {
                assert!(refusal.contains(part), "no {part} in {refusal}");
            }
        }
        let over = held(1, &json!({"frozenUntil": "2026-02-01T00:00:00Z"}));
        assert!(asked(over, &[]).refusal.is_none());
    }

    #[test]
    fn what_it_waits_for_and_whose_place_it_takes_is_told() {
        let away = asked(held(1, &json!({"runNow": "before"})), &[member("east", &json!({}), "False")]);
        assert!(away.notes[0].contains("asked for with before has not ended"), "{away:?}");
        assert!(away.notes[1].contains("once the hub reaches it"), "{away:?}");
        let paused = asked(held(1, &json!({})), &[member("east", &json!({"paused": true}), "True")]);
        assert!(paused.notes[0].contains("is paused"), "{paused:?}");
    }

    #[test]
    fn the_run_is_the_latest_that_was_not_there_before() {
        let run =
            |start: &str, outcome: &str| json!({"cluster": "east", "start": start, "end": FOUR, "outcome": outcome});
        let object = |seen: &str| {
            let runs = [run("2026-03-01T12:00:07Z", "Busy"), run("2026-03-01T11:00:00Z", "Succeeded")];
            record(1, &json!({}), &json!({"runNowSeen": seen, "runs": runs}))
        };
        assert_eq!(ended(&object("other"), TOKEN, &[]), None);
        let seen = object(TOKEN);
        let runs = seen.status.clone().unwrap().runs;
        let Some(Ended::With(run)) = ended(&seen, TOKEN, &runs[1..]) else { panic!("{seen:?}") };
        assert!(!is_success(run) && told(run).starts_with("Busy in east after 3h59m"), "{}", told(run));
        assert!(told(run).contains("To do: wait"), "{}", told(run));
        let Some(Ended::With(first)) = ended(&seen, TOKEN, &runs[..1]) else { panic!("{seen:?}") };
        assert!(is_success(first) && !told(first).contains("To do"));
        assert_eq!(ended(&seen, TOKEN, &runs), Some(Ended::NotRecorded));
    }
}

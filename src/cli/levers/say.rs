//! What the levers tell people: before, when something has to be asked, and afterwards.

use std::collections::BTreeMap;

use super::act::{Edited, is_told};
use super::decide::{Decision, Lever, Step};
use super::trigger::maintained;
use crate::api::kopia_repository::KopiaRepository;
use crate::cli::output::{Cell, Table, Tone, one_line};

/// A row a repository, and below what should be known of some. Of many those that nothing happens to are counted.
pub fn before(decision: &Decision<'_>) -> String {
    let many = decision.steps.len() > 1;
    let says_something = |step: &&Step<'_>| !many || !step.edits.is_empty() || !step.notes.is_empty();
    let mut table = Table::new(["REPOSITORY", "LOCATION", "POLICY", "CLUSTER", "STATE", "NOW", "THEN"]);
    for step in decision.steps.iter().filter(says_something) {
        let repository = &step.repository;
        let holder = repository.grant().map(|grant| grant.cluster.as_str());
        let status = repository.status();
        let tone = if step.edits.is_empty() { Tone::Faint } else { Tone::Warning };
        table.row([
            Cell::from(repository.name()),
            repository.location().into(),
            repository.policy().unwrap_or_default().into(),
            holder.unwrap_or_default().into(),
            status.and_then(|status| status.state.as_deref()).unwrap_or_default().into(),
            (&step.now).into(),
            Cell::new(&step.then, tone),
        ]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.render() };
    text.extend(decision.steps.iter().flat_map(notes));
    let others = decision.steps.iter().filter(|step| !says_something(step)).count();
    let counted = match others {
        0 => String::new(),
        1 => "1 other needs no change\n".to_owned(),
        _ => format!("{others} others need no change\n"),
    };
    text + &counted
}

fn notes<'s>(step: &'s Step<'_>) -> impl Iterator<Item = String> + 's {
    let name = step.repository.name();
    let others: Vec<String> = step.edits.iter().map(|edit| edit.name.clone()).filter(|other| *other != name).collect();
    let others = (!others.is_empty())
        .then(|| format!("{} means the same repository and is edited as well", others.join(" and ")));
    others.into_iter().chain(step.notes.iter().cloned()).map(move |note| {
        let name = Tone::Warning.paint(&step.repository.name());
        format!("{name}: {}\n", one_line(&note))
    })
}

/// What the edits lead to, once they are made.
pub fn follows(lever: &Lever) -> String {
    match lever {
        Lever::Freeze { until, .. } => {
            format!(
                "no run starts before {until}; a run that is under way ends in peace, and the grant stays where it is"
            )
        }
        Lever::Thaw => {
            "runs start again when they are due; one that was missed in the last hour may start at once, and \
                        a pin that waited for the end of the freeze takes effect"
                .to_owned()
        }
        Lever::Pin { member, .. } => {
            format!("only {member} may maintain it from now on; whoever holds it goes on until it was handed over")
        }
        Lever::Failover { .. } => {
            "another member that can be reached claims it under a new epoch, then waits for the former holder's \
                         deadline and five minutes; the former holder's later runs are fenced from the claim on"
                .to_owned()
        }
        Lever::Trigger { .. } => {
            "one run starts once nothing else of it runs; its schedule goes on afterwards".to_owned()
        }
        Lever::Unpin => {
            "the policy decides again which members may maintain it; whoever holds it keeps it for as long \
                         as that is one of them"
                .to_owned()
        }
    }
}

/// Nothing is to be done, or was.
pub fn nothing(lever: &Lever) -> &'static str {
    match lever {
        Lever::Freeze { .. } => "nothing to do: what should be frozen is frozen until then or longer",
        Lever::Thaw => "nothing to do: none of these is frozen",
        Lever::Pin { .. } => "nothing to do: it is pinned so already",
        Lever::Unpin => "nothing to do: it is not pinned",
        Lever::Failover { .. } => "nothing to do: what is held by such a member is given up already",
        Lever::Trigger { .. } => "nothing to do",
    }
}

/// What status says now of those that were edited.
pub fn after(edited: &[Edited], seen: &BTreeMap<String, KopiaRepository>) -> String {
    let mut table = Table::new(["REPOSITORY", "STATE", "REASON", "MESSAGE"]);
    for edited in edited {
        let name = Cell::from(&edited.name);
        let Some(object) = seen.get(&edited.name) else {
            table.row([name, "".into(), "".into(), Cell::new("it is gone", Tone::Bad)]);
            continue;
        };
        let status = object.status.clone().unwrap_or_default();
        let message = maintained(&status).unwrap_or_default().to_owned();
        let (state, reason) = (status.state.unwrap_or_default(), status.reason.unwrap_or_default());
        if is_told(object, edited) {
            table.row([name, state.into(), reason.into(), message.into()]);
        } else {
            let observed = status.observed_generation.unwrap_or(0);
            let message = format!(
                "the hub has not taken note yet (status.observedGeneration is {observed}, the edit made generation {})",
                edited.generation
            );
            table.row([name, state.into(), reason.into(), Cell::new(message, Tone::Warning)]);
        }
    }
    table.render()
}

/// Where the hub did not take note of all: what to look at.
pub fn waited_in_vain(edited: &[Edited], seen: &BTreeMap<String, KopiaRepository>) -> Option<String> {
    let told = |edited: &&Edited| !seen.get(&edited.name).is_some_and(|object| is_told(object, edited));
    let late = edited.iter().filter(told).count();
    (late > 0).then(|| format!("the edits are made, and of {late} the hub has not taken note in time. {LOOK}"))
}

/// At a hub that takes no note.
pub const LOOK: &str = "Does it run, and is it the hub of this cluster? `kubectl get lease volsync-hub -n volsync-system` \
                        says which replica leads, and `kubectl get kopiarepositories` what it does";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::decide::{Scope, decide};
    use super::super::resolve::repositories;
    use super::super::testing::{held, name, now, record};
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn of_many_repositories_only_those_are_shown_that_something_happens_to() {
        let pinned = json!({"frozenUntil": "2026-03-02T00:00:00Z", "cluster": "east", "reason": "audit"});
        let objects = [held(1, &json!({})), held(2, &pinned), held(3, &json!({}))];
        let said = |count: usize| {
            let scope = if count == 1 { Scope::One } else { Scope::All };
            plain(&before(&decide(&Lever::Thaw, (&scope, repositories(&objects[..count])), &[], now())))
        };
        let all = said(3);
        assert!(
            all.contains(&name(2)) && !all.contains(&name(1)) && all.ends_with("2 others need no change\n"),
            "{all}"
        );
        let note = format!("{}: its reason \"audit\" stays, for it is pinned as well\n", name(2));
        assert!(all.contains(&note), "{all}");
        assert!(said(2).ends_with("1 other needs no change\n"));
        assert!(said(1).contains(&name(1)), "one that was named is shown in any case");
    }

    #[test]
    fn what_the_hub_has_not_taken_note_of_is_not_shown_as_done() {
        let object = |number: u8, observed: Value| {
            let status = json!({"observedGeneration": observed, "state": "Frozen"});
            (name(number), record(number, &json!({}), &status))
        };
        let seen = BTreeMap::from([object(1, 3.into()), object(2, 2.into()), object(3, Value::Null)]);
        let edited: Vec<Edited> = (1..=4).map(|number| Edited { name: name(number), generation: 3 }).collect();
        let text = plain(&after(&edited, &seen));
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert!(lines[0].contains("Frozen") && !lines[0].contains("not taken note"), "{text}");
        assert!(lines[1].contains("observedGeneration is 2, the edit made generation 3"), "{text}");
        assert!(lines[2].contains("observedGeneration is 0") && lines[3].contains("it is gone"), "{text}");
        assert!(waited_in_vain(&edited, &seen).is_some_and(|said| said.contains("of 3 the hub")));
        assert_eq!(waited_in_vain(&edited[..1], &seen), None);
    }
}

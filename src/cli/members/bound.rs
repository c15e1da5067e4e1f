//! What binds repositories to a member, as the ledger tells.

use crate::api::kopia_repository::GrantPhase;
use crate::api::member_cluster::MemberCluster;
use crate::cli::levers::decide::{find, is_reachable};
use crate::cli::levers::resolve::Repository;
use crate::cli::levers::trigger::maintained;
use crate::cli::output::one_line;
use crate::status::member::ADOPTED;

/// Repositories by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// It has their grant, or had it before a claim that is under way.
    pub held: Vec<String>,
    /// They have moved, and something of them may still be there.
    pub draining: Vec<String>,
    /// Their grant stays with it in the ledger, and nobody maintains them.
    pub let_go: Vec<String>,
    /// Of the first that it waits for: its name, and what its condition says.
    pub waits: Option<String>,
}

impl Bound {
    pub fn is_free(&self) -> bool {
        self.held.is_empty() && self.draining.is_empty()
    }

    /// On a line.
    pub fn says(&self) -> String {
        let mut parts = Vec::new();
        if !self.held.is_empty() {
            parts.push(format!("holds {}", counted(self.held.len())));
        }
        if !self.draining.is_empty() {
            parts.push(format!("may still run something of {}", counted(self.draining.len())));
        }
        let waits = self.waits.as_ref().map(|waits| format!("; {waits}")).unwrap_or_default();
        if parts.is_empty() { "holds nothing".to_owned() } else { parts.join(", ") + &waits }
    }
}

/// What the hub still keeps suspended of other tools in a member that it can reach; it lets it go once the member is
/// taken out.
pub fn adopted(members: &[MemberCluster], name: &str) -> Option<String> {
    let object = find(members, name).filter(|_| is_reachable(members, name))?;
    let conditions = &object.status.as_ref()?.conditions;
    let condition = conditions.iter().find(|it| it.type_ == ADOPTED && it.status == "True")?;
    Some(condition.message.clone())
}

pub fn counted(count: usize) -> String {
    if count == 1 { "1 repository".to_owned() } else { format!("{count} repositories") }
}

/// The first few, where there are many.
pub fn named(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

pub fn bound(repositories: &[Repository<'_>], member: &str) -> Bound {
    let mut bound = Bound::default();
    for repository in repositories {
        let Some(grant) = repository.grant() else { continue };
        let before = grant.from.as_ref().filter(|_| grant.phase == GrantPhase::Claiming);
        let drains = || {
            let mut statuses = repository.records().filter_map(|record| record.status.as_ref());
            statuses.any(|status| status.drain.iter().any(|entry| entry.cluster == member))
        };
        let names = if grant.cluster == member && is_let_go(repository) {
            &mut bound.let_go
        } else if grant.cluster == member || before.is_some_and(|from| from.cluster == member) {
            &mut bound.held
        } else if drains() {
            &mut bound.draining
        } else {
            continue;
        };
        names.push(repository.name());
    }
    let first = bound.held.first().or(bound.draining.first());
    let first = first.and_then(|name| repositories.iter().find(|repository| repository.name() == *name));
    bound.waits = first.and_then(|repository| {
        let message = maintained(repository.status()?)?;
        Some(format!("{}: {}", repository.name(), one_line(message)))
    });
    bound
}

/// Nothing is maintained, and what was pushed is taken away.
fn is_let_go(repository: &Repository<'_>) -> bool {
    let state = repository.status().and_then(|status| status.state.as_deref());
    matches!(state, Some("NoCandidate" | "NoPolicy" | "Disabled"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::levers::resolve::repositories;
    use crate::cli::levers::testing::{held, member, name, record};

    use super::*;

    #[test]
    fn what_is_held_what_drains_and_what_nobody_maintains_are_told_apart() {
        let grant = |cluster: &str, phase: &str| json!({"cluster": cluster, "epoch": 2, "phase": phase});
        let mut claiming = grant("west", "Claiming");
        claiming["from"] = json!({"cluster": "east", "epoch": 1});
        let drain = json!([{"cluster": "east", "deadlineSeconds": 600}]);
        let condition = json!([{"type": "Maintained", "status": "False", "reason": "Any", "message": "a run goes on",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let objects = [
            record(1, &json!({}), &json!({"grant": claiming, "drain": drain, "conditions": condition})),
            record(2, &json!({}), &json!({"grant": grant("west", "Draining"), "drain": drain})),
            record(3, &json!({}), &json!({"grant": grant("east", "Active"), "state": "NoCandidate"})),
            held(4, &json!({})),
            record(5, &json!({}), &json!({"grant": grant("west", "Active")})),
            record(6, &json!({}), &json!({})),
        ];
        let repositories = repositories(&objects);
        let east = bound(&repositories, "east");
        assert_eq!((&east.held, &east.draining), (&vec![name(1), name(4)], &vec![name(2)]));
        assert_eq!(east.let_go, [name(3)]);
        let waits =
            format!("holds 2 repositories, may still run something of 1 repository; {}: a run goes on", name(1));
        assert_eq!(east.says(), waits);
        assert!(!east.is_free() && bound(&repositories, "north").is_free());
        assert_eq!(bound(&repositories[2..3], "east").says(), "holds nothing");
    }

    #[test]
    fn what_is_suspended_is_waited_for_where_it_can_be_let_go() {
        let adopted_in = |reachable: &str, status: &str| {
            let mut object = member("east", &json!({"lifecycle": "Retired"}), reachable);
            let condition = json!({"type": "Adopted", "status": status, "reason": "ForeignSuspended",
                "message": "CronJob a/b", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            object.status.as_mut().unwrap().conditions.push(serde_json::from_value(condition).unwrap());
            adopted(&[object], "east")
        };
        assert_eq!(adopted_in("True", "True").as_deref(), Some("CronJob a/b"));
        assert_eq!((adopted_in("True", "False"), adopted_in("False", "True")), (None, None));
    }

    #[test]
    fn of_many_names_the_first_are_shown() {
        let names: Vec<String> = (1..=7).map(name).collect();
        assert!(named(&names).ends_with(&format!("{} and 2 more", name(5))));
        assert_eq!(named(&names[..2]), format!("{}, {}", name(1), name(2)));
    }
}

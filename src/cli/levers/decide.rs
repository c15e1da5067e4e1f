//! What a lever changes: which fields of which KopiaRepositories, what has to be said of it, and what to ask first.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::object::HasSpec;
use serde_json::Value;

use super::near::{hint, near};
use super::resolve::Repository;
use super::{failover, freeze, pin, trigger};
use crate::api::kopia_repository::KopiaRepositorySpec;
use crate::api::member_cluster::MemberCluster;

/// What people can do to a repository by its spec alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lever {
    Freeze {
        until: Timestamp,
        reason: String,
    },
    Thaw,
    Pin {
        member: String,
        reason: Option<String>,
    },
    Unpin,
    /// Of a grant whose member can't be reached.
    Failover {
        to: Option<String>,
        reason: Option<String>,
        force: bool,
    },
    /// One run now.
    Trigger {
        to_the_end: bool,
    },
}

/// How the repositories were named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    One,
    Policy(String),
    /// Those that this member holds.
    From(String),
    All,
}

/// A merge patch of one object, and what it stands on.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit<S = KopiaRepositorySpec> {
    pub name: String,
    /// The edit is for an object that says this; who changed it meanwhile had something in mind.
    pub before: S,
    pub version: Option<String>,
    /// Fields of spec; null takes one away.
    pub spec: Value,
    /// Likewise.
    pub annotations: Value,
}

impl<S: Clone> Edit<S> {
    pub fn new<K: ResourceExt + HasSpec<Spec = S>>(object: &K, spec: Value) -> Self {
        Self {
            name: object.name_any(),
            before: object.spec().clone(),
            version: object.resource_version(),
            spec,
            annotations: Value::Null,
        }
    }
}

/// What happens to one repository.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    pub repository: Repository<'a>,
    /// What the lever says of it now, and afterwards.
    pub now: String,
    pub then: String,
    /// None: nothing has to change.
    pub edits: Vec<Edit>,
    /// What a person should know of it, whether or not anything is asked.
    pub notes: Vec<String>,
    pub question: Option<String>,
    /// Why nothing is done to it, where the command is not for such a one.
    pub refused: Option<String>,
}

pub const NO_CHANGE: &str = "no change";

/// What happens, all in all.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    pub steps: Vec<Step<'a>>,
    /// None: it is done without asking.
    pub questions: Vec<String>,
    /// Why nothing at all is done.
    pub refusal: Option<String>,
}

impl Decision<'_> {
    pub fn edits(&self) -> impl Iterator<Item = &Edit> {
        self.steps.iter().flat_map(|step| &step.edits)
    }
}

/// `members`: those of the hub, where they could be read.
pub fn decide<'a>(
    lever: &Lever,
    (scope, repositories): (&Scope, Vec<Repository<'a>>),
    members: &[MemberCluster],
    now: Timestamp,
) -> Decision<'a> {
    let steps = repositories.into_iter().map(|repository| {
        let mut step = match lever {
            Lever::Freeze { until, reason } => freeze::freeze(repository, (*until, reason), (scope, members), now),
            Lever::Thaw => freeze::thaw(repository, now),
            Lever::Pin { member, reason } => pin::pin(repository, (member, reason.as_deref()), members, now),
            Lever::Unpin => pin::unpin(repository, now),
            Lever::Failover { to, reason, .. } => {
                failover::failover(repository, (to.as_deref(), reason.as_deref()), (scope, members), now)
            }
            Lever::Trigger { .. } => trigger::trigger(repository, members, now),
        };
        step.notes.extend(step.edits.iter().flat_map(|edit| other_managers(&step.repository, edit)));
        step
    });
    let steps: Vec<Step<'a>> = steps.collect();
    let mut questions: Vec<String> = bulk(lever, scope, &steps).into_iter().collect();
    questions.extend(steps.iter().filter_map(|step| step.question.clone()));
    let refusal = refusal(lever, scope, &steps);
    Decision { steps, questions, refusal }
}

/// Where nothing is left to be done, and where the person has not said that it shall be done in spite of all.
fn refusal(lever: &Lever, scope: &Scope, steps: &[Step<'_>]) -> Option<String> {
    if steps.iter().all(|step| step.edits.is_empty()) {
        let mut refused = steps.iter().filter_map(|step| step.refused.as_deref());
        let first = refused.next()?;
        let more = match refused.count() {
            0 => String::new(),
            more => format!(" (and {more} more like it)"),
        };
        return Some(format!("{first}{more}; nothing was done"));
    }
    match lever {
        Lever::Failover { force: false, to, .. } => Some(failover::unforced(steps, scope, to.as_deref())),
        _ => None,
    }
}

/// Many at once are asked about, however harmless one is.
fn bulk(lever: &Lever, scope: &Scope, steps: &[Step<'_>]) -> Option<String> {
    let count = steps.iter().filter(|step| !step.edits.is_empty()).count();
    let which = match scope {
        Scope::All if count > 0 => "of the whole fleet".to_owned(),
        Scope::Policy(policy) if count > 1 => format!("under policy {policy}"),
        Scope::From(member) if count > 0 => format!("from {member}, which nobody can see into"),
        _ => return None,
    };
    let does = match lever {
        Lever::Freeze { .. } => "stops maintenance of",
        Lever::Thaw => "ends the freeze, whoever set it and why, of",
        Lever::Pin { .. } | Lever::Unpin => "changes the pin of",
        Lever::Failover { .. } => "takes",
        Lever::Trigger { .. } => "starts a run of",
    };
    let repositories = if count == 1 { "repository" } else { "repositories" };
    Some(format!("this {does} {count} {repositories} {which}"))
}

pub fn condition<'m>(member: &'m MemberCluster, kind: &str) -> Option<&'m str> {
    let conditions = &member.status.as_ref()?.conditions;
    conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str())
}

pub fn find<'m>(members: &'m [MemberCluster], name: &str) -> Option<&'m MemberCluster> {
    members.iter().find(|object| object.metadata.name.as_deref() == Some(name))
}

/// As its MemberCluster says; one that is not known can't be reached either.
pub fn is_reachable(members: &[MemberCluster], name: &str) -> bool {
    find(members, name).is_some_and(|object| condition(object, "Reachable") == Some("True"))
}

/// Who fills a repository from files writes these fields again.
fn other_managers(repository: &Repository<'_>, edit: &Edit) -> Vec<String> {
    let Some(object) = repository.records().find(|it| it.metadata.name.as_ref() == Some(&edit.name)) else {
        return Vec::new();
    };
    let entries = object.metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let mut notes = Vec::new();
    for entry in entries {
        let manager = entry.manager.as_deref().unwrap_or_default();
        let by_hand = manager.is_empty() || manager == FIELD_MANAGER || manager.starts_with("kubectl");
        let Some(owned) = entry.fields_v1.as_ref().map(|fields| &fields.0["f:spec"]).filter(|_| !by_hand) else {
            continue;
        };
        let fields = edit.spec.as_object().into_iter().flatten().map(|(field, _)| field);
        let fields: Vec<String> = fields
            .filter(|field| !owned[format!("f:{field}")].is_null())
            .map(|field| format!("spec.{field}"))
            .collect();
        if !fields.is_empty() {
            let fields = fields.join(" and ");
            notes.push(format!(
                "{manager} has set {fields} of {}, and may set it again: change it there too",
                edit.name
            ));
        }
    }
    notes
}

/// What is written by these commands, in `managedFields`.
pub const FIELD_MANAGER: &str = "volsync-hub-cli";

/// The member as the hub knows it, or why there is none.
pub fn known_member(members: &[MemberCluster], member: &str) -> Result<(), String> {
    let names: Vec<&str> = members.iter().filter_map(|object| object.metadata.name.as_deref()).collect();
    if names.contains(&member) {
        return Ok(());
    }
    let hint = hint(&near(member, names), "`volsync-hub members list` shows those that there are");
    Err(format!("there is no MemberCluster {member:?} on the hub, so nothing could be maintained there: {hint}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::resolve::repositories;
    use super::super::testing::{FOUR, decided, freeze_until, held, member, name, now};
    use super::*;

    #[test]
    fn an_edit_stands_on_what_was_read() {
        let objects = [held(1, &json!({"cluster": "east"}))];
        let decision = decide(&freeze_until(FOUR), (&Scope::One, repositories(&objects)), &[], now());
        let edit = decision.edits().next().unwrap();
        assert_eq!((edit.version.as_deref(), &edit.before), (Some("7"), &objects[0].spec));
    }

    #[test]
    fn one_reason_stands_for_both_levers_and_goes_with_the_last() {
        let both = json!({"frozenUntil": FOUR, "cluster": "east", "reason": "audit"});
        let thawed = decided(&Lever::Thaw, &Scope::One, &[held(1, &both)], &[]);
        assert_eq!(thawed.edits, [(name(1), json!({"frozenUntil": null}))]);
        let unpinned = decided(&Lever::Unpin, &Scope::One, &[held(1, &both)], &[]);
        assert_eq!(unpinned.edits, [(name(1), json!({"cluster": null}))]);
        assert!(thawed.notes[0].contains("it is pinned") && unpinned.notes[0].contains("it is frozen"));
        let pinned = json!({"cluster": "east", "reason": "audit"});
        let unpinned = decided(&Lever::Unpin, &Scope::One, &[held(1, &pinned)], &[]);
        assert_eq!(unpinned.edits, [(name(1), json!({"cluster": null, "reason": null}))]);
        let frozen = decided(&freeze_until(FOUR), &Scope::One, &[held(1, &pinned)], &[]);
        assert!(frozen.notes[0].contains("\"audit\", which may be that of its pin, is replaced"), "{frozen:?}");
    }

    #[test]
    fn many_at_once_are_asked_about_and_a_policy_with_one_repository_is_not() {
        let frozen = json!({"frozenUntil": FOUR});
        let objects = [held(1, &frozen), held(2, &frozen)];
        let policy = Scope::Policy("nightly".to_owned());
        let questions = |scope: &Scope, count: usize| decided(&Lever::Thaw, scope, &objects[..count], &[]).questions;
        assert_eq!(questions(&policy, 1), Vec::<String>::new());
        assert_eq!(
            questions(&policy, 2),
            ["this ends the freeze, whoever set it and why, of 2 repositories under policy nightly"]
        );
        assert_eq!(questions(&Scope::All, 1).len(), 1);
    }

    #[test]
    fn who_is_named_is_a_member_that_there_is() {
        let members = [member("west-1", &json!({}), "True")];
        assert!(known_member(&members, "west-1").is_ok());
        assert!(known_member(&members, "west").unwrap_err().ends_with("did you mean west-1?"));
        assert!(is_reachable(&members, "west-1") && !is_reachable(&members, "gone"));
    }

    #[test]
    fn who_else_has_set_a_field_is_told_and_kubectl_is_nobody_else() {
        let mut object = held(1, &json!({"cluster": "east", "reason": "because"}));
        let entry = |manager: &str, field: &str| {
            let fields = json!({"f:spec": {format!("f:{field}"): {}}});
            serde_json::from_value(json!({"manager": manager, "operation": "Apply", "fieldsV1": fields})).unwrap()
        };
        object.metadata.managed_fields =
            Some(vec![entry("kubectl-edit", "cluster"), entry("argocd", "cluster"), entry("flux", "sameAs")]);
        let told = decided(&Lever::Unpin, &Scope::One, &[object], &[]);
        assert_eq!(
            told.notes,
            [format!("argocd has set spec.cluster of {}, and may set it again: change it there too", name(1))]
        );
    }
}

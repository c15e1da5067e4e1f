//! What a lever changes: which fields of which KopiaRepositories, what has to be said of it, and what to ask first.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::near::{hint, near};
use super::resolve::Repository;
use crate::api::kopia_repository::{KopiaRepository, KopiaRepositorySpec};
use crate::api::member_cluster::MemberCluster;
use crate::cli::output::relative;

/// What people can do to a repository by its spec alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lever {
    Freeze { until: Timestamp, reason: String },
    Thaw,
    Pin { member: String, reason: Option<String> },
    Unpin,
}

/// How the repositories were named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    One,
    Policy(String),
    All,
}

/// A merge patch of one KopiaRepository, and what it stands on.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    pub name: String,
    /// The edit is for an object that says this; who changed it meanwhile had something in mind.
    pub before: KopiaRepositorySpec,
    pub version: Option<String>,
    /// Fields of spec; null takes one away.
    pub spec: Value,
}

impl Edit {
    fn new(object: &KopiaRepository, spec: Value) -> Self {
        Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            before: object.spec.clone(),
            version: object.metadata.resource_version.clone(),
            spec,
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
}

/// What happens, all in all.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    pub steps: Vec<Step<'a>>,
    /// None: it is done without asking.
    pub questions: Vec<String>,
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
            Lever::Freeze { until, reason } => freeze(repository, (*until, reason), scope, now),
            Lever::Thaw => thaw(repository, now),
            Lever::Pin { member, reason } => {
                let mut step = pin(repository, member, reason.as_deref(), members);
                step.notes.extend(frozen_first(&step, now));
                step
            }
            Lever::Unpin => unpin(repository, now),
        };
        if !step.edits.is_empty() {
            step.notes.extend(unreachable(lever, &step.repository, members));
            step.notes.extend(step.edits.iter().flat_map(|edit| other_managers(&step.repository, edit)));
        }
        step
    });
    let steps: Vec<Step<'a>> = steps.collect();
    let mut questions: Vec<String> = bulk(lever, scope, &steps).into_iter().collect();
    questions.extend(steps.iter().filter_map(|step| step.question.clone()));
    Decision { steps, questions }
}

/// Many at once are asked about, however harmless one is.
fn bulk(lever: &Lever, scope: &Scope, steps: &[Step<'_>]) -> Option<String> {
    let count = steps.iter().filter(|step| !step.edits.is_empty()).count();
    let which = match scope {
        Scope::All if count > 0 => "of the whole fleet".to_owned(),
        Scope::Policy(policy) if count > 1 => format!("under policy {policy}"),
        _ => return None,
    };
    let does = match lever {
        Lever::Freeze { .. } => "stops maintenance of",
        Lever::Thaw => "ends the freeze, whoever set it and why, of",
        Lever::Pin { .. } | Lever::Unpin => "changes the pin of",
    };
    let repositories = if count == 1 { "repository" } else { "repositories" };
    Some(format!("this {does} {count} {repositories} {which}"))
}

fn freeze<'a>(
    repository: Repository<'a>,
    (until, reason): (Timestamp, &str),
    scope: &Scope,
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
    let question = longer.filter(|_| !kept).map(|longer| {
        let name = repository.name();
        let why = repository.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("{name} is frozen until {longer}{why} already, and this freeze ends sooner")
    });
    let frozen_then = || format!("frozen until {until} ({})", relative(until, now));
    let then = if edits.is_empty() { NO_CHANGE.to_owned() } else { frozen_then() };
    Step { now: frozen(&repository, now), then, edits, notes, question, repository }
}

const NO_CHANGE: &str = "no change";

fn frozen(repository: &Repository<'_>, now: Timestamp) -> String {
    match repository.frozen_until() {
        None => "not frozen".to_owned(),
        Some(until) if until <= now => format!("freeze ended {}", relative(until, now)),
        // Read so where it can't be read.
        Some(until) if until == Timestamp::MAX => "frozen for good".to_owned(),
        Some(until) => format!("frozen until {until}"),
    }
}

fn thaw(repository: Repository<'_>, now: Timestamp) -> Step<'_> {
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
    Step { now: frozen(&repository, now), then, edits, notes, question: None, repository }
}

fn pinned(repository: &Repository<'_>) -> String {
    match repository.pins()[..] {
        [] => "not pinned".to_owned(),
        [pin] => format!("pinned to {pin}"),
        _ => format!("contradicting pins to {}", repository.pins().join(" and ")),
    }
}

fn pin<'a>(repository: Repository<'a>, member: &str, reason: Option<&str>, members: &[MemberCluster]) -> Step<'a> {
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
    let mut notes = Vec::new();
    if let Some(old) = repository.reason().filter(|old| reason.is_some_and(|reason| reason != *old)) {
        notes.push(format!("its former reason {old:?} is replaced"));
    }
    let holder = repository.grant().map(|grant| grant.cluster.as_str()).filter(|holder| *holder != member);
    if !edits.is_empty() {
        notes.extend(no_candidate(&repository, member, members));
    }
    let question = holder.filter(|_| !edits.is_empty()).map(|holder| {
        let name = repository.name();
        format!("{holder} holds the grant of {name}: a hand-over to {member} follows where {member} can run it")
    });
    let then = if edits.is_empty() { NO_CHANGE.to_owned() } else { format!("pinned to {member}") };
    Step { now: pinned(&repository), then, edits, notes, question, repository }
}

/// A freeze goes before a pin.
fn frozen_first(step: &Step<'_>, now: Timestamp) -> Option<String> {
    let until = step.repository.frozen_until().filter(|until| *until > now && step.question.is_some())?;
    Some(format!("it is frozen until {until}: no hand-over begins before"))
}

/// What speaks against the member, as far as status tells. The hub decides; a pin may be meant for later.
fn no_candidate(repository: &Repository<'_>, member: &str, members: &[MemberCluster]) -> Option<String> {
    let object = members.iter().find(|object| object.metadata.name.as_deref() == Some(member))?;
    let status = repository.status();
    let listed = status.is_some_and(|status| {
        let all = status.cluster_count == i64::try_from(status.clusters.len()).ok();
        !all || status.clusters.iter().any(|count| count.cluster == member && count.ready > 0)
    });
    let why = if object.spec.paused {
        "it is paused"
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

fn unpin(repository: Repository<'_>, now: Timestamp) -> Step<'_> {
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
    Step { now: pinned(&repository), then, edits, notes, question: None, repository }
}

/// The hub suspends a CronJob by asking the member's API server.
fn unreachable(lever: &Lever, repository: &Repository<'_>, members: &[MemberCluster]) -> Option<String> {
    let Lever::Freeze { .. } = lever else { return None };
    let holder = &repository.grant()?.cluster;
    let object = members.iter().find(|object| object.metadata.name.as_deref() == Some(holder))?;
    (condition(object, "Reachable") == Some("False")).then(|| {
        format!(
            "{holder}, which maintains it, can't be reached: its CronJob goes on there until the hub reaches it again"
        )
    })
}

fn condition<'m>(member: &'m MemberCluster, kind: &str) -> Option<&'m str> {
    let conditions = &member.status.as_ref()?.conditions;
    conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str())
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
    Err(format!(
        "there is no MemberCluster {member:?} on the hub, so a pin to it would leave the repository to nobody: {hint}"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::resolve::repositories;
    use super::super::testing::{held, member, name, now, record};
    use super::*;

    fn decided(lever: &Lever, scope: &Scope, objects: &[KopiaRepository], members: &[MemberCluster]) -> Told {
        let decision = decide(lever, (scope, repositories(objects)), members, now());
        let edits = decision.edits().map(|edit| (edit.name.clone(), edit.spec.clone())).collect();
        let thens = decision.steps.iter().map(|step| step.then.clone()).collect();
        let notes = decision.steps.iter().flat_map(|step| step.notes.clone()).collect();
        Told { edits, thens, notes, questions: decision.questions }
    }

    #[derive(Debug)]
    struct Told {
        edits: Vec<(String, Value)>,
        thens: Vec<String>,
        notes: Vec<String>,
        questions: Vec<String>,
    }

    fn freeze_until(until: &str) -> Lever {
        Lever::Freeze { until: until.parse().unwrap(), reason: "store moves".to_owned() }
    }

    fn pin_to(member: &str) -> Lever {
        Lever::Pin { member: member.to_owned(), reason: None }
    }

    const FOUR: &str = "2026-03-01T16:00:00Z";
    const LONGER: &str = "2026-03-09T00:00:00Z";

    #[test]
    fn a_freeze_of_one_repository_is_not_asked_about() {
        let told = decided(&freeze_until(FOUR), &Scope::One, &[held(1, &json!({}))], &[]);
        assert_eq!(told.edits, [(name(1), json!({"frozenUntil": FOUR, "reason": "store moves"}))]);
        assert_eq!(told.thens, [format!("frozen until {FOUR} (in 4h)")]);
        assert!(told.questions.is_empty() && told.notes.is_empty(), "{told:?}");
    }

    #[test]
    fn an_edit_stands_on_what_was_read() {
        let objects = [held(1, &json!({"cluster": "east"}))];
        let decision = decide(&freeze_until(FOUR), (&Scope::One, repositories(&objects)), &[], now());
        let edit = decision.edits().next().unwrap();
        assert_eq!((edit.version.as_deref(), &edit.before), (Some("7"), &objects[0].spec));
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
            ("west", json!({}), "False", "west can't be reached now"),
            ("north", json!({}), "True", "no source with a usable Secret"),
        ];
        for (to, spec, reachable, said) in cases {
            let told = decided(&pin_to(to), &Scope::One, &[held(1, &json!({}))], &[member(to, &spec, reachable)]);
            assert!(told.notes[0].contains(said), "{told:?}");
        }
        let away = member("east", &json!({}), "False");
        let told = decided(&freeze_until(FOUR), &Scope::One, &[held(1, &json!({}))], &[away]);
        assert!(told.notes[0].contains("its CronJob goes on there"), "{told:?}");
        let members = [member("west-1", &json!({}), "True")];
        assert!(known_member(&members, "west-1").is_ok());
        assert!(known_member(&members, "west").unwrap_err().ends_with("did you mean west-1?"));
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

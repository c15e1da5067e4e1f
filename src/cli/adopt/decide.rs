//! What going on under an old id means for a ledger, what has to be said of it, and when it is refused.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::kopia_repository::{GrantPhase, GrantStatus};
use crate::cli::levers::near::near;
use crate::cli::levers::resolve::Repository;
use crate::cli::members::bound::{counted, named};
use crate::cli::output::{Tone, one_line};
use crate::hub::id;
use crate::labels;
use crate::plan::foreign;

/// What is known before anything is done.
pub struct Facts<'a> {
    /// The hub's own.
    pub namespace: &'a str,
    pub member_namespace: &'a str,
    /// What the ConfigMap holds, usable or not; none: there is no ConfigMap.
    pub present: Option<&'a str>,
    /// The id that the hub is started with, where that is known: then the ConfigMap has no effect.
    pub given: Option<&'a str>,
    /// Some replica leads.
    pub led: bool,
    pub repositories: &'a [Repository<'a>],
    /// None: only what was seen is listed.
    pub wish: Option<Wish<'a>>,
}

#[derive(Clone, Copy)]
pub struct Wish<'a> {
    pub old: &'a str,
    pub force: bool,
}

#[derive(Debug, Default)]
pub struct Decision {
    /// For people, before anything is done.
    pub text: String,
    pub questions: Vec<String>,
    pub refusal: Option<String>,
    /// The id to write; none where nothing is to be done.
    pub write: Option<String>,
    /// A hub is at work that has to start anew.
    pub runs: bool,
}

/// Of the grants in the ledger, by what becomes of them.
#[derive(Debug, Default)]
struct Grants {
    /// The present id has made them, and they have come through.
    held: Vec<String>,
    /// Likewise, and they have not.
    claims: Vec<String>,
    /// The old id has made them: a status that was restored.
    olds: Vec<String>,
    /// Members where something of the present id may stand.
    places: BTreeSet<String>,
}

pub fn decide(facts: &Facts<'_>) -> Decision {
    let seen = hubs_seen(facts.repositories);
    match facts.wish {
        None => listed(facts, &seen),
        Some(wish) => adopted(facts, wish, &seen),
    }
}

/// Hub ids that conditions tell of, with the repositories that they are in the way of.
fn hubs_seen(repositories: &[Repository<'_>]) -> BTreeMap<String, Vec<String>> {
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for repository in repositories {
        let conditions = repository.status().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let hubs: BTreeSet<&str> =
            conditions.iter().flat_map(|condition| foreign::hubs_named(&condition.message)).collect();
        for hub in hubs {
            seen.entry(hub.to_owned()).or_default().push(repository.name());
        }
    }
    seen
}

fn now_is(facts: &Facts<'_>) -> String {
    let map = format!("ConfigMap {}/{}", facts.namespace, id::NAME);
    match (facts.given, facts.present) {
        (Some(given), _) => format!("this hub is {given}, which it is started with (--hub-id)"),
        (None, Some(present)) if id::check(present).is_ok() => format!("this hub is {present} ({map})"),
        (None, Some(present)) => format!("this hub has no usable id: {map} holds {present:?}"),
        (None, None) => format!("this hub has no id yet: there is no {map}"),
    }
}

fn listed(facts: &Facts<'_>, seen: &BTreeMap<String, Vec<String>>) -> Decision {
    let mut text = now_is(facts) + "\n";
    if seen.is_empty() {
        let refusal = format!(
            "the ledger tells of no other hub's objects in any member, so give the id: --from-hub ID. It stands in a label \
             of what the old hub pushed: kubectl --context MEMBER get cronjobs -n {} -L {}",
            facts.member_namespace,
            labels::HUB
        );
        return Decision { text, refusal: Some(refusal), ..Decision::default() };
    }
    for (hub, repositories) in seen {
        let count = counted(repositories.len());
        text += &one_line(&format!("objects of hub {hub} stand in the way of {count}: {}", named(repositories)));
        text += "\n";
    }
    text += "volsync-hub adopt --from-hub ID has this hub go on as one of them\n";
    Decision { text, ..Decision::default() }
}

fn adopted(facts: &Facts<'_>, wish: Wish<'_>, seen: &BTreeMap<String, Vec<String>>) -> Decision {
    let mut text = now_is(facts) + "\n";
    let refused = |text: String, why: String| Decision { text, refusal: Some(why), ..Decision::default() };
    if let Err(error) = id::check(wish.old) {
        return refused(text, format!("{error}: nothing was done"));
    }
    if let Some(given) = facts.given {
        if given == wish.old {
            return Decision { text: format!("{text}nothing to do: that is the id\n"), ..Decision::default() };
        }
        let why = format!(
            "the ConfigMap has no effect on a hub that is started with --hub-id {given}: take that away, or start it with \
             --hub-id {} (VOLSYNC_HUB_ID in the Deployment); nothing was done",
            wish.old
        );
        return refused(text, why);
    }
    if facts.present == Some(wish.old) {
        return Decision { text: format!("{text}nothing to do: that is the id\n"), ..Decision::default() };
    }
    let grants = grants(facts, wish.old);
    text.extend(["it becomes ", &Tone::Warning.paint(wish.old), "\n"]);
    text.extend(notes(facts, wish, (&grants, seen)).iter().map(|note| format!("- {}\n", one_line(note))));
    if !grants.held.is_empty() && !wish.force {
        let why = format!(
            "this hub has maintained {} under the id {} ({}), and would know nothing of that any more: with --force \
             --reason TEXT it gives these grants up and goes on as {}; nothing was done",
            counted(grants.held.len()),
            facts.present.unwrap_or_default(),
            named(&grants.held),
            wish.old
        );
        return refused(text, why);
    }
    let question = format!(
        "this makes the hub {}. No other hub with that id may run any more, anywhere: each would take the other's grants \
         for its own",
        wish.old
    );
    let write = Some(wish.old.to_owned());
    Decision { text, questions: vec![question], refusal: None, write, runs: facts.led }
}

fn grants(facts: &Facts<'_>, old: &str) -> Grants {
    let mut grants = Grants::default();
    for repository in facts.repositories {
        let Some(grant) = repository.grant() else { continue };
        let name = repository.name();
        // One without an id is from before grants had any; where nobody has run here since, it was restored.
        match grant.hub.as_deref().or(facts.present).unwrap_or(old) {
            hub if hub == old => grants.olds.push(name),
            // Of a third one: it counts for nothing either way.
            hub if Some(hub) != facts.present => {}
            _ => {
                let through = came_through(grant);
                if through || !is_stopped(repository) {
                    grants.places.insert(grant.cluster.clone());
                }
                if through { grants.held.push(name) } else { grants.claims.push(name) }
            }
        }
    }
    grants
}

/// Anything but a first claim that is still under way.
fn came_through(grant: &GrantStatus) -> bool {
    grant.phase != GrantPhase::Claiming || grant.from.is_some()
}

/// Nothing of it was pushed, for another hub's objects stand there.
fn is_stopped(repository: &Repository<'_>) -> bool {
    let conditions = repository.status().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Maintained" && condition.reason == "NotOurs")
}

fn notes(facts: &Facts<'_>, wish: Wish<'_>, (grants, seen): (&Grants, &BTreeMap<String, Vec<String>>)) -> Vec<String> {
    let old = wish.old;
    let mut notes = vec![match seen.get(old) {
        Some(repositories) => {
            format!("objects of {old} stand in members, for {}: {}", counted(repositories.len()), named(repositories))
        }
        None if seen.is_empty() => {
            format!("whether anything of {old} stands in a member is not known: a hub tells that once it has looked")
        }
        None => {
            let hubs: Vec<&str> = seen.keys().map(String::as_str).collect();
            let near = near(old, hubs.iter().copied());
            let meant = if near.is_empty() { String::new() } else { format!(": did you mean {}?", near.join(" or ")) };
            format!("no objects of {old} were seen in members, but some of {}{meant}", hubs.join(", "))
        }
    }];
    let present = facts.present.unwrap_or_default();
    let mut told = |names: &[String], says: String| {
        if !names.is_empty() {
            notes.push(format!("{}: {says}", named(names)));
        }
    };
    told(&grants.olds, format!("a grant of {old} stands in the ledger already, and goes on"));
    told(&grants.claims, format!("{present} has not come through to maintain it, and its claim is given up"));
    told(&grants.held, format!("{present} maintains it, and that grant is given up"));
    notes.push(
        "a repository of which something stands in a member becomes Recovering: for half an hour from when its record was \
         made the hub waits for a restored status, then for every registered member to be read; it takes up the highest \
         epoch that it finds, and claims anew with a higher one. What stands goes on meanwhile"
            .to_owned(),
    );
    if !grants.places.is_empty() {
        notes.push(format!(
            "what {present} has pushed is a stranger's afterwards, and in the way. Once the hub goes on as {old}, take it \
             away in each of these members:"
        ));
        notes.extend(grants.places.iter().map(|member| {
            format!(
                "kubectl --context {member} delete cronjobs,jobs,secrets,configmaps,serviceaccounts -n {} -l {}={present}",
                facts.member_namespace,
                labels::HUB
            )
        }));
    }
    notes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::kopia_repository::KopiaRepository;
    use crate::cli::levers::resolve::repositories;
    use crate::cli::levers::testing::{name, record};

    const WISH: Wish<'static> = Wish { old: "hub-old", force: false };

    fn decided(
        objects: &[KopiaRepository],
        present: Option<&str>,
        given: Option<&str>,
        wish: Option<Wish<'_>>,
    ) -> Decision {
        let decision = decide(&Facts {
            namespace: "volsync-system",
            member_namespace: "backup",
            present,
            given,
            led: false,
            repositories: &repositories(objects),
            wish,
        });
        Decision { text: anstream::adapter::strip_str(&decision.text).to_string(), ..decision }
    }

    fn granted(number: u8, phase: &str, hub: &str, reason: &str, message: &str) -> KopiaRepository {
        let condition = json!({"type": "Maintained", "status": "False", "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let grant = json!({"cluster": "east", "epoch": 1, "phase": phase, "hub": hub});
        record(number, &json!({}), &json!({"grant": grant, "conditions": [condition]}))
    }

    /// As a rebuilt hub finds itself: nothing of its own comes through.
    fn stuck(number: u8) -> KopiaRepository {
        let message =
            "failed to apply ServiceAccount x in east: it belongs to the hub \"hub-old\", so it is left alone";
        granted(number, "Claiming", "hub-new", "NotOurs", message)
    }

    #[test]
    fn a_rebuilt_hub_whose_claims_come_to_nothing_goes_on_as_the_old_one() {
        let told = decided(&[stuck(1), stuck(2)], Some("hub-new"), None, Some(WISH));
        assert_eq!((told.write.as_deref(), &told.refusal, told.runs), (Some("hub-old"), &None, false));
        assert!(told.questions[0].contains("No other hub with that id may run"), "{told:?}");
        for part in [
            "this hub is hub-new (ConfigMap volsync-system/volsync-hub-id)\nit becomes hub-old\n",
            "objects of hub-old stand in members, for 2 repositories",
            "hub-new has not come through to maintain it",
            "becomes Recovering: for half an hour",
        ] {
            assert!(told.text.contains(part), "no {part} in {}", told.text);
        }
        assert!(!told.text.contains("kubectl"), "nothing of it was pushed anywhere: {}", told.text);
    }

    #[test]
    fn grants_that_came_through_are_given_up_by_force_alone() {
        let objects = [granted(1, "Active", "hub-new", "Active", ""), stuck(2)];
        let told = decided(&objects, Some("hub-new"), None, Some(WISH));
        let refusal = told.refusal.unwrap_or_default();
        assert!(
            refusal.contains("has maintained 1 repository under the id hub-new") && told.write.is_none(),
            "{refusal}"
        );
        let forced = decided(&objects, Some("hub-new"), None, Some(Wish { force: true, ..WISH }));
        assert_eq!((forced.write.as_deref(), forced.refusal), (Some("hub-old"), None));
        let command = "kubectl --context east delete cronjobs,jobs,secrets,configmaps,serviceaccounts -n backup -l \
                       hub.volsync.backube/hub=hub-new";
        assert!(forced.text.contains(command), "{}", forced.text);
        let restored = decided(&[granted(3, "Active", "hub-old", "Active", "")], Some("hub-new"), None, Some(WISH));
        assert!(
            restored.refusal.is_none() && restored.text.contains("a grant of hub-old stands in the ledger already")
        );
        let unnamed = || record(4, &json!({}), &json!({"grant": {"cluster": "east", "epoch": 1, "phase": "Active"}}));
        assert!(decided(&[unnamed()], None, None, Some(WISH)).text.contains("a grant of hub-old stands in the ledger"));
        assert!(
            decided(&[unnamed()], Some("hub-new"), None, Some(WISH)).refusal.is_some(),
            "whose it is was not told then"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_the_same_again_is_nothing_to_do() {
        let wish = |old| Some(Wish { old, force: false });
        assert!(decided(&[], None, None, wish("Hub!")).refusal.is_some_and(|it| it.contains("is not usable")));
        let given = decided(&[], Some("hub-new"), Some("hub-env"), wish("hub-old"));
        assert!(given.refusal.is_some_and(|it| it.contains("started with --hub-id hub-env")));
        for (present, given) in [(Some("hub-old"), None), (None, Some("hub-old"))] {
            let told = decided(&[], present, given, wish("hub-old"));
            assert!(told.refusal.is_none() && told.write.is_none() && told.text.contains("nothing to do"), "{told:?}");
        }
        let first = decided(&[], None, None, wish("hub-old"));
        assert!(first.write.is_some() && first.text.contains("has no id yet"), "{first:?}");
        let mistyped = decided(&[stuck(1)], Some("hub-new"), None, wish("hub-odl"));
        assert!(mistyped.text.contains("but some of hub-old: did you mean hub-old?"), "{}", mistyped.text);
    }

    #[test]
    fn without_an_id_those_are_listed_that_were_seen() {
        let told = decided(&[stuck(1)], Some("hub-new"), None, None);
        let line = format!("objects of hub hub-old stand in the way of 1 repository: {}", name(1));
        assert!(told.text.contains(&line) && told.refusal.is_none() && told.write.is_none(), "{}", told.text);
        let none = decided(&[], Some("hub-new"), None, None);
        assert!(none.refusal.is_some_and(|it| it.contains("-n backup -L hub.volsync.backube/hub")));
    }
}

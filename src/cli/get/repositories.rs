//! Repositories at a glance: state, holder, last and next run, and what is wrong.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::api::DynamicObject;

use super::{GetArgs, Listing, Row, name, shown, summary, when};
use crate::api::kopia_repository::{KopiaRepository, KopiaRepositoryStatus};
use crate::cli::levers::Hub;
use crate::cli::levers::resolve::{self, Repository, Unresolved};
use crate::cli::levers::trigger::maintained;
use crate::cli::output::{Cell, Tone};
use crate::cli::wrong::{self, Level, Wrong};
use crate::hub::kinds;

const HEADINGS: [&str; 9] = ["REPOSITORY", "LOCATION", "POLICY", "CLUSTER", "STATE", "LAST", "OUTCOME", "NEXT", "NOTE"];
const WIDE: [&str; 5] = ["BACKEND", "EPOCH", "PHASE", "SOURCES", "MESSAGE"];

pub async fn listing(hub: &Hub, args: &GetArgs, now: Timestamp) -> Result<Listing, String> {
    let raw = hub.objects(&kinds::ledger(), "KopiaRepositories").await?;
    let objects: Vec<KopiaRepository> = raw.iter().filter_map(|object| object.clone().try_parse().ok()).collect();
    let all = resolve::repositories(&objects);
    let mut chosen = all.clone();
    if !args.names.is_empty() {
        chosen = by_names(&all, &args.names)?;
    }
    if let Some(policy) = &args.policy {
        chosen = resolve::by_policy(&chosen, policy)?;
    }
    if let Some(member) = &args.cluster {
        chosen = resolve::by_holder(&chosen, member);
    }
    if let Some(state) = &args.state {
        chosen.retain(|repository| status_text(repository, |status| status.state.as_deref()) == state);
    }
    let raw: BTreeMap<&str, &DynamicObject> = raw.iter().map(|object| (name(object), object)).collect();
    let rows = chosen.iter().map(|repository| row(repository, &raw, now)).collect();
    Ok(Listing { headings: &HEADINGS, wide: &WIDE, rows, summary: told(&chosen, all.len()) })
}

/// Which repository a source is in is known to the members alone, and this asks the hub alone.
fn by_names<'a>(all: &[Repository<'a>], names: &[String]) -> Result<Vec<Repository<'a>>, String> {
    let found = names.iter().map(|name| match resolve::by_name(all, name) {
        Ok(found) => Ok(found),
        Err(Unresolved::Error(message)) => Err(message),
        Err(Unresolved::MayBeSource) => Err(format!(
            "no KopiaRepository on the hub has the id or location {name:?}. If it is a source, `volsync-hub explain {name}` \
             asks the members for its repository"
        )),
    });
    let found: Vec<&Repository<'a>> = found.collect::<Result<_, String>>()?;
    let chosen = |repository: &&Repository<'a>| found.iter().any(|it| it.name() == repository.name());
    Ok(all.iter().filter(chosen).cloned().collect())
}

fn status_text<'a>(
    repository: &Repository<'a>,
    field: impl Fn(&'a KopiaRepositoryStatus) -> Option<&'a str>,
) -> &'a str {
    repository.status().and_then(field).unwrap_or_default()
}

fn row(repository: &Repository<'_>, raw: &BTreeMap<&str, &DynamicObject>, now: Timestamp) -> Row {
    let wrongs = wrong::of_repository(repository.status());
    let grant = repository.grant();
    let outcome = status_text(repository, |status| status.last_outcome.as_deref());
    let outcome_tone = if matches!(outcome, "" | "Succeeded") { Tone::Plain } else { Tone::Warning };
    let time = |field: fn(&KopiaRepositoryStatus) -> Option<Timestamp>| when(repository.status().and_then(field), now);
    let state = status_text(repository, |status| status.state.as_deref());
    let counts = repository.status().and_then(|status| Some((status.source_count?, status.cluster_count?)));
    let sources = counts.map(|(sources, clusters)| format!("{sources} in {clusters}")).unwrap_or_default();
    let cells = vec![
        Cell::from(repository.name()),
        repository.location().into(),
        repository.policy().unwrap_or_default().into(),
        grant.map(|grant| grant.cluster.as_str()).unwrap_or_default().into(),
        Cell::new(state, tone(state, wrong::worst(&wrongs))),
        time(|status| Some(status.last_success.as_ref()?.0)),
        Cell::new(outcome, outcome_tone),
        time(|status| Some(status.next_run.as_ref()?.0)),
        note(repository, &wrongs),
    ];
    let message = wrongs.first().map(|wrong| wrong.message.as_str());
    let wide = vec![
        Cell::from(status_text(repository, |status| status.backend.as_deref())),
        grant.map(|grant| grant.epoch.to_string()).unwrap_or_default().into(),
        grant.map(|grant| format!("{:?}", grant.phase)).unwrap_or_default().into(),
        sources.into(),
        message.or_else(|| maintained(repository.status()?)).unwrap_or_default().into(),
    ];
    let objects = repository.records().filter_map(|record| raw.get(record.metadata.name.as_deref()?));
    Row { objects: objects.map(|object| shown(object)).collect(), worst: wrong::worst(&wrongs), cells, wide }
}

/// A state that should be is not yet one that is.
fn tone(state: &str, worst: Level) -> Tone {
    match (state, worst) {
        ("Suspended" | "Disabled" | "Frozen", Level::Ok) => Tone::Faint,
        ("NoPolicy", _) => Tone::Plain,
        (_, worst) => worst.tone(),
    }
}

/// The reasons of what is wrong, else what it waits for.
fn note(repository: &Repository<'_>, wrongs: &[Wrong]) -> Cell {
    if !wrongs.is_empty() {
        let mut reasons: Vec<&str> = wrongs.iter().map(|wrong| wrong.reason.as_str()).collect();
        reasons.dedup();
        return Cell::new(reasons.join(", "), wrong::worst(wrongs).tone());
    }
    let conditions = repository.status().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let waits = conditions.iter().find(|condition| condition.type_ == "Maintained" && condition.status != "True");
    let state = status_text(repository, |status| status.state.as_deref());
    let waits = waits.map(|condition| condition.reason.as_str()).filter(|reason| *reason != state);
    Cell::new(waits.unwrap_or_default(), Tone::Faint)
}

/// How many are in which state. `all`: how many there are on the hub.
fn told(chosen: &[Repository<'_>], all: usize) -> String {
    if all == 0 {
        return "there is no KopiaRepository on the hub: no policy matches a source yet, or no hub runs (volsync-hub \
                doctor says which)"
            .to_owned();
    }
    if chosen.is_empty() {
        return format!("none of the {all} repositories is such a one");
    }
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for repository in chosen {
        let state = status_text(repository, |status| status.state.as_deref());
        *states.entry(if state.is_empty() { "without a state yet" } else { state }).or_default() += 1;
    }
    let mut states: Vec<(&str, usize)> = states.into_iter().collect();
    states.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let troubled = chosen.iter().filter(|repository| !wrong::of_repository(repository.status()).is_empty()).count();
    summary(chosen.len(), ("repository", "repositories"), &states.join(", "), troubled)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::levers::testing::{held, now, record};

    fn condition(kind: &str, status: &str, reason: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": "because",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn fleet() -> Vec<KopiaRepository> {
        let with = |number, state: &str, conditions: Value| {
            let status = json!({"location": format!("s3://b{number}/ at aws"), "state": state, "conditions": conditions,
                "grant": {"cluster": "east", "epoch": 3, "phase": "Active"}, "nextRun": "2026-03-01T14:00:00Z"});
            record(number, &json!({}), &status)
        };
        vec![
            with(1, "Maintained", json!([condition("Maintained", "True", "Active")])),
            with(2, "Held", json!([condition("Maintained", "False", "InvalidPolicy")])),
            with(3, "Maintained", json!([condition("Maintained", "False", "Claiming")])),
            with(4, "Disabled", json!([condition("Maintained", "False", "Disabled")])),
        ]
    }

    fn text(rows: Vec<Row>, wide: bool) -> String {
        let listing = Listing { headings: &HEADINGS, wide: &WIDE, rows, summary: String::new() };
        anstream::adapter::strip_str(&super::super::table(listing, wide)).to_string()
    }

    #[test]
    fn what_is_wrong_or_waited_for_stands_at_the_end_of_the_line() {
        let objects = fleet();
        let repositories = resolve::repositories(&objects);
        let rows = || repositories.iter().map(|it| row(it, &BTreeMap::new(), now())).collect();
        let text_of = text(rows(), false);
        let lines: Vec<&str> = text_of.lines().collect();
        assert!(lines[1].contains("Held") && lines[1].ends_with("InvalidPolicy"), "{text_of}");
        assert!(lines[2].contains("in 120m"), "{text_of}");
        assert!(lines[3].ends_with("Claiming") && lines[4].ends_with('-'), "{text_of}");
        let wide = text(rows(), true);
        let words: Vec<&str> = wide.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert!(words.join(" ").ends_with("InvalidPolicy - 3 Active - because"), "{wide}");
        assert_eq!(
            told(&repositories, 4),
            "4 repositories: 2 Maintained, 1 Disabled, 1 Held; something is wrong with 1 of them"
        );
        assert_eq!(told(&[], 4), "none of the 4 repositories is such a one");
        assert!(told(&[], 0).starts_with("there is no KopiaRepository"));
    }

    #[test]
    fn repositories_are_named_by_id_or_location_and_a_source_is_told_where_to_ask() {
        let objects = [held(1, &json!({})), held(2, &json!({}))];
        let all = resolve::repositories(&objects);
        let found = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            by_names(&all, &names).map(|found| found.iter().map(Repository::name).collect::<Vec<_>>())
        };
        assert_eq!(found(&["s3://bucket-2/", "kr-0000000000000001"]), Ok(vec![all[0].name(), all[1].name()]));
        assert!(found(&["east/shop/data"]).is_err_and(|told| told.contains("volsync-hub explain east/shop/data")));
        assert!(found(&["s3://nothing/"]).is_err_and(|told| told.contains("no KopiaRepository")));
    }
}

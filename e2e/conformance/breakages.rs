//! The features that are broken one at a time, and the test that every case notices one of them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use super::broken::{self, Ask, Breakage, accept, in_metadata, is_failure, merge, only, strip};
use super::suite::{self, Target};
use super::{client, simulated};

/// How long a case waits for an event that a broken server may never send.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most of the time is spent with waiting for what never comes.
const BREAKAGES_AT_ONCE: usize = 6;

const BREAKAGES: &[(&str, Breakage)] = &[
    // What the server does not read.
    ("limit is ignored", Breakage::Ask(|ask| ask.forget("limit"))),
    ("page tokens are ignored", Breakage::Ask(|ask| ask.forget("continue"))),
    ("label selectors are ignored", Breakage::Ask(|ask| ask.forget("labelSelector"))),
    ("field selectors are ignored", Breakage::Ask(|ask| ask.forget("fieldSelector"))),
    ("lists ignore the version", Breakage::Ask(|ask| unversioned(ask, false))),
    ("watches ignore the version", Breakage::Ask(|ask| unversioned(ask, true))),
    ("dry runs are real", Breakage::Ask(|ask| ask.forget("dryRun"))),
    ("force is ignored", Breakage::Ask(|ask| ask.forget("force"))),
    ("every apply is forced", Breakage::Ask(forced)),
    ("all managers are one", Breakage::Ask(one_manager)),
    ("managers are never given", Breakage::Ask(|ask| ask.forget("fieldManager"))),
    ("strictness is ignored", Breakage::Ask(|ask| ask.forget("fieldValidation"))),
    ("initial events are not marked", Breakage::Ask(|ask| ask.forget("sendInitialEvents"))),
    ("a uid in a body is ignored", Breakage::Ask(|ask| ask.forget_field("/metadata", "uid"))),
    ("a version in a body is ignored", Breakage::Ask(|ask| ask.forget_field("/metadata", "resourceVersion"))),
    ("preconditions of a delete are ignored", Breakage::Ask(|ask| ask.forget_field("", "preconditions"))),
    ("finalizers are ignored", Breakage::Ask(|ask| ask.forget_field("/metadata", "finalizers"))),
    ("stringData is ignored", Breakage::Ask(|ask| ask.forget_field("", "stringData"))),
    ("immutable is ignored", Breakage::Ask(|ask| ask.forget_field("", "immutable"))),
    ("managed fields in a body are ignored", Breakage::Ask(|ask| ask.forget_field("/metadata", "managedFields"))),
    ("status is no part of its own", Breakage::Ask(whole)),
    ("the whole object is asked for, never its metadata", Breakage::Ask(|ask| ask.accept = "application/json".into())),
    ("a null removes nothing", Breakage::Ask(no_nulls)),
    ("operations of a JSON patch run backwards", Breakage::Ask(backwards)),
    ("tests of a JSON patch are skipped", Breakage::Ask(untested)),
    ("every patch is a merge patch", Breakage::Ask(patched_as_merge)),
    ("a prefix is a name", Breakage::Ask(prefixed)),
    ("names are mended", Breakage::Ask(mended)),
    ("lists show all namespaces", Breakage::Ask(everywhere)),
    // What it says.
    (
        "failures look like success",
        Breakage::Answer(|ask, answer| {
            if is_failure(answer) {
                accept(ask, answer);
            }
        }),
    ),
    (
        "failures have no reason",
        Breakage::Answer(|_, answer| {
            if is_failure(answer) {
                answer.body = json!({});
            }
        }),
    ),
    (
        "created is told as done",
        Breakage::Answer(|_, answer| {
            if answer.code == 201 {
                answer.code = 200;
            }
        }),
    ),
    (
        "unknown paths are empty",
        Breakage::Answer(|_, answer| {
            if answer.code == 404 {
                answer.code = 200;
            }
        }),
    ),
    ("versions are all one", Breakage::Answer(|_, answer| in_metadata(&mut answer.body, &|it| version(it, |_| 1)))),
    ("every write moves the version", Breakage::Answer(always_moved)),
    ("there are no uids", Breakage::Answer(|_, answer| strip(&mut answer.body, "uid"))),
    ("there are no kinds", Breakage::Answer(|_, answer| strip(&mut answer.body, "kind"))),
    ("there are no generations", Breakage::Answer(|_, answer| strip(&mut answer.body, "generation"))),
    ("there are no managed fields", Breakage::Answer(|_, answer| strip(&mut answer.body, "managedFields"))),
    ("there are no labels", Breakage::Answer(|_, answer| strip(&mut answer.body, "labels"))),
    ("there is no data", Breakage::Answer(|_, answer| strip(&mut answer.body, "data"))),
    ("nothing is filled in", Breakage::Answer(as_asked)),
    ("everything that was sent is kept", Breakage::Answer(kept)),
    ("an apply replaces what is there", Breakage::Answer(replaced)),
    ("nothing is ever removed", Breakage::Memory(|_, answer, last| remembered(&mut answer.body, last))),
    ("patches join lists", Breakage::Memory(|_, answer, last| joined(&mut answer.body, last))),
    (
        "nothing ever changes",
        Breakage::Memory(|ask, answer, last| {
            if ask.writes() {
                answer.body = last.clone();
            }
        }),
    ),
    (
        "a deletion says nothing",
        Breakage::Answer(|ask, answer| {
            if ask.method == "DELETE" {
                answer.body = json!({});
            }
        }),
    ),
    ("versions of the API are not told", Breakage::Answer(undiscovered)),
    ("tables have one column", Breakage::Answer(one_column)),
    ("events have no text", Breakage::Answer(speechless)),
    // Watches.
    ("every event comes twice", Breakage::Twice),
    ("events have no kinds", Breakage::Event(|event| strip(event, "kind"))),
    ("events have no labels", Breakage::Event(|event| strip(event, "labels"))),
    ("changes are told as additions", Breakage::Event(|event| told(event, "MODIFIED", "ADDED"))),
    ("deletions are told as changes", Breakage::Event(|event| told(event, "DELETED", "MODIFIED"))),
    ("bookmarks are told as changes", Breakage::Event(|event| told(event, "BOOKMARK", "MODIFIED"))),
    // Users.
    ("everybody may do everything", Breakage::Anybody),
];

fn told(event: &mut Value, from: &str, to: &str) {
    if event["type"] == from {
        event["type"] = json!(to);
    }
}

fn unversioned(ask: &mut Ask, watch: bool) {
    if ask.method == "GET" && ask.is_watch() == watch {
        ask.forget("resourceVersion");
        if !ask.query.iter().any(|(key, _)| key == "sendInitialEvents") {
            ask.forget("resourceVersionMatch");
        }
    }
}

fn forced(ask: &mut Ask) {
    if ask.is_apply() {
        ask.forget("force");
        ask.query.push(("force".into(), "true".into()));
    }
}

fn one_manager(ask: &mut Ask) {
    if ask.writes() {
        ask.forget("fieldManager");
        ask.query.push(("fieldManager".into(), "everybody".into()));
    }
}

fn whole(ask: &mut Ask) {
    if let Some(path) = ask.path.strip_suffix("/status") {
        ask.path = path.to_owned();
    }
}

fn no_nulls(ask: &mut Ask) {
    fn remove(value: &mut Value) {
        if let Value::Object(map) = value {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(remove);
        }
    }
    if ask.is_merge() {
        remove(&mut ask.body);
    }
}

fn backwards(ask: &mut Ask) {
    if let Value::Array(operations) = &mut ask.body {
        operations.reverse();
    }
}

fn untested(ask: &mut Ask) {
    if let Value::Array(operations) = &mut ask.body {
        operations.retain(|operation| operation["op"] != "test");
    }
}

fn patched_as_merge(ask: &mut Ask) {
    if ask.method == "PATCH" {
        "application/merge-patch+json".clone_into(&mut ask.content_type);
    }
}

fn prefixed(ask: &mut Ask) {
    if let Some(prefix) = ask.body.pointer("/metadata/generateName").cloned() {
        ask.body["metadata"]["name"] = json!(format!("{}x", prefix.as_str().unwrap_or_default()));
    }
}

fn mended(ask: &mut Ask) {
    if let Some(name) = ask.body.pointer_mut("/metadata/name") {
        *name = json!(name.as_str().unwrap_or_default().to_lowercase().replace('_', "-"));
    }
}

/// Lists and watches of one namespace; what names an object stays.
fn everywhere(ask: &mut Ask) {
    let parts: Vec<&str> = ask.path.split('/').collect();
    let at = parts.iter().position(|part| *part == "namespaces");
    if let (Some(at), "GET") = (at, ask.method.as_str())
        && parts.len() == at + 3
    {
        ask.path = [&parts[..at], &parts[at + 2..]].concat().join("/");
    }
}

fn version(metadata: &mut serde_json::Map<String, Value>, change: impl Fn(u64) -> u64) {
    if let Some(known) = metadata.get_mut("resourceVersion") {
        let number = known.as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        *known = json!(change(number).to_string());
    }
}

fn always_moved(ask: &Ask, answer: &mut broken::Answer) {
    if ask.writes() && ask.method != "POST" {
        in_metadata(&mut answer.body, &|metadata| version(metadata, |number| number + 1));
    }
}

fn as_asked(ask: &Ask, answer: &mut broken::Answer) {
    if ask.writes() && !is_failure(answer) {
        for part in ["spec", "type"] {
            let asked = ask.body[part].clone();
            if asked.is_null() {
                strip(&mut answer.body, part);
            } else {
                only(&mut answer.body[part], &asked);
            }
        }
    }
}

fn kept(ask: &Ask, answer: &mut broken::Answer) {
    if ask.body.is_object() && !is_failure(answer) {
        merge(&mut answer.body, &ask.body);
    }
}

fn replaced(ask: &Ask, answer: &mut broken::Answer) {
    if ask.is_apply() && !is_failure(answer) {
        for part in ["spec", "data", "status"] {
            answer.body[part] = ask.body[part].clone();
        }
        for part in ["annotations", "finalizers", "labels"] {
            answer.body["metadata"][part] = ask.body["metadata"][part].clone();
        }
    }
}

fn remembered(now: &mut Value, last: &Value) {
    let mut all = last.clone();
    merge(&mut all, now);
    *now = all;
}

fn joined(now: &mut Value, last: &Value) {
    match (now, last) {
        (Value::Array(now), Value::Array(last)) => now.extend(last.iter().cloned()),
        (Value::Object(now), Value::Object(last)) => {
            now.iter_mut().for_each(|(key, value)| joined(value, last.get(key).unwrap_or(&Value::Null)));
        }
        _ => {}
    }
}

fn undiscovered(ask: &Ask, answer: &mut broken::Answer) {
    if ask.path == "/version" || ask.path.split('/').count() <= 4 && ask.path.starts_with("/apis/") {
        answer.body = json!({});
    }
}

fn one_column(_: &Ask, answer: &mut broken::Answer) {
    if let Some(Value::Array(columns)) = answer.body.get_mut("columnDefinitions") {
        columns.truncate(1);
    }
}

fn speechless(_: &Ask, answer: &mut broken::Answer) {
    if answer.body["kind"] == "Event" {
        strip(&mut answer.body, "note");
        strip(&mut answer.body, "message");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_notices_when_its_feature_is_broken_and_every_broken_feature_is_noticed() {
    if std::env::var_os("CONFORMANCE_KUBECONFIG").is_some() {
        return;
    }
    let (_cluster, users) = simulated("broken").await;
    let setup = client(users[0].clone()).await;
    // The way to the broken servers breaks nothing itself.
    let (_, red_without) = red("nothing is broken", Breakage::Ask(|_| ()), &users, setup.clone()).await;
    assert!(red_without.is_empty(), "red where nothing is broken: {red_without:#?}");
    let reds: Vec<(&str, Vec<String>)> = futures::stream::iter(BREAKAGES)
        .map(|(name, breakage)| red(name, *breakage, &users, setup.clone()))
        .buffered(BREAKAGES_AT_ONCE)
        .collect()
        .await;
    let mut noticed: BTreeMap<String, usize> = suite::facts().into_iter().map(|fact| (fact, 0)).collect();
    for fact in reds.iter().flat_map(|(_, red)| red) {
        *noticed.get_mut(fact).unwrap() += 1;
    }
    let unnoticed: Vec<&str> = reds.iter().filter(|(_, red)| red.is_empty()).map(|(name, _)| *name).collect();
    let blind: Vec<&String> = noticed.iter().filter(|(_, by)| **by == 0).map(|(fact, _)| fact).collect();
    assert!(unnoticed.is_empty(), "no case notices that {unnoticed:#?}");
    assert!(blind.is_empty(), "cases that notice nothing: {blind:#?}");
}

/// The cases that fail on a server that is broken like this.
async fn red(
    name: &'static str,
    breakage: Breakage,
    users: &[Kubeconfig; 3],
    setup: kube::Client,
) -> (&'static str, Vec<String>) {
    let mut clients = Vec::new();
    for user in users {
        let user = if matches!(breakage, Breakage::Anybody) { &users[0] } else { user };
        clients.push(broken::client(client(user.clone()).await, breakage));
    }
    let [admin, limited, stranger] = clients.try_into().ok().unwrap();
    let target = Target { name, setup, admin, limited: Some(limited), stranger, patience: PATIENCE };
    let results = suite::results(&target).await;
    let all = results.len();
    let red: Vec<String> = results.into_iter().filter(|it| it.1.is_err()).map(|it| it.0).collect();
    println!("{:>3} of {all} cases notice that {name}", red.len());
    (name, red)
}

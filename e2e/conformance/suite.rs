//! One suite for API servers, simulated or real: each case is a fact about the API, written down as requests and what
//! comes back (`cases/*.txt`; the form is explained in `script.rs`).

#[path = "exchange.rs"]
mod exchange;
#[path = "script.rs"]
mod script;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

use exchange::{Exchange, Session};
use script::Case;

/// An API server under test.
pub struct Target {
    pub name: &'static str,
    /// Makes what cases need: their namespaces, and definitions.
    pub setup: kube::Client,
    /// May do everything.
    pub admin: kube::Client,
    /// May do nothing but what everybody may; without it the cases that need it are listed as not run.
    pub limited: Option<kube::Client>,
    /// Has a token that the server does not know.
    pub stranger: kube::Client,
    /// How long an answer or an event may take.
    pub patience: Duration,
}

/// An answer of a server on the same machine comes well within this, even while the machine builds.
pub const PATIENCE: Duration = Duration::from_secs(20);

const CASES: &[(&str, &str)] = &[
    ("objects.txt", include_str!("cases/objects.txt")),
    ("lists.txt", include_str!("cases/lists.txt")),
    ("watches.txt", include_str!("cases/watches.txt")),
    ("patches.txt", include_str!("cases/patches.txt")),
    ("apply.txt", include_str!("cases/apply.txt")),
    ("custom.txt", include_str!("cases/custom.txt")),
    ("forms.txt", include_str!("cases/forms.txt")),
    ("access.txt", include_str!("cases/access.txt")),
];

/// Cases run beside each other: each has a namespace of its own.
const AT_ONCE: usize = 12;
/// A real server takes some seconds to serve a new definition.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);

/// Runs every case and panics with all that differ.
pub async fn run(target: &Target) {
    let started = Instant::now();
    let results = results(target).await;
    let cases = all_cases();
    let skipped: Vec<&str> = cases.iter().filter(|case| !possible(target, case)).map(|case| &*case.fact).collect();
    for fact in &skipped {
        println!("not run, no limited user was given: {fact}");
    }
    let failures: Vec<String> =
        results.into_iter().filter_map(|(fact, result)| Some(format!("{fact}\n    {}", result.err()?))).collect();
    let (all, took) = (cases.len(), started.elapsed());
    println!(
        "{}: {} of {all} cases hold, {:.1} s",
        target.name,
        all - failures.len() - skipped.len(),
        took.as_secs_f32()
    );
    assert!(
        failures.is_empty(),
        "{} of {all} cases differ on {}\n{}",
        failures.len(),
        target.name,
        failures.join("\n")
    );
}

fn all_cases() -> Vec<Case> {
    let cases: Vec<Case> = CASES.iter().flat_map(|(file, text)| script::parse(file, text)).collect();
    let facts: BTreeSet<&str> = cases.iter().map(|case| case.fact.as_str()).collect();
    assert_eq!(facts.len(), cases.len(), "two cases have one name");
    cases
}

/// All cases, as file and fact.
#[allow(dead_code, reason = "the suite is a part of two test programs, and one of them does not ask")]
pub fn facts() -> Vec<String> {
    all_cases().iter().map(|case| format!("{}: {}", case.file, case.fact)).collect()
}

/// Each case, as file and fact, and what differs.
pub async fn results(target: &Target) -> Vec<(String, Result<(), String>)> {
    define(target).await;
    let run_id = format!("{:x}", rand_id());
    futures::stream::iter(all_cases().into_iter().enumerate())
        .map(|(number, case)| {
            let namespace = format!("conformance-{run_id}-{number}");
            async move { (format!("{}: {}", case.file, case.fact), run_case(target, &case, &namespace).await) }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

fn possible(target: &Target, case: &Case) -> bool {
    target.limited.is_some() || !case.needs_limited()
}

async fn run_case(target: &Target, case: &Case, namespace: &str) -> Result<(), String> {
    if !possible(target, case) {
        return Ok(());
    }
    let admin = Exchange::new(&target.setup, target.patience);
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let reply = admin.send("POST", "/api/v1/namespaces", Some(("application/json", body.to_string())), None).await?;
    if reply.code != 201 {
        return Err(format!("make its namespace: {}", reply.body));
    }
    let result = Session::new(target, namespace).run(case).await;
    // Best effort: what a case leaves behind disturbs no other.
    let _ = admin.send("DELETE", &format!("/api/v1/namespaces/{namespace}"), None, None).await;
    result
}

fn rand_id() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    u32::try_from(RandomState::new().hash_one(Instant::now()) >> 32).unwrap_or_default()
}

/// The custom kinds that cases use: namespaced widgets with a status subresource, gadgets of the cluster without one.
async fn define(target: &Target) {
    const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let admin = Exchange::new(&target.setup, target.patience);
    for definition in [include_str!("cases/widgets.json"), include_str!("cases/gadgets.json")] {
        let object: Value = serde_json::from_str(definition).expect("a definition is JSON");
        let name = object["metadata"]["name"].as_str().expect("a definition has a name");
        let path = format!("{DEFINITIONS}/{name}?fieldManager=conformance&force=true");
        let body = ("application/apply-patch+yaml", definition.to_owned());
        let reply = admin.send("PATCH", &path, Some(body), None).await.expect("apply a definition");
        assert!(matches!(reply.code, 200 | 201), "apply {name}: {}", reply.body);
        let plural = object["spec"]["names"]["plural"].as_str().expect("a definition has a plural");
        let deadline = Instant::now() + ESTABLISHED_WITHIN;
        let served = format!("/apis/conformance.example.com/v1/{plural}");
        while admin.send("GET", &served, None, None).await.expect("ask for the kind").code != 200 {
            assert!(Instant::now() < deadline, "{name} is not served after {ESTABLISHED_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

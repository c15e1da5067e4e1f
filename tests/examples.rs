//! Plans every fleet below `docs/examples` and holds the result against its `expected.txt`, and that against the page
//! that explains it: what the documentation says is what happens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const PAGE: &str = "docs/policy-resolution.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("docs/examples")).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    found.sort();
    assert!(found.len() >= 5, "the examples were not found");
    found
}

fn plan(fleet: &Path) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_volsync-hub"));
    let output = command.args(["plan", "-o", "json", "--offline"]).arg(fleet).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {complaint}", fleet.display());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A line for each repository, each source that is left out or not ready, and each policy that is invalid or idle.
fn told(plan: &Value) -> String {
    let rows = |list: &str| plan[list].as_array().unwrap().clone();
    let mut repositories: Vec<String> = rows("repositories").iter().map(repository).collect();
    repositories.sort();
    let sources = rows("sources");
    let sources = sources.iter().filter_map(|source| {
        let reason = source["reason"].as_str()?;
        let name = ["cluster", "namespace", "name"].map(|part| source[part].as_str().unwrap());
        Some(format!("source {}: {reason}", name.join("/")))
    });
    let policies = rows("policies");
    let policies = policies.iter().filter_map(|policy| {
        let competes = policy["repositories"] != 0;
        let what = match (policy["valid"].as_bool().unwrap(), competes) {
            (true, true) => return None,
            (true, false) => "matches nothing",
            (false, true) => "invalid, competes all the same",
            (false, false) => "invalid, competes for nothing",
        };
        Some(format!("policy {}: {what}", policy["name"].as_str().unwrap()))
    });
    let lines: Vec<String> = repositories.into_iter().chain(sources).chain(policies).collect();
    lines.join("\n") + "\n"
}

fn repository(row: &Value) -> String {
    let part = |before: &str, field: &str, after: &str| {
        row[field].as_str().map_or_else(String::new, |text| format!("{before}{text}{after}"))
    };
    let shadowed: Vec<&str> = row["shadowed"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let losers = if shadowed.is_empty() { String::new() } else { format!(", before {}", shadowed.join(", ")) };
    [
        part("", "location", ": "),
        part("", "state", ""),
        part(" (", "reason", ")"),
        part(" in ", "cluster", ""),
        part(" under ", "policy", ""),
        losers,
    ]
    .concat()
}

#[test]
fn every_example_is_planned_as_it_says() {
    for example in examples() {
        let expected = fs::read_to_string(example.join("expected.txt")).unwrap_or_default();
        let found = told(&plan(&example));
        assert!(found == expected, "{}/expected.txt should say:\n{found}", example.display());
    }
}

#[test]
fn the_page_shows_what_every_example_gives() {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    for example in examples() {
        let name = example.file_name().unwrap().to_str().unwrap();
        let expected = fs::read_to_string(example.join("expected.txt")).unwrap();
        assert!(page.contains(&format!("plan --offline docs/examples/{name}\n")), "{PAGE} does not mention {name}");
        assert!(page.contains(&expected), "{PAGE} does not show what {name} gives:\n{expected}");
    }
}

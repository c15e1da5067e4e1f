//! Holds the sources against the rules that keep them readable: pure layers do no I/O, files have one subject.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Layers that decide and never act.
const PURE: [&str; 15] = [
    "names", "api", "identity", "schedule", "policy", "plan", "render", "diff", "grant", "lease", "shrink", "status",
    "outcome", "labels", "time",
];

/// What a pure layer must not name.
const FORBIDDEN: [&str; 12] = [
    "kube::Client",
    "kube::Api",
    "Api<",
    "tokio",
    "std::env",
    "std::fs",
    "std::net::Tcp",
    "std::process",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "tracing::",
];

/// Layers above the pure ones, which these must not know.
const ABOVE: [&str; 10] = [
    "crate::cli",
    "crate::controller",
    "crate::demo",
    "crate::fleet",
    "crate::hub",
    "crate::member",
    "crate::metrics",
    "crate::sim",
    "crate::telemetry",
    "crate::web",
];

/// Lines of a file without its tests, and with them.
const LINES_MAX: usize = 400;
const LINES_WITH_TESTS_MAX: usize = 600;

fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn layer(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The lines before the test module.
fn code(text: &str) -> Vec<&str> {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).collect()
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| ["tests", "property_tests", "properties"].iter().any(|name| stem == *name))
        || path.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn pure_layers_name_no_client_runtime_clock_file_environment_or_layer_above() {
    let mut offences = Vec::new();
    for path in sources().iter().filter(|path| PURE.contains(&layer(path).as_str()) && !is_test(path)) {
        for (number, line) in code(&fs::read_to_string(path).unwrap()).iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(word) = FORBIDDEN.iter().chain(&ABOVE).find(|word| code.contains(**word)) {
                offences.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn each_part_of_the_sources_stands_in_the_code_map() {
    let map = include_str!("../docs/architecture.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let declared = fs::read_to_string(root.join("lib.rs")).unwrap();
    let parts: Vec<_> = declared.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(parts.len() > 20, "{parts:?}");
    let missing: Vec<_> = parts
        .into_iter()
        .filter(|part| !map.contains(&format!("`src/{part}.rs`")) && !map.contains(&format!("`src/{part}/`")))
        .collect();
    assert!(missing.is_empty(), "docs/architecture.md says nothing of {missing:?}");
}

#[test]
fn every_pure_layer_is_named_where_the_layers_are_explained() {
    let adr = include_str!("../docs/adr/0001-one-package.md");
    let top = include_str!("lib.rs");
    for layer in PURE {
        assert!(adr.contains(&format!("`{layer}`")), "docs/adr/0001 does not name {layer}");
        assert!(top.contains(&format!("[`{layer}`]")), "src/lib.rs does not name {layer}");
    }
}

#[test]
fn every_file_says_what_it_is_for_and_has_one_subject() {
    let mut offences = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with("//! ") {
            offences.push(format!("{}: the first line does not say what the file is for", path.display()));
        }
        let (lines, with_tests) = (code(&text).len(), text.lines().count());
        if !is_test(&path) && (lines > LINES_MAX || with_tests > LINES_WITH_TESTS_MAX) {
            offences.push(format!("{}: {lines} lines, {with_tests} with tests", path.display()));
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

/// Where the reasons of conditions, Events and problems are made.
const REASONS_IN: [&str; 17] = [
    "controller/act.rs",
    "controller/engine.rs",
    "controller/foreign.rs",
    "controller/report.rs",
    "grant.rs",
    "member/contact.rs",
    "member/facts.rs",
    "member/incarnation.rs",
    "member/kubeconfig.rs",
    "plan/candidates.rs",
    "plan/compose.rs",
    "plan/direct.rs",
    "plan/foreign.rs",
    "plan/merge.rs",
    "plan/verdict.rs",
    "status/policy.rs",
    "status/repository.rs",
];

/// Words in those files that are no reasons: kinds, resources, states and outcomes, and what never leaves a plan.
const OTHER_WORDS: [&str; 25] = [
    "BackupRepository",
    "ConfigMap",
    "Credentials",
    "CronJob",
    "CronJobs",
    "CustomResourceDefinition",
    "Fenced",
    "Held",
    "Jobs",
    "KopiaMaintenance",
    "KopiaRepository",
    "Maintained",
    "Maintenance",
    "MemberCluster",
    "Namespace",
    "Namespaces",
    "NotGranted",
    "NotMatched",
    "NotServing",
    "Pods",
    "ReplicationSources",
    "Secret",
    "ServiceAccount",
    "Succeeded",
    "True",
];

#[test]
fn every_reason_is_explained_and_every_reason_that_is_explained_is_in_the_code() {
    let page = include_str!("../docs/conditions.md");
    let words = |text: &str, quote: char| -> BTreeSet<String> {
        let pattern = regex::Regex::new(&format!("{quote}([A-Z][a-z]+[A-Za-z]*){quote}")).unwrap();
        pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
    };
    let explained = words(page, '`');
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let quoted = |path: &Path| words(&code(&fs::read_to_string(path).unwrap()).join("\n"), '"');
    let made: BTreeSet<String> = REASONS_IN.iter().flat_map(|file| quoted(&root.join(file))).collect();
    let unexplained: Vec<_> = made.iter().filter(|word| !OTHER_WORDS.contains(&word.as_str())).collect();
    let unexplained: Vec<_> = unexplained.into_iter().filter(|word| !explained.contains(*word)).collect();
    assert!(unexplained.is_empty(), "docs/conditions.md does not explain {unexplained:?}");
    let all: BTreeSet<String> = sources().iter().filter(|path| !is_test(path)).flat_map(|path| quoted(path)).collect();
    let invented: Vec<_> = explained.difference(&all).collect();
    assert!(invented.is_empty(), "docs/conditions.md explains what the code does not have: {invented:?}");
}

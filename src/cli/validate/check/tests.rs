//! Whole files: those that real API servers are asked about too, and what is said beyond them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::api::rules;

fn checked(text: &str) -> Checked {
    check("f.yaml", text, &Allowed(None))
}

fn errors(text: &str) -> Vec<String> {
    checked(text).errors.iter().map(Finding::to_string).collect()
}

/// The files that the tests on real API servers apply.
fn manifests(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/manifests").join(folder);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Every part between ` && ` of the first line stands in one and the same finding.
fn is_refused_as_expected(text: &str) -> Result<(), String> {
    let expected = text.lines().next().and_then(|line| line.strip_prefix("# expect: ")).ok_or("no expectation")?;
    let found = errors(text);
    let said = |finding: &String| expected.split(" && ").all(|part| finding.contains(part));
    if found.iter().any(said) { Ok(()) } else { Err(format!("{found:?} instead of {expected}")) }
}

#[test]
fn what_api_servers_take_is_valid() {
    let files = manifests("good");
    assert!(files.len() >= 10);
    for (path, text) in files {
        let checked = checked(&text);
        assert!(checked.errors.is_empty() && checked.objects > 0, "{}: {:?}", path.display(), checked.errors);
        assert_eq!(checked.right.len(), checked.objects);
    }
}

#[test]
fn what_api_servers_refuse_is_refused_in_the_same_words() {
    let files = manifests("bad");
    assert!(files.len() >= 70);
    for (path, text) in files {
        is_refused_as_expected(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(errors(&text).len(), 1, "{}", path.display());
    }
}

#[test]
fn every_rule_across_fields_is_asked_about() {
    let said: Vec<_> = manifests("bad").iter().flat_map(|(_, text)| checked(text).errors).collect();
    for rule in rules::ALL {
        assert!(said.iter().any(|finding| finding.message.starts_with(rule.message)), "{}", rule.message);
    }
}

#[test]
fn what_only_the_hub_can_tell_is_refused_too() {
    for (path, text) in manifests("invalid") {
        is_refused_as_expected(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[test]
fn a_line_names_file_line_object_and_field() {
    let text = "apiVersion: volsync.backube/v1alpha1\nkind: KopiaMaintenance\nmetadata:\n  name: p\nspec:\n  \
                repositorySelector:\n    repository: \"*\"\n  enabled: nope\n  priority: 101\n  priority: 102\n";
    assert_eq!(
        errors(text),
        [
            "f.yaml:8: KopiaMaintenance/p: spec.enabled: must be of type boolean, not string; write it without quotes",
            "f.yaml:10: KopiaMaintenance/p: spec.priority: the key stands here a second time",
            "f.yaml:10: KopiaMaintenance/p: spec.priority: 102 should be less than or equal to 100",
        ]
    );
}

#[test]
fn other_kinds_are_left_alone_and_misspelt_ones_are_not() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n---\napiVersion: volsync.backube/v1alpha1\n\
                kind: ReplicationSource\nmetadata: {name: r, namespace: q}\n";
    let checked = checked(text);
    assert_eq!((checked.objects, checked.errors.len(), checked.warnings.len()), (0, 0, 2));
    assert!(checked.warnings[1].to_string().starts_with("f.yaml:5: ReplicationSource/q/r: not checked"));
    let wrong = errors("apiVersion: volsync.backube/v1alpha1\nkind: KopiaMaintainance\nmetadata: {name: p}\n");
    assert!(wrong[0].starts_with("f.yaml:2: KopiaMaintainance/p: kind: there is no such kind"), "{wrong:?}");
    let version = errors("apiVersion: v1\nkind: MemberCluster\nmetadata: {name: m}\nspec: {}\n");
    assert!(version[0].contains("apiVersion: must be hub.volsync.backube/v1alpha1"), "{version:?}");
    assert!(errors("metadata: {name: x}\n")[0].contains("kind: Required value"));
    assert!(errors("a: [\n")[0].starts_with("f.yaml:"), "{:?}", errors("a: [\n"));
}

#[test]
fn doubtful_values_are_warnings() {
    let spec = "spec: {repositorySelector: {repository: x, namespaceSelector: {matchNames: ['a-*']}}, image: r/i:1}";
    let text = format!(
        "apiVersion: volsync.backube/v1alpha1\nkind: KopiaMaintenance\nmetadata: {{name: p, namespace: x}}\n{spec}\n"
    );
    let checked = checked(&text);
    let fields: Vec<_> = checked.warnings.iter().map(|finding| finding.field.clone().unwrap()).collect();
    let names = "spec.repositorySelector.namespaceSelector.matchNames[0]";
    assert_eq!(fields, ["metadata.namespace", names, "spec.image"]);
    assert!(checked.errors.is_empty());
    let rules = PolicyRules { allowed_images: vec!["r/i:2".into()], ..PolicyRules::default() };
    assert_eq!(check("f.yaml", &text, &Allowed(Some(rules))).errors[0].field.as_deref(), Some("spec.image"));
}

#[test]
fn nothing_is_kept_without_effect() {
    let text = "apiVersion: volsync.backube/v1alpha1\nkind: KopiaMaintenance\nmetadata: {name: p}\nspec:\n  \
                repositorySelector: {repository: x}\n---\n\
                apiVersion: hub.volsync.backube/v1alpha1\nkind: MemberCluster\nmetadata: {name: m}\n\
                spec: {adoptForeign: true}\n---\napiVersion: hub.volsync.backube/v1alpha1\n\
                kind: KopiaRepository\nmetadata: {name: kr-0123456789abcdef}\nspec: {runNow: '1'}\n";
    let checked = checked(text);
    assert!(checked.errors.is_empty(), "{:?}", checked.errors);
    assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
}

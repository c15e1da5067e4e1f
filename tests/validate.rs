//! `validate` as a program sees it: every bound, files of every sort, exit codes and lines.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use bounds::broken;

#[path = "../e2e/schemas/bounds.rs"]
mod bounds;

fn validate(arguments: &[&str], directory: &Path) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_volsync-hub"));
    program.current_dir(directory).arg("validate").args(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_bound_of_every_schema_is_held_with_file_object_and_field() {
    let broken = broken();
    assert!(broken.len() > 500, "only {} bounds were found", broken.len());
    let directory = tempfile::tempdir().unwrap();
    for (number, one) in broken.iter().enumerate() {
        fs::write(directory.path().join(format!("{number}.json")), one.object.to_string()).unwrap();
    }
    let output = validate(&["."], directory.path());
    assert_eq!(output.status.code(), Some(1));
    let said = lines(&output);
    let mut missing = Vec::new();
    for (number, one) in broken.iter().enumerate() {
        let start = format!("./{number}.json:1: {}/kr-0123456789abcdef: {}: ", one.kind.as_str(), one.field);
        let of_file = format!("./{number}.json:");
        let here: Vec<_> = said.iter().filter(|line| line.starts_with(&of_file)).collect();
        if !here.iter().any(|line| line.starts_with(&start) && one.allowed.iter().all(|word| line.contains(word))) {
            missing.push(format!("{start}{:?}, and this was said: {here:?}", one.allowed));
        }
    }
    assert!(missing.is_empty(), "{} of {}:\n{}", missing.len(), broken.len(), missing.join("\n"));
}

const POLICY: &str = "apiVersion: volsync.backube/v1alpha1\nkind: KopiaMaintenance\nmetadata: {name: p}\n\
                      spec: {repositorySelector: {repository: x}}\n";

/// What is said of one file with these bytes, and the exit code.
fn of_file(bytes: &[u8]) -> (String, i32) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("f.yaml"), bytes).unwrap();
    let output = validate(&["f.yaml"], directory.path());
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.code().unwrap())
}

#[test]
fn files_that_are_no_objects_are_errors_that_say_why() {
    let cases: [(&[u8], &str); 7] = [
        (b"", "no object was found in f.yaml"),
        (b"# nothing\n---\n", "no object was found in f.yaml"),
        (b"kind: \xff\xfe\n", "f.yaml: cannot be read: stream did not contain valid UTF-8"),
        (b"kind: A\n\tspec: 1\n", "f.yaml:1: not valid YAML: while scanning a plain scalar, found a tab"),
        (b"[1, 2", "f.yaml:1: not valid YAML: "),
        (b"- 1\n", "f.yaml:1: a list instead of a Kubernetes object"),
        (b"metadata: {name: a}\n", "f.yaml:1: (no kind)/a: kind: Required value"),
    ];
    for (bytes, expected) in cases {
        let (said, code) = of_file(bytes);
        assert!(said.contains(expected) && code == 1, "{expected:?}: {code}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let output = validate(&["missing.yaml"], Path::new("."));
    assert_eq!(lines(&output), ["missing.yaml: cannot be read: No such file or directory (os error 2)"]);
    assert_eq!(validate(&[], Path::new(".")).status.code(), Some(2));
}

#[test]
fn a_broken_document_hides_no_other_and_each_error_is_one_line() {
    let wrong = POLICY.replace("{name: p}", "{name: q}").replace("}}", "}, priority: 101, prioritty: 1}");
    let (said, code) = of_file(format!("{POLICY}---\na: [\n---\n{wrong}").as_bytes());
    let said: Vec<_> = said.lines().collect();
    assert_eq!((said.len(), code), (3, 1), "{said:#?}");
    assert!(said[0].starts_with("f.yaml:6: not valid YAML: "), "{said:#?}");
    assert_eq!(
        said[1..],
        [
            "f.yaml:11: KopiaMaintenance/q: spec.prioritty: unknown field; did you mean priority?",
            "f.yaml:11: KopiaMaintenance/q: spec.priority: 101 should be less than or equal to 100",
        ]
    );
}

#[test]
fn directories_are_walked_once_also_where_links_lead_in_a_circle() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("p.yml"), POLICY).unwrap();
    fs::write(below.join("notes.txt"), "not: [yaml").unwrap();
    std::os::unix::fs::symlink(directory.path(), below.join("again")).unwrap();
    let output = validate(&[".", "-v"], directory.path());
    assert_eq!(lines(&output), ["./below/p.yml:1: KopiaMaintenance/p: ok"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn standard_input_and_json_are_for_programs() {
    use std::io::Write as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_volsync-hub"))
        .args(["validate", "-o", "json", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(POLICY.replace("}}", "}, cycle: full}").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["valid"], &report["objects"]), (&false.into(), &1.into()));
    let error = &report["errors"][0];
    assert_eq!((&error["file"], &error["object"]), (&"<stdin>".into(), &"KopiaMaintenance/p".into()), "{report}");
    assert_eq!((&error["field"], output.status.code()), (&"spec.cycle".into(), Some(1)));
    assert!(error["message"].as_str().unwrap().contains("\"Auto\", \"Full\", \"Quick\""), "{report}");
}

//! The demo as a newcomer starts it: the program, half a minute, nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

#[test]
fn the_demo_ends_by_itself_and_says_that_all_that_should_be_is_maintained() {
    let output = Command::new(env!("CARGO_BIN_EXE_volsync-hub")).args(["demo", "--for", "40s"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    for line in [
        "12 maintained on schedule, each by exactly one cluster",
        "opted out by a policy: s3://scratch-space/ at aws",
        "held, nothing starts: s3://games-saves/ at aws: the winning policy games-typo is invalid",
        "never two were in one repository at once",
        "accra out of reach, which changes nothing for the others",
        "Everything that should be maintained is.",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
    assert!(errors.is_empty(), "{errors}");
    assert!(!text.contains('\u{1b}'), "no escape sequences where the output is no terminal");
    let folder = text.lines().find_map(|line| line.trim().strip_prefix("export KUBECONFIG=")).unwrap();
    assert!(!Path::new(folder).exists(), "kubeconfigs go with the demo");
}

#[test]
fn a_demo_that_ends_before_all_is_maintained_says_so_and_fails() {
    let output = Command::new(env!("CARGO_BIN_EXE_volsync-hub")).args(["demo", "--for", "1s"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("Not as it should be (yet):"), "{text}");
    assert!(!text.contains("Everything that should be maintained is."), "{text}");
}

/// kubectl, where it has been built for the tests on real control planes or is on the PATH.
fn kubectl() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/control-plane/kubectl");
    let candidates = [built, PathBuf::from("kubectl")];
    candidates.into_iter().find(|path| Command::new(path).args(["version", "--client"]).output().is_ok())
}

/// A demo that is ended with the test.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_newcomer_with_kubectl_makes_a_policy_of_their_own_and_looks_into_a_member() {
    let Some(kubectl) = kubectl() else {
        println!("LEFT OUT: there is no kubectl, neither in target/control-plane nor on the PATH");
        return;
    };
    let program = env!("CARGO_BIN_EXE_volsync-hub");
    let mut demo = Demo(Command::new(program).args(["demo", "--for", "300s"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let hub = lines.find_map(|line| line.trim().strip_prefix("export KUBECONFIG=").map(PathBuf::from)).unwrap();
    // Whoever reads no more would end the demo's own output.
    std::thread::spawn(move || lines.for_each(drop));
    let paris = hub.with_file_name("members").join("paris.yaml");
    let run = |config: &Path, line: &str| {
        let words = line.split_whitespace();
        let output = Command::new(&kubectl).arg("--kubeconfig").arg(config).args(words).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let shows = |config: &Path, line: &str, wanted: &str| {
        let (good, text) = run(config, line);
        assert!(good && text.contains(wanted), "kubectl {line}: {wanted:?} is missing in\n{text}");
    };
    let policy = tempfile::NamedTempFile::new().unwrap();
    let text = "apiVersion: volsync.backube/v1alpha1\nkind: KopiaMaintenance\nmetadata: {name: mine}\nspec:\n  \
                repositorySelector: {repository: 'media-*'}\n  schedule: '*/2 * * * *'\n  priority: 90\n";
    std::fs::write(policy.path(), text).unwrap();
    let file = policy.path().display();
    shows(&hub, &format!("apply -f {file}"), "mine created");
    shows(&hub, "wait km/mine --for=condition=Ready --timeout=60s", "condition met");
    shows(&hub, "wait km/mine --for=jsonpath={.status.repositoryCount}=1 --timeout=60s", "condition met");
    shows(&hub, "get km mine -o wide", "*/2 * * * *");
    shows(&hub, &format!("diff -f {file}"), "");
    shows(&hub, "patch km mine --type merge -p {\"spec\":{\"priority\":91}}", "patched");
    shows(&hub, "label km mine team=me", "labeled");
    shows(&hub, "get km -l team=me -o jsonpath={.items[*].spec.priority}", "91");
    shows(&hub, "describe km mine", "Repository Selector");
    shows(&hub, "events --for km/mine", "mine");
    shows(&hub, "explain km.spec.schedule", "FIELD: schedule");
    shows(&hub, "delete km mine", "deleted");
    shows(&paris, "create namespace mine", "created");
    shows(&paris, "create secret generic own -n mine --from-literal=key=value", "created");
    shows(&paris, "get secret own -n mine -o jsonpath={.data.key}", "dmFsdWU=");
    shows(&paris, "get replicationsources -n shop --field-selector metadata.name=catalog", "catalog");
    shows(&paris, "api-resources", "ReplicationSource");
    assert!(!run(&paris, "get pods -n nowhere nothing").0);
}

//! The demo as a newcomer starts it: the program, half a minute, nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fleet;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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

/// Without what moves the cursor and sets colours.
fn plain(shown: &str) -> String {
    let mut parts = shown.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once(|letter: char| letter.is_ascii_alphabetic()).map_or("", |(_, rest)| rest)
    })
}

/// What the demo shows on a terminal of this test, and the other end of that terminal.
struct Terminal {
    _demo: Demo,
    controller: File,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn open(arguments: &[&str]) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let end = || File::options().read(true).write(true).open(&name).unwrap();
        let size = rustix::termios::Winsize { ws_row: 60, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&controller, size).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_volsync-hub"));
        let command = command.arg("demo").args(arguments).stdin(end()).stdout(end()).stderr(end());
        let demo = Demo(command.spawn().unwrap());
        let controller = File::from(controller);
        let (mut reader, shown) = (controller.try_clone().unwrap(), Arc::new(Mutex::new(String::new())));
        let keeps = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                keeps.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        Self { _demo: demo, controller, shown }
    }

    fn press(&mut self, key: &str) {
        self.controller.write_all(key.as_bytes()).unwrap();
    }

    fn shows(&self, wanted: &str) {
        self.shows_a_line_with(&[wanted]);
    }

    fn shows_a_line_with(&self, wanted: &[&str]) {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            let shown = plain(&self.shown.lock().unwrap());
            if shown.lines().any(|line| wanted.iter().all(|word| line.contains(word))) {
                return;
            }
            let last = shown.rsplit_once("volsync-hub demo:").map_or("", |(_, last)| last);
            assert!(Instant::now() < until, "{wanted:?} was not shown; last was{last}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn keys_stop_a_member_break_a_secret_and_correct_a_policy_and_the_screen_shows_what_follows() {
    let mut terminal = Terminal::open(&["--for", "120s"]);
    terminal.shows("keys  1 accra, 2 lima");
    terminal.shows("member lima  its API server answers");
    terminal.press("2");
    terminal.shows("stopped the API server of lima");
    terminal.shows("○ lima (out of reach)");
    terminal.press("p");
    terminal.shows("gave the policy games-typo the schedule \"*/1 * * * *\"");
    terminal.press("2");
    terminal.shows("started the API server of lima");
    terminal.press("s");
    terminal.shows("broke the password in Secret payments/");
    terminal.shows_a_line_with(&["s3://payments/", "AuthFailed"]);
    terminal.press("s");
    terminal.shows("mended the password in Secret payments/");
}

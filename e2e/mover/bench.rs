//! A place to run the mover script in: folders for the Pod's mounts, an object store, a kopia on the path.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;
use volsync_hub::outcome::{Outcome, RunReport};

pub const HUB: &str = "hub-3f2a";
pub const ME: &str = "volsync-hub-7@m1.hub-3f2a";
/// Nothing here takes longer; a machine that is busy with other things may take a multiple of what is usual.
const PATIENCE: Duration = Duration::from_secs(90);

pub const S3: [&str; 4] = ["s3", "--bucket=b", "--endpoint=store.example.com", "--prefix=p/"];

/// One member's Pod and the store, in a folder of their own.
pub struct Bench {
    folder: TempDir,
    place: Vec<String>,
    variables: Vec<(String, String)>,
}

/// How a call of the mover script ended.
pub struct Ran {
    pub code: Option<i32>,
    pub log: String,
    /// The termination log as it is.
    pub message: String,
    pub errors: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Fails with one sentence where a tool is missing, instead of with whatever the script makes of that.
fn require_tools() {
    static FOUND: OnceLock<()> = OnceLock::new();
    FOUND.get_or_init(|| {
        for tool in ["bash", "jq", "timeout", "flock", "sha256sum"] {
            let found = Command::new("sh").args(["-c", "command -v \"$0\"", tool]).output().unwrap();
            assert!(
                found.status.success(),
                "these tests need {tool} on the path: install bash, coreutils, util-linux and jq"
            );
        }
    });
}

impl Bench {
    /// A store with an S3 repository that `root@before` owns, and everything set for epoch 7 of member `m1`.
    pub fn new() -> Self {
        let bench = Self::without_repository(&S3);
        bench.create("root@before");
        bench
    }

    pub fn without_repository(place: &[&str]) -> Self {
        require_tools();
        let folder = tempfile::tempdir().unwrap();
        for name in ["bin", "cache", "tmp", "stores", "credentials", "elsewhere"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        symlink(root().join("e2e/mover/kopia-standin"), folder.path().join("bin/kopia")).unwrap();
        let place = place.iter().map(|&part| part.to_owned()).collect();
        Self { folder, place, variables: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Nothing of the machine's own environment reaches the script.
    fn environment(&self, command: &mut Command) {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var_os("PATH").unwrap().display());
        let text = |name: &str| self.path(name).display().to_string();
        command.env_clear().env("PATH", path).current_dir(self.path("elsewhere"));
        let issued = now();
        let defaults = [
            ("HUB_REPOSITORY", "0123456789abcdef".to_owned()),
            ("HUB_ID", HUB.to_owned()),
            ("HUB_EPOCH", "7".to_owned()),
            ("HUB_OWNER", ME.to_owned()),
            ("HUB_CYCLE", "Auto".to_owned()),
            ("HUB_DEADLINE_SECONDS", "600".to_owned()),
            ("HUB_PERMIT_REPLACES", "foreign".to_owned()),
            ("HUB_PERMIT_ISSUED", issued.to_string()),
            ("HUB_PERMIT_NOT_AFTER", (issued + 600).to_string()),
            ("HUB_READ_BACK_SECONDS", "0".to_owned()),
            ("HUB_CACHE_DIR", text("cache")),
            ("TMPDIR", text("tmp")),
            ("HUB_CREDENTIALS_DIR", text("credentials")),
            ("HUB_TERMINATION_LOG", text("termination-log")),
            ("KOPIA_STANDIN_ROOT", text("stores")),
            ("KOPIA_STANDIN_JOURNAL", text("journal")),
            ("KOPIA_PASSWORD", "correct horse".to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret-of-example".to_owned()),
        ];
        command.envs(defaults).envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("bash");
        self.environment(&mut command);
        command.arg(root().join("deploy/mover/maintain.sh")).arg(verb).args(&self.place);
        // A group of its own, so that a test can signal the script as a kubelet does.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn start(&self, verb: &str) -> Child {
        let _ = fs::remove_file(self.path("termination-log"));
        self.command(verb).spawn().unwrap()
    }

    pub fn finish(&self, child: Child) -> Ran {
        let output = child.wait_with_output().unwrap();
        let message = fs::read_to_string(self.path("termination-log")).unwrap_or_default();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), log: text(output.stdout), message, errors: text(output.stderr) }
    }

    pub fn run(&self, verb: &str) -> Ran {
        self.finish(self.start(verb))
    }

    /// Calls the stand-in as a client of that name with that list cache, outside of the mover script.
    pub fn kopia(&self, client: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.path("bin/kopia"));
        self.environment(&mut command);
        let own = self.path(&format!("client-{client:.60}"));
        fs::create_dir_all(&own).unwrap();
        command.env("KOPIA_CONFIG_PATH", own.join("config")).env("KOPIA_CACHE_DIRECTORY", own.join("cache"));
        command.env("KOPIA_STANDIN_JOURNAL", "/dev/null").args(arguments).output().unwrap()
    }

    pub fn create(&self, owner: &str) {
        self.connect_as(owner, "create", &[]);
    }

    /// Connects as `user@host`, with further flags.
    pub fn connect_as(&self, client: &str, verb: &str, flags: &[&str]) {
        let (user, host) = client.split_once('@').unwrap();
        let client_flags = [format!("--override-username={user}"), format!("--override-hostname={host}")];
        let mut arguments = vec!["repository", verb];
        let credentials = format!("={}/", self.path("credentials").display());
        let place: Vec<_> = self.place.iter().map(|part| part.replace("=/credentials/", &credentials)).collect();
        arguments.extend(place.iter().map(String::as_str));
        arguments.extend(client_flags.iter().map(String::as_str));
        arguments.extend(flags);
        let output = self.kopia(client, &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Somebody else takes the repository over.
    pub fn claim_as(&self, client: &str) {
        self.connect_as(client, "connect", &["--max-list-cache-duration=0s"]);
        assert!(self.kopia(client, &["maintenance", "set", "--owner=me"]).status.success());
    }

    /// The folder that stands for the repository's place in the object store.
    pub fn store(&self) -> PathBuf {
        let mut arguments = vec!["directory"];
        arguments.extend(self.place.iter().map(String::as_str));
        let output = self.kopia("nobody@here", &arguments);
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    }

    pub fn fault(&self, name: &str) {
        fs::write(self.store().join("faults").join(name), "").unwrap();
    }

    pub fn journal(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn calls(&self, beginning: &str) -> usize {
        self.journal().iter().filter(|line| line.starts_with(beginning)).count()
    }

    /// Lines of the run log, without the times: `begin volsync-hub-7@m1.hub-3f2a quick`.
    pub fn run_log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.store().join("runs.log")).unwrap_or_default();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        text.lines().map(words).map(|it| format!("{} {} {}", it[0], it[2], it[3])).collect()
    }

    /// Moves everything that the repository's schedule records so many seconds into the past.
    pub fn age(&self, seconds: u32) {
        let file = self.store().join("schedule.json");
        let filter = r#"walk(if type == "string" and test("^[0-9-]{10}T") then
            (sub("\\.[0-9]+Z$"; "Z") | fromdateiso8601 - $age | todateiso8601) else . end)"#;
        let age = seconds.to_string();
        let jq = Command::new("jq").args(["-c", "--argjson", "age", &age, filter]).arg(&file).output().unwrap();
        assert!(jq.status.success(), "{}", String::from_utf8_lossy(&jq.stderr));
        fs::write(file, jq.stdout).unwrap();
    }

    /// The owner records as they lie in the store, one line each.
    pub fn owners(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.store().join("owners")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Ran {
    /// What the hub makes of the termination message; code and message must agree.
    pub fn report(&self) -> RunReport {
        assert!(self.message.len() <= 4096 && self.message.lines().count() == 1, "{}", self.message);
        let report = RunReport::parse(&self.message).unwrap_or_else(|_| panic!("{}\n{}", self.message, self.log));
        assert_eq!(self.code, Some(i32::from(!report.outcome.is_success())), "{}", self.log);
        report
    }

    /// The report, which must say this; and the log's last line must say it with the fix.
    pub fn expect(&self, outcome: Outcome) -> RunReport {
        let report = self.report();
        assert_eq!(report.outcome, outcome, "{}\n{}\n{}", self.log, self.errors, self.message);
        let last = self.log.lines().last().unwrap();
        assert!(last.contains(&format!("{outcome}: ")) && last.contains(outcome.fix()), "{last}");
        assert_eq!(self.errors, "", "the script itself complained");
        report
    }
}

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(20));
    }
}

pub fn signal(process: u32, signal: &str) {
    Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
}

/// The processes below this one, itself included.
pub fn family(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // "pid (name) state parent": the name may hold blanks and brackets.
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (id, parent)));
    }
    let mut members = vec![root];
    let mut index = 0;
    while index < members.len() {
        let parent = members[index];
        members.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        index += 1;
    }
    members
}

/// Is the process there, and more than a dead one that nobody has waited for?
pub fn lives(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

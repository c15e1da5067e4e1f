//! Child processes that never outlive the harness, however it ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::Fail;

/// How long a child is left alone between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What to run: a program, its arguments and environment (added to ours), and the file its output goes to.
pub struct Program {
    pub path: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub log: PathBuf,
}

/// What the Deployment in `deploy/hub` tells the hub's allocator, so that what is measured is what is deployed.
pub fn of_the_allocator() -> [(OsString, OsString); 2] {
    [("MIMALLOC_PURGE_DELAY", "0"), ("MIMALLOC_ALLOW_THP", "0")].map(|(name, value)| (name.into(), value.into()))
}

/// A running child with a process group of its own. Dropping it kills the whole group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn start(program: &Program) -> Result<Self, Fail> {
        let log = File::options().create(true).append(true).open(&program.log)?;
        let child = Command::new(&program.path)
            .args(&program.args)
            .envs(program.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("can't start {}: {error}", program.path.display()))?;
        watch(child.id(), '+');
        Ok(Self { child, log: program.log.clone() })
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Fail> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal by its name without `SIG`: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) -> Result<(), Fail> {
        signal_group(self.child.id(), name)
    }

    /// Sends `TERM` and waits for the end; `KILL` after `patience`, which is an error.
    pub fn terminate(mut self, patience: Duration) -> Result<ExitStatus, Fail> {
        self.signal("TERM")?;
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Err(format!("process {} did not end within {patience:?} of SIGTERM; see {}", self.pid(), self.log.display())
            .into())
    }

    /// Kills it at once and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.signal("KILL");
        let _ = self.child.wait();
    }

    /// The last lines of its log, for error messages.
    pub fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<_> = said.lines().rev().take(15).collect();
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
        watch(self.child.id(), '-');
    }
}

/// Sends a signal to a process group. The shell has `kill` built in, where a program of that name may be missing.
pub fn signal_group(leader: u32, name: &str) -> Result<(), Fail> {
    let leader = leader.to_string();
    let status = Command::new("/bin/sh")
        .args(["-c", "kill -s \"$1\" -- \"-$2\"", "kill", name, &leader])
        .stderr(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("can't send {name} to process group {leader}").into()) }
}

/// A shell that reads which process groups run, and kills them when our end of the pipe closes: that happens
/// also when this process is killed, which a destructor or a signal handler would not see.
const WATCHER: &str = r#"
groups=
while read -r change leader; do
  case $change in
    +) groups="$groups $leader" ;;
    -) rest=; for one in $groups; do [ "$one" = "$leader" ] || rest="$rest $one"; done; groups=$rest ;;
  esac
done
for one in $groups; do kill -s KILL -- "-$one" 2>/dev/null; done
"#;

/// Tells the watcher about the process group of a child, `+` started or `-` ended.
pub fn watch(leader: u32, change: char) {
    static WATCHER_INPUT: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();
    let input = WATCHER_INPUT.get_or_init(|| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCHER]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own, so that Ctrl-C does not reach it before its work is done.
        command.process_group(0).spawn().ok()?.stdin.map(Mutex::new)
    });
    if let Some(input) = input {
        let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(input, "{change} {leader}");
    }
}

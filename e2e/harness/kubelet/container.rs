//! Runs one container's command as a process of this machine.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::logs::Log;
use crate::harness::Fail;
use crate::harness::process::{signal_group, watch};

/// What the kubelet reads of a termination message.
const MESSAGE_BYTES: usize = 4096;
/// What it takes of the log instead, where the container asks for that.
const LOG_TAIL_BYTES: usize = 2048;

/// A command with everything it is given.
pub struct Task {
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    pub dir: PathBuf,
    pub deadline: Option<Duration>,
    /// Between SIGTERM and SIGKILL when the Pod is deleted.
    pub grace: Duration,
}

/// How a container ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub code: i32,
    pub why: Why,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Itself,
    OutOfMemory,
    Deadline,
    Deleted,
    /// The runtime could not start it.
    CannotStart,
}

impl Task {
    /// Runs to the end: its own, the deadline's, or that of the Pod.
    pub async fn run(&self, log: &Log, gone: &CancellationToken) -> Result<Ended, Fail> {
        let (program, args) = self
            .command
            .split_first()
            .ok_or("the stand-in kubelet has no images: the container must state its command")?;
        let mut child = Command::new(program)
            .args(args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("exec: {program:?}: {error}"))?;
        let leader = child.id().unwrap_or_default();
        watch(leader, '+');
        let mut readers = JoinSet::new();
        readers.spawn(copy_lines(child.stdout.take(), log.clone()));
        readers.spawn(copy_lines(child.stderr.take(), log.clone()));
        let (code, why) = self.wait(&mut child, leader, gone).await?;
        // A container ends with its first process: what that one left behind is killed.
        let _ = signal_group(leader, "KILL");
        watch(leader, '-');
        while readers.join_next().await.is_some() {}
        Ok(Ended { code, why, message: String::new() })
    }

    async fn wait(&self, child: &mut Child, leader: u32, gone: &CancellationToken) -> Result<(i32, Why), Fail> {
        let deadline = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep(deadline).await,
                None => std::future::pending().await,
            }
        };
        let why = tokio::select! {
            status = child.wait() => return Ok((exit_code(status?), Why::Itself)),
            () = deadline => Why::Deadline,
            () = gone.cancelled() => Why::Deleted,
        };
        let _ = signal_group(leader, "TERM");
        if let Ok(status) = tokio::time::timeout(self.grace, child.wait()).await {
            return Ok((exit_code(status?), why));
        }
        let _ = signal_group(leader, "KILL");
        Ok((exit_code(child.wait().await?), why))
    }
}

/// The termination message: from its file, or, if the container wants that and failed, from the log's end.
pub fn termination_message(file: &Path, log: &Log, fall_back: bool) -> String {
    let written = std::fs::read(file).unwrap_or_default();
    if !written.is_empty() {
        let end = written.len().min(MESSAGE_BYTES);
        return String::from_utf8_lossy(&written[..end]).into_owned();
    }
    if !fall_back {
        return String::new();
    }
    let text = log.text();
    let mut start = text.len().saturating_sub(LOG_TAIL_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}

/// 128 + the signal for a process that was killed, as container runtimes have it.
fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

async fn copy_lines(from: Option<impl AsyncRead + Unpin>, log: Log) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        log.write(&String::from_utf8_lossy(&line));
    }
}

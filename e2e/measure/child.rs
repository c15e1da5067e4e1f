//! The floor as a child of the benchmark, which is the same program.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::cores::kept;
use super::floor::{Orders, Told};
use crate::harness::Fail;

/// A floor stands by within this.
const READY: Duration = Duration::from_mins(2);

/// The floor as a child.
pub struct Floor {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Floor {
    /// `path`: where its orders are written; `core`: the one that it keeps to.
    pub async fn start(orders: &Orders, path: &Path, core: Option<usize>) -> Result<Self, Fail> {
        std::fs::write(path, serde_json::to_vec(orders)?)?;
        let (program, before) = kept(core, std::env::current_exe()?);
        let mut command = Command::new(program);
        command.args(before).arg("--floor").arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut floor = Self { child, input, output };
        let ready = tokio::time::timeout(READY, floor.output.next_line()).await??;
        match ready.as_deref() {
            Some("ready") => Ok(floor),
            other => Err(format!("the floor did not start: {other:?}").into()),
        }
    }

    pub async fn go(&mut self) -> Result<(), Fail> {
        Ok(self.input.write_all(b"go\n").await?)
    }

    /// One that follows edits ends when its input does.
    pub async fn told(self) -> Result<Told, Fail> {
        let Self { mut child, input, mut output } = self;
        drop(input);
        let line = output.next_line().await?.ok_or("the floor ended without a word")?;
        child.wait().await?;
        Ok(serde_json::from_str(&line)?)
    }
}

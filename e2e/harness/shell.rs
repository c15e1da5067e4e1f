//! Runs kubectl and shell commands as a user would, against one cluster.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::Fail;

/// A command that takes longer hangs: the slowest wait for an object to be gone.
const COMMAND_TIME: Duration = Duration::from_mins(2);

/// What a command said.
#[derive(Clone, Debug)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The standard output, or an error with everything that was said.
    pub fn ok(self) -> Result<String, Fail> {
        if self.success { Ok(self.stdout) } else { Err(format!("{}{}", self.stdout, self.stderr).into()) }
    }

    /// The standard error of a command that had to fail.
    pub fn refused(self) -> Result<String, Fail> {
        if self.success { Err(format!("succeeded: {}", self.stdout).into()) } else { Ok(self.stderr) }
    }
}

/// kubectl with one kubeconfig.
#[derive(Clone, Debug)]
pub struct Shell {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Shell {
    /// `home` is where kubectl keeps its caches.
    pub fn new(kubectl: &Path, kubeconfig: &Path, home: &Path) -> Self {
        Self { kubectl: kubectl.to_owned(), kubeconfig: kubeconfig.to_owned(), home: home.to_owned() }
    }

    /// The same kubectl with other credentials.
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), ..self.clone() }
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `kubectl ARGS`, the arguments separated by blanks. For arguments with blanks there is [`Self::bash`].
    pub async fn kubectl(&self, args: &str) -> Result<Output, Fail> {
        loop {
            let output = self.output(Command::new(&self.kubectl).args(args.split_whitespace()), "").await?;
            // `kubectl wait` gives up at once on an object that has no conditions yet, where it should wait for them.
            if !(args.starts_with("wait ") && output.stderr.contains("accessor error")) {
                return Ok(output);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// `kubectl ARGS -f -` with a manifest on the standard input.
    pub async fn kubectl_with(&self, args: &str, manifest: &str) -> Result<Output, Fail> {
        self.output(Command::new(&self.kubectl).args(args.split_whitespace()).args(["-f", "-"]), manifest).await
    }

    /// Applies manifests by server-side apply and fails if anything was refused.
    pub async fn apply(&self, manifest: &str) -> Result<String, Fail> {
        let output = self.kubectl_with("apply --server-side --force-conflicts", manifest).await?;
        output.ok().map_err(|said| format!("kubectl apply was refused: {said}").into())
    }

    /// One value of one object, as `-o jsonpath` prints it.
    pub async fn value(&self, object: &str, path: &str) -> Result<String, Fail> {
        let output = format!("jsonpath={path}");
        let mut command = Command::new(&self.kubectl);
        command.arg("get").args(object.split_whitespace()).args(["-o", &output]);
        self.output(&mut command, "").await?.ok()
    }

    /// A script in the repository's top directory, with kubectl first on the PATH and the cluster as its
    /// default. It ends at the first command that fails.
    pub async fn bash(&self, script: &str, variables: &[(&str, &str)]) -> Result<Output, Fail> {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]).envs(variables.iter().copied());
        let tools = self.kubectl.parent().map(Path::as_os_str).unwrap_or_default().to_owned();
        let mut path = tools;
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        self.output(command.env("PATH", path), "").await
    }

    async fn output(&self, command: &mut Command, input: &str) -> Result<Output, Fail> {
        let mut child = command
            .current_dir(super::repository(""))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("can't run {:?}: {error}", command.as_std()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that ends without reading its input closes the pipe: its output says why.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = tokio::time::timeout(COMMAND_TIME, child.wait_with_output())
            .await
            .map_err(|_| format!("no end after {} s: {:?}", COMMAND_TIME.as_secs(), command.as_std()))??;
        Ok(Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

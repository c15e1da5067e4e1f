//! The hub under test: the built binary as a child process, with the rights of its ServiceAccount and no others.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::Fail;
use super::fleet::Fleet;
use super::http::{self, free_port};
use super::process::{Process, Program, of_the_allocator};
use super::tools::target_dir;
use super::wait::{PATIENCE, Seen, wait_for};

/// A graceful stop finishes the writes under way, 20 s at most.
const STOP_TIME: Duration = Duration::from_secs(25);

/// How a hub is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further arguments of `volsync-hub run`.
    pub args: Vec<String>,
    /// Further variables.
    pub env: Vec<(String, String)>,
    /// The kubeconfig directory, if it is not the fleet's own.
    pub kubeconfigs: Option<PathBuf>,
    /// Distinguishes the logs of several hubs of one fleet.
    pub name: String,
}

/// A running hub. Dropping it kills it.
pub struct Hub {
    process: Process,
    pub port: u16,
}

impl Hub {
    /// Starts a hub on a fleet, and returns at once.
    pub fn start(fleet: &Fleet, options: &Options) -> Result<Self, Fail> {
        let port = free_port()?;
        let kubeconfigs = options.kubeconfigs.as_deref().unwrap_or(&fleet.kubeconfigs);
        let mut args = vec![
            "run".to_owned(),
            format!("--kubeconfig-dir={}", kubeconfigs.display()),
            format!("--listen=127.0.0.1:{port}"),
        ];
        args.extend(options.args.iter().cloned());
        let mut env: Vec<(OsString, OsString)> =
            vec![("KUBECONFIG".into(), fleet.hub_kubeconfig.clone().into_os_string())];
        env.extend(of_the_allocator());
        env.extend(options.env.iter().map(|(name, value)| (name.into(), value.into())));
        let name = if options.name.is_empty() { "volsync-hub" } else { &options.name };
        let process = Process::start(&Program {
            path: binary()?,
            args: args.into_iter().map(OsString::from).collect(),
            env,
            log: fleet.dir.join(format!("{name}.log")),
        })?;
        Ok(Self { process, port })
    }

    /// Waits until it says that it is ready; an error if it ends before.
    pub async fn ready(&mut self) -> Result<(), Fail> {
        let port = self.port;
        let process = &mut self.process;
        let ready = wait_for("the hub to be ready", PATIENCE, async || {
            if let Some(status) = process.ended()? {
                return Ok(Seen::Done(Err(format!("the hub ended with {status}:\n{}", process.last_words()))));
            }
            let (status, body) = get(port, "/readyz").await?;
            Ok(if status == 200 { Seen::Done(Ok(())) } else { Seen::NotYet(body) })
        });
        Ok(ready.await??)
    }

    /// `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Fail> {
        self.process.ended()
    }

    pub fn log(&self) -> &Path {
        self.process.log()
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGTERM, and wait for a graceful end.
    pub fn stop(self) -> Result<ExitStatus, Fail> {
        self.process.terminate(STOP_TIME)
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

/// One HTTP request to a port of this machine: status and body.
pub async fn get(port: u16, path: &str) -> Result<(u16, String), Fail> {
    http::send(port, "GET", path, "").await
}

/// The built `volsync-hub`: Cargo tells tests where it is; beside an example it is one directory up.
pub fn binary() -> Result<PathBuf, Fail> {
    if let Some(path) = option_env!("CARGO_BIN_EXE_volsync-hub") {
        return Ok(path.into());
    }
    let profile = std::env::current_exe()?;
    let profile = profile.parent().and_then(Path::parent).map(Path::to_path_buf);
    let built = profile.unwrap_or(target_dir()?.join("debug")).join("volsync-hub");
    if built.is_file() {
        return Ok(built);
    }
    Err(format!("no hub at {}: run `cargo build --features e2e` first", built.display()).into())
}

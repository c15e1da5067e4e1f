//! The hub as a process of its own on a simulated fleet.

use std::path::Path;
use std::time::Duration;

use super::cores;
use super::fleet::Fleet;
use crate::harness::process::{Process, Program, of_the_allocator};
use crate::harness::{Fail, http};
use crate::measure::probes;
use crate::measure::usage::{self, Usage};

/// The waits between a claim and the first run are divided by this; all others are as in production.
const GRANT_FACTOR: u32 = 1_000_000;
/// Under way at once, by hub and floor.
pub const CLAIMS_MAX: usize = 200;
const READY_WITHIN: Duration = Duration::from_mins(10);
const ENDS_WITHIN: Duration = Duration::from_secs(30);

pub struct Hub {
    process: Process,
    port: u16,
}

impl Hub {
    /// Without leader election. What `more` says goes before the defaults.
    pub fn start(fleet: &Fleet, folder: &Path, more: &[&str]) -> Result<Self, Fail> {
        let port = http::free_port()?;
        let mut options = vec![
            "run".to_owned(),
            "--hub-id=bench".to_owned(),
            "--log=warn".to_owned(),
            format!("--max-claims={CLAIMS_MAX}"),
            format!("--grant-factor={GRANT_FACTOR}"),
            format!("--listen=127.0.0.1:{port}"),
            format!("--hub-kubeconfig={}", fleet.hub_kubeconfig().display()),
            format!("--kubeconfig-dir={}", fleet.members().display()),
            "--leader-election=false".to_owned(),
        ];
        let name = |option: &str| option.split('=').next().unwrap_or_default().to_owned();
        options.retain(|option| !more.iter().any(|asked| name(asked) == name(option)));
        options.extend(more.iter().map(|option| (*option).to_owned()));
        let program = cores::program(cores::of_hub(), options, folder.join("hub.log"));
        let process = Process::start(&Program { env: of_the_allocator().into(), ..program })?;
        Ok(Self { process, port })
    }

    pub fn usage(&self) -> Result<Usage, Fail> {
        usage::of(self.process.pid())
    }

    /// Waits until it is ready; how long that took.
    pub async fn ready(&mut self) -> Result<Duration, Fail> {
        probes::ready(&mut self.process, self.port, READY_WITHIN).await
    }

    /// By its name without `SIG`.
    pub fn signal(&self, name: &str) -> Result<(), Fail> {
        self.process.signal(name)
    }

    /// One series of its metrics.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        probes::metric(self.port, name).await
    }

    /// Of all members.
    pub async fn sum(&self, name: &str) -> Option<f64> {
        probes::sum(self.port, name).await
    }

    pub fn stop(self) -> Result<(), Fail> {
        self.process.terminate(ENDS_WITHIN).map(drop)
    }
}

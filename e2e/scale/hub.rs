//! The hub as a process of its own on a simulated fleet.

use std::path::Path;
use std::time::{Duration, Instant};

use super::cores;
use super::fleet::Fleet;
use crate::harness::process::Process;
use crate::harness::{Fail, http};
use crate::measure::usage::{self, Usage};

/// The waits between a claim and the first run are divided by this; all others are as in production.
const GRANT_FACTOR: u32 = 1_000_000;
/// Under way at once, by hub and floor.
pub const CLAIMS_MAX: usize = 200;
const READY_WITHIN: Duration = Duration::from_mins(10);
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
const ENDS_WITHIN: Duration = Duration::from_secs(30);

pub struct Hub {
    process: Process,
    port: u16,
}

impl Hub {
    /// Without leader election, where `more` asks for none.
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
        ];
        if !more.iter().any(|option| option.starts_with("--leader-election")) {
            options.push("--leader-election=false".to_owned());
        }
        options.extend(more.iter().map(|option| (*option).to_owned()));
        let process = Process::start(&cores::program(cores::of_hub(), options, folder.join("hub.log")))?;
        Ok(Self { process, port })
    }

    pub fn usage(&self) -> Result<Usage, Fail> {
        usage::of(self.process.pid())
    }

    /// Waits until every member has been read.
    pub async fn ready(&mut self) -> Result<Duration, Fail> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.ended()? {
                return Err(format!("the hub ended with {status}: {}", self.process.last_words()).into());
            }
            if http::send(self.port, "GET", "/readyz", "").await.is_ok_and(|(status, _)| status == 200) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > READY_WITHIN {
                return Err(format!("the hub was not ready within {} s", READY_WITHIN.as_secs()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// By its name without `SIG`.
    pub fn signal(&self, name: &str) -> Result<(), Fail> {
        self.process.signal(name)
    }

    /// One series of its metrics.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let asked = http::send(self.port, "GET", "/metrics", "");
        // One that is suspended answers nothing.
        let (_, text) = tokio::time::timeout(ANSWERS_WITHIN, asked).await.ok()?.ok()?;
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    pub fn stop(self) -> Result<(), Fail> {
        self.process.terminate(ENDS_WITHIN).map(drop)
    }
}

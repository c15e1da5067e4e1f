//! The two replicas of the hub.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use procfs::process::Process as Seen;

use crate::harness::process::Process;
use crate::harness::{Fail, http};
use crate::measure::{probes, usage};
use crate::scale::cores;
use crate::scale::fleet::Fleet;

/// The waits between a claim and the first run are divided by this; all others are as in production.
const GRANT_FACTOR: u32 = 60;
const READY_WITHIN: Duration = Duration::from_mins(2);
const ENDS_WITHIN: Duration = Duration::from_secs(30);

pub struct Replica {
    pub name: &'static str,
    process: Process,
    port: u16,
    options: Vec<String>,
    log: PathBuf,
}

/// A replica at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    pub rss_mb: f64,
    pub descriptors: usize,
    pub cpu_s: f64,
}

impl Replica {
    pub fn start(name: &'static str, fleet: &Fleet, folder: &Path) -> Result<Self, Fail> {
        let port = http::free_port()?;
        let options = vec![
            "run".to_owned(),
            "--hub-id=soak".to_owned(),
            format!("--replica={name}"),
            "--log=info".to_owned(),
            "--max-claims=200".to_owned(),
            // Runs of the whole fleet are not due in the same second.
            "--default-spread=4m".to_owned(),
            format!("--grant-factor={GRANT_FACTOR}"),
            format!("--listen=127.0.0.1:{port}"),
            format!("--hub-kubeconfig={}", fleet.hub_kubeconfig().display()),
            format!("--kubeconfig-dir={}", fleet.members().display()),
        ];
        let log = folder.join(format!("{name}.log"));
        let process = Process::start(&cores::program(None, options.clone(), log.clone()))?;
        Ok(Self { name, process, port, options, log })
    }

    pub async fn ready(&mut self) -> Result<(), Fail> {
        probes::ready(&mut self.process, self.port, READY_WITHIN).await.map(drop)
    }

    /// An error where it ended by itself.
    pub fn runs(&mut self) -> Result<(), Fail> {
        match self.process.ended()? {
            Some(status) => Err(format!("{} ended with {status}: {}", self.name, self.process.last_words()).into()),
            None => Ok(()),
        }
    }

    /// By `TERM` or `KILL`, and at once anew.
    pub fn restart(&mut self, by: &str) -> Result<(), Fail> {
        self.process.signal(by)?;
        let until = Instant::now() + ENDS_WITHIN;
        while self.process.ended()?.is_none() {
            if Instant::now() > until {
                return Err(format!("{} did not end within {} s of SIG{by}", self.name, ENDS_WITHIN.as_secs()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.process = Process::start(&cores::program(None, self.options.clone(), self.log.clone()))?;
        Ok(())
    }

    pub fn signal(&self, name: &str) -> Result<(), Fail> {
        self.process.signal(name)
    }

    pub fn load(&self) -> Result<Load, Fail> {
        let used = usage::of(self.process.pid())?;
        let descriptors = Seen::new(i32::try_from(self.process.pid())?)?.fd_count()?;
        Ok(Load { rss_mb: used.rss_mb, descriptors, cpu_s: used.cpu_s })
    }

    /// One series of its metrics.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        probes::metric(self.port, name).await
    }
}

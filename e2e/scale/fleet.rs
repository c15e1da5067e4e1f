//! The simulated fleet as a process of its own, and its control endpoint.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cores;
use crate::harness::process::Process;
use crate::harness::{Fail, http};
use crate::measure::usage::{self, Usage};
use crate::{Args, say};

const STANDS_WITHIN: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const TELL_EVERY: Duration = Duration::from_secs(15);

/// How large a fleet is, and how its Jobs are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub members: usize,
    /// Of each member.
    pub sources: usize,
    /// Of all.
    pub repositories: usize,
    pub seed: u64,
}

impl Size {
    pub fn of(args: &Args) -> Self {
        Self { members: args.members(), sources: args.sources, repositories: args.repositories(), seed: args.seed }
    }
}

pub struct Fleet {
    pub size: Size,
    process: Process,
    control: u16,
    dir: PathBuf,
}

/// What the members' API servers were asked so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    pub requests: u64,
    pub writes: u64,
    pub patches: u64,
    pub watches: u64,
    pub lists: u64,
    /// Writes that changed nothing.
    pub unchanged: u64,
    pub hub_requests: u64,
    pub hub_writes: u64,
}

impl std::ops::Sub for Asked {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            writes: self.writes - before.writes,
            patches: self.patches - before.patches,
            watches: self.watches - before.watches,
            lists: self.lists - before.lists,
            unchanged: self.unchanged - before.unchanged,
            hub_requests: self.hub_requests - before.hub_requests,
            hub_writes: self.hub_writes - before.hub_writes,
        }
    }
}

impl Fleet {
    /// `runs`: how long they work at least, such as `0s`.
    pub async fn start(size: Size, folder: &Path, runs: &str) -> Result<Self, Fail> {
        let (control, dir) = (http::free_port()?, folder.join("fleet"));
        let options = [
            "fleet".to_owned(),
            format!("--members={}", size.members),
            format!("--sources={}", size.sources),
            format!("--repositories={}", size.repositories),
            format!("--seed={}", size.seed),
            format!("--runs={runs}"),
            format!("--control=127.0.0.1:{control}"),
            format!("--dir={}", dir.display()),
        ];
        let process = Process::start(&cores::program(cores::of_fleet(), options.into(), folder.join("fleet.log")))?;
        let mut fleet = Self { size, process, control, dir };
        let began = Instant::now();
        while fleet.told("GET", "/", &Value::Null).await.is_err() {
            if let Some(status) = fleet.process.ended()? {
                return Err(format!("the fleet ended with {status}: {}", fleet.process.last_words()).into());
            }
            if began.elapsed() > STANDS_WITHIN {
                return Err(format!("the fleet did not stand within {} s", STANDS_WITHIN.as_secs()).into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        say(&format!("{} members stand after {:.1} s", size.members, began.elapsed().as_secs_f64()));
        Ok(fleet)
    }

    pub fn hub_kubeconfig(&self) -> PathBuf {
        self.dir.join("hub.yaml")
    }

    pub fn members(&self) -> PathBuf {
        self.dir.join("members")
    }

    pub fn usage(&self) -> Result<Usage, Fail> {
        usage::of(self.process.pid())
    }

    async fn told(&self, method: &str, path: &str, body: &Value) -> Result<Value, Fail> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = http::send(self.control, method, path, &body).await?;
        if status != 200 {
            return Err(format!("{method} {path} was answered {status}: {answer}").into());
        }
        Ok(serde_json::from_str(&answer)?)
    }

    pub async fn asked(&self) -> Result<Asked, Fail> {
        let told = self.told("GET", "/requests", &Value::Null).await?;
        let number = |pointer: &str| told.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
        Ok(Asked {
            requests: number("/total/requests"),
            writes: number("/total/writes"),
            patches: number("/total/verbs/patch"),
            watches: number("/total/verbs/watch"),
            lists: number("/total/verbs/list"),
            unchanged: number("/total/unchanged"),
            hub_requests: number("/hub/requests"),
            hub_writes: number("/hub/writes"),
        })
    }

    /// Repositories that a hub owns.
    pub async fn claimed(&self) -> Result<usize, Fail> {
        self.repositories("", "claimed").await
    }

    /// Waits until so many repositories are claimed, and tells how far it is.
    pub async fn until_claimed(&self, all: usize, within: Duration) -> Result<(), Fail> {
        let (began, mut told) = (Instant::now(), Instant::now());
        loop {
            let claimed = self.claimed().await?;
            if claimed >= all {
                return Ok(());
            }
            if began.elapsed() > within {
                return Err(format!("{claimed} of {all} claimed within {} s", within.as_secs()).into());
            }
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                say(&format!("{claimed} of {all} claimed after {} s", began.elapsed().as_secs()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until this count has stayed as it was for so long; when it changed last.
    pub async fn until_still(
        &self,
        count: fn(&Asked) -> u64,
        pause: Duration,
        within: Duration,
    ) -> Result<Instant, Fail> {
        let began = Instant::now();
        let mut last = (count(&self.asked().await?), Instant::now());
        while last.1.elapsed() < pause {
            if began.elapsed() > within {
                return Err(format!("writes did not end within {} s", within.as_secs()).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let now = count(&self.asked().await?);
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        Ok(last.1)
    }

    /// How often two runs were in one repository at once.
    pub async fn collisions(&self) -> Result<usize, Fail> {
        self.repositories("", "collisions").await
    }

    /// Runs that ended.
    pub async fn runs(&self) -> Result<usize, Fail> {
        self.repositories("", "runs").await
    }

    /// Of the claimed those that these members have.
    pub async fn held_by(&self, members: &str) -> Result<usize, Fail> {
        self.repositories(&format!("?members={members}"), "held").await
    }

    async fn repositories(&self, query: &str, field: &str) -> Result<usize, Fail> {
        let told = self.told("GET", &format!("/repositories{query}"), &Value::Null).await?;
        let count = told[field].as_u64().and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| format!("the fleet does not tell {field}").into())
    }

    /// Changes a second, by kind.
    pub async fn changes(&self, rates: &Value) -> Result<(), Fail> {
        self.told("PUT", "/changes", rates).await.map(drop)
    }

    /// New credentials for these members; those of before are good for so many seconds more.
    pub async fn rotate(&self, members: &str, before_lasts: u32) -> Result<(), Fail> {
        let order = json!({"members": members, "beforeLastsSeconds": before_lasts});
        self.told("POST", "/credentials", &order).await.map(drop)
    }

    /// The kubeconfigs of the members, by number.
    pub fn member_kubeconfigs(&self) -> Result<Vec<PathBuf>, Fail> {
        let files = std::fs::read_dir(self.members())?.map(|entry| Ok(entry?.path()));
        let mut files = files.collect::<Result<Vec<_>, Fail>>()?;
        files.sort();
        Ok(files)
    }

    pub async fn faults(&self, members: &str, faults: &Value) -> Result<(), Fail> {
        self.told("PUT", "/faults", &json!({"members": members, "faults": faults})).await.map(drop)
    }
}

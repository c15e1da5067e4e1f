//! A simulated fleet that is measured, and how far it and a hub were when a scenario began.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::fleet::{Asked, Fleet, Size};
use super::hub::Hub;
use super::report::Scenario;
use crate::harness::Fail;
use crate::measure::paths::{POLICIES, SCHEDULE};
use crate::measure::usage::Usage;
use crate::measure::wire::{IN_FLIGHT, JSON, MERGE, Wire};
use crate::say;

/// Repositories that a policy of their own rules, in as many members, beside the one for all.
const TUNED_MAX: usize = 40;
/// Nothing that has to do with members takes longer.
const WITHIN: Duration = Duration::from_mins(10);

pub struct Stage {
    pub fleet: Fleet,
    pub hub: Wire,
    pub members: Vec<Wire>,
    folder: TempDir,
}

/// How far both processes were at the beginning of a scenario.
pub struct Began {
    pub at: Instant,
    hub: Usage,
    fleet: Usage,
    pub asked: Asked,
}

/// Members that stay well when others are made to fail: those whose number ends on neither 0 nor 1.
pub fn stays_well(member: usize) -> bool {
    member % 10 > 1
}

impl Stage {
    /// A fleet on which no schedule fires, with policies for edits.
    pub async fn set(size: Size) -> Result<Self, Fail> {
        let folder = tempfile::tempdir()?;
        let fleet = Fleet::start(size, folder.path(), "0s").await?;
        let gate = Arc::new(Semaphore::new(IN_FLIGHT));
        let hub = Wire::new(&fleet.hub_kubeconfig(), gate.clone(), false).await?;
        let mut members = Vec::new();
        for kubeconfig in fleet.member_kubeconfigs()? {
            members.push(Wire::new(&kubeconfig, gate.clone(), false).await?);
        }
        let stage = Self { fleet, hub, members, folder };
        stage.change_policy(&json!({"schedule": SCHEDULE})).await?;
        let well: Vec<usize> = (0..size.members).filter(|member| stays_well(*member)).collect();
        for member in well.iter().step_by(well.len().div_ceil(TUNED_MAX).max(1)) {
            // The first of a member, which has its first source there.
            let repository = format!("repository-{:06}", member * size.repositories / size.members);
            let policy = json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance",
                "metadata": {"name": format!("tuned-{member:04}")},
                "spec": {"repositorySelector": {"repository": repository}, "schedule": SCHEDULE, "priority": 10}});
            stage.hub.send(Method::POST, POLICIES, JSON, policy.to_string()).await?;
        }
        Ok(stage)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn start_hub(&self, more: &[&str]) -> Result<Hub, Fail> {
        Hub::start(&self.fleet, self.folder(), more)
    }

    pub async fn begin(&self, hub: &Hub) -> Result<Began, Fail> {
        Ok(Began {
            at: Instant::now(),
            hub: hub.usage()?,
            fleet: self.fleet.usage()?,
            asked: self.fleet.asked().await?,
        })
    }

    pub async fn end(&self, name: &str, hub: &Hub, began: &Began) -> Result<Scenario, Fail> {
        let (wall, used, fleet) = (began.at.elapsed(), hub.usage()?, self.fleet.usage()?);
        let asked = self.fleet.asked().await? - began.asked;
        let Size { members, sources, repositories, .. } = self.fleet.size;
        say(&format!(
            "{name}: {:.1} s, {:.1} s of the hub's CPU and {:.1} s of the fleet's, {:.0} MB, {} requests to members and {} \
             to the hub's cluster",
            wall.as_secs_f64(),
            used.cpu_s - began.hub.cpu_s,
            fleet.cpu_s - began.fleet.cpu_s,
            used.rss_mb,
            asked.requests,
            asked.hub_requests
        ));
        Ok(Scenario {
            name: name.to_owned(),
            members,
            sources: members * sources,
            repositories,
            wall_s: wall.as_secs_f64(),
            cpu_s: used.cpu_s - began.hub.cpu_s,
            rss_mb: used.rss_mb,
            rss_peak_mb: used.peak_mb,
            hub_requests: asked.hub_requests,
            member_requests: asked.requests,
            watches: asked.watches,
            lists: asked.lists,
            writes: asked.writes,
            hub_writes: asked.hub_writes,
            fleet_cpu_s: fleet.cpu_s - began.fleet.cpu_s,
            fleet_rss_mb: fleet.rss_mb,
            ..Scenario::default()
        })
    }

    /// Waits until nothing has been written to members for so long; when it was written last.
    pub async fn quiet(&self, pause: Duration) -> Result<Instant, Fail> {
        self.fleet.until_still(|asked| asked.writes, pause, WITHIN).await
    }

    /// As [`Self::quiet`], and to the hub's own API server.
    pub async fn all_quiet(&self, pause: Duration) -> Result<Instant, Fail> {
        self.fleet.until_still(|asked| asked.writes + asked.hub_writes, pause, WITHIN).await
    }

    /// Changes the policy that rules everything; its generation.
    pub async fn change_policy(&self, spec: &Value) -> Result<i64, Fail> {
        let body = json!({"spec": spec}).to_string();
        let edited = self.hub.send(Method::PATCH, &format!("{POLICIES}/all"), MERGE, body).await?;
        let edited: Value = serde_json::from_slice(&edited)?;
        edited["metadata"]["generation"].as_i64().ok_or_else(|| "the policy has no generation".into())
    }

    /// As [`Self::change_policy`]; how long it took until the policy's status was of that edit.
    pub async fn edit_policy(&self, spec: &Value) -> Result<Duration, Fail> {
        let began = Instant::now();
        let generation = self.change_policy(spec).await?;
        while began.elapsed() < WITHIN {
            let seen = self.hub.value(&format!("{POLICIES}/all")).await?;
            if seen["status"]["observedGeneration"].as_i64() >= Some(generation) {
                return Ok(began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("the policy was not looked at within {} s", WITHIN.as_secs()).into())
    }

    /// What the hub said last, for whoever wants to know why.
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder().join("hub.log")).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }
}

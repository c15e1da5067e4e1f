//! One after the other on one fleet: what a hub costs from its first start to a fleet in trouble.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::fleet::{Asked, Fleet};
use super::hub::{Hub, Policy};
use super::report::{self, Scenario};
use crate::harness::Fail;
use crate::usage::{self, Usage};
use crate::{Args, say};

/// All repositories are claimed by then.
const CLAIMED_WITHIN: Duration = Duration::from_mins(30);
/// Nothing has been written for so long: the end of what was under way.
const QUIET: Duration = Duration::from_secs(10);
const QUIET_WITHIN: Duration = Duration::from_mins(10);
const TELL_EVERY: Duration = Duration::from_secs(15);

struct Bench<'a> {
    args: &'a Args,
    fleet: Fleet,
    scenarios: Vec<Scenario>,
}

/// How far both processes were at the beginning of a scenario.
struct Began {
    at: Instant,
    hub: Usage,
    fleet: Usage,
    asked: Asked,
}

pub async fn all(args: &Args) -> Result<(), Fail> {
    let machine = usage::machine();
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(args, folder.path()).await?;
    let mut bench = Bench { args, fleet, scenarios: Vec::new() };
    let ended = bench.play(folder.path()).await;
    // Of what was measured before something went wrong, too.
    let file = report::write(&machine, &bench.scenarios)?;
    say(&format!("written to {}", file.display()));
    #[expect(clippy::print_stdout, reason = "this is what it is for")]
    {
        println!("{}", report::table(&bench.scenarios));
    }
    if ended.is_err() {
        let log = std::fs::read_to_string(folder.path().join("hub.log")).unwrap_or_default();
        let last: Vec<_> = log.lines().rev().take(20).collect();
        say(&format!("the hub's last words, latest first:\n{}", last.join("\n")));
    }
    ended
}

impl Bench<'_> {
    async fn play(&mut self, folder: &Path) -> Result<(), Fail> {
        let watched = if self.args.quick { Duration::from_mins(1) } else { Duration::from_mins(10) };
        let mut hub = Hub::start(&self.fleet, folder)?;
        self.cold_start(&mut hub).await?;
        self.quiet().await?;
        self.idle(&hub, watched).await?;
        self.churn(&hub, watched).await?;
        self.quiet().await?;
        let policy = Policy::of(&self.fleet).await?;
        self.policy_edit_none(&hub, &policy).await?;
        self.policy_edit_all(&hub, &policy).await?;
        self.quiet().await?;
        hub.stop()?;
        let mut hub = Hub::start(&self.fleet, folder)?;
        self.restart(&mut hub).await?;
        self.faults(&hub, watched).await?;
        hub.stop()?;
        let (_, collisions) = self.fleet.claimed().await?;
        if collisions > 0 { Err(format!("two runs were in one repository {collisions} times").into()) } else { Ok(()) }
    }

    async fn begin(&self, hub: &Hub) -> Result<Began, Fail> {
        Ok(Began {
            at: Instant::now(),
            hub: hub.usage()?,
            fleet: self.fleet.usage()?,
            asked: self.fleet.asked().await?,
        })
    }

    async fn end(&self, name: &'static str, hub: &Hub, began: &Began) -> Result<Scenario, Fail> {
        let (wall, used, fleet) = (began.at.elapsed(), hub.usage()?, self.fleet.usage()?);
        let asked = self.fleet.asked().await? - began.asked;
        say(&format!("{name}: {:.1} s", wall.as_secs_f64()));
        Ok(Scenario {
            name,
            members: self.args.members(),
            sources: self.args.members() * self.args.sources,
            repositories: self.args.repositories(),
            wall_s: wall.as_secs_f64(),
            cpu_s: used.cpu_s - began.hub.cpu_s,
            rss_mb: used.rss_mb,
            rss_peak_mb: used.peak_mb,
            hub_requests: asked.hub_requests,
            member_requests: asked.requests,
            watches: asked.watches,
            writes: asked.writes,
            fleet_cpu_s: fleet.cpu_s - began.fleet.cpu_s,
            fleet_rss_mb: fleet.rss_mb,
            goals: Vec::new(),
        })
    }

    /// Waits until nothing has been written for a while.
    async fn quiet(&self) -> Result<(), Fail> {
        let (began, mut last) = (Instant::now(), (self.fleet.asked().await?, Instant::now()));
        while last.1.elapsed() < QUIET {
            if began.elapsed() > QUIET_WITHIN {
                return Err(format!("writes did not end within {} s", QUIET_WITHIN.as_secs()).into());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.fleet.asked().await?;
            if (now.writes, now.hub_writes) != (last.0.writes, last.0.hub_writes) {
                last = (now, Instant::now());
            }
        }
        Ok(())
    }

    async fn cold_start(&mut self, hub: &mut Hub) -> Result<(), Fail> {
        let began = self.begin(hub).await?;
        let ready = hub.ready().await?;
        say(&format!("every member was read after {:.1} s", ready.as_secs_f64()));
        let (all, mut told) = (self.args.repositories() as u64, Instant::now());
        loop {
            let (claimed, _) = self.fleet.claimed().await?;
            if claimed == all {
                break;
            }
            if began.at.elapsed() > CLAIMED_WITHIN {
                return Err(format!("{claimed} of {all} claimed within {} s", CLAIMED_WITHIN.as_secs()).into());
            }
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                say(&format!("{claimed} of {all} claimed after {} s", began.at.elapsed().as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let mut scenario = self.end("cold-start", hub, &began).await?;
        scenario.goal("peak of resident memory, MB", scenario.rss_peak_mb, 400.0);
        self.scenarios.push(scenario);
        Ok(())
    }

    /// What the hub does for a while by itself; it has so many cores at most.
    async fn watch(&self, name: &'static str, hub: &Hub, watched: Duration, cores: f64) -> Result<Scenario, Fail> {
        let began = self.begin(hub).await?;
        tokio::time::sleep(watched).await;
        let mut scenario = self.end(name, hub, &began).await?;
        scenario.goal("cores", scenario.cpu_s / scenario.wall_s, cores);
        Ok(scenario)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of minutes fit")]
    async fn idle(&mut self, hub: &Hub, watched: Duration) -> Result<(), Fail> {
        let mut scenario = self.watch("idle", hub, watched, 0.05).await?;
        let hundreds = self.args.members() as f64 / 100.0;
        scenario.goal("writes to members", scenario.writes as f64, 0.0);
        let beyond_watches = (scenario.member_requests - scenario.watches) as f64;
        scenario.goal("requests/s/100 members beyond watches", beyond_watches / scenario.wall_s / hundreds, 2.0);
        scenario.goal("resident memory, MB", scenario.rss_mb, 250.0);
        self.scenarios.push(scenario);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of minutes fit")]
    async fn churn(&mut self, hub: &Hub, watched: Duration) -> Result<(), Fail> {
        // Each source every ten minutes.
        self.fleet.churn((self.args.members() * self.args.sources) as f64 / 600.0).await?;
        let scenario = self.watch("churn", hub, watched, 0.15).await?;
        self.fleet.churn(0.0).await?;
        self.scenarios.push(scenario);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of minutes fit")]
    async fn policy_edit_none(&mut self, hub: &Hub, policy: &Policy) -> Result<(), Fail> {
        let began = self.begin(hub).await?;
        let took = policy.edit(&json!({"priority": 1})).await?;
        let mut scenario = self.end("policy-edit-none", hub, &began).await?;
        scenario.goal("seconds until the policy's status is of it", took.as_secs_f64(), 1.0);
        scenario.goal("writes to members", scenario.writes as f64, 0.0);
        self.scenarios.push(scenario);
        Ok(())
    }

    async fn policy_edit_all(&mut self, hub: &Hub, policy: &Policy) -> Result<(), Fail> {
        let began = self.begin(hub).await?;
        policy.edit(&json!({"schedule": "7 5 * * *"})).await?;
        // One apply of each CronJob.
        while (self.fleet.asked().await? - began.asked).patches < self.args.repositories() as u64 {
            if began.at.elapsed() > QUIET_WITHIN {
                return Err("the CronJobs did not follow the policy".into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let scenario = self.end("policy-edit-all", hub, &began).await?;
        self.scenarios.push(scenario);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of minutes fit")]
    async fn restart(&mut self, hub: &mut Hub) -> Result<(), Fail> {
        let began = self.begin(hub).await?;
        let ready = hub.ready().await?;
        self.quiet().await?;
        let mut scenario = self.end("restart", hub, &began).await?;
        scenario.goal("seconds until it is ready", ready.as_secs_f64(), 30.0);
        scenario.goal("writes to members", scenario.writes as f64, 0.0);
        scenario.goal("resident memory, MB", scenario.rss_mb, 250.0);
        self.scenarios.push(scenario);
        Ok(())
    }

    /// One in ten is dead, and one in ten is silent or ends every watch at once; nothing else happens.
    async fn faults(&mut self, hub: &Hub, watched: Duration) -> Result<(), Fail> {
        self.fleet.faults("10%", &json!({"down": true})).await?;
        self.fleet.faults("member-*1", &json!({"endWatches": true})).await?;
        tokio::time::sleep(QUIET).await;
        let scenario = self.watch("faults", hub, watched, 0.3).await?;
        self.scenarios.push(scenario);
        Ok(())
    }
}

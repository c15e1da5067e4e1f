//! Twenty minutes of trouble at the protocol's own pace, on real members: lines that are cut, hubs that are killed or held up, pins,
//! failovers, runs by hand, freezes, edits. At the end each repository's own log tells who was in it, and when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use volsync_hub::chaos::random::Random;

use super::journal::Journal;
use super::moving::make;
use super::stage::{Stage, cron_job, id};
use crate::harness::hub::{Hub, Options};
use crate::harness::link::Link;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail, tools};

const MEMBERS: [&str; 3] = ["member-a", "member-b", "member-c"];
/// It is on the oldest Kubernetes that is supported.
const OLDEST: &str = MEMBERS[2];
const BUCKETS: [&str; 5] = ["long-one", "long-two", "long-three", "long-four", "long-five"];
const LASTS: Duration = Duration::from_mins(20);
/// A first claim waits for former owners for five minutes, and a hand-over that is begun anew for as long as a run may last.
const CALMS: Duration = Duration::from_mins(20);
const POLICY: &str = "schedule: \"* * * * *\"\nactiveDeadlineSeconds: ";

struct Trouble {
    stage: Stage,
    links: Vec<(&'static str, Link)>,
    journals: Vec<Journal>,
    /// Names of the KopiaRepositories.
    names: Vec<String>,
    hubs: Vec<Hub>,
    random: Random,
    /// What is over at some moment.
    ends: Vec<(Instant, Ends)>,
    done: BTreeMap<&'static str, usize>,
}

enum Ends {
    Cut(usize),
    HeldUp(usize),
    Frozen(usize),
}

impl Trouble {
    async fn set() -> Result<Self, Fail> {
        let seed = u64::try_from(jiff::Timestamp::now().as_second())?;
        tools::say(&format!("seed {seed}"));
        let stage = Stage::set_with("long", &MEMBERS, &[OLDEST], &[]).await?;
        let (mut links, mut journals) = (Vec::new(), Vec::new());
        for bucket in BUCKETS {
            journals.push(make(&stage.fleet, &S3::bucket(bucket)).await?);
        }
        for member in MEMBERS {
            let cluster = stage.member(member)?;
            for bucket in BUCKETS {
                objects::backed_up(cluster, bucket, "repository", &S3::bucket(bucket)).await?;
            }
            let file = stage.registered.join(format!("{member}.yaml"));
            links.push((member, Link::lay(cluster, &stage.fleet.kubeconfig_of(member), &file).await?));
        }
        let (random, hubs, names) = (Random::new(seed, 0), Vec::new(), Vec::new());
        let mut trouble = Self { stage, links, journals, names, hubs, random, ends: Vec::new(), done: BTreeMap::new() };
        trouble.policy(600).await?;
        for number in 0..2 {
            let hub = trouble.hub(number)?;
            trouble.hubs.push(hub);
        }
        Ok(trouble)
    }

    fn hub(&self, number: usize) -> Result<Hub, Fail> {
        let options = self.stage.hub_options_at(1, &[]);
        Hub::start(&self.stage.fleet, &Options { name: format!("hub-{number}"), ..options })
    }

    async fn policy(&self, deadline: u32) -> Result<(), Fail> {
        let policy = objects::policy_in("long", &BUCKETS, &format!("{POLICY}{deadline}"));
        self.stage.fleet.hub.shell.apply(&policy).await.map(drop)
    }

    async fn lever(&self, number: usize, spec: &Value) -> Result<(), Fail> {
        let command = format!("kubectl patch kopiarepository {} --type merge -p \"$PATCH\"", self.names[number]);
        let patch = json!({"spec": spec}).to_string();
        self.stage.fleet.hub.shell.bash(&command, &[("PATCH", &patch)]).await?.ok().map(drop)
    }

    /// Every repository is maintained, and a run of each begins that had not begun before.
    async fn all_are_maintained(&self) -> Result<(), Fail> {
        let runs = || self.journals.iter().map(|it| Ok(it.entries()?.len())).collect::<Result<Vec<_>, Fail>>();
        let before = runs().unwrap_or_else(|_| vec![0; BUCKETS.len()]);
        wait_for("all to be maintained", CALMS, async || {
            let now = runs().unwrap_or_else(|_| before.clone());
            let mut waits = Vec::new();
            for ((bucket, now), before) in BUCKETS.iter().zip(now).zip(&before) {
                let status = self.stage.repository(bucket).await.map(|it| it["status"].clone()).unwrap_or_default();
                if status["grant"]["phase"] != "Active" || now <= *before {
                    waits.push(format!("{bucket}: {} {}", status["grant"], status["conditions"]));
                }
            }
            Ok(Seen::when(waits.is_empty(), waits.join("\n")))
        })
        .await
    }

    async fn strike(&mut self) -> Result<(), Fail> {
        let (bucket, member) = (self.random.index(BUCKETS.len()), self.random.index(MEMBERS.len()));
        let (hub, now) = (self.random.index(self.hubs.len()), Instant::now());
        let seconds = Duration::from_secs(10 + self.random.below(110));
        let what = match self.random.below(20) {
            0..=4 => {
                self.lever(bucket, &json!({"cluster": MEMBERS[member]})).await?;
                "pin"
            }
            5 => {
                self.lever(bucket, &json!({"cluster": null})).await?;
                "unpin"
            }
            6..=8 => {
                self.links[member].1.cut();
                self.ends.push((now + seconds, Ends::Cut(member)));
                "cut"
            }
            9..=10 => {
                let next = self.hub(hub)?;
                std::mem::replace(&mut self.hubs[hub], next).kill();
                "kill -9"
            }
            11..=12 => {
                self.hubs[hub].process().signal("STOP")?;
                self.ends.push((now + seconds / 3, Ends::HeldUp(hub)));
                "stop"
            }
            13..=14 => {
                let token = format!("at-{}", self.random.number());
                self.lever(bucket, &json!({"runNow": token})).await?;
                "run by hand"
            }
            15 => {
                self.lever(bucket, &json!({"frozenUntil": "2999-01-01T00:00:00Z", "reason": "long"})).await?;
                self.ends.push((now + seconds, Ends::Frozen(bucket)));
                "freeze"
            }
            16 => {
                let grant = self.stage.repository(BUCKETS[bucket]).await?["status"]["grant"].clone();
                let given_up = json!({"cluster": grant["cluster"], "epoch": grant["epoch"]});
                self.lever(bucket, &json!({"failover": given_up, "reason": "long"})).await?;
                "failover"
            }
            17 => {
                let deadline = if self.random.percent(50) { 600 } else { 900 };
                self.policy(deadline).await?;
                "policy"
            }
            _ => {
                let (cluster, id) = (self.stage.member(MEMBERS[member])?, self.names[bucket].replace("kr-", ""));
                if !cron_job(cluster, &id).await?.is_null() {
                    let command = format!("delete cronjob -n volsync-system kopia-maintenance-{id}");
                    cluster.shell.kubectl(&command).await?;
                }
                "deleted CronJob"
            }
        };
        *self.done.entry(what).or_default() += 1;
        Ok(())
    }

    async fn end(&mut self, until: Option<Instant>) -> Result<(), Fail> {
        let due = |(at, _): &mut (Instant, Ends)| until.is_none_or(|until| *at <= until);
        let over: Vec<_> = self.ends.extract_if(.., due).collect();
        for (_, ends) in over {
            match ends {
                Ends::Cut(member) => self.links[member].1.mend(),
                // It may have been killed meanwhile.
                Ends::HeldUp(hub) => self.hubs[hub].process().signal("CONT")?,
                Ends::Frozen(bucket) => {
                    self.lever(bucket, &json!({"frozenUntil": null, "reason": null})).await?;
                }
            }
        }
        Ok(())
    }
}

#[test]
#[ignore = "takes forty minutes: cargo test --all-features --test e2e twenty_minutes -- --ignored --nocapture"]
fn in_twenty_minutes_of_trouble_no_repository_is_maintained_twice_at_once() -> Result<(), Fail> {
    harness::run(async {
        let mut trouble = Trouble::set().await?;
        trouble.all_are_maintained().await?;
        for bucket in BUCKETS {
            let name = format!("kr-{}", id(&trouble.stage.repository(bucket).await?));
            trouble.names.push(name);
        }
        tools::say("all are maintained; trouble begins");
        let began = Instant::now();
        while began.elapsed() < LASTS {
            trouble.strike().await?;
            let pause = Duration::from_secs(5 + trouble.random.below(20));
            tokio::time::sleep(pause).await;
            trouble.end(Some(Instant::now())).await?;
            for journal in &trouble.journals {
                journal.never_two_at_once()?;
            }
        }
        trouble.end(None).await?;
        for number in 0..BUCKETS.len() {
            trouble.lever(number, &json!({"cluster": null, "failover": null, "reason": null})).await?;
        }
        let calm = Instant::now();
        trouble.all_are_maintained().await?;
        let mut runs = 0;
        for journal in &trouble.journals {
            journal.never_two_at_once()?;
            runs += journal.entries()?.iter().filter(|entry| entry.begins).count();
        }
        let mut epochs = Vec::new();
        for bucket in BUCKETS {
            let status = trouble.stage.repository(bucket).await?["status"].clone();
            epochs.push(status["grant"]["epoch"].as_u64().unwrap_or_default());
            tools::say(&format!("{bucket}: {}", status["history"]));
        }
        tools::say(&format!(
            "{:?}; {runs} runs, epochs {epochs:?}; all maintained {} s after the trouble",
            trouble.done,
            calm.elapsed().as_secs()
        ));
        assert!(epochs.iter().any(|epoch| *epoch > 2), "nothing moved: {epochs:?}");
        Ok(())
    })
}

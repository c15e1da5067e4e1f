//! A grant moves between real clusters while runs go on, by pin and by failover, and a run is started by hand. Whether
//! two were ever in the repository at once is read in the log that the repository itself keeps.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{LONG, Stage, cron_job, id, object};
use crate::harness::cluster::Cluster;
use crate::harness::link::Link;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

const BUCKET: &str = "moves";
/// So long a run is in the repository.
const RUN_SECONDS: &str = "4";

/// Where a run happens to begin while the claim is under way it is waited for: three minutes, as three hours are here.
const HANDED_OVER: Duration = Duration::from_mins(6);

/// One repository that two members back up to, maintained each minute.
struct Moving {
    stage: Stage,
    place: S3,
    links: [(&'static str, Link); 2],
}

impl Moving {
    async fn set() -> Result<Self, Fail> {
        let stage = Stage::set("grants", &["member-a", "member-b"]).await?;
        let place = S3::bucket(BUCKET);
        place.create(&stage.fleet).await?;
        fs::write(place.store(&stage.fleet).join("run-seconds"), RUN_SECONDS)?;
        let mut links = Vec::new();
        for name in ["member-a", "member-b"] {
            let member = stage.member(name)?;
            objects::backed_up(member, BUCKET, "repository", &place).await?;
            let file = stage.registered.join(format!("{name}.yaml"));
            links.push((name, Link::lay(member, &stage.fleet.kubeconfig_of(name), &file).await?));
        }
        let links = links.try_into().map_err(|_| "two links")?;
        let policy = objects::policy_in(BUCKET, &[BUCKET], "schedule: \"* * * * *\"\nactiveDeadlineSeconds: 600");
        stage.fleet.hub.shell.apply(&policy).await?;
        Ok(Self { stage, place, links })
    }

    fn member(&self, name: &str) -> Result<&Cluster, Fail> {
        self.stage.member(name)
    }

    fn link(&self, name: &str) -> Result<&Link, Fail> {
        let found = self.links.iter().find(|(member, _)| *member == name);
        found.map(|(_, link)| link).ok_or_else(|| format!("no link to {name}").into())
    }

    async fn lever(&self, name: &str, spec: &Value) -> Result<(), Fail> {
        let patch = json!({"spec": spec}).to_string();
        let command = format!("kubectl patch kopiarepository {name} --type merge -p \"$PATCH\"");
        self.stage.fleet.hub.shell.bash(&command, &[("PATCH", &patch)]).await?.ok().map(drop)
    }

    async fn held_by(&self, member: &str, epoch: u64) -> Result<Value, Fail> {
        let what = format!("the repository to be held by {member} with epoch {epoch}");
        wait_for(&what, HANDED_OVER, async || {
            let seen = self.stage.repository(BUCKET).await?;
            let grant = &seen["status"]["grant"];
            let held = grant["phase"] == "Active" && grant["cluster"] == member && grant["epoch"] == epoch;
            Ok(if held { Seen::Done(seen) } else { Seen::NotYet(seen["status"].to_string()) })
        })
        .await
    }

    fn journal(&self) -> Result<Vec<Entry>, Fail> {
        let log = fs::read_to_string(self.place.store(&self.stage.fleet).join("runs.log"))?;
        log.lines().map(Entry::read).collect()
    }

    /// Waits until a run of this member begins that had not begun when this was called.
    async fn runs_in(&self, member: &str) -> Result<(), Fail> {
        let before = self.journal()?.len();
        wait_for(&format!("a run in {member}"), LONG, async || {
            let news = self.journal()?.split_off(before);
            Ok(Seen::when(news.iter().any(|entry| entry.begins && entry.is_of(member)), format!("{news:?}")))
        })
        .await
    }

    /// Nobody came in while somebody was inside, and no epoch came after a higher one.
    fn never_two_at_once(&self) -> Result<(), Fail> {
        let (mut inside, mut highest): (Option<Entry>, u64) = (None, 0);
        for entry in self.journal()? {
            if entry.begins {
                assert!(inside.is_none(), "{inside:?} and {entry:?}");
                assert!(entry.epoch >= highest, "{entry:?} after epoch {highest}");
                highest = entry.epoch;
                inside = Some(entry);
            } else {
                inside = None;
            }
        }
        Ok(())
    }
}

/// A line of the repository's own log.
#[derive(Clone, Debug)]
struct Entry {
    begins: bool,
    /// `volsync-hub-<epoch>@<member>.<hub>`
    client: String,
    epoch: u64,
}

impl Entry {
    fn read(line: &str) -> Result<Self, Fail> {
        let mut words = line.split(' ');
        let begins = words.next() == Some("begin");
        let client = words.nth(1).ok_or_else(|| format!("no client in {line:?}"))?.to_owned();
        let epoch = client.strip_prefix("volsync-hub-").and_then(|rest| rest.split('@').next()?.parse().ok());
        Ok(Self { begins, epoch: epoch.ok_or_else(|| format!("no epoch in {line:?}"))?, client })
    }

    fn is_of(&self, member: &str) -> bool {
        self.client.contains(&format!("@{member}."))
    }
}

#[test]
fn a_repository_moves_by_pin_and_by_failover_and_is_never_maintained_twice_at_once() -> Result<(), Fail> {
    harness::run(async {
        let moving = Moving::set().await?;
        let hub = moving.stage.start_hub(&[]).await?;
        let first = moving.stage.maintained(BUCKET).await?;
        let (name, id) = (format!("kr-{}", id(&first)), id(&first));
        let holder = first["status"]["grant"]["cluster"].as_str().ok_or("no holder")?.to_owned();
        let other = if holder == "member-a" { "member-b" } else { "member-a" };
        let counted = |status: &Value| status["clusterCount"] == 2;
        moving.stage.repository_when(BUCKET, "to have two candidates", counted).await?;

        // While a run goes on there.
        moving.runs_in(&holder).await?;
        moving.lever(&name, &json!({"cluster": other})).await?;
        moving.held_by(other, 2).await?;
        gone(moving.member(&holder)?, &id).await?;
        moving.runs_in(other).await?;

        by_hand(&moving, (&name, &id), other).await?;
        failover(&moving, (&name, &id), (other, &holder)).await?;
        moving.runs_in(&holder).await?;
        moving.never_two_at_once()?;
        hub.stop().map(drop)
    })
}

/// Its CronJob and the copy of its Secret.
async fn gone(member: &Cluster, id: &str) -> Result<(), Fail> {
    wait_for("what the former holder had to go", LONG, async || {
        let cron_job = cron_job(member, id).await?;
        let copy = format!("/api/v1/namespaces/volsync-system/secrets/kopia-maintenance-{id}");
        let secret = object(member, &copy).await.unwrap_or_default();
        Ok(Seen::when(
            cron_job.is_null() && secret["data"].is_null(),
            format!("{} {}", cron_job["spec"], secret["kind"]),
        ))
    })
    .await
}

/// Beside a schedule that fires in the same minute.
async fn by_hand(moving: &Moving, (name, id): (&str, &str), holder: &str) -> Result<(), Fail> {
    let member = moving.member(holder)?;
    moving.lever(name, &json!({"runNow": "tonight"})).await?;
    let seen = |status: &Value| status["runNowSeen"] == "tonight";
    moving.stage.repository_when(BUCKET, "to have been run by hand", seen).await?;
    let jobs = object(member, "/apis/batch/v1/namespaces/volsync-system/jobs").await?;
    let by_hand = |job: &&Value| job["metadata"]["name"].as_str().is_some_and(|name| name.contains("-now-"));
    let jobs: Vec<&Value> = jobs["items"].as_array().into_iter().flatten().filter(by_hand).collect();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["status"]["succeeded"], 1, "{}", jobs[0]["status"]);
    wait_for("the CronJob to go on", LONG, async || {
        let suspend = cron_job(member, id).await?["spec"]["suspend"].clone();
        Ok(Seen::when(suspend == false, suspend.to_string()))
    })
    .await?;
    moving.never_two_at_once()
}

/// The holder's API server can't be reached by the hub, and its own CronJob controller goes on.
async fn failover(moving: &Moving, (name, id): (&str, &str), (from, to): (&str, &str)) -> Result<(), Fail> {
    // Nothing but its being away shall keep it where it is.
    moving.lever(name, &json!({"cluster": null})).await?;
    moving.link(from)?.cut();
    let held = |status: &Value| status["state"] == "Held" && status["reason"] == "HolderUnreachable";
    moving.stage.repository_when(BUCKET, "to be held", held).await?;
    moving.runs_in(from).await?;
    let before = moving.stage.repository(BUCKET).await?["status"]["grant"].clone();
    assert_eq!((&before["cluster"], &before["epoch"]), (&json!(from), &json!(2)), "{before}");

    moving.lever(name, &json!({"failover": {"cluster": from, "epoch": 2}, "reason": "the line is dead"})).await?;
    moving.held_by(to, 3).await?;
    // What the former holder starts by itself is turned away.
    let member = moving.member(from)?;
    wait_for("a run of the former holder to be fenced", LONG, async || {
        let pods = object(member, "/api/v1/namespaces/volsync-system/pods").await?;
        let fenced =
            pods["items"].as_array().into_iter().flatten().any(|pod| pod["status"].to_string().contains("Fenced"));
        Ok(Seen::when(fenced, pods["items"].as_array().map_or(0, Vec::len).to_string()))
    })
    .await?;
    moving.link(from)?.mend();
    gone(member, id).await?;
    let after = moving.stage.repository(BUCKET).await?["status"]["grant"].clone();
    assert_eq!((&after["cluster"], &after["epoch"]), (&json!(to), &json!(3)), "{after}");
    Ok(())
}

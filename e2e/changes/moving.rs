//! A repository that two real members back up to, which is maintained each minute and moves. Whether two runs were ever in it
//! at once is read in the log that the repository itself keeps.

use std::time::Duration;

use serde_json::{Value, json};

use super::journal::Journal;
use super::stage::{LONG, Stage, cron_job, object};
use crate::harness::Fail;
use crate::harness::cluster::Cluster;
use crate::harness::fleet::Fleet;
use crate::harness::link::Link;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};

pub const MEMBERS: [&str; 2] = ["member-a", "member-b"];
/// So long a run is in the repository.
const RUN_SECONDS: &str = "4";

/// Where a run happens to begin while the claim is under way it is waited for: three minutes, as three hours are here.
pub const HANDED_OVER: Duration = Duration::from_mins(6);

/// Makes the repository, in which runs last a while.
pub async fn make(fleet: &Fleet, place: &S3) -> Result<Journal, Fail> {
    place.create(fleet).await?;
    let journal = Journal::of(place, fleet);
    journal.runs_take(RUN_SECONDS)?;
    Ok(journal)
}

/// One repository that two members back up to, maintained each minute.
pub struct Moving {
    pub stage: Stage,
    pub bucket: String,
    pub place: S3,
    pub journal: Journal,
    links: [(&'static str, Link); 2],
}

impl Moving {
    /// A fleet of that name, which the bucket has too; no hub yet.
    pub async fn set(name: &str) -> Result<Self, Fail> {
        Self::set_at(name, &S3::bucket(name)).await
    }

    /// The second member knows the place by another name.
    pub async fn set_at(name: &str, alias: &S3) -> Result<Self, Fail> {
        let stage = Stage::set(name, &MEMBERS).await?;
        let place = S3::bucket(name);
        let journal = make(&stage.fleet, &place).await?;
        let (store, other) = (place.store(&stage.fleet), alias.store(&stage.fleet));
        if store != other {
            std::os::unix::fs::symlink(store, other)?;
        }
        let mut links = Vec::new();
        for (member, place) in MEMBERS.into_iter().zip([&place, alias]) {
            let cluster = stage.member(member)?;
            objects::backed_up(cluster, name, "repository", place).await?;
            let file = stage.registered.join(format!("{member}.yaml"));
            links.push((member, Link::lay(cluster, &stage.fleet.kubeconfig_of(member), &file).await?));
        }
        let links = links.try_into().map_err(|_| "two links")?;
        let policy = objects::policy_in(name, &[name], "schedule: \"* * * * *\"\nactiveDeadlineSeconds: 600");
        stage.fleet.hub.shell.apply(&policy).await?;
        Ok(Self { stage, bucket: name.to_owned(), place, journal, links })
    }

    pub fn member(&self, name: &str) -> Result<&Cluster, Fail> {
        self.stage.member(name)
    }

    pub fn link(&self, name: &str) -> Result<&Link, Fail> {
        let found = self.links.iter().find(|(member, _)| *member == name);
        found.map(|(_, link)| link).ok_or_else(|| format!("no link to {name}").into())
    }

    pub async fn lever(&self, name: &str, spec: &Value) -> Result<(), Fail> {
        let patch = json!({"spec": spec}).to_string();
        let command = format!("kubectl patch kopiarepository {name} --type merge -p \"$PATCH\"");
        self.stage.fleet.hub.shell.bash(&command, &[("PATCH", &patch)]).await?.ok().map(drop)
    }

    pub async fn held_by(&self, member: &str, epoch: u64) -> Result<Value, Fail> {
        let what = format!("the repository to be held by {member} with epoch {epoch}");
        wait_for(&what, HANDED_OVER, async || {
            let seen = self.stage.repository(&self.bucket).await?;
            let grant = &seen["status"]["grant"];
            let held = grant["phase"] == "Active" && grant["cluster"] == member && grant["epoch"] == epoch;
            Ok(if held { Seen::Done(seen) } else { Seen::NotYet(seen["status"].to_string()) })
        })
        .await
    }

    /// Waits until a run of this member begins that had not begun when this was called.
    pub async fn runs_in(&self, member: &str) -> Result<(), Fail> {
        self.journal.runs(&format!("a run in {member}"), |entry| entry.is_of(member)).await
    }

    /// Nobody came in while somebody was inside, and no epoch came after a higher one.
    pub fn never_two_at_once(&self) -> Result<(), Fail> {
        self.journal.never_two_at_once()
    }
}

/// Its CronJob and the copy of its Secret.
pub async fn gone(member: &Cluster, id: &str) -> Result<(), Fail> {
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

//! A fleet with a running hub, and what the journeys look at. Objects are read as JSON, so that a test names fields
//! as a user does.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::harness::Fail;
use crate::harness::cluster::Cluster;
use crate::harness::fleet::Fleet;
use crate::harness::hub::{Hub, Options};
use crate::harness::wait::{Seen, wait_for};

/// From a source to a CronJob that may run takes seconds; two cores that start other control planes meanwhile take
/// much longer.
pub const SETTLED: Duration = Duration::from_mins(3);

/// The waits of a claim become 0 s and 1 s.
const TIME_FACTOR: &str = "--time-factor=300";

/// A fleet and the hub that runs on it.
pub struct Stage {
    pub fleet: Fleet,
    pub hub: Hub,
}

impl Stage {
    /// One for the journeys that have policies for namespaces of their own only.
    pub async fn shared() -> Result<&'static Self, Fail> {
        static SHARED: OnceCell<Stage> = OnceCell::const_new();
        SHARED.get_or_try_init(|| Self::start("journeys", &["member-a", "member-b"])).await
    }

    /// One for a journey whose policies select everything.
    pub async fn start(name: &str, members: &[&str]) -> Result<Self, Fail> {
        let fleet = Fleet::start(name, members).await?;
        let hub = hub(&fleet).await?;
        Ok(Self { fleet, hub })
    }

    /// `kubectl apply` on the hub.
    pub async fn apply(&self, manifest: &str) -> Result<(), Fail> {
        self.fleet.hub.shell.apply(manifest).await.map(drop)
    }

    /// All KopiaRepositories.
    pub async fn ledger(&self) -> Result<Vec<Value>, Fail> {
        items(&self.fleet.hub, "/apis/hub.volsync.backube/v1alpha1/kopiarepositories").await
    }

    /// The KopiaRepository of a bucket; none: the hub does not know it yet.
    pub async fn repository(&self, bucket: &str) -> Result<Option<Value>, Fail> {
        let is = |object: &Value| names_bucket(text(object, "/status/location"), bucket);
        Ok(self.ledger().await?.into_iter().find(is))
    }

    /// CronJobs of one name in the whole fleet, with the members where they stand.
    pub async fn cron_jobs(&self, name: &str) -> Result<Vec<(String, Value)>, Fail> {
        let mut found = Vec::new();
        for member in &self.fleet.members {
            let all = items(member, "/apis/batch/v1/namespaces/volsync-system/cronjobs").await?;
            found.extend(all.into_iter().filter(|it| name_of(it) == name).map(|it| (member.name.clone(), it)));
        }
        Ok(found)
    }

    /// Waits until a bucket is maintained: granted, and with one CronJob in the fleet, which may run.
    pub async fn maintained(&self, bucket: &str) -> Result<Maintained, Fail> {
        let what = format!("the repository in bucket {bucket} to be maintained");
        wait_for(&what, SETTLED, async || self.maintained_now(bucket, |_| true).await).await
    }

    /// As [`Self::maintained`], with a CronJob that is as it should be now.
    pub async fn maintained_as(
        &self,
        bucket: &str,
        what: &str,
        is: impl Fn(&Maintained) -> bool,
    ) -> Result<Maintained, Fail> {
        let what = format!("the repository in bucket {bucket}: {what}");
        wait_for(&what, SETTLED, async || self.maintained_now(bucket, &is).await).await
    }

    async fn maintained_now(&self, bucket: &str, is: impl Fn(&Maintained) -> bool) -> Result<Seen<Maintained>, Fail> {
        let Some(ledger) = self.repository(bucket).await? else {
            return Ok(Seen::NotYet("no KopiaRepository".into()));
        };
        let name = format!("kopia-maintenance-{}", name_of(&ledger).trim_start_matches("kr-"));
        let mut cron_jobs = self.cron_jobs(&name).await?;
        let active = text(&ledger, "/status/grant/phase") == "Active";
        let (Some((member, cron_job)), true, true) = (cron_jobs.pop(), cron_jobs.is_empty(), active) else {
            return Ok(Seen::NotYet(format!("{} CronJobs; ledger: {}", cron_jobs.len(), ledger["status"])));
        };
        if member != text(&ledger, "/status/grant/cluster") || cron_job["spec"]["suspend"] != false {
            return Ok(Seen::NotYet(format!("CronJob in {member}: {}", cron_job["spec"]["suspend"])));
        }
        let found = Maintained { name, member, ledger, cron_job };
        if is(&found) {
            return Ok(Seen::Done(found));
        }
        Ok(Seen::NotYet(format!("ledger {}, CronJob {}", found.ledger["status"], found.cron_job)))
    }

    /// Waits until nothing of this name stands anywhere: no CronJob, no Secret, no CA.
    pub async fn gone(&self, name: &str) -> Result<(), Fail> {
        wait_for(&format!("{name} to be gone everywhere"), SETTLED, async || {
            let mut left = Vec::new();
            for member in &self.fleet.members {
                for path in ["/apis/batch/v1/namespaces/volsync-system/cronjobs", SECRETS] {
                    let all = items(member, path).await?;
                    left.extend(all.iter().map(name_of).filter(|it| it.starts_with(name)).map(str::to_owned));
                }
            }
            Ok(Seen::when(left.is_empty(), format!("{left:?}")))
        })
        .await
    }

    /// Starts a run as a user does who can't wait for the schedule, and returns the Job's name.
    pub async fn run(&self, repository: &Maintained, name: &str) -> Result<(), Fail> {
        let command = format!("create job {name} -n volsync-system --from=cronjob/{}", repository.name);
        self.fleet.member(&repository.member)?.shell.kubectl(&command).await?.ok().map(drop)
    }

    /// Waits until the ledger has a number of runs of a bucket, and returns them, latest first.
    pub async fn runs(&self, bucket: &str, number: usize) -> Result<Vec<Value>, Fail> {
        wait_for(&format!("{number} runs of {bucket} in the ledger"), SETTLED, async || {
            let ledger = self.repository(bucket).await?.unwrap_or_default();
            let runs = ledger["status"]["runs"].as_array().cloned().unwrap_or_default();
            Ok(if runs.len() >= number { Seen::Done(runs) } else { Seen::NotYet(ledger["status"].to_string()) })
        })
        .await
    }
}

pub const SECRETS: &str = "/api/v1/namespaces/volsync-system/secrets";

/// What stands for a repository that is maintained.
#[derive(Debug)]
pub struct Maintained {
    /// Of the CronJob and of the Secret.
    pub name: String,
    pub member: String,
    pub ledger: Value,
    pub cron_job: Value,
}

impl Maintained {
    pub fn policy(&self) -> &str {
        text(&self.ledger, "/status/policy")
    }

    pub fn schedule(&self) -> &str {
        text(&self.cron_job, "/spec/schedule")
    }

    /// The Pod of a run.
    pub fn pod(&self) -> &Value {
        &self.cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    }
}

/// Starts a hub and waits until it is ready.
pub async fn hub(fleet: &Fleet) -> Result<Hub, Fail> {
    replica(fleet, "").await
}

/// One of several replicas, and the name of its log.
pub async fn replica(fleet: &Fleet, name: &str) -> Result<Hub, Fail> {
    let mut args = vec![TIME_FACTOR.into(), "--time-zone=UTC".into(), "--log=info,volsync_hub=debug".into()];
    args.push(format!("--replica={}", if name.is_empty() { "volsync-hub" } else { name }));
    let options = Options { args, name: name.to_owned(), ..Options::default() };
    let mut hub = Hub::start(fleet, &options)?;
    hub.ready().await?;
    Ok(hub)
}

/// Half a day away, so that no run starts by itself while a test looks. The same for all tests of a run, also where it
/// goes on into the next hour; at no full hour, as the default is, which nobody would see to be a policy's.
pub fn far_schedule() -> &'static str {
    static SCHEDULE: LazyLock<String> = LazyLock::new(|| {
        let hour = Timestamp::now().to_zoned(TimeZone::UTC).hour();
        format!("13 {} * * *", (hour + 12) % 24)
    });
    &SCHEDULE
}

/// A policy for the sources of one namespace, and more lines of its spec.
pub fn policy(name: &str, namespace: &str, more: &[&str]) -> String {
    let more: String = more.iter().flat_map(|line| ["  ", line, "\n"]).collect();
    format!(
        "---\napiVersion: volsync.backube/v1alpha1\nkind: KopiaMaintenance\nmetadata: {{name: {name}}}\nspec:\n  \
         repositorySelector: {{repository: \"*\", namespaceSelector: {{matchNames: [{namespace}]}}}}\n{more}"
    )
}

pub async fn get(cluster: &Cluster, path: &str) -> Result<Value, Fail> {
    Ok(cluster.client.request(http::Request::get(path).body(Vec::new())?).await?)
}

/// None where it is not there.
pub async fn find(cluster: &Cluster, path: &str) -> Result<Option<Value>, Fail> {
    match cluster.client.request(http::Request::get(path).body(Vec::new())?).await {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub async fn items(cluster: &Cluster, path: &str) -> Result<Vec<Value>, Fail> {
    let list = get(cluster, path).await?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

pub fn name_of(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `bucket` as a whole word of a location.
fn names_bucket(location: &str, bucket: &str) -> bool {
    location.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').any(|word| word == bucket)
}

//! A fleet whose hub several journeys use at once, and what they look at while it works.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{OnceCell, RwLock};

use crate::harness::Fail;
use crate::harness::cluster::Cluster;
use crate::harness::control_plane::base64;
use crate::harness::fleet::Fleet;
use crate::harness::hub::{Hub, Options};
use crate::harness::objects::{PASSWORD, SECRET_KEY};
use crate::harness::wait::{Seen, wait_for};

/// From an object that is applied to what the hub makes of it in a member, with a claim in between, while other
/// control planes share the cores.
pub const LONG: Duration = Duration::from_mins(3);

/// Names that the hub gives in these tests: they stand in Kopia's owner records.
pub const HUB_ID: &str = "stage";

/// Divides the waits of the protocol: read-backs follow at once, a former owner is waited for 5 s, a Secret that
/// failed rests for a minute.
pub const TIME_FACTOR: u32 = 60;

/// A fleet with a running hub.
pub struct Stage {
    pub fleet: Fleet,
    /// The kubeconfig directory of the hub: a member counts once its file is here.
    pub registered: PathBuf,
    /// Held for writing by whoever stops and starts it, for reading by whoever needs it to run.
    pub hub: RwLock<Option<Hub>>,
}

impl Stage {
    /// The stage that journeys share: `member-a` and `member-b` are registered, `member-c` is not.
    pub async fn shared() -> Result<&'static Self, Fail> {
        static SHARED: OnceCell<Stage> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| async {
                let stage = Self::set("stage", &["member-a", "member-b", "member-c"]).await?;
                stage.register("member-a")?;
                stage.register("member-b")?;
                *stage.hub.write().await = Some(stage.start_hub(&[]).await?);
                Ok(stage)
            })
            .await
    }

    /// The stage of journeys that have the whole hub to themselves: `member-a` is registered, and a hub runs for
    /// as long as a journey holds it.
    pub async fn of_policies() -> Result<&'static Self, Fail> {
        static SHARED: OnceCell<Stage> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| async {
                let stage = Self::set("policies", &["member-a"]).await?;
                stage.register("member-a")?;
                Ok(stage)
            })
            .await
    }

    /// A fleet with no member registered, and no hub yet.
    pub async fn set(name: &str, members: &[&str]) -> Result<Self, Fail> {
        Self::set_with(name, members, &[], &[]).await
    }

    /// The same with some members on the oldest Kubernetes that is supported, and with more flags for each API server.
    pub async fn set_with(name: &str, members: &[&str], oldest: &[&str], flags: &[&str]) -> Result<Self, Fail> {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let fleet = Fleet::start_with(name, members, oldest, |_| Ok(flags)).await?;
        let registered = fleet.dir.join("registered");
        fs::create_dir_all(&registered)?;
        Ok(Self { fleet, registered, hub: RwLock::new(None) })
    }

    /// Starts a hub and waits until it is ready.
    pub async fn start_hub(&self, args: &[&str]) -> Result<Hub, Fail> {
        let mut hub = Hub::start(&self.fleet, &self.hub_options(args))?;
        hub.ready().await?;
        Ok(hub)
    }

    /// What a hub of this stage is started with.
    pub fn hub_options(&self, args: &[&str]) -> Options {
        self.hub_options_at(TIME_FACTOR, args)
    }

    /// The same, with waits that are divided by another factor.
    pub fn hub_options_at(&self, time_factor: u32, args: &[&str]) -> Options {
        let id = format!("--hub-id={HUB_ID}");
        self.options(time_factor, &[&[id.as_str()], args].concat())
    }

    /// Starts one that keeps its id in the ConfigMap, as an installation does.
    pub async fn start_hub_without_id(&self, args: &[&str]) -> Result<Hub, Fail> {
        let mut hub = Hub::start(&self.fleet, &self.options(TIME_FACTOR, args))?;
        hub.ready().await?;
        Ok(hub)
    }

    fn options(&self, time_factor: u32, args: &[&str]) -> Options {
        // Everything here is on loopback addresses, which no Secret may point the hub at otherwise.
        let usual = ["--allow-loopback".to_owned(), format!("--time-factor={time_factor}")];
        Options {
            args: usual.into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect(),
            kubeconfigs: Some(self.registered.clone()),
            ..Options::default()
        }
    }

    /// Puts the kubeconfig that was made for a member where the hub finds it.
    pub fn register(&self, member: &str) -> Result<(), Fail> {
        self.write_registration(member, &fs::read(self.fleet.kubeconfig_of(member))?)
    }

    /// Replaces a registration as a careful user does: never half a file.
    pub fn write_registration(&self, member: &str, kubeconfig: &[u8]) -> Result<(), Fail> {
        let whole = self.fleet.dir.join(format!("{member}.new"));
        fs::write(&whole, kubeconfig)?;
        Ok(fs::rename(whole, self.registered.join(format!("{member}.yaml")))?)
    }

    pub fn unregister(&self, member: &str) -> Result<(), Fail> {
        Ok(fs::remove_file(self.registered.join(format!("{member}.yaml")))?)
    }

    pub fn member(&self, name: &str) -> Result<&Cluster, Fail> {
        self.fleet.member(name)
    }

    /// Deletes every policy, waits until nothing of them is left in a member, and stops the hub.
    pub async fn clear(&self, hub: &mut Option<Hub>, member: &Cluster) -> Result<(), Fail> {
        self.fleet.hub.shell.kubectl("delete kopiamaintenance --all").await?.ok()?;
        let ours = "?labelSelector=hub.volsync.backube/repository";
        wait_for("everything that was pushed to be gone", LONG, async || {
            let cron_jobs = format!("/apis/batch/v1/namespaces/volsync-system/cronjobs{ours}");
            let secrets = format!("/api/v1/namespaces/volsync-system/secrets{ours}");
            let mut left = Vec::new();
            for path in [cron_jobs, secrets] {
                let items = object(member, &path).await?["items"].as_array().cloned().unwrap_or_default();
                left.extend(items.iter().map(|item| item["metadata"]["name"].to_string()));
            }
            Ok(Seen::when(left.is_empty(), left.join(", ")))
        })
        .await?;
        hub.take().ok_or("no hub runs")?.stop().map(drop)
    }

    /// What the hubs of this stage have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.fleet.dir.join("volsync-hub.log")).unwrap_or_default()
    }

    pub async fn policy(&self, name: &str) -> Result<Value, Fail> {
        object(&self.fleet.hub, &format!("/apis/volsync.backube/v1alpha1/kopiamaintenances/{name}")).await
    }

    pub async fn member_cluster(&self, name: &str) -> Result<Value, Fail> {
        object(&self.fleet.hub, &format!("/apis/hub.volsync.backube/v1alpha1/memberclusters/{name}")).await
    }

    /// The KopiaRepository of a bucket, whatever its name is.
    pub async fn repository(&self, bucket: &str) -> Result<Value, Fail> {
        let list = object(&self.fleet.hub, "/apis/hub.volsync.backube/v1alpha1/kopiarepositories").await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let is = |one: &Value| {
            let location = one["status"]["location"].as_str().unwrap_or_default();
            location.split(['/', ' ', ':', '?', '=']).any(|part| part == bucket)
        };
        let seen: Vec<_> = items.iter().map(|one| one["status"]["location"].to_string()).collect();
        items.into_iter().find(is).ok_or_else(|| format!("no KopiaRepository of {bucket} among {seen:?}").into())
    }

    /// Waits until the KopiaRepository of a bucket is as wanted.
    pub async fn repository_when(
        &self,
        bucket: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value, Fail> {
        wait_for(&format!("the repository {bucket} {what}"), LONG, async || {
            let seen = self.repository(bucket).await?;
            Ok(if wanted(&seen["status"]) { Seen::Done(seen) } else { Seen::NotYet(seen["status"].to_string()) })
        })
        .await
    }

    /// Waits until the repository is maintained: claimed, waited for, and its CronJob let go.
    pub async fn maintained(&self, bucket: &str) -> Result<Value, Fail> {
        self.repository_when(bucket, "to be maintained", |status| status["grant"]["phase"] == "Active").await
    }

    /// Waits until it is maintained and its CronJob has been let go, which the ledger says a moment earlier.
    pub async fn let_go(&self, bucket: &str) -> Result<(), Fail> {
        let status = self.maintained(bucket).await?["status"].clone();
        let holder = self.member(status["grant"]["cluster"].as_str().unwrap_or_default())?;
        let id = id(&self.repository(bucket).await?);
        wait_for(&format!("the CronJob of {bucket} to be let go"), LONG, async || {
            let seen = cron_job(holder, &id).await?;
            Ok(Seen::when(seen["spec"]["suspend"] == false, seen["spec"].to_string()))
        })
        .await
    }

    /// Waits until a condition of a policy or MemberCluster has this status and reason; returns its message.
    pub async fn condition(
        &self,
        object: impl AsyncFn() -> Result<Value, Fail>,
        (kind, status, reason): (&str, &str, &str),
    ) -> Result<String, Fail> {
        wait_for(&format!("the condition {kind}={status}, {reason}"), LONG, async || {
            let seen = object().await?;
            let found = condition(&seen, kind);
            let is = found["status"] == status && found["reason"] == reason;
            let message = found["message"].as_str().unwrap_or_default().to_owned();
            Ok(if is { Seen::Done(message) } else { Seen::NotYet(seen["status"]["conditions"].to_string()) })
        })
        .await
    }

    pub async fn member_condition(&self, member: &str, wanted: (&str, &str, &str)) -> Result<String, Fail> {
        self.condition(async || self.member_cluster(member).await, wanted).await
    }

    pub async fn policy_condition(&self, policy: &str, wanted: (&str, &str, &str)) -> Result<String, Fail> {
        self.condition(async || self.policy(policy).await, wanted).await
    }

    /// Nothing that people read holds a password or a key, in any form: logs, our objects, Events, and what is
    /// pushed but for the Secrets themselves.
    pub async fn assert_discreet(&self) -> Result<(), Fail> {
        let mut told = vec![("the hub's log".to_owned(), self.log())];
        for cluster in self.fleet.clusters() {
            let mut kinds = "events,configmaps,serviceaccounts,cronjobs,jobs,pods".to_owned();
            if cluster.name == self.fleet.hub.name {
                kinds += ",kopiamaintenances,kopiarepositories,memberclusters";
            }
            let objects = cluster.shell.kubectl(&format!("get {kinds} -A -o json")).await?.ok()?;
            told.push((format!("an object in {}", cluster.name), objects));
        }
        for (place, text) in told {
            for value in [PASSWORD, SECRET_KEY] {
                let encoded = base64(value);
                let found = text.contains(value) || text.contains(encoded.trim_end_matches('='));
                assert!(!found, "{place} holds a password or a key of a repository");
            }
        }
        Ok(())
    }
}

/// One object of a cluster, by its path, as the administrator sees it.
pub async fn object(cluster: &Cluster, path: &str) -> Result<Value, Fail> {
    Ok(cluster.client.request(http::Request::get(path).body(Vec::new())?).await?)
}

/// One condition of an object; null where it has none of this kind.
pub fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|it| it["type"] == kind).cloned().unwrap_or_default()
}

/// The id in the name of a KopiaRepository, which labels everything that is pushed for it.
pub fn id(repository: &Value) -> String {
    let name = repository["metadata"]["name"].as_str().unwrap_or_default();
    name.trim_start_matches("kr-").to_owned()
}

/// The CronJob of a repository in a member; null where there is none.
pub async fn cron_job(member: &Cluster, id: &str) -> Result<Value, Fail> {
    let path =
        format!("/apis/batch/v1/namespaces/volsync-system/cronjobs?labelSelector=hub.volsync.backube/repository={id}");
    Ok(object(member, &path).await?["items"][0].clone())
}

/// A policy in selector mode for Secrets whose names match; `more` are further lines of its spec.
pub fn policy(name: &str, secrets: &str, more: &str) -> String {
    let more = more.replace('\n', "\n  ");
    format!(
        "---\napiVersion: volsync.backube/v1alpha1\nkind: KopiaMaintenance\nmetadata: {{name: {name}}}\nspec:\n  \
         repositorySelector: {{repository: {secrets:?}}}\n  {more}\n"
    )
}

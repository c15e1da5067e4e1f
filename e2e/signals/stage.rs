//! Two members and a hub whose API servers send their traces to a collector of the test, and one hub at a time on them.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::harness::Fail;
use crate::harness::collector::{Collector, Span};
use crate::harness::fleet::Fleet;
use crate::harness::hub::{Hub, Options};
use crate::harness::pki::Authority;
use crate::harness::wait::{PATIENCE, Seen, wait_for};

/// What goes over a claim, while other control planes share the cores.
pub const LONG: Duration = Duration::from_mins(3);

pub const NORTH: &str = "north";
pub const SOUTH: &str = "south";

/// The fleet, and what it sends its traces to.
pub struct Stage {
    pub fleet: Fleet,
    pub collector: Collector,
    /// The authority that the collector's certificate comes from.
    pub authority: PathBuf,
    turn: Mutex<()>,
}

impl Stage {
    /// Shared by journeys that take turns.
    pub async fn shared() -> Result<&'static Self, Fail> {
        static SHARED: OnceCell<Stage> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    async fn start() -> Result<Self, Fail> {
        let authority = Authority::new("collector")?;
        let collector = Collector::start(&authority.server("collector")?).await?;
        let port = collector.port;
        let fleet = Fleet::start_with("signals", &[NORTH, SOUTH], &[], |dir| {
            let file = dir.join("tracing.yaml");
            // Everything, whatever the client decided for itself.
            let tracing = format!(
                "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n\
                 endpoint: 127.0.0.1:{port}\nsamplingRatePerMillion: 1000000\n"
            );
            std::fs::write(&file, tracing)?;
            Ok(vec![format!("--tracing-config-file={}", file.display())])
        });
        let fleet = fleet.await?;
        let file = fleet.dir.join("collector-ca.crt");
        std::fs::write(&file, authority.certificate_pem())?;
        Ok(Self { fleet, collector, authority: file, turn: Mutex::default() })
    }

    /// From now on this journey's hub is the only one.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// A hub that sends its traces to the collector.
    pub async fn hub(&self, name: &str, args: &[&str]) -> Result<Hub, Fail> {
        self.hub_of(name, None, (args, &[])).await
    }

    /// One with members of its own, and more variables.
    pub async fn hub_of(
        &self,
        name: &str,
        kubeconfigs: Option<PathBuf>,
        (args, env): (&[&str], &[(&str, &str)]),
    ) -> Result<Hub, Fail> {
        let usual = ["--allow-loopback", "--hub-id=signals", "--time-factor=300", "--time-zone=UTC"];
        let usual_env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://localhost:{}", self.collector.tls_port)),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", self.authority.display().to_string()),
            ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
            ("OTEL_SERVICE_NAME", name.to_owned()),
        ];
        let usual_env = usual_env.into_iter().map(|(name, value)| (name.to_owned(), value));
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let options = Options {
            args: usual.iter().chain(args).map(|arg| (*arg).to_owned()).collect(),
            env: usual_env.chain(env).collect(),
            kubeconfigs,
            name: name.to_owned(),
        };
        let mut hub = Hub::start(&self.fleet, &options)?;
        hub.ready().await?;
        // What is changed before that is one of many causes of the first look.
        wait_for("the hub to have looked at the whole fleet", LONG, async || {
            Ok(Seen::when(hub.log_text().contains("the fleet has been looked at"), "not yet"))
        })
        .await?;
        Ok(hub)
    }

    /// Waits for something among the spans.
    pub async fn spans<T>(&self, what: &str, look: impl Fn(&[Span]) -> Result<T, String>) -> Result<T, Fail> {
        let found = wait_for(what, PATIENCE, async || {
            Ok(match look(&self.collector.spans()) {
                Ok(found) => Seen::Done(found),
                Err(seen) => Seen::NotYet(seen),
            })
        });
        let found = found.await;
        if found.is_err() {
            let lines: Vec<_> = self.collector.spans().iter().map(|span| format!("{span:?}\n")).collect();
            std::fs::write(self.fleet.dir.join("spans.txt"), lines.concat())?;
        }
        found
    }

    /// The KopiaRepository of a bucket as soon as it is as wanted.
    pub async fn repository(&self, bucket: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, Fail> {
        wait_for(&format!("the repository in {bucket} {what}"), LONG, async || {
            let list = "/apis/hub.volsync.backube/v1alpha1/kopiarepositories";
            let list = object(&self.fleet.hub.client, list).await?;
            let all = list["items"].as_array().cloned().unwrap_or_default();
            let of_bucket = |one: &&Value| one["status"]["location"].to_string().contains(bucket);
            let found = all.iter().find(of_bucket).cloned().unwrap_or_default();
            Ok(if wanted(&found["status"]) { Seen::Done(found) } else { Seen::NotYet(found["status"].to_string()) })
        })
        .await
    }
}

/// One object by its path, as the administrator sees it.
pub async fn object(client: &kube::Client, path: &str) -> Result<Value, Fail> {
    Ok(client.request(http::Request::get(path).body(Vec::new())?).await?)
}

/// The CronJob of a policy's repository that may run.
pub async fn cron_job(stage: &Stage, policy: &str) -> Result<Value, Fail> {
    let list = "/apis/batch/v1/namespaces/volsync-system/cronjobs";
    let list = object(&stage.fleet.member(NORTH)?.client, list).await?;
    let all = list["items"].as_array().cloned().unwrap_or_default();
    let is = |it: &&Value| {
        it["metadata"]["annotations"]["hub.volsync.backube/policy"] == policy && it["spec"]["suspend"] == false
    };
    all.iter().find(is).cloned().ok_or_else(|| format!("no CronJob of policy {policy}").into())
}

/// A run as kubectl makes one; returns its Job's name.
pub async fn run_by_hand(stage: &Stage, policy: &str) -> Result<String, Fail> {
    let cron_job = wait_for("a CronJob that may run", LONG, async || Ok(Seen::Done(cron_job(stage, policy).await?)));
    let from = cron_job.await?["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let name = format!("{policy}-run");
    let create = format!("create job {name} -n volsync-system --from=cronjob/{from}");
    stage.fleet.member(NORTH)?.shell.kubectl(&create).await?.ok()?;
    Ok(name)
}

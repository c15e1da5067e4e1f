//! A hub and a member in this process, with the controller between them and the member's own controllers at work.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::run::{self, Options};
use crate::controller::engine::Settings;
use crate::demo::Clock;
use crate::demo::repositories::Repositories;
use crate::demo::workload::Workload;
use crate::plan::fleet::PlanOptions;
use crate::plan::testing::{Fixture, options};
use crate::policy::PolicyRules;
use crate::shard::Share;
use crate::sim::SimCluster;
use crate::web::Health;

pub const NAMESPACE: &str = "volsync-system";
pub const POLICY: (&str, &str) = ("volsync.backube", "kopiamaintenances");
const PATIENCE: Duration = Duration::from_mins(4);

pub type Controller = (CancellationToken, JoinHandle<Result<(), String>>);

pub struct Bench {
    pub hub: SimCluster,
    pub member: SimCluster,
    time_factor: u32,
    max_claims: usize,
    pub repositories: Repositories,
    folder: tempfile::TempDir,
    controller: Option<Controller>,
    stop: CancellationToken,
    _stop: DropGuard,
}

/// The Secret of a repository in a bucket.
pub fn secret(namespace: &str, name: &str, bucket: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": {
        "KOPIA_REPOSITORY": format!("s3://{bucket}/"), "KOPIA_PASSWORD": "password",
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}})
}

/// The id of the repository in a bucket.
pub fn id(bucket: &str) -> String {
    Fixture::new(&["eu"]).source("eu/default/db", bucket).id_of("eu/default/db").to_string()
}

/// Where the stand-in for the repository in a bucket lies.
pub fn place_of(bucket: &str) -> String {
    format!("s3 s3.amazonaws.com {bucket}")
}

pub fn name(bucket: &str) -> String {
    format!("kopia-maintenance-{}", id(bucket))
}

impl Bench {
    pub async fn start(time_factor: u32) -> Self {
        Self::start_with(time_factor, 50).await
    }

    /// One that maintains the repository in a bucket by now.
    pub async fn maintaining(bucket: &str) -> Self {
        let bench = Self::start(60).await;
        bench.back_up(bucket, &json!({}));
        bench.policy(&json!({}));
        bench.maintained().await;
        bench
    }

    pub async fn start_with(time_factor: u32, max_claims: usize) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let hub = SimCluster::start("hub").await.unwrap();
        let actor = hub.actor("test");
        for definition in [
            include_str!("../../../deploy/crds/kopiamaintenances.yaml"),
            include_str!("../../../deploy/crds/kopiarepositories.yaml"),
            include_str!("../../../deploy/crds/memberclusters.yaml"),
        ] {
            actor.apply(&serde_saphyr::from_str(definition).unwrap()).unwrap();
        }
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        actor.create(namespace).unwrap();
        let member = crate::member::tests::world::cluster("eu", &[]).await;
        let (repositories, stop) = (Repositories::default(), CancellationToken::new());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("eu.yaml"), member.kubeconfig_yaml()).unwrap();
        let mut bench = Self {
            hub,
            member,
            time_factor,
            max_claims,
            repositories,
            folder,
            controller: None,
            stop: stop.clone(),
            _stop: stop.drop_guard(),
        };
        bench.work_in(&bench.member);
        bench.run().await;
        bench
    }

    pub async fn run(&mut self) {
        self.controller = Some(self.replica(self.options()).await);
    }

    async fn replica(&self, options: Options) -> Controller {
        let kubeconfig = self.hub.kubeconfig().unwrap();
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await;
        let stop = CancellationToken::new();
        let running = run::run(config.unwrap(), options, Arc::new(Health::default()), stop.clone());
        (stop, tokio::spawn(running))
    }

    /// One more replica, which writes to a part of the members in a folder of its own.
    pub async fn replica_of(&self, folder: &Path, share: Share) -> Controller {
        let mut options = Options { kubeconfig_dir: Some(folder.to_owned()), ..self.options() };
        options.settings.share = share;
        self.replica(options).await
    }

    pub async fn stop(&mut self) {
        let (stop, running) = self.controller.take().unwrap();
        stop.cancel();
        running.await.unwrap().unwrap();
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    fn options(&self) -> Options {
        Options {
            kubeconfig_dir: Some(self.folder.path().to_owned()),
            include_hub: None,
            namespace: NAMESPACE.to_owned(),
            hub_id: Some("hub-t".to_owned()),
            new_hub_id: String::new(),
            identity: "test".to_owned(),
            leader_election: false,
            volsync_namespace: NAMESPACE.to_owned(),
            allow_exec: false,
            allow_loopback: false,
            rules: PolicyRules::default(),
            plan: PlanOptions { endpoint_aliases: BTreeMap::new(), time_factor: self.time_factor, ..options() },
            settings: Settings {
                hub_id: String::new(),
                namespace: NAMESPACE.to_owned(),
                member_namespace: NAMESPACE.to_owned(),
                observe: false,
                mover_image: Some("mover:1".to_owned()),
                max_claims: self.max_claims,
                shrink_hold: Duration::from_mins(10),
                rollout_wave: jiff::SignedDuration::from_hours(24),
                time_factor: self.time_factor,
                grant_factor: self.time_factor,
                share: Share::Whole,
            },
        }
    }

    /// Registers one more member, which has a source of the repository in a bucket.
    pub async fn also_backed_up_in(&self, name: &str, bucket: &str) -> SimCluster {
        let member = crate::member::tests::world::cluster(name, &[]).await;
        self.apply(&member, &secret("default", "repo", bucket));
        self.apply(&member, &crate::member::tests::world::source("db"));
        self.register(name, &member);
        member
    }

    /// Registers one more member, with nothing in it.
    pub async fn joins(&self, name: &str) -> SimCluster {
        let member = crate::member::tests::world::cluster(name, &[]).await;
        self.register(name, &member);
        member
    }

    fn register(&self, name: &str, member: &SimCluster) {
        std::fs::write(self.folder.path().join(format!("{name}.yaml")), member.kubeconfig_yaml()).unwrap();
    }

    /// Runs the Jobs of a member.
    pub fn work_in(&self, member: &SimCluster) {
        let workload = Workload::new(member, Clock::starting_now(1), self.repositories.clone());
        tokio::spawn(workload.run(self.stop.clone()));
    }

    pub fn hub_apply(&self, object: &Value) {
        self.apply(&self.hub, object);
    }

    pub fn member_apply(&self, object: &Value) {
        self.apply(&self.member, object);
    }

    pub fn apply(&self, cluster: &SimCluster, object: &Value) {
        if object["kind"] == "Secret"
            && let Some(place) = object["stringData"]["KOPIA_REPOSITORY"].as_str()
        {
            let place = place_of(place.trim_start_matches("s3://").trim_end_matches('/'));
            if self.repositories.get(&place).is_none() {
                self.repositories.create(&place, "password", "maintenance@volsync");
            }
        }
        cluster.actor("user").apply(object).unwrap();
    }

    /// A source of a repository in a bucket; `kopia` adds to its `spec.kopia`.
    pub fn back_up(&self, bucket: &str, kopia: &Value) {
        self.back_up_as("db", "repo", bucket, kopia);
    }

    /// One more source, with a Secret of its own.
    pub fn back_up_as(&self, source: &str, repo: &str, bucket: &str, kopia: &Value) {
        self.member_apply(&secret("default", repo, bucket));
        let mut source = crate::member::tests::world::source(source);
        source["spec"]["kopia"]["repository"] = repo.into();
        source["spec"]["kopia"].as_object_mut().unwrap().extend(kopia.as_object().unwrap().clone());
        self.member_apply(&source);
    }

    /// The policy `nightly`, which selects everything but where `more` says otherwise, and never fires by itself.
    pub fn policy(&self, more: &Value) {
        let mut spec = json!({"repositorySelector": {"repository": "*"}, "schedule": "0 0 29 2 *"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.hub_apply(&json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance",
            "metadata": {"name": "nightly"}, "spec": spec}));
    }

    /// A Job made from the CronJob by hand.
    pub fn job_of(&self, bucket: &str, suspend: bool) -> String {
        let mut template = self.cron_job(bucket).unwrap()["spec"]["jobTemplate"].clone();
        template["apiVersion"] = "batch/v1".into();
        template["kind"] = "Job".into();
        template["metadata"]["name"] = "by-hand".into();
        template["metadata"]["namespace"] = NAMESPACE.into();
        template["spec"]["suspend"] = suspend.into();
        self.member.actor("user").create(template).unwrap();
        "by-hand".to_owned()
    }

    pub fn get_of(&self, group: &str, plural: &str, name: &str) -> Option<Value> {
        self.member.actor("user").get(group, plural, NAMESPACE, name)
    }

    pub fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.get_of("", plural, name)
    }

    pub fn cron_job(&self, bucket: &str) -> Option<Value> {
        self.get_of("batch", "cronjobs", &name(bucket))
    }

    pub fn list(&self, plural: &str) -> Vec<Value> {
        let group = if plural == "jobs" { "batch" } else { "" };
        self.member.actor("user").list(group, plural)
    }

    /// The status of the first KopiaRepository.
    pub fn ledger(&self) -> Option<Value> {
        let mut found = self.hub.actor("user").list("hub.volsync.backube", "kopiarepositories").into_iter();
        found.next().map(|object| object["status"].clone())
    }

    /// The KopiaRepository of a bucket.
    pub fn repository(&self, bucket: &str) -> Option<Value> {
        let name = format!("kr-{}", id(bucket));
        self.hub.actor("user").get("hub.volsync.backube", "kopiarepositories", "", &name)
    }

    pub async fn until<T>(&self, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(Instant::now() < deadline, "it did not happen: {what}; ledger: {:?}", self.ledger());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn maintained(&self) {
        let active = |status: &Value| status["grant"]["phase"] == "Active";
        self.until("it is granted", || self.ledger().filter(active)).await;
        self.until("its CronJob is let go", || {
            let cron_jobs = self.member.actor("user").list("batch", "cronjobs");
            cron_jobs.iter().any(|it| it["spec"]["suspend"] == false).then_some(())
        })
        .await;
    }

    /// Changes the spec of the first KopiaRepository.
    pub fn lever(&self, spec: &Value) {
        let kind = ("hub.volsync.backube", "kopiarepositories");
        let name = self.hub.actor("user").list(kind.0, kind.1)[0]["metadata"]["name"].as_str().unwrap().to_owned();
        self.hub.actor("user").merge(kind, ("", &name), &json!({"spec": spec})).unwrap();
    }

    /// Whether two runs were in the only repository at once is known to it alone.
    pub fn never_two_at_once(&self) {
        let repositories = self.repositories.all();
        assert!(repositories.values().all(|it| it.collisions == 0), "{repositories:?}");
    }

    /// Waits until the repository is not maintained for this reason; returns what people are told.
    pub async fn reason(&self, reason: &str) -> String {
        self.until(&format!("it is not maintained: {reason}"), || {
            let status = self.ledger()?;
            let conditions = status["conditions"].as_array()?;
            let maintained = conditions.iter().find(|it| it["type"] == "Maintained" && it["reason"] == reason)?;
            Some(maintained["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// Waits until nothing has been written to the member for three seconds; returns its version.
    pub async fn settled(&self) -> u64 {
        let mut last = (self.member.store().resource_version(), Instant::now());
        while last.1.elapsed() < Duration::from_secs(3) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.member.store().resource_version();
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        last.0
    }
}

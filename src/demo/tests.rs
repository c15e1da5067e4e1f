//! The simulated controllers of a member, fed by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fleet::DemoFleet;
use super::mover::location;
use super::objects::{CRON_JOBS, JOBS, PODS, ending};
use super::repositories::Repositories;
use super::workload::Workload;
use super::{Clock, scenario};
use crate::sim::SimCluster;

const PATIENCE: Duration = Duration::from_secs(20);
const PLACE: &str = "s3 s3.example.com bucket";
const NAMESPACE: &str = "volsync-system";

/// A member with its controllers, and the repository that its Secret opens.
struct Member {
    cluster: SimCluster,
    workload: Workload,
    repositories: Repositories,
}

impl Member {
    async fn start(name: &str, repositories: &Repositories, speed: u32) -> Self {
        let cluster = SimCluster::start(name).await.unwrap();
        let actor = cluster.actor("test");
        actor.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})).unwrap();
        actor
            .create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": NAMESPACE},
                "stringData": {"KOPIA_PASSWORD": "right"}}))
            .unwrap();
        let workload = Workload::new(&cluster, Clock::starting_now(speed), repositories.clone());
        Self { cluster, workload, repositories: repositories.clone() }
    }

    fn create(&self, object: Value) {
        self.cluster.actor("test").create(object).unwrap();
    }

    async fn until<T>(&mut self, found: impl Fn(&SimCluster) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.workload.tick();
            if let Some(found) = found(&self.cluster) {
                return found;
            }
            assert!(Instant::now() < deadline, "it did not happen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The outcome in the termination message of the Pod of a Job.
    async fn outcome(&mut self, job: &str) -> Value {
        let job = job.to_owned();
        self.until(|cluster| {
            let actor = cluster.actor("test");
            ending(&actor.get(JOBS.0, JOBS.1, NAMESPACE, &job)?)?;
            let pods = actor.list(PODS.0, PODS.1);
            let pod = pods.iter().find(|pod| pod["metadata"]["ownerReferences"][0]["name"] == *job)?;
            let message = pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"].as_str()?;
            serde_json::from_str(message).ok()
        })
        .await
    }
}

fn template(role: &str, epoch: u32, member: &str) -> Value {
    let variable = |name: &str, value: String| json!({"name": name, "value": value});
    json!({"spec": {"restartPolicy": "Never", "containers": [{
        "name": "mover",
        "image": "i",
        "args": [role, "s3", "--bucket=bucket", "--endpoint=s3.example.com"],
        "env": [
            variable("HUB_ID", "h".to_owned()),
            variable("HUB_EPOCH", epoch.to_string()),
            variable("HUB_OWNER", format!("volsync-hub-{epoch}@{member}.h")),
            variable("HUB_PERMIT_REPLACES", "foreign".to_owned()),
            variable("HUB_PERMIT_ISSUED", jiff::Timestamp::now().as_second().to_string()),
            variable("HUB_PERMIT_NOT_AFTER", (jiff::Timestamp::now().as_second() + 600).to_string()),
            {"name": "KOPIA_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "KOPIA_PASSWORD"}}},
        ],
    }]}})
}

fn job(name: &str, role: &str, epoch: u32, member: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"template": template(role, epoch, member)}})
}

fn one_repository(password: &str, owner: &str) -> Repositories {
    let repositories = Repositories::default();
    repositories.create(PLACE, password, owner);
    repositories
}

#[tokio::test]
async fn a_claim_takes_a_foreign_repository_and_a_run_maintains_it() {
    let mut member = Member::start("m1", &one_repository("right", "maintenance@volsync"), 1).await;
    member.create(job("claim", "claim", 1, "m1"));
    let claimed = member.outcome("claim").await;
    assert_eq!(claimed["outcome"], "Claimed");
    assert_eq!(claimed["previousOwner"], "maintenance@volsync");
    assert_eq!(claimed["owner"], "volsync-hub-1@m1.h");
    assert_eq!(claimed["ownerWritten"], true);
    member.create(job("run", "run", 1, "m1"));
    let ran = member.outcome("run").await;
    assert_eq!(ran["outcome"], "Succeeded");
    assert_eq!(ran["uniqueID"], claimed["uniqueID"]);
    assert!(ran["reclaimedBytes"].as_u64().unwrap() > 0);
    assert_eq!(member.repositories.get(PLACE).unwrap().runs, 1);
}

#[tokio::test]
async fn a_run_is_fenced_by_a_newer_epoch_and_refused_under_a_foreign_owner() {
    let mut member = Member::start("m1", &one_repository("right", "volsync-hub-2@m2.h"), 1).await;
    member.create(job("old", "run", 1, "m1"));
    assert_eq!(member.outcome("old").await["outcome"], "Fenced");
    member.create(job("claim", "claim", 3, "m1"));
    let refused = member.outcome("claim").await;
    assert_eq!(refused["outcome"], "ClaimRefused", "a permit for foreign owners covers none of ours");
    assert_eq!(refused["ownerWritten"], false);
    member.repositories.change(PLACE, |repository| "somebody@else".clone_into(&mut repository.owner));
    member.create(job("new", "run", 3, "m1"));
    assert_eq!(member.outcome("new").await["outcome"], "NotGranted");
    assert_eq!(member.repositories.get(PLACE).unwrap().runs, 0);
}

#[tokio::test]
async fn a_wrong_password_and_a_place_without_repository_are_told_apart() {
    let mut member = Member::start("m1", &one_repository("other", "x@y"), 1).await;
    member.create(job("stale", "claim", 1, "m1"));
    assert_eq!(member.outcome("stale").await["outcome"], "AuthFailed");
    let mut member = Member::start("m1", &Repositories::default(), 1).await;
    member.create(job("nowhere", "claim", 1, "m1"));
    assert_eq!(member.outcome("nowhere").await["outcome"], "ConnectFailed");
}

#[tokio::test]
async fn a_cron_job_fires_when_it_is_due_and_not_suspended_and_keeps_its_history_short() {
    let mut member = Member::start("m1", &one_repository("right", "volsync-hub-1@m1.h"), 120).await;
    member.create(json!({"apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": "c", "namespace": NAMESPACE},
        "spec": {"schedule": "* * * * *", "timeZone": "UTC", "suspend": true, "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 60, "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {"labels": {"l": "1"}}, "spec": {"template": template("run", 1, "m1")}}}}));
    // At this speed two of its minutes pass in a second.
    let started = Instant::now();
    member.until(|_| (started.elapsed() > Duration::from_secs(1)).then_some(())).await;
    assert!(member.cluster.actor("test").list(JOBS.0, JOBS.1).is_empty(), "nothing starts while it is suspended");

    let on = json!({"spec": {"suspend": false}});
    member.cluster.actor("test").merge(CRON_JOBS, (NAMESPACE, "c"), &on).unwrap();
    let repositories = member.repositories.clone();
    member.until(|_| (repositories.get(PLACE)?.runs >= 2).then_some(())).await;
    let done = |cluster: &SimCluster| {
        let jobs = cluster.actor("test").list(JOBS.0, JOBS.1);
        let ended: Vec<_> = jobs.iter().filter(|job| ending(job) == Some("Complete")).collect();
        (ended.len() == 1).then(|| ended[0].clone())
    };
    let job = member.until(done).await;
    assert_eq!(job["metadata"]["labels"]["l"], "1");
    assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "CronJob");

    member.cluster.actor("test").delete(CRON_JOBS.0, CRON_JOBS.1, NAMESPACE, "c").unwrap();
    let empty = |kind: (&str, &str), cluster: &SimCluster| cluster.actor("test").list(kind.0, kind.1).is_empty();
    member.until(|cluster| (empty(JOBS, cluster) && empty(PODS, cluster)).then_some(())).await;
    let left = member.repositories.get(PLACE).unwrap();
    assert!(left.inside.is_empty() && left.collisions == 0, "a killed Pod is in no repository any more: {left:?}");
}

#[test]
fn a_place_is_told_by_flags_in_either_form_or_by_a_configuration() {
    let of = |arguments: &[&str]| location(arguments, None, "m1");
    assert_eq!(of(&["s3", "--endpoint", "h", "--bucket=b", "--prefix=p/"]).as_deref(), Some("s3 h b p/"));
    assert_eq!(
        of(&["s3", "--bucket=b", "--endpoint=minio.x.svc:9000"]).as_deref(),
        Some("s3 minio.x.svc:9000 b in m1")
    );
    assert_eq!(of(&["webdav", "--url=http://dav.x.svc/y"]).as_deref(), Some("webdav http://dav.x.svc/y in m1"));
    let config = json!({"type": "sftp", "config": {"host": "h", "path": "/p", "port": 22}});
    assert_eq!(location(&["from-config", "--file=/x"], Some(&config), "m1").as_deref(), Some("sftp h /p"));
    assert_eq!(of(&["unheard-of"]), None);
}

#[tokio::test]
async fn the_fleet_stands_with_its_sources_secrets_policies_and_kubeconfigs() {
    let fleet = DemoFleet::start().await.unwrap();
    let sources: usize = fleet
        .members
        .iter()
        .map(|member| member.actor("test").list("volsync.backube", "replicationsources").len())
        .sum();
    assert!((38..=45).contains(&sources), "{sources} sources");
    assert_eq!(scenario::REPOSITORIES.len(), 15);
    let hub = fleet.hub.actor("test");
    assert_eq!(hub.list("volsync.backube", "kopiamaintenances").len(), scenario::POLICIES.len());
    assert_eq!(hub.list("hub.volsync.backube", "memberclusters").len(), 5);
    let files = std::fs::read_dir(fleet.kubeconfig_dir()).unwrap().count();
    assert_eq!(files, 5);
    let folder = fleet.kubeconfig_dir();
    let up = fleet.member("paris").unwrap().client().await.unwrap();
    assert!(up.apiserver_version().await.is_ok());
    let down = fleet.member("accra").unwrap().client().await.unwrap();
    assert!(down.apiserver_version().await.is_err());
    drop(fleet);
    assert!(!folder.exists(), "the kubeconfigs go with the fleet");
}

//! The fleet that is measured: one hub, three members, and sources of which each has a repository of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::fleet::Fleet;
use crate::harness::hub::{Hub, Options};
use crate::harness::kubelet::{Answer, Rule};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{Fail, tools};
use crate::measure::paths::{CLUSTERS, CRON_JOBS, JOBS, LEDGER, PODS, POLICIES, SCHEDULE, SECRETS, ours};
use crate::measure::wire::{IN_FLIGHT, JSON, Wire};

pub const MEMBERS: [&str; 3] = ["member-a", "member-b", "member-c"];
/// Sources of one namespace; a namespace a team.
const SOURCES_A_NAMESPACE: usize = 25;
/// Repositories of each member that a policy of their own rules, beside the one for all.
pub const TUNED: usize = 14;
/// Of each member's sources so many have a repository of their own; the others share one with four more, as the
/// applications of one team do.
const ALONE: usize = 100;
const SHARING: usize = 5;
/// The hub's own limit, and the floor's.
pub const CLAIMS_MAX: usize = 50;
/// The waits of a claim and after it are nothing: every other wait is as in production.
const HUB: [&str; 4] = ["--grant-factor=1000000", "--time-zone=UTC", "--allow-loopback", "--hub-id=bench"];
/// A few thousand objects take their time to go.
const GONE: Duration = Duration::from_mins(5);

pub struct Stage {
    pub fleet: Fleet,
    pub hub: Wire,
    pub members: Vec<Wire>,
    /// Of each member.
    sources: usize,
    /// Every source has a repository of its own.
    own: bool,
    starts: usize,
}

fn namespace(number: usize) -> String {
    format!("team-{:02}", number / SOURCES_A_NAMESPACE)
}

/// The Secret of a source, by the number of the first source that has it.
fn secret_name(member: usize, number: usize) -> String {
    if number < TUNED { tuned(member, number) } else { format!("repository-{number:04}") }
}

/// The number of the first source with the same repository.
fn first(number: usize, own: bool) -> usize {
    if own || number < ALONE { number } else { number - (number - ALONE) % SHARING }
}

/// A policy, and the Secret that it selects.
pub fn tuned(member: usize, number: usize) -> String {
    format!("tuned-{member}-{number:02}")
}

pub fn policy(name: &str, secret: &str, priority: i32) -> Value {
    json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance", "metadata": {"name": name},
        "spec": {"repositorySelector": {"repository": secret}, "schedule": SCHEDULE, "priority": priority}})
}

impl Stage {
    pub async fn start(own: bool) -> Result<Self, Fail> {
        let fleet = Fleet::start("real", &MEMBERS).await?;
        let gate = Arc::new(Semaphore::new(IN_FLIGHT));
        let hub = Wire::new(&fleet.hub.control_plane.admin, gate.clone(), false).await?;
        let mut members = Vec::new();
        for member in &fleet.members {
            let claims = [("hub.volsync.backube/role", "claim")];
            let claimed =
                json!({"outcome": "Claimed", "ownerWritten": true, "runBegan": false, "epoch": 1}).to_string();
            member.kubelet.answer(Rule::new("volsync-system", &claims, Answer::AtOnce(claimed)));
            members.push(Wire::new(&member.control_plane.admin, gate.clone(), false).await?);
        }
        Ok(Self { fleet, hub, members, sources: 0, own, starts: 0 })
    }

    /// All sources there are.
    pub fn sources(&self) -> usize {
        self.sources * self.members.len()
    }

    /// All repositories that they have.
    pub fn repositories(&self) -> usize {
        (0..self.sources).filter(|number| first(*number, self.own) == *number).count() * self.members.len()
    }

    /// Adds sources until there are so many.
    pub async fn grow(&mut self, sources: usize) -> Result<(), Fail> {
        let (from, to) = (self.sources, sources / self.members.len());
        tools::say(&format!("making {} sources", (to - from) * self.members.len()));
        for member in &self.members {
            for number in (0..to).filter(|number| number % SOURCES_A_NAMESPACE == 0 && *number >= from) {
                let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(number)}});
                member.send(Method::POST, "/api/v1/namespaces", JSON, object.to_string()).await?;
            }
        }
        let all = (0..self.members.len()).flat_map(|member| (from..to).map(move |number| (member, number)));
        futures::stream::iter(all)
            .map(|(member, number)| back_up(&self.members[member], member, (number, first(number, self.own))))
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<Vec<_>>()
            .await?;
        self.sources = to;
        Ok(())
    }

    /// The hub's own objects as they are before it is started for the first time.
    pub async fn policies(&self) -> Result<(), Fail> {
        let mut wanted = vec![policy("all", "*", 0)];
        for member in 0..self.members.len() {
            wanted.extend((0..TUNED).map(|number| tuned(member, number)).map(|name| policy(&name, &name, 10)));
        }
        for policy in wanted {
            self.hub.send(Method::POST, POLICIES, JSON, policy.to_string()).await?;
        }
        Ok(())
    }

    /// Takes away all that a hub has made, and its policies.
    pub async fn clean(&self) -> Result<(), Fail> {
        tools::say("clearing away");
        let delete = async |cluster: &Wire, path: String, options: Value| {
            cluster.send(Method::DELETE, &path, JSON, options.to_string()).await
        };
        let background = || json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        for kind in [POLICIES, LEDGER, CLUSTERS] {
            delete(&self.hub, kind.to_owned(), background()).await?;
        }
        let members = self.members.iter().map(async |member| {
            delete(member, ours(CRON_JOBS), background()).await?;
            delete(member, ours(JOBS), background()).await?;
            delete(member, ours(SECRETS), background()).await?;
            let now = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
            delete(member, ours(PODS), now).await?;
            wait_for("what the hub made to be gone", GONE, async || {
                for collection in [CRON_JOBS, JOBS, SECRETS, PODS] {
                    let left = member.value(&format!("{}&limit=1", ours(collection))).await?;
                    if left["items"].as_array().is_some_and(|left| !left.is_empty()) {
                        return Ok(Seen::NotYet(format!("{collection}: {}", left["items"][0]["metadata"]["name"])));
                    }
                }
                Ok(Seen::Done(()))
            })
            .await
        });
        futures::future::try_join_all(members).await?;
        wait_for("the ledger to be gone", GONE, async || {
            let (left, _) = self.hub.list(LEDGER).await?;
            Ok(Seen::when(left.is_empty(), format!("{} left", left.len())))
        })
        .await
    }

    /// Starts the hub, and returns at once.
    pub fn start_hub(&mut self) -> Result<Hub, Fail> {
        self.starts += 1;
        let mut args: Vec<String> = HUB.iter().map(|arg| (*arg).to_owned()).collect();
        args.push(format!("--max-claims={CLAIMS_MAX}"));
        Hub::start(&self.fleet, &Options { args, name: format!("hub-{}", self.starts), ..Options::default() })
    }

    /// Waits until the hub has written nothing for a while.
    pub async fn quiet(&self) -> Result<(), Fail> {
        const QUIET: Duration = Duration::from_secs(4);
        wait_for("the hub to be quiet", GONE, async || {
            let moment = self.fleet.moment()?;
            tokio::time::sleep(QUIET).await;
            let writes = self.fleet.hub_writes(&moment)?;
            Ok(Seen::when(writes.is_empty(), format!("{} writes, the last {:?}", writes.len(), writes.last())))
        })
        .await
    }

    /// The kubeconfigs that the hub uses: of its own cluster, and of the members.
    pub fn kubeconfigs(&self) -> (PathBuf, Vec<PathBuf>) {
        let of_members = MEMBERS.iter().map(|member| self.fleet.kubeconfig_of(member)).collect();
        (self.fleet.hub_kubeconfig.clone(), of_members)
    }
}

/// A source, and its Secret where it is the first that has it.
async fn back_up(cluster: &Wire, member: usize, (number, first): (usize, usize)) -> Result<(), Fail> {
    let (namespace, secret) = (namespace(number), secret_name(member, first));
    if number == first {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": {
            "KOPIA_REPOSITORY": format!("s3://backups-{member}-{first}/"), "KOPIA_PASSWORD": "no-secret",
            "AWS_S3_ENDPOINT": "s3.example.com", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "first"}});
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        cluster.send(Method::POST, &path, JSON, object.to_string()).await?;
    }
    let object = json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
        "metadata": {"name": format!("data-{number:04}")},
        "spec": {"sourcePVC": "data", "trigger": {"schedule": "0 1 * * *"}, "kopia": {"repository": secret}}});
    let path = format!("/apis/volsync.backube/v1alpha1/namespaces/{namespace}/replicationsources");
    cluster.send(Method::POST, &path, JSON, object.to_string()).await.map(drop)
}

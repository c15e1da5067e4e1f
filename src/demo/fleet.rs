//! Starts the demo fleet: a simulated hub cluster and its members, with everything in them that the hub looks for.

use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Clock;
use super::kubeconfigs::Kubeconfigs;
use super::repositories::Repositories;
use super::scenario::{
    EVERYWHERE, HUB_SECRET, MEMBERS, MemberPlan, POLICIES, PRODUCTION, REPOSITORIES, RepositoryPlan, Use,
};
use super::standing::{self, FORMER_OWNER, apply, yaml};
use super::workload::Workload;
use crate::sim::{Actor, SimCluster};

/// In simulated members a minute passes in ten seconds: what is due every minute is seen three times in half a minute.
pub const SPEED: u32 = 6;
/// Every wait of the protocol is divided by this: five minutes become five seconds.
pub const TIME_FACTOR: u32 = 60;
/// A running demo fleet. Everything ends when it is dropped.
#[derive(Debug)]
pub struct DemoFleet {
    pub hub: SimCluster,
    pub members: Vec<SimCluster>,
    pub repositories: Repositories,
    kubeconfigs: Kubeconfigs,
    _stop: DropGuard,
}

impl DemoFleet {
    /// Starts all clusters, fills them, and begins to play their controllers.
    pub async fn start() -> io::Result<Self> {
        let repositories = Repositories::default();
        let clock = Clock::starting_now(SPEED);
        let stop = CancellationToken::new();
        let hub = SimCluster::start("hub").await?;
        fill_hub(&hub)?;
        let mut members = Vec::with_capacity(MEMBERS.len());
        for plan in MEMBERS {
            let member = SimCluster::start(plan.name).await?;
            fill_member(&member)?;
            member.faults().refuse_connections(plan.down);
            let workload = Workload::new(&member, clock, repositories.clone());
            tokio::spawn(workload.run(stop.clone()));
            members.push(member);
        }
        for repository in REPOSITORIES {
            repositories.create(repository.location, repository.password, FORMER_OWNER);
        }
        let kubeconfigs = Kubeconfigs::write(&Kubeconfigs::folder_for("demo"), &hub, &members)?;
        Ok(Self { hub, members, repositories, kubeconfigs, _stop: stop.drop_guard() })
    }

    /// One kubeconfig a member, for `--kubeconfig-dir`.
    pub fn kubeconfig_dir(&self) -> PathBuf {
        self.kubeconfigs.members()
    }
    /// The kubeconfig of the hub's own cluster.
    pub fn hub_kubeconfig(&self) -> PathBuf {
        self.kubeconfigs.hub()
    }
    /// (name, what it is there to show)
    pub fn policies(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        POLICIES.iter().map(|policy| (policy.name, policy.shows))
    }
    pub fn member(&self, name: &str) -> Option<&SimCluster> {
        self.members.iter().find(|member| member.name() == name)
    }
}

fn namespace(name: &str) -> Value {
    let labels = if PRODUCTION.contains(&name) { json!({"environment": "production"}) } else { json!({}) };
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn fill_hub(hub: &SimCluster) -> io::Result<()> {
    let actor = hub.actor("demo");
    standing::definitions_of_hub(&actor)?;
    for name in ["volsync-system", HUB_SECRET.0] {
        apply(&actor, &namespace(name))?;
    }
    for MemberPlan { name, region, .. } in MEMBERS {
        let metadata = json!({"name": name, "labels": {"region": region}});
        let object = json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "MemberCluster",
            "metadata": metadata, "spec": {}});
        apply(&actor, &object)?;
    }
    if let Some(direct) = REPOSITORIES.iter().find(|repository| repository.uses.is_empty()) {
        apply(&actor, &secret(direct, HUB_SECRET, direct.password))?;
    }
    for policy in POLICIES {
        let object = json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance",
            "metadata": {"name": policy.name}, "spec": yaml(policy.spec)?});
        apply(&actor, &object)?;
    }
    Ok(())
}

fn fill_member(member: &SimCluster) -> io::Result<()> {
    let actor = member.actor("demo");
    apply(&actor, &namespace("volsync-system"))?;
    apply(&actor, &namespace("storage"))?;
    standing::volsync(&actor)?;
    for repository in REPOSITORIES {
        for used in repository.uses.iter().filter(|used| used.member == member.name()) {
            fill_use(&actor, repository, used)?;
        }
    }
    Ok(())
}

fn fill_use(actor: &Actor, repository: &RepositoryPlan, used: &Use) -> io::Result<()> {
    apply(actor, &namespace(used.namespace))?;
    let password = if used.stale_password { "changed long ago" } else { repository.password };
    apply(actor, &secret(repository, (used.namespace, used.secret), password))?;
    for name in used.sources {
        let object = json!({
            "apiVersion": "volsync.backube/v1alpha1",
            "kind": "ReplicationSource",
            "metadata": {"name": name, "namespace": used.namespace},
            "spec": {
                "sourcePVC": name,
                "trigger": {"schedule": "0 * * * *"},
                "kopia": {"repository": used.secret, "retain": {"daily": 7}, "compression": "zstd"},
            },
            "status": {
                "lastSyncTime": "2026-11-01T00:00:00Z",
                "latestMoverStatus": {"result": "Successful", "logs": ""},
            },
        });
        apply(actor, &object)?;
    }
    Ok(())
}

fn secret(repository: &RepositoryPlan, (namespace, name): (&str, &str), password: &str) -> Value {
    let pairs = EVERYWHERE.iter().chain(repository.secret).copied().chain([("KOPIA_PASSWORD", password)]);
    let data: Map<String, Value> = pairs.map(|(key, value)| (key.to_owned(), value.into())).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "stringData": data})
}

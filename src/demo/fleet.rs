//! Starts the demo fleet: a simulated hub cluster and its members, with everything in them that the hub looks for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Clock;
use super::repositories::Repositories;
use super::scenario::{
    EVERYWHERE, HUB_SECRET, MEMBERS, MemberPlan, POLICIES, PRODUCTION, REPOSITORIES, RepositoryPlan, Use,
};
use super::workload::Workload;
use crate::sim::{Actor, SimCluster};

/// In simulated members a minute passes in ten seconds: what is due every minute is seen three times in half a minute.
pub const SPEED: u32 = 6;
/// Every wait of the protocol is divided by this: five minutes become five seconds.
pub const TIME_FACTOR: u32 = 60;
/// Who was the recorded owner of every repository before: what a backup's own mover leaves.
const FORMER_OWNER: &str = "maintenance@volsync";
const MOVER_IMAGE: &str = "registry.example.com/volsync-mover-kopia:0.22";

/// A running demo fleet. Everything ends when it is dropped.
#[derive(Debug)]
pub struct DemoFleet {
    pub hub: SimCluster,
    pub members: Vec<SimCluster>,
    pub repositories: Repositories,
    folder: Folder,
    _stop: DropGuard,
}

/// A folder of kubeconfigs, which goes with the fleet.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing of worth is in it, and the next start makes its own.
        let _ = fs::remove_dir_all(&self.0);
    }
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
        let folder = Folder::create()?;
        fs::create_dir_all(folder.0.join("members"))?;
        for cluster in &members {
            let path = folder.0.join("members").join(format!("{}.yaml", cluster.name()));
            write_private(&path, &cluster.kubeconfig_yaml())?;
        }
        write_private(&folder.0.join("hub.yaml"), &hub.kubeconfig_yaml())?;
        Ok(Self { hub, members, repositories, folder, _stop: stop.drop_guard() })
    }

    /// One kubeconfig a member, for `--kubeconfig-dir`.
    pub fn kubeconfig_dir(&self) -> PathBuf {
        self.folder.0.join("members")
    }
    /// The kubeconfig of the hub's own cluster.
    pub fn hub_kubeconfig(&self) -> PathBuf {
        self.folder.0.join("hub.yaml")
    }
    /// (name, what it is there to show)
    pub fn policies(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        POLICIES.iter().map(|policy| (policy.name, policy.shows))
    }
    pub fn member(&self, name: &str) -> Option<&SimCluster> {
        self.members.iter().find(|member| member.name() == name)
    }
}

impl Folder {
    fn create() -> io::Result<Self> {
        use std::hash::{BuildHasher, RandomState};
        let name = format!("volsync-hub-demo-{}-{:08x}", std::process::id(), RandomState::new().hash_one(0) >> 32);
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

/// Kubeconfigs hold tokens, if only simulated ones.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

fn apply(actor: &Actor, object: &Value) -> io::Result<()> {
    actor.apply(object).map(|_| ()).map_err(|refused| {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        io::Error::other(format!("put {kind} {name} into the demo fleet: {refused}"))
    })
}

fn yaml(text: &str) -> io::Result<Value> {
    serde_saphyr::from_str(text).map_err(|error| io::Error::other(format!("read YAML of the demo: {error}")))
}

fn namespace(name: &str) -> Value {
    let labels = if PRODUCTION.contains(&name) { json!({"environment": "production"}) } else { json!({}) };
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn fill_hub(hub: &SimCluster) -> io::Result<()> {
    let actor = hub.actor("demo");
    for definition in [
        include_str!("../../deploy/crds/kopiamaintenances.yaml"),
        include_str!("../../deploy/crds/kopiarepositories.yaml"),
        include_str!("../../deploy/crds/memberclusters.yaml"),
    ] {
        apply(&actor, &yaml(definition)?)?;
    }
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
    apply(&actor, &yaml(REPLICATION_SOURCES)?)?;
    apply(&actor, &namespace("volsync-system"))?;
    apply(&actor, &namespace("storage"))?;
    apply(&actor, &volsync())?;
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

/// VolSync's own Deployment, which says which mover it uses.
fn volsync() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "volsync", "namespace": "volsync-system"},
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/name": "volsync"}},
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/name": "volsync"}},
                "spec": {"containers": [{
                    "name": "manager",
                    "image": "registry.example.com/volsync:0.17",
                    "env": [{"name": "RELATED_IMAGE_KOPIA_CONTAINER", "value": MOVER_IMAGE}],
                }]},
            },
        },
    })
}

/// VolSync's kind, as open as this demo needs it.
const REPLICATION_SOURCES: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: replicationsources.volsync.backube}
spec:
  group: volsync.backube
  scope: Namespaced
  names: {kind: ReplicationSource, listKind: ReplicationSourceList, plural: replicationsources, singular: replicationsource}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Source, type: string, jsonPath: .spec.sourcePVC}
    - {name: Last sync, type: string, jsonPath: .status.lastSyncTime}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
";

//! A stand-in for the kubelet, the scheduler and the container runtime of one cluster: no node runs here.
//!
//! It binds each Pod to its one node, makes directories of the Pod's volumes, and runs the container's command
//! as an ordinary process of this machine, with the container's environment and nothing else. Then it reports
//! the Pod's status as a kubelet does and serves the logs. What it does not do: images, namespaces, cgroups,
//! users, network, probes, restarts, more than one container. A test can have it answer with an outcome of the
//! test's choice instead of running anything.

mod answer;
mod container;
mod logs;
mod pod;
mod status;
mod volumes;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use answer::{Answer, Rule};

use super::Fail;
use super::pki::Identity;

/// What the stand-in needs to know of the world outside the cluster.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Directories that come first on the PATH of every container: the stand-in for what the image has.
    pub path: Vec<PathBuf>,
    /// Variables of the image, so to speak: set in every container unless the Pod sets them. Paths of the
    /// container in them are rewritten, so that a program whose standard places are mounts finds them.
    pub env: BTreeMap<String, String>,
    /// Variables of this machine, left as they are: a path here may begin like a mount of the container.
    pub outside: BTreeMap<String, String>,
    /// Labels of the node, on top of its host name.
    pub labels: BTreeMap<String, String>,
}

/// The stand-in kubelet of one cluster. Dropping it ends every process that it started.
pub struct StandInKubelet {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

/// What the tasks of one stand-in share.
struct Shared {
    client: Client,
    node: String,
    labels: BTreeMap<String, String>,
    dir: PathBuf,
    setup: Setup,
    rules: Mutex<Vec<Rule>>,
    logs: logs::Logs,
}

impl StandInKubelet {
    pub async fn start(
        cluster: &str,
        client: Client,
        server: &Identity,
        dir: &Path,
        setup: Setup,
    ) -> Result<Self, Fail> {
        std::fs::create_dir_all(dir)?;
        let node = format!("{cluster}-stand-in");
        let logs = logs::Logs::default();
        let stop = CancellationToken::new();
        let port = logs.serve(server, stop.clone()).await?;
        let mut labels = setup.labels.clone();
        labels.insert("kubernetes.io/hostname".into(), node.clone());
        register(&client, &node, &labels, port).await?;
        let shared =
            Arc::new(Shared { client, node, labels, dir: dir.to_owned(), setup, rules: Mutex::default(), logs });
        tokio::spawn(follow(shared.clone(), stop.clone()));
        Ok(Self { shared, stop })
    }

    pub fn node(&self) -> &str {
        &self.shared.node
    }

    /// From now on, Pods that the rule is about are answered as it says. The newest rule goes first.
    pub fn answer(&self, rule: Rule) {
        self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    /// Forgets the rules about a namespace's Pods with these labels.
    pub fn forget(&self, labels: &[(&str, &str)]) {
        self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner).retain(|rule| !rule.is_about(labels));
    }
}

impl Drop for StandInKubelet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Makes the node, says where its kubelet listens, and that it is ready.
async fn register(client: &Client, name: &str, labels: &BTreeMap<String, String>, port: u16) -> Result<(), Fail> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
    nodes.create(&PostParams::default(), &node).await?;
    let capacity = json!({"cpu": "8", "memory": "32Gi", "pods": "1000"});
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": {"kubeletVersion": "stand-in", "osImage": "stand-in", "architecture": "", "bootID": "",
            "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "",
            "operatingSystem": "linux", "systemUUID": ""},
        "capacity": capacity, "allocatable": capacity,
        "conditions": [{"type": "Ready", "status": "True", "reason": "StandIn", "message": "a stand-in"}],
    }});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await?;
    // A new node is tainted until a controller that does not run here finds it ready.
    let ready = json!({"spec": {"taints": null}});
    nodes.patch(name, &PatchParams::default(), &Patch::Merge(ready)).await?;
    Ok(())
}

/// Starts a task for each Pod that appears, and stops it when the Pod is to go.
async fn follow(shared: Arc<Shared>, stop: CancellationToken) {
    let pods: Api<Pod> = Api::all(shared.client.clone());
    let tasks = TaskTracker::new();
    let running: Arc<Mutex<HashMap<String, CancellationToken>>> = Arc::default();
    let mut events = std::pin::pin!(watcher(pods, watcher::Config::default()).default_backoff());
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => break,
            event = events.try_next() => event,
        };
        let Ok(Some(event)) = event else { continue };
        let (pod, deleted) = match event {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => (pod, false),
            watcher::Event::Delete(pod) => (pod, true),
            watcher::Event::Init | watcher::Event::InitDone => continue,
        };
        let Some(uid) = pod.uid() else { continue };
        let mut known = running.lock().unwrap_or_else(PoisonError::into_inner);
        if deleted {
            if let Some(token) = known.remove(&uid) {
                token.cancel();
            }
        } else if let Some(token) = known.get(&uid) {
            if pod.metadata.deletion_timestamp.is_some() {
                token.cancel();
            }
        } else {
            let token = stop.child_token();
            if pod.metadata.deletion_timestamp.is_some() {
                token.cancel();
            }
            known.insert(uid, token.clone());
            tasks.spawn(pod::live(shared.clone(), pod, token));
        }
    }
}

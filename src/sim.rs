//! Simulated Kubernetes clusters: an API server over loopback TLS, with objects in memory, many in one process.
//!
//! No real cluster is behind it. It serves what this project's code and kubectl use of the API: reads, lists, watches,
//! patches, server-side apply, subresources, definitions of custom kinds. Left out: admission webhooks, CEL rules and
//! patterns of schemas, protobuf (but for what `kubectl create` can only send so), logs and exec. The conformance suite in `e2e/conformance` runs the same cases against
//! this server and a real one.

mod access;
mod actor;
mod admission;
mod apply;
mod body;
mod builtin;
mod discovery;
mod events;
mod failure;
mod faults;
mod fields;
mod load;
mod managed;
mod merge;
pub(crate) mod pki;
mod present;
mod protobuf;
mod read;
mod request;
mod resource;
mod schema;
mod selector;
mod serve;
mod server;
mod store;
mod structural;
mod tally;
#[cfg(test)]
mod tests;
mod watch;
mod write;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use kube::config::Kubeconfig;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use access::{Access, Rule};
pub use actor::Actor;
pub use failure::Failure;
pub use faults::{Bodies, Faults, Refusal};
pub use store::{Store, Stored};
pub use tally::{Tally, Told};

/// One simulated cluster. Clones are the same cluster; it stops when the last one is dropped.
#[derive(Clone, Debug)]
pub struct SimCluster(Arc<Running>);

#[derive(Debug)]
struct Running {
    name: String,
    address: SocketAddr,
    authority: Arc<str>,
    /// Of the user that may do everything.
    token: String,
    backend: serve::Backend,
    _stop: DropGuard,
}

impl SimCluster {
    /// Starts a cluster on a free port, with the namespaces that every cluster has.
    pub async fn start(name: &str) -> io::Result<Self> {
        Self::start_at(name, 0).await
    }

    /// The same on the given port.
    pub async fn start_at(name: &str, port: u16) -> io::Result<Self> {
        let identity = pki::identity(name, pki::LOOPBACK)?;
        let seed = RandomState::new().hash_one((Instant::now(), name, port));
        Self::start_as(name, port, seed, &identity).await
    }

    /// The same with what it is known by: one seed makes the same UIDs and tokens each time, and one identity serves
    /// many clusters.
    pub(crate) async fn start_as(name: &str, port: u16, seed: u64, identity: &pki::Identity) -> io::Result<Self> {
        let (listener, address) = server::bind(port).await?;
        let backend = serve::Backend {
            store: Store::new(seed),
            faults: Faults::default(),
            tokens: access::Tokens::default(),
            tally: Tally::default(),
        };
        let actor = backend.store.actor("kube-apiserver");
        for namespace in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            actor.create(object).map_err(io::Error::other)?;
        }
        let token = backend.store.lock().draw();
        backend.tokens.insert(token.clone(), "simulated-admin", Access::Everything);
        let stop = CancellationToken::new();
        tokio::spawn(server::run(listener, Arc::clone(&identity.config), backend.clone(), stop.clone()));
        Ok(Self(Arc::new(Running {
            name: name.to_owned(),
            address,
            authority: Arc::clone(&identity.authority),
            token,
            backend,
            _stop: stop.drop_guard(),
        })))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
    /// The UID of `kube-system`, by which clusters are told apart.
    pub fn uid(&self) -> String {
        let namespace = self.actor("observer").get("", "namespaces", "", "kube-system").unwrap_or_default();
        namespace["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
    }
    pub fn store(&self) -> &Store {
        &self.0.backend.store
    }
    pub fn faults(&self) -> &Faults {
        &self.0.backend.faults
    }
    /// What was asked of it.
    pub fn tally(&self) -> &Tally {
        &self.0.backend.tally
    }
    /// Acts inside the cluster, whatever its faults.
    pub fn actor(&self, manager: &str) -> Actor {
        self.store().actor(manager)
    }

    /// A kubeconfig of the user that may do everything, as YAML (which JSON is).
    pub fn kubeconfig_yaml(&self) -> String {
        self.kubeconfig_yaml_of(&self.0.token)
    }
    pub fn kubeconfig(&self) -> Result<Kubeconfig, kube::config::KubeconfigError> {
        Kubeconfig::from_yaml(&self.kubeconfig_yaml())
    }
    /// A client of the user that may do everything.
    pub async fn client(&self) -> kube::Result<kube::Client> {
        self.client_of(&self.0.token).await
    }
    pub async fn client_of(&self, token: &str) -> kube::Result<kube::Client> {
        let read = |error: kube::config::KubeconfigError| kube::Error::Service(Box::new(error));
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig_yaml_of(token)).map_err(read)?;
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(read)?;
        kube::Client::try_from(config)
    }
    pub fn token(&self) -> &str {
        &self.0.token
    }

    /// Makes a user and returns the token.
    pub fn add_user(&self, name: &str, access: Access) -> String {
        let token = self.store().lock().draw();
        self.0.backend.tokens.insert(token.clone(), name, access);
        token
    }
    /// Changes what a token's user may do.
    pub fn set_access(&self, token: &str, access: Access) {
        self.0.backend.tokens.set_access(token, access);
    }
    /// How often a token was used to write, whether it might or not.
    pub fn writes_by(&self, token: &str) -> u64 {
        self.0.backend.tokens.writes(token)
    }
    /// From now on this token gets 401.
    pub fn revoke(&self, token: &str) {
        self.0.backend.tokens.remove(token);
    }

    pub fn kubeconfig_yaml_of(&self, token: &str) -> String {
        use base64::Engine;
        let authority = base64::engine::general_purpose::STANDARD.encode(&*self.0.authority);
        let name = &self.0.name;
        let config: Value = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {
                "server": format!("https://{}", self.0.address),
                "certificate-authority-data": authority,
            }}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        });
        config.to_string()
    }
}

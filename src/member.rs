//! The members: finds them, keeps a client each, observes them and acts there. Decides nothing.
//!
//! [`registry`] says which members there are; [`supervisor`] runs one task set for each, which reports through one
//! bounded queue of [`MemberEvent`]s. [`Member`] is the handle for everything that is done in a member, and
//! [`apply`] holds what may be done. Each member fails alone.

use std::sync::Arc;

use jiff::Timestamp;

use crate::shard::Share;

pub mod access;
mod adopt;
pub mod apply;
mod bounded;
pub mod breaker;
pub mod call;
pub mod client;
mod contact;
#[cfg(feature = "sim")]
pub mod crash;
pub mod error;
pub mod event;
mod exec;
pub mod expiry;
pub mod facts;
pub mod fence;
mod foreign;
mod incarnation;
pub mod inputs;
mod kinds;
pub mod kubeconfig;
mod lines;
pub mod peer;
pub mod proxy;
mod records;
pub mod registry;
pub mod request_span;
pub mod resolver;
pub mod secrets;
mod seen;
mod stands;
mod streamed;
pub mod supervisor;
pub mod transport;
mod under_way;
mod watch;
mod wire;

pub use apply::{Applied, Guard, SecretValues};
pub use call::{CallError, Class, Member, Operation};
pub use contact::heartbeat;
pub use event::MemberEvent;
pub use fence::Fence;
pub use peer::Peer;
pub use records::foreign_of;
pub use registry::{Registration, Registry};
pub use supervisor::Supervisor;

/// What the hub was started with, as far as members are concerned.
#[derive(Clone, Debug)]
pub struct MemberSettings {
    /// `--hub-id`: objects with another one are never touched.
    pub hub_id: Arc<str>,
    /// `--member-namespace`
    pub member_namespace: Arc<str>,
    /// Where VolSync's Deployment is looked for, unless the MemberCluster says otherwise.
    pub volsync_namespace: Arc<str>,
    /// `--allow-exec`: kubeconfig *files* may name a program.
    pub allow_exec: bool,
    /// Kubeconfigs from Secrets may point at loopback addresses: for tests and single machines.
    pub allow_loopback: bool,
    /// Before every write to every member.
    /// Shut for members of which `share` says that another replica writes to them.
    pub fence: Fence,
    pub share: Share,
}

/// What a MemberCluster says about how a member is found and told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberConfig {
    /// Of the MemberCluster: of two names for one cluster the earlier one counts.
    pub created: Option<Timestamp>,
    /// `spec.kubeconfigSecretRef`, a Secret in the hub's own namespace.
    pub kubeconfig_secret: Option<SecretRef>,
}

/// A Secret that a MemberCluster names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    pub name: Arc<str>,
    /// Where the kubeconfig lies in it, if that is said.
    pub key: Option<Arc<str>>,
}

#[cfg(test)]
pub(crate) mod tests;

//! The hub's own cluster: policies, the ledger and members are read and written here.

pub mod event;
pub mod events;
pub mod id;
pub mod kinds;
pub mod lease;
pub mod ledger;
pub mod rights;
pub mod secrets;
pub mod statuses;
pub mod watch;

use crate::member::Class;
use crate::member::error::classify;

/// What the hub's own cluster said, and what to do about it.
pub fn told(error: &kube::Error) -> String {
    let (class, detail) = classify(error);
    match class {
        Class::Forbidden { .. } => format!("{detail}; every rule that the hub needs is in deploy/hub"),
        Class::Unauthorized => format!("{detail}; its API server refuses the credentials: renew the kubeconfig"),
        Class::Unreachable => format!("{detail}; check that the cluster is up, and that the kubeconfig is the hub's"),
        _ => detail,
    }
}

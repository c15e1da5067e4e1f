//! Which physical repository a Secret means: Secret data and a source's overrides become a typed [`Backend`],
//! and from it come both the repository's identity and the arguments of `kopia repository connect`.
//!
//! The order of reading is that of VolSync's Kopia mover, so that the maintenance Job and the backups always mean the
//! same place. A false split lets two clusters maintain one repository, a false merge only lets one repository wait:
//! where readings differ, they are merged and the identity is marked ambiguous.

mod address;
mod arguments;
mod backend;
mod cidr;
mod connect;
mod copy;
mod facts;
mod json;
mod key;
mod overrides;
mod path;
mod rclone;
mod rclone_config;
mod rclone_job;
mod repository_url;
mod scope;
mod storage;
mod well_known;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub use self::backend::Backend;
pub use self::cidr::{Cidr, InvalidCidr};
pub use self::connect::{CREDENTIALS_DIR, Credential, CredentialTarget};
pub use self::facts::{PasswordFingerprint, SecretFacts};
pub use self::overrides::Overrides;
use crate::names::{MemberName, RepositoryKey};

/// Where a cluster-local address gets its meaning.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub member: &'a MemberName,
    pub namespace: &'a str,
    /// `MemberCluster.spec.clusterDomain`, else `cluster.local`.
    pub cluster_domain: &'a str,
    /// The service and Pod networks of the member.
    pub cidrs: &'a [Cidr],
    /// Does the member have a namespace of this name?
    pub has_namespace: &'a dyn Fn(&str) -> bool,
    /// `--endpoint-alias A=B`: host or host:port to host or host:port. Without ports on both sides it holds for every port.
    pub aliases: &'a BTreeMap<String, String>,
}

/// Equal keys mean the same physical repository, and have equal `backend`, `location` and cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub key: RepositoryKey,
    /// `s3`, `azure`, `gcs`, `b2`, `webdav`, `sftp`, `rclone`, `gdrive`, `filesystem` or `nfs`; `unknown` for a JSON
    /// configuration of another type. It is the canonical one: a Google bucket that is reached through its S3 name
    /// is `gcs`.
    pub backend: &'static str,
    /// For people, such as `s3://bucket/prefix/ at minio.example.com:9000`; no credentials.
    pub location: String,
    pub reach: Reach,
    /// Other readings are possible; merged to be safe.
    pub ambiguous: bool,
    /// Those about other readings come first.
    pub warnings: Vec<String>,
    /// Two identities with one key and different readings make their repository ambiguous, although neither is so
    /// alone: another WebDAV user, another SFTP user of an absolute path, TLS and no TLS on the default ports.
    pub reading: Reading,
}

/// A fingerprint of what a key leaves out on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reading(pub(crate) [u8; 8]);

/// From where a repository can be reached, and so how far its identity holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The same place from every member.
    Shared,
    /// Means something else in each cluster.
    Cluster,
    /// Means something else in each namespace.
    Namespace,
}

/// Why a Secret names no repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[error("{message}")]
pub struct IdentityProblem {
    /// CamelCase, a fixed word: `UnknownBackend`, `InvalidLocation`, `UnsafeOption` or `Loopback`.
    pub reason: &'static str,
    /// Names the key and what to do; never a value that could hold a credential.
    pub message: String,
}

impl IdentityProblem {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { reason: "InvalidLocation", message: message.into() }
    }
    pub(crate) fn unsafe_option(option: &str, place: &str) -> Self {
        let message = format!(
            "{option} in {place} chooses a program or raw arguments for it, which the hub never takes from a Secret \
             or a source: remove it"
        );
        Self { reason: "UnsafeOption", message }
    }
    pub(crate) fn loopback(what: &str) -> Self {
        let message = format!(
            "{what} is a loopback, unspecified or link-local address, which means something else in every Pod: \
             use an address that other Pods can reach"
        );
        Self { reason: "Loopback", message }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Cluster => "cluster",
            Self::Namespace => "namespace",
        })
    }
}

/// What was noticed on the way: never a value of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Notes {
    /// About a second possible reading.
    pub doubts: Vec<String>,
    pub warnings: Vec<String>,
}

impl Notes {
    pub fn warn(&mut self, text: impl Into<String>) {
        add(&mut self.warnings, text.into());
    }
    pub fn doubt(&mut self, text: impl Into<String>) {
        add(&mut self.doubts, text.into());
    }
    pub fn extend(&mut self, other: &Self) {
        other.doubts.iter().for_each(|text| self.doubt(text.as_str()));
        other.warnings.iter().for_each(|text| self.warn(text.as_str()));
    }
}

fn add(texts: &mut Vec<String>, text: String) {
    if !texts.contains(&text) {
        texts.push(text);
    }
}

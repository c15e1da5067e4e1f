//! Which physical repository a Secret means: Secret data and a source's overrides become a typed [`Backend`],
//! and from it come both the repository's identity and the arguments of `kopia repository connect`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::names::{MemberName, RepositoryKey};

/// What the hub keeps of a repository Secret: where it points and which known keys it has, never a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFacts {
    /// Values of location keys only, ASCII blanks trimmed, userinfo cut out of addresses.
    pub(crate) location: BTreeMap<&'static str, Box<str>>,
    /// The known keys (of the mover's list) that are present, whatever their values.
    pub(crate) keys: BTreeSet<&'static str>,
    /// Tells two passwords apart without keeping either; none where `KOPIA_PASSWORD` is absent.
    pub password: Option<PasswordFingerprint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PasswordFingerprint(pub(crate) [u8; 8]);

/// What a source itself says about its repository: `moverVolumes`, `policyConfig.repositoryConfig`, `additionalArgs`.
/// Holds no credentials (those in a JSON configuration are dropped when it is read).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Overrides {}

impl Overrides {
    /// Reads `spec.kopia` of a ReplicationSource.
    pub fn read(_kopia: &serde_json::Value) -> Self {
        Self {}
    }
    /// Most sources have none; the caller then keeps nothing.
    pub fn is_empty(&self) -> bool {
        true
    }
}

/// Where a cluster-local address gets its meaning.
pub struct Scope<'a> {
    pub member: &'a MemberName,
    pub namespace: &'a str,
    /// `MemberCluster.spec.clusterDomain`, else `cluster.local`.
    pub cluster_domain: &'a str,
    /// The service and Pod networks of the member.
    pub cidrs: &'a [Cidr],
    /// Does the member have a namespace of this name?
    pub has_namespace: &'a dyn Fn(&str) -> bool,
    /// `--endpoint-alias A=B`: host[:port] to host[:port].
    pub aliases: &'a BTreeMap<String, String>,
}

/// A network, as in `MemberCluster.spec.cidrs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    pub(crate) address: std::net::IpAddr,
    pub(crate) prefix: u8,
}

/// A repository's place, typed; no credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {}

impl SecretFacts {
    pub fn read(_data: &BTreeMap<String, Vec<u8>>) -> Self {
        Self { location: BTreeMap::new(), keys: BTreeSet::new(), password: None }
    }
    /// `KOPIA_PASSWORD` is present (an empty one too: the mover asks for no more).
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }
    /// The backend that the mover would choose. Also says what is refused (`UnsafeOption`).
    pub fn backend(&self, _overrides: &Overrides) -> Result<Backend, IdentityProblem> {
        Err(IdentityProblem { reason: "Unknown", message: String::new() })
    }
}

impl Backend {
    pub fn identity(&self, _scope: &Scope<'_>) -> Result<Identity, IdentityProblem> {
        Err(IdentityProblem { reason: "Unknown", message: String::new() })
    }
    /// It lives on a PersistentVolumeClaim that the mover mounts.
    pub fn on_claim(&self) -> bool {
        false
    }
    /// Arguments after `kopia repository connect`: the backend's name and its flags, no credentials.
    /// Cluster-local names are written so that they resolve from any namespace of the member.
    pub fn connect_arguments(&self, _scope: &Scope<'_>) -> Vec<String> {
        Vec::new()
    }
    /// Which keys of the Secret the Job gets, and how.
    pub fn credentials(&self, _facts: &SecretFacts) -> Vec<Credential> {
        Vec::new()
    }
}

/// One key of the repository Secret that the Job needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credential {
    /// The key in the Secret.
    pub key: &'static str,
    pub to: CredentialTarget,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CredentialTarget {
    /// An environment variable, by `secretKeyRef`.
    Environment(&'static str),
    /// A file of this name below `/credentials`, and the variable that gets its path (none: a flag names it).
    File { name: &'static str, variable: Option<&'static str> },
}

/// Equal keys mean the same physical repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub key: RepositoryKey,
    /// `s3`, `azure`, `gcs`, `b2`, `webdav`, `sftp`, `rclone`, `gdrive`, `filesystem` or `nfs`.
    pub backend: &'static str,
    /// For people, such as `s3://bucket/prefix/ at minio.example.com:9000`; no credentials.
    pub location: String,
    pub reach: Reach,
    /// Other readings are possible; merged to be safe.
    pub ambiguous: bool,
    pub warnings: Vec<String>,
}

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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct IdentityProblem {
    /// CamelCase, a fixed word: `UnknownBackend`, `InvalidLocation`, `UnsafeOption`, `Loopback`, ….
    pub reason: &'static str,
    /// Names the key and what to do; never a value that could hold a credential.
    pub message: String,
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

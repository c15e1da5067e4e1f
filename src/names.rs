//! Names and ids that could be mixed up, as types of their own.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }
    };
}

name!(
    /// A member cluster, as its kubeconfig file's stem or its Secret names it.
    MemberName
);
name!(
    /// A `KopiaMaintenance` object on the hub.
    PolicyName
);

/// A namespaced object of one kind, in a cluster that the context names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectName {
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A cluster of the fleet: the hub's own, or a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Hub,
    Member(MemberName),
}

impl Place {
    pub fn member(&self) -> Option<&MemberName> {
        match self {
            Self::Hub => None,
            Self::Member(name) => Some(name),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("hub"),
            Self::Member(name) => name.fmt(f),
        }
    }
}

/// A namespaced object in one cluster of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlacedName {
    pub place: Place,
    pub object: ObjectName,
}

impl fmt::Display for PlacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.place, self.object)
    }
}

/// A ReplicationSource in a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey {
    pub member: MemberName,
    pub object: ObjectName,
}

impl fmt::Display for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.member, self.object)
    }
}

/// The whole canonical identity of a repository: SHA-256 over its version-tagged location tuple.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryKey([u8; 32]);

impl RepositoryKey {
    /// Hashes the tuple with each part's length before it, so that no two tuples run together.
    pub fn of_tuple<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Sha256::new();
        for part in std::iter::once("v1").chain(parts) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.finalize().into())
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Every key with this id, from the smallest to the greatest.
    pub fn range_of(id: RepositoryId) -> std::ops::RangeInclusive<Self> {
        let filled = |rest: u8| {
            let mut key = [rest; 32];
            key[..8].copy_from_slice(&id.0.to_be_bytes());
            Self(key)
        };
        filled(0)..=filled(0xff)
    }

    /// The first 16 hex digits: short enough for object names. Compare whole keys before acting on it.
    pub fn id(&self) -> RepositoryId {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        RepositoryId(u64::from_be_bytes(head))
    }
}

impl fmt::Display for RepositoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RepositoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 64 hex digits.
impl FromStr for RepositoryKey {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId(text.to_owned());
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut key = [0; 32];
        for (index, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Self(key))
    }
}

/// The short form of a [`RepositoryKey`] in object names and on screens.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryId(u64);

impl RepositoryId {
    /// The name of its KopiaRepository on the hub.
    pub fn ledger_name(self) -> String {
        format!("kr-{self}")
    }

    /// Reads what [`Self::object_name`] writes.
    pub fn of_object_name(name: &str) -> Option<Self> {
        name.strip_prefix("kopia-maintenance-").filter(|id| !id.starts_with("kr-"))?.parse().ok()
    }

    /// The name of its CronJob and Secret in a member; with `-ca` that of its CA Secret.
    pub fn object_name(self) -> String {
        format!("kopia-maintenance-{self}")
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `<id16>` or `kr-<id16>`.
impl FromStr for RepositoryId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.strip_prefix("kr-").unwrap_or(text);
        let plain = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match u64::from_str_radix(digits, 16) {
            Ok(id) if plain => Ok(Self(id)),
            _ => Err(InvalidId(text.to_owned())),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a repository's id: give 16 lower-case hex digits, with or without \"kr-\" before them")]
pub struct InvalidId(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_and_its_id_is_its_head() {
        let key = RepositoryKey::of_tuple(["s3", "bucket"]);
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(key.id().to_string(), key.to_string()[..16]);
        assert_eq!(key.id().ledger_name().parse(), Ok(key.id()));
        assert_ne!(key, RepositoryKey::of_tuple(["s3b", "ucket"]));
        assert!("KR-0123456789abcdef".parse::<RepositoryId>().is_err());
    }
}

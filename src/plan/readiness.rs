//! What one Secret means in one place, and whether a Job could use it there.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::fleet::{Fleet, PlanOptions, SecretState, SourceRecord, SourceRepository};
use super::result::SourcePlan;
use crate::identity::{Cidr, Identity, IdentityProblem, Overrides, PasswordFingerprint, Scope, SecretFacts};
use crate::names::{MemberName, ObjectName, Place, PlacedName, PolicyName, RepositoryId, SourceKey};

/// The repository that a Secret points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    pub identity: Identity,
    /// Why no Job could use this Secret, whatever the state of its member.
    pub not_ready: Option<&'static str>,
    pub password: Option<PasswordFingerprint>,
}

/// Where a source stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In this repository.
    In(Arc<Meaning>),
    /// In none.
    Outside(Box<Outside>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    pub reason: &'static str,
    pub message: String,
}

impl Standing {
    /// Sources on a claim, and those that name no Secret, count for nothing; one whose Secret can't be read, or makes
    /// no sense, is matched by policies all the same.
    pub fn counts(&self) -> bool {
        match self {
            Self::In(_) => true,
            Self::Outside(outside) => !matches!(outside.reason, NO_REPOSITORY | REPOSITORY_PVC),
        }
    }
}

/// Names of namespaces that an identity depended on, whether they exist or not.
pub type Consulted = BTreeSet<Box<str>>;

/// Reasons of single sources and Secrets.
pub const NO_REPOSITORY: &str = "NoRepository";
pub const REPOSITORY_PVC: &str = "RepositoryPVC";
pub const SECRET_NOT_READ: &str = "SecretNotRead";
pub const SECRET_MISSING: &str = "SecretMissing";
pub const SECRET_FORBIDDEN: &str = "SecretForbidden";
pub const MISSING_KEY: &str = "MissingKey";
pub const FILESYSTEM: &str = "Filesystem";

/// Where a source of the fleet stands, and what that depended on beside its own record, its Secret and its member.
pub fn of_source(
    fleet: &Fleet,
    options: &PlanOptions,
    key: &SourceKey,
    record: &SourceRecord,
) -> (Standing, Consulted) {
    let name = match &record.repository {
        SourceRepository::None => return (outside(NO_REPOSITORY, NO_REPOSITORY_TEXT), Consulted::new()),
        SourceRepository::Pvc(_) => return (outside(REPOSITORY_PVC, REPOSITORY_PVC_TEXT), Consulted::new()),
        SourceRepository::Secret(name) => name,
    };
    let secret = ObjectName::new(key.object.namespace.clone(), name.clone());
    let placed = PlacedName { place: Place::Member(key.member.clone()), object: secret };
    let facts = match fleet.secrets.get(&placed) {
        Some(SecretState::Present(facts)) => facts,
        Some(SecretState::Absent) => return (unseen(SECRET_MISSING, &placed, "does not exist"), Consulted::new()),
        Some(SecretState::Forbidden) => {
            return (unseen(SECRET_FORBIDDEN, &placed, "may not be read by the hub"), Consulted::new());
        }
        None => return (unseen(SECRET_NOT_READ, &placed, "has not been read yet"), Consulted::new()),
    };
    let none = Overrides::default();
    let overrides = record.overrides.as_deref().unwrap_or(&none);
    let (meaning, consulted) =
        in_member(fleet, options, &key.member, &placed, |scope| meaning(facts, overrides, scope));
    let standing = match meaning {
        Ok(meaning) => Standing::In(Arc::new(meaning)),
        Err(problem) => outside(problem.reason, problem.message),
    };
    (standing, consulted)
}

/// Runs `read` with the scope that a Secret has in a member, and says which namespaces it asked for. The namespace of
/// a Secret that stands there exists, whether its object was seen or not.
pub fn in_member<T>(
    fleet: &Fleet,
    options: &PlanOptions,
    member: &MemberName,
    secret: &PlacedName,
    read: impl FnOnce(&Scope<'_>) -> T,
) -> (T, Consulted) {
    let namespace = &*secret.object.namespace;
    let stands_there = secret.place != Place::Hub;
    let record = fleet.members.get(member);
    let namespaces = fleet.namespaces.get(member);
    let consulted = RefCell::new(Consulted::new());
    let has_namespace = |name: &str| {
        consulted.borrow_mut().insert(name.into());
        (stands_there && name == namespace) || namespaces.is_some_and(|namespaces| namespaces.contains_key(name))
    };
    let cidrs: &[Cidr] = record.map_or(&[], |record| &record.cidrs);
    let value = read(&Scope {
        member,
        namespace,
        cluster_domain: record.map_or(DEFAULT_DOMAIN, |record| &record.cluster_domain),
        cidrs,
        has_namespace: &has_namespace,
        aliases: &options.endpoint_aliases,
    });
    (value, consulted.into_inner())
}

/// What a Secret means in a scope. An error: it names no repository there.
pub fn meaning(facts: &SecretFacts, overrides: &Overrides, scope: &Scope<'_>) -> Result<Meaning, IdentityProblem> {
    let backend = facts.backend(overrides)?;
    let obstacle = backend.obstacle();
    if obstacle == Some(REPOSITORY_PVC) {
        return Err(IdentityProblem { reason: REPOSITORY_PVC, message: REPOSITORY_PVC_TEXT.to_owned() });
    }
    let identity = backend.identity(scope)?;
    let not_ready = obstacle.or((!facts.has_password()).then_some(MISSING_KEY));
    Ok(Meaning { identity, not_ready, password: facts.password })
}

/// The cluster domain of members that say none.
pub const DEFAULT_DOMAIN: &str = "cluster.local";

const NO_REPOSITORY_TEXT: &str = "spec.kopia.repository names no Secret";
const REPOSITORY_PVC_TEXT: &str = "its repository lives on a PersistentVolumeClaim, which only its own namespace can \
    mount: maintain it there";

fn outside(reason: &'static str, message: impl Into<String>) -> Standing {
    Standing::Outside(Box::new(Outside { reason, message: message.into() }))
}

fn unseen(reason: &'static str, secret: &PlacedName, what: &str) -> Standing {
    outside(reason, format!("Secret {} in {} {what}", secret.object, secret.place))
}

/// What a Secret lacks for a Job and what to do, in half a sentence.
pub fn text(reason: &str) -> &'static str {
    match reason {
        MISSING_KEY => "its Secret has no key KOPIA_PASSWORD: add it",
        FILESYSTEM => "it lives on a file system or an NFS volume, which maintenance Jobs can't mount yet",
        _ => "",
    }
}

/// Writes a source out: where it stands, and which policy rules its repository.
pub fn source_plan(
    key: &SourceKey,
    secret: Option<Arc<str>>,
    standing: &Standing,
    repository: Option<(RepositoryId, Option<PolicyName>)>,
) -> SourcePlan {
    let (reason, message) = match standing {
        Standing::In(meaning) => {
            let own = meaning.not_ready.map(|reason| text(reason).to_owned());
            let parts: Vec<String> = own.into_iter().chain(meaning.identity.warnings.iter().cloned()).collect();
            (meaning.not_ready, parts.join("; "))
        }
        Standing::Outside(outside) => (Some(outside.reason), outside.message.clone()),
    };
    let (repository, policy) = repository.map_or((None, None), |(id, policy)| (Some(id), policy));
    SourcePlan { source: key.clone(), secret, repository, policy, reason, message }
}

/// The ledger says that this Secret failed there.
pub const CLAIM_FAILED: &str = "ClaimFailed";

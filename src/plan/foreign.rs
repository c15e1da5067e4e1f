//! Other tools' objects that maintain repositories, too: whose way they are in, and what ends it. Which repository it is
//! follows from the Secret that such an object names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fleet::{Fleet, PlanOptions, SecretState};
use super::readiness::{self, Standing};
use super::result::{FleetPlan, Problem, RepositoryPlan, State};
use super::{holder, references};
use crate::identity::Overrides;
use crate::labels;
use crate::names::{MemberName, ObjectName, Place, PlacedName, RepositoryId};

/// The reason in conditions and problems.
pub const REASON: &str = "ForeignMaintainer";
/// A command that is cut short is worse than none: so many fit into a condition's message.
const TOLD_MAX: usize = 2;

/// Kinds by which other tools maintain repositories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForeignKind {
    CronJob,
    /// VolSync's own KopiaMaintenance in a member.
    KopiaMaintenance,
    /// kopiur's Maintenance.
    KopiurMaintenance,
    /// Velero's `BackupRepository`.
    BackupRepository,
}

impl ForeignKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CronJob => "CronJob",
            Self::KopiaMaintenance => "KopiaMaintenance",
            Self::KopiurMaintenance => "Maintenance",
            Self::BackupRepository => "BackupRepository",
        }
    }

    /// API group and plural.
    pub const fn resource(self) -> (&'static str, &'static str) {
        match self {
            Self::CronJob => ("batch", "cronjobs"),
            Self::KopiaMaintenance => ("volsync.backube", "kopiamaintenances"),
            Self::KopiurMaintenance => ("kopiur.home-operations.com", "maintenances"),
            Self::BackupRepository => ("velero.io", "backuprepositories"),
        }
    }

    /// `spec.suspend` stops it. Of the other two, neither has such a field.
    pub const fn can_be_suspended(self) -> bool {
        matches!(self, Self::CronJob | Self::KopiaMaintenance)
    }
}

/// Another tool's maintenance object.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ForeignObject {
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    /// Those that its containers take variables from, or that it names.
    pub secrets: Vec<ObjectName>,
    /// `spec.suspend`, where it is set.
    pub suspend: Option<bool>,
    /// `spec.enabled: false`.
    pub disabled: bool,
    /// Of a CronJob: the KopiaMaintenance that made it, and would undo what is done to it.
    pub owner: Option<Box<str>>,
    /// What a hub's annotation on it says.
    pub adopted: Option<Adopted>,
}

/// What a hub changed of an object, as it notes it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    pub hub: Box<str>,
    pub repository: RepositoryId,
    /// `spec.suspend` before; none where it was not set.
    pub suspend: Option<bool>,
    pub at: Timestamp,
}

impl Adopted {
    /// None: nobody's note, or one that can't be read, so that nothing follows from it.
    pub fn read(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        Some(Self {
            hub: value["hub"].as_str()?.into(),
            repository: value["repository"].as_str()?.parse().ok()?,
            suspend: value["suspend"].as_bool(),
            at: value["at"].as_str()?.parse().ok()?,
        })
    }
}

/// As [`Adopted::read`] reads it.
impl fmt::Display for Adopted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hub, repository, suspend, at } = self;
        let at = format!("{at:.0}");
        let note = json!({"hub": hub, "repository": repository.to_string(), "suspend": suspend, "at": at});
        write!(f, "{note}")
    }
}

impl ForeignObject {
    /// It starts nothing by itself.
    pub fn is_stopped(&self) -> bool {
        self.disabled || self.suspend == Some(true)
    }

    /// Does it say the same, whatever version it has?
    pub fn says_the_same(&self, other: &Self) -> bool {
        let version = &other.resource_version;
        *other == Self { resource_version: version.clone(), ..self.clone() }
    }

    fn names(&self, secrets: &BTreeSet<ObjectName>) -> bool {
        self.secrets.iter().any(|secret| secrets.contains(secret))
    }

    /// What this hub noted on it.
    pub fn adopted_by(&self, hub: &str) -> Option<&Adopted> {
        self.adopted.as_ref().filter(|adopted| &*adopted.hub == hub)
    }
}

/// The Secrets that a CronJob means by one of this name. Early versions of VolSync's own maintenance copied it from the
/// source's namespace.
pub fn secrets_of_cron_job(
    namespace: &str,
    of: &BTreeMap<Box<str>, Box<str>>,
    name: &str,
) -> impl Iterator<Item = ObjectName> {
    let copied = of.get(labels::SOURCE_NAMESPACE).and_then(|from| {
        let original = name.strip_prefix("maintenance-")?.strip_prefix(&**from)?.strip_prefix('-')?;
        Some(ObjectName::new(&**from, original))
    });
    [ObjectName::new(namespace, name)].into_iter().chain(copied)
}

/// The Secret that an object of another kind names. kopiur's `Maintenance` names a `Repository` of its own, which means
/// the same where it bears the Secret's name; Velero's objects name none.
pub fn secrets_of_spec(kind: ForeignKind, namespace: &str, spec: &Value) -> Vec<ObjectName> {
    let pointers: &[&str] = match kind {
        ForeignKind::KopiaMaintenance => &["/repository/repository", "/repository/name"],
        ForeignKind::KopiurMaintenance => &["/repository/name"],
        ForeignKind::CronJob | ForeignKind::BackupRepository => &[],
    };
    let named = pointers.iter().find_map(|pointer| spec.pointer(pointer)?.as_str());
    named.map(|name| ObjectName::new(namespace, name)).into_iter().collect()
}

/// Those of one member.
pub type ForeignObjects = BTreeMap<(ForeignKind, ObjectName), ForeignObject>;

/// Who maintains a repository besides the hub.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contender {
    pub member: MemberName,
    pub kind: ForeignKind,
    pub name: ObjectName,
    /// A hub suspended it at this time, and it was let go again.
    pub let_go: Option<Timestamp>,
    /// It is another hub's.
    pub hub: Option<Box<str>>,
}

impl Contender {
    /// What ends it, to be copied as it stands.
    pub fn command(&self) -> String {
        let (group, plural) = self.kind.resource();
        let ObjectName { namespace, name } = &self.name;
        let (resource, patch) = match self.kind {
            ForeignKind::CronJob => ("cronjob".to_owned(), r#"{"spec":{"suspend":true}}"#),
            ForeignKind::KopiurMaintenance => {
                (format!("repositories.{group}"), r#"{"spec":{"maintenance":{"enabled":false}}}"#)
            }
            _ => (format!("{plural}.{group}"), r#"{"spec":{"suspend":true}}"#),
        };
        format!("kubectl --context {} -n {namespace} patch {resource} {name} --type merge -p '{patch}'", self.member)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.kind == ForeignKind::KopiurMaintenance { "seems to maintain" } else { "maintains" };
        write!(f, "{} {} in {} {verb} it, too", self.kind.as_str(), self.name, self.member)?;
        if let Some(at) = self.let_go {
            write!(f, " (a hub suspended it at {at:.0}, and somebody let it go again)")?;
        }
        match &self.hub {
            Some(hub) => write!(
                f,
                "; it belongs to the hub {hub:?}: let one hub alone rule this repository, by its policies or with \
                 `volsync-hub members retire` there"
            ),
            None => write!(f, "; this ends it: {}", self.command()),
        }
    }
}

/// The hubs whose objects a condition's message says are in the way: of a contender here, and of what stands under the
/// name of an object that was to be pushed.
pub fn hubs_named(message: &str) -> impl Iterator<Item = &str> {
    message.split("belongs to the hub \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0))
}

/// Of one repository, on one line; none where there are none.
pub fn told(contenders: &[Contender]) -> Option<String> {
    let texts: Vec<_> = contenders.iter().take(TOLD_MAX).map(ToString::to_string).collect();
    let more = contenders.len().saturating_sub(TOLD_MAX);
    let more = (more > 0).then(|| format!("; and {more} more: volsync-hub explain names them all"));
    (!texts.is_empty()).then(|| texts.join("; ") + &more.unwrap_or_default())
}

/// A problem for each of those that are in the way of the hub.
pub fn problems(plan: &FleetPlan, contenders: &BTreeMap<RepositoryId, Vec<Contender>>) -> Vec<Problem> {
    let concerned = plan.repositories.iter().filter(|repository| is_in_the_way(repository.state));
    let there = concerned.flat_map(|repository| {
        contenders.get(&repository.id).into_iter().flatten().map(|contender| (repository.id, contender))
    });
    there
        .map(|(id, contender)| Problem { object: id.ledger_name(), reason: REASON, message: contender.to_string() })
        .collect()
}

/// Somebody else's maintenance is in the way of a hub that maintains it, or would.
pub fn is_in_the_way(state: State) -> bool {
    !matches!(state, State::NoPolicy | State::Disabled)
}

/// Those in one member that name one of these Secrets and are not stopped. What a KopiaMaintenance made is told once,
/// as what has to be edited.
pub fn contenders(member: &MemberName, objects: &ForeignObjects, secrets: &BTreeSet<ObjectName>) -> Vec<Contender> {
    let mut found = BTreeSet::new();
    for ((kind, name), object) in objects.iter().filter(|(_, object)| object.names(secrets)) {
        let (kind, name) = match (kind, &object.owner) {
            _ if object.is_stopped() => continue,
            (ForeignKind::CronJob, Some(owner)) => {
                let owner = (ForeignKind::KopiaMaintenance, ObjectName::new(name.namespace.clone(), &**owner));
                // One that is stopped already is not what has to be edited.
                if objects.get(&owner).is_some_and(ForeignObject::is_stopped) { (*kind, name.clone()) } else { owner }
            }
            (ForeignKind::KopiaMaintenance, _) if has_stopped(objects, name) => continue,
            _ => (*kind, name.clone()),
        };
        let adopted = objects.get(&(kind, name.clone())).and_then(|object| object.adopted.as_ref());
        found.insert(Contender {
            member: member.clone(),
            kind,
            name,
            let_go: adopted.map(|adopted| adopted.at),
            hub: None,
        });
    }
    found.into_iter().collect()
}

/// Its CronJobs are seen at once, it is only looked for now and then.
fn has_stopped(objects: &ForeignObjects, maintenance: &ObjectName) -> bool {
    let first = (ForeignKind::CronJob, ObjectName::new(maintenance.namespace.clone(), ""));
    let there = objects
        .range(first..)
        .take_while(|((kind, name), _)| *kind == ForeignKind::CronJob && name.namespace == maintenance.namespace);
    let mut its = there.filter(|(_, object)| object.owner.as_deref() == Some(&*maintenance.name)).peekable();
    its.peek().is_some() && its.all(|(_, object)| object.is_stopped())
}

/// The repositories that a Secret of a member means: by the sources that name it, and by what it says itself.
pub fn meant_by(
    fleet: &Fleet,
    options: &PlanOptions,
    member: &MemberName,
    secret: &ObjectName,
) -> BTreeSet<RepositoryId> {
    let placed = PlacedName { place: Place::Member(member.clone()), object: secret.clone() };
    let sources = holder::sources_in(fleet, member, &secret.namespace);
    let naming = sources.filter(|(key, record)| references::of_source(key, record).as_ref() == Some(&placed));
    let of_sources = naming.filter_map(|(key, record)| match readiness::of_source(fleet, options, key, record).0 {
        Standing::In(meaning) => Some(meaning.identity.key.id()),
        Standing::Outside(_) => None,
    });
    let of_itself = match fleet.secrets.get(&placed) {
        Some(SecretState::Present(facts)) => {
            let none = Overrides::default();
            let (meaning, _) =
                readiness::in_member(fleet, options, member, &placed, |scope| readiness::meaning(facts, &none, scope));
            meaning.ok().map(|meaning| meaning.identity.key.id())
        }
        _ => None,
    };
    of_sources.chain(of_itself).collect()
}

/// The Secrets of a member that a policy names for a repository.
pub fn named_by_policies(plan: &RepositoryPlan, member: &MemberName) -> impl Iterator<Item = ObjectName> {
    let secrets = plan.candidates.iter().filter_map(|candidate| candidate.secret.as_ref());
    secrets.filter(move |secret| secret.place.member() == Some(member)).map(|secret| secret.object.clone())
}

/// Of a whole fleet, by repository.
pub fn of_fleet(
    plan: &FleetPlan,
    foreign: &BTreeMap<MemberName, ForeignObjects>,
) -> BTreeMap<RepositoryId, Vec<Contender>> {
    let mut secrets: BTreeMap<(RepositoryId, &MemberName), BTreeSet<ObjectName>> = BTreeMap::new();
    for source in &plan.sources {
        if let (Some(id), Some(secret)) = (source.repository, &source.secret) {
            let secret = ObjectName::new(source.source.object.namespace.clone(), secret.clone());
            secrets.entry((id, &source.source.member)).or_default().insert(secret);
        }
    }
    for repository in &plan.repositories {
        for member in foreign.keys() {
            let named: Vec<_> = named_by_policies(repository, member).collect();
            if !named.is_empty() {
                secrets.entry((repository.id, member)).or_default().extend(named);
            }
        }
    }
    let mut found: BTreeMap<RepositoryId, Vec<Contender>> = BTreeMap::new();
    for ((id, member), secrets) in secrets {
        let there = foreign.get(member).map(|objects| contenders(member, objects, &secrets)).unwrap_or_default();
        if !there.is_empty() {
            found.entry(id).or_default().extend(there);
        }
    }
    found
}

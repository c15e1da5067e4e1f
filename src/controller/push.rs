//! Brings one repository's objects in one member to what they should be, prerequisites first.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::member_state::Verified;
use crate::diff::{self, Kind};
use crate::labels;
use crate::member::apply::{Applied, Guard, Pushed, SecretValues};
use crate::member::event::{CronState, OwnedKind, OwnedObject};
use crate::member::{CallError, Member};
use crate::names::{ObjectName, RepositoryId};
use crate::render;
use crate::render::support::Support;

/// What stands in the member for this repository, as last seen.
#[derive(Debug, Default)]
pub struct Standing {
    pub owned: BTreeMap<(OwnedKind, ObjectName), OwnedObject>,
    pub verified: BTreeMap<(OwnedKind, ObjectName), Verified>,
    pub service_account: Option<OwnedObject>,
}

impl Standing {
    fn object(&self, kind: OwnedKind, name: &ObjectName) -> Option<&OwnedObject> {
        if kind == OwnedKind::ServiceAccount {
            return self.service_account.as_ref();
        }
        self.owned.get(&(kind, name.clone()))
    }
}

/// What a push found out or wrote, for the world to remember before the watches tell.
pub struct Noted {
    pub kind: OwnedKind,
    pub name: ObjectName,
    pub verified: Verified,
    /// As it stands, where that is news.
    pub stands: Option<OwnedObject>,
    /// This push wrote it.
    pub wrote: bool,
}

pub struct Push<'a> {
    pub member: &'a Member,
    pub hub_id: &'a str,
    pub standing: &'a Standing,
    pub noted: Vec<Noted>,
}

impl<'a> Push<'a> {
    pub fn new(member: &'a Member, hub_id: &'a str, standing: &'a Standing) -> Self {
        Self { member, hub_id, standing, noted: Vec::new() }
    }

    /// [`Self::support`] would do nothing.
    pub fn has_support(&self, support: &Support) -> bool {
        self.is_verified(OwnedKind::ServiceAccount, &support.account, &support.account_hash)
            && self.is_verified(OwnedKind::ConfigMap, &support.script, &support.script_hash)
    }

    /// What the Jobs of every repository of the member need.
    pub async fn support(&mut self, support: &Support) -> Result<(), CallError> {
        self.ensure(OwnedKind::ServiceAccount, &support.account, &support.account_hash).await?;
        self.ensure(OwnedKind::ConfigMap, &support.script, &support.script_hash).await
    }

    pub async fn cron_job(&mut self, wanted: &mut CronJob) -> Result<(), CallError> {
        let hash = render::seal(wanted);
        self.ensure(OwnedKind::CronJob, wanted, &hash).await
    }

    /// Is the copy known to hold this version of its source?
    pub fn copy_is_current(&self, name: &ObjectName, version: &str) -> bool {
        let key = (OwnedKind::Secret, name.clone());
        let Some(object) = self.standing.object(OwnedKind::Secret, name) else { return false };
        let verified = self.standing.verified.get(&key);
        !object.deleting && verified.is_some_and(|it| *it.version == object.version() && &*it.wanted == version)
    }

    /// A copy as it stands, with its contents; none where none was seen.
    pub async fn standing_secret(&self, name: &ObjectName) -> Result<Option<Secret>, CallError> {
        match self.standing.object(OwnedKind::Secret, name) {
            Some(_) => self.member.get::<Secret>(name).await,
            None => Ok(None),
        }
    }

    /// Secrets carry no hash: what stands is read and compared, once for each version of it.
    pub async fn ensure_secret(
        &mut self,
        wanted: Secret,
        live: Option<Secret>,
        version: &str,
    ) -> Result<(), CallError> {
        let name = name_of(&wanted);
        let standing = self.standing.object(OwnedKind::Secret, &name);
        if let Some(standing) = standing
            && let Some(live) = live
            && diff::fields(Kind::Secret, &body(&wanted), &body(&live)).is_empty()
        {
            let verified = Verified { version: standing.version().into(), wanted: version.into() };
            self.noted.push(Noted { kind: OwnedKind::Secret, name, verified, stands: None, wrote: false });
            return Ok(());
        }
        self.apply(OwnedKind::Secret, &wanted, version).await
    }

    /// It stands as it should, and has been compared since it was written last.
    fn is_verified<K: Pushed>(&self, kind: OwnedKind, wanted: &K, hash: &str) -> bool {
        let name = name_of(wanted);
        let Some(standing) = self.standing.object(kind, &name) else { return false };
        let verified = Verified { version: standing.version().into(), wanted: hash.into() };
        bears(wanted, standing, hash) && self.standing.verified.get(&(kind, name)) == Some(&verified)
    }

    /// `hash`: of what is wanted, which bears it.
    async fn ensure<K: Pushed>(&mut self, kind: OwnedKind, wanted: &K, hash: &str) -> Result<(), CallError> {
        if self.is_verified(kind, wanted, hash) {
            return Ok(());
        }
        let name = name_of(wanted);
        let standing = self.standing.object(kind, &name);
        if let Some(standing) = standing
            && bears(wanted, standing, hash)
        {
            let version = standing.version();
            let verified = Verified { version: version.into(), wanted: hash.into() };
            if let Some(live) = self.member.get::<K>(&name).await?
                && diff::differences(&body(wanted), &body(&live)).is_empty()
            {
                self.noted.push(Noted { kind, name, verified, stands: None, wrote: false });
                return Ok(());
            }
        }
        // No watch tells of it, and facts may be from before another replica wrote it.
        if standing.is_none()
            && kind == OwnedKind::ServiceAccount
            && let Some(live) = self.member.get_own::<K>(self.hub_id, &name).await?
            && diff::differences(&body(wanted), &body(&live)).is_empty()
        {
            let found = Applied::of(live.meta());
            let verified = Verified { version: found.version().into(), wanted: hash.into() };
            let stands = Some(standing_as(wanted, &found));
            self.noted.push(Noted { kind, name, verified, stands, wrote: false });
            return Ok(());
        }
        self.apply(kind, wanted, hash).await
    }

    async fn apply<K: Pushed>(&mut self, kind: OwnedKind, wanted: &K, version: &str) -> Result<(), CallError> {
        let name = name_of(wanted);
        let guard = self.standing.object(kind, &name).map(Guard::from);
        let applied = self.member.apply(self.hub_id, wanted, guard.as_ref()).await?;
        let verified = Verified { version: applied.version().into(), wanted: version.into() };
        let stands = Some(standing_as(wanted, &applied));
        self.noted.push(Noted { kind, name, verified, stands, wrote: true });
        Ok(())
    }
}

fn standing_as<K: Pushed>(wanted: &K, applied: &Applied) -> OwnedObject {
    let meta = wanted.meta();
    let boxed = |map: &Option<BTreeMap<String, String>>| {
        let entries = map.iter().flatten();
        entries
            .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
            .collect::<BTreeMap<Box<str>, Box<str>>>()
    };
    let annotations = boxed(&meta.annotations);
    let spec = body(wanted);
    let text = |field: &str| spec["spec"][field].as_str().unwrap_or_default();
    let cron = spec["spec"]["schedule"].is_string().then(|| CronState {
        schedule: text("schedule").into(),
        time_zone: Some(text("timeZone").into()),
        suspend: spec["spec"]["suspend"].as_bool().unwrap_or_default(),
        active_deadline_seconds: spec["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"].as_i64(),
        last_schedule: None,
        active: Vec::new(),
    });
    OwnedObject {
        uid: applied.uid.clone(),
        resource_version: applied.resource_version.clone(),
        generation: applied.generation,
        applied_hash: annotations.get(labels::APPLIED_HASH).cloned(),
        labels: boxed(&meta.labels),
        annotations,
        deleting: false,
        other_managers: Vec::new(),
        cron,
    }
}

/// The key of a CA bundle, or what to do where it is missing.
pub fn bundle(values: &SecretValues, key: &str, of: &str) -> Result<Vec<u8>, String> {
    values.data.get(key).cloned().ok_or_else(|| {
        let keys: Vec<_> = values.data.keys().map(String::as_str).collect();
        format!("the custom CA {of} has no key {key:?} (it has: {}); set customCA.key", keys.join(", "))
    })
}

pub fn copy_name(namespace: &str, id: RepositoryId) -> ObjectName {
    ObjectName::new(namespace, id.object_name())
}

pub fn name_of<K: Pushed>(object: &K) -> ObjectName {
    let meta = object.meta();
    ObjectName::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// As far as is seen without reading the object.
fn bears<K: Pushed>(wanted: &K, standing: &OwnedObject, hash: &str) -> bool {
    standing.applied_hash.as_deref() == Some(hash) && labels_stand(wanted, standing) && !standing.deleting
}

/// Labels, and annotations of ours, are seen without reading the object.
fn labels_stand<K: Pushed>(wanted: &K, standing: &OwnedObject) -> bool {
    stand(wanted, standing, &[labels::SOURCE_VERSION])
}

fn stand<K: Pushed>(wanted: &K, standing: &OwnedObject, but: &[&str]) -> bool {
    let meta = wanted.meta();
    let labels = meta.labels.iter().flatten();
    let annotations = meta.annotations.iter().flatten();
    labels.into_iter().all(|(key, value)| standing.labels.get(key.as_str()).is_some_and(|it| **it == **value))
        && annotations
            .filter(|(key, _)| !but.contains(&key.as_str()))
            .all(|(key, value)| standing.annotations.get(key.as_str()).is_some_and(|it| **it == **value))
}

/// Is this CronJob what was asked for, as far as grant and policy go? It may run something else.
pub fn asks_the_same(wanted: &CronJob, standing: &OwnedObject) -> bool {
    let Some(cron) = &standing.cron else { return false };
    let spec = &wanted.spec;
    let deadline = spec.job_template.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
    !standing.deleting
        && stand(wanted, standing, &[labels::REVISION, labels::REVISION_SINCE])
        && *cron.schedule == *spec.schedule
        && cron.time_zone.as_deref() == spec.time_zone.as_deref()
        && spec.suspend == Some(cron.suspend)
        && cron.active_deadline_seconds == deadline
}

/// What is compared: all but the status.
pub fn body<K: Pushed>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    value
}

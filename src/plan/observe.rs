//! Pure: objects as they come over the wire become the records of the fleet.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::fleet::{
    Contact, Drain, Fleet, Former, Grant, Labels, LedgerRecord, MemberRecord, Merged, NotReady, Observation, Phase,
    PushedCronJob, RunNow, SourceRecord, SourceRepository,
};
use super::readiness::DEFAULT_DOMAIN;
use crate::api::kopia_repository::{
    DEADLINE_UNKNOWN, DrainStatus, FormerStatus, GrantPhase, GrantStatus, KopiaRepository, KopiaRepositorySpec,
    KopiaRepositoryStatus, MergedStatus, NotReadyStatus,
};
use crate::api::member_cluster::{Lifecycle, MemberCluster};
use crate::identity::Overrides;
use crate::labels;
use crate::names::{MemberName, ObjectName, Place, PlacedName, RepositoryId};
use crate::policy::{CaSource, CustomCa, PolicyRecord};

/// A member, from its MemberCluster if it has one. Networks that can't be read are left out: what is in them then
/// counts as shared, which merges and never splits.
pub fn member(object: Option<&MemberCluster>, contact: Contact) -> MemberRecord {
    let Some(object) = object else {
        return MemberRecord {
            labels: Labels::new(),
            eligible: true,
            paused: false,
            cluster_domain: DEFAULT_DOMAIN.into(),
            cidrs: Vec::new(),
            contact,
            away_since: None,
            lifecycle: Lifecycle::Active,
            cluster_uid: None,
        };
    };
    let domain = object.spec.cluster_domain.trim_matches('.').to_ascii_lowercase();
    MemberRecord {
        labels: object.metadata.labels.clone().unwrap_or_default(),
        eligible: object.spec.eligible,
        paused: object.spec.paused,
        cluster_domain: if domain.is_empty() { DEFAULT_DOMAIN.into() } else { domain.into() },
        cidrs: object.spec.cidrs.iter().filter_map(|text| text.parse().ok()).collect(),
        contact,
        away_since: away_since(object).filter(|_| contact == Contact::Unreachable),
        lifecycle: object.spec.lifecycle,
        cluster_uid: object.status.as_ref().and_then(|status| status.cluster_uid.as_deref()).map(Into::into),
    }
}

/// As its status has it: it outlives the process that found it out.
pub fn away_since(object: &MemberCluster) -> Option<Timestamp> {
    let conditions = &object.status.as_ref()?.conditions;
    let reachable = conditions.iter().find(|condition| condition.type_ == "Reachable")?;
    (reachable.status == "False").then_some(reachable.last_transition_time.0)
}

/// A policy as if it were applied: one that exists keeps its age, a new one is the newest of all.
pub fn tried(fleet: &Fleet, mut record: PolicyRecord) -> Observation {
    record.created = fleet.policies.get(&record.name).and_then(|standing| standing.created);
    Observation::Policy { name: record.name.clone(), record: Some(Box::new(record)) }
}

/// The parts of a KopiaRepository that planning reads.
pub fn ledger(object: &KopiaRepository) -> LedgerRecord {
    let spec = &object.spec;
    let status = object.status.clone().unwrap_or_default();
    let own = object.id().unwrap_or_default();
    LedgerRecord {
        run_now: run_now(spec, &status),
        key: status.key.as_deref().and_then(|key| key.parse().ok()),
        backend: status.backend.map(Into::into),
        location: status.location.map(Into::into),
        unique_id: status.unique_id.filter(|id| !id.is_empty()).map(Into::into),
        grant: status.grant.as_ref().map(|it| grant(it, own)),
        merged: status.merged.as_ref().map(|it| merged(it, own)),
        drain: status.drain.iter().map(drain).collect(),
        not_ready: status.not_ready.iter().map(not_ready).collect(),
        pin: spec.cluster.as_deref().filter(|name| !name.is_empty()).map(MemberName::from),
        frozen_until: spec.frozen_until.as_ref().map(|until| until.0),
        same_as: spec.same_as.as_deref().filter(|text| !text.is_empty()).map(Into::into),
        distinct_from: spec.distinct_from.as_deref().filter(|text| !text.is_empty()).map(Into::into),
        failover: spec.failover.as_ref().map(|given_up| Former {
            cluster: MemberName::new(given_up.cluster.as_str()),
            epoch: u64::try_from(given_up.epoch).unwrap_or(0),
            id: own,
        }),
    }
}

fn run_now(spec: &KopiaRepositorySpec, status: &KopiaRepositoryStatus) -> Option<RunNow> {
    if let Some(token) = &status.run_now_under_way {
        return Some(RunNow { token: token.as_str().into(), under_way: true });
    }
    let asked = spec.run_now.as_deref().filter(|token| status.run_now_seen.as_deref() != Some(token));
    asked.map(|token| RunNow { token: token.into(), under_way: false })
}

fn grant(status: &GrantStatus, own: RepositoryId) -> Grant {
    Grant {
        cluster: MemberName::new(status.cluster.as_str()),
        cluster_uid: status.cluster_uid.as_deref().map(Into::into),
        epoch: u64::try_from(status.epoch).unwrap_or(0),
        phase: match status.phase {
            GrantPhase::Claiming => Phase::Claiming,
            GrantPhase::Draining => Phase::Draining,
            GrantPhase::Active => Phase::Active,
            GrantPhase::Resuming => Phase::Resuming,
            GrantPhase::Recovering => Phase::Recovering,
        },
        since: status.since.as_ref().map(|time| time.0),
        until: status.until.as_ref().map(|time| time.0),
        deadline_seconds: status.deadline_seconds.map_or(DEADLINE_UNKNOWN, deadline),
        highest_epoch: status.highest_epoch.and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or(0),
        from: status.from.as_ref().map(|from| former(from, own)),
    }
}

fn merged(status: &MergedStatus, own: RepositoryId) -> Merged {
    Merged {
        from: status.from.as_ref().map(|from| former(from, own)),
        deadline_seconds: status.deadline_seconds.map_or(DEADLINE_UNKNOWN, deadline),
        highest_epoch: status.highest_epoch.and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or(0),
    }
}

fn former(status: &FormerStatus, own: RepositoryId) -> Former {
    Former {
        cluster: MemberName::new(status.cluster.as_str()),
        epoch: u64::try_from(status.epoch).unwrap_or(0),
        id: status.repository.as_deref().and_then(|id| id.parse().ok()).unwrap_or(own),
    }
}

fn drain(status: &DrainStatus) -> Drain {
    Drain {
        cluster: MemberName::new(status.cluster.as_str()),
        deadline_seconds: deadline(status.deadline_seconds),
        ids: status.ids.iter().filter_map(|id| id.parse().ok()).collect(),
        clear_since: status.clear_since.as_ref().map(|time| time.0),
    }
}

fn deadline(seconds: i64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// A name without a namespace, which the hub never writes, means every Secret of that name there.
fn not_ready(status: &NotReadyStatus) -> NotReady {
    let (namespace, name) = status.secret.split_once('/').unwrap_or(("", &status.secret));
    NotReady {
        cluster: MemberName::new(status.cluster.as_str()),
        secret: ObjectName::new(namespace, name),
        until: status.until.0,
        reason: status.reason.as_str().into(),
        attempts: status.attempts.and_then(|attempts| u32::try_from(attempts).ok()).unwrap_or(1),
    }
}

/// A ReplicationSource, from its `spec` and `status`. None where it does not use Kopia.
pub fn source(created: Option<Timestamp>, spec: &Value, status: &Value) -> Option<SourceRecord> {
    let kopia = spec.get("kopia").filter(|kopia| !kopia.is_null())?;
    let overrides = Overrides::read(kopia);
    Some(SourceRecord {
        created,
        repository: repository(kopia),
        overrides: (!overrides.is_empty()).then(|| Box::new(overrides)),
        custom_ca: kopia.get("customCA").and_then(custom_ca).map(Box::new),
        last_sync_succeeded: succeeded(status),
    })
}

fn repository(kopia: &Value) -> SourceRepository {
    let secret = kopia.get("repository").and_then(Value::as_str).filter(|name| !name.is_empty()).map(Into::into);
    if kopia.get("repositoryPVC").is_some_and(|claim| !claim.is_null() && claim != "") {
        return SourceRepository::Pvc(secret);
    }
    secret.map_or(SourceRepository::None, SourceRepository::Secret)
}

fn custom_ca(ca: &Value) -> Option<CustomCa> {
    let text = |key: &str| ca.get(key).and_then(Value::as_str).filter(|value| !value.is_empty());
    let source = match (text("configMapName"), text("secretName")) {
        (Some(name), _) => CaSource::ConfigMap(name.into()),
        (None, Some(name)) => CaSource::Secret(name.into()),
        (None, None) => return None,
    };
    Some(CustomCa { source, key: text("key").unwrap_or("ca.crt").into() })
}

fn succeeded(status: &Value) -> bool {
    match status.pointer("/latestMoverStatus/result").and_then(Value::as_str) {
        Some(result) => result == "Successful",
        None => status.get("lastSyncTime").is_some_and(Value::is_string),
    }
}

/// A CronJob of a member that is ours by its labels, or stands where one of ours would by its name.
pub fn cron_job(member: &MemberName, object: &Value) -> Option<PushedCronJob> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(Box::<str>::from);
    let metadata = object.get("metadata")?;
    let marks = |field: &str| -> BTreeMap<&str, &str> {
        let map = metadata.get(field).and_then(Value::as_object);
        map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
    };
    let (its_labels, annotations) = (marks("labels"), marks("annotations"));
    let ours = its_labels.get(labels::MANAGED_BY) == Some(&labels::MANAGED_BY_VALUE);
    let by_label = its_labels.get(labels::REPOSITORY).filter(|_| ours).and_then(|id| id.parse().ok());
    let by_name = || text(metadata, "name").and_then(|name| RepositoryId::of_object_name(&name));
    let spec = object.get("spec").unwrap_or(&Value::Null);
    Some(PushedCronJob {
        repository: by_label.or_else(by_name)?,
        ours,
        secret: annotations.get(labels::SOURCE).and_then(|secret| placed(member, secret)),
        schedule: text(spec, "schedule").unwrap_or_default(),
        time_zone: text(spec, "timeZone"),
        suspend: spec.get("suspend").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// Reads `place/namespace/name`; the place is `hub` or the member itself.
pub fn placed(member: &MemberName, text: &str) -> Option<PlacedName> {
    let mut parts = text.rsplitn(3, '/');
    let (name, namespace, place) = (parts.next()?, parts.next()?, parts.next()?);
    let place = match place {
        name if name == member.as_str() => Place::Member(member.clone()),
        "hub" => Place::Hub,
        _ => return None,
    };
    Some(PlacedName { place, object: ObjectName::new(namespace, name) })
}

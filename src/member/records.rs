//! Pure: what came over the wire becomes the records that the rest of the hub keeps.

use serde_json::Value;

use crate::identity::Overrides;
use crate::labels;
use crate::names::MemberName;
use crate::plan::fleet::{PushedCronJob, SourceRecord, SourceRepository};
use crate::plan::observe;
use crate::policy::{CaSource, CustomCa};

use super::event::{CronState, ForeignObject, JobRecord, ObjectCondition, OwnedObject, PodRecord, Termination};
use super::wire::{Condition, CronJob, Job, Meta, Pod, Source};

/// None where the source does not use Kopia.
pub fn source(source: &Source) -> Option<SourceRecord> {
    let kopia = source.spec.kopia.as_ref()?;
    let overrides = Overrides::read(kopia);
    Some(SourceRecord {
        created: source.metadata.creation_timestamp,
        repository: repository(kopia),
        overrides: (!overrides.is_empty()).then(|| Box::new(overrides)),
        custom_ca: custom_ca(&kopia["customCA"]).map(Box::new),
        last_sync_succeeded: succeeded(&source.status),
    })
}

fn repository(kopia: &Value) -> SourceRepository {
    if !kopia["repositoryPVC"].is_null() {
        return SourceRepository::Pvc;
    }
    match kopia["repository"].as_str() {
        Some(name) if !name.is_empty() => SourceRepository::Secret(name.into()),
        _ => SourceRepository::None,
    }
}

fn custom_ca(ca: &Value) -> Option<CustomCa> {
    let text = |key: &str| ca[key].as_str().filter(|value| !value.is_empty());
    let source = match (text("configMapName"), text("secretName")) {
        (Some(name), _) => CaSource::ConfigMap(name.into()),
        (None, Some(name)) => CaSource::Secret(name.into()),
        (None, None) => return None,
    };
    Some(CustomCa { source, key: text("key").unwrap_or("ca.crt").into() })
}

fn succeeded(status: &Value) -> bool {
    match status["latestMoverStatus"]["result"].as_str() {
        Some(result) => result == "Successful",
        None => status["lastSyncTime"].is_string(),
    }
}

/// True where a hub of this kind made it, be it another one.
pub fn is_hubs(meta: &Meta) -> bool {
    meta.labels.get(labels::MANAGED_BY).is_some_and(|value| &**value == labels::MANAGED_BY_VALUE)
        || meta.labels.contains_key(labels::HUB)
}

/// This hub's CronJob, as the planner sees it.
pub fn pushed(member: &MemberName, cron_job: &CronJob, hub: &str) -> Option<PushedCronJob> {
    let label = |name| cron_job.metadata.labels.get(name);
    if label(labels::HUB).is_none_or(|value| **value != *hub) {
        return None;
    }
    Some(PushedCronJob {
        repository: label(labels::REPOSITORY)?.parse().ok()?,
        ours: true,
        secret: cron_job.metadata.annotations.get(labels::SOURCE).and_then(|source| observe::placed(member, source)),
        schedule: cron_job.spec.schedule.clone(),
        time_zone: cron_job.spec.time_zone.clone(),
        suspend: cron_job.spec.suspend,
    })
}

pub fn owned(meta: Meta, cron: Option<CronState>) -> OwnedObject {
    let mut other_managers: Vec<_> = meta
        .managed_fields
        .into_iter()
        .filter(|it| &*it.manager != labels::FIELD_MANAGER && it.subresource.is_empty())
        .map(|it| it.manager)
        .collect();
    other_managers.sort();
    other_managers.dedup();
    OwnedObject {
        uid: meta.uid,
        resource_version: meta.resource_version,
        generation: meta.generation,
        applied_hash: meta.annotations.get(labels::APPLIED_HASH).cloned(),
        labels: meta.labels,
        annotations: meta.annotations.into_iter().filter(|(key, _)| key.starts_with(labels::PREFIX)).collect(),
        deleting: meta.deletion_timestamp.is_some(),
        other_managers,
        cron,
    }
}

pub fn foreign(cron_job: CronJob) -> ForeignObject {
    let cron = cron_state(&cron_job);
    let containers = &cron_job.spec.job_template.spec.template.spec.containers;
    let whole = containers.iter().flat_map(|it| &it.env_from).filter_map(|it| it.secret_ref.as_ref());
    let single =
        containers.iter().flat_map(|it| &it.env).filter_map(|it| it.value_from.as_ref()?.secret_key_ref.as_ref());
    let mut secrets: Vec<_> = whole.chain(single).map(|it| it.name.clone()).collect();
    secrets.sort();
    secrets.dedup();
    let Meta { uid, resource_version, labels, .. } = cron_job.metadata;
    ForeignObject { uid, resource_version, labels, secrets, cron: Some(cron) }
}

pub fn cron_state(cron_job: &CronJob) -> CronState {
    CronState {
        schedule: cron_job.spec.schedule.clone(),
        time_zone: cron_job.spec.time_zone.clone(),
        suspend: cron_job.spec.suspend,
        active_deadline_seconds: cron_job.spec.job_template.spec.active_deadline_seconds,
        last_schedule: cron_job.status.last_schedule_time,
        active: cron_job.status.active.iter().map(|it| it.name.clone()).collect(),
    }
}

pub fn job(job: Job) -> JobRecord {
    let Job { metadata: meta, spec, status } = job;
    JobRecord {
        cron_job: meta.owner_references.iter().find(|it| &*it.kind == "CronJob").map(|it| it.name.clone()),
        uid: meta.uid,
        resource_version: meta.resource_version,
        created: meta.creation_timestamp,
        labels: meta.labels,
        annotations: meta.annotations,
        active_deadline_seconds: spec.active_deadline_seconds,
        suspended: spec.suspend,
        active: status.active,
        succeeded: status.succeeded,
        failed: status.failed,
        started: status.start_time,
        completed: status.completion_time,
        conditions: status.conditions.into_iter().map(condition).collect(),
        deleting: meta.deletion_timestamp.is_some(),
    }
}

fn condition(condition: Condition) -> ObjectCondition {
    let Condition { kind, status, reason, message, last_transition_time: since } = condition;
    ObjectCondition { kind, status, reason, message, since }
}

pub fn pod(pod: Pod) -> PodRecord {
    let Pod { metadata: meta, status } = pod;
    let unschedulable = status
        .conditions
        .into_iter()
        .find(|it| &*it.kind == "PodScheduled" && &*it.status == "False" && &*it.reason == "Unschedulable");
    let states = || status.container_statuses.iter().map(|it| &it.state);
    let termination = states().find_map(|state| state.terminated.clone()).map(|it| Termination {
        exit_code: it.exit_code,
        signal: it.signal,
        reason: it.reason,
        message: it.message,
        started: it.started_at,
        finished: it.finished_at,
    });
    let waiting = states().find_map(|state| state.waiting.clone());
    PodRecord {
        job: meta.owner_references.iter().find(|it| &*it.kind == "Job").map(|it| it.name.clone()),
        uid: meta.uid,
        created: meta.creation_timestamp,
        labels: meta.labels,
        phase: status.phase,
        reason: status.reason,
        message: status.message,
        started: status.start_time,
        termination,
        waiting: waiting.map(|it| (it.reason, it.message)),
        unschedulable: unschedulable.map(|it| it.message),
        deleting: meta.deletion_timestamp.is_some(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn source_of(spec: Value, status: Value) -> Option<SourceRecord> {
        source(&read(json!({"metadata": {"name": "a", "namespace": "n"}, "spec": spec, "status": status})))
    }

    #[test]
    fn a_source_is_read_by_what_its_kopia_part_says() {
        assert!(source_of(json!({"restic": {}}), Value::Null).is_none());
        let repository = |kopia| source_of(json!({"kopia": kopia}), Value::Null).unwrap().repository;
        assert_eq!(repository(json!({})), SourceRepository::None);
        assert_eq!(repository(json!({"repository": "r"})), SourceRepository::Secret("r".into()));
        assert_eq!(repository(json!({"repository": "r", "repositoryPVC": {"claimName": "c"}})), SourceRepository::Pvc);
        assert_eq!(repository(json!({"repository": 7})), SourceRepository::None);
    }

    #[test]
    fn a_backup_that_failed_is_told_from_one_that_went_well() {
        let ended = |status| source_of(json!({"kopia": {}}), status).unwrap().last_sync_succeeded;
        assert!(ended(json!({"latestMoverStatus": {"result": "Successful"}})));
        assert!(!ended(json!({"latestMoverStatus": {"result": "Failed"}, "lastSyncTime": "2026-01-01T00:00:00Z"})));
        assert!(ended(json!({"lastSyncTime": "2026-01-01T00:00:00Z"})));
        assert!(!ended(Value::Null));
    }

    #[test]
    fn fields_of_others_on_our_objects_are_noticed_and_status_is_not() {
        let meta = read(json!({"name": "a", "uid": "u", "resourceVersion": "1", "managedFields": [
            {"manager": "volsync-hub", "operation": "Apply", "fieldsV1": {"f:spec": {}}},
            {"manager": "kubectl-edit", "operation": "Update"},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status"}]}));
        assert_eq!(owned(meta, None).other_managers, [Box::from("kubectl-edit")]);
    }

    #[test]
    fn a_foreign_cron_job_names_the_secrets_it_uses() {
        let job = read(json!({"metadata": {"name": "a"}, "spec": {"schedule": "0 2 * * *", "jobTemplate": {"spec": {
            "template": {"spec": {"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "repo"}}],
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}]}]}}}}}}));
        assert_eq!(foreign(job).secrets, [Box::from("other"), Box::from("repo")]);
    }

    #[test]
    fn a_pod_says_how_its_container_ended_or_why_it_waits() {
        let record = pod(read(json!({"metadata": {"name": "p", "ownerReferences": [{"kind": "Job", "name": "j"}]},
            "status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 137,
            "reason": "OOMKilled", "message": "{}", "finishedAt": "2026-01-01T00:00:00Z"}}}]}})));
        let end = record.termination.unwrap();
        assert_eq!((record.job.as_deref(), end.exit_code, &*end.reason), (Some("j"), 137, "OOMKilled"));
        let record = pod(read(json!({"metadata": {"name": "p"}, "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"}],
            "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}})));
        assert_eq!(record.unschedulable.as_deref(), Some("no node"));
        assert_eq!(record.waiting.unwrap().0.as_ref(), "ImagePullBackOff");
    }
}

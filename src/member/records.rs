//! Pure: what came over the wire becomes the records that the rest of the hub keeps.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::labels;
use crate::names::{MemberName, ObjectName};
use crate::plan::fleet::{PushedCronJob, SourceRecord};
use crate::plan::{foreign, observe};

use super::event::{
    CronState, ForeignKind, ForeignObject, JobRecord, ObjectCondition, OwnedObject, PodRecord, Termination,
};
use super::wire::{Condition, CronJob, CronJobSpec, Custom, Job, Meta, Pod, Source};

/// None where the source does not use Kopia.
pub fn source(source: &Source) -> Option<SourceRecord> {
    observe::source(source.metadata.creation_timestamp, &source.spec, &source.status)
}

/// True where a hub of this kind made it, be it another one.
pub fn is_hubs(meta: &Meta) -> bool {
    meta.labels.get(labels::MANAGED_BY).is_some_and(|value| &**value == labels::MANAGED_BY_VALUE)
        || meta.labels.contains_key(labels::HUB)
}

/// A CronJob of ours, or in our place, as the planner sees it. One of another hub is not ours.
pub fn pushed(member: &MemberName, cron_job: &CronJob, hub: &str) -> Option<PushedCronJob> {
    let Meta { name, labels, annotations, .. } = &cron_job.metadata;
    let CronJobSpec { schedule, time_zone, suspend, .. } = &cron_job.spec;
    let object = json!({
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {"schedule": schedule, "timeZone": time_zone, "suspend": suspend},
    });
    let record = observe::cron_job(member, &object)?;
    let is_this_hubs = labels.get(labels::HUB).is_some_and(|it| **it == *hub);
    Some(PushedCronJob { ours: record.ours && is_this_hubs, ..record })
}

pub fn owned(meta: Meta, cron: Option<CronState>) -> OwnedObject {
    let mut other_managers: Vec<_> = meta
        .managed_fields
        .into_iter()
        .filter(|it| &*it.name != labels::FIELD_MANAGER && it.subresource.is_empty())
        .map(|it| it.name)
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
    let suspend = cron_job.spec.suspend;
    let containers = &cron_job.spec.job_template.spec.template.spec.containers;
    let whole = containers.iter().flat_map(|it| &it.env_from).filter_map(|it| it.secret_ref.as_ref());
    let single =
        containers.iter().flat_map(|it| &it.env).filter_map(|it| it.value_from.as_ref()?.secret_key_ref.as_ref());
    let meta = cron_job.metadata;
    let mut secrets: Vec<_> = whole
        .chain(single)
        .flat_map(|secret| foreign::secrets_of_cron_job(&meta.namespace, &meta.labels, &secret.name))
        .collect();
    secrets.sort();
    secrets.dedup();
    let owner = meta.owner_references.iter().find(|it| &*it.kind == ForeignKind::KopiaMaintenance.as_str());
    let owner = owner.map(|it| it.name.clone());
    ForeignObject { secrets, suspend: Some(suspend), owner, ..foreign_meta(meta) }
}

/// One of the kinds that are known roughly.
pub fn foreign_of_kind(kind: ForeignKind, object: Custom) -> ForeignObject {
    let Custom { metadata, spec } = object;
    ForeignObject {
        secrets: foreign::secrets_of_spec(kind, &metadata.namespace, &spec),
        suspend: spec["suspend"].as_bool(),
        disabled: spec["enabled"] == false,
        ..foreign_meta(metadata)
    }
}

/// An object of whatever kind, where it is another tool's maintenance.
pub fn foreign_of(value: &Value) -> Option<((ForeignKind, ObjectName), ForeignObject)> {
    let group = value["apiVersion"].as_str()?.split_once('/')?.0;
    let is = |kind: &ForeignKind| kind.resource().0 == group && value["kind"] == kind.as_str();
    let kind = [ForeignKind::CronJob, ForeignKind::KopiaMaintenance, ForeignKind::KopiurMaintenance];
    let kind = kind.into_iter().find(is)?;
    let name = |meta: &Meta| {
        let namespace = if meta.namespace.is_empty() { "default" } else { &meta.namespace };
        ObjectName::new(namespace, &*meta.name)
    };
    if kind == ForeignKind::CronJob {
        let mut cron_job = CronJob::deserialize(value).ok()?;
        let meta = &cron_job.metadata;
        let maintains = meta.labels.get(labels::MAINTENANCE).is_some_and(|it| &**it == labels::MAINTENANCE_VALUE);
        let name = (maintains && !is_hubs(meta)).then(|| name(meta))?;
        cron_job.metadata.namespace = (*name.namespace).into();
        return Some(((kind, name), foreign(cron_job)));
    }
    let mut object = Custom::deserialize(value).ok()?;
    let name = name(&object.metadata);
    object.metadata.namespace = (*name.namespace).into();
    Some(((kind, name), foreign_of_kind(kind, object)))
}

/// What every foreign object has.
pub fn foreign_meta(meta: Meta) -> ForeignObject {
    let adopted = meta.annotations.get(labels::ADOPTED).and_then(|note| foreign::Adopted::read(note));
    ForeignObject { uid: meta.uid, resource_version: meta.resource_version, adopted, ..ForeignObject::default() }
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
    use crate::plan::fleet::SourceRepository;

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_source_is_read_whatever_its_user_wrote_into_it() {
        let record = |spec: Value| {
            let object = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": spec});
            source(&read(object)).map(|record| record.repository)
        };
        assert_eq!(record(json!({"restic": {}})), None);
        assert_eq!(record(json!({"kopia": {"repository": "r"}})), Some(SourceRepository::Secret("r".into())));
        assert_eq!(record(json!({"kopia": {"repository": 7, "customCA": []}})), Some(SourceRepository::None));
    }

    #[test]
    fn a_cron_job_of_another_hub_is_not_ours() {
        let cron_job = read(json!({
            "metadata": {"name": "kopia-maintenance-0123456789abcdef", "labels": {
                "app.kubernetes.io/managed-by": "volsync-hub", "hub.volsync.backube/hub": "one",
                "hub.volsync.backube/repository": "0123456789abcdef"}},
            "spec": {"schedule": "0 2 * * *", "suspend": true},
        }));
        let record = pushed(&MemberName::from("m"), &cron_job, "one").unwrap();
        assert!(record.ours && record.suspend);
        assert_eq!(record.repository.to_string(), "0123456789abcdef");
        assert!(!pushed(&MemberName::from("m"), &cron_job, "two").unwrap().ours);
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
    fn a_foreign_cron_job_names_the_secrets_it_uses_and_who_made_it() {
        let job = |meta: Value| {
            read(json!({"metadata": meta, "spec": {"schedule": "0 2 * * *", "jobTemplate": {"spec": {
                "template": {"spec": {"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "maintenance-shop-db"}}],
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}]}]}}}}}}))
        };
        let names = |object: &ForeignObject| object.secrets.iter().map(ToString::to_string).collect::<Vec<_>>();
        let own = foreign(job(
            json!({"name": "a", "namespace": "n", "ownerReferences": [{"kind": "KopiaMaintenance", "name": "km"}]}),
        ));
        assert_eq!(names(&own), ["n/maintenance-shop-db", "n/other"]);
        assert_eq!(own.owner.as_deref(), Some("km"));
        let copy = foreign(job(json!({"name": "a", "namespace": "n", "labels": {labels::SOURCE_NAMESPACE: "shop"}})));
        assert_eq!(names(&copy), ["n/maintenance-shop-db", "n/other", "shop/db"], "an early version copied it");
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

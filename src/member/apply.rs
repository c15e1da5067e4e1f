//! What the hub does in a member: server-side apply, guarded deletion, one-shot Jobs, suspension; and reading the
//! Secret or CA that is copied. Never touches an object without our labels, or of another hub.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{
    DeleteParams, ListParams, ObjectList, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::core::request::Request;
use kube::core::{NamespaceResourceScope, ObjectMeta, PartialObjectMeta};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zeroize::Zeroize;

use crate::labels;
use crate::names::ObjectName;
use crate::telemetry::trace;
use tracing::Span;

use super::call::{CallError, Class, Member, Operation};
use super::event::OwnedObject;
use super::wire::Source;

/// Events about one object that are read: a kubelet or a controller joins equal ones, so that there are few.
const EVENTS_MAX: u32 = 100;

/// Kinds that are pushed to members: namespaced, with a static name.
pub trait Pushed:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + fmt::Debug
{
}

impl<K> Pushed for K where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + fmt::Debug
{
}

/// An object as it stands after a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub generation: i64,
}

impl Applied {
    /// Of an object as it was read.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
            generation: metadata.generation.unwrap_or_default(),
        }
    }

    /// As [`OwnedObject::version`].
    pub fn version(&self) -> String {
        super::event::version(self.generation, &self.resource_version)
    }
}

/// What is expected to stand where a write goes: taken from the events, or from [`Member::owned`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub uid: Box<str>,
    pub resource_version: Box<str>,
}

impl From<&OwnedObject> for Guard {
    fn from(object: &OwnedObject) -> Self {
        Self { uid: object.uid.clone(), resource_version: object.resource_version.clone() }
    }
}

impl From<&Applied> for Guard {
    fn from(object: &Applied) -> Self {
        Self { uid: object.uid.clone(), resource_version: object.resource_version.clone() }
    }
}

/// The data of a Secret or ConfigMap while it is copied. Prints key names only; wiped when dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SecretValues {
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub data: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for SecretValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.data.keys()).finish()
    }
}

impl Drop for SecretValues {
    fn drop(&mut self) {
        self.data.values_mut().for_each(Zeroize::zeroize);
    }
}

impl Member {
    /// Applies `object` with force, as the hub's field manager. `hub` is this hub's id. With a guard the write only
    /// succeeds on exactly that version of that object (else `Conflict`); without one the object is looked up first.
    /// An object that stands there and is not this hub's makes it fail with `NotOurs`.
    pub async fn apply<K: Pushed>(&self, hub: &str, object: &K, guard: Option<&Guard>) -> Result<Applied, CallError> {
        let name = name_of(object.meta());
        let operation = Operation::new("apply", describe::<K>(&name));
        let found = match guard {
            Some(guard) => Some(guard.clone()),
            None => self.own::<K>(hub, &name, &operation).await?,
        };
        let mut body = serde_json::to_value(object).map_err(|error| self.unwritable(&operation, &error))?;
        complete::<K>(&mut body, found.as_ref());
        let parameters = PatchParams::apply(labels::FIELD_MANAGER).force();
        let patch = Patch::Apply(&body);
        let request = path::<K>(&name).patch(&name.name, &parameters, &patch);
        self.write(&operation, request).await
    }

    /// What an apply would make of it, without doing it: tells drift from changes that do not matter.
    pub async fn dry_run<K: Pushed>(&self, object: &K) -> Result<K, CallError> {
        let name = name_of(object.meta());
        let operation = Operation::new("dry-run apply", describe::<K>(&name));
        let mut body = serde_json::to_value(object).map_err(|error| self.unwritable(&operation, &error))?;
        complete::<K>(&mut body, None);
        let parameters = PatchParams::apply(labels::FIELD_MANAGER).force().dry_run();
        let request = path::<K>(&name).patch(&name.name, &parameters, &Patch::Apply(&body));
        let text = self.text(&operation, request).await?;
        self.parse(&operation, &text)
    }

    /// The object as it stands; none where there is none.
    pub async fn get<K: Pushed>(&self, name: &ObjectName) -> Result<Option<K>, CallError> {
        let operation = Operation::new("get", describe::<K>(name));
        let request = path::<K>(name).get(&name.name, &kube::api::GetParams::default());
        match self.text(&operation, request).await {
            Ok(text) => self.parse(&operation, &text).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Self::get`], of this hub's objects; `NotOurs` where another's stands.
    pub async fn get_own<K: Pushed>(&self, hub: &str, name: &ObjectName) -> Result<Option<K>, CallError> {
        let Some(object) = self.get::<K>(name).await? else { return Ok(None) };
        match stranger(object.meta(), hub) {
            None => Ok(Some(object)),
            Some(stranger) => {
                let operation = Operation::new("get", describe::<K>(name));
                Err(CallError::new(self.name(), &operation, Class::NotOurs, &stranger))
            }
        }
    }

    /// Deletes exactly this version of this object of this hub, its dependents in the background. True if it was
    /// there; an object that is gone already is no error.
    pub async fn delete<K: Pushed>(&self, hub: &str, name: &ObjectName, guard: &Guard) -> Result<bool, CallError> {
        let operation = Operation::new("delete", describe::<K>(name));
        // Labels can't be a precondition, the version they were read at can.
        let Some(current) = self.own::<K>(hub, name, &operation).await? else { return Ok(false) };
        if current != *guard {
            let detail = "it changed since it was looked at";
            return Err(CallError::new(self.name(), &operation, Class::Conflict, detail));
        }
        let preconditions = Preconditions {
            uid: Some(guard.uid.to_string()),
            resource_version: Some(guard.resource_version.to_string()),
        };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let request = path::<K>(name).delete(&name.name, &parameters);
        match self.text(&operation, request).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a one-shot Job under its fixed name. Where this hub's Job of that name stands already, that one is
    /// returned: the same request twice starts one Job.
    pub async fn create_job(&self, hub: &str, job: &Job) -> Result<Applied, CallError> {
        let name = name_of(&job.metadata);
        let operation = Operation::new("create", describe::<Job>(&name));
        let mut body = serde_json::to_value(job).map_err(|error| self.unwritable(&operation, &error))?;
        complete::<Job>(&mut body, None);
        let parameters = PostParams { field_manager: Some(labels::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = path::<Job>(&name).create(&parameters, body.to_string().into_bytes());
        let result = self.write(&operation, request).await;
        // Without an answer it may stand all the same.
        self.under_way().made();
        match result {
            Err(error) if error.class == Class::AlreadyExists => {
                let found = self.own::<Job>(hub, &name, &operation).await?;
                found
                    .map(|it| Applied { uid: it.uid, resource_version: it.resource_version, generation: 0 })
                    .ok_or(error)
            }
            result => result,
        }
    }

    /// Suspends or resumes exactly this version of a CronJob, and changes nothing else of it.
    pub async fn set_suspended(&self, name: &ObjectName, guard: &Guard, suspend: bool) -> Result<Applied, CallError> {
        let operation = Operation::new(if suspend { "suspend" } else { "resume" }, describe::<CronJob>(name));
        let body = json!({
            "metadata": {"uid": guard.uid, "resourceVersion": guard.resource_version},
            "spec": {"suspend": suspend},
        });
        let parameters =
            PatchParams { field_manager: Some(labels::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let request = path::<CronJob>(name).patch(&name.name, &parameters, &Patch::Merge(&body));
        self.write(&operation, request).await
    }

    /// The Secret that is to be copied; none where there is none. Read at the moment of use and held no longer.
    pub async fn read_secret(&self, name: &ObjectName) -> Result<Option<SecretValues>, CallError> {
        let Some(secret) = self.get::<Secret>(name).await? else { return Ok(None) };
        let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
        Ok(Some(values_of(secret.metadata, data)))
    }

    /// `spec.kopia` of a ReplicationSource; none where there is none. It may hold credentials.
    pub async fn read_kopia(&self, name: &ObjectName) -> Result<Option<Value>, CallError> {
        let operation = Operation::new("get", format!("ReplicationSource {name}"));
        let url = format!("/apis/volsync.backube/v1alpha1/namespaces/{}/replicationsources", name.namespace);
        let request = Request::new(url).get(&name.name, &kube::api::GetParams::default());
        let text = match self.text(&operation, request).await {
            Ok(text) => text,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut object: Source = self.parse(&operation, &text)?;
        Ok(object.spec.get_mut("kopia").map(Value::take))
    }

    /// A CA ConfigMap that is to be copied; none where there is none.
    pub async fn read_config_map(&self, name: &ObjectName) -> Result<Option<SecretValues>, CallError> {
        let Some(map) = self.get::<ConfigMap>(name).await? else { return Ok(None) };
        let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
        let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        Ok(Some(values_of(map.metadata, text.chain(binary).collect())))
    }

    /// Warnings about the object of this uid: why a Job or Pod does not start, or why a CronJob makes no Job.
    pub async fn warnings(&self, namespace: &str, uid: &str) -> Result<Vec<Event>, CallError> {
        let operation = Operation::list(format!("Events in namespace {namespace}"));
        let selector = format!("involvedObject.uid={uid},type=Warning");
        let parameters =
            ListParams { field_selector: Some(selector), limit: Some(EVENTS_MAX), ..ListParams::default() };
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/events")).list(&parameters);
        let text = self.text(&operation, request).await?;
        let page: ObjectList<Event> = self.parse(&operation, &text)?;
        Ok(page.items)
    }

    /// The version of this hub's object of that name; none where there is none; `NotOurs` where another's stands.
    pub async fn owned<K: Pushed>(&self, hub: &str, name: &ObjectName) -> Result<Option<Guard>, CallError> {
        self.own::<K>(hub, name, &Operation::new("get", describe::<K>(name))).await
    }

    async fn own<K: Pushed>(
        &self,
        hub: &str,
        name: &ObjectName,
        operation: &Operation,
    ) -> Result<Option<Guard>, CallError> {
        let look_up = Operation::new("get", describe::<K>(name));
        let request = path::<K>(name).get_metadata(&name.name, &kube::api::GetParams::default());
        let text = match self.text(&look_up, request).await {
            Ok(text) => text,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let found: PartialObjectMeta<K> = self.parse(&look_up, &text)?;
        if let Some(stranger) = stranger(&found.metadata, hub) {
            return Err(CallError::new(self.name(), operation, Class::NotOurs, &stranger));
        }
        let text = |value: Option<String>| value.unwrap_or_default().into_boxed_str();
        let ObjectMeta { uid, resource_version, .. } = found.metadata;
        Ok(Some(Guard { uid: text(uid), resource_version: text(resource_version) }))
    }

    async fn write(
        &self,
        operation: &Operation,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Applied, CallError> {
        let text = self.text(operation, request).await?;
        let written: Written = self.parse(operation, &text)?;
        let WrittenMeta { uid, resource_version, generation } = written.metadata;
        Ok(Applied { uid, resource_version, generation })
    }

    fn unwritable(&self, operation: &Operation, error: &serde_json::Error) -> CallError {
        let detail = format!("it can't be written as JSON (line {})", error.line());
        CallError::new(self.name(), operation, Class::Other, &detail)
    }
}

#[derive(serde::Deserialize)]
struct Written {
    metadata: WrittenMeta,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMeta {
    uid: Box<str>,
    resource_version: Box<str>,
    #[serde(default)]
    generation: i64,
}

fn values_of(metadata: ObjectMeta, data: BTreeMap<String, Vec<u8>>) -> SecretValues {
    let text = |value: Option<String>| value.unwrap_or_default().into_boxed_str();
    SecretValues { uid: text(metadata.uid), resource_version: text(metadata.resource_version), data }
}

/// Why an object is not this hub's; none if it is. The hub's id stands in a label and in an annotation of the same
/// key, and the API server keeps who applied an object, so that one whose label someone removed is still known.
pub fn stranger(metadata: &ObjectMeta, hub: &str) -> Option<String> {
    let mark = [&metadata.labels, &metadata.annotations].into_iter().flatten().find_map(|marks| marks.get(labels::HUB));
    match mark {
        Some(other) if other == hub => None,
        Some(other) => Some(format!("it belongs to the hub {other:?}, so it is left alone")),
        None if metadata.managed_fields.iter().flatten().any(is_apply_of_ours) => None,
        None => Some(format!(
            "an object of this name stands there without the label {}, so it is left alone; rename or delete it",
            labels::HUB
        )),
    }
}

/// Only a hub applies under this name; its other writes also go to objects that are not its own.
fn is_apply_of_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(labels::FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply")
}

/// Adds what server-side apply needs in the body and typed objects do not write.
fn complete<K: Pushed>(body: &mut Value, guard: Option<&Guard>) {
    body["apiVersion"] = K::api_version(&()).into();
    body["kind"] = K::kind(&()).into();
    if let Some(guard) = guard {
        body["metadata"]["uid"] = (*guard.uid).into();
        body["metadata"]["resourceVersion"] = (*guard.resource_version).into();
    }
    if let Some(traceparent) = trace::traceparent(&Span::current()) {
        name_trace(body, &traceparent);
    }
}

/// Lets a run be traced back to what pushed its CronJob. No part of what is wanted: it is written along with a change, and
/// is no reason for one.
fn name_trace(body: &mut Value, traceparent: &str) {
    if matches!(body["kind"].as_str(), Some("CronJob" | "Job")) {
        body["metadata"]["annotations"][labels::TRACEPARENT] = traceparent.into();
    }
    if let Some(template) = body.pointer_mut("/spec/jobTemplate") {
        template["metadata"]["annotations"][labels::TRACEPARENT] = traceparent.into();
    }
}

fn path<K: Pushed>(name: &ObjectName) -> Request {
    Request::new(K::url_path(&(), Some(&name.namespace)))
}

fn name_of(metadata: &ObjectMeta) -> ObjectName {
    ObjectName::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

fn describe<K: Pushed>(name: &ObjectName) -> String {
    format!("{} {name}", K::kind(&()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> ObjectMeta {
        let map = |marks: &[(&str, &str)]| marks.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        ObjectMeta { labels: Some(map(labels)), annotations: Some(map(annotations)), ..ObjectMeta::default() }
    }

    #[test]
    fn only_this_hubs_objects_are_touched() {
        assert!(stranger(&ObjectMeta::default(), "one").is_some());
        assert!(stranger(&marked(&[(labels::MANAGED_BY, labels::MANAGED_BY_VALUE)], &[]), "one").is_some());
        assert!(stranger(&marked(&[(labels::HUB, "two")], &[(labels::HUB, "one")]), "one").is_some());
        assert_eq!(stranger(&marked(&[(labels::HUB, "one")], &[]), "one"), None);
        assert_eq!(stranger(&marked(&[], &[(labels::HUB, "one")]), "one"), None, "its labels were removed");
    }

    #[test]
    fn what_is_said_of_another_hubs_object_names_that_hub() {
        let told = stranger(&marked(&[(labels::HUB, "two")], &[]), "one").unwrap();
        assert_eq!(crate::plan::foreign::hubs_named(&told).collect::<Vec<_>>(), ["two"]);
    }

    #[test]
    fn what_this_hub_applied_stays_its_own_without_any_label() {
        let managed = |manager: &str, operation: &str, labels: &[(&str, &str)]| {
            let entry = ManagedFieldsEntry {
                manager: Some(manager.to_owned()),
                operation: Some(operation.to_owned()),
                ..ManagedFieldsEntry::default()
            };
            ObjectMeta { managed_fields: Some(vec![entry]), ..marked(labels, &[]) }
        };
        assert_eq!(stranger(&managed(labels::FIELD_MANAGER, "Apply", &[]), "one"), None);
        assert!(stranger(&managed(labels::FIELD_MANAGER, "Update", &[]), "one").is_some());
        assert!(stranger(&managed("kubectl", "Apply", &[]), "one").is_some());
        assert!(stranger(&managed(labels::FIELD_MANAGER, "Apply", &[(labels::HUB, "two")]), "one").is_some());
    }

    #[test]
    fn a_trace_is_named_on_cron_jobs_their_jobs_and_jobs_and_nowhere_else() {
        let named = |kind: &str| {
            let mut body = json!({"kind": kind, "metadata": {"annotations": {"a": "b"}}});
            if kind == "CronJob" {
                body["spec"]["jobTemplate"]["metadata"] = json!({"labels": {}});
            }
            name_trace(&mut body, "00-1-2-01");
            let on = |pointer: &str| body.pointer(pointer).and_then(|it| it.get(labels::TRACEPARENT)).is_some();
            (on("/metadata/annotations"), on("/spec/jobTemplate/metadata/annotations"))
        };
        assert_eq!(named("CronJob"), (true, true));
        assert_eq!(named("Job"), (true, false));
        assert_eq!(named("Secret"), (false, false));
    }

    #[test]
    fn values_that_are_copied_are_not_printed() {
        let data = BTreeMap::from([("KOPIA_PASSWORD".to_owned(), b"s3cr3t".to_vec())]);
        let values = SecretValues { uid: Box::default(), resource_version: Box::default(), data };
        assert_eq!(format!("{values:?}"), "{\"KOPIA_PASSWORD\"}");
    }
}

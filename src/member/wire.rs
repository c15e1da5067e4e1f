//! The few fields that are read of each kind, as they stand in the API. Nothing else is kept while parsing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::bounded;
use crate::names::ObjectName;

type Labels = BTreeMap<Box<str>, Box<str>>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    pub name: Box<str>,
    pub namespace: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub generation: i64,
    pub creation_timestamp: Option<Timestamp>,
    pub deletion_timestamp: Option<Timestamp>,
    pub labels: Labels,
    pub annotations: Labels,
    pub managed_fields: Vec<Manager>,
    pub owner_references: Vec<Owner>,
}

/// The fields themselves are skipped while parsing: they are the larger half of most objects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Manager {
    #[serde(rename = "manager")]
    pub name: Box<str>,
    pub subresource: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Owner {
    pub kind: Box<str>,
    pub name: Box<str>,
}

impl Meta {
    pub fn object_name(&self) -> ObjectName {
        ObjectName::new(&*self.namespace, &*self.name)
    }
}

/// An object of any kind that is watched.
pub trait Object: serde::de::DeserializeOwned + Clone + Send + Sync + 'static {
    fn meta(&self) -> &Meta;
}

macro_rules! object {
    ($($kind:ident),*) => {
        $(impl Object for $kind {
            fn meta(&self) -> &Meta {
                &self.metadata
            }
        })*
    };
}

object!(Bare, Custom, Source, CronJob, Job, Pod, Secret);

/// Metadata only.
#[derive(Clone, Debug, Deserialize)]
pub struct Bare {
    pub metadata: Meta,
}

/// An object of a custom kind that is known roughly.
#[derive(Clone, Debug, Deserialize)]
pub struct Custom {
    pub metadata: Meta,
    #[serde(default, deserialize_with = "bounded::value")]
    pub spec: Value,
}

/// A ReplicationSource. What a user wrote stays untyped: a broken one must not hide the others.
#[derive(Clone, Debug, Deserialize)]
pub struct Source {
    pub metadata: Meta,
    #[serde(default, deserialize_with = "bounded::value")]
    pub spec: Value,
    #[serde(default, deserialize_with = "bounded::value")]
    pub status: Value,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Secret {
    pub metadata: Meta,
    #[serde(default)]
    pub data: BTreeMap<String, SecretValue>,
}

/// Base64 as it came; wiped when dropped, never printed.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct SecretValue(pub zeroize::Zeroizing<String>);

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl SecretValue {
    /// None where it is no base64, which no API server sends.
    pub fn decode(&self) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &*self.0).ok().map(Into::into)
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct CronJob {
    pub metadata: Meta,
    #[serde(default)]
    pub spec: CronJobSpec,
    #[serde(default)]
    pub status: CronJobStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJobSpec {
    pub schedule: Box<str>,
    pub time_zone: Option<Box<str>>,
    pub suspend: bool,
    pub job_template: JobTemplate,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JobTemplate {
    pub spec: JobSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobSpec {
    pub active_deadline_seconds: Option<i64>,
    pub suspend: bool,
    pub template: PodTemplate,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodTemplate {
    pub spec: PodSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodSpec {
    pub containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    pub name: Box<str>,
    pub env: Vec<Variable>,
    pub env_from: Vec<VariableSource>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Variable {
    pub name: Box<str>,
    pub value: Option<Box<str>>,
    pub value_from: Option<ValueFrom>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ValueFrom {
    pub secret_key_ref: Option<Named>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VariableSource {
    pub secret_ref: Option<Named>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Named {
    pub name: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJobStatus {
    pub last_schedule_time: Option<Timestamp>,
    pub active: Vec<Named>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    pub metadata: Meta,
    #[serde(default)]
    pub spec: JobSpec,
    #[serde(default)]
    pub status: JobStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobStatus {
    pub active: i32,
    pub succeeded: i32,
    pub failed: i32,
    pub start_time: Option<Timestamp>,
    pub completion_time: Option<Timestamp>,
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: Box<str>,
    pub status: Box<str>,
    pub reason: Box<str>,
    pub message: Box<str>,
    pub last_transition_time: Option<Timestamp>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Pod {
    pub metadata: Meta,
    #[serde(default)]
    pub status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    pub phase: Box<str>,
    pub reason: Option<Box<str>>,
    pub message: Option<Box<str>>,
    pub start_time: Option<Timestamp>,
    pub conditions: Vec<Condition>,
    pub container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    pub state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    pub waiting: Option<Waiting>,
    pub terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Waiting {
    pub reason: Box<str>,
    pub message: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub reason: Box<str>,
    pub message: Box<str>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// One page of a list. What does not look like one in every respect is not read as an empty one: a proxy's `{}` must
/// not pass for "there is nothing".
#[derive(Debug, Deserialize)]
#[serde(bound = "T: serde::de::DeserializeOwned")]
pub struct Page<T> {
    #[serde(rename = "kind", deserialize_with = "kind_of_list")]
    _kind: (),
    pub metadata: PageMeta,
    #[serde(deserialize_with = "null_is_empty")]
    pub items: Vec<T>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageMeta {
    #[serde(deserialize_with = "not_blank")]
    pub resource_version: String,
    #[serde(default, rename = "continue")]
    pub next: String,
}

fn kind_of_list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    let kind = String::deserialize(deserializer)?;
    if kind.ends_with("List") { Ok(()) } else { Err(serde::de::Error::custom("it is no list")) }
}

fn not_blank<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Err(serde::de::Error::custom("it has no version")) } else { Ok(text) }
}

/// Go writes an empty list as null where nobody made one. Absent is something else.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_but_a_list_reads_as_an_empty_list() {
        let empty = r#"{"kind": "SecretList", "metadata": {"resourceVersion": "7"}, "items": null}"#;
        let page: Page<Bare> = serde_json::from_str(empty).unwrap();
        assert!(page.items.is_empty() && page.metadata.next.is_empty());
        for other in [
            "{}",
            "null",
            r#"{"items": []}"#,
            r#"{"kind": "Status", "metadata": {"resourceVersion": "7"}, "items": []}"#,
            r#"{"kind": "SecretList", "metadata": {}, "items": []}"#,
            r#"{"kind": "SecretList", "metadata": {"resourceVersion": ""}, "items": []}"#,
            r#"{"kind": "SecretList", "metadata": {"resourceVersion": "7"}}"#,
            r#"{"kind": "SecretList", "metadata": {"resourceVersion": "7"}, "items": [{"#,
        ] {
            assert!(serde_json::from_str::<Page<Bare>>(other).is_err(), "{other}");
        }
    }
}

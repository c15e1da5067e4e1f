//! Server-side apply: the door, the part, and what is new; the merge itself is in `managed`.

use serde_json::{Value, json};

use super::admission::{self, Part};
use super::failure::{Cause, Failure};
use super::managed;
use super::resource::Resource;
use super::store::Inner;
use super::write::{WriteOptions, Written, check_identity, set_metadata, text};

impl Inner {
    /// Server-side apply.
    pub(super) fn apply(
        &mut self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        mut body: Value,
        part: Part,
        options: &WriteOptions,
    ) -> Result<Written, Failure> {
        if body["kind"].as_str().is_none() || body["apiVersion"].as_str().is_none() {
            return Err(Failure::bad_request("invalid object type: /, Kind="));
        }
        if body["metadata"]["managedFields"].is_array() {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        // A null that is applied is a field too, so it must outlive the check.
        let applied = body.clone();
        admission::check_envelope(&mut body, resource, namespace, Some(name))?;
        admission::check_declared(&applied, resource)?;
        let mut applied = applied;
        applied["metadata"] = body["metadata"].clone();
        keep_part(&mut applied, resource, part);
        let writer = self.writer(resource, options, part);
        let Ok(stored) = self.find(resource, namespace, name) else {
            return self.apply_new(resource, namespace, &applied, part, options);
        };
        let live = stored.value();
        let uid = text(&applied, "uid").to_owned();
        set_metadata(&mut applied, "uid", None);
        check_identity(resource, &live, &applied)?;
        if !uid.is_empty() && uid != text(&live, "uid") {
            return Err(immutable_uid(resource, name, &uid));
        }
        set_metadata(&mut applied, "resourceVersion", None);
        let mut merged = managed::apply(&live, &applied, &resource.schema, &writer, options.force)?;
        if part == Part::Main && resource.status && merged.get("status") != live.get("status") {
            merged["status"] = live["status"].clone();
        }
        self.settle(resource, &stored, merged, (part, false), options)
    }

    fn apply_new(
        &mut self,
        resource: &Resource,
        namespace: &str,
        applied: &Value,
        part: Part,
        options: &WriteOptions,
    ) -> Result<Written, Failure> {
        let name = text(applied, "name");
        if part == Part::Status {
            return Err(Failure::not_found(resource, name));
        }
        if !text(applied, "uid").is_empty() {
            return Err(Failure::no_such_uid(resource, name, text(applied, "uid")));
        }
        admission::check_name(resource, name)?;
        let writer = self.writer(resource, options, part);
        let nothing = json!({"metadata": {}});
        let object = managed::apply(&nothing, applied, &resource.schema, &writer, options.force)?;
        self.insert(resource, namespace, object, options, None)
    }
}

fn immutable_uid(resource: &Resource, name: &str, given: &str) -> Failure {
    let cause = Cause::invalid("metadata.uid", &format!("{given:?}"), "field is immutable");
    Failure::invalid_object(resource, name, &[cause])
}

/// An apply sees only the part it was sent to.
fn keep_part(applied: &mut Value, resource: &Resource, part: Part) {
    let Some(fields) = applied.as_object_mut() else { return };
    match part {
        Part::Status => {
            fields.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|name, _| matches!(name.as_str(), "name" | "namespace" | "uid" | "resourceVersion"));
            }
        }
        Part::Main if resource.status => {
            fields.remove("status");
        }
        Part::Main => {}
    }
}

//! Suspends another tool's maintenance object and lets it go again, with a note on it. Nothing else of it is changed, and
//! it is never deleted.

use kube::api::{Patch, PatchParams};
use kube::core::params::ListParams;
use kube::core::request::Request;
use serde_json::{Value, json};

use super::call::{CallError, Member, Operation};
use super::records;
use super::wire::{Bare, Custom, Page};
use crate::labels;
use crate::names::ObjectName;
use crate::plan::adoption::Restored;
use crate::plan::foreign::{Adopted, ForeignKind, ForeignObject};

impl Member {
    /// One of another tool's objects as it stands now; none where there is none. A list, for which the right is there
    /// anyway.
    pub async fn find_foreign(&self, kind: ForeignKind, name: &ObjectName) -> Result<Option<ForeignObject>, CallError> {
        let operation = Operation::list(format!("{} {name}", kind.as_str()));
        let selector = Some(format!("metadata.name={}", name.name));
        let parameters = ListParams { field_selector: selector, ..ListParams::default() };
        let text = self.text(&operation, Request::new(path(kind, None)).list(&parameters)).await?;
        let page: Page<Custom> = self.parse(&operation, &text)?;
        let found = page.items.into_iter().find(|object| object.metadata.object_name() == *name);
        Ok(found.map(|object| records::foreign_of_kind(kind, object)))
    }

    /// Sets the note, or takes it away, and `spec.suspend` with it; on exactly this version of the object. Returns the
    /// new version.
    pub async fn mark_foreign(
        &self,
        kind: ForeignKind,
        name: &ObjectName,
        object: &ForeignObject,
        note: Option<&Adopted>,
        suspend: Restored,
    ) -> Result<Box<str>, CallError> {
        let verb = if note.is_some() { "suspend" } else { "let go" };
        let operation = Operation::new(verb, format!("{} {name}", kind.as_str()));
        let body = body(object, note, suspend);
        let parameters = PatchParams { field_manager: Some(labels::ADOPTER.to_owned()), ..PatchParams::default() };
        let request = Request::new(path(kind, Some(&name.namespace)));
        let request = request.patch(&name.name, &parameters, &Patch::Merge(&body));
        let text = self.text(&operation, request).await?;
        let written: Bare = self.parse(&operation, &text)?;
        Ok(written.metadata.resource_version)
    }
}

fn body(object: &ForeignObject, note: Option<&Adopted>, suspend: Restored) -> Value {
    let mut body = json!({"metadata": {
        "uid": object.uid,
        "resourceVersion": object.resource_version,
        "annotations": {labels::ADOPTED: note.map(ToString::to_string)},
    }});
    match suspend {
        Restored::Stays => {}
        Restored::Unset => body["spec"] = json!({"suspend": null}),
        Restored::Is(suspend) => body["spec"] = json!({"suspend": suspend}),
    }
    body
}

/// `v1` and `v1alpha1` are all the versions that these kinds have had.
fn path(kind: ForeignKind, namespace: Option<&str>) -> String {
    let (group, plural) = kind.resource();
    let version = if kind == ForeignKind::CronJob { "v1" } else { "v1alpha1" };
    match namespace {
        Some(namespace) => format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}"),
        None => format!("/apis/{group}/{version}/{plural}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_but_the_note_and_the_suspension_is_written_on_that_version() {
        let object = ForeignObject { uid: "u".into(), resource_version: "7".into(), ..ForeignObject::default() };
        let note = Adopted {
            hub: "hub-t".into(),
            repository: "0123456789abcdef".parse().unwrap(),
            suspend: None,
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        let suspended = body(&object, Some(&note), Restored::Is(true));
        assert_eq!(suspended["spec"], json!({"suspend": true}));
        assert_eq!(
            (&suspended["metadata"]["uid"], &suspended["metadata"]["resourceVersion"]),
            (&json!("u"), &json!("7"))
        );
        let text = suspended["metadata"]["annotations"][labels::ADOPTED].as_str().unwrap();
        assert_eq!(Adopted::read(text), Some(note));
        let gone = json!({"uid": "u", "resourceVersion": "7", "annotations": {labels::ADOPTED: null}});
        assert_eq!(body(&object, None, Restored::Unset), json!({"metadata": gone, "spec": {"suspend": null}}));
        assert_eq!(body(&object, None, Restored::Stays), json!({"metadata": gone}));
    }
}

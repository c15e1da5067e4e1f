//! Events have two addresses: what is written to `events.k8s.io` is read at the core group too, in its own words.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::resource::Resource;
use super::store::Store;

const GROUP: &str = "events.k8s.io";

/// (in `events.k8s.io`, in the core group); all other fields have the same name.
const WORDS: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
];

/// Its objects are kept as another kind.
pub(super) fn is_view(resource: &Resource) -> bool {
    &*resource.group == GROUP
}

/// The kind as which the objects of a kind are stored.
pub(super) fn stored(store: &Store, resource: &Arc<Resource>) -> Arc<Resource> {
    let core = is_view(resource).then(|| store.lock().resource("", "events")).flatten();
    core.unwrap_or_else(|| resource.clone())
}

/// A body, whole or a patch, in the words of what is stored.
pub(super) fn written(mut body: Value, resource: &Resource) -> Value {
    if is_view(resource) {
        rename(&mut body, WORDS, "v1");
    }
    body
}

/// A stored object in the words of the asked group.
pub(super) fn shown(json: &Bytes, resource: &Resource) -> Bytes {
    if !is_view(resource) {
        return json.clone();
    }
    let mut object: Value = serde_json::from_slice(json).unwrap_or_default();
    rename(&mut object, WORDS.map(|(here, core)| (core, here)), "events.k8s.io/v1");
    Bytes::from(object.to_string())
}

fn rename(object: &mut Value, words: [(&str, &str); 7], api_version: &str) {
    let Some(fields) = object.as_object_mut() else { return };
    for (from, to) in words {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
    if let Some(version) = fields.get_mut("apiVersion") {
        *version = api_version.into();
    }
}

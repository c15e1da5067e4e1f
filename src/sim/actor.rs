//! Lets scenario drivers play controllers, kubelets and users inside a simulated cluster, without a connection:
//! they go on when the cluster is out of reach for everybody else.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::admission::{Part, Unknown};
use super::failure::Failure;
use super::resource::Resource;
use super::store::{Store, Stored};
use super::write::{Preconditions, WriteOptions};

/// Acts on a cluster's objects under a field manager's name.
#[derive(Clone, Debug)]
pub struct Actor {
    store: Store,
    manager: Arc<str>,
}

impl Store {
    pub fn actor(&self, manager: &str) -> Actor {
        Actor { store: self.clone(), manager: manager.into() }
    }
}

impl Actor {
    fn options(&self) -> WriteOptions {
        WriteOptions { manager: self.manager.to_string(), dry_run: false, unknown: Unknown::Drop, force: true }
    }

    fn resource(&self, group: &str, plural: &str) -> Result<Arc<Resource>, Failure> {
        self.store.lock().resource(group, plural).ok_or_else(|| {
            Failure::bad_request(format!("the simulated cluster serves no {plural} of the group {group:?}"))
        })
    }

    /// The kind of an object that carries its `apiVersion` and `kind`.
    pub(super) fn resource_of(&self, object: &Value) -> Result<Arc<Resource>, Failure> {
        let (api_version, kind) = (&object["apiVersion"], &object["kind"]);
        let served = self.store.lock().resources().into_iter();
        let mut fitting = served.filter(|resource| *kind == *resource.kind && *api_version == *resource.api_version());
        fitting
            .next()
            .ok_or_else(|| Failure::bad_request(format!("the simulated cluster serves no {kind} of {api_version}")))
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// All objects of a kind; none where it is not served.
    pub fn list(&self, group: &str, plural: &str) -> Vec<Value> {
        self.stored((group, plural)).iter().map(|object| object.value()).collect()
    }
    /// As [`Self::list`], in the form in which objects rest.
    pub fn stored(&self, (group, plural): (&str, &str)) -> Vec<Arc<Stored>> {
        let Ok(resource) = self.resource(group, plural) else { return Vec::new() };
        self.store.lock().table(&resource).objects.values().cloned().collect()
    }
    pub fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let resource = self.resource(group, plural).ok()?;
        let found = self.store.lock().find(&resource, namespace, name).ok()?;
        Some(found.value())
    }
    /// The whole of an object of which a part is known, unless another has its name by now.
    pub fn find(&self, (group, plural): (&str, &str), part: &Value) -> Option<Value> {
        let text = |field: &str| part["metadata"][field].as_str().unwrap_or_default();
        let found = self.get(group, plural, text("namespace"), text("name"))?;
        (found["metadata"]["uid"] == part["metadata"]["uid"]).then_some(found)
    }
    /// Creates an object that carries its `apiVersion` and `kind`.
    pub fn create(&self, object: Value) -> Result<Value, Failure> {
        let resource = self.resource_of(&object)?;
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let (stored, _) = self.store.lock().create(&resource, &namespace, object, &self.options())?;
        Ok(stored.value())
    }
    /// Applies an object that carries its `apiVersion` and `kind`, taking fields from others; with its status too.
    pub fn apply(&self, object: &Value) -> Result<Value, Failure> {
        let resource = self.resource_of(object)?;
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let place = (text("namespace"), text("name"));
        let mut inner = self.store.lock();
        let (mut stored, _) = inner.apply(&resource, place, object.clone(), Part::Main, &self.options())?;
        if resource.status && object["status"].is_object() {
            (stored, _) = inner.apply(&resource, place, object.clone(), Part::Status, &self.options())?;
        }
        Ok(stored.value())
    }
    /// Merges a change into an object.
    pub fn merge(&self, id: (&str, &str), place: (&str, &str), change: &Value) -> Result<Value, Failure> {
        self.patch(id, place, Part::Main, change)
    }
    /// Merges a change of status into an object.
    pub fn merge_status(&self, id: (&str, &str), place: (&str, &str), status: &Value) -> Result<Value, Failure> {
        self.patch(id, place, Part::Status, &json!({"status": status}))
    }
    fn patch(&self, id: (&str, &str), place: (&str, &str), part: Part, change: &Value) -> Result<Value, Failure> {
        let resource = self.resource(id.0, id.1)?;
        let (stored, _) = self.store.lock().patch(&resource, place, part, &self.options(), |object| {
            json_patch::merge(object, change);
            Ok(())
        })?;
        Ok(stored.value())
    }
    pub fn delete(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Result<(), Failure> {
        let resource = self.resource(group, plural)?;
        let anything = Preconditions::default();
        self.store.lock().delete(&resource, (namespace, name), &anything, &self.options())?;
        Ok(())
    }
    /// The resourceVersion of the last change of any of these kinds.
    pub fn changed(&self, ids: &[(&str, &str)]) -> u64 {
        let mut inner = self.store.lock();
        let kinds: Vec<_> = ids.iter().filter_map(|(group, plural)| inner.resource(group, plural)).collect();
        kinds.iter().map(|kind| inner.table(kind).changed()).max().unwrap_or_default()
    }
    /// Wakes at each change of a kind.
    pub fn changes(&self, group: &str, plural: &str) -> Option<watch::Receiver<u64>> {
        let resource = self.resource(group, plural).ok()?;
        Some(self.store.subscribe(&resource))
    }
}

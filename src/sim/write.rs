//! Creates, updates, patches and deletes objects, with preconditions, finalizers and the rules of subresources.

use std::sync::Arc;

use serde_json::{Value, json};

use super::admission::{self, Part, Unknown};
use super::builtin;
use super::events;
use super::failure::{Cause, Failure};
use super::managed::{self, Writer};
use super::resource::{DEFINITIONS, Resource};
use super::store::{Change, Inner, Stored};

/// How a write is made.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteOptions {
    pub manager: String,
    pub dry_run: bool,
    pub unknown: Unknown,
    /// Of an apply: take fields from other managers.
    pub force: bool,
}

/// What must hold for a delete to happen.
#[derive(Clone, Debug, Default)]
pub(super) struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// A stored object, and whether this request created it.
pub(super) type Written = (Arc<Stored>, bool);

impl Inner {
    pub(super) fn create(
        &mut self,
        resource: &Resource,
        namespace: &str,
        mut body: Value,
        options: &WriteOptions,
    ) -> Result<Written, Failure> {
        admission::check_envelope(&mut body, resource, namespace, None)?;
        if !text(&body, "resourceVersion").is_empty() {
            return Err(Failure::internal("resourceVersion should not be set on objects to be created"));
        }
        self.name_it(resource, &mut body)?;
        set_metadata(&mut body, "managedFields", None);
        self.insert(resource, namespace, body, options, Some(Part::Main))
    }

    fn name_it(&mut self, resource: &Resource, body: &mut Value) -> Result<(), Failure> {
        if text(body, "name").is_empty() {
            let prefix = text(body, "generateName").to_owned();
            if prefix.is_empty() {
                let cause = Cause::new(
                    "FieldValueRequired",
                    "metadata.name",
                    "Required value: name or generateName is required",
                );
                return Err(Failure::invalid_object(resource, "", &[cause]));
            }
            let name = format!("{prefix}{}", &self.draw()[..5]);
            set_metadata(body, "name", Some(name.into()));
        }
        admission::check_name(resource, text(body, "name"))
    }

    /// Stores an object that has passed its door. `record`: the part whose fields become the writer's.
    pub(super) fn insert(
        &mut self,
        resource: &Resource,
        namespace: &str,
        mut object: Value,
        options: &WriteOptions,
        record: Option<Part>,
    ) -> Result<Written, Failure> {
        let name = text(&object, "name").to_owned();
        if resource.namespaced {
            self.check_namespace(resource, namespace, &name)?;
        }
        if self.find(resource, namespace, &name).is_ok() {
            return Err(Failure::already_exists(resource, &name));
        }
        if resource.status
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
        }
        let uid = self.draw_uid();
        set_metadata(&mut object, "uid", Some(uid.into()));
        set_metadata(&mut object, "creationTimestamp", Some(self.now_text().into()));
        for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
            set_metadata(&mut object, field, None);
        }
        set_metadata(&mut object, "generation", resource.generation.then(|| 1.into()));
        admission::shape(&mut object, resource, options.unknown)?;
        if record.is_some() {
            let writer = self.writer(resource, options, Part::Main);
            managed::record_update(&json!({}), &mut object, &resource.schema, &writer);
        }
        Ok((self.commit(resource, Change::Added, object, options), true))
    }

    fn check_namespace(&self, resource: &Resource, namespace: &str, name: &str) -> Result<(), Failure> {
        let Some(namespaces) = self.resource("", "namespaces") else { return Ok(()) };
        let found = self.find(&namespaces, "", namespace).map_err(|_| Failure::no_namespace(namespace))?;
        if found.value()["metadata"]["deletionTimestamp"].is_string() {
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            return Err(Failure::forbidden(&resource.group, &resource.plural, name, &why));
        }
        Ok(())
    }

    /// Replaces an object (PUT).
    pub(super) fn update(
        &mut self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        mut body: Value,
        part: Part,
        options: &WriteOptions,
    ) -> Result<Written, Failure> {
        admission::check_envelope(&mut body, resource, namespace, Some(name))?;
        let old = self.find(resource, namespace, name)?;
        if resource.custom && text(&body, "resourceVersion").is_empty() {
            let cause = Cause::invalid("metadata.resourceVersion", "0", "must be specified for an update");
            return Err(Failure::invalid(&resource.group, &resource.plural, name, &[cause]));
        }
        self.replace(resource, &old, body, part, options)
    }

    /// Changes an object by a function of its present form (merge and JSON patches).
    pub(super) fn patch(
        &mut self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        part: Part,
        options: &WriteOptions,
        change: impl FnOnce(&mut Value) -> Result<(), Failure>,
    ) -> Result<Written, Failure> {
        let old = self.find(resource, namespace, name)?;
        let mut new = old.value();
        change(&mut new)?;
        admission::check_envelope(&mut new, resource, namespace, Some(name))?;
        self.replace(resource, &old, new, part, options)
    }

    fn replace(
        &mut self,
        resource: &Resource,
        stored: &Arc<Stored>,
        mut new: Value,
        part: Part,
        options: &WriteOptions,
    ) -> Result<Written, Failure> {
        let old = stored.value();
        check_identity(resource, &old, &new)?;
        admission::keep_other_parts(&old, &mut new, resource, part);
        self.settle(resource, stored, new, (part, true), options)
    }

    /// Shapes and stores the new form of an object; the same form again changes nothing. `record`: what changed
    /// becomes the writer's.
    pub(super) fn settle(
        &mut self,
        resource: &Resource,
        stored: &Arc<Stored>,
        mut new: Value,
        (part, record): (Part, bool),
        options: &WriteOptions,
    ) -> Result<Written, Failure> {
        let old = stored.value();
        check_finalizers(resource, &old, &new)?;
        admission::shape(&mut new, resource, options.unknown)?;
        builtin::check_update(&old, &new, resource)?;
        admission::count_generation(&old, &mut new, resource);
        if record {
            let writer = self.writer(resource, options, part);
            managed::record_update(&old, &mut new, &resource.schema, &writer);
        }
        if managed::same_but_for_times(&old, &new) {
            return Ok((stored.clone(), false));
        }
        if old["metadata"]["deletionTimestamp"].is_string() && finalizers(&new).is_empty() {
            if !options.dry_run {
                self.remove(resource, &new);
            }
            return Ok((Arc::new(Stored::new(&new, stored.resource_version)), false));
        }
        Ok((self.commit(resource, Change::Modified, new, options), false))
    }

    /// Deletes an object, or marks it where finalizers hold it. Returns it as it is then, and whether it is gone.
    pub(super) fn delete(
        &mut self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        preconditions: &Preconditions,
        options: &WriteOptions,
    ) -> Result<(Arc<Stored>, bool), Failure> {
        let stored = self.find(resource, namespace, name)?;
        let mut object = stored.value();
        let held = |what, wanted: &Option<String>, found: &str| match wanted {
            Some(wanted) if wanted != found => Err(Failure::precondition(resource, name, what, wanted, found)),
            _ => Ok(()),
        };
        held("UID", &preconditions.uid, text(&object, "uid"))?;
        held("ResourceVersion", &preconditions.resource_version, text(&object, "resourceVersion"))?;
        if finalizers(&object).is_empty() {
            if !options.dry_run {
                self.remove_contents(resource, &object);
                self.remove(resource, &object);
            }
            return Ok((stored, true));
        }
        if object["metadata"]["deletionTimestamp"].is_string() {
            return Ok((stored, false));
        }
        set_metadata(&mut object, "deletionTimestamp", Some(self.now_text().into()));
        set_metadata(&mut object, "deletionGracePeriodSeconds", Some(0.into()));
        if resource.generation {
            let generation = object["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            set_metadata(&mut object, "generation", Some(generation.into()));
        }
        Ok((self.commit(resource, Change::Modified, object, options), false))
    }

    /// With a namespace goes what is in it, with a definition go its objects: the real cluster's controllers do so
    /// within seconds, here it happens at once and before the end of the namespace or definition itself.
    fn remove_contents(&mut self, resource: &Resource, object: &Value) {
        let name = text(object, "name");
        let inside: Vec<(Arc<Resource>, Arc<Stored>)> = match &*resource.plural {
            "namespaces" if resource.group.is_empty() => {
                let namespaced = self.resources().into_iter().filter(|kind| kind.namespaced && !events::is_view(kind));
                namespaced
                    .flat_map(|kind| {
                        let objects = self.tables.get(&kind.id()).into_iter().flat_map(|table| table.objects.values());
                        objects
                            .filter(|stored| &*stored.namespace == name)
                            .map(|stored| (kind.clone(), stored.clone()))
                            .collect::<Vec<_>>()
                    })
                    .collect()
            }
            plural if (&*resource.group, plural) == DEFINITIONS => {
                let Some(kind) = Resource::of_definition(object).map(Arc::new) else { return };
                let objects = self.tables.get(&kind.id()).into_iter().flat_map(|table| table.objects.values());
                objects.map(|stored| (kind.clone(), stored.clone())).collect()
            }
            _ => return,
        };
        for (kind, stored) in inside {
            self.remove(&kind, &stored.value());
        }
    }

    fn remove(&mut self, resource: &Resource, object: &Value) {
        let version = self.next_version();
        let mut last = object.clone();
        set_metadata(&mut last, "resourceVersion", Some(version.to_string().into()));
        self.table(resource).commit(Change::Deleted, Stored::new(&last, version));
        if (&*resource.group, &*resource.plural) == DEFINITIONS
            && let Some(kind) = Resource::of_definition(object)
        {
            self.custom.remove(&kind.id());
            self.table(&kind).close();
        }
    }

    fn commit(
        &mut self,
        resource: &Resource,
        change: Change,
        mut object: Value,
        options: &WriteOptions,
    ) -> Arc<Stored> {
        if options.dry_run {
            let version = object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
            return Arc::new(Stored::new(&object, version.unwrap_or_default()));
        }
        let version = self.next_version();
        set_metadata(&mut object, "resourceVersion", Some(version.to_string().into()));
        if (&*resource.group, &*resource.plural) == DEFINITIONS
            && let Some(kind) = Resource::of_definition(&object)
        {
            self.table(&kind).reopen();
            self.custom.insert(kind.id(), Arc::new(kind));
        }
        self.table(resource).commit(change, Stored::new(&object, version))
    }

    pub(super) fn writer(&self, resource: &Resource, options: &WriteOptions, part: Part) -> Writer {
        Writer {
            manager: options.manager.clone(),
            api_version: resource.api_version(),
            subresource: if part == Part::Status { "status" } else { "" },
            now: self.now_text(),
        }
    }
}

pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

pub(super) fn set_metadata(object: &mut Value, field: &str, value: Option<Value>) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    match value {
        Some(value) => metadata.insert(field.to_owned(), value),
        None => metadata.remove(field),
    };
}

fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The resourceVersion and uid that a write names must be those of the stored object.
pub(super) fn check_identity(resource: &Resource, old: &Value, new: &Value) -> Result<(), Failure> {
    let name = text(old, "name");
    let (version, uid) = (text(new, "resourceVersion"), text(new, "uid"));
    if !version.is_empty() && version != text(old, "resourceVersion") {
        return Err(Failure::modified(resource, name));
    }
    if !uid.is_empty() && uid != text(old, "uid") {
        return Err(Failure::other_uid(resource, name, uid, text(old, "uid")));
    }
    Ok(())
}

fn check_finalizers(resource: &Resource, old: &Value, new: &Value) -> Result<(), Failure> {
    let known = finalizers(old);
    if old["metadata"]["deletionTimestamp"].is_null() || finalizers(new).iter().all(|name| known.contains(name)) {
        return Ok(());
    }
    let why = "Forbidden: no new finalizers can be added if the object is being deleted";
    let cause = Cause::new("FieldValueForbidden", "metadata.finalizers", why);
    Err(Failure::invalid_object(resource, text(old, "name"), &[cause]))
}

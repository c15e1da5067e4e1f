//! `metadata.managedFields`: who holds which fields, after updates and after server-side applies.

use serde_json::{Value, json};

use super::failure::Failure;
use super::fields::{FieldSet, difference};
use super::merge::merge;
use super::schema::Schema;

/// Who writes, and through which door.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub manager: String,
    pub api_version: String,
    /// `status`, or empty.
    pub subresource: &'static str,
    /// RFC 3339, seconds.
    pub now: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: String,
    apply: bool,
    subresource: String,
    api_version: String,
    time: String,
    fields: FieldSet,
}

impl Entry {
    fn read(entry: &Value) -> Self {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        Self {
            manager: text("manager"),
            apply: entry["operation"] == "Apply",
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            time: text("time"),
            fields: FieldSet::of_json(&entry["fieldsV1"]),
        }
    }

    fn to_json(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager,
            "operation": if self.apply { "Apply" } else { "Update" },
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.to_json(),
        });
        if !self.time.is_empty() {
            entry["time"] = self.time.as_str().into();
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.as_str().into();
        }
        entry
    }

    fn is_of(&self, writer: &Writer, apply: bool) -> bool {
        self.apply == apply && self.manager == writer.manager && self.subresource == writer.subresource
    }

    /// As a conflict names it.
    fn shown(&self) -> String {
        let part = match self.subresource.as_str() {
            "" => String::new(),
            subresource => format!(" with subresource {subresource:?}"),
        };
        let version = if self.apply { String::new() } else { format!(" using {}", self.api_version) };
        format!("{:?}{part}{version}", self.manager)
    }
}

fn entries(object: &Value) -> Vec<Entry> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten().map(Entry::read).collect()
}

fn store(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    // Applies first, as the real server sorts them.
    entries.sort_by_key(|entry| !entry.apply);
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), entries.iter().map(Entry::to_json).collect());
    }
}

/// Records a create, update or patch that made `new` of `old`. What changed is the writer's from now on.
pub(super) fn record_update(old: &Value, new: &mut Value, schema: &Schema, writer: &Writer) {
    let mut entries = entries(old);
    let difference = difference(old, new, schema);
    if difference.changed.is_empty() && difference.removed.is_empty() {
        return store(new, entries);
    }
    let gone = difference.changed.union(&difference.removed);
    for entry in &mut entries {
        entry.fields = entry.fields.minus(if entry.is_of(writer, false) { &difference.removed } else { &gone });
    }
    if !difference.changed.is_empty() {
        match entries.iter_mut().find(|entry| entry.is_of(writer, false)) {
            Some(own) => {
                own.fields = own.fields.union(&difference.changed);
                own.time.clone_from(&writer.now);
            }
            None => entries.push(Entry {
                manager: writer.manager.clone(),
                apply: false,
                subresource: writer.subresource.to_owned(),
                api_version: writer.api_version.clone(),
                time: writer.now.clone(),
                fields: difference.changed,
            }),
        }
    }
    store(new, entries);
}

/// Merges an applied configuration into the live object. Fields that the writer applied before and dropped now are
/// removed where nobody else holds them. Fields of others that would change are a conflict, or taken with `force`.
pub(super) fn apply(
    live: &Value,
    applied: &Value,
    schema: &Schema,
    writer: &Writer,
    force: bool,
) -> Result<Value, Failure> {
    let mut entries = entries(live);
    let door = |step: &str| match writer.subresource {
        "status" => step == "f:status",
        _ => true,
    };
    let wanted = FieldSet::of_applied(applied, schema).only(door);
    let before = entries.iter().find(|entry| entry.is_of(writer, true)).map(|entry| entry.fields.clone());

    let mut result = merge(live, applied, schema);
    let changed = difference(live, &result, schema).changed.intersection(&wanted);
    let mut conflicts = Vec::new();
    for entry in entries.iter_mut().filter(|entry| !entry.is_of(writer, true)) {
        let taken = entry.fields.intersection(&changed);
        conflicts.extend(taken.paths().into_iter().map(|path| (entry.shown(), path)));
        if force {
            entry.fields = entry.fields.minus(&taken);
        }
    }
    if !force && !conflicts.is_empty() {
        return Err(Failure::apply_conflict(&conflicts));
    }

    if let Some(before) = &before {
        let others = entries
            .iter()
            .filter(|entry| !entry.is_of(writer, true))
            .fold(FieldSet::default(), |all, entry| all.union(&entry.fields));
        before.minus(&wanted).minus(&others).remove_from(&mut result, schema);
    }
    if before.as_ref() != Some(&wanted) {
        entries.retain(|entry| !entry.is_of(writer, true));
        entries.push(Entry {
            manager: writer.manager.clone(),
            apply: true,
            subresource: writer.subresource.to_owned(),
            api_version: writer.api_version.clone(),
            time: writer.now.clone(),
            fields: wanted,
        });
    } else if let Some(own) = entries.iter_mut().find(|entry| entry.is_of(writer, true)) {
        own.time.clone_from(&writer.now);
    }
    store(&mut result, entries);
    Ok(result)
}

/// Equal but for the times of managers: such a write is none.
pub(super) fn same_but_for_times(old: &Value, new: &Value) -> bool {
    fn timeless(object: &Value) -> Vec<Entry> {
        let mut entries = entries(object);
        for entry in &mut entries {
            entry.time.clear();
        }
        entries
    }
    fn rest(object: &Value) -> Value {
        let mut rest = object.clone();
        if let Some(metadata) = rest["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        rest
    }
    rest(old) == rest(new) && {
        let (mut old, mut new) = (timeless(old), timeless(new));
        let key = |entry: &Entry| (entry.apply, entry.manager.clone(), entry.subresource.clone());
        old.sort_by_key(key);
        new.sort_by_key(key);
        old == new
    }
}

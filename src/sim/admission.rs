//! What every written object passes before it is stored: the envelope is checked, fields of the server are set,
//! schema and defaults are applied, the generation is counted.

use serde_json::{Value, json};

use super::builtin;
use super::failure::{Cause, Failure};
use super::resource::Resource;
use super::schema::{Node, Schema};
use super::structural;

/// Which part of an object a request writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All but status, where the kind has it apart.
    Main,
    Status,
}

/// How unknown fields are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Unknown {
    #[default]
    Drop,
    Refuse,
}

/// Checks that a body is an object of this kind that fits the address it was sent to.
pub(super) fn check_envelope(
    body: &mut Value,
    resource: &Resource,
    namespace: &str,
    name: Option<&str>,
) -> Result<(), Failure> {
    let (kind, api_version) = (resource.kind.as_str(), resource.api_version());
    if !body.is_object() || body["kind"].as_str().is_none() || body["apiVersion"].as_str().is_none() {
        let message =
            format!("the object provided is unrecognized (must be of type {kind}): couldn't get version/kind");
        return Err(Failure::bad_request(message));
    }
    if body["kind"] != kind || body["apiVersion"] != api_version.as_str() {
        return Err(Failure::bad_request(format!(
            "{} in version {} cannot be handled as a {kind}",
            body["kind"].as_str().unwrap_or_default(),
            body["apiVersion"]
        )));
    }
    if body["metadata"].is_null() {
        body["metadata"] = json!({});
    }
    for part in ["metadata", "spec", "status", "data"] {
        if !matches!(body[part], Value::Object(_) | Value::Null) {
            return Err(Failure::bad_request(format!("{kind} can't be read: {part} must be an object")));
        }
    }
    drop_nulls(body);
    let metadata = &mut body["metadata"];
    match metadata["namespace"].as_str() {
        Some(given) if !given.is_empty() && given != namespace => {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Failure::bad_request(message));
        }
        _ if resource.namespaced => metadata["namespace"] = namespace.into(),
        _ => drop_nulls(metadata),
    }
    if let (Some(wanted), Some(given)) = (name, metadata["name"].as_str())
        && wanted != given
    {
        let message = format!("the name of the object ({given}) does not match the name on the URL ({wanted})");
        return Err(Failure::bad_request(message));
    }
    if let (Some(wanted), None) = (name, metadata["name"].as_str()) {
        metadata["name"] = wanted.into();
    }
    drop_nulls(metadata);
    Ok(())
}

/// Indexing a missing field leaves a null behind.
fn drop_nulls(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
}

/// Names that no object of any kind here may have.
pub(super) fn check_name(resource: &Resource, name: &str) -> Result<(), Failure> {
    let label = &*resource.plural == "namespaces";
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let inner = |letter: char| fits(letter) || letter == '-' || (letter == '.' && !label);
    let limit = if label { 63 } else { 253 };
    if name.len() <= limit && name.starts_with(fits) && name.ends_with(fits) && name.chars().all(inner) {
        return Ok(());
    }
    let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
               and must start and end with an alphanumeric character";
    Err(Failure::invalid_object(resource, name, &[Cause::invalid("metadata.name", &format!("{name:?}"), why)]))
}

/// Schema and defaults. The object's system fields are set already.
pub(super) fn shape(object: &mut Value, resource: &Resource, unknown: Unknown) -> Result<(), Failure> {
    drop_empty_metadata(object);
    let Node::Custom(schema) = resource.schema.root() else {
        builtin::fill_defaults(object, resource);
        return Ok(());
    };
    let dropped = structural::prune(object, schema);
    if unknown == Unknown::Refuse && !dropped.is_empty() {
        let fields: Vec<String> = dropped.iter().map(|path| format!("unknown field {path:?}")).collect();
        let kind = &resource.kind;
        return Err(Failure::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: strict decoding error: {}",
            resource.version,
            fields.join(", ")
        )));
    }
    structural::fill_defaults(object, schema);
    let causes = structural::check(object, schema);
    if causes.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid_object(resource, object["metadata"]["name"].as_str().unwrap_or_default(), &causes))
}

/// Lists and maps of metadata that hold nothing are not kept.
fn drop_empty_metadata(object: &mut Value) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let empty = match metadata.get(field) {
            Some(Value::Object(fields)) => fields.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            _ => false,
        };
        if empty {
            metadata.remove(field);
        }
    }
}

/// An applied object must not name what its schema does not know.
pub(super) fn check_declared(applied: &Value, resource: &Resource) -> Result<(), Failure> {
    let undeclared = undeclared(applied, &resource.schema);
    let Some(path) = undeclared else { return Ok(()) };
    Err(Failure::internal(format!(
        "failed to create typed patch object ({}/{}; {}, Kind={}): {path}: field not declared in schema",
        applied["metadata"]["namespace"].as_str().unwrap_or_default(),
        applied["metadata"]["name"].as_str().unwrap_or_default(),
        resource.api_version(),
        resource.kind
    )))
}

fn undeclared(applied: &Value, schema: &Schema) -> Option<String> {
    fn below(value: &Value, node: Node<'_>, path: &str) -> Option<String> {
        match value {
            Value::Object(fields) => fields.iter().find_map(|(name, field)| {
                let path = format!("{path}.{name}");
                match node.child(name) {
                    Some(node) => below(field, node, &path),
                    None => Some(path),
                }
            }),
            Value::Array(items) => items.iter().find_map(|item| below(item, node.item(), path)),
            _ => None,
        }
    }
    applied.as_object()?.iter().find_map(|(name, value)| {
        let path = format!(".{name}");
        match schema.field(name) {
            Some(node) => below(value, node, &path),
            None => Some(path),
        }
    })
}

/// What a write of one part takes over from the stored object, so that it changes nothing else.
pub(super) fn keep_other_parts(old: &Value, new: &mut Value, resource: &Resource, part: Part) {
    const OF_THE_SERVER: [&str; 8] = [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
    ];
    if part == Part::Status {
        let status = new.get("status").cloned();
        *new = old.clone();
        set(new, "status", status);
        return;
    }
    if resource.status {
        set(new, "status", old.get("status").cloned());
    }
    for field in OF_THE_SERVER {
        set(&mut new["metadata"], field, old["metadata"].get(field).cloned());
    }
    set(&mut new["metadata"], "managedFields", old["metadata"].get("managedFields").cloned());
}

fn set(object: &mut Value, field: &str, value: Option<Value>) {
    let Some(fields) = object.as_object_mut() else { return };
    match value {
        Some(value) => fields.insert(field.to_owned(), value),
        None => fields.remove(field),
    };
}

/// Counts a change of what is wanted, as opposed to metadata and status.
pub(super) fn count_generation(old: &Value, new: &mut Value, resource: &Resource) {
    if !resource.generation {
        return;
    }
    let wanted = |object: &Value| {
        let mut rest = object.clone();
        if let Some(fields) = rest.as_object_mut() {
            fields.remove("metadata");
            if resource.status {
                fields.remove("status");
            }
        }
        rest
    };
    if wanted(old) != wanted(new) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        new["metadata"]["generation"] = (generation + 1).into();
    }
}

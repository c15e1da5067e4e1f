//! The forms in which objects are shown: whole, metadata only, or as rows of a Table.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::events;
use super::failure::Failure;
use super::resource::{Column, Resource};

/// The form that a client asked for by its Accept header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    Metadata,
    Table,
}

impl Form {
    /// The first form in the header that this server has.
    pub(super) fn accepted(header: Option<&str>) -> Result<Self, Failure> {
        let header = header.unwrap_or("application/json");
        for part in header.split(',') {
            let mut words = part.split(';').map(str::trim);
            if !matches!(words.next(), Some("application/json" | "*/*" | "application/*" | "")) {
                continue;
            }
            match words.find_map(|word| word.strip_prefix("as=")) {
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Ok(Self::Metadata),
                Some("Table") => return Ok(Self::Table),
                // Such as the aggregated discovery, which clients do without.
                Some(_) => {}
                None => return Ok(Self::Whole),
            }
        }
        Err(Failure::not_acceptable("only the following media types are accepted: application/json"))
    }

    /// One object in this form; `columns`: a Table's first row carries the definitions.
    pub(super) fn object(self, json: &Bytes, resource: &Resource, columns: bool, now: Timestamp) -> Bytes {
        let json = events::shown(json, resource);
        match self {
            Self::Whole => json,
            Self::Metadata => Bytes::from(partial(&parse(&json)).to_string()),
            Self::Table => {
                let object = parse(&json);
                let version = object["metadata"]["resourceVersion"].clone();
                Bytes::from(table(&[object], resource, &json!({"resourceVersion": version}), columns, now).to_string())
            }
        }
    }

    /// A page of a list in this form.
    pub(super) fn list(self, items: &[Bytes], resource: &Resource, metadata: &Value, now: Timestamp) -> Bytes {
        let (kind, api_version) = match self {
            Self::Whole => (resource.list_kind.as_str(), resource.api_version()),
            Self::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1".to_owned()),
            Self::Table => {
                let objects: Vec<Value> = items.iter().map(|json| parse(&events::shown(json, resource))).collect();
                return Bytes::from(table(&objects, resource, metadata, true, now).to_string());
            }
        };
        let mut text = Vec::with_capacity(items.iter().map(Bytes::len).sum::<usize>() + 256);
        let head = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"items":["#);
        text.extend_from_slice(head.as_bytes());
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            text.extend_from_slice(&self.object(item, resource, false, now));
        }
        text.extend_from_slice(b"]}");
        Bytes::from(text)
    }

    /// The object of a BOOKMARK.
    pub(super) fn bookmark(self, resource: &Resource, resource_version: u64, initial_end: bool) -> Value {
        let (kind, api_version) = match self {
            Self::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
            Self::Whole | Self::Table => (resource.kind.as_str(), resource.api_version()),
        };
        let mut metadata = json!({"resourceVersion": resource_version.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        json!({"kind": kind, "apiVersion": api_version, "metadata": metadata})
    }
}

fn parse(json: &Bytes) -> Value {
    serde_json::from_slice(json).unwrap_or_default()
}

fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn table(objects: &[Value], resource: &Resource, metadata: &Value, columns: bool, now: Timestamp) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut cells = vec![object["metadata"]["name"].clone()];
            cells.extend(resource.columns.iter().map(|column| match at_path(object, &column.path) {
                Value::Null => absent(resource, column),
                value => cell(value, &column.kind, now),
            }));
            json!({"cells": cells, "object": partial(object)})
        })
        .collect();
    let mut table = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "rows": rows,
        "columnDefinitions": null});
    if columns {
        let name = json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0});
        let others = resource.columns.iter().map(|column| {
            // The server turns dates into ages itself.
            let kind = if column.kind == "date" { "string" } else { column.kind.as_str() };
            json!({"name": column.name, "type": kind, "format": "", "description": "", "priority": column.priority})
        });
        table["columnDefinitions"] = std::iter::once(name).chain(others).collect();
    }
    table
}

/// A custom kind's column is empty where there is nothing; built-in kinds have words for it.
fn absent(resource: &Resource, column: &Column) -> Value {
    match (resource.custom, &*column.kind, &*resource.plural) {
        (false, "date", "cronjobs") => "<none>".into(),
        (false, "date", _) => "<unknown>".into(),
        _ => Value::Null,
    }
}

fn cell(value: &Value, kind: &str, now: Timestamp) -> Value {
    match (kind, value) {
        ("date", Value::String(text)) => text.parse().map_or_else(|_| value.clone(), |then| age(then, now).into()),
        (_, Value::Object(_) | Value::Array(_)) => value.to_string().into(),
        _ => value.clone(),
    }
}

/// `.a.b`, `.a['b']`, `.a[0]`, `.a[-1:]`, `.a[?(@.type=="Ready")].status`: what print columns use.
fn at_path<'a>(object: &'a Value, path: &str) -> &'a Value {
    let mut value = object;
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let Some((inside, after)) = after.split_once(']') else { return &Value::Null };
            value = step_inside(value, inside);
            rest = after;
        } else {
            let after = rest.strip_prefix('.').unwrap_or(rest);
            let end = after.find(['.', '[']).unwrap_or(after.len());
            value = &value[&after[..end]];
            rest = &after[end..];
        }
    }
    value
}

fn step_inside<'a>(value: &'a Value, inside: &str) -> &'a Value {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if inside == "-1:" {
        return items.last().unwrap_or(&Value::Null);
    }
    if let Ok(index) = inside.parse::<usize>() {
        return items.get(index).unwrap_or(&Value::Null);
    }
    if let Some((field, wanted)) = inside.strip_prefix("?(@.").and_then(|filter| filter.split_once("==")) {
        let wanted = wanted.trim_end_matches(')').trim_matches(['"', '\'', ' ']);
        return items.iter().find(|item| item[field.trim()] == wanted).unwrap_or(&Value::Null);
    }
    &value[inside.trim_matches(['"', '\''])]
}

/// As kubectl shows ages.
fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_second() - then.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

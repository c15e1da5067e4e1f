//! Holds an object against the schema of its kind as an API server does in strict mode, and finds everything that
//! is wrong with it: unknown fields, types, bounds, patterns and the rules across fields. The wording follows
//! the API server's, so that both say the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::crd::Kind;
use super::rules::{CrossRule, REPOSITORY_NAME};
use super::shapes::{LABEL_VALUE, SUBDOMAIN, meaning};
use super::yaml::{child, item};
use super::{HUB_GROUP, POLICY_GROUP, Problem, VERSION};

/// Everything that is wrong with an object of this kind, apart from its status, which is the hub's own.
/// As in the API server, a field that is null is absent.
pub fn check(kind: Kind, object: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Value::Object(fields) = object else {
        return vec![Problem::new("", format!("must be of type object, not {}", type_of(object)))];
    };
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    for field in fields.keys().filter(|field| !known.contains(&field.as_str())) {
        problems.push(unknown(field, field, &mut known.into_iter()));
    }
    check_metadata(fields.get("metadata").unwrap_or(&Value::Null), &mut problems);
    if kind == Kind::KopiaRepository && object.pointer("/metadata/name").is_some() && !(REPOSITORY_NAME.holds)(object) {
        problems.push(Problem::new("metadata.name", REPOSITORY_NAME.message));
    }
    let schema = &kind.schema()["properties"]["spec"];
    match fields.get("spec").filter(|spec| !spec.is_null()) {
        Some(spec) => {
            walk(schema, spec, "spec", &mut problems);
            check_networks(kind, spec, &mut problems);
        }
        None => problems.push(required("spec")),
    }
    problems
}

/// The numbers in a network, which no pattern bounds.
fn check_networks(kind: Kind, spec: &Value, problems: &mut Vec<Problem>) {
    if kind != Kind::MemberCluster {
        return;
    }
    for (index, network) in spec["cidrs"].as_array().into_iter().flatten().enumerate() {
        let field = item("spec.cidrs", index);
        if let Some(text) = network.as_str()
            && !is_network(text)
            && !problems.iter().any(|problem| problem.field == field)
        {
            problems.push(Problem::new(field, format!("{:?} is no network such as 10.42.0.0/16", short(text))));
        }
    }
}

fn is_network(text: &str) -> bool {
    let parse = || {
        let (address, prefix) = text.split_once('/')?;
        let most = if address.parse::<IpAddr>().ok()?.is_ipv4() { 32 } else { 128 };
        Some(prefix.parse::<u8>().ok()? <= most)
    };
    parse() == Some(true)
}

/// The objects of these kinds are written in `group/version`; policies may have another group.
pub fn check_version(kind: Kind, api_version: &str) -> Option<Problem> {
    let allowed = match kind {
        Kind::KopiaMaintenance => vec![format!("{POLICY_GROUP}/{VERSION}"), format!("{HUB_GROUP}/{VERSION}")],
        Kind::KopiaRepository | Kind::MemberCluster => vec![format!("{HUB_GROUP}/{VERSION}")],
    };
    let known = allowed.iter().any(|allowed| allowed == api_version);
    let message = || format!("must be {} for {}, not {:?}", allowed.join(" or "), kind.as_str(), short(api_version));
    (!known).then(|| Problem::new("apiVersion", message()))
}

fn check_metadata(metadata: &Value, problems: &mut Vec<Problem>) {
    static SCHEMA: LazyLock<Value> = LazyLock::new(metadata_schema);
    if !metadata.is_null() {
        walk(&SCHEMA, metadata, "metadata", problems);
    }
    let has = |field: &str| metadata.get(field).is_some_and(|value| !value.is_null());
    if !has("name") && !has("generateName") {
        problems.push(Problem::new("metadata.name", "Required value: name or generateName is required"));
    }
}

/// What of `ObjectMeta` a file may hold.
fn metadata_schema() -> Value {
    let text = json!({"type": "string"});
    let open = json!({"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let time = json!({"type": "string", "format": "date-time"});
    let integer = json!({"type": "integer"});
    json!({"type": "object", "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 253, "pattern": SUBDOMAIN},
        "generateName": text, "namespace": text, "uid": text, "resourceVersion": text, "selfLink": text,
        "labels": {"type": "object",
            "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE}},
        "annotations": {"type": "object", "additionalProperties": text},
        "finalizers": {"type": "array", "items": text},
        "ownerReferences": open, "managedFields": open,
        "generation": integer, "deletionGracePeriodSeconds": integer,
        "creationTimestamp": time, "deletionTimestamp": time,
    }})
}

// === the walk ===

/// Adds what is wrong with `value`, which stands at `path`.
pub fn walk(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    let before = problems.len();
    if schema["x-kubernetes-int-or-string"] == true {
        if !value.is_string() && !value.is_i64() && !value.is_u64() {
            let hint = if value.is_number() { "; put it in quotes" } else { "" };
            problems
                .push(Problem::new(path, format!("must be of type integer or string, not {}{hint}", type_of(value))));
            return;
        }
    } else if let Some(expected) = schema["type"].as_str()
        && !is_of(expected, value)
    {
        problems.push(Problem::new(path, wrong_type(expected, value)));
        return;
    }
    check_enum(schema, value, path, problems);
    match value {
        Value::String(text) => check_text(schema, text, path, problems),
        Value::Number(_) => check_number(schema, value, path, problems),
        Value::Array(values) => {
            check_count(schema, "Items", values.len(), path, problems);
            for (index, value) in values.iter().enumerate() {
                walk(&schema["items"], value, &item(path, index), problems);
            }
        }
        Value::Object(fields) => check_fields(schema, fields, path, problems),
        Value::Null | Value::Bool(_) => {}
    }
    // A rule across fields says nothing helpful of fields that are wrong in themselves.
    if problems.len() == before {
        check_rules(schema, value, path, problems);
    }
}

fn check_fields(schema: &Value, fields: &Map<String, Value>, path: &str, problems: &mut Vec<Problem>) {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let others = &schema["additionalProperties"];
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    check_count(schema, "Properties", fields.len(), path, problems);
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if fields.get(name).is_none_or(Value::is_null) && properties[name].get("default").is_none() {
            problems.push(required(&child(path, name)));
        }
    }
    for (name, value) in fields {
        let path = child(path, name);
        match properties.get(name) {
            Some(schema) if !value.is_null() => walk(schema, value, &path, problems),
            // Even a null says that somebody meant a field that is not there.
            None if others.is_null() && !open => {
                problems.push(unknown(&path, name, &mut properties.keys().map(String::as_str)));
            }
            None if !value.is_null() && others.is_object() => walk(others, value, &path, problems),
            _ => {}
        }
    }
}

fn check_rules(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = rule["message"].as_str().unwrap_or_default();
        if let Some(rule) = CrossRule::by_message(message).filter(|rule| !(rule.holds)(value)) {
            problems
                .push(Problem::new(rule.field.map_or_else(|| path.to_owned(), |field| child(path, field)), message));
        }
    }
}

fn check_enum(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) else { return };
    let allowed: Vec<_> = allowed.iter().map(Value::to_string).collect();
    let value = short(&value.to_string());
    problems.push(Problem::new(path, format!("unsupported value {value}: supported values: {}", allowed.join(", "))));
}

fn check_text(schema: &Value, text: &str, path: &str, problems: &mut Vec<Problem>) {
    let count = text.chars().count();
    if schema["maxLength"].as_u64().is_some_and(|most| count as u64 > most) {
        let message = format!("Too long: may not be more than {} characters", schema["maxLength"]);
        problems.push(Problem::new(path, message));
    }
    if schema["minLength"].as_u64().is_some_and(|least| (count as u64) < least) {
        problems.push(Problem::new(path, format!("should be at least {} chars long", schema["minLength"])));
        return;
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && !matches(pattern, text)
    {
        let allowed = meaning(pattern).map_or_else(|| format!("'{pattern}'"), |words| format!("'{pattern}' ({words})"));
        problems.push(Problem::new(path, format!("{:?} should match {allowed}", short(text))));
    }
    if schema["format"] == "date-time" && text.parse::<Timestamp>().is_err() {
        let message = format!("{:?} must be of type date-time, such as 2030-01-31T08:00:00Z", short(text));
        problems.push(Problem::new(path, message));
    }
}

fn check_number(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    let number = value.as_f64().unwrap_or_default();
    if schema["minimum"].as_f64().is_some_and(|least| number < least) {
        problems.push(Problem::new(path, format!("{value} should be greater than or equal to {}", schema["minimum"])));
    }
    let most = match schema["format"].as_str() {
        Some("int32") => schema["maximum"].as_f64().unwrap_or(f64::from(i32::MAX)),
        _ => schema["maximum"].as_f64().unwrap_or(f64::INFINITY),
    };
    if number > most {
        problems.push(Problem::new(path, format!("{value} should be less than or equal to {most}")));
    }
}

/// `Items` of a list or `Properties` of a map.
fn check_count(schema: &Value, what: &str, count: usize, path: &str, problems: &mut Vec<Problem>) {
    let most = &schema[format!("max{what}")];
    if most.as_u64().is_some_and(|most| count as u64 > most) {
        problems.push(Problem::new(path, format!("Too many: {count}: must have at most {most} items")));
    }
}

// === wording ===

fn required(path: &str) -> Problem {
    Problem::new(path, "Required value")
}

fn unknown(path: &str, name: &str, known: &mut dyn Iterator<Item = &str>) -> Problem {
    let distance = |other: &&str| edit_distance(&name.to_ascii_lowercase(), &other.to_ascii_lowercase());
    let nearest = known.map(|other| (distance(&other), other)).min();
    let message = match nearest {
        Some((distance, other)) if distance <= 2.max(name.len() / 3) => format!("unknown field; did you mean {other}?"),
        _ => "unknown field".to_owned(),
    };
    Problem::new(path, message)
}

fn wrong_type(expected: &str, value: &Value) -> String {
    let hint = match (expected, value) {
        ("string", Value::Bool(_) | Value::Number(_)) => "; put it in quotes",
        ("boolean" | "integer", Value::String(_)) => "; write it without quotes",
        _ => "",
    };
    format!("must be of type {expected}, not {}{hint}", type_of(value))
}

fn is_of(expected: &str, value: &Value) -> bool {
    match expected {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

/// The `OpenAPI` name of a value's type.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The beginning of a text, for messages.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 64;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Patterns are those of our own schemas: few, and compiled once in each thread.
fn matches(pattern: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<BTreeMap<String, Option<Regex>>> = const { RefCell::new(BTreeMap::new()) };
    }
    COMPILED.with_borrow_mut(|compiled| {
        if !compiled.contains_key(pattern) {
            compiled.insert(pattern.to_owned(), Regex::new(pattern).ok());
        }
        compiled.get(pattern).and_then(Option::as_ref).is_none_or(|regex| regex.is_match(text))
    })
}

/// Levenshtein's.
fn edit_distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, left) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, right) in other.iter().enumerate() {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests;

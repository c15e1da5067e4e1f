//! For every bound in the schemas of the three kinds one object that breaks it and nothing else: types, lengths,
//! ranges, patterns, enumerations, required and unknown fields, down to the last field of a Pod's affinity.

use serde_json::{Map, Value, json};
use volsync_hub::api::crd::Kind;
use volsync_hub::api::shapes;
use volsync_hub::api::yaml::{child, item};

/// An object with one mistake.
pub struct Broken {
    pub kind: Kind,
    pub object: Value,
    /// Where the mistake is.
    pub field: String,
    /// What an answer has to name besides the field.
    pub allowed: Vec<String>,
}

/// Of all kinds.
pub fn broken() -> Vec<Broken> {
    Kind::ALL.into_iter().flat_map(of_kind).collect()
}

fn of_kind(kind: Kind) -> Vec<Broken> {
    let mut mistakes = Vec::new();
    collect(&kind.schema()["properties"]["spec"], "spec", &mut mistakes);
    let object = |mistake: Mistake| {
        let mut spec = mistake.value;
        if kind == Kind::KopiaMaintenance && spec.is_object() && mistake.field != "spec" {
            complete(&mut spec);
        }
        let group = if kind == Kind::KopiaMaintenance { "volsync.backube" } else { "hub.volsync.backube" };
        let object = json!({"apiVersion": format!("{group}/v1alpha1"), "kind": kind.as_str(),
            "metadata": {"name": "kr-0123456789abcdef"}, "spec": spec});
        Broken { kind, object, field: mistake.field, allowed: mistake.allowed }
    };
    mistakes.into_iter().map(object).collect()
}

/// A policy has to say what it is for.
fn complete(spec: &mut Value) {
    if spec.get("repository").is_none() && spec.get("repositorySelector").is_none() {
        spec["repositorySelector"] = json!({"repository": "*"});
    }
}

/// A value of some node that breaks one bound in it or below it.
struct Mistake {
    value: Value,
    field: String,
    allowed: Vec<String>,
}

impl Mistake {
    fn new(field: &str, value: Value, allowed: &[&str]) -> Self {
        Self { value, field: field.to_owned(), allowed: allowed.iter().map(ToString::to_string).collect() }
    }
}

fn collect(schema: &Value, path: &str, found: &mut Vec<Mistake>) {
    of_type(schema, path, found);
    of_text(schema, path, found);
    of_number(schema, path, found);
    of_list(schema, path, found);
    of_fields(schema, path, found);
}

fn of_type(schema: &Value, path: &str, found: &mut Vec<Mistake>) {
    if schema["x-kubernetes-int-or-string"] == true {
        found.push(Mistake::new(path, json!(true), &["integer"]));
        return;
    }
    let expected = schema["type"].as_str().unwrap_or("object");
    let other = if expected == "string" { json!(7) } else { json!("x") };
    // A time is text, and API servers call it a time in their answer.
    let allowed = if schema["format"] == "date-time" { "of type" } else { expected };
    found.push(Mistake::new(path, other, &[allowed]));
}

fn of_text(schema: &Value, path: &str, found: &mut Vec<Mistake>) {
    if schema["type"] != "string" && schema["x-kubernetes-int-or-string"] != true {
        return;
    }
    if let Some(allowed) = schema["enum"].as_array() {
        let allowed: Vec<_> = allowed.iter().map(Value::to_string).collect();
        let allowed: Vec<_> = allowed.iter().map(String::as_str).collect();
        found.push(Mistake::new(path, json!("none-of-these"), &allowed));
    }
    if schema["minLength"].as_u64().is_some_and(|least| least > 0) {
        found.push(Mistake::new(path, json!(""), &["at least 1"]));
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        let text = "a".repeat(usize::try_from(most).unwrap_or_default() + 1);
        // Older API servers say "longer than".
        found.push(Mistake::new(path, json!(text), &[&format!("than {most}")]));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        found.push(Mistake::new(path, json!(" no blanks "), &["should match", pattern]));
    }
    if schema["format"] == "date-time" {
        found.push(Mistake::new(path, json!("tomorrow"), &["date-time"]));
    }
}

fn of_number(schema: &Value, path: &str, found: &mut Vec<Mistake>) {
    if let Some(least) = schema["minimum"].as_i64() {
        found.push(Mistake::new(path, json!(least - 1), &[&format!("greater than or equal to {least}")]));
    }
    if let Some(most) = schema["maximum"].as_i64() {
        found.push(Mistake::new(path, json!(most + 1), &[&format!("less than or equal to {most}")]));
    }
}

fn of_list(schema: &Value, path: &str, found: &mut Vec<Mistake>) {
    let items = &schema["items"];
    if items.is_null() {
        return;
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        let many: Vec<_> = (0..=most).map(|_| sample(items)).collect();
        found.push(Mistake::new(path, json!(many), &[&format!("at most {most} items")]));
    }
    let mut below = Vec::new();
    collect(items, &item(path, 0), &mut below);
    found.extend(below.into_iter().map(|mistake| Mistake { value: json!([mistake.value]), ..mistake }));
}

fn of_fields(schema: &Value, path: &str, found: &mut Vec<Mistake>) {
    let others = &schema["additionalProperties"];
    if others.is_object() {
        if let Some(most) = schema["maxProperties"].as_u64() {
            // Names that serve as labels and as resources.
            let many: Map<_, _> = (0..=most).map(|number| (format!("example.com/n{number}"), sample(others))).collect();
            found.push(Mistake::new(path, Value::Object(many), &[&format!("at most {most} items")]));
        }
        let mut below = Vec::new();
        collect(others, &child(path, "memory"), &mut below);
        found.extend(below.into_iter().map(|mistake| Mistake { value: json!({"memory": mistake.value}), ..mistake }));
        return;
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let whole = sample(schema);
    let with = |name: &str, value: Value| {
        let mut whole = whole.clone();
        whole[name] = value;
        whole
    };
    found.push(Mistake::new(&child(path, "unheardOf"), with("unheardOf", json!(1)), &["unknown field"]));
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let mut whole = whole.clone();
        whole.as_object_mut().map(|whole| whole.remove(name));
        found.push(Mistake::new(&child(path, name), whole, &["Required value"]));
    }
    for (name, schema) in properties {
        let mut below = Vec::new();
        collect(schema, &child(path, name), &mut below);
        found.extend(below.into_iter().map(|mistake| Mistake { value: with(name, mistake.value), ..mistake }));
    }
}

/// The smallest value that is right.
fn sample(schema: &Value) -> Value {
    if schema["x-kubernetes-int-or-string"] == true {
        return json!("1");
    }
    if let Some(value) = schema["enum"].as_array().and_then(|allowed| allowed.last()) {
        return value.clone();
    }
    match schema["type"].as_str() {
        Some("string") => json!(text(schema)),
        Some("integer") => json!(schema["minimum"].as_i64().unwrap_or(1)),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        _ => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let mut fields: Map<_, _> =
                required.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect();
            // What is required of a direct repository is a rule, for its name has an alias.
            if schema["properties"]["customCA"].is_object() {
                fields.insert("repository".to_owned(), json!("a"));
            }
            Value::Object(fields)
        }
    }
}

fn text(schema: &Value) -> &'static str {
    match schema["pattern"].as_str() {
        Some(shapes::DURATION) => "1h",
        Some(shapes::ZONE) => "UTC",
        Some(shapes::CIDR) => "10.0.0.0/8",
        Some(shapes::REPOSITORY_ID) => "0123456789abcdee",
        _ if schema["format"] == "date-time" => "2030-01-31T08:00:00Z",
        _ => "a",
    }
}

//! Pure: what should stand against what stands.
//!
//! Only fields that the hub wants are compared: what others add to an object is theirs, and what the API server
//! fills in is nobody's drift.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::api::quantity::Quantity;
use crate::labels;
use crate::names::{MemberName, ObjectName};

/// A kind that the hub pushes to members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Kind {
    ServiceAccount,
    ConfigMap,
    Secret,
    CronJob,
    Job,
    /// VolSync's own in a member: suspended or let go again, never made or deleted.
    KopiaMaintenance,
}

impl Kind {
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::ServiceAccount | Self::ConfigMap | Self::Secret => "v1",
            Self::CronJob | Self::Job => "batch/v1",
            Self::KopiaMaintenance => "volsync.backube/v1alpha1",
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::CronJob => "CronJob",
            Self::Job => "Job",
            Self::KopiaMaintenance => "KopiaMaintenance",
        }
    }

    /// The lower-case plural in URLs.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::ServiceAccount => "serviceaccounts",
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
            Self::CronJob => "cronjobs",
            Self::Job => "jobs",
            Self::KopiaMaintenance => "kopiamaintenances",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Create,
    Update,
    Delete,
}

/// One write to a member that would bring it to what it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub cluster: MemberName,
    pub action: Action,
    pub kind: Kind,
    #[serde(flatten)]
    pub object: ObjectName,
    /// Of an update.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

impl Change {
    /// A CronJob that stands stays, and runs no more.
    pub fn suspended(cluster: MemberName, object: ObjectName) -> Self {
        Self::suspension((cluster, Kind::CronJob, object), Some(false), Some(true))
    }

    /// `spec.suspend`, and nothing else that matters; none: not set.
    pub fn suspension(
        (cluster, kind, object): (MemberName, Kind, ObjectName),
        from: Option<bool>,
        to: Option<bool>,
    ) -> Self {
        let field = Field { path: "spec.suspend".to_owned(), from: from.map(Value::from), to: to.map(Value::from) };
        Self { cluster, action: Action::Update, kind, object, fields: vec![field] }
    }

    /// What a list of changes is sorted by.
    pub fn order(&self) -> impl Ord + use<> {
        (self.cluster.clone(), self.action, self.kind, self.object.clone())
    }
}

/// A wanted field that is not as wanted, or a field of ours that is not wanted any more.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    pub path: String,
    /// What stands; none: nothing, or nothing that may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

impl Field {
    fn new(path: &str, from: &Value, to: &Value) -> Self {
        let some = |value: &Value| (!value.is_null()).then(|| value.clone());
        Self { path: path.to_owned(), from: some(from), to: some(to) }
    }
}

/// The wanted fields that the live object does not have as wanted; none: nothing to do.
pub fn differences(wanted: &Value, live: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    walk(wanted, live, &mut String::new(), &mut found);
    found
}

/// What an apply of `wanted` over `live` would change. Values that nobody should read stay out of it.
pub fn fields(kind: Kind, wanted: &Value, live: &Value) -> Vec<Field> {
    let mut found = differences(wanted, live);
    for applied in live["metadata"]["managedFields"].as_array().into_iter().flatten() {
        if applied["manager"] == labels::FIELD_MANAGER && applied["operation"] == "Apply" {
            surplus(&applied["fieldsV1"], wanted, live, &mut String::new(), &mut found);
        }
    }
    if kind == Kind::Secret {
        let of_data = |path: &str| path == "data" || path.starts_with("data.");
        found.retain(|field| !of_data(&field.path) && !is_annotation(field, labels::SOURCE_VERSION));
        found.extend(contents(&wanted["data"], &live["data"]));
    }
    // When it was written, which is no difference.
    found.retain(|field| !is_annotation(field, labels::REVISION_SINCE));
    // A hash says no more than the fields that it stands for.
    if found.iter().any(|field| !is_annotation(field, labels::APPLIED_HASH)) {
        found.retain(|field| !is_annotation(field, labels::APPLIED_HASH));
    }
    // The address of a proxy may hold a password.
    let of_proxy = |field: &&mut Field| field.path.to_ascii_uppercase().contains("_PROXY]");
    found.iter_mut().filter(of_proxy).for_each(|field| (field.from, field.to) = (None, None));
    found
}

fn is_annotation(field: &Field, key: &str) -> bool {
    field.path.strip_prefix("metadata.annotations.") == Some(key)
}

/// The keys of a copy that differ; a copy holds what the Job needs and nothing else.
fn contents(wanted: &Value, live: &Value) -> Vec<Field> {
    let keys = |value: &Value| value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let all: BTreeSet<String> = keys(wanted).into_iter().chain(keys(live)).collect();
    let changed = all.into_iter().filter(|key| wanted.get(key) != live.get(key));
    changed.map(|key| Field { path: format!("data.{key}"), from: None, to: None }).collect()
}

fn walk(wanted: &Value, live: &Value, path: &mut String, found: &mut Vec<Field>) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (key, value) in wanted {
                let live = live.get(key).unwrap_or(&Value::Null);
                below(path, key, |path| walk(value, live, path, found));
            }
        }
        (Value::Array(all), Value::Array(standing)) => {
            if !lists(all, standing, path, found) {
                found.push(Field::new(path, live, wanted));
            }
        }
        (wanted, live) if empty(wanted) && empty(live) => {}
        (Value::String(text), Value::String(standing)) if text == standing || same_quantity(text, standing) => {}
        (Value::Number(number), Value::Number(standing)) if number.as_f64() == standing.as_f64() => {}
        (wanted, live) if wanted == live => {}
        (wanted, live) => found.push(Field::new(path, live, wanted)),
    }
}

fn below(path: &mut String, key: &str, visit: impl FnOnce(&mut String)) {
    let length = path.len();
    if length > 0 && !key.starts_with('[') {
        path.push('.');
    }
    path.push_str(key);
    visit(path);
    path.truncate(length);
}

/// Lists of named things are matched by name, and more of them are somebody else's; others element by element.
/// False where they can't be matched.
fn lists(wanted: &[Value], live: &[Value], path: &mut String, found: &mut Vec<Field>) -> bool {
    if !wanted.is_empty() && wanted.iter().all(|value| name_of(value).is_some()) {
        for value in wanted {
            let name = name_of(value).unwrap_or_default();
            let standing = live.iter().find(|live| name_of(live) == Some(name)).unwrap_or(&Value::Null);
            below(path, &format!("[{name}]"), |path| walk(value, standing, path, found));
        }
        return true;
    }
    if wanted.len() != live.len() {
        return false;
    }
    for (index, (wanted, live)) in wanted.iter().zip(live).enumerate() {
        below(path, &format!("[{index}]"), |path| walk(wanted, live, path, found));
    }
    true
}

fn name_of(value: &Value) -> Option<&str> {
    value.get("name").or_else(|| value.get("mountPath")).and_then(Value::as_str)
}

/// What we applied before, still stands, and is not wanted any more: an apply takes it away. `applied` is a tree of
/// `f:field` and `k:{"key":"value"}`, as the API server keeps it.
fn surplus(applied: &Value, wanted: &Value, live: &Value, path: &mut String, found: &mut Vec<Field>) {
    for (step, deeper) in applied.as_object().into_iter().flatten() {
        let (key, wanted, live) = if let Some(field) = step.strip_prefix("f:") {
            (field.to_owned(), &wanted[field], &live[field])
        } else if let Some(Value::Object(keys)) = step.strip_prefix("k:").and_then(|it| serde_json::from_str(it).ok()) {
            let is_it = |value: &&Value| keys.iter().all(|(key, part)| value.get(key) == Some(part));
            let of = |list: &'_ Value| list.as_array().and_then(|list| list.iter().find(is_it).cloned());
            let (wanted, live) = (of(wanted).unwrap_or_default(), of(live).unwrap_or_default());
            let name = format!("[{}]", name_of(&live).unwrap_or_default());
            below(path, &name, |path| surplus_at(deeper, &wanted, &live, path, found));
            continue;
        } else {
            continue;
        };
        below(path, &key, |path| surplus_at(deeper, wanted, live, path, found));
    }
}

fn surplus_at(applied: &Value, wanted: &Value, live: &Value, path: &mut String, found: &mut Vec<Field>) {
    if live.is_null() {
        return;
    }
    if wanted.is_null() {
        found.push(Field::new(path, live, wanted));
    } else {
        surplus(applied, wanted, live, path, found);
    }
}

/// Absent, null and empty are one: the API server drops what is empty.
fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// The API server writes quantities its own way (`1000m` as `1`, `1024Mi` as `1Gi`).
fn same_quantity(left: &str, right: &str) -> bool {
    matches!((left.parse::<Quantity>(), right.parse::<Quantity>()), (Ok(left), Ok(right)) if left == right)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(wanted: &Value, live: &Value) -> Vec<String> {
        differences(wanted, live).into_iter().map(|field| field.path).collect()
    }

    #[test]
    fn what_others_add_is_no_difference() {
        let wanted = json!({"spec": {"schedule": "0 2 * * *", "env": [{"name": "A", "value": "1"}], "x": {}}});
        let live = json!({"spec": {"schedule": "0 2 * * *", "suspend": false,
            "env": [{"name": "SIDE", "value": "9"}, {"name": "A", "value": "1"}]}, "status": {}});
        assert_eq!(differences(&wanted, &live), []);
    }

    #[test]
    fn every_edited_or_removed_field_is_named() {
        let wanted = json!({"spec": {"env": [{"name": "A", "value": "1"}], "args": ["run", "s3"], "x": 1}});
        let edited = json!({"spec": {"env": [{"name": "A", "value": "2"}], "args": ["run", "b2"], "x": 1}});
        let removed = json!({"spec": {"env": [], "args": ["run", "s3"]}});
        let longer = json!({"spec": {"env": [{"name": "A", "value": "1"}], "args": ["run", "s3", "--x"], "x": 1}});
        assert_eq!(paths(&wanted, &edited), ["spec.args[1]", "spec.env[A].value"]);
        assert_eq!(paths(&wanted, &removed), ["spec.env[A]", "spec.x"]);
        assert_eq!(paths(&wanted, &longer), ["spec.args"]);
        let field = &differences(&wanted, &edited)[1];
        assert_eq!((field.from.clone(), field.to.clone()), (Some(json!("2")), Some(json!("1"))));
    }

    #[test]
    fn what_we_applied_and_no_longer_want_is_a_change_and_what_others_own_is_not() {
        let managed = |manager: &str| {
            json!([{"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {"f:schedule": {}, "f:class": {},
                "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:value": {}}, "k:{\"name\":\"B\"}": {"f:value": {}}}}}}])
        };
        let wanted = json!({"spec": {"schedule": "1", "env": [{"name": "A", "value": "1"}]}});
        let live = |manager: &str| {
            json!({"metadata": {"managedFields": managed(manager)}, "spec": {"schedule": "1", "class": "high",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}})
        };
        let found = fields(Kind::CronJob, &wanted, &live(labels::FIELD_MANAGER));
        assert_eq!(
            found.iter().map(|field| (&*field.path, field.to.is_none())).collect::<Vec<_>>(),
            [("spec.class", true), ("spec.env[B]", true)]
        );
        assert_eq!(fields(Kind::CronJob, &wanted, &live("kubectl")), []);
    }

    #[test]
    fn no_value_of_a_secret_or_of_a_proxy_is_shown() {
        let wanted = json!({"data": {"KOPIA_PASSWORD": "bmV3", "SAME": "eA=="}, "metadata": {"labels": {"a": "b"}}});
        let live = json!({"data": {"KOPIA_PASSWORD": "b2xk", "SAME": "eA==", "MORE": "eQ=="}, "metadata": {}});
        let found = fields(Kind::Secret, &wanted, &live);
        let paths: Vec<_> = found.iter().map(|field| field.path.as_str()).collect();
        assert_eq!(paths, ["metadata.labels", "data.KOPIA_PASSWORD", "data.MORE"]);
        let env = |value: &str| json!({"spec": {"env": [{"name": "https_proxy", "value": value}]}});
        let found = [found, fields(Kind::CronJob, &env("http://u:bmV3@p"), &env("http://u:b2xk@p"))].concat();
        let text = serde_json::to_string(&found).unwrap();
        assert!(text.contains("env[https_proxy].value"), "{text}");
        assert!(!text.contains("bmV3") && !text.contains("b2xk") && !text.contains("eQ=="), "{text}");
    }

    #[test]
    fn quantities_are_compared_by_worth() {
        for (left, right) in [("1000m", "1"), ("1024Mi", "1Gi"), ("0.5", "500m"), ("1.5Gi", "1536Mi")] {
            assert_eq!(differences(&json!(left), &json!(right)), [], "{left} {right}");
        }
        for (left, right) in [("1G", "1Gi"), ("2", "3"), ("run", "walk"), ("1", "1e3")] {
            assert_eq!(differences(&json!(left), &json!(right)).len(), 1, "{left} {right}");
        }
    }
}

//! Pure: what should stand against what stands.
//!
//! Only fields that the hub wants are compared: what others add to an object is theirs, and what the API server
//! fills in is nobody's drift.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::api::quantity::Quantity;
use crate::names::{MemberName, ObjectName};

/// A kind that the hub pushes to members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Kind {
    ServiceAccount,
    ConfigMap,
    Secret,
    CronJob,
    Job,
}

impl Kind {
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::ServiceAccount | Self::ConfigMap | Self::Secret => "v1",
            Self::CronJob | Self::Job => "batch/v1",
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::CronJob => "CronJob",
            Self::Job => "Job",
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    pub cluster: MemberName,
    pub action: Action,
    pub kind: Kind,
    #[serde(flatten)]
    pub object: ObjectName,
}

/// The first wanted field that the live object does not have as wanted, as a path; none: nothing to do.
pub fn difference(wanted: &Value, live: &Value) -> Option<String> {
    let mut path = String::new();
    walk(wanted, live, &mut path).then_some(path)
}

/// True where they differ; `path` then leads there.
fn walk(wanted: &Value, live: &Value, path: &mut String) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            wanted.iter().any(|(key, value)| descend(value, live.get(key).unwrap_or(&Value::Null), key, path))
        }
        (Value::Array(wanted), Value::Array(live)) => lists(wanted, live, path),
        (wanted, live) if empty(wanted) && empty(live) => false,
        (Value::String(wanted), Value::String(live)) => wanted != live && !same_quantity(wanted, live),
        (Value::Number(wanted), Value::Number(live)) => wanted.as_f64() != live.as_f64(),
        (wanted, live) => wanted != live,
    }
}

fn descend(wanted: &Value, live: &Value, key: &str, path: &mut String) -> bool {
    let length = path.len();
    if length > 0 {
        path.push('.');
    }
    path.push_str(key);
    let differs = walk(wanted, live, path);
    if !differs {
        path.truncate(length);
    }
    differs
}

/// Lists of named things are matched by name, and more of them are somebody else's; others element by element.
fn lists(wanted: &[Value], live: &[Value], path: &mut String) -> bool {
    let name = |value: &Value| value.get("name").or_else(|| value.get("mountPath")).cloned();
    if !wanted.is_empty() && wanted.iter().all(|value| name(value).is_some()) {
        return wanted.iter().any(|value| {
            let name = name(value);
            let found = live.iter().find(|live| live.get("name").or_else(|| live.get("mountPath")) == name.as_ref());
            let key = format!("[{}]", name.as_ref().and_then(Value::as_str).unwrap_or_default());
            descend(value, found.unwrap_or(&Value::Null), &key, path)
        });
    }
    wanted.len() != live.len()
        || wanted
            .iter()
            .zip(live)
            .enumerate()
            .any(|(index, (wanted, live))| descend(wanted, live, &format!("[{index}]"), path))
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

    #[test]
    fn what_others_add_is_no_difference() {
        let wanted = json!({"spec": {"schedule": "0 2 * * *", "env": [{"name": "A", "value": "1"}], "x": {}}});
        let live = json!({"spec": {"schedule": "0 2 * * *", "suspend": false,
            "env": [{"name": "SIDE", "value": "9"}, {"name": "A", "value": "1"}]}, "status": {}});
        assert_eq!(difference(&wanted, &live), None);
    }

    #[test]
    fn an_edited_or_removed_field_is_named() {
        let wanted = json!({"spec": {"env": [{"name": "A", "value": "1"}], "args": ["run", "s3"]}});
        let edited = json!({"spec": {"env": [{"name": "A", "value": "2"}], "args": ["run", "s3"]}});
        let removed = json!({"spec": {"env": [], "args": ["run", "s3"]}});
        let longer = json!({"spec": {"env": [{"name": "A", "value": "1"}], "args": ["run", "s3", "--x"]}});
        assert_eq!(difference(&wanted, &edited).as_deref(), Some("spec.env.[A].value"));
        assert_eq!(difference(&wanted, &removed).as_deref(), Some("spec.env.[A]"));
        assert_eq!(difference(&wanted, &longer).as_deref(), Some("spec.args"));
    }

    #[test]
    fn quantities_are_compared_by_worth() {
        for (left, right) in [("1000m", "1"), ("1024Mi", "1Gi"), ("0.5", "500m"), ("1.5Gi", "1536Mi")] {
            assert_eq!(difference(&json!(left), &json!(right)), None, "{left} {right}");
        }
        for (left, right) in [("1G", "1Gi"), ("2", "3"), ("run", "walk"), ("1", "1e3")] {
            assert!(difference(&json!(left), &json!(right)).is_some(), "{left} {right}");
        }
    }
}

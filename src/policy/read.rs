//! Reads a KopiaMaintenance object into a record, whatever it holds.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{PolicyProblem, PolicyRecord, PolicyRules, claim, settings};
use crate::api::crd::Kind;
use crate::api::schema;
use crate::api::yaml::child;
use crate::names::PolicyName;

impl PolicyRecord {
    /// Never fails: what is wrong stands in `settings`, all of it, and `claim` is none only where what the policy
    /// selects, or its priority, can't be told for sure.
    pub fn read(object: &Value, rules: &PolicyRules) -> Self {
        let mut problems = schema::check(Kind::KopiaMaintenance, object);
        let spec = match object.get("spec") {
            Some(Value::Object(spec)) => without_nulls(spec),
            _ => Map::new(),
        };
        let mut fields = Fields { spec: &spec, problems: &mut problems };
        let claim = claim::read(&mut fields);
        let settings = settings::read(&mut fields, rules);
        problems.sort();
        problems.dedup();
        let settings = match settings {
            Some(settings) if problems.is_empty() => Ok(settings.into()),
            _ => Err(problems),
        };
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        Self {
            name: PolicyName::new(text("/metadata/name").unwrap_or_default()),
            uid: text("/metadata/uid").map(Into::into),
            generation: object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0),
            created: text("/metadata/creationTimestamp").and_then(|time| time.parse::<Timestamp>().ok()),
            claim,
            settings,
        }
    }

    /// Everything that is wrong with it; empty for a valid policy.
    pub fn problems(&self) -> &[PolicyProblem] {
        self.settings.as_ref().err().map_or(&[], Vec::as_slice)
    }
}

/// The spec while it is read: each field is taken out by itself, so that one that is wrong hides no other.
pub(super) struct Fields<'a> {
    pub(super) spec: &'a Map<String, Value>,
    pub(super) problems: &'a mut Vec<PolicyProblem>,
}

impl Fields<'_> {
    /// A field of the spec; none where it is absent or wrong. Which of the two, `problems` tells.
    pub(super) fn get<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.spec.get(name)?;
        let field = child("spec", name);
        if self.is_wrong(&field) {
            return None;
        }
        T::deserialize(value).map_err(|error| self.add(&field, error.to_string())).ok()
    }

    pub(super) fn is_wrong(&self, field: &str) -> bool {
        self.problems.iter().any(|problem| problem.is_within(field))
    }

    pub(super) fn add(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push(PolicyProblem::new(field, message));
    }
}

/// As the API server does: a field that is null is absent.
fn without_nulls(fields: &Map<String, Value>) -> Map<String, Value> {
    fn prune(value: &Value) -> Value {
        match value {
            Value::Object(fields) => Value::Object(without_nulls(fields)),
            Value::Array(values) => values.iter().map(prune).collect(),
            other => other.clone(),
        }
    }
    let present = fields.iter().filter(|(_, value)| !value.is_null());
    present.map(|(name, value)| (name.clone(), prune(value))).collect()
}

//! Rules that no bound of a single field can express. Each is CEL for the API server and, beside it, the same
//! in Rust for everything offline; one message serves both.

use std::sync::LazyLock;

use kube::core::Rule;
use regex::Regex;
use serde_json::Value;

use super::quantity::Quantity;
use super::shapes::{duration_seconds, schedule_pattern};

/// One rule, of the schema node at which it stands.
pub struct CrossRule {
    pub cel: &'static str,
    /// What is allowed. Unique: a rule of a schema is found again by it.
    pub message: &'static str,
    /// Does this value, whose types are right, keep the rule?
    pub holds: fn(&Value) -> bool,
}

/// Every rule. The schemas hold these and no others.
pub static ALL: [&CrossRule; 13] = [
    &TARGET,
    &SECRET_NAMED,
    &SECRET_ALIAS,
    &ONE_CA,
    &CA_OF_KEY,
    &EXPRESSION,
    &SCHEDULE,
    &SPREAD,
    &FAILOVER_AFTER,
    &REQUESTS,
    &CAPACITY,
    &POD_LABELS,
    &POD_ANNOTATIONS,
];

pub static TARGET: CrossRule = CrossRule {
    cel: "has(self.repositorySelector) != has(self.repository)",
    message: "set either repositorySelector or repository, but not both",
    holds: |spec| has(spec, "repositorySelector") != has(spec, "repository"),
};

pub static SECRET_NAMED: CrossRule = CrossRule {
    cel: "has(self.repository) || has(self.name)",
    message: "repository is required: the name of the Secret (name is an alias of it)",
    holds: |target| has(target, "repository") || has(target, "name"),
};

pub static SECRET_ALIAS: CrossRule = CrossRule {
    cel: "!has(self.repository) || !has(self.name) || self.repository == self.name",
    message: "repository and its alias name must not name different Secrets: set only one of them",
    holds: |target| !has(target, "repository") || !has(target, "name") || target["repository"] == target["name"],
};

pub static ONE_CA: CrossRule = CrossRule {
    cel: "!has(self.configMapName) || !has(self.secretName)",
    message: "set either configMapName or secretName, but not both",
    holds: |ca| !has(ca, "configMapName") || !has(ca, "secretName"),
};

pub static CA_OF_KEY: CrossRule = CrossRule {
    cel: "!has(self.key) || has(self.configMapName) || has(self.secretName)",
    message: "key needs a configMapName or a secretName beside it",
    holds: |ca| !has(ca, "key") || has(ca, "configMapName") || has(ca, "secretName"),
};

pub static EXPRESSION: CrossRule = CrossRule {
    cel: "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 \
          : !has(self.values) || self.values.size() == 0",
    message: "values must hold at least one value for In and NotIn, and none for Exists and DoesNotExist",
    holds: |expression| {
        let empty = expression.get("values").and_then(Value::as_array).is_none_or(Vec::is_empty);
        empty != matches!(expression.get("operator").and_then(Value::as_str), Some("In" | "NotIn"))
    },
};

/// The shape and the ranges; what a schedule means beyond that is told by `schedule::Schedule`.
pub static SCHEDULE: CrossRule = CrossRule {
    cel: concat!("self.matches(r'", schedule_pattern!(), "')"),
    message: "must be five cron fields (minute 0-59, hour 0-23, day of month 1-31, month 1-12 or JAN-DEC, \
              day of week 0-7 or SUN-SAT; each with * , - / or H), or one of @hourly, @daily, @midnight, @weekly, \
              @monthly, @yearly, @annually",
    holds: |schedule| {
        static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(schedule_pattern!()).ok());
        PATTERN.as_ref().is_some_and(|pattern| schedule.as_str().is_some_and(|text| pattern.is_match(text)))
    },
};

pub static SPREAD: CrossRule = CrossRule {
    cel: "duration(self) < duration('24h')",
    message: "must be shorter than 24h",
    holds: |spread| seconds(spread).is_some_and(|seconds| seconds < 86_400.0),
};

pub static FAILOVER_AFTER: CrossRule = CrossRule {
    cel: "duration(self) >= duration('1m') && duration(self) <= duration('8760h')",
    message: "must be at least 1m and at most 8760h",
    holds: |after| seconds(after).is_some_and(|seconds| (60.0..=31_536_000.0).contains(&seconds)),
};

pub static REQUESTS: CrossRule = CrossRule {
    cel: "!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) \
          || quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)",
    message: "no request may be above the limit of the same resource",
    holds: |resources| {
        let (Some(Value::Object(requests)), Some(limits)) = (resources.get("requests"), resources.get("limits")) else {
            return true;
        };
        requests.iter().all(|(name, request)| match (Quantity::of(request), limits.get(name).and_then(Quantity::of)) {
            (Some(request), Some(limit)) => request <= limit,
            _ => true,
        })
    },
};

pub static CAPACITY: CrossRule = CrossRule {
    cel: "isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('0'))",
    message: "must be a quantity above 0 such as 8Gi",
    holds: |capacity| Quantity::of(capacity).is_some_and(Quantity::is_positive),
};

pub static POD_LABELS: CrossRule = CrossRule {
    cel: "self.all(k, !k.startsWith('volsync.backube/') && !k.startsWith('hub.volsync.backube/') \
          && !k.startsWith('batch.kubernetes.io/') \
          && !(k in ['app.kubernetes.io/managed-by', 'job-name', 'controller-uid']))",
    message: "labels below volsync.backube/, hub.volsync.backube/ and batch.kubernetes.io/, and \
              app.kubernetes.io/managed-by, job-name and controller-uid, are set by the hub or Kubernetes",
    holds: |labels| {
        const FIXED: [&str; 3] = ["app.kubernetes.io/managed-by", "job-name", "controller-uid"];
        const BELOW: [&str; 3] = ["volsync.backube/", "hub.volsync.backube/", "batch.kubernetes.io/"];
        let mut keys = labels.as_object().into_iter().flat_map(serde_json::Map::keys);
        keys.all(|key| !FIXED.contains(&key.as_str()) && !BELOW.iter().any(|prefix| key.starts_with(prefix)))
    },
};

pub static POD_ANNOTATIONS: CrossRule = CrossRule {
    cel: "self.all(k, !k.startsWith('volsync.backube/') && !k.startsWith('hub.volsync.backube/'))",
    message: "annotations below volsync.backube/ and hub.volsync.backube/ are set by the hub",
    holds: |annotations| {
        let mut keys = annotations.as_object().into_iter().flat_map(serde_json::Map::keys);
        keys.all(|key| !key.starts_with("volsync.backube/") && !key.starts_with("hub.volsync.backube/"))
    },
};

// === impl CrossRule ===

impl CrossRule {
    /// For the schema.
    pub fn rule(&self) -> Rule {
        Rule::new(self.cel).message(self.message)
    }

    /// The rule of a schema that has this message.
    pub fn by_message(message: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|rule| rule.message == message)
    }
}

fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some_and(|value| !value.is_null())
}

fn seconds(value: &Value) -> Option<f64> {
    value.as_str().and_then(duration_seconds)
}

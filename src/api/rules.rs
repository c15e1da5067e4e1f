//! Rules that no bound of a single field can express. Each is CEL for the API server and, beside it, the same
//! in Rust for everything offline; one message serves both.

use std::sync::LazyLock;

use jiff::tz::TimeZoneDatabase;
use kube::core::Rule;
use regex::Regex;
use serde_json::Value;

use super::kopia_maintenance::DEFAULT_SCHEDULE;
use super::quantity::Quantity;
use super::shapes::{duration_seconds, schedule_pattern};
use crate::names::RepositoryId;

/// One rule, of the schema node at which it stands.
pub struct CrossRule {
    pub cel: &'static str,
    /// What is allowed. Unique: a rule of a schema is found again by it.
    pub message: &'static str,
    /// The field below the node that it is about, as CEL's `fieldPath` has it; none: the node itself.
    pub field: Option<&'static str>,
    /// Does this value, whose types are right, keep the rule?
    pub holds: fn(&Value) -> bool,
}

/// Every rule. The schemas hold these and no others.
pub static ALL: [&CrossRule; 18] = [
    &TARGET,
    &SECRET_NAMED,
    &SECRET_ALIAS,
    &ONE_CA,
    &CA_OF_KEY,
    &EXPRESSION,
    &SCHEDULE,
    &TIME_ZONE,
    &SPREAD,
    &SPREAD_MINUTES,
    &SPREAD_FITS,
    &FAILOVER_AFTER,
    &REQUESTS,
    &RESOURCE_NAMES,
    &CAPACITY,
    &POD_LABELS,
    &POD_ANNOTATIONS,
    &REPOSITORY_NAME,
];

pub static TARGET: CrossRule = CrossRule {
    field: None,
    cel: "has(self.repositorySelector) != has(self.repository)",
    message: "set either repositorySelector or repository, but not both",
    holds: |spec| has(spec, "repositorySelector") != has(spec, "repository"),
};

pub static SECRET_NAMED: CrossRule = CrossRule {
    field: None,
    cel: "has(self.repository) || has(self.name)",
    message: "repository is required: the name of the Secret (name is an alias of it)",
    holds: |target| has(target, "repository") || has(target, "name"),
};

pub static SECRET_ALIAS: CrossRule = CrossRule {
    field: None,
    cel: "!has(self.repository) || !has(self.name) || self.repository == self.name",
    message: "repository and its alias name must not name different Secrets: set only one of them",
    holds: |target| !has(target, "repository") || !has(target, "name") || target["repository"] == target["name"],
};

pub static ONE_CA: CrossRule = CrossRule {
    field: None,
    cel: "!has(self.configMapName) || !has(self.secretName)",
    message: "set either configMapName or secretName, but not both",
    holds: |ca| !has(ca, "configMapName") || !has(ca, "secretName"),
};

pub static CA_OF_KEY: CrossRule = CrossRule {
    field: None,
    cel: "!has(self.key) || has(self.configMapName) || has(self.secretName)",
    message: "key needs a configMapName or a secretName beside it",
    holds: |ca| !has(ca, "key") || has(ca, "configMapName") || has(ca, "secretName"),
};

pub static EXPRESSION: CrossRule = CrossRule {
    field: None,
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
    field: None,
    cel: concat!("self.matches(r'", schedule_pattern!(), "')"),
    message: "must be five cron fields (minute 0-59, hour 0-23, day of month 1-31, month 1-12 or JAN-DEC, \
              day of week 0-7 or SUN-SAT; each with * , - / or H), or one of @hourly, @daily, @midnight, @weekly, \
              @monthly, @yearly, @annually",
    holds: |schedule| {
        static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(schedule_pattern!()).ok());
        PATTERN.as_ref().is_some_and(|pattern| schedule.as_str().is_some_and(|text| pattern.is_match(text)))
    },
};

/// An API server looks a zone up when it is asked for an hour there; an unknown one ends the rule with an error.
pub static TIME_ZONE: CrossRule = CrossRule {
    field: None,
    cel: "self != 'Local' && timestamp('2000-01-01T00:00:00Z').getHours(self) >= 0",
    message: "must be a zone of the IANA database such as Europe/Berlin or UTC, its capitals as they are there",
    holds: |zone| {
        let known = |name: &str| TimeZoneDatabase::bundled().get(name).is_ok_and(|zone| zone.iana_name() == Some(name));
        zone.as_str().is_some_and(known)
    },
};

pub static SPREAD: CrossRule = CrossRule {
    field: None,
    cel: "duration(self) < duration('24h')",
    message: "must be shorter than 24h",
    holds: |spread| seconds(spread).is_some_and(|seconds| seconds < 86_400.0),
};

pub static SPREAD_MINUTES: CrossRule = CrossRule {
    field: None,
    cel: "duration(self).getSeconds() % 60 == 0 && duration(self).getMilliseconds() % 1000 == 0",
    message: "must be whole minutes, such as 30m or 2h",
    holds: |spread| seconds(spread).is_some_and(|seconds| seconds % 60.0 == 0.0),
};

/// The minute and hour of a schedule that has one of each, as text.
macro_rules! fixed_time {
    () => {
        r"^\s*[0-9]+\s+[0-9]+\s"
    };
}

/// The descriptors that mean midnight.
macro_rules! at_midnight {
    () => {
        r"^\s*@(annually|yearly|monthly|weekly|daily|midnight)\s*$"
    };
}

/// Of the whole spec, for it is about two fields.
pub static SPREAD_FITS: CrossRule = CrossRule {
    field: Some("spread"),
    cel: concat!(
        "!has(self.spread) || duration(self.spread) == duration('0s') || self.schedule.matches(r'",
        at_midnight!(),
        "') || (self.schedule.matches(r'",
        fixed_time!(),
        "') && duration(self.schedule.findAll('[0-9]+', 2)[1] + 'h' + self.schedule.find('[0-9]+') + 'm') \
          + duration(self.spread) < duration('24h'))"
    ),
    message: "needs a schedule with one fixed minute and hour, and must end before midnight; \
              or drop spread and let H choose, such as \"H H(2-5) * * *\"",
    holds: |spec| {
        let Some(spread) = spec.get("spread").and_then(seconds).filter(|spread| *spread > 0.0) else { return true };
        let schedule = spec.get("schedule").map_or(Some(DEFAULT_SCHEDULE), Value::as_str);
        schedule.and_then(start_of_day).is_some_and(|start| start + spread < 86_400.0)
    },
};

/// Seconds from midnight to the one time of day of a schedule.
fn start_of_day(schedule: &str) -> Option<f64> {
    static PATTERNS: LazyLock<Option<[Regex; 2]>> =
        LazyLock::new(|| Some([Regex::new(at_midnight!()).ok()?, Regex::new(fixed_time!()).ok()?]));
    let [at_midnight, fixed] = PATTERNS.as_ref()?;
    if at_midnight.is_match(schedule) {
        return Some(0.0);
    }
    let mut numbers = fixed.find(schedule)?.as_str().split_whitespace().map(str::parse::<f64>);
    let (minute, hour) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(3600.0 * hour + 60.0 * minute)
}

pub static FAILOVER_AFTER: CrossRule = CrossRule {
    field: None,
    cel: "duration(self) >= duration('1m') && duration(self) <= duration('8760h')",
    message: "must be at least 1m and at most 8760h",
    holds: |after| seconds(after).is_some_and(|seconds| (60.0..=31_536_000.0).contains(&seconds)),
};

pub static REQUESTS: CrossRule = CrossRule {
    field: None,
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

/// Of a map from resources to quantities.
pub static RESOURCE_NAMES: CrossRule = CrossRule {
    field: None,
    cel: "self.all(k, k in ['cpu', 'memory', 'ephemeral-storage'] || k.startsWith('hugepages-') || k.contains('/'))",
    message: "must be amounts of cpu, memory, ephemeral-storage, hugepages-<size> or a name with a domain such as \
              example.com/device",
    holds: |amounts| {
        let known = |name: &String| {
            let native = ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str());
            native || name.starts_with("hugepages-") || name.contains('/')
        };
        amounts.as_object().is_none_or(|amounts| amounts.keys().all(known))
    },
};

pub static CAPACITY: CrossRule = CrossRule {
    field: None,
    cel: "isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('0'))",
    message: "must be a quantity above 0 such as 8Gi",
    holds: |capacity| Quantity::of(capacity).is_some_and(Quantity::is_positive),
};

pub static POD_LABELS: CrossRule = CrossRule {
    field: None,
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
    field: None,
    cel: "self.all(k, !k.startsWith('volsync.backube/') && !k.startsWith('hub.volsync.backube/'))",
    message: "annotations below volsync.backube/ and hub.volsync.backube/ are set by the hub",
    holds: |annotations| {
        let mut keys = annotations.as_object().into_iter().flat_map(serde_json::Map::keys);
        keys.all(|key| !key.starts_with("volsync.backube/") && !key.starts_with("hub.volsync.backube/"))
    },
};

/// Of a whole KopiaRepository.
pub static REPOSITORY_NAME: CrossRule = CrossRule {
    field: None,
    cel: "self.metadata.name.matches('^kr-[0-9a-f]{16}$')",
    message: "metadata.name must be \"kr-\" and the repository's 16 lower-case hex digits",
    holds: |object| {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        name.starts_with("kr-") && name.parse::<RepositoryId>().is_ok()
    },
};

// === impl CrossRule ===

impl CrossRule {
    /// For the schema.
    pub fn rule(&self) -> Rule {
        let rule = Rule::new(self.cel).message(self.message);
        match self.field {
            Some(field) => rule.field_path(format!(".{field}")),
            None => rule,
        }
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

//! Shapes that several kinds share: patterns of names, maps with bounds, durations, selectors' expressions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::rules;

/// A namespace, a Service: RFC 1123 label.
pub const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// Most object names: RFC 1123 subdomain.
pub const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A key of a Secret or ConfigMap.
pub const DATA_KEY: &str = "^[-._a-zA-Z0-9]+$";
/// As Go writes durations, without signs and below-second units.
pub const DURATION: &str = r"^([0-9]{1,7}(\.[0-9]{1,9})?(h|m|s))+$";
/// Zone names of the IANA database.
pub const ZONE: &str = "^[A-Za-z][A-Za-z0-9_+/-]*$";
/// The value of a label.
pub const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";
/// An image reference has no blanks.
pub const IMAGE: &str = "^[^[:space:]]+$";
/// A quantity that is not negative.
pub const QUANTITY: &str = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";
/// `<id16>` or `kr-<id16>`.
pub const REPOSITORY_ID: &str = "^(kr-)?[0-9a-f]{16}$";
/// IPv4 or IPv6 with a prefix length; whether the latter is an address is checked when it is read.
pub const CIDR: &str = concat!(
    r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}",
    "/(3[0-2]|[12]?[0-9])|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$"
);
/// A word that starts one run: a time, a number, a commit id.
pub const TOKEN: &str = "^[A-Za-z0-9][-A-Za-z0-9_.:+]*$";

/// What a pattern asks for, in words; none for one that is not of this list.
pub fn meaning(pattern: &str) -> Option<&'static str> {
    Some(match pattern {
        LABEL => "lower-case letters, digits and '-', beginning and ending with a letter or digit",
        SUBDOMAIN => "lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
        DATA_KEY => "letters, digits, '-', '_' and '.'",
        DURATION => "a duration such as 90s, 30m or 2h30m",
        ZONE => "a zone name such as Europe/Berlin",
        LABEL_VALUE => "letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
        IMAGE => "an image reference without blanks",
        QUANTITY => "a quantity such as 500m, 512Mi or 2Gi, not negative",
        REPOSITORY_ID => "16 lower-case hex digits, with or without \"kr-\" before them",
        CIDR => "a network such as 10.42.0.0/16 or fd00::/48",
        TOKEN => "letters, digits, '-', '_', '.', ':' and '+'",
        _ => return None,
    })
}

/// Five fields with numbers in range, or a name with `@`. Names of months and days in any case.
macro_rules! schedule_pattern {
    (@list $value:expr) => {
        concat!(
            r"(\*|\?|H(\(", $value, "-", $value, r"\))?|", $value, "(-", $value, r")?)(/[0-9]{1,3})?",
            r"(,(\*|\?|H(\(", $value, "-", $value, r"\))?|", $value, "(-", $value, r")?)(/[0-9]{1,3})?)*"
        )
    };
    () => {
        concat!(
            r"^\s*(@(annually|yearly|monthly|weekly|daily|midnight|hourly)|",
            $crate::api::shapes::schedule_pattern!(@list "0*[0-5]?[0-9]"), r"\s+",
            $crate::api::shapes::schedule_pattern!(@list "0*(1?[0-9]|2[0-3])"), r"\s+",
            $crate::api::shapes::schedule_pattern!(@list "0*([1-9]|[12][0-9]|3[01])"), r"\s+",
            $crate::api::shapes::schedule_pattern!(
                @list "(0*([1-9]|1[0-2])|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))"), r"\s+",
            $crate::api::shapes::schedule_pattern!(@list "(0*[0-7]|(?i:sun|mon|tue|wed|thu|fri|sat))"),
            r")\s*$"
        )
    };
}
pub(crate) use schedule_pattern;

/// Seconds of a duration that matches [`DURATION`]; none for any other text.
pub fn duration_seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..end].parse().ok().filter(|amount: &f64| amount.is_finite())?;
        let (unit, after) = rest[end..].split_at_checked(1)?;
        seconds += match unit {
            "h" => amount * 3600.0,
            "m" => amount * 60.0,
            "s" => amount,
            _ => return None,
        };
        rest = after;
    }
    (!text.is_empty()).then_some(seconds)
}

/// An object in the namespace that the context gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalName {
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub name: String,
}

/// One condition on labels. `NotIn` and `DoesNotExist` hold where the key is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = rules::EXPRESSION.rule())]
pub struct LabelExpression {
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    pub operator: LabelOperator,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "label_values")]
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl From<LabelExpression> for LabelSelectorRequirement {
    fn from(expression: LabelExpression) -> Self {
        let operator = match expression.operator {
            LabelOperator::In => "In",
            LabelOperator::NotIn => "NotIn",
            LabelOperator::Exists => "Exists",
            LabelOperator::DoesNotExist => "DoesNotExist",
        };
        let values = Some(expression.values).filter(|values| !values.is_empty());
        Self { key: expression.key, operator: operator.to_owned(), values }
    }
}

// === schemas of fields ===

fn label_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 256, "items": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE}})
}

/// Labels: on a Pod, or that must be there.
pub fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE}})
}

pub fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 64, "additionalProperties": {"type": "string", "maxLength": 16384}})
}

/// Resource names to quantities. A comparison of 6 costs three quarters of what an API server allows one rule.
pub fn quantities(_: &mut SchemaGenerator) -> Schema {
    let names = &rules::RESOURCE_NAMES;
    json_schema!({"type": "object", "maxProperties": 6,
        "x-kubernetes-validations": [{"rule": names.cel, "message": names.message}],
        "additionalProperties": {"x-kubernetes-int-or-string": true, "minimum": 0, "pattern": QUANTITY}})
}

/// Names of namespaces, exact.
pub fn namespaces(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 1024, "items": {"type": "string", "minLength": 1, "maxLength": 63}})
}

/// Globs over member names.
pub fn member_globs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 1024, "items": {"type": "string", "minLength": 1, "maxLength": 253}})
}

pub fn networks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": 49, "pattern": CIDR}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let cases = [("90s", 90.0), ("2h30m", 9000.0), ("1.5h", 5400.0), ("0s", 0.0), ("1h1m1s", 3661.0)];
        for (text, seconds) in cases {
            assert_eq!(duration_seconds(text), Some(seconds), "{text}");
        }
        for text in ["", "5", "h", "1d", "-1h", "1h30", "1..5h", ".h", "1 h", "1ms"] {
            assert_eq!(duration_seconds(text), None, "{text}");
        }
    }
}

//! The CustomResourceDefinitions, from the types, as they are installed.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::kopia_maintenance::KopiaMaintenance;
use super::kopia_repository::KopiaRepository;
use super::member_cluster::MemberCluster;
use super::{HUB_GROUP, POLICY_GROUP};

/// A kind of the hub's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    KopiaMaintenance,
    KopiaRepository,
    MemberCluster,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::KopiaMaintenance, Self::KopiaRepository, Self::MemberCluster];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KopiaMaintenance => "KopiaMaintenance",
            Self::KopiaRepository => "KopiaRepository",
            Self::MemberCluster => "MemberCluster",
        }
    }

    pub const fn plural(self) -> &'static str {
        match self {
            Self::KopiaMaintenance => "kopiamaintenances",
            Self::KopiaRepository => "kopiarepositories",
            Self::MemberCluster => "memberclusters",
        }
    }

    const fn summary(self) -> &'static str {
        match self {
            Self::KopiaMaintenance => "A maintenance policy: which Kopia repositories of the fleet, when, and how.",
            Self::KopiaRepository => "One physical Kopia repository: who may maintain it, and how that goes.",
            Self::MemberCluster => "A member of the fleet.",
        }
    }

    pub const fn short_name(self) -> &'static str {
        match self {
            Self::KopiaMaintenance => "km",
            Self::KopiaRepository => "kr",
            Self::MemberCluster => "vmc",
        }
    }

    pub fn of(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == kind)
    }

    /// The schema of its objects, as the API server applies it.
    pub fn schema(self) -> &'static Value {
        static SCHEMAS: LazyLock<[Value; 3]> = LazyLock::new(|| Kind::ALL.map(schema_of));
        &SCHEMAS[self as usize]
    }
}

fn schema_of(kind: Kind) -> Value {
    let crd = crd(kind, POLICY_GROUP);
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap_or_default()
}

/// The CRD of a kind. Policies may have another group than [`POLICY_GROUP`], the other kinds always have their own.
pub fn crd(kind: Kind, policy_group: &str) -> Value {
    let crd = match kind {
        Kind::KopiaMaintenance => in_group(KopiaMaintenance::crd(), policy_group),
        Kind::KopiaRepository => in_group(KopiaRepository::crd(), HUB_GROUP),
        Kind::MemberCluster => in_group(MemberCluster::crd(), HUB_GROUP),
    };
    let mut value = serde_json::to_value(crd).unwrap_or_default();
    if let Some(schema) = value.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        tidy(schema);
        schema["description"] = kind.summary().into();
        for field in EMBEDDED {
            if let Some(schema) = schema.pointer_mut(&format!("/properties/spec/properties/{field}")) {
                strip_below(schema);
            }
        }
        if let Some(schema) = schema.pointer_mut("/properties/status") {
            strip_below(schema);
        }
        if let Some(schema) = schema.pointer_mut("/properties/spec") {
            admit_null(schema);
        }
    }
    value
}

/// Fields of the spec whose types are Kubernetes' own. Their documentation is Kubernetes' too and would be
/// three quarters of the CRD.
const EMBEDDED: [&str; 4] = ["affinity", "tolerations", "podSecurityContext", "securityContext"];

fn in_group(mut crd: CustomResourceDefinition, group: &str) -> CustomResourceDefinition {
    crd.metadata.name = Some(format!("{}.{group}", crd.spec.names.plural));
    group.clone_into(&mut crd.spec.group);
    crd
}

/// Lets null mean absent in optional fields, as it does in built-in kinds: templates often leave an empty value
/// behind. Where there is a default the API server replaces null by it, without being told.
fn admit_null(schema: &mut Value) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        if property.get("default").is_none() && !required.iter().any(|required| required == name) {
            property["nullable"] = true.into();
        }
        admit_null(property);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(schema) = schema.get_mut(below).filter(|schema| schema.is_object()) {
            admit_null(schema);
        }
    }
}

/// Drops what a CRD has no use for.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if is_schema(fields) {
                fields.remove("nullable");
                fields.remove("title");
                if let Some(Value::Array(values)) = fields.get_mut("enum") {
                    values.retain(|value| !value.is_null());
                }
                // Only these integer formats mean anything to an API server.
                let known = fields
                    .get("format")
                    .and_then(Value::as_str)
                    .is_none_or(|format| matches!(format, "int32" | "int64" | "date-time" | "byte"));
                if !known {
                    fields.remove("format");
                }
                for bound in ["minimum", "maximum"] {
                    if let Some(bound) = fields.get_mut(bound) {
                        whole(bound);
                    }
                }
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Bounds are numbers with a fraction in the type; all of ours are whole.
fn whole(bound: &mut Value) {
    if let Some(integer) = bound.as_f64().and_then(|number| format!("{number}").parse::<i64>().ok()) {
        *bound = integer.into();
    }
}

/// Is this a schema, and no map of properties that happens to have a field called `title`?
fn is_schema(fields: &Map<String, Value>) -> bool {
    fields.get("type").is_some_and(Value::is_string) || fields.contains_key("x-kubernetes-int-or-string")
}

/// Drops the descriptions of everything below a schema, and keeps its own.
fn strip_below(schema: &mut Value) {
    fn strip(schema: &mut Value) {
        match schema {
            Value::Object(fields) => {
                if is_schema(fields) {
                    fields.remove("description");
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let own = schema.get("description").cloned();
    strip(schema);
    if let (Some(own), Value::Object(fields)) = (own, schema) {
        fields.insert("description".to_owned(), own);
    }
}

//! How the parts of an object merge: which objects are granular, which lists are maps or sets, which are whole.
//! Known from a CustomResourceDefinition's schema, and for built-in kinds from a table of field names.

use std::sync::Arc;

use serde_json::Value;

/// The schema of one kind.
#[derive(Clone, Debug)]
pub struct Schema(Option<Arc<Value>>);

/// One place in a schema.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node<'a> {
    /// A field of a built-in type, known by its name.
    BuiltIn(&'a str),
    /// A structural schema.
    Custom(&'a Value),
    /// Below `x-kubernetes-preserve-unknown-fields`.
    Free,
}

/// How the value at a place merges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    /// As a whole.
    Leaf,
    /// Field by field.
    Map,
    /// A list whose items are told apart by these keys.
    ListMap(Vec<&'a str>),
    /// A list of scalars without order or repetition.
    Set,
}

/// Objects of built-in types that are replaced as a whole.
const ATOMIC_OBJECTS: &[&str] = &[
    "configMapKeyRef",
    "fieldRef",
    "involvedObject",
    "labelSelector",
    "namespaceSelector",
    "nodeSelector",
    "regarding",
    "related",
    "resourceFieldRef",
    "secretKeyRef",
    "selector",
];

/// Lists of built-in types that merge by key; all others are replaced as a whole.
const MAP_LISTS: &[(&str, &[&str])] = &[
    ("conditions", &["type"]),
    ("containers", &["name"]),
    ("env", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("ownerReferences", &["uid"]),
    ("podIPs", &["ip"]),
    ("ports", &["containerPort", "protocol"]),
    ("resourceClaims", &["name"]),
    ("secrets", &["name"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("volumeDevices", &["devicePath"]),
    ("volumeMounts", &["mountPath"]),
    ("volumes", &["name"]),
];

const SET_LISTS: &[&str] = &["finalizers"];

impl Schema {
    pub(super) fn built_in() -> Self {
        Self(None)
    }
    pub(super) fn custom(schema: Value) -> Self {
        Self(Some(Arc::new(schema)))
    }
    /// What a CustomResourceDefinition says of its objects.
    pub(super) fn definition(&self) -> Option<&Value> {
        self.0.as_deref()
    }
    pub(super) fn root(&self) -> Node<'_> {
        match &self.0 {
            None => Node::BuiltIn(""),
            Some(schema) => Node::Custom(schema),
        }
    }
    /// A field of the object itself: metadata is of the same type in every kind.
    pub(super) fn field<'a>(&'a self, name: &'a str) -> Option<Node<'a>> {
        match (&self.0, name) {
            (_, "metadata") => Some(Node::BuiltIn(name)),
            (_, "apiVersion" | "kind") => Some(Node::Free),
            _ => self.root().child(name),
        }
    }
}

impl<'a> Node<'a> {
    /// None: such a field is not declared.
    pub(super) fn child(self, name: &'a str) -> Option<Node<'a>> {
        match self {
            Self::BuiltIn(_) => Some(Self::BuiltIn(name)),
            Self::Free => Some(Self::Free),
            Self::Custom(schema) => {
                if let Some(property) = schema.get("properties").and_then(|properties| properties.get(name)) {
                    return Some(Self::Custom(property));
                }
                match schema.get("additionalProperties") {
                    Some(values) if values.is_object() => Some(Self::Custom(values)),
                    Some(Value::Bool(true)) => Some(Self::Free),
                    _ if preserves_unknown(schema) => Some(Self::Free),
                    _ => None,
                }
            }
        }
    }

    pub(super) fn item(self) -> Node<'a> {
        match self {
            Self::Custom(schema) => schema.get("items").map_or(Self::Free, Self::Custom),
            other => other,
        }
    }

    pub(super) fn shape(self, value: &Value) -> Shape<'a> {
        match (self, value) {
            (Self::BuiltIn(name), Value::Object(_)) if ATOMIC_OBJECTS.contains(&name) => Shape::Leaf,
            (Self::BuiltIn(name), Value::Array(items)) => built_in_list(name, items),
            (Self::Custom(schema), Value::Object(_)) if text(schema, "x-kubernetes-map-type") == "atomic" => {
                Shape::Leaf
            }
            (Self::Custom(schema), Value::Array(_)) => match text(schema, "x-kubernetes-list-type") {
                "set" => Shape::Set,
                "map" => {
                    let keys = schema["x-kubernetes-list-map-keys"].as_array();
                    Shape::ListMap(keys.into_iter().flatten().filter_map(Value::as_str).collect())
                }
                _ => Shape::Leaf,
            },
            (_, Value::Object(_)) => Shape::Map,
            _ => Shape::Leaf,
        }
    }
}

pub(super) fn preserves_unknown(schema: &Value) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn built_in_list<'a>(name: &str, items: &[Value]) -> Shape<'a> {
    if SET_LISTS.contains(&name) {
        return Shape::Set;
    }
    match MAP_LISTS.iter().find(|(list, _)| *list == name) {
        // A Service's ports have another key than a container's; without its keys a list is whole.
        Some((_, keys)) if items.iter().all(|item| item.get(keys[0]).is_some()) => Shape::ListMap(keys.to_vec()),
        _ => Shape::Leaf,
    }
}

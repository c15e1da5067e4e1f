//! Sets of field paths, in the `FieldsV1` form of `metadata.managedFields`, and the differences between objects
//! as such sets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::schema::{Node, Schema, Shape};

/// A set of paths. Each step is written as in `FieldsV1`: `f:name`, `k:{"name":"x"}`, `v:"x"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet {
    /// The path that ends here is in the set.
    member: bool,
    below: BTreeMap<String, FieldSet>,
}

/// What differs between two objects.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Fields that are new or have another value; maps that are new count as fields too.
    pub changed: FieldSet,
    pub removed: FieldSet,
}

impl FieldSet {
    fn leaf() -> Self {
        Self { member: true, below: BTreeMap::new() }
    }

    /// Every field that an applied object names.
    pub(super) fn of_applied(object: &Value, schema: &Schema) -> Self {
        let mut set = Self::default();
        for (name, value, node) in root_fields(object, schema) {
            set.put(format!("f:{name}"), applied(value, node, name == "metadata"));
        }
        set
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
    fn put(&mut self, step: String, below: Self) {
        if !below.is_empty() {
            self.below.insert(step, below);
        }
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut result = self.clone();
        result.member |= other.member;
        for (step, below) in &other.below {
            let merged = result.below.get(step).map_or_else(|| below.clone(), |own| own.union(below));
            result.below.insert(step.clone(), merged);
        }
        result
    }
    pub(super) fn minus(&self, other: &Self) -> Self {
        let mut result = Self { member: self.member && !other.member, below: BTreeMap::new() };
        for (step, below) in &self.below {
            let rest = other.below.get(step).map_or_else(|| below.clone(), |theirs| below.minus(theirs));
            result.put(step.clone(), rest);
        }
        result
    }
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut result = Self { member: self.member && other.member, below: BTreeMap::new() };
        for (step, below) in &self.below {
            if let Some(theirs) = other.below.get(step) {
                result.put(step.clone(), below.intersection(theirs));
            }
        }
        result
    }
    pub(super) fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        let below = self.below.iter().filter(|(step, _)| keep(step)).map(|(step, set)| (step.clone(), set.clone()));
        Self { member: self.member, below: below.collect() }
    }

    /// The paths as a conflict message writes them.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }
    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        if self.member {
            paths.push(prefix.to_owned());
        }
        for (step, below) in &self.below {
            below.collect_paths(&format!("{prefix}{}", shown(step)), paths);
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut fields = Map::new();
        if self.member && !self.below.is_empty() {
            fields.insert(".".to_owned(), json!({}));
        }
        for (step, below) in &self.below {
            fields.insert(step.clone(), below.to_json());
        }
        Value::Object(fields)
    }
    pub(super) fn of_json(fields: &Value) -> Self {
        let mut set = Self::default();
        let Some(fields) = fields.as_object() else { return set };
        set.member = fields.is_empty() || fields.contains_key(".");
        for (step, below) in fields.iter().filter(|(step, _)| *step != ".") {
            set.below.insert(step.clone(), Self::of_json(below));
        }
        set
    }

    /// Removes the paths of this set from an object. Maps and lists that become empty by it go too.
    pub(super) fn remove_from(&self, object: &mut Value, schema: &Schema) {
        let Some(fields) = object.as_object_mut() else { return };
        for (step, below) in &self.below {
            let Some(name) = step.strip_prefix("f:") else { continue };
            let Some(node) = schema.field(name) else { continue };
            if let Some(value) = fields.get_mut(name)
                && below.remove_below(value, node)
            {
                fields.remove(name);
            }
        }
    }
    /// True: nothing is left, the value itself is to be removed.
    fn remove_below(&self, value: &mut Value, node: Node<'_>) -> bool {
        if self.member && self.below.is_empty() {
            return true;
        }
        match node.shape(value) {
            Shape::Map => {
                let Some(fields) = value.as_object_mut() else { return false };
                let before = fields.len();
                for (step, below) in &self.below {
                    let Some(name) = step.strip_prefix("f:") else { continue };
                    if let (Some(field), Some(node)) = (fields.get_mut(name), node.child(name))
                        && below.remove_below(field, node)
                    {
                        fields.remove(name);
                    }
                }
                fields.is_empty() && before > 0
            }
            shape @ (Shape::ListMap(_) | Shape::Set) => {
                let Some(items) = value.as_array_mut() else { return false };
                let before = items.len();
                items.retain_mut(|item| match self.below.get(&item_step(item, &shape)) {
                    // An item goes with its own path, whatever is left in it.
                    Some(below) => !(below.member || below.remove_below(item, node.item())),
                    None => true,
                });
                items.is_empty() && before > 0
            }
            Shape::Leaf => self.member,
        }
    }
}

/// How an item of a map list or set is named.
pub(super) fn item_step(item: &Value, shape: &Shape<'_>) -> String {
    match shape {
        Shape::ListMap(keys) => {
            let mut named = BTreeMap::new();
            for &key in keys {
                match item.get(key) {
                    Some(value) => named.insert(key, value.clone()),
                    None if key == "protocol" => named.insert(key, "TCP".into()),
                    None => None,
                };
            }
            format!("k:{}", json!(named))
        }
        _ => format!("v:{item}"),
    }
}

fn shown(step: &str) -> String {
    match step.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("k:", key)) => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(key).unwrap_or_default();
            let parts: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", parts.join(","))
        }
        Some((_, value)) => format!("[={value}]"),
        None => step.to_owned(),
    }
}

/// Fields of an object that managers can hold: not its envelope.
fn root_fields<'a>(object: &'a Value, schema: &'a Schema) -> impl Iterator<Item = (&'a str, &'a Value, Node<'a>)> {
    object.as_object().into_iter().flatten().filter_map(|(name, value)| {
        if matches!(name.as_str(), "apiVersion" | "kind") {
            return None;
        }
        Some((name.as_str(), value, schema.field(name)?))
    })
}

/// Fields of metadata that belong to the server or name the object.
fn is_server_field(name: &str) -> bool {
    matches!(
        name,
        "name"
            | "namespace"
            | "uid"
            | "resourceVersion"
            | "creationTimestamp"
            | "generation"
            | "managedFields"
            | "deletionTimestamp"
            | "deletionGracePeriodSeconds"
            | "selfLink"
    )
}

fn applied(value: &Value, node: Node<'_>, metadata: bool) -> FieldSet {
    let shape = node.shape(value);
    let mut set = FieldSet::default();
    match (&shape, value) {
        (Shape::Map, Value::Object(fields)) if !fields.is_empty() => {
            for (name, field) in fields.iter().filter(|(name, _)| !metadata || !is_server_field(name)) {
                let node = node.child(name).unwrap_or(Node::Free);
                set.put(format!("f:{name}"), applied(field, node, false));
            }
        }
        (Shape::ListMap(_), Value::Array(items)) if !items.is_empty() => {
            for item in items {
                let mut below = applied(item, node.item(), false);
                below.member = true;
                set.put(item_step(item, &shape), below);
            }
        }
        (Shape::Set, Value::Array(items)) if !items.is_empty() => {
            for item in items {
                set.put(item_step(item, &shape), FieldSet::leaf());
            }
        }
        _ => return FieldSet::leaf(),
    }
    set
}

/// What turns `old` into `new`.
pub(super) fn difference(old: &Value, new: &Value, schema: &Schema) -> Difference {
    let mut result = Difference::default();
    let names: BTreeSet<&str> =
        root_fields(old, schema).chain(root_fields(new, schema)).map(|(name, _, _)| name).collect();
    for name in names {
        let Some(node) = schema.field(name) else { continue };
        let below = compare(old.get(name), new.get(name), node, name == "metadata");
        result.changed.put(format!("f:{name}"), below.changed);
        result.removed.put(format!("f:{name}"), below.removed);
    }
    // The envelope itself is nobody's field.
    for set in [&mut result.changed, &mut result.removed] {
        if let Some(metadata) = set.below.get_mut("f:metadata") {
            metadata.member = false;
        }
        set.below.retain(|_, below| !below.is_empty());
    }
    result
}

fn compare(old: Option<&Value>, new: Option<&Value>, node: Node<'_>, metadata: bool) -> Difference {
    let mut result = Difference::default();
    if old == new {
        return result;
    }
    let shape = new.or(old).map_or(Shape::Leaf, |value| node.shape(value));
    let comparable = match (old, new) {
        (Some(old), Some(new)) => node.shape(old) == node.shape(new),
        _ => true,
    };
    if shape == Shape::Leaf || !comparable {
        result.changed.member = new.is_some();
        result.removed.member = new.is_none();
        return result;
    }
    // A map or list that appears or goes is itself a field.
    result.changed.member = old.is_none();
    result.removed.member = new.is_none();
    let (old, new) = (parts(old, &shape), parts(new, &shape));
    let steps: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for step in steps {
        if metadata && step.strip_prefix("f:").is_some_and(is_server_field) {
            continue;
        }
        let below_node = match (&shape, step.strip_prefix("f:")) {
            (Shape::Map, Some(name)) => node.child(name).unwrap_or(Node::Free),
            _ => node.item(),
        };
        let below = compare(old.get(step).copied(), new.get(step).copied(), below_node, false);
        result.changed.put(step.clone(), below.changed);
        result.removed.put(step.clone(), below.removed);
    }
    result
}

fn parts<'a>(value: Option<&'a Value>, shape: &Shape<'_>) -> BTreeMap<String, &'a Value> {
    match value {
        Some(Value::Object(fields)) => fields.iter().map(|(name, field)| (format!("f:{name}"), field)).collect(),
        Some(Value::Array(items)) => items.iter().map(|item| (item_step(item, shape), item)).collect(),
        _ => BTreeMap::new(),
    }
}

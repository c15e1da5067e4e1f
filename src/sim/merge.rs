//! Merges an applied configuration into a live object, as the schema says for each part.

use serde_json::Value;

use super::fields::item_step;
use super::schema::{Node, Schema, Shape};

pub(super) fn merge(live: &Value, applied: &Value, schema: &Schema) -> Value {
    let mut result = live.clone();
    let (Some(fields), Some(applied)) = (result.as_object_mut(), applied.as_object()) else { return applied.clone() };
    for (name, value) in applied {
        let node = schema.field(name).unwrap_or(Node::Free);
        let merged = merge_value(fields.get(name), value, node);
        fields.insert(name.clone(), merged);
    }
    result
}

fn merge_value(live: Option<&Value>, applied: &Value, node: Node<'_>) -> Value {
    let shape = node.shape(applied);
    let Some(live) = live.filter(|live| node.shape(live) == shape) else { return applied.clone() };
    match (&shape, live, applied) {
        (Shape::Map, Value::Object(live), Value::Object(applied)) => {
            let mut result = live.clone();
            for (name, value) in applied {
                let merged = merge_value(live.get(name), value, node.child(name).unwrap_or(Node::Free));
                result.insert(name.clone(), merged);
            }
            Value::Object(result)
        }
        (Shape::ListMap(_) | Shape::Set, Value::Array(live), Value::Array(applied)) => {
            Value::Array(merge_items(live, applied, node, &shape))
        }
        _ => applied.clone(),
    }
}

/// Live items keep their places; new ones follow in the order in which they were applied.
fn merge_items(live: &[Value], applied: &[Value], node: Node<'_>, shape: &Shape<'_>) -> Vec<Value> {
    let mut result = live.to_vec();
    for item in applied {
        let step = item_step(item, shape);
        match result.iter_mut().find(|known| item_step(known, shape) == step) {
            Some(known) => *known = merge_value(Some(known), item, node.item()),
            None => result.push(item.clone()),
        }
    }
    result
}

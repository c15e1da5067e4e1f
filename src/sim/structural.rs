//! What a CustomResourceDefinition's schema does to an object that is written: unknown fields are dropped,
//! defaults are filled in, types and bounds are checked. CEL rules and patterns are not: only the real server has those.

use serde_json::{Map, Value, json};

use super::failure::Cause;
use super::schema::preserves_unknown;

/// Drops fields that the schema does not declare and returns their paths.
pub(super) fn prune(object: &mut Value, schema: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    each_root_field(object, schema, |value, schema, path| prune_value(value, schema, path, &mut unknown));
    if let (Some(object), Some(properties)) = (object.as_object_mut(), schema["properties"].as_object())
        && !preserves_unknown(schema)
    {
        object.retain(|name, _| {
            let keep = matches!(name.as_str(), "apiVersion" | "kind" | "metadata") || properties.contains_key(name);
            if !keep {
                unknown.push(name.clone());
            }
            keep
        });
    }
    unknown
}

/// Fills in defaults, at any depth of what is there.
pub(super) fn fill_defaults(object: &mut Value, schema: &Value) {
    if let Some(object) = object.as_object_mut() {
        default_properties(object, schema, true);
    }
}

/// Checks types, required fields, enums and bounds.
pub(super) fn check(object: &Value, schema: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if object.get(required).is_none() {
            causes.push(Cause::required(required));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let (Some(value), false) = (object.get(name), is_envelope(name)) {
            check_value(value, property, name, &mut causes);
        }
    }
    causes
}

fn is_envelope(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

fn each_root_field(object: &mut Value, schema: &Value, mut act: impl FnMut(&mut Value, &Value, &str)) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if !is_envelope(name)
            && let Some(value) = object.get_mut(name)
        {
            act(value, property, name);
        }
    }
}

fn prune_value(value: &mut Value, schema: &Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let properties = schema["properties"].as_object();
            let values = schema.get("additionalProperties").filter(|values| values.is_object());
            let open = preserves_unknown(schema) || schema.get("additionalProperties").is_some();
            // Without any properties an object of a structural schema holds nothing.
            fields.retain(|name, field| {
                let below = format!("{path}.{name}");
                match (properties.and_then(|properties| properties.get(name)), values) {
                    (Some(property), _) => prune_value(field, property, &below, unknown),
                    (None, Some(values)) => prune_value(field, values, &below, unknown),
                    (None, None) if open => {}
                    (None, None) => {
                        unknown.push(below);
                        return false;
                    }
                }
                true
            });
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                prune_value(item, &schema["items"], &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

fn default_properties(fields: &mut Map<String, Value>, schema: &Value, root: bool) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if root && is_envelope(name) {
            continue;
        }
        if let Some(default) = property.get("default") {
            let missing = match fields.get(name) {
                None => true,
                Some(value) => value.is_null() && property["nullable"] != true,
            };
            if missing {
                fields.insert(name.clone(), default.clone());
            }
        }
        if let Some(value) = fields.get_mut(name) {
            default_value(value, property);
        }
    }
}

fn default_value(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            default_properties(fields, schema, false);
            if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
                fields.values_mut().for_each(|field| default_value(field, values));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| default_value(item, &schema["items"])),
        _ => {}
    }
}

fn check_value(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let int_or_string = schema["x-kubernetes-int-or-string"] == true && (value.is_string() || value.is_i64());
    if let Some(wanted) = schema["type"].as_str()
        && !int_or_string
        && !is_of_type(value, wanted)
    {
        let found = crate::api::schema::type_of(value);
        let why = format!("Invalid value: \"{found}\": {path} in body must be of type {wanted}: \"{found}\"");
        causes.push(Cause::new("FieldValueTypeInvalid", path, why));
    }
    check_bounds(value, schema, path, causes);
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let list = allowed.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        let why = format!("Unsupported value: {value}: supported values: {list}");
        causes.push(Cause::new("FieldValueNotSupported", path, why));
    }
    match value {
        Value::Object(fields) => check_fields(fields, schema, path, causes),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check_value(item, &schema["items"], &format!("{path}[{index}]"), causes);
            }
        }
        _ => {}
    }
}

fn check_fields(fields: &Map<String, Value>, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(required) {
            causes.push(Cause::required(format!("{path}.{required}")));
        }
    }
    for (name, field) in fields {
        let property = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        if let Some(property) = property.filter(|property| property.is_object()) {
            check_value(field, property, &format!("{path}.{name}"), causes);
        }
    }
}

fn check_bounds(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let mut refuse = |reason, shown: String, why: String| {
        causes.push(Cause::new(reason, path, format!("Invalid value: {shown}: {path} in body should be {why}")));
    };
    if let Some(number) = value.as_f64() {
        if let Some(minimum) = schema["minimum"].as_f64().filter(|&minimum| number < minimum) {
            refuse("FieldValueInvalid", value.to_string(), format!("greater than or equal to {minimum}"));
        }
        if let Some(maximum) = schema["maximum"].as_f64().filter(|&maximum| number > maximum) {
            refuse("FieldValueInvalid", value.to_string(), format!("less than or equal to {maximum}"));
        }
    }
    if let Some(text) = value.as_str() {
        let length = text.chars().count() as u64;
        if let Some(least) = schema["minLength"].as_u64().filter(|&least| length < least) {
            refuse("FieldValueInvalid", json!(text).to_string(), format!("at least {least} chars long"));
        }
        if let Some(most) = schema["maxLength"].as_u64().filter(|&most| length > most) {
            causes.push(Cause::new("FieldValueTooLong", path, format!("Too long: may not be more than {most} bytes")));
        }
    }
}

fn is_of_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        _ => true,
    }
}

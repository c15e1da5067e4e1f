//! Label and field selectors of lists and watches.

use std::collections::BTreeMap;

use serde_json::Value;

use super::failure::Failure;
use super::resource::Resource;

pub type Labels = BTreeMap<Box<str>, Box<str>>;

/// All requirements hold.
#[derive(Clone, Debug, Default)]
pub(super) struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug)]
enum Requirement {
    In(String, Vec<String>),
    /// Also where the label is absent.
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// All hold: (path, wanted value, equal or not).
#[derive(Clone, Debug, Default)]
pub(super) struct FieldSelector(Vec<(String, String, bool)>);

impl LabelSelector {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let parts = split_outside_parentheses(text);
        let requirements = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).map(parse_requirement);
        Ok(Self(requirements.collect::<Result<_, _>>()?))
    }
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => is_one_of(labels, key, values),
            Requirement::NotIn(key, values) => !is_one_of(labels, key, values),
            Requirement::Exists(key) => labels.contains_key(key.as_str()),
            Requirement::Absent(key) => !labels.contains_key(key.as_str()),
        })
    }
}

fn is_one_of(labels: &Labels, key: &str, values: &[String]) -> bool {
    labels.get(key).is_some_and(|value| values.iter().any(|wanted| **wanted == **value))
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (index, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_requirement(part: &str) -> Result<Requirement, Failure> {
    let refused = || Failure::bad_request(format!("unable to parse requirement: {part:?} is no label requirement"));
    if let Some(open) = part.find('(') {
        let values = part[open + 1..].strip_suffix(')').ok_or_else(refused)?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let words: Vec<&str> = part[..open].split_whitespace().collect();
        return match words.as_slice() {
            [key, "in"] => Ok(Requirement::In(label_key(key).ok_or_else(refused)?, values)),
            [key, "notin"] => Ok(Requirement::NotIn(label_key(key).ok_or_else(refused)?, values)),
            _ => Err(refused()),
        };
    }
    let (key, operator, value) = match part.split_once("!=").map(|(key, value)| (key, "!=", value)) {
        Some(found) => found,
        None => match part.split_once("==").or_else(|| part.split_once('=')) {
            Some((key, value)) => (key, "=", value),
            None => {
                return match part.strip_prefix('!') {
                    Some(key) => Ok(Requirement::Absent(label_key(key).ok_or_else(refused)?)),
                    None => Ok(Requirement::Exists(label_key(part).ok_or_else(refused)?)),
                };
            }
        },
    };
    let value = value.trim();
    if value.contains(['=', '!', ' ']) {
        return Err(refused());
    }
    let (key, values) = (label_key(key).ok_or_else(refused)?, vec![value.to_owned()]);
    Ok(if operator == "=" { Requirement::In(key, values) } else { Requirement::NotIn(key, values) })
}

fn label_key(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '/');
    (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
}

impl FieldSelector {
    /// Fails where the kind does not know a field.
    pub(super) fn parse(text: &str, resource: &Resource) -> Result<Self, Failure> {
        let mut wanted = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
                (path, value, false)
            } else if let Some((path, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (path, value, true)
            } else {
                return Err(Failure::bad_request(format!("invalid selector: {part:?}; can't understand {part:?}")));
            };
            let path = path.trim();
            if !matches!(path, "metadata.name" | "metadata.namespace") && !resource.selectable.iter().any(|p| p == path)
            {
                return Err(Failure::bad_request(format!(
                    "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                )));
            }
            wanted.push((path.to_owned(), value.trim().to_owned(), equal));
        }
        Ok(Self(wanted))
    }

    /// The namespace or name is checked without reading the object.
    pub(super) fn matches(&self, namespace: &str, name: &str, object: impl Fn() -> Value) -> bool {
        let mut parsed = None;
        self.0.iter().all(|(path, wanted, equal)| {
            let found = match path.as_str() {
                "metadata.name" => name.to_owned(),
                "metadata.namespace" => namespace.to_owned(),
                path => text_at(parsed.get_or_insert_with(&object), path),
            };
            (found == *wanted) == *equal
        })
    }
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn text_at(object: &Value, path: &str) -> String {
    match path.split('.').fold(object, |value, name| &value[name]) {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

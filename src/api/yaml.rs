//! Reads YAML (also several documents, also `kind: List`) into Kubernetes objects, keeping for each field the
//! line that it stands on. Scalars mean what they mean to kubectl: YAML 1.1, so `on` and `no` are booleans.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

/// One object of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct YamlObject {
    pub value: Value,
    /// The first line of the object in the file, from 1.
    pub line: u64,
    /// Keys that stand twice in one mapping; `value` holds the last of each.
    pub repeated: Vec<RepeatedKey>,
    lines: Lines,
}

/// A key that was there before in the same mapping. YAML forbids it; kubectl keeps the last without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepeatedKey {
    /// Such as `spec.schedule`.
    pub field: String,
    pub line: u64,
}

/// A document, or an item of a list, that holds no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Unreadable {
    /// In the file, from 1.
    pub line: u64,
    pub message: String,
}

/// Where the values of one object stand.
#[derive(Clone, Debug, PartialEq)]
struct Lines {
    line: u64,
    below: Below,
}

#[derive(Clone, Debug, PartialEq)]
enum Below {
    Nothing,
    Items(Vec<Lines>),
    Fields(Vec<(String, Lines)>),
}

/// Every object of a text, in order. Documents are independent: one that can't be read hides no other.
/// Empty documents are passed over, lists (`kind: List`, `kind: FooList` with `items`) yield their items.
pub fn objects(text: &str) -> Vec<Result<YamlObject, Unreadable>> {
    documents(text).iter().flat_map(objects_of).collect()
}

// === impl YamlObject ===

impl YamlObject {
    /// The object for those who don't guess which of two values is meant.
    pub fn into_value(self) -> Result<Value, Unreadable> {
        match self.repeated.into_iter().next() {
            None => Ok(self.value),
            Some(key) => {
                Err(Unreadable { line: key.line, message: format!("the key {} stands here twice", key.field) })
            }
        }
    }

    /// The line of a field such as `spec.tolerations[0].key` or `spec.podLabels[a.b/c]`;
    /// for one that is not there, that of the nearest thing around it.
    pub fn line_of(&self, field: &str) -> u64 {
        self.lines.find(field)
    }

    /// `Kind/name` or `Kind/namespace/name`, as far as the object says so.
    pub fn title(&self) -> String {
        title(&self.value)
    }
}

/// `Kind/name` or `Kind/namespace/name`; `(no kind)` and `(no name)` where that is missing.
pub fn title(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = text("/kind").unwrap_or("(no kind)");
    let name = text("/metadata/name").or(text("/metadata/generateName")).unwrap_or("(no name)");
    match text("/metadata/namespace") {
        Some(namespace) => format!("{kind}/{namespace}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

/// The path of a field below another, written as the API server does: `spec.podLabels[a.b/c]`.
pub fn child(path: &str, key: &str) -> String {
    let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$'));
    match (path.is_empty(), plain && !key.is_empty()) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key}]"),
    }
}

/// The path of a list's item.
pub fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

// === impl Lines ===

impl Lines {
    fn find(&self, path: &str) -> u64 {
        let rest = path.strip_prefix('.').unwrap_or(path);
        let next = match &self.below {
            _ if rest.is_empty() => None,
            Below::Nothing => None,
            Below::Items(items) => rest.strip_prefix('[').and_then(|rest| {
                let (index, rest) = rest.split_once(']')?;
                Some((items.get(index.parse::<usize>().ok()?)?, rest))
            }),
            Below::Fields(fields) => fields.iter().rev().find_map(|(key, lines)| {
                let bracketed = rest.strip_prefix('[').and_then(|rest| rest.strip_prefix(key.as_str()));
                let rest = match bracketed {
                    Some(rest) => rest.strip_prefix(']')?,
                    None => rest.strip_prefix(key.as_str())?,
                };
                (rest.is_empty() || rest.starts_with(['.', '['])).then_some((lines, rest))
            }),
        };
        next.map_or(self.line, |(lines, rest)| lines.find(rest))
    }
}

// === documents ===

/// One document of a text, and how many lines stand before it.
struct Text {
    before: u64,
    text: String,
}

/// Splits at the lines that begin a document. Each gets its own parser, so that an error in one hides no other.
fn documents(text: &str) -> Vec<Text> {
    let mut found = vec![Text { before: 0, text: String::new() }];
    for (index, line) in (0u64..).zip(text.trim_start_matches('\u{feff}').split_inclusive('\n')) {
        let marker =
            line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        match (marker, found.last_mut()) {
            // What follows the marker on its line belongs to the document; blanks keep the columns.
            (Some(rest), _) => found.push(Text { before: index, text: format!("   {rest}") }),
            (None, Some(document)) => document.text.push_str(line),
            (None, None) => {}
        }
    }
    found
}

fn objects_of(document: &Text) -> Vec<Result<YamlObject, Unreadable>> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let node = match serde_saphyr::from_str_with_options::<Option<Node>>(&document.text, options) {
        Ok(None) => return Vec::new(),
        Ok(Some(node)) => node,
        Err(error) => return vec![Err(unreadable(document, &error))],
    };
    let mut repeated = Vec::new();
    let (value, lines) = node.split("", document.before, &mut repeated);
    if value.is_null() {
        return Vec::new();
    }
    if !value.is_object() {
        let message = format!("{} instead of a Kubernetes object with apiVersion, kind and metadata", kind_of(&value));
        return vec![Err(Unreadable { line: lines.line, message })];
    }
    items_of(YamlObject { line: lines.line, value, repeated, lines })
}

/// The object itself, or the items of a list.
fn items_of(mut object: YamlObject) -> Vec<Result<YamlObject, Unreadable>> {
    let list = object.value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    let Some(Value::Array(values)) = object.value.get_mut("items").filter(|_| list).map(Value::take) else {
        return vec![Ok(object)];
    };
    let Below::Fields(fields) = object.lines.below else { return Vec::new() };
    let lines = fields.into_iter().rev().find(|(key, _)| key == "items").map(|(_, lines)| lines.below);
    let Some(Below::Items(lines)) = lines else { return Vec::new() };
    let of_items = |index: usize, key: &RepeatedKey| {
        let field = key.field.strip_prefix(&item("items", index))?;
        Some(RepeatedKey { field: field.trim_start_matches('.').to_owned(), line: key.line })
    };
    values
        .into_iter()
        .zip(lines)
        .enumerate()
        .map(|(index, (value, lines))| {
            if value.is_object() {
                let repeated = object.repeated.iter().filter_map(|key| of_items(index, key)).collect();
                Ok(YamlObject { line: lines.line, value, repeated, lines })
            } else {
                let message = format!("items[{index}] of the list is {} instead of an object", kind_of(&value));
                Err(Unreadable { line: lines.line, message })
            }
        })
        .collect()
}

fn unreadable(document: &Text, error: &serde_saphyr::Error) -> Unreadable {
    let location = error.location().unwrap_or(Location::UNKNOWN);
    let text = error.to_string();
    // The parser's own words for the place count from the document's start; the line is given anew.
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    // They quote a number, and a Secret's value may look like one.
    let message = if message.starts_with("non-finite float") { NO_NUMBER } else { message };
    // The parser stops before a text costs more than it can be worth: aliases that multiply, brackets without end.
    let message = if message.starts_with("budget breached") || message.starts_with("recursion limit") {
        format!("larger or deeper than any Kubernetes object: {message}")
    } else {
        format!("not valid YAML: {message}")
    };
    Unreadable { line: document.before + location.line().max(1), message }
}

const NO_NUMBER: &str = "infinity and NaN are no numbers of JSON";

/// What a value is, for people.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

// === nodes: YAML with lines and repeated keys ===

struct Node {
    line: u64,
    content: Content,
}

enum Content {
    Scalar(Value),
    Items(Vec<Node>),
    Fields(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// The value and, apart from it, where its parts stand.
    fn split(self, path: &str, before: u64, repeated: &mut Vec<RepeatedKey>) -> (Value, Lines) {
        let line = before + self.line;
        match self.content {
            Content::Scalar(value) => (value, Lines { line, below: Below::Nothing }),
            Content::Items(nodes) => {
                let split = |(index, node): (usize, Self)| node.split(&item(path, index), before, repeated);
                let (values, lines) = nodes.into_iter().enumerate().map(split).unzip();
                (Value::Array(values), Lines { line, below: Below::Items(lines) })
            }
            Content::Fields(nodes) => {
                let mut fields = Map::new();
                let mut lines = Vec::with_capacity(nodes.len());
                for (key, node) in nodes {
                    let path = child(path, &key.value);
                    let (value, mut below) = node.split(&path, before, repeated);
                    // A field stands where its key does, not where a nested value begins.
                    below.line = before + key.referenced.line();
                    if fields.insert(key.value.clone(), value).is_some() {
                        repeated.push(RepeatedKey { field: path, line: below.line });
                    }
                    lines.push((key.value, below));
                }
                (Value::Object(fields), Lines { line, below: Below::Fields(lines) })
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Bool(value)))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Content, E> {
        /// Up to here every whole float is exactly one integer.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        // kubectl sends `1.0` and `1e3` as the whole numbers that they are.
        #[allow(clippy::cast_possible_truncation)]
        if value.fract() == 0.0 && value.abs() <= EXACT {
            return Ok(Content::Scalar((value as i64).into()));
        }
        match Number::from_f64(value) {
            Some(number) => Ok(Content::Scalar(Value::Number(number))),
            None => Err(E::custom(NO_NUMBER)),
        }
    }
    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }
    fn visit_string<E>(self, value: String) -> Result<Content, E> {
        Ok(Content::Scalar(Value::String(value)))
    }
    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }
    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Content::Items(nodes))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Content, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            fields.push(entry);
        }
        Ok(Content::Fields(fields))
    }
}

#[cfg(test)]
mod tests;

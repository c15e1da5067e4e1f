//! The form of the cases.
//!
//! ```text
//! == a create without a name is invalid            the fact that the case checks
//! POST configmaps {"metadata":{}}                  a request; `apiVersion` and `kind` are filled in
//!     422                                          the code of the answer
//!     /reason == "Invalid"                         what is there (a JSON pointer, then JSON)
//!     save uid /metadata/uid                       keeps a value; `$uid` stands for it from here on, `$NS` for the namespace
//! WATCH w configmaps                               opens a watch named `w`
//! EVENT w ADDED                                    the next event of that type; expectations are about the whole event
//! QUIET w                                          nothing comes for a while
//! END w                                            it ends
//! ```
//! Methods: GET, POST, PUT, DELETE, and as patches APPLY, MERGE, STRATEGIC and JSON. `GET:metadata` and `GET:table` ask
//! for that form, so do `WATCH:metadata` and `WATCH:table`. `limited` or `stranger` before a method: another user.
//! Expectations: `==`, `!=`, `has` (text in text, value in list), `len`, `after` (a greater number), `exists`, `absent`.
//! Paths without a slash at the start are a plural (and a name) in the case's namespace.

use serde_json::Value;

pub struct Case {
    pub file: &'static str,
    pub fact: String,
    pub steps: Vec<Step>,
}

pub struct Step {
    /// As written, for messages.
    pub text: String,
    pub line: usize,
    pub action: Action,
    pub expectations: Vec<Expectation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    Admin,
    Limited,
    Stranger,
}

pub enum Action {
    Request { user: As, method: String, form: Option<String>, path: String, body: Option<String> },
    Watch { name: String, form: Option<String>, path: String },
    Event { name: String, kind: String },
    Quiet { name: String },
    End { name: String },
}

/// Values hold `$names` until they are used.
#[derive(Debug)]
pub enum Expectation {
    Code(u16),
    Equal(String, String),
    NotEqual(String, String),
    Has(String, String),
    Length(String, usize),
    After(String, String),
    Exists(String),
    Absent(String),
    Save(String, String),
}

impl Case {
    pub fn needs_limited(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Request { user: As::Limited, .. }))
    }
}

/// Panics where a case is not written in this form.
pub fn parse(file: &'static str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let (line, trimmed) = (index + 1, raw.trim());
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if let Some(fact) = trimmed.strip_prefix("== ") {
            cases.push(Case { file, fact: fact.to_owned(), steps: Vec::new() });
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("{file}:{line}: no case begins before this"));
        if raw.starts_with(' ') {
            let step = case.steps.last_mut().unwrap_or_else(|| panic!("{file}:{line}: no request before this"));
            step.expectations.push(expectation(trimmed).unwrap_or_else(|| panic!("{file}:{line}: {trimmed}")));
        } else {
            let action = action(trimmed).unwrap_or_else(|| panic!("{file}:{line}: {trimmed}"));
            case.steps.push(Step { text: trimmed.to_owned(), line, action, expectations: Vec::new() });
        }
    }
    cases
}

fn word(text: &str) -> (&str, &str) {
    text.split_once(' ').map_or((text, ""), |(first, rest)| (first, rest.trim()))
}

fn action(text: &str) -> Option<Action> {
    let (first, rest) = word(text);
    let user = match first {
        "limited" => As::Limited,
        "stranger" => As::Stranger,
        _ => As::Admin,
    };
    let (method, rest) = if user == As::Admin { (first, rest) } else { word(rest) };
    let (method, form) = match method.split_once(':') {
        Some((method, form)) => (method, Some(form.to_owned())),
        None => (method, None),
    };
    let (name, after_name) = word(rest);
    Some(match method {
        "WATCH" => Action::Watch { name: name.to_owned(), form, path: after_name.to_owned() },
        "EVENT" => Action::Event { name: name.to_owned(), kind: after_name.to_owned() },
        "QUIET" => Action::Quiet { name: name.to_owned() },
        "END" => Action::End { name: name.to_owned() },
        "GET" | "POST" | "PUT" | "DELETE" | "APPLY" | "MERGE" | "STRATEGIC" | "JSON" => Action::Request {
            user,
            method: method.to_owned(),
            form,
            path: name.to_owned(),
            body: (!after_name.is_empty()).then(|| after_name.to_owned()),
        },
        _ => return None,
    })
}

fn expectation(text: &str) -> Option<Expectation> {
    let (first, rest) = word(text);
    if let Ok(code) = first.parse() {
        return Some(Expectation::Code(code));
    }
    let (second, value) = word(rest);
    let (path, value) = (first.to_owned(), value.to_owned());
    Some(match (first, second) {
        ("save", name) => Expectation::Save(name.to_owned(), value),
        (_, "==") => Expectation::Equal(path, value),
        (_, "!=") => Expectation::NotEqual(path, value),
        (_, "has") => Expectation::Has(path, value),
        (_, "len") => Expectation::Length(path, value.parse().ok()?),
        (_, "after") => Expectation::After(path, value),
        (_, "exists") => Expectation::Exists(path),
        (_, "absent") => Expectation::Absent(path),
        _ => return None,
    })
}

impl Expectation {
    /// What is wrong, if anything. `names` puts values in for `$names`.
    pub fn check(&self, code: u16, body: &Value, names: impl Fn(&str) -> String) -> Result<(), String> {
        let at = |path: &str| if path == "/" { Some(body) } else { body.pointer(path) };
        let json = |text: &str| -> Result<Value, String> {
            let text = names(text);
            serde_json::from_str(&text).map_err(|error| format!("{text} is no JSON: {error}"))
        };
        let found = |path: &str| at(path).map_or("nothing".to_owned(), ToString::to_string);
        let holds = match self {
            Self::Code(wanted) if *wanted == code => true,
            Self::Code(wanted) => return Err(format!("expected {wanted}, got {code}: {body}")),
            Self::Equal(path, wanted) => at(path) == Some(&json(wanted)?),
            Self::NotEqual(path, other) => at(path) != Some(&json(other)?),
            Self::Has(path, wanted) => match (at(path), json(wanted)?) {
                (Some(Value::String(text)), Value::String(part)) => text.contains(&part),
                (Some(Value::Array(items)), item) => items.contains(&item),
                _ => false,
            },
            Self::Length(path, wanted) => {
                let length = at(path)
                    .and_then(|value| value.as_array().map(Vec::len).or(value.as_object().map(serde_json::Map::len)));
                length.unwrap_or(0) == *wanted
            }
            Self::After(path, earlier) => number(&found(path)) > number(&names(earlier)),
            Self::Exists(path) => at(path).is_some(),
            Self::Absent(path) => at(path).is_none(),
            Self::Save(..) => true,
        };
        let path = match self {
            Self::Equal(path, _)
            | Self::NotEqual(path, _)
            | Self::Has(path, _)
            | Self::Length(path, _)
            | Self::After(path, _)
            | Self::Exists(path)
            | Self::Absent(path)
            | Self::Save(_, path) => path,
            Self::Code(_) => "/",
        };
        if holds { Ok(()) } else { Err(format!("{self:?}: found {} in {body}", found(path))) }
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim_matches('"').parse().ok()
}

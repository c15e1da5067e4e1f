//! One file's text in, everything that is wrong with its objects out.

use serde::Serialize;
use serde_json::Value;

use super::ValidateArgs;
use crate::api::crd::Kind;
use crate::api::schema;
use crate::api::yaml::{self, YamlObject};
use crate::api::{HUB_GROUP, POLICY_GROUP, Problem};
use crate::policy::{PolicyRecord, PolicyRules};

/// One line of the result. Without a field it is about the whole object, without an object about the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) file: String,
    pub(super) line: Option<u64>,
    pub(super) object: Option<String>,
    pub(super) field: Option<String>,
    pub(super) message: String,
}

/// What was found in one file.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Of the three kinds.
    pub(super) objects: usize,
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
    pub(super) right: Vec<Finding>,
}

/// What the hub is said to be started with; none: not said.
pub(super) struct Allowed(Option<PolicyRules>);

impl From<&ValidateArgs> for Allowed {
    fn from(args: &ValidateArgs) -> Self {
        let boxed = |values: &[String]| values.iter().map(|value| value.as_str().into()).collect();
        let said = !args.allowed_image.is_empty() || !args.allowed_service_account.is_empty();
        Self(said.then(|| PolicyRules {
            allowed_images: boxed(&args.allowed_image),
            allowed_service_accounts: boxed(&args.allowed_service_account),
        }))
    }
}

pub(super) fn check(file: &str, text: &str, allowed: &Allowed) -> Checked {
    let mut checked = Checked::default();
    for object in yaml::objects(text) {
        match object {
            Ok(object) => check_object(file, &object, allowed, &mut checked),
            Err(error) => checked.errors.push(Finding {
                file: file.to_owned(),
                line: Some(error.line),
                message: error.message,
                ..Finding::default()
            }),
        }
    }
    checked
}

fn check_object(file: &str, object: &YamlObject, allowed: &Allowed, checked: &mut Checked) {
    let title = object.title();
    let finding = |field: Option<&str>, line: u64, message: &str| Finding {
        file: file.to_owned(),
        line: Some(line),
        object: Some(title.clone()),
        field: field.filter(|field| !field.is_empty()).map(str::to_owned),
        message: message.to_owned(),
    };
    let text = |field: &str| object.value.get(field).and_then(Value::as_str).unwrap_or_default();
    let kind = match kind(text("apiVersion"), text("kind")) {
        Ok(kind) => kind,
        Err(Unknown::Other(message)) => {
            checked.warnings.push(finding(None, object.line, &message));
            return;
        }
        Err(Unknown::Wrong(field, message)) => {
            checked.errors.push(finding(Some(field), object.line_of(field), &message));
            return;
        }
    };
    checked.objects += 1;
    let before = checked.errors.len();
    for key in &object.repeated {
        checked.errors.push(finding(Some(&key.field), key.line, "the key stands here a second time"));
    }
    for problem in problems(kind, &object.value, allowed) {
        checked.errors.push(finding(Some(&problem.field), object.line_of(&problem.field), &problem.message));
    }
    checked.errors[before..].sort_by(|one, other| (one.line, &one.field).cmp(&(other.line, &other.field)));
    for problem in doubts(kind, &object.value, allowed) {
        let message = format!("warning: {}", problem.message);
        checked.warnings.push(finding(Some(&problem.field), object.line_of(&problem.field), &message));
    }
    if checked.errors.len() == before {
        checked.right.push(finding(None, object.line, "ok"));
    }
}

enum Unknown {
    /// Another kind: nothing to say against it.
    Other(String),
    /// Meant to be one of ours, or no object at all: (field, message).
    Wrong(&'static str, String),
}

fn kind(api_version: &str, kind: &str) -> Result<Kind, Unknown> {
    /// VolSync's own kinds in the group of policies.
    const VOLSYNC: [&str; 2] = ["ReplicationSource", "ReplicationDestination"];
    let known = Kind::ALL.map(Kind::as_str).join(", ");
    if let Some(kind) = Kind::of(kind) {
        return match schema::check_version(kind, api_version) {
            None => Ok(kind),
            Some(problem) => Err(Unknown::Wrong("apiVersion", problem.message)),
        };
    }
    let group = api_version.split('/').next().unwrap_or_default();
    let ours = [HUB_GROUP, POLICY_GROUP].contains(&group) && !VOLSYNC.contains(&kind);
    if kind.is_empty() {
        return Err(Unknown::Wrong("kind", format!("Required value: one of {known}")));
    }
    if ours {
        return Err(Unknown::Wrong("kind", format!("there is no such kind in {group}; known are {known}")));
    }
    Err(Unknown::Other(format!("not checked: only {known} are")))
}

fn problems(kind: Kind, object: &Value, allowed: &Allowed) -> Vec<Problem> {
    if kind != Kind::KopiaMaintenance {
        return schema::check(kind, object);
    }
    let own = PolicyRules {
        allowed_images: own(object, "image"),
        allowed_service_accounts: own(object, "serviceAccountName"),
    };
    PolicyRecord::read(object, allowed.0.as_ref().unwrap_or(&own)).problems().to_vec()
}

fn own(object: &Value, field: &str) -> Vec<Box<str>> {
    object["spec"][field].as_str().into_iter().map(Into::into).collect()
}

/// What is allowed, and hardly meant.
fn doubts(kind: Kind, object: &Value, allowed: &Allowed) -> Vec<Problem> {
    let mut doubts = Vec::new();
    if object.pointer("/metadata/namespace").is_some_and(|namespace| !namespace.is_null()) {
        doubts.push(Problem::new("metadata.namespace", format!("{} has no namespace", kind.as_str())));
    }
    let spec = &object["spec"];
    if kind == Kind::KopiaRepository && !spec["sameAs"].is_null() && spec["sameAs"] == spec["distinctFrom"] {
        doubts.push(Problem::new("spec.distinctFrom", "contradicts sameAs, which goes before it"));
    }
    if kind != Kind::KopiaMaintenance {
        return doubts;
    }
    for list in ["matchNames", "excludeNames"] {
        let names = &spec["repositorySelector"]["namespaceSelector"][list];
        for (index, name) in names.as_array().into_iter().flatten().enumerate() {
            if name.as_str().is_some_and(|name| name.contains(['*', '?'])) {
                let field = yaml::item(&format!("spec.repositorySelector.namespaceSelector.{list}"), index);
                doubts.push(Problem::new(field, "namespaces are named exactly: * and ? stand for themselves here"));
            }
        }
    }
    for (field, option) in [("image", "--allowed-image"), ("serviceAccountName", "--allowed-service-account")] {
        if allowed.0.is_none() && spec[field].is_string() {
            let message = format!("only valid where the hub was started with it: {option}");
            doubts.push(Problem::new(format!("spec.{field}"), message));
        }
    }
    doubts
}

#[cfg(test)]
mod tests;

//! What the simulated API server answers when it refuses: `Status` objects with the code, reason and causes
//! that the real one gives.

use std::fmt;

use serde_json::{Value, json};

use super::resource::Resource;

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    status: Box<Value>,
    code: u16,
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub reason: &'static str,
    pub field: String,
    pub message: String,
}

impl Cause {
    pub fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }
    pub fn required(field: impl Into<String>) -> Self {
        Self::new("FieldValueRequired", field, "Required value")
    }
    pub fn invalid(field: impl Into<String>, shown: &str, why: &str) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {shown}: {why}"))
    }
}

impl Failure {
    fn new(code: u16, reason: &str, message: impl Into<String>, details: Option<Value>) -> Self {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message.into(), "code": code,
        });
        if !reason.is_empty() {
            status["reason"] = reason.into();
        }
        if let Some(details) = details {
            status["details"] = details;
        }
        Self { status: Box::new(status), code }
    }

    pub fn code(&self) -> u16 {
        self.code
    }
    /// The `Status` object.
    pub fn status(&self) -> &Value {
        &self.status
    }
    pub fn message(&self) -> &str {
        self.status["message"].as_str().unwrap_or_default()
    }

    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::new(404, "NotFound", message, Some(details(&resource.group, &resource.plural, name)))
    }
    pub(super) fn no_namespace(name: &str) -> Self {
        let message = format!("namespaces {name:?} not found");
        Self::new(404, "NotFound", message, Some(details("", "namespaces", name)))
    }
    pub(super) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message, Some(details(&resource.group, &resource.plural, name)))
    }
    pub(super) fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(&resource.qualified(), details(&resource.group, &resource.plural, name), name, why)
    }
    pub(super) fn other_uid(resource: &Resource, name: &str, wanted: &str, found: &str) -> Self {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
        Self::conflict(&resource.qualified(), details(&resource.group, &resource.plural, name), name, &why)
    }
    /// An apply to an object that is not there, but was meant to be.
    pub(super) fn no_such_uid(resource: &Resource, name: &str, wanted: &str) -> Self {
        let why = format!("uid mismatch: the provided object specified uid {wanted}, and no existing object was found");
        Self::conflict(&resource.qualified(), details(&resource.group, &resource.plural, name), name, &why)
    }
    /// A precondition of a delete does not hold; `what` is `UID` or `ResourceVersion`.
    pub(super) fn precondition(resource: &Resource, name: &str, what: &str, wanted: &str, found: &str) -> Self {
        let tail = match what {
            "UID" => "The object might have been deleted and then recreated",
            _ => "The object might have been modified",
        };
        let why =
            format!("the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). {tail}");
        let kind = resource.qualified_kind();
        Self::conflict(&kind, details(&resource.group, &resource.kind, name), name, &why)
    }
    fn conflict(subject: &str, details: Value, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {subject} {name:?}: {why}");
        Self::new(409, "Conflict", message, Some(details))
    }

    /// Fields of an apply that others own: (manager as shown, field path).
    pub(super) fn apply_conflict(conflicts: &[(String, String)]) -> Self {
        let mut by_manager: Vec<(&str, Vec<&str>)> = Vec::new();
        for (manager, field) in conflicts {
            match by_manager.last_mut() {
                Some((last, fields)) if last == manager => fields.push(field),
                _ => by_manager.push((manager, vec![field])),
            }
        }
        let plural = if conflicts.len() == 1 { "" } else { "s" };
        let mut message = format!("Apply failed with {} conflict{plural}: ", conflicts.len());
        let parts: Vec<String> = by_manager
            .iter()
            .map(|(manager, fields)| match fields.as_slice() {
                [one] => format!("conflict with {manager}: {one}"),
                many => format!("conflicts with {manager}:\n- {}", many.join("\n- ")),
            })
            .collect();
        message.push_str(&parts.join("\n"));
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(manager, field)| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": field})
            })
            .collect();
        Self::new(409, "Conflict", message, Some(json!({"causes": causes})))
    }

    pub(super) fn invalid(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let subject = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let texts: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut details = details(group, kind, name);
        details["causes"] = causes
            .iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
            .collect();
        Self::new(422, "Invalid", format!("{subject} {name:?} is invalid: {list}"), Some(details))
    }
    pub(super) fn invalid_object(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        Self::invalid(&resource.group, &resource.kind, name, causes)
    }
    /// A patch whose operations do not fit the object.
    pub(super) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message, Some(json!({})))
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message, None)
    }
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message, None)
    }
    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized", None)
    }
    pub(super) fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let subject = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        let named = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        Self::new(403, "Forbidden", format!("{subject}{named} is forbidden: {why}"), Some(details(group, plural, name)))
    }
    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message, Some(json!({})))
    }
    pub(super) fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message, None)
    }
    pub(super) fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message, None)
    }
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message, None)
    }
    pub(super) fn too_old(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }
    /// The asked resourceVersion was not given out yet.
    pub(super) fn too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        Self::new(504, "Timeout", message, Some(json!({"causes": [cause], "retryAfterSeconds": 1})))
    }
    pub(super) fn too_many_requests() -> Self {
        let message = "the simulated server was told to be too busy";
        Self::new(429, "TooManyRequests", message, Some(json!({"retryAfterSeconds": 1})))
    }
    pub(super) fn unavailable() -> Self {
        Self::new(503, "ServiceUnavailable", "the simulated server was told to be unavailable", None)
    }
    pub(super) fn too_large_body() -> Self {
        Self::new(413, "RequestEntityTooLarge", "limit is 3145728", None)
    }
}

fn details(group: &str, kind: &str, name: &str) -> Value {
    let mut details = json!({"kind": kind});
    if !group.is_empty() {
        details["group"] = group.into();
    }
    if !name.is_empty() {
        details["name"] = name.into();
    }
    details
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message(), self.code)
    }
}

impl std::error::Error for Failure {}

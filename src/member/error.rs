//! What can go wrong with a request to a member, told so that a user can act on it.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use kube::core::Status;

use crate::names::MemberName;
use crate::telemetry::with_causes;

use super::breaker::Verdict;
use super::fence::NotLeading;
use super::lines::LINE_MAX;
use super::transport::TooLarge;

/// A single object; API servers end their own handlers after 60 s, a healthy one answers in well under 1 s.
const TIMEOUT: Duration = Duration::from_secs(15);
/// One page of a list over a slow line.
const LIST_TIMEOUT: Duration = Duration::from_mins(1);
/// A hostile API server may not fill logs and status with its error texts. Characters.
const DETAIL_LENGTH_MAX: usize = 500;

/// What is attempted, for errors and logs: `get Secret backup/repository`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub verb: &'static str,
    pub object: String,
    pub(super) timeout: Duration,
}

impl Operation {
    pub fn new(verb: &'static str, object: impl Into<String>) -> Self {
        Self { verb, object: object.into(), timeout: TIMEOUT }
    }

    /// One page of a list.
    pub fn list(object: impl Into<String>) -> Self {
        Self { verb: "list", object: object.into(), timeout: LIST_TIMEOUT }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.object)
    }
}

/// A call that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to {operation} in {member}: {detail}")]
pub struct CallError {
    pub member: MemberName,
    pub operation: Operation,
    pub class: Class,
    /// What the API server or the connection said.
    pub detail: String,
}

/// What went wrong, as far as callers tell it apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// No connection, a server error, or the breaker is open.
    Unreachable,
    Timeout,
    /// The credentials are refused.
    Unauthorized,
    /// This rule is missing, such as `get secrets in namespace backup`.
    Forbidden {
        rule: Box<str>,
    },
    /// The object is not there, as the API server itself says.
    NotFound,
    /// Nothing is served at that address: a kind that is not installed, or a proxy before the cluster. Says nothing
    /// about any object.
    NotServed,
    AlreadyExists,
    /// The object changed or is another one than expected.
    Conflict,
    /// The API server refuses the object.
    Invalid,
    /// A list or watch has to start anew.
    Expired,
    /// The object is not this hub's, so it was left alone.
    NotOurs,
    /// Another replica leads, so the write was not sent.
    NotLeading,
    Other,
}

impl Class {
    /// A write that failed so may have taken effect all the same.
    pub fn may_have_been_done(&self) -> bool {
        !matches!(
            self,
            Self::Unauthorized
                | Self::Forbidden { .. }
                | Self::NotFound
                | Self::NotServed
                | Self::Invalid
                | Self::NotOurs
                | Self::NotLeading
        )
    }

    /// A fixed word, for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::Timeout => "Timeout",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden { .. } => "Forbidden",
            Self::NotFound => "NotFound",
            Self::NotServed => "NotServed",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Invalid => "Invalid",
            Self::Expired => "Expired",
            Self::NotOurs => "NotOurs",
            Self::NotLeading => "NotLeading",
            Self::Other => "Other",
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Unreachable | Self::Timeout => Verdict::Failed,
            Self::Unauthorized => Verdict::Unauthorized,
            _ => Verdict::Answered,
        }
    }
}

impl CallError {
    pub(super) fn new(member: &MemberName, operation: &Operation, class: Class, detail: &str) -> Self {
        Self { member: member.clone(), operation: operation.clone(), class, detail: printable(detail) }
    }

    pub(super) fn of_kube(member: &MemberName, operation: &Operation, error: &kube::Error) -> Self {
        let (class, detail) = classify(error);
        Self::new(member, operation, class, &detail)
    }

    /// The object is not there. Nothing else counts as absence.
    pub fn is_not_found(&self) -> bool {
        self.class == Class::NotFound
    }
}

/// What went wrong, and what was said of it. No answer's text is in it.
pub fn classify(error: &kube::Error) -> (Class, String) {
    match error {
        kube::Error::Api(status) => (classify_status(status), status.message.clone()),
        kube::Error::Service(source) if source.is::<NotLeading>() => (Class::NotLeading, NotLeading.to_string()),
        // Its text may hold what a credential program printed.
        _ if is_auth_error(error) => (Class::Unauthorized, "the credentials could not be obtained".to_owned()),
        // The answer's text stays out: it may be a Secret.
        kube::Error::SerdeError(error) => (
            Class::Other,
            format!("the answer is not what it should be (line {}, column {})", error.line(), error.column()),
        ),
        kube::Error::LinesCodecMaxLineLengthExceeded => {
            (Class::Other, format!("an event is longer than {LINE_MAX} bytes, so it is not read"))
        }
        // A member that says too much answers all the same.
        other => match cause::<TooLarge>(other) {
            Some(too_large) => (Class::Other, too_large.to_string()),
            None => (Class::Unreachable, with_causes(other)),
        },
    }
}

/// The first cause of this type.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(at) = next {
        if let Some(found) = at.downcast_ref() {
            return Some(found);
        }
        // Its own source is that of what it wraps.
        let wrapped = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| at.source());
    }
    None
}

pub(super) fn classify_status(status: &Status) -> Class {
    match status.code {
        401 => Class::Unauthorized,
        403 => Class::Forbidden { rule: missing_rule(&status.message).into() },
        404 if status.reason == "NotFound" => Class::NotFound,
        404 => Class::NotServed,
        409 if status.reason == "AlreadyExists" => Class::AlreadyExists,
        409 => Class::Conflict,
        410 => Class::Expired,
        400 | 413 | 415 | 422 => Class::Invalid,
        408 | 429 | 500.. => Class::Unreachable,
        _ => Class::Other,
    }
}

fn is_auth_error(error: &kube::Error) -> bool {
    let kube::Error::Service(source) = error else { return matches!(error, kube::Error::Auth(_)) };
    source.is::<kube::client::AuthError>()
}

fn printable(text: &str) -> String {
    let one_line = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    let mut short: String = one_line.take(DETAIL_LENGTH_MAX).collect();
    if text.chars().nth(DETAIL_LENGTH_MAX).is_some() {
        short.push('…');
    }
    short
}

/// Turns `… cannot get resource "secrets" in API group "" in the namespace "n"` into `get secrets in namespace n`.
fn missing_rule(message: &str) -> String {
    let rule = || {
        let (verb, rest) = message.split_once("cannot ")?.1.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once('"')?;
        let group = rest.split_once("API group \"").and_then(|(_, rest)| rest.split_once('"')).map_or("", |it| it.0);
        let namespace = rest.split_once("in the namespace \"").and_then(|(_, rest)| rest.split_once('"'));
        let dot = if group.is_empty() { "" } else { "." };
        let place = namespace.map_or_else(String::new, |(name, _)| format!(" in namespace {name}"));
        Some(format!("{verb} {resource}{dot}{group}{place}"))
    };
    rule().unwrap_or_else(|| printable(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_rule_that_is_missing() {
        let message = "secrets \"repo\" is forbidden: User \"hub\" cannot get resource \"secrets\" in API group \"\" \
                       in the namespace \"backup\"";
        assert_eq!(missing_rule(message), "get secrets in namespace backup");
        let message = "cronjobs.batch is forbidden: User \"hub\" cannot list resource \"cronjobs\" in API group \
                       \"batch\" at the cluster scope";
        assert_eq!(missing_rule(message), "list cronjobs.batch");
        assert_eq!(missing_rule("no"), "no");
    }

    #[test]
    fn texts_of_a_hostile_server_are_cut_and_put_on_one_line() {
        let text = printable(&"a\n\u{1b}[31m".repeat(1000));
        assert!(text.chars().count() <= DETAIL_LENGTH_MAX + 1);
        assert!(!text.chars().any(char::is_control));
    }

    #[test]
    fn only_a_404_of_the_api_server_itself_is_absence() {
        let status = |code| Status { code, ..Status::default() };
        let not_found = Status { reason: "NotFound".to_owned(), ..status(404) };
        assert_eq!(classify_status(&not_found), Class::NotFound);
        // The page of a proxy before it.
        assert_eq!(classify_status(&status(404)), Class::NotServed);
        for code in [401, 403, 409, 410, 422, 429, 500, 503] {
            assert_ne!(classify_status(&status(code)), Class::NotFound);
        }
    }
}

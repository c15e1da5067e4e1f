//! The names that labels, annotations and resources may have.

use super::PolicyProblem;
use crate::api::schema::short;
use crate::api::yaml::child;

/// A key of a map of labels or annotations.
pub(super) fn check_key(map: &str, key: &str, problems: &mut Vec<PolicyProblem>) {
    if !is_qualified(key) {
        let message = format!("the key {:?} is no {QUALIFIED}", short(key));
        problems.push(PolicyProblem::new(child(map, key), message));
    }
}

/// A field that holds such a key.
pub(super) fn check_name(field: &str, key: &str, problems: &mut Vec<PolicyProblem>) {
    if !is_qualified(key) {
        problems.push(PolicyProblem::new(field, format!("{:?} is no {QUALIFIED}", short(key))));
    }
}

pub(super) fn check_label_value(field: &str, value: &str, problems: &mut Vec<PolicyProblem>) {
    if !value.is_empty() && !is_part(value) {
        let message = format!("{:?} is no label value: at most 63 letters, digits, '-', '_' and '.'", short(value));
        problems.push(PolicyProblem::new(field, message));
    }
}

const QUALIFIED: &str = "label name: an optional domain and '/', then at most 63 letters, digits, '-', '_' and '.', \
                         beginning and ending with a letter or digit";

/// `name` or `domain/name`.
fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        None => is_part(key),
        Some((domain, name)) => is_domain(domain) && is_part(name),
    }
}

fn is_part(part: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let bytes = part.as_bytes();
    bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().copied().all(inner)
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(inner)
    };
    domain.len() <= 253 && domain.split('.').all(label)
}

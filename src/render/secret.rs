//! The copy of a repository's Secret and of its CA beside the CronJob.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::{RenderContext, meta};
use crate::labels;
use crate::names::RepositoryId;
use crate::plan::result::Assignment;

/// The one key of a CA copy, whatever it was called where it came from.
pub const CA_KEY: &str = "ca.crt";

pub fn ca_name(id: RepositoryId) -> String {
    format!("{}-ca", id.object_name())
}

/// `data` holds what the Job needs and nothing else; `version` says which state of the source it is.
pub fn copy(
    assignment: &Assignment,
    context: &RenderContext<'_>,
    data: BTreeMap<String, Vec<u8>>,
    version: &str,
) -> Secret {
    secret(assignment, context, assignment.id.object_name(), data, version)
}

pub fn ca_copy(assignment: &Assignment, context: &RenderContext<'_>, bundle: Vec<u8>, version: &str) -> Secret {
    secret(assignment, context, ca_name(assignment.id), BTreeMap::from([(CA_KEY.to_owned(), bundle)]), version)
}

fn secret(
    assignment: &Assignment,
    context: &RenderContext<'_>,
    name: String,
    data: BTreeMap<String, Vec<u8>>,
    version: &str,
) -> Secret {
    let mut metadata = meta(assignment, context, name);
    let annotations = metadata.annotations.get_or_insert_default();
    // Neither follows from the Secret, and a change of them is no reason to write it again.
    annotations.remove(labels::POLICY);
    annotations.remove(labels::EPOCH);
    annotations.insert(labels::SOURCE_VERSION.to_owned(), version.to_owned());
    Secret {
        metadata,
        type_: Some("Opaque".to_owned()),
        data: Some(data.into_iter().map(|(key, value)| (key, ByteString(value))).collect()),
        ..Secret::default()
    }
}

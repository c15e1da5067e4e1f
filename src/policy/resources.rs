//! Compute resources of the maintenance container, and the size of its cache.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::read::Fields;
use super::syntax;
use crate::api::kopia_maintenance::{DEFAULT_MEMORY_LIMIT, DEFAULT_MEMORY_REQUEST, Resources};

/// The default only where `resources` is absent altogether: an empty one asks for nothing.
pub(super) fn read(fields: &mut Fields<'_>) -> ResourceRequirements {
    if !fields.spec.contains_key("resources") {
        let memory = |amount: &str| Some(BTreeMap::from([("memory".to_owned(), Quantity(amount.to_owned()))]));
        return ResourceRequirements {
            claims: None,
            limits: memory(DEFAULT_MEMORY_LIMIT),
            requests: memory(DEFAULT_MEMORY_REQUEST),
        };
    }
    let Some(resources) = fields.get::<Resources>("resources") else { return ResourceRequirements::default() };
    for (field, amounts) in
        [("spec.resources.requests", &resources.requests), ("spec.resources.limits", &resources.limits)]
    {
        for name in amounts.keys() {
            syntax::check_key(field, name, fields.problems);
        }
    }
    let present = |amounts: BTreeMap<_, _>| Some(amounts).filter(|amounts| !amounts.is_empty());
    ResourceRequirements { claims: None, limits: present(resources.limits), requests: present(resources.requests) }
}

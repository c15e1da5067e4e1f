//! Wire types as data: the three kinds of the hub's API with their rules, and the reader that turns YAML into
//! objects. What is read of other kinds stands where it is read.

pub mod crd;
pub mod kopia_maintenance;
pub mod kopia_repository;
pub mod lenient;
pub mod member_cluster;
pub mod quantity;
pub mod rules;
pub mod schema;
pub mod shapes;
pub mod yaml;

/// The version of all three kinds.
pub const VERSION: &str = "v1alpha1";
/// The group of the kinds that are the hub's alone.
pub const HUB_GROUP: &str = "hub.volsync.backube";
/// The group of KopiaMaintenance, unless `crd --group` says otherwise.
pub const POLICY_GROUP: &str = "volsync.backube";

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Such as `spec.repositorySelector.repository`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl Problem {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// Is it about this field or something inside it?
    pub fn is_within(&self, field: &str) -> bool {
        let rest = self.field.strip_prefix(field);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

//! Wire types as data: the three kinds of the hub's API with their rules, the few fields read of a
//! ReplicationSource, and the reader that turns YAML into objects.

pub mod crd;
pub mod kopia_maintenance;
pub mod kopia_repository;
pub mod member_cluster;
pub mod quantity;
pub mod replication_source;
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

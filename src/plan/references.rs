//! Which Secrets a plan depends on.

use super::direct;
use super::fleet::{Fleet, PlanOptions, ReferencedSecrets, SourceRecord, SourceRepository};
use crate::names::{ObjectName, Place, PlacedName, SourceKey};

/// The Secret of a source.
pub fn of_source(key: &SourceKey, record: &SourceRecord) -> Option<PlacedName> {
    let SourceRepository::Secret(name) = &record.repository else { return None };
    let object = ObjectName { namespace: key.object.namespace.clone(), name: name.clone() };
    Some(PlacedName { place: Place::Member(key.member.clone()), object })
}

/// All of a fleet. A direct policy asks the hub first, and members only for what is not there.
pub fn of(fleet: &Fleet, options: &PlanOptions) -> ReferencedSecrets {
    let of_sources = fleet.sources.iter().filter_map(|(key, record)| of_source(key, record));
    let claims = fleet.policies.values().filter_map(|policy| policy.claim.as_ref());
    of_sources.chain(claims.flat_map(|claim| direct::resolve(fleet, options, claim).wants)).collect()
}

//! The status of a MemberCluster.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{Wanted, update};
use crate::api::member_cluster::MemberClusterStatus;
use crate::time::whole_seconds;

/// The condition that tells what of other tools is suspended there.
pub const ADOPTED: &str = "Adopted";

/// What was found out about a member; strings are empty where they are not known.
#[derive(Clone, Debug, Default)]
pub struct Input<'a> {
    pub generation: Option<i64>,
    pub reachable: bool,
    pub last_contact: Option<Timestamp>,
    pub kubernetes_version: Option<&'a str>,
    pub cluster_uid: Option<&'a str>,
    pub volsync_image: Option<&'a str>,
    pub sources: usize,
    pub repositories: usize,
    pub held: usize,
    pub credential_expiry: Option<Timestamp>,
    pub conditions: Vec<Wanted>,
}

pub fn status(before: &MemberClusterStatus, input: &Input<'_>, now: Timestamp) -> MemberClusterStatus {
    let was_reachable = before.reachable_since.is_some();
    let turned = was_reachable != input.reachable;
    let keep = |new: Option<&str>, old: Option<&String>| new.map(str::to_owned).or_else(|| old.cloned());
    MemberClusterStatus {
        observed_generation: input.generation,
        reachable_since: match (input.reachable, &before.reachable_since) {
            (true, Some(since)) => Some(since.clone()),
            (true, None) => Some(Time(whole_seconds(now))),
            (false, _) => None,
        },
        // Live contact is in the metrics; here it is a mark of the last turn.
        last_contact: if turned {
            input.last_contact.map(|at| Time(whole_seconds(at)))
        } else {
            before.last_contact.clone()
        },
        kubernetes_version: keep(input.kubernetes_version, before.kubernetes_version.as_ref()),
        cluster_uid: keep(input.cluster_uid, before.cluster_uid.as_ref()),
        volsync_image: keep(input.volsync_image, before.volsync_image.as_ref()),
        source_count: Some(count(input.sources)),
        repository_count: Some(count(input.repositories)),
        held_count: Some(count(input.held)),
        credential_expiry: input.credential_expiry.map(|at| Time(whole_seconds(at))),
        conditions: update(&before.conditions, input.conditions.clone(), input.generation, now),
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

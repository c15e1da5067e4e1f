//! Whose grant the ledger holds: one that was made under another hub id gives this hub no right to anything.
//!
//! A hub that goes on under another id (`adopt`) would else take for its own what it granted before, which no member and
//! no recorded owner knows under the new id.

use crate::api::kopia_repository::{KopiaRepository, KopiaRepositoryStatus};

/// The object as this hub may take it: without a grant of another id, and without what was drained for it.
pub fn disowned(mut object: KopiaRepository, hub_id: &str) -> KopiaRepository {
    if let Some(status) = &mut object.status {
        let hub = status.grant.as_ref().and_then(|grant| grant.hub.as_deref());
        if hub.is_some_and(|hub| hub != hub_id) {
            status.grant = None;
            status.drain.clear();
        }
    }
    object
}

/// A new grant bears this hub's id. One that stands already stays as it is: that it has no id is no reason to write.
pub fn stamp(status: &mut KopiaRepositoryStatus, before: Option<&KopiaRepositoryStatus>, hub_id: &str) {
    let Some(grant) = &mut status.grant else { return };
    let before = before.and_then(|before| before.grant.as_ref());
    grant.hub = match before.filter(|before| before.epoch == grant.epoch && before.cluster == grant.cluster) {
        Some(before) => before.hub.clone(),
        None => Some(hub_id.to_owned()),
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn object(hub: &Value) -> KopiaRepository {
        let mut grant = json!({"cluster": "east", "epoch": 4, "phase": "Active"});
        if !hub.is_null() {
            grant["hub"] = hub.clone();
        }
        serde_json::from_value(json!({
            "apiVersion": "hub.volsync.backube/v1alpha1", "kind": "KopiaRepository",
            "metadata": {"name": "kr-0000000000000001"}, "spec": {"cluster": "east"},
            "status": {"grant": grant, "policy": "nightly",
                "drain": [{"cluster": "west", "deadlineSeconds": 600}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_grant_of_another_id_counts_for_nothing_and_all_else_stays() {
        let strange = disowned(object(&json!("other")), "this");
        let status = strange.status.unwrap();
        assert_eq!((status.grant, status.drain.len(), status.policy.as_deref()), (None, 0, Some("nightly")));
        assert_eq!(strange.spec.cluster.as_deref(), Some("east"));
        for own in [json!("this"), Value::Null] {
            assert_eq!(disowned(object(&own), "this"), object(&own), "one without an id is from before there were any");
        }
    }

    #[test]
    fn a_new_grant_bears_the_id_and_one_that_stands_is_not_written_for_it() {
        let before = object(&Value::Null).status.unwrap();
        let mut status = before.clone();
        stamp(&mut status, Some(&before), "this");
        assert_eq!(status, before);
        status.grant.as_mut().unwrap().epoch = 5;
        stamp(&mut status, Some(&before), "this");
        assert_eq!(status.grant.as_ref().unwrap().hub.as_deref(), Some("this"));
        let granted = status.clone();
        status.grant.as_mut().unwrap().hub = None;
        stamp(&mut status, Some(&granted), "this");
        assert_eq!(status, granted, "the planner knows nothing of it");
        let mut first = before.clone();
        stamp(&mut first, None, "this");
        assert_eq!(first.grant.unwrap().hub.as_deref(), Some("this"));
    }
}

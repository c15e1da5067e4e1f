//! Reads fields of objects that slipped through an older CRD: one wrong value must not hide the object, nor the
//! list it came in. Where a default would be the bolder reading, the careful one is taken.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
use serde_json::Value;

use super::kopia_repository::{DEADLINE_UNKNOWN, FormerStatus, GrantPhase, GrantStatus};
use super::member_cluster::Lifecycle;

/// The default where the value is of another type.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    Ok(read(from)?.unwrap_or_default())
}

/// The entries that can be read.
pub(super) fn entries<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    let entries = match Value::deserialize(from)? {
        Value::Array(entries) => entries,
        _ => Vec::new(),
    };
    Ok(entries.into_iter().filter_map(|entry| T::deserialize(entry).ok()).collect())
}

/// For switches that stop something: in doubt it is stopped.
pub(super) fn or_true<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(read(from)?.unwrap_or(true))
}

/// For `eligible`: in doubt nothing runs there. Null is absent, so the default.
pub(super) fn eligible<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(true),
        value => Ok(value.as_bool().unwrap_or(false)),
    }
}

/// For `paused`: null is absent, so the default.
pub(super) fn paused<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(false),
        value => or_true(value).map_err(D::Error::custom),
    }
}

/// For `lifecycle`: in doubt nothing new is granted there, and nobody is said to be gone.
pub(super) fn lifecycle<'de, D: Deserializer<'de>>(from: D) -> Result<Lifecycle, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(Lifecycle::Active),
        value => Ok(Lifecycle::deserialize(value).unwrap_or(Lifecycle::Retired)),
    }
}

/// For `clusterDomain`.
pub(super) fn domain<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = read::<D, String>(from)?.filter(|text| !text.is_empty());
    Ok(text.unwrap_or_else(|| super::member_cluster::DEFAULT_CLUSTER_DOMAIN.to_owned()))
}

/// For `frozenUntil`: a time that can't be read never comes.
pub(super) fn frozen<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Time>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        value => Ok(Some(Time::deserialize(value).unwrap_or(Time(Timestamp::MAX)))),
    }
}

/// For a grant: one that can't be read is no missing one, but one that has to be found out again.
pub(super) fn grant<'de, D: Deserializer<'de>>(from: D) -> Result<Option<GrantStatus>, D::Error> {
    let value = Value::deserialize(from)?;
    if value.is_null() {
        return Ok(None);
    }
    Ok(Some(GrantStatus::deserialize(&value).unwrap_or_else(|_| GrantStatus {
        cluster: value["cluster"].as_str().unwrap_or_default().to_owned(),
        hub: value["hub"].as_str().map(str::to_owned),
        cluster_uid: value["clusterUID"].as_str().map(str::to_owned),
        epoch: value["epoch"].as_i64().unwrap_or(0).max(0),
        phase: GrantPhase::Recovering,
        since: None,
        until: None,
        deadline_seconds: None,
        highest_epoch: value["highestEpoch"].as_i64().filter(|epoch| *epoch >= 0),
        from: FormerStatus::deserialize(&value["from"]).ok(),
    })))
}

/// For the deadline of what is to be drained.
pub(super) fn deadline<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    Ok(read::<D, i64>(from)?.filter(|seconds| *seconds >= 0).unwrap_or_else(unknown_deadline))
}

pub(super) fn unknown_deadline() -> i64 {
    DEADLINE_UNKNOWN.into()
}

fn read<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    Ok(T::deserialize(Value::deserialize(from)?).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::api::kopia_repository::KopiaRepository;
    use crate::api::member_cluster::MemberCluster;

    fn member(spec: &Value) -> MemberCluster {
        let object = json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "MemberCluster",
            "metadata": {"name": "m"}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    fn repository(spec: &Value, status: &Value) -> KopiaRepository {
        let object = json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "KopiaRepository",
            "metadata": {"name": "kr-0123456789abcdef"}, "spec": spec, "status": status});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_empty_member_has_the_defaults() {
        let absent = member(&json!({})).spec;
        assert_eq!((absent.eligible, absent.paused, absent.cluster_domain.as_str()), (true, false, "cluster.local"));
        let null = json!({"eligible": null, "paused": null, "clusterDomain": null, "cidrs": null,
            "imagePullSecrets": null, "moverImage": null, "kubeconfigSecretRef": null, "adoptForeign": null});
        assert_eq!(member(&null).spec, absent);
    }

    #[test]
    fn in_doubt_nothing_runs_in_a_member() {
        let spec = member(&json!({"eligible": "yes", "paused": "no", "cidrs": ["10.0.0.0/8", 5], "moverImage": 7,
            "clusterDomain": 8, "adoptForeign": "true", "imagePullSecrets": [{"name": "a"}, {}]}))
        .spec;
        assert_eq!((spec.eligible, spec.paused, spec.adopt_foreign), (false, true, false));
        assert_eq!((spec.cidrs, spec.image_pull_secrets.len()), (vec!["10.0.0.0/8".to_owned()], 1));
        assert_eq!((spec.mover_image, spec.cluster_domain.as_str()), (None, "cluster.local"));
    }

    #[test]
    fn a_freeze_that_cannot_be_read_stays() {
        let spec = repository(&json!({"frozenUntil": "tomorrow", "cluster": 5, "sameAs": "x"}), &json!({})).spec;
        assert_eq!(spec.frozen_until, Some(Time(Timestamp::MAX)));
        assert_eq!((spec.cluster, spec.same_as.as_deref()), (None, Some("x")));
        assert_eq!(repository(&json!({"frozenUntil": null}), &json!({})).spec.frozen_until, None);
    }

    #[test]
    fn a_grant_that_cannot_be_read_is_recovered() {
        let status = json!({"grant": {"cluster": "a", "epoch": 7, "phase": "Resting"}, "runs": [{"outcome": 5}],
            "drain": [{"cluster": "b"}, {"cluster": "c", "deadlineSeconds": "long"}, 5], "lastSuccess": "x"});
        let status = repository(&json!({}), &status).status.unwrap();
        let grant = status.grant.unwrap();
        assert_eq!((grant.cluster.as_str(), grant.epoch, grant.phase), ("a", 7, GrantPhase::Recovering));
        assert_eq!(status.drain.iter().map(|drain| drain.deadline_seconds).collect::<Vec<_>>(), [604_800, 604_800]);
        assert_eq!((status.runs.len(), status.last_success), (0, None));
    }
}

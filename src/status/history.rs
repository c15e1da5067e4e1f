//! How the grants of a repository came and went: what `explain` tells of it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::kopia_repository::{
    GivenUp, GrantPhase, GrantRecord, HISTORY_MAX, KopiaRepositorySpec, KopiaRepositoryStatus,
};
use crate::plan::fleet::{Grant, Phase};
use crate::time::whole_seconds;

/// Takes down what the ledger is about to say, after what the operator said and the status `before`.
pub fn record(
    status: &mut KopiaRepositoryStatus,
    (spec, before): (&KopiaRepositorySpec, &KopiaRepositoryStatus),
    next: &Grant,
    now: Timestamp,
) {
    let now = Time(whole_seconds(now));
    let epoch = i64::try_from(next.epoch).unwrap_or(i64::MAX);
    let newest = status.history.first();
    if newest.is_none_or(|newest| newest.epoch != epoch || newest.cluster != next.cluster.as_str()) {
        let holder = before.grant.as_ref().map(|grant| grant.cluster.clone());
        let entry = GrantRecord {
            epoch,
            cluster: next.cluster.to_string(),
            from: holder.filter(|from| *from != next.cluster.as_str()),
            why: why(before, spec, next).to_owned(),
            began: Some(now.clone()),
            claimed: None,
            active: None,
        };
        status.history.insert(0, entry);
        status.history.truncate(HISTORY_MAX);
    }
    let Some(newest) = status.history.first_mut() else { return };
    let after = newest.began.as_ref().map(|began| now.0.as_second() - began.0.as_second());
    match next.phase {
        Phase::Claiming | Phase::Recovering | Phase::Resuming => {}
        Phase::Draining => newest.claimed = newest.claimed.or(after),
        Phase::Active => newest.active = newest.active.or(after),
    }
}

/// CamelCase, a fixed word.
fn why(before: &KopiaRepositoryStatus, spec: &KopiaRepositorySpec, next: &Grant) -> &'static str {
    let away = before.state.as_deref() == Some("Held") && before.reason.as_deref() == Some("HolderUnreachable");
    let Some(before) = &before.grant else {
        return if next.from.is_some() { "Recovered" } else { "FirstGrant" };
    };
    let given_up = |it: &GivenUp| it.cluster == before.cluster && it.epoch == before.epoch;
    if u64::try_from(before.epoch).is_ok_and(|epoch| next.epoch < epoch) {
        "ClaimFailed"
    } else if before.phase == GrantPhase::Recovering {
        "Recovered"
    } else if before.cluster == next.cluster.as_str() {
        "ClaimedAnew"
    } else if spec.failover.as_ref().is_some_and(given_up) {
        "Failover"
    } else if spec.cluster.as_deref() == Some(next.cluster.as_str()) {
        "Pinned"
    } else if away {
        "AutomaticFailover"
    } else {
        "HolderLost"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::plan::testing::{at, grant};

    fn status(grant: &serde_json::Value) -> KopiaRepositoryStatus {
        serde_json::from_value(json!({"grant": grant})).unwrap()
    }

    #[test]
    fn each_grant_is_taken_down_once_with_the_times_of_its_steps() {
        let (mut status, spec) = (KopiaRepositoryStatus::default(), KopiaRepositorySpec::default());
        let step = |phase, status: &mut KopiaRepositoryStatus, time: &str| {
            let before = status.clone();
            record(status, (&spec, &before), &Grant { phase, ..grant("eu", 1) }, at(time));
        };
        step(Phase::Claiming, &mut status, "2026-06-01T12:00:00.7Z");
        step(Phase::Draining, &mut status, "2026-06-01T12:01:00Z");
        step(Phase::Draining, &mut status, "2026-06-01T12:02:00Z");
        step(Phase::Active, &mut status, "2026-06-01T12:06:00Z");
        step(Phase::Active, &mut status, "2026-06-02T12:06:00Z");
        assert_eq!(
            serde_json::to_value(&status.history).unwrap(),
            json!([{"epoch": 1, "cluster": "eu", "why": "FirstGrant", "began": "2026-06-01T12:00:00Z",
                "claimed": 60, "active": 360}])
        );
        for epoch in 2..20 {
            let before = status.clone();
            record(&mut status, (&spec, &before), &grant("us", epoch), at("2026-06-03T00:00:00Z"));
        }
        assert_eq!(status.history.iter().map(|it| it.epoch).collect::<Vec<_>>(), [19, 18, 17]);
    }

    #[test]
    fn why_it_moved_is_told() {
        let held = json!({"cluster": "eu", "epoch": 4, "phase": "Active"});
        let told = |spec: &serde_json::Value, status: &KopiaRepositoryStatus, next: &Grant| {
            let (spec, mut status) = (serde_json::from_value(spec.clone()).unwrap(), status.clone());
            let before = status.clone();
            record(&mut status, (&spec, &before), next, at("2026-06-01T12:00:00Z"));
            (status.history[0].why.clone(), status.history[0].from.clone())
        };
        let from_eu = |why: &str| (why.to_owned(), Some("eu".to_owned()));
        let (next, nothing) = (grant("us", 5), json!({}));
        assert_eq!(told(&nothing, &status(&held), &next), from_eu("HolderLost"));
        assert_eq!(told(&json!({"cluster": "us"}), &status(&held), &next), from_eu("Pinned"));
        let given_up = json!({"failover": {"cluster": "eu", "epoch": 4}, "cluster": "us"});
        assert_eq!(told(&given_up, &status(&held), &next), from_eu("Failover"));
        let away = KopiaRepositoryStatus {
            state: Some("Held".to_owned()),
            reason: Some("HolderUnreachable".to_owned()),
            ..status(&held)
        };
        assert_eq!(told(&nothing, &away, &next), from_eu("AutomaticFailover"));
        assert_eq!(told(&nothing, &status(&held), &grant("eu", 5)), ("ClaimedAnew".to_owned(), None));
        let claiming = json!({"cluster": "us", "epoch": 5, "phase": "Claiming"});
        assert_eq!(told(&nothing, &status(&claiming), &grant("eu", 4)).0, "ClaimFailed");
        let lost = json!({"cluster": "eu", "epoch": 4, "phase": "Recovering"});
        assert_eq!(told(&nothing, &status(&lost), &next), from_eu("Recovered"));
    }
}

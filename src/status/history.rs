//! How the grants of a repository came and went: what `explain` tells of it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::kopia_repository::{
    GivenUp, GrantPhase, GrantRecord, HISTORY_MAX, KopiaRepositorySpec, KopiaRepositoryStatus,
};
use crate::plan::fleet::{Grant, Phase};
use crate::time::whole_seconds;

/// What was said before a grant.
#[derive(Clone, Copy)]
pub struct Before<'a> {
    pub spec: &'a KopiaRepositorySpec,
    pub status: &'a KopiaRepositoryStatus,
    /// The policy asks for failover by itself.
    pub automatic: bool,
    /// Other ids had grants of their own.
    pub merges: bool,
    /// Another repository stands there than at the time of the claim.
    pub replaced: bool,
}

/// Takes down what the ledger is about to say.
pub fn record(history: &mut Vec<GrantRecord>, before: Before<'_>, next: &Grant, now: Timestamp) {
    let now = Time(whole_seconds(now));
    let epoch = i64::try_from(next.epoch).unwrap_or(i64::MAX);
    let holder = before.status.grant.as_ref();
    if let Some(raised) = raised(history, &before, next) {
        raised.epoch = epoch;
    } else if holder.is_none_or(|holder| holder.epoch != epoch || holder.cluster != next.cluster.as_str()) {
        let from = holder.map(|holder| holder.cluster.clone()).filter(|from| *from != next.cluster.as_str());
        let (cluster, why) = (next.cluster.to_string(), why(before, next).to_owned());
        let began = Some(now.clone());
        history.insert(0, GrantRecord { epoch, cluster, from, why, began, claimed: None, active: None });
        history.truncate(HISTORY_MAX);
    }
    // There may have been no room for it.
    let newest = history.first_mut().filter(|it| it.epoch == epoch && it.cluster == next.cluster.as_str());
    let Some(newest) = newest else { return };
    let after = newest.began.as_ref().map(|began| now.0.as_second() - began.0.as_second());
    match next.phase {
        Phase::Claiming | Phase::Recovering | Phase::Resuming => {}
        Phase::Draining => newest.claimed = newest.claimed.or(after),
        Phase::Active => newest.active = newest.active.or(after),
    }
}

/// The newest entry, if that claim goes on under a higher epoch: above an owner that was found meanwhile.
fn raised<'a>(history: &'a mut [GrantRecord], before: &Before<'_>, next: &Grant) -> Option<&'a mut GrantRecord> {
    let claiming = before.status.grant.as_ref().filter(|it| it.phase == GrantPhase::Claiming)?;
    let goes_on = claiming.cluster == next.cluster.as_str() && next.phase == Phase::Claiming;
    let is_higher = u64::try_from(claiming.epoch).is_ok_and(|epoch| epoch < next.epoch);
    let newest = history.first_mut().filter(|it| it.epoch == claiming.epoch && it.cluster == claiming.cluster);
    newest.filter(|_| goes_on && is_higher && !before.merges && !before.replaced)
}

/// CamelCase, a fixed word.
fn why(Before { spec, status, automatic, merges, replaced }: Before<'_>, next: &Grant) -> &'static str {
    let away = status.state.as_deref() == Some("Held") && status.reason.as_deref() == Some("HolderUnreachable");
    if merges {
        return "Merged";
    }
    let Some(before) = &status.grant else {
        if status.merged.is_some() {
            return "Split";
        }
        return if next.from.is_some() { "Recovered" } else { "FirstGrant" };
    };
    let given_up = |it: &GivenUp| it.cluster == before.cluster && it.epoch == before.epoch;
    if u64::try_from(before.epoch).is_ok_and(|epoch| next.epoch < epoch) {
        "ClaimFailed"
    } else if before.phase == GrantPhase::Recovering {
        "Recovered"
    } else if replaced && before.cluster == next.cluster.as_str() {
        "Replaced"
    } else if before.cluster == next.cluster.as_str() {
        "ClaimedAnew"
    } else if spec.failover.as_ref().is_some_and(given_up) {
        "Failover"
    } else if spec.cluster.as_deref() == Some(next.cluster.as_str()) {
        "Pinned"
    } else if away && automatic {
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
        let (mut history, spec) = (Vec::new(), KopiaRepositorySpec::default());
        let mut before = KopiaRepositoryStatus::default();
        let mut step = |phase, epoch: u64, time: &str, history: &mut Vec<GrantRecord>| {
            let said = Before { spec: &spec, status: &before, automatic: false, merges: false, replaced: false };
            record(history, said, &Grant { phase, ..grant("eu", epoch) }, at(time));
            before = status(&json!({"cluster": "eu", "epoch": epoch, "phase": "Active"}));
        };
        step(Phase::Claiming, 1, "2026-06-01T12:00:00.7Z", &mut history);
        step(Phase::Draining, 1, "2026-06-01T12:01:00Z", &mut history);
        step(Phase::Draining, 1, "2026-06-01T12:02:00Z", &mut history);
        step(Phase::Active, 1, "2026-06-01T12:06:00Z", &mut history);
        step(Phase::Active, 1, "2026-06-02T12:06:00Z", &mut history);
        assert_eq!(
            serde_json::to_value(&history).unwrap(),
            json!([{"epoch": 1, "cluster": "eu", "why": "FirstGrant", "began": "2026-06-01T12:00:00Z",
                "claimed": 60, "active": 360}])
        );
        for epoch in 2..20 {
            step(Phase::Active, epoch, "2026-06-03T00:00:00Z", &mut history);
        }
        assert_eq!(history.iter().map(|it| it.epoch).collect::<Vec<_>>(), [19, 18, 17]);
        // One that was made before, and for which there was no room or no history yet.
        history.clear();
        step(Phase::Active, 19, "2026-06-04T00:00:00Z", &mut history);
        assert_eq!(history, []);
    }

    #[test]
    fn a_claim_that_goes_on_under_a_higher_epoch_is_one_entry() {
        let (mut history, spec) = (Vec::new(), KopiaRepositorySpec::default());
        let mut step = |before: &KopiaRepositoryStatus, phase, (cluster, epoch), time: &str| {
            let said = Before { spec: &spec, status: before, automatic: false, merges: false, replaced: false };
            record(&mut history, said, &Grant { phase, ..grant(cluster, epoch) }, at(time));
        };
        let claiming = |epoch: u64| status(&json!({"cluster": "eu", "epoch": epoch, "phase": "Claiming"}));
        step(&KopiaRepositoryStatus::default(), Phase::Claiming, ("eu", 1), "2026-06-01T12:00:00Z");
        step(&claiming(1), Phase::Claiming, ("eu", 5), "2026-06-01T12:00:30Z");
        step(&claiming(5), Phase::Draining, ("eu", 5), "2026-06-01T12:01:00Z");
        step(&claiming(5), Phase::Claiming, ("us", 6), "2026-06-01T12:02:00Z");
        let told = history.iter().map(|it| (it.epoch, it.why.as_str(), it.claimed)).collect::<Vec<_>>();
        assert_eq!(told, [(6, "HolderLost", None), (5, "FirstGrant", Some(60))]);
    }

    #[test]
    fn why_it_moved_is_told() {
        let held = json!({"cluster": "eu", "epoch": 4, "phase": "Active"});
        let told_under = |automatic, spec: &serde_json::Value, status: &KopiaRepositoryStatus, next: &Grant| {
            let (spec, mut history) = (serde_json::from_value(spec.clone()).unwrap(), Vec::new());
            let before = Before { spec: &spec, status, automatic, merges: false, replaced: false };
            record(&mut history, before, next, at("2026-06-01T12:00:00Z"));
            (history[0].why.clone(), history[0].from.clone())
        };
        let told = |spec: &serde_json::Value, status: &KopiaRepositoryStatus, next: &Grant| {
            told_under(true, spec, status, next)
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
        assert_eq!(told_under(false, &nothing, &away, &next), from_eu("HolderLost"), "it was forgotten");
        assert_eq!(told(&nothing, &status(&held), &grant("eu", 5)), ("ClaimedAnew".to_owned(), None));
        let claiming = json!({"cluster": "us", "epoch": 5, "phase": "Claiming"});
        assert_eq!(told(&nothing, &status(&claiming), &grant("eu", 4)).0, "ClaimFailed");
        let lost = json!({"cluster": "eu", "epoch": 4, "phase": "Recovering"});
        assert_eq!(told(&nothing, &status(&lost), &next), from_eu("Recovered"));
    }
}

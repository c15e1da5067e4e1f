//! What is wrong with a repository, a policy or a member, as its status on the hub tells: for `get` and `doctor`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use super::output::Tone;
use crate::api::kopia_repository::KopiaRepositoryStatus;
use crate::api::member_cluster::{Lifecycle, MemberCluster};
use crate::status::merged;

/// The worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It should be looked at, or mends itself.
    Warn,
    /// Something is not done that should be done.
    Fail,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub level: Level,
    /// The condition that tells.
    pub condition: String,
    pub reason: String,
    pub message: String,
    /// Since when the condition says so.
    pub since: Option<Timestamp>,
}

impl Level {
    pub const fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Warn => Tone::Warning,
            Self::Fail => Tone::Bad,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Wrong {
    fn of(level: Level, condition: &Condition) -> Self {
        Self {
            level,
            condition: condition.type_.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            since: Some(condition.last_transition_time.0),
        }
    }

    fn not_looked_at(condition: &str) -> Self {
        Self {
            level: Level::Warn,
            condition: condition.to_owned(),
            reason: "Unknown".to_owned(),
            message: "the hub has not looked at it yet".to_owned(),
            since: None,
        }
    }
}

/// The worst of them.
pub fn worst(wrongs: &[Wrong]) -> Level {
    wrongs.iter().map(|wrong| wrong.level).max().unwrap_or(Level::Ok)
}

/// Steps on the way to being maintained, and what is wanted so.
const UNDER_WAY: [&str; 10] = [
    "Claiming",
    "ClaimQueued",
    "WaitingForFormerOwner",
    "WaitingForFormerHolder",
    "Resuming",
    "MembersUnread",
    "MemberUnread",
    "SecretChanged",
    "Conflict",
    "Observe",
];
/// It mends itself, or goes on without the hub, or nobody has asked for more.
const MILD: [&str; 10] = [
    "Recovering",
    "HandoverPending",
    "HolderUnreachable",
    "MemberUnreachable",
    "NoPolicy",
    "LedgerFailed",
    "WriteFailed",
    "Paused",
    "Ineligible",
    "Filesystem",
];

/// The worst first. Empty: it is maintained, on its way there, or not to be maintained.
pub fn of_repository(status: Option<&KopiaRepositoryStatus>) -> Vec<Wrong> {
    let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
    // Another one stands for it, and tells for both.
    if status.is_some_and(|status| status.state.as_deref() == Some(merged::STATE)) {
        return Vec::new();
    }
    if conditions.is_empty() {
        return vec![Wrong::not_looked_at("Maintained")];
    }
    let state = status.and_then(|status| status.state.as_deref()).unwrap_or_default();
    let level = |condition: &Condition| match (condition.type_.as_str(), condition.status.as_str()) {
        ("Maintained", "False") => {
            let reason = condition.reason.as_str();
            let wanted = matches!(state, "Suspended" | "Disabled" | "Frozen") || UNDER_WAY.contains(&reason);
            (!wanted).then(|| if MILD.contains(&reason) { Level::Warn } else { Level::Fail })
        }
        ("Overdue" | "Contended", "True") => Some(Level::Fail),
        ("Ambiguous" | "Replaced", "True") => Some(Level::Warn),
        _ => None,
    };
    sorted(conditions, level)
}

/// The worst first. What its repositories tell themselves is no more than a warning here.
pub fn of_policy(conditions: &[Condition]) -> Vec<Wrong> {
    if conditions.is_empty() {
        return vec![Wrong::not_looked_at("Ready")];
    }
    let level = |condition: &Condition| match (condition.type_.as_str(), condition.status.as_str()) {
        ("Valid", "False") => Some(Level::Fail),
        ("Degraded", "True") if condition.reason == "MissingRules" => Some(Level::Fail),
        ("Degraded", "True") => Some(Level::Warn),
        ("Ready", "False") if condition.reason == "NoMatchingRepositories" => Some(Level::Warn),
        _ => None,
    };
    sorted(conditions, level)
}

/// The worst first. Who can't be reached is behind in everything else, and nothing is expected of who was taken out.
pub fn of_member(object: &MemberCluster) -> Vec<Wrong> {
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    if object.spec.lifecycle == Lifecycle::Forgotten {
        return Vec::new();
    }
    if conditions.is_empty() {
        return vec![Wrong::not_looked_at("Reachable")];
    }
    let level = |condition: &Condition| match (condition.type_.as_str(), condition.status.as_str()) {
        ("Reachable", "False") if object.spec.lifecycle == Lifecycle::Active => Some(Level::Fail),
        ("Authorized" | "Supported", "False") | ("Duplicate", "True") => Some(Level::Fail),
        ("Synced", "False") if condition.reason == "ListFailed" => Some(Level::Fail),
        ("Reachable" | "Authorized", "Unknown") | ("Reachable" | "VolSyncInstalled" | "Synced", "False") => {
            Some(Level::Warn)
        }
        _ => None,
    };
    let mut wrongs = sorted(conditions, level);
    if wrongs.iter().any(|wrong| wrong.condition == "Reachable") {
        wrongs.retain(|wrong| wrong.condition == "Reachable");
    }
    wrongs
}

fn sorted(conditions: &[Condition], level: impl Fn(&Condition) -> Option<Level>) -> Vec<Wrong> {
    let found = conditions.iter().filter_map(|condition| Some(Wrong::of(level(condition)?, condition)));
    let mut wrongs: Vec<Wrong> = found.collect();
    // The sort is stable: among equals they stay in the order of the conditions.
    wrongs.sort_by_key(|wrong| std::cmp::Reverse(wrong.level));
    wrongs
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::levers::testing::{member, record};

    fn conditions(conditions: &[(&str, &str, &str)]) -> Value {
        let condition = |(kind, status, reason): &(&str, &str, &str)| {
            json!({"type": kind, "status": status, "reason": reason, "message": "why",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        conditions.iter().map(condition).collect()
    }

    fn of(state: &str, these: &[(&str, &str, &str)]) -> Vec<(Level, String)> {
        let object = record(1, &json!({}), &json!({"state": state, "conditions": conditions(these)}));
        of_repository(object.status.as_ref()).into_iter().map(|wrong| (wrong.level, wrong.reason)).collect()
    }

    #[test]
    fn what_is_on_its_way_or_wanted_so_is_not_wrong() {
        assert!(of("Maintained", &[("Maintained", "True", "Active"), ("Overdue", "False", "OnTime")]).is_empty());
        assert!(of("Maintained", &[("Maintained", "False", "Claiming")]).is_empty());
        assert!(of("Frozen", &[("Maintained", "False", "Frozen"), ("Contended", "False", "Resolved")]).is_empty());
    }

    #[test]
    fn what_is_wrong_comes_with_the_worst_first() {
        let held = of(
            "Held",
            &[
                ("Ambiguous", "True", "CredentialMismatch"),
                ("Maintained", "False", "InvalidPolicy"),
                ("Overdue", "True", "MissedRuns"),
            ],
        );
        let expected =
            [(Level::Fail, "InvalidPolicy"), (Level::Fail, "MissedRuns"), (Level::Warn, "CredentialMismatch")];
        assert_eq!(held, expected.map(|(level, reason)| (level, reason.to_owned())));
        assert_eq!(of("Held", &[("Maintained", "False", "HolderUnreachable")])[0].0, Level::Warn);
        assert_eq!(of_repository(None)[0].message, "the hub has not looked at it yet");
    }

    #[test]
    fn a_policy_that_can_not_be_read_is_worse_than_one_that_matches_nothing() {
        let of = |these: &[(&str, &str, &str)]| {
            let conditions: Vec<Condition> = serde_json::from_value(conditions(these)).unwrap_or_default();
            worst(&of_policy(&conditions))
        };
        assert_eq!(of(&[("Ready", "False", "InvalidPolicy"), ("Valid", "False", "InvalidPolicy")]), Level::Fail);
        assert_eq!(of(&[("Ready", "False", "NoMatchingRepositories"), ("Valid", "True", "Valid")]), Level::Warn);
        assert_eq!(of(&[("Ready", "False", "Progressing"), ("Valid", "True", "Valid")]), Level::Ok);
        assert_eq!(of(&[]), Level::Warn);
    }

    #[test]
    fn a_member_that_can_not_be_reached_is_told_of_once_and_one_that_was_taken_out_is_let_be() {
        let away = |lifecycle: &str| {
            let mut object = member("east", &json!({"lifecycle": lifecycle}), "False");
            let synced = conditions(&[("Synced", "False", "ListFailed")]);
            let synced: Vec<Condition> = serde_json::from_value(synced).unwrap_or_default();
            object.status.get_or_insert_default().conditions.extend(synced);
            of_member(&object)
        };
        let wrongs = away("Active");
        assert_eq!((wrongs.len(), wrongs[0].level), (1, Level::Fail), "{wrongs:?}");
        assert_eq!(worst(&away("Retired")), Level::Warn);
        assert!(away("Forgotten").is_empty());
        assert!(of_member(&member("east", &json!({}), "True")).is_empty());
    }
}

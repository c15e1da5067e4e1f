//! What stands beside the hub in its own namespace: the Lease that says who leads, and the Deployment.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;

use super::levers::Hub;
use crate::hub::lease::NAME;

/// Of the Deployment, as `deploy/hub` calls it.
const DEPLOYMENT: &str = "volsync-hub";
const ID_VARIABLE: &str = "VOLSYNC_HUB_ID";
const ID_OPTION: &str = "--hub-id";
/// The clock of this machine and that of the hub may differ by so much, and a renewal be on its way.
const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// Who leads, as the Lease tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderSeen {
    /// It could not be read.
    Unknown,
    /// There is no Lease: no hub has ever run here, or only one with `--leader-election=false`.
    NoLease,
    /// Nobody has it any more; renewed last at this time.
    GivenUp(Option<Timestamp>),
    Held {
        by: String,
        since: Option<Timestamp>,
        renewed: Option<Timestamp>,
        duration: SignedDuration,
    },
}

impl LeaderSeen {
    /// Somebody leads now, as far as this machine's clock tells.
    pub fn leads(&self, now: Timestamp) -> bool {
        match self {
            Self::Held { renewed: Some(renewed), duration, .. } => now.duration_since(*renewed) <= *duration + GRACE,
            _ => false,
        }
    }
}

pub async fn leader(hub: &Hub) -> Result<LeaderSeen, String> {
    Ok(hub.own::<Lease>(NAME).await?.as_ref().map_or(LeaderSeen::NoLease, read))
}

fn read(lease: &Lease) -> LeaderSeen {
    let spec = lease.spec.clone().unwrap_or_default();
    let renewed = spec.renew_time.map(|time| time.0);
    match spec.holder_identity.filter(|by| !by.is_empty()) {
        None => LeaderSeen::GivenUp(renewed),
        Some(by) => LeaderSeen::Held {
            by,
            since: spec.acquire_time.map(|time| time.0),
            renewed,
            duration: SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(0).into()),
        },
    }
}

/// The id that the Deployment gives the hub, where there is one that can be read and it does.
pub async fn given_id(hub: &Hub) -> Option<String> {
    let deployment: Deployment = hub.own(DEPLOYMENT).await.ok()??;
    id_in(&deployment)
}

fn id_in(deployment: &Deployment) -> Option<String> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.iter().find_map(|container| {
        let variable = container.env.iter().flatten().find(|variable| variable.name == ID_VARIABLE);
        let words: Vec<&str> = container.command.iter().chain(&container.args).flatten().map(String::as_str).collect();
        let joined = words.iter().find_map(|word| word.strip_prefix(ID_OPTION)?.strip_prefix('='));
        let apart = words.iter().position(|word| *word == ID_OPTION).and_then(|at| words.get(at + 1).copied());
        // An option counts before a variable.
        let id = joined.or(apart).map(str::to_owned).or_else(|| variable?.value.clone());
        id.filter(|id| !id.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_lease_that_was_not_renewed_in_time_is_nobodys() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap_or_default();
        let seen = |holder: Value, renewed: &str| {
            let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 10, "renewTime": renewed,
                "acquireTime": "2026-03-01T09:00:00.000000Z"});
            serde_json::from_value(json!({"metadata": {"name": NAME}, "spec": spec})).as_ref().map(read).ok()
        };
        let leads = |holder: Value, renewed: &str| seen(holder, renewed).is_some_and(|seen| seen.leads(now));
        assert!(leads(json!("pod_1"), "2026-03-01T11:59:58.000000Z"));
        assert!(leads(json!("pod_1"), "2026-03-01T12:00:20.000000Z"), "the other clock is ahead");
        assert!(!leads(json!("pod_1"), "2026-03-01T11:59:00.000000Z"));
        assert!(!leads(json!(""), "2026-03-01T12:00:00.000000Z"));
        assert!(matches!(seen(json!(null), "2026-03-01T12:00:00.000000Z"), Some(LeaderSeen::GivenUp(Some(_)))));
        assert!(!LeaderSeen::NoLease.leads(now));
    }

    #[test]
    fn the_id_is_found_in_arguments_and_in_variables() {
        let id = |container: Value| {
            let template = json!({"spec": {"containers": [container]}});
            let spec = json!({"selector": {}, "template": template});
            serde_json::from_value(json!({"metadata": {}, "spec": spec})).ok().as_ref().and_then(id_in)
        };
        let variable = json!([{"name": ID_VARIABLE, "value": "of-env"}]);
        assert_eq!(id(json!({"name": "c", "args": ["run", "--hub-id=a"]})).as_deref(), Some("a"));
        assert_eq!(id(json!({"name": "c", "args": ["run", "--hub-id", "b"], "env": variable})).as_deref(), Some("b"));
        assert_eq!(id(json!({"name": "c", "args": ["run"], "env": variable})).as_deref(), Some("of-env"));
        assert_eq!(id(json!({"name": "c", "args": ["run"]})), None);
    }
}

//! What the hub needs on its own cluster, and asking for it again and again: a right that is missing is told of.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use super::kinds::{HUB_GROUP, POLICY_GROUP};
use super::{id, lease};
use crate::member::access::{self, Rule};
use crate::member::{CallError, Class, Member};

/// Rights change by a person's hand.
const POLL: Duration = Duration::from_mins(10);
/// While something is missing, so that it is noticed when it comes. Also between two looks because of a refusal: some
/// Secrets of policies may be forbidden for good.
const POLL_INCOMPLETE: Duration = Duration::from_secs(30);
/// Below these no time factor goes.
const POLL_MIN: Duration = Duration::from_secs(2);
const POLL_INCOMPLETE_MIN: Duration = Duration::from_millis(500);
/// What to do about a right that is missing.
const GRANT: &str = "an administrator of the hub's cluster grants it with `kubectl apply --server-side -k deploy/hub`; it \
                     is looked for every half minute";

/// What is missing and what to do about it; none: nothing is.
pub type Missing = Option<Arc<str>>;

/// What the hub does on its own cluster, as far as that depends on how it was started.
#[derive(Clone, Debug)]
pub struct Uses {
    /// The group of the policies.
    pub group: &'static str,
    /// The hub's own namespace.
    pub namespace: String,
    /// It keeps its id in a ConfigMap.
    pub keeps_id: bool,
    /// It holds a Lease while it writes.
    pub elects: bool,
}

/// The rights that are asked for. What direct policies refer to is no part of them: that may be allowed in some
/// namespaces only, and each such policy says what it can't read.
fn needed(uses: &Uses) -> Vec<Rule<'_>> {
    const EVENTS: &str = "events.k8s.io";
    let rule = |verb, group, resource, name, namespace| Rule { verb, group, resource, name, namespace };
    let mut rules = Vec::new();
    let mut anywhere = |group, resource, verbs: &[&'static str]| {
        rules.extend(verbs.iter().map(|verb| rule(*verb, group, resource, None, None)));
    };
    anywhere(uses.group, "kopiamaintenances", &["list", "watch"]);
    anywhere(uses.group, "kopiamaintenances/status", &["patch"]);
    anywhere(HUB_GROUP, "kopiarepositories", &["get", "list", "watch", "create"]);
    anywhere(HUB_GROUP, "kopiarepositories/status", &["update"]);
    anywhere(HUB_GROUP, "memberclusters", &["list", "watch", "create"]);
    anywhere(HUB_GROUP, "memberclusters/status", &["patch"]);
    for crd in [
        "kopiamaintenances.volsync.backube",
        "kopiamaintenances.hub.volsync.backube",
        "kopiarepositories.hub.volsync.backube",
        "memberclusters.hub.volsync.backube",
    ] {
        rules.push(rule("get", "apiextensions.k8s.io", "customresourcedefinitions", Some(crd), None));
    }
    let here = uses.namespace.as_str();
    for verb in ["get", "list", "watch"] {
        rules.push(rule(verb, "", "secrets", None, Some(here)));
    }
    if uses.keeps_id {
        rules.push(rule("create", "", "configmaps", None, Some(here)));
        rules.push(rule("get", "", "configmaps", Some(id::NAME), Some(here)));
    }
    if uses.elects {
        rules.push(rule("create", "coordination.k8s.io", "leases", None, Some(here)));
        for verb in ["get", "update"] {
            rules.push(rule(verb, "coordination.k8s.io", "leases", Some(lease::NAME), Some(here)));
        }
    }
    for namespace in ["default", here] {
        for verb in ["create", "patch"] {
            rules.push(rule(verb, EVENTS, "events", None, Some(namespace)));
        }
    }
    rules
}

/// Asks at once, every ten minutes, and soon after any request was forbidden; tells of each change. Runs until it is
/// dropped. `factor` divides the waits.
pub async fn run(hub: Member, uses: Uses, forbidden: Arc<Notify>, told: watch::Sender<Missing>, factor: u32) {
    debug_assert!([HUB_GROUP, POLICY_GROUP].contains(&uses.group));
    let (complete, incomplete) = ((POLL / factor).max(POLL_MIN), (POLL_INCOMPLETE / factor).max(POLL_INCOMPLETE_MIN));
    loop {
        match missing(&hub, &uses).await {
            Ok(missing) => tell(&told, &missing),
            // One that serves no such question is not asked for anything; one that does not answer is seen elsewhere.
            Err(error) if error.class == Class::NotServed => return,
            Err(error) => debug!(%error, "what the hub may do on its own cluster can't be asked"),
        }
        tokio::time::sleep(incomplete).await;
        if told.borrow().is_none() {
            tokio::select! {
                () = forbidden.notified() => {}
                () = tokio::time::sleep(complete.saturating_sub(incomplete)) => {}
            }
        }
    }
}

/// Those that are missing now; fails where the API server can't be asked.
pub async fn missing(hub: &Member, uses: &Uses) -> Result<Vec<String>, CallError> {
    access::missing(hub, needed(uses).into_iter()).await
}

fn tell(told: &watch::Sender<Missing>, missing: &[String]) {
    let now: Missing = (!missing.is_empty()).then(|| format!("missing: {}; {GRANT}", missing.join("; ")).into());
    told.send_if_modified(|last| {
        let changed = *last != now;
        if changed {
            if let Some(message) = &now {
                warn!("the hub lacks rights on its own cluster: {message}");
            } else {
                info!("the hub has every right on its own cluster that it needs");
            }
            last.clone_from(&now);
        }
        changed
    });
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::member::access::manifests::{granted, missing_with};
    use crate::sim::{Access, SimCluster};

    fn uses() -> Uses {
        Uses { group: POLICY_GROUP, namespace: "volsync-system".to_owned(), keeps_id: true, elects: true }
    }

    const MANIFEST: &str = include_str!("../../deploy/hub/rbac.yaml");

    #[tokio::test]
    async fn each_right_is_granted_by_the_manifest_and_named_exactly_where_it_is_missing() {
        let cluster = SimCluster::start("hub").await.unwrap();
        let uses = uses();
        assert_eq!(missing_with(&cluster, granted(&[MANIFEST]), &needed(&uses)).await, [""; 0]);
        for rule in needed(&uses) {
            let missing = missing_with(&cluster, rule.left_out_of(granted(&[MANIFEST])), &needed(&uses)).await;
            assert_eq!(missing, [rule.to_string()]);
        }
    }

    #[test]
    fn each_right_that_the_manifest_grants_is_asked_for_but_for_what_policies_refer_to() {
        let (uses, other) = (uses(), Uses { group: HUB_GROUP, ..uses() });
        let asked: Vec<_> = needed(&uses).into_iter().chain(needed(&other)).collect();
        let rest: Vec<_> =
            granted(&[MANIFEST]).into_iter().filter(|it| !asked.iter().any(|rule| rule.is(it))).collect();
        let rest: Vec<_> = rest.iter().map(|it| format!("{} {}", it.verbs[0], it.resources[0])).collect();
        assert_eq!(rest, ["create selfsubjectaccessreviews", "get secrets", "get configmaps"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_goes_missing_is_told_soon_after_a_refusal_and_so_is_that_it_came_back() {
        let cluster = SimCluster::start("hub").await.unwrap();
        let token = cluster.add_user("user", Access::Rules(granted(&[MANIFEST])));
        let hub = Member::new("hub".into(), 0, cluster.client_of(&token).await.unwrap(), Arc::default());
        let (told, mut missing) = watch::channel(None);
        let forbidden = Arc::new(Notify::new());
        tokio::spawn(run(hub, uses(), forbidden.clone(), told, 60));
        let gone = Rule { verb: "list", group: HUB_GROUP, resource: "memberclusters", name: None, namespace: None };
        cluster.set_access(&token, Access::Rules(gone.left_out_of(granted(&[MANIFEST]))));
        forbidden.notify_one();
        missing.changed().await.unwrap();
        let message = missing.borrow_and_update().clone().unwrap();
        assert!(message.starts_with("missing: list memberclusters.hub.volsync.backube; an administrator"), "{message}");
        cluster.set_access(&token, Access::Rules(granted(&[MANIFEST])));
        missing.changed().await.unwrap();
        assert_eq!(*missing.borrow(), None);
    }
}

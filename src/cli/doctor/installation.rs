//! The hub itself: its API server, its kinds, its rights, who leads, and under which id.

use super::crds::{Definition, State};
use super::finding::{Facts, Finding, Rights};
use crate::cli::hub_place::LeaderSeen;
use crate::cli::output::{one_line, relative};
use crate::cli::wrong::Level;
use crate::hub::{id, kinds, lease};

const SERVER: &str = "API server";
const KINDS: &str = "kinds";
const RIGHTS: &str = "rights";
const LEADER: &str = "leader";
const ID: &str = "hub id";
const DEFAULT_NAMESPACE: &str = "volsync-system";
/// Installs all kinds, or brings them to this version.
const APPLY_KINDS: &str = "volsync-hub crd | kubectl apply --server-side -f -";

pub fn findings(facts: &Facts) -> Vec<Finding> {
    let server = facts.tried.server.as_deref().unwrap_or("an address that could not be read");
    match &facts.version {
        Err(error) => {
            let message = format!("tried {}: {error}", facts.tried);
            let fix = "set KUBECONFIG or --hub-kubeconfig to the hub's cluster, and see that it is up";
            // All there is to tell, so it is told whole.
            vec![Finding { message: one_line(&message), ..Finding::new(Level::Fail, SERVER, "") }.fix(fix)]
        }
        Ok(version) => {
            let mut findings =
                vec![Finding::new(Level::Ok, SERVER, format!("Kubernetes {version} at {server} ({})", facts.tried))];
            findings.extend(facts.definitions.iter().map(definition));
            findings.extend(rights(facts));
            findings.push(leader(facts));
            findings.push(hub_id(facts));
            findings
        }
    }
}

fn definition(definition: &Definition) -> Finding {
    let object = format!("CustomResourceDefinition {}", definition.name);
    let say = |level: Level, message: &str| Finding::new(level, KINDS, message).on(object.clone());
    match &definition.state {
        Ok(State::Same) => say(Level::Ok, "as this program has it"),
        Ok(State::Absent) => say(Level::Fail, "it is not installed").fix(APPLY_KINDS),
        Ok(State::BeingDeleted) => say(Level::Fail, "it is being deleted, with all objects of the kind")
            .fix("once it is gone put it back, and the objects: Back up in docs/operations.md"),
        Ok(State::NotEstablished) => say(Level::Fail, "the API server has not accepted it")
            .fix(format!("kubectl describe crd {}", definition.name)),
        Ok(State::Namespaced) => say(Level::Fail, "it is namespaced: VolSync's own, and no policy kind of the hub")
            .fix(format!("volsync-hub crd --group {} | kubectl apply --server-side -f -", kinds::HUB_GROUP)),
        Ok(State::NotServed) => say(Level::Fail, &format!("it does not serve {}", kinds::VERSION)).fix(APPLY_KINDS),
        Ok(State::Other) => say(Level::Warn, "it is not as this version of the program has it")
            .fix("take the definitions of the version that runs: kubectl apply --server-side -f deploy/crds"),
        Err(error) => say(Level::Warn, &format!("it could not be read: {error}"))
            .fix("run it as somebody who may get CustomResourceDefinitions, or in the hub's Pod"),
    }
}

/// What the hub may do. Somebody else's rights say nothing of that, but the hub tells itself what it lacks.
fn rights(facts: &Facts) -> Vec<Finding> {
    const GRANT: &str = "kubectl apply --server-side -k deploy/hub";
    let told = facts.objects.policies.iter().flatten().find_map(|policy| {
        let conditions = policy.data["status"]["conditions"].as_array()?;
        let lacks = |it: &&serde_json::Value| it["reason"] == "MissingRules" && it["status"] == "True";
        conditions.iter().find(lacks)?["message"].as_str()
    });
    let say = |level: Level, message: &str| vec![Finding::new(level, RIGHTS, message)];
    match (&facts.rights, told) {
        (Rights::Asked(missing), _) if missing.is_empty() => say(Level::Ok, "the hub has every right that it needs"),
        (Rights::Asked(missing), _) => {
            vec![Finding::new(Level::Fail, RIGHTS, format!("missing: {}", missing.join("; "))).fix(GRANT)]
        }
        (_, Some(told)) => vec![Finding::new(Level::Fail, RIGHTS, told).fix(GRANT)],
        // It tells in every policy.
        (_, None) if facts.is_led() && facts.objects.policies.as_ref().is_ok_and(|policies| !policies.is_empty()) => {
            say(Level::Ok, "the hub tells of no right that it lacks")
        }
        (Rights::NotTheHub(user), None) => {
            let message = format!("not asked: this runs as {user}, and no running hub tells of its own");
            vec![Finding::new(Level::Warn, RIGHTS, message).fix(in_the_pod(facts))]
        }
        (Rights::Unknown(error), None) => {
            vec![Finding::new(Level::Warn, RIGHTS, format!("they could not be asked: {error}"))]
        }
    }
}

fn in_the_pod(facts: &Facts) -> String {
    format!("kubectl exec -n {} deployment/volsync-hub -- volsync-hub doctor", namespace(facts))
}

fn namespace(facts: &Facts) -> &str {
    facts.tried.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
}

fn leader(facts: &Facts) -> Finding {
    let namespace = namespace(facts);
    let object = format!("Lease {namespace}/{}", lease::NAME);
    let look = format!("kubectl get pods -n {namespace} -l app.kubernetes.io/name=volsync-hub");
    let ago = |time: Option<jiff::Timestamp>| time.map_or("at no time".to_owned(), |time| relative(time, facts.now));
    let say = |level: Level, message: String| Finding::new(level, LEADER, message).on(object.clone());
    match &facts.leader {
        Ok(LeaderSeen::Held { by, since, .. }) if facts.is_led() => {
            let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
            say(Level::Ok, format!("{by} leads{since}"))
        }
        Ok(LeaderSeen::Held { by, renewed, .. }) => {
            say(Level::Fail, format!("no hub runs: {by} led, and renewed it last {}", ago(*renewed))).fix(look)
        }
        Ok(LeaderSeen::GivenUp(renewed)) => {
            say(Level::Fail, format!("no hub runs: the last one gave it up {}", ago(*renewed))).fix(look)
        }
        Ok(LeaderSeen::NoLease) if has_been_looked_at(facts) => say(
            Level::Warn,
            "there is none: the hub was started with --leader-election=false, or runs in another namespace".to_owned(),
        )
        .fix(format!("{look}; give its namespace with --namespace")),
        Ok(LeaderSeen::NoLease) => {
            say(Level::Fail, "there is none: no hub has ever run here, or it runs in another namespace".to_owned())
                .fix("kubectl apply --server-side -k deploy/hub")
        }
        Ok(LeaderSeen::Unknown) => say(Level::Warn, "whether a hub runs is not known".to_owned()),
        Err(error) => say(Level::Warn, format!("whether a hub runs is not known: {error}")).fix(look),
    }
}

/// A hub has written something.
fn has_been_looked_at(facts: &Facts) -> bool {
    let repositories = facts.objects.repositories.iter().flatten().any(|object| object.status.is_some());
    repositories || facts.objects.members.iter().flatten().any(|object| object.status.is_some())
}

fn hub_id(facts: &Facts) -> Finding {
    let object = format!("ConfigMap {}/{}", namespace(facts), id::NAME);
    let say = |level: Level, message: String| Finding::new(level, ID, message).on(object.clone());
    match (&facts.given_id, &facts.id) {
        (Some(given), Ok(Some(kept))) if given != kept => say(
            Level::Warn,
            format!("the hub is {given} (--hub-id), and the ConfigMap holds {kept}, which has no effect"),
        )
        .fix(format!("kubectl delete configmap {} -n {}", id::NAME, namespace(facts))),
        (Some(given), _) => say(Level::Ok, format!("{given}, by --hub-id")),
        (None, Ok(Some(kept))) => match id::check(kept) {
            Ok(()) => say(Level::Ok, kept.clone()),
            Err(error) => say(Level::Fail, error).fix("volsync-hub adopt --from-hub ID, with the id that it had"),
        },
        (None, Ok(None)) if facts.is_led() => {
            say(Level::Warn, "it is gone: the hub goes on, and has another id when it starts next".to_owned())
                .fix("volsync-hub adopt --from-hub ID, with the id in the labels of its CronJobs")
        }
        (None, Ok(None)) => say(Level::Ok, "there is none yet: a hub makes it when it starts".to_owned()),
        (None, Err(error)) => say(Level::Warn, format!("it could not be read: {error}")),
    }
}

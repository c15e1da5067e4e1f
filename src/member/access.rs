//! Asks a member's API server what the hub may do there, and names what is missing.

use serde::Deserialize;
use serde_json::json;

use super::MemberSettings;
use super::call::{CallError, Member, Operation};

/// Where a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In the member namespace.
    Ours,
    /// In VolSync's own namespace.
    VolSync,
}

struct Needed {
    verbs: &'static [&'static str],
    group: &'static str,
    resource: &'static str,
    /// Of this object only.
    name: Option<&'static str>,
    scope: Scope,
}

const fn named(group: &'static str, resource: &'static str, name: &'static str) -> Needed {
    Needed { verbs: &["get"], group, resource, name: Some(name), scope: Scope::Cluster }
}

const fn needed(verbs: &'static [&'static str], group: &'static str, resource: &'static str, scope: Scope) -> Needed {
    Needed { verbs, group, resource, name: None, scope }
}

const READ: &[&str] = &["list", "watch"];
const WRITE: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// Everything but the source Secrets, which may be allowed in some namespaces only.
const NEEDED: [Needed; 12] = [
    needed(&["get", "list", "watch"], "volsync.backube", "replicationsources", Scope::Cluster),
    needed(READ, "", "namespaces", Scope::Cluster),
    named("", "namespaces", "kube-system"),
    needed(READ, "batch", "cronjobs", Scope::Cluster),
    named("apiextensions.k8s.io", "customresourcedefinitions", "replicationsources.volsync.backube"),
    needed(WRITE, "batch", "cronjobs", Scope::Ours),
    needed(&["get", "list", "watch", "create", "delete"], "batch", "jobs", Scope::Ours),
    needed(READ, "", "pods", Scope::Ours),
    needed(&["list"], "", "events", Scope::Ours),
    needed(WRITE, "", "secrets", Scope::Ours),
    needed(WRITE, "", "configmaps", Scope::Ours),
    needed(&["get", "create", "patch"], "", "serviceaccounts", Scope::Ours),
];
/// Without it the mover image has to be given.
const WANTED: [Needed; 1] = [needed(&["list"], "apps", "deployments", Scope::VolSync)];

/// One right, as `kubectl auth can-i` would ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub name: Option<&'a str>,
    pub namespace: Option<&'a str>,
}

impl std::fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "{} {}{dot}{}", self.verb, self.resource, self.group)?;
        if let Some(name) = self.name {
            write!(f, " {name}")?;
        }
        self.namespace.map_or(Ok(()), |namespace| write!(f, " in namespace {namespace}"))
    }
}

/// The rights that are missing; fails where the API server can't be asked.
pub async fn missing(
    member: &Member,
    settings: &MemberSettings,
    volsync_namespace: &str,
) -> Result<Vec<String>, CallError> {
    let mut missing = Vec::new();
    for needed in NEEDED.iter().chain(&WANTED) {
        let namespace = match needed.scope {
            Scope::Cluster => None,
            Scope::Ours => Some(&*settings.member_namespace),
            Scope::VolSync => Some(volsync_namespace),
        };
        for verb in needed.verbs {
            let Needed { group, resource, name, .. } = *needed;
            let rule = Rule { verb, group, resource, name, namespace };
            if !allowed(member, &rule).await? {
                missing.push(rule.to_string());
            }
        }
    }
    Ok(missing)
}

/// May the hub do this?
pub async fn allowed(member: &Member, rule: &Rule<'_>) -> Result<bool, CallError> {
    #[derive(Deserialize)]
    struct Review {
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        allowed: bool,
    }
    let operation = Operation::new("ask for the right to", rule.to_string());
    let mut attributes = json!({"verb": rule.verb, "group": rule.group, "resource": rule.resource});
    for (key, value) in [("namespace", rule.namespace), ("name", rule.name)] {
        if let Some(value) = value {
            attributes[key] = value.into();
        }
    }
    let body = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    });
    let request = kube::core::request::Request::new("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
    let request = request.create(&kube::api::PostParams::default(), body.to_string().into_bytes());
    let text = member.text(&operation, request).await?;
    member.parse::<Review>(&operation, &text).map(|review| review.status.allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_one_would_ask_for_it() {
        let rule = Rule { verb: "list", group: "batch", resource: "cronjobs", name: None, namespace: Some("a") };
        assert_eq!(rule.to_string(), "list cronjobs.batch in namespace a");
        let rule = Rule { verb: "get", group: "", resource: "secrets", name: None, namespace: None };
        assert_eq!(rule.to_string(), "get secrets");
    }
}

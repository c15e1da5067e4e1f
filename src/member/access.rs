//! Asks an API server what the hub may do there, and names what is missing; and what the hub needs in a member.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Deserialize;
use serde_json::json;

use super::call::{CallError, Class, Member, Operation};

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
    needed(&["get", "create", "patch", "delete"], "batch", "cronjobs", Scope::Ours),
    needed(&["get", "list", "watch", "create", "delete"], "batch", "jobs", Scope::Ours),
    needed(READ, "", "pods", Scope::Ours),
    needed(&["list"], "", "events", Scope::Ours),
    needed(WRITE, "", "secrets", Scope::Ours),
    needed(&["get", "list", "watch", "create", "patch"], "", "configmaps", Scope::Ours),
    needed(&["get", "create", "patch"], "", "serviceaccounts", Scope::Ours),
];
/// Without the first the mover image has to be given, and without the others no second maintainer is noticed.
const WANTED: [Needed; 4] = [
    needed(&["list"], "apps", "deployments", Scope::VolSync),
    needed(&["list"], "volsync.backube", "kopiamaintenances", Scope::Cluster),
    needed(&["list"], "kopiur.home-operations.com", "maintenances", Scope::Cluster),
    needed(&["list"], "velero.io", "backuprepositories", Scope::Cluster),
];
/// Where the operator lets the hub suspend other tools' maintenance (`adoptForeign`).
const ADOPTING: [Needed; 2] = [
    needed(&["patch"], "batch", "cronjobs", Scope::Cluster),
    needed(&["patch"], "volsync.backube", "kopiamaintenances", Scope::Cluster),
];
/// What asking for all the others takes. Most clusters grant it to everybody.
const ASKING: Rule<'_> = Rule {
    verb: "create",
    group: "authorization.k8s.io",
    resource: "selfsubjectaccessreviews",
    name: None,
    namespace: None,
};

/// One right, as `kubectl auth can-i` would ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    /// With `/status` behind it for the subresource, as in a role.
    pub resource: &'a str,
    pub name: Option<&'a str>,
    pub namespace: Option<&'a str>,
}

impl Rule<'_> {
    fn parts(&self) -> (&str, Option<&str>) {
        self.resource.split_once('/').map_or((self.resource, None), |(resource, sub)| (resource, Some(sub)))
    }
}

impl std::fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        let (resource, subresource) = self.parts();
        write!(f, "{} {resource}{dot}{}", self.verb, self.group)?;
        if let Some(subresource) = subresource {
            write!(f, "/{subresource}")?;
        }
        if let Some(name) = self.name {
            write!(f, " {name}")?;
        }
        self.namespace.map_or(Ok(()), |namespace| write!(f, " in namespace {namespace}"))
    }
}

/// Every right in a member that is asked about.
pub fn of_member<'a>(member_namespace: &'a str, volsync_namespace: &'a str) -> impl Iterator<Item = Rule<'a>> {
    NEEDED.iter().chain(&WANTED).flat_map(move |needed| {
        let namespace = match needed.scope {
            Scope::Cluster => None,
            Scope::Ours => Some(member_namespace),
            Scope::VolSync => Some(volsync_namespace),
        };
        let Needed { verbs, group, resource, name, .. } = *needed;
        verbs.iter().map(move |verb| Rule { verb, group, resource, name, namespace })
    })
}

/// The rights that `adoptForeign` takes besides.
pub fn of_adoption() -> impl Iterator<Item = Rule<'static>> {
    ADOPTING.iter().flat_map(|needed| {
        let Needed { verbs, group, resource, name, .. } = *needed;
        verbs.iter().map(move |verb| Rule { verb, group, resource, name, namespace: None })
    })
}

/// No namespace has this name: what holds there holds in the whole cluster.
const NOWHERE: &str = "volsync-hub-in-no-namespace";

/// Those of the rights that are missing; fails where the API server can't be asked.
///
/// One question tells what is allowed in a namespace. It leaves out what authorizers grant that can't list it, so that each right
/// that it does not name is asked for by itself.
pub async fn missing(member: &Member, asked: impl Iterator<Item = Rule<'_>>) -> Result<Vec<String>, CallError> {
    let (mut missing, mut listed) = (Vec::new(), BTreeMap::new());
    for rule in asked {
        let namespace = rule.namespace.unwrap_or(NOWHERE);
        let listed = match listed.entry(namespace) {
            Entry::Occupied(listed) => listed.into_mut(),
            Entry::Vacant(place) => place.insert(granted_in(member, namespace).await?),
        };
        if listed.iter().any(|granted| granted.covers(&rule)) {
            continue;
        }
        match allowed(member, &rule).await {
            Ok(true) => {}
            Ok(false) => missing.push(rule.to_string()),
            Err(CallError { class: Class::Forbidden { .. }, .. }) => return Ok(vec![ASKING.to_string()]),
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// A right as an API server lists it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Granted {
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    api_groups: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    /// Empty: all.
    #[serde(default)]
    resource_names: Vec<String>,
}

impl Granted {
    fn covers(&self, rule: &Rule<'_>) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|entry| entry == "*" || entry == wanted);
        let of_any = rule.parts().1.map(|subresource| format!("*/{subresource}"));
        has(&self.verbs, rule.verb)
            && has(&self.api_groups, rule.group)
            && (has(&self.resources, rule.resource) || of_any.is_some_and(|it| self.resources.contains(&it)))
            && (self.resource_names.is_empty()
                || rule.name.is_some_and(|name| self.resource_names.iter().any(|it| it == name)))
    }
}

/// What the hub may do in a namespace, as far as it can be listed; nothing where it may not ask so.
async fn granted_in(member: &Member, namespace: &str) -> Result<Vec<Granted>, CallError> {
    #[derive(Deserialize)]
    struct Review {
        status: Status,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        #[serde(default)]
        resource_rules: Vec<Granted>,
    }
    let operation = Operation::new("list the rights in", namespace.to_owned());
    let body = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    });
    let request = kube::core::request::Request::new("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews");
    let request = request.create(&kube::api::PostParams::default(), body.to_string().into_bytes());
    match member.text(&operation, request).await {
        Ok(text) => member.parse::<Review>(&operation, &text).map(|review| review.status.resource_rules),
        Err(CallError { class: Class::Forbidden { .. } | Class::NotFound | Class::NotServed, .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
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
    let (resource, subresource) = rule.parts();
    let mut attributes = json!({"verb": rule.verb, "group": rule.group, "resource": resource});
    for (key, value) in [("namespace", rule.namespace), ("name", rule.name), ("subresource", subresource)] {
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
        let rule = Rule { verb: "patch", group: "a.b", resource: "kinds/status", name: None, namespace: None };
        assert_eq!(rule.to_string(), "patch kinds.a.b/status");
    }
}

/// What manifests grant, for tests of what is asked for.
#[cfg(all(test, feature = "sim"))]
pub(crate) mod manifests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sim::{self, Access, SimCluster};

    impl Rule<'_> {
        /// Does this grant it, and nothing else?
        pub(crate) fn is(&self, granted: &sim::Rule) -> bool {
            let is = |list: &[String], wanted: Option<&str>| match wanted {
                None => list.is_empty(),
                Some(wanted) => list.contains(&wanted.to_owned()),
            };
            is(&granted.verbs, Some(self.verb))
                && is(&granted.groups, Some(self.group))
                && is(&granted.resources, Some(self.resource))
                && is(&granted.names, self.name)
                && is(&granted.namespaces, self.namespace)
        }

        /// What is granted, but for this and what would grant it as well.
        pub(crate) fn left_out_of(&self, mut granted: Vec<sim::Rule>) -> Vec<sim::Rule> {
            let (named, anywhere) = (Rule { namespace: None, ..self.clone() }, Rule { name: None, ..self.clone() });
            let all = Rule { namespace: None, ..anywhere.clone() };
            granted.retain(|rule| ![self, &named, &anywhere, &all].iter().any(|it| it.is(rule)));
            granted
        }
    }

    /// One verb on one resource each.
    pub(crate) fn granted(manifests: &[&str]) -> Vec<sim::Rule> {
        let mut rules = Vec::new();
        for document in manifests.iter().flat_map(|text| text.split("\n---\n")) {
            let role: serde_json::Value = serde_saphyr::from_str(document).unwrap();
            let namespaces: Vec<_> = role["metadata"]["namespace"].as_str().into_iter().collect();
            for rule in role["rules"].as_array().into_iter().flatten() {
                rules.extend(singles(rule).into_iter().map(|rule| rule.in_namespaces(&namespaces)));
            }
        }
        rules
    }

    fn singles(rule: &serde_json::Value) -> Vec<sim::Rule> {
        let texts = |key: &str| -> Vec<String> { serde_json::from_value(rule[key].clone()).unwrap_or_default() };
        let (groups, names) = (texts("apiGroups"), texts("resourceNames"));
        // No names: one that is empty, for all of them.
        let names =
            if names.is_empty() { vec![Vec::new()] } else { names.into_iter().map(|name| vec![name]).collect() };
        let mut singles = Vec::new();
        for resource in texts("resources") {
            for group in &groups {
                for verb in texts("verbs") {
                    let single = sim::Rule::new(&[&verb], group, &[&resource]);
                    singles.extend(names.iter().map(|names| sim::Rule { names: names.clone(), ..single.clone() }));
                }
            }
        }
        singles
    }

    pub(crate) async fn missing_with(cluster: &SimCluster, granted: Vec<sim::Rule>, asked: &[Rule<'_>]) -> Vec<String> {
        let token = cluster.add_user("hub", Access::Rules(granted));
        let client = cluster.client_of(&token).await.unwrap();
        let member = Member::new("eu".into(), 0, client, std::sync::Arc::default());
        missing(&member, asked.iter().cloned()).await.unwrap()
    }

    const NAMESPACE: &str = "volsync-system";
    const MANIFESTS: [&str; 2] =
        [include_str!("../../deploy/member/rbac.yaml"), include_str!("../../deploy/member/secrets.yaml")];

    #[tokio::test]
    async fn each_right_is_granted_by_the_manifests_and_named_exactly_where_it_is_missing() {
        let cluster = SimCluster::start("eu").await.unwrap();
        let asked: Vec<_> = of_member(NAMESPACE, NAMESPACE).collect();
        assert_eq!(missing_with(&cluster, granted(&MANIFESTS), &asked).await, [""; 0]);
        assert_eq!(cluster.tally().told().requests(), 2, "one for the namespace, and one for the whole cluster");
        for rule in &asked {
            let missing = missing_with(&cluster, rule.left_out_of(granted(&MANIFESTS)), &asked).await;
            assert!(missing.contains(&rule.to_string()), "{rule}: {missing:?}");
            let of_it = |text: &String| text.starts_with(&format!("{} {}", rule.verb, rule.resource));
            assert!(missing.iter().all(of_it), "{rule}: {missing:?}");
        }
    }

    #[tokio::test]
    async fn adopting_takes_what_its_own_manifest_grants_and_nothing_of_the_others() {
        const MANIFEST: &str = include_str!("../../deploy/member-adopt-foreign/rbac.yaml");
        let cluster = SimCluster::start("eu").await.unwrap();
        let asked: Vec<_> = of_adoption().collect();
        let whole = || [granted(&MANIFESTS), granted(&[MANIFEST])].concat();
        assert_eq!(missing_with(&cluster, whole(), &asked).await, [""; 0]);
        let missing = missing_with(&cluster, granted(&MANIFESTS), &asked).await;
        assert_eq!(missing, ["patch cronjobs.batch", "patch kopiamaintenances.volsync.backube"]);
        assert!(granted(&[MANIFEST]).iter().all(|it| asked.iter().any(|rule| rule.is(it))), "no right is left over");
    }

    #[test]
    fn each_right_that_the_manifests_grant_is_asked_for_but_for_what_sources_refer_to() {
        let asked: Vec<_> = of_member(NAMESPACE, NAMESPACE).collect();
        let rest = granted(&MANIFESTS).into_iter().filter(|it| !asked.iter().any(|rule| rule.is(it)));
        let rest: Vec<_> = rest.map(|it| format!("{} {}", it.verbs[0], it.resources[0])).collect();
        let refers =
            ["create selfsubjectaccessreviews", "get secrets", "list secrets", "watch secrets", "get configmaps"];
        assert_eq!(rest, refers);
    }
}

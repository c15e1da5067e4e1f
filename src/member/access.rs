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
    needed(&["get", "list", "watch", "create", "patch"], "", "configmaps", Scope::Ours),
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

/// Every right that is asked about.
fn asked<'a>(member_namespace: &'a str, volsync_namespace: &'a str) -> impl Iterator<Item = Rule<'a>> {
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

/// The rights that are missing; fails where the API server can't be asked.
pub async fn missing(
    member: &Member,
    settings: &MemberSettings,
    volsync_namespace: &str,
) -> Result<Vec<String>, CallError> {
    let mut missing = Vec::new();
    for rule in asked(&settings.member_namespace, volsync_namespace) {
        if !allowed(member, &rule).await? {
            missing.push(rule.to_string());
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

    #[cfg(feature = "sim")]
    mod manifests {
        #![allow(clippy::unwrap_used)]
        use super::super::*;
        use crate::member::tests::settings;
        use crate::sim::{self, Access, SimCluster};

        const NAMESPACE: &str = "volsync-system";

        /// What `deploy/member` grants, one verb on one resource each.
        fn granted() -> Vec<sim::Rule> {
            let mut rules = Vec::new();
            for text in
                [include_str!("../../deploy/member/rbac.yaml"), include_str!("../../deploy/member/secrets.yaml")]
            {
                for document in text.split("\n---\n") {
                    let role: serde_json::Value = serde_saphyr::from_str(document).unwrap();
                    let namespaces: Vec<_> = role["metadata"]["namespace"].as_str().into_iter().collect();
                    for rule in role["rules"].as_array().into_iter().flatten() {
                        rules.extend(singles(rule).into_iter().map(|rule| rule.in_namespaces(&namespaces)));
                    }
                }
            }
            assert!(rules.len() > 40, "{rules:#?}");
            rules
        }

        fn singles(rule: &serde_json::Value) -> Vec<sim::Rule> {
            let texts = |key: &str| -> Vec<String> { serde_json::from_value(rule[key].clone()).unwrap_or_default() };
            let (group, names) = (&texts("apiGroups")[0], texts("resourceNames"));
            let of = |verb: &String| {
                let rule = |resource: &String| sim::Rule {
                    names: names.clone(),
                    ..sim::Rule::new(&[verb], group, &[resource])
                };
                texts("resources").iter().map(rule).collect::<Vec<_>>()
            };
            texts("verbs").iter().flat_map(of).collect()
        }

        async fn missing_with(cluster: &SimCluster, rules: Vec<sim::Rule>) -> Vec<String> {
            let token = cluster.add_user("hub", Access::Rules(rules));
            let kubeconfig = kube::config::Kubeconfig::from_yaml(&cluster.kubeconfig_yaml_of(&token)).unwrap();
            let options = kube::config::KubeConfigOptions::default();
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
            let member = Member::connect("eu".into(), config).await.unwrap();
            missing(&member, &settings(), NAMESPACE).await.unwrap()
        }

        #[tokio::test]
        async fn each_right_is_granted_by_the_manifests_and_named_exactly_where_it_is_missing() {
            let cluster = SimCluster::start("eu").await.unwrap();
            assert_eq!(missing_with(&cluster, granted()).await, [""; 0]);
            for rule in asked(NAMESPACE, NAMESPACE) {
                let (verb, resource) = (rule.verb.to_owned(), rule.resource.to_owned());
                let others = granted().into_iter().filter(|it| {
                    let covers = it.verbs[0] == verb && it.resources[0] == resource && it.groups[0] == rule.group;
                    !(covers && (rule.name.is_none() || it.names.iter().any(|name| Some(&**name) == rule.name)))
                });
                let missing = missing_with(&cluster, others.collect()).await;
                assert!(missing.contains(&rule.to_string()), "{rule}: {missing:?}");
                let of_it = |text: &String| text.starts_with(&format!("{} {}", rule.verb, rule.resource));
                assert!(missing.iter().all(of_it), "{rule}: {missing:?}");
            }
        }
    }
}

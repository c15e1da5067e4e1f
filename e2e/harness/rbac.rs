//! The roles of a cluster as they were deployed: what each rule grants, taking one away and putting it back, and which
//! grants an audit log shows in use.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

use super::Fail;
use super::audit::Request;
use super::cluster::Cluster;

/// One verb on one kind of object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    pub verb: String,
    pub group: String,
    /// With `/status` behind it for the subresource.
    pub resource: String,
    /// Of this object only.
    pub name: Option<String>,
    /// None: everywhere.
    pub namespace: Option<String>,
}

impl Grant {
    /// Does it grant all that the other one does?
    pub fn covers(&self, other: &Self) -> bool {
        let wider = |mine: &Option<String>, theirs: &Option<String>| mine.is_none() || mine == theirs;
        (&self.verb, &self.group, &self.resource) == (&other.verb, &other.group, &other.resource)
            && wider(&self.name, &other.name)
            && wider(&self.namespace, &other.namespace)
    }

    /// Did a request need it? A server-side apply that makes an object needs `create` beside `patch`.
    fn is_needed_by(&self, request: &Request) -> bool {
        let created = request.verb == "patch" && request.code == 201 && self.verb == "create";
        let resource =
            if self.group.is_empty() { self.resource.clone() } else { format!("{}/{}", self.group, self.resource) };
        (request.verb == self.verb || created)
            && request.resource == resource
            && self.name.as_ref().is_none_or(|name| *name == request.name)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == request.namespace)
    }
}

/// As the hub names it.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, group, resource, name, namespace } = self;
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        write!(f, "{verb} {resource}{}{group}", if group.is_empty() { "" } else { "." })?;
        write!(f, "{}{subresource}", if subresource.is_empty() { "" } else { "/" })?;
        name.as_ref().map_or(Ok(()), |name| write!(f, " {name}"))?;
        namespace.as_ref().map_or(Ok(()), |namespace| write!(f, " in namespace {namespace}"))
    }
}

/// A role, of the whole cluster or of one namespace.
#[derive(Clone, Debug)]
pub struct Role {
    path: String,
    namespace: Option<String>,
    rules: Vec<Value>,
}

/// One rule of one role of a cluster.
pub type RuleAt = (usize, usize);

/// The roles of a cluster that came with the hub's manifests.
#[derive(Clone, Debug)]
pub struct Roles(Vec<Role>);

impl Roles {
    pub async fn deployed(cluster: &Cluster) -> Result<Self, Fail> {
        let mut found = Vec::new();
        for kind in ["clusterroles", "roles"] {
            let ours = "labelSelector=app.kubernetes.io/part-of=volsync-hub";
            let list = format!("/apis/rbac.authorization.k8s.io/v1/{kind}?{ours}");
            let list: Value = cluster.client.request(http::Request::get(list).body(Vec::new())?).await?;
            for role in list["items"].as_array().into_iter().flatten() {
                let name = role["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
                let within = namespace.as_ref().map_or(String::new(), |it| format!("namespaces/{it}/"));
                let path = format!("/apis/rbac.authorization.k8s.io/v1/{within}{kind}/{name}");
                let rules = role["rules"].as_array().cloned().unwrap_or_default();
                found.push(Role { path, namespace, rules });
            }
        }
        Ok(Self(found))
    }

    pub fn rules(&self) -> Vec<RuleAt> {
        let all = self.0.iter().enumerate();
        all.flat_map(|(role, it)| (0..it.rules.len()).map(move |rule| (role, rule))).collect()
    }

    /// What a rule grants.
    pub fn grants_of(&self, (at, rule): RuleAt) -> Vec<Grant> {
        let Role { namespace, rules, .. } = &self.0[at];
        let texts = |key: &str| -> Vec<String> { serde_json::from_value(rules[rule][key].clone()).unwrap_or_default() };
        let names = texts("resourceNames").into_iter().map(Some).collect::<Vec<_>>();
        let names = if names.is_empty() { vec![None] } else { names };
        let mut grants = Vec::new();
        for group in texts("apiGroups") {
            for resource in texts("resources") {
                for verb in texts("verbs") {
                    grants.extend(names.iter().map(|name| Grant {
                        verb: verb.clone(),
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                        namespace: namespace.clone(),
                    }));
                }
            }
        }
        grants
    }

    pub fn grants(&self) -> BTreeSet<Grant> {
        self.rules().into_iter().flat_map(|rule| self.grants_of(rule)).collect()
    }

    /// What is lost with these rules: what no other rule grants.
    pub fn lost_with(&self, rules: &[RuleAt]) -> BTreeSet<Grant> {
        let left: Vec<_> = self.rules().into_iter().filter(|rule| !rules.contains(rule)).collect();
        let left: Vec<_> = left.into_iter().flat_map(|rule| self.grants_of(rule)).collect();
        let lost = rules.iter().flat_map(|rule| self.grants_of(*rule));
        lost.filter(|lost| !left.iter().any(|grant| grant.covers(lost))).collect()
    }

    /// A rule, and those others without which nothing would be lost with it.
    pub fn with_what_covers(&self, rule: RuleAt) -> Vec<RuleAt> {
        if !self.lost_with(&[rule]).is_empty() {
            return vec![rule];
        }
        let grants = self.grants_of(rule);
        let covers =
            |other: &RuleAt| self.grants_of(*other).iter().any(|grant| grants.iter().any(|it| grant.covers(it)));
        self.rules().into_iter().filter(|other| *other == rule || covers(other)).collect()
    }

    /// From now on the cluster has all rules but these.
    pub async fn leave_out(&self, cluster: &Cluster, without: &[RuleAt]) -> Result<(), Fail> {
        for (at, role) in self.0.iter().enumerate() {
            let kept: Vec<_> = (0..role.rules.len()).filter(|rule| !without.contains(&(at, *rule))).collect();
            let rules: Vec<_> = kept.into_iter().map(|rule| &role.rules[rule]).collect();
            let patch = serde_json::to_vec(&json!({"rules": rules}))?;
            let request = http::Request::patch(&role.path).header("Content-Type", "application/merge-patch+json");
            // One that has these rules already is not written.
            cluster.client.request::<Value>(request.body(patch)?).await?;
        }
        Ok(())
    }

    /// Grants that no request needed, of those that were let through. What is granted in one namespace is not counted
    /// for what is granted everywhere.
    pub fn unused(&self, requests: &[Request]) -> BTreeSet<Grant> {
        let grants = self.grants();
        let mut unused = grants.clone();
        for request in requests.iter().filter(|it| !matches!(it.code, 401 | 403)) {
            let needed: Vec<_> = grants.iter().filter(|grant| grant.is_needed_by(request)).collect();
            let narrow = needed.iter().any(|grant| grant.namespace.is_some());
            for grant in needed.into_iter().filter(|grant| grant.namespace.is_some() || !narrow) {
                unused.remove(grant);
            }
        }
        unused
    }
}

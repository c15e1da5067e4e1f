//! Who may do what in a simulated cluster: bearer tokens, and rules in the manner of RBAC.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Value, json};

use super::failure::Failure;
use super::request::Target;
use super::tally::is_write;

/// What a user may do.
#[derive(Clone, Debug, Default)]
pub enum Access {
    #[default]
    Everything,
    /// Only what one of these allows.
    Rules(Vec<Rule>),
}

/// Allows verbs on resources; `*` stands for all.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    /// Plural names, with `/status` for the subresource.
    pub resources: Vec<String>,
    /// Empty: in all namespaces, and at the scope of the cluster.
    pub namespaces: Vec<String>,
    /// Empty: all names.
    pub names: Vec<String>,
}

impl Rule {
    pub fn new(verbs: &[&str], group: &str, resources: &[&str]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Self { verbs: owned(verbs), groups: vec![group.to_owned()], resources: owned(resources), ..Self::default() }
    }
    #[must_use]
    pub fn in_namespaces(mut self, namespaces: &[&str]) -> Self {
        self.namespaces = namespaces.iter().map(|&namespace| namespace.to_owned()).collect();
        self
    }

    fn allows(&self, asked: &Asked<'_>) -> bool {
        let any = |list: &[String], wanted: &str| list.iter().any(|entry| entry == "*" || entry == wanted);
        let resource = match asked.subresource {
            "" => asked.plural.to_owned(),
            subresource => format!("{}/{subresource}", asked.plural),
        };
        any(&self.verbs, asked.verb)
            && any(&self.groups, asked.group)
            && any(&self.resources, &resource)
            && (self.namespaces.is_empty() || any(&self.namespaces, asked.namespace))
            && (self.names.is_empty() || any(&self.names, asked.name))
    }
}

#[derive(Clone, Debug)]
pub(super) struct User {
    name: String,
    access: Access,
    /// Requests that write, or would.
    writes: Arc<AtomicU64>,
}

/// The tokens of one cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens(Arc<RwLock<BTreeMap<String, User>>>);

/// One thing that a user wants to do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    pub plural: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

impl<'a> Asked<'a> {
    pub(super) fn of(verb: &'a str, target: &'a Target) -> Self {
        Self {
            verb,
            group: &target.group,
            plural: &target.plural,
            subresource: target.subresource.as_deref().unwrap_or_default(),
            namespace: target.namespace(),
            name: target.name.as_deref().unwrap_or_default(),
        }
    }
}

impl Tokens {
    pub(super) fn insert(&self, token: String, name: &str, access: Access) {
        let user = User { name: name.to_owned(), access, writes: Arc::default() };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(token, user);
    }
    pub(super) fn remove(&self, token: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(token);
    }
    pub(super) fn set_access(&self, token: &str, access: Access) {
        if let Some(user) = self.0.write().unwrap_or_else(PoisonError::into_inner).get_mut(token) {
            user.access = access;
        }
    }
    /// How often a token was used to write.
    pub(super) fn writes(&self, token: &str) -> u64 {
        let users = self.0.read().unwrap_or_else(PoisonError::into_inner);
        users.get(token).map_or(0, |user| user.writes.load(Ordering::Relaxed))
    }
    /// The user of an Authorization header.
    pub(super) fn user(&self, authorization: Option<&str>) -> Result<User, Failure> {
        let token = authorization.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
        let users = self.0.read().unwrap_or_else(PoisonError::into_inner);
        users.get(token).cloned().ok_or_else(Failure::unauthorized)
    }
}

impl User {
    pub(super) fn may(&self, asked: &Asked<'_>) -> bool {
        match &self.access {
            Access::Everything => true,
            Access::Rules(rules) => rules.iter().any(|rule| rule.allows(asked)),
        }
    }

    pub(super) fn check(&self, asked: &Asked<'_>) -> Result<(), Failure> {
        if is_write(asked.verb) {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        if self.may(asked) {
            return Ok(());
        }
        let resource = match asked.subresource {
            "" => asked.plural.to_owned(),
            subresource => format!("{}/{subresource}", asked.plural),
        };
        let scope = match asked.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let why = format!(
            "User {:?} cannot {} resource {resource:?} in API group {:?} {scope}",
            self.name, asked.verb, asked.group
        );
        Err(Failure::forbidden(asked.group, asked.plural, asked.name, &why))
    }

    /// Answers a `SelfSubjectRulesReview`: what this user may do in a namespace.
    fn rules_in(&self, namespace: &str) -> Vec<Value> {
        let all = Rule::new(&["*"], "*", &["*"]);
        let rules = match &self.access {
            Access::Everything => std::slice::from_ref(&all),
            Access::Rules(rules) => rules,
        };
        let holds = |rule: &&Rule| rule.namespaces.is_empty() || rule.namespaces.iter().any(|it| it == namespace);
        let listed = |rule: &Rule| {
            json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources,
                "resourceNames": rule.names})
        };
        rules.iter().filter(holds).map(listed).collect()
    }

    /// Answers a `SelfSubjectAccessReview` or a `SelfSubjectRulesReview`.
    pub(super) fn review(&self, mut review: Value) -> Value {
        if review["kind"] == "SelfSubjectRulesReview" {
            let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
            review["status"] =
                json!({"resourceRules": self.rules_in(namespace), "nonResourceRules": [], "incomplete": false});
            return review;
        }
        let attributes = review["spec"]["resourceAttributes"].clone();
        let text = |field: &str| attributes[field].as_str().unwrap_or_default();
        let allowed = self.may(&Asked {
            verb: text("verb"),
            group: text("group"),
            plural: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
        });
        review["status"] = json!({"allowed": allowed});
        review
    }
}

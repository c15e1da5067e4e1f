//! The mover's habits as facts: which Secrets mean one repository, and how a Job connects to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod connection;
mod hosts;
mod properties;
mod rclone_remotes;
mod sources;
mod vectors;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Backend, Cidr, Identity, IdentityProblem, Overrides, Scope, SecretFacts};
use crate::names::MemberName;

/// A Secret in a place, with what its source says.
#[derive(Clone)]
pub(super) struct Case {
    pub data: BTreeMap<String, Vec<u8>>,
    pub kopia: Value,
    pub member: MemberName,
    pub namespace: String,
    pub namespaces: Vec<String>,
    pub cidrs: Vec<Cidr>,
    pub domain: String,
    pub aliases: BTreeMap<String, String>,
}

/// Whitespace-separated `KEY=value` pairs; `R` is `KOPIA_REPOSITORY` and `EP` is `AWS_S3_ENDPOINT`.
pub(super) fn secret(pairs: &str) -> Case {
    let mut data = BTreeMap::from([("KOPIA_PASSWORD".to_owned(), b"pw".to_vec())]);
    for pair in pairs.split_whitespace() {
        let (key, value) = pair.split_once('=').unwrap();
        let key = match key {
            "R" => "KOPIA_REPOSITORY",
            "EP" => "AWS_S3_ENDPOINT",
            key => key,
        };
        data.insert(key.to_owned(), value.as_bytes().to_vec());
    }
    data.entry("KOPIA_REPOSITORY".to_owned()).or_default();
    Case {
        data,
        kopia: Value::Null,
        member: "c1".into(),
        namespace: "n1".to_owned(),
        namespaces: Vec::new(),
        cidrs: Vec::new(),
        domain: "cluster.local".to_owned(),
        aliases: BTreeMap::new(),
    }
}

/// The same Secret on MinIO with a bucket.
pub(super) fn endpoint(endpoint: &str) -> Case {
    secret(&format!("R=s3://bkt EP={endpoint}"))
}

impl Case {
    pub fn on(mut self, member: &str, namespace: &str) -> Self {
        self.member = member.into();
        namespace.clone_into(&mut self.namespace);
        self
    }
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.data.insert(key.to_owned(), value.as_bytes().to_vec());
        self
    }
    pub fn source(mut self, kopia: Value) -> Self {
        self.kopia = kopia;
        self
    }
    pub fn arguments(self, arguments: &[&str]) -> Self {
        self.source(json!({ "additionalArgs": arguments }))
    }
    pub fn config(self, kind: &str, config: &Value) -> Self {
        let document = json!({ "storage": { "type": kind, "config": config } }).to_string();
        self.source(json!({ "policyConfig": { "repositoryConfig": document } }))
    }
    pub fn namespaces(mut self, names: &[&str]) -> Self {
        self.namespaces = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }
    pub fn cidr(mut self, network: &str) -> Self {
        self.cidrs.push(network.parse().unwrap());
        self
    }
    pub fn alias(mut self, from: &str, to: &str) -> Self {
        self.aliases.insert(from.to_owned(), to.to_owned());
        self
    }
    pub fn in_scope<T>(&self, then: impl FnOnce(&Scope<'_>) -> T) -> T {
        let has_namespace = |name: &str| self.namespaces.iter().any(|known| known == name);
        then(&Scope {
            member: &self.member,
            namespace: &self.namespace,
            cluster_domain: &self.domain,
            cidrs: &self.cidrs,
            has_namespace: &has_namespace,
            aliases: &self.aliases,
        })
    }
    pub fn facts(&self) -> SecretFacts {
        SecretFacts::read(&self.data)
    }
    pub fn backend(&self) -> Result<Backend, IdentityProblem> {
        self.facts().backend(&Overrides::read(&self.kopia))
    }
    pub fn try_identity(&self) -> Result<Identity, IdentityProblem> {
        self.in_scope(|scope| self.backend()?.identity(scope))
    }
    pub fn identity(&self) -> Identity {
        self.try_identity().unwrap_or_else(|problem| panic!("{problem}: {:?}", self.data))
    }
    pub fn location(&self) -> String {
        self.identity().location
    }
    pub fn reason(&self) -> &'static str {
        self.try_identity().map_or_else(|problem| problem.reason, |identity| panic!("valid: {}", identity.location))
    }
    pub fn connect(&self) -> Vec<String> {
        self.in_scope(|scope| self.backend().unwrap().connect_arguments(scope))
    }
    pub fn copy(&self) -> BTreeMap<String, Vec<u8>> {
        self.in_scope(|scope| self.backend().unwrap().copy_data(&self.data, &self.kopia, scope))
    }
}

pub(super) fn same(a: &Case, b: &Case) {
    let (a, b) = (a.identity(), b.identity());
    assert_eq!(a.key, b.key, "{} and {}", a.location, b.location);
    assert_eq!((&a.location, a.backend), (&b.location, b.backend), "equal keys have equal locations");
}

pub(super) fn different(a: &Case, b: &Case) {
    let (a, b) = (a.identity(), b.identity());
    assert_ne!(a.key, b.key, "{} and {}", a.location, b.location);
}

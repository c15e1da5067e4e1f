//! The API server's audit log: who did what to which object, and how it ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

use super::Fail;

/// Everything but the reads of the machinery; when a request is done, and when a watch begins.
pub const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: [system:apiserver, system:kube-controller-manager, stand-in-kubelet]
    verbs: [get, list, watch]
  - level: None
    nonResourceURLs: ["/readyz*", "/livez*", "/healthz*", "/version*", "/api*", "/openapi*"]
  - level: Metadata
"#;

/// One request that an API server has answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the API server sent back as `Audit-Id`.
    pub id: String,
    pub user: String,
    pub verb: String,
    /// `batch/cronjobs`, `secrets`, `hub.volsync.backube/kopiarepositories/status`.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub code: u16,
    pub user_agent: String,
    pub uri: String,
    /// When it was received.
    pub at: Timestamp,
}

impl Request {
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
            // Questions about one's own rights have the form of a write, and change nothing.
            && !self.resource.starts_with("authorization.k8s.io/")
    }

    /// It asked for all that is there: a list, or a watch that begins as one.
    pub fn is_list(&self) -> bool {
        self.verb == "list" || self.verb == "watch" && self.uri.contains("sendInitialEvents=true")
    }

    pub fn object(&self) -> String {
        match (self.namespace.as_str(), self.name.as_str()) {
            ("", name) => format!("{} {name}", self.resource),
            (namespace, name) => format!("{} {namespace}/{name}", self.resource),
        }
    }
}

/// A place in the log: what comes after it happened later.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

impl Mark {
    pub const START: Self = Self(0);
}

/// The log of one API server.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The log's present end. The API server writes an entry before it answers, so everything that was
    /// answered before this call stands before the mark.
    pub fn mark(&self) -> Result<Mark, Fail> {
        Ok(Mark(std::fs::metadata(&self.path)?.len()))
    }

    /// All requests after a mark, oldest first.
    pub fn since(&self, mark: Mark) -> Result<Vec<Request>, Fail> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(mark.0))?;
        let mut requests = Vec::new();
        for line in BufReader::new(file).lines() {
            // The last line may be in the middle of being written.
            let Ok(entry) = serde_json::from_str::<Entry>(&line?) else { continue };
            requests.push(entry.into());
        }
        Ok(requests)
    }

    /// The requests of one user after a mark.
    pub fn by(&self, user: &str, mark: Mark) -> Result<Vec<Request>, Fail> {
        Ok(self.since(mark)?.into_iter().filter(|request| request.user == user).collect())
    }

    /// What a user wrote, or tried to write, after a mark.
    pub fn writes_by(&self, user: &str, mark: Mark) -> Result<Vec<Request>, Fail> {
        Ok(self.by(user, mark)?.into_iter().filter(Request::is_write).collect())
    }

    /// How often a user did what, by `verb resource`: for tests of what RBAC rules are good for.
    pub fn uses_by(&self, user: &str, mark: Mark) -> Result<BTreeMap<String, usize>, Fail> {
        let mut counts = BTreeMap::new();
        for request in self.by(user, mark)? {
            *counts.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
        }
        Ok(counts)
    }
}

/// An entry of the log as the API server writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "auditID")]
    audit_id: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    request_received_timestamp: Timestamp,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

impl From<Entry> for Request {
    fn from(entry: Entry) -> Self {
        let object = entry.object_ref.unwrap_or_default();
        let parts = [&object.api_group, &object.resource, &object.subresource];
        let resource: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect();
        Self {
            id: entry.audit_id,
            user: entry.user.username,
            verb: entry.verb,
            resource: resource.join("/"),
            namespace: object.namespace,
            name: object.name,
            code: entry.response_status.map_or(0, |status| status.code),
            user_agent: entry.user_agent,
            uri: entry.request_uri,
            at: entry.request_received_timestamp,
        }
    }
}

//! From what was seen to what is said: facts in, findings out.

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde::Serialize;

use super::crds::Definition;
use super::{fleet, installation};
use crate::api::kopia_repository::KopiaRepository;
use crate::api::member_cluster::MemberCluster;
use crate::cli::hub_place::LeaderSeen;
use crate::cli::output::one_line;
use crate::cli::wrong::Level;

/// One line. A stable interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// What was checked.
    pub check: &'static str,
    /// Such as `KopiaRepository kr-3fe9798cd38aeffd`; null where it concerns no single one.
    pub object: Option<String>,
    /// The member that it concerns.
    pub cluster: Option<String>,
    pub message: String,
    /// What to do: a command where there is one.
    pub fix: Option<String>,
}

impl Finding {
    pub fn new(level: Level, check: &'static str, message: impl AsRef<str>) -> Self {
        Self { level, check, object: None, cluster: None, message: shortened(message.as_ref()), fix: None }
    }

    pub fn on(self, object: impl Into<String>) -> Self {
        Self { object: Some(object.into()), ..self }
    }

    pub fn in_cluster(self, cluster: Option<&str>) -> Self {
        Self { cluster: cluster.map(str::to_owned), ..self }
    }

    pub fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()).filter(|fix| !fix.is_empty()), ..self }
    }
}

/// A line that can be read at a glance; the condition has the rest.
const MESSAGE_MAX: usize = 200;

fn shortened(message: &str) -> String {
    let message = one_line(message);
    if message.chars().count() <= MESSAGE_MAX {
        return message;
    }
    let begin: String = message.chars().take(MESSAGE_MAX - 2).collect();
    format!("{} …", begin.trim_end())
}

/// How the hub's cluster was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// Its address, where that could be read.
    pub server: Option<String>,
    /// The file or variable.
    pub from: String,
    pub context: Option<String>,
    /// Where the hub runs.
    pub namespace: Option<String>,
}

impl std::fmt::Display for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.from)?;
        self.context.as_ref().map_or(Ok(()), |context| write!(f, ", context {context}"))
    }
}

/// The hub's rights on its own cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Those that are missing.
    Asked(Vec<String>),
    /// Somebody else runs this command, whose rights say nothing of the hub's.
    NotTheHub(String),
    Unknown(String),
}

/// What stands on the hub, or why it could not be listed.
pub struct Objects {
    pub repositories: Result<Vec<KopiaRepository>, String>,
    pub members: Result<Vec<MemberCluster>, String>,
    pub policies: Result<Vec<DynamicObject>, String>,
}

/// All that was seen.
pub struct Facts {
    pub now: Timestamp,
    pub tried: Tried,
    /// Of the hub's API server; an error where it does not answer, and then nothing else was looked at.
    pub version: Result<String, String>,
    pub definitions: Vec<Definition>,
    pub rights: Rights,
    pub leader: Result<LeaderSeen, String>,
    /// What the ConfigMap holds; none: there is no ConfigMap.
    pub id: Result<Option<String>, String>,
    /// `--hub-id`, where that is known.
    pub given_id: Option<String>,
    pub objects: Objects,
}

impl Facts {
    pub fn unreachable(tried: Tried, error: String, now: Timestamp) -> Self {
        let nothing = || Err(String::new());
        Self {
            now,
            tried,
            version: Err(error),
            definitions: Vec::new(),
            rights: Rights::Unknown(String::new()),
            leader: nothing().map(|()| LeaderSeen::Unknown),
            id: nothing().map(|()| None),
            given_id: None,
            objects: Objects {
                repositories: nothing().map(|()| Vec::new()),
                members: nothing().map(|()| Vec::new()),
                policies: nothing().map(|()| Vec::new()),
            },
        }
    }

    /// Some replica leads.
    pub fn is_led(&self) -> bool {
        self.leader.as_ref().is_ok_and(|leader| leader.leads(self.now))
    }
}

/// In the order of the checks: what others rest on comes first.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = installation::findings(facts);
    if facts.version.is_ok() {
        findings.extend(fleet::findings(facts));
    }
    findings
}

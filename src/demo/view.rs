//! What the objects on the hub say of the fleet, as rows for people. Pure: reading the objects is done elsewhere.

use jiff::Timestamp;

use crate::api::kopia_repository::{GrantPhase, KopiaRepository, KopiaRepositoryStatus, RunStatus};
use crate::api::member_cluster::MemberCluster;

/// Everything that is shown, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    pub members: Vec<MemberRow>,
    pub repositories: Vec<RepositoryRow>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MemberRow {
    pub name: String,
    /// None: not known yet.
    pub reachable: Option<bool>,
    /// Why it is not reachable.
    pub why: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RepositoryRow {
    /// The name of its KopiaRepository.
    pub name: String,
    pub location: String,
    pub members: i64,
    pub sources: i64,
    pub policy: Option<String>,
    pub stage: Stage,
    /// The hub's own sentence where it is not as one would wish.
    pub why: String,
    /// The holder, and its epoch.
    pub holder: Option<(String, i64)>,
    /// Latest first.
    pub runs: Vec<RunStatus>,
    pub next: Option<Timestamp>,
    /// Secrets that failed: (cluster, namespace/name, reason).
    pub failed_secrets: Vec<(String, String, String)>,
}

/// Where a repository stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is decided yet.
    Found,
    /// A member is to become, or becomes, Kopia's recorded owner.
    Claiming,
    /// It is; runs of the former owner are waited out.
    Waiting(Option<Timestamp>),
    /// It maintains the repository, and nobody else does.
    Maintained,
    /// It would, but the last run did not succeed.
    Failing,
    OptedOut,
    Suspended,
    Frozen,
    /// Nothing moves and nothing starts.
    Held,
    NoPolicy,
    NoCandidate,
}

impl Stage {
    fn of(status: &KopiaRepositoryStatus) -> Self {
        match status.state.as_deref() {
            Some("Disabled") => return Self::OptedOut,
            Some("Suspended") => return Self::Suspended,
            Some("Frozen") => return Self::Frozen,
            Some("Held") => return Self::Held,
            Some("NoPolicy") => return Self::NoPolicy,
            Some("NoCandidate") => return Self::NoCandidate,
            _ => {}
        }
        let Some(grant) = &status.grant else { return Self::Found };
        let maintained = status.conditions.iter().any(|it| it.type_ == "Maintained" && it.status == "True");
        match grant.phase {
            GrantPhase::Claiming => Self::Claiming,
            GrantPhase::Draining => Self::Waiting(grant.until.as_ref().map(|until| until.0)),
            GrantPhase::Recovering => Self::Held,
            GrantPhase::Active if maintained => Self::Maintained,
            GrantPhase::Active if status.consecutive_failures.unwrap_or(0) > 0 => Self::Failing,
            GrantPhase::Active | GrantPhase::Resuming => Self::Waiting(None),
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Claiming => "claiming",
            Self::Waiting(_) => "waiting",
            Self::Maintained => "maintained",
            Self::Failing => "failing",
            Self::OptedOut => "opted out",
            Self::Suspended => "suspended",
            Self::Frozen => "frozen",
            Self::Held => "held",
            Self::NoPolicy => "no policy",
            Self::NoCandidate => "no candidate",
        }
    }
}

impl View {
    pub fn of(repositories: &[KopiaRepository], members: &[MemberCluster]) -> Self {
        let mut view = Self {
            members: members.iter().map(MemberRow::of).collect(),
            repositories: repositories.iter().map(RepositoryRow::of).collect(),
        };
        view.members.sort_by(|one, other| one.name.cmp(&other.name));
        view.repositories.sort_by(|one, other| (&one.location, &one.name).cmp(&(&other.location, &other.name)));
        view
    }

    pub fn is_reachable(&self, member: &str) -> bool {
        self.members.iter().any(|row| row.name == member && row.reachable == Some(true))
    }
}

impl MemberRow {
    fn of(object: &MemberCluster) -> Self {
        let conditions = object.status.iter().flat_map(|status| &status.conditions);
        let reachable = conditions.into_iter().find(|condition| condition.type_ == "Reachable");
        Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            reachable: reachable.and_then(|condition| match condition.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            }),
            why: reachable.map(|condition| condition.message.clone()).unwrap_or_default(),
        }
    }
}

impl RepositoryRow {
    fn of(object: &KopiaRepository) -> Self {
        let name = object.metadata.name.clone().unwrap_or_default();
        let status = object.status.clone().unwrap_or_default();
        let stage = Stage::of(&status);
        let maintained = status.conditions.iter().find(|condition| condition.type_ == "Maintained");
        let why = maintained.map(|condition| condition.message.clone()).filter(|_| stage != Stage::Maintained);
        Self {
            location: status.location.clone().unwrap_or_else(|| name.clone()),
            name,
            members: status.cluster_count.unwrap_or(0),
            sources: status.source_count.unwrap_or(0),
            policy: status.policy,
            stage,
            why: why.unwrap_or_default(),
            holder: status.grant.map(|grant| (grant.cluster, grant.epoch)),
            runs: status.runs,
            next: status.next_run.map(|time| time.0),
            failed_secrets: status.not_ready.into_iter().map(|it| (it.cluster, it.secret, it.reason)).collect(),
        }
    }
}

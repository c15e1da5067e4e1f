//! How a Job ended: the classes of outcomes, what each asks of people, and the report that the mover script leaves.

mod job;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Deserialize;

pub use job::{CONTAINER, Role, RunState, START_LIMIT_SECONDS, start_limit};

/// How a run or a claim ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Run: Kopia's own record shows fresh success of everything that was to be done.
    Succeeded,
    /// Claim: this grant's owner is recorded, read back twice.
    Claimed,
    /// Claim: the permit does not cover the owner that was found; nothing was set.
    ClaimRefused,
    /// Claim: the owner was set, and another one is recorded all the same.
    ClaimIneffective,
    /// Run: an owner of this hub with an epoch that is not older is recorded.
    Fenced,
    /// Run: any other owner than this grant's is recorded.
    NotGranted,
    /// Run: a full run began within the deadline and has not ended.
    Busy,
    /// The repository can't be reached, or there is none.
    ConnectFailed,
    /// The object store or the repository refuses the credentials.
    AuthFailed,
    /// The node's clock is outside the permit, or too far from the object store's.
    ClockSkew,
    OutOfMemory,
    DeadlineExceeded,
    /// No container ran: quota, admission, image pull, unschedulable.
    NotStarted,
    Failed,
}

impl Outcome {
    pub const ALL: [Self; 14] = [
        Self::Succeeded,
        Self::Claimed,
        Self::ClaimRefused,
        Self::ClaimIneffective,
        Self::Fenced,
        Self::NotGranted,
        Self::Busy,
        Self::ConnectFailed,
        Self::AuthFailed,
        Self::ClockSkew,
        Self::OutOfMemory,
        Self::DeadlineExceeded,
        Self::NotStarted,
        Self::Failed,
    ];

    /// The word in the termination message, in status and as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Claimed => "Claimed",
            Self::ClaimRefused => "ClaimRefused",
            Self::ClaimIneffective => "ClaimIneffective",
            Self::Fenced => "Fenced",
            Self::NotGranted => "NotGranted",
            Self::Busy => "Busy",
            Self::ConnectFailed => "ConnectFailed",
            Self::AuthFailed => "AuthFailed",
            Self::ClockSkew => "ClockSkew",
            Self::OutOfMemory => "OutOfMemory",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::NotStarted => "NotStarted",
            Self::Failed => "Failed",
        }
    }

    /// Did the Job do what it was for?
    pub fn is_success(self) -> bool {
        matches!(self, Self::Succeeded | Self::Claimed)
    }

    /// Does it speak against this Secret in this member? One such claim, or three such runs in a row, and another
    /// Secret or member has its turn.
    pub fn counts_against_candidate(self) -> bool {
        matches!(self, Self::AuthFailed | Self::ConnectFailed | Self::ClockSkew | Self::NotStarted)
    }

    /// The word, and why where that is known.
    pub fn because(self, reason: &str) -> String {
        if reason.is_empty() { self.to_string() } else { format!("{self} ({reason})") }
    }

    /// What people can do about it. The mover script ends its log with the same words.
    pub fn fix(self) -> &'static str {
        match self {
            Self::Succeeded => "nothing",
            Self::Claimed => "nothing: runs start when the former owner can no longer be in the middle of one",
            Self::ClaimRefused => {
                "stop the maintainer that this owner stands for; where the ledger knows no such grant, restore the \
                 KopiaRepository with its status, or set the owner of the grant that it shows by hand, \
                 kopia maintenance set --owner=volsync-hub-EPOCH@MEMBER.ID.HUBID"
            }
            Self::ClaimIneffective => {
                "correct the clock of the former owner and stop its maintenance; the hub then claims again"
            }
            Self::Fenced => {
                "nothing if the KopiaRepository shows that newer grant; else stop what runs under it, then restore the \
                 KopiaRepository with its status, or set the owner of the grant that it shows by hand, \
                 kopia maintenance set --owner=volsync-hub-EPOCH@MEMBER.ID.HUBID"
            }
            Self::NotGranted => {
                "find and stop the other maintainer of this repository, then give the ownership back by hand, \
                 kopia maintenance set --owner=volsync-hub-EPOCH@MEMBER.ID.HUBID; the hub claims it again by itself once a day"
            }
            Self::Busy => {
                "wait: the full run that is under way, or was killed, is over by then; \
                 more maintainers than one need a look"
            }
            Self::ConnectFailed => {
                "check address, bucket, prefix, network policy, proxy and CA in the repository Secret of this member"
            }
            Self::AuthFailed => {
                "correct the password, the keys or their permissions in the repository Secret of this member"
            }
            Self::ClockSkew => {
                "set the clock of the node (NTP) and of the object store, and see that Jobs start within minutes"
            }
            Self::OutOfMemory => "raise resources.limits.memory in the policy",
            Self::DeadlineExceeded => {
                "raise activeDeadlineSeconds in the policy, run more often, or give the Job more CPU and bandwidth"
            }
            Self::NotStarted => {
                "see the reason: quota, admission, image, node selector and tolerations decide whether a Pod can start"
            }
            Self::Failed => "read the log of this Job from the first error on",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = NoReport;
    fn from_str(word: &str) -> Result<Self, NoReport> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word).ok_or(NoReport)
    }
}

/// What is known of a Job that has ended. All texts came from a member: bounded, one line, no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunReport {
    pub outcome: Outcome,
    /// Why, for people; at most [`REASON_CHARACTERS`].
    pub reason: String,
    /// What Kopia itself calls the repository.
    pub unique_id: Option<String>,
    /// The recorded maintenance owner, as last read.
    pub owner: Option<String>,
    /// Claim: the owner that was recorded before. This grant's own, where an earlier claim had come through.
    pub previous_owner: Option<String>,
    /// Claim: may the owner have been written? None where nobody can tell: then it may have been.
    pub owner_written: Option<bool>,
    /// Claim: has a run of whomever begun between the reading of the owner and the first time it was read back? None
    /// where that is not known.
    pub run_began: Option<bool>,
    pub epoch: Option<u64>,
    /// Kopia's version.
    pub kopia: Option<String>,
    /// How long the mover script worked.
    pub seconds: Option<u64>,
    pub reclaimed_bytes: Option<u64>,
    /// When the newest run of whomever began, as the repository's record showed it when it was last read; for a
    /// claim that is the second read-back.
    pub last_run_start: Option<Timestamp>,
    /// Busy: until when the run under way may last.
    pub busy_until: Option<Timestamp>,
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
}

/// A kubelet hands on no more of a termination message.
const MESSAGE_BYTES: usize = 4096;
/// A line in a status; the mover script cuts at the same length.
pub const REASON_CHARACTERS: usize = 256;
/// Kopia's owners are `user@host`, and a host name ends at 253 characters.
const OWNER_CHARACTERS: usize = 512;
/// Kopia's unique IDs are 64 hex digits.
const UNIQUE_ID_CHARACTERS: usize = 128;
const VERSION_CHARACTERS: usize = 64;

/// A text that is not the mover script's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the container left no outcome that can be read")]
pub struct NoReport;

/// The termination message as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    outcome: String,
    #[serde(rename = "uniqueID")]
    unique_id: Option<String>,
    owner: Option<String>,
    previous_owner: Option<String>,
    owner_written: Option<bool>,
    run_began: Option<bool>,
    epoch: Option<u64>,
    kopia: Option<String>,
    seconds: Option<u64>,
    reclaimed_bytes: Option<u64>,
    last_run_start: Option<i64>,
    busy_until: Option<i64>,
    message: Option<String>,
}

impl RunReport {
    /// One that says no more than how it ended and why.
    pub fn plain(outcome: Outcome, reason: &str) -> Self {
        Self {
            outcome,
            reason: one_line(reason, REASON_CHARACTERS),
            unique_id: None,
            owner: None,
            previous_owner: None,
            owner_written: None,
            run_began: None,
            epoch: None,
            kopia: None,
            seconds: None,
            reclaimed_bytes: None,
            last_run_start: None,
            busy_until: None,
            started: None,
            ended: None,
        }
    }

    /// Reads a termination message. Whoever may write Pods in the member may have written it.
    pub fn parse(message: &str) -> Result<Self, NoReport> {
        if message.len() > MESSAGE_BYTES {
            return Err(NoReport);
        }
        let line: Line = serde_json::from_str(message.trim()).map_err(|_| NoReport)?;
        let outcome = match line.outcome.parse()? {
            // Whoever writes a message has started.
            Outcome::NotStarted => return Err(NoReport),
            outcome => outcome,
        };
        let time = |seconds: Option<i64>| seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        Ok(Self {
            unique_id: line.unique_id.filter(|id| is_unique_id(id)),
            owner: line.owner.filter(|owner| is_owner(owner)),
            previous_owner: line.previous_owner.filter(|owner| is_owner(owner)),
            owner_written: line.owner_written,
            run_began: line.run_began,
            epoch: line.epoch,
            kopia: line.kopia.map(|version| one_line(&version, VERSION_CHARACTERS)),
            seconds: line.seconds,
            reclaimed_bytes: line.reclaimed_bytes,
            last_run_start: time(line.last_run_start),
            busy_until: time(line.busy_until),
            ..Self::plain(outcome, line.message.as_deref().unwrap_or_default())
        })
    }
}

fn is_unique_id(text: &str) -> bool {
    (1..=UNIQUE_ID_CHARACTERS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Kept verbatim, because a permit names it; so one that would have to be changed is none.
fn is_owner(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= OWNER_CHARACTERS && !text.chars().any(char::is_control)
}

/// Makes text from a member fit for a status: one line, no control characters, no user and password before a host.
pub fn one_line(text: &str, characters: usize) -> String {
    let shown: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let words = shown.split_whitespace().map(without_userinfo);
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    match line.char_indices().nth(characters) {
        Some((end, _)) => line[..end].trim_end().to_owned(),
        None => line,
    }
}

/// `https://user:secret@host/path` becomes `https://host/path`.
fn without_userinfo(word: &str) -> String {
    let mut shown = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(start) = rest.find("://") {
        let (scheme, address) = rest.split_at(start + 3);
        shown.push_str(scheme);
        let host = address.find('/').map_or(address, |end| &address[..end]);
        rest = host.rfind('@').map_or(address, |at| &address[at + 1..]);
    }
    shown.push_str(rest);
    shown
}

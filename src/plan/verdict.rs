//! What was decided about one repository, before it is written out for the runtime and for people.

use jiff::Timestamp;

use super::result::State;
use crate::names::MemberName;

/// The reasons of `Held` and `NoCandidate` that are not those of a Secret.
pub const INVALID_POLICY: &str = "InvalidPolicy";
pub const PIN_UNSATISFIED: &str = "PinUnsatisfied";
pub const HANDOVER_PENDING: &str = "HandoverPending";
pub const HOLDER_UNREACHABLE: &str = "HolderUnreachable";

/// A decision on one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub state: State,
    pub reason: Option<&'static str>,
    pub cluster: Option<MemberName>,
    pub act: Act,
    pub holder_failing: bool,
    /// When the holder may be replaced.
    pub deadline: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Push what the winner asks for to `cluster`; suspended or not as `State` says.
    Assign,
    Keep,
    Remove,
}

impl Verdict {
    pub fn of(state: State, act: Act) -> Self {
        Self { state, reason: None, cluster: None, act, holder_failing: false, deadline: None }
    }
    pub fn held(reason: &'static str, holder: Option<&MemberName>) -> Self {
        Self { reason: Some(reason), cluster: holder.cloned(), ..Self::of(State::Held, Act::Keep) }
    }
    pub fn no_candidate(reason: &'static str) -> Self {
        Self { reason: Some(reason), ..Self::of(State::NoCandidate, Act::Remove) }
    }
    pub fn assign(state: State, member: &MemberName) -> Self {
        Self { cluster: Some(member.clone()), ..Self::of(state, Act::Assign) }
    }
}

//! What the hub does about other tools' maintenance where the operator lets it: what it suspends, and what of that it
//! lets go again.

use jiff::{SignedDuration, Timestamp};

use super::foreign::{ForeignKind, ForeignObject};
use super::result::{Push, RepositoryPlan, State};
use crate::time::scaled;

/// One that somebody lets go again after it was suspended is suspended again after this time at the earliest.
const FIGHT_PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// What the hub is to do with the foreign objects of a repository in a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Suspend,
    /// What it suspended is let go again.
    Resume,
    Leave,
}

/// `adopts`: the member's `adoptForeign`, where it is still part of the fleet.
pub fn wish(plan: &RepositoryPlan, adopts: bool) -> Wish {
    match (plan.state, &plan.push) {
        _ if !adopts => Wish::Resume,
        (State::Maintained, Push::Objects(_)) => Wish::Suspend,
        (State::NoPolicy | State::Disabled, Push::Remove) => Wish::Resume,
        _ => Wish::Leave,
    }
}

/// What is done to one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Suspend,
    /// The note goes, and `spec.suspend` becomes what it was, where nobody has changed it since.
    Resume(Restored),
}

/// What becomes of `spec.suspend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    Stays,
    Unset,
    Is(bool),
}

/// Who decides, and when.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    pub hub: &'a str,
    pub now: Timestamp,
    /// When this hub suspended the object last, where its note has gone since.
    pub last: Option<Timestamp>,
    pub time_factor: u32,
}

/// What one object needs. Nobody touches what another hub has suspended, nor what its own operator would set back.
pub fn decide(kind: ForeignKind, object: &ForeignObject, wish: Wish, terms: Terms<'_>) -> Option<Act> {
    if !kind.can_be_suspended() {
        return None;
    }
    let ours = object.adopted_by(terms.hub);
    match (wish, ours) {
        (Wish::Resume, Some(adopted)) => Some(Act::Resume(match (object.suspend, adopted.suspend) {
            (Some(true), None) => Restored::Unset,
            (Some(true), Some(before)) => Restored::Is(before),
            _ => Restored::Stays,
        })),
        (Wish::Suspend, _) if object.is_stopped() || object.owner.is_some() => None,
        (Wish::Suspend, None) if object.adopted.is_some() => None,
        (Wish::Suspend, ours) => {
            let last = ours.map(|adopted| adopted.at).into_iter().chain(terms.last).max();
            let pause = scaled(FIGHT_PAUSE, terms.time_factor);
            last.is_none_or(|last| terms.now.duration_since(last) >= pause).then_some(Act::Suspend)
        }
        (Wish::Resume, None) | (Wish::Leave, _) => None,
    }
}

//! The decision on a repository with a valid and enabled winner, as one table.

use crate::names::MemberName;
use crate::plan::candidates;
use crate::plan::result::{Candidate, State};
use crate::plan::verdict::{HANDOVER_PENDING, HOLDER_UNREACHABLE, PIN_UNSATISFIED, Verdict};

/// What the holder of the grant is to the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold<'a> {
    Nobody,
    /// Not reachable; by what was seen last, a candidate or not.
    Away {
        holder: &'a MemberName,
        candidate: bool,
    },
    /// Not reachable, and another may take over.
    GivenUp {
        holder: &'a MemberName,
        candidate: bool,
    },
    Candidate(&'a MemberName),
    /// No candidate, and the grant goes at once.
    Lost(&'a MemberName),
    /// No candidate as far as can be seen, but not everything is seen yet.
    Unsynced(&'a MemberName),
    /// No candidate. `over`: for long enough.
    Failing {
        holder: &'a MemberName,
        over: bool,
    },
}

/// Where the repository is pinned to, as seen from its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    No,
    /// To a candidate, which is the holder.
    Here,
    /// To a candidate, which is not the holder.
    Elsewhere,
    /// To no candidate.
    Nowhere,
}

/// `candidates` are in order of election, with the pin applied.
// Each line is one case of the rules, also where two come to the same.
#[allow(clippy::match_same_arms)]
pub fn decide(hold: Hold<'_>, pinned: Pinned, (frozen, suspend): (bool, bool), candidates: &[Candidate]) -> Verdict {
    let running = if suspend { State::Suspended } else { State::Maintained };
    let elected = candidates.iter().find(|candidate| candidate.excluded.is_none()).map(|candidate| &candidate.member);
    let elect = |state: State| match elected {
        Some(member) => Verdict::assign(state, member),
        None => Verdict::no_candidate(candidates::why_none(candidates)),
    };
    // Whoever takes over from a member that can't be reached must be there itself.
    let heir = |holder: &MemberName| {
        let mut standing = candidates.iter().filter(|it| it.excluded.is_none() && it.reachable);
        standing.find(|it| it.member != *holder).map(|it| &it.member)
    };
    let hold = match hold {
        Hold::GivenUp { holder, candidate } => match heir(holder).filter(|_| !frozen && pinned != Pinned::Nowhere) {
            Some(heir) => return Verdict::assign(running, heir),
            None => Hold::Away { holder, candidate },
        },
        other => other,
    };
    match (hold, pinned, frozen) {
        (Hold::Away { holder, .. }, Pinned::Nowhere, _) => Verdict::held(PIN_UNSATISFIED, Some(holder)),
        (Hold::Away { holder, candidate: true }, Pinned::No | Pinned::Here, _) => {
            Verdict::held(HOLDER_UNREACHABLE, Some(holder))
        }
        (Hold::Away { holder, .. } | Hold::GivenUp { holder, .. }, ..) => Verdict::held(HANDOVER_PENDING, Some(holder)),

        (Hold::Candidate(holder) | Hold::Lost(holder), _, true) => Verdict::assign(State::Frozen, holder),
        (Hold::Unsynced(holder) | Hold::Failing { holder, .. }, _, true) => {
            Verdict::held(HANDOVER_PENDING, Some(holder))
        }

        (Hold::Nobody | Hold::Lost(_), Pinned::Nowhere, _) => Verdict::no_candidate(PIN_UNSATISFIED),
        (Hold::Nobody, _, true) => elect(State::Frozen),
        (Hold::Nobody | Hold::Lost(_), ..) => elect(running),

        (Hold::Candidate(holder) | Hold::Unsynced(holder) | Hold::Failing { holder, .. }, Pinned::Nowhere, _) => {
            Verdict::held(PIN_UNSATISFIED, Some(holder))
        }
        (_, Pinned::Elsewhere, _) => elect(running),
        (Hold::Candidate(holder), ..) => Verdict::assign(running, holder),
        (Hold::Failing { over: true, .. }, ..) if elected.is_some() => elect(running),
        (Hold::Unsynced(holder) | Hold::Failing { holder, .. }, ..) => Verdict::held(HANDOVER_PENDING, Some(holder)),
    }
}

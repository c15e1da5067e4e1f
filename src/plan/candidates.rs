//! What keeps a member from being a candidate, and in which order candidates stand.

use super::direct::CLUSTER_SELECTOR_NEEDED;
use super::election;
use super::fleet::{MemberRecord, NotReady};
use super::levers::Pin;
use super::readiness;
use super::result::Candidate;
use crate::names::{MemberName, RepositoryKey};

pub type Exclusion = (&'static str, String);

pub const NOT_MATCHED: &str = "NotMatched";
pub const NOT_SERVING: &str = "NotServing";
pub const PINNED_ELSEWHERE: &str = "PinnedElsewhere";
const NOT_REGISTERED: &str = "NotRegistered";
const INELIGIBLE: &str = "Ineligible";
const PAUSED: &str = "Paused";
/// Several members, each for a reason of its own.
const NOT_READY: &str = "NotReady";
const NO_MEMBER: &str = "NoMember";

/// What keeps a member from being a candidate with this Secret: first what holds whatever the state of the member.
pub fn exclusion(
    not_ready: Option<&'static str>,
    member: Option<&MemberRecord>,
    rests: Option<&NotReady>,
) -> Option<Exclusion> {
    let of_secret = not_ready.map(|reason| (reason, readiness::text(reason).to_owned()));
    of_secret.or_else(|| of_member(member)).or_else(|| rests.map(of_rest))
}

/// Why nothing of ours runs in a member at all.
fn of_member(record: Option<&MemberRecord>) -> Option<Exclusion> {
    match record {
        None => Some((NOT_REGISTERED, "the hub has no registration of this member".to_owned())),
        Some(record) if !record.eligible => Some((INELIGIBLE, "its MemberCluster says eligible: false".to_owned())),
        Some(record) if !record.is_eligible() => {
            Some((INELIGIBLE, format!("its MemberCluster says lifecycle: {:?}", record.lifecycle)))
        }
        Some(record) if record.paused => Some((PAUSED, "its MemberCluster says paused: true".to_owned())),
        Some(_) => None,
    }
}

fn of_rest(rests: &NotReady) -> Exclusion {
    let message = format!("Secret {} failed to claim ({}) and rests until {}", rests.secret, rests.reason, rests.until);
    (readiness::CLAIM_FAILED, message)
}

pub fn not_matched() -> Exclusion {
    (NOT_MATCHED, "the policy matches no source of the repository there".to_owned())
}

pub fn not_serving() -> Exclusion {
    (
        NOT_SERVING,
        "the policy's Secret could be used there, but other members come first or nothing names it".to_owned(),
    )
}

/// Those that stand for election, best first; then the others by name.
pub fn sort(key: &RepositoryKey, candidates: &mut [Candidate]) {
    candidates.sort_by(|left, right| {
        let by_name = || left.member.cmp(&right.member);
        match (&left.excluded, &right.excluded) {
            (None, None) => election::order(key, left).cmp(&election::order(key, right)),
            (None, Some(_)) => std::cmp::Ordering::Less,
            (Some(_), None) => std::cmp::Ordering::Greater,
            (Some(_), Some(_)) => by_name(),
        }
    });
}

/// Lets only the pinned member stand. False: the pin names no candidate.
pub fn pin(candidates: &mut [Candidate], pin: &Pin<'_>) -> bool {
    let Pin::To(pinned) = pin else { return true };
    let satisfied = stands(candidates, pinned);
    for candidate in candidates.iter_mut().filter(|candidate| candidate.member != **pinned) {
        let message = || (PINNED_ELSEWHERE, format!("the repository is pinned to {pinned}"));
        candidate.excluded.get_or_insert_with(message);
    }
    satisfied
}

pub fn stands(candidates: &[Candidate], member: &MemberName) -> bool {
    candidates.iter().any(|candidate| candidate.member == *member && candidate.excluded.is_none())
}

/// Why there is no candidate at all: the one reason of all that could have been one.
pub fn why_none(candidates: &[Candidate]) -> &'static str {
    let reasons = || candidates.iter().filter_map(|candidate| candidate.excluded.as_ref().map(|(reason, _)| *reason));
    let real = || reasons().filter(|reason| !matches!(*reason, NOT_MATCHED | NOT_SERVING));
    match real().next() {
        Some(first) if real().all(|reason| reason == first) => first,
        Some(_) => NOT_READY,
        None if reasons().any(|reason| reason == NOT_SERVING) => CLUSTER_SELECTOR_NEEDED,
        None => NO_MEMBER,
    }
}

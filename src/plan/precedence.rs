//! Which of several policies rules a repository.

use std::cmp::Reverse;

use jiff::Timestamp;

use crate::names::PolicyName;
use crate::policy::PolicyRecord;

/// The smallest wins: highest priority, then the oldest, then the name in byte order.
/// One without a creation time is newer than all. None: it can't be read in what it selects and competes for nothing.
pub fn rank(policy: &PolicyRecord) -> Option<Rank<'_>> {
    let claim = policy.claim.as_ref()?;
    Some((Reverse(claim.priority), policy.created.unwrap_or(Timestamp::MAX), &policy.name))
}

pub type Rank<'a> = (Reverse<i32>, Timestamp, &'a PolicyName);

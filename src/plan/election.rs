//! Who among several candidates should hold a repository that nobody holds.

use std::cmp::Reverse;

use sha2::{Digest, Sha256};

use super::result::Candidate;
use crate::names::{MemberName, RepositoryKey};

/// Before the first byte of every election hash, so that no other use of SHA-256 gives the same values.
const DOMAIN: &[u8] = b"volsync-hub/election/v1\0";

/// The weight of a member for a repository: the first eight bytes, big-endian, of
/// SHA-256(`"volsync-hub/election/v1\0"` ‖ the 32 bytes of the repository's key ‖ the member's name in UTF-8).
///
/// The member with the highest weight is elected (rendezvous hashing): repositories spread evenly over members, and a
/// member that comes or goes moves only what it wins or held. This function never changes: another one would
/// move repositories all over the fleet.
pub fn weight(key: &RepositoryKey, member: &MemberName) -> u64 {
    let hash = Sha256::new().chain_update(DOMAIN).chain_update(key.bytes()).chain_update(member.as_str()).finalize();
    hash.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The smallest is elected: reachable before unreachable, last backup succeeded before not, then by weight.
/// The name decides between equal weights, which no one has seen yet.
pub fn order<'a>(key: &RepositoryKey, candidate: &'a Candidate) -> Order<'a> {
    let weight = weight(key, &candidate.member);
    (!candidate.reachable, !candidate.last_sync_succeeded, Reverse(weight), &candidate.member)
}

pub type Order<'a> = (bool, bool, Reverse<u64>, &'a MemberName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_of_a_member_stays_what_it_always_was() {
        let key = RepositoryKey::of_tuple(["s3", "s3.example.com", "bucket", "prefix/"]);
        let weights = ["c1", "c2", "c3"].map(|name| weight(&key, &name.into()));
        assert_eq!(weights, [791_908_181_378_135_481, 874_518_207_688_024_958, 2_327_798_466_667_403_778]);
    }

    #[test]
    fn repositories_spread_evenly_over_members() {
        let members: Vec<MemberName> = (0..5).map(|n| MemberName::new(format!("member-{n}"))).collect();
        let mut held = [0_u32; 5];
        for n in 0..5_000 {
            let key = RepositoryKey::of_tuple([format!("bucket-{n}").as_str()]);
            let elected = (0..5).max_by_key(|index| weight(&key, &members[*index])).unwrap_or_default();
            held[elected] += 1;
        }
        assert!(held.iter().all(|count| (850..1_150).contains(count)), "{held:?}");
    }
}

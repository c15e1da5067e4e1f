//! Pure: which part of the fleet a replica writes to. Every replica reads all of it; shards divide the writes.
//!
//! A member belongs to one shard by its name. A repository belongs to the member that it is held in: whoever may write to
//! that member is the one who writes the repository's record, so that nobody takes a grant away from a replica that does
//! not know it. The step that moves a grant is the former owner's last, and the next one goes on from the record.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::names::{MemberName, PolicyName, RepositoryId};

/// Before the first byte of every hash here, so that no other use of SHA-256 gives the same values.
const DOMAIN: &[u8] = b"volsync-hub/shard/v1\0";

/// The shards that one replica writes for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// All of them: the only replica that writes.
    #[default]
    Whole,
    /// Of `of` shards, numbered from 0, these.
    Shards { held: BTreeSet<u16>, of: u16 },
}

impl Share {
    /// Whether this replica may write to a member, and to its MemberCluster.
    pub fn owns_member(&self, member: &MemberName) -> bool {
        self.owns("member", member.as_str())
    }

    /// Whether this replica writes a repository's record. `held_in`: the member that has its grant, or should get it; a
    /// repository without one has nothing in any member, and belongs to a shard by its id.
    pub fn owns_repository(&self, id: RepositoryId, held_in: Option<&MemberName>) -> bool {
        match held_in {
            Some(member) => self.owns_member(member),
            None => self.owns("repository", &id.to_string()),
        }
    }

    /// Whether this replica writes a policy's status.
    pub fn owns_policy(&self, policy: &PolicyName) -> bool {
        self.owns("policy", policy.as_str())
    }

    fn owns(&self, kind: &str, name: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::Shards { held, of } => held.contains(&shard_of(kind, name, *of)),
        }
    }
}

/// The first eight bytes, big-endian, of SHA-256([`DOMAIN`] ‖ kind ‖ 0 ‖ name), modulo the number of shards. This never
/// changes: replicas of two releases have to agree.
fn shard_of(kind: &str, name: &str, of: u16) -> u16 {
    let hash = Sha256::new().chain_update(DOMAIN).chain_update(kind).chain_update([0]).chain_update(name).finalize();
    let value = hash.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte));
    u16::try_from(value % u64::from(of.max(1))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(held: &[u16], of: u16) -> Share {
        Share::Shards { held: held.iter().copied().collect(), of }
    }

    #[test]
    fn shards_stay_what_they_always_were() {
        let members: Vec<_> = (0..8).map(|number| shard_of("member", &format!("member-{number}"), 16)).collect();
        assert_eq!(members, [5, 7, 3, 13, 2, 7, 6, 14]);
    }

    #[test]
    fn members_spread_evenly() {
        let mut counts = [0; 16];
        for number in 0..16_000 {
            counts[usize::from(shard_of("member", &format!("member-{number:05}"), 16))] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn of_replicas_that_divide_the_shards_exactly_one_owns_each(
            name in "[a-z0-9-]{1,20}", id in any::<u64>(), held_in in proptest::option::of("[a-z]{1,5}"),
            of in 1_u16..40, cut in any::<prop::sample::Index>(),
        ) {
            let cut = u16::try_from(cut.index(usize::from(of) + 1)).unwrap_or_default();
            let (low, high): (Vec<_>, Vec<_>) = (0..of).partition(|shard| *shard < cut);
            let (low, high) = (share(&low, of), share(&high, of));
            let member = MemberName::from(name.as_str());
            prop_assert!(low.owns_member(&member) != high.owns_member(&member));
            let policy = PolicyName::from(name.as_str());
            prop_assert!(low.owns_policy(&policy) != high.owns_policy(&policy));
            let id: RepositoryId = format!("{id:016x}").parse().unwrap();
            let held_in = held_in.map(|name| MemberName::from(name.as_str()));
            prop_assert!(low.owns_repository(id, held_in.as_ref()) != high.owns_repository(id, held_in.as_ref()));
            for it in [&low, &high] {
                prop_assert!(held_in.as_ref().is_none_or(|at| it.owns_member(at) == it.owns_repository(id, Some(at))));
            }
            prop_assert!(Share::Whole.owns_member(&member) && Share::Whole.owns_repository(id, held_in.as_ref()));
        }
    }
}

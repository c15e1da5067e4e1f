//! What the ledger may say of a repository, with all levers.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::world::{MEMBERS, SECRETS};
use crate::plan::fleet::Phase;

#[derive(Clone, Debug)]
pub struct Ledger {
    pub key: Option<Index>,
    pub unique_id: Option<u8>,
    pub grant: Option<(&'static str, u64, Phase)>,
    pub pin: Option<&'static str>,
    pub frozen: Option<i64>,
    pub same_as: Option<Index>,
    pub distinct_from: Option<Index>,
    pub rests: Vec<(&'static str, &'static str, &'static str, i64)>,
    pub failover: Option<(&'static str, u64)>,
}

pub fn ledger() -> impl Strategy<Value = Ledger> {
    let member = || select(MEMBERS.to_vec());
    // Now and then by its bare name.
    let rests = (member(), select(vec!["n1", "n2", "n1", "n2", ""]), select(SECRETS.to_vec()), -5..60_i64);
    let phase = prop_oneof![5 => Just(Phase::Active), 1 => Just(Phase::Claiming), 1 => Just(Phase::Draining),
        1 => Just(Phase::Recovering)];
    (
        prop::option::weighted(0.8, any::<Index>()),
        prop::option::weighted(0.4, 0..2_u8),
        prop::option::weighted(0.6, (member(), 1..4_u64, phase)),
        prop::option::weighted(0.2, member()),
        prop::option::weighted(0.2, -5..60_i64),
        prop::option::weighted(0.15, any::<Index>()),
        prop::option::weighted(0.15, any::<Index>()),
        prop::collection::vec(rests, 0..4),
        prop::option::weighted(0.3, (member(), 1..4_u64)),
    )
        .prop_map(|(key, unique_id, grant, pin, frozen, same_as, distinct_from, rests, failover)| Ledger {
            key,
            unique_id,
            grant,
            pin,
            frozen,
            same_as,
            distinct_from,
            rests,
            failover,
        })
}

//! What the ledger says of a repository: its grant, and what operators set. A merged repository has several records.

use jiff::Timestamp;

use super::fleet::{Fleet, Former, Grant, LedgerRecord, NotReady, Phase};
use super::result::Candidate;
use super::{candidates, holder};
use crate::names::{MemberName, ObjectName, RepositoryId, RepositoryKey};

/// The records of one repository, taken together.
#[derive(Clone, Debug, Default)]
pub struct Levers<'a> {
    /// The grant with the highest epoch, then that of the smallest id.
    pub grant: Option<&'a Grant>,
    /// See [`holder::known_as`].
    pub known_as: Option<&'a MemberName>,
    pub pin: Pin<'a>,
    /// The latest end of all freezes, over or not.
    pub frozen_until: Option<Timestamp>,
    pub not_ready: Vec<&'a NotReady>,
    /// Grants that the operator gives up.
    pub given_up: Vec<&'a Former>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pin<'a> {
    #[default]
    None,
    To(&'a MemberName),
    /// Two records name two members: none applies.
    Contradicting,
}

/// Takes the records of a repository together, in ascending order of their ids.
/// Of a record that is `foreign` only the operator's part is taken: its status belongs to another repository.
pub fn of<'a>(records: impl IntoIterator<Item = (&'a LedgerRecord, bool)>) -> Levers<'a> {
    let mut levers = Levers::default();
    for (record, foreign) in records {
        if let Some(pin) = &record.pin {
            levers.pin = match levers.pin {
                Pin::None => Pin::To(pin),
                Pin::To(other) if other == pin => Pin::To(other),
                _ => Pin::Contradicting,
            };
        }
        levers.frozen_until = levers.frozen_until.max(record.frozen_until);
        levers.given_up.extend(&record.failover);
        if foreign {
            continue;
        }
        levers.not_ready.extend(&record.not_ready);
        if let Some(grant) = &record.grant
            && levers.grant.is_none_or(|known| grant.epoch > known.epoch)
        {
            levers.grant = Some(grant);
        }
    }
    levers
}

impl<'a> Levers<'a> {
    /// With the names that the fleet's clusters have now.
    #[must_use]
    pub fn named(self, fleet: &'a Fleet) -> Self {
        Self { known_as: self.grant.and_then(|grant| holder::known_as(fleet, grant)), ..self }
    }

    /// The member of the grant, by its present name.
    pub fn held_by(&self) -> Option<&'a MemberName> {
        self.known_as.or_else(|| self.grant.map(|grant| &grant.cluster))
    }

    pub fn frozen(&self, now: Timestamp) -> bool {
        self.frozen_until.is_some_and(|until| now < until)
    }

    /// Did this Secret fail there, so that it rests?
    pub fn rests(&self, member: &MemberName, secret: &ObjectName, now: Timestamp) -> Option<&'a NotReady> {
        let of_it = |entry: &&&NotReady| entry.cluster == *member && entry.concerns(secret) && now < entry.until;
        self.not_ready.iter().filter(of_it).max_by_key(|entry| entry.until).copied()
    }

    /// The member of the grant. Where its claim failed and it waits for the next attempt, or where it can't be reached
    /// to claim, the one that held the repository before, if anybody did.
    pub fn holder(&self, now: Timestamp, candidates: &[Candidate]) -> Option<&'a MemberName> {
        let grant = self.grant?;
        if grant.phase != Phase::Claiming {
            return self.held_by();
        }
        let failed = self.any_rests(&grant.cluster, now) && !candidates::stands(candidates, &grant.cluster);
        let is_reachable = |it: &Candidate| it.member == grant.cluster && it.reachable;
        let away = grant.from.is_some() && !candidates.iter().any(is_reachable);
        if failed || away { grant.from.as_ref().map(|from| &from.cluster) } else { Some(&grant.cluster) }
    }

    /// Did the operator say of the very grant that this member has, or had before, that another should take it over?
    pub fn gives_up(&self, holder: &MemberName) -> bool {
        let Some(grant) = self.grant else { return false };
        self.given_up.iter().filter(|given_up| given_up.cluster == *holder).any(|given_up| {
            (grant.cluster == *holder && grant.epoch == given_up.epoch) || grant.from.as_ref() == Some(*given_up)
        })
    }

    /// Does any Secret rest there?
    pub fn any_rests(&self, member: &MemberName, now: Timestamp) -> bool {
        self.not_ready.iter().any(|entry| entry.cluster == *member && now < entry.until)
    }

    /// The next time at which a freeze or a rest ends.
    pub fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.not_ready.iter().map(|entry| entry.until).chain(self.frozen_until);
        ends.filter(|end| now < *end).min()
    }
}

/// A ledger record whose status tells of another repository: its key is not one of those that have its name.
/// Sixteen digits can be forged to be equal; whole keys can't.
pub fn is_foreign<'k>(
    id: RepositoryId,
    record: &LedgerRecord,
    known: impl IntoIterator<Item = &'k RepositoryKey>,
) -> bool {
    let Some(key) = &record.key else { return false };
    let mut known = known.into_iter().peekable();
    key.id() != id || (known.peek().is_some() && !known.any(|other| other == key))
}

//! What can be said of the member that the ledger names as the holder of a repository.

use jiff::{SignedDuration, Timestamp};

use super::direct::{Match, Origin};
use super::fleet::{Contact, Fleet, Grant, MemberRecord, PlanOptions, PushedCronJob, SecretState, SourceRecord};
use super::{references, selector};
use crate::names::{MemberName, ObjectName, Place, PlacedName, RepositoryId, SourceKey};
use crate::policy::{self, PolicyClaim, PolicyTarget};
use crate::time::{after, scaled};

/// How far the hub can see a member. One without a registration is as good as unreachable.
pub fn contact(fleet: &Fleet, member: &MemberName) -> Contact {
    fleet.members.get(member).map_or(Contact::Unreachable, |record| record.contact)
}

/// The name under which the cluster of a grant is known now, where the member that the grant names can't be reached and
/// another one is the same cluster.
pub fn known_as<'a>(fleet: &'a Fleet, grant: &Grant) -> Option<&'a MemberName> {
    let uid = grant.cluster_uid.as_deref()?;
    if contact(fleet, &grant.cluster) != Contact::Unreachable {
        return None;
    }
    let is = |(name, record): &(&MemberName, &MemberRecord)| {
        **name != grant.cluster && record.contact != Contact::Unreachable && record.cluster_uid.as_deref() == Some(uid)
    };
    fleet.members.iter().find(is).map(|(name, _)| name)
}

/// Absence means something there.
pub fn is_synced(fleet: &Fleet, member: &MemberName) -> bool {
    contact(fleet, member) == Contact::Synced
}

/// `eligible: false`, or retired. A member that is not known is not said to be that.
pub fn is_ineligible(fleet: &Fleet, member: &MemberName) -> bool {
    fleet.members.get(member).is_some_and(|record| !record.is_eligible())
}

/// It can't be reached, and the operator says that it never will be again.
pub fn is_gone_for_good(fleet: &Fleet, member: &MemberName) -> bool {
    fleet.members.get(member).is_some_and(|record| record.is_forgotten() && record.contact == Contact::Unreachable)
}

/// The CronJob of a repository that stands in a member, by the names of all its ids, smallest first.
pub fn pushed<'a>(
    fleet: &'a Fleet,
    options: &PlanOptions,
    ids: &[RepositoryId],
    member: &MemberName,
) -> Option<(ObjectName, &'a PushedCronJob)> {
    ids.iter().find_map(|id| {
        let name = (member.clone(), ObjectName::new(options.member_namespace.clone(), id.object_name()));
        fleet.cron_jobs.get(&name).map(|found| (name.1, found))
    })
}

/// The Secret that a standing CronJob was given, as far as it tells.
pub fn copied<'a>(
    fleet: &'a Fleet,
    options: &PlanOptions,
    ids: &[RepositoryId],
    holder: &MemberName,
) -> Option<&'a PlacedName> {
    ids.iter().find_map(|id| pushed(fleet, options, &[*id], holder)?.1.secret.as_ref())
}

/// A source with the Secret that the standing CronJob was given is still there, only that Secret can't be seen (any more).
/// While that lasts the source may still belong to the repository.
pub fn source_may_be_left(fleet: &Fleet, options: &PlanOptions, ids: &[RepositoryId], holder: &MemberName) -> bool {
    let Some(secret) = copied(fleet, options, ids, holder) else { return false };
    is_unseen(fleet, secret)
        && sources_in(fleet, holder, &secret.object.namespace)
            .any(|(key, record)| references::of_source(key, record).as_ref() == Some(secret))
}

/// A direct policy names the Secret that the standing CronJob was given, and that may not be read (any more): it may still
/// be that repository's.
pub fn policy_may_be_left(fleet: &Fleet, options: &PlanOptions, ids: &[RepositoryId], holder: &MemberName) -> bool {
    let Some(given) = copied(fleet, options, ids, holder) else { return false };
    let names_it = |claim: &PolicyClaim| claim.target.named().is_some_and(|secret| *secret == given.object);
    let mut claims = fleet.policies.values().filter_map(|policy| policy.claim.as_ref());
    !matches!(fleet.secrets.get(given), Some(SecretState::Present(_) | SecretState::Absent)) && claims.any(names_it)
}

/// Ids whose CronJob, wherever it stands, was given a Secret of this name.
pub fn given<'a>(fleet: &'a Fleet, secret: &'a ObjectName) -> impl Iterator<Item = RepositoryId> + 'a {
    let using =
        fleet.cron_jobs.iter().filter(|(_, record)| record.secret.as_ref().is_some_and(|it| it.object == *secret));
    using
        .flat_map(|((_, name), record)| RepositoryId::of_object_name(&name.name).into_iter().chain([record.repository]))
}

/// No source of the repository is left in the holder. Where nothing tells which Secret it used, each source there whose
/// Secret can't be seen may be one.
pub fn has_no_source_left(fleet: &Fleet, options: &PlanOptions, ids: &[RepositoryId], holder: &MemberName) -> bool {
    if copied(fleet, options, ids, holder).is_some() {
        return !source_may_be_left(fleet, options, ids, holder);
    }
    let unseen = |(key, record)| references::of_source(key, record).is_some_and(|secret| is_unseen(fleet, &secret));
    !sources_of(fleet, holder).any(unseen)
}

/// A Secret that is not there, or can't be read, tells nothing of the repository it was for.
pub fn is_unseen(fleet: &Fleet, secret: &PlacedName) -> bool {
    !matches!(fleet.secrets.get(secret), Some(SecretState::Present(_)))
}

/// The sources of a member.
pub fn sources_of<'a>(
    fleet: &'a Fleet,
    member: &MemberName,
) -> impl Iterator<Item = (&'a SourceKey, &'a SourceRecord)> {
    let start = SourceKey { member: member.clone(), object: ObjectName::new("", "") };
    let member = member.clone();
    fleet.sources.range(start..).take_while(move |(key, _)| key.member == member)
}

/// The sources in one namespace of a member.
pub fn sources_in<'a>(
    fleet: &'a Fleet,
    member: &MemberName,
    namespace: &str,
) -> impl Iterator<Item = (&'a SourceKey, &'a SourceRecord)> {
    let first = SourceKey { member: member.clone(), object: ObjectName::new(namespace, "") };
    let of_it = move |(key, _): &(&SourceKey, &SourceRecord)| {
        key.member == first.member && key.object.namespace == first.object.namespace
    };
    let start = SourceKey { member: member.clone(), object: ObjectName::new(namespace, "") };
    fleet.sources.range(start..).take_while(of_it)
}

/// Under a direct policy: the Secret is certainly not in the holder any more, or the holder is not admitted any more.
pub fn has_left_direct(fleet: &Fleet, claim: &PolicyClaim, matches: &[&Match], holder: &MemberName) -> bool {
    let PolicyTarget::Direct { secret, cluster, .. } = &claim.target else { return false };
    let admitted =
        fleet.members.get(holder).is_some_and(|record| selector::admits(&claim.clusters, holder, &record.labels));
    if !admitted || cluster.as_ref().is_some_and(|cluster| cluster != holder) {
        return true;
    }
    if matches.iter().any(|found| found.origin != Origin::Members || found.members.contains_key(holder)) {
        return false;
    }
    let placed = PlacedName { place: Place::Member(holder.clone()), object: secret.clone() };
    matches!(fleet.secrets.get(&placed), Some(SecretState::Absent | SecretState::Present(_)))
}

/// From when on a holder that is no candidate may be replaced; none: its time does not run.
pub fn replaceable_from(fleet: &Fleet, options: &PlanOptions, id: RepositoryId) -> Option<Timestamp> {
    let since = *fleet.failing_since.get(&id)?;
    let patience = SignedDuration::from_secs(i64::from(options.handover_after_seconds));
    Some(after(since, patience))
}

/// Whether a holder that can't be reached may be replaced, and from when on where that is a matter of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    Never,
    From(Timestamp),
    /// By the operator's word.
    Now,
}

/// See [`Failover`].
pub fn failover(
    fleet: &Fleet,
    options: &PlanOptions,
    policy: &policy::Failover,
    given_up: bool,
    holder: &MemberName,
) -> Failover {
    if given_up {
        return Failover::Now;
    }
    let since = fleet.members.get(holder).and_then(|record| record.away_since).filter(|_| policy.automatic);
    let wait = scaled(SignedDuration::from_secs(policy.after_seconds.into()), options.time_factor);
    since.map_or(Failover::Never, |since| Failover::From(after(since, wait)))
}

/// Could a policy match a source that the hub can't see now, because its member is not synced?
pub fn may_be_hidden<'a>(fleet: &Fleet, mut claims: impl Iterator<Item = &'a PolicyClaim>) -> bool {
    claims.any(|claim| {
        let unseen = |(name, record): (&MemberName, &MemberRecord)| {
            record.contact != Contact::Synced && selector::admits(&claim.clusters, name, &record.labels)
        };
        fleet.members.iter().any(unseen)
    })
}

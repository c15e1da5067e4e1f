//! One repository: who competes for it, who wins, who may run it, who does.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::World;
use crate::names::{MemberName, ObjectName, Place, PlacedName, PolicyName, RepositoryId, RepositoryKey, SourceKey};
use crate::plan::candidates;
use crate::plan::compose::{self, Decided};
use crate::plan::direct::Match;
use crate::plan::fleet::{Contact, SourceRecord, SourceRepository};
use crate::plan::holder::{self, Failover};
use crate::plan::levers::{self, Levers, Pin};
use crate::plan::merge::Group;
use crate::plan::outlook::{Outlook, View};
use crate::plan::precedence;
use crate::plan::readiness::{Meaning, Standing};
use crate::plan::result::{Candidate, RepositoryPlan, Share, State};
use crate::plan::verdict::{Act, HANDOVER_PENDING, HOLDER_UNREACHABLE, INVALID_POLICY, PIN_UNSATISFIED, Verdict};
use crate::policy::{PolicyClaim, PolicyRecord, PolicySettings, PolicyTarget};

/// A repository, with everything in the fleet that belongs to it.
pub struct Repository<'a> {
    world: &'a World<'a>,
    id: RepositoryId,
    key: RepositoryKey,
    keys: BTreeSet<RepositoryKey>,
    ids: Vec<RepositoryId>,
    sources: Vec<Filed<'a>>,
    directs: Vec<(&'a PolicyName, &'a Match)>,
    levers: Levers<'a>,
    remarks: Vec<(&'static str, String)>,
}

/// A source of the repository.
struct Filed<'a> {
    key: &'a SourceKey,
    record: &'a SourceRecord,
    meaning: &'a Meaning,
}

impl<'a> Repository<'a> {
    /// None for ids that only the ledger knows, and it not by key: an operator's word about nothing.
    pub fn of(world: &'a World<'a>, group: &Group) -> Option<Self> {
        let ids: Vec<RepositoryId> = group.ids.iter().copied().collect();
        let records = || ids.iter().filter_map(|id| Some((*id, world.fleet.ledger.get(id)?)));
        let mut keys: BTreeSet<RepositoryKey> =
            ids.iter().filter_map(|id| world.keys.get(id)).flatten().copied().collect();
        if keys.is_empty() {
            keys.extend(records().filter_map(|(id, record)| record.key.filter(|key| key.id() == id)));
        }
        let key = *keys.first()?;
        let filed = |source: &'a SourceKey| match world.standings.get(source)? {
            Standing::In(meaning) => Some(Filed { key: source, record: world.fleet.sources.get(source)?, meaning }),
            Standing::Outside(_) => None,
        };
        let of_keys = keys.iter().filter_map(|key| world.by_key.get(key)).flatten();
        let mut sources: Vec<Filed<'_>> = of_keys.filter_map(|source| filed(source)).collect();
        sources.sort_by_key(|source| source.key);
        let named = keys.iter().filter_map(|key| world.named.get(key)).flatten();
        let directs = named.copied().collect();
        let mut remarks = compose::of_keys(&keys, group.by_unique_id);
        let foreign = records().filter(|(id, record)| world.is_foreign(*id, record));
        remarks.extend(foreign.map(|(id, _)| compose::of_foreign(id)));
        let levers = levers::of(
            ids.iter()
                .filter_map(|id| world.fleet.ledger.get(id).map(|record| (record, world.is_foreign(*id, record)))),
        )
        .named(world.fleet);
        Some(Self { world, id: key.id(), key, keys, sources, directs, levers, remarks, ids })
    }

    /// Rule 5: every policy that matches one of its sources, or names it, best first.
    pub fn competitors(&self) -> Vec<&'a PolicyRecord> {
        let names_it = |policy: &PolicyRecord| self.directs.iter().any(|(name, _)| **name == policy.name);
        let selects_one = |claim: &PolicyClaim| {
            self.sources.iter().any(|source| self.world.selects(claim, source.key, source.record))
        };
        let competes =
            |policy: &&PolicyRecord| policy.claim.as_ref().is_some_and(|claim| names_it(policy) || selects_one(claim));
        let policies = self.world.fleet.policies.values().map(|policy| &**policy);
        let mut competitors: Vec<&PolicyRecord> = policies.filter(competes).collect();
        competitors.sort_by_key(|policy| precedence::rank(policy));
        competitors
    }

    pub fn plan(self, competitors: Vec<&'a PolicyRecord>) -> RepositoryPlan {
        let winner = competitors.first().copied();
        let mut candidates = winner.map(|winner| self.candidates(winner)).unwrap_or_default();
        let unpinned = candidates.clone();
        let pin_holds = candidates::pin(&mut candidates, &self.levers.pin);
        candidates::sort(&self.key, &mut candidates);
        let verdict = match winner {
            None => self.without_policy(),
            Some(winner) => match &winner.settings {
                Err(_) => Verdict::held(INVALID_POLICY, self.holder()),
                Ok(settings) if !settings.enabled => Verdict::of(State::Disabled, Act::Remove),
                Ok(settings) => self.decide(winner, settings, &candidates, (&unpinned, pin_holds)),
            },
        };
        let World { fleet, options, now, .. } = *self.world;
        let decided = Decided {
            id: self.id,
            key: self.key,
            view: self.view(),
            clusters: self.clusters(),
            keys: self.keys.into_iter().collect(),
            ids: self.ids,
            competitors,
            levers: self.levers,
            candidates,
            remarks: self.remarks,
            verdict,
        };
        compose::compose(fleet, options, now, decided)
    }

    fn holder(&self) -> Option<&'a MemberName> {
        self.levers.held_by()
    }

    /// No match: nothing of ours may stand. What can't be seen may match, though, and deletes nothing.
    fn without_policy(&self) -> Verdict {
        let fleet = self.world.fleet;
        let claims = || fleet.policies.values().filter_map(|policy| policy.claim.as_ref());
        if let Some(holder) = self.holder()
            && self.sources.is_empty()
            && (holder::source_may_be_left(fleet, self.world.options, &self.ids, holder)
                || holder::policy_may_be_left(fleet, self.world.options, &self.ids, holder)
                || (!holder::is_synced(fleet, holder) && claims().any(|claim| self.admits(claim, holder))))
        {
            return Verdict::held(HANDOVER_PENDING, Some(holder));
        }
        let hidden = !self.sources.is_empty() && holder::may_be_hidden(fleet, claims());
        let act = if hidden { Act::Keep } else { Act::Remove };
        Verdict::of(State::NoPolicy, act)
    }

    fn admits(&self, claim: &PolicyClaim, member: &MemberName) -> bool {
        let record = self.world.fleet.members.get(member);
        let none = crate::plan::fleet::Labels::new();
        crate::plan::selector::admits(&claim.clusters, member, record.map_or(&none, |record| &record.labels))
    }

    /// Rules 6, 8 and 9, for a valid and enabled winner.
    fn decide(
        &self,
        winner: &PolicyRecord,
        settings: &PolicySettings,
        candidates: &[Candidate],
        (unpinned, pin_holds): (&[Candidate], bool),
    ) -> Verdict {
        let running = if settings.suspend { State::Suspended } else { State::Maintained };
        let frozen = self.levers.frozen(self.world.now);
        let state = if frozen { State::Frozen } else { running };
        let Some(holder) = self.levers.holder(self.world.now, unpinned) else {
            return elect(candidates, pin_holds, state);
        };

        let contact = holder::contact(self.world.fleet, holder);
        let is_candidate = candidates::stands(unpinned, holder);
        let pinned_away = matches!(self.levers.pin, Pin::To(pin) if pin != holder);
        let forgotten = holder::is_gone_for_good(self.world.fleet, holder);
        if contact == Contact::Unreachable && !forgotten {
            // No pin says that it is dead.
            let reason = match (pin_holds, is_candidate && !pinned_away) {
                (false, _) => PIN_UNSATISFIED,
                (true, true) => HOLDER_UNREACHABLE,
                (true, false) => HANDOVER_PENDING,
            };
            let verdict = Verdict::held(reason, Some(holder));
            let given_up = self.levers.gives_up(holder);
            let from =
                match holder::failover(self.world.fleet, self.world.options, &settings.failover, given_up, holder) {
                    Failover::Never => return verdict,
                    Failover::Now => Timestamp::MIN,
                    Failover::From(from) => from,
                };
            if from > self.world.now {
                return Verdict { deadline: Some(from), ..verdict };
            }
            let others = candidates.iter().filter(|it| it.excluded.is_none() && it.reachable && it.member != *holder);
            let heir = others.min_by_key(|it| crate::plan::election::order(&self.key, it));
            return match heir.filter(|_| pin_holds && !frozen) {
                Some(heir) => Verdict::assign(running, &heir.member),
                None => verdict,
            };
        }
        let gone = forgotten || (!is_candidate && self.is_gone(winner, holder));
        let failing = !is_candidate && !gone && contact == Contact::Synced;
        let replaceable = holder::replaceable_from(self.world.fleet, self.world.options, self.id).filter(|_| failing);
        let time_is_over = replaceable.is_some_and(|from| from <= self.world.now);
        let other_stands = candidates.iter().any(|candidate| candidate.excluded.is_none());

        let verdict = if frozen && (is_candidate || gone) {
            // The grant stays, whatever a pin or the member's object says.
            Verdict::assign(State::Frozen, holder)
        } else if frozen {
            Verdict::held(HANDOVER_PENDING, Some(holder))
        } else if gone {
            elect(candidates, pin_holds, state)
        } else if !pin_holds {
            Verdict::held(PIN_UNSATISFIED, Some(holder))
        } else if pinned_away {
            elect(candidates, pin_holds, state)
        } else if is_candidate {
            Verdict::assign(running, holder)
        } else if time_is_over && other_stands {
            elect(candidates, pin_holds, state)
        } else {
            Verdict::held(HANDOVER_PENDING, Some(holder))
        };
        Verdict { holder_failing: failing, deadline: replaceable.filter(|_| !time_is_over), ..verdict }
    }

    /// Rule 9: what takes the grant from a holder at once, pins aside.
    fn is_gone(&self, winner: &PolicyRecord, holder: &MemberName) -> bool {
        let World { fleet, options, .. } = *self.world;
        if holder::is_ineligible(fleet, holder) {
            return true;
        }
        match &winner.claim {
            Some(claim @ PolicyClaim { target: PolicyTarget::Direct { .. }, .. }) => {
                holder::has_left_direct(fleet, claim, &self.matches_of(winner), holder)
            }
            _ => {
                holder::is_synced(fleet, holder)
                    && !self.sources.iter().any(|source| source.key.member == *holder)
                    && holder::has_no_source_left(fleet, options, &self.ids, holder)
            }
        }
    }

    fn matches_of(&self, policy: &PolicyRecord) -> Vec<&'a Match> {
        self.directs.iter().filter(|(name, _)| **name == policy.name).map(|(_, found)| *found).collect()
    }

    /// Every member that could have been a candidate, those that are not with why; pins aside.
    fn candidates(&self, winner: &PolicyRecord) -> Vec<Candidate> {
        let Some(claim) = &winner.claim else { return Vec::new() };
        match &claim.target {
            PolicyTarget::Selector { .. } => {
                self.by_member().into_iter().map(|(member, sources)| self.selected(claim, member, &sources)).collect()
            }
            PolicyTarget::Direct { .. } => self.named(winner, claim),
        }
    }

    fn by_member(&self) -> BTreeMap<&'a MemberName, Vec<&Filed<'a>>> {
        let mut members: BTreeMap<&MemberName, Vec<&Filed<'_>>> = BTreeMap::new();
        for source in &self.sources {
            members.entry(&source.key.member).or_default().push(source);
        }
        members
    }

    /// Rule 8 and 10 in one member: the oldest ready source that the winner matches brings the Secret.
    fn selected(&self, claim: &PolicyClaim, member: &MemberName, sources: &[&Filed<'a>]) -> Candidate {
        let mut matched: Vec<&&Filed<'_>> =
            sources.iter().filter(|source| self.world.selects(claim, source.key, source.record)).collect();
        matched.sort_by_key(|source| (source.record.created.unwrap_or(Timestamp::MAX), &source.key.object));
        let rests = |source: &Filed<'_>| self.levers.rests(member, &source.secret(), self.world.now);
        let is_ready = |source: &&&&Filed<'_>| source.meaning.not_ready.is_none() && rests(source).is_none();
        let ready: Vec<&&&Filed<'_>> = matched.iter().filter(is_ready).collect();
        let record = self.world.fleet.members.get(member);
        let excluded = match (matched.first(), ready.first()) {
            (None, _) => Some(candidates::not_matched()),
            (Some(oldest), None) => candidates::exclusion(oldest.meaning.not_ready, record, rests(oldest)),
            (Some(_), Some(_)) => candidates::exclusion(None, record, None),
        };
        Candidate {
            member: member.clone(),
            secret: ready
                .first()
                .map(|source| PlacedName { place: Place::Member(member.clone()), object: source.secret() }),
            source: ready.first().map(|source| source.key.object.clone()),
            reachable: holder::contact(self.world.fleet, member) != Contact::Unreachable,
            last_sync_succeeded: ready.first().is_some_and(|source| source.record.last_sync_succeeded),
            excluded,
        }
    }

    /// Rule 4: the members where the policy's own Secret can be used.
    fn named(&self, winner: &PolicyRecord, claim: &PolicyClaim) -> Vec<Candidate> {
        let World { fleet, options, now, .. } = *self.world;
        let members = self.by_member();
        let mut found: BTreeMap<&MemberName, Candidate> = BTreeMap::new();
        for matched in self.matches_of(winner) {
            let serving = matched.serving(fleet, options, &claim.clusters, |member| members.contains_key(member));
            for (member, meaning) in &matched.members {
                let rests = self.levers.rests(member, &matched.secret, now);
                let excluded = if serving.contains(&member) {
                    candidates::exclusion(meaning.not_ready, fleet.members.get(member), rests)
                } else {
                    Some(candidates::not_serving())
                };
                let sources = members.get(member).into_iter().flatten();
                let candidate = Candidate {
                    member: member.clone(),
                    secret: Some(matched.secret_for(member)).filter(|_| meaning.not_ready.is_none()),
                    source: None,
                    reachable: holder::contact(fleet, member) != Contact::Unreachable,
                    last_sync_succeeded: sources.into_iter().any(|source| source.record.last_sync_succeeded),
                    excluded,
                };
                let known = found.entry(member).or_insert_with(|| candidate.clone());
                if known.excluded.is_some() && candidate.excluded.is_none() {
                    *known = candidate;
                }
            }
        }
        found.into_values().collect()
    }

    fn clusters(&self) -> Vec<Share> {
        let count = |sources: usize| u32::try_from(sources).unwrap_or(u32::MAX);
        let share = |(member, sources): (&MemberName, Vec<&Filed<'_>>)| Share {
            member: member.clone(),
            sources: count(sources.len()),
            ready: count(sources.iter().filter(|source| source.meaning.not_ready.is_none()).count()),
        };
        self.by_member().into_iter().map(share).collect()
    }

    fn view(&self) -> View {
        let mut outlooks: BTreeMap<RepositoryKey, Outlook> = BTreeMap::new();
        let of_policies = self.directs.iter().flat_map(|(_, found)| found.meanings());
        for meaning in self.sources.iter().map(|source| source.meaning).chain(of_policies) {
            outlooks.entry(meaning.identity.key).or_default().add(meaning);
        }
        View::of(&self.key, &outlooks)
    }
}

impl Filed<'_> {
    /// The Secret that it names; only those with one are in a repository.
    fn secret(&self) -> ObjectName {
        let name = match &self.record.repository {
            SourceRepository::Secret(name) => name.clone(),
            SourceRepository::None | SourceRepository::Pvc(_) => "".into(),
        };
        ObjectName { namespace: self.key.object.namespace.clone(), name }
    }
}

fn elect(candidates: &[Candidate], pin_holds: bool, state: State) -> Verdict {
    if !pin_holds {
        return Verdict::no_candidate(PIN_UNSATISFIED);
    }
    match candidates.iter().find(|candidate| candidate.excluded.is_none()) {
        Some(elected) => Verdict::assign(state, &elected.member),
        None => Verdict::no_candidate(candidates::why_none(candidates)),
    }
}

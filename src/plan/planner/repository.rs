//! Plans one repository from the index: at the cost of its members, not of its sources.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Planner;
use super::decide::{Hold, Pinned, decide};
use super::groups::is_foreign;
use super::slice::{Chosen, View};
use crate::names::{MemberName, ObjectName, Place, PlacedName, PolicyName, RepositoryId, RepositoryKey};
use crate::plan::compose::{self, Decided};
use crate::plan::direct::Match;
use crate::plan::fleet::Contact;
use crate::plan::holder::Failover;
use crate::plan::levers::{self, Levers, Pin};
use crate::plan::merge::Group;
use crate::plan::outlook::{self, Outlook};
use crate::plan::result::{Candidate, RepositoryPlan, Share, State};
use crate::plan::verdict::{Act, HANDOVER_PENDING, INVALID_POLICY, Verdict};
use crate::plan::{candidates, holder, precedence};
use crate::policy::{PolicyClaim, PolicyRecord, PolicySettings, PolicyTarget};

/// What the slices of a repository come to, per member.
#[derive(Default)]
struct InMember {
    share: (u32, u32),
    synced: bool,
    chosen: BTreeMap<PolicyName, Chosen>,
}

/// A repository as the index shows it, with every digest up to date.
struct Shown<'a> {
    planner: &'a Planner,
    group: &'a Group,
    key: RepositoryKey,
    keys: Vec<RepositoryKey>,
    members: BTreeMap<&'a MemberName, InMember>,
    outlooks: BTreeMap<RepositoryKey, Outlook>,
    /// Policies that name it, with what they mean by it.
    directs: BTreeMap<&'a PolicyName, Vec<&'a Match>>,
    levers: Levers<'a>,
    now: Timestamp,
}

impl Planner {
    /// The id that stands for a group, and the keys of all of it. None: nothing has ever meant any of its ids.
    pub(super) fn keys_of(&self, group: &Group) -> Vec<RepositoryKey> {
        let of_index = group.ids.iter().flat_map(|id| self.index.keys_of(*id).map(|(key, _)| *key));
        let keys: Vec<RepositoryKey> = of_index.collect();
        if !keys.is_empty() {
            return keys;
        }
        let of_ledger = |id: &RepositoryId| self.fleet.ledger.get(id)?.key.filter(|key| key.id() == *id);
        group.ids.iter().filter_map(of_ledger).collect()
    }

    /// Brings what is known of these keys up to date.
    pub(super) fn digest(&mut self, keys: &[RepositoryKey]) {
        for key in keys {
            self.index.digest(&self.fleet, key);
        }
    }

    pub(super) fn plan_group(&mut self, group: &Group, now: Timestamp) -> Option<RepositoryPlan> {
        let keys = self.keys_of(group);
        self.digest(&keys);
        Some(Shown::of(self, group, keys, now)?.plan())
    }
}

impl<'a> Shown<'a> {
    fn of(planner: &'a Planner, group: &'a Group, keys: Vec<RepositoryKey>, now: Timestamp) -> Option<Self> {
        let key = *keys.first()?;
        let records = group.ids.iter().filter_map(|id| Some((*id, planner.fleet.ledger.get(id)?)));
        let levers = levers::of(records.map(|(id, record)| (record, is_foreign(&planner.index, id, record))))
            .named(&planner.fleet);
        let (members, outlooks, directs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut shown = Self { planner, group, key, keys, members, outlooks, directs, levers, now };
        for key in shown.keys.clone() {
            shown.take(key);
        }
        Some(shown)
    }

    fn take(&mut self, key: RepositoryKey) {
        let Some(entry) = self.planner.index.keys.get(&key) else { return };
        let mut whole = Outlook::default();
        for (member, slice) in &entry.members {
            let Some(digest) = slice.known() else { continue };
            let into = self.members.entry(member).or_default();
            into.share = (into.share.0.saturating_add(digest.total), into.share.1.saturating_add(digest.ready));
            into.synced |= digest.synced;
            for (policy, chosen) in &digest.policies {
                into.chosen.entry(policy.clone()).or_default().merge(chosen);
            }
            whole.merge(&digest.outlook);
        }
        for policy in &entry.policies {
            let Some((policy, resolution)) = self.planner.index.directs.get_key_value(policy) else { continue };
            let Some(found) = resolution.matches.get(&key) else { continue };
            found.meanings().for_each(|meaning| whole.add(meaning));
            self.directs.entry(policy).or_default().push(found);
        }
        self.outlooks.insert(key, whole);
    }

    fn competitors(&self) -> Vec<&'a PolicyRecord> {
        let selecting = self.members.values().flat_map(|member| member.chosen.keys());
        let names: BTreeSet<&PolicyName> = selecting.chain(self.directs.keys().copied()).collect();
        let policies = &self.planner.fleet.policies;
        let mut competitors: Vec<_> = names.into_iter().filter_map(|name| policies.get(name)).map(|it| &**it).collect();
        competitors.sort_by_key(|policy| precedence::rank(policy));
        competitors
    }

    fn plan(self) -> RepositoryPlan {
        let competitors = self.competitors();
        let winner = competitors.first().copied();
        let mut candidates: Vec<Candidate> = winner.map(|winner| self.candidates(winner)).unwrap_or_default();
        let held_by = self.levers.held_by();
        let bound_to = self.levers.holder(self.now, &candidates);
        let holder_stands = bound_to.is_some_and(|holder| candidates::stands(&candidates, holder));
        let pin_holds = candidates::pin(&mut candidates, &self.levers.pin);
        candidates::sort(&self.key, &mut candidates);
        let verdict = match winner.map(|winner| (winner, winner.settings.as_ref())) {
            None => self.unruled(held_by),
            Some((_, Err(_))) => Verdict::held(INVALID_POLICY, held_by),
            Some((_, Ok(settings))) if !settings.enabled => Verdict::of(State::Disabled, Act::Remove),
            Some((winner, Ok(settings))) => {
                let pinned = match (&self.levers.pin, pin_holds) {
                    (_, false) => Pinned::Nowhere,
                    (Pin::To(pin), true) if Some(*pin) == bound_to => Pinned::Here,
                    (Pin::To(_), true) => Pinned::Elsewhere,
                    (Pin::None | Pin::Contradicting, true) => Pinned::No,
                };
                let (hold, from) = self.hold((winner, settings), bound_to, holder_stands);
                let verdict = decide(hold, pinned, (self.levers.frozen(self.now), settings.suspend), &candidates);
                let failing = matches!(hold, Hold::Failing { .. });
                Verdict { holder_failing: failing, deadline: from.filter(|from| self.now < *from), ..verdict }
            }
        };
        self.compose(competitors, candidates, verdict)
    }

    fn compose(self, competitors: Vec<&PolicyRecord>, candidates: Vec<Candidate>, verdict: Verdict) -> RepositoryPlan {
        let Planner { fleet, options, index, .. } = self.planner;
        let keys = self.keys.iter().copied().collect();
        let mut remarks = compose::of_keys(&keys, self.group.by_unique_id);
        let foreign = |id: &&RepositoryId| fleet.ledger.get(*id).is_some_and(|record| is_foreign(index, **id, record));
        remarks.extend(self.group.ids.iter().filter(foreign).map(|id| compose::of_foreign(*id)));
        let share = |(member, shown): (&&MemberName, &InMember)| {
            let (sources, ready) = shown.share;
            Share { member: (*member).clone(), sources, ready }
        };
        let decided = Decided {
            id: self.key.id(),
            key: self.key,
            ids: self.group.ids.iter().copied().collect(),
            view: outlook::View::of(&self.key, &self.outlooks),
            competitors,
            clusters: self.members.iter().map(share).collect(),
            levers: self.levers,
            keys: self.keys,
            candidates,
            remarks,
            verdict,
        };
        compose::compose(fleet, options, self.now, decided)
    }

    /// No policy matches anything that can be seen.
    fn unruled(&self, held_by: Option<&MemberName>) -> Verdict {
        let Planner { fleet, options, .. } = self.planner;
        let claims = || fleet.policies.values().filter_map(|policy| policy.claim.as_ref());
        if !self.members.is_empty() {
            let act = if holder::may_be_hidden(fleet, claims()) { Act::Keep } else { Act::Remove };
            return Verdict::of(State::NoPolicy, act);
        }
        let Some(holder) = held_by else { return Verdict::of(State::NoPolicy, Act::Remove) };
        let view = View { fleet, member: holder };
        let hidden = !holder::is_synced(fleet, holder) && claims().any(|claim| view.admits(claim));
        let ids = self.ids();
        if hidden
            || holder::source_may_be_left(fleet, options, &ids, holder)
            || holder::policy_may_be_left(fleet, options, &ids, holder)
        {
            Verdict::held(HANDOVER_PENDING, Some(holder))
        } else {
            Verdict::of(State::NoPolicy, Act::Remove)
        }
    }

    fn ids(&self) -> Vec<RepositoryId> {
        self.group.ids.iter().copied().collect()
    }

    /// The holder's standing, and from when on it may be replaced where its time runs.
    fn hold<'h>(
        &self,
        (winner, settings): (&PolicyRecord, &PolicySettings),
        held_by: Option<&'h MemberName>,
        candidate: bool,
    ) -> (Hold<'h>, Option<Timestamp>) {
        let Planner { fleet, options, .. } = self.planner;
        let Some(holder) = held_by else { return (Hold::Nobody, None) };
        let contact = holder::contact(fleet, holder);
        match contact {
            _ if holder::is_gone_for_good(fleet, holder) => (Hold::Lost(holder), None),
            Contact::Unreachable => {
                let given_up = self.levers.gives_up(holder);
                match holder::failover(fleet, options, &settings.failover, given_up, holder) {
                    Failover::Now => (Hold::GivenUp { holder, candidate }, None),
                    Failover::From(from) if from <= self.now => (Hold::GivenUp { holder, candidate }, None),
                    Failover::From(from) => (Hold::Away { holder, candidate }, Some(from)),
                    Failover::Never => (Hold::Away { holder, candidate }, None),
                }
            }
            _ if candidate => (Hold::Candidate(holder), None),
            _ if self.is_lost(winner, holder) => (Hold::Lost(holder), None),
            Contact::Syncing => (Hold::Unsynced(holder), None),
            Contact::Synced => {
                let from = holder::replaceable_from(fleet, options, self.key.id());
                (Hold::Failing { holder, over: from.is_some_and(|from| from <= self.now) }, from)
            }
        }
    }

    fn is_lost(&self, winner: &PolicyRecord, holder: &MemberName) -> bool {
        let Planner { fleet, options, .. } = self.planner;
        let Some(claim) = &winner.claim else { return false };
        holder::is_ineligible(fleet, holder)
            || match &claim.target {
                PolicyTarget::Direct { .. } => {
                    let matches = self.directs.get(&winner.name).map_or(&[][..], Vec::as_slice);
                    holder::has_left_direct(fleet, claim, matches, holder)
                }
                PolicyTarget::Selector { .. } => {
                    !self.members.contains_key(holder)
                        && holder::is_synced(fleet, holder)
                        && holder::has_no_source_left(fleet, options, &self.ids(), holder)
                }
            }
    }

    fn candidates(&self, winner: &PolicyRecord) -> Vec<Candidate> {
        match &winner.claim {
            Some(claim) if matches!(claim.target, PolicyTarget::Direct { .. }) => self.named(winner, claim),
            Some(claim) => {
                self.members.iter().map(|(member, shown)| self.selected(winner, claim, member, shown)).collect()
            }
            None => Vec::new(),
        }
    }

    fn selected(&self, winner: &PolicyRecord, claim: &PolicyClaim, member: &MemberName, shown: &InMember) -> Candidate {
        let fleet = &self.planner.fleet;
        let rested = self.levers.any_rests(member, self.now).then(|| self.choose_rested(claim, member));
        let chosen = rested.as_ref().or_else(|| shown.chosen.get(&winner.name));
        let best = chosen.and_then(|chosen| chosen.best.as_ref());
        let ready = best.filter(|best| best.ready);
        let excluded = match best {
            None => Some(candidates::not_matched()),
            Some(best) => {
                let rests = self.levers.rests(member, &best.secret(), self.now).filter(|_| !best.ready);
                candidates::exclusion(best.not_ready, fleet.members.get(member), rests)
            }
        };
        let placed = |object: ObjectName| PlacedName { place: Place::Member(member.clone()), object };
        Candidate {
            member: member.clone(),
            secret: ready.map(|ready| placed(ready.secret())),
            source: ready.map(|ready| ready.source.clone()),
            reachable: holder::contact(fleet, member) != Contact::Unreachable,
            last_sync_succeeded: ready.is_some_and(|ready| ready.synced),
            excluded,
        }
    }

    fn choose_rested(&self, claim: &PolicyClaim, member: &MemberName) -> Chosen {
        let view = View { fleet: &self.planner.fleet, member };
        let entries = self.keys.iter().filter_map(|key| self.planner.index.keys.get(key));
        let mut whole = Chosen::default();
        for slice in entries.filter_map(|entry| entry.members.get(member)) {
            whole.merge(&slice.choose_rested(view, claim, (&self.levers, self.now)));
        }
        whole
    }

    fn named(&self, winner: &PolicyRecord, claim: &PolicyClaim) -> Vec<Candidate> {
        let Planner { fleet, options, .. } = self.planner;
        let mut found: BTreeMap<&MemberName, Candidate> = BTreeMap::new();
        for matched in self.directs.get(&winner.name).into_iter().flatten() {
            let serving = matched.serving(fleet, options, &claim.clusters, |member| self.members.contains_key(member));
            let serving: BTreeSet<&MemberName> = serving.into_iter().collect();
            for (member, meaning) in &matched.members {
                let excluded = if serving.contains(member) {
                    let rests = self.levers.rests(member, &matched.secret, self.now);
                    candidates::exclusion(meaning.not_ready, fleet.members.get(member), rests)
                } else {
                    Some(candidates::not_serving())
                };
                let better = found.get(member).is_none_or(|known| known.excluded.is_some() && excluded.is_none());
                if better {
                    let candidate = Candidate {
                        member: member.clone(),
                        secret: meaning.not_ready.is_none().then(|| matched.secret_for(member)),
                        source: None,
                        reachable: holder::contact(fleet, member) != Contact::Unreachable,
                        last_sync_succeeded: self.members.get(member).is_some_and(|shown| shown.synced),
                        excluded,
                    };
                    found.insert(member, candidate);
                }
            }
        }
        found.into_values().collect()
    }
}

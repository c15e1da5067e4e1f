//! Everything that may happen next, around the transition function that the hub itself calls.

use stateright::{Model, Property};

use super::super::tests::{own_lists, plan};
use super::super::*;
use super::state::*;
use crate::plan::fleet::LedgerRecord;

pub(super) struct Protocol {
    pub(super) second: Second,
    pub(super) faults: Faults,
    /// The fair end of each such state is looked at.
    pub(super) sample: u64,
    /// A rule that is taken away.
    pub(super) without: Option<Rule>,
    /// By the mask of their ids less one, then by member.
    plans: [[RepositoryPlan; 2]; 3],
    /// The same where nothing new is to be pushed.
    held: [RepositoryPlan; 3],
}

/// What follows from a look at one repository.
pub(super) enum Next {
    /// Another id stands for it.
    Nothing,
    /// The second id's grant has come to its end; this is what its record keeps.
    TakesOver(Entry),
    Step(Box<Step>),
}

impl Protocol {
    pub(super) fn new(second: Second, faults: Faults, sample: u64, without: Option<Rule>) -> Self {
        let plan_of = |ids: u8, name: &str| {
            let mut plan = plan(name);
            plan.ids = aliases(ids).map(id).collect();
            plan.id = plan.ids[0];
            if let Push::Objects(assignment) = &mut plan.push {
                assignment.id = plan.id;
                std::sync::Arc::make_mut(&mut assignment.settings).active_deadline_seconds = DEADLINE_SECONDS;
            }
            plan
        };
        let plans = [1, 2, BOTH].map(|ids| ["a", "b"].map(|name| plan_of(ids, name)));
        let held = |plan: &RepositoryPlan| RepositoryPlan { push: Push::Keep, state: State::Held, ..plan.clone() };
        let held = [0, 1, 2].map(|index| held(&plans[index][0]));
        Self { second, faults, sample, without, plans, held }
    }

    fn plan(&self, ids: u8, wish: Wish) -> &RepositoryPlan {
        let index = usize::from(ids) - 1;
        match wish {
            Wish::Objects(member) => &self.plans[index][usize::from(member)],
            Wish::Keep => &self.held[index],
        }
    }

    /// Where a repository has one name a member, that member is the only one that can have it.
    pub(super) fn wish(&self, belief: &Belief, alias: Alias) -> Wish {
        match (belief.wish, self.second) {
            (Wish::Keep, _) if alias == 0 => Wish::Keep,
            (wish, Second::Alike) => wish,
            (wish, _) if belief.is_one() => wish,
            _ => Wish::Objects(alias),
        }
    }

    /// The ids that have records.
    pub(super) fn aliases(&self) -> impl Iterator<Item = Alias> + use<> {
        aliases(if self.second == Second::Alike { 1 } else { BOTH })
    }

    /// Which repository a member's Secret leads to.
    pub(super) fn store(&self, member: Site) -> usize {
        if self.second == Second::Mirror { member.into() } else { 0 }
    }

    /// What the ledger has of a grant, and what of it counts.
    pub(super) fn record(&self, belief: &Belief, alias: Alias) -> Option<Record> {
        let record = belief.record(alias)?;
        if self.second == Second::Alike {
            return Some(record.clone());
        }
        let granted =
            |alias| LedgerRecord { grant: belief.record(alias).map(Record::grant), ..LedgerRecord::default() };
        let ledger = aliases(BOTH).map(|alias| (id(alias), granted(alias))).collect();
        let ids: Vec<_> = aliases(belief.ids(alias)?).map(id).collect();
        let (grant, mut drain) = (record.grant(), record.drain());
        leave_split_off(&ledger, &ids, Some(&grant), &mut drain);
        Some(Record::of(&grant, &drain))
    }

    /// What the hub would do that believes this.
    pub(super) fn next(&self, world: &World, belief: &Belief, alias: Alias, lying: bool) -> Next {
        let Some(ids) = belief.ids(alias) else { return Next::Nothing };
        let (wish, entry) = (self.wish(belief, alias), &belief.ledger[usize::from(alias)]);
        let (plan, record) = (self.plan(ids, wish), self.record(belief, alias));
        let record = record.as_ref();
        let grant = record.map(Record::grant);
        let drain = record.map(Record::drain).unwrap_or_default();
        let other = belief.record(1).filter(|_| ids == BOTH);
        let other = other.map(|it| Other { id: id(1), grant: it.grant(), drain: it.drain() });
        if let Some(other) = other.iter().find(|other| other.is_taken_over(grant.as_ref(), &drain)) {
            let ended = other.merged();
            let highest = u8::try_from(ended.highest_epoch).unwrap();
            return Next::TakesOver(Entry::Merged { from: ended.from.as_ref().map(holder), highest });
        }
        let places = drain.iter().map(|entry| (site(&entry.cluster), mask(&entry.ids)));
        let places = places.chain(record.map(|it| (it.site, ids))).filter(|(member, _)| !world.member(*member).away);
        let seen = places.map(|(member, ids)| (name(member), world.seen(member, (ids, alias), lying))).collect();
        let evidence: Vec<_> = SITES.iter().filter_map(|member| world.evidence(*member, ids)).collect();
        let unread = SITES.iter().find(|member| world.member(**member).away).map(|member| name(*member));
        let target = match wish {
            Wish::Objects(member) => Some(member),
            Wish::Keep => None,
        };
        let known = aliases(ids).map(|it| belief.ledger[usize::from(it)].highest()).max().map_or(0, epoch_of);
        let claim = record.map_or(ClaimJob::Unknown, |record| world.claim_job(record, alias, lying));
        let turned_away = record.and_then(|record| world.turned_away(record, alias));
        let found = match &claim {
            ClaimJob::Ended(report) => vec![report.recorded.clone(), report.found.clone()],
            _ => Vec::new(),
        };
        let found = found.into_iter().chain(turned_away.clone()).filter_map(|recorded| match recorded {
            Recorded::Ours(former) => Some(former.id),
            Recorded::Foreign | Recorded::Unknown => None,
        });
        let found = found.chain(grant.as_ref().and_then(|grant| Some(grant.from.as_ref()?.id)));
        let is_held = |id: &RepositoryId| {
            let alias = self::alias(*id);
            belief.record(alias).is_some() && belief.told[usize::from(alias)]
        };
        let held_otherwise: Vec<_> = found.filter(|id| !plan.ids.contains(id)).filter(is_held).collect();
        Next::Step(Box::new(step(&Input {
            plan,
            grant: grant.as_ref(),
            drain: &drain,
            others: other.as_slice(),
            held_otherwise: &held_otherwise,
            merged: entry.merged().as_ref(),
            not_ready: &[],
            claim,
            seen: &own_lists(&seen, &drain),
            turned_away,
            replaced: false,
            reachable: target.is_some_and(|member| !world.member(member).away),
            highest_epoch: evidence.iter().map(|it| it.former.epoch).max().unwrap_or(0).max(known),
            evidence: &evidence,
            unread: unread.as_ref(),
            ledger_since: Some(time(SHORT)),
            settling_until: None,
            by_hand: ByHand::default(),
            known_as: None,
            cluster_uid: None,
            now: time(0),
            steady_since: Timestamp::MIN,
            time_factor: FACTOR,
            without: self.without,
        })))
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let active = Record {
            site: 0,
            epoch: 1,
            phase: Phase::Active,
            since: SHORT,
            until: None,
            highest: 0,
            from: None,
            drain: [None, None],
        };
        let hub = Belief {
            ledger: [Entry::Granted(active), Entry::Nothing],
            told: [true, false],
            distinct: false,
            wish: Wish::Objects(0),
        };
        let owner = Some((0, 1, 0));
        let mut world = World {
            hub,
            owners: [owner, owner.filter(|_| self.second == Second::Mirror)],
            members: [Member::default(), Member::default()],
            claims: Vec::new(),
            lists: [[None, None]; 2],
            asleep: None,
            left: self.faults,
        };
        world.members[0].there[0].cron = Some(Cron { epoch: 1, suspended: false, unnoticed: false });
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let left = world.left;
        for alias in self.aliases() {
            actions.push(Action::Decide { alias, lying: false });
            if left.lies > 0 {
                actions.push(Action::Decide { alias, lying: true });
            }
            if world.asleep.is_some() {
                actions.push(Action::SleeperActs { alias, lying: false });
            }
            // A mirror is found out by claims and split off from a settled repository alone: more is too much to explore.
            if self.second == Second::Renamed && !world.hub.told[usize::from(alias)] {
                actions.push(Action::Told(alias));
            }
            if left.losses > 0 && world.hub.ledger[usize::from(alias)] != Entry::Nothing {
                actions.push(Action::LoseLedger(alias));
            }
        }
        if world.asleep.is_none() && left.sleeps > 0 {
            actions.push(Action::FallAsleep);
        }
        if world.lists != [[None, None]; 2] && self.second != Second::Mirror {
            actions.push(Action::HubForgets);
        }
        let settled = world.hub.record(0).is_some_and(|it| it.phase == Phase::Active);
        if left.splits > 0 && settled && self.second == Second::Mirror && world.hub.is_one() {
            actions.push(Action::Distinct);
        }
        if left.wishes > 0 {
            let wishes = [Wish::Objects(0), Wish::Objects(1), Wish::Keep];
            actions.extend(wishes.into_iter().filter(|wish| *wish != world.hub.wish).map(Action::Wish));
        }
        if left.foreigners > 0 && world.owners[0].is_some() {
            actions.push(Action::ForeignOwner);
        }
        for site in SITES {
            let member = world.member(site);
            if member.away {
                actions.push(Action::Heal(site));
            } else if left.partitions > 0 {
                actions.push(Action::Partition(site));
            }
            for alias in self.aliases() {
                if world.starts(site, alias).is_some() {
                    actions.push(Action::StartRun(site, alias));
                }
                match &world.there(site, alias).run {
                    Some(Run { inside: None, .. }) => actions.push(Action::CheckOwner(site, alias)),
                    Some(_) => actions.push(Action::EndRun(site, alias)),
                    None => {}
                }
            }
        }
        for (index, claim) in world.claims.iter().enumerate() {
            if claim.stage.is_over() {
                let alias = claim.holder.2;
                let current = world.hub.record(alias).map(|it| it.former(alias));
                if current != Some(claim.holder) && self.faults.losses > 0 {
                    actions.push(Action::ClaimIsTidied(index));
                }
                continue;
            }
            actions.push(Action::Claim(index));
            if left.failures > 0 {
                actions.push(Action::ClaimDies(index, true));
                if !matches!(claim.stage, Stage::Set(..)) {
                    actions.push(Action::ClaimDies(index, false));
                }
            }
            if left.clocks > 0 && matches!(claim.stage, Stage::Read(_)) && claim.age <= PERMIT {
                actions.push(Action::ClaimDoesNotStick(index));
            }
        }
        if world.may_grow_older() {
            actions.push(Action::Tick);
        }
        if world.may_leap() {
            actions.push(Action::Leap);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Decide { alias, lying } => {
                world.left.lies -= u8::from(lying);
                world.decide(self, alias, lying);
            }
            // What it would write to the ledger fails: that has changed since.
            Action::SleeperActs { alias, lying } => {
                let belief = world.asleep.clone()?;
                if let Next::Step(step) = self.next(&world, &belief, alias, lying)
                    && step.ledger.is_none()
                {
                    world.act(self, &belief, alias, &step, lying);
                }
            }
            Action::FallAsleep => {
                world.left.sleeps -= 1;
                world.asleep = Some(world.hub.clone());
                world.lists = [[None, None]; 2];
            }
            Action::HubForgets => world.lists = [[None, None]; 2],
            Action::Wish(wish) => {
                world.left.wishes -= 1;
                world.hub.wish = wish;
            }
            Action::Told(alias) => world.hub.told[usize::from(alias)] = true,
            Action::Distinct => {
                world.left.splits -= 1;
                world.hub.distinct = true;
            }
            Action::Partition(site) => {
                world.left.partitions -= 1;
                world.member_mut(site).away = true;
            }
            Action::Heal(site) => world.member_mut(site).away = false,
            Action::StartRun(site, alias) => {
                let epoch = world.starts(site, alias)?;
                world.there_mut(site, alias).run = Some(Run { epoch, inside: None });
            }
            Action::CheckOwner(site, alias) => world.check_owner(self, site, alias),
            Action::EndRun(site, alias) => world.there_mut(site, alias).run = None,
            Action::Claim(index) => world.claim_goes_on(self, index),
            Action::ClaimDies(index, may_be_owner) => {
                world.left.failures -= 1;
                world.claims[index].stage = Stage::Failed { may_be_owner };
            }
            // The owner that was set is not the recorded one; reading it back tells.
            Action::ClaimDoesNotStick(index) => {
                world.left.clocks -= 1;
                let Stage::Read(found) = world.claims[index].stage else { return None };
                world.claims[index].stage = Stage::Set(found, 0);
            }
            Action::ClaimIsTidied(index) => drop(world.claims.remove(index)),
            Action::ForeignOwner => {
                world.left.foreigners -= 1;
                world.owners[0] = None;
            }
            Action::LoseLedger(alias) => {
                world.left.losses -= 1;
                world.hub.ledger[usize::from(alias)] = Entry::Nothing;
                world.hub.told[usize::from(alias)] = false;
                world.lists[usize::from(alias)] = [None, None];
            }
            Action::Tick => world.grow_older(1),
            // So long a time that ended claim Jobs are tidied away.
            Action::Leap => {
                world.grow_older(LONG);
                world.claims.clear();
            }
        }
        world.forget(self);
        (world != *before).then_some(world)
    }

    /// With all rules in force no epoch comes near it.
    fn within_boundary(&self, world: &World) -> bool {
        world.hub.ledger.iter().all(|entry| entry.highest() < 12)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one run is past the fence", |protocol: &Self, world: &World| {
                (0..2).all(|store| world.inside(protocol, store) <= 1)
            }),
            Property::always("if faults cease, the repository is maintained", |protocol: &Self, world: &World| {
                use std::hash::{Hash as _, Hasher as _};
                let mut hasher = std::collections::hash_map::DefaultHasher::new();
                world.hash(&mut hasher);
                !hasher.finish().is_multiple_of(protocol.sample) || world.recovers(protocol)
            }),
            Property::sometimes("a grant moves and runs there", |_, world: &World| {
                let there = world.member(1).there.iter().filter_map(|there| there.run.as_ref());
                there.into_iter().any(|run| run.inside.is_some() && run.epoch > 1)
            }),
            Property::sometimes("a former holder goes on", |_, world: &World| {
                world.hub.record(0).is_some_and(|it| it.highest > it.epoch && it.phase == Phase::Active)
            }),
        ]
    }
}

//! Everything that may happen next, around the transition function that the hub itself calls.

use stateright::{Model, Property};

use super::super::tests::{own_lists, plan};
use super::super::*;
use super::state::*;

pub(super) struct Protocol {
    pub(super) faults: Faults,
    /// The fair end of each such state is looked at.
    pub(super) sample: u64,
    /// A rule that is taken away.
    pub(super) without: Option<Rule>,
    /// With a run of the first member's, and the wish that it moves.
    pub(super) plans: [RepositoryPlan; 2],
    pub(super) held: RepositoryPlan,
}

impl Protocol {
    pub(super) fn new(faults: Faults, sample: u64, without: Option<Rule>) -> Self {
        let with_deadline = |name: &str| {
            let mut plan = plan(name);
            if let Push::Objects(assignment) = &mut plan.push {
                std::sync::Arc::make_mut(&mut assignment.settings).active_deadline_seconds = DEADLINE_SECONDS;
            }
            plan
        };
        let plans = ["a", "b"].map(with_deadline);
        let held = RepositoryPlan { push: Push::Keep, state: State::Held, ..plans[0].clone() };
        Self { faults, sample, without, plans, held }
    }

    pub(super) fn plan(&self, wish: Wish) -> &RepositoryPlan {
        match wish {
            Wish::Objects(member) => &self.plans[usize::from(member)],
            Wish::Keep => &self.held,
        }
    }

    /// What the hub would do that believes this record.
    pub(super) fn step(&self, world: &World, record: Option<&Record>, wish: Wish, lying: bool) -> Step {
        let plan = self.plan(wish);
        let grant = record.map(Record::grant);
        let drain = record.map(|it| it.drain(&plan.ids)).unwrap_or_default();
        let seen = SITES.iter().filter(|member| !world.member(**member).away);
        let seen = seen.map(|member| (name(*member), world.seen(*member, lying))).collect();
        let evidence: Vec<_> = SITES.iter().filter_map(|member| world.evidence(*member)).collect();
        let unread = SITES.iter().find(|member| world.member(**member).away).map(|member| name(*member));
        let target = match wish {
            Wish::Objects(member) => Some(member),
            Wish::Keep => None,
        };
        let known = record.map_or(0, |it| epoch_of(it.epoch.max(it.highest)));
        step(&Input {
            plan,
            grant: grant.as_ref(),
            drain: &drain,
            others: &[],
            held_otherwise: &[],
            merged: None,
            not_ready: &[],
            claim: record.map_or(ClaimJob::Unknown, |record| world.claim_job(record, lying)),
            seen: &own_lists(&seen, &drain),
            turned_away: record.and_then(|record| {
                let refused = world.member(record.site).refused.filter(|(epoch, _)| *epoch == record.epoch);
                Some(recorded(refused?.1))
            }),
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
        })
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
            drain: [Drained::No, Drained::No],
        };
        let mut world = World {
            ledger: Some(active),
            owner: Some((0, 1)),
            members: [Member::default(), Member::default()],
            claims: Vec::new(),
            wish: Wish::Objects(0),
            lists: [None, None],
            asleep: None,
            left: self.faults,
        };
        world.members[0].cron = Some(Cron { epoch: 1, suspended: false, unnoticed: false });
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let left = world.left;
        actions.push(Action::Decide { lying: false });
        if left.lies > 0 {
            actions.push(Action::Decide { lying: true });
        }
        if world.asleep.is_some() {
            actions.push(Action::SleeperActs { lying: false });
        } else if left.sleeps > 0 {
            actions.push(Action::FallAsleep);
        }
        if world.lists != [None, None] {
            actions.push(Action::HubForgets);
        }
        if left.wishes > 0 {
            let wishes = [Wish::Objects(0), Wish::Objects(1), Wish::Keep];
            actions.extend(wishes.into_iter().filter(|wish| *wish != world.wish).map(Action::Wish));
        }
        if left.foreigners > 0 && world.owner.is_some() {
            actions.push(Action::ForeignOwner);
        }
        if left.losses > 0 && world.ledger.is_some() {
            actions.push(Action::LoseLedger);
        }
        for site in SITES {
            let member = world.member(site);
            if member.away {
                actions.push(Action::Heal(site));
            } else if left.partitions > 0 {
                actions.push(Action::Partition(site));
            }
            if world.starts(site).is_some() {
                actions.push(Action::StartRun(site));
            }
            match &member.run {
                Some(Run { inside: None, .. }) => actions.push(Action::CheckOwner(site)),
                Some(_) => actions.push(Action::EndRun(site)),
                None => {}
            }
        }
        for (index, claim) in world.claims.iter().enumerate() {
            if claim.stage.is_over() {
                let current = world.ledger.as_ref().map(|it| (it.site, it.epoch));
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
            Action::Decide { lying } => {
                world.left.lies -= u8::from(lying);
                world.decide(self, lying);
            }
            // What it would write to the ledger fails: that has changed since.
            Action::SleeperActs { lying } => {
                let (record, wish) = world.asleep.clone()?;
                let step = self.step(&world, record.as_ref(), wish, lying);
                if step.ledger.is_none() {
                    world.act(record.as_ref(), wish, &step, lying);
                }
            }
            Action::FallAsleep => {
                world.left.sleeps -= 1;
                world.asleep = Some((world.ledger.clone(), world.wish));
                world.lists = [None, None];
            }
            Action::HubForgets => world.lists = [None, None],
            Action::Wish(wish) => {
                world.left.wishes -= 1;
                world.wish = wish;
            }
            Action::Partition(site) => {
                world.left.partitions -= 1;
                world.member_mut(site).away = true;
            }
            Action::Heal(site) => world.member_mut(site).away = false,
            Action::StartRun(site) => {
                let epoch = world.starts(site)?;
                world.member_mut(site).run = Some(Run { epoch, inside: None });
            }
            Action::CheckOwner(site) => {
                world.check_owner(site, self.without);
            }
            Action::EndRun(site) => world.member_mut(site).run = None,
            Action::Claim(index) => world.claim_goes_on(index, self.without),
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
                world.owner = None;
            }
            Action::LoseLedger => {
                world.left.losses -= 1;
                world.ledger = None;
                world.lists = [None, None];
            }
            Action::Tick => world.grow_older(1),
            // So long a time that ended claim Jobs are tidied away.
            Action::Leap => {
                world.grow_older(LONG);
                world.claims.clear();
            }
        }
        world.forget(self.faults.losses > 0);
        (world != *before).then_some(world)
    }

    /// With all rules in force no epoch comes near it.
    fn within_boundary(&self, world: &World) -> bool {
        world.ledger.as_ref().is_none_or(|record| record.epoch < 12)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one run is past the fence", |_, world: &World| world.inside() <= 1),
            Property::always("if faults cease, the repository is maintained", |protocol: &Self, world: &World| {
                use std::hash::{Hash as _, Hasher as _};
                let mut hasher = std::collections::hash_map::DefaultHasher::new();
                world.hash(&mut hasher);
                !hasher.finish().is_multiple_of(protocol.sample) || world.recovers(protocol)
            }),
            Property::sometimes("a grant moves and runs there", |_, world: &World| {
                let there = world.member(1).run.as_ref();
                there.is_some_and(|run| run.inside.is_some() && run.epoch > 1)
            }),
            Property::sometimes("a former holder goes on", |_, world: &World| {
                world.ledger.as_ref().is_some_and(|it| it.highest > it.epoch && it.phase == Phase::Active)
            }),
        ]
    }
}

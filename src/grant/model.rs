//! Two members, their CronJob controllers, claim Jobs and runs, a replica of the hub that slept, and every order in which
//! all of it can happen: an explicit-state model around the transition function that the hub itself calls.
//!
//! One tick is five minutes of the protocol, its smallest waits rounded up to that. A member's watch may lie in the hub's favour at any time; only consistent
//! lists tell the truth. Faults are counted, so that the state space is finite, and it is explored whole.

use stateright::{Checker, Model, Property};

use super::tests::{START, at, plan};
use super::*;
use crate::names::RepositoryId;
use crate::render::pod::Replaces;

type Site = u8;
type Epoch = u8;
/// A grant as Kopia's owner names it.
type Holder = (Site, Epoch);
/// Ticks since; what lies ahead is negative.
type Age = i16;

const SITES: [Site; 2] = [0, 1];
/// A minute of the protocol is a second of the hub's clock here.
const FACTOR: u32 = 60;
/// Seconds of that clock in a tick.
const TICK: i64 = 5;
/// All but the waits of days are shorter.
const SHORT: Age = 7;
/// All waits are shorter.
const LONG: Age = 2_400;
/// A permit's ten minutes.
const PERMIT: Age = 2;
/// And the deadline of a claim Job on top.
const CLAIM_OVER: Age = 5;
/// How long a run may be past the fence: its deadline.
const RUN_OVER: Age = 1;
const DEADLINE_SECONDS: u32 = 300;
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Record {
    site: Site,
    epoch: Epoch,
    phase: Phase,
    since: Age,
    until: Option<Age>,
    highest: Epoch,
    from: Option<Holder>,
    /// By site: drained, and the age of the first clear list.
    drain: [Option<Option<Age>>; 2],
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Member {
    away: bool,
    cron: Option<Cron>,
    /// The epoch of a CronJob that was deleted before its controller knew that it had been suspended.
    ghost: Option<Epoch>,
    run: Option<Run>,
    /// The latest run was turned away: its epoch, and the owner that it found.
    refused: Option<(Epoch, Option<Holder>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cron {
    epoch: Epoch,
    suspended: bool,
    /// The controller may still start a Job, although it is suspended.
    unnoticed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Run {
    epoch: Epoch,
    /// Age since the owner check; none: it has not come so far.
    inside: Option<Age>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Claim {
    holder: Holder,
    replaces: Option<Holder>,
    /// Age of the attempt that it belongs to, as its annotation has it.
    attempt: Age,
    age: Age,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Made,
    /// The recorded owner was read and is what the permit says.
    Read(Option<Holder>),
    /// The owner was set, and read back so many times.
    Set(Option<Holder>, u8),
    Claimed(Option<Holder>),
    Refused(Option<Holder>),
    Ineffective,
    Failed {
        may_be_owner: bool,
    },
}

impl Stage {
    fn is_over(self) -> bool {
        !matches!(self, Self::Made | Self::Read(_) | Self::Set(..))
    }
}

/// What the planner wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wish {
    Objects(Site),
    /// `Held`: nothing new is pushed.
    Keep,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    ledger: Option<Record>,
    owner: Option<Holder>,
    members: [Member; 2],
    claims: Vec<Claim>,
    wish: Wish,
    /// Age of the latest consistent list and whether it was clear, as the hub remembers it.
    lists: [Option<(Age, bool)>; 2],
    /// What a replica believes that was stopped while it led.
    asleep: Option<(Option<Record>, Wish)>,
    left: Faults,
}

/// How much may still go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Faults {
    wishes: u8,
    partitions: u8,
    failures: u8,
    /// An owner that is set and does not stick, because a former owner's clock is ahead.
    clocks: u8,
    foreigners: u8,
    sleeps: u8,
    losses: u8,
    lies: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Decide { lying: bool },
    SleeperActs { lying: bool },
    FallAsleep,
    HubForgets,
    Wish(Wish),
    Partition(Site),
    Heal(Site),
    StartRun(Site),
    CheckOwner(Site),
    EndRun(Site),
    Claim(usize),
    ClaimDies(usize, bool),
    ClaimDoesNotStick(usize),
    ClaimIsTidied(usize),
    ForeignOwner,
    LoseLedger,
    Tick,
    Leap,
}

fn epoch_of(epoch: Epoch) -> u64 {
    epoch.into()
}

fn name(site: Site) -> MemberName {
    ["a", "b"][usize::from(site)].into()
}

fn site(name: &MemberName) -> Site {
    u8::from(name.as_str() == "b")
}

fn former((member, epoch): Holder) -> Former {
    Former { cluster: name(member), epoch: epoch_of(epoch) }
}

fn holder(former: &Former) -> Holder {
    (site(&former.cluster), u8::try_from(former.epoch).unwrap())
}

fn time(age: Age) -> Timestamp {
    at(-TICK * i64::from(age))
}

fn age(time: Timestamp) -> Age {
    // What lies between two ticks counts as the later one.
    i16::try_from((START - time.as_second()).div_euclid(TICK)).unwrap()
}

fn recorded(owner: Option<Holder>) -> Recorded {
    owner.map_or(Recorded::Foreign, |it| Recorded::Ours(former(it)))
}

impl Record {
    fn grant(&self) -> Grant {
        Grant {
            cluster: name(self.site),
            cluster_uid: None,
            epoch: epoch_of(self.epoch),
            phase: self.phase,
            since: Some(time(self.since)),
            until: self.until.map(time),
            deadline_seconds: DEADLINE_SECONDS,
            highest_epoch: epoch_of(self.highest),
            from: self.from.map(former),
        }
    }

    fn drain(&self, ids: &[RepositoryId]) -> Vec<Drain> {
        let drained = SITES.iter().filter_map(|member| Some((member, self.drain[usize::from(*member)]?)));
        let entry = |(member, clear): (&Site, Option<Age>)| Drain {
            cluster: name(*member),
            deadline_seconds: DEADLINE_SECONDS,
            ids: ids.to_vec(),
            clear_since: clear.map(time),
        };
        drained.map(entry).collect()
    }

    fn of(grant: &Grant, drain: &[Drain]) -> Self {
        let of_site = |member: Site| drain.iter().find(|it| it.cluster == name(member));
        Self {
            site: site(&grant.cluster),
            epoch: u8::try_from(grant.epoch).unwrap(),
            phase: grant.phase,
            since: age(grant.since.unwrap()),
            until: grant.until.map(age),
            highest: u8::try_from(grant.highest_epoch).unwrap(),
            from: grant.from.as_ref().map(holder),
            drain: SITES.map(|member| of_site(member).map(|it| it.clear_since.map(age))),
        }
    }
}

struct Protocol {
    faults: Faults,
    /// With a run of the first member's, and the wish that it moves.
    plans: [RepositoryPlan; 2],
    held: RepositoryPlan,
}

impl Protocol {
    fn new(faults: Faults) -> Self {
        let with_deadline = |name: &str| {
            let mut plan = plan(name);
            if let Push::Objects(assignment) = &mut plan.push {
                std::sync::Arc::make_mut(&mut assignment.settings).active_deadline_seconds = DEADLINE_SECONDS;
            }
            plan
        };
        let plans = ["a", "b"].map(with_deadline);
        let held = RepositoryPlan { push: Push::Keep, state: State::Held, ..plans[0].clone() };
        Self { faults, plans, held }
    }

    fn plan(&self, wish: Wish) -> &RepositoryPlan {
        match wish {
            Wish::Objects(member) => &self.plans[usize::from(member)],
            Wish::Keep => &self.held,
        }
    }

    /// What the hub would do that believes this record.
    fn step(&self, world: &World, record: Option<&Record>, wish: Wish, lying: bool) -> Step {
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
            not_ready: &[],
            claim: record.map_or(ClaimJob::Unknown, |record| world.claim_job(record, lying)),
            seen: &seen,
            turned_away: record.and_then(|record| {
                let refused = world.member(record.site).refused.filter(|(epoch, _)| *epoch == record.epoch);
                Some(recorded(refused?.1))
            }),
            reachable: target.is_some_and(|member| !world.member(member).away),
            highest_epoch: evidence.iter().map(|it| it.former.epoch).max().unwrap_or(0).max(known),
            evidence: &evidence,
            unread: unread.as_ref(),
            settling_until: None,
            cluster_uid: None,
            now: time(0),
            time_factor: FACTOR,
        })
    }
}

impl World {
    fn member(&self, member: Site) -> &Member {
        &self.members[usize::from(member)]
    }

    fn member_mut(&mut self, member: Site) -> &mut Member {
        &mut self.members[usize::from(member)]
    }

    /// A watch that lies says that nothing is left to wait for.
    fn seen(&self, member: Site, lying: bool) -> Seen {
        let there = self.member(member);
        let listed = self.lists[usize::from(member)];
        Seen {
            suspended: lying || there.cron.as_ref().is_none_or(|cron| cron.suspended),
            live: if lying { 0 } else { usize::from(there.run.is_some()) },
            listed: listed.map(|(age, clear)| Listed { began: time(age), ended: time(age), clear }),
        }
    }

    fn is_clear(&self, member: Site) -> bool {
        let there = self.member(member);
        let claims = self.claims.iter().any(|claim| claim.holder.0 == member && !claim.stage.is_over());
        there.cron.as_ref().is_none_or(|cron| cron.suspended) && there.run.is_none() && !claims
    }

    fn evidence(&self, member: Site) -> Option<Evidence> {
        let there = self.member(member);
        let claims = self.claims.iter().filter(|claim| claim.holder.0 == member).map(|claim| claim.holder.1);
        let runs = there.run.iter().map(|run| run.epoch);
        let epoch = there.cron.iter().map(|cron| cron.epoch).chain(runs).chain(claims).max();
        let epoch = epoch.filter(|_| !there.away)?;
        Some(Evidence { former: former((member, epoch)), deadline_seconds: DEADLINE_SECONDS })
    }

    fn claim_job(&self, record: &Record, lying: bool) -> ClaimJob {
        if self.member(record.site).away {
            return ClaimJob::Unknown;
        }
        let Some(claim) = self.claims.iter().find(|it| it.holder == (record.site, record.epoch)) else {
            return ClaimJob::Absent;
        };
        if !claim.stage.is_over() {
            return if lying { ClaimJob::Absent } else { ClaimJob::Running };
        }
        if !matches!(claim.stage, Stage::Claimed(_)) && claim.attempt != record.since {
            return ClaimJob::Stale;
        }
        let (outcome, may_be_owner, recorded, found) = match claim.stage {
            Stage::Claimed(found) => (Outcome::Claimed, true, recorded(Some(claim.holder)), recorded(found)),
            Stage::Refused(owner) => (Outcome::ClaimRefused, false, recorded(owner), recorded(owner)),
            Stage::Ineffective => (Outcome::ClaimIneffective, true, Recorded::Unknown, Recorded::Unknown),
            Stage::Failed { may_be_owner } => (Outcome::Failed, may_be_owner, Recorded::Unknown, Recorded::Unknown),
            Stage::Made | Stage::Read(_) | Stage::Set(..) => return ClaimJob::Running,
        };
        ClaimJob::Ended(ClaimReport {
            outcome,
            reason: String::new(),
            secret: None,
            last_run_start: None,
            may_be_owner,
            over: true,
            at: time(0),
            unique_id: None,
            recorded,
            found,
        })
    }

    /// What follows in the members from a step that was decided under a record, whoever decided it.
    fn act(&mut self, record: Option<&Record>, wish: Wish, step: &Step, lying: bool) {
        let Some(record) = record.filter(|record| record.phase != Phase::Recovering) else { return };
        let target = match wish {
            Wish::Objects(member) => Some(member),
            Wish::Keep => None,
        };
        for member in SITES {
            if self.member(member).away {
                continue;
            }
            let drains = record.drain[usize::from(member)].is_some();
            let is_holders = record.site == member && record.phase != Phase::Claiming;
            let live = !lying && self.member(member).run.is_some();
            if target == Some(member) {
                if record.site == member {
                    self.apply(member, record.epoch, !step.run);
                }
            } else if drains {
                self.suspend(member);
            } else if target.is_none() {
                if step.run && record.site == member {
                    self.let_go(member);
                }
            } else if !is_holders {
                self.clear(member, live);
            }
        }
        if let Some(permit) = &step.claim
            && !self.member(record.site).away
            && !self.claims.iter().any(|claim| claim.holder == (record.site, record.epoch))
        {
            let replaces = match &permit.replaces {
                Replaces::Foreign => None,
                Replaces::Exactly(former) => Some(holder(former)),
            };
            let holder = (record.site, record.epoch);
            self.claims.push(Claim { holder, replaces, attempt: record.since, age: 0, stage: Stage::Made });
            self.claims.sort_by_key(|claim| claim.holder);
        }
        if step.remove_claim && !self.member(record.site).away {
            self.claims.retain(|claim| claim.holder != (record.site, record.epoch) || !claim.stage.is_over());
        }
    }

    fn apply(&mut self, member: Site, epoch: Epoch, suspended: bool) {
        let before = self.member_mut(member).cron.take();
        // A controller goes on with what it knew before, under the epoch that it knew.
        let fires = before.as_ref().filter(|cron| suspended && (!cron.suspended || cron.unnoticed));
        if let Some(cron) = fires.filter(|cron| cron.epoch != epoch) {
            self.member_mut(member).ghost = Some(cron.epoch);
        }
        let unnoticed = fires.is_some_and(|cron| cron.epoch == epoch);
        self.member_mut(member).cron = Some(Cron { epoch, suspended, unnoticed });
    }

    fn suspend(&mut self, member: Site) {
        if let Some(cron) = &mut self.member_mut(member).cron
            && !cron.suspended
        {
            (cron.suspended, cron.unnoticed) = (true, true);
        }
    }

    fn let_go(&mut self, member: Site) {
        if let Some(cron) = &mut self.member_mut(member).cron {
            (cron.suspended, cron.unnoticed) = (false, false);
        }
    }

    fn clear(&mut self, member: Site, live: bool) {
        match &self.member(member).cron {
            Some(cron) if !cron.suspended => self.suspend(member),
            Some(cron) if !live => {
                let ghost = cron.unnoticed.then_some(cron.epoch);
                let there = self.member_mut(member);
                (there.cron, there.ghost) = (None, ghost.or(there.ghost));
            }
            _ => {}
        }
    }

    /// The hub decides and acts; what it writes to the ledger comes before all else.
    fn decide(&mut self, protocol: &Protocol, lying: bool) {
        let step = protocol.step(self, self.ledger.as_ref(), self.wish, lying);
        if let Some(LedgerChange::Grant(grant, drain)) = &step.ledger {
            self.ledger = Some(Record::of(grant, drain));
            return;
        }
        self.act(self.ledger.clone().as_ref(), self.wish, &step, lying);
        if step.list.is_empty() {
            self.lists = [None, None];
        }
        for member in step.list.iter().map(site) {
            if !self.member(member).away {
                self.lists[usize::from(member)] = Some((0, self.is_clear(member)));
            }
        }
    }

    /// What nobody will ask for any more makes no difference between two worlds.
    fn forget(&mut self, evidence_counts: bool) {
        let record = self.ledger.as_mut();
        let claiming = record.as_ref().filter(|it| it.phase == Phase::Claiming).map(|it| (it.site, it.epoch));
        let draining = record.as_ref().is_some_and(|it| it.phase == Phase::Draining);
        let current = record.as_ref().map(|it| it.epoch);
        if let Some(record) = record.filter(|it| it.phase == Phase::Active && self.owner.is_some()) {
            record.since = SHORT;
        }
        if !draining {
            self.lists = [None, None];
        }
        let others = self.asleep.is_some() || evidence_counts;
        self.claims.retain(|claim| others || !claim.stage.is_over() || claiming == Some(claim.holder));
        for member in &mut self.members {
            member.refused = member.refused.filter(|(epoch, _)| others || current == Some(*epoch));
        }
    }

    fn claim_goes_on(&mut self, index: usize) {
        let claim = self.claims[index].clone();
        let next = match claim.stage {
            Stage::Made if self.owner == Some(claim.holder) => Stage::Set(self.owner, 0),
            Stage::Made if self.owner == claim.replaces => Stage::Read(self.owner),
            Stage::Made => Stage::Refused(self.owner),
            // After the permit nothing is set any more.
            Stage::Read(_) if claim.age > PERMIT => Stage::Failed { may_be_owner: false },
            Stage::Read(found) => {
                self.owner = Some(claim.holder);
                Stage::Set(found, 0)
            }
            Stage::Set(..) if self.owner != Some(claim.holder) => Stage::Ineffective,
            Stage::Set(found, 0) => Stage::Set(found, 1),
            Stage::Set(found, _) => Stage::Claimed(found),
            over => over,
        };
        self.claims[index].stage = next;
    }

    fn grow_older(&mut self, by: Age) {
        let older = |age: &mut Age| {
            *age = if by > 1 {
                LONG
            } else if *age >= SHORT {
                *age
            } else {
                *age + 1
            }
        };
        if let Some(record) = &mut self.ledger {
            older(&mut record.since);
            record.until.iter_mut().for_each(older);
            record.drain.iter_mut().flatten().flatten().for_each(older);
        }
        if let Some((Some(record), _)) = &mut self.asleep {
            older(&mut record.since);
            record.until.iter_mut().for_each(older);
            record.drain.iter_mut().flatten().flatten().for_each(older);
        }
        for claim in &mut self.claims {
            older(&mut claim.attempt);
            if claim.stage.is_over() {
                claim.age = 0;
            } else {
                older(&mut claim.age);
            }
        }
        self.lists.iter_mut().flatten().for_each(|(age, _)| older(age));
        for member in &mut self.members {
            member.run.iter_mut().filter_map(|run| run.inside.as_mut()).for_each(older);
            member.ghost = None;
            member.cron.iter_mut().for_each(|cron| cron.unnoticed = false);
        }
    }

    /// Time stands still until what must be over is over.
    fn may_grow_older(&self) -> bool {
        let runs = self.members.iter().filter_map(|member| member.run.as_ref()?.inside);
        let claims = self.claims.iter().filter(|claim| !claim.stage.is_over()).map(|claim| claim.age);
        runs.into_iter().all(|age| age < RUN_OVER) && claims.into_iter().all(|age| age < CLAIM_OVER)
    }

    fn may_leap(&self) -> bool {
        let nothing_inside = self.members.iter().all(|it| it.run.as_ref().is_none_or(|run| run.inside.is_none()));
        nothing_inside && self.claims.iter().all(|claim| claim.stage.is_over())
    }

    fn starts(&self, member: Site) -> Option<Epoch> {
        let there = self.member(member);
        let cron = there.cron.as_ref().filter(|cron| !cron.suspended || cron.unnoticed).map(|cron| cron.epoch);
        cron.or(there.ghost).filter(|_| there.run.is_none())
    }

    fn check_owner(&mut self, member: Site) {
        let owner = self.owner;
        let there = self.member_mut(member);
        let Some(run) = there.run.take() else { return };
        if owner == Some((member, run.epoch)) {
            there.run = Some(Run { inside: Some(0), ..run });
            there.refused = None;
        } else {
            there.refused = Some((run.epoch, owner));
        }
    }

    fn is_granted_to(&self, member: Site) -> bool {
        self.ledger.as_ref().is_some_and(|it| it.phase == Phase::Active && it.site == member)
    }

    fn inside(&self) -> usize {
        self.members.iter().filter(|it| it.run.as_ref().is_some_and(|run| run.inside.is_some())).count()
    }

    /// All faults cease, and everybody does what is theirs in turn. Is the repository maintained after that?
    fn recovers(&self, protocol: &Protocol) -> bool {
        let mut world = self.clone();
        world.asleep = None;
        let Wish::Objects(target) = world.wish else { return true };
        world.members.iter_mut().for_each(|member| member.away = false);
        for round in 0..200 {
            for _ in 0..4 {
                world.decide(protocol, false);
            }
            for index in 0..world.claims.len() {
                (0..5).for_each(|_| world.claim_goes_on(index));
            }
            for member in SITES {
                if let Some(epoch) = world.starts(member) {
                    world.member_mut(member).run = Some(Run { epoch, inside: None });
                }
                world.check_owner(member);
                let ran = world.member_mut(member).run.take().is_some();
                if ran && member == target && world.is_granted_to(target) {
                    return true;
                }
            }
            world.grow_older(if round % 50 == 49 { LONG } else { 1 });
        }
        false
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
                world.check_owner(site);
            }
            Action::EndRun(site) => world.member_mut(site).run = None,
            Action::Claim(index) => world.claim_goes_on(index),
            Action::ClaimDies(index, may_be_owner) => {
                world.left.failures -= 1;
                world.claims[index].stage = Stage::Failed { may_be_owner };
            }
            Action::ClaimDoesNotStick(index) => {
                world.left.clocks -= 1;
                world.claims[index].stage = Stage::Ineffective;
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

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one run is past the fence", |_, world: &World| world.inside() <= 1),
            Property::always("if faults cease, the repository is maintained", |protocol: &Self, world: &World| {
                use std::hash::{Hash as _, Hasher as _};
                let mut hasher = std::collections::hash_map::DefaultHasher::new();
                world.hash(&mut hasher);
                !hasher.finish().is_multiple_of(liveness_sample()) || world.recovers(protocol)
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

/// The fair end of each such state is looked at; all with `MODEL_ALL` set.
fn liveness_sample() -> u64 {
    if std::env::var_os("MODEL_ALL").is_some() { 1 } else { 32 }
}

const NONE: Faults =
    Faults { wishes: 0, partitions: 0, failures: 0, clocks: 0, foreigners: 0, sleeps: 0, losses: 0, lies: 0 };

fn explore(what: &str, faults: Faults) {
    let checker = Protocol::new(faults)
        .checker()
        .threads(2)
        .target_state_count(std::env::var("MODEL_STATES").ok().and_then(|it| it.parse().ok()).unwrap_or(usize::MAX))
        .spawn_bfs()
        .join();
    println!(
        "{what}: {} states, {} of them different, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    for (property, path) in checker.discoveries() {
        if checker
            .model()
            .properties()
            .iter()
            .any(|it| it.name == property && matches!(it.expectation, stateright::Expectation::Always))
        {
            let steps: Vec<_> = path.into_vec();
            let text: Vec<String> = steps
                .iter()
                .map(|(world, action)| {
                    format!(
                        "{action:?}\n    {:?}\n    owner {:?} members {:?}\n    claims {:?} lists {:?}",
                        world.ledger, world.owner, world.members, world.claims, world.lists
                    )
                })
                .collect();
            panic!("{what}: not so: {property}\n{}", text.join("\n"));
        }
    }
    checker.assert_properties();
}

/// `MODEL_FAULTS=wishes,partitions,failures,clocks,foreigners,sleeps,losses,lies`
fn of_text(text: &str) -> Faults {
    let numbers: Vec<u8> = text.split(',').map(|it| it.parse().unwrap()).collect();
    let [wishes, partitions, failures, clocks, foreigners, sleeps, losses, lies] = numbers.try_into().unwrap();
    Faults { wishes, partitions, failures, clocks, foreigners, sleeps, losses, lies }
}

#[test]
fn a_grant_that_moves_back_and_forth_with_a_lying_watch() {
    let faults = std::env::var("MODEL_FAULTS").map(|text| of_text(&text));
    explore("moves", faults.unwrap_or(Faults { wishes: 2, lies: 1, failures: 1, ..NONE }));
}

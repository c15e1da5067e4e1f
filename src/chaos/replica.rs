//! One replica of the hub: what it knows, when it looks at the repository, and how one look goes on from answer to
//! answer, as in `controller/reconcile.rs` and `controller/queue.rs`.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::act::{self, Order};
use super::fleet::{Fleet, HUB_ID, NAMESPACE};
use super::member::Answer;
use super::random::Random;
use super::record::Merging;
use super::trial::{Event, Letter, Trial};
use super::{ALIASES, Alias, MINUTE, Millis, SECOND, Site, stamp};
use crate::controller::decide::{self, Terms};
use crate::controller::deletions::Deletions;
use crate::controller::jobs::{Look, Told};
use crate::controller::lists::Lists;
use crate::controller::member_state::Verified;
use crate::controller::push::Noted;
use crate::controller::steady::Steady;
use crate::controller::work::Work;
use crate::controller::world::{Dirty, World};
use crate::grant::{Listed, Other, Step};
use crate::hub::event::HubEvent;
use crate::member::event::OwnedKind;
use crate::outcome::start_limit;
use crate::plan::fleet::Observation;

const WRITES_MAX: u8 = 4;
const EARLY: Millis = 500;
const RETRY_MAX: Millis = 5 * MINUTE;
const DEBOUNCE: Millis = 300;
const SHRINK_HOLD: std::time::Duration = std::time::Duration::from_mins(10);

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Replica {
    /// Grows with each start.
    pub life: u32,
    pub up: bool,
    pub born: Millis,
    /// Frozen: what reaches it meanwhile waits.
    pub asleep: bool,
    pub held: Vec<Letter>,
    /// While it slept its clock stood still.
    pub clock_stopped: bool,
    /// How far its clock is ahead.
    pub ahead: Millis,
    pub leads: bool,
    pub leads_since: Millis,
    pub steady: Steady,
    /// Where it leads on borrowed time: until then writes may start.
    pub open_until: Option<Millis>,
    pub world: World,
    pub deletions: Deletions,
    pub(super) desks: [Desk; ALIASES],
    pub random: Random,
}

/// What a replica does about one id. The ids are worked on side by side.
#[derive(Default)]
pub(super) struct Desk {
    /// The hub forgets a list that it needs no more. Here it stays: the machine itself has to know what it tells.
    lists: Lists,
    pub pass: Option<Pass>,
    pub merging: Option<Merging>,
    due: Option<(Millis, u64)>,
    again: Option<Millis>,
    started: Millis,
    failures: u32,
}

impl Desk {
    fn is_busy(&self) -> bool {
        self.pass.is_some() || self.merging.is_some()
    }
}

/// A look at the repository that is under way.
pub(super) struct Pass {
    round: u8,
    pub now: Timestamp,
    pub work: Work,
    pub step: Step,
    orders: VecDeque<Order>,
    /// What failed, and is told of at the end.
    trouble: Option<(&'static str, Millis)>,
    pub stage: Stage,
    /// The request whose answer is waited for.
    pub token: u64,
    began: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The ledger comes first; then everything is decided anew.
    Ledger,
    Orders,
    /// What was done is told.
    Telling,
    /// Somebody else wrote the ledger.
    Reading,
}

impl Replica {
    pub fn new(fleet: &Fleet, random: Random) -> Self {
        Self {
            life: 0,
            up: false,
            born: 0,
            asleep: false,
            held: Vec::new(),
            clock_stopped: false,
            ahead: 0,
            leads: false,
            leads_since: 0,
            steady: Steady::default(),
            open_until: None,
            world: fleet.world(),
            deletions: Deletions::new(SHRINK_HOLD, 1),
            desks: [0; ALIASES].map(|_| Desk { started: -DEBOUNCE, ..Desk::default() }),
            random,
        }
    }

    /// Starts anew, and knows nothing.
    pub fn is_born(&mut self, fleet: &Fleet, now: Millis) {
        let random = self.random.clone();
        *self = Self { life: self.life + 1, up: true, born: now, ahead: self.ahead, ..Self::new(fleet, random) };
        for desk in &mut self.desks {
            desk.started = now - DEBOUNCE;
        }
    }

    pub fn may_write(&self, now: Millis) -> bool {
        self.leads && self.open_until.is_none_or(|until| now < until)
    }
}

impl Trial<'_> {
    /// The time by the clock of a replica, told to its world.
    pub fn tell_time(&mut self, replica: usize) -> Timestamp {
        let now = stamp(self.clock_of(replica));
        self.replicas[replica].world.tell_time(now);
        now
    }

    /// As the engine has it.
    fn steady_since(&mut self, replica: usize) -> Timestamp {
        let (now, clock, passed) = (self.now, self.clock_of(replica), self.now.unsigned_abs());
        let it = &mut self.replicas[replica];
        let leads = stamp(clock - (now - it.leads_since));
        it.steady.tell(stamp(clock), std::time::Duration::from_millis(passed)).max(leads)
    }

    pub fn enqueue(&mut self, replica: usize, dirty: &Dirty) {
        for alias in self.fleet.aliases_in(&dirty.repositories) {
            self.look_after(replica, alias, 0);
        }
    }

    /// Not before `wait`, unless something asks for it sooner.
    pub fn look_after(&mut self, replica: usize, alias: Alias, wait: Millis) {
        let now = self.now;
        let desk = &mut self.replicas[replica].desks[alias];
        let at = (now + wait).max(desk.started + DEBOUNCE);
        if desk.is_busy() {
            desk.again = Some(desk.again.map_or(at, |again| again.min(at)));
            return;
        }
        if desk.due.is_some_and(|(due, _)| due <= at) {
            return;
        }
        let (number, life) = (self.number(), self.replicas[replica].life);
        self.replicas[replica].desks[alias].due = Some((at, number));
        self.at(at, Event::To(replica, life, Letter::Look(alias, number)));
    }

    pub fn look(&mut self, replica: usize, alias: Alias, number: u64) {
        let now = self.now;
        let desk = &mut self.replicas[replica].desks[alias];
        if desk.is_busy() || desk.due.is_none_or(|(_, due)| due != number) {
            return;
        }
        (desk.due, desk.started) = (None, now);
        // A replica that stands by plans as well, and nothing follows from it.
        if self.replicas[replica].may_write(now) {
            self.decide(replica, alias, 0);
        } else {
            self.replicas[replica].desks[alias].lists.ledger_changes();
        }
    }

    /// Decides, and begins to do what was decided.
    pub(super) fn decide(&mut self, replica: usize, alias: Alias, mut round: u8) {
        let (fleet, id) = (self.fleet, self.fleet.ids[alias]);
        let now = self.tell_time(replica);
        let steady_since = self.steady_since(replica);
        loop {
            if round >= WRITES_MAX {
                return self.done(replica, alias, 0);
            }
            let it = &mut self.replicas[replica];
            if !it.world.look_around(now) && it.world.must_wait_for(id) {
                return self.done(replica, alias, EARLY);
            }
            if !it.world.hub_is_read() {
                return self.done(replica, alias, EARLY);
            }
            self.verdict.looks += 1;
            let gather = |world: &mut World, told: &Told| {
                Work::gather(world, id, HUB_ID, NAMESPACE, Look { now, limit: start_limit(1), told })
            };
            let Some(mut work) = gather(&mut it.world, &Told::new()) else { return self.is_nothing(replica, alias) };
            if !work.late.is_empty() {
                // Nobody has anything to say of why it has not started.
                let told: Told = work.late.iter().map(|late| (late.subject.clone(), Vec::new())).collect();
                let Some(again) = gather(&mut it.world, &told) else { return self.is_nothing(replica, alias) };
                work = again;
            }
            let known = it.world.planner.fleet().failing_since.contains_key(&id);
            if work.plan.holder_failing != known {
                let since = work.plan.holder_failing.then_some(now);
                it.world.apply_hub(HubEvent::Observed(Observation::HolderFailing { id, since }));
                round += 1;
                continue;
            }
            if !work.taken_over.is_empty() {
                let ended = |other: &Other| {
                    let of = fleet.aliases(&[other.id]).first().copied()?;
                    Some((of, Some(other.merged())))
                };
                let records = work.taken_over.iter().filter_map(ended).collect();
                let merging = Merging { into: id, records, round: Some(round + 1), token: 0, reading: false };
                it.desks[alias].merging = Some(merging);
                return self.merge(replica, alias);
            }
            let seen = it.desks[alias].lists.with(&work.seen, &work.drain);
            let without = self.without.machine;
            let terms = Terms { hub_id: HUB_ID, time_factor: 1, grant_factor: 1, steady_since, without };
            let step = decide::decide(&work, &seen, now, &terms);
            let (stage, orders) = if step.ledger.is_some() {
                (Stage::Ledger, VecDeque::new())
            } else {
                (Stage::Orders, act::orders(fleet, &work, &step, |site| fleet.known(&it.world, site)).into())
            };
            let pass = Pass { round, now, work, step, orders, trouble: None, stage, token: 0, began: now };
            let desk = &mut self.replicas[replica].desks[alias];
            desk.pass = Some(pass);
            if stage == Stage::Ledger {
                desk.lists.ledger_changes();
            }
            return match stage {
                Stage::Ledger => self.write_ledger(replica, alias),
                _ => self.next_order(replica, alias),
            };
        }
    }

    pub(super) fn done(&mut self, replica: usize, alias: Alias, wait: Millis) {
        let desk = &mut self.replicas[replica].desks[alias];
        (desk.pass, desk.merging) = (None, None);
        let again = desk.again.take();
        self.look_after(replica, alias, wait);
        if let Some(again) = again {
            let wait = again - self.now;
            self.look_after(replica, alias, wait);
        }
    }

    pub(super) fn later(&mut self, replica: usize, alias: Alias, retry: Millis) {
        let now = self.now;
        let it = &mut self.replicas[replica];
        if !it.may_write(now) {
            return self.done(replica, alias, RETRY_MAX);
        }
        let desk = &mut it.desks[alias];
        desk.failures += 1;
        let wait = retry * (1 << (desk.failures.min(8) - 1));
        self.done(replica, alias, wait.min(RETRY_MAX.max(retry)));
    }

    /// The ledger says what it should.
    pub(super) fn told(&mut self, replica: usize, alias: Alias) {
        let it = &mut self.replicas[replica];
        let desk = &mut it.desks[alias];
        let Some(pass) = &desk.pass else { return };
        if pass.stage == Stage::Ledger {
            let round = pass.round + 1;
            desk.pass = None;
            return self.decide(replica, alias, round);
        }
        if let Some((_, retry)) = pass.trouble {
            return self.later(replica, alias, retry);
        }
        desk.failures = 0;
        let wait = decide::wait(&it.world, &pass.work, &pass.step, pass.now, 1);
        self.done(replica, alias, millis(wait));
    }

    /// Does the next of what follows from the step.
    fn next_order(&mut self, replica: usize, alias: Alias) {
        let (token, now, began) = (self.number(), self.now, stamp(self.clock_of(replica)));
        let it = &mut self.replicas[replica];
        let (may_write, life) = (it.may_write(now), it.life);
        let desk = &mut it.desks[alias];
        let Some(pass) = &mut desk.pass else { return };
        let Some(order) = pass.orders.front().cloned() else {
            if !pass.step.list.is_empty() {
                desk.again = Some(now);
            }
            pass.stage = Stage::Telling;
            return self.tell(replica, alias);
        };
        (pass.token, pass.began) = (token, began);
        let Some(site) = order.site() else {
            let Order::Fail { reason } = order else { return };
            return self.fails(replica, alias, reason, MINUTE);
        };
        if !may_write && !matches!(order, Order::List { .. }) {
            return self.fails(replica, alias, "NotLeading", SECOND);
        }
        self.ask_member(site, &order, (replica, life, token));
    }

    fn fails(&mut self, replica: usize, alias: Alias, reason: &'static str, retry: Millis) {
        let Some(pass) = &mut self.replicas[replica].desks[alias].pass else { return };
        pass.trouble = Some((reason, retry));
        if matches!(pass.orders.front(), Some(Order::Suspend { former: true, .. })) {
            pass.orders.pop_front();
            return self.next_order(replica, alias);
        }
        pass.stage = Stage::Telling;
        self.tell(replica, alias);
    }

    /// People are told of what keeps it from going on; a conflict is over before anybody could read of it.
    fn tell(&mut self, replica: usize, alias: Alias) {
        let Some(pass) = &mut self.replicas[replica].desks[alias].pass else { return };
        if let Some((reason, _)) = pass.trouble.filter(|(reason, _)| *reason != "Conflict") {
            pass.step.note = Some((reason, reason.to_owned()));
        }
        self.write_ledger(replica, alias);
    }

    pub fn member_answers(&mut self, replica: usize, token: u64, answer: Answer) {
        let ended = self.tell_time(replica);
        let fleet = self.fleet;
        let it = &mut self.replicas[replica];
        let waits = |pass: &Pass| pass.token == token && pass.stage == Stage::Orders;
        let Some(alias) = it.desks.iter().position(|desk| desk.pass.as_ref().is_some_and(waits)) else { return };
        let desk = &mut it.desks[alias];
        let Some(pass) = &mut desk.pass else { return };
        match answer {
            Answer::Conflict => return self.fails(replica, alias, "Conflict", SECOND),
            Answer::Unreachable => return self.fails(replica, alias, "MemberUnreachable", 5 * SECOND),
            Answer::Clear(clear) => {
                let listed = Listed { began: pass.began, ended, clear };
                if let Some(Order::List { site, .. }) = pass.orders.front() {
                    desk.lists.insert(fleet.names[*site].clone(), listed);
                }
            }
            Answer::Done(Some(cron_job)) => {
                // What an apply returned is known before the watch tells of it.
                if let Some(Order::Apply { site, .. }) = pass.orders.front() {
                    note(fleet, &mut it.world, *site, &cron_job);
                }
            }
            Answer::Done(None) => {}
        }
        pass.orders.pop_front();
        self.next_order(replica, alias);
    }
}

fn note(fleet: &Fleet, world: &mut World, site: Site, cron_job: &super::objects::CronJob) {
    let written = cron_job.owned(fleet, site);
    let verified = Verified { version: written.version().into(), wanted: Box::default() };
    let name = fleet.objects[cron_job.alias].clone();
    world.note(
        &fleet.names[site],
        Noted { kind: OwnedKind::CronJob, name, verified, stands: Some(written), wrote: true },
    );
}

fn millis(wait: std::time::Duration) -> Millis {
    Millis::try_from(wait.as_millis()).unwrap_or(Millis::MAX).max(1)
}

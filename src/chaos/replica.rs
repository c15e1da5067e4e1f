//! One replica of the hub: what it knows, when it looks at the repository, and how one look goes on from answer to
//! answer, as in `controller/reconcile.rs` and `controller/queue.rs`.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use super::act::{self, Order};
use super::fleet::{Fleet, HUB_ID, NAMESPACE};
use super::hub::{HubAnswer, HubRequest};
use super::member::Answer;
use super::random::Random;
use super::trial::{Event, Letter, Trial};
use super::{MINUTE, Millis, SECOND, Site, stamp};
use crate::controller::decide::{self, Terms};
use crate::controller::deletions::Deletions;
use crate::controller::jobs::{Look, Told};
use crate::controller::member_state::Verified;
use crate::controller::push::Noted;
use crate::controller::work::Work;
use crate::controller::world::{Dirty, World};
use crate::grant::{Listed, Seen, Step};
use crate::hub::event::HubEvent;
use crate::member::event::OwnedKind;
use crate::names::MemberName;
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
    /// Where it leads on borrowed time: until then writes may start.
    pub open_until: Option<Millis>,
    pub world: World,
    pub deletions: Deletions,
    lists: BTreeMap<MemberName, Listed>,
    pass: Option<Pass>,
    due: Option<(Millis, u64)>,
    again: Option<Millis>,
    started: Millis,
    failures: u32,
    pub random: Random,
}

/// A look at the repository that is under way.
struct Pass {
    round: u8,
    now: Timestamp,
    work: Work,
    step: Step,
    orders: VecDeque<Order>,
    /// What failed, and is told of at the end.
    trouble: Option<(&'static str, Millis)>,
    stage: Stage,
    /// The request whose answer is waited for.
    token: u64,
    began: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
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
            open_until: None,
            world: fleet.world(),
            deletions: Deletions::new(SHRINK_HOLD, 1),
            lists: BTreeMap::new(),
            pass: None,
            due: None,
            again: None,
            started: -DEBOUNCE,
            failures: 0,
            random,
        }
    }

    /// Starts anew, and knows nothing.
    pub fn is_born(&mut self, fleet: &Fleet, now: Millis) {
        let random = self.random.clone();
        *self = Self { life: self.life + 1, up: true, born: now, ahead: self.ahead, ..Self::new(fleet, random) };
        self.started = now - DEBOUNCE;
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

    pub fn enqueue(&mut self, replica: usize, dirty: &Dirty) {
        if dirty.repositories.contains(&self.fleet.id) {
            self.look_after(replica, 0);
        }
    }

    /// Not before `wait`, unless something asks for it sooner.
    pub fn look_after(&mut self, replica: usize, wait: Millis) {
        let now = self.now;
        let it = &mut self.replicas[replica];
        let at = (now + wait).max(it.started + DEBOUNCE);
        if it.pass.is_some() {
            it.again = Some(it.again.map_or(at, |again| again.min(at)));
            return;
        }
        if it.due.is_some_and(|(due, _)| due <= at) {
            return;
        }
        let (number, life) = (self.number(), self.replicas[replica].life);
        self.replicas[replica].due = Some((at, number));
        self.at(at, Event::To(replica, life, Letter::Look(number)));
    }

    pub fn look(&mut self, replica: usize, number: u64) {
        let now = self.now;
        let it = &mut self.replicas[replica];
        if it.pass.is_some() || it.due.is_none_or(|(_, due)| due != number) {
            return;
        }
        (it.due, it.started) = (None, now);
        // A replica that stands by plans as well, and nothing follows from it.
        if it.may_write(now) {
            self.decide(replica, 0);
        }
    }

    /// Decides, and begins to do what was decided.
    fn decide(&mut self, replica: usize, mut round: u8) {
        let (fleet, id) = (self.fleet, self.fleet.id);
        let now = self.tell_time(replica);
        loop {
            if round >= WRITES_MAX {
                return self.done(replica, 0);
            }
            let it = &mut self.replicas[replica];
            if !it.world.look_around(now) && it.world.must_wait_for(id) {
                return self.done(replica, EARLY);
            }
            if !it.world.hub_is_read() {
                return self.done(replica, EARLY);
            }
            self.verdict.looks += 1;
            let gather = |world: &mut World, told: &Told| {
                Work::gather(world, id, HUB_ID, NAMESPACE, Look { now, limit: start_limit(1), told })
            };
            let Some(mut work) = gather(&mut it.world, &Told::new()) else { return self.done(replica, MINUTE) };
            if !work.late.is_empty() {
                // Nobody has anything to say of why it has not started.
                let told: Told = work.late.iter().map(|late| (late.subject.clone(), Vec::new())).collect();
                let Some(again) = gather(&mut it.world, &told) else { return self.done(replica, MINUTE) };
                work = again;
            }
            let known = it.world.planner.fleet().failing_since.contains_key(&id);
            if work.plan.holder_failing != known {
                let since = work.plan.holder_failing.then_some(now);
                it.world.apply_hub(HubEvent::Observed(Observation::HolderFailing { id, since }));
                round += 1;
                continue;
            }
            let seen: BTreeMap<MemberName, Seen> = work
                .seen
                .iter()
                .map(|(member, seen)| (member.clone(), Seen { listed: it.lists.get(member).copied(), ..seen.clone() }))
                .collect();
            let terms = Terms { hub_id: HUB_ID, time_factor: 1, grant_factor: 1, without: self.without.machine };
            let step = decide::decide(&work, &seen, now, &terms);
            let (stage, orders) = if step.ledger.is_some() {
                (Stage::Ledger, VecDeque::new())
            } else {
                (Stage::Orders, act::orders(fleet, &work, &step).into())
            };
            let pass = Pass { round, now, work, step, orders, trouble: None, stage, token: 0, began: now };
            self.replicas[replica].pass = Some(pass);
            return match stage {
                Stage::Ledger => self.write_ledger(replica),
                _ => self.next_order(replica),
            };
        }
    }

    fn done(&mut self, replica: usize, wait: Millis) {
        self.replicas[replica].pass = None;
        let again = self.replicas[replica].again.take();
        self.look_after(replica, wait);
        if let Some(again) = again {
            let wait = again - self.now;
            self.look_after(replica, wait);
        }
    }

    fn later(&mut self, replica: usize, retry: Millis) {
        let now = self.now;
        let it = &mut self.replicas[replica];
        if !it.may_write(now) {
            return self.done(replica, RETRY_MAX);
        }
        it.failures += 1;
        let wait = retry * (1 << (it.failures.min(8) - 1));
        self.done(replica, wait.min(RETRY_MAX.max(retry)));
    }

    /// Writes the ledger where anything of it has changed.
    fn write_ledger(&mut self, replica: usize) {
        let token = self.number();
        let now = self.now;
        let it = &mut self.replicas[replica];
        let (may_write, life) = (it.may_write(now), it.life);
        let Some(pass) = &mut it.pass else { return };
        pass.token = token;
        let asker = (replica, life, token);
        if !may_write {
            return self.later(replica, 2 * SECOND);
        }
        let Some(object) = &pass.work.object else { return self.ask_hub(HubRequest::Create, asker) };
        let status = decide::status(&it.world.planner, &pass.work, object, &pass.step, pass.now);
        if object.status.as_ref() == Some(&status) {
            return self.told(replica);
        }
        let version = object.metadata.resource_version.clone().unwrap_or_default();
        self.ask_hub(HubRequest::Write { version, status: Box::new(status) }, asker);
    }

    pub fn hub_answers(&mut self, replica: usize, token: u64, answer: HubAnswer) {
        self.tell_time(replica);
        let life = self.replicas[replica].life;
        let number = self.number();
        let id = self.fleet.id;
        let it = &mut self.replicas[replica];
        let Some(pass) = it.pass.as_mut().filter(|pass| pass.token == token) else { return };
        match (answer, pass.stage) {
            (HubAnswer::Object(object), Stage::Reading) => {
                it.world.set_ledger(id, Some((*object).clone()));
                self.later(replica, 0);
            }
            // It was made.
            (HubAnswer::Object(object), _) if pass.work.object.is_none() => {
                pass.work.object = Some(object);
                self.write_ledger(replica);
            }
            (HubAnswer::Object(object), _) => {
                it.world.set_ledger(id, Some((*object).clone()));
                self.told(replica);
            }
            (HubAnswer::Conflict, _) => {
                (pass.stage, pass.token) = (Stage::Reading, number);
                self.ask_hub(HubRequest::Get, (replica, life, number));
            }
            (HubAnswer::Failed, _) => self.later(replica, 2 * SECOND),
        }
    }

    /// The ledger says what it should.
    fn told(&mut self, replica: usize) {
        let it = &mut self.replicas[replica];
        let Some(pass) = &it.pass else { return };
        if pass.stage == Stage::Ledger {
            let round = pass.round + 1;
            it.pass = None;
            return self.decide(replica, round);
        }
        if let Some((_, retry)) = pass.trouble {
            return self.later(replica, retry);
        }
        it.failures = 0;
        let wait = decide::wait(&it.world, &pass.work, &pass.step, pass.now, 1);
        self.done(replica, millis(wait));
    }

    /// Does the next of what follows from the step.
    fn next_order(&mut self, replica: usize) {
        let (token, now, began) = (self.number(), self.now, stamp(self.clock_of(replica)));
        let it = &mut self.replicas[replica];
        let (may_write, life) = (it.may_write(now), it.life);
        let Some(pass) = &mut it.pass else { return };
        let Some(order) = pass.orders.front().cloned() else {
            if pass.step.list.is_empty() {
                it.lists.clear();
            } else {
                it.again = Some(now);
            }
            pass.stage = Stage::Telling;
            return self.tell(replica);
        };
        (pass.token, pass.began) = (token, began);
        let Some(site) = order.site() else {
            let Order::Fail { reason } = order else { return };
            return self.fails(replica, reason, MINUTE);
        };
        if !may_write && !matches!(order, Order::List { .. }) {
            return self.fails(replica, "NotLeading", SECOND);
        }
        self.ask_member(site, &order, (replica, life, token));
    }

    fn fails(&mut self, replica: usize, reason: &'static str, retry: Millis) {
        let Some(pass) = &mut self.replicas[replica].pass else { return };
        pass.trouble = Some((reason, retry));
        if matches!(pass.orders.front(), Some(Order::Suspend { former: true, .. })) {
            pass.orders.pop_front();
            return self.next_order(replica);
        }
        pass.stage = Stage::Telling;
        self.tell(replica);
    }

    /// People are told of what keeps it from going on; a conflict is over before anybody could read of it.
    fn tell(&mut self, replica: usize) {
        let Some(pass) = &mut self.replicas[replica].pass else { return };
        if let Some((reason, _)) = pass.trouble.filter(|(reason, _)| *reason != "Conflict") {
            pass.step.note = Some((reason, reason.to_owned()));
        }
        self.write_ledger(replica);
    }

    pub fn member_answers(&mut self, replica: usize, token: u64, answer: Answer) {
        let ended = self.tell_time(replica);
        let fleet = self.fleet;
        let it = &mut self.replicas[replica];
        let Some(pass) = it.pass.as_mut().filter(|pass| pass.token == token && pass.stage == Stage::Orders) else {
            return;
        };
        match answer {
            Answer::Conflict => return self.fails(replica, "Conflict", SECOND),
            Answer::Unreachable => return self.fails(replica, "MemberUnreachable", 5 * SECOND),
            Answer::Clear(clear) => {
                let listed = Listed { began: pass.began, ended, clear };
                if let Some(Order::List { site }) = pass.orders.front() {
                    it.lists.insert(fleet.names[*site].clone(), listed);
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
        self.next_order(replica);
    }
}

fn note(fleet: &Fleet, world: &mut World, site: Site, cron_job: &super::objects::CronJob) {
    let written = cron_job.owned(fleet, site);
    let verified = Verified { version: written.version().into(), wanted: Box::default() };
    let name = fleet.object.clone();
    world.note(
        &fleet.names[site],
        Noted { kind: OwnedKind::CronJob, name, verified, stands: Some(written), wrote: true },
    );
}

fn millis(wait: std::time::Duration) -> Millis {
    Millis::try_from(wait.as_millis()).unwrap_or(Millis::MAX).max(1)
}

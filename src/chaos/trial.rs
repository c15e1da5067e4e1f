//! One schedule, played to its end: the events in order of virtual time, and what each of them leads to.

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::rc::Rc;

use super::act::Order;
use super::fleet::{Fleet, HUB_ID};
use super::hub::{Hub, HubAnswer, HubRequest, News};
use super::kopia::{Repository, Violation};
use super::member::{Answer, Member};
use super::objects::{CronJob, Snapshot};
use super::random::Random;
use super::replica::Replica;
use super::report::Hits;
use super::schedule::{FAULTS_END, FOREIGN, Schedule};
use super::{ALIASES, Alias, HOUR, MINUTE, Millis, REPLICAS, SECOND, SITES, Site, Without, unix};
use crate::plan::fleet::Phase;
use crate::render::kopia_owner;

/// Once faults have ceased it is maintained again within this.
const BOUND: Millis = 8 * HOUR;
/// Where somebody else was the owner, or a claim failed for a reason of its member: claims rest for up to a day then.
const LONG_BOUND: Millis = 60 * HOUR;
/// Events of one trial; what has more goes round in circles.
const EVENTS_MAX: u64 = 400_000;

/// Who asks: a replica, its life, and which of its requests it is.
pub type Asker = (usize, u32, u64);

pub enum Event {
    Fault(usize),
    Calm,
    Heal(Site),
    Start(usize),
    Wake(usize),
    Lease,
    /// To a replica.
    To(usize, u32, Letter),
    /// At a member's API server. `heard`: somebody waits for the answer.
    Request {
        site: Site,
        order: Box<Order>,
        asker: Option<Asker>,
    },
    AtHub {
        request: Box<HubRequest>,
        asker: Option<Asker>,
    },
    /// The CronJob controller's cache has this now.
    CronView(Site, Alias, Option<CronJob>),
    /// It looks what is due; only the latest of these counts.
    Cron(Site, Alias, u64),
    /// It makes a Job from what it knew: a fire time came round.
    CronFires(Site, Box<CronJob>),
    Pod(Site, u64),
    PodKilled(Site, u64),
    Collect(Site, u64),
    Expire(Site, Rc<str>),
    Foreign(u64, bool),
}

/// What a replica gets.
pub enum Letter {
    Member { site: Site, link: u32, what: Snapshot },
    Hub(News),
    Listed(Site),
    Away(Site, u32),
    Believe,
    Look(Alias, u64),
    Answer(u64, Answer),
    HubAnswer(u64, HubAnswer),
}

impl Event {
    pub fn is_news_for(&self, replica: usize, life: u32) -> bool {
        matches!(self, Self::To(to, its, letter) if (*to, *its) == (replica, life) && letter.is_news())
    }
}

impl Letter {
    /// It comes by itself; the others were asked for.
    pub fn is_news(&self) -> bool {
        !matches!(self, Self::Look(..) | Self::Answer(..) | Self::HubAnswer(..))
    }
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub violation: Option<Violation>,
    /// Of everything that happened, in order.
    pub hash: u64,
    /// A fault struck outside `Active`, or the grant left that phase.
    pub counts: bool,
    pub events: u64,
    /// Looks at the repository, by whichever replica.
    pub looks: u64,
    /// From when faults ceased until a run succeeded.
    pub recovered: Option<Millis>,
}

pub struct Trial<'a> {
    pub fleet: &'a Fleet,
    pub schedule: &'a Schedule,
    pub without: Without,
    pub now: Millis,
    pub(super) queue: BTreeMap<(Millis, u64), Event>,
    serial: u64,
    pub random: Random,
    pub hub: Hub,
    pub replicas: Vec<Replica>,
    pub members: Vec<Member>,
    /// One place by all names; once it was mirrored, one for each name.
    pub stores: [Repository; ALIASES],
    pub mirrored: bool,
    /// A run succeeded there since all faults have ceased.
    pub maintained: [bool; ALIASES],
    pub hits: &'a mut Hits,
    pub was_active: bool,
    pub verdict: Verdict,
    /// All faults have ceased.
    pub calm: Option<Millis>,
    log: Option<Vec<String>>,
}

impl<'a> Trial<'a> {
    pub fn new(fleet: &'a Fleet, schedule: &'a Schedule, without: Without, hits: &'a mut Hits) -> Self {
        let stream = |number: usize| Random::new(schedule.seed, 100 + number as u64);
        let verdict =
            Verdict { violation: None, hash: schedule.seed, counts: false, events: 0, looks: 0, recovered: None };
        let mut trial = Self {
            fleet,
            schedule,
            without,
            now: 0,
            queue: BTreeMap::new(),
            serial: 0,
            random: stream(0),
            hub: Hub::new(schedule.period, schedule.deadline),
            replicas: (0..REPLICAS).map(|number| Replica::new(fleet, stream(10 + number))).collect(),
            members: (0..SITES).map(|site| Member::new(stream(20 + site))).collect(),
            stores: Default::default(),
            mirrored: false,
            maintained: [false; ALIASES],
            hits,
            was_active: false,
            verdict,
            calm: None,
            log: None,
        };
        for (index, (at, _)) in schedule.faults.iter().enumerate() {
            trial.at(*at, Event::Fault(index));
        }
        for number in 0..REPLICAS {
            trial.after(SECOND * i64::try_from(number).unwrap_or(0), Event::Start(number));
        }
        trial.after(3 * SECOND, Event::Lease);
        trial.at(FAULTS_END, Event::Calm);
        trial
    }

    /// Keeps what happens, for people.
    #[must_use]
    pub fn recorded(mut self) -> Self {
        self.log = Some(Vec::new());
        self
    }

    pub fn at(&mut self, at: Millis, event: Event) {
        let number = self.number();
        self.queue.insert((at.max(self.now), number), event);
    }

    pub fn after(&mut self, wait: Millis, event: Event) {
        self.at(self.now + wait, event);
    }

    /// One that nothing had before.
    pub fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub fn say(&mut self, what: Arguments<'_>) {
        let Some(log) = &mut self.log else { return };
        let (seconds, rest) = (self.now / 1000, self.now % 1000);
        log.push(format!("{:02}:{:02}:{:02}.{rest:03} {what}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    }

    /// Makes one thing that happened part of the hash.
    pub fn mix(&mut self, what: u64) {
        let mixed = (self.verdict.hash ^ what).wrapping_mul(0x0000_0100_0000_01b3);
        self.verdict.hash = mixed ^ (mixed >> 29);
    }

    pub fn phase(&self) -> Option<Phase> {
        self.hub.phase()
    }

    /// Counts a fault at the moment at which it strikes.
    pub fn strikes(&mut self, kind: &'static str) {
        let phase = self.phase();
        self.hits.count(kind, phase);
        self.verdict.counts |= phase.is_some_and(|phase| phase != Phase::Active);
    }

    pub fn owner(&self, site: Site, (alias, epoch): (Alias, u64)) -> String {
        let alias = if self.without.owner_names_id { 0 } else { alias };
        kopia_owner(epoch, &self.fleet.names[site], self.fleet.ids[alias], HUB_ID)
    }

    /// Where a name leads.
    pub fn store(&self, alias: Alias) -> usize {
        if self.mirrored { alias } else { 0 }
    }

    /// Every place that some member's Secret means.
    pub fn all_are_maintained(&self) -> bool {
        self.members.iter().all(|member| self.maintained[self.store(member.alias)])
    }

    fn violation(&mut self) -> Option<Violation> {
        self.stores.iter_mut().find_map(|store| store.violation.take())
    }

    /// Plays it. What happened is empty unless it was asked for.
    pub fn play(mut self) -> (Verdict, Vec<String>) {
        let long =
            [FOREIGN, "ClaimDies", "ClaimStalls", "MemberClock", "SlowStart", "OldLedger", "Renamed", "Mirrored"];
        let bound = if long.iter().any(|kind| self.schedule.has(kind)) { LONG_BOUND } else { BOUND };
        while let Some(((at, number), event)) = self.queue.pop_first() {
            self.now = at;
            self.mix(at.unsigned_abs());
            self.mix(number);
            self.verdict.events += 1;
            self.happens(event);
            self.verdict.violation = self.verdict.violation.take().or_else(|| self.violation());
            if self.verdict.violation.is_some() || self.verdict.recovered.is_some() {
                break;
            }
            let late = self.calm.is_some_and(|calm| at > calm + bound);
            if late || self.verdict.events > EVENTS_MAX {
                let after = at - FAULTS_END;
                self.verdict.violation = Some(Violation::NotMaintained { after });
                break;
            }
        }
        (self.verdict, self.log.unwrap_or_default())
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Fault(index) => {
                let fault = self.schedule.faults[index].1;
                self.fault(fault);
            }
            Event::Calm => self.calm_down(),
            Event::Heal(site) => self.heal(site),
            Event::Start(replica) => self.start(replica),
            Event::Wake(replica) => self.wake(replica),
            Event::Lease => self.elect(),
            Event::To(replica, life, letter) => self.deliver(replica, life, letter),
            Event::Request { site, order, asker } => self.serve(site, &order, asker),
            Event::AtHub { request, asker } => self.serve_at_hub(*request, asker),
            Event::CronView(site, alias, view) => self.cron_view(site, alias, view),
            Event::Cron(site, alias, number) => self.cron_looks(site, alias, Some(number)),
            Event::CronFires(site, view) => self.cron_fires(site, &view),
            Event::Pod(site, number) => self.pod_goes_on(site, number),
            Event::PodKilled(site, number) => self.pod_is_gone(site, number),
            Event::Collect(site, cron_job) => self.collect(site, cron_job),
            Event::Expire(site, job) => self.delete_job(site, &job),
            Event::Foreign(number, inside) => self.foreigner(number, inside),
        }
    }

    /// A replica's own clock.
    pub fn clock_of(&self, replica: usize) -> Millis {
        self.now + self.replicas[replica].ahead
    }

    /// Another maintainer: looks at the owner, runs, and comes back some hours later.
    fn foreigner(&mut self, number: u64, inside: bool) {
        let next = 2 * HOUR + self.random.between(0, 2 * HOUR);
        if inside {
            self.say(format_args!("a foreign run ends"));
            self.stores[0].leave(number);
            if self.calm.is_none() {
                self.after(next, Event::Foreign(number, false));
            }
        } else if self.calm.is_none() && self.stores[0].owner == super::faults::FOREIGNER {
            self.say(format_args!("a foreign run begins"));
            let length = self.random.between(MINUTE, 3 * HOUR - MINUTE);
            let owner = self.stores[0].owner.clone();
            let entering = super::kopia::Inside { owner, run: number, since: self.now, foreign: true };
            self.stores[0].enter(entering, self.now);
            self.after(length, Event::Foreign(number, true));
        }
    }

    /// Seconds since 1970 by the clock of a member.
    pub fn unix_in(&self, site: Site) -> i64 {
        unix(self.now + self.members[site].ahead)
    }
}

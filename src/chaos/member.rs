//! A member's API server: what stands there, writes on exactly the version that was read, and its watches.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::act::Order;
use super::mover::Life;
use super::objects::{CronJob, CronSpec, Job, Pod, Role, Snapshot, Version};
use super::random::Random;
use super::schedule::Fault;
use super::trial::{Asker, Event, Letter, Trial};
use super::{ALIASES, Alias, HOUR, Millis, REPLICAS, SECOND, Site};
use crate::render::cron_job::CLAIM_DEADLINE_SECONDS;

/// When a client gives up.
const TIMEOUT: Millis = 15 * SECOND;

/// A CronJob under one of the repository's names, and what its controller knows of it.
#[derive(Default)]
pub struct Named {
    pub cron_job: Option<CronJob>,
    /// By which of the names the copy of the Secret there means the repository.
    pub copy: Alias,
    /// What the controller knows.
    pub view: Option<CronJob>,
    /// Until when news are on their way to it.
    pub heard: Millis,
    /// The last fire time that became a Job, by uid of the CronJob.
    pub fired: Option<(u64, Millis)>,
    /// The latest look of the controller that was asked for.
    pub next_look: u64,
}

impl Named {
    /// The last fire time of this very CronJob that became a Job.
    pub fn fired_for(&self, cron_job: &CronJob) -> Option<Millis> {
        self.fired.filter(|(uid, _)| *uid == cron_job.version.uid).map(|(_, at)| at)
    }
}

pub struct Member {
    /// By which of the names its Secret means the repository.
    pub alias: Alias,
    pub named: [Named; ALIASES],
    pub jobs: BTreeMap<Rc<str>, Job>,
    pub pods: BTreeMap<u64, Life>,
    /// No replica reaches it.
    pub away: bool,
    /// A number for each stretch in which it can be reached, or can't.
    pub link: u32,
    /// How far its clock is ahead.
    pub ahead: Millis,
    pub armed: Vec<Fault>,
    pub random: Random,
    /// Until when news are on their way to each replica.
    pub busy: [Millis; REPLICAS],
    /// A replica hears of nothing: it reads everything anew.
    pub reads: [bool; REPLICAS],
    /// It hears so much later.
    pub lag: [Millis; REPLICAS],
}

/// What became of a write or a list.
#[derive(Clone, Debug)]
pub enum Answer {
    Done(Option<CronJob>),
    /// A consistent list: is everything suspended, and has everything ended?
    Clear(bool),
    Conflict,
    Unreachable,
}

impl Member {
    pub fn new(random: Random) -> Self {
        Self {
            alias: 0,
            named: Default::default(),
            jobs: BTreeMap::new(),
            pods: BTreeMap::new(),
            away: false,
            link: 0,
            ahead: 0,
            armed: Vec::new(),
            random,
            busy: [0; REPLICAS],
            reads: [true; REPLICAS],
            lag: [0; REPLICAS],
        }
    }

    pub fn take(&mut self, is: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let index = self.armed.iter().position(is)?;
        Some(self.armed.remove(index))
    }

    /// Everything that stands there, as a list would show it.
    pub fn everything(&self) -> Vec<Snapshot> {
        let jobs = self.jobs.values().map(|job| Snapshot::Job(Rc::clone(&job.name), Some(job.clone())));
        let pods = self.pods.values().map(|life| Snapshot::Pod(life.pod.number, Some(life.pod.clone())));
        let cron_jobs = self.named.iter().enumerate().map(|(alias, it)| Snapshot::CronJob(alias, it.cron_job.clone()));
        std::iter::once(Snapshot::Secret(self.alias)).chain(cron_jobs).chain(jobs).chain(pods).collect()
    }

    fn is_clear(&self, aliases: &[Alias]) -> bool {
        let mut cron_jobs = aliases.iter().filter_map(|alias| self.named[*alias].cron_job.as_ref());
        let suspended = cron_jobs.all(|cron_job| cron_job.spec.suspend);
        let mut jobs = self.jobs.values().filter(|job| aliases.contains(&job.alias));
        let mut pods = self.pods.values().filter(|life| aliases.contains(&life.pod.alias));
        suspended && jobs.all(|job| job.ended.is_some()) && pods.all(|life| life.pod.ended.is_some())
    }
}

impl Trial<'_> {
    /// Sends a write or list of a replica on its way.
    pub fn ask_member(&mut self, site: Site, order: &Order, (replica, life, token): Asker) {
        let answers = |answer| Event::To(replica, life, Letter::Answer(token, answer));
        let latency = self.replicas[replica].random.between(3, 150);
        if self.members[site].away {
            let patience = self.replicas[replica].random.between(SECOND, TIMEOUT);
            return self.after(patience, answers(Answer::Unreachable));
        }
        let is_write = !matches!(order, Order::List { .. });
        let request = |asker| Event::Request { site, order: Box::new(order.clone()), asker };
        let fault = if is_write {
            self.members[site]
                .take(|it| matches!(it, Fault::AnswerLost(_) | Fault::RequestLost(_) | Fault::RequestLate { .. }))
        } else {
            None
        };
        let Some(fault) = fault else { return self.after(latency, request(Some((replica, life, token)))) };
        self.say(format_args!("{} strikes {order:?} of replica {replica}", fault.kind()));
        self.strikes(fault.kind());
        match fault {
            Fault::AnswerLost(_) => self.after(latency, request(None)),
            Fault::RequestLate { by, .. } => self.after(by, request(None)),
            _ => {}
        }
        self.after(TIMEOUT, answers(Answer::Unreachable));
    }

    /// The copy of the Secret is written. Where that came too late the replicas hear of it as of any other edit: here by the
    /// CronJob that it goes with.
    fn copy(&mut self, site: Site, alias: Alias, copy: Alias) {
        let named = &mut self.members[site].named[alias];
        named.copy = copy;
        let other = named.cron_job.as_ref().map(|it| it.spec.clone()).filter(|spec| spec.copy != copy);
        if let Some(spec) = other {
            self.apply(site, alias, &CronSpec { copy, ..spec });
        }
    }

    /// It has arrived.
    pub fn serve(&mut self, site: Site, order: &Order, asker: Option<Asker>) {
        let answer = match order {
            Order::Suspend { alias, guard, suspend, .. } => {
                let standing = self.members[site].named[*alias].cron_job.as_ref();
                match standing.filter(|it| it.version.is(guard)).map(|it| it.spec.clone()) {
                    None => Answer::Conflict,
                    Some(spec) => self.apply(site, *alias, &CronSpec { suspend: *suspend, ..spec }),
                }
            }
            Order::Apply { alias, spec, guard, .. } => {
                let standing = self.members[site].named[*alias].cron_job.as_ref();
                if guard.as_ref().is_none_or(|guard| standing.is_some_and(|it| it.version.is(guard))) {
                    self.members[site].named[*alias].copy = spec.copy;
                    self.apply(site, *alias, spec)
                } else {
                    self.copy(site, *alias, spec.copy);
                    Answer::Conflict
                }
            }
            Order::Claim { alias, copy, name, epoch, permit, attempt, .. } => {
                self.copy(site, *alias, *copy);
                if !self.members[site].jobs.contains_key(name.as_str()) {
                    let role = Role::Claim { permit: permit.clone(), attempt: attempt.clone() };
                    self.make_job(site, (*alias, name), role, *epoch, CLAIM_DEADLINE_SECONDS);
                }
                Answer::Done(None)
            }
            Order::Manual { alias, name, epoch, deadline, .. } => {
                if !self.members[site].jobs.contains_key(name.as_str()) {
                    self.make_job(site, (*alias, name), Role::Manual, *epoch, *deadline);
                }
                Answer::Done(None)
            }
            Order::DeleteJob { name, guard, .. } => match self.members[site].jobs.get(name.as_str()) {
                Some(job) if !job.version.is(guard) => Answer::Conflict,
                _ => {
                    self.delete_job(site, name);
                    Answer::Done(None)
                }
            },
            Order::DeleteCronJob { alias, guard, .. } => match &self.members[site].named[*alias].cron_job {
                Some(cron_job) if !cron_job.version.is(guard) => Answer::Conflict,
                _ => {
                    self.delete_cron_job(site, *alias);
                    Answer::Done(None)
                }
            },
            Order::List { aliases, .. } => Answer::Clear(self.members[site].is_clear(aliases)),
            Order::Fail { .. } => Answer::Conflict,
        };
        let Some((replica, life, token)) = asker else { return };
        let latency = self.random.between(3, 150);
        // The answer goes the way that the request came.
        let (wait, answer) = if self.members[site].away { (TIMEOUT, Answer::Unreachable) } else { (latency, answer) };
        self.after(wait, Event::To(replica, life, Letter::Answer(token, answer)));
    }

    fn apply(&mut self, site: Site, alias: Alias, spec: &CronSpec) -> Answer {
        let (number, now) = (self.number(), self.now);
        let member = &mut self.members[site];
        let before = member.named[alias].cron_job.clone();
        if before.as_ref().is_some_and(|it| it.spec == *spec) {
            return Answer::Done(before);
        }
        let cron_job = match before.clone() {
            Some(it) => CronJob {
                version: Version { number, ..it.version },
                generation: it.generation + 1,
                spec: spec.clone(),
                ..it
            },
            None => CronJob {
                alias,
                version: Version { uid: number, number },
                generation: 1,
                spec: spec.clone(),
                created: now + member.ahead,
                last_schedule: None,
            },
        };
        member.named[alias].cron_job = Some(cron_job.clone());
        let name = &self.fleet.names[site];
        self.say(format_args!(
            "{name}: CronJob {alias} of epoch {}, {}",
            spec.epoch,
            if spec.suspend { "suspended" } else { "runs" }
        ));
        self.cron_job_changed(site, alias, before.as_ref());
        Answer::Done(Some(cron_job))
    }

    /// Tells its controller and the watches.
    fn cron_job_changed(&mut self, site: Site, alias: Alias, before: Option<&CronJob>) {
        let standing = self.members[site].named[alias].cron_job.clone();
        self.controller_hears(site, alias, before, standing.clone());
        self.emit(site, &Snapshot::CronJob(alias, standing));
    }

    /// Its Secret means the repository by the other name.
    pub fn rename(&mut self, site: Site) {
        let member = &mut self.members[site];
        member.alias = (member.alias + 1) % ALIASES;
        let alias = member.alias;
        self.emit(site, &Snapshot::Secret(alias));
    }

    fn delete_cron_job(&mut self, site: Site, alias: Alias) {
        let Some(before) = self.members[site].named[alias].cron_job.take() else { return };
        self.say(format_args!("{}: CronJob {alias} removed", self.fleet.names[site]));
        self.cron_job_changed(site, alias, Some(&before));
        let wait = self.random.between(50, 3000);
        self.after(wait, Event::Collect(site, before.version.uid));
    }

    /// What a CronJob that is gone has left behind.
    pub fn collect(&mut self, site: Site, cron_job: u64) {
        let mut standing = self.members[site].named.iter().filter_map(|it| it.cron_job.as_ref());
        if standing.any(|it| it.version.uid == cron_job) {
            return;
        }
        let of_it = |job: &&Job| job.role == Role::Run { cron_job };
        let names: Vec<_> = self.members[site].jobs.values().filter(of_it).map(|job| Rc::clone(&job.name)).collect();
        for name in names {
            self.delete_job(site, &name);
        }
    }

    pub fn make_job(&mut self, site: Site, (alias, name): (Alias, &str), role: Role, epoch: u64, deadline: u32) {
        let number = self.number();
        let name: Rc<str> = name.into();
        let created = self.now + self.members[site].ahead;
        let version = Version { uid: number, number };
        self.say(format_args!("{}: Job {name} of epoch {epoch}", self.fleet.names[site]));
        let job = Job { alias, version, name: Rc::clone(&name), role, epoch, deadline, created, ended: None };
        self.members[site].jobs.insert(Rc::clone(&name), job.clone());
        self.emit(site, &Snapshot::Job(Rc::clone(&name), Some(job)));
        self.make_pod(site, &name);
    }

    pub fn job_ends(&mut self, site: Site, name: &str, good: bool) {
        let number = self.number();
        let at = self.now + self.members[site].ahead;
        let Some(job) = self.members[site].jobs.get_mut(name).filter(|job| job.ended.is_none()) else { return };
        job.ended = Some((good, at));
        job.version.number = number;
        let job = job.clone();
        if !matches!(job.role, Role::Run { .. }) {
            self.after(HOUR, Event::Expire(site, Rc::clone(&job.name)));
        }
        let alias = job.alias;
        self.emit(site, &Snapshot::Job(Rc::clone(&job.name), Some(job)));
        self.prune(site, alias);
        self.cron_looks(site, alias, None);
    }

    /// Of the ended runs, the last that went well is kept and the last that did not, as the policy says.
    fn prune(&mut self, site: Site, alias: Alias) {
        for good in [true, false] {
            let jobs = self.members[site].jobs.values();
            let runs = jobs.filter(|job| job.alias == alias && matches!(job.role, Role::Run { .. }));
            let mut ended: Vec<_> =
                runs.filter_map(|job| Some((job.ended.filter(|it| it.0 == good)?.1, Rc::clone(&job.name)))).collect();
            ended.sort();
            ended.truncate(ended.len().saturating_sub(1));
            for (_, name) in ended {
                self.delete_job(site, &name);
            }
        }
    }

    /// In the background: its Pods are told to stop.
    pub fn delete_job(&mut self, site: Site, name: &str) {
        let Some(job) = self.members[site].jobs.remove(name) else { return };
        self.emit(site, &Snapshot::Job(Rc::clone(&job.name), None));
        let pods: Vec<u64> = self.members[site]
            .pods
            .values()
            .filter(|life| *life.pod.job == *name)
            .map(|life| life.pod.number)
            .collect();
        for number in pods {
            self.stop_pod(site, number);
        }
    }

    pub fn emit_pod(&mut self, site: Site, number: u64) {
        let pod: Option<Pod> = self.members[site].pods.get(&number).map(|life| life.pod.clone());
        self.emit(site, &Snapshot::Pod(number, pod));
    }

    /// Sends a new state of an object to the replicas that can hear of it.
    pub fn emit(&mut self, site: Site, what: &Snapshot) {
        for replica in 0..REPLICAS {
            let link = self.members[site].link;
            if self.members[site].away || self.members[site].reads[replica] || !self.replicas[replica].up {
                continue;
            }
            let latency = self.members[site].random.between(10, 600) + self.members[site].lag[replica];
            let at = (self.now + latency).max(self.members[site].busy[replica]);
            self.members[site].busy[replica] = at;
            let life = self.replicas[replica].life;
            self.at(at, Event::To(replica, life, Letter::Member { site, link, what: what.clone() }));
        }
    }
}

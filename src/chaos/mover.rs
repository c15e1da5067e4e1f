//! Kubelet, mover script and Kopia: what a Pod does, step by step, from its start to the report that it leaves.
//!
//! A run looks at the recorded owner and is inside from then on; a claim reads the owner, sets it where its permit
//! allows that, and reads it back twice. Each may stand still or die between any two steps. Everything ends at the
//! deadline, by the time limit inside the container.

use std::rc::Rc;

use super::kopia::Inside;
use super::objects::{Pod, Role};
use super::schedule::Fault;
use super::trial::{Event, Trial};
use super::{MINUTE, Millis, SECOND, Site, unix};
use crate::controller::jobs::recorded;
use crate::grant::Recorded;
use crate::plan::fleet::Former;
use crate::render::pod::{Permit, Replaces};

/// A permit is good from this long before it was issued: clocks differ. Seconds.
const CLOCK_TOLERANCE: i64 = 120;
/// Kopia refuses to work where its clock is this far from the store's.
const KOPIA_TOLERANCE: Millis = 5 * MINUTE;
/// Between the two times at which a claim reads its name back.
const READ_BACK: Millis = 30 * SECOND;

/// A Pod, and what only itself knows.
pub struct Life {
    pub pod: Pod,
    role: Role,
    epoch: u64,
    deadline: Millis,
    /// Which step is next.
    stage: u8,
    /// By the clock of the world.
    began: Option<Millis>,
    found: Option<String>,
    /// How many runs had begun in the repository when a claim read its owner.
    runs_before: Option<u64>,
    /// Had more begun when it read its own name back?
    run_began: Option<bool>,
    /// The owner that it read last.
    seen: Option<String>,
    written: bool,
    /// Where it works, from its start on.
    store: usize,
    stalls: Option<(u8, Millis)>,
    dies: Option<(u8, bool)>,
    /// It is over, whatever its object says.
    gone: bool,
}

impl Trial<'_> {
    pub fn make_pod(&mut self, site: Site, job: &Rc<str>) {
        let number = self.number();
        let now = self.now;
        let member = &mut self.members[site];
        let Some(of) = member.jobs.get(job) else { return };
        let (alias, role, epoch) = (of.alias, of.role.clone(), of.epoch);
        let deadline = Millis::from(of.deadline) * SECOND;
        let created = now + member.ahead;
        let pod = Pod { alias, number, job: Rc::clone(job), created, started: None, ended: None, deleting: false };
        let is_claim = matches!(role, Role::Claim { .. });
        let slow = member.take(|it| matches!(it, Fault::SlowStart { .. }));
        let of_role = member.take(|it| match it {
            Fault::RunStalls { .. } => !is_claim,
            Fault::ClaimDies { .. } | Fault::ClaimStalls { .. } => is_claim,
            _ => false,
        });
        let mut wait = member.random.between(2 * SECOND, 20 * SECOND);
        let (mut stalls, mut dies) = (None, None);
        match of_role {
            Some(Fault::RunStalls { length, inside, .. }) => stalls = Some((if inside { 2 } else { 1 }, length)),
            Some(Fault::ClaimStalls { stage, length, .. }) => stalls = Some((stage, length)),
            Some(Fault::ClaimDies { stage, told, .. }) => dies = Some((stage, told)),
            _ => {}
        }
        if let Some(Fault::SlowStart { length, .. }) = slow {
            wait = length;
        }
        let life = Life {
            pod,
            role,
            epoch,
            deadline,
            stage: 0,
            began: None,
            found: None,
            runs_before: None,
            run_began: None,
            seen: None,
            written: false,
            store: 0,
            stalls,
            dies,
            gone: false,
        };
        member.pods.insert(number, life);
        for fault in slow.iter().chain(&of_role) {
            self.strikes(fault.kind());
        }
        self.emit_pod(site, number);
        self.after(wait, Event::Pod(site, number));
    }

    /// The Pod takes its next step.
    pub fn pod_goes_on(&mut self, site: Site, number: u64) {
        let now = self.now;
        let Some(life) = self.members[site].pods.get(&number).filter(|life| !life.gone) else { return };
        let (is_claim, stage, began) = (matches!(life.role, Role::Claim { .. }), life.stage, life.began);
        let alias = life.pod.alias;
        // The Job's own deadline, which begins with the Job; what has not started by then never does.
        let started_late = began.is_none() && now + self.members[site].ahead > life.pod.created + life.deadline;
        let over = began.is_some_and(|began| now >= began + life.deadline);
        if started_late || over {
            return self.pod_ends(site, number, "DeadlineExceeded", "its time is over");
        }
        if let Some((at, told)) = life.dies.filter(|(at, _)| *at == stage) {
            self.say(format_args!("{}: the claim dies at step {at}", self.fleet.names[site]));
            if told {
                self.pod_ends(site, number, "Failed", "stopped from outside");
            } else {
                self.pod_dies(site, number);
            }
            return;
        }
        if let Some((_, length)) = life.stalls.filter(|(at, _)| *at == stage && began.is_some()) {
            if let Some(life) = self.members[site].pods.get_mut(&number) {
                life.stalls = None;
            }
            return self.next_step(site, number, stage, length);
        }
        if stage == 0 {
            let clock = now + self.members[site].ahead;
            let store = self.store(self.members[site].named[alias].copy);
            if let Some(life) = self.members[site].pods.get_mut(&number) {
                (life.began, life.pod.started, life.store) = (Some(now), Some(clock), store);
            }
            self.emit_pod(site, number);
            let wait = self.members[site].random.between(SECOND, 8 * SECOND);
            return self.next_step(site, number, 1, wait);
        }
        if self.members[site].ahead.abs() > KOPIA_TOLERANCE {
            return self.pod_ends(site, number, "ClockSkew", "clock skew detected");
        }
        if is_claim { self.claim_goes_on(site, number, stage) } else { self.run_goes_on(site, number, stage) }
    }

    fn next_step(&mut self, site: Site, number: u64, stage: u8, wait: Millis) {
        let now = self.now;
        let Some(life) = self.members[site].pods.get_mut(&number) else { return };
        life.stage = stage;
        // The time limit inside the container.
        let limit = life.began.map_or(Millis::MAX, |began| began + life.deadline - now);
        self.after(wait.min(limit), Event::Pod(site, number));
    }

    fn run_goes_on(&mut self, site: Site, number: u64, stage: u8) {
        if stage > 1 {
            return self.pod_ends(site, number, "Succeeded", "done");
        }
        let now = self.now;
        let Some(life) = self.members[site].pods.get_mut(&number) else { return };
        let store = life.store;
        let recorded_owner = self.stores[store].owner.clone();
        life.seen = Some(recorded_owner.clone());
        let (alias, epoch) = (life.pod.alias, life.epoch);
        let mine = self.owner(site, (alias, epoch));
        let is_ours = match recorded(Some(&recorded_owner), super::fleet::HUB_ID) {
            Recorded::Ours(former) => Some(former.epoch),
            _ => None,
        };
        let passes = mine == recorded_owner || (self.without.owner_exact && is_ours.is_some());
        if !passes {
            let outcome = if is_ours >= Some(epoch) { "Fenced" } else { "NotGranted" };
            return self.pod_ends(site, number, outcome, &format!("the recorded owner is {recorded_owner}"));
        }
        self.say(format_args!("{}: a run of epoch {epoch} is past the fence", self.fleet.names[site]));
        let clock = now + self.members[site].ahead;
        self.stores[store].enter(Inside { owner: mine, run: number, since: now, foreign: false }, clock);
        let wait = self.members[site].random.between(20 * SECOND, 4 * MINUTE);
        self.next_step(site, number, 2, wait);
    }

    fn claim_goes_on(&mut self, site: Site, number: u64, stage: u8) {
        let clock = self.unix_in(site);
        let Some(life) = self.members[site].pods.get_mut(&number) else { return };
        let store = life.store;
        let owner = self.stores[store].owner.clone();
        let Role::Claim { permit, .. } = life.role.clone() else { return };
        let (epoch, alias) = (life.epoch, life.pod.alias);
        let short = self.members[site].random.between(SECOND, 5 * SECOND);
        let mine = self.owner(site, (alias, epoch));
        match stage {
            // Reads the owner.
            1 => {
                if let Some(outcome) = wrong_time(&permit, clock) {
                    return self.pod_ends(site, number, outcome, "the clock is outside the permit");
                }
                self.saw(site, number, &owner, true);
                if owner == mine {
                    return self.next_step(site, number, 3, short);
                }
                if !self.covers(&permit.replaces, &owner) {
                    let text = format!("the permit does not cover {owner}");
                    return self.pod_ends(site, number, "ClaimRefused", &text);
                }
                self.next_step(site, number, 2, short);
            }
            // Sets it: whatever is recorded by now.
            2 => {
                if let Some(outcome) = wrong_time(&permit, clock) {
                    return self.pod_ends(site, number, outcome, "nothing was set");
                }
                if let Some(life) = self.members[site].pods.get_mut(&number) {
                    life.written = true;
                }
                self.say(format_args!("{}: sets the owner of epoch {epoch}", self.fleet.names[site]));
                self.mix(epoch);
                let (now, epochs) = (self.now, (self.epochs_told(false), self.epochs_told(true)));
                self.stores[store].set_owner((alias, &mine), now, epochs);
                self.next_step(site, number, 3, short);
            }
            3 | 4 => {
                self.saw(site, number, &owner, false);
                if owner != mine && !self.without.read_back {
                    return self.pod_ends(site, number, "ClaimIneffective", &format!("{owner} is recorded"));
                }
                if stage == 4 {
                    return self.pod_ends(site, number, "Claimed", "read back twice");
                }
                self.next_step(site, number, 4, READ_BACK);
            }
            _ => {}
        }
    }

    fn saw(&mut self, site: Site, number: u64, owner: &str, first: bool) {
        let Some(life) = self.members[site].pods.get_mut(&number) else { return };
        let runs = self.stores[life.store].runs;
        life.seen = Some(owner.to_owned());
        if first {
            life.runs_before = Some(runs);
            life.found = Some(owner.to_owned());
        } else if life.run_began.is_none() {
            life.run_began = life.runs_before.map(|before| before != runs);
        }
    }

    fn covers(&self, replaces: &Replaces, owner: &str) -> bool {
        let found = recorded(Some(owner), super::fleet::HUB_ID);
        self.without.permit_exact
            || match replaces {
                Replaces::Foreign => found == Recorded::Foreign,
                Replaces::Exactly(former) => match found {
                    Recorded::Ours(found) => {
                        let id = if self.without.owner_names_id { found.id } else { former.id };
                        found == Former { id, ..former.clone() }
                    }
                    _ => false,
                },
            }
    }

    /// It ends with a report.
    fn pod_ends(&mut self, site: Site, number: u64, outcome: &str, message: &str) {
        let Some(life) = self.members[site].pods.get(&number) else { return };
        let store = life.store;
        let last_run = self.stores[store].last_run.map(|at| at.min(self.now + self.members[site].ahead)).map(unix);
        let text = |text: &Option<String>| text.as_ref().map_or("null".to_owned(), |it| format!("\"{it}\""));
        let written = match life.role {
            Role::Claim { .. } => {
                let began = life.run_began.map_or("null".to_owned(), |began| began.to_string());
                format!(",\"ownerWritten\":{},\"runBegan\":{began}", life.written)
            }
            Role::Run { .. } | Role::Manual => String::new(),
        };
        let start = last_run.map_or("null".to_owned(), |at| at.to_string());
        let report = format!(
            "{{\"outcome\":\"{outcome}\",\"uniqueID\":\"cafe\",\"owner\":{},\"previousOwner\":{},\"epoch\":{},\
             \"lastRunStart\":{start},\"message\":\"{message}\"{written}}}",
            text(&life.seen),
            text(&life.found),
            life.epoch,
        );
        let (role, epoch) = (if written.is_empty() { "run" } else { "claim" }, life.epoch);
        let succeeded = outcome == "Succeeded";
        self.say(format_args!("{}: the {role} of epoch {epoch} ends {outcome}", self.fleet.names[site]));
        // One that began after all faults had ceased.
        let inside = self.stores[store].inside.iter().find(|it| it.run == number).map(|it| it.since);
        if let Some(calm) = self.calm.filter(|calm| succeeded && inside.is_some_and(|since| since >= *calm)) {
            self.maintained[store] = true;
            self.verdict.recovered = self.all_are_maintained().then_some(self.now - calm);
        }
        let started = life_started(self, site, number);
        self.finish(site, number, succeeded || outcome == "Claimed", if started { &report } else { "" });
    }

    /// It is killed, and leaves nothing.
    fn pod_dies(&mut self, site: Site, number: u64) {
        self.finish(site, number, false, "");
    }

    fn finish(&mut self, site: Site, number: u64, good: bool, report: &str) {
        self.leave(number);
        let at = self.now + self.members[site].ahead;
        let Some(life) = self.members[site].pods.get_mut(&number) else { return };
        life.gone = true;
        life.pod.ended = Some((i32::from(!good), report.into(), at));
        let (job, deleting) = (Rc::clone(&life.pod.job), life.pod.deleting);
        if deleting {
            return self.pod_is_gone(site, number);
        }
        self.emit_pod(site, number);
        self.job_ends(site, &job, good);
    }

    fn leave(&mut self, number: u64) {
        for store in &mut self.stores {
            store.leave(number);
        }
    }

    /// Its Job was deleted: it is told to stop, and killed where it does not heed that.
    pub fn stop_pod(&mut self, site: Site, number: u64) {
        let grace = self.members[site].random.between(0, 30 * SECOND);
        let Some(life) = self.members[site].pods.get_mut(&number) else { return };
        life.pod.deleting = true;
        let over = life.gone;
        self.emit_pod(site, number);
        self.after(if over { 0 } else { grace }, Event::PodKilled(site, number));
    }

    pub fn pod_is_gone(&mut self, site: Site, number: u64) {
        self.leave(number);
        if self.members[site].pods.remove(&number).is_some() {
            self.emit_pod(site, number);
        }
    }
}

fn life_started(trial: &Trial<'_>, site: Site, number: u64) -> bool {
    trial.members[site].pods.get(&number).is_some_and(|life| life.began.is_some())
}

fn wrong_time(permit: &Permit, clock: i64) -> Option<&'static str> {
    let good = (permit.issued - CLOCK_TOLERANCE..=permit.not_after).contains(&clock);
    (!good).then_some("ClockSkew")
}

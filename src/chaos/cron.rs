//! A member's CronJob controller: it works on what it knows, which is older than what stands, and goes on when nobody
//! else reaches the member.

use super::objects::{CronJob, Role, Snapshot};
use super::schedule::Fault;
use super::trial::{Event, Trial};
use super::{Alias, MINUTE, Millis, SECOND, Site};

/// As the hub sets it: half of the period, and a minute at least.
fn starting_deadline(cron_job: &CronJob) -> Millis {
    (period(cron_job) / 2).max(MINUTE)
}

fn period(cron_job: &CronJob) -> Millis {
    Millis::from(cron_job.spec.period.max(1)) * MINUTE
}

/// No schedule has two fire times within a minute.
fn may_fire(fired: Option<Millis>, at: Millis) -> bool {
    fired.is_none_or(|fired| at - fired >= MINUTE)
}

impl Trial<'_> {
    /// The CronJob was changed, or is gone.
    pub fn controller_hears(&mut self, site: Site, alias: Alias, before: Option<&CronJob>, now: Option<CronJob>) {
        let mut lag = self.members[site].random.between(5, 900);
        let ran = before.filter(|it| !it.spec.suspend);
        let is_stopped = ran.is_some() && now.as_ref().is_none_or(|it| it.spec.suspend);
        if is_stopped
            && let Some(ran) = ran.cloned()
            && let Some(Fault::LateController { lag: late, .. }) =
                self.members[site].take(|it| matches!(it, Fault::LateController { .. }))
        {
            self.strikes("LateController");
            lag = late;
            // Some fire time comes round before it has heard.
            let fires = self.members[site].random.between(0, late);
            self.after(fires, Event::CronFires(site, Box::new(ran)));
        }
        // Its cache never goes back.
        let of_it = &mut self.members[site].named[alias];
        let at = (self.now + lag).max(of_it.heard);
        of_it.heard = at;
        self.at(at, Event::CronView(site, alias, now));
    }

    pub fn cron_view(&mut self, site: Site, alias: Alias, view: Option<CronJob>) {
        self.members[site].named[alias].view = view;
        self.cron_looks(site, alias, None);
    }

    /// Makes a Job where a fire time has come, or was missed not too long ago; and knows when to look again.
    pub fn cron_looks(&mut self, site: Site, alias: Alias, number: Option<u64>) {
        let member = &self.members[site];
        let of_it = &member.named[alias];
        if number.is_some_and(|number| number != of_it.next_look) {
            return;
        }
        let Some(view) = of_it.view.clone().filter(|view| !view.spec.suspend) else { return };
        let clock = self.now + member.ahead;
        let fired = of_it.fired_for(&view);
        let since = fired.unwrap_or(view.created).max(clock - starting_deadline(&view));
        let due = clock.div_euclid(period(&view)) * period(&view);
        if due > since && may_fire(fired, due) && !self.is_busy(site, view.version.uid) {
            self.members[site].named[alias].fired = Some((view.version.uid, due));
            self.make_run(site, &view, due);
        }
        let wait = (clock.div_euclid(period(&view)) + 1) * period(&view) - clock;
        let wait = wait + self.members[site].random.between(0, 2 * SECOND);
        let number = self.number();
        self.members[site].named[alias].next_look = number;
        self.after(wait, Event::Cron(site, alias, number));
    }

    /// `concurrencyPolicy: Forbid`
    fn is_busy(&self, site: Site, cron_job: u64) -> bool {
        self.members[site].jobs.values().any(|job| job.ended.is_none() && job.role == Role::Run { cron_job })
    }

    pub fn cron_fires(&mut self, site: Site, view: &CronJob) {
        let clock = self.now + self.members[site].ahead;
        let fired = self.members[site].named[view.alias].fired_for(view);
        if may_fire(fired, clock) && !self.is_busy(site, view.version.uid) {
            self.members[site].named[view.alias].fired = Some((view.version.uid, clock));
            self.make_run(site, view, clock);
        }
    }

    fn make_run(&mut self, site: Site, view: &CronJob, due: Millis) {
        let alias = view.alias;
        let name = format!("{}-{}", self.fleet.objects[alias].name, due.div_euclid(SECOND));
        if self.members[site].jobs.contains_key(name.as_str()) {
            return;
        }
        let role = Role::Run { cron_job: view.version.uid };
        self.make_job(site, (alias, &name), role, view.spec.epoch, view.spec.deadline);
        let number = self.number();
        let clock = self.now + self.members[site].ahead;
        let standing = self.members[site].named[alias].cron_job.as_mut();
        if let Some(cron_job) = standing.filter(|it| it.version.uid == view.version.uid) {
            cron_job.last_schedule = Some(clock);
            cron_job.version.number = number;
            let now = cron_job.clone();
            self.emit(site, &Snapshot::CronJob(alias, Some(now)));
        } else {
            // Nobody owns it any more.
            let wait = self.random.between(100, 20 * SECOND);
            self.after(wait, Event::Collect(site, view.version.uid));
        }
    }
}

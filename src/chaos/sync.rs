//! What a replica hears: its start, lists, watches, and members that are lost and found.

use super::hub::News;
use super::objects::Snapshot;
use super::trial::{Event, Letter, Trial};
use super::{ALIASES, MINUTE, Millis, REPLICAS, SECOND, SITES, Site};
use crate::hub::event::HubEvent;
use crate::member::MemberEvent;
use crate::member::event::OwnedKind;
use crate::plan::fleet::Contact;

impl Trial<'_> {
    /// A replica starts, and reads everything.
    pub fn start(&mut self, replica: usize) {
        let (fleet, now) = (self.fleet, self.now);
        self.replicas[replica].is_born(fleet, now);
        self.say(format_args!("replica {replica} starts"));
        let (policy, generation) = (self.hub.policy, self.hub.generation);
        let mut events = vec![fleet.policy(policy, generation)];
        events.extend((0..SITES).map(|site| fleet.cluster(site, self.hub.eligible[site], self.hub.paused[site])));
        for (alias, ledger) in self.hub.ledgers.iter().enumerate() {
            let ledger = ledger.as_deref().cloned().map(Box::new);
            events.extend(ledger.map(|object| HubEvent::Ledger { id: fleet.ids[alias], object: Some(object) }));
        }
        events.extend(super::Fleet::lists());
        for event in events {
            self.hub_event(replica, event);
        }
        self.replicas[replica].world.inherit();
        for site in 0..SITES {
            for event in fleet.registers(site) {
                self.member_event(replica, event);
            }
            self.members[site].lag[replica] = 0;
            self.reads_anew(replica, site);
        }
        for alias in 0..ALIASES {
            self.look_after(replica, alias, 0);
        }
        self.lease_may_end();
    }

    /// Begins to read a member, or finds that it can't.
    fn reads_anew(&mut self, replica: usize, site: Site) {
        let life = self.replicas[replica].life;
        self.members[site].reads[replica] = true;
        if self.members[site].away {
            let (wait, link) = (self.random.between(3 * SECOND, 8 * SECOND), self.members[site].link);
            self.after(wait, Event::To(replica, life, Letter::Away(site, link)));
        } else {
            let event = self.fleet.contact(site, Contact::Syncing);
            self.member_event(replica, event);
            let wait = self.random.between(200, 3 * SECOND);
            self.after(wait, Event::To(replica, life, Letter::Listed(site)));
        }
    }

    /// Nobody reaches it any more; each replica finds out by itself.
    pub fn partition(&mut self, site: Site) {
        let member = &mut self.members[site];
        if member.away {
            return;
        }
        (member.away, member.link) = (true, member.link + 1);
        let link = member.link;
        self.say(format_args!("{} can't be reached", self.fleet.names[site]));
        for replica in 0..REPLICAS {
            let (wait, life) = (self.random.between(4 * SECOND, MINUTE), self.replicas[replica].life);
            self.after(wait, Event::To(replica, life, Letter::Away(site, link)));
        }
    }

    pub fn heal(&mut self, site: Site) {
        let member = &mut self.members[site];
        if !member.away {
            return;
        }
        (member.away, member.link) = (false, member.link + 1);
        self.say(format_args!("{} can be reached again", self.fleet.names[site]));
        self.strikes("Returns");
        for replica in 0..REPLICAS {
            self.members[site].reads[replica] = true;
            let (wait, life) = (self.random.between(200, 20 * SECOND), self.replicas[replica].life);
            self.after(wait, Event::To(replica, life, Letter::Listed(site)));
        }
    }

    pub fn deliver(&mut self, replica: usize, life: u32, letter: Letter) {
        let it = &mut self.replicas[replica];
        if it.life != life || !it.up {
            return;
        }
        if it.asleep {
            return it.held.push(letter);
        }
        match letter {
            Letter::Look(alias, number) => self.look(replica, alias, number),
            Letter::Answer(token, answer) => self.member_answers(replica, token, answer),
            Letter::HubAnswer(token, answer) => self.hub_answers(replica, token, answer),
            Letter::Hub(news) => {
                let event = match news {
                    News::Ledger(alias, object) => {
                        let object = object.map(|object| Box::new((*object).clone()));
                        HubEvent::Ledger { id: self.fleet.ids[alias], object }
                    }
                    News::Policy(key, generation) => self.fleet.policy(key, generation),
                    News::Cluster(site, eligible, paused) => self.fleet.cluster(site, eligible, paused),
                };
                self.hub_event(replica, event);
            }
            Letter::Member { site, link, what } => {
                if self.members[site].link == link && !self.members[site].reads[replica] {
                    self.hears(replica, site, what);
                }
            }
            Letter::Away(site, link) => {
                if self.members[site].link == link {
                    self.members[site].reads[replica] = true;
                    let event = self.fleet.contact(site, Contact::Unreachable);
                    self.member_event(replica, event);
                }
            }
            Letter::Listed(site) => self.listed(replica, site),
            Letter::Believe => self.believe(replica),
        }
    }

    fn hears(&mut self, replica: usize, site: Site, what: Snapshot) {
        for event in what.events(self.fleet, site) {
            self.member_event(replica, event);
        }
    }

    /// The lists of a member are complete: what is not there is gone.
    fn listed(&mut self, replica: usize, site: Site) {
        if self.members[site].away || !self.members[site].reads[replica] {
            return;
        }
        self.members[site].reads[replica] = false;
        let name = &self.fleet.names[site];
        let contact = self.replicas[replica].world.contact(name);
        if contact == Contact::Unreachable {
            let event = self.fleet.contact(site, Contact::Syncing);
            self.member_event(replica, event);
        }
        self.gone(replica, site);
        for what in self.members[site].everything() {
            self.hears(replica, site, what);
        }
        if contact != Contact::Synced {
            let reads = self.fleet.reads(site);
            let synced = self.fleet.contact(site, Contact::Synced);
            for event in reads.into_iter().chain([synced]) {
                self.member_event(replica, event);
            }
        }
    }

    /// What a replica knows of that is not there any more.
    fn gone(&mut self, replica: usize, site: Site) {
        let member = self.fleet.names[site].clone();
        let Some(state) = self.replicas[replica].world.members.get(&member) else { return };
        let here = &self.members[site];
        let jobs = state.jobs.keys().filter(|name| !here.jobs.contains_key(&*name.name));
        let mut gone: Vec<MemberEvent> =
            jobs.map(|name| MemberEvent::Job { member: member.clone(), name: name.clone(), job: None }).collect();
        let stands = |name: &str| here.pods.keys().any(|number| name == format!("pod-{number}"));
        let pods = state.pods.keys().filter(|name| !stands(&name.name));
        gone.extend(pods.map(|name| MemberEvent::Pod { member: member.clone(), name: name.clone(), pod: None }));
        for alias in 0..ALIASES {
            let cron_job = state.owned.contains_key(&(OwnedKind::CronJob, self.fleet.objects[alias].clone()));
            if cron_job && here.named[alias].cron_job.is_none() {
                gone.extend(Snapshot::CronJob(alias, None).events(self.fleet, site));
            }
        }
        for event in gone {
            self.member_event(replica, event);
        }
    }

    fn moment(&self, replica: usize) -> std::time::Duration {
        let age = self.now - self.replicas[replica].born;
        std::time::Duration::from_millis(age.unsigned_abs())
    }

    fn member_event(&mut self, replica: usize, event: MemberEvent) {
        self.tell_time(replica);
        let moment = self.moment(replica);
        let it = &mut self.replicas[replica];
        let Some(event) = it.deletions.member(event, moment) else { return self.believe(replica) };
        let dirty = it.world.apply_member(event);
        self.enqueue(replica, &dirty);
    }

    fn hub_event(&mut self, replica: usize, event: HubEvent) {
        self.tell_time(replica);
        let moment = self.moment(replica);
        let it = &mut self.replicas[replica];
        if let Some(event) = it.deletions.hub(event, moment) {
            let dirty = it.world.apply_hub(event);
            self.enqueue(replica, &dirty);
        }
        if self.replicas[replica].deletions.take_changed() {
            self.believe(replica);
        }
    }

    /// Deletions that are believed by now.
    fn believe(&mut self, replica: usize) {
        self.tell_time(replica);
        let moment = self.moment(replica);
        let it = &mut self.replicas[replica];
        it.deletions.take_changed();
        let believed = it.deletions.decide(&it.world, moment);
        let (life, born) = (it.life, it.born);
        for event in believed.hub {
            let dirty = self.replicas[replica].world.apply_hub(event);
            self.enqueue(replica, &dirty);
        }
        for event in believed.members {
            let dirty = self.replicas[replica].world.apply_member(event);
            self.enqueue(replica, &dirty);
        }
        if let Some(wake) = believed.wake {
            let at = born + Millis::try_from(wake.as_millis()).unwrap_or(Millis::MAX / 2);
            self.at(at, Event::To(replica, life, Letter::Believe));
        }
    }
}

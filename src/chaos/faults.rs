//! What each fault does when its time has come, and how all of them cease.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::hub::News;
use super::schedule::{FOREIGN, Fault};
use super::trial::{Event, Trial};
use super::{ALIASES, HOUR, MINUTE, Millis, REPLICAS, SECOND, SITES, Site, stamp};
use crate::api::kopia_repository::GivenUp;
use crate::names::RepositoryId;

/// Whoever is no hub.
pub const FOREIGNER: &str = "someone@elsewhere";

impl Trial<'_> {
    pub fn fault(&mut self, fault: Fault) {
        if fault.waits() {
            return self.arm(fault);
        }
        // There is one mirror; and nobody tells apart what is one place.
        if matches!((fault, self.mirrored), (Fault::Mirrored, true) | (Fault::Distinct, false)) {
            return;
        }
        self.say(format_args!("*** {fault:?}"));
        self.strikes(fault.kind());
        match fault {
            Fault::Pin(site) => {
                let name = self.fleet.names[site].to_string();
                self.edit(|object| object.spec.cluster = Some(name.clone()));
            }
            Fault::RunNow => {
                let token = format!("token-{}", self.number());
                self.edit(|object| object.spec.run_now = Some(token.clone()));
            }
            // Of each name's record its own grant.
            Fault::Failover => self.edit(|object| {
                let grant = object.status.as_ref().and_then(|status| status.grant.as_ref());
                object.spec.failover =
                    grant.map(|grant| GivenUp { cluster: grant.cluster.clone(), epoch: grant.epoch });
            }),
            Fault::Unpin => self.edit(|object| object.spec.cluster = None),
            Fault::Freeze => {
                let until = Time(stamp(self.now + 24 * HOUR));
                self.edit(|object| object.spec.frozen_until = Some(until.clone()));
            }
            Fault::Thaw => self.edit(|object| object.spec.frozen_until = None),
            Fault::Eligible(site, eligible) => {
                self.hub.eligible[site] = eligible;
                self.tell_of_cluster(site);
            }
            Fault::Paused(site, paused) => {
                self.hub.paused[site] = paused;
                self.tell_of_cluster(site);
            }
            Fault::SuspendPolicy(suspend) => {
                self.hub.policy.2 = suspend;
                self.tell_of_policy();
            }
            Fault::Deadline(seconds) => {
                self.hub.policy.1 = seconds;
                self.tell_of_policy();
            }
            Fault::Kill { replica, down } => self.kill(replica, down),
            Fault::Sleep { replica, length, clock_stops } => self.fall_asleep(replica, length, clock_stops),
            Fault::HubClock { replica, ahead } => self.replicas[replica].ahead = ahead,
            Fault::SlowWatch { replica, site, lag } => self.members[site].lag[replica] = lag,
            Fault::LoseLedger => self.lose_ledger(),
            Fault::OldLedger => self.old_ledger(),
            Fault::Renamed(site) => self.rename(site),
            Fault::Mirrored => {
                self.mirrored = true;
                self.stores[1] = self.stores[0].mirror();
            }
            Fault::Distinct => self.tell_apart(),
            Fault::Partition { site, length } => {
                self.partition(site);
                self.after(length, Event::Heal(site));
            }
            Fault::MemberClock { site, ahead } => self.members[site].ahead = ahead,
            Fault::ForeignOwner { runs, fast } => {
                let told = self.epochs_told(false);
                self.stores[0].is_taken(FOREIGNER, fast, told);
                if runs {
                    let (wait, number) = (self.random.between(0, MINUTE), self.number());
                    self.after(wait, Event::Foreign(number, false));
                }
            }
            _ => {}
        }
    }

    /// It strikes what comes next.
    fn arm(&mut self, fault: Fault) {
        self.say(format_args!("*** armed: {fault:?}"));
        match fault {
            Fault::AnswerLost(site)
            | Fault::RequestLost(site)
            | Fault::RequestLate { site, .. }
            | Fault::LateController { site, .. }
            | Fault::RunStalls { site, .. }
            | Fault::SlowStart { site, .. }
            | Fault::ClaimDies { site, .. }
            | Fault::ClaimStalls { site, .. } => self.members[site].armed.push(fault),
            _ => self.hub.armed.push(fault),
        }
    }

    /// Of each record the operator says that it is not the other's repository.
    fn tell_apart(&mut self) {
        let ids = self.fleet.ids.map(|id| id.to_string());
        let named = self.fleet.ids.map(RepositoryId::ledger_name);
        self.edit(|object| {
            let other = usize::from(object.metadata.name.as_ref() == Some(&named[0]));
            object.spec.distinct_from = Some(ids[other].clone());
        });
    }

    fn tell_of_cluster(&mut self, site: Site) {
        let (eligible, paused) = (self.hub.eligible[site], self.hub.paused[site]);
        self.news(&News::Cluster(site, eligible, paused));
    }

    fn tell_of_policy(&mut self) {
        self.hub.generation += 1;
        let (policy, generation) = (self.hub.policy, self.hub.generation);
        self.news(&News::Policy(policy, generation));
    }

    fn kill(&mut self, replica: usize, down: Millis) {
        let it = &mut self.replicas[replica];
        if !it.up {
            return;
        }
        (it.up, it.leads, it.asleep) = (false, false, false);
        self.after(down, Event::Start(replica));
        self.lease_may_end();
    }

    /// All faults cease, and every lever is where it lets the repository be maintained.
    pub fn calm_down(&mut self) {
        self.say(format_args!("*** all faults cease"));
        self.calm = Some(self.now);
        for store in &mut self.stores {
            store.owner_sticks = false;
        }
        if self.mirrored {
            for alias in 0..ALIASES {
                self.create_ledger(alias);
            }
            self.tell_apart();
            // Where a pin leads there may be no source of that one.
            self.edit(|object| object.spec.cluster = None);
        }
        self.hub.armed.clear();
        self.edit(|object| object.spec.frozen_until = None);
        (self.hub.policy.2, self.hub.eligible, self.hub.paused) = (false, [true; SITES], [false; SITES]);
        self.tell_of_policy();
        for site in 0..SITES {
            let member = &mut self.members[site];
            member.armed.clear();
            (member.ahead, member.lag) = (0, [0; REPLICAS]);
            self.heal(site);
            self.tell_of_cluster(site);
            for alias in 0..ALIASES {
                self.cron_looks(site, alias, None);
            }
        }
        for replica in 0..REPLICAS {
            self.wake(replica);
            self.replicas[replica].ahead = 0;
        }
        if self.stores[0].owner == FOREIGNER {
            self.hits.count(FOREIGN, None);
        }
        self.after(11 * SECOND, Event::Lease);
    }
}

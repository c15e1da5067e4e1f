//! The hub's own API server: the ledger's one object, and what operators set.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::fleet::PolicyKey;
use super::schedule::Fault;
use super::trial::{Asker, Event, Letter, Trial};
use super::{MINUTE, Millis, REPLICAS, SECOND, SITES, Site, stamp};
use crate::api::kopia_repository::{GrantPhase, KopiaRepository, KopiaRepositoryStatus};
use crate::plan::fleet::Phase;
use crate::plan::observe;

/// When a client of the hub's API server gives up.
const TIMEOUT: Millis = 15 * SECOND;
/// A backup of the ledger is this old.
const BACKUP_AGE: Millis = 20 * MINUTE;

#[derive(Clone, Debug)]
pub struct Hub {
    pub ledger: Option<Arc<KopiaRepository>>,
    version: u64,
    pub policy: PolicyKey,
    pub generation: i64,
    pub eligible: [bool; SITES],
    pub paused: [bool; SITES],
    pub armed: Vec<Fault>,
    /// Statuses that were written, and when.
    history: Vec<(Millis, KopiaRepositoryStatus)>,
    /// Until when news are on their way to each replica.
    busy: [Millis; REPLICAS],
}

/// What changed on the hub.
#[derive(Clone, Debug)]
pub enum News {
    Ledger(Option<Arc<KopiaRepository>>),
    Policy(PolicyKey, i64),
    Cluster(Site, bool, bool),
}

#[derive(Clone, Debug)]
pub enum HubRequest {
    Create,
    Get,
    /// On exactly this version.
    Write {
        version: String,
        status: Box<KopiaRepositoryStatus>,
    },
}

#[derive(Clone, Debug)]
pub enum HubAnswer {
    Object(Arc<KopiaRepository>),
    Conflict,
    Failed,
}

impl Hub {
    pub fn new(period: u32, deadline: u32) -> Self {
        Self {
            ledger: None,
            version: 1,
            policy: (period, deadline, false),
            generation: 1,
            eligible: [true; SITES],
            paused: [false; SITES],
            armed: Vec::new(),
            history: Vec::new(),
            busy: [0; REPLICAS],
        }
    }

    pub fn phase(&self) -> Option<Phase> {
        let grant = self.ledger.as_deref()?.status.as_ref()?.grant.as_ref()?;
        Some(match grant.phase {
            GrantPhase::Claiming => Phase::Claiming,
            GrantPhase::Draining => Phase::Draining,
            GrantPhase::Active => Phase::Active,
            GrantPhase::Resuming => Phase::Resuming,
            GrantPhase::Recovering => Phase::Recovering,
        })
    }

    fn take(&mut self, is: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let index = self.armed.iter().position(is)?;
        Some(self.armed.remove(index))
    }

    fn write(&mut self, change: impl FnOnce(&mut KopiaRepository)) {
        self.version += 1;
        if let Some(ledger) = &mut self.ledger {
            let ledger = Arc::make_mut(ledger);
            change(ledger);
            ledger.metadata.resource_version = Some(self.version.to_string());
        }
    }
}

impl Trial<'_> {
    /// Sends one request of a replica on its way.
    pub fn ask_hub(&mut self, request: HubRequest, (replica, life, token): Asker) {
        let latency = self.replicas[replica].random.between(2, 40);
        let is_write = matches!(request, HubRequest::Write { .. });
        if is_write && self.hub.take(|it| *it == Fault::CasConflict).is_some() {
            self.strikes("CasConflict");
            self.edit(|_| {});
        }
        let lost = is_write && self.hub.take(|it| *it == Fault::LedgerAnswerLost).is_some();
        if lost {
            self.strikes("LedgerAnswerLost");
            self.after(TIMEOUT, Event::To(replica, life, Letter::HubAnswer(token, HubAnswer::Failed)));
        }
        let asker = (!lost).then_some((replica, life, token));
        self.after(latency, Event::AtHub { request: Box::new(request), asker });
    }

    pub fn serve_at_hub(&mut self, request: HubRequest, asker: Option<Asker>) {
        let before = self.phase();
        let answer = match request {
            HubRequest::Get => match &self.hub.ledger {
                Some(object) => HubAnswer::Object(Arc::clone(object)),
                None => HubAnswer::Failed,
            },
            HubRequest::Create => HubAnswer::Object(self.create_ledger()),
            HubRequest::Write { version, status } => {
                let standing = self.hub.ledger.as_ref().map(|it| it.metadata.resource_version.as_deref());
                match standing {
                    None => HubAnswer::Failed,
                    Some(standing) if standing != Some(&version) => HubAnswer::Conflict,
                    Some(_) => {
                        self.hub.write(|object| object.status = Some(*status));
                        self.written(before)
                    }
                }
            }
        };
        let Some((replica, life, token)) = asker else { return };
        let latency = self.random.between(2, 40);
        self.after(latency, Event::To(replica, life, Letter::HubAnswer(token, answer)));
    }

    fn create_ledger(&mut self) -> Arc<KopiaRepository> {
        if let Some(object) = &self.hub.ledger {
            return Arc::clone(object);
        }
        let uid = self.number();
        self.hub.version += 1;
        let metadata = ObjectMeta {
            name: Some(self.fleet.id.ledger_name()),
            uid: Some(uid.to_string()),
            resource_version: Some(self.hub.version.to_string()),
            generation: Some(1),
            creation_timestamp: Some(Time(crate::time::whole_seconds(stamp(self.now)))),
            ..ObjectMeta::default()
        };
        let object = Arc::new(KopiaRepository { metadata, ..KopiaRepository::default() });
        self.hub.ledger = Some(Arc::clone(&object));
        self.news(&News::Ledger(Some(Arc::clone(&object))));
        object
    }

    /// The status was written, by whomever.
    fn written(&mut self, before: Option<Phase>) -> HubAnswer {
        let Some(object) = self.hub.ledger.clone() else { return HubAnswer::Failed };
        let record = observe::ledger(&object);
        if let Some(status) = object.status.as_ref().filter(|_| self.schedule.has("OldLedger")) {
            self.hub.history.push((self.now, status.clone()));
        }
        if let Some(grant) = &record.grant {
            self.mix(grant.epoch);
            self.mix(grant.phase as u64);
            self.was_active |= grant.phase == Phase::Active;
            self.verdict.counts |= self.was_active && grant.phase != Phase::Active;
            if before != Some(grant.phase) || grant.phase != Phase::Active {
                let drain: Vec<_> = record.drain.iter().map(|it| it.cluster.as_str()).collect();
                let from = grant.from.as_ref().map(|from| format!("{}@{}", from.epoch, from.cluster));
                self.say(format_args!(
                    "ledger: epoch {} in {}, {:?}, from {from:?}, drains {drain:?}",
                    grant.epoch, grant.cluster, grant.phase
                ));
            }
        }
        self.news(&News::Ledger(Some(Arc::clone(&object))));
        HubAnswer::Object(object)
    }

    /// An operator edits the ledger's object.
    pub fn edit(&mut self, change: impl FnOnce(&mut KopiaRepository)) {
        if self.hub.ledger.is_none() {
            return;
        }
        self.hub.write(|object| {
            change(object);
            object.metadata.generation = object.metadata.generation.map(|it| it + 1);
        });
        let ledger = self.hub.ledger.clone();
        self.news(&News::Ledger(ledger));
    }

    pub fn lose_ledger(&mut self) {
        self.hub.ledger = None;
        let told = self.epoch_told(false);
        self.kopia.ledger_is_lost(told);
        self.news(&News::Ledger(None));
    }

    /// Puts back what the ledger said a while ago.
    pub fn old_ledger(&mut self) {
        let old = self.hub.history.iter().rev().find(|(at, _)| *at < self.now - BACKUP_AGE).cloned();
        let Some((_, status)) = old.filter(|_| self.hub.ledger.is_some()) else { return };
        let before = self.phase();
        let told = self.epoch_told(false);
        self.kopia.ledger_is_lost(told);
        self.hub.write(|object| object.status = Some(status));
        self.written(before);
    }

    /// The highest epoch that a CronJob bears in members that can be reached, or in those that are away. Jobs are tidied
    /// away by and by.
    pub fn epoch_told(&self, away: bool) -> u64 {
        let members = self.members.iter().filter(|member| member.away == away);
        members.filter_map(|member| member.cron_job.as_ref()).map(|it| it.spec.epoch).max().unwrap_or(0)
    }

    /// Tells the replicas.
    pub fn news(&mut self, news: &News) {
        for replica in 0..REPLICAS {
            if !self.replicas[replica].up {
                continue;
            }
            let latency = self.replicas[replica].random.between(5, 400);
            let at = (self.now + latency).max(self.hub.busy[replica]);
            self.hub.busy[replica] = at;
            let life = self.replicas[replica].life;
            self.at(at, Event::To(replica, life, Letter::Hub(news.clone())));
        }
    }
}

//! The hub's own API server: the ledger's one object, and what operators set.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::fleet::PolicyKey;
use super::schedule::Fault;
use super::trial::{Asker, Event, Letter, Trial};
use super::{ALIASES, Alias, MINUTE, Millis, REPLICAS, SECOND, SITES, Site, stamp};
use crate::api::kopia_repository::{GrantPhase, KopiaRepository, KopiaRepositoryStatus};
use crate::plan::fleet::{Grant, Phase};
use crate::plan::observe;

/// When a client of the hub's API server gives up.
const TIMEOUT: Millis = 15 * SECOND;
/// A backup of the ledger is this old.
const BACKUP_AGE: Millis = 20 * MINUTE;

#[derive(Clone, Debug)]
pub struct Hub {
    /// A record for each of the repository's names.
    pub ledgers: [Option<Arc<KopiaRepository>>; ALIASES],
    version: u64,
    pub policy: PolicyKey,
    pub generation: i64,
    pub eligible: [bool; SITES],
    pub paused: [bool; SITES],
    pub armed: Vec<Fault>,
    /// Statuses that were written, and when.
    history: Vec<(Millis, Alias, KopiaRepositoryStatus)>,
    /// Until when news are on their way to each replica.
    busy: [Millis; REPLICAS],
}

/// What changed on the hub.
#[derive(Clone, Debug)]
pub enum News {
    Ledger(Alias, Option<Arc<KopiaRepository>>),
    Policy(PolicyKey, i64),
    Cluster(Site, bool, bool),
}

#[derive(Clone, Debug)]
pub enum HubRequest {
    Create(Alias),
    Get(Alias),
    /// On exactly this version.
    Write {
        alias: Alias,
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
            ledgers: [None, None],
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

    /// Of the grant in which something moves, where there are two.
    pub fn phase(&self) -> Option<Phase> {
        let mut phases = (0..ALIASES).filter_map(|alias| self.phase_of(alias));
        let first = phases.next()?;
        Some(if first == Phase::Active { phases.next().unwrap_or(first) } else { first })
    }

    fn phase_of(&self, alias: Alias) -> Option<Phase> {
        let grant = self.ledgers[alias].as_deref()?.status.as_ref()?.grant.as_ref()?;
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

    fn write(&mut self, alias: Alias, change: impl FnOnce(&mut KopiaRepository)) {
        self.version += 1;
        if let Some(ledger) = &mut self.ledgers[alias] {
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
        let answer = match request {
            HubRequest::Get(alias) => match &self.hub.ledgers[alias] {
                Some(object) => HubAnswer::Object(Arc::clone(object)),
                None => HubAnswer::Failed,
            },
            HubRequest::Create(alias) => HubAnswer::Object(self.create_ledger(alias)),
            HubRequest::Write { alias, version, status } => {
                let before = self.grant(alias);
                let standing = self.hub.ledgers[alias].as_ref().map(|it| it.metadata.resource_version.as_deref());
                match standing {
                    None => HubAnswer::Failed,
                    Some(standing) if standing != Some(&version) => HubAnswer::Conflict,
                    Some(_) => {
                        self.say_what_is_told(alias, &status);
                        self.hub.write(alias, |object| object.status = Some(*status));
                        self.written(alias, before.as_ref())
                    }
                }
            }
        };
        let Some((replica, life, token)) = asker else { return };
        let latency = self.random.between(2, 40);
        self.after(latency, Event::To(replica, life, Letter::HubAnswer(token, answer)));
    }

    pub fn create_ledger(&mut self, alias: Alias) -> Arc<KopiaRepository> {
        if let Some(object) = &self.hub.ledgers[alias] {
            return Arc::clone(object);
        }
        let uid = self.number();
        self.hub.version += 1;
        let metadata = ObjectMeta {
            name: Some(self.fleet.ids[alias].ledger_name()),
            uid: Some(uid.to_string()),
            resource_version: Some(self.hub.version.to_string()),
            generation: Some(1),
            creation_timestamp: Some(Time(crate::time::whole_seconds(stamp(self.now)))),
            ..ObjectMeta::default()
        };
        let object = Arc::new(KopiaRepository { metadata, ..KopiaRepository::default() });
        self.hub.ledgers[alias] = Some(Arc::clone(&object));
        self.news(&News::Ledger(alias, Some(Arc::clone(&object))));
        object
    }

    /// The status was written, by whomever.
    fn written(&mut self, alias: Alias, before: Option<&Grant>) -> HubAnswer {
        let Some(object) = self.hub.ledgers[alias].clone() else { return HubAnswer::Failed };
        let record = observe::ledger(&object);
        if let Some(status) = object.status.as_ref().filter(|_| self.schedule.has("OldLedger")) {
            self.hub.history.push((self.now, alias, status.clone()));
        }
        if let Some(grant) = &record.grant {
            self.mix(grant.epoch);
            self.mix(grant.phase as u64);
            self.was_active |= grant.phase == Phase::Active;
            self.verdict.counts |= self.was_active && grant.phase != Phase::Active;
            self.judge(alias, before, grant);
            if before.map(|it| it.phase) != Some(grant.phase) || grant.phase != Phase::Active {
                let drain: Vec<_> = record.drain.iter().map(|it| it.cluster.as_str()).collect();
                let from = grant.from.as_ref().map(|from| format!("{}@{}", from.epoch, from.cluster));
                self.say(format_args!(
                    "ledger {alias}: epoch {} in {}, {:?}, from {from:?}, drains {drain:?}",
                    grant.epoch, grant.cluster, grant.phase
                ));
            }
        }
        self.news(&News::Ledger(alias, Some(Arc::clone(&object))));
        HubAnswer::Object(object)
    }

    fn say_what_is_told(&mut self, alias: Alias, status: &KopiaRepositoryStatus) {
        let told = |status: &KopiaRepositoryStatus| {
            let condition = status.conditions.iter().find(|it| it.type_ == "Maintained")?;
            Some((condition.reason.clone(), condition.message.clone()))
        };
        let before = self.hub.ledgers[alias].as_ref().and_then(|object| told(object.status.as_ref()?));
        let Some((reason, message)) = told(status) else { return };
        if before.is_none_or(|(before, _)| before != reason) {
            self.say(format_args!("status {alias}: {reason}: {message}"));
        }
    }

    /// What the ledger says now, as it looks from the repository.
    fn judge(&mut self, alias: Alias, before: Option<&Grant>, grant: &Grant) {
        let Some(site) = self.fleet.site(&grant.cluster) else { return };
        let owner = self.owner(site, (alias, grant.epoch));
        let same = before.is_some_and(|it| (&it.cluster, it.epoch) == (&grant.cluster, grant.epoch));
        let claimed = same && before.is_some_and(|it| it.phase == Phase::Claiming);
        match grant.phase {
            Phase::Draining | Phase::Active
                if claimed && !self.stores.iter().any(|store| store.was_owned_by(&owner)) =>
            {
                self.stores[0].never_was_owned_by(&owner, self.now);
            }
            Phase::Claiming if !same => {
                let asks = before.map_or(self.epochs_told(false)[alias] > 0, |it| it.phase == Phase::Recovering);
                for store in &mut self.stores {
                    store.is_granted(alias, owner.clone(), asks);
                }
            }
            _ => {}
        }
    }

    fn grant(&self, alias: Alias) -> Option<Grant> {
        observe::ledger(self.hub.ledgers[alias].as_deref()?).grant
    }

    /// An operator edits the ledger's object, that of each name where there are two.
    pub fn edit(&mut self, change: impl Fn(&mut KopiaRepository)) {
        for alias in (0..ALIASES).filter(|alias| self.hub.ledgers[*alias].is_some()).collect::<Vec<_>>() {
            self.hub.write(alias, |object| {
                change(object);
                object.metadata.generation = object.metadata.generation.map(|it| it + 1);
            });
            let ledger = self.hub.ledgers[alias].clone();
            self.news(&News::Ledger(alias, ledger));
        }
    }

    /// One of the records, where there are two.
    fn some_record(&mut self) -> Option<Alias> {
        let there: Vec<Alias> = (0..ALIASES).filter(|alias| self.hub.ledgers[*alias].is_some()).collect();
        self.random.pick(&there)
    }

    fn is_lost(&mut self, alias: Alias, told: [u64; ALIASES]) {
        for store in &mut self.stores {
            store.ledger_is_lost(alias, told);
        }
    }

    pub fn lose_ledger(&mut self) {
        let Some(alias) = self.some_record() else { return };
        self.hub.ledgers[alias] = None;
        let told = self.epochs_told(false);
        self.is_lost(alias, told);
        self.news(&News::Ledger(alias, None));
    }

    /// Puts back what the ledger said a while ago.
    pub fn old_ledger(&mut self) {
        let Some(alias) = self.some_record() else { return };
        let mut history = self.hub.history.iter().rev();
        let old = history.find(|(at, of, _)| *of == alias && *at < self.now - BACKUP_AGE).cloned();
        let Some((.., status)) = old else { return };
        let before = self.grant(alias);
        let told = self.epochs_told(false);
        self.is_lost(alias, told);
        self.hub.write(alias, |object| object.status = Some(status));
        // Nobody says that anything was claimed now.
        self.written(alias, before.filter(|grant| grant.phase != Phase::Claiming).as_ref());
    }

    /// The highest epoch that a CronJob bears in members that can be reached, or in those that are away, under each name. Jobs
    /// are tidied away by and by.
    pub fn epochs_told(&self, away: bool) -> [u64; ALIASES] {
        let mut told = [0; ALIASES];
        for named in self.members.iter().filter(|member| member.away == away).map(|member| &member.named) {
            for (told, named) in told.iter_mut().zip(named) {
                *told = named.cron_job.as_ref().map_or(*told, |it| it.spec.epoch.max(*told));
            }
        }
        told
    }

    /// Nothing overtakes on a watch.
    pub fn news_not_before(&mut self, replica: usize, at: Millis) {
        let of_members = self.members.iter_mut().map(|member| &mut member.busy[replica]);
        for busy in of_members.chain([&mut self.hub.busy[replica]]) {
            *busy = at.max(*busy);
        }
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

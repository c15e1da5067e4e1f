//! Everything that runs for one member with one set of credentials. Ends with the future that runs it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch::Receiver;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::names::MemberName;

use super::MemberSettings;
use super::call::Member;
use super::contact::{self, Progress, until_up};
use super::event::{ConditionKind, MemberCondition, MemberEvent};
use super::exec::Renewal;
use super::inputs::Sheet;
use super::kinds::{
    CronJobs, Jobs, Keeper, Kind, Namespaces, Pods, Pushed, Sources, hub_selector, maintenance_selector,
};
use super::secrets::{self, Known};
use super::seen::{Events, Seen};
use super::watch::{self, Pause, Target};
use super::{facts, foreign};

/// Until identity is asked for again where it was not told: a member that refuses connections is known to be down
/// within seconds, for nobody else waits for it longer than that.
const IDENTIFY_RETRY: Duration = Duration::from_secs(1);
/// Until the right to watch Secrets is asked for again where it was not there.
const RIGHTS_RETRY: Duration = Duration::from_mins(10);

/// What is remembered of a member beyond one set of credentials.
#[derive(Debug, Default)]
pub struct Memory {
    sources: Arc<Mutex<Seen>>,
    namespaces: Arc<Mutex<Seen>>,
    cron_jobs: Arc<Mutex<Seen>>,
    jobs: Arc<Mutex<Seen>>,
    pods: Arc<Mutex<Seen>>,
    secrets: Arc<Mutex<Seen>>,
    config_maps: Arc<Mutex<Seen>>,
    referenced: Arc<Known>,
}

/// Which cluster a member turned out to be.
#[derive(Debug)]
pub struct Identified {
    pub member: MemberName,
    pub incarnation: u64,
    /// None where it may not be read.
    pub uid: Option<Box<str>>,
}

/// Whether a member counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not told yet which cluster it is.
    Waiting,
    Active,
    /// The same cluster as this other member.
    Duplicate(MemberName),
}

/// How long the credentials are good, and what keeps them so.
pub struct Upkeep {
    pub expires: Option<Timestamp>,
    pub renewal: Option<Renewal>,
}

pub struct Incarnation {
    pub member: Member,
    pub settings: MemberSettings,
    pub sheet: Sheet,
    pub events: Events,
    pub pages: Arc<Semaphore>,
    pub upkeep: Upkeep,
    pub identified: mpsc::Sender<Identified>,
    pub role: Receiver<Role>,
    /// Replaced where the member was void as a duplicate.
    pub memory: Arc<Mutex<Arc<Memory>>>,
}

impl Incarnation {
    /// Runs until one of its tasks ends: by itself only the one that keeps credentials fresh, for a new client.
    pub async fn run(mut self) {
        let progress = Progress::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(contact::heartbeat(self.member.clone()));
        tasks.spawn(contact::report(self.member.clone(), progress.clone(), self.events.clone()));
        if let Some(renewal) = self.upkeep.renewal.take() {
            tasks.spawn(renewal.keep(self.member.clone()));
        }
        tokio::select! {
            () = self.identify() => {}
            _ = tasks.join_next() => return,
        }
        loop {
            let role = self.role.borrow_and_update().clone();
            let mut observers = JoinSet::new();
            match &role {
                Role::Waiting => {}
                Role::Active => {
                    self.say_duplicate(None).await;
                    self.observe(&progress, &mut observers);
                }
                Role::Duplicate(of) => self.say_duplicate(Some(of.clone())).await,
            }
            tokio::select! {
                changed = self.role.changed() => if changed.is_err() { return },
                Some(ended) = observers.join_next() => {
                    tracing::error!(member = %self.events.member, ?ended, "an observer ended; all start anew");
                    return;
                }
                _ = tasks.join_next() => return,
            }
            // They end before anything else is said of this member.
            observers.shutdown().await;
        }
    }

    async fn identify(&self) {
        loop {
            until_up(&self.member).await;
            match facts::cluster_uid(&self.member).await {
                Ok(uid) => {
                    if let Some(uid) = &uid {
                        // The first answer counts: a client is for one cluster.
                        let _ = self.member.counters().cluster_uid.set(uid.clone());
                    }
                    let (member, incarnation) = (self.events.member.clone(), self.member.incarnation());
                    // A closed queue means that the supervisor has ended, and this with it.
                    let _ = self.identified.send(Identified { member, incarnation, uid }).await;
                    return;
                }
                Err(error) => {
                    tracing::warn!(member = %self.events.member, %error, "which cluster this is can't be told yet");
                    tokio::time::sleep(IDENTIFY_RETRY).await;
                }
            }
        }
    }

    async fn say_duplicate(&self, of: Option<MemberName>) {
        let member = || self.events.member.clone();
        let (reason, message) = match &of {
            Some(of) => ("SameCluster", format!("this is the same cluster as member {of}; remove one of the two")),
            None => ("Single", "no other member is this cluster".to_owned()),
        };
        if of.is_some() {
            // What was observed is void, so it is reported from scratch if this one ever counts.
            let mut memory = self.memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *memory = Arc::default();
        }
        let status = Some(of.is_some());
        let condition = MemberCondition { kind: ConditionKind::Duplicate, status, reason, message: message.into() };
        self.events.send(MemberEvent::Duplicate { member: member(), of }).await;
        self.events.send(MemberEvent::Condition { member: member(), condition }).await;
    }

    fn observe(&self, progress: &Progress, tasks: &mut JoinSet<()>) {
        let memory = self.memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let look_again = Arc::new(Notify::new());
        let watches = Watches { incarnation: self, progress, look_again: &look_again };
        let ours = &self.settings.member_namespace;
        let member = self.member.clone();
        let crd_stands = move || {
            let member = member.clone();
            async move { facts::crd_stands(&member).await }
        };
        let plain = |what, path: &str| Target { what, path: path.to_owned(), ..Target::default() };
        let maintenance =
            |what, path| Target { what, path, selector: Some(maintenance_selector()), ..Target::default() };
        let runs = |what, path| Target { runs: true, ..maintenance(what, path) };
        let pushed =
            |what, path| Target { what, path, selector: Some(hub_selector()), bare: true, ..Target::default() };

        let target = plain("ReplicationSources", "/apis/volsync.backube/v1alpha1/replicationsources");
        watches.start(tasks, Sources { crd_stands }, &memory.sources, target);
        let target = Target { bare: true, ..plain("Namespaces", "/api/v1/namespaces") };
        watches.start(tasks, Namespaces, &memory.namespaces, target);
        let target = maintenance("CronJobs", "/apis/batch/v1/cronjobs".to_owned());
        let kind = CronJobs { hub: self.settings.hub_id.clone(), namespace: ours.clone() };
        watches.start(tasks, kind, &memory.cron_jobs, target);
        let target = runs("Jobs", format!("/apis/batch/v1/namespaces/{ours}/jobs"));
        watches.start(tasks, Jobs { of: self.member.clone() }, &memory.jobs, target);
        let target = runs("Pods", format!("/api/v1/namespaces/{ours}/pods"));
        watches.start(tasks, Pods { of: self.member.clone() }, &memory.pods, target);
        let target = pushed("Secrets of the hub", format!("/api/v1/namespaces/{ours}/secrets"));
        watches.start(tasks, Pushed::<true>, &memory.secrets, target);
        let target = pushed("ConfigMaps of the hub", format!("/api/v1/namespaces/{ours}/configmaps"));
        watches.start(tasks, Pushed::<false>, &memory.config_maps, target);

        self.observe_references(&memory, tasks);
        tasks.spawn(foreign::run(self.member.clone(), self.sheet.looks.clone(), self.events.clone()));
        tasks.spawn(
            facts::Observer {
                member: self.member.clone(),
                settings: self.settings.clone(),
                looks: self.sheet.looks.clone(),
                events: self.events.clone(),
                expires: self.upkeep.expires,
                look_again,
            }
            .run(),
        );
    }

    fn observe_references(&self, memory: &Memory, tasks: &mut JoinSet<()>) {
        let (reader, mut sink) = secrets::reader(
            self.member.clone(),
            self.events.clone(),
            memory.referenced.clone(),
            self.sheet.secrets.clone(),
            self.sheet.config_maps.clone(),
        );
        tasks.spawn(reader.run());
        let (member, pages) = (self.member.clone(), self.pages.clone());
        tasks.spawn(async move {
            let mut unanswered = Pause::default();
            loop {
                until_up(&member).await;
                match secrets::may_watch(&member).await {
                    Ok(true) => break,
                    Ok(false) => {
                        unanswered = Pause::default();
                        tokio::time::sleep(RIGHTS_RETRY).await;
                    }
                    // Not a no: until it is answered, changes of Secrets are found a minute late.
                    Err(_) => tokio::time::sleep(unanswered.next()).await,
                }
            }
            let path = "/api/v1/secrets".to_owned();
            let target = Target { what: "metadata of Secrets", path, bare: true, ..Target::default() };
            watch::run(&member, &target, &pages, &mut sink).await;
        });
    }
}

struct Watches<'a> {
    incarnation: &'a Incarnation,
    progress: &'a Progress,
    look_again: &'a Arc<Notify>,
}

impl Watches<'_> {
    fn start<K: Kind>(&self, tasks: &mut JoinSet<()>, kind: K, seen: &Arc<Mutex<Seen>>, target: Target) {
        let mut keeper = Keeper {
            kind,
            seen: seen.clone(),
            events: self.incarnation.events.clone(),
            progress: self.progress.clone(),
            look_again: self.look_again.clone(),
            deleted: BTreeSet::new(),
            was_failing: false,
            unanswered: 0,
        };
        let (member, pages) = (self.incarnation.member.clone(), self.incarnation.pages.clone());
        tasks.spawn(async move { watch::run(&member, &target, &pages, &mut keeper).await });
    }
}

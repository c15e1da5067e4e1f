//! The supervisor's state: who is registered, what runs, which cluster it is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::member::call::Member;
use crate::member::client::{self, ConnectError, Made};
use crate::member::event::{ConditionKind, MemberCondition, MemberEvent};
use crate::member::incarnation::{Identified, Incarnation, Memory, Role, Upkeep};
use crate::member::inputs::Inputs;
use crate::member::registry::{Origin, Registration, RegistryEvent};
use crate::member::seen::Events;
use crate::member::{Fence, MemberSettings, Peer};
use crate::names::MemberName;
use crate::plan::fleet::Contact;

use super::Members;

/// Between the starts of two members: a hundred TLS handshakes a second keep one core busy.
const START_GAP: Duration = Duration::from_millis(10);
/// A credential program may ask an identity provider.
const BUILD_TIMEOUT: Duration = Duration::from_secs(30);
/// Until a client that could not be made is tried again; a changed registration is tried at once.
const BUILD_RETRY: Duration = Duration::from_mins(1);
/// Until the tasks of a member start anew after one of them broke.
const RESTART: Duration = Duration::from_secs(5);
/// Aborted tasks end at their next await.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Each member says once which cluster it is.
const IDENTIFIED_MAX: usize = 64;

pub struct Core {
    settings: MemberSettings,
    inputs: Inputs,
    events: mpsc::Sender<MemberEvent>,
    members: Members,
    pages: Arc<Semaphore>,
    entries: BTreeMap<MemberName, Entry>,
    /// Counts all clients ever made, so that no two have one number.
    incarnations: u64,
    next_start: Instant,
    builds: JoinSet<Built>,
    runs: JoinSet<(MemberName, u64)>,
    identified: (mpsc::Sender<Identified>, mpsc::Receiver<Identified>),
}

/// All that is known of one member name.
#[derive(Default)]
struct Entry {
    /// Of several the first counts.
    registrations: BTreeMap<Origin, Registration>,
    memory: Arc<Mutex<Arc<Memory>>>,
    current: Arc<AtomicU64>,
    /// The client being made.
    building: Option<u64>,
    running: Option<Running>,
    uid: Option<Box<str>>,
    /// The cluster that this was when duplicates were looked for last.
    settled: Option<Box<str>>,
}

struct Running {
    incarnation: u64,
    origin: Origin,
    fingerprint: [u8; 32],
    abort: AbortHandle,
    /// Closed when the tasks have ended.
    ended: oneshot::Receiver<()>,
    role: watch::Sender<Role>,
}

struct Built {
    name: MemberName,
    incarnation: u64,
    origin: Origin,
    fingerprint: [u8; 32],
    expires: Option<Timestamp>,
    client: Result<Made, ConnectError>,
}

impl Core {
    pub fn new(
        settings: MemberSettings,
        inputs: Inputs,
        events: mpsc::Sender<MemberEvent>,
        members: Members,
        pages: Arc<Semaphore>,
    ) -> Self {
        Self {
            settings,
            inputs,
            events,
            members,
            pages,
            entries: BTreeMap::new(),
            incarnations: 0,
            next_start: Instant::now(),
            builds: JoinSet::new(),
            runs: JoinSet::new(),
            identified: mpsc::channel(IDENTIFIED_MAX),
        }
    }

    pub async fn run(&mut self, mut registrations: mpsc::Receiver<RegistryEvent>) {
        loop {
            tokio::select! {
                Some(event) = registrations.recv() => self.registered(event).await,
                Some(built) = self.builds.join_next() => match built {
                    Ok(built) => self.built(built).await,
                    Err(error) => tracing::error!(%error, "making a client broke off"),
                },
                Some(ended) = self.runs.join_next() => self.ended(ended),
                Some(identified) = self.identified.1.recv() => self.identified(identified),
                Ok(()) = self.inputs.configs.changed() => self.settle_duplicates(),
            }
        }
    }

    pub async fn shutdown(&mut self) {
        self.builds.shutdown().await;
        self.runs.shutdown().await;
    }

    async fn send(&self, event: MemberEvent) {
        // A closed queue means that the hub is stopping.
        let _ = self.events.send(event).await;
    }

    async fn registered(&mut self, event: RegistryEvent) {
        match event {
            RegistryEvent::Present(registration) => {
                let name = registration.name.clone();
                let entry = self.entries.entry(name.clone()).or_default();
                entry.registrations.insert(registration.origin.clone(), *registration);
                self.choose(&name).await;
            }
            RegistryEvent::Gone { name, origin } => {
                let entry = self.entries.entry(name.clone()).or_default();
                entry.registrations.remove(&origin);
                self.choose(&name).await;
            }
            RegistryEvent::Broken { name, origin, reason, message } => {
                tracing::warn!(%name, %origin, reason, message, "a registration can't be used");
                let member = MemberName::new(name.clone());
                let runs = self.entries.get(&member).is_some_and(|entry| entry.running.is_some());
                if !runs {
                    self.unreachable(&member, reason, &message).await;
                }
                self.send(MemberEvent::Problem { name, origin, reason, message }).await;
            }
        }
    }

    /// Takes the registration that counts into use, where it is not in use already.
    async fn choose(&mut self, name: &MemberName) {
        let Some(entry) = self.entries.get(name) else { return };
        let Some((origin, registration)) = entry.registrations.first_key_value() else { return self.stop(name).await };
        let origin = origin.clone();
        let in_use = entry.running.as_ref().map(|it| (&it.origin, &it.fingerprint));
        let is_in_use = in_use == Some((&origin, &registration.credentials.fingerprint));
        if !is_in_use {
            let registration = registration.clone();
            tracing::info!(member = %name, %origin, server = registration.credentials.server(), "registered");
            self.build(registration, Duration::ZERO);
        }
        self.send(MemberEvent::Registered { member: name.clone(), origin: Some(origin) }).await;
    }

    fn build(&mut self, registration: Registration, delay: Duration) {
        self.incarnations += 1;
        let incarnation = self.incarnations;
        self.next_start = self.next_start.max(Instant::now()) + START_GAP;
        let start = self.next_start + delay;
        let Registration { name, origin, credentials, .. } = registration;
        self.entries.entry(name.clone()).or_default().building = Some(incarnation);
        let (fingerprint, expires) = (credentials.fingerprint, credentials.expires);
        let ours = self.settings.share.owns_member(&name);
        let peer = Peer::new(name.as_str(), if ours { self.settings.fence.clone() } else { Fence::shut() });
        self.builds.spawn(async move {
            tokio::time::sleep_until(start).await;
            let made = tokio::time::timeout(BUILD_TIMEOUT, client::make(credentials, peer)).await;
            let client = made.unwrap_or(Err(ConnectError::Credentials));
            Built { name, incarnation, origin, fingerprint, expires, client }
        });
    }

    async fn built(&mut self, built: Built) {
        let Some(entry) = self.entries.get_mut(&built.name) else { return };
        // Registered anew or gone meanwhile.
        if entry.building != Some(built.incarnation) {
            return;
        }
        entry.building = None;
        match built.client {
            Ok(Made { client, counters, renewal }) => {
                let member = Member::new(built.name.clone(), built.incarnation, client, counters);
                let upkeep = Upkeep { expires: built.expires, renewal };
                self.start(member, built.origin, built.fingerprint, upkeep).await;
            }
            Err(error) => {
                let message = error.to_string();
                let again = entry.registrations.get(&built.origin).cloned();
                let runs = entry.running.is_some();
                tracing::warn!(member = %built.name, %error, "no client can be made");
                if !runs {
                    self.unreachable(&built.name, "InvalidKubeconfig", &message).await;
                }
                let (name, origin) = (Arc::from(built.name.as_str()), built.origin);
                self.send(MemberEvent::Problem { name, origin, reason: "InvalidKubeconfig", message }).await;
                if let Some(registration) = again {
                    self.build(registration, BUILD_RETRY);
                }
            }
        }
    }

    /// Puts a new client in the place of the old one, and nothing else.
    async fn start(&mut self, member: Member, origin: Origin, fingerprint: [u8; 32], upkeep: Upkeep) {
        let (name, incarnation) = (member.name().clone(), member.incarnation());
        let Some(entry) = self.entries.get_mut(&name) else { return };
        // From here on nothing that the old tasks still say counts.
        entry.current.store(incarnation, Ordering::Release);
        entry.uid = None;
        if let Some(old) = entry.running.take() {
            end(old).await;
        }
        let (ended_sender, ended) = oneshot::channel();
        let role = watch::Sender::new(Role::Waiting);
        let run = Incarnation {
            member: member.clone(),
            settings: self.settings.clone(),
            sheet: self.inputs.sheets.of(&name),
            events: Events::new(name.clone(), incarnation, entry.current.clone(), self.events.clone()),
            pages: self.pages.clone(),
            upkeep,
            identified: self.identified.0.clone(),
            role: role.subscribe(),
            memory: entry.memory.clone(),
        };
        let ended_name = name.clone();
        let abort = self.runs.spawn(async move {
            let _ended: oneshot::Sender<()> = ended_sender;
            run.run().await;
            (ended_name, incarnation)
        });
        entry.running = Some(Running { incarnation, origin, fingerprint, abort, ended, role });
        self.publish(|members| drop(members.insert(name.clone(), member.clone())));
    }

    fn publish(&self, change: impl Fn(&mut BTreeMap<MemberName, Member>)) {
        self.members.rcu(|members| {
            let mut members = BTreeMap::clone(members);
            change(&mut members);
            members
        });
    }

    /// The last registration is gone: the member counts as unreachable, and what it had as it was.
    async fn stop(&mut self, name: &MemberName) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.current.store(0, Ordering::Release);
        entry.building = None;
        entry.uid = None;
        if let Some(running) = entry.running.take() {
            end(running).await;
        }
        tracing::info!(member = %name, "its registration is gone");
        self.publish(|members| drop(members.remove(name)));
        self.unreachable(name, "NotRegistered", "neither a file nor a Secret registers it any more").await;
        self.send(MemberEvent::Registered { member: name.clone(), origin: None }).await;
        self.settle_duplicates();
    }

    async fn unreachable(&self, name: &MemberName, reason: &'static str, message: &str) {
        let (kind, status, message) = (ConditionKind::Reachable, Some(false), Arc::from(message));
        let condition = MemberCondition { kind, status, reason, message };
        self.send(MemberEvent::Condition { member: name.clone(), condition }).await;
        self.send(MemberEvent::Contact { member: name.clone(), contact: Contact::Unreachable }).await;
    }

    /// A task set that ended by itself starts anew.
    fn ended(&mut self, ended: Result<(MemberName, u64), tokio::task::JoinError>) {
        let broken: Vec<_> = match ended {
            Ok((name, incarnation)) => vec![(name, incarnation)],
            Err(error) if error.is_cancelled() => return,
            // Which one it was is told by its handle.
            Err(error) => {
                tracing::error!(%error, "the tasks of a member broke off");
                let over = self.entries.iter().filter_map(|(name, entry)| {
                    let running = entry.running.as_ref().filter(|it| it.abort.is_finished())?;
                    Some((name.clone(), running.incarnation))
                });
                over.collect()
            }
        };
        for (name, incarnation) in broken {
            let Some(entry) = self.entries.get(&name) else { continue };
            let running = entry.running.as_ref().filter(|it| it.incarnation == incarnation);
            let registration = running.and_then(|it| entry.registrations.get(&it.origin)).cloned();
            if let (Some(registration), None) = (registration, entry.building) {
                self.build(registration, RESTART);
            }
        }
    }

    fn identified(&mut self, identified: Identified) {
        let Some(entry) = self.entries.get_mut(&identified.member) else { return };
        if entry.running.as_ref().is_none_or(|it| it.incarnation != identified.incarnation) {
            return;
        }
        entry.uid = identified.uid;
        let Some(uid) = entry.uid.clone() else {
            if let Some(running) = &entry.running {
                // It can't be told apart from others, which its missing right says.
                assign(&running.role, Role::Active);
            }
            // Others may have stood back for the cluster that this was.
            if entry.settled.take().is_some() {
                self.settle(None);
            }
            return;
        };
        // Others may be a cluster of their own again where this one was theirs before.
        let was_other = entry.settled.replace(uid.clone()).is_some_and(|before| before != uid);
        self.settle((!was_other).then_some(&*uid));
    }

    fn settle_duplicates(&mut self) {
        self.inputs.configs.mark_unchanged();
        self.settle(None);
    }

    /// Of the names of one cluster the one created first counts, then the first by name. `only`: of this cluster.
    fn settle(&self, only: Option<&str>) {
        let configs = self.inputs.configs.borrow().clone();
        let running = || {
            self.entries.iter().filter_map(|(name, entry)| {
                let uid = entry.uid.as_deref().filter(|uid| only.is_none_or(|only| only == *uid))?;
                Some((name, entry, uid, entry.running.as_ref()?))
            })
        };
        let mut first: BTreeMap<&str, (Timestamp, &MemberName)> = BTreeMap::new();
        for (name, entry, uid, running) in running() {
            let registered = entry.registrations.get(&running.origin).and_then(|it| it.created);
            let created = configs.get(name).and_then(|it| it.created).or(registered).unwrap_or(Timestamp::MAX);
            let candidate = (created, name);
            first.entry(uid).and_modify(|best| *best = candidate.min(*best)).or_insert(candidate);
        }
        for (name, _, uid, running) in running() {
            match first.get(uid) {
                Some((_, winner)) if *winner != name => assign(&running.role, Role::Duplicate((*winner).clone())),
                _ => assign(&running.role, Role::Active),
            }
        }
    }
}

fn assign(role: &watch::Sender<Role>, new: Role) {
    role.send_if_modified(|role| {
        let changed = *role != new;
        *role = new;
        changed
    });
}

async fn end(running: Running) {
    running.abort.abort();
    // The sender is dropped with the tasks.
    let _ = tokio::time::timeout(END_TIMEOUT, running.ended).await;
}

//! Starts everything, and stops it in order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Config;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::deletions::Deletions;
use super::engine::{Engine, Settings};
use super::observe;
use super::world::World;
use crate::hub::event::HubEvent;
use crate::hub::events::Events;
use crate::hub::lease::Leadership;
use crate::hub::ledger::Ledger;
use crate::hub::secrets::HubSecrets;
use crate::hub::statuses::Statuses;
use crate::hub::{id, kinds};
use crate::member::client::Counters;
use crate::member::event::ReferencedKind;
use crate::member::registry::HubMember;
use crate::member::registry::directory::Directory;
use crate::member::registry::secrets::MemberSecrets;
use crate::member::resolver::Reach;
use crate::member::{
    self, Configs, Fence, Inputs, Member, MemberConfig, MemberEvent, MemberSettings, Peer, Registry, SecretRef,
    Supervisor,
};
use crate::names::{MemberName, Place, PlacedName};
use crate::plan::fleet::{Contact, PlanOptions, ReferencedSecrets};
use crate::plan::planner::Planner;
use crate::policy::PolicyRules;
use crate::web::Health;

/// Repositories that are worked on at once: most of the time they wait for answers of members.
const WORKERS: usize = 64;
/// Statuses that are written at once.
const REPORTERS: usize = 4;
/// Events of the hub's own cluster on their way.
const EVENTS_MAX: usize = 256;
/// Events that are taken in before the queues and the observers are told.
const BATCH_MAX: usize = 256;
/// Nothing new for this long: the fleet has been read.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks at what has been read since the start.
const LOOK_GAP: Duration = Duration::from_millis(200);
/// The hub's own cluster, as traces and errors call it.
const HUB: &str = "hub";
/// Work under way may end before the process does.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// What the hub was started with.
#[derive(Clone, Debug)]
pub struct Options {
    pub kubeconfig_dir: Option<PathBuf>,
    pub include_hub: Option<MemberName>,
    /// The hub's own namespace: member Secrets and the hub's id are there.
    pub namespace: String,
    pub hub_id: Option<String>,
    /// Used where the hub has no id yet.
    pub new_hub_id: String,
    /// Names this replica among others, in the Lease and in Events.
    pub identity: String,
    /// Several replicas may run: the one that holds the Lease writes. Without it this one always does.
    pub leader_election: bool,
    pub volsync_namespace: String,
    pub allow_exec: bool,
    pub allow_loopback: bool,
    pub rules: PolicyRules,
    pub plan: PlanOptions,
    /// All but the hub's id, which is found out at the start.
    pub settings: Settings,
}

/// Runs until cancelled. An error: the hub could not start, and what to do about it.
pub async fn run(
    config: Config,
    options: Options,
    health: Arc<Health>,
    cancel: CancellationToken,
) -> Result<(), String> {
    let (fence, leadership) = election(&config, &options)?;
    let mut fleet = Observed::start(config, &options, Start::Run(&fence), &cancel).await?;
    let engine = Arc::new(Engine::new(
        Settings { hub_id: fleet.hub_id.clone(), ..options.settings },
        fleet.world,
        Ledger::new(&fleet.client),
        Statuses::new(fleet.client.clone(), fleet.group),
        Events::new(fleet.client, Some(options.identity), fence.clone()),
        fleet.secrets,
        Arc::clone(&fleet.supervisor),
        fence,
    ));
    health.set_metrics({
        let engine = Arc::downgrade(&engine);
        move || engine.upgrade().map_or(Ok(String::new()), |engine| engine.metrics.text(&engine.census()))
    });
    let mut tasks = JoinSet::new();
    if let Some(leadership) = leadership {
        tasks.spawn(follow(Arc::clone(&engine), leadership.subscribe(), cancel.clone()));
        tasks.spawn(leadership.run(cancel.clone()));
    }
    work(&engine, &mut tasks, &cancel);
    health.set_ready();
    info!("the hub is ready");
    tokio::spawn({
        let (engine, cancel) = (Arc::clone(&engine), cancel.clone());
        async move { cancel.run_until_cancelled(look_around(&engine)).await }
    });
    pump(&engine, &mut fleet.hub, &mut fleet.members, &fleet.published, &cancel).await;

    health.set_stopping();
    info!("the hub stops; what is under way ends first");
    if tokio::time::timeout(STOP_TIMEOUT, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        warn!("some work did not end in time; it is taken up at the next start");
    }
    drop(engine);
    if let Some(supervisor) = Arc::into_inner(fleet.supervisor) {
        supervisor.stopped().await;
    }
    info!("the hub has stopped");
    Ok(())
}

/// The gate before every write, and what opens it where several replicas may run.
fn election(config: &Config, options: &Options) -> Result<(Fence, Option<Leadership>), String> {
    if !options.leader_election {
        return Ok((Fence::open(), None));
    }
    let fence = Fence::shut();
    let (client, _) = hub_client(config, Fence::open())?;
    let leadership = Leadership::new(client, &options.namespace, &options.identity, fence.clone());
    Ok((fence, Some(leadership)))
}

fn hub_client(config: &Config, fence: Fence) -> Result<(kube::Client, Arc<Counters>), String> {
    member::client::build(config.clone(), Reach::Anywhere, Peer::new(HUB, fence))
        .map_err(|error| format!("failed to make a client for the hub's cluster at {}: {error}", config.cluster_url))
}

/// Looks at everything each time this replica begins to lead: what it decided while it stood by is done then.
async fn follow(engine: Arc<Engine>, mut leads: watch::Receiver<bool>, cancel: CancellationToken) {
    while let Some(Ok(())) = cancel.run_until_cancelled(leads.changed()).await {
        if *leads.borrow_and_update() {
            engine.look_at_everything();
        }
    }
}

/// The fleet as the hub sees it now, for people: nothing is written anywhere. Waits until every member has been read
/// or can't be reached, but no longer than `patience`.
pub async fn look(config: Config, options: &Options, patience: Duration) -> Result<Planner, String> {
    let cancel = CancellationToken::new();
    let _stop = cancel.clone().drop_guard();
    let mut fleet = Observed::start(config, options, Start::Look, &cancel).await?;
    let end = tokio::time::Instant::now() + patience;
    loop {
        // Registrations come in one by one, so that quiet is the only sign of being whole.
        let wait = if fleet.is_whole() { QUIET } else { patience };
        let until = end.min(tokio::time::Instant::now() + wait);
        tokio::select! {
            () = tokio::time::sleep_until(until) => break,
            Some(event) = fleet.hub.recv() => { fleet.world.apply_hub(event); }
            Some(event) = fleet.members.recv() => { fleet.world.apply_member(event); }
        }
        if std::mem::take(&mut fleet.world.wants_changed) {
            fleet.published.publish(&fleet.world);
        }
    }
    Ok(fleet.world.planner)
}

#[derive(Clone, Copy)]
enum Start<'a> {
    Run(&'a Fence),
    /// Reads only.
    Look,
}

/// The fleet under observation.
struct Observed {
    client: kube::Client,
    group: &'static str,
    hub_id: String,
    world: World,
    hub: mpsc::Receiver<HubEvent>,
    members: mpsc::Receiver<MemberEvent>,
    published: Published,
    secrets: HubSecrets,
    supervisor: Arc<Supervisor>,
}

impl Observed {
    async fn start(
        config: Config,
        options: &Options,
        start: Start<'_>,
        cancel: &CancellationToken,
    ) -> Result<Self, String> {
        let fence = match start {
            Start::Run(fence) => fence.clone(),
            Start::Look => Fence::shut(),
        };
        let (client, counters) = hub_client(&config, fence.clone())?;
        let group = kinds::policy_group(&client).await?;
        kinds::check_own(&client).await?;
        let new_id = matches!(start, Start::Run(_)).then_some(options.new_hub_id.as_str());
        // The first replica to come makes the id, whichever leads.
        let (unfenced, _) = hub_client(&config, Fence::open())?;
        let hub_id = id::resolve(&unfenced, &options.namespace, options.hub_id.as_deref(), new_id).await?;
        info!(hub_id, group, namespace = options.namespace, "the hub starts");

        let (hub_tx, hub_rx) = mpsc::channel(EVENTS_MAX);
        observe::start(&client, group, options.rules.clone(), hub_tx.clone(), cancel);
        let hub = Member::new(MemberName::from(HUB), 0, client.clone(), counters);
        tokio::spawn({
            let (hub, cancel) = (hub.clone(), cancel.clone());
            async move {
                tokio::select! { () = cancel.cancelled() => {}, () = member::heartbeat(hub) => {} }
            }
        });
        let published = Published::new();
        let settings = MemberSettings {
            hub_id: hub_id.as_str().into(),
            member_namespace: options.settings.member_namespace.as_str().into(),
            volsync_namespace: options.volsync_namespace.as_str().into(),
            allow_exec: options.allow_exec,
            allow_loopback: options.allow_loopback,
            fence,
        };
        let registries = registries(options, &settings, hub, config, published.configs.subscribe());
        let inputs = Inputs {
            configs: published.configs.subscribe(),
            secrets: published.secrets.subscribe(),
            config_maps: published.config_maps.subscribe(),
        };
        let secrets = HubSecrets::new(client.clone());
        tokio::spawn({
            let (secrets, wanted, cancel) = (secrets.clone(), published.of_hub.subscribe(), cancel.clone());
            async move { secrets.run(wanted, hub_tx, cancel).await }
        });
        let mut world = World::new(Planner::new(options.plan.clone()));
        let hub = read_hub(&mut world, hub_rx, &published, cancel).await;
        let (supervisor, members) = Supervisor::start(settings, registries, inputs, cancel.clone());
        let supervisor = Arc::new(supervisor);
        Ok(Self { client, group, hub_id, world, hub, members, published, secrets, supervisor })
    }

    /// Every member that is registered has been read or can't be reached, and so have the Secrets.
    fn is_whole(&self) -> bool {
        let world = &self.world;
        let known = |secret: &PlacedName| match secret.place.member() {
            Some(member) if world.contact(member) != Contact::Synced => true,
            _ => world.planner.fleet().secrets.contains_key(secret),
        };
        let registered = world.members.values().filter(|state| state.origin.is_some() && state.duplicate_of.is_none());
        registered.clone().count() > 0
            && registered.clone().all(|state| matches!(state.contact, Some(Contact::Synced | Contact::Unreachable)))
            && world.planner.referenced_secrets().iter().all(known)
    }
}

fn registries(
    options: &Options,
    settings: &MemberSettings,
    hub: Member,
    config: Config,
    configs: Configs,
) -> Vec<Box<dyn Registry>> {
    let namespace: Arc<str> = options.namespace.as_str().into();
    let mut registries: Vec<Box<dyn Registry>> =
        vec![Box::new(MemberSecrets::new(hub, namespace, settings.clone(), configs))];
    if let Some(directory) = &options.kubeconfig_dir {
        registries.push(Box::new(Directory::new(directory.clone(), settings.clone())));
    }
    if let Some(name) = &options.include_hub {
        registries.push(Box::new(HubMember { name: name.clone(), config }));
    }
    registries
}

/// What observers are told to read.
struct Published {
    configs: watch::Sender<Arc<BTreeMap<MemberName, MemberConfig>>>,
    secrets: watch::Sender<Arc<ReferencedSecrets>>,
    config_maps: watch::Sender<Arc<BTreeSet<PlacedName>>>,
    of_hub: watch::Sender<Arc<crate::hub::secrets::Wanted>>,
}

impl Published {
    fn new() -> Self {
        Self {
            configs: watch::Sender::default(),
            secrets: watch::Sender::default(),
            config_maps: watch::Sender::default(),
            of_hub: watch::Sender::default(),
        }
    }

    fn publish(&self, world: &World) {
        let configs = world.members.iter().filter_map(|(name, state)| {
            let cluster = state.cluster.as_ref()?;
            let secret = cluster.spec.kubeconfig_secret_ref.as_ref();
            let config = MemberConfig {
                created: cluster.metadata.creation_timestamp.as_ref().map(|time| time.0),
                volsync_namespace: cluster.spec.volsync_namespace.as_deref().map(Into::into),
                kubeconfig_secret: secret.map(|secret| SecretRef {
                    name: secret.name.as_str().into(),
                    key: secret.key.as_deref().map(Into::into),
                }),
            };
            Some((name.clone(), config))
        });
        send(&self.configs, configs.collect());
        let cas = || world.used_cas().filter(|(kind, _)| *kind == ReferencedKind::ConfigMap).map(|(_, name)| name);
        // CAs in Secrets are Secrets that are referenced, too.
        let ca_secrets = world.used_cas().filter(|(kind, _)| *kind == ReferencedKind::Secret).map(|(_, name)| name);
        let secrets: BTreeSet<_> = world.planner.referenced_secrets().iter().chain(ca_secrets).cloned().collect();
        let is_there = |name: &&PlacedName| name.place == Place::Hub;
        let of_hub = secrets.iter().filter(is_there).map(|name| (ReferencedKind::Secret, name.object.clone()));
        let bundles = cas().filter(is_there).map(|name| (ReferencedKind::ConfigMap, name.object.clone()));
        send(&self.of_hub, of_hub.chain(bundles).collect());
        send(&self.config_maps, cas().filter(|name| name.place != Place::Hub).cloned().collect());
        send(&self.secrets, secrets.into_iter().filter(|name| name.place != Place::Hub).collect());
    }
}

fn send<T: PartialEq>(channel: &watch::Sender<Arc<T>>, value: T) {
    channel.send_if_modified(|current| {
        let changed = **current != value;
        if changed {
            *current = Arc::new(value);
        }
        changed
    });
}

/// Nothing is decided, and no member is looked at, before policies, ledger and MemberClusters have been read.
async fn read_hub(
    world: &mut World,
    mut events: mpsc::Receiver<HubEvent>,
    published: &Published,
    cancel: &CancellationToken,
) -> mpsc::Receiver<HubEvent> {
    while !world.hub_is_read() {
        let event = tokio::select! {
            () = cancel.cancelled() => break,
            event = events.recv() => event,
        };
        let Some(event) = event else { break };
        world.apply_hub(event);
    }
    world.inherit();
    published.publish(world);
    events
}

/// Follows what has been read, until all has been that counts.
async fn look_around(engine: &Engine) {
    while !engine.world().look_around(Engine::now()) {
        tokio::time::sleep(LOOK_GAP).await;
    }
    info!("the fleet has been looked at");
}

fn work(engine: &Arc<Engine>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    for _ in 0..WORKERS {
        let (engine, cancel) = (Arc::clone(engine), cancel.clone());
        tasks.spawn(async move {
            while let Some(id) = cancel.run_until_cancelled(engine.repositories.take()).await {
                engine.reconcile(id).await;
                engine.repositories.done(&id);
            }
        });
    }
    for _ in 0..REPORTERS {
        let (of_policies, until) = (Arc::clone(engine), cancel.clone());
        tasks.spawn(async move {
            while let Some(name) = until.run_until_cancelled(of_policies.policies.take()).await {
                of_policies.report_policy(&name).await;
                of_policies.policies.done(&name);
            }
        });
        let (of_members, until) = (Arc::clone(engine), cancel.clone());
        tasks.spawn(async move {
            while let Some(name) = until.run_until_cancelled(of_members.members.take()).await {
                of_members.report_member(&name).await;
                of_members.members.done(&name);
            }
        });
    }
}

/// Takes events in until cancelled.
async fn pump(
    engine: &Engine,
    hub: &mut mpsc::Receiver<HubEvent>,
    members: &mut mpsc::Receiver<MemberEvent>,
    published: &Published,
    cancel: &CancellationToken,
) {
    let began = tokio::time::Instant::now();
    let mut deletions = Deletions::new(engine.settings.shrink_hold, engine.settings.time_factor);
    let mut wake = None;
    engine.look_at_everything();
    loop {
        let woken = async {
            match wake {
                Some(wake) => tokio::time::sleep_until(began + wake).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = woken => {}
            Some(event) = hub.recv() => {
                if let Some(event) = deletions.hub(event, began.elapsed()) {
                    engine.take_in_of_hub(event);
                }
            }
            Some(event) = members.recv() => {
                let mut next = Some(event);
                for _ in 0..BATCH_MAX {
                    let Some(event) = next else { break };
                    if let Some(event) = deletions.member(event, began.elapsed()) {
                        engine.take_in(event);
                    }
                    next = members.try_recv().ok();
                }
                // The last one that was received is never left behind.
                if let Some(event) = next.and_then(|event| deletions.member(event, began.elapsed())) {
                    engine.take_in(event);
                }
            }
        }
        wake = if deletions.is_empty() { None } else { engine.believe(&mut deletions, began.elapsed()) };
        let mut world = engine.world();
        if std::mem::take(&mut world.wants_changed) {
            published.publish(&world);
        }
    }
}

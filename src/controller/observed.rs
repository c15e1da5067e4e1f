//! The fleet under observation: the hub's own watches, the members' supervisor, and what both are told to read.

use std::sync::Arc;

use kube::Config;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::engine::{Engine, Settings};
use super::observe;
use super::published::Published;
use super::run::Options;
use super::world::World;
use crate::hub::event::HubEvent;
use crate::hub::events::Events;
use crate::hub::ledger::Ledger;
use crate::hub::rights::{self, Missing};
use crate::hub::secrets::HubSecrets;
use crate::hub::statuses::Statuses;
use crate::hub::{self, id, kinds};
use crate::member::client::Counters;
use crate::member::inputs::{Configs, Inputs};
use crate::member::registry::HubMember;
use crate::member::registry::directory::Directory;
use crate::member::registry::secrets::MemberSecrets;
use crate::member::resolver::Reach;
use crate::member::{self, Fence, Member, MemberEvent, MemberSettings, Peer, Registry, Supervisor};
use crate::names::{MemberName, PlacedName};
use crate::plan::fleet::Contact;
use crate::plan::planner::Planner;

/// Events of the hub's own cluster on their way.
const EVENTS_MAX: usize = 256;
/// The hub's own cluster, as traces and errors call it.
const HUB: &str = "hub";

/// `forbidden` is told of every request that was.
pub(super) fn hub_client(
    config: &Config,
    fence: Fence,
    forbidden: &Arc<Notify>,
) -> Result<(kube::Client, Arc<Counters>), String> {
    let peer = Peer { forbidden: Arc::clone(forbidden), ..Peer::new(HUB, fence) };
    member::client::build(config.clone(), Reach::Anywhere, peer)
        .map_err(|error| format!("failed to make a client for the hub's cluster at {}: {error}", config.cluster_url))
}

pub(super) enum Start {
    /// Writes pass this gate; whoever looks after the hub's rights hears of what is forbidden.
    Run(Fence, Arc<Notify>),
    /// Reads only.
    Look,
}

/// The fleet under observation.
pub(super) struct Observed {
    client: kube::Client,
    fence: Fence,
    group: &'static str,
    hub_id: String,
    missing: watch::Receiver<Missing>,
    pub(super) world: World,
    pub(super) hub: mpsc::Receiver<HubEvent>,
    pub(super) members: mpsc::Receiver<MemberEvent>,
    pub(super) published: Published,
    secrets: HubSecrets,
    supervisor: Arc<Supervisor>,
    hub_events: mpsc::WeakSender<HubEvent>,
}

impl Observed {
    pub(super) async fn start(
        config: Config,
        options: &Options,
        start: Start,
        cancel: &CancellationToken,
    ) -> Result<Self, String> {
        let (fence, forbidden, new_id) = match start {
            Start::Run(fence, forbidden) => (fence, forbidden, Some(options.new_hub_id.as_str())),
            Start::Look => (Fence::shut(), Arc::default(), None),
        };
        let (client, counters) = hub_client(&config, fence.clone(), &forbidden)?;
        if new_id.is_some() {
            cancel.run_until_cancelled(hub::until_it_answers(&client)).await;
        }
        let at = |error: String| format!("{error} (the hub's cluster is {})", config.cluster_url);
        let group = kinds::policy_group(&client).await.map_err(at)?;
        kinds::check_own(&client).await.map_err(at)?;
        // The first replica to come makes the id, whichever leads.
        let (unfenced, _) = hub_client(&config, Fence::open(), &forbidden)?;
        let hub_id = id::resolve(&unfenced, &options.namespace, options.hub_id.as_deref(), new_id).await?;
        info!(hub_id, group, namespace = options.namespace, "the hub starts");

        let (hub_tx, hub_rx) = mpsc::channel(EVENTS_MAX);
        let hub_events = hub_tx.downgrade();
        observe::start(&client, group, options.rules.clone(), hub_tx.clone(), cancel);
        let hub = Member::new(MemberName::from(HUB), 0, client.clone(), counters);
        tokio::spawn({
            let (hub, cancel) = (hub.clone(), cancel.clone());
            async move {
                tokio::select! { () = cancel.cancelled() => {}, () = member::heartbeat(hub) => {} }
            }
        });
        let rights = watch::Sender::default();
        let missing = rights.subscribe();
        if new_id.is_some() {
            look_after_rights(hub.clone(), options, group, (forbidden, rights), cancel);
        }
        let published = Published::new();
        let settings = MemberSettings {
            hub_id: hub_id.as_str().into(),
            member_namespace: options.settings.member_namespace.as_str().into(),
            volsync_namespace: options.volsync_namespace.as_str().into(),
            allow_exec: options.allow_exec,
            allow_loopback: options.allow_loopback,
            fence: fence.clone(),
            share: options.settings.share.clone(),
        };
        let registries = registries(options, &settings, hub, config, published.configs.subscribe());
        let inputs = Inputs { configs: published.configs.subscribe(), sheets: published.sheets.clone() };
        let secrets = HubSecrets::new(client.clone());
        tokio::spawn({
            let (secrets, wanted, cancel) = (secrets.clone(), published.of_hub.subscribe(), cancel.clone());
            async move { secrets.run(wanted, hub_tx, cancel).await }
        });
        let mut world = World::new(Planner::new(options.plan.clone()));
        // Whoever only looks may not know which id the hub was started with.
        world.hub_id = new_id.map(|_| hub_id.as_str().into());
        let hub = read_hub(&mut world, hub_rx, &published, cancel).await;
        let (supervisor, members) = Supervisor::start(settings, registries, inputs, cancel.clone());
        let supervisor = Arc::new(supervisor);
        Ok(Self {
            client,
            fence,
            group,
            hub_id,
            missing,
            world,
            hub,
            members,
            published,
            secrets,
            supervisor,
            hub_events,
        })
    }

    pub(super) fn into_engine(
        self,
        options: &Options,
    ) -> (Engine, mpsc::Receiver<HubEvent>, mpsc::Receiver<MemberEvent>, Published) {
        let engine = Engine::new(
            Settings { hub_id: self.hub_id, ..options.settings.clone() },
            self.world,
            Ledger::new(&self.client),
            Statuses::new(self.client.clone(), self.group),
            Events::new(&self.client, Some(options.identity.clone()), self.fence.clone()),
            self.secrets,
            self.supervisor,
            self.hub_events,
            self.fence,
            self.missing,
        );
        (engine, self.hub, self.members, self.published)
    }

    /// Every member that is registered has been read or can't be reached, and so have the Secrets.
    pub(super) fn is_whole(&self) -> bool {
        let world = &self.world;
        let known = |secret: &PlacedName| match secret.place.member() {
            Some(member) if world.contact(member) != Contact::Synced => true,
            _ => world.planner.fleet().secrets.contains_key(secret),
        };
        let registered = world.members.values().filter(|state| state.origin.is_some() && state.duplicate_of.is_none());
        registered.clone().count() > 0
            && registered.clone().all(|state| match state.contact {
                Some(Contact::Unreachable) => true,
                Some(Contact::Synced) => state.facts.is_some(),
                Some(Contact::Syncing) | None => false,
            })
            && world.planner.referenced_secrets().iter().all(known)
    }
}

fn look_after_rights(
    hub: Member,
    options: &Options,
    group: &'static str,
    (forbidden, told): (Arc<Notify>, watch::Sender<Missing>),
    cancel: &CancellationToken,
) {
    let uses = rights::Uses {
        group,
        namespace: options.namespace.clone(),
        keeps_id: options.hub_id.is_none(),
        elects: options.leader_election,
    };
    let (factor, cancel) = (options.settings.time_factor.max(1), cancel.clone());
    tokio::spawn(async move { cancel.run_until_cancelled(rights::run(hub, uses, forbidden, told, factor)).await });
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

//! Starts everything, and stops it in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Config;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::deletions::Deletions;
use super::engine::{Engine, Settings};
use super::observed::{Observed, Start, hub_client};
use super::published::Published;
use super::world::Dirty;
use crate::hub::event::HubEvent;
use crate::hub::id;
use crate::hub::lease::Leadership;
use crate::member::{Fence, MemberEvent};
use crate::names::MemberName;
use crate::plan::fleet::PlanOptions;
use crate::policy::PolicyRules;
use crate::web::Health;

/// Repositories that are worked on at once: most of the time they wait for answers of members.
pub(super) const WORKERS: usize = 64;
/// Statuses that are written at once.
const REPORTERS: usize = 4;
/// Events that are taken in before the queues and the observers are told.
const BATCH_MAX: usize = 256;
/// Between two looks at what has been read since the start.
const LOOK_GAP: Duration = Duration::from_millis(200);
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
    let forbidden = Arc::new(Notify::new());
    let (fence, leadership) = election(&config, &options, &forbidden)?;
    let (reader, _) = hub_client(&config, Fence::shut(), &forbidden)?;
    let fleet = Observed::start(config, &options, Start::Run(fence, forbidden), &cancel).await?;
    let (engine, mut hub, mut members, published) = fleet.into_engine(&options);
    let engine = Arc::new(engine);
    health.set_metrics({
        let engine = Arc::downgrade(&engine);
        move || engine.upgrade().map_or(Ok(String::new()), |engine| engine.metrics.text(&engine.census()))
    });
    let mut tasks = JoinSet::new();
    if let Some(leadership) = leadership {
        tasks.spawn(follow(Arc::clone(&engine), leadership.subscribe(), cancel.clone()));
        tasks.spawn(leadership.run(cancel.clone()));
    }
    tasks.spawn(follow_rights(Arc::clone(&engine), cancel.clone()));
    work(&engine, &mut tasks, &cancel);
    health.set_ready();
    info!("the hub is ready");
    tokio::spawn({
        let (engine, cancel) = (Arc::clone(&engine), cancel.clone());
        async move { cancel.run_until_cancelled(look_around(&engine)).await }
    });
    let broken = tokio::select! {
        () = pump(&engine, &mut hub, &mut members, &published, &cancel) => None,
        // None of them ends before it is told to: better to start anew than to stand here and do half the work.
        ended = tasks.join_next() => Some(ended),
        other = renamed(&reader, &options, &engine) => {
            info!(hub_id = engine.settings.hub_id, other, "the hub shall go on under another id, so it starts anew");
            cancel.cancel();
            None
        }
    };
    if let Some(ended) = broken.filter(|_| !cancel.is_cancelled()) {
        let why = ended.and_then(Result::err).map(|error| format!(": {error}")).unwrap_or_default();
        return Err(format!("a part of the hub broke off{why}; it has to be started anew"));
    }

    health.set_stopping();
    info!("the hub stops; what is under way ends first");
    if tokio::time::timeout(STOP_TIMEOUT, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        warn!("some work did not end in time; it is taken up at the next start");
    }
    let supervisor = Arc::clone(&engine.supervisor);
    drop(engine);
    if let Some(supervisor) = Arc::into_inner(supervisor) {
        supervisor.stopped().await;
    }
    info!("the hub has stopped");
    Ok(())
}

/// The gate before every write, and what opens it where several replicas may run.
fn election(
    config: &Config,
    options: &Options,
    forbidden: &Arc<Notify>,
) -> Result<(Fence, Option<Leadership>), String> {
    if !options.leader_election {
        return Ok((Fence::open(), None));
    }
    let fence = Fence::shut();
    let (client, _) = hub_client(config, Fence::open(), forbidden)?;
    let leadership = Leadership::new(client, &options.namespace, &options.identity, fence.clone());
    Ok((fence, Some(leadership)))
}

/// Ends once somebody has the hub go on under another id, with that: everything that is known was learnt under the one
/// it has. An id that was given on the command line stays.
async fn renamed(reader: &kube::Client, options: &Options, engine: &Engine) -> String {
    match options.hub_id {
        Some(_) => std::future::pending().await,
        None => id::replaced(reader, &options.namespace, &engine.settings.hub_id).await,
    }
}

/// Looks at everything each time this replica begins to lead: what it decided while it stood by is done then.
async fn follow(engine: Arc<Engine>, mut leads: watch::Receiver<bool>, cancel: CancellationToken) {
    while let Some(Ok(())) = cancel.run_until_cancelled(leads.changed()).await {
        if *leads.borrow_and_update() {
            engine.tell_of_problems();
            engine.tell_of_rights();
            engine.look_at_everything();
        }
    }
}

/// Tells of the hub's own rights when they change.
async fn follow_rights(engine: Arc<Engine>, cancel: CancellationToken) {
    let mut missing = engine.missing.clone();
    while let Some(Ok(())) = cancel.run_until_cancelled(missing.changed()).await {
        engine.tell_of_rights();
        engine.look_at_policies();
    }
    cancel.cancelled().await;
}

/// Follows what has been read, until all has been that counts.
async fn look_around(engine: &Engine) {
    while !engine.world().look_around(Engine::now()) {
        tokio::time::sleep(LOOK_GAP).await;
    }
    let repositories = engine.world().recount_away();
    engine.enqueue(Dirty { repositories, ..Dirty::default() });
    info!("the fleet has been looked at");
}

fn work(engine: &Arc<Engine>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    for _ in 0..WORKERS {
        let (engine, cancel) = (Arc::clone(engine), cancel.clone());
        tasks.spawn(async move {
            while let Some(id) = cancel.run_until_cancelled(engine.repositories.take()).await {
                match engine.repositories.doubt(&id) {
                    Some(doubt) if engine.is_as_planned(id) => {
                        engine.causes.forget(id);
                        engine.repositories.done_without(&id, doubt);
                        tokio::task::yield_now().await;
                    }
                    _ => {
                        engine.reconcile(id).await;
                        engine.repositories.done(&id);
                    }
                }
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
        let mut due = false;
        tokio::select! {
            () = cancel.cancelled() => return,
            () = woken => due = true,
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
        if deletions.take_changed() || due {
            wake = engine.believe(&mut deletions, began.elapsed());
        }
        published.publish(&mut engine.world());
    }
}

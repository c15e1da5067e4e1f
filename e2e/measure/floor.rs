//! The floor: a process of its own that makes the same requests in the same order as the protocol asks for, with
//! bodies prepared, and waits for the same claims. It decides nothing, compares nothing and remembers nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};

use super::paths::{CRON_JOBS, JOBS, LEDGER, PODS, SECRETS, ours};
use super::record::{Chain, UID, VERSION};
use super::wire::{APPLY, IN_FLIGHT, JSON, Wire, field};
use super::{reactions, usage};
use crate::harness::Fail;

pub const HOW: &str = "fieldManager=volsync-hub&force=true";

/// What a floor is told to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Orders {
    pub hub: PathBuf,
    pub members: Vec<PathBuf>,
    /// Keeps to the hub's rate in each member.
    pub limited: bool,
    pub work: Work,
    /// Under way at once, as the hub's `--max-claims` has it.
    pub claims: usize,
    pub chains: Vec<Chain>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// Everything from nothing to maintained.
    Cold,
    /// What follows from edits, until it is told to stop.
    Follow,
    /// Another schedule for everything.
    EditAll,
}

/// What it tells in the end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Told {
    pub wall_s: f64,
    pub cpu_s: f64,
    pub requests: usize,
}

/// The clients of one floor.
pub struct Clients {
    pub hub: Wire,
    pub members: Vec<Wire>,
}

/// The whole of the process: says that it is ready, begins at a line on its input, and tells how it went.
pub async fn run(orders: &std::path::Path) -> Result<(), Fail> {
    let orders: Orders = serde_json::from_slice(&std::fs::read(orders)?)?;
    let gate = Arc::new(Semaphore::new(IN_FLIGHT));
    // The hub does not limit itself at home.
    let hub = Wire::new(&orders.hub, gate.clone(), false).await?;
    let mut members = Vec::new();
    for kubeconfig in &orders.members {
        members.push(Wire::new(kubeconfig, gate.clone(), orders.limited).await?);
    }
    let clients = Arc::new(Clients { hub, members });
    let told = match orders.work {
        Work::Cold => {
            let claims = Claims::follow(&clients).await?;
            println!("ready");
            told_to().await?;
            measured(&clients, cold(clients.clone(), orders.chains, claims, orders.claims)).await?
        }
        Work::EditAll => {
            let edit = reactions::prepare_all(clients.clone(), orders.chains).await?;
            println!("ready");
            told_to().await?;
            measured(&clients, edit).await?
        }
        Work::Follow => {
            let work = reactions::prepare(clients.clone(), orders.chains).await?;
            println!("ready");
            measured(&clients, async move {
                tokio::select! {
                    failed = work => failed,
                    told = told_to() => told,
                }
            })
            .await?
        }
    };
    println!("{}", serde_json::to_string(&told)?);
    Ok(())
}

/// A line of the input, or its end.
async fn told_to() -> Result<(), Fail> {
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    Ok(())
}

async fn measured(clients: &Clients, work: impl Future<Output = Result<(), Fail>>) -> Result<Told, Fail> {
    let requests = || clients.hub.sent() + clients.members.iter().map(Wire::sent).sum::<usize>();
    let me = std::process::id();
    let (began, cpu, before) = (Instant::now(), usage::of(me)?.cpu_s, requests());
    work.await?;
    Ok(Told { wall_s: began.elapsed().as_secs_f64(), cpu_s: usage::of(me)?.cpu_s - cpu, requests: requests() - before })
}

/// Who waits for the Pod of which claim Job.
#[derive(Default)]
struct Claims(Mutex<HashMap<(usize, String), oneshot::Sender<()>>>);

impl Claims {
    async fn follow(clients: &Arc<Clients>) -> Result<Arc<Self>, Fail> {
        let claims = Arc::new(Self::default());
        for (number, member) in clients.members.iter().enumerate() {
            let (_, version) = member.list(&format!("{}&limit=1", ours(PODS))).await?;
            let (claims, member) = (claims.clone(), member.clone());
            let mut events = member.watch(&ours(PODS), &version, JSON).await?;
            tokio::spawn(async move {
                loop {
                    while let Some(Ok(event)) = events.next().await {
                        claims.ended(number, std::str::from_utf8(&event).unwrap_or_default());
                    }
                    // A server that remembers too little to go on: what has ended meanwhile is in a list.
                    let Ok((pods, version)) = member.list(&ours(PODS)).await else { return };
                    for pod in pods {
                        claims.ended(number, &pod.to_string());
                    }
                    let Ok(again) = member.watch(&ours(PODS), &version, JSON).await else { return };
                    events = again;
                }
            });
        }
        Ok(claims)
    }

    /// Tells whoever waits for this Pod, if it has ended.
    fn ended(&self, member: usize, pod: &str) {
        let ended = pod.contains("\"terminated\":{");
        let job = ended.then(|| field(pod.as_bytes(), "batch.kubernetes.io/job-name")).flatten();
        let waiting = job.and_then(|job| self.of().remove(&(member, job.to_owned())));
        // Whoever waited may have given up.
        waiting.map(|waiting| waiting.send(()));
    }

    fn of(&self) -> std::sync::MutexGuard<'_, HashMap<(usize, String), oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lists what a hub lists, then brings every repository from nothing to a CronJob that may run.
async fn cold(clients: Arc<Clients>, chains: Vec<Chain>, claims: Arc<Claims>, most: usize) -> Result<(), Fail> {
    for member in &clients.members {
        member.get("/api/v1/namespaces").await?;
        let sources = "/apis/volsync.backube/v1alpha1/replicationsources?limit=250";
        let mut page = member.get(sources).await?;
        while let Some(next) = field(&page, "continue").filter(|next| !next.is_empty()) {
            page = member.get(&format!("{sources}&continue={next}")).await?;
        }
    }
    let under_way = Arc::new(Semaphore::new(most));
    let all = futures::stream::iter(chains.into_iter().map(|chain| {
        let (clients, claims, under_way) = (clients.clone(), claims.clone(), under_way.clone());
        tokio::spawn(async move { one(&clients, &chain, &claims, &under_way).await })
    }));
    all.buffer_unordered(usize::MAX).map(|done| done?).try_collect::<Vec<_>>().await.map(drop)
}

async fn one(clients: &Clients, chain: &Chain, claims: &Claims, under_way: &Semaphore) -> Result<(), Fail> {
    let (hub, member) = (&clients.hub, &clients.members[chain.member]);
    // Where it points, for that decides which repository it is; its values are read again when they are copied.
    member.get(&chain.source).await?;
    let made = format!(
        r#"{{"apiVersion":"hub.volsync.backube/v1alpha1","kind":"KopiaRepository","metadata":{{"name":"{}"}},"spec":{{}}}}"#,
        chain.ledger
    );
    let made = hub.send(Method::POST, &format!("{LEDGER}?{HOW}"), JSON, made).await?;
    let written = write_status(hub, chain, &chain.claiming, &made).await?;
    member.get(&chain.source).await?;
    let copy = format!("{SECRETS}/{}?{HOW}", chain.name);
    member.send(Method::PATCH, &copy, APPLY, chain.copy.clone()).await?;
    let path = format!("{CRON_JOBS}/{}?{HOW}", chain.name);
    let standing = member.send(Method::PATCH, &path, APPLY, chain.suspended.clone()).await?;
    {
        let _claim = under_way.acquire().await?;
        let (ended, wait) = oneshot::channel();
        claims.of().insert((chain.member, chain.job_name.clone()), ended);
        member.send(Method::POST, &format!("{JOBS}?fieldManager=volsync-hub"), JSON, chain.job.clone()).await?;
        wait.await?;
    }
    let written = write_status(hub, chain, &chain.draining, &written).await?;
    write_status(hub, chain, &chain.active, &written).await?;
    let (uid, version) = (field(&standing, "uid"), field(&standing, "resourceVersion"));
    let running = chain.running.replace(UID, uid.ok_or("no uid")?).replace(VERSION, version.ok_or("no version")?);
    member.send(Method::PATCH, &path, APPLY, running).await.map(drop)
}

/// Only on the version that the last answer showed.
pub async fn write_status(hub: &Wire, chain: &Chain, body: &str, last: &[u8]) -> Result<Bytes, Fail> {
    let body = body.replace(VERSION, field(last, "resourceVersion").ok_or("no version")?);
    hub.send(Method::PUT, &format!("{}/status?fieldManager=volsync-hub", chain.ledger_path()), JSON, body).await
}

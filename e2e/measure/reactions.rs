//! The floor of reactions: sees an edit on a watch, makes the one change that follows from it, then tells of it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{StreamExt as _, TryStreamExt as _};
use http::Method;
use serde_json::Value;

use super::floor::{Clients, HOW, write_status};
use super::paths::{CRON_JOBS, LEDGER, OTHER_SCHEDULE, POLICIES, SCHEDULE, SECRETS};
use super::record::{Chain, UID, VERSION, name_of};
use super::wire::{APPLY, JSON, Lines, MERGE, field};
use crate::harness::Fail;

/// As the hub watches Secrets: without their values.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

type Work = Pin<Box<dyn Future<Output = Result<(), Fail>> + Send>>;

/// Opens the watches. The future ends only where something fails.
pub async fn prepare(clients: Arc<Clients>, chains: Vec<Chain>) -> Result<Work, Fail> {
    let tasks = FuturesUnordered::<Work>::new();
    let (_, version) = clients.hub.list(POLICIES).await?;
    let events = clients.hub.watch(POLICIES, &version, JSON).await?;
    let mut of_policy = HashMap::new();
    for chain in chains.iter().filter(|chain| chain.policy != "all") {
        let ledger = clients.hub.get(&chain.ledger_path()).await?;
        of_policy.insert(chain.policy.clone(), (chain.clone(), ledger));
    }
    tasks.push(Box::pin(policies(clients.clone(), events, of_policy)));
    for number in 0..clients.members.len() {
        let path = "/api/v1/secrets";
        let (_, version) = clients.members[number].list(&format!("{path}?limit=1")).await?;
        let events = clients.members[number].watch(path, &version, METADATA).await?;
        let here = chains.iter().filter(|chain| chain.member == number);
        let of_source = here.map(|chain| (chain.source.clone(), chain.clone())).collect();
        tasks.push(Box::pin(secrets(clients.clone(), number, events, of_source)));
    }
    Ok(Box::pin(async move {
        let mut tasks = tasks;
        tasks.next().await.unwrap_or(Ok(()))
    }))
}

/// Each with the ledger's object as it was answered last.
type Ruled = HashMap<String, (Chain, Bytes)>;

async fn policies(clients: Arc<Clients>, mut events: Lines, mut of_policy: Ruled) -> Result<(), Fail> {
    while let Some(event) = events.next().await {
        let event = event?;
        let name = field(&event, "name").unwrap_or_default();
        let schedule = field(&event, "schedule").unwrap_or_default().to_owned();
        let Some((chain, ledger)) = of_policy.get_mut(name) else { continue };
        // The write of a policy's status comes back as well.
        let Some(body) = (!chain.running.contains(&format!("\"schedule\":\"{schedule}\""))).then(|| {
            let old = if schedule == SCHEDULE { OTHER_SCHEDULE } else { SCHEDULE };
            chain.running.replace(old, &schedule)
        }) else {
            continue;
        };
        chain.running = body;
        *ledger = follow_policy(&clients, chain, ledger).await?;
        let told =
            format!(r#"{{"status":{{"nextScheduledMaintenance":"2028-02-29T0{}:00:00Z"}}}}"#, schedule.len() % 9);
        let path = format!("{POLICIES}/{}/status?fieldManager=volsync-hub", chain.policy);
        clients.hub.send(Method::PATCH, &path, MERGE, told).await?;
    }
    Err("the watch of policies ended".into())
}

/// Puts the CronJob as it is to be, and the ledger's status.
async fn follow_policy(clients: &Clients, chain: &Chain, ledger: &[u8]) -> Result<Bytes, Fail> {
    let unguarded = chain.running.replace(&format!("\"resourceVersion\":\"{VERSION}\","), "");
    let unguarded = unguarded.replace(&format!("\"uid\":\"{UID}\","), "").replace(&format!(",\"uid\":\"{UID}\""), "");
    let member = &clients.members[chain.member];
    member.send(Method::PATCH, &format!("{CRON_JOBS}/{}?{HOW}", chain.name), APPLY, unguarded).await?;
    let status = if chain.running.contains(SCHEDULE) {
        chain.active.clone()
    } else {
        // Another next run, as the new schedule has it.
        chain.active.replace("T03:17:00Z", "T04:23:00Z")
    };
    write_status(&clients.hub, chain, &status, ledger).await
}

/// Reads the ledger, and gives every repository the other schedule.
pub async fn prepare_all(clients: Arc<Clients>, chains: Vec<Chain>) -> Result<Work, Fail> {
    let (ledger, _) = clients.hub.list(LEDGER).await?;
    let versions: HashMap<String, Bytes> =
        ledger.into_iter().map(|object| (name_of(&object), Bytes::from(object["metadata"].to_string()))).collect();
    Ok(Box::pin(async move {
        let all = chains.into_iter().filter(|chain| chain.policy == "all").map(|mut chain| {
            let (clients, ledger) = (clients.clone(), versions.get(&chain.ledger).cloned().unwrap_or_default());
            chain.running = chain.running.replace(SCHEDULE, OTHER_SCHEDULE);
            tokio::spawn(async move { follow_policy(&clients, &chain, &ledger).await.map(drop) })
        });
        let all: FuturesUnordered<_> = all.collect();
        all.map(|done| done?).try_collect().await
    }))
}

async fn secrets(
    clients: Arc<Clients>,
    member: usize,
    mut events: Lines,
    of_source: HashMap<String, Chain>,
) -> Result<(), Fail> {
    let member = &clients.members[member];
    while let Some(event) = events.next().await {
        let event = event?;
        let (name, namespace) = (field(&event, "name"), field(&event, "namespace"));
        let path = format!("/api/v1/namespaces/{}/secrets/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
        let Some(chain) = of_source.get(&path) else { continue };
        let source: Value = serde_json::from_slice(&member.get(&path).await?)?;
        let mut copy: Value = serde_json::from_str(&chain.copy)?;
        copy["data"]["AWS_SECRET_ACCESS_KEY"] = source["data"]["AWS_SECRET_ACCESS_KEY"].clone();
        member.send(Method::PATCH, &format!("{SECRETS}/{}?{HOW}", chain.name), APPLY, copy.to_string()).await?;
    }
    Err("the watch of Secrets ended".into())
}

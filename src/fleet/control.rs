//! The control endpoint of the simulated fleet: JSON over plain HTTP on the loopback address. It changes what stands
//! there, makes clusters fail, and tells what was asked of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Fleet;
use super::changes::{self, Made, Rates};
use super::choice::{self, HUB};
use super::credentials::Credentials;
use super::faults::Given;
use crate::sim::{SimCluster, Told};

type Answer = Result<Json<Value>, (StatusCode, Json<Value>)>;

/// What the endpoint knows and steers; clones share it.
#[derive(Clone, Debug)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    fleet: Arc<Fleet>,
    /// Held while an order is carried out, on a thread that may wait.
    order: Mutex<()>,
    /// Of the clusters that have any.
    faults: Mutex<BTreeMap<String, Given>>,
    credentials: Credentials,
    rates: watch::Sender<Rates>,
    made: Arc<Made>,
    _stop: DropGuard,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    members: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    members: String,
    faults: Given,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Rotation {
    members: String,
    /// How much longer the credentials of before are good.
    #[serde(default)]
    before_lasts_seconds: u32,
}

impl Control {
    /// Begins to change what stands there, at first at no rate.
    pub fn new(fleet: Arc<Fleet>, credentials: Credentials) -> Self {
        let (rates, follows) = watch::channel(Rates::default());
        let (made, stop) = (Arc::new(Made::default()), CancellationToken::new());
        tokio::spawn(changes::run(Arc::clone(&fleet), Arc::clone(&made), follows, stop.clone()));
        Self(Arc::new(Shared {
            fleet,
            order: Mutex::default(),
            faults: Mutex::default(),
            credentials,
            rates,
            made,
            _stop: stop.drop_guard(),
        }))
    }

    /// Answers until the listener fails, which a loopback one does not.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        axum::serve(listener, self.router()).await
    }

    fn router(self) -> Router {
        Router::new()
            .route("/", get(overview))
            .route("/requests", get(requests))
            .route("/repositories", get(repositories))
            .route("/faults", get(faults).put(put_faults).delete(heal))
            .route("/credentials", post(rotate))
            .route("/changes", get(rates).put(put_rates))
            .with_state(self)
    }

    fn faults(&self) -> MutexGuard<'_, BTreeMap<String, Given>> {
        // Each change is one insertion.
        self.0.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cluster(&self, name: &str) -> Option<&SimCluster> {
        let fleet = &self.0.fleet;
        if name == HUB { Some(&fleet.hub) } else { fleet.members.iter().find(|member| member.name() == name) }
    }

    /// Makes exactly these faults of the clusters that are chosen.
    fn put(&self, chosen: &str, given: &Given) -> Result<Vec<String>, String> {
        given.check()?;
        let names = choice::members(&self.0.fleet.scheme, chosen)?;
        let _one_at_a_time = self.0.order.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &names {
            let Some(cluster) = self.cluster(name) else { continue };
            let before = self.faults().get(name).cloned().unwrap_or_default();
            given.put(&before, cluster)?;
            if *given == Given::default() {
                self.faults().remove(name);
            } else {
                self.faults().insert(name.clone(), given.clone());
            }
        }
        Ok(names)
    }

    fn heal(&self) -> Result<Vec<String>, String> {
        let ill: Vec<String> = self.faults().keys().cloned().collect();
        for name in &ill {
            self.put(name, &Given::default())?;
        }
        Ok(ill)
    }

    /// Heaps of objects take their time, which must not be that of the API servers.
    async fn blocking(
        self,
        act: impl FnOnce(&Self) -> Result<Vec<String>, String> + Send + 'static,
    ) -> Result<Vec<String>, (StatusCode, Json<Value>)> {
        match tokio::task::spawn_blocking(move || act(&self)).await {
            Ok(done) => done.map_err(refused),
            Err(error) => Err(refused(format!("the order broke down: {error}"))),
        }
    }
}

fn refused(why: String) -> (StatusCode, Json<Value>) {
    (StatusCode::BAD_REQUEST, Json([("error".to_owned(), Value::String(why))].into_iter().collect()))
}

async fn overview(State(control): State<Control>) -> Json<Value> {
    let fleet = &control.0.fleet;
    let scheme = &fleet.scheme;
    Json(json!({
        "simulated": true,
        "members": scheme.members,
        "sources": scheme.members * scheme.sources,
        "repositories": scheme.repositories,
        "seed": scheme.seed,
        "hub": fleet.hub.address().to_string(),
        "requests": shown(&total(fleet)),
        "faults": control.faults().len(),
        "rates": *control.0.rates.borrow(),
    }))
}

fn total(fleet: &Fleet) -> Told {
    fleet.members.iter().fold(Told::default(), |mut sum, member| {
        sum.add(&member.tally().told());
        sum
    })
}

fn shown(told: &Told) -> Value {
    let verbs: Map<String, Value> = told.by_verb().map(|(verb, count)| (verb.to_owned(), count.into())).collect();
    json!({"requests": told.requests(), "writes": told.writes(), "unchanged": told.unchanged, "bytes": told.bytes,
        "verbs": verbs})
}

/// `total` is of all members; `?members=` lists some of them.
async fn requests(State(control): State<Control>, Query(chosen): Query<Chosen>) -> Answer {
    let fleet = &control.0.fleet;
    let mut told = json!({"hub": shown(&fleet.hub.tally().told()), "total": shown(&total(fleet))});
    if let Some(chosen) = chosen.members {
        let names = choice::members(&fleet.scheme, &chosen).map_err(refused)?;
        let clusters = names.iter().filter_map(|name| Some((name.clone(), control.cluster(name)?)));
        told["members"] = clusters.map(|(name, cluster)| (name, shown(&cluster.tally().told()))).collect();
    }
    Ok(Json(told))
}

/// What the simulated repositories say of the hubs that came by; `?members=` counts those that some members have claimed.
async fn repositories(State(control): State<Control>, Query(chosen): Query<Chosen>) -> Answer {
    let fleet = &control.0.fleet;
    let all = fleet.repositories.all();
    let claimed = || all.values().filter_map(|repository| holder(&repository.owner));
    let runs: u64 = all.values().map(|repository| u64::from(repository.runs)).sum();
    let collisions: u64 = all.values().map(|repository| u64::from(repository.collisions)).sum();
    let inside: usize = all.values().map(|repository| repository.inside.len()).sum();
    let mut told = json!({"repositories": all.len(), "claimed": claimed().count(), "runs": runs, "runsUnderWay": inside,
        "collisions": collisions});
    if let Some(chosen) = chosen.members {
        let names: BTreeSet<String> = choice::members(&fleet.scheme, &chosen).map_err(refused)?.into_iter().collect();
        told["held"] = claimed().filter(|member| names.contains(*member)).count().into();
    }
    Ok(Json(told))
}

/// The member of a hub that owns a repository.
fn holder(owner: &str) -> Option<&str> {
    let (_, holder) = owner.strip_prefix("volsync-hub-")?.split_once('@')?;
    Some(holder.split_once('.').map_or(holder, |(member, _)| member))
}

async fn faults(State(control): State<Control>) -> Json<Value> {
    Json(json!(*control.faults()))
}

async fn put_faults(State(control): State<Control>, Json(order): Json<Order>) -> Answer {
    let names = control.blocking(move |control| control.put(&order.members, &order.faults)).await?;
    Ok(Json(json!({"members": names})))
}

async fn heal(State(control): State<Control>) -> Answer {
    let names = control.blocking(Control::heal).await?;
    Ok(Json(json!({"members": names})))
}

/// On a thread of the runtime: files of some kilobytes are written.
async fn rotate(State(control): State<Control>, Json(order): Json<Rotation>) -> Answer {
    let names = choice::members(&control.0.fleet.scheme, &order.members).map_err(refused)?;
    let before_lasts = Duration::from_secs(order.before_lasts_seconds.into());
    for member in names.iter().filter(|name| *name != HUB).filter_map(|name| control.cluster(name)) {
        control.0.credentials.rotate(member, before_lasts).map_err(refused)?;
    }
    Ok(Json(json!({"members": names})))
}

async fn rates(State(control): State<Control>) -> Json<Value> {
    Json(json!({"rates": *control.0.rates.borrow(), "made": control.0.made.told()}))
}

async fn put_rates(State(control): State<Control>, Json(wanted): Json<Rates>) -> Answer {
    wanted.check().map_err(refused)?;
    control.0.rates.send_replace(wanted);
    Ok(Json(json!({"rates": wanted})))
}

#[cfg(test)]
mod tests;

//! A large simulated fleet as a process of its own: a hub cluster and any number of members, each an API server of
//! [`crate::sim`], for a hub that runs elsewhere.
//!
//! As in the demo, clusters, Jobs and repositories are simulated: no container runs, and no byte of a backup exists.

mod changes;
mod choice;
pub mod control;
pub mod credentials;
mod faults;
mod fill;
pub mod scheme;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::demo::repositories::Repositories;
use crate::demo::standing::FORMER_OWNER;
use crate::demo::workload::Workload;
use crate::demo::{Clock, kubelet};
use crate::sim::{SimCluster, pki};
use scheme::Scheme;

/// Of each kind in each member: some tens of versions, behind which a watch that was away for seconds finds its place.
/// Real members remember more, which a thousand of them in one process can't.
const HISTORY_BYTES_MAX: usize = 64 << 10;

/// A running fleet. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    pub scheme: Scheme,
    pub hub: SimCluster,
    pub members: Vec<SimCluster>,
    pub repositories: Repositories,
    _stop: DropGuard,
}

/// Where and how fast a fleet runs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The hub's port, from which on the members have theirs; 0: any that are free.
    pub port: u16,
    /// How many seconds pass for CronJobs in one.
    pub speed: u32,
    /// How long Pods work, at least.
    pub runs: Duration,
    /// API servers know no HTTP/2.
    pub http1: bool,
}

impl Place {
    /// Any ports, at the pace of the world.
    pub const ANY: Self = Self { port: 0, speed: 1, runs: kubelet::WORK, http1: false };

    fn port(self, index: usize) -> io::Result<u16> {
        let port = u16::try_from(index).ok().and_then(|index| self.port.checked_add(index));
        match (self.port, port) {
            (0, _) => Ok(0),
            (_, Some(port)) => Ok(port),
            (first, None) => {
                let why = format!("from {first} on there are too few ports for so many members; name a lower one");
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
        }
    }
}

impl Fleet {
    /// Starts all clusters, fills them, and begins to play their controllers. `progress` is told after each member how
    /// many stand.
    pub async fn start(scheme: Scheme, place: Place, progress: impl Fn(usize)) -> io::Result<Self> {
        let mut identity = pki::identity("the simulated fleet", pki::LOOPBACK)?;
        if place.http1 {
            identity.speaks_http1_only();
        }
        let stop = CancellationToken::new();
        let repositories = Repositories::default();
        for index in 0..scheme.repositories {
            let repository = scheme.repository(index);
            repositories.create(&repository.location, &repository.password, FORMER_OWNER);
        }
        let start = async |name: &str, index: usize| {
            let port = place.port(index)?;
            SimCluster::start_as(name, port, scheme.seed_of(name), &identity)
                .await
                .map_err(|error| io::Error::new(error.kind(), format!("start the API server of {name}: {error}")))
        };
        let hub = start("hub", 0).await?;
        fill::hub(&hub)?;
        let clock = Clock::starting_now(place.speed);
        let mut members = Vec::with_capacity(scheme.members);
        for index in 0..scheme.members {
            let member = start(&scheme.member(index), index + 1).await?;
            member.store().keep_history(HISTORY_BYTES_MAX);
            fill::member(&scheme, index, &member)?;
            let workload = Workload::new(&member, clock, repositories.clone()).with_runs_of(place.runs);
            tokio::spawn(workload.run(stop.clone()));
            members.push(member);
            progress(members.len());
        }
        Ok(Self { scheme, hub, members, repositories, _stop: stop.drop_guard() })
    }
}

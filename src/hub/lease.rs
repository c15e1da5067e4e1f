//! Keeps, takes and gives up the Lease by which one replica leads, and opens and shuts the [`Fence`] accordingly.
//! What follows from what is read is decided in [`crate::lease`].

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::labels::FIELD_MANAGER;
use crate::lease::{DURATION, Elector, LOOK_EVERY, MARGIN, RENEW_EVERY, Standing, Step};
use crate::member::fence::Fence;

pub const NAME: &str = "volsync-hub";
/// A request that takes longer is tried again: the margin leaves room for two.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the election of one replica.
pub struct Leadership {
    api: Api<Lease>,
    place: String,
    identity: String,
    fence: Fence,
    leads: watch::Sender<bool>,
    elector: Elector,
    began: Instant,
    /// As it was read or written last, to be renewed without reading it again.
    last: Option<Lease>,
}

impl Leadership {
    /// `client` has to pass the fence at all times: the Lease is what opens it.
    pub fn new(client: Client, namespace: &str, identity: &str, fence: Fence) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            place: format!("Lease {namespace}/{NAME} on the hub"),
            identity: identity.to_owned(),
            fence,
            leads: watch::Sender::new(false),
            elector: Elector::new(identity),
            began: Instant::now(),
            last: None,
        }
    }

    /// True while this replica leads.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// Until cancelled; then no new write starts, those under way end, and the Lease is given up.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut failing = false;
        while !cancel.is_cancelled() {
            let turn = Instant::now();
            let done = self.turn().await;
            self.tell();
            match &done {
                Ok(()) if failing => info!(lease = self.place, "the Lease can be read and written again"),
                Ok(()) => {}
                Err(error) if failing => debug!(error, "the Lease was not renewed"),
                Err(error) if self.elector.held_until().is_some() => {
                    warn!(error, "the Lease was not renewed; writes stop {} s before it ends", MARGIN.as_secs());
                }
                Err(error) => warn!(error, "the Lease can't be read or written: this replica writes nothing"),
            }
            failing = done.is_err();
            let pause = if done.is_ok() && *self.leads.borrow() { RENEW_EVERY } else { LOOK_EVERY };
            cancel.run_until_cancelled(self.wait(turn + pause)).await;
        }
        self.fence.close();
        self.fence.drained().await;
        self.give_up().await;
        self.leads.send_replace(false);
    }

    /// Sleeps, and notices when the time for writes runs out meanwhile.
    async fn wait(&self, until: Instant) {
        if let Some(end) = self.writes_end().filter(|end| *end < until) {
            tokio::time::sleep_until(end).await;
            self.tell();
        }
        tokio::time::sleep_until(until).await;
    }

    fn writes_end(&self) -> Option<Instant> {
        self.elector.held_until().map(|until| self.began + until - MARGIN)
    }

    fn tell(&self) {
        // It may have been shut since the last renewal, and what came up meanwhile was left to nobody.
        let lapsed = !self.fence.is_open();
        match self.elector.held_until() {
            Some(until) => self.fence.lead(self.began + until, MARGIN),
            None => self.fence.close(),
        }
        let leads = self.fence.is_open();
        let changed = *self.leads.borrow() != leads;
        if changed || leads && lapsed {
            self.leads.send_replace(leads);
        }
        if changed && leads {
            info!(lease = self.place, identity = self.identity, "this replica leads");
        } else if changed {
            warn!(
                lease = self.place,
                identity = self.identity,
                "this replica does not lead any more; it writes nothing"
            );
        }
    }

    /// Looks at the Lease, and writes it where it is this replica's to write.
    async fn turn(&mut self) -> Result<(), String> {
        let began = self.began.elapsed();
        // Who leads writes first: one request a renewal, and a conflict tells of whoever was faster.
        let known = self.last.take().filter(|_| self.elector.held_until().is_some());
        let standing = match known {
            Some(lease) => Some(lease),
            None => timed("read", &self.place, self.api.get_opt(NAME)).await?.map_err(|error| error.to_string())?,
        };
        let step = self.elector.look(standing.as_ref().map(read).as_ref(), self.began.elapsed());
        match step {
            Step::StandBy => {
                debug!(holder = standing.as_ref().and_then(holder), "stands by");
                Ok(())
            }
            Step::Take => self.take(standing, began).await,
        }
    }

    async fn take(&mut self, standing: Option<Lease>, began: Duration) -> Result<(), String> {
        let wanted = wanted(standing.as_ref(), Some(&self.identity));
        let parameters = parameters();
        let written = match &standing {
            Some(_) => timed("renew", &self.place, self.api.replace(NAME, &parameters, &wanted)).await?,
            None => timed("create", &self.place, self.api.create(&parameters, &wanted)).await?,
        };
        match written {
            Ok(lease) => {
                self.elector.took(began);
                self.last = Some(lease);
                Ok(())
            }
            // Another replica was faster, or somebody deleted it: the next look tells.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                self.elector.lost();
                Ok(())
            }
            Err(error) => Err(format!("failed to write {}: {error}", self.place)),
        }
    }

    /// So that another replica need not wait until it ends.
    async fn give_up(&mut self) {
        let Some(lease) = self.last.take().filter(|_| self.elector.held_until().is_some()) else { return };
        let wanted = wanted(Some(&lease), None);
        match timed("give up", &self.place, self.api.replace(NAME, &parameters(), &wanted)).await {
            Ok(Ok(_)) => info!(lease = self.place, "given up"),
            Ok(Err(error)) => info!(lease = self.place, %error, "not given up; it ends by itself"),
            Err(error) => info!(error, "not given up; it ends by itself"),
        }
    }
}

/// The Lease with this holder; none: given up.
fn wanted(standing: Option<&Lease>, holder: Option<&String>) -> Lease {
    let now = MicroTime(Timestamp::now());
    let before = standing.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let stays = before.holder_identity.as_ref() == holder;
    let spec = LeaseSpec {
        holder_identity: holder.cloned(),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: if stays { before.acquire_time } else { Some(now.clone()) },
        renew_time: Some(now),
        lease_transitions: Some(before.lease_transitions.unwrap_or(0).saturating_add(i32::from(!stays))),
        ..LeaseSpec::default()
    };
    let metadata = standing.map_or_else(
        || ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        |lease| ObjectMeta { managed_fields: None, ..lease.metadata.clone() },
    );
    Lease { metadata, spec: Some(spec) }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn read(lease: &Lease) -> Standing {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    Standing {
        holder: holder(lease).map(Into::into),
        version: lease.metadata.resource_version.clone().unwrap_or_default().into(),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
    }
}

async fn timed<T>(
    attempt: &str,
    place: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Result<T, kube::Error>, String> {
    tokio::time::timeout(TIMEOUT, request)
        .await
        .map_err(|_| format!("failed to {attempt} {place}: no answer within {} s", TIMEOUT.as_secs()))
}

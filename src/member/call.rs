//! Every single request to a member goes through [`Member::call`]: breaker, rate limit, a bound on what is in flight,
//! a timeout, and an error that says what was attempted on which object in which member.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::AsyncReadExt;
use jiff::Timestamp;
use kube::Client;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::bounds::Bound;
use crate::names::MemberName;

use super::breaker::{Breaker, Health, Verdict};
use super::client::{ConnectError, Counters};
use super::fence::Fence;
use super::peer::Peer;
use super::resolver::Reach;
use super::streamed::Streaming;
use super::under_way::UnderWay;

pub use super::error::{CallError, Class, Operation};

/// Requests a second to one member: a few busy controllers' worth, which an API server shares out fairly.
const RATE_PER_SECOND: u32 = 100;
/// Requests that may go out at once after a quiet second.
const BURST: u32 = 100;
/// Requests under way in one member: with answers in 100 ms this reaches the rate limit three times over.
const IN_FLIGHT_MAX: usize = 32;
/// Pages of lists that one member may have in memory: one that sends them drop by drop takes no more than this of what
/// the whole fleet shares.
const PAGES_MAX: usize = 4;

/// A member with its present credentials. Cheap to clone; a rotation makes a new one.
#[derive(Clone)]
pub struct Member(Arc<Inner>);

struct Inner {
    name: MemberName,
    incarnation: u64,
    client: Client,
    breaker: Mutex<Breaker>,
    health: watch::Sender<Health>,
    rate: RateLimit,
    in_flight: Semaphore,
    pages: Arc<Semaphore>,
    counters: Arc<Counters>,
    last_contact: Mutex<Option<Timestamp>>,
    under_way: UnderWay,
    streaming: Streaming,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({}#{})", self.0.name, self.0.incarnation)
    }
}

impl Member {
    /// One that is not supervised: whoever makes it runs its [`heartbeat`](super::heartbeat).
    pub fn new(name: MemberName, incarnation: u64, client: Client, counters: Arc<Counters>) -> Self {
        let seed =
            name.as_str().bytes().fold(incarnation, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        Self(Arc::new(Inner {
            name,
            incarnation,
            client,
            breaker: Mutex::new(Breaker::new(seed)),
            health: watch::Sender::new(Health::Up),
            rate: RateLimit::default(),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
            counters,
            last_contact: Mutex::new(None),
            under_way: UnderWay::default(),
            streaming: Streaming::default(),
        }))
    }

    pub fn name(&self) -> &MemberName {
        &self.0.name
    }

    /// Grows with each rotation of the credentials.
    pub fn incarnation(&self) -> u64 {
        self.0.incarnation
    }

    /// For requests inside [`Member::call`].
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Requests under way, and how many may be.
    pub fn in_flight(&self) -> Bound {
        Bound::of_permits(&self.0.in_flight, IN_FLIGHT_MAX)
    }

    /// When it last answered.
    pub fn last_contact(&self) -> Option<Timestamp> {
        *lock(&self.0.last_contact)
    }

    /// Jobs of maintenance that have not ended.
    pub(super) fn under_way(&self) -> &UnderWay {
        &self.0.under_way
    }

    pub(super) fn streaming(&self) -> &Streaming {
        &self.0.streaming
    }

    pub fn health(&self) -> Health {
        *self.0.health.borrow()
    }

    pub(super) fn watch_health(&self) -> watch::Receiver<Health> {
        self.0.health.subscribe()
    }

    /// Time until a trial may go out; none while calls go through anyway.
    pub(super) fn next_trial(&self) -> Option<Duration> {
        lock(&self.0.breaker).next_trial(Instant::now())
    }

    /// Makes one request under all the bounds of this member. `request` must be one bounded exchange: for a watch,
    /// up to the response's headers, or a part of its events.
    pub fn call<'a, T: 'a>(
        &'a self,
        operation: &'a Operation,
        request: impl Future<Output = Result<T, kube::Error>> + Send + 'a,
    ) -> impl Future<Output = Result<T, CallError>> + 'a {
        // A request under way takes kilobytes; a dozen tasks of each member would have room for one all the time.
        self.call_boxed(operation, Box::pin(request))
    }

    async fn call_boxed<T>(
        &self,
        operation: &Operation,
        request: Pin<Box<dyn Future<Output = Result<T, kube::Error>> + Send + '_>>,
    ) -> Result<T, CallError> {
        let fail = |class, detail: &str| CallError::new(&self.0.name, operation, class, detail);
        self.admit().map_err(|(class, detail)| fail(class, &detail))?;
        self.0.rate.wait().await;
        let Ok(_permit) = self.0.in_flight.acquire().await else {
            return Err(fail(Class::Other, "this client was closed"));
        };
        let result = match tokio::time::timeout(operation.timeout, request).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(CallError::of_kube(&self.0.name, operation, &error)),
            Err(_) => Err(fail(Class::Timeout, &format!("no answer within {} s", operation.timeout.as_secs()))),
        };
        // What was never sent says nothing of the member.
        if !matches!(&result, Err(error) if error.class == Class::NotLeading) {
            self.record(result.as_ref().map_or_else(|error| error.class.verdict(), |_| Verdict::Answered));
        }
        result
    }

    fn admit(&self) -> Result<(), (Class, String)> {
        let mut breaker = lock(&self.0.breaker);
        breaker.admit(Instant::now()).map_err(|wait| {
            let (class, why) = match breaker.health() {
                Health::Refused => (Class::Unauthorized, "its API server refuses the credentials"),
                Health::Up | Health::Down => (Class::Unreachable, "its API server does not answer"),
            };
            (class, format!("{why}; the next attempt is due in {} s", wait.as_secs() + 1))
        })
    }

    fn record(&self, verdict: Verdict) {
        if verdict == Verdict::Answered {
            *lock(&self.0.last_contact) = Some(Timestamp::now());
        }
        let health = {
            let mut breaker = lock(&self.0.breaker);
            breaker.record(Instant::now(), verdict);
            breaker.health()
        };
        self.0.health.send_if_modified(|current| std::mem::replace(current, health) != health);
    }
}

/// A poisoned lock is still good here: every critical section leaves its value whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets [`RATE_PER_SECOND`] requests a second through, [`BURST`] at once after a pause.
#[derive(Default)]
struct RateLimit {
    /// When the next request would go out if there was no burst.
    next: Mutex<Option<Instant>>,
}

impl RateLimit {
    async fn wait(&self) {
        let step = Duration::from_secs(1) / RATE_PER_SECOND;
        let now = Instant::now();
        let slot = {
            let mut next = lock(&self.next);
            let slot = next.unwrap_or(now).max(now.checked_sub(step * BURST).unwrap_or(now));
            *next = Some(slot + step);
            slot
        };
        tokio::time::sleep_until(slot).await;
    }
}

impl Member {
    /// Like [`Member::call`], for a request that is a text to be parsed by [`Member::parse`]. The client's own
    /// parsing is not used: it logs what it can't parse, and that may be a Secret.
    pub(super) async fn text(
        &self,
        operation: &Operation,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Zeroizing<String>, CallError> {
        let request = self.made(operation, request)?;
        self.call(operation, self.0.client.request_text(request)).await.map(Zeroizing::new)
    }

    /// One page of a list, under the bound of the whole fleet, too: `fleet` is asked once the answer begins, so that a
    /// member that does not answer takes nothing from others. The permits go with the text.
    pub(super) async fn page(
        &self,
        operation: &Operation,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        fleet: &Arc<Semaphore>,
    ) -> Result<(Zeroizing<String>, [OwnedSemaphorePermit; 2]), CallError> {
        let request = self.made(operation, request)?;
        let own = self.own_page(operation).await?;
        let answer = self.call(operation, self.0.client.request_stream(request)).await?;
        let shared = self.permit(operation, fleet).await?;
        let read = async {
            let (mut answer, mut bytes) = (std::pin::pin!(answer), Vec::new());
            answer.read_to_end(&mut bytes).await.map_err(|error| kube::Error::Service(Box::new(error)))?;
            String::from_utf8(bytes).map_err(kube::Error::FromUtf8)
        };
        Ok((self.call(operation, read).await.map(Zeroizing::new)?, [own, shared]))
    }

    /// For a page that this member is asked for.
    pub(super) async fn own_page(&self, operation: &Operation) -> Result<OwnedSemaphorePermit, CallError> {
        self.permit(operation, &self.0.pages).await
    }

    /// Of what is bounded in this member or the whole fleet.
    pub(super) async fn permit(
        &self,
        operation: &Operation,
        of: &Arc<Semaphore>,
    ) -> Result<OwnedSemaphorePermit, CallError> {
        let closed = |_| CallError::new(&self.0.name, operation, Class::Other, "this client was closed");
        Arc::clone(of).acquire_owned().await.map_err(closed)
    }

    /// The request, if there can be such a one.
    pub(super) fn made(
        &self,
        operation: &Operation,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<http::Request<Vec<u8>>, CallError> {
        let detail = |error| format!("no such request can be made: {error}");
        request.map_err(|error| CallError::new(&self.0.name, operation, Class::Invalid, &detail(error)))
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, operation: &Operation, text: &str) -> Result<T, CallError> {
        serde_json::from_str(text)
            .map_err(|error| CallError::of_kube(&self.0.name, operation, &kube::Error::SerdeError(error)))
    }
}

impl Member {
    /// A handle for a cluster that is no member, such as the hub's own. Something has to poll
    /// [`heartbeat`](super::heartbeat) for it, or it is not tried again once it did not answer.
    pub async fn connect(name: MemberName, config: kube::Config) -> Result<Self, ConnectError> {
        let peer = Peer::new(name.as_str(), Fence::open());
        let building = tokio::task::spawn_blocking(|| super::client::build(config, Reach::Anywhere, peer));
        let (client, counters) = building.await.map_err(|_| ConnectError::Credentials)??;
        Ok(Self::new(name, 0, client, counters))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A member whose client is never used: each call brings its own answer.
    fn member() -> Member {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
        });
        Member::new("eu".into(), 1, Client::new(service, "default"), Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_requests_a_second_go_out_and_a_hundred_at_once_after_a_pause() {
        let (member, operation) = (member(), Operation::new("get", "it"));
        member.call(&operation, async { Ok(()) }).await.unwrap();
        tokio::time::sleep(Duration::from_mins(1)).await;
        let began = Instant::now();
        for _ in 0..400 {
            member.call(&operation, async { Ok(()) }).await.unwrap();
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(2900) && took <= Duration::from_millis(3100), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn at_most_32_requests_are_under_way_and_one_without_an_answer_ends() {
        let (member, operation) = (member(), Operation::new("get", "it"));
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let request = || async {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        let calls = (0..200).map(|_| member.call(&operation, request()));
        assert!(futures::future::join_all(calls).await.iter().all(Result::is_ok));
        assert_eq!(most.load(Ordering::SeqCst), IN_FLIGHT_MAX);
        let began = Instant::now();
        let silent = member.call(&operation, std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert_eq!(silent.class, Class::Timeout);
        assert_eq!(began.elapsed(), operation.timeout);
    }
}

//! Kubernetes Events on policies, repositories and members: one for each change of state, none for a repetition.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::Semaphore;
use tracing::debug;

use crate::bounds::Bound;
use crate::member::Fence;
use crate::status::conditions::cut;

/// What API servers take. Bytes.
const NOTE_MAX: usize = 1024;
/// Events that are on their way at once; more than that are dropped, for they are only words.
const IN_FLIGHT_MAX: usize = 32;
const TIMEOUT: Duration = Duration::from_secs(10);

/// A recorder keeps each event for six minutes, to count repetitions, and goes through all of them for each new one: each
/// recorder has a part of the objects, and another takes its place after so many events. What is said again then is an
/// Event of its own.
const RECORDERS: usize = 64;
const RECORDED_MAX: usize = 16;

#[derive(Clone)]
pub struct Events {
    client: Client,
    reporter: Reporter,
    recorders: Arc<[Mutex<(Recorder, usize)>]>,
    in_flight: Arc<Semaphore>,
    fence: Fence,
}

impl Events {
    pub fn new(client: &Client, instance: Option<String>, fence: Fence) -> Self {
        let reporter = Reporter { controller: "volsync-hub".to_owned(), instance };
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let recorder = || Mutex::new((Recorder::new(client.clone(), reporter.clone()), 0));
        let recorders = std::iter::repeat_with(recorder).take(RECORDERS).collect();
        Self { client: client.clone(), reporter, recorders, in_flight, fence }
    }

    /// Events on their way.
    pub fn in_flight(&self) -> Bound {
        Bound::of_permits(&self.in_flight, IN_FLIGHT_MAX)
    }

    /// Returns at once: an event never holds up work. A replica that stands by leaves it to the one that leads.
    pub fn publish(&self, about: ObjectReference, good: bool, reason: &str, note: &str) {
        if !self.fence.is_open() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.in_flight).try_acquire_owned() else {
            debug!(reason, "an event was dropped: too many are under way");
            return;
        };
        let event = Event {
            type_: if good { EventType::Normal } else { EventType::Warning },
            reason: reason.to_owned(),
            note: Some(cut(note.to_owned(), NOTE_MAX)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let recorder = self.recorder(&about);
        tokio::spawn(async move {
            match tokio::time::timeout(TIMEOUT, recorder.publish(&event, &about)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "an event was not taken"),
                Err(_) => debug!("an event took too long"),
            }
            drop(permit);
        });
    }

    /// The same for the same object, until it has recorded enough.
    fn recorder(&self, about: &ObjectReference) -> Recorder {
        let mut hasher = DefaultHasher::new();
        (&about.kind, &about.name).hash(&mut hasher);
        let number = usize::try_from(hasher.finish() % RECORDERS as u64).unwrap_or_default();
        let mut slot = self.recorders[number].lock().unwrap_or_else(PoisonError::into_inner);
        if slot.1 == RECORDED_MAX {
            *slot = (Recorder::new(self.client.clone(), self.reporter.clone()), 0);
        }
        slot.1 += 1;
        slot.0.clone()
    }
}

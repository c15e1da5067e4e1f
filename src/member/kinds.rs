//! What is watched in every member, and what each object is reported as.

use std::collections::BTreeSet;
use std::future::ready;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::labels;
use crate::names::{MemberName, ObjectName, SourceKey};
use crate::plan::fleet::Observation;

use super::call::{CallError, Class, Member};
use super::contact::{Part, Progress};
use super::event::{ForeignKind, MemberEvent, OwnedKind};
use super::records;
use super::seen::{Events, Seen, hash_of};
use super::watch::Sink;
use super::wire::{Bare, CronJob, Job, Object, Pod, Source};

/// How objects of one kind are reported.
pub trait Kind: Send + Sync + 'static {
    type Object: Object;
    const PART: Part;

    /// The events that say what is there now; none: it is of no interest, as if it was not there.
    fn report(&self, member: &MemberName, name: &ObjectName, object: Self::Object) -> Vec<MemberEvent>;
    /// The events that say that it is gone.
    fn gone(&self, member: &MemberName, name: &ObjectName) -> Vec<MemberEvent>;
    /// Fails unless what is missing was really deleted, one by one.
    fn confirm(&self) -> impl Future<Output = Result<(), CallError>> + Send {
        ready(Ok(()))
    }
}

/// So many lists without an answer are told of.
const UNANSWERED: u32 = 3;

/// Follows one kind of one member: reports what changed, and only that.
pub struct Keeper<K> {
    pub kind: K,
    pub seen: Arc<Mutex<Seen>>,
    pub events: Events,
    pub progress: Progress,
    /// Wakes whoever finds out what is installed and allowed.
    pub look_again: Arc<Notify>,
    /// Deleted as far as the watch says; believed when confirmed.
    pub deleted: BTreeSet<ObjectName>,
    pub was_failing: bool,
    /// So often in a row there was no answer to a list.
    pub unanswered: u32,
}

impl<K: Kind> Keeper<K> {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn remove(&self, name: &ObjectName) {
        if !self.seen().contains(name) {
            return;
        }
        if self.send(self.kind.gone(&self.events.member, name)).await {
            self.seen().forget(name);
        }
    }

    /// False: this incarnation is over, and what it did not deliver must not be remembered as delivered.
    async fn send(&self, events: Vec<MemberEvent>) -> bool {
        for event in events {
            if !self.events.send(event).await {
                return false;
            }
        }
        true
    }
}

impl<K: Kind> Sink for Keeper<K> {
    type Object = K::Object;

    fn begin(&mut self) {
        self.deleted.clear();
        self.seen().begin();
    }

    async fn apply(&mut self, object: K::Object) {
        let name = object.meta().object_name();
        self.deleted.remove(&name);
        let events = self.kind.report(&self.events.member, &name, object);
        if events.is_empty() {
            return self.remove(&name).await;
        }
        let hash = hash_of(&events);
        let changed = self.seen().note(&name, hash);
        if changed && self.send(events).await {
            self.seen().reported(name, hash);
        }
    }

    fn delete(&mut self, object: K::Object) {
        self.deleted.insert(object.meta().object_name());
    }

    async fn complete(&mut self) -> Result<(), CallError> {
        self.kind.confirm().await?;
        let missing = self.seen().missing();
        for name in missing {
            self.remove(&name).await;
        }
        self.unanswered = 0;
        self.progress.complete(K::PART);
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), CallError> {
        if self.deleted.is_empty() {
            return Ok(());
        }
        self.kind.confirm().await?;
        for name in mem::take(&mut self.deleted) {
            self.remove(&name).await;
        }
        Ok(())
    }

    fn live(&mut self) {
        self.progress.complete(K::PART);
        if mem::take(&mut self.was_failing) {
            self.look_again.notify_one();
        }
    }

    async fn failed(&mut self, error: &CallError) {
        tracing::warn!(member = %self.events.member, %error, "observing is interrupted");
        if error.class == Class::Unauthorized {
            return;
        }
        // Out of contact is not the kind's own failure: the breaker says it. Where the member answers and these lists are
        // not answered again and again, nothing else says so: a proxy that cuts long answers, a server that can't read one.
        if matches!(error.class, Class::Unreachable | Class::Timeout) {
            self.unanswered = self.unanswered.saturating_add(1);
            if self.unanswered >= UNANSWERED {
                self.progress.failed(K::PART, &error.to_string());
            }
            return;
        }
        self.progress.failed(K::PART, &error.to_string());
        if !mem::replace(&mut self.was_failing, true) {
            self.look_again.notify_one();
        }
    }
}

/// ReplicationSources. Deleting their CRD deletes each of them first, so that is asked about before one is believed
/// to be gone.
pub struct Sources<F> {
    pub crd_stands: F,
}

impl<F, A> Kind for Sources<F>
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = Result<(), CallError>> + Send,
{
    type Object = Source;
    const PART: Part = Part::Sources;

    fn report(&self, member: &MemberName, name: &ObjectName, source: Source) -> Vec<MemberEvent> {
        let Some(record) = records::source(&source) else { return Vec::new() };
        let key = SourceKey { member: member.clone(), object: name.clone() };
        vec![MemberEvent::Observed(Observation::Source { key, record: Some(Box::new(record)) })]
    }

    fn gone(&self, member: &MemberName, name: &ObjectName) -> Vec<MemberEvent> {
        let key = SourceKey { member: member.clone(), object: name.clone() };
        vec![MemberEvent::Observed(Observation::Source { key, record: None })]
    }

    async fn confirm(&self) -> Result<(), CallError> {
        (self.crd_stands)().await
    }
}

pub struct Namespaces;

impl Kind for Namespaces {
    type Object = Bare;
    const PART: Part = Part::Namespaces;

    fn report(&self, member: &MemberName, name: &ObjectName, namespace: Bare) -> Vec<MemberEvent> {
        let labels = namespace.metadata.labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        vec![MemberEvent::Observed(Observation::Namespace {
            member: member.clone(),
            namespace: name.name.clone(),
            labels: Some(Arc::new(labels)),
        })]
    }

    fn gone(&self, member: &MemberName, name: &ObjectName) -> Vec<MemberEvent> {
        let (member, namespace) = (member.clone(), name.name.clone());
        vec![MemberEvent::Observed(Observation::Namespace { member, namespace, labels: None })]
    }
}

/// Maintenance CronJobs of whoever, in all namespaces.
pub struct CronJobs {
    pub hub: Arc<str>,
    pub namespace: Arc<str>,
}

impl CronJobs {
    fn events(member: &MemberName, name: &ObjectName) -> [MemberEvent; 3] {
        let (member, name) = (member.clone(), name.clone());
        [
            MemberEvent::Observed(Observation::CronJob { member: member.clone(), name: name.clone(), record: None }),
            MemberEvent::Owned { member: member.clone(), kind: OwnedKind::CronJob, name: name.clone(), object: None },
            MemberEvent::Foreign { member, kind: ForeignKind::CronJob, name, object: None },
        ]
    }
}

impl Kind for CronJobs {
    type Object = CronJob;
    const PART: Part = Part::CronJobs;

    /// All three say something each time: an object may turn from ours to foreign when a label is removed.
    fn report(&self, member: &MemberName, name: &ObjectName, cron_job: CronJob) -> Vec<MemberEvent> {
        let [mut pushed, mut owned, mut foreign] = Self::events(member, name);
        if let MemberEvent::Observed(Observation::CronJob { record, .. }) = &mut pushed
            && name.namespace == self.namespace
        {
            *record = records::pushed(member, &cron_job, &self.hub);
        }
        if records::is_hubs(&cron_job.metadata) {
            if let MemberEvent::Owned { object, .. } = &mut owned {
                let cron = records::cron_state(&cron_job);
                *object = Some(Box::new(records::owned(cron_job.metadata, Some(cron))));
            }
        } else if let MemberEvent::Foreign { object, .. } = &mut foreign {
            *object = Some(Box::new(records::foreign(cron_job)));
        }
        vec![pushed, owned, foreign]
    }

    fn gone(&self, member: &MemberName, name: &ObjectName) -> Vec<MemberEvent> {
        Self::events(member, name).into()
    }
}

/// Jobs of maintenance of whoever, in the namespace of the hub.
pub struct Jobs {
    pub of: Member,
}

impl Kind for Jobs {
    type Object = Job;
    const PART: Part = Part::Jobs;

    fn report(&self, member: &MemberName, name: &ObjectName, job: Job) -> Vec<MemberEvent> {
        let job = records::job(job);
        self.of.under_way().saw(Self::PART, name, !job.is_terminal() && !job.suspended);
        vec![MemberEvent::Job { member: member.clone(), name: name.clone(), job: Some(Box::new(job)) }]
    }

    fn gone(&self, member: &MemberName, name: &ObjectName) -> Vec<MemberEvent> {
        self.of.under_way().saw(Self::PART, name, false);
        vec![MemberEvent::Job { member: member.clone(), name: name.clone(), job: None }]
    }
}

/// Their Pods.
pub struct Pods {
    pub of: Member,
}

impl Kind for Pods {
    type Object = Pod;
    const PART: Part = Part::Pods;

    fn report(&self, member: &MemberName, name: &ObjectName, pod: Pod) -> Vec<MemberEvent> {
        let pod = records::pod(pod);
        self.of.under_way().saw(Self::PART, name, !pod.is_terminal());
        vec![MemberEvent::Pod { member: member.clone(), name: name.clone(), pod: Some(Box::new(pod)) }]
    }

    fn gone(&self, member: &MemberName, name: &ObjectName) -> Vec<MemberEvent> {
        self.of.under_way().saw(Self::PART, name, false);
        vec![MemberEvent::Pod { member: member.clone(), name: name.clone(), pod: None }]
    }
}

/// Secrets (`SECRETS`) or ConfigMaps that a hub pushed, by metadata.
pub struct Pushed<const SECRETS: bool>;

impl<const SECRETS: bool> Pushed<SECRETS> {
    const KIND: OwnedKind = if SECRETS { OwnedKind::Secret } else { OwnedKind::ConfigMap };
}

impl<const SECRETS: bool> Kind for Pushed<SECRETS> {
    type Object = Bare;
    const PART: Part = if SECRETS { Part::Secrets } else { Part::ConfigMaps };

    fn report(&self, member: &MemberName, name: &ObjectName, object: Bare) -> Vec<MemberEvent> {
        let object = Some(Box::new(records::owned(object.metadata, None)));
        vec![MemberEvent::Owned { member: member.clone(), kind: Self::KIND, name: name.clone(), object }]
    }

    fn gone(&self, member: &MemberName, name: &ObjectName) -> Vec<MemberEvent> {
        vec![MemberEvent::Owned { member: member.clone(), kind: Self::KIND, name: name.clone(), object: None }]
    }
}

/// Selects what maintains repositories, whoever made it.
pub fn maintenance_selector() -> String {
    format!("{}={}", labels::MAINTENANCE, labels::MAINTENANCE_VALUE)
}

/// Selects what a hub made.
pub fn hub_selector() -> String {
    format!("{}={}", labels::MANAGED_BY, labels::MANAGED_BY_VALUE)
}

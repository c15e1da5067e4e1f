//! Whether a member is in contact: what of it has been seen whole, and whether it answers.
//!
//! A member is `Synced` while every kind that planning needs was listed completely and its changes come in,
//! `Unreachable` while its breaker is open (it does not answer, or refuses the credentials), else `Syncing`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::plan::fleet::Contact;

use super::breaker::Health;
use super::call::Member;
use super::event::{ConditionKind, MemberCondition, MemberEvent};
use super::facts;
use super::seen::Events;

/// The kinds that have to be complete before absence means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Sources,
    Namespaces,
    CronJobs,
    Jobs,
    Pods,
    Secrets,
    ConfigMaps,
}

impl Part {
    pub const ALL: [Self; 7] =
        [Self::Sources, Self::Namespaces, Self::CronJobs, Self::Jobs, Self::Pods, Self::Secrets, Self::ConfigMaps];

    fn as_str(self) -> &'static str {
        match self {
            Self::Sources => "ReplicationSources",
            Self::Namespaces => "Namespaces",
            Self::CronJobs => "CronJobs",
            Self::Jobs => "Jobs",
            Self::Pods => "Pods",
            Self::Secrets => "Secrets of the hub",
            Self::ConfigMaps => "ConfigMaps of the hub",
        }
    }
}

/// Which parts are complete, and why others are not.
#[derive(Clone, Debug)]
pub struct Progress(Arc<watch::Sender<[State; Part::ALL.len()]>>);

#[derive(Clone, Debug, PartialEq, Eq, Default)]
enum State {
    #[default]
    Waiting,
    Complete,
    Failed(Arc<str>),
}

impl Progress {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }

    pub fn complete(&self, part: Part) {
        self.set(part, State::Complete);
    }

    pub fn failed(&self, part: Part, why: &str) {
        self.set(part, State::Failed(Arc::from(why)));
    }

    fn set(&self, part: Part, state: State) {
        self.0.send_if_modified(|parts| {
            let slot = &mut parts[part as usize];
            let changed = *slot != state;
            *slot = state;
            changed
        });
    }

    fn reset(&self) {
        self.0.send_replace(Default::default());
    }
}

/// Between pings while it answers. Watches tell sooner that a member is gone, but not that its credentials have expired.
const PING: Duration = Duration::from_secs(if cfg!(test) { 30 } else { 75 });
/// A trial that is due now and under way elsewhere is looked at again after this.
const TRIAL_GAP: Duration = Duration::from_millis(500);

/// Asks for a sign of life, and makes the breaker's trials while there is none.
pub async fn heartbeat(member: Member) {
    loop {
        let pause = member.next_trial().map_or(PING, |pause| pause.max(TRIAL_GAP));
        tokio::time::sleep(pause).await;
        // How it went is the breaker's to know.
        let _ = facts::ping(&member).await;
    }
}

/// Returns once calls go through. While the breaker is open nothing else is tried: its own trials find out.
pub async fn until_up(member: &Member) {
    let mut health = member.watch_health();
    // The sender lives as long as the member.
    let _ = health.wait_for(|health| *health == Health::Up).await;
}

pub async fn until_down(member: &Member) {
    let mut health = member.watch_health();
    let _ = health.wait_for(|health| *health != Health::Up).await;
}

/// Reports contact and its conditions until it is dropped. Says `Syncing` first.
pub async fn report(member: Member, progress: Progress, events: Events) {
    let mut health = member.watch_health();
    let mut parts = progress.0.subscribe();
    let mut last = None;
    loop {
        let now = *health.borrow_and_update();
        if now != Health::Up {
            // What is seen while it comes and goes is old; each watch says anew when it is live.
            progress.reset();
        }
        let state = parts.borrow_and_update().clone();
        let contact = contact_of(now, &state);
        let conditions = [reachable(now, &state), synced(now, &state)];
        if last.as_ref() != Some(&(contact, conditions.clone())) {
            for condition in conditions.clone() {
                events.send(MemberEvent::Condition { member: events.member.clone(), condition }).await;
            }
            if last.as_ref().is_none_or(|(before, _)| *before != contact) {
                tracing::info!(member = %events.member, ?contact, "contact");
                events.send(MemberEvent::Contact { member: events.member.clone(), contact }).await;
            }
            last = Some((contact, conditions));
        }
        tokio::select! {
            changed = health.changed() => if changed.is_err() { return },
            changed = parts.changed() => if changed.is_err() { return },
        }
    }
}

fn contact_of(health: Health, parts: &[State]) -> Contact {
    match health {
        Health::Down | Health::Refused => Contact::Unreachable,
        Health::Up if parts.iter().all(|part| *part == State::Complete) => Contact::Synced,
        Health::Up => Contact::Syncing,
    }
}

fn reachable(health: Health, parts: &[State]) -> MemberCondition {
    // The breaker takes a member for up until it has failed for a while.
    let unheard = parts.iter().all(|part| *part == State::Waiting);
    let (status, reason, message) = match health {
        Health::Up if unheard => {
            let message = Arc::from("the API server has not answered yet");
            return MemberCondition { kind: ConditionKind::Reachable, status: None, reason: "Connecting", message };
        }
        Health::Up => (true, "Answering", "the API server answers"),
        Health::Down => (
            false,
            "NotAnswering",
            "the API server does not answer; check the kubeconfig's server address, the network between and the \
             cluster itself",
        ),
        Health::Refused => {
            (false, "Unauthorized", "the API server refuses the credentials; put a new kubeconfig in place")
        }
    };
    MemberCondition { kind: ConditionKind::Reachable, status: Some(status), reason, message: Arc::from(message) }
}

fn synced(health: Health, parts: &[State]) -> MemberCondition {
    let named = |wanted: fn(&State) -> bool| {
        Part::ALL.into_iter().zip(parts).filter(move |(_, state)| wanted(state)).map(|(part, state)| match state {
            State::Failed(why) => format!("{}: {why}", part.as_str()),
            _ => part.as_str().to_owned(),
        })
    };
    let failed: Vec<_> = named(|state| matches!(state, State::Failed(_))).collect();
    let waiting: Vec<_> = named(|state| *state == State::Waiting).collect();
    let (status, reason, message) = if health != Health::Up {
        (None, "NoContact", "nothing is known of what is there now".to_owned())
    } else if !failed.is_empty() {
        (Some(false), "ListFailed", failed.join("; "))
    } else if !waiting.is_empty() {
        (Some(false), "Listing", format!("waiting for {}", waiting.join(", ")))
    } else {
        (Some(true), "Complete", "everything that planning needs was listed".to_owned())
    };
    MemberCondition { kind: ConditionKind::Synced, status, reason, message: Arc::from(message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_member_that_was_seen_whole_and_answers_is_synced() {
        let mut parts: [State; Part::ALL.len()] = Default::default();
        assert_eq!(contact_of(Health::Up, &parts), Contact::Syncing);
        parts = std::array::from_fn(|_| State::Complete);
        assert_eq!(contact_of(Health::Up, &parts), Contact::Synced);
        assert_eq!(contact_of(Health::Down, &parts), Contact::Unreachable);
        assert_eq!(contact_of(Health::Refused, &parts), Contact::Unreachable);
        parts[0] = State::Failed(Arc::from("forbidden"));
        assert_eq!(contact_of(Health::Up, &parts), Contact::Syncing);
        assert_eq!(&*synced(Health::Up, &parts).message, "ReplicationSources: forbidden");
    }
}

//! Stands between what the watches report and the world: deletions wait here until it is seen that they are few. What is
//! too much is decided in [`crate::shrink`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::world::World;
use crate::hub::event::HubEvent;
use crate::member::MemberEvent;
use crate::names::{MemberName, PolicyName, RepositoryId, SourceKey};
use crate::plan::fleet::Observation;
use crate::shrink::{Gate, Limits, Moment, SETTLE, Verdict};

/// What of a member's sources counts as too much at once; smaller fleets than that are often rebuilt.
const SOURCES_AT_LEAST: usize = 10;
/// Of policies and ledger objects there are few.
const HUB_AT_LEAST: usize = 2;

/// Deletions that have not been believed yet.
pub struct Deletions {
    hold: Duration,
    settle: Duration,
    policies: Gate<PolicyName, HubEvent>,
    ledger: Gate<RepositoryId, HubEvent>,
    clusters: Gate<MemberName, HubEvent>,
    sources: BTreeMap<MemberName, Gate<SourceKey, MemberEvent>>,
    /// Namespaces that went: without their labels, sources that are held would match nothing.
    namespaces: BTreeMap<(MemberName, Arc<str>), (Moment, MemberEvent)>,
    /// Something came since the last decision.
    changed: bool,
}

/// Deletions that are believed, and what people are told.
#[derive(Default)]
pub struct Believed {
    pub hub: Vec<HubEvent>,
    pub members: Vec<MemberEvent>,
    pub notices: Vec<Notice>,
    pub wake: Option<Moment>,
}

/// A hold began or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// None: it is of the hub's own objects.
    pub member: Option<MemberName>,
    pub kind: &'static str,
    pub turn: Turn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// So many were deleted at once.
    Held(usize),
    /// All of them came back.
    Restored,
    /// They did not: they are believed now.
    Over,
}

impl Deletions {
    /// `hold`: `--shrink-hold`. `factor` divides the waits; 1 but in test builds.
    pub fn new(hold: Duration, factor: u32) -> Self {
        let factor = factor.max(1);
        Self {
            hold: hold / factor,
            settle: SETTLE / factor,
            policies: Gate::default(),
            ledger: Gate::default(),
            clusters: Gate::default(),
            sources: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            changed: false,
        }
    }

    /// The event, unless it is a deletion that has to wait.
    pub fn hub(&mut self, event: HubEvent, now: Moment) -> Option<HubEvent> {
        let back = match &event {
            HubEvent::Policy { name, object: None, .. } => {
                self.policies.gone(name.clone(), event, now);
                self.changed = true;
                return None;
            }
            HubEvent::Ledger { id, object: None } => {
                self.ledger.gone(*id, event, now);
                self.changed = true;
                return None;
            }
            HubEvent::MemberCluster { name, object: None } => {
                self.clusters.gone(name.clone(), event, now);
                self.changed = true;
                return None;
            }
            HubEvent::Policy { name, .. } => self.policies.back(name),
            HubEvent::Ledger { id, .. } => self.ledger.back(id),
            HubEvent::MemberCluster { name, .. } => self.clusters.back(name),
            _ => false,
        };
        self.changed |= back;
        Some(event)
    }

    /// The event, unless it is a deletion that has to wait.
    pub fn member(&mut self, event: MemberEvent, now: Moment) -> Option<MemberEvent> {
        let MemberEvent::Observed(observation) = &event else { return Some(event) };
        match observation {
            Observation::Source { key, record: None } => {
                self.sources.entry(key.member.clone()).or_default().gone(key.clone(), event, now);
                self.changed = true;
                return None;
            }
            Observation::Namespace { member, namespace, labels: None } => {
                self.namespaces.insert((member.clone(), namespace.clone()), (now, event));
                self.changed = true;
                return None;
            }
            Observation::Source { key, .. } => {
                self.changed |= self.sources.get_mut(&key.member).is_some_and(|gate| gate.back(key));
            }
            Observation::Namespace { member, namespace, .. } if !self.namespaces.is_empty() => {
                self.namespaces.remove(&(member.clone(), namespace.clone()));
            }
            _ => {}
        }
        Some(event)
    }

    /// Something came that may change what is believed.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is believed by now.
    pub fn decide(&mut self, world: &World, now: Moment) -> Believed {
        let mut believed = Believed::default();
        let (mut notices, mut wake) = (Vec::new(), None);
        let limits = Limits { at_least: HUB_AT_LEAST, last: true, hold: self.hold, settle: self.settle };
        let verdict = self.policies.decide(world.policies.len(), limits, now);
        believed.hub.extend(believed_of(verdict, None, "KopiaMaintenance", &mut notices, &mut wake));
        let limits = Limits { last: false, ..limits };
        let verdict = self.ledger.decide(world.ledger.len(), limits, now);
        believed.hub.extend(believed_of(verdict, None, "KopiaRepository", &mut notices, &mut wake));
        let clusters = world.members.values().filter(|state| state.cluster.is_some()).count();
        let verdict = self.clusters.decide(clusters, limits, now);
        believed.hub.extend(believed_of(verdict, None, "MemberCluster", &mut notices, &mut wake));
        let limits = Limits { at_least: SOURCES_AT_LEAST, ..limits };
        for (member, gate) in &mut self.sources {
            let verdict = gate.decide(world.sources_in(member), limits, now);
            let member = Some(member.clone());
            believed.members.extend(believed_of(verdict, member, "ReplicationSource", &mut notices, &mut wake));
        }
        self.sources.retain(|_, gate| !gate.is_quiet());
        believed.members.extend(self.namespaces_without_sources(now, &mut wake));
        Believed { notices, wake, ..believed }
    }

    /// A namespace goes after the sources in it, and with none of them held.
    fn namespaces_without_sources(&mut self, now: Moment, wake: &mut Option<Moment>) -> Vec<MemberEvent> {
        let (sources, settle) = (&self.sources, self.settle);
        let waits = |member: &MemberName| sources.get(member).is_some_and(|gate| !gate.is_empty());
        let (due, rest) = std::mem::take(&mut self.namespaces)
            .into_iter()
            .partition(|((member, _), (since, _))| *since + settle <= now && !waits(member));
        self.namespaces = rest;
        let next =
            self.namespaces.iter().filter(|((member, _), _)| !waits(member)).map(|(_, (since, _))| *since + settle);
        *wake = wake.iter().copied().chain(next).min();
        let due: BTreeMap<(MemberName, Arc<str>), (Moment, MemberEvent)> = due;
        due.into_values().map(|(_, event)| event).collect()
    }
}

fn believed_of<E>(
    verdict: Verdict<E>,
    member: Option<MemberName>,
    kind: &'static str,
    notices: &mut Vec<Notice>,
    wake: &mut Option<Moment>,
) -> Vec<E> {
    let turn = match (verdict.began, verdict.ended) {
        (Some(count), _) => Some(Turn::Held(count)),
        (None, Some(true)) => Some(Turn::Over),
        (None, Some(false)) => Some(Turn::Restored),
        (None, None) => None,
    };
    notices.extend(turn.map(|turn| Notice { member, kind, turn }));
    *wake = wake.iter().copied().chain(verdict.wake).min();
    verdict.believed
}

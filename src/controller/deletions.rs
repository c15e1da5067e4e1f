//! Stands between what the watches report and the world: deletions wait here until it is seen that they are few. What is
//! too much is decided in [`crate::shrink`].

use std::collections::BTreeMap;
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
    sources: BTreeMap<MemberName, Gate<SourceKey, MemberEvent>>,
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
    /// Enough of them came back.
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
            sources: BTreeMap::new(),
        }
    }

    /// The event, unless it is a deletion that has to wait.
    pub fn hub(&mut self, event: HubEvent, now: Moment) -> Option<HubEvent> {
        match &event {
            HubEvent::Policy { name, object: None, .. } => self.policies.gone(name.clone(), event, now),
            HubEvent::Ledger { id, object: None } => self.ledger.gone(*id, event, now),
            HubEvent::Policy { name, .. } => {
                self.policies.back(name);
                return Some(event);
            }
            HubEvent::Ledger { id, .. } => {
                self.ledger.back(id);
                return Some(event);
            }
            _ => return Some(event),
        }
        None
    }

    /// The event, unless it is a deletion that has to wait.
    pub fn member(&mut self, event: MemberEvent, now: Moment) -> Option<MemberEvent> {
        let MemberEvent::Observed(Observation::Source { key, record }) = &event else { return Some(event) };
        if record.is_none() {
            self.sources.entry(key.member.clone()).or_default().gone(key.clone(), event, now);
            return None;
        }
        if let Some(gate) = self.sources.get_mut(&key.member) {
            gate.back(key);
        }
        Some(event)
    }

    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.ledger.is_empty() && self.sources.is_empty()
    }

    /// What is believed by now.
    pub fn decide(&mut self, world: &World, now: Moment) -> Believed {
        let mut believed = Believed::default();
        let limits = Limits { at_least: HUB_AT_LEAST, last: true, hold: self.hold, settle: self.settle };
        let verdict = self.policies.decide(world.policies.len(), limits, now);
        believed.hub.extend(believed_of(verdict, None, "KopiaMaintenance", &mut believed.notices, &mut believed.wake));
        let limits = Limits { last: false, ..limits };
        let verdict = self.ledger.decide(world.ledger.len(), limits, now);
        believed.hub.extend(believed_of(verdict, None, "KopiaRepository", &mut believed.notices, &mut believed.wake));
        let limits = Limits { at_least: SOURCES_AT_LEAST, ..limits };
        for (member, gate) in &mut self.sources {
            let verdict = gate.decide(world.sources_in(member), limits, now);
            let member = Some(member.clone());
            let kind = "ReplicationSource";
            believed.members.extend(believed_of(verdict, member, kind, &mut believed.notices, &mut believed.wake));
        }
        self.sources.retain(|_, gate| !gate.is_empty());
        believed
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

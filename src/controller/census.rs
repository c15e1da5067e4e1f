//! Counts the fleet for the metrics, when somebody asks.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::engine::Engine;
use super::member_state::MemberState;
use super::run::WORKERS;
use super::world::World;
use crate::bounds::Bound;
use crate::member::Member;
use crate::metrics::{Census, MemberCensus, Usage};
use crate::plan::fleet::Contact;

/// Conditions of a KopiaRepository that are counted.
const CONDITIONS: [&str; 5] = ["Maintained", "Overdue", "Contended", "Ambiguous", "Replaced"];

impl Engine {
    pub fn census(&self) -> Census {
        let handles = self.supervisor.members();
        let queues = [
            ("repositories", self.repositories.len()),
            ("policies", self.policies.len()),
            ("members", self.members.len()),
        ];
        let world = self.world();
        let (repositories, conditions, held) = ledger(&world);
        let fleet = world.planner.fleet();
        let mut members = members(&world);
        for (name, held) in held {
            if let Some(census) = members.get_mut(&name) {
                census.held = held;
            }
        }
        let valid = fleet.policies.values().filter(|policy| policy.settings.is_ok() && policy.claim.is_some()).count();
        let policies = fleet.policies.len();
        let claims = world.claims.under_way(Self::now());
        let claims_waiting = number(world.claims.waiting());
        drop(world);
        let bounds = [
            ("claims", Bound { used: claims, limit: self.settings.max_claims }),
            ("events", self.events.in_flight()),
            ("hub_observations", Bound::of_queue(&self.hub_events)),
            ("member_observations", self.supervisor.events()),
            ("pages", self.supervisor.pages()),
            ("reconciles", Bound { used: self.repositories.working(), limit: WORKERS }),
            ("requests_of_a_member", busiest(&handles)),
        ];
        let rollout = self.rollouts().counts();
        for handle in &handles {
            if let Some(census) = members.get_mut(handle.name().as_str()) {
                sent(census, handle);
            }
        }
        Census {
            leads: self.leads(),
            repositories,
            conditions,
            policies: number(policies),
            invalid_policies: number(policies - valid),
            claims: number(claims),
            claims_waiting,
            rollout: [("waiting", rollout.waiting), ("well", rollout.well), ("bad", rollout.bad)]
                .into_iter()
                .map(|(state, count)| (state, number(count)))
                .collect(),
            queues: queues.into_iter().map(|(name, depth)| (name, number(depth))).collect(),
            bounds: bounds.into(),
            members,
            usage: usage(),
        }
    }
}

type Counts<K> = BTreeMap<K, i64>;

/// Repositories by state and by condition, and grants by member.
fn ledger(world: &World) -> (Counts<String>, Counts<&'static str>, Counts<String>) {
    let (mut states, mut held) = (BTreeMap::new(), BTreeMap::new());
    let mut conditions: Counts<_> = CONDITIONS.map(|kind| (kind, 0)).into();
    for status in world.ledger.values().filter_map(|object| object.status.as_ref()) {
        if let Some(state) = &status.state {
            *states.entry(state.clone()).or_default() += 1;
        }
        for (kind, count) in &mut conditions {
            *count += i64::from(status.conditions.iter().any(|it| it.type_ == *kind && it.status == "True"));
        }
        if let Some(grant) = &status.grant {
            *held.entry(grant.cluster.clone()).or_default() += 1;
        }
    }
    (states, conditions, held)
}

fn members(world: &World) -> BTreeMap<String, MemberCensus> {
    let mut members: BTreeMap<String, MemberCensus> = BTreeMap::new();
    // A name that is registered nowhere any more, and one that is another's second name, are no members.
    let is_member =
        |state: &MemberState| (state.origin.is_some() || state.cluster.is_some()) && state.duplicate_of.is_none();
    for (name, state) in world.members.iter().filter(|(_, state)| is_member(state)) {
        let expire = state.facts.as_ref().and_then(|facts| facts.credentials_expire);
        let census = members.entry(name.to_string()).or_default();
        census.synced = i64::from(world.contact(name) == Contact::Synced);
        census.credentials_expire = expire.map(jiff::Timestamp::as_second);
    }
    for source in world.planner.fleet().sources.keys() {
        if let Some(census) = members.get_mut(source.member.as_str()) {
            census.sources += 1;
        }
    }
    members
}

fn sent(census: &mut MemberCensus, handle: &Member) {
    let counters = handle.counters();
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    census.last_contact = handle.last_contact().map(jiff::Timestamp::as_second);
    census.requests = read(&counters.requests);
    census.watches = read(&counters.watches);
    census.failures = read(&counters.failures);
    census.client_errors = read(&counters.client_errors);
    census.server_errors = read(&counters.server_errors);
    census.received_bytes = read(&counters.bytes_received);
    census.cut_off = read(&counters.cut_off);
}

/// The member with the most requests under way.
fn busiest(handles: &[Member]) -> Bound {
    handles.iter().map(Member::in_flight).max_by_key(|bound| bound.used).unwrap_or_default()
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Zeros where the system does not tell.
fn usage() -> Usage {
    let Ok(process) = procfs::process::Process::myself() else { return Usage::default() };
    let stat = process.stat().ok();
    let ticks = stat.as_ref().map_or(0, |stat| stat.utime + stat.stime);
    let limit = process.limits().ok().map(|limits| limits.max_open_files.soft_limit);
    let max_fds = limit.and_then(|limit| match limit {
        procfs::process::LimitValue::Value(value) => i64::try_from(value).ok(),
        procfs::process::LimitValue::Unlimited => None,
    });
    #[expect(clippy::cast_precision_loss, reason = "ticks of years still fit")]
    let cpu_seconds = ticks as f64 / procfs::ticks_per_second() as f64;
    Usage {
        resident_bytes: stat.map_or(0, |stat| i64::try_from(stat.rss * procfs::page_size()).unwrap_or(0)),
        open_fds: process.fd_count().map_or(0, number),
        max_fds: max_fds.unwrap_or(0),
        cpu_seconds,
    }
}

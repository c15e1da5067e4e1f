//! Everything `/metrics` shows, as `OpenMetrics` text: what the hub has done since it started, and the state of the fleet at
//! the moment of asking.
//!
//! Labels are fixed words, and member names up to [`MEMBERS_MAX`]; repositories, policies and Secrets are counted, never
//! named.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::bounds::Bound;

/// Members with series of their own; what is beyond is added up under [`OTHER_MEMBERS`].
pub const MEMBERS_MAX: usize = 2_000;
pub const OTHER_MEMBERS: &str = "_other";

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;
/// One figure of a member.
type OfMember<T> = fn(&MemberCensus) -> T;

/// What has been done since the process started. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    runs: Counters,
    reconciles: Histogram,
    troubles: Counters,
    ledger_writes: Counter,
    member_writes: Counters,
}

impl Metrics {
    /// `outcomes`: all ways in which a run can end. Each has a series from the start, so that the first of its kind is an
    /// increase too.
    pub fn new(outcomes: impl IntoIterator<Item = &'static str>) -> Self {
        let runs = Counters::default();
        for outcome in outcomes {
            drop(runs.get_or_create(&vec![("outcome", outcome.to_owned())]));
        }
        Self {
            runs,
            // From 100 µs, where nothing is to be done, to 100 s, where a member's time-outs add up.
            reconciles: Histogram::new(exponential_buckets(0.000_1, 4.0, 11)),
            troubles: Counters::default(),
            ledger_writes: Counter::default(),
            member_writes: Counters::default(),
        }
    }
}

impl Metrics {
    /// A run has ended and is in the ledger.
    pub fn run_ended(&self, outcome: &'static str) {
        self.runs.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
    }

    /// One look at one repository, from decision to report.
    pub fn reconciled(&self, took: Duration) {
        self.reconciles.observe(took.as_secs_f64());
    }

    /// Something could not be done. `reason` is one of the fixed words of conditions.
    pub fn trouble(&self, reason: &'static str) {
        self.troubles.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    pub fn ledger_written(&self) {
        self.ledger_writes.inc();
    }

    pub fn member_written(&self, kind: &'static str) {
        self.member_writes.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }

    /// `OpenMetrics` text.
    pub fn text(&self, census: &Census) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        register_process(&mut registry, &census.usage);
        let hub = registry.sub_registry_with_prefix("volsync_hub");
        hub.register("runs", "Runs of maintenance that ended and were recorded, by outcome", self.runs.clone());
        let help = "Time for one look at one repository, from decision to report";
        hub.register("reconcile_duration_seconds", help, self.reconciles.clone());
        hub.register(
            "troubles",
            "Looks at a repository that could not do what was due, by reason",
            self.troubles.clone(),
        );
        hub.register("ledger_writes", "Writes of KopiaRepository status", self.ledger_writes.clone());
        hub.register("member_writes", "Objects written to members, by kind", self.member_writes.clone());
        census.register(hub);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// The state of the fleet at one moment, as plain numbers.
#[derive(Clone, Debug, Default)]
pub struct Census {
    pub leads: bool,
    /// By state.
    pub repositories: BTreeMap<String, i64>,
    /// Repositories of which this condition is true, by condition.
    pub conditions: BTreeMap<&'static str, i64>,
    pub policies: i64,
    pub invalid_policies: i64,
    pub claims: i64,
    /// Repositories that wait for their turn to claim.
    pub claims_waiting: i64,
    /// Repositories of rollouts that are not through, by how far they are.
    pub rollout: BTreeMap<&'static str, i64>,
    /// Keys that wait or are worked on, by queue.
    pub queues: BTreeMap<&'static str, i64>,
    /// By what is bounded.
    pub bounds: BTreeMap<&'static str, Bound>,
    pub members: BTreeMap<String, MemberCensus>,
    pub usage: Usage,
}

/// One member, or all beyond [`MEMBERS_MAX`].
#[derive(Clone, Debug, Default)]
pub struct MemberCensus {
    /// Can be reached and has been read.
    pub synced: i64,
    pub sources: i64,
    /// Repositories whose grant it holds.
    pub held: i64,
    /// Seconds since 1970; none where it never answered.
    pub last_contact: Option<i64>,
    /// Seconds since 1970.
    pub credentials_expire: Option<i64>,
    pub requests: u64,
    pub watches: u64,
    pub failures: u64,
    pub client_errors: u64,
    pub server_errors: u64,
    pub received_bytes: u64,
    pub cut_off: u64,
}

impl MemberCensus {
    fn add(&mut self, other: &Self) {
        self.synced += other.synced;
        self.sources += other.sources;
        self.held += other.held;
        // The one that was silent for longest, and the credentials that end first.
        self.last_contact = self.last_contact.into_iter().chain(other.last_contact).min();
        self.credentials_expire = self.credentials_expire.into_iter().chain(other.credentials_expire).min();
        self.requests += other.requests;
        self.watches += other.watches;
        self.failures += other.failures;
        self.client_errors += other.client_errors;
        self.server_errors += other.server_errors;
        self.received_bytes += other.received_bytes;
        self.cut_off += other.cut_off;
    }
}

/// What the process uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub resident_bytes: i64,
    pub open_fds: i64,
    pub max_fds: i64,
    pub cpu_seconds: f64,
}

impl Census {
    fn register(&self, hub: &mut Registry) {
        hub.register("build", "The release that runs", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        hub.register("leader", "1 where this replica leads, and writes", gauge(i64::from(self.leads)));
        let by_state = gauges("state", &self.repositories);
        hub.register("repositories", "Repositories in the ledger, by state", by_state);
        let help = "Repositories of which a condition is true, by condition";
        hub.register("repository_conditions", help, gauges("condition", &self.conditions));
        hub.register("policies", "KopiaMaintenance objects", gauge(self.policies));
        hub.register("invalid_policies", "KopiaMaintenance objects that are not valid", gauge(self.invalid_policies));
        hub.register("claims_under_way", "Claim Jobs that have not ended", gauge(self.claims));
        hub.register("claims_waiting", "Repositories that wait for their turn to claim", gauge(self.claims_waiting));
        let help = "Repositories of a rollout that is not through: waiting, well or bad since";
        hub.register("rollout_repositories", help, gauges("state", &self.rollout));
        hub.register("queue_depth", "Keys that wait or are worked on, by queue", gauges("queue", &self.queues));
        let shares = |of: fn(&Bound) -> usize| -> BTreeMap<&'static str, i64> {
            self.bounds.iter().map(|(name, bound)| (*name, i64::try_from(of(bound)).unwrap_or(i64::MAX))).collect()
        };
        let help = "How much of what has a bound is used, by what is bounded";
        hub.register("bound_used", help, gauges("bound", &shares(|bound| bound.used)));
        hub.register("bound_limit", "The bounds themselves", gauges("bound", &shares(|bound| bound.limit)));
        self.register_members(hub);
    }

    fn register_members(&self, hub: &mut Registry) {
        let members = self.listed();
        let families: [(&str, &str, OfMember<Option<i64>>); 5] = [
            ("member_synced", "1 where the member can be reached and has been read", |it| Some(it.synced)),
            ("member_sources", "ReplicationSources with a Kopia mover", |it| Some(it.sources)),
            ("member_repositories_held", "Repositories that the member maintains", |it| Some(it.held)),
            ("member_last_contact_timestamp_seconds", "When the member last answered", |it| it.last_contact),
            ("member_credentials_expiry_timestamp_seconds", "When the hub's credentials there end", |it| {
                it.credentials_expire
            }),
        ];
        for (name, help, value) in families {
            let family = Gauges::default();
            for (member, census) in &members {
                if let Some(value) = value(census) {
                    family.get_or_create(&vec![("member", member.clone())]).set(value);
                }
            }
            hub.register(name, help, family);
        }
        let families: [(&str, &str, OfMember<u64>); 4] = [
            ("member_cut_off", "Answers, events and lists of the member that were too large to be taken", |it| {
                it.cut_off
            }),
            ("member_requests", "Requests sent to the member, watches among them", |it| it.requests),
            ("member_watches_started", "Watches started in the member", |it| it.watches),
            ("member_received_bytes", "Bytes of answers of the member", |it| it.received_bytes),
        ];
        for (name, help, value) in families {
            let family = Counters::default();
            for (member, census) in &members {
                family.get_or_create(&vec![("member", member.clone())]).inc_by(value(census));
            }
            hub.register(name, help, family);
        }
        let family = Counters::default();
        for (member, census) in &members {
            for (class, count) in
                [("none", census.failures), ("client", census.client_errors), ("server", census.server_errors)]
            {
                family.get_or_create(&vec![("member", member.clone()), ("answer", class.to_owned())]).inc_by(count);
            }
        }
        hub.register("member_failed_requests", "Requests without an answer, or with an error as the answer", family);
    }

    /// Members with a series of their own, and one for the rest.
    fn listed(&self) -> BTreeMap<String, MemberCensus> {
        let mut listed: BTreeMap<_, _> =
            self.members.iter().take(MEMBERS_MAX).map(|(name, census)| (name.clone(), census.clone())).collect();
        for census in self.members.values().skip(MEMBERS_MAX) {
            listed.entry(OTHER_MEMBERS.to_owned()).or_default().add(census);
        }
        listed
    }
}

fn gauge(value: i64) -> impl Metric {
    let gauge = Gauge::<i64>::default();
    gauge.set(value);
    gauge
}

fn gauges(label: &'static str, values: &BTreeMap<impl AsRef<str>, i64>) -> Gauges {
    let family = Gauges::default();
    for (value, count) in values {
        family.get_or_create(&vec![(label, value.as_ref().to_owned())]).set(*count);
    }
    family
}

/// Under the names that every exporter of a process uses.
fn register_process(registry: &mut Registry, usage: &Usage) {
    let process = registry.sub_registry_with_prefix("process");
    process.register("resident_memory_bytes", "Resident memory", gauge(usage.resident_bytes));
    process.register("open_fds", "Open file descriptors", gauge(usage.open_fds));
    process.register("max_fds", "File descriptors that may be open", gauge(usage.max_fds));
    let cpu = Counter::<f64, std::sync::atomic::AtomicU64>::default();
    cpu.inc_by(usage.cpu_seconds);
    process.register("cpu_seconds", "Processor time, of user and system", cpu);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(text: &'a str, series: &str) -> Option<&'a str> {
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
    }

    #[test]
    fn counts_and_the_census_are_shown_once_each_and_end_as_openmetrics_does() {
        let metrics = Metrics::new(["Succeeded", "OutOfMemory"]);
        metrics.run_ended("Succeeded");
        metrics.run_ended("Succeeded");
        metrics.reconciled(Duration::from_millis(3));
        let member = MemberCensus { synced: 1, sources: 7, requests: 9, ..MemberCensus::default() };
        let census = Census {
            leads: true,
            repositories: [("Maintained".to_owned(), 4)].into(),
            bounds: [("pages", Bound { used: 3, limit: 32 })].into(),
            members: [("eu".to_owned(), member.clone()), ("us".to_owned(), member)].into(),
            ..Census::default()
        };
        let text = metrics.text(&census).unwrap_or_default();
        for (series, expected) in [
            ("volsync_hub_runs_total{outcome=\"Succeeded\"}", "2"),
            ("volsync_hub_runs_total{outcome=\"OutOfMemory\"}", "0"),
            ("volsync_hub_leader", "1"),
            ("volsync_hub_bound_used{bound=\"pages\"}", "3"),
            ("volsync_hub_bound_limit{bound=\"pages\"}", "32"),
            ("volsync_hub_member_cut_off_total{member=\"eu\"}", "0"),
            ("volsync_hub_repositories{state=\"Maintained\"}", "4"),
            ("volsync_hub_member_sources{member=\"us\"}", "7"),
            ("volsync_hub_member_requests_total{member=\"eu\"}", "9"),
            ("volsync_hub_reconcile_duration_seconds_count", "1"),
        ] {
            assert_eq!(value(&text, series), Some(expected), "{series} in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(!text.contains("last_contact_timestamp_seconds{"), "a member that never answered has no such time");
        let mut described: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let all = described.len();
        described.sort_unstable();
        described.dedup();
        assert_eq!(described.len(), all, "a family is described once");
    }

    #[test]
    fn more_members_than_the_bound_are_added_up() {
        let member = MemberCensus { synced: 1, last_contact: Some(5), requests: 2, ..MemberCensus::default() };
        let members = (0..MEMBERS_MAX + 10).map(|number| (format!("m{number:05}"), member.clone())).collect();
        let listed = Census { members, ..Census::default() }.listed();
        assert_eq!(listed.len(), MEMBERS_MAX + 1);
        let rest = &listed[OTHER_MEMBERS];
        assert_eq!((rest.synced, rest.requests, rest.last_contact), (10, 20, Some(5)));
    }
}

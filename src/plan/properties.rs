//! What holds for every fleet and every history of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::fleet::{
    Contact, Fleet, Grant, LedgerRecord, MemberRecord, NotReady, Observation, Phase, PlanOptions, PushedCronJob,
    SecretState,
};
use super::result::{FleetPlan, Push, State};
use super::testing::{assert_same, facts, grant, labels, now, observations, options, placed, policy, source_key};
use super::{Planner, observe, scratch};
use crate::names::{MemberName, ObjectName, PolicyName, RepositoryId, RepositoryKey};

// A small world, so that things meet.
const MEMBERS: [&str; 3] = ["c1", "c2", "c3"];
const NAMESPACES: [&str; 2] = ["n1", "n2"];
const SOURCES: [&str; 3] = ["s1", "s2", "s3"];
const SECRETS: [&str; 2] = ["repo-a", "repo-b"];
const POLICIES: [&str; 4] = ["p1", "p2", "p3", "p4"];

/// Secrets: shared places, places of one cluster, of one namespace, of a file system, and none.
fn secrets() -> Vec<Vec<(&'static str, &'static str)>> {
    let shared = |repository| vec![("KOPIA_REPOSITORY", repository), ("KOPIA_PASSWORD", "one")];
    vec![
        shared("s3://bucket-a/x"),
        shared("s3://bucket-a/x/"),
        shared("s3://bucket-b/x"),
        shared("s3://bucket-b/x/"),
        vec![("KOPIA_REPOSITORY", "s3://bucket-a/x"), ("KOPIA_PASSWORD", "two")],
        vec![("KOPIA_REPOSITORY", "s3://bucket-a/x")],
        vec![("KOPIA_REPOSITORY", "s3://bkt/x"), ("KOPIA_S3_ENDPOINT", "minio.n1:9000"), ("KOPIA_PASSWORD", "one")],
        vec![("KOPIA_REPOSITORY", "s3://bkt/x"), ("KOPIA_S3_ENDPOINT", "minio:9000"), ("KOPIA_PASSWORD", "one")],
        vec![("KOPIA_REPOSITORY", "s3://bkt/x"), ("KOPIA_S3_ENDPOINT", "10.0.0.9:9000"), ("KOPIA_PASSWORD", "one")],
        shared("filesystem:///repository"),
        shared("nonsense"),
    ]
}

/// Every id that this world can know: by planning a fleet with everything in it.
fn keys() -> (Vec<RepositoryKey>, Vec<usize>) {
    let mut fleet = Fleet::default();
    for member in MEMBERS {
        fleet.members.insert(member.into(), super::testing::member());
        for (index, data) in secrets().into_iter().enumerate() {
            let at = format!("{member}/n1/secret-{index}");
            fleet.secrets.insert(placed(&at), facts(&data));
            let kopia = json!({"kopia": {"repository": format!("secret-{index}")}});
            let record = observe::source(None, &kopia, &Value::Null).unwrap();
            fleet.sources.insert(source_key(&at), record);
        }
    }
    let plan = scratch::plan(&fleet, &options(), now());
    let many = |(_, repository): &(usize, &super::result::RepositoryPlan)| repository.clusters.len() > 1;
    let shared = plan.repositories.iter().enumerate().filter(many).map(|(at, _)| at).collect();
    (plan.repositories.iter().map(|repository| repository.key).collect(), shared)
}

fn specs() -> Vec<Value> {
    let selector = |pattern: &str, more: Value| {
        let mut selector = json!({"repository": pattern});
        if let (Some(selector), Some(more)) = (selector.as_object_mut(), more.as_object()) {
            selector.extend(more.clone());
        }
        selector
    };
    vec![
        json!({"repositorySelector": selector("*", json!({}))}),
        json!({"repositorySelector": selector("*", json!({})), "priority": 10, "schedule": "H H * * *"}),
        json!({"repositorySelector": selector("repo-a", json!({})), "priority": 5, "suspend": true}),
        json!({"repositorySelector": selector("*", json!({"namespaceSelector": {"matchLabels": {"env": "prod"}}})), "priority": 7}),
        json!({"repositorySelector": selector("*", json!({"namespaceSelector": {"excludeNames": ["n2"]}}))}),
        json!({"repositorySelector": selector("*", json!({})), "clusterSelector": {"matchLabels": {"zone": "a"}}, "priority": 3}),
        json!({"repositorySelector": selector("*", json!({})), "clusterSelector": {"matchNames": ["c1"]}, "enabled": false}),
        json!({"repositorySelector": selector("*", json!({})), "priority": 4, "schedule": "no schedule"}),
        json!({"repositorySelector": selector("*", json!({})), "priority": 4000}),
        json!({"repository": {"name": "repo-a", "namespace": "n1"}}),
        json!({"repository": {"name": "repo-a", "namespace": "n1"}, "priority": 20, "clusterSelector": {"matchNames": ["c1", "c2"]}}),
        json!({"repository": {"name": "repo-b", "namespace": "n1", "cluster": "c2"}, "priority": 1}),
        json!({"repository": {"name": "repo-a", "namespace": "n1", "cluster": "c9"}}),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Member(&'static str, Option<Box<MemberRecord>>),
    Namespace(&'static str, &'static str, Option<bool>),
    Source(&'static str, &'static str, &'static str, Option<(u8, Option<u8>, bool)>),
    /// The state: forgotten, absent, or one of the Secrets.
    #[allow(clippy::option_option)]
    Secret(Option<&'static str>, &'static str, &'static str, Option<Option<Index>>),
    Policy(&'static str, Option<(usize, Option<u8>)>),
    Ledger(Index, Option<Box<Ledger>>),
    CronJob(&'static str, Index, Option<(bool, Option<&'static str>)>),
    Failing(Index, Option<i64>),
    /// A list under way again: every record of a member comes once more.
    Relist(&'static str),
}

#[derive(Clone, Debug)]
struct Ledger {
    key: Option<Index>,
    unique_id: Option<u8>,
    /// With whether it is claimed yet.
    grant: Option<(&'static str, u64, bool)>,
    pin: Option<&'static str>,
    frozen: Option<i64>,
    same_as: Option<Index>,
    distinct_from: Option<Index>,
    rests: Vec<(&'static str, &'static str, &'static str, i64)>,
}

fn member_record() -> impl Strategy<Value = MemberRecord> {
    let contact = select(vec![Contact::Synced, Contact::Synced, Contact::Syncing, Contact::Unreachable]);
    (any::<bool>(), prop::bool::weighted(0.8), prop::bool::weighted(0.2), prop::bool::weighted(0.3), contact).prop_map(
        |(labelled, eligible, paused, networked, contact)| {
            let mut record = super::testing::member();
            record.labels = if labelled { labels(&[("zone", "a")]) } else { labels(&[]) };
            record.cidrs = if networked { vec!["10.0.0.0/8".parse().unwrap()] } else { Vec::new() };
            MemberRecord { eligible, paused, contact, ..record }
        },
    )
}

fn ledger() -> impl Strategy<Value = Ledger> {
    let member = || select(MEMBERS.to_vec());
    let rests = (member(), select(NAMESPACES.to_vec()), select(SECRETS.to_vec()), -5..60_i64);
    (
        prop::option::weighted(0.8, any::<Index>()),
        prop::option::weighted(0.4, 0..2_u8),
        prop::option::weighted(0.6, (member(), 1..4_u64, prop::bool::weighted(0.7))),
        prop::option::weighted(0.2, member()),
        prop::option::weighted(0.2, -5..60_i64),
        prop::option::weighted(0.15, any::<Index>()),
        prop::option::weighted(0.15, any::<Index>()),
        prop::collection::vec(rests, 0..4),
    )
        .prop_map(|(key, unique_id, grant, pin, frozen, same_as, distinct_from, rests)| Ledger {
            key,
            unique_id,
            grant,
            pin,
            frozen,
            same_as,
            distinct_from,
            rests,
        })
}

fn op() -> impl Strategy<Value = Op> {
    let member = || select(MEMBERS.to_vec());
    let namespace = || select(NAMESPACES.to_vec());
    let secret = || select(SECRETS.to_vec());
    prop_oneof![
        3 => (member(), prop::option::weighted(0.9, member_record()))
            .prop_map(|(name, record)| Op::Member(name, record.map(Box::new))),
        2 => (member(), namespace(), prop::option::weighted(0.8, any::<bool>()))
            .prop_map(|(member, name, labelled)| Op::Namespace(member, name, labelled)),
        6 => (member(), namespace(), select(SOURCES.to_vec()),
              prop::option::weighted(0.8, (0..6_u8, prop::option::of(1..5_u8), any::<bool>())))
            .prop_map(|(member, namespace, name, record)| Op::Source(member, namespace, name, record)),
        6 => (prop::option::weighted(0.85, member()), namespace(), secret(),
              prop::option::weighted(0.9, prop::option::weighted(0.85, any::<Index>())))
            .prop_map(|(place, namespace, name, state)| Op::Secret(place, namespace, name, state)),
        3 => (select(POLICIES.to_vec()), prop::option::weighted(0.85, (0..specs().len(), prop::option::of(1..4_u8))))
            .prop_map(|(name, spec)| Op::Policy(name, spec)),
        4 => (any::<Index>(), prop::option::weighted(0.85, ledger()))
            .prop_map(|(id, record)| Op::Ledger(id, record.map(Box::new))),
        2 => (member(), any::<Index>(), prop::option::weighted(0.8, (any::<bool>(), prop::option::of(secret()))))
            .prop_map(|(member, id, record)| Op::CronJob(member, id, record)),
        1 => (any::<Index>(), prop::option::of(-1_000..0_i64)).prop_map(|(id, since)| Op::Failing(id, since)),
        1 => member().prop_map(Op::Relist),
    ]
}

/// A history: a fleet that works, then whatever may happen to it.
fn history(length: usize) -> impl Strategy<Value = Vec<Op>> {
    let place = (select(MEMBERS.to_vec()), select(NAMESPACES.to_vec()));
    let standing = (place, select(SOURCES.to_vec()), any::<Index>(), 0..4_u8, prop::option::of(1..5_u8), any::<bool>());
    let standing = standing.prop_map(|((member, namespace), name, secret, kind, day, synced)| {
        let secret_name = if kind < 2 { "repo-a" } else { "repo-b" };
        [
            Op::Secret(Some(member), namespace, secret_name, Some(Some(secret))),
            Op::Source(member, namespace, name, Some((kind, day, synced))),
        ]
    });
    let members = MEMBERS.map(|name| Op::Member(name, Some(Box::new(super::testing::member()))));
    // Half of them select everything.
    let first_policy = prop::option::weighted(0.9, prop_oneof![Just(0), Just(0), Just(2), Just(9), 0..specs().len()]);
    let on_hub = prop::option::of(any::<Index>());
    (prop::collection::vec(standing, 5..14), first_policy, on_hub, prop::collection::vec(op(), 1..length)).prop_map(
        move |(standing, policy, on_hub, random)| {
            let policy = policy.map(|spec| Op::Policy("p1", Some((spec, Some(1)))));
            let on_hub = on_hub.map(|secret| Op::Secret(None, "n1", "repo-a", Some(Some(secret))));
            let standing = standing.into_iter().flatten();
            members.iter().cloned().chain(standing).chain(policy).chain(on_hub).chain(random).collect()
        },
    )
}

/// The constants of the world, worked out once.
struct World {
    keys: Vec<RepositoryKey>,
    /// The places in `keys` of repositories that several members share.
    shared: Vec<usize>,
    secrets: Vec<SecretState>,
    specs: Vec<Value>,
}

/// One for all cases: it takes longer to make than to use.
fn world() -> &'static World {
    static WORLD: std::sync::LazyLock<World> = std::sync::LazyLock::new(World::new);
    &WORLD
}

impl World {
    fn new() -> Self {
        let (keys, shared) = keys();
        Self { keys, shared, secrets: secrets().iter().map(|data| facts(data)).collect(), specs: specs() }
    }

    /// Mostly one of those that all members share: there most is at stake.
    fn id(&self, index: Index) -> RepositoryId {
        let drawn = index.index(6 * self.keys.len());
        let at = if drawn < self.keys.len() { drawn } else { self.shared[drawn % self.shared.len()] };
        self.keys[at].id()
    }

    fn after(minutes: i64) -> Timestamp {
        now().checked_add(SignedDuration::from_mins(minutes)).unwrap()
    }

    fn ledger(&self, id: RepositoryId, ledger: &Ledger) -> LedgerRecord {
        let text = |index: Index| Box::from(self.id(index).to_string());
        LedgerRecord {
            // Mostly its own; now and then that of another.
            key: ledger.key.map(|index| {
                let own = self.keys.iter().find(|key| key.id() == id).copied().unwrap();
                if index.index(10) == 0 { *index.get(&self.keys) } else { own }
            }),
            backend: Some("s3".into()),
            location: Some("from the ledger".into()),
            unique_id: ledger.unique_id.map(|unique_id| unique_id.to_string().into()),
            grant: ledger.grant.map(|(cluster, epoch, claimed)| {
                let phase = if claimed { Phase::Active } else { Phase::Claiming };
                Grant { phase, ..grant(cluster, epoch) }
            }),
            not_ready: ledger
                .rests
                .iter()
                .copied()
                .map(|(cluster, namespace, name, until)| NotReady {
                    cluster: cluster.into(),
                    secret: ObjectName::new(namespace, name),
                    until: Self::after(until),
                    reason: "AuthFailed".into(),
                    attempts: 1,
                })
                .collect(),
            pin: ledger.pin.map(MemberName::from),
            frozen_until: ledger.frozen.map(Self::after),
            same_as: ledger.same_as.map(text),
            distinct_from: ledger.distinct_from.map(text),
            run_now: None,
        }
    }

    fn observations(&self, fleet: &Fleet, op: &Op) -> Vec<Observation> {
        let one = match op {
            Op::Member(name, record) => {
                Observation::Member { name: (*name).into(), record: record.as_deref().cloned() }
            }
            Op::Namespace(member, namespace, labelled) => Observation::Namespace {
                member: (*member).into(),
                namespace: (*namespace).into(),
                labels: labelled
                    .map(|labelled| Arc::new(if labelled { labels(&[("env", "prod")]) } else { labels(&[]) })),
            },
            Op::Source(member, namespace, name, record) => Observation::Source {
                key: source_key(&format!("{member}/{namespace}/{name}")),
                record: record.map(|(kind, day, synced)| Box::new(source_record(kind, day, synced))),
            },
            Op::Secret(place, namespace, name, state) => Observation::Secret {
                secret: placed(&format!("{}/{namespace}/{name}", place.unwrap_or("hub"))),
                state: state.map(|state| match state {
                    None => SecretState::Absent,
                    Some(index) if index.index(20) == 0 => SecretState::Forbidden,
                    Some(index) => index.get(&self.secrets).clone(),
                }),
            },
            Op::Policy(name, spec) => Observation::Policy {
                name: (*name).into(),
                record: spec.map(|(index, day)| {
                    let mut record = policy(name, &self.specs[index]);
                    record.created = day.map(|day| super::testing::at(&format!("2026-01-0{day}T00:00:00Z")));
                    Box::new(record)
                }),
            },
            Op::Ledger(index, record) => {
                let id = self.id(*index);
                Observation::Ledger { id, record: record.as_ref().map(|record| Box::new(self.ledger(id, record))) }
            }
            Op::CronJob(member, index, record) => {
                let id = self.id(*index);
                Observation::CronJob {
                    member: (*member).into(),
                    name: ObjectName::new("volsync-system", id.object_name()),
                    record: record.map(|(suspend, secret)| PushedCronJob {
                        repository: id,
                        ours: true,
                        secret: secret.map(|secret| placed(&format!("{member}/n1/{secret}"))),
                        schedule: "0 0 * * *".into(),
                        time_zone: None,
                        suspend,
                    }),
                }
            }
            Op::Failing(index, since) => Observation::HolderFailing {
                id: self.id(*index),
                since: since.map(|minutes| Self::after(minutes / 20)),
            },
            Op::Relist(member) => return relist(fleet, member),
        };
        vec![one]
    }
}

fn source_record(kind: u8, day: Option<u8>, synced: bool) -> super::fleet::SourceRecord {
    let kopia = match kind {
        0 | 1 => json!({"repository": "repo-a"}),
        2 | 3 => json!({"repository": "repo-b"}),
        4 => json!({"repository": "repo-a", "additionalArgs": ["--prefix=other/"]}),
        _ => json!({"repository": "repo-a", "repositoryPVC": {"claimName": "claim"}}),
    };
    let created = day.map(|day| super::testing::at(&format!("2026-01-0{day}T00:00:00Z")));
    let status = if synced { json!({"lastSyncTime": "2026-01-01T00:00:00Z"}) } else { Value::Null };
    observe::source(created, &json!({"kopia": kopia}), &status).unwrap()
}

/// Everything of a member once more, in another order.
fn relist(fleet: &Fleet, member: &str) -> Vec<Observation> {
    let member = MemberName::from(member);
    let of_it = |observation: &Observation| match observation {
        Observation::Source { key, .. } => key.member == member,
        Observation::Namespace { member: place, .. } | Observation::CronJob { member: place, .. } => *place == member,
        _ => false,
    };
    observations(fleet).into_iter().filter(of_it).rev().collect()
}

/// A fleet after a history.
fn fleet_after(world: &World, ops: &[Op]) -> Fleet {
    let mut fleet = Fleet::default();
    for op in ops {
        for observation in world.observations(&fleet, op) {
            fleet.observe(observation);
        }
    }
    fleet
}

fn by_id(plan: &FleetPlan) -> BTreeMap<RepositoryId, &super::result::RepositoryPlan> {
    plan.repositories.iter().map(|repository| (repository.id, repository)).collect()
}

fn options_of(hub: bool) -> PlanOptions {
    PlanOptions { hub_member: hub.then(|| "c1".into()), ..options() }
}

/// A few seconds' worth; `PROPTEST_CASES=10000` for a long run.
fn config() -> ProptestConfig {
    // The default is what it is where that variable is not set.
    let cases = ProptestConfig::default().cases;
    let cases = if cases == 256 { 64 } else { cases };
    ProptestConfig { cases, max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn planning_incrementally_and_from_scratch_agree(ops in history(60), hub: bool) {
        let world = world();
        let options = options_of(hub);
        let mut planner = Planner::new(options.clone());
        let mut before = FleetPlan::default();
        let mut wanted = BTreeSet::new();
        for op in &ops {
            let mut dirty = BTreeSet::new();
            for observation in world.observations(planner.fleet(), op) {
                let applied = planner.apply(observation);
                dirty.extend(applied.dirty);
                wanted.extend(applied.wanted);
                applied.unwanted.iter().for_each(|secret| { wanted.remove(secret); });
            }
            let plan = scratch::plan(planner.fleet(), &options, now());
            for repository in &plan.repositories {
                let same = planner.plan(repository.id, now());
                prop_assert_eq!(same.as_ref(), Some(repository));
            }
            prop_assert_eq!(&planner.referenced_secrets(), &wanted);
            let (old, new) = (by_id(&before), by_id(&plan));
            for id in old.keys().chain(new.keys()).filter(|id| !dirty.contains(id)) {
                prop_assert_eq!(old.get(id), new.get(id), "{:?} changed this silently", op);
            }
            before = plan;
        }
        assert_same(&mut planner, &before, now());
    }

    #[test]
    fn the_order_of_arrival_never_matters(ops in history(60), seed in any::<u64>()) {
        let fleet = fleet_after(world(), &ops);
        let mut shuffled = observations(&fleet);
        let mut state = seed;
        for index in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            shuffled.swap(index, usize::try_from(state >> 33).unwrap() % (index + 1));
        }
        let mut planner = Planner::new(options());
        for observation in shuffled {
            planner.apply(observation);
        }
        assert_same(&mut planner, &scratch::plan(&fleet, &options(), now()), now());
    }

    #[test]
    fn planning_the_applied_result_yields_no_change(ops in history(60), hub: bool) {
        let options = options_of(hub);
        let mut fleet = fleet_after(world(), &ops);
        let first = scratch::plan(&fleet, &options, now());
        apply(&mut fleet, &first);
        let second = scratch::plan(&fleet, &options, now());
        let decided = |plan: &FleetPlan| -> Vec<_> {
            plan.repositories.iter().map(|it| (it.id, it.policy.clone(), it.shadowed.clone(), it.cluster.clone(), it.push.clone())).collect()
        };
        for (one, two) in first.repositories.iter().zip(&second.repositories) {
            // An unreachable member that was elected for want of a better one is held from then on.
            let waits = matches!(two.reason, Some("HolderUnreachable")) && one.cluster == two.cluster;
            if !waits {
                prop_assert_eq!((one.state, one.reason), (two.state, two.reason), "{:#?}\n{:#?}", one, two);
                prop_assert_eq!(&one.push, &two.push);
            }
        }
        prop_assert_eq!(decided(&first).len(), decided(&second).len());
    }

    #[test]
    fn there_are_never_two_holders(ops in history(60)) {
        let fleet = fleet_after(world(), &ops);
        let plan = scratch::plan(&fleet, &options(), now());
        let mut keys = BTreeSet::new();
        for repository in &plan.repositories {
            for key in &repository.keys {
                prop_assert!(keys.insert(*key), "{} stands in two repositories", key);
            }
            if let Push::Objects(assignment) = &repository.push {
                prop_assert_eq!(Some(&assignment.member), repository.cluster.as_ref());
                prop_assert!(repository.keys.contains(&assignment.key));
            }
            let running = matches!(repository.state, State::Maintained);
            prop_assert!(!running || matches!(repository.push, Push::Objects(_)));
        }
    }

    #[test]
    fn a_bad_policy_changes_nothing_for_others(ops in history(50), bad in select(vec![
        json!({"repositorySelector": {"repository": "*"}, "priority": 4000}),
        json!({"repositorySelector": {"repository": ["*"]}}),
        json!({"repository": {"name": "repo-a"}}),
        json!({"repository": {"name": "repo-a", "namespace": "n1"}, "repositorySelector": {"repository": "*"}}),
        json!({"repositorySelector": {"repository": "*"}, "clusterSelector": 7}),
        json!(null),
        json!(3),
    ])) {
        let mut fleet = fleet_after(world(), &ops);
        let before = scratch::plan(&fleet, &options(), now());
        let record = policy("bad", &bad);
        prop_assert!(record.settings.is_err());
        fleet.policies.insert(PolicyName::from("bad"), Arc::new(record));
        let after = scratch::plan(&fleet, &options(), now());
        prop_assert_eq!(&before.repositories, &after.repositories);
        prop_assert_eq!(&before.sources, &after.sources);
    }

    #[test]
    fn a_member_that_goes_away_takes_nothing_from_the_others(ops in history(60), lost in select(MEMBERS.to_vec())) {
        let mut fleet = fleet_after(world(), &ops);
        let options = options();
        // What should stand, stands.
        let first = scratch::plan(&fleet, &options, now());
        apply(&mut fleet, &first);
        let standing: BTreeSet<_> = wanted(&first).into_iter().filter(|(member, _)| member.as_str() != lost).collect();
        let Some(record) = fleet.members.get_mut(&MemberName::from(lost)) else { return Ok(()) };
        record.contact = Contact::Unreachable;
        let plan = scratch::plan(&fleet, &options, now());
        let after = by_id(&plan);
        for (member, id) in standing {
            let kept = after.get(&id).is_some_and(|plan| match &plan.push {
                Push::Objects(assignment) => assignment.member == member,
                Push::Keep => true,
                Push::Remove => false,
            });
            prop_assert!(kept, "{} lost its place in {}: {:#?}", id, member, after.get(&id));
        }
    }
}

fn wanted(plan: &FleetPlan) -> BTreeSet<(MemberName, RepositoryId)> {
    let assigned = plan.repositories.iter().filter_map(|repository| match &repository.push {
        Push::Objects(assignment) => Some((assignment.member.clone(), repository.id)),
        _ => None,
    });
    assigned.collect()
}

/// The world as the plan would have it: grants in the ledger, CronJobs in the members.
fn apply(fleet: &mut Fleet, plan: &FleetPlan) {
    for repository in &plan.repositories {
        let Push::Objects(assignment) = &repository.push else { continue };
        let kept = fleet.ledger.entry(repository.id).or_default();
        kept.key.get_or_insert(repository.key);
        if repository.holder.as_ref() != Some(&assignment.member) {
            let epoch = repository.epoch.unwrap_or(0) + 1;
            kept.grant = Some(grant(assignment.member.as_str(), epoch));
            fleet.failing_since.remove(&repository.id);
        }
        let object = ObjectName::new("volsync-system", repository.id.object_name());
        fleet.cron_jobs.retain(|(_, name), _| *name != object);
        let record = PushedCronJob {
            repository: repository.id,
            ours: true,
            secret: Some(assignment.secret.clone()),
            schedule: assignment.schedule.as_str().into(),
            time_zone: Some(assignment.time_zone.as_str().into()),
            suspend: assignment.suspend,
        };
        fleet.cron_jobs.insert((assignment.member.clone(), object), record);
    }
}

/// The properties above are worth what their histories reach.
#[test]
fn the_histories_reach_every_state_and_reason() {
    use proptest::strategy::ValueTree;
    let world = world();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut met: BTreeMap<(State, Option<&'static str>), u32> = BTreeMap::new();
    let (mut merged, mut handed_over, mut remarks) = (0, 0, BTreeSet::new());
    for _ in 0..600 {
        let ops = history(60).new_tree(&mut runner).unwrap().current();
        let fleet = fleet_after(world, &ops);
        for plan in scratch::plan(&fleet, &options(), now()).repositories {
            *met.entry((plan.state, plan.reason)).or_default() += 1;
            merged += u32::from(plan.keys.len() > 1);
            handed_over += u32::from(plan.holder.is_some() && plan.cluster.is_some() && plan.holder != plan.cluster);
            remarks.extend(plan.remarks.iter().map(|(reason, _)| *reason));
        }
    }
    let expected = [
        (State::Maintained, None),
        (State::Suspended, None),
        (State::Frozen, None),
        (State::Disabled, None),
        (State::NoPolicy, None),
        (State::Held, Some("InvalidPolicy")),
        (State::Held, Some("PinUnsatisfied")),
        (State::Held, Some("HandoverPending")),
        (State::Held, Some("HolderUnreachable")),
        (State::NoCandidate, Some("PinUnsatisfied")),
        (State::NoCandidate, Some("Filesystem")),
        (State::NoCandidate, Some("MissingKey")),
        (State::NoCandidate, Some("ClaimFailed")),
        (State::NoCandidate, Some("ClusterSelectorNeeded")),
    ];
    for state in expected {
        assert!(met.contains_key(&state), "no history reaches {state:?}");
    }
    assert!(merged > 20 && handed_over > 20, "{merged} merged, {handed_over} handed over");
    for remark in ["Ambiguous", "CredentialMismatch", "ContradictingPins", "KeyMismatch"] {
        assert!(remarks.contains(remark), "no history reaches {remark}");
    }
}

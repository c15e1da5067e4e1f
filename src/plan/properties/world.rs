//! The world of the property tests: small, so that things meet, with everything in it that planning knows.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::api::member_cluster::Lifecycle;
use crate::names::{MemberName, ObjectName, RepositoryId, RepositoryKey};
use crate::plan::fleet::{
    Contact, Fleet, Former, Grant, LedgerRecord, MemberRecord, NotReady, Observation, PlanOptions, PushedCronJob,
    SecretState, SourceRecord,
};
use crate::plan::properties::ledger::{Ledger, ledger};
use crate::plan::result::RepositoryPlan;
use crate::plan::testing::{self, facts, grant, labels, now, observations, options, placed, policy, source_key};
use crate::plan::{observe, scratch};

pub const MEMBERS: [&str; 3] = ["c1", "c2", "c3"];
const NAMESPACES: [&str; 2] = ["n1", "n2"];
const SOURCES: [&str; 3] = ["s1", "s2", "s3"];
pub const SECRETS: [&str; 2] = ["repo-a", "repo-b"];
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
        vec![
            ("KOPIA_REPOSITORY", "s3://bkt/x"),
            ("KOPIA_S3_ENDPOINT", "minio.n1.svc.corp.example:9000"),
            ("KOPIA_PASSWORD", "one"),
        ],
        vec![("RCLONE_REMOTE_PATH", "remote:x"), ("KOPIA_PASSWORD", "one")],
        shared("filesystem:///repository"),
        // Where a source mounts an NFS volume, or a claim.
        shared("filesystem:///mnt/volume/x"),
        shared("nonsense"),
    ]
}

/// Every id that this world can know: by planning a fleet with everything in it.
fn keys() -> (Vec<RepositoryKey>, Vec<usize>) {
    let mut fleet = Fleet::default();
    for member in MEMBERS {
        fleet.members.insert(member.into(), testing::member());
        for (index, data) in secrets().into_iter().enumerate() {
            let at = format!("{member}/n1/secret-{index}");
            fleet.secrets.insert(placed(&at), facts(&data));
            let kopia = json!({"kopia": {"repository": format!("secret-{index}")}});
            let record = observe::source(None, &kopia, &Value::Null).unwrap();
            fleet.sources.insert(source_key(&at), record);
        }
    }
    let plan = scratch::plan(&fleet, &options(), now());
    let many = |(_, repository): &(usize, &RepositoryPlan)| repository.clusters.len() > 1;
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
        json!({"repository": {"name": "repo-a", "namespace": "n2"}, "clusterSelector": {"matchLabels": {"zone": "a"}}}),
        json!({"repository": {"name": "repo-b", "namespace": "n1", "customCA": {"configMapName": "a", "secretName": "b"}}}),
        json!({"repositorySelector": selector("*", json!({"namespaceSelector":
            {"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]}})),
            "clusterSelector": {"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}, "priority": 6}),
    ]
}

#[derive(Clone, Debug)]
pub enum Op {
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

fn uid_of(member: &str) -> String {
    format!("uid-{member}")
}

fn member_record() -> impl Strategy<Value = MemberRecord> {
    let contact = select(vec![Contact::Synced, Contact::Synced, Contact::Syncing, Contact::Unreachable]);
    let network = (prop::bool::weighted(0.3), prop::bool::weighted(0.3));
    let contact = (
        contact,
        prop::option::weighted(0.5, -40..5_i64),
        select(
            vec![Lifecycle::Active; 7]
                .into_iter()
                .chain([Lifecycle::Retired, Lifecycle::Forgotten])
                .collect::<Vec<_>>(),
        ),
    );
    // Now and then one that had another name when the grant was given.
    let uid = prop::option::weighted(0.7, select(MEMBERS.to_vec()));
    (any::<bool>(), prop::bool::weighted(0.8), prop::bool::weighted(0.2), network, (contact, uid)).prop_map(
        |(labelled, eligible, paused, (networked, named), ((contact, away, lifecycle), uid))| {
            let mut record = testing::member();
            record.labels = if labelled { labels(&[("zone", "a")]) } else { labels(&[]) };
            record.cidrs = if networked { vec!["10.0.0.0/8".parse().unwrap()] } else { Vec::new() };
            record.cluster_domain = if named { "corp.example".into() } else { record.cluster_domain };
            let away_since = away.map(World::after);
            let cluster_uid = uid.map(|name| uid_of(name).into());
            MemberRecord { eligible, paused, contact, away_since, lifecycle, cluster_uid, ..record }
        },
    )
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
              prop::option::weighted(0.8, (0..10_u8, prop::option::of(1..5_u8), any::<bool>())))
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
pub fn history(length: usize) -> impl Strategy<Value = Vec<Op>> {
    let place = (select(MEMBERS.to_vec()), select(NAMESPACES.to_vec()));
    let standing = (place, select(SOURCES.to_vec()), any::<Index>(), 0..4_u8, prop::option::of(1..5_u8), any::<bool>());
    let standing = standing.prop_map(|((member, namespace), name, secret, kind, day, synced)| {
        let secret_name = if kind < 2 { "repo-a" } else { "repo-b" };
        [
            Op::Secret(Some(member), namespace, secret_name, Some(Some(secret))),
            Op::Source(member, namespace, name, Some((kind, day, synced))),
        ]
    });
    let members = MEMBERS.map(|name| Op::Member(name, Some(Box::new(testing::member()))));
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
pub struct World {
    keys: Vec<RepositoryKey>,
    /// The places in `keys` of repositories that several members share.
    shared: Vec<usize>,
    secrets: Vec<SecretState>,
    specs: Vec<Value>,
}

/// One for all cases: it takes longer to make than to use.
pub fn world() -> &'static World {
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
            drain: Vec::new(),
            merged: None,
            // Mostly its own; now and then that of another.
            key: ledger.key.map(|index| {
                let own = self.keys.iter().find(|key| key.id() == id).copied().unwrap();
                if index.index(10) == 0 { *index.get(&self.keys) } else { own }
            }),
            backend: Some("s3".into()),
            location: Some("from the ledger".into()),
            unique_id: ledger.unique_id.map(|unique_id| unique_id.to_string().into()),
            grant: ledger.grant.map(|(cluster, epoch, phase)| Grant {
                phase,
                cluster_uid: Some(uid_of(cluster).into()),
                ..grant(cluster, epoch)
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
            failover: ledger.failover.map(|(cluster, epoch)| Former { cluster: cluster.into(), epoch, id }),
        }
    }

    pub fn observations(&self, fleet: &Fleet, op: &Op) -> Vec<Observation> {
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
                    record.created = day.map(|day| testing::at(&format!("2026-01-0{day}T00:00:00Z")));
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

fn source_record(kind: u8, day: Option<u8>, synced: bool) -> SourceRecord {
    let volume = |source: &Value| json!({"repository": "repo-b", "moverVolumes": [{"mountPath": "volume", "volumeSource": source}]});
    let place = json!({"bucket": "bucket-a", "prefix": "x/", "endpoint": "s3.amazonaws.com"});
    let config = json!({"storage": {"type": "s3", "config": place}});
    let kopia = match kind {
        0 | 1 => json!({"repository": "repo-a"}),
        2 | 3 => json!({"repository": "repo-b"}),
        4 => json!({"repository": "repo-a", "additionalArgs": ["--prefix=other/"]}),
        5 => json!({"repository": "repo-a", "repositoryPVC": {"claimName": "claim"}}),
        6 => volume(&json!({"persistentVolumeClaim": {"claimName": "claim"}})),
        7 => volume(&json!({"nfs": {"server": "nas.example.com", "path": "/export"}})),
        8 => json!({"repository": "repo-b", "policyConfig": {"repositoryConfig": config.to_string()}}),
        _ => json!({}),
    };
    let created = day.map(|day| testing::at(&format!("2026-01-0{day}T00:00:00Z")));
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
pub fn fleet_after(world: &World, ops: &[Op]) -> Fleet {
    let mut fleet = Fleet::default();
    for op in ops {
        for observation in world.observations(&fleet, op) {
            fleet.observe(observation);
        }
    }
    fleet
}

/// With everything that the hub can be started with, or nothing.
pub fn options_of(hub: bool) -> PlanOptions {
    let mut options = PlanOptions { hub_member: hub.then(|| "c1".into()), ..options() };
    if hub {
        options.endpoint_aliases.insert("10.0.0.9:9000".to_owned(), "minio.n1.svc:9000".to_owned());
    }
    options
}

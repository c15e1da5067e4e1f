//! What stays the same in every schedule: three members that back up into one repository, and the policies for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::{ALIASES, Alias, SITES, Site};
use crate::api::member_cluster::MemberCluster;
use crate::controller::world::World;
use crate::hub::event::{HubEvent, HubList, PolicyObject};
use crate::identity::SecretFacts;
use crate::labels;
use crate::member::event::{MemberEvent, MemberFacts};
use crate::member::registry::Origin;
use crate::names::{MemberName, ObjectName, Place, PlacedName, PolicyName, RepositoryId, SourceKey};
use crate::plan::fleet::{Contact, Observation, PlanOptions, SecretState};
use crate::plan::observe;
use crate::plan::planner::Planner;
use crate::policy::{PolicyRecord, PolicyRules};

pub const HUB_ID: &str = "hub-c";
pub const NAMESPACE: &str = "volsync-system";
const SOURCES_IN: &str = "default";
const SECRET: &str = "repo";

/// Which of the policies is applied: minutes between fire times, deadline in seconds, suspended.
pub type PolicyKey = (u32, u32, bool);

pub struct Fleet {
    pub names: [MemberName; SITES],
    /// The repository's Secret in each member, as annotations of pushed objects name it.
    pub sources: [String; SITES],
    pub secrets: [PlacedName; SITES],
    /// Of the repository by each of its names, in order.
    pub ids: [RepositoryId; ALIASES],
    /// Names of its CronJobs.
    pub objects: [ObjectName; ALIASES],
    /// Of every object that the hub pushes.
    pub labels: [BTreeMap<Box<str>, Box<str>>; ALIASES],
    options: PlanOptions,
    policies: BTreeMap<PolicyKey, PolicyRecord>,
    facts: [Box<MemberFacts>; SITES],
    /// What the repository's Secret says that means it by this name.
    secret: [SecretState; ALIASES],
}

impl Fleet {
    pub fn new() -> Result<Self, String> {
        let names = ["a", "b", "c"].map(MemberName::from);
        let secret = ObjectName::new(SOURCES_IN, SECRET);
        let secrets = names.clone().map(|name| PlacedName { place: Place::Member(name), object: secret.clone() });
        let sources = names.clone().map(|name| format!("{name}/{SOURCES_IN}/{SECRET}"));
        let by_way_of = |endpoint: &str| {
            let data = [
                ("KOPIA_REPOSITORY", "s3://bucket/"),
                ("KOPIA_PASSWORD", "password"),
                ("AWS_ACCESS_KEY_ID", "key"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
                ("AWS_S3_ENDPOINT", endpoint),
            ];
            let data: BTreeMap<String, Vec<u8>> =
                data.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
            SecretState::Present(Arc::new(SecretFacts::read(&data)))
        };
        let nowhere: RepositoryId = "0000000000000000".parse().map_err(|_| "no id")?;
        let options = PlanOptions { member_namespace: NAMESPACE.into(), ..PlanOptions::default() };
        let facts = names.clone().map(|name| {
            Box::new(MemberFacts {
                supported: true,
                cluster_uid: Some(format!("uid-{name}").into()),
                mover_image: Some("mover:1".into()),
                namespace: true,
                volsync_installed: true,
                ..MemberFacts::default()
            })
        });
        let mut fleet = Self {
            names,
            sources,
            secrets,
            ids: [nowhere; ALIASES],
            objects: [0; ALIASES].map(|_| ObjectName::new(NAMESPACE, "")),
            labels: Default::default(),
            options,
            policies: policies(),
            facts,
            secret: [by_way_of("one.example"), by_way_of("two.example")],
        };
        let ids = [fleet.found(0)?, fleet.found(1)?];
        if ids[1] < ids[0] {
            fleet.secret.reverse();
        }
        fleet.ids = [ids[0].min(ids[1]), ids[0].max(ids[1])];
        fleet.objects = fleet.ids.map(|id| fleet.placed(&id.object_name()));
        fleet.labels = fleet.ids.map(|id| {
            let marks = [
                (labels::HUB, HUB_ID),
                (labels::MANAGED_BY, labels::MANAGED_BY_VALUE),
                (labels::REPOSITORY, &id.to_string()),
            ];
            marks.map(|(key, value)| (key.into(), value.into())).into()
        });
        Ok(fleet)
    }

    /// The id that the hub gives to what the Secret means by this name.
    fn found(&self, alias: Alias) -> Result<RepositoryId, String> {
        let mut world = self.world();
        for event in self.registers(0).into_iter().chain(self.reads(0)).chain([self.secret(0, alias)]) {
            world.apply_member(event);
        }
        world.planner.repositories().first().copied().ok_or_else(|| "the Secret points at no repository".to_owned())
    }

    /// What a member's Secret says that means the repository by this name.
    pub fn secret(&self, site: Site, alias: Alias) -> MemberEvent {
        let (secret, state) = (self.secrets[site].clone(), Some(self.secret[alias].clone()));
        MemberEvent::Observed(Observation::Secret { secret, state })
    }

    /// By which of the names a member's Secret means the repository, as far as a replica knows.
    pub fn known(&self, world: &World, site: Site) -> Alias {
        let known = world.planner.fleet().secrets.get(&self.secrets[site]);
        self.secret.iter().position(|secret| Some(secret) == known).unwrap_or(0)
    }

    /// The name that an id stands for.
    pub fn aliases(&self, ids: &[RepositoryId]) -> Vec<Alias> {
        (0..ALIASES).filter(|alias| ids.contains(&self.ids[*alias])).collect()
    }

    pub fn aliases_in(&self, ids: &BTreeSet<RepositoryId>) -> Vec<Alias> {
        (0..ALIASES).filter(|alias| ids.contains(&self.ids[*alias])).collect()
    }

    /// The name that a CronJob stands for.
    pub fn alias_of(&self, cron_job: &ObjectName) -> Option<Alias> {
        self.objects.iter().position(|it| it == cron_job)
    }

    pub fn placed(&self, name: &str) -> ObjectName {
        ObjectName::new(NAMESPACE, name)
    }

    pub fn site(&self, name: &MemberName) -> Option<Site> {
        self.names.iter().position(|it| it == name)
    }

    /// A hub that knows nothing yet.
    pub fn world(&self) -> World {
        World::new(Planner::new(self.options.clone()))
    }

    /// What the hub's own lists bring, but for the ledger.
    pub fn policy(&self, key: PolicyKey, generation: i64) -> HubEvent {
        let name = PolicyName::from("p");
        let object = PolicyObject { uid: "u".to_owned(), generation, status: serde_json::Value::Null };
        let record = self.policies.get(&key).cloned().map(Box::new);
        let observation = Observation::Policy { name: name.clone(), record };
        HubEvent::Policy { name, object: Some(Box::new(object)), observation }
    }

    pub fn lists() -> [HubEvent; 3] {
        [HubList::Policies, HubList::Ledger, HubList::MemberClusters].map(HubEvent::Listed)
    }

    pub fn cluster(&self, site: Site, eligible: bool, paused: bool) -> HubEvent {
        let object = json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "MemberCluster",
            "metadata": {"name": self.names[site].as_str()}, "spec": {"eligible": eligible, "paused": paused}});
        let object = serde_json::from_value::<MemberCluster>(object).ok().map(Box::new);
        HubEvent::MemberCluster { name: self.names[site].clone(), object }
    }

    pub fn registers(&self, site: Site) -> [MemberEvent; 1] {
        let origin = Some(Origin::File(format!("{}.yaml", self.names[site]).into()));
        [MemberEvent::Registered { member: self.names[site].clone(), origin }]
    }

    pub fn contact(&self, site: Site, contact: Contact) -> MemberEvent {
        MemberEvent::Contact { member: self.names[site].clone(), contact }
    }

    /// What reading a member brings, but for what the hub has pushed.
    pub fn reads(&self, site: Site) -> Vec<MemberEvent> {
        let member = self.names[site].clone();
        let (spec, status) = (
            json!({"kopia": {"repository": SECRET}}),
            json!({"latestMoverStatus": {"result": "Successful"}, "lastSyncTime": "2026-01-01T00:00:00Z"}),
        );
        let source = observe::source(None, &spec, &status).map(Box::new);
        let key = SourceKey { member: member.clone(), object: ObjectName::new(SOURCES_IN, "db") };
        let namespace = Observation::Namespace {
            member: member.clone(),
            namespace: SOURCES_IN.into(),
            labels: Some(Arc::default()),
        };
        vec![
            MemberEvent::Facts { member, facts: self.facts[site].clone() },
            MemberEvent::Observed(namespace),
            MemberEvent::Observed(Observation::Source { key, record: source }),
        ]
    }
}

/// A schedule with so many minutes between fire times.
pub fn schedule(period: u32) -> String {
    if period == 60 { "0 * * * *".to_owned() } else { format!("*/{period} * * * *") }
}

fn policies() -> BTreeMap<PolicyKey, PolicyRecord> {
    let mut policies = BTreeMap::new();
    for period in [10, 15, 30, 60] {
        for deadline in [600, 900, 1800, 3600] {
            for suspend in [false, true] {
                let object = json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance",
                    "metadata": {"name": "p", "uid": "u"}, "spec": {"repositorySelector": {"repository": "*"},
                    "schedule": schedule(period), "suspend": suspend,
                    "activeDeadlineSeconds": deadline,
                    "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1}});
                policies.insert((period, deadline, suspend), PolicyRecord::read(&object, &PolicyRules::default()));
            }
        }
    }
    policies
}

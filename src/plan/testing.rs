//! Builders for the tests of planning: fleets from short words, through the parsers that the hub itself uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fleet::{
    Contact, Fleet, Grant, Labels, LedgerRecord, MemberRecord, Observation, Phase, PlanOptions, PushedCronJob,
    SecretState,
};
use super::result::{FleetPlan, PolicyPlan, RepositoryPlan, SourcePlan};
use super::{Planner, observe, scratch};
use crate::identity::SecretFacts;
use crate::names::{MemberName, ObjectName, Place, PlacedName, PolicyName, RepositoryId, SourceKey};
use crate::policy::{PolicyRecord, PolicyRules};

pub fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn options() -> PlanOptions {
    PlanOptions::default()
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// `namespace/name`
pub fn object(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectName::new(namespace, name)
}

/// `member/namespace/name`, or `hub/namespace/name`
pub fn placed(text: &str) -> PlacedName {
    let (place, rest) = text.split_once('/').unwrap();
    let place = if place == "hub" { Place::Hub } else { Place::Member(place.into()) };
    PlacedName { place, object: object(rest) }
}

/// `member/namespace/name`
pub fn source_key(text: &str) -> SourceKey {
    let (member, rest) = text.split_once('/').unwrap();
    SourceKey { member: member.into(), object: object(rest) }
}

pub fn facts(data: &[(&str, &str)]) -> SecretState {
    let data: BTreeMap<String, Vec<u8>> =
        data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
    SecretState::Present(Arc::new(SecretFacts::read(&data)))
}

/// A Secret for `s3://<bucket>/` with everything that a Job needs.
pub fn s3(bucket: &str) -> SecretState {
    facts(&[
        ("KOPIA_REPOSITORY", &format!("s3://{bucket}/")),
        ("KOPIA_PASSWORD", "secret"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ])
}

pub fn member() -> MemberRecord {
    observe::member(None, Contact::Synced)
}

pub fn policy(name: &str, spec: &Value) -> PolicyRecord {
    let object = json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance",
        "metadata": {"name": name}, "spec": spec});
    PolicyRecord::read(&object, &PolicyRules::default())
}

pub fn grant(cluster: &str, epoch: u64) -> Grant {
    Grant {
        cluster: cluster.into(),
        cluster_uid: None,
        epoch,
        phase: Phase::Active,
        since: None,
        until: None,
        deadline_seconds: 10_800,
        highest_epoch: 0,
        from: None,
    }
}

/// A fleet in the making, with both planners' view of it.
pub struct Fixture {
    pub fleet: Fleet,
    pub options: PlanOptions,
    pub now: Timestamp,
}

impl Fixture {
    /// Synced members without MemberClusters.
    pub fn new(members: &[&str]) -> Self {
        let mut fixture = Self { fleet: Fleet::default(), options: options(), now: now() };
        for name in members {
            fixture.fleet.members.insert((*name).into(), member());
        }
        fixture
    }

    pub fn member(&mut self, name: &str, change: impl FnOnce(&mut MemberRecord)) -> &mut Self {
        change(self.fleet.members.entry(name.into()).or_insert_with(member));
        self
    }

    pub fn namespace(&mut self, member: &str, namespace: &str, pairs: &[(&str, &str)]) -> &mut Self {
        let of_member = self.fleet.namespaces.entry(member.into()).or_default();
        of_member.insert(namespace.into(), Arc::new(labels(pairs)));
        self
    }

    pub fn secret(&mut self, place: &str, state: SecretState) -> &mut Self {
        self.fleet.secrets.insert(placed(place), state);
        self
    }

    /// A source by its `spec.kopia`; `status` as backed up well.
    pub fn kopia(&mut self, key: &str, kopia: &Value) -> &mut Self {
        let status = json!({"latestMoverStatus": {"result": "Successful"}});
        let record = observe::source(None, &json!({"kopia": kopia}), &status).unwrap();
        self.fleet.sources.insert(source_key(key), record);
        self
    }

    /// A source with a Secret `<name>-secret` for an S3 bucket, in its own namespace.
    pub fn source(&mut self, key: &str, bucket: &str) -> &mut Self {
        let secret = format!("{key}-secret");
        self.secret(&secret, s3(bucket));
        self.kopia(key, &json!({"repository": secret.rsplit('/').next()}))
    }

    /// The age of a source: the `day`th of January.
    pub fn created(&mut self, key: &str, day: u32) -> &mut Self {
        let created = at(&format!("2026-01-{day:02}T00:00:00Z"));
        self.fleet.sources.get_mut(&source_key(key)).unwrap().created = Some(created);
        self
    }

    pub fn failed_sync(&mut self, key: &str) -> &mut Self {
        self.fleet.sources.get_mut(&source_key(key)).unwrap().last_sync_succeeded = false;
        self
    }

    pub fn policy(&mut self, name: &str, spec: &Value) -> &mut Self {
        self.fleet.policies.insert(name.into(), Arc::new(policy(name, spec)));
        self
    }

    /// A policy for every repository.
    pub fn default_policy(&mut self) -> &mut Self {
        self.policy("default", &json!({"repositorySelector": {"repository": "*"}}))
    }

    pub fn born(&mut self, policy: &str, day: u32) -> &mut Self {
        let created = at(&format!("2026-01-{day:02}T00:00:00Z"));
        let record = self.fleet.policies.get_mut(&PolicyName::from(policy)).unwrap();
        Arc::make_mut(record).created = Some(created);
        self
    }

    pub fn ledger(&mut self, id: RepositoryId, change: impl FnOnce(&mut LedgerRecord)) -> &mut Self {
        change(self.fleet.ledger.entry(id).or_default());
        self
    }

    pub fn held(&mut self, id: RepositoryId, cluster: &str, epoch: u64) -> &mut Self {
        self.ledger(id, |record| record.grant = Some(grant(cluster, epoch)))
    }

    pub fn pushed(&mut self, member: &str, id: RepositoryId, secret: Option<&str>) -> &mut Self {
        let record = PushedCronJob {
            repository: id,
            ours: true,
            secret: secret.map(placed),
            schedule: "1 1 * * *".into(),
            time_zone: Some("Europe/Berlin".into()),
            suspend: false,
        };
        let name = ObjectName::new("volsync-system", id.object_name());
        self.fleet.cron_jobs.insert((member.into(), name), record);
        self
    }

    /// The plan, once both planners agree on it.
    pub fn plan(&self) -> FleetPlan {
        let plan = scratch::plan(&self.fleet, &self.options, self.now);
        let mut planner = Planner::new(self.options.clone());
        for observation in observations(&self.fleet) {
            planner.apply(observation);
        }
        assert_same(&mut planner, &plan, self.now);
        plan
    }

    /// The plan of the only repository.
    pub fn only(&self) -> RepositoryPlan {
        let mut plan = self.plan();
        assert_eq!(plan.repositories.len(), 1, "{:#?}", plan.repositories);
        plan.repositories.remove(0)
    }

    /// The repository of a source, by the present plan.
    pub fn id_of(&self, source: &str) -> RepositoryId {
        self.source_plan(source).repository.unwrap()
    }

    pub fn repository(&self, source: &str) -> RepositoryPlan {
        let id = self.id_of(source);
        self.plan().repositories.into_iter().find(|plan| plan.id == id).unwrap()
    }

    pub fn source_plan(&self, source: &str) -> SourcePlan {
        let key = source_key(source);
        self.plan().sources.into_iter().find(|plan| plan.source == key).unwrap()
    }

    pub fn policy_plan(&self, name: &str) -> PolicyPlan {
        self.plan().policies.into_iter().find(|plan| plan.name == name.into()).unwrap()
    }
}

/// Every record of a fleet, as it would be observed.
pub fn observations(fleet: &Fleet) -> Vec<Observation> {
    let fleet = fleet.clone();
    let mut observations = Vec::new();
    observations
        .extend(fleet.members.into_iter().map(|(name, record)| Observation::Member { name, record: Some(record) }));
    for (member, namespaces) in fleet.namespaces {
        observations.extend(namespaces.into_iter().map(|(namespace, labels)| Observation::Namespace {
            member: member.clone(),
            namespace,
            labels: Some(labels),
        }));
    }
    let sources = fleet.sources.into_iter();
    observations.extend(sources.map(|(key, record)| Observation::Source { key, record: Some(Box::new(record)) }));
    let secrets = fleet.secrets.into_iter();
    observations.extend(secrets.map(|(secret, state)| Observation::Secret { secret, state: Some(state) }));
    let policies = fleet.policies.into_iter();
    observations
        .extend(policies.map(|(name, record)| Observation::Policy { name, record: Some(Box::new((*record).clone())) }));
    let ledger = fleet.ledger.into_iter();
    observations.extend(ledger.map(|(id, record)| Observation::Ledger { id, record: Some(Box::new(record)) }));
    let cron_jobs = fleet.cron_jobs.into_iter();
    observations.extend(cron_jobs.map(|((member, name), record)| Observation::CronJob {
        member,
        name,
        record: Some(record),
    }));
    let failing = fleet.failing_since.into_iter();
    observations.extend(failing.map(|(id, since)| Observation::HolderFailing { id, since: Some(since) }));
    observations
}

/// The incremental planner says all that the plain one says.
pub fn assert_same(planner: &mut Planner, plan: &FleetPlan, now: Timestamp) {
    let ids: Vec<RepositoryId> = plan.repositories.iter().map(|repository| repository.id).collect();
    assert_eq!(planner.repositories().into_iter().collect::<Vec<_>>(), ids);
    for repository in &plan.repositories {
        assert_eq!(planner.plan(repository.id, now).as_ref(), Some(repository));
        let sources = plan.sources.iter().filter(|source| source.repository == Some(repository.id));
        let sources: Vec<SourceKey> = sources.map(|source| source.source.clone()).collect();
        assert_eq!(planner.sources_of(repository.id), sources);
    }
    for source in &plan.sources {
        assert_eq!(planner.source(&source.source).as_ref(), Some(source));
    }
    assert_eq!(planner.policies(), plan.policies);
    for policy in &plan.policies {
        let (alone, matched) = planner.policy(&policy.name, usize::MAX).unwrap();
        assert_eq!((&alone, matched.len()), (policy, policy.matched_sources));
        assert_eq!(planner.competed(&policy.name, now).len(), policy.repositories);
    }
    assert_eq!(planner.problems(now), plan.problems);
    let wanted = super::references::of(planner.fleet(), planner.options());
    assert_eq!(planner.referenced_secrets(), wanted);
}

pub fn name(member: &str) -> MemberName {
    member.into()
}

//! Objects of the hub's own kinds, and those of members, as a tenant or another version may have written them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use volsync_hub::api::crd::Kind;
use volsync_hub::api::kopia_maintenance::KopiaMaintenance;
use volsync_hub::api::kopia_repository::KopiaRepository;
use volsync_hub::api::member_cluster::MemberCluster;
use volsync_hub::api::schema;
use volsync_hub::api::yaml::{self, YamlObject};
use volsync_hub::identity::SecretFacts;
use volsync_hub::names::{MemberName, ObjectName, Place, PlacedName, RepositoryId, SourceKey};
use volsync_hub::plan::fleet::{Contact, LedgerRecord, Observation, PlanOptions, PushedCronJob, SecretState};
use volsync_hub::plan::result::{Assignment, Push};
use volsync_hub::plan::{Planner, observe, scratch};
use volsync_hub::policy::{PolicyRecord, PolicyRules};
use volsync_hub::render::{Platform, RenderContext, cron_job};
use volsync_hub::schedule::Schedule;

use super::{assert_message, in_time};

/// A repository that any policy may select, in the fleet that every object is planned in.
static REPOSITORY: LazyLock<RepositoryId> = LazyLock::new(|| {
    let plan = scratch::plan(planner().fleet(), &PlanOptions::default(), now());
    plan.repositories.first().expect("the source's repository").id
});

/// YAML with any number of objects, each of which is read as every kind.
pub fn object(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for read in in_time("reading YAML", || yaml::objects(text)) {
        match read {
            Ok(object) => in_time("using an object", || use_up(&object, text)),
            Err(problem) => {
                assert_message(&problem.message);
                assert!((1..=lines(text)).contains(&problem.line), "line {} of {text:?}", problem.line);
            }
        }
    }
}

fn lines(text: &str) -> u64 {
    text.split(['\n', '\r']).count() as u64
}

fn use_up(object: &YamlObject, text: &str) {
    let value = &object.value;
    for problem in Kind::ALL.into_iter().flat_map(|kind| schema::check(kind, value)) {
        assert_message(&problem.message);
        assert!((1..=lines(text)).contains(&object.line_of(&problem.field)), "{problem} in {text:?}");
    }
    let written = serde_json::to_string(value).expect("what was read can be written");
    let again: Value = serde_json::from_str(&written).expect("what was written can be read");
    let policy = policy(value);
    assert_eq!(policy, self::policy(&again));
    let (ledger, member) = (ledger(value), member(value));
    let null = Value::Null;
    let field = |name: &str| value.get(name).unwrap_or(&null);
    let source = observe::source(None, field("spec"), field("status"));
    let cron_job = observe::cron_job(&"c1".into(), value);
    plan([
        Some(Observation::Policy { name: policy.name.clone(), record: Some(Box::new(policy)) }),
        ledger.map(|record| Observation::Ledger { id: *REPOSITORY, record: Some(Box::new(record)) }),
        member.map(|object| observe::member(Some(&object), Contact::Synced)).map(observed_member),
        source.map(|record| Observation::Source { key: source_key("fuzzed"), record: Some(Box::new(record)) }),
        cron_job.map(observed_cron_job),
    ]);
}

fn observed_member(record: volsync_hub::plan::fleet::MemberRecord) -> Observation {
    Observation::Member { name: "c2".into(), record: Some(record) }
}

fn observed_cron_job(record: PushedCronJob) -> Observation {
    let name = ObjectName::new("volsync-system", record.repository.object_name());
    Observation::CronJob { member: "c1".into(), name, record: Some(record) }
}

/// As an API server keeps it: a field that is null is absent.
fn stored(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().filter(|(_, it)| !it.is_null()).map(|(name, it)| (name, stored(it))).collect()
        }
        Value::Array(values) => values.into_iter().map(stored).collect(),
        other => other,
    }
}

/// A policy is read whatever it holds; a valid one is what the CRD's own type takes.
fn policy(value: &Value) -> PolicyRecord {
    let record = PolicyRecord::read(value, &PolicyRules::default());
    record.problems().iter().for_each(|problem| assert_message(&problem.message));
    let by_schema = schema::check(Kind::KopiaMaintenance, value);
    assert!(by_schema.is_empty() || record.settings.is_err(), "{by_schema:?}");
    if record.settings.is_ok() {
        let stored = stored(value.clone());
        let typed: KopiaMaintenance = serde_json::from_value(stored).expect("a valid policy fits its type");
        let written = serde_json::to_value(&typed).expect("a policy can be written");
        let again = PolicyRecord::read(&written, &PolicyRules::default());
        assert_eq!(again.settings, record.settings, "{written}");
        assert_eq!(again.claim, record.claim, "{written}");
    }
    record
}

/// One wrong field must not hide the record of who may maintain a repository.
fn ledger(value: &Value) -> Option<LedgerRecord> {
    let object: KopiaRepository = serde_json::from_value(with_shape(value, Kind::KopiaRepository)?)
        .unwrap_or_else(|error| panic!("a KopiaRepository is hidden: {error}"));
    let record = observe::ledger(&object);
    // Times are written in whole seconds: the first time something may be lost, and never again.
    let written = serde_json::to_value(&object).expect("a KopiaRepository can be written");
    let again: KopiaRepository = serde_json::from_value(written.clone()).expect("and read");
    assert_eq!(serde_json::to_value(&again).expect("and written"), written);
    Some(record)
}

fn member(value: &Value) -> Option<MemberCluster> {
    let object: MemberCluster = serde_json::from_value(with_shape(value, Kind::MemberCluster)?)
        .unwrap_or_else(|error| panic!("a MemberCluster is hidden: {error}"));
    Some(object)
}

/// The object as every API server lets through whatever CRD is installed: spec and status are objects.
fn with_shape(value: &Value, kind: Kind) -> Option<Value> {
    let fields = |name: &str| match value.get(name) {
        None | Some(Value::Null) => Some(Map::new()),
        Some(Value::Object(fields)) => Some(fields.clone()),
        Some(_) => None,
    };
    let version = "hub.volsync.backube/v1alpha1";
    Some(json!({"apiVersion": version, "kind": kind.as_str(), "metadata": {"name": "fuzzed"},
        "spec": fields("spec")?, "status": fields("status")?}))
}

// === planning ===

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).expect("a time")
}

fn source_key(name: &str) -> SourceKey {
    SourceKey { member: "c1".into(), object: ObjectName::new("n1", name) }
}

/// One member with one source and its Secret.
fn planner() -> Planner {
    let member = MemberName::from("c1");
    let data = [("KOPIA_REPOSITORY", "s3://bucket/"), ("KOPIA_PASSWORD", "p"), ("AWS_ACCESS_KEY_ID", "a")];
    let data = data.into_iter().chain([("AWS_SECRET_ACCESS_KEY", "s")]);
    let data = data.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).collect();
    let secret = PlacedName { place: Place::Member(member.clone()), object: ObjectName::new("n1", "repo") };
    let status = json!({"latestMoverStatus": {"result": "Successful"}});
    let source = observe::source(None, &json!({"kopia": {"repository": "repo"}}), &status).map(Box::new);
    let namespace = Observation::Namespace {
        member: member.clone(),
        namespace: "n1".into(),
        labels: Some(Arc::new(BTreeMap::from([("team".to_owned(), "a".to_owned())]))),
    };
    let state = SecretState::Present(Arc::new(SecretFacts::read(&data)));
    let observed = [
        Observation::Member { name: member, record: Some(observe::member(None, Contact::Synced)) },
        namespace,
        Observation::Source { key: source_key("standing"), record: source },
        Observation::Secret { secret, state: Some(state) },
    ];
    let mut planner = Planner::new(PlanOptions::default());
    for observation in observed {
        planner.apply(observation);
    }
    planner
}

/// Both planners come to the same, and what they assign can be rendered.
fn plan<const N: usize>(observed: [Option<Observation>; N]) {
    let mut planner = planner();
    for observation in observed.into_iter().flatten() {
        planner.apply(observation);
    }
    let whole = scratch::plan(planner.fleet(), &PlanOptions::default(), now());
    for repository in &whole.repositories {
        assert_eq!(planner.plan(repository.id, now()).as_ref(), Some(repository));
        scratch::problems(repository).for_each(|problem| assert_message(&problem.message));
        if let Push::Objects(assignment) = &repository.push {
            check_rendered(assignment);
        }
    }
    assert_eq!(planner.repositories().len(), whole.repositories.len());
}

fn check_rendered(assignment: &Assignment) {
    let platform = Platform { image: "mover".to_owned(), ..Platform::default() };
    let context =
        RenderContext { hub_id: "hub", namespace: "volsync-system", member: &platform, epoch: 1, time_factor: 1 };
    let rendered = cron_job::cron_job(assignment, &context, false);
    // What the CronJob controller leaves room for.
    assert!(rendered.metadata.name.as_ref().is_some_and(|name| name.len() <= 52));
    let spec = &rendered.spec;
    let schedule: Schedule = spec.schedule.parse().expect("what is pushed is a schedule");
    assert!(!schedule.differs_by_repository());
    let written = serde_json::to_value(&rendered).expect("a CronJob can be written");
    let read = observe::cron_job(&assignment.member, &written).expect("our own CronJob");
    assert_eq!((read.repository, read.ours), (assignment.id, true));
    assert_eq!(read.secret.as_ref(), Some(&assignment.secret));
    assert_eq!(*read.schedule, *assignment.schedule.as_str());
}

//! What planning costs by itself. In a process of its own, so that its memory is nobody else's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use volsync_hub::identity::SecretFacts;
use volsync_hub::names::{MemberName, ObjectName, Place, PlacedName, RepositoryId, SourceKey};
use volsync_hub::plan::fleet::{Contact, Observation, PlanOptions, SecretState};
use volsync_hub::plan::observe;
use volsync_hub::plan::planner::Planner;
use volsync_hub::policy::{PolicyRecord, PolicyRules};

use super::figures::Micro;
use super::usage;
use crate::harness::Fail;

const LEAST: std::time::Duration = std::time::Duration::from_millis(300);

/// A fleet whose sources have repositories of so many sources each, side by side in members.
#[derive(Clone, Copy)]
pub struct Shape {
    pub members: usize,
    pub sources: usize,
    /// Of each repository; spread over all members where there are fewer of them.
    pub sources_a_repository: usize,
}

/// A planner that has seen all of it; what each source took, in nanoseconds and bytes.
pub fn observed(shape: Shape) -> Result<(Planner, Micro), Fail> {
    let mut planner = Planner::new(PlanOptions::default());
    for number in 0..shape.members {
        let record = Some(observe::member(None, Contact::Synced));
        planner.apply(Observation::Member { name: member(number), record });
    }
    for (name, pattern) in [("all", "*"), ("other", "nothing-*")] {
        let policy = json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance", "metadata": {"name": name},
            "spec": {"repositorySelector": {"repository": pattern}, "schedule": "17 3 1 * *"}});
        let record = PolicyRecord::read(&policy, &PolicyRules::default());
        planner.apply(Observation::Policy { name: name.into(), record: Some(Box::new(record)) });
    }
    let me = std::process::id();
    // The allocator has its first pages, and the schedule its zone.
    let before = usage::of(me)?.rss_mb;
    let began = Instant::now();
    for number in 0..shape.sources {
        observe_one(&mut planner, shape, number)?;
    }
    let took = began.elapsed().as_secs_f64();
    // Plans are part of what is held of each.
    plan_all(&mut planner, Timestamp::now());
    let grown = (usage::of(me)?.rss_mb - before) * 1_048_576.0;
    #[expect(clippy::cast_precision_loss, reason = "numbers of a benchmark")]
    let each = |total: f64| total / shape.sources as f64;
    let figure = Micro {
        name: "observe-one-source".to_owned(),
        n: shape.sources,
        ns_per_op: each(took * 1e9),
        bytes_per_op: each(grown),
    };
    Ok((planner, figure))
}

pub fn plan_all(planner: &mut Planner, now: Timestamp) {
    for id in planner.repositories() {
        std::hint::black_box(planner.plan(id, now));
    }
}

/// Nanoseconds of planning a repository, each of the fleet in turn.
pub fn plan_one(planner: &mut Planner) -> f64 {
    let ids: Vec<RepositoryId> = planner.repositories().into_iter().collect();
    let (now, mut next) = (Timestamp::now(), ids.iter().cycle());
    each(|| next.next().map(|id| planner.plan(*id, now)))
}

/// Nanoseconds of one.
pub fn each<T>(mut one: impl FnMut() -> T) -> f64 {
    let (began, mut done) = (Instant::now(), 0_u32);
    while began.elapsed() < LEAST {
        for _ in 0..64 {
            std::hint::black_box(one());
        }
        done += 64;
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(done)
}

pub fn member(number: usize) -> MemberName {
    format!("member-{number:04}").as_str().into()
}

/// Takes a source in, and its Secret.
fn observe_one(planner: &mut Planner, shape: Shape, number: usize) -> Result<(), Fail> {
    let repository = number / shape.sources_a_repository;
    let member = member(number % shape.members);
    let namespace = format!("team-{:03}", number / 75);
    let name = format!("repository-{repository:05}");
    let key =
        SourceKey { member: member.clone(), object: ObjectName::new(namespace.as_str(), &*format!("data-{number}")) };
    planner.apply(source(key, &name, "Successful")?);
    let facts = SecretState::Present(Arc::new(SecretFacts::read(&secret(repository))));
    let secret =
        PlacedName { place: Place::Member(member), object: ObjectName::new(namespace.as_str(), name.as_str()) };
    planner.apply(Observation::Secret { secret, state: Some(facts) });
    Ok(())
}

pub fn source(key: SourceKey, repository: &str, result: &str) -> Result<Observation, Fail> {
    let (spec, status): (Value, Value) =
        (json!({"kopia": {"repository": repository}}), json!({"latestMoverStatus": {"result": result}}));
    let record = observe::source(Some(Timestamp::UNIX_EPOCH), &spec, &status).ok_or("no source")?;
    Ok(Observation::Source { key, record: Some(Box::new(record)) })
}

pub fn secret(repository: usize) -> BTreeMap<String, Vec<u8>> {
    let data = [
        ("KOPIA_REPOSITORY", format!("s3://backups-{repository}/")),
        ("KOPIA_PASSWORD", "no-secret".to_owned()),
        ("AWS_S3_ENDPOINT", "s3.example.com".to_owned()),
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "first".to_owned()),
    ];
    data.into_iter().map(|(key, value)| (key.to_owned(), value.into_bytes())).collect()
}

//! What planning costs by itself, in a process of its own, so that its memory is nobody else's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::json;
use volsync_hub::identity::SecretFacts;
use volsync_hub::names::{MemberName, ObjectName, Place, PlacedName, RepositoryId, SourceKey};
use volsync_hub::plan::fleet::{Contact, Observation, PlanOptions, SecretState};
use volsync_hub::plan::observe;
use volsync_hub::plan::planner::Planner;
use volsync_hub::policy::{PolicyRecord, PolicyRules};

use super::stage::{MEMBERS, policy};
use super::usage;
use crate::harness::Fail;

/// Sources of the fleet that is planned: enough that the memory of one shows.
const SOURCES: usize = 30_000;
const ROUNDS: usize = 10;

/// As figures: name, n, nanoseconds, bytes.
pub type Figure = (String, usize, f64, f64);

/// The whole of the process.
pub fn tell() -> Result<(), Fail> {
    println!("{}", serde_json::to_string(&figures()?)?);
    Ok(())
}

fn figures() -> Result<Vec<Figure>, Fail> {
    let me = std::process::id();
    let mut planner = Planner::new(options()?);
    for member in MEMBERS {
        let record = Some(observe::member(None, Contact::Synced));
        planner.apply(Observation::Member { name: member.into(), record });
    }
    for (name, pattern) in [("all", "*"), ("other", "nothing-*")] {
        let record = PolicyRecord::read(&policy(name, pattern, 0), &PolicyRules::default());
        planner.apply(Observation::Policy { name: name.into(), record: Some(Box::new(record)) });
    }
    // The allocator has its first pages, and the schedule its zone.
    let before = usage::of(me)?.rss_mb;
    let began = Instant::now();
    (0..SOURCES).try_for_each(|number| observe_one(&mut planner, number))?;
    let observed = began.elapsed();
    let ids: Vec<RepositoryId> = planner.repositories().into_iter().collect();
    let now = Timestamp::now();
    plan_all(&mut planner, &ids, now);
    let after = usage::of(me)?.rss_mb;
    let began = Instant::now();
    for _ in 0..ROUNDS {
        plan_all(&mut planner, &ids, now);
    }
    let planning = began.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "numbers of a benchmark")]
    let each = |total: f64, count: usize| total / count as f64;
    let bytes = each((after - before) * 1024.0 * 1024.0, SOURCES);
    Ok(vec![
        ("plan-one-repository".to_owned(), ids.len(), each(planning.as_secs_f64() * 1e9, ids.len() * ROUNDS), 0.0),
        ("observe-one-source".to_owned(), SOURCES, each(observed.as_secs_f64() * 1e9, SOURCES), bytes),
    ])
}

fn plan_all(planner: &mut Planner, ids: &[RepositoryId], now: Timestamp) {
    for id in ids {
        std::hint::black_box(planner.plan(*id, now));
    }
}

/// A source and its Secret, each with a repository of its own.
fn observe_one(planner: &mut Planner, number: usize) -> Result<(), Fail> {
    let member = MemberName::from(MEMBERS[number % MEMBERS.len()]);
    let namespace = format!("team-{:03}", number / 75);
    let name = format!("repository-{number:05}");
    let spec = json!({"kopia": {"repository": name}});
    let status = json!({"latestMoverStatus": {"result": "Successful"}});
    let record = observe::source(Some(Timestamp::UNIX_EPOCH), &spec, &status).ok_or("no source")?;
    let key = SourceKey { member: member.clone(), object: ObjectName::new(namespace.as_str(), name.as_str()) };
    planner.apply(Observation::Source { key, record: Some(Box::new(record)) });
    let data = [
        ("KOPIA_REPOSITORY", format!("s3://backups-{number}/")),
        ("KOPIA_PASSWORD", "no-secret".to_owned()),
        ("AWS_S3_ENDPOINT", "s3.example.com".to_owned()),
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "first".to_owned()),
    ];
    let data: BTreeMap<_, _> = data.into_iter().map(|(key, value)| (key.to_owned(), value.into_bytes())).collect();
    let facts = SecretState::Present(Arc::new(SecretFacts::read(&data)));
    let secret =
        PlacedName { place: Place::Member(member), object: ObjectName::new(namespace.as_str(), name.as_str()) };
    planner.apply(Observation::Secret { secret, state: Some(facts) });
    Ok(())
}

fn options() -> Result<PlanOptions, Fail> {
    Ok(PlanOptions {
        time_zone: "UTC".parse().map_err(|error| format!("{error}"))?,
        default_spread: None,
        hub_member: None,
        member_namespace: "volsync-system".into(),
        handover_after_seconds: 900,
        time_factor: 1,
        endpoint_aliases: BTreeMap::new(),
    })
}

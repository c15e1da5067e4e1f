//! What single operations cost, without a fleet.

use jiff::Timestamp;
use serde_json::json;
use volsync_hub::api::kopia_maintenance::KopiaMaintenanceStatus;
use volsync_hub::diff::{self, Kind};
use volsync_hub::identity::SecretFacts;
use volsync_hub::names::{ObjectName, SourceKey};
use volsync_hub::plan::planner::Planner;
use volsync_hub::plan::result::State;
use volsync_hub::status::policy;

use crate::harness::Fail;
use crate::measure::figures::Micro;
use crate::measure::planning::{Shape, each, member, observed, plan_one, secret, source};

/// Sources of a repository, and members that have them.
const PLANS: [(usize, usize); 5] = [(1, 1), (100, 1), (1_000, 1), (100, 50), (1_000, 50)];
const MANY: usize = 50_000;

/// The whole of the process.
#[expect(clippy::print_stdout, reason = "its parent reads it")]
pub fn tell() -> Result<(), Fail> {
    println!("{}", serde_json::to_string(&figures()?)?);
    Ok(())
}

fn figures() -> Result<Vec<Micro>, Fail> {
    let micro = |name: String, n: usize, ns_per_op: f64| Micro { name, n, ns_per_op, bytes_per_op: 0.0 };
    let (mut planner, observing) = observed(Shape { members: 1_000, sources: MANY, sources_a_repository: 5 })?;
    let mut found = vec![observing];
    let data = secret(0);
    found.push(micro("identity-of-a-secret".into(), 1, each(|| SecretFacts::read(&data))));
    let observe = |planner: &mut Planner, repository: &str| {
        let key = SourceKey { member: member(0), object: ObjectName::new("team-000", "data-0") };
        source(key, repository, "Successful").map(|observation| drop(planner.apply(observation)))
    };
    let same = each(|| observe(&mut planner, "repository-00000"));
    found.push(micro("index-of-a-source-that-is-the-same".into(), MANY, same));
    let mut names = ["repository-00001", "repository-00000"].iter().cycle();
    let other = each(|| names.next().map(|name| observe(&mut planner, name)));
    found.push(micro("index-of-a-source-that-moves".into(), MANY, other));
    let name = "all".into();
    let (plan, _) = planner.policy(&name, policy::LISTED_MAX).ok_or("the policy is not planned")?;
    let competed = vec![
        policy::Competed {
            winner: Some(plan.name.clone()),
            state: State::Maintained,
            cron_job: None,
            maintained: true,
            overdue: false,
            last_success: None,
            next_run: Some(Timestamp::UNIX_EPOCH),
            failing: false,
            claim_expected: None,
        };
        MANY / 5
    ];
    let before = KopiaMaintenanceStatus::default();
    found.push(micro(
        "status-of-a-policy".into(),
        MANY,
        each(|| {
            let input = policy::Input {
                plan: &plan,
                generation: 1,
                matched: Vec::new(),
                repositories: competed.clone(),
                unread_members: 0,
                missing_rights: None,
                now: Timestamp::UNIX_EPOCH,
            };
            policy::status(&before, &input)
        }),
    ));
    let object = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"schedule": "17 3 1 * *", "suspend": false}});
    found.push(micro("diff-of-a-cron-job".into(), 1, each(|| diff::fields(Kind::CronJob, &object, &object))));
    drop(planner);
    for (sources, members) in PLANS {
        let (mut planner, _) = observed(Shape { members, sources: sources * 10, sources_a_repository: sources })?;
        found.push(micro(format!("plan-one-repository-of-{sources}-in-{members}"), sources, plan_one(&mut planner)));
    }
    Ok(found)
}

//! What holds for every fleet and every history of it.

mod ledger;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::fleet::{Contact, Fleet, PushedCronJob};
use super::result::{FleetPlan, Push, State};
use super::testing::{assert_same, grant, now, observations, options, policy};
use super::{Planner, scratch};
use crate::names::{MemberName, ObjectName, PolicyName, RepositoryId};
use world::{MEMBERS, fleet_after, history, options_of, world};

fn by_id(plan: &FleetPlan) -> BTreeMap<RepositoryId, &super::result::RepositoryPlan> {
    plan.repositories.iter().map(|repository| (repository.id, repository)).collect()
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
    fn each_state_keeps_its_promise(ops in history(60), hub: bool) {
        let fleet = fleet_after(world(), &ops);
        for plan in scratch::plan(&fleet, &options_of(hub), now()).repositories {
            let suspended = match &plan.push {
                Push::Objects(assignment) => Some(assignment.suspend),
                Push::Keep | Push::Remove => None,
            };
            let (cluster, shown) = (plan.cluster.is_some(), plan.found.as_ref().map(|found| found.suspend));
            match plan.state {
                State::NoPolicy | State::Disabled | State::NoCandidate => {
                    prop_assert!(!cluster && suspended.is_none() && shown.is_none(), "{:#?}", plan);
                }
                State::Held => prop_assert!(plan.push == Push::Keep && plan.reason.is_some(), "{:#?}", plan),
                State::Frozen => {
                    prop_assert!(cluster && suspended != Some(false) && shown != Some(false), "{:#?}", plan);
                }
                State::Suspended => prop_assert!(cluster && suspended == Some(true), "{:#?}", plan),
                State::Maintained => prop_assert!(cluster && suspended == Some(false) && !plan.frozen, "{:#?}", plan),
            }
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

//! Members, policies and repositories, as their status on the hub tells.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::DynamicObject;

use super::finding::{Facts, Finding};
use super::fix;
use crate::api::kopia_repository::KopiaRepository;
use crate::api::member_cluster::{Lifecycle, MemberCluster};
use crate::cli::get::policy_status;
use crate::cli::levers::resolve::{self, Repository};
use crate::cli::output::relative;
use crate::cli::wrong::{self, Level, Wrong};

const MEMBERS: &str = "members";
const POLICIES: &str = "policies";
const REPOSITORIES: &str = "repositories";
/// Time enough to hand the hub another credential.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

pub fn findings(facts: &Facts) -> Vec<Finding> {
    let (objects, now) = (&facts.objects, facts.now);
    // While no hub runs nothing is noted, and that is told already.
    let noting = facts.is_led();
    let members = each(MEMBERS, &objects.members, |all| {
        let of_all = all.iter().flat_map(|object| member(object, now)).collect();
        let all: Vec<_> =
            all.iter().map(|it| noted("MemberCluster", it, it.status.as_ref()?.observed_generation)).collect();
        (of_all, all)
    });
    let policies = each(POLICIES, &objects.policies, |all| {
        let noted_of = |it| noted("KopiaMaintenance", it, policy_status(it).observed_generation);
        (all.iter().flat_map(policy).collect(), all.iter().map(noted_of).collect())
    });
    let repositories = each(REPOSITORIES, &objects.repositories, |all: &Vec<KopiaRepository>| {
        let of_all = resolve::repositories(all).iter().flat_map(repository).collect();
        (of_all, all.iter().map(|it| noted("KopiaRepository", it, it.status.as_ref()?.observed_generation)).collect())
    });
    [members, policies, repositories]
        .into_iter()
        .flat_map(|(told, not_noted)| {
            let not_noted = not_noted.into_iter().filter(|_| noting);
            // The summary of a kind stands before what is wrong with single ones.
            told.into_iter().chain(not_noted)
        })
        .collect()
}

type Told = (Vec<Finding>, Vec<Finding>);

/// One finding for all of a kind where nothing is wrong, else those; what has not been noted comes apart.
fn each<T>(
    check: &'static str,
    listed: &Result<Vec<T>, String>,
    look: impl FnOnce(&Vec<T>) -> (Vec<Finding>, Vec<Option<Finding>>),
) -> Told {
    let all = match listed {
        Ok(all) => all,
        Err(error) => return (vec![Finding::new(Level::Fail, check, error)], Vec::new()),
    };
    let (mut wrong, not_noted) = look(all);
    let not_noted = not_noted.into_iter().flatten().map(|finding| Finding { check, ..finding }).collect();
    wrong.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    if wrong.is_empty() {
        wrong.push(none_or_well(check, all.len()));
    }
    (wrong, not_noted)
}

fn none_or_well(check: &'static str, count: usize) -> Finding {
    match (count, check) {
        (0, MEMBERS) => Finding::new(Level::Warn, check, "there is none")
            .fix("register one: Register members in docs/operations.md"),
        (0, POLICIES) => Finding::new(Level::Warn, check, "there is none, so nothing is maintained")
            .fix("write one: First policy in README.md"),
        (0, _) => Finding::new(Level::Ok, check, "there is none yet"),
        (count, _) => Finding::new(Level::Ok, check, format!("nothing is wrong with {count}")),
    }
}

/// An edit that the hub has not taken note of.
fn noted<K: ResourceExt>(kind: &str, object: &K, observed: Option<i64>) -> Option<Finding> {
    let (generation, observed) = (object.meta().generation?, observed?);
    (observed < generation).then(|| {
        let message = format!("the hub has not taken note of its last edit: generation {generation}, noted {observed}");
        Finding::new(Level::Warn, "", message)
            .on(format!("{kind} {}", object.name_any()))
            .fix("look again in a moment; then at the hub's log")
    })
}

fn says(wrong: &Wrong) -> String {
    format!("{}: {}", wrong.reason, wrong.message)
}

fn member(object: &MemberCluster, now: Timestamp) -> Vec<Finding> {
    let name = object.name_any();
    let on = |finding: Finding| finding.on(format!("MemberCluster {name}")).in_cluster(Some(&name));
    let wrongs = wrong::of_member(object);
    let away = wrongs.iter().any(|wrong| wrong.condition == "Reachable");
    let told = wrongs.iter().map(|wrong| {
        let since = wrong.since.filter(|_| wrong.condition == "Reachable");
        let since = since.map(|since| format!(" (since {})", relative(since, now))).unwrap_or_default();
        on(Finding::new(wrong.level, MEMBERS, format!("{}{since}", says(wrong)))).fix(fix::of_member(&name, wrong))
    });
    let mut findings: Vec<Finding> = told.collect();
    let end = object.status.as_ref().and_then(|status| status.credential_expiry.as_ref()).map(|end| end.0);
    let soon = end.filter(|end| end.duration_since(now) < EXPIRES_SOON);
    if let Some(end) = soon.filter(|_| !away && object.spec.lifecycle == Lifecycle::Active) {
        let (level, verb) = if end <= now { (Level::Fail, "ended") } else { (Level::Warn, "end") };
        let message = format!("its credentials {verb} {} ({end})", relative(end, now));
        findings.push(
            on(Finding::new(level, MEMBERS, message))
                .fix("hand the hub a new kubeconfig: kubeconfigs-example/README.md"),
        );
    }
    findings
}

fn policy(object: &DynamicObject) -> Vec<Finding> {
    let name = object.name_any();
    let wrongs = wrong::of_policy(&policy_status(object).conditions);
    // The same in every policy, and told once as the hub's rights.
    let told = wrongs.iter().filter(|wrong| wrong.reason != "MissingRules");
    told.map(|wrong| {
        Finding::new(wrong.level, POLICIES, says(wrong))
            .on(format!("KopiaMaintenance {name}"))
            .fix(fix::of_policy(&name, wrong))
    })
    .collect()
}

fn repository(repository: &Repository<'_>) -> Vec<Finding> {
    let (name, location) = (repository.name(), repository.location());
    let holder = repository.grant().map(|grant| grant.cluster.as_str());
    let shown = if location.is_empty() { String::new() } else { format!(" ({location})") };
    let told = wrong::of_repository(repository.status());
    told.iter()
        .map(|wrong| {
            Finding::new(wrong.level, REPOSITORIES, says(wrong))
                .on(format!("KopiaRepository {name}{shown}"))
                .in_cluster(holder)
                .fix(fix::of_repository(&name, holder, wrong))
        })
        .collect()
}

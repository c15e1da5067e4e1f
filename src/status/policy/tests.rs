//! What a policy's status holds, how much of it, and which conditions it has.

#![allow(clippy::unwrap_used)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn plan(valid: bool, sources: usize, repositories: usize) -> PolicyPlan {
    let message =
        if valid { String::new() } else { "spec.priority: 101 should be less than or equal to 100".to_owned() };
    PolicyPlan { name: "ours".into(), valid, message, matched_sources: sources, repositories }
}

fn competed(winner: &str, number: usize) -> Competed {
    let cron_job = ActiveCronJob {
        cluster: format!("c{:03}", 999 - number),
        namespace: "volsync-system".to_owned(),
        name: format!("kopia-maintenance-{number:016x}"),
    };
    Competed {
        winner: Some(winner.into()),
        state: State::Maintained,
        cron_job: Some(cron_job),
        maintained: true,
        overdue: false,
        last_success: Timestamp::from_second(1_700_000_000 + i64::try_from(number).unwrap()).ok(),
        next_run: Timestamp::from_second(1_900_000_000 + i64::try_from(number).unwrap()).ok(),
        failing: false,
        claim_expected: None,
    }
}

fn input(plan: &PolicyPlan, repositories: Vec<Competed>) -> Input<'_> {
    Input {
        plan,
        generation: 3,
        matched: Vec::new(),
        repositories,
        unread_members: 0,
        missing_rights: None,
        now: now(),
    }
}

fn told(plan: &PolicyPlan, repositories: Vec<Competed>) -> KopiaMaintenanceStatus {
    status(&KopiaMaintenanceStatus::default(), &input(plan, repositories))
}

fn condition<'a>(status: &'a KopiaMaintenanceStatus, kind: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == kind).unwrap()
}

fn is(status: &KopiaMaintenanceStatus, kind: &str) -> (String, String) {
    let condition = condition(status, kind);
    (condition.status.clone(), condition.reason.clone())
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn lists_are_sorted_and_end_at_fifty_while_counts_go_on() {
    let won = (0..60).map(|number| competed("ours", number));
    let lost = (0..60).map(|number| competed(&format!("other-{:02}", 59 - number), number));
    let status = told(&plan(true, 240, 120), won.chain(lost).collect());
    assert_eq!((status.matched_source_count, status.repository_count), (Some(240), Some(120)));
    assert_eq!((status.maintained_count, status.active_cron_job_count), (Some(60), Some(60)));
    assert_eq!((status.active_cron_jobs.len(), status.conflicting_maintenances.len()), (50, 50));
    assert!(status.active_cron_jobs.is_sorted() && status.conflicting_maintenances.is_sorted());
    assert_eq!(status.conflicting_maintenances[0], "other-00");
    assert_eq!(status.last_maintenance_time.unwrap().0.as_second(), 1_700_000_059);
    assert_eq!(status.next_scheduled_maintenance.unwrap().0.as_second(), 1_900_000_000);
    assert_eq!((status.observed_generation, status.maintenance_failures), (Some(3), Some(0)));
}

#[test]
fn ready_says_what_it_waits_for() {
    let ready = |plan: &PolicyPlan, repositories| is(&told(plan, repositories), "Ready");
    assert_eq!(ready(&plan(false, 0, 0), vec![]), pair("False", "InvalidPolicy"));
    assert_eq!(ready(&plan(true, 0, 0), vec![]), pair("False", "NoMatchingRepositories"));
    assert_eq!(ready(&plan(true, 1, 1), vec![competed("other", 1)]), pair("True", "Shadowed"));
    assert_eq!(ready(&plan(true, 1, 1), vec![competed("ours", 1)]), pair("True", "Reconciled"));
    let waiting = Competed { maintained: false, ..competed("ours", 2) };
    assert_eq!(ready(&plan(true, 2, 2), vec![competed("ours", 1), waiting]), pair("False", "Progressing"));
    let queued = |seconds: u32| Competed {
        maintained: false,
        claim_expected: Timestamp::from_second(seconds.into()).ok(),
        ..competed("ours", 2)
    };
    let status = told(&plan(true, 3, 3), vec![competed("ours", 1), queued(60), queued(120)]);
    let message = &status.conditions.iter().find(|it| it.type_ == "Ready").unwrap().message;
    let words = "2 of the 3 repositories that it rules are not maintained yet; 2 wait for their turn to claim, the last \
                 of them until about 1970-01-01T00:02:00Z; see the KopiaRepositories";
    assert_eq!(message, words);
    let suspended = Competed { maintained: false, state: State::Suspended, ..competed("ours", 2) };
    assert_eq!(ready(&plan(true, 1, 1), vec![suspended]), pair("True", "Reconciled"));
    let held = Competed { state: State::Held, ..competed("ours", 1) };
    assert_eq!(ready(&plan(true, 2, 2), vec![held, competed("ours", 2)]), pair("True", "Held"));
}

#[test]
fn valid_and_degraded_name_the_trouble() {
    let invalid = told(&plan(false, 0, 0), vec![]);
    assert_eq!(is(&invalid, "Valid"), pair("False", "InvalidPolicy"));
    assert!(condition(&invalid, "Valid").message.contains("spec.priority"), "{invalid:?}");
    let well = told(&plan(true, 1, 1), vec![competed("ours", 1)]);
    assert_eq!((is(&well, "Valid"), is(&well, "Degraded")), (pair("True", "Valid"), pair("False", "RunsSucceed")));
    let failing = Competed { failing: true, ..competed("ours", 1) };
    let failing = told(&plan(true, 1, 1), vec![failing]);
    assert_eq!(is(&failing, "Degraded"), pair("True", "RunsFail"));
    assert_eq!(failing.maintenance_failures, Some(1));
    let overdue = told(&plan(true, 1, 1), vec![Competed { overdue: true, ..competed("ours", 1) }]);
    assert_eq!(is(&overdue, "Degraded"), pair("True", "Overdue"));
}

#[test]
fn what_the_hub_itself_may_not_do_is_said_to_every_policy_and_first() {
    let plan = plan(true, 1, 1);
    let failing = vec![Competed { failing: true, ..competed("ours", 1) }];
    let missing_rights = Some("missing: patch memberclusters.hub.volsync.backube/status; ask".into());
    let status = status(&KopiaMaintenanceStatus::default(), &Input { missing_rights, ..input(&plan, failing) });
    assert_eq!(is(&status, "Degraded"), pair("True", "MissingRules"));
    let message = &condition(&status, "Degraded").message;
    assert!(message.contains("on its own cluster: missing: patch memberclusters"), "{message}");
    assert_eq!(is(&status, "Ready"), pair("True", "Reconciled"));
}

#[test]
fn counts_and_times_can_wait_and_conditions_and_new_specs_cannot() {
    let before = told(&plan(true, 1, 1), vec![competed("ours", 1)]);
    let more = told(&plan(true, 9, 2), vec![competed("ours", 1), competed("ours", 2)]);
    assert!(before != more && is_minor(&before, &more));
    let turned = told(&plan(true, 1, 1), vec![Competed { failing: true, ..competed("ours", 1) }]);
    assert!(!is_minor(&before, &turned));
    let newer = KopiaMaintenanceStatus { observed_generation: Some(4), ..before.clone() };
    assert!(!is_minor(&before, &newer));
}

#[test]
fn telling_the_same_again_changes_nothing() {
    let plan = plan(true, 1, 1);
    let before = told(&plan, vec![competed("ours", 1)]);
    let later = now() + jiff::SignedDuration::from_hours(5);
    let input = Input { now: later, ..input(&plan, vec![competed("ours", 1)]) };
    assert_eq!(status(&before, &input), before);
}

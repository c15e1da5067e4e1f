//! Facts in, findings out.
#![allow(clippy::unwrap_used)]

use jiff::SignedDuration;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::crds::{Definition, State};
use super::finding::{Facts, Finding, Objects, Rights, Tried, findings};
use crate::cli::hub_place::LeaderSeen;
use crate::cli::levers::testing::{held, member, name, now, record};
use crate::cli::wrong::Level;
use crate::hub::kinds;

fn tried() -> Tried {
    Tried {
        server: Some("https://hub:6443".to_owned()),
        from: "KUBECONFIG /k".to_owned(),
        context: Some("hub".to_owned()),
        namespace: Some("volsync-system".to_owned()),
    }
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-03-01T11:00:00Z"})
}

fn policy(conditions: &[Value]) -> DynamicObject {
    let mut object = DynamicObject::new("nightly", &kinds::policy(kinds::POLICY_GROUP));
    object.data = json!({"spec": {}, "status": {"conditions": conditions}});
    object
}

fn led() -> LeaderSeen {
    LeaderSeen::Held {
        by: "pod_1".to_owned(),
        since: Some(now()),
        renewed: Some(now()),
        duration: SignedDuration::from_secs(10),
    }
}

/// An installation in which nothing is wrong.
fn well() -> Facts {
    let active = json!({"state": "Maintained", "location": "s3://b/", "grant": {"cluster": "east", "epoch": 1, "phase": "Active"},
        "conditions": [condition("Maintained", "True", "Active", "")]});
    Facts {
        now: now(),
        tried: tried(),
        version: Ok("v1.36.3".to_owned()),
        definitions: vec![Definition {
            name: "kopiarepositories.hub.volsync.backube".to_owned(),
            state: Ok(State::Same),
        }],
        rights: Rights::NotTheHub("admin".to_owned()),
        leader: Ok(led()),
        id: Ok(Some("hub-1".to_owned())),
        given_id: None,
        objects: Objects {
            repositories: Ok(vec![record(1, &json!({}), &active)]),
            members: Ok(vec![member("east", &json!({}), "True")]),
            policies: Ok(vec![policy(&[
                condition("Ready", "True", "Reconciled", ""),
                condition("Valid", "True", "Valid", ""),
            ])]),
        },
    }
}

/// What is not well.
fn wrong(facts: &Facts) -> Vec<Finding> {
    findings(facts).into_iter().filter(|finding| finding.level > Level::Ok).collect()
}

/// The one thing that is not well.
fn one(change: impl FnOnce(&mut Facts)) -> Finding {
    let mut facts = well();
    change(&mut facts);
    let mut found = wrong(&facts);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[test]
fn where_nothing_is_wrong_each_check_says_so_on_a_line() {
    let found = findings(&well());
    assert!(found.iter().all(|finding| finding.level == Level::Ok), "{found:#?}");
    let checks: Vec<&str> = found.iter().map(|finding| finding.check).collect();
    let expected = ["API server", "kinds", "rights", "leader", "hub id", "members", "policies", "repositories"];
    assert_eq!(checks, expected);
    assert!(found[0].message.contains("KUBECONFIG /k, context hub"), "{:?}", found[0]);
}

#[test]
fn a_hub_that_can_not_be_reached_is_all_that_is_told_with_what_was_tried() {
    let found = findings(&Facts::unreachable(tried(), "no answer".to_owned(), now()));
    assert_eq!((found.len(), found[0].level), (1, Level::Fail));
    assert_eq!(found[0].message, "tried KUBECONFIG /k, context hub: no answer");
}

#[test]
fn definitions_that_are_missing_or_somebody_elses_come_with_the_command_that_mends_it() {
    let with = |state| one(|facts| facts.definitions[0].state = state);
    let absent = with(Ok(State::Absent));
    assert!(absent.fix.unwrap().starts_with("volsync-hub crd | kubectl apply"));
    assert!(with(Ok(State::Namespaced)).fix.unwrap().contains("--group hub.volsync.backube"));
    assert_eq!(with(Ok(State::Other)).level, Level::Warn);
    assert_eq!(with(Err("forbidden".to_owned())).level, Level::Warn);
}

#[test]
fn a_lease_that_nobody_renews_means_that_no_hub_runs() {
    let stale = one(|facts| {
        let renewed = now().checked_sub(SignedDuration::from_mins(5)).ok();
        facts.leader = Ok(LeaderSeen::Held {
            by: "pod_1".to_owned(),
            since: None,
            renewed,
            duration: SignedDuration::from_secs(10),
        });
        facts.rights = Rights::Asked(Vec::new());
    });
    assert_eq!(
        (stale.level, stale.message.as_str()),
        (Level::Fail, "no hub runs: pod_1 led, and renewed it last 5m ago")
    );
    assert!(stale.fix.unwrap().contains("kubectl get pods -n volsync-system"));
    let none = one(|facts| {
        facts.leader = Ok(LeaderSeen::NoLease);
        facts.rights = Rights::Asked(Vec::new());
    });
    assert_eq!(none.level, Level::Warn, "one that elects nobody has written statuses");
}

#[test]
fn rights_are_those_of_the_hub_and_not_of_whoever_asks() {
    let missing = one(|facts| facts.rights = Rights::Asked(vec!["list secrets".to_owned()]));
    assert_eq!((missing.level, missing.message.as_str()), (Level::Fail, "missing: list secrets"));
    let told = one(|facts| {
        let degraded = condition("Degraded", "True", "MissingRules", "missing: get leases");
        facts.objects.policies = Ok(vec![policy(&[degraded])]);
    });
    assert_eq!((told.check, told.message.as_str()), ("rights", "missing: get leases"));
    let unasked = one(|facts| {
        facts.leader = Ok(LeaderSeen::NoLease);
        facts.objects.repositories = Ok(Vec::new());
        facts.objects.members.as_mut().unwrap()[0].spec.eligible = true;
        facts.rights = Rights::Asked(Vec::new());
    });
    assert_eq!(unasked.check, "leader");
}

#[test]
fn an_id_that_has_no_effect_or_is_gone_is_told() {
    assert!(one(|facts| facts.given_id = Some("hub-2".to_owned())).message.contains("hub-2 (--hub-id)"));
    assert!(one(|facts| facts.id = Ok(None)).fix.unwrap().contains("volsync-hub adopt --from-hub"));
    assert_eq!(one(|facts| facts.id = Ok(Some("No!".to_owned()))).level, Level::Fail);
}

#[test]
fn members_that_are_away_and_credentials_that_end_name_the_cluster() {
    let away = one(|facts| facts.objects.members = Ok(vec![member("east", &json!({}), "False")]));
    assert_eq!((away.level, away.cluster.as_deref()), (Level::Fail, Some("east")));
    let ends = |end: &str| {
        one(|facts| {
            let object = &mut facts.objects.members.as_mut().unwrap()[0];
            object.status.as_mut().unwrap().credential_expiry = serde_json::from_value(json!(end)).unwrap();
        })
    };
    assert_eq!(ends("2026-03-04T12:00:00Z").message, "its credentials end in 3d (2026-03-04T12:00:00Z)");
    assert_eq!(ends("2026-03-01T11:00:00Z").level, Level::Fail);
}

#[test]
fn repositories_and_policies_come_with_their_reason_and_where_to_begin() {
    let of = |state: &str, kind: &str, reason: &str, message: &str| {
        let conditions = [condition(kind, if kind == "Maintained" { "False" } else { "True" }, reason, message)];
        let status = json!({"state": state, "location": "s3://b/", "conditions": conditions,
            "grant": {"cluster": "east", "epoch": 1, "phase": "Active"}});
        one(|facts| facts.objects.repositories = Ok(vec![record(1, &json!({}), &status)]))
    };
    let held = of("Held", "Maintained", "PinUnsatisfied", "pinned to west");
    assert_eq!(held.fix.as_deref(), Some(format!("volsync-hub unpin {}", name(1)).as_str()));
    assert_eq!((held.cluster.as_deref(), held.level), (Some("east"), Level::Fail));
    let command = "kubectl --context east -n a patch cronjob b --type merge -p '{\"spec\":{\"suspend\":true}}'";
    let message = format!("CronJob a/b in east maintains it, too; this ends it: {command}");
    assert_eq!(of("Maintained", "Contended", "ForeignMaintainer", &message).fix.as_deref(), Some(command));
    let stranger = "failed to apply x: it belongs to the hub \"hub-old\", so it is left alone";
    assert!(of("Maintained", "Maintained", "NotOurs", stranger).fix.unwrap().ends_with("adopt --from-hub hub-old"));
    let long = of("Maintained", "Overdue", "MissedRuns", &"x".repeat(500));
    assert!(long.message.chars().count() <= 200 && long.message.ends_with('…'), "{}", long.message);
    let invalid = one(|facts| {
        let conditions = [
            condition("Valid", "False", "InvalidPolicy", "spec.schedule: no"),
            condition("Ready", "False", "InvalidPolicy", ""),
        ];
        facts.objects.policies = Ok(vec![policy(&conditions)]);
    });
    assert_eq!((invalid.level, invalid.object.as_deref()), (Level::Fail, Some("KopiaMaintenance nightly")));
}

#[test]
fn an_edit_that_is_not_noted_is_told_while_a_hub_runs() {
    let mut object = held(1, &json!({}));
    object.metadata.generation = Some(3);
    let status = object.status.as_mut().unwrap();
    status.observed_generation = Some(2);
    status.conditions = serde_json::from_value(json!([condition("Maintained", "True", "Active", "")])).unwrap();
    let late = one(|facts| facts.objects.repositories = Ok(vec![object]));
    assert!(late.message.contains("generation 3, noted 2"), "{late:?}");
}

#[test]
fn what_could_not_be_listed_fails_with_what_was_said() {
    let failed = one(|facts| facts.objects.members = Err("forbidden".to_owned()));
    assert_eq!((failed.level, failed.check, failed.message.as_str()), (Level::Fail, "members", "forbidden"));
    assert_eq!(one(|facts| facts.objects.members = Ok(Vec::new())).level, Level::Warn);
}

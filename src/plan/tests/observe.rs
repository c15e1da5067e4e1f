//! What of objects planning reads, where they say nothing by saying something empty.

use serde_json::{Value, json};

use crate::api::kopia_repository::KopiaRepository;
use crate::names::{MemberName, RepositoryId};
use crate::plan::fleet::SourceRepository;
use crate::plan::observe;
use crate::plan::testing::{name, placed};
use crate::policy::{CaSource, CustomCa};

fn ledger(spec: &Value, status: &Value) -> KopiaRepository {
    let object = json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "KopiaRepository",
        "metadata": {"name": "kr-0123456789abcdef"}, "spec": spec, "status": status});
    serde_json::from_value(object).unwrap()
}

#[test]
fn texts_that_are_empty_are_none_in_a_ledger_record() {
    let named = ledger(&json!({"cluster": "c1", "sameAs": "kr-1", "distinctFrom": "kr-2"}), &json!({"uniqueID": "a"}));
    let record = observe::ledger(&named);
    assert_eq!((record.pin.as_ref().map(MemberName::as_str), record.unique_id.as_deref()), (Some("c1"), Some("a")));
    assert_eq!((record.same_as.as_deref(), record.distinct_from.as_deref()), (Some("kr-1"), Some("kr-2")));
    let empty = ledger(&json!({"cluster": "", "sameAs": "", "distinctFrom": ""}), &json!({"uniqueID": ""}));
    assert_eq!(observe::ledger(&empty), observe::ledger(&ledger(&json!({}), &json!({}))));
}

#[test]
fn the_ca_of_a_source_is_that_of_the_first_name_that_is_not_empty() {
    let read = |ca: Value| {
        let source = observe::source(None, &json!({"kopia": {"customCA": ca}}), &Value::Null).unwrap();
        source.custom_ca.map(|ca| *ca)
    };
    let ca = |source, key: &str| Some(CustomCa { source, key: key.into() });
    let (map, secret) = (CaSource::ConfigMap("m".into()), CaSource::Secret("s".into()));
    assert_eq!(read(json!({"configMapName": "m", "secretName": "s", "key": ""})), ca(map, "ca.crt"));
    assert_eq!(read(json!({"configMapName": "", "secretName": "s", "key": "k"})), ca(secret, "k"));
    assert_eq!(read(json!({"configMapName": "", "secretName": ""})), None);
}

#[test]
fn a_cron_job_is_ours_by_its_label_and_known_by_its_name() {
    let read = |labels: Value| {
        let object = json!({"metadata": {"name": "kopia-maintenance-0123456789abcdef", "labels": labels,
            "annotations": {"hub.volsync.backube/source": "c1/app/repo"}},
            "spec": {"schedule": "0 2 * * *", "timeZone": "UTC", "suspend": true}});
        observe::cron_job(&"c1".into(), &object).unwrap()
    };
    let other = "hub.volsync.backube/repository";
    let ours = read(json!({"app.kubernetes.io/managed-by": "volsync-hub", other: "fedcba9876543210"}));
    assert_eq!((ours.repository, ours.ours), ("fedcba9876543210".parse::<RepositoryId>().unwrap(), true));
    assert_eq!((&*ours.schedule, ours.time_zone.as_deref(), ours.suspend), ("0 2 * * *", Some("UTC"), true));
    assert_eq!(ours.secret, observe::placed(&"c1".into(), "c1/app/repo"));
    let foreign = read(json!({"app.kubernetes.io/managed-by": "Helm", other: "fedcba9876543210"}));
    assert_eq!((foreign.repository, foreign.ours), ("0123456789abcdef".parse::<RepositoryId>().unwrap(), false));
}

#[test]
fn a_claim_that_is_empty_is_none() {
    let read = |claim: Value| {
        let kopia = json!({"repository": "repo", "repositoryPVC": claim});
        observe::source(None, &json!({"kopia": kopia}), &Value::Null).unwrap().repository
    };
    let secret = SourceRepository::Secret("repo".into());
    assert_eq!([read(json!("")), read(Value::Null)], [secret.clone(), secret]);
    assert_eq!(read(json!("data")), SourceRepository::Pvc(Some("repo".into())));
}

#[test]
fn a_source_backed_up_well_by_its_last_result_or_else_by_having_backed_up_at_all() {
    let read = |status: Value| observe::source(None, &json!({"kopia": {}}), &status).unwrap().last_sync_succeeded;
    let time = "2026-06-01T00:00:00Z";
    assert!(read(json!({"latestMoverStatus": {"result": "Successful"}})));
    assert!(!read(json!({"latestMoverStatus": {"result": "Failed"}, "lastSyncTime": time})));
    assert!(read(json!({"lastSyncTime": time})));
    assert!(!read(json!({})));
}

#[test]
fn a_secret_is_placed_on_the_hub_or_in_the_member_itself() {
    let read = |text: &str| observe::placed(&name("c1"), text);
    assert_eq!(read("c1/app/repo"), Some(placed("c1/app/repo")));
    assert_eq!(read("hub/app/repo"), Some(placed("hub/app/repo")));
    assert_eq!(read("c2/app/repo"), None);
    assert_eq!(read("app/repo"), None);
}

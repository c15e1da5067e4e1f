//! The changes of fleets of files: applied, they are gone; edited objects come up again.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::cli::offline;
use crate::cli::options::DecisionArgs;
use crate::plan::scratch;
use crate::policy::PolicyRules;
use crate::schedule::ZoneName;

/// A fleet of files, with what would change in it.
struct Planned {
    offline: Offline,
    preview: Preview,
    wanted: Vec<(MemberName, Kind, Value)>,
}

fn options() -> PlanOptions {
    let decisions = DecisionArgs {
        time_zone: Some("UTC".parse::<ZoneName>().unwrap()),
        tz: None,
        default_spread: None,
        include_hub: None,
        member_namespace: "volsync-system".to_owned(),
        handover_after: std::time::Duration::from_mins(15),
        endpoint_alias: Vec::new(),
        allowed_image: Vec::new(),
        allowed_service_account: Vec::new(),
    };
    decisions.plan_options().unwrap()
}

fn planned(directory: &Path) -> Planned {
    let options = options();
    let offline = offline::load(directory, &PolicyRules::default(), &options).unwrap();
    let at: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    let plan = scratch::plan(&offline.fleet, &options, at);
    let hub = Hub { id: Some("test"), mover_image: Some("mover:1") };
    let preview = changes(&plan, &offline, &options, hub);
    let files = Files::new(&offline, &options, hub);
    let mut wanted = Vec::new();
    for repository in &plan.repositories {
        if let Push::Objects(assignment) = &repository.push {
            let objects = files.wanted(repository, assignment).unwrap_or_default();
            wanted.extend(objects.into_iter().map(|(kind, object)| (assignment.member.clone(), kind, object)));
        }
    }
    Planned { offline, preview, wanted }
}

fn is(value: &Value, kind: Kind, object: &ObjectName) -> bool {
    value["kind"] == kind.as_str()
        && value["metadata"]["name"] == *object.name
        && value["metadata"]["namespace"] == *object.namespace
}

/// The same fleet after someone did what the plan says, in files of their own.
fn applied(planned: &Planned) -> TempDir {
    let mut objects = planned.offline.objects.clone();
    for change in &planned.preview.changes {
        let place = Place::Member(change.cluster.clone());
        objects.retain(|(at, value)| *at != place || !is(value, change.kind, &change.object));
        if change.action != Action::Delete {
            let is_it = |(member, kind, value): &&(MemberName, Kind, Value)| {
                *member == change.cluster && *kind == change.kind && value["metadata"]["name"] == *change.object.name
            };
            let (_, kind, value) = planned.wanted.iter().find(is_it).unwrap();
            let mut value = value.clone();
            value["apiVersion"] = kind.api_version().into();
            value["kind"] = kind.as_str().into();
            objects.push((place, value));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    for member in
        planned.offline.fleet.members.iter().filter(|(_, it)| it.contact == crate::plan::fleet::Contact::Synced)
    {
        fs::create_dir_all(directory.path().join("members").join(member.0.as_str())).unwrap();
    }
    fs::create_dir_all(directory.path().join("hub")).unwrap();
    for (index, (place, value)) in objects.iter().enumerate() {
        let folder = place.member().map_or("hub".to_owned(), |member| format!("members/{member}"));
        fs::write(directory.path().join(folder).join(format!("{index}.yaml")), value.to_string()).unwrap();
    }
    directory
}

fn example(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name)
}

/// The reference's direct mode with a CA from a ConfigMap, and a source with one from a Secret.
fn with_authorities() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let hub = "
apiVersion: volsync.backube/v1alpha1
kind: KopiaMaintenance
metadata: {name: direct}
spec:
  repository: {repository: repo, namespace: backup, customCA: {configMapName: ca, key: bundle.pem}}
  clusterSelector: {matchNames: [east]}
  priority: 10
---
{apiVersion: v1, kind: Secret, metadata: {name: repo, namespace: backup},
  stringData: {KOPIA_REPOSITORY: 's3://direct', KOPIA_PASSWORD: p, AWS_S3_ENDPOINT: 's3.example.com', UNUSED: x}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: ca, namespace: backup}, data: {bundle.pem: PEM}}
---
apiVersion: volsync.backube/v1alpha1
kind: KopiaMaintenance
metadata: {name: default}
spec: {repositorySelector: {repository: '*'}}
";
    let east = "
apiVersion: volsync.backube/v1alpha1
kind: ReplicationSource
metadata: {name: app, namespace: app}
spec: {kopia: {repository: mine, customCA: {secretName: tls}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: mine, namespace: app},
  stringData: {KOPIA_REPOSITORY: 's3://mine', KOPIA_PASSWORD: p, AWS_S3_ENDPOINT: 's3.example.com'}}
---
{apiVersion: v1, kind: Secret, metadata: {name: tls, namespace: app}, stringData: {ca.crt: PEM}}
";
    fs::create_dir_all(directory.path().join("hub")).unwrap();
    fs::create_dir_all(directory.path().join("members/east")).unwrap();
    fs::write(directory.path().join("hub/all.yaml"), hub).unwrap();
    fs::write(directory.path().join("members/east/all.yaml"), east).unwrap();
    directory
}

fn kinds(planned: &Planned) -> Vec<(Action, Kind)> {
    planned.preview.changes.iter().map(|change| (change.action, change.kind)).collect()
}

#[test]
fn planning_the_applied_result_yields_no_change() {
    let examples = fs::read_dir(example("")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let own = with_authorities();
    let mut changed = 0;
    for fleet in examples.chain([own.path().to_owned()]) {
        let first = planned(&fleet);
        assert_eq!(first.preview.problems, [], "{}", fleet.display());
        changed += first.preview.changes.len();
        let second = planned(applied(&first).path());
        assert_eq!(second.preview.changes, [], "{}", fleet.display());
    }
    assert!(changed > 20, "{changed} changes in all examples together");
}

#[test]
fn secrets_authorities_and_the_movers_script_are_among_the_changes() {
    let first = planned(with_authorities().path());
    let create = |kind| (Action::Create, kind);
    assert_eq!(
        kinds(&first),
        [create(Kind::ConfigMap)]
            .into_iter()
            .chain([create(Kind::Secret); 4])
            .chain([create(Kind::CronJob); 2])
            .collect::<Vec<_>>()
    );
}

#[test]
fn every_edited_object_is_updated_and_the_field_is_named_but_no_contents() {
    let first = planned(with_authorities().path());
    let directory = applied(&first);
    let edit = |change: &dyn Fn(&mut Value) -> bool| {
        let copy = applied(&first);
        let mut edited = 0;
        for entry in fs::read_dir(directory.path().join("members/east")).unwrap() {
            let path = entry.unwrap().path();
            let mut value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            let ours = value["metadata"]["namespace"] == "volsync-system";
            if ours && change(&mut value) {
                edited += 1;
                fs::write(copy.path().join("members/east").join(path.file_name().unwrap()), value.to_string()).unwrap();
            }
        }
        assert!(edited > 0);
        let found = planned(copy.path()).preview.changes;
        assert!(found.iter().all(|change| change.action == Action::Update), "{found:?}");
        assert_eq!(found.len(), edited, "{found:?}");
        found
    };
    let schedule = edit(&|value| {
        let is_it = value["kind"] == "CronJob";
        if is_it {
            value["spec"]["schedule"] = "9 9 * * *".into();
        }
        is_it
    });
    let field = &schedule[0].fields[0];
    assert_eq!(
        (&*field.path, field.from.clone(), field.to.clone()),
        ("spec.schedule", Some(json!("9 9 * * *")), Some(json!("0 2 * * *")))
    );
    let secrets = edit(&|value| {
        let data = value["data"].as_object_mut().filter(|data| data.contains_key("KOPIA_PASSWORD"));
        data.map(|data| data.insert("KOPIA_PASSWORD".to_owned(), "b3RoZXI=".into())).is_some()
    });
    let text = serde_json::to_string(&secrets).unwrap();
    assert!(text.contains("data.KOPIA_PASSWORD") && !text.contains("b3RoZXI") && !text.contains("cA=="), "{text}");
    let scripts = edit(&|value| {
        let is_it = value["kind"] == "ConfigMap";
        if is_it {
            value["metadata"]["labels"]["volsync.backube/kopia-maintenance"] = "false".into();
        }
        is_it
    });
    assert_eq!(scripts[0].kind, Kind::ConfigMap);
}

#[test]
fn what_no_policy_wants_any_more_is_deleted_and_another_hubs_is_not() {
    let first = planned(with_authorities().path());
    let directory = applied(&first);
    for entry in fs::read_dir(directory.path().join("hub")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read_to_string(&path).unwrap().contains("KopiaMaintenance") {
            fs::remove_file(path).unwrap();
        }
    }
    let second = planned(directory.path());
    let delete = |kind| (Action::Delete, kind);
    assert_eq!(
        kinds(&second),
        [delete(Kind::Secret); 4].into_iter().chain([delete(Kind::CronJob); 2]).collect::<Vec<_>>()
    );
    for entry in fs::read_dir(directory.path().join("members/east")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace("hub.volsync.backube/hub\":\"test\"", "hub.volsync.backube/hub\":\"other\""))
            .unwrap();
    }
    assert_eq!(planned(directory.path()).preview.changes, []);
}

#[test]
fn an_object_of_somebody_else_in_our_place_is_left_alone_and_told() {
    let first = planned(with_authorities().path());
    let directory = applied(&first);
    for entry in fs::read_dir(directory.path().join("members/east")).unwrap() {
        let path = entry.unwrap().path();
        let mut value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        if value["kind"] == "CronJob" {
            value["metadata"] = json!({"name": value["metadata"]["name"], "namespace": "volsync-system"});
            value["spec"]["schedule"] = "9 9 * * *".into();
            fs::write(path, value.to_string()).unwrap();
        }
    }
    let second = planned(directory.path());
    assert_eq!(second.preview.changes, []);
    assert_eq!(second.preview.problems.len(), 2);
    assert!(second.preview.problems.iter().all(|problem| problem.reason == "NotOurs"));
}

#[test]
fn a_freeze_suspends_what_stands_also_where_nothing_new_is_wanted() {
    let first = planned(with_authorities().path());
    let directory = applied(&first);
    let of_source = |value: &Value| value["metadata"]["annotations"][labels::POLICY] == "default";
    let cron_job = first.wanted.iter().find(|(_, kind, value)| *kind == Kind::CronJob && of_source(value)).unwrap();
    let id = cron_job.2["metadata"]["labels"][labels::REPOSITORY].as_str().unwrap();
    let frozen = json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "KopiaRepository",
        "metadata": {"name": format!("kr-{id}")}, "spec": {"frozenUntil": "2026-04-01T00:00:00Z"},
        "status": {"grant": {"cluster": "east", "epoch": 1, "phase": "Active"}}});
    let invalid = json!({"apiVersion": "volsync.backube/v1alpha1", "kind": "KopiaMaintenance",
        "metadata": {"name": "wins"},
        "spec": {"repositorySelector": {"repository": "mine"}, "priority": 50, "schedule": "0 0 31 2 *"}});
    fs::write(directory.path().join("hub/frozen.yaml"), frozen.to_string()).unwrap();
    fs::write(directory.path().join("hub/wins.yaml"), invalid.to_string()).unwrap();
    let found = planned(directory.path()).preview.changes;
    let fields = [("spec.suspend".to_owned(), Some(json!(false)), Some(json!(true)))];
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].action, found[0].kind), (Action::Update, Kind::CronJob));
    assert!(found[0].object.name.ends_with(id));
    assert_eq!(
        found[0].fields.iter().map(|it| (it.path.clone(), it.from.clone(), it.to.clone())).collect::<Vec<_>>(),
        fields
    );
}

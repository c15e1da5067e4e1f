//! Other tools' maintenance: which repository it is of, what ends it, and what the hub does about it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::names::{MemberName, ObjectName};
use crate::plan::adoption::{Act, Restored, Terms, Wish, decide, wish};
use crate::plan::foreign::{
    Adopted, Contender, ForeignKind, ForeignObject, ForeignObjects, contenders, meant_by, of_fleet, secrets_of_spec,
    told,
};
use crate::plan::result::{Push, RepositoryPlan, State};
use crate::plan::testing::{Fixture, at, now, object};

const ID: &str = "0123456789abcdef";

fn foreign(secret: &str) -> ForeignObject {
    ForeignObject { uid: "u".into(), resource_version: "1".into(), secrets: vec![object(secret)], ..Default::default() }
}

fn suspended(secret: &str) -> ForeignObject {
    ForeignObject { suspend: Some(true), ..foreign(secret) }
}

fn made_by(owner: &str, object: ForeignObject) -> ForeignObject {
    ForeignObject { owner: Some(owner.into()), ..object }
}

fn adopted(hub: &str, before: Option<bool>, object: ForeignObject) -> ForeignObject {
    let adopted = Adopted { hub: hub.into(), repository: ID.parse().unwrap(), suspend: before, at: now() };
    ForeignObject { adopted: Some(adopted), ..object }
}

fn objects(of: Vec<(ForeignKind, &str, ForeignObject)>) -> ForeignObjects {
    of.into_iter().map(|(kind, name, it)| ((kind, object(name)), it)).collect()
}

fn names(of: Vec<(ForeignKind, &str, ForeignObject)>) -> Vec<(ForeignKind, String)> {
    let secrets = BTreeSet::from([object("shop/repo")]);
    let found = contenders(&"east".into(), &objects(of), &secrets);
    found.into_iter().map(|it| (it.kind, it.name.to_string())).collect()
}

#[test]
fn what_names_the_secret_and_is_not_stopped_contends() {
    use ForeignKind::{CronJob, KopiaMaintenance, KopiurMaintenance};
    let found = names(vec![
        (CronJob, "shop/fires", foreign("shop/repo")),
        (CronJob, "shop/stands", suspended("shop/repo")),
        (CronJob, "shop/other", foreign("shop/other")),
        (CronJob, "elsewhere/same-name", foreign("elsewhere/repo")),
        (KopiaMaintenance, "shop/on", foreign("shop/repo")),
        (KopiaMaintenance, "shop/off", ForeignObject { disabled: true, ..foreign("shop/repo") }),
        (KopiurMaintenance, "shop/kopiur", foreign("shop/repo")),
    ]);
    let expected = [(CronJob, "shop/fires"), (KopiaMaintenance, "shop/on"), (KopiurMaintenance, "shop/kopiur")];
    assert_eq!(found, expected.map(|(kind, name)| (kind, name.to_owned())));
}

#[test]
fn a_cron_job_of_a_kopia_maintenance_is_told_once_as_what_has_to_be_edited() {
    use ForeignKind::{CronJob, KopiaMaintenance};
    let fires = || (CronJob, "shop/kopia-maint-a", made_by("km", foreign("shop/repo")));
    let stands = || (CronJob, "shop/kopia-maint-a", made_by("km", suspended("shop/repo")));
    let of = |kind, name: &str| vec![(kind, name.to_owned())];
    let km = || of(KopiaMaintenance, "shop/km");
    assert_eq!(names(vec![fires(), (KopiaMaintenance, "shop/km", foreign("shop/repo"))]), km());
    // The kind may not be listed, or was not yet: what made it is known all the same.
    assert_eq!(names(vec![fires()]), km());
    // The CronJob is seen at once, its owner now and then only.
    assert!(names(vec![stands(), (KopiaMaintenance, "shop/km", foreign("shop/repo"))]).is_empty());
    // Its operator is not there to follow: the CronJob has to be stopped itself.
    let orphaned = names(vec![fires(), (KopiaMaintenance, "shop/km", suspended("shop/repo"))]);
    assert_eq!(orphaned, of(CronJob, "shop/kopia-maint-a"));
}

#[test]
fn the_command_is_whole() {
    let contender = |kind| Contender { member: "east".into(), kind, name: object("shop/a"), let_go: None, hub: None };
    assert_eq!(
        contender(ForeignKind::CronJob).command(),
        r#"kubectl --context east -n shop patch cronjob a --type merge -p '{"spec":{"suspend":true}}'"#
    );
    assert_eq!(
        contender(ForeignKind::KopiaMaintenance).command(),
        r#"kubectl --context east -n shop patch kopiamaintenances.volsync.backube a --type merge -p '{"spec":{"suspend":true}}'"#
    );
    let kopiur = contender(ForeignKind::KopiurMaintenance).command();
    assert!(kopiur.contains(r#"'{"spec":{"maintenance":{"enabled":false}}}'"#), "{kopiur}");
    let cron_job = contender(ForeignKind::CronJob);
    let text = told(&[cron_job.clone(), cron_job.clone(), cron_job]).unwrap();
    assert!(text.starts_with("CronJob shop/a in east maintains it, too; this ends it: kubectl"), "{text}");
    assert!(text.ends_with("; and 1 more: volsync-hub explain names them all") && text.len() < 1024, "{text}");
    assert_eq!(told(&[]), None);
}

#[test]
fn a_secret_means_what_the_sources_that_name_it_mean() {
    let mut fixture = Fixture::new(&["east", "west"]);
    fixture.source("east/shop/db", "one").source("west/shop/db", "two");
    let id = fixture.id_of("east/shop/db");
    let secret = object("shop/db-secret");
    let means = |member: &str, secret: &ObjectName| meant_by(&fixture.fleet, &fixture.options, &member.into(), secret);
    assert_eq!(means("east", &secret), BTreeSet::from([id]));
    assert_ne!(means("west", &secret), BTreeSet::from([id]));
    assert!(means("north", &secret).is_empty() && means("east", &object("shop/unknown")).is_empty());

    fixture.default_policy();
    let there = objects(vec![(ForeignKind::CronJob, "shop/a", foreign(&secret.to_string()))]);
    let found = of_fleet(&fixture.plan(), &BTreeMap::from([(MemberName::from("east"), there)]));
    assert_eq!(found.keys().collect::<Vec<_>>(), [&id]);
    assert_eq!(found[&id].iter().map(|it| it.name.to_string()).collect::<Vec<_>>(), ["shop/a"]);
}

#[test]
fn the_kinds_name_their_secret_in_their_own_way() {
    let of = |kind, spec| secrets_of_spec(kind, "n", &spec).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(of(ForeignKind::KopiaMaintenance, json!({"repository": {"repository": "r"}})), ["n/r"]);
    assert_eq!(of(ForeignKind::KopiurMaintenance, json!({"repository": {"kind": "Repository", "name": "r"}})), ["n/r"]);
    let velero = json!({"volumeNamespace": "n", "backupStorageLocation": "default", "repository": {"name": "r"}});
    assert!(of(ForeignKind::BackupRepository, velero).is_empty());
    assert!(of(ForeignKind::KopiaMaintenance, json!({"repository": 7})).is_empty());
}

fn decided(object: &ForeignObject, wish: Wish) -> Option<Act> {
    decide(ForeignKind::CronJob, object, wish, Terms { hub: "one", now: now(), last: None, time_factor: 1 })
}

#[test]
fn what_starts_runs_is_suspended_and_nothing_else_is() {
    let fires = foreign("shop/repo");
    assert_eq!(decided(&fires, Wish::Suspend), Some(Act::Suspend));
    assert_eq!(decided(&fires, Wish::Resume), None);
    assert_eq!(decided(&fires, Wish::Leave), None);
    assert_eq!(decided(&suspended("shop/repo"), Wish::Suspend), None, "whoever suspended it");
    assert_eq!(decided(&made_by("km", fires.clone()), Wish::Suspend), None, "its operator would undo it");
    assert_eq!(decided(&adopted("two", None, fires.clone()), Wish::Suspend), None, "another hub's");
    for kind in [ForeignKind::KopiurMaintenance, ForeignKind::BackupRepository] {
        let terms = Terms { hub: "one", now: now(), last: None, time_factor: 1 };
        assert_eq!(decide(kind, &fires, Wish::Suspend, terms), None, "it has no such field");
    }
}

#[test]
fn exactly_what_was_suspended_is_let_go_again() {
    let stands = |hub, before| adopted(hub, before, suspended("shop/repo"));
    assert_eq!(decided(&stands("one", Some(false)), Wish::Resume), Some(Act::Resume(Restored::Is(false))));
    assert_eq!(decided(&stands("one", None), Wish::Resume), Some(Act::Resume(Restored::Unset)));
    assert_eq!(decided(&stands("two", None), Wish::Resume), None, "another hub's");
    assert_eq!(decided(&suspended("shop/repo"), Wish::Resume), None, "somebody else suspended it");
    let let_go = adopted("one", None, ForeignObject { suspend: Some(false), ..foreign("shop/repo") });
    assert_eq!(decided(&let_go, Wish::Resume), Some(Act::Resume(Restored::Stays)), "only the note goes");
    assert_eq!(decided(&stands("one", None), Wish::Leave), None);
}

#[test]
fn one_that_is_let_go_by_hand_is_suspended_again_once_a_day() {
    let object = adopted("one", None, foreign("shop/repo"));
    let act = |object: &ForeignObject, now: &str, last: Option<&str>, time_factor| {
        let terms = Terms { hub: "one", now: at(now), last: last.map(at), time_factor };
        decide(ForeignKind::CronJob, object, Wish::Suspend, terms)
    };
    assert_eq!(act(&object, "2026-06-02T11:59:59Z", None, 1), None);
    assert_eq!(act(&object, "2026-06-02T12:00:00Z", None, 1), Some(Act::Suspend));
    assert_eq!(act(&object, "2026-06-01T12:24:00Z", None, 60), Some(Act::Suspend), "a test build's day");
    let bare = foreign("shop/repo");
    assert_eq!(act(&bare, "2026-06-02T11:59:59Z", Some("2026-06-01T12:00:00Z"), 1), None, "its note is gone, too");
}

#[test]
fn a_note_survives_its_text() {
    for suspend in [None, Some(false)] {
        let note = Adopted { hub: "one".into(), repository: ID.parse().unwrap(), suspend, at: now() };
        assert_eq!(Adopted::read(&note.to_string()), Some(note));
    }
    assert_eq!(Adopted::read("by hand"), None);
    assert_eq!(Adopted::read(r#"{"hub": "one"}"#), None);
}

#[test]
fn they_are_suspended_where_the_hub_maintains_and_let_go_where_it_does_not() {
    let plan = |more: Option<(&str, bool)>| {
        let mut spec = json!({"repositorySelector": {"repository": "*"}});
        if let Some((field, value)) = more {
            spec[field] = value.into();
        }
        Fixture::new(&["east"]).source("east/shop/db", "one").policy("all", &spec).only()
    };
    let maintained = plan(None);
    assert_eq!((maintained.state, wish(&maintained, true)), (State::Maintained, Wish::Suspend));
    assert_eq!(wish(&maintained, false), Wish::Resume);
    let disabled = plan(Some(("enabled", false)));
    assert_eq!((disabled.state, wish(&disabled, true)), (State::Disabled, Wish::Resume));
    let suspended = plan(Some(("suspend", true)));
    assert_eq!((suspended.state, wish(&suspended, true)), (State::Suspended, Wish::Leave));
    let held = RepositoryPlan { state: State::NoPolicy, push: Push::Keep, ..disabled };
    assert_eq!(wish(&held, true), Wish::Leave, "what stays as it is");
}

//! Policies that name a Secret.

use serde_json::{Value, json};

use crate::names::Place;
use crate::plan::fleet::{Contact, SecretState};
use crate::plan::result::{Push, RepositoryPlan, State};
use crate::plan::testing::{Fixture, facts, labels, s3};
use crate::policy::CaSource;

fn direct() -> Value {
    json!({"repository": {"name": "repo", "namespace": "app"}})
}

fn admitting(clusters: &Value) -> Value {
    json!({"repository": {"name": "repo", "namespace": "app"}, "clusterSelector": clusters})
}

fn at_endpoint(endpoint: &str) -> SecretState {
    facts(&[("KOPIA_REPOSITORY", "s3://bucket"), ("KOPIA_S3_ENDPOINT", endpoint), ("KOPIA_PASSWORD", "p")])
}

fn standing(plan: &RepositoryPlan) -> Vec<&str> {
    let mut names: Vec<&str> =
        plan.candidates.iter().filter(|it| it.excluded.is_none()).map(|it| it.member.as_str()).collect();
    names.sort_unstable();
    names
}

fn place(plan: &RepositoryPlan) -> Place {
    let Push::Objects(assignment) = &plan.push else { panic!("nothing is pushed: {plan:#?}") };
    assignment.secret.place.clone()
}

#[test]
fn the_secret_is_looked_for_on_the_hub_first() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.policy("p", &direct()).secret("hub/app/repo", s3("bucket")).secret("c1/app/repo", s3("other"));
    let plan = fleet.only();
    assert_eq!((plan.location.contains("bucket"), place(&plan)), (true, Place::Hub));
    assert_eq!(plan.cluster, Some("c1".into()));
}

#[test]
fn if_absent_there_it_is_looked_for_in_each_admitted_member() {
    let mut fleet = Fixture::new(&["c1", "c2", "c3"]);
    fleet.policy("p", &admitting(&json!({"matchNames": ["c1", "c2"]}))).secret("hub/app/repo", SecretState::Absent);
    fleet.secret("c1/app/repo", s3("one")).secret("c2/app/repo", s3("two")).secret("c3/app/repo", s3("three"));
    let plan = fleet.plan();
    let places: Vec<_> = plan.repositories.iter().map(|it| (it.cluster.clone().unwrap(), place(it))).collect();
    assert_eq!(places.len(), 2, "different contents are several repositories");
    assert!(places.iter().all(|(member, place)| *place == Place::Member(member.clone())));
    assert_eq!(fleet.policy_plan("p").repositories, 2);
    // Equal contents are one.
    fleet.secret("c2/app/repo", s3("one"));
    assert_eq!(standing(&fleet.only()), ["c1", "c2"]);
}

#[test]
fn where_it_was_found_in_members_only_those_are_candidates() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.policy("p", &direct()).secret("hub/app/repo", SecretState::Absent);
    fleet.secret("c1/app/repo", s3("bucket")).secret("c2/app/repo", SecretState::Absent);
    fleet.source("c2/web/one", "bucket");
    let plan = fleet.only();
    assert_eq!((standing(&plan), place(&plan)), (vec!["c1"], Place::Member("c1".into())));
    fleet.member("c1", |member| member.paused = true);
    assert_eq!(fleet.only().state, State::NoCandidate);
}

#[test]
fn repository_cluster_is_the_one_place_to_look() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.policy("p", &json!({"repository": {"name": "repo", "namespace": "app", "cluster": "c2"}}));
    fleet.secret("hub/app/repo", s3("hub")).secret("c1/app/repo", s3("one")).secret("c2/app/repo", s3("two"));
    let plan = fleet.only();
    assert!(plan.location.contains("two"));
    assert_eq!((standing(&plan), place(&plan)), (vec!["c2"], Place::Member("c2".into())));
}

#[test]
fn an_unknown_or_unadmitted_cluster_matches_nothing_and_says_why() {
    for (cluster, clusters) in [("c9", json!({})), ("c1", json!({"matchNames": ["c2"]}))] {
        let mut fleet = Fixture::new(&["c1", "c2"]);
        let spec = json!({"repository": {"name": "repo", "namespace": "app", "cluster": cluster}, "clusterSelector": clusters});
        fleet.policy("p", &spec).secret("c1/app/repo", s3("bucket"));
        assert!(fleet.plan().repositories.is_empty());
        let policy = fleet.policy_plan("p");
        assert!(policy.valid && policy.message.contains("repository.cluster"), "{}", policy.message);
        assert_eq!((policy.matched_sources, policy.repositories), (0, 0));
    }
}

#[test]
fn from_the_hub_the_admitted_members_with_a_source_are_candidates() {
    let mut fleet = Fixture::new(&["c1", "c2", "c3"]);
    fleet.policy("p", &admitting(&json!({"matchNames": ["c1", "c2"]}))).secret("hub/app/repo", s3("bucket"));
    fleet.source("c2/web/one", "bucket").source("c3/web/one", "bucket");
    let plan = fleet.only();
    assert_eq!((standing(&plan), place(&plan)), (vec!["c2"], Place::Hub));
    assert_eq!(fleet.policy_plan("p").matched_sources, 1, "of its repository, in admitted members");
    // If none of these may run, nobody does: no further fallback.
    fleet.member("c2", |member| member.paused = true);
    let plan = fleet.only();
    assert_eq!((plan.state, plan.reason, standing(&plan)), (State::NoCandidate, Some("Paused"), vec![]));
}

#[test]
fn a_source_that_can_not_be_used_still_makes_its_member_a_candidate() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.policy("p", &direct()).secret("hub/app/repo", s3("bucket")).source("c2/web/one", "bucket");
    fleet.secret("c2/web/one-secret", facts(&[("KOPIA_REPOSITORY", "s3://bucket")]));
    let plan = fleet.only();
    assert_eq!((standing(&plan), place(&plan)), (vec!["c2"], Place::Hub));
}

#[test]
fn without_sources_a_cluster_selector_names_the_candidates() {
    let mut fleet = Fixture::new(&["c1", "c2", "c3"]);
    fleet.secret("hub/app/repo", s3("bucket"));
    fleet.member("c2", |member| member.labels = labels(&[("region", "eu")]));
    for (clusters, expected) in [
        (json!({"matchNames": ["c1", "c3"]}), vec!["c1", "c3"]),
        (json!({"matchLabels": {"region": "eu"}}), vec!["c2"]),
        (json!({"matchNames": ["c*"]}), vec!["c1", "c2", "c3"]),
    ] {
        fleet.policy("p", &admitting(&clusters));
        assert_eq!(standing(&fleet.only()), expected, "{clusters}");
    }
    // Nobody is nobody.
    fleet.policy("p", &admitting(&json!({"matchNames": ["x"]})));
    fleet.options.hub_member = Some("c1".into());
    let plan = fleet.only();
    assert_eq!((plan.state, plan.candidates.len()), (State::NoCandidate, 0));
}

#[test]
fn without_selector_and_sources_the_hub_runs_it_else_the_only_member_else_nobody() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.policy("p", &direct()).secret("hub/app/repo", s3("bucket"));
    let plan = fleet.only();
    assert_eq!((plan.state, plan.reason), (State::NoCandidate, Some("ClusterSelectorNeeded")));
    assert!(plan.message.contains("clusterSelector"), "{}", plan.message);
    fleet.options.hub_member = Some("c2".into());
    assert_eq!(standing(&fleet.only()), ["c2"]);
    fleet.options.hub_member = None;
    fleet.fleet.members.remove(&crate::plan::testing::name("c2"));
    assert_eq!(standing(&fleet.only()), ["c1"]);
    // One that can't be reached is a member too.
    fleet.member("c9", |member| member.contact = Contact::Unreachable);
    assert_eq!(standing(&fleet.only()), [""; 0]);
}

#[test]
fn a_local_place_in_a_hub_secret_is_one_repository_per_admitted_member() {
    for secret in [
        at_endpoint("minio.store.svc:9000"),
        at_endpoint("minio:9000"),
        facts(&[("RCLONE_REMOTE_PATH", "remote:path"), ("KOPIA_PASSWORD", "p")]),
    ] {
        let mut fleet = Fixture::new(&["c1", "c2", "c3"]);
        fleet.policy("p", &admitting(&json!({"matchNames": ["c1", "c2"]}))).secret("hub/app/repo", secret);
        // A source elsewhere changes nothing.
        fleet.source("c2/web/one", "other");
        let plan = fleet.plan();
        let local: Vec<_> = plan.repositories.iter().filter(|it| it.policy.is_some()).collect();
        let mut members: Vec<_> = local.iter().map(|it| standing(it).concat()).collect();
        members.sort();
        assert_eq!(members, ["c1", "c2"]);
        assert!(local.iter().all(|it| place(it) == Place::Hub));
    }
}

#[test]
fn a_local_place_in_a_hub_secret_for_no_member_at_all_says_so() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.policy("p", &admitting(&json!({"matchNames": ["c9"]}))).secret("hub/app/repo", at_endpoint("minio:9000"));
    let policy = fleet.policy_plan("p");
    assert_eq!((policy.valid, policy.repositories), (true, 0));
    assert!(policy.message.contains("no member is admitted"), "{}", policy.message);
}

#[test]
fn a_file_system_in_a_hub_secret_is_one_repository_per_admitted_member_and_never_run() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.policy("p", &direct());
    fleet.secret("hub/app/repo", facts(&[("KOPIA_REPOSITORY", "filesystem:///data"), ("KOPIA_PASSWORD", "p")]));
    let plan = fleet.plan();
    let said: Vec<_> = plan.repositories.iter().map(|it| (it.state, it.reason)).collect();
    assert_eq!(said, [(State::NoCandidate, Some("Filesystem")); 2]);
}

#[test]
fn a_two_label_host_means_what_it_means_in_each_admitted_member() {
    let mut fleet = Fixture::new(&["c1", "c2", "c3"]);
    fleet
        .policy("p", &admitting(&json!({"matchNames": ["c*"]})))
        .secret("hub/app/repo", at_endpoint("minio.store:9000"));
    fleet.namespace("c2", "store", &[]);
    let plan = fleet.plan();
    let mut members: Vec<_> = plan.repositories.iter().map(standing).collect();
    members.sort();
    assert_eq!(members, [vec!["c1", "c3"], vec!["c2"]]);
}

#[test]
fn an_address_in_a_members_networks_is_local_there_and_shared_elsewhere() {
    let mut fleet = Fixture::new(&["c1", "c2", "c3"]);
    fleet.policy("p", &admitting(&json!({"matchNames": ["c*"]}))).secret("hub/app/repo", at_endpoint("10.1.2.3:9000"));
    fleet.member("c3", |member| member.cidrs = vec!["10.0.0.0/8".parse().unwrap()]);
    let plan = fleet.plan();
    let mut members: Vec<_> = plan.repositories.iter().map(standing).collect();
    members.sort();
    assert_eq!(members, [vec!["c1", "c2"], vec!["c3"]]);
}

#[test]
fn a_direct_secret_without_a_password_makes_no_candidate() {
    for place in ["hub/app/repo", "c1/app/repo"] {
        let mut fleet = Fixture::new(&["c1"]);
        fleet.policy("p", &direct()).secret("hub/app/repo", SecretState::Absent);
        fleet.secret(place, facts(&[("KOPIA_REPOSITORY", "s3://bucket")]));
        let plan = fleet.only();
        assert_eq!((plan.state, plan.reason), (State::NoCandidate, Some("MissingKey")), "{place}");
        assert_eq!(plan.policy, Some("p".into()));
    }
}

#[test]
fn the_policys_ca_comes_from_where_the_secret_was_found() {
    let ca = json!({"configMapName": "bundle"});
    let mut fleet = Fixture::new(&["c1"]);
    fleet.policy("p", &json!({"repository": {"name": "repo", "namespace": "app", "customCA": ca}}));
    fleet.source("c1/web/one", "bucket");
    for (hub, expected) in [(s3("bucket"), Place::Hub), (SecretState::Absent, Place::Member("c1".into()))] {
        fleet.secret("hub/app/repo", hub).secret("c1/app/repo", s3("bucket"));
        let plan = fleet.only();
        let Push::Objects(assignment) = &plan.push else { panic!() };
        let ca = assignment.custom_ca.as_ref().unwrap();
        assert_eq!((&ca.source, &*ca.key), (&CaSource::ConfigMap("bundle".into()), "ca.crt"));
        assert_eq!((assignment.secret.place.clone(), assignment.source.clone()), (expected, None));
    }
}

#[test]
fn an_unreachable_member_is_not_known_and_never_absent() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.policy("p", &direct()).secret("hub/app/repo", SecretState::Absent).secret("c1/app/repo", SecretState::Absent);
    fleet.member("c2", |member| member.contact = Contact::Unreachable);
    let policy = fleet.policy_plan("p");
    assert!(policy.valid && policy.message.contains("c2: not known"), "{}", policy.message);
    assert!(policy.message.contains("c1: absent"), "{}", policy.message);
    // As it was seen last it still counts.
    fleet.secret("c2/app/repo", s3("bucket"));
    assert_eq!(fleet.only().cluster, Some("c2".into()));
}

#[test]
fn nothing_is_concluded_while_the_hub_was_not_asked() {
    for state in [None, Some(SecretState::Forbidden)] {
        let mut fleet = Fixture::new(&["c1"]);
        fleet.policy("p", &direct()).secret("c1/app/repo", s3("bucket"));
        fleet.fleet.secrets.extend(state.map(|state| (crate::plan::testing::placed("hub/app/repo"), state)));
        assert!(fleet.plan().repositories.is_empty());
        assert!(!fleet.policy_plan("p").message.is_empty());
    }
}

#[test]
fn what_was_made_of_a_secret_stays_while_the_hub_may_not_read_it_and_a_policy_names_it() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.policy("p", &direct()).secret("hub/app/repo", s3("bucket"));
    let RepositoryPlan { id, key, .. } = fleet.only();
    fleet.held(id, "c1", 2).pushed("c1", id, Some("hub/app/repo")).ledger(id, |record| record.key = Some(key));
    for state in [SecretState::Forbidden, s3("bucket"), SecretState::Forbidden] {
        let readable = matches!(state, SecretState::Present(_));
        fleet.secret("hub/app/repo", state);
        let plan = fleet.only();
        let kept = (plan.state, plan.cluster, matches!(plan.push, Push::Keep));
        assert_eq!(kept, (if readable { State::Maintained } else { State::Held }, Some("c1".into()), !readable));
    }
    assert!(fleet.policy_plan("p").message.contains("may not read Secret app/repo"));
    assert!(fleet.only().message.ends_with("; the hub may not read Secret hub:app/repo"), "{}", fleet.only().message);
    // Nobody wants it any more, or it is certainly gone.
    fleet.secret("hub/app/repo", SecretState::Absent);
    assert!(matches!(fleet.only().push, Push::Remove));
    fleet.secret("hub/app/repo", SecretState::Forbidden);
    fleet.policy("p", &json!({"repository": {"name": "other", "namespace": "app"}}));
    assert!(matches!(fleet.only().push, Push::Remove));
}

#[test]
fn a_direct_policy_competes_with_those_that_select() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.default_policy().source("c1/web/one", "bucket").source("c2/web/one", "bucket");
    fleet.policy("p", &json!({"repository": {"name": "repo", "namespace": "app"}, "priority": 3}));
    fleet.secret("hub/app/repo", s3("bucket"));
    let plan = fleet.only();
    assert_eq!((plan.policy.clone(), plan.shadowed.clone()), (Some("p".into()), vec!["default".into()]));
    assert_eq!((place(&plan), standing(&plan)), (Place::Hub, vec!["c1", "c2"]));
    assert_eq!(fleet.policy_plan("p").matched_sources, 2);
    assert_eq!(fleet.source_plan("c2/web/one").policy, Some("p".into()));
}

#[test]
fn a_direct_secret_that_names_no_repository_says_so() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet
        .policy("p", &direct())
        .secret("hub/app/repo", facts(&[("KOPIA_REPOSITORY", "what"), ("KOPIA_PASSWORD", "p")]));
    let policy = fleet.policy_plan("p");
    assert!(policy.valid && policy.message.contains("names no repository"), "{}", policy.message);
}

#[test]
fn a_secret_that_some_members_have_is_found() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.policy("p", &direct()).secret("hub/app/repo", SecretState::Absent).secret("c1/app/repo", s3("bucket"));
    fleet.secret("c2/app/repo", SecretState::Absent);
    assert_eq!(fleet.policy_plan("p").message, "");
    fleet.secret("c1/app/repo", SecretState::Absent);
    assert!(fleet.policy_plan("p").message.contains("found nowhere: c1: absent, c2: absent"));
}

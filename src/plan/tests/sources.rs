//! Which sources count, and where they stand.

use serde_json::json;

use crate::plan::fleet::{Contact, SecretState};
use crate::plan::result::{Push, State};
use crate::plan::testing::{Fixture, facts, s3};

#[test]
fn a_source_counts_if_it_names_a_secret() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().source("c1/app/one", "bucket");
    let source = fleet.source_plan("c1/app/one");
    assert_eq!((source.reason, source.secret.as_deref()), (None, Some("one-secret")));
    assert_eq!(source.policy, Some("default".into()));
    assert_eq!(source.repository, Some(fleet.only().id));
}

#[test]
fn a_repository_on_a_claim_is_listed_and_never_scheduled() {
    let claim = json!({"persistentVolumeClaim": {"claimName": "data"}});
    for kopia in [
        json!({"repository": "repo", "repositoryPVC": "claim"}),
        json!({"repositoryPVC": "claim"}),
        json!({"repository": "file", "moverVolumes": [{"mountPath": "kopia", "volumeSource": claim}]}),
    ] {
        let mut fleet = Fixture::new(&["c1"]);
        fleet.default_policy().kopia("c1/app/one", &kopia).secret("c1/app/repo", s3("bucket"));
        fleet.secret("c1/app/file", facts(&[("KOPIA_REPOSITORY", "filesystem:///mnt/kopia"), ("KOPIA_PASSWORD", "p")]));
        let source = fleet.source_plan("c1/app/one");
        assert_eq!(source.reason, Some("RepositoryPVC"), "{kopia}");
        assert_eq!((source.repository, source.policy), (None, None));
        assert_eq!(source.secret.as_deref(), kopia["repository"].as_str());
        assert!(fleet.plan().repositories.is_empty());
        assert_eq!(fleet.policy_plan("default").matched_sources, 0);
    }
}

#[test]
fn a_claim_that_the_mover_would_not_use_changes_nothing() {
    let mut fleet = Fixture::new(&["c1"]);
    let claim = json!({"persistentVolumeClaim": {"claimName": "data"}});
    let kopia = json!({"repository": "repo", "moverVolumes": [{"mountPath": "kopia", "volumeSource": claim}]});
    let bucket = facts(&[("KOPIA_S3_BUCKET", "bucket"), ("KOPIA_REPOSITORY", "s3://bucket"), ("KOPIA_PASSWORD", "p")]);
    fleet.default_policy().kopia("c1/app/one", &kopia).secret("c1/app/repo", bucket);
    assert_eq!(fleet.source_plan("c1/app/one").reason, None);
    assert_eq!(fleet.only().backend, "s3");
}

#[test]
fn a_source_without_a_repository_is_listed() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().kopia("c1/app/one", &json!({}));
    let source = fleet.source_plan("c1/app/one");
    assert_eq!((source.reason, source.repository, source.policy), (Some("NoRepository"), None, None));
    assert_eq!(fleet.policy_plan("default").matched_sources, 0);
}

#[test]
fn a_secret_that_can_not_be_seen_names_no_repository() {
    for (state, reason) in [
        (Some(SecretState::Absent), "SecretMissing"),
        (Some(SecretState::Forbidden), "SecretForbidden"),
        (None, "SecretNotRead"),
    ] {
        let mut fleet = Fixture::new(&["c1"]);
        fleet.default_policy().kopia("c1/app/one", &json!({"repository": "repo"}));
        fleet.fleet.secrets.extend(state.map(|state| (crate::plan::testing::placed("c1/app/repo"), state)));
        let source = fleet.source_plan("c1/app/one");
        assert_eq!((source.reason, source.repository, source.policy), (Some(reason), None, None));
    }
}

#[test]
fn a_secret_that_names_no_repository_says_so() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().kopia("c1/app/one", &json!({"repository": "repo"}));
    fleet.secret("c1/app/repo", facts(&[("KOPIA_REPOSITORY", "S3://bucket"), ("KOPIA_PASSWORD", "p")]));
    let source = fleet.source_plan("c1/app/one");
    assert_eq!(source.reason, Some("UnknownBackend"));
    assert!(!source.message.is_empty());
}

#[test]
fn without_a_password_the_identity_holds_and_nothing_is_ready() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().kopia("c1/app/one", &json!({"repository": "repo"}));
    fleet.secret("c1/app/repo", facts(&[("KOPIA_REPOSITORY", "s3://bucket")]));
    let source = fleet.source_plan("c1/app/one");
    assert_eq!((source.reason, source.policy), (Some("MissingKey"), Some("default".into())));
    let repository = fleet.only();
    assert_eq!(source.repository, Some(repository.id));
    assert_eq!((repository.state, repository.reason), (State::NoCandidate, Some("MissingKey")));
    assert_eq!((repository.cluster, repository.push), (None, Push::Remove));
}

#[test]
fn file_systems_have_no_candidate() {
    let nfs = json!({"repository": "repo", "moverVolumes": [{"mountPath": "kopia",
        "volumeSource": {"nfs": {"server": "nas.example.com", "path": "/export"}}}]});
    for kopia in [json!({"repository": "repo"}), nfs] {
        let mut fleet = Fixture::new(&["c1"]);
        fleet.default_policy().kopia("c1/app/one", &kopia);
        fleet.secret("c1/app/repo", facts(&[("KOPIA_REPOSITORY", "filesystem:///mnt/kopia"), ("KOPIA_PASSWORD", "p")]));
        let repository = fleet.only();
        assert_eq!((repository.state, repository.reason), (State::NoCandidate, Some("Filesystem")), "{kopia}");
        assert_eq!(fleet.source_plan("c1/app/one").reason, Some("Filesystem"));
        // Whatever is said of its member besides.
        fleet.member("c1", |member| (member.paused, member.eligible) = (true, false));
        assert_eq!(fleet.only().reason, Some("Filesystem"), "{kopia}");
    }
}

#[test]
fn sources_of_paused_and_ineligible_members_are_grouped_and_matched_but_never_run_there() {
    let mut fleet = Fixture::new(&["c1", "c2", "c3"]);
    fleet.default_policy().source("c1/app/one", "bucket").source("c2/app/one", "bucket").source("c3/app/one", "bucket");
    fleet.member("c1", |member| member.paused = true).member("c2", |member| member.eligible = false);
    let repository = fleet.only();
    assert_eq!(repository.clusters.len(), 3);
    assert_eq!(repository.cluster, Some("c3".into()));
    assert_eq!(fleet.policy_plan("default").matched_sources, 3);
    fleet.member("c3", |member| member.paused = true);
    assert_eq!(fleet.only().state, State::NoCandidate);
}

#[test]
fn one_location_under_many_names_is_one_repository() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet
        .default_policy()
        .source("c1/app/one", "bucket")
        .source("c1/web/two", "bucket")
        .source("c2/app/three", "bucket");
    let repository = fleet.only();
    let counts: Vec<_> = repository.clusters.iter().map(|share| (share.member.as_str(), share.sources)).collect();
    assert_eq!(counts, [("c1", 2), ("c2", 1)]);
}

#[test]
fn one_name_for_two_locations_is_two_repositories() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.default_policy().source("c1/app/one", "bucket-1").source("c2/app/one", "bucket-2");
    assert_eq!(fleet.plan().repositories.len(), 2);
}

#[test]
fn a_service_of_a_cluster_is_another_repository_in_each_member() {
    let service =
        |host: &str| facts(&[("KOPIA_REPOSITORY", "s3://bkt"), ("KOPIA_S3_ENDPOINT", host), ("KOPIA_PASSWORD", "p")]);
    for (host, namespaces, repositories) in [
        ("minio.store.svc:9000", false, 2),
        ("minio.store:9000", true, 2),
        // Nobody has that namespace: shared, and Ambiguous.
        ("minio.store:9000", false, 1),
        ("minio.example.com:9000", false, 1),
    ] {
        let mut fleet = Fixture::new(&["c1", "c2"]);
        fleet.default_policy();
        for member in ["c1", "c2"] {
            fleet.kopia(&format!("{member}/app/one"), &json!({"repository": "repo"}));
            fleet.secret(&format!("{member}/app/repo"), service(host));
            if namespaces {
                fleet.namespace(member, "store", &[]);
            }
        }
        assert_eq!(fleet.plan().repositories.len(), repositories, "{host}");
    }
}

#[test]
fn a_namespace_that_appears_makes_a_two_label_host_local() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.default_policy();
    let secret =
        facts(&[("KOPIA_REPOSITORY", "s3://bkt"), ("KOPIA_S3_ENDPOINT", "minio.store"), ("KOPIA_PASSWORD", "p")]);
    for member in ["c1", "c2"] {
        fleet.kopia(&format!("{member}/app/one"), &json!({"repository": "repo"}));
        fleet.secret(&format!("{member}/app/repo"), secret.clone());
    }
    let shared = fleet.only();
    // What is said is the doubt, not just any warning about the Secret.
    let ambiguous = shared.remarks.iter().find(|(reason, _)| *reason == "Ambiguous").unwrap();
    assert!(ambiguous.1.contains("could be the Service"), "{}", ambiguous.1);
    fleet.namespace("c2", "store", &[]);
    assert_eq!(fleet.plan().repositories.len(), 2);
    assert_eq!(fleet.id_of("c1/app/one"), shared.id);
}

#[test]
fn the_namespace_of_a_secret_exists_where_it_stands() {
    let endpoint = |host: &str| {
        let place = [("KOPIA_REPOSITORY", "s3://bucket"), ("KOPIA_PASSWORD", "p"), ("KOPIA_S3_ENDPOINT", host)];
        facts(&place)
    };
    // No Namespace object was seen, neither of `app` nor of `store`.
    let mut fleet = Fixture::new(&["c1", "c2"]);
    for (member, host) in [("c1", "minio.app:9000"), ("c2", "minio.app.svc:9000")] {
        fleet.default_policy().kopia(&format!("{member}/app/one"), &json!({"repository": "repo"}));
        fleet.secret(&format!("{member}/app/repo"), endpoint(host));
    }
    let location = |fleet: &Fixture, source: &str| fleet.repository(source).location;
    assert_eq!(location(&fleet, "c1/app/one"), "s3://bucket/ at minio.app.svc:9000 in cluster c1");
    assert_eq!(location(&fleet, "c2/app/one"), "s3://bucket/ at minio.app.svc:9000 in cluster c2");
    fleet.secret("c1/app/repo", endpoint("minio.store:9000"));
    assert_eq!(location(&fleet, "c1/app/one"), "s3://bucket/ at minio.store:9000");
}

#[test]
fn an_address_in_the_networks_of_a_member_means_that_member() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.default_policy();
    let secret =
        facts(&[("KOPIA_REPOSITORY", "s3://bkt"), ("KOPIA_S3_ENDPOINT", "10.1.2.3:9000"), ("KOPIA_PASSWORD", "p")]);
    for member in ["c1", "c2"] {
        fleet.kopia(&format!("{member}/app/one"), &json!({"repository": "repo"}));
        fleet.secret(&format!("{member}/app/repo"), secret.clone());
    }
    assert_eq!(fleet.plan().repositories.len(), 1);
    fleet.member("c1", |member| member.cidrs = vec!["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(fleet.plan().repositories.len(), 2);
}

#[test]
fn two_passwords_for_one_repository_are_told_and_change_no_candidate() {
    let mut fleet = Fixture::new(&["c1", "c2"]);
    fleet.default_policy().source("c1/app/one", "bucket").source("c2/app/one", "bucket");
    let before = fleet.only();
    assert!(before.remarks.is_empty());
    fleet.secret("c2/app/one-secret", facts(&[("KOPIA_REPOSITORY", "s3://bucket"), ("KOPIA_PASSWORD", "other")]));
    let after = fleet.only();
    assert_eq!((after.cluster, after.state), (before.cluster, before.state));
    let problems = fleet.plan().problems;
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].reason, problems[0].object.clone()), ("CredentialMismatch", after.id.ledger_name()));
}

#[test]
fn sources_of_an_unreachable_member_count_as_they_were_seen_last() {
    let mut fleet = Fixture::new(&["c1"]);
    fleet.default_policy().source("c1/app/one", "bucket");
    fleet.member("c1", |member| member.contact = Contact::Unreachable);
    assert_eq!(fleet.source_plan("c1/app/one").repository, Some(fleet.only().id));
}

//! What host names mean, and how far.

use super::super::Reach;
use super::{Case, different, endpoint, same, secret};

fn reach(case: &Case) -> Reach {
    case.identity().reach
}

#[test]
fn every_spelling_of_a_service_is_one_place() {
    let service = endpoint("minio.store.svc:9000");
    for spelling in [
        "minio.store.svc.cluster.local:9000",
        "minio.store.svc.cluster.local.:9000",
        "MINIO.Store.svc:9000",
        "http://minio.store:9000",
    ] {
        same(&service, &endpoint(spelling).namespaces(&["store"]));
    }
    same(&service, &endpoint("minio:9000").on("c1", "store"));
    let mut other_domain = endpoint("minio.store.svc.c1.example:9000");
    other_domain.domain = "c1.example".to_owned();
    same(&service, &other_domain);
    let mut both = endpoint("minio.store.svc.cluster.local:9000");
    both.domain = "c1.example".to_owned();
    same(&service, &both);
}

#[test]
fn two_labels_are_a_service_only_where_that_namespace_is() {
    let case = endpoint("minio.store:9000");
    assert_eq!(reach(&case.clone().namespaces(&["store"])), Reach::Cluster);
    assert!(!case.clone().namespaces(&["store"]).identity().ambiguous);
    assert_eq!(reach(&case), Reach::Shared);
    assert!(case.identity().ambiguous);
    same(&case, &case.clone().on("c2", "n1"));
    for zone in ["lan", "local", "internal"] {
        let nas = endpoint(&format!("nas.{zone}:9000")).namespaces(&[zone]);
        assert_eq!(reach(&nas), Reach::Shared);
        same(&nas, &nas.clone().on("c2", "n2"));
    }
}

#[test]
fn names_of_the_local_network_are_shared() {
    for host in ["s3.nas.lan", "a.b.local", "a.b.internal", "nas.home.arpa", "10.0.0.5", "fd00::5", "s3.example.com"] {
        let case = endpoint(&if host.contains("::") { format!("[{host}]:9000") } else { format!("{host}:9000") });
        assert_eq!(reach(&case), Reach::Shared, "{host}");
        assert!(!case.identity().ambiguous, "{host}");
    }
}

#[test]
fn pods_names_are_local() {
    assert_eq!(reach(&endpoint("minio-0.minio.store.svc.cluster.local")), Reach::Cluster);
    assert_eq!(reach(&endpoint("10-1-2-3.store.pod.cluster.local")), Reach::Cluster);
    let headless = endpoint("minio-0.minio.store").namespaces(&["store"]);
    assert_eq!(reach(&headless), Reach::Shared);
    assert!(headless.identity().ambiguous);
}

#[test]
fn a_service_of_another_cluster_domain_is_shared_with_a_doubt() {
    let case = endpoint("minio.store.svc.c2.example");
    assert_eq!(reach(&case), Reach::Shared);
    assert!(case.identity().ambiguous);
}

#[test]
fn scopes_hold_for_every_backend_with_a_host() {
    for pairs in ["WEBDAV_URL=http://dav:80/x", "SFTP_HOST=ssh SFTP_PATH=/x", "R=s3://bkt EP=minio"] {
        let case = secret(pairs);
        assert_eq!(reach(&case), Reach::Namespace, "{pairs}");
        different(&case, &case.clone().on("c2", "n1"));
        different(&case, &case.clone().on("c1", "n2"));
    }
    for pairs in ["WEBDAV_URL=http://localhost/x", "SFTP_HOST=127.0.0.1 SFTP_PATH=/x"] {
        assert_eq!(secret(pairs).reason(), "Loopback");
    }
}

#[test]
fn aliases_merge_object_stores_with_several_names() {
    let other = endpoint("s3.example.com:9000");
    same(&endpoint("minio.lan.example:9000").alias("minio.lan.example:9000", "s3.example.com:9000"), &other);
    same(&endpoint("minio.lan.example:9000").alias("minio.lan.example", "s3.example.com"), &other);
    different(&endpoint("minio.lan.example:9001").alias("minio.lan.example:9000", "s3.example.com:9000"), &other);
    same(
        &endpoint("https://a.example").alias("A.example:443", "b.example").alias("b.example", "c.example"),
        &endpoint("c.example"),
    );
    let service = |host: &str| endpoint(host).alias("minio.n1.svc:9000", "s3.example.com:9000");
    same(&service("minio:9000"), &other);
    same(&service("http://minio.n1.svc.cluster.local:9000"), &other);
    // A circle ends.
    endpoint("a.example").alias("a.example", "b.example").alias("b.example", "a.example").identity();
    same(&endpoint("s3.corp.example").alias("s3.corp.example", "s3.amazonaws.com"), &secret("R=s3://bkt"));
}

#[test]
fn amazon_behind_a_name_without_s3_is_a_doubt() {
    let balancer = endpoint("minio-1.elb.us-east-1.amazonaws.com");
    same(&balancer, &secret("R=s3://bkt"));
    assert!(balancer.identity().ambiguous);
    assert!(!endpoint("s3.eu-west-1.amazonaws.com").identity().ambiguous);
}

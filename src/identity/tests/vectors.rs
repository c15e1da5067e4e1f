//! Pairs of Secrets that mean one repository, or two, or none.

use serde_json::json;

use super::super::Reach;
use super::{Case, different, endpoint, same, secret};

#[derive(Clone, Copy)]
enum Is {
    Same,
    Different,
}
use Is::{Different, Same};

const PAIRS: [(u32, &str, &str, Is); 39] = [
    (1, "R=s3://bkt", "R=s3://bkt/", Same),
    (2, "R=s3://bkt/p", "R=s3://bkt/p/", Same),
    (4, "R=s3://bkt/a//b", "R=s3://bkt/a/b/", Same),
    (5, "R=s3://bkt/P", "R=s3://bkt/p", Different),
    (6, "R=s3://bkt", "R=s3://bkt/p", Different),
    (7, "R=s3://bkt", "R=s3://bkt AWS_S3_ENDPOINT=s3.amazonaws.com", Same),
    (
        8,
        "R=s3://bkt EP=s3.amazonaws.com AWS_REGION=us-east-1",
        "R=s3://bkt EP=https://s3.dualstack.eu-west-1.amazonaws.com",
        Same,
    ),
    (9, "R=s3://bkt EP=s3.amazonaws.com", "R=s3://bkt EP=s3.cn-north-1.amazonaws.com.cn", Different),
    (
        10,
        "R=s3://bkt AWS_S3_ENDPOINT=https://MINIO.example.com",
        "R=s3://bkt KOPIA_S3_ENDPOINT=minio.example.com:443",
        Same,
    ),
    (11, "R=s3://bkt EP=minio.example.com:9000", "R=s3://bkt EP=minio.example.com:9443", Different),
    (13, "R=s3://bkt EP=m.example.com", "R=s3://bkt EP=m.example.com KOPIA_S3_DISABLE_TLS=true", Same),
    (13, "R=s3://bkt EP=m.example.com", "R=s3://bkt EP=http://m.example.com:80 AWS_S3_DISABLE_TLS=true", Same),
    (
        15,
        "R=s3://bkt KOPIA_S3_ENDPOINT=a.example.com EP=b.example.com",
        "R=s3://bkt KOPIA_S3_ENDPOINT=a.example.com",
        Same,
    ),
    (17, "KOPIA_S3_BUCKET=x R=filesystem:///r", "KOPIA_S3_BUCKET=x R=s3://x", Same),
    (18, "KOPIA_S3_PREFIX=foo R=s3://xyz", "R=s3://xyz", Same),
    (19, "KOPIA_S3_PREFIX=foo R=s3://xyz", "R=s3://xyz/foo", Different),
    (20, "R=s3://bkt AWS_ACCESS_KEY_ID=a AWS_SESSION_TOKEN=t", "R=s3://bkt AWS_ACCESS_KEY_ID=b", Same),
    (21, "R=s3://bkt KOPIA_PASSWORD=one", "R=s3://bkt KOPIA_PASSWORD=two", Same),
    (22, "R=s3://bkt EP=m.example.com:9000 AWS_REGION=a", "R=s3://bkt EP=m.example.com:9000 AWS_REGION=b", Same),
    (
        32,
        "KOPIA_AZURE_CONTAINER=c KOPIA_AZURE_STORAGE_ACCOUNT=Acct",
        "KOPIA_AZURE_CONTAINER=c KOPIA_AZURE_STORAGE_ACCOUNT=acct R=azure://c/backups",
        Same,
    ),
    (
        33,
        "KOPIA_AZURE_CONTAINER=c KOPIA_AZURE_STORAGE_ACCOUNT=a AZURE_ENDPOINT_SUFFIX=x",
        "KOPIA_AZURE_CONTAINER=c KOPIA_AZURE_STORAGE_ACCOUNT=a AZURE_STORAGE_DOMAIN=y",
        Same,
    ),
    (35, "KOPIA_GCS_BUCKET=bkt", "R=s3://bkt EP=storage.googleapis.com", Same),
    (36, "KOPIA_B2_BUCKET=bkt", "R=s3://bkt EP=s3.us-west-004.backblazeb2.com", Same),
    (36, "KOPIA_B2_BUCKET=bkt", "R=s3://bkt/p EP=s3.us-west-004.backblazeb2.com", Different),
    (37, "KOPIA_GCS_BUCKET=b R=gcs://b/x", "KOPIA_GCS_BUCKET=b R=gcs://b/y", Same),
    (38, "KOPIA_GCS_BUCKET=b WEBDAV_URL=https://d.example.com", "KOPIA_GCS_BUCKET=b", Same),
    (39, "WEBDAV_URL=https://D.example.com/x/", "WEBDAV_URL=https://d.example.com:443/x", Same),
    (39, "WEBDAV_URL=https://d.example.com/x", "WEBDAV_URL=http://u:p@d.example.com:80//%78?q=1", Same),
    (39, "WEBDAV_URL=https://d.example.com/x", "WEBDAV_URL=https://d.example.com/X", Different),
    (
        41,
        "SFTP_HOST=h.example.com SFTP_PATH=repo SFTP_USERNAME=a",
        "SFTP_HOST=h.example.com SFTP_PATH=repo SFTP_USERNAME=b",
        Different,
    ),
    (
        41,
        "SFTP_HOST=h.example.com SFTP_PATH=/repo SFTP_USERNAME=a",
        "SFTP_HOST=H.example.com SFTP_PORT=22 SFTP_PATH=/repo/ SFTP_USERNAME=b",
        Same,
    ),
    (
        41,
        "SFTP_HOST=h.example.com SFTP_PATH=/repo",
        "SFTP_HOST=h.example.com SFTP_PORT=2222 SFTP_PATH=/repo",
        Different,
    ),
    (41, "SFTP_HOST=h.example.com SFTP_PATH=repo", "SFTP_HOST=h.example.com SFTP_PATH=/repo", Different),
    (0, "GOOGLE_DRIVE_FOLDER_ID=Ab", "GOOGLE_DRIVE_FOLDER_ID=Ab R=gdrive://x", Same),
    (0, "GOOGLE_DRIVE_FOLDER_ID=Ab", "GOOGLE_DRIVE_FOLDER_ID=ab", Different),
    (0, "KOPIA_GCS_BUCKET=b", "KOPIA_B2_BUCKET=b", Different),
    (0, "R=s3://bkt EP=s3.us-gov-west-1.amazonaws.com", "R=s3://bkt", Different),
    (0, "R=s3://bkt EP=s3.us-gov-west-1.amazonaws.com", "R=s3://bkt AWS_REGION=us-gov-west-1", Same),
    (0, "R=s3://bkt EP=[2001:DB8::1]:9000", "R=s3://bkt EP=https://[2001:db8:0:0::1]:9000/", Same),
];

#[test]
fn pairs_of_secrets_are_told_apart_where_their_repositories_are() {
    for (number, a, b, is) in PAIRS {
        let (first, second) = (secret(a), secret(b));
        println!("{number}: {a} | {b}");
        match is {
            Same => same(&first, &second),
            Different => different(&first, &second),
        }
    }
}

#[test]
fn the_same_name_in_another_cluster_is_another_place_only_if_it_is_local() {
    let service = endpoint("minio.minio.svc.cluster.local:9000"); // 23
    different(&service, &service.clone().on("c2", "n1"));
    same(&service, &service.clone().on("c1", "n2"));
    let short = endpoint("minio:9000"); // 25
    different(&short, &short.clone().on("c1", "n2"));
    same(&short, &endpoint("minio.n1.svc:9000").on("c1", "n2"));
    assert_eq!(short.identity().reach, Reach::Namespace);
    let exported = endpoint("minio.s3.svc.clusterset.local"); // 26
    same(&exported, &exported.clone().on("c2", "n2"));
    let lan = endpoint("192.168.1.10:9000"); // 27
    same(&lan, &lan.clone().on("c2", "n1"));
    different(&lan.clone().cidr("192.168.0.0/16"), &lan.clone().on("c2", "n1"));
    different(&lan.clone().cidr("192.168.0.0/16"), &lan.clone().on("c2", "n1").cidr("192.168.0.0/16"));
}

#[test]
fn what_points_nowhere_is_refused_with_a_fixed_word() {
    for (pairs, reason) in [
        ("R=s3://bkt EP=localhost:9000", "Loopback"), // 28
        ("R=s3://bkt EP=127.0.0.2", "Loopback"),
        ("R=s3://bkt EP=[::1]:9000", "Loopback"),
        ("R=s3://bkt EP=[fe80::1]:9000", "Loopback"),
        ("R=s3://bkt EP=169.254.1.1", "Loopback"),
        ("R=s3://bkt EP=0.0.0.0:9000", "Loopback"),
        ("R=S3://bkt", "UnknownBackend"), // 29
        ("R=azure://c/backups AZURE_STORAGE_ACCOUNT=a", "UnknownBackend"),
        ("R=s3://ab/x", "InvalidLocation"),
        ("R=s3://My-Bucket/a", "InvalidLocation"),
        ("R=s3://bkt/a/../b", "InvalidLocation"),
        ("R=s3://bkt EP=minio.example.com/path", "InvalidLocation"),
        ("R=s3://bkt EP=ftp://minio.example.com", "InvalidLocation"),
        ("KOPIA_AZURE_CONTAINER=c", "InvalidLocation"),
        ("R=filesystem://mnt/b", "InvalidLocation"),
        ("R=filesystem:///mnt/../b", "InvalidLocation"),
        ("WEBDAV_URL=d.example.com/x", "InvalidLocation"),
        ("SFTP_HOST=h.example.com SFTP_PORT=no", "InvalidLocation"),
        ("RCLONE_REMOTE_PATH=r:bk RCLONE_EXE=/bin/sh", "UnsafeOption"),
        ("", "UnknownBackend"),
    ] {
        assert_eq!(secret(pairs).reason(), reason, "{pairs}");
    }
}

#[test]
fn a_bucket_that_looks_like_a_host_is_a_bucket_with_a_warning() {
    let case = secret("R=s3://minio.x:9000/b/p"); // 31
    same(&case, &secret("KOPIA_S3_BUCKET=minio.x R=s3://y/b/p"));
    assert!(!case.identity().warnings.is_empty());
}

#[test]
fn a_remote_is_what_its_section_says() {
    let config = |name: &str, token: &str| format!("[{name}]\ntype = dropbox\ntoken = {token}\n");
    let at = |name: &str, token: &str| {
        secret(&format!("RCLONE_REMOTE_PATH={name}:bk")).with("RCLONE_CONFIG", &config(name, token))
    };
    same(&at("r1", "one"), &at("r2", "two").on("c2", "n2")); // 42
    let bare = secret("RCLONE_REMOTE_PATH=r1:bk");
    different(&bare, &bare.clone().on("c2", "n1"));
    assert!(bare.identity().ambiguous);
}

fn on_claim(claim: &str) -> Case {
    secret("R=filesystem:///mnt/b").source(json!({ "moverVolumes": [
        { "mountPath": "b", "volumeSource": { "persistentVolumeClaim": { "claimName": claim } } }
    ]}))
}

#[test]
fn a_claim_is_a_place_of_its_namespace() {
    let case = on_claim("repo"); // 43
    different(&case, &case.clone().on("c2", "n1"));
    different(&case, &case.clone().on("c1", "n2"));
    different(&case, &on_claim("other"));
    assert!(case.backend().unwrap().lives_on_claim());
    let unknown = secret("R=filesystem:///repository"); // 45
    same(&unknown, &unknown.clone().on("c1", "n2"));
    different(&unknown, &unknown.clone().on("c2", "n1"));
    assert!(unknown.identity().ambiguous);
    assert_eq!(unknown.backend().unwrap().obstacle(), Some("Filesystem"));
}

#[test]
fn blanks_are_trimmed_with_a_warning() {
    let trailing = secret("").with("KOPIA_REPOSITORY", "s3://bkt/p\n"); // 47
    same(&trailing, &secret("R=s3://bkt/p"));
    assert!(trailing.identity().warnings.iter().any(|text| text.contains("KOPIA_REPOSITORY")));
    assert!(!trailing.identity().ambiguous);
}

#[test]
fn a_merge_of_two_readings_is_ambiguous() {
    let plain = secret("R=s3://bkt EP=m.example.com KOPIA_S3_DISABLE_TLS=true"); // 13
    assert!(plain.identity().ambiguous);
    assert_ne!(plain.identity().reading, endpoint("m.example.com").identity().reading);
    let user = |user: &str| secret(&format!("SFTP_HOST=h.example.com SFTP_PATH=/repo SFTP_USERNAME={user}")).identity();
    assert_ne!(user("a").reading, user("b").reading); // 41
    let dav = |user: &str| secret(&format!("WEBDAV_URL=https://d.example.com WEBDAV_USERNAME={user}")).identity();
    assert_ne!(dav("a").reading, dav("b").reading);
}

#[test]
fn passwords_are_told_apart_and_not_kept() {
    let of = |password: &str| secret("R=s3://bkt").with("KOPIA_PASSWORD", password).facts().password;
    assert_ne!(of("one"), of("two")); // 21
    assert_eq!(of("one"), of("one\n"), "kopia trims it");
    assert!(of("").is_some());
    assert!(!format!("{:?}", secret("R=s3://bkt KOPIA_PASSWORD=hunter2").facts()).contains("hunter2"));
}

#[test]
fn a_secret_without_a_password_has_an_identity_and_says_what_is_missing() {
    let mut case = secret("R=s3://bkt");
    case.data.remove("KOPIA_PASSWORD");
    assert!(!case.facts().has_password());
    assert!(case.identity().warnings.iter().any(|text| text.contains("KOPIA_PASSWORD")));
}

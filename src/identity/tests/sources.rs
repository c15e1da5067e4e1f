//! What a source changes: volumes, a JSON configuration, arguments.

use serde_json::{Value, json};

use super::super::{Overrides, Reach};
use super::{Case, different, same, secret};

fn volumes(list: &Value) -> Value {
    json!({ "moverVolumes": list })
}

fn claim(mount: &str, claim: &str) -> Value {
    json!({ "mountPath": mount, "volumeSource": { "persistentVolumeClaim": { "claimName": claim } } })
}

fn nfs(mount: &str, server: &str, path: &str) -> Value {
    json!({ "mountPath": mount, "volumeSource": { "nfs": { "server": server, "path": path } } })
}

#[test]
fn a_claim_stands_in_for_the_repository_of_the_secret() {
    let with_claim = |pairs: &str| secret(pairs).source(volumes(&json!([claim("repo", "backup")])));
    // The claim makes it a file system, which comes before B2 and after Azure.
    assert!(with_claim("KOPIA_B2_BUCKET=bkt").backend().unwrap().lives_on_claim());
    assert!(with_claim("R=s3://bkt/p").backend().unwrap().lives_on_claim());
    assert!(!with_claim("KOPIA_GCS_BUCKET=bkt").backend().unwrap().lives_on_claim());
    same(&with_claim("KOPIA_GCS_BUCKET=bkt"), &secret("KOPIA_GCS_BUCKET=bkt"));
    // And it takes the prefix away.
    same(&with_claim("KOPIA_S3_BUCKET=bkt R=s3://bkt/p"), &secret("KOPIA_S3_BUCKET=bkt"));
}

#[test]
fn the_mount_path_does_not_matter_but_the_path_below_it_does() {
    let mounted = |mount: &str| secret("").source(volumes(&json!([claim(mount, "backup")])));
    same(&mounted("a"), &mounted("/b/c/"));
    let mut below = mounted("a");
    below.kopia["additionalArgs"] = json!(["--path=/mnt/a/sub"]);
    different(&below, &mounted("a"));
    assert_eq!(below.location(), "filesystem:///sub on claim n1/backup in cluster c1");
    assert_eq!(mounted("a").identity().reach, Reach::Namespace);
}

#[test]
fn only_the_first_claim_counts() {
    let two =
        secret("").source(volumes(&json!([nfs("x", "nas.example.com", "/e"), claim("a", "one"), claim("b", "two")])));
    same(&two, &secret("").source(volumes(&json!([claim("a", "one")]))));
    let of_old = secret("R=s3://bkt").source(json!({ "repositoryPVC": "one" }));
    assert!(of_old.backend().unwrap().lives_on_claim());
}

#[test]
fn an_nfs_volume_is_shared_by_what_it_exports() {
    let at = |path: &str, mount: &str, server: &str, export: &str| {
        secret(&format!("R=filesystem://{path}")).source(volumes(&json!([nfs(mount, server, export)])))
    };
    let case = at("/mnt/nas/repo", "nas", "NAS.example.com", "/export/");
    same(&case, &at("/mnt/x/", "x", "nas.example.com", "/export/repo").on("c2", "n2"));
    different(&case, &at("/mnt/nas/other", "nas", "nas.example.com", "/export"));
    assert_eq!((case.identity().backend, case.identity().reach), ("nfs", Reach::Shared));
    assert_eq!(case.location(), "nfs://nas.example.com/export/repo");
    assert_eq!(case.backend().unwrap().obstacle(), Some("Filesystem"));
    // A path beside the mount is on no volume that is known.
    assert_eq!(at("/mnt/nasty", "nas", "nas.example.com", "/e").identity().backend, "filesystem");
    assert!(at("/mnt/nas", "nas", "nas", "/e").identity().ambiguous);
}

#[test]
fn a_json_configuration_goes_before_the_secret() {
    let base = || secret("R=s3://other");
    let s3 = base().config(
        "s3",
        &json!({ "bucket": "bkt", "prefix": "p/", "endpoint": "s3.amazonaws.com", "secretAccessKey": "x" }),
    );
    same(&s3, &secret("R=s3://bkt/p"));
    same(
        &base().config("azureBlob", &json!({ "container": "C", "storageAccount": "a" })),
        &secret("KOPIA_AZURE_CONTAINER=c KOPIA_AZURE_STORAGE_ACCOUNT=a"),
    );
    same(&base().config("gcs", &json!({ "bucket": "b" })), &secret("KOPIA_GCS_BUCKET=b"));
    same(&base().config("b2", &json!({ "bucket": "b" })), &secret("KOPIA_B2_BUCKET=b"));
    same(
        &base().config("webdav", &json!({ "url": "https://u:p@d.example.com/x" })),
        &secret("WEBDAV_URL=https://d.example.com/x"),
    );
    same(
        &base().config("sftp", &json!({ "host": "h.example.com", "path": "/r", "port": 22, "username": "u" })),
        &secret("SFTP_HOST=h.example.com SFTP_PATH=/r"),
    );
    same(&base().config("gdrive", &json!({ "folderID": "f" })), &secret("GOOGLE_DRIVE_FOLDER_ID=f"));
    same(&base().config("filesystem", &json!({ "path": "/r" })), &secret("R=filesystem:///r"));
    same(
        &base().config("rclone", &json!({ "remotePath": "r:bk", "embeddedConfig": "[r]\ntype=drive\ntoken=x" })),
        &secret("RCLONE_REMOTE_PATH=q:bk").with("RCLONE_CONFIG", "[q]\ntype = drive\n"),
    );
}

#[test]
fn a_json_configuration_that_is_broken_falls_through() {
    let falls = |config: &Value| {
        let case = secret("R=s3://bkt").source(json!({ "policyConfig": { "repositoryConfig": config } }));
        same(&case, &secret("R=s3://bkt"));
        assert!(case.identity().ambiguous, "{config}");
    };
    falls(&json!("{not json"));
    falls(&json!("[]"));
    falls(&json!("{\"storage\":{\"type\":\"s3\",\"config\":{}}}"));
    falls(&json!({ "storage": { "type": "", "config": {} } }));
    falls(&json!(7));
    let empty = secret("R=s3://bkt").source(json!({ "policyConfig": { "repositoryConfig": "" } }));
    assert!(!empty.identity().ambiguous);
}

#[test]
fn the_same_key_inside_a_secret_is_ignored() {
    let case = secret("R=s3://bkt")
        .with("KOPIA_STRUCTURED_REPOSITORY_CONFIG", r#"{"storage":{"type":"gcs","config":{"bucket":"b"}}}"#);
    same(&case, &secret("R=s3://bkt"));
    assert!(case.identity().warnings.iter().any(|text| text.contains("KOPIA_STRUCTURED_REPOSITORY_CONFIG")));
}

#[test]
fn an_unknown_json_type_is_one_place_per_cluster() {
    let at = |token: &str| secret("").config("storj", &json!({ "bucket": "b", "token": token }));
    same(&at("one"), &at("two"));
    different(&at("one"), &at("one").on("c2", "n1"));
    assert!(at("one").identity().ambiguous);
    assert_eq!(at("one").backend().unwrap().obstacle(), Some("UnknownBackend"));
}

fn arguments(list: &[&str]) -> Case {
    secret("R=s3://bkt").arguments(list)
}

#[test]
fn arguments_name_another_place() {
    for list in [&["--prefix=x/"][..], &["--prefix", "x/"], &["--one-file-system", "--prefix=x/", "--parallel", "8"]] {
        same(&arguments(list), &secret("R=s3://bkt/x"));
        assert!(!arguments(list).identity().ambiguous, "{list:?}");
    }
    let folded = arguments(&["--prefix=x"]);
    same(&folded, &secret("R=s3://bkt/x"));
    assert!(folded.identity().ambiguous);
    assert!(folded.connect().contains(&"--prefix=x".to_owned()), "kopia gets it as the mover gives it");
    same(&arguments(&["--bucket=xyz"]), &secret("R=s3://xyz"));
    same(&arguments(&["--endpoint=m.example.com"]), &secret("R=s3://bkt EP=m.example.com"));
    let azure = secret("KOPIA_AZURE_CONTAINER=c KOPIA_AZURE_STORAGE_ACCOUNT=a");
    different(&azure.clone().arguments(&["--storage-domain=blob.core.chinacloudapi.cn"]), &azure);
    same(&azure.clone().arguments(&["--storage-domain=blob.core.windows.net"]), &azure);
    let sftp = secret("SFTP_HOST=h.example.com SFTP_PATH=/a");
    same(&sftp.clone().arguments(&["--path=/b"]), &secret("SFTP_HOST=h.example.com SFTP_PATH=/b"));
    same(&sftp.clone().arguments(&["--flat"]), &sftp);
}

#[test]
fn an_argument_that_does_not_fit_is_a_doubt() {
    let case = arguments(&["--path=/x"]);
    same(&case, &secret("R=s3://bkt"));
    assert!(case.identity().ambiguous);
    assert!(arguments(&["--flat"]).identity().ambiguous);
    assert!(!arguments(&["--parallel=8", "--ADD"]).identity().ambiguous);
}

#[test]
fn letters_that_the_mover_eats_are_taken_as_written_with_a_doubt() {
    let case = arguments(&["--prefix=team-A/"]);
    same(&case, &secret("R=s3://bkt/team-A"));
    assert!(case.identity().ambiguous);
    assert!(!arguments(&["--prefix=team-b/"]).identity().ambiguous);
}

#[test]
fn programs_and_raw_arguments_are_refused_wherever_they_stand() {
    let rclone = || secret("RCLONE_REMOTE_PATH=r:bk");
    for list in [
        &["--rclone-exe=/bin/sh"][..],
        &["--rclone-args", "--config=/x"],
        &["--external"],
        &["--ssh-command=sh"],
        &["--ssh-args=-oProxyCommand=sh"],
        &["--prefix=V--rclone-exe=/bin/sh"],
    ] {
        assert_eq!(rclone().arguments(list).reason(), "UnsafeOption", "{list:?}");
    }
    for (kind, config) in [
        ("sftp", json!({ "host": "h.example.com", "path": "/", "externalSSH": true })),
        ("sftp", json!({ "host": "h.example.com", "path": "/", "SSHcommand": "sh" })),
        ("rclone", json!({ "remotePath": "r:b", "rcloneExe": "/bin/sh" })),
        ("rclone", json!({ "remotePath": "r:b", "rcloneArgs": ["--x"] })),
        ("rclone", json!({ "remotePath": "r:b", "rcloneEnv": ["A=b"] })),
        ("rclone", json!({ "remotePath": ":sftp,ssh=sh:b" })),
    ] {
        assert_eq!(secret("R=s3://bkt").config(kind, &config).reason(), "UnsafeOption", "{config}");
    }
    let fine = secret("").config("sftp", &json!({ "host": "h.example.com", "path": "/", "externalSSH": false }));
    assert!(fine.try_identity().is_ok());
}

#[test]
fn most_sources_override_nothing() {
    let kopia = json!({ "repository": "s", "additionalArgs": ["--parallel=8"], "policyConfig": { "secretName": "x" },
        "moverVolumes": [{ "mountPath": "x", "volumeSource": { "secret": { "secretName": "y" } } }] });
    assert!(Overrides::read(&kopia).is_empty());
    for wrong in
        [json!(null), json!([]), json!({ "moverVolumes": 1, "additionalArgs": { "a": 1 }, "policyConfig": [] })]
    {
        assert!(Overrides::read(&wrong).is_empty());
    }
}

#[test]
fn overrides_hold_no_credential() {
    let case =
        secret("").config("s3", &json!({ "bucket": "b", "endpoint": "m.example.com", "secretAccessKey": "hunter2" }));
    assert!(!format!("{:?}", Overrides::read(&case.kopia)).contains("hunter2"));
    let case =
        secret("").arguments(&["--secret-access-key=hunter2", "--url=https://u:hunter2@h/x", "--password", "hunter2"]);
    assert!(!format!("{:?}", Overrides::read(&case.kopia)).contains("hunter2"));
    let case = secret("").arguments(&["--remote-path=:s3,secret_access_key=hunter2:b"]);
    assert!(!format!("{:?}", Overrides::read(&case.kopia)).contains("hunter2"));
}

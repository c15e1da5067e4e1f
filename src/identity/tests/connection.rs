//! How a Job connects: never with a credential among the arguments, and with no more of them than it needs.

use serde_json::{Value, json};

use super::super::{Credential, CredentialTarget};
use super::{Case, endpoint, secret};

fn credentials(case: &Case) -> Vec<Credential> {
    case.backend().unwrap().credentials(&case.facts())
}

fn variables(case: &Case) -> Vec<&'static str> {
    let variable = |credential: Credential| match credential.to {
        CredentialTarget::Environment(name) => Some(name),
        CredentialTarget::File { .. } => None,
    };
    credentials(case).into_iter().filter_map(variable).collect()
}

fn files(case: &Case) -> Vec<&'static str> {
    let file = |credential: Credential| match credential.to {
        CredentialTarget::Environment(_) => None,
        CredentialTarget::File { name, .. } => Some(name),
    };
    credentials(case).into_iter().filter_map(file).collect()
}

fn copied(case: &Case) -> Vec<String> {
    let copied: Vec<String> = case.copy().into_keys().collect();
    let mut expected: Vec<String> = credentials(case).into_iter().map(|credential| credential.key.to_owned()).collect();
    expected.sort();
    assert_eq!(copied, expected, "the copy holds what the Job reads, and nothing else");
    copied
}

fn text(case: &Case, key: &str) -> String {
    String::from_utf8(case.copy().remove(key).unwrap()).unwrap()
}

#[test]
fn s3_gets_typed_flags_and_its_keys_by_environment() {
    let case = secret("R=s3://bkt/a//b EP=http://minio:9000 KOPIA_S3_DISABLE_TLS=true AWS_REGION=eu")
        .with("AWS_ACCESS_KEY_ID", "hunter2")
        .with("AWS_SECRET_ACCESS_KEY", "hunter3")
        .with("UNRELATED", "x");
    assert_eq!(
        case.connect(),
        ["s3", "--bucket=bkt", "--endpoint=minio.n1.svc:9000", "--region=eu", "--prefix=a/b/", "--disable-tls"]
    );
    assert_eq!(variables(&case), ["KOPIA_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]);
    assert_eq!(copied(&case), ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "KOPIA_PASSWORD"]);
}

#[test]
fn hosts_are_written_so_that_they_resolve_from_another_namespace() {
    let host = |text: &str| endpoint(text).connect()[2].clone();
    assert_eq!(host("minio"), "--endpoint=minio.n1.svc");
    assert_eq!(host("minio.store:9000"), "--endpoint=minio.store:9000");
    assert_eq!(host("https://S3.Example.com/"), "--endpoint=s3.example.com");
    assert_eq!(host("[2001:db8::1]:9000"), "--endpoint=[2001:db8::1]:9000");
    assert_eq!(secret("R=s3://bkt").connect()[2], "--endpoint=s3.amazonaws.com");
    let aliased = endpoint("a.example").alias("a.example", "b.example");
    assert_eq!(aliased.connect()[2], "--endpoint=a.example", "an alias is no address to go to");
}

#[test]
fn azure_and_b2_get_the_variables_that_kopia_reads() {
    let azure = secret(
        "KOPIA_AZURE_CONTAINER=C KOPIA_AZURE_STORAGE_ACCOUNT=a KOPIA_AZURE_STORAGE_KEY=k AZURE_STORAGE_DOMAIN=x",
    );
    assert_eq!(azure.connect(), ["azure", "--container=C", "--storage-account=a"]);
    assert_eq!(variables(&azure), ["KOPIA_PASSWORD", "AZURE_STORAGE_KEY"]);
    let b2 = secret("KOPIA_B2_BUCKET=b B2_ACCOUNT_ID=i B2_APPLICATION_KEY=k");
    assert_eq!(b2.connect(), ["b2", "--bucket=b"]);
    assert_eq!(variables(&b2), ["KOPIA_PASSWORD", "B2_KEY_ID", "B2_KEY"]);
}

#[test]
fn google_gets_a_file_if_there_is_one() {
    let gcs = secret("KOPIA_GCS_BUCKET=b").with("GOOGLE_APPLICATION_CREDENTIALS", "{\n}");
    assert_eq!(gcs.connect(), ["gcs", "--bucket=b", "--credentials-file=/credentials/gcs.json"]);
    assert_eq!(files(&gcs), ["gcs.json"]);
    assert_eq!(secret("KOPIA_GCS_BUCKET=b").connect(), ["gcs", "--bucket=b"]);
    let drive = secret("GOOGLE_DRIVE_FOLDER_ID=f").with("GOOGLE_DRIVE_CREDENTIALS", "{}");
    assert_eq!(drive.connect(), ["gdrive", "--folder-id=f", "--credentials-file=/credentials/gdrive.json"]);
    assert_eq!(copied(&drive), ["GOOGLE_DRIVE_CREDENTIALS", "KOPIA_PASSWORD"]);
}

#[test]
fn credentials_in_a_url_are_lifted_out() {
    let case = secret("WEBDAV_URL=https://me:p%40ss@dav:8443/x?token=hunter2");
    assert_eq!(case.connect(), ["webdav", "--url=https://dav.n1.svc:8443/x"]);
    assert_eq!(variables(&case), ["KOPIA_PASSWORD", "KOPIA_WEBDAV_USERNAME", "KOPIA_WEBDAV_PASSWORD"]);
    assert_eq!(text(&case, "WEBDAV_PASSWORD"), "p@ss");
    assert!(!format!("{:?}{:?}", case.facts(), case.identity()).contains("p%40ss"));
    let plain = secret("WEBDAV_URL=http://d.example.com WEBDAV_USERNAME=u WEBDAV_PASSWORD=p");
    assert_eq!(copied(&plain), ["KOPIA_PASSWORD", "WEBDAV_PASSWORD", "WEBDAV_USERNAME"]);
}

#[test]
fn sftp_with_a_key_gets_files() {
    let case = secret("SFTP_HOST=ssh SFTP_PATH=/r SFTP_USERNAME=u SFTP_KEY_FILE=k SFTP_KNOWN_HOSTS_DATA=d");
    assert_eq!(
        case.connect(),
        [
            "sftp",
            "--host=ssh.n1.svc",
            "--port=22",
            "--username=u",
            "--path=/r",
            "--keyfile=/credentials/sftp_key",
            "--known-hosts=/credentials/known_hosts"
        ]
    );
    assert_eq!(files(&case), ["sftp_key", "known_hosts"]);
    let path = secret("SFTP_HOST=h.example.com SFTP_PATH=/r SFTP_KNOWN_HOSTS=/etc/known_hosts");
    assert!(files(&path).is_empty(), "a path of the mover's image is no file of the Job");
}

#[test]
fn sftp_with_a_password_gets_a_configuration_file() {
    let case = secret("SFTP_HOST=ssh SFTP_PATH=/r SFTP_USERNAME=u SFTP_PASSWORD=hunter2 SFTP_KEY_FILE=k")
        .with("SFTP_KNOWN_HOSTS_DATA", "h ssh-ed25519 A");
    assert_eq!(case.connect(), ["from-config", "--file=/credentials/repository.config"]);
    assert_eq!(copied(&case), ["KOPIA_PASSWORD", "repository.config"]);
    let config: Value = serde_json::from_str(&text(&case, "repository.config")).unwrap();
    assert_eq!(config["storage"]["type"], "sftp");
    let config = &config["storage"]["config"];
    assert_eq!((&config["host"], &config["password"]), (&json!("ssh.n1.svc"), &json!("hunter2")));
    assert_eq!(config["knownHostsData"], "h ssh-ed25519 A");
}

#[test]
fn rclone_gets_its_own_section_and_those_it_wraps() {
    let config = "[a]\ntype = s3\nendpoint = http://minio:9000\nsecret_access_key = k\nmd5sum_command = x\n\
                  [c]\ntype = crypt\nremote = a:bk\n[unrelated]\ntype = drive\ntoken = t\n";
    let case = secret("RCLONE_REMOTE_PATH=c:repo").with("RCLONE_CONFIG", config);
    assert_eq!(case.connect(), ["rclone", "--remote-path=c:repo", "--embed-rclone-config=/credentials/rclone.conf"]);
    assert_eq!(copied(&case), ["KOPIA_PASSWORD", "RCLONE_CONFIG"]);
    let pushed = text(&case, "RCLONE_CONFIG");
    assert!(pushed.contains("[c]\n") && pushed.contains("[a]\n") && pushed.contains("secret_access_key = k\n"));
    assert!(pushed.contains("endpoint = http://minio.n1.svc:9000\n"));
    assert!(!pushed.contains("unrelated") && !pushed.contains("md5sum_command"));
}

#[test]
fn options_of_a_remote_go_into_its_file() {
    let case = secret("RCLONE_REMOTE_PATH=:s3,secret_access_key=hunter2,endpoint=m.example.com:bk/p");
    assert_eq!(case.connect()[1], "--remote-path=volsync-hub:bk/p");
    assert!(text(&case, "RCLONE_CONFIG").contains("[volsync-hub]\n"));
    assert!(text(&case, "RCLONE_CONFIG").contains("secret_access_key = hunter2\n"));
    let bare = secret("RCLONE_REMOTE_PATH=r:bk");
    assert_eq!(bare.connect(), ["rclone", "--remote-path=r:bk"]);
    assert_eq!(copied(&bare), ["KOPIA_PASSWORD"]);
}

#[test]
fn credentials_of_a_json_configuration_take_their_usual_keys() {
    let case = secret("AWS_ACCESS_KEY_ID=of-secret AWS_SESSION_TOKEN=t").config(
        "s3",
        &json!({ "bucket": "b", "endpoint": "m.example.com", "accessKeyID": "i", "secretAccessKey": "s" }),
    );
    assert_eq!(copied(&case), ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "KOPIA_PASSWORD"]);
    assert_eq!(text(&case, "AWS_ACCESS_KEY_ID"), "i");
    let gcs = secret("").config("gcs", &json!({ "bucket": "b", "credentials": { "type": "service_account" } }));
    assert_eq!(text(&gcs, "GOOGLE_APPLICATION_CREDENTIALS"), r#"{"type":"service_account"}"#);
    let sftp = secret("SFTP_PASSWORD=x").config(
        "sftp",
        &json!({ "host": "h.example.com", "path": "/r", "username": "u", "keyData": "k", "knownHostsData": "d" }),
    );
    assert_eq!(copied(&sftp), ["KOPIA_PASSWORD", "SFTP_KEY_FILE", "SFTP_KNOWN_HOSTS_DATA"]);
    let rclone = secret("")
        .config("rclone", &json!({ "remotePath": "r:b", "embeddedConfig": "[r]\ntype=s3\nsecret_access_key=s" }));
    assert!(text(&rclone, "RCLONE_CONFIG").contains("secret_access_key = s\n"));
}

#[test]
fn no_argument_ever_holds_a_credential() {
    let all = "AWS_ACCESS_KEY_ID=hunter2 AWS_SECRET_ACCESS_KEY=hunter2 KOPIA_AZURE_STORAGE_KEY=hunter2 \
               B2_APPLICATION_KEY=hunter2 WEBDAV_PASSWORD=hunter2 SFTP_PASSWORD=hunter2 SFTP_KEY_FILE=hunter2 \
               GOOGLE_APPLICATION_CREDENTIALS=hunter2 GOOGLE_DRIVE_CREDENTIALS=hunter2 KOPIA_PASSWORD=hunter2";
    for place in [
        "R=s3://bkt",
        "KOPIA_AZURE_CONTAINER=c KOPIA_AZURE_STORAGE_ACCOUNT=a",
        "KOPIA_GCS_BUCKET=b",
        "KOPIA_B2_BUCKET=b",
        "WEBDAV_URL=https://hunter2:hunter2@d.example.com/x",
        "SFTP_HOST=hunter2@h.example.com SFTP_PATH=/r SFTP_USERNAME=u",
        "RCLONE_REMOTE_PATH=:s3,secret_access_key=hunter2:b",
        "GOOGLE_DRIVE_FOLDER_ID=f",
        "R=filesystem:///r",
    ] {
        let case = secret(&format!("{place} {all}"));
        let seen = format!("{:?} {:?} {:?} {:?}", case.connect(), case.facts(), case.backend(), case.identity());
        assert!(!seen.contains("hunter2"), "{seen}");
    }
}

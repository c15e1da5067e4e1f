//! Every backend's connection, credential files and custom CA.

use std::fs;

use volsync_hub::outcome::Outcome;

use crate::bench::Bench;

const CA: &str = "-----BEGIN CERTIFICATE-----\nplanted\n-----END CERTIFICATE-----\n";

fn with_ca(place: &[&str]) -> Bench {
    let mut bench = Bench::without_repository(place);
    fs::write(bench.path("ca.crt"), CA).unwrap();
    let path = bench.path("ca.crt").display().to_string();
    bench.set("CUSTOM_CA", path);
    bench.create("root@before");
    bench
}

#[test]
fn each_backend_is_claimed_and_maintained() {
    let places: [&[&str]; 8] = [
        &["s3", "--bucket=b", "--endpoint=h:9000", "--region=eu", "--prefix=a/", "--disable-tls"],
        &["azure", "--container=c", "--storage-account=a"],
        &["gcs", "--bucket=b", "--credentials-file=/credentials/file"],
        &["b2", "--bucket=b"],
        &["webdav", "--url=https://d.example.com/x"],
        &[
            "sftp",
            "--host=h",
            "--username=u",
            "--path=/p",
            "--keyfile=/credentials/file",
            "--known-hosts=/credentials/file",
        ],
        &["rclone", "--remote-path=r:b", "--embed-rclone-config=/credentials/file"],
        &["gdrive", "--folder-id=f", "--credentials-file=/credentials/file"],
    ];
    for place in places {
        let bench = Bench::without_repository(place);
        fs::write(bench.path("credentials/file"), "a long enough secret in a file").unwrap();
        let store = bench.store();
        assert!(store.starts_with(bench.path("stores")), "{}", store.display());
        bench.create("root@before");
        bench.run("claim").expect(Outcome::Claimed);
        bench.run("run").expect(Outcome::Succeeded);
        let journal = bench.journal().join("\n");
        assert!(!journal.contains("=/credentials/"), "the files are elsewhere here:\n{journal}");
    }
}

#[test]
fn a_file_system_repository_is_claimed_and_maintained() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("--path={}", folder.path().display());
    let bench = Bench::without_repository(&["filesystem", &path]);
    bench.create("root@before");
    bench.run("claim").expect(Outcome::Claimed);
    bench.run("run").expect(Outcome::Succeeded);
}

#[test]
fn a_password_for_sftp_reaches_kopia_in_a_file() {
    let mut bench = Bench::without_repository(&["from-config", "--file=/credentials/repository.config"]);
    let config = r#"{"storage": {"type": "sftp", "config": {"host": "h", "port": 22, "username": "u", "path": "/p",
        "password": "p'a\"ss", "externalSSH": false}}}"#;
    fs::write(bench.path("credentials/repository.config"), config).unwrap();
    bench.set("KOPIA_STANDIN_FAULT", "leak");
    bench.create("root@before");
    let ran = bench.run("claim");
    ran.expect(Outcome::Claimed);
    assert!(ran.log.contains(r#""password": "[redacted]""#) && ran.log.contains(r#""path": "/p""#), "{}", ran.log);
}

#[test]
fn a_custom_ca_goes_to_s3_as_an_argument() {
    let bench = with_ca(&crate::bench::S3);
    bench.run("claim").expect(Outcome::Claimed);
    let argument = format!("--root-ca-pem-path={}", bench.path("ca.crt").display());
    assert_eq!(bench.journal().iter().filter(|line| line.contains(&argument)).count(), 3);
    assert!(!bench.path("journal.ca").exists());
}

#[test]
fn a_custom_ca_joins_the_systems_for_every_other_backend() {
    let bench = with_ca(&["webdav", "--url=https://d.example.com/x"]);
    bench.run("claim").expect(Outcome::Claimed);
    assert!(!bench.journal().join("\n").contains("root-ca-pem-path"));
    let bundle = fs::read_to_string(bench.path("journal.ca")).unwrap();
    assert!(bundle.ends_with(CA));
    let system = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
    if let Some(system) = system.iter().find_map(|path| fs::read_to_string(path).ok()) {
        assert!(bundle.starts_with(&system));
    }
}

#[test]
fn the_cache_of_the_policy_is_divided_between_metadata_and_contents() {
    let mut bench = Bench::new();
    bench.set("HUB_CACHE_MB", "1000");
    bench.run("claim").expect(Outcome::Claimed);
    let journal = bench.journal().join("\n");
    assert!(journal.contains("--metadata-cache-size-limit-mb=700 --content-cache-size-limit-mb=200"), "{journal}");
}

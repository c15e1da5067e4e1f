//! What holds for every Secret: order and credentials never matter, spellings never matter, nothing ever panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::super::{Identity, Reach, SecretFacts};
use super::{Case, secret};

const KEYS: [&str; 40] = [
    "KOPIA_REPOSITORY",
    "KOPIA_PASSWORD",
    "KOPIA_S3_BUCKET",
    "KOPIA_S3_ENDPOINT",
    "AWS_S3_ENDPOINT",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "KOPIA_S3_DISABLE_TLS",
    "AWS_S3_DISABLE_TLS",
    "KOPIA_AZURE_CONTAINER",
    "KOPIA_AZURE_STORAGE_ACCOUNT",
    "KOPIA_AZURE_STORAGE_KEY",
    "KOPIA_GCS_BUCKET",
    "KOPIA_B2_BUCKET",
    "WEBDAV_URL",
    "WEBDAV_USERNAME",
    "WEBDAV_PASSWORD",
    "SFTP_HOST",
    "SFTP_PORT",
    "SFTP_PATH",
    "SFTP_USERNAME",
    "SFTP_PASSWORD",
    "SFTP_KEY_FILE",
    "SFTP_KNOWN_HOSTS",
    "SFTP_KNOWN_HOSTS_DATA",
    "RCLONE_REMOTE_PATH",
    "RCLONE_CONFIG",
    "RCLONE_EXE",
    "GOOGLE_DRIVE_FOLDER_ID",
    "GOOGLE_DRIVE_CREDENTIALS",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE_STORAGE_DOMAIN",
    "KOPIA_STRUCTURED_REPOSITORY_CONFIG",
    "KOPIA_ADDITIONAL_ARGS",
    "KOPIA_S3_PREFIX",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "B2_ACCOUNT_ID",
    "B2_APPLICATION_KEY",
];

/// Which backend a small Secret names, in each of the nine ways.
const PLACES: [&str; 10] = [
    "R=s3://bkt/p EP=m.example.com:9000",
    "KOPIA_S3_BUCKET=bkt EP=minio:9000",
    "KOPIA_AZURE_CONTAINER=c KOPIA_AZURE_STORAGE_ACCOUNT=a",
    "KOPIA_GCS_BUCKET=b",
    "R=filesystem:///r",
    "KOPIA_B2_BUCKET=b",
    "WEBDAV_URL=https://d.example.com/x",
    "SFTP_HOST=h.example.com SFTP_PATH=/x",
    "RCLONE_REMOTE_PATH=r:x",
    "GOOGLE_DRIVE_FOLDER_ID=f",
];

fn text() -> impl Strategy<Value = String> {
    let pieces = select(vec![
        "s3://",
        "filesystem://",
        "https://",
        "http://",
        "a",
        "B",
        "bkt",
        ".",
        "..",
        "/",
        "//",
        ":",
        "9000",
        "@",
        "u:p",
        "[",
        "]",
        "::1",
        "%",
        "%2f",
        "?",
        "#",
        "=",
        ",",
        "\"",
        "'",
        "-",
        "--",
        " ",
        "\n",
        "\0",
        "é",
        "\u{1f680}",
        "minio",
        ".svc",
        "127.0.0.1",
        "localhost",
        "type",
        "[r]\n",
        "remote = r:x\n",
        "{",
        "}",
        "true",
        "|VOLSYNC_ARG_SEP|",
        "xn--",
        "0",
        "65536",
        "rclone-exe",
    ]);
    vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => text().prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..64)]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from)
    ];
    let names = select(vec![
        "additionalArgs",
        "moverVolumes",
        "mountPath",
        "volumeSource",
        "persistentVolumeClaim",
        "claimName",
        "nfs",
        "server",
        "path",
        "policyConfig",
        "repositoryConfig",
        "storage",
        "type",
        "config",
        "bucket",
        "prefix",
        "endpoint",
        "host",
        "url",
        "remotePath",
        "embeddedConfig",
        "repositoryPVC",
        "password",
        "credentials",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(names.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_source() -> impl Strategy<Value = Value> {
    let kinds =
        select(vec!["s3", "azureBlob", "gcs", "b2", "webdav", "sftp", "rclone", "gdrive", "filesystem", "x", ""]);
    let document = (kinds, any_json()).prop_map(|(kind, config)| {
        json!({ "policyConfig": { "repositoryConfig": { "storage": { "type": kind, "config": config } } } })
    });
    let flags = select(vec![
        "--prefix",
        "--endpoint",
        "--bucket",
        "--path",
        "--url",
        "--host",
        "--remote-path",
        "--flat",
        "--port",
        "--x",
    ]);
    let argument = (flags, text(), any::<bool>())
        .prop_map(|(flag, value, joined)| if joined { format!("{flag}={value}") } else { flag.to_owned() });
    let arguments =
        vec(prop_oneof![argument, text()], 0..8).prop_map(|arguments| json!({ "additionalArgs": arguments }));
    prop_oneof![any_json(), document, arguments]
}

/// Everything that the hub does with a Secret.
fn exercise(case: &Case) -> Option<Identity> {
    let backend = case.backend().ok()?;
    case.in_scope(|scope| {
        let arguments = backend.connect_arguments(scope);
        assert!(arguments.iter().skip(1).all(|argument| argument.starts_with("--")), "{arguments:?}");
        let credentials = backend.credentials(&case.facts());
        let copy = backend.copy_data(&case.data, &case.kopia, scope);
        assert!(copy.keys().all(|key| credentials.iter().any(|credential| credential.key == key)));
        let identity = backend.identity(scope).ok()?;
        assert_eq!(identity.location.contains("in cluster c1"), identity.reach != Reach::Shared);
        assert!(!identity.location.contains(char::is_control));
        Some(identity)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_whatever_is_in_a_secret(
        data in btree_map(select(KEYS.to_vec()).prop_map(str::to_owned), bytes(), 0..12),
        kopia in any_source(),
    ) {
        let mut case = secret("");
        case.data = data;
        case.kopia = kopia;
        exercise(&case);
    }

    #[test]
    fn nothing_panics_whatever_a_known_place_is_mixed_with(
        place in select(PLACES.to_vec()),
        data in btree_map(select(KEYS.to_vec()).prop_map(str::to_owned), bytes(), 0..3),
        kopia in any_source(),
    ) {
        let mut case = secret(place);
        case.data.extend(data);
        case.kopia = kopia;
        exercise(&case);
    }

    #[test]
    fn credentials_and_unknown_keys_never_matter(
        place in select(PLACES.to_vec()),
        credentials in btree_map(select(vec![
            "KOPIA_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "KOPIA_AZURE_STORAGE_KEY",
            "AZURE_STORAGE_SAS_TOKEN", "B2_ACCOUNT_ID", "B2_APPLICATION_KEY", "WEBDAV_USERNAME", "WEBDAV_PASSWORD", "SFTP_PASSWORD",
            "SFTP_KEY_FILE", "SFTP_KNOWN_HOSTS_DATA", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_DRIVE_CREDENTIALS", "OTHER",
        ]).prop_map(str::to_owned), vec(any::<u8>(), 0..40), 0..8),
    ) {
        let mut with = secret(place);
        with.data.extend(credentials);
        prop_assert_eq!(with.identity().key, secret(place).identity().key);
    }

    #[test]
    fn spellings_that_the_mover_levels_are_one_place(
        bucket in "[a-z0-9][a-z0-9-]{1,20}[a-z0-9]",
        folders in vec("[A-Za-z0-9_.-]{1,8}", 0..4),
        slashes in vec(1_usize..4, 5),
        host in "[a-z]{1,8}\\.[a-z]{1,8}\\.example",
        port in prop_oneof![Just(None), (1_u16..=u16::MAX).prop_map(Some)],
        key in select(vec!["AWS_S3_ENDPOINT", "KOPIA_S3_ENDPOINT"]),
        scheme in select(vec!["", "http://", "https://"]),
        blanks in select(vec!["", " ", "\n", "\t\r\n"]),
        upper in any::<bool>(),
    ) {
        prop_assume!(folders.iter().all(|folder| !folder.contains("..")));
        let folders: Vec<&str> = folders.iter().map(|folder| folder.trim_matches('.')).filter(|folder| !folder.is_empty()).collect();
        let port = port.filter(|port| *port != 80).map(|port| format!(":{port}")).unwrap_or_default();
        let plain = secret("")
            .with("KOPIA_REPOSITORY", &format!("s3://{bucket}/{}", folders.join("/")))
            .with("AWS_S3_ENDPOINT", &format!("{host}{port}"));
        let mut path = String::new();
        for (folder, count) in folders.iter().zip(slashes.iter().skip(1)) {
            path.push_str(folder);
            path.push_str(&"/".repeat(*count));
        }
        let spelled_host = if upper { host.to_uppercase() } else { format!("{host}.") };
        let spelled = secret("")
            .with("KOPIA_REPOSITORY", &format!("s3://{bucket}/{path}{blanks}"))
            .with(key, &format!("{blanks}{scheme}{spelled_host}{port}/"));
        prop_assert_eq!(plain.identity().key, spelled.identity().key);
    }

    #[test]
    fn facts_do_not_depend_on_the_order_of_keys(pairs in vec((select(KEYS.to_vec()), text()), 0..12)) {
        let forward: BTreeMap<_, _> = pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone().into_bytes())).collect();
        let backward: BTreeMap<_, _> = forward.clone().into_iter().rev().collect();
        prop_assert_eq!(SecretFacts::read(&forward), SecretFacts::read(&backward));
    }

    #[test]
    fn another_cluster_changes_exactly_what_is_not_shared(
        place in select(PLACES.to_vec()),
        endpoint in select(vec!["minio", "minio.store", "minio.store.svc", "10.0.0.1:9000", "a.b.example", "x.svc.clusterset.local"]),
    ) {
        let case = secret(&format!("{place} KOPIA_S3_ENDPOINT={endpoint}")).namespaces(&["store"]);
        let (here, there) = (case.identity(), case.on("c2", "n1").identity());
        prop_assert_eq!(here.key == there.key, here.reach == Reach::Shared);
    }
}

#[test]
fn a_value_of_a_megabyte_is_refused_and_costs_nothing_much() {
    let huge = "a".repeat(1 << 20);
    for key in KEYS {
        let case = secret("").with(key, &huge);
        exercise(&case);
    }
    assert_eq!(secret("").with("KOPIA_S3_BUCKET", &huge).reason(), "InvalidLocation");
    let deep = "[".repeat(1 << 20);
    let case = secret("R=s3://bkt").source(json!({ "policyConfig": { "repositoryConfig": deep } }));
    assert!(case.identity().ambiguous);
}

#[test]
fn a_value_that_is_no_text_is_refused_by_its_key() {
    for key in ["KOPIA_S3_BUCKET", "KOPIA_REPOSITORY", "AWS_S3_ENDPOINT"] {
        let mut case = secret("R=s3://bkt");
        case.data.insert(key.to_owned(), vec![b'a', 0xff, 0xfe]);
        let problem = case.try_identity().unwrap_err();
        assert_eq!(problem.reason, "InvalidLocation");
        assert!(problem.message.contains(key));
    }
    let mut case = secret("R=s3://bkt");
    case.data.insert("SFTP_HOST".to_owned(), vec![0xff]);
    case.data.insert("AWS_SECRET_ACCESS_KEY".to_owned(), vec![0xff]);
    case.identity();
}

//! The data of a repository Secret, and what its source says beside it.

use std::collections::BTreeMap;

use serde_json::Value;
use volsync_hub::identity::{Backend, Identity, IdentityProblem, Overrides, Reach, Scope, SecretFacts};
use volsync_hub::names::MemberName;

use super::{assert_message, in_time};

/// Between two fields of the input.
const SEPARATOR: u8 = 0x1f;
/// The field that holds `spec.kopia` of the source, in JSON.
const SOURCE: &str = "kopia";
/// Programs or raw arguments: the hub hands on none of them.
const EXECUTABLE: [&str; 6] =
    ["--rclone-exe", "--rclone-args", "--rclone-env", "--ssh-command", "--ssh-args", "--external"];
/// What nobody may read in a status, a log or the arguments of a Pod.
const CREDENTIALS: [&str; 12] = [
    "KOPIA_PASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "KOPIA_AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_SECRET",
    "B2_APPLICATION_KEY",
    "WEBDAV_PASSWORD",
    "SFTP_PASSWORD",
    "SFTP_KEY_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_DRIVE_CREDENTIALS",
];

struct Input {
    data: BTreeMap<String, Vec<u8>>,
    kopia: Value,
}

/// Fields `KEY=value` with a separator between them.
pub fn secret(bytes: &[u8]) {
    let mut input = Input { data: BTreeMap::new(), kopia: Value::Null };
    for field in bytes.split(|byte| *byte == SEPARATOR) {
        let end = field.iter().position(|byte| *byte == b'=').unwrap_or(field.len());
        let (key, value) = (String::from_utf8_lossy(&field[..end]), field.get(end + 1..).unwrap_or_default());
        if key == SOURCE {
            input.kopia = serde_json::from_slice(value).unwrap_or_default();
        } else {
            input.data.insert(key.into_owned(), value.to_vec());
        }
    }
    let outcome = in_time("reading a Secret", || use_up(&input, &input.data));
    let mut replaced = input.data.clone();
    for (_, value) in replaced.iter_mut().filter(|(key, value)| is_credential(key) && !value.is_empty()) {
        *value = b"another".to_vec();
    }
    assert_eq!(outcome, use_up(&input, &replaced), "a credential shows");
    let shown = |data| format!("{:?}", SecretFacts::read(data));
    assert_eq!(shown(&input.data), shown(&replaced), "a credential shows");
    let mut without = input.data.clone();
    without.retain(|key, _| !is_credential(key));
    let key = |identity: Result<Identity, IdentityProblem>| identity.map(|identity| identity.key);
    assert_eq!(key(outcome.1), key(use_up(&input, &without).1), "credentials decide nothing");
}

fn is_credential(key: &str) -> bool {
    CREDENTIALS.contains(&key)
}

/// Everything that the hub does with a Secret: arguments of the Job, and who this is.
fn use_up(input: &Input, data: &BTreeMap<String, Vec<u8>>) -> (Vec<String>, Result<Identity, IdentityProblem>) {
    let facts = SecretFacts::read(data);
    assert_eq!(facts, SecretFacts::read(data), "what is read twice is the same");
    let scope = Scope {
        member: &MemberName::from("c1"),
        namespace: "n1",
        cluster_domain: "cluster.local",
        cidrs: &[],
        has_namespace: &|name| name == "n2",
        aliases: &BTreeMap::new(),
    };
    let backend = match facts.backend(&Overrides::read(&input.kopia)) {
        Ok(backend) => backend,
        Err(problem) => return (Vec::new(), Err(checked(problem))),
    };
    let arguments = arguments(&backend, &facts, input, data, &scope);
    match backend.identity(&scope) {
        Ok(identity) => {
            // A bucket, a path and an address, none longer than 4,096 bytes.
            assert!(identity.location.len() <= 12_500 && !identity.location.contains(char::is_control));
            identity.warnings.iter().for_each(|warning| assert_message(warning));
            // A shared one may say so too, in what a configuration calls it.
            assert!(identity.location.ends_with(" in cluster c1") || identity.reach == Reach::Shared);
            (arguments, Ok(identity))
        }
        Err(problem) => (arguments, Err(checked(problem))),
    }
}

fn checked(problem: IdentityProblem) -> IdentityProblem {
    assert!(["UnknownBackend", "InvalidLocation", "UnsafeOption", "Loopback"].contains(&problem.reason));
    assert_message(&problem.message);
    problem
}

fn arguments(
    backend: &Backend,
    facts: &SecretFacts,
    input: &Input,
    data: &BTreeMap<String, Vec<u8>>,
    scope: &Scope<'_>,
) -> Vec<String> {
    let arguments = backend.connect_arguments(scope);
    for argument in arguments.iter().skip(1) {
        assert!(argument.starts_with("--") && !argument.contains(char::is_control), "{argument:?}");
        let flag = argument.split('=').next().unwrap_or_default();
        assert!(!EXECUTABLE.contains(&flag), "{argument:?}");
    }
    let credentials = backend.credentials(facts);
    let copy = backend.copy_data(data, &input.kopia, scope);
    assert!(copy.keys().all(|key| credentials.iter().any(|credential| credential.key == key)), "{:?}", copy.keys());
    arguments
}

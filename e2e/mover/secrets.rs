//! What must stay inside: no credential in the log, in the outcome, or in the arguments of any process.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use volsync_hub::outcome::Outcome;

use crate::bench::{Bench, Ran, family};

const PASSWORD: &str = "pl4nted pass\"word\\with/all+kinds&of*[signs]";
const KEY: &str = "PLANTEDKEYID00";
const SECRET: &str = "planted/secret+key==";
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\\nplantedprivatekeymaterial\\n-----END PRIVATE KEY-----\\n";

fn forms(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).unwrap();
    vec![secret.to_owned(), STANDARD.encode(secret), json[1..json.len() - 1].to_owned()]
}

fn assert_clean(what: &str, text: &str, secrets: &[&str]) {
    for form in secrets.iter().flat_map(|secret| forms(secret)) {
        assert!(!text.contains(&form), "{what} shows {form}:\n{text}");
    }
}

fn assert_all_clean(bench: &Bench, ran: &Ran, secrets: &[&str]) {
    assert_clean("the log", &ran.log, secrets);
    assert_clean("the error stream", &ran.errors, secrets);
    assert_clean("the termination message", &ran.message, secrets);
    assert_clean("kopia's arguments", &bench.journal().join("\n"), secrets);
}

#[test]
fn credentials_that_kopia_prints_in_any_form_are_redacted() {
    let mut bench = Bench::without_repository(&crate::bench::S3);
    bench.set("KOPIA_PASSWORD", PASSWORD).set("AWS_ACCESS_KEY_ID", KEY).set("AWS_SECRET_ACCESS_KEY", SECRET);
    bench.create("root@before");
    bench.fault("leak");
    let ran = bench.run("claim");
    ran.expect(Outcome::Claimed);
    assert!(ran.log.contains("KOPIA_PASSWORD=[redacted]"), "{}", ran.log);
    assert!(ran.log.contains("url: https://host/"), "{}", ran.log);
    assert_all_clean(&bench, &ran, &[PASSWORD, KEY, SECRET]);
    bench.fault("auth");
    let ran = bench.run("claim");
    ran.expect(Outcome::AuthFailed);
    assert_all_clean(&bench, &ran, &[PASSWORD, KEY, SECRET]);
}

#[test]
fn credential_files_are_redacted_too() {
    let bench = Bench::without_repository(&["gcs", "--bucket=b", "--credentials-file=/credentials/gcs.json"]);
    let file = format!("{{\"type\": \"service_account\", \"private_key\": \"{PRIVATE_KEY}\"}}\n");
    fs::write(bench.path("credentials/gcs.json"), file).unwrap();
    bench.create("root@before");
    bench.fault("leak");
    let ran = bench.run("claim");
    ran.expect(Outcome::Claimed);
    assert_all_clean(&bench, &ran, &["plantedprivatekeymaterial"]);
}

#[test]
fn no_process_has_a_credential_in_its_arguments() {
    let mut bench = Bench::without_repository(&crate::bench::S3);
    bench.set("KOPIA_PASSWORD", PASSWORD).set("AWS_SECRET_ACCESS_KEY", SECRET).set("AWS_ACCESS_KEY_ID", KEY);
    bench.create("root@before");
    let mut child = bench.start("claim");
    let mut seen = String::new();
    while child.try_wait().unwrap().is_none() {
        for process in family(child.id()) {
            seen += &fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default().replace('\0', " ");
            seen.push('\n');
        }
    }
    assert!(seen.contains("repository connect s3"), "too slow to see anything:\n{seen}");
    assert_clean("some process", &seen, &[PASSWORD, SECRET, KEY]);
    let ran = bench.finish(child);
    ran.expect(Outcome::Claimed);
    assert_all_clean(&bench, &ran, &[PASSWORD, SECRET, KEY]);
}

#[test]
fn nothing_is_written_but_to_the_mounts_and_nothing_is_left_there() {
    let bench = Bench::new();
    bench.run("claim").expect(Outcome::Claimed);
    bench.run("run").expect(Outcome::Succeeded);
    let is_empty = |name: &str| fs::read_dir(bench.path(name)).unwrap().next().is_none();
    assert!(is_empty("cache") && is_empty("tmp"), "configurations hold credentials, so none may stay");
    assert!(is_empty("elsewhere"), "the working folder stands for a read-only root");
}

#[test]
fn the_script_calls_only_what_the_mover_image_has() {
    let script = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/mover/maintain.sh")).unwrap();
    for foreign in ["kubectl", "python", "curl ", "ps ", "flock", "awk ", "repository create", "--force", "--safety"] {
        let used = script.lines().filter(|line| !line.trim_start().starts_with('#')).any(|line| line.contains(foreign));
        assert!(!used, "{foreign}");
    }
}

//! Planted credentials of every kind are nowhere but in Secrets.

use std::collections::BTreeMap;

use aho_corasick::AhoCorasick;
use serde_json::{Value, json};

use super::stage::{LONG, NORTH, Stage, object, run_by_hand};
use crate::harness::control_plane::base64;
use crate::harness::hub;
use crate::harness::objects::{self, S3};
use crate::harness::wait::{Seen, wait_for};
use crate::harness::{self, Fail};

/// One repository Secret of each kind: its name, and its keys. What is credential in a value stands between `<` and
/// `>`, which are not part of it, and has signs that look different in base64, in a URL and in JSON.
const PLANTED: [(&str, &[(&str, &str)]); 11] = [
    (
        "s3",
        &[
            ("KOPIA_REPOSITORY", "s3://planted-s3"),
            ("AWS_S3_ENDPOINT", "s3.example.com"),
            ("KOPIA_PASSWORD", "<Pl4nted-s3+pass/word?&\"quoted\" ü>"),
            ("AWS_ACCESS_KEY_ID", "<PL4NTEDACCESSKEY>"),
            ("AWS_SECRET_ACCESS_KEY", "<pl4nted/secret+access=key>"),
            ("AWS_SESSION_TOKEN", "<pl4nted-session//token++==>"),
        ],
    ),
    (
        "azure",
        &[
            ("KOPIA_REPOSITORY", "azure://planted"),
            ("KOPIA_AZURE_CONTAINER", "planted"),
            ("KOPIA_AZURE_STORAGE_ACCOUNT", "account"),
            ("KOPIA_PASSWORD", "<Pl4nted azure & password>"),
            ("AZURE_STORAGE_ACCOUNT", "account"),
            ("AZURE_STORAGE_KEY", "<pl4nted+azure/key==>"),
            ("KOPIA_AZURE_STORAGE_KEY", "<pl4nted+azure2/key==>"),
            ("AZURE_STORAGE_SAS_TOKEN", "<sv=2026&sig=pl4nted%2Bsas%3D>"),
            ("AZURE_CLIENT_SECRET", "<pl4nted~client.secret>"),
        ],
    ),
    (
        "azure-certificate",
        &[
            ("KOPIA_REPOSITORY", "azure://planted-certificate"),
            ("KOPIA_AZURE_CONTAINER", "planted-certificate"),
            ("KOPIA_AZURE_STORAGE_ACCOUNT", "account"),
            ("KOPIA_PASSWORD", "<Pl4nted-certificate-password>"),
            ("AZURE_TENANT_ID", "tenant"),
            ("AZURE_CLIENT_ID", "client"),
            (
                "AZURE_CLIENT_CERTIFICATE",
                "<-----BEGIN PRIVATE KEY-----\npl4ntedAzureCertificate+/==\n-----END PRIVATE KEY-----\n>",
            ),
        ],
    ),
    (
        "gcs",
        &[
            ("KOPIA_REPOSITORY", "gcs://planted"),
            ("KOPIA_GCS_BUCKET", "planted"),
            ("KOPIA_PASSWORD", "<Pl4nted-gcs-p\\ssword>"),
            (
                "GOOGLE_APPLICATION_CREDENTIALS",
                "{\"type\":\"service_account\",\"private_key\":\"<-----BEGIN PRIVATE KEY-----pl4ntedGcsKey+/>\"}",
            ),
        ],
    ),
    (
        "b2",
        &[
            ("KOPIA_REPOSITORY", "b2://planted"),
            ("KOPIA_B2_BUCKET", "planted"),
            ("KOPIA_PASSWORD", "<Pl4nted-b2-password>"),
            ("B2_ACCOUNT_ID", "<pl4ntedB2AccountId>"),
            ("B2_APPLICATION_KEY", "<pl4nted/B2+application=key>"),
        ],
    ),
    (
        "webdav",
        &[
            ("KOPIA_REPOSITORY", "webdav://planted"),
            ("WEBDAV_URL", "https://user:<pl4nted-userinfo>@dav.example.com/planted?X-Signature=<pl4nted-signature>"),
            ("KOPIA_PASSWORD", "<Pl4nted-webdav-password>"),
            ("WEBDAV_USERNAME", "<pl4nted-webdav-user>"),
            ("WEBDAV_PASSWORD", "<pl4nted:webdav@pass>"),
        ],
    ),
    (
        "sftp",
        &[
            ("KOPIA_REPOSITORY", "sftp://planted"),
            ("SFTP_HOST", "sftp.example.com"),
            ("SFTP_PATH", "/planted"),
            ("SFTP_USERNAME", "backup"),
            ("KOPIA_PASSWORD", "<Pl4nted-sftp-password>"),
            ("SFTP_PASSWORD", "<pl4nted'sftp\"pass>"),
            ("SFTP_KNOWN_HOSTS", "sftp.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"),
        ],
    ),
    (
        "sftp-key",
        &[
            ("KOPIA_REPOSITORY", "sftp://planted-key"),
            ("SFTP_HOST", "sftp.example.com"),
            ("SFTP_PATH", "/planted-key"),
            ("SFTP_USERNAME", "backup"),
            ("KOPIA_PASSWORD", "<Pl4nted-sftp-key-password>"),
            (
                "SFTP_KEY_FILE",
                "<-----BEGIN OPENSSH PRIVATE KEY-----\npl4ntedSftpKey+/A=\n-----END OPENSSH PRIVATE KEY-----\n>",
            ),
            ("SFTP_KNOWN_HOSTS_DATA", "sftp.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"),
        ],
    ),
    (
        "gdrive",
        &[
            ("KOPIA_REPOSITORY", "gdrive://planted"),
            ("GOOGLE_DRIVE_FOLDER_ID", "planted"),
            ("KOPIA_PASSWORD", "<Pl4nted-gdrive-password>"),
            ("GOOGLE_DRIVE_CREDENTIALS", "{\"type\":\"service_account\",\"private_key\":\"<pl4ntedDriveKey+/ &>\"}"),
        ],
    ),
    (
        "configured",
        &[("KOPIA_REPOSITORY", "s3://planted-configured"), ("KOPIA_PASSWORD", "<Pl4nted-configured-password>")],
    ),
    (
        "rclone",
        &[
            ("KOPIA_REPOSITORY", "rclone://planted"),
            ("RCLONE_REMOTE_PATH", "far:planted"),
            ("KOPIA_PASSWORD", "<Pl4nted-rclone-password>"),
            (
                "RCLONE_CONFIG",
                "[far]\ntype = webdav\nurl = https://rclone.example.com\nuser = u\npass = <pl4ntedRcloneObscured_-x>\n",
            ),
        ],
    ),
];

/// A configuration of kopia's own, which the source `configured` brings along.
const CONFIGURATION: &str = r#"{"storage": {"type": "s3", "config": {"bucket": "planted-configured",
    "endpoint": "s3.example.com", "accessKeyID": "<PL4NTEDCONFIGUREDKEY>",
    "secretAccessKey": "<pl4nted/configured+key=>"}}}"#;

/// Sources of the namespace `unsafe`: what in their Secrets would choose a program to run.
const UNSAFE: [(&str, &str, &str); 3] = [
    ("by-variable", "RCLONE_EXE", "/bin/sh"),
    ("by-remote", "RCLONE_REMOTE_PATH", ":webdav,bearer_token_command=sh:x"),
    ("by-configuration", "RCLONE_CONFIG", "[far]\ntype = sftp\nssh = /bin/sh\n"),
];

/// The credentials of a value, and the value without the marks.
fn split(value: &str) -> (String, Vec<String>) {
    let mut secrets = Vec::new();
    for part in value.split('<').skip(1) {
        secrets.extend(part.split_once('>').map(|(secret, _)| secret.to_owned()));
    }
    (value.replace(['<', '>'], ""), secrets)
}

/// How a credential may look in a text: as it is, in base64 wherever in it it begins, in a URL, in JSON.
fn forms(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).unwrap_or_default();
    let escaped: String = secret
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    let mut forms = vec![secret.to_owned(), json[1..json.len() - 1].to_owned(), escaped.to_lowercase(), escaped];
    for before in 0..3 {
        // What comes before and after shares letters with it at both ends: those are left out.
        let encoded = base64(&format!("{}{secret}", &"xx"[..before]));
        let end = (before + secret.len()) / 3 * 4;
        let inner = encoded.get([0, 2, 3][before]..end).unwrap_or_default().to_owned();
        forms.push(inner.replace('+', "-").replace('/', "_"));
        forms.push(inner);
    }
    forms
}

fn secret(namespace: &str, name: &str, keys: &[(&str, &str)]) -> String {
    let data: BTreeMap<_, _> = keys.iter().map(|(key, value)| (*key, split(value).0)).collect();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "stringData": data});
    format!("---\n{secret}\n")
}

fn source(name: &str) -> String {
    let source = objects::source("planted", name, name);
    if name != "configured" {
        return source;
    }
    let config = Value::from(split(CONFIGURATION).0);
    source.replace("kopia: {", &format!("kopia: {{policyConfig: {{repositoryConfig: {config}}}, "))
}

/// Every credential that was planted.
fn credentials() -> impl Iterator<Item = String> {
    let of_secrets = PLANTED.iter().flat_map(|(_, keys)| keys.iter()).map(|(_, value)| *value);
    of_secrets.chain([CONFIGURATION]).flat_map(|value| split(value).1)
}

/// Where credentials stand in what is told, and in which form.
fn leaks(told: &[(String, String)]) -> Result<Vec<String>, Fail> {
    let forms: Vec<_> = credentials().flat_map(|value| forms(&value)).collect();
    let search = AhoCorasick::new(&forms)?;
    let found = |(place, text): &(String, String)| Some(format!("{place} holds {}", &text[search.find(text)?.range()]));
    Ok(told.iter().filter_map(found).collect())
}

/// Everything that anybody may read, by where it is.
async fn told(stage: &Stage, hub: &hub::Hub) -> Result<Vec<(String, String)>, Fail> {
    let fleet = &stage.fleet;
    let mut told = vec![("the hub's log".to_owned(), hub.log_text())];
    let arguments = std::fs::read_to_string(fleet.dir.join("journal"))?;
    assert!(arguments.contains("repository connect"), "{arguments}");
    told.push(("the arguments of the mover's kopia".to_owned(), arguments));
    told.push(("a span".to_owned(), format!("{:#?}", stage.collector.spans())));
    told.push(("/metrics".to_owned(), hub::get(hub.port, "/metrics").await?.1));
    let kinds = "events,configmaps,serviceaccounts,cronjobs,jobs,pods,leases";
    for cluster in fleet.clusters() {
        let more = if cluster.name == fleet.hub.name {
            ",kopiamaintenances,kopiarepositories,memberclusters,secrets"
        } else {
            ""
        };
        let objects =
            cluster.shell.kubectl(&format!("get {kinds}{more} -A -o json --show-managed-fields")).await?.ok()?;
        told.push((format!("an object in {}", cluster.name), objects));
        // Secrets too, but for their data.
        let secrets = object(&cluster.client, "/api/v1/secrets").await?;
        for mut secret in secrets["items"].as_array().cloned().unwrap_or_default() {
            let place = format!("{}/{}", secret["metadata"]["namespace"], secret["metadata"]["name"]);
            let data = secret.as_object_mut().and_then(|it| it.remove("data")).unwrap_or_default();
            told.push((format!("the metadata of Secret {place} in {}", cluster.name), secret.to_string()));
            let allowed = ["\"planted\"", "\"volsync-system\""].iter().any(|it| place.starts_with(it));
            if !allowed || cluster.name != NORTH {
                told.push((format!("Secret {place} in {}", cluster.name), data.to_string()));
            }
        }
        let audit = std::fs::read_to_string(cluster.dir.join("audit.log")).unwrap_or_default();
        told.push((format!("the audit log of {}", cluster.name), audit));
    }
    Ok(told)
}

#[test]
fn planted_credentials_are_nowhere_but_in_secrets() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let _turn = stage.turn().await;
        let (fleet, north) = (&stage.fleet, stage.fleet.member(NORTH)?);
        let mut manifest = objects::namespace("planted", &[]);
        for (name, keys) in PLANTED {
            manifest += &secret("planted", name, keys);
            manifest += &source(name);
        }
        north.shell.apply(&manifest).await?;
        // One of them is really there, so that a run of it goes well.
        let password = split(PLANTED[0].1[2].1).0;
        S3::bucket("planted-s3").create_with(fleet, &[("KOPIA_PASSWORD", &password)]).await?;
        fleet.hub.shell.apply(&objects::policy_in("planted", &["planted"], "schedule: \"0 3 1 1 *\"")).await?;
        let hub = stage.hub("hub-of-secrets", &["--log=trace", "--log-format=json"]).await?;

        // Claims of all kinds have ended: they connect, or fail because no such repository was ever created.
        let claimed = wait_for("a claim of each kind to end", LONG, async || {
            let jobs = object(&north.client, "/apis/batch/v1/namespaces/volsync-system/jobs").await?;
            let jobs = jobs["items"].as_array().cloned().unwrap_or_default();
            let of_policy = |it: &&Value| it["metadata"]["annotations"]["hub.volsync.backube/policy"] == "planted";
            let jobs: Vec<_> = jobs.iter().filter(of_policy).collect();
            let ended = jobs.iter().filter(|it| it["status"]["conditions"].is_array()).count();
            let seen = format!("{ended} of {} Jobs", jobs.len());
            Ok(if ended >= PLANTED.len() { Seen::Done(ended) } else { Seen::NotYet(seen) })
        });
        claimed.await?;
        let ready = |it: &Value| it["grant"]["phase"] == "Active";
        stage.repository("planted-s3", "to be maintained", ready).await?;
        run_by_hand(stage, "planted").await?;
        let ended = |it: &Value| it["runs"][0]["outcome"] == "Succeeded";
        stage.repository("planted-s3", "to have been maintained", ended).await?;
        let clean = told(stage, &hub).await?;
        assert!(clean.iter().any(|(_, text)| text.contains("went well")), "no run is told of");
        assert_eq!(leaks(&clean)?, [""; 0], "credentials");
        search_finds_leaks(stage, &hub).await?;
        hub.stop()?;
        fleet.hub.shell.kubectl("delete kopiamaintenance planted").await?.ok().map(drop)
    })
}

/// What is looked for would be found: once as it is, once in a URL, once in base64.
async fn search_finds_leaks(stage: &Stage, hub: &hub::Hub) -> Result<(), Fail> {
    let (fleet, north) = (&stage.fleet, stage.fleet.member(NORTH)?);
    let [plain, key, token] = ["<PL4NTEDACCESSKEY>", "<pl4nted+azure/key==>", "<pl4nted-session//token++==>"]
        .map(|marked| split(marked).1.concat());
    let url = forms(&key).into_iter().find(|form| form.contains("%2B")).ok_or("no URL form")?;
    for (cluster, text) in [(&fleet.hub, plain), (north, format!("https://example.com/?key={url}"))] {
        cluster.shell.kubectl(&format!("create configmap leak --from-literal=note={text}")).await?.ok()?;
    }
    let journal = fleet.dir.join("journal");
    let arguments = std::fs::read_to_string(&journal)?;
    std::fs::write(&journal, format!("{arguments} --header={}\n", base64(&format!("user:{token}:"))))?;
    let found = leaks(&told(stage, hub).await?)?;
    std::fs::write(&journal, arguments)?;
    for cluster in [&fleet.hub, north] {
        cluster.shell.kubectl("delete configmap leak").await?.ok()?;
    }
    let places = ["the arguments of the mover's kopia holds", "an object in hub holds", "an object in north holds"];
    assert_eq!(found.len(), places.len(), "{found:?}");
    assert!(found.iter().zip(places).all(|(found, place)| found.starts_with(place)), "{found:?}");
    Ok(())
}

#[test]
fn what_would_choose_a_program_is_refused() -> Result<(), Fail> {
    harness::run(async {
        let stage = Stage::shared().await?;
        let _turn = stage.turn().await;
        let (fleet, north) = (&stage.fleet, stage.fleet.member(NORTH)?);
        let mut manifest = objects::namespace("unsafe", &[]);
        for (name, key, value) in UNSAFE {
            let mut keys = BTreeMap::from([
                ("KOPIA_PASSWORD", "any"),
                ("KOPIA_REPOSITORY", "rclone://unsafe"),
                ("RCLONE_REMOTE_PATH", "far:unsafe"),
                ("RCLONE_CONFIG", "[far]\ntype = webdav\nurl = https://rclone.example.com\n"),
            ]);
            keys.insert(key, value);
            manifest += &secret("unsafe", name, &keys.into_iter().collect::<Vec<_>>());
            manifest += &objects::source("unsafe", name, name);
        }
        north.shell.apply(&manifest).await?;
        fleet.hub.shell.apply(&objects::policy_in("unsafe", &["unsafe"], "schedule: \"0 3 1 1 *\"")).await?;
        let hub = stage.hub("hub-of-unsafe", &[]).await?;
        let output = tokio::process::Command::new(hub::binary()?)
            .args(["plan", "-o", "json", "--allow-loopback"])
            .env("VOLSYNC_HUB_KUBECONFIG_DIR", &fleet.kubeconfigs)
            .env("KUBECONFIG", &fleet.hub_kubeconfig)
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        let plan: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {said}"))?;
        let sources = plan["sources"].as_array().cloned().unwrap_or_default();
        for (name, key, _) in UNSAFE {
            let source = sources.iter().find(|it| it["namespace"] == "unsafe" && it["name"] == name);
            let source = source.ok_or_else(|| format!("no source {name} in {sources:?}"))?;
            assert_eq!(source["reason"], "UnsafeOption", "{key}: {source}");
            assert!(source["repository"].is_null(), "{source}");
        }
        // Nothing of it is pushed, and no Job runs.
        let list = object(&north.client, "/apis/batch/v1/namespaces/volsync-system/cronjobs").await?;
        assert!(!list.to_string().contains("\"unsafe"), "{list}");
        hub.stop()?;
        fleet.hub.shell.kubectl("delete kopiamaintenance unsafe").await?.ok().map(drop)
    })
}

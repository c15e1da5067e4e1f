//! `policyConfig.repositoryConfig`: kopia's own JSON, read into the same types; and the credentials in it, for the Job.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::address::{Host, cut_userinfo};
use super::facts::{hashed, hex, location_text};
use super::storage::{
    AWS_ENDPOINT, Azure, Bucket, Filesystem, Rclone, S3, SFTP_PORT, Sftp, Storage, azure_domain, s3_endpoint, webdav,
};
use super::{IdentityProblem, Notes, rclone};

const PLACE: &str = "policyConfig.repositoryConfig";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Configured {
    /// Kopia can't connect by it; the mover goes on with the Secret.
    Broken,
    Unsafe(IdentityProblem),
    Storage(Box<JsonStorage>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JsonStorage {
    pub storage: Storage,
    /// Credentials that it holds, by the key that they get in the Job's Secret.
    pub lifted: BTreeSet<&'static str>,
    /// Credentials of the Secret that kopia does not use beside it.
    pub excluded: BTreeSet<&'static str>,
    /// A fingerprint of the WebDAV user.
    pub user: [u8; 8],
    pub notes: Notes,
}

/// Where kopia's JSON keeps credentials, and the Secret's key for the same.
const CREDENTIALS: [(&str, &str, &str); 19] = [
    ("s3", "accessKeyID", "AWS_ACCESS_KEY_ID"),
    ("s3", "secretAccessKey", "AWS_SECRET_ACCESS_KEY"),
    ("s3", "sessionToken", "AWS_SESSION_TOKEN"),
    ("azureBlob", "storageKey", "KOPIA_AZURE_STORAGE_KEY"),
    ("azureBlob", "sasToken", "AZURE_STORAGE_SAS_TOKEN"),
    ("azureBlob", "tenantID", "AZURE_TENANT_ID"),
    ("azureBlob", "clientID", "AZURE_CLIENT_ID"),
    ("azureBlob", "clientSecret", "AZURE_CLIENT_SECRET"),
    ("azureBlob", "clientCertificate", "AZURE_CLIENT_CERTIFICATE"),
    ("gcs", "credentials", "GOOGLE_APPLICATION_CREDENTIALS"),
    ("b2", "keyID", "B2_ACCOUNT_ID"),
    ("b2", "key", "B2_APPLICATION_KEY"),
    ("webdav", "username", "WEBDAV_USERNAME"),
    ("webdav", "password", "WEBDAV_PASSWORD"),
    ("sftp", "password", "SFTP_PASSWORD"),
    ("sftp", "keyData", "SFTP_KEY_FILE"),
    ("sftp", "knownHostsData", "SFTP_KNOWN_HOSTS_DATA"),
    ("gdrive", "credentials", "GOOGLE_DRIVE_CREDENTIALS"),
    ("rclone", "embeddedConfig", "RCLONE_CONFIG"),
];

/// An object's fields, found as Go's JSON reader finds them: the exact name first, then in any case.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        let any_case = || self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        self.0.get(name).or_else(any_case).filter(|value| !value.is_null())
    }
    fn object(self, name: &str) -> Option<Self> {
        self.get(name)?.as_object().map(Fields)
    }
    /// Empty where it is absent; an error where it is no usable text.
    fn text(self, name: &str) -> Result<&'a str, Unusable> {
        let Some(value) = self.get(name) else { return Ok("") };
        location_text(value.as_str().ok_or(Unusable)?.trim_ascii().as_bytes()).map_err(|_| Unusable)
    }
    fn required(self, name: &str) -> Result<&'a str, Unusable> {
        self.text(name).and_then(|text| if text.is_empty() { Err(Unusable) } else { Ok(text) })
    }
    fn flag(self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }
    /// Something that is there and not empty.
    fn is_set(self, name: &str) -> bool {
        match self.get(name) {
            None | Some(Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            Some(_) => true,
        }
    }
}

/// Kopia would refuse it.
struct Unusable;

/// The JSON document itself, whether it was written as text or as YAML.
/// None where a source has none; an error where it is not JSON.
fn document(kopia: &Value) -> Option<Result<Value, serde_json::Error>> {
    match kopia.pointer("/policyConfig/repositoryConfig")? {
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(text) => Some(serde_json::from_str(text)),
        Value::Null => None,
        other => Some(Ok(other.clone())),
    }
}

fn storage_of(document: &Value) -> Option<(&str, Fields<'_>)> {
    let storage = Fields(document.as_object()?).object("storage")?;
    let kind = storage.get("type")?.as_str().filter(|kind| !kind.is_empty())?;
    Some((kind, storage.object("config")?))
}

impl Configured {
    /// None where a source has no such configuration.
    pub fn read(kopia: &Value) -> Option<Self> {
        let document = document(kopia)?;
        let storage = document.as_ref().ok().and_then(storage_of);
        Some(storage.map_or(Self::Broken, |(kind, config)| Self::of(kind, config)))
    }

    fn of(kind: &str, config: Fields<'_>) -> Self {
        if let Some(option) = unsafe_option(kind, config) {
            return Self::Unsafe(IdentityProblem::unsafe_option(option, PLACE));
        }
        let mut notes = Notes::default();
        match storage(kind, config, &mut notes) {
            Ok(storage) => Self::Storage(Box::new(JsonStorage {
                storage,
                lifted: lifted(kind, config).into_keys().collect(),
                excluded: excluded(kind, config),
                user: user(config),
                notes,
            })),
            Err(Failed::Unusable) => Self::Broken,
            Err(Failed::Unsafe(problem)) => Self::Unsafe(problem),
        }
    }
}

/// The credentials in a source's JSON, by the key that they get in the Job's Secret.
pub(crate) fn lifted_data(kopia: &Value) -> BTreeMap<&'static str, Vec<u8>> {
    let document = document(kopia).and_then(Result::ok);
    document.as_ref().and_then(storage_of).map(|(kind, config)| lifted(kind, config)).unwrap_or_default()
}

/// The remote path in a source's JSON, as it stands there: may hold credentials.
pub(crate) fn raw_remote_path(kopia: &Value) -> Option<String> {
    let document = document(kopia)?.ok()?;
    let (kind, config) = storage_of(&document)?;
    (kind == "rclone").then(|| config.get("remotePath")?.as_str().map(|text| text.trim_ascii().to_owned()))?
}

fn lifted(kind: &str, config: Fields<'_>) -> BTreeMap<&'static str, Vec<u8>> {
    let mut found = BTreeMap::new();
    for (_, field, key) in CREDENTIALS.iter().filter(|(of, _, _)| *of == kind) {
        let value = match config.get(field) {
            Some(Value::String(text)) => text.clone().into_bytes(),
            Some(Value::Object(object)) => serde_json::to_vec(object).unwrap_or_default(),
            _ => continue,
        };
        if !value.is_empty() {
            found.insert(*key, value);
        }
    }
    if kind == "webdav" {
        let url = config.get("url").and_then(Value::as_str).unwrap_or_default();
        for (key, value) in super::copy::url_credentials(url) {
            found.entry(key).or_insert(value);
        }
    }
    found
}

fn excluded(kind: &str, config: Fields<'_>) -> BTreeSet<&'static str> {
    let has_key = kind == "sftp" && (config.is_set("keyfile") || config.is_set("keyData"));
    let excluded = has_key && !config.is_set("password");
    excluded.then_some("SFTP_PASSWORD").into_iter().collect()
}

fn user(config: Fields<'_>) -> [u8; 8] {
    let named = config.get("username").and_then(Value::as_str).filter(|user| !user.is_empty());
    let url = config.get("url").and_then(Value::as_str).unwrap_or_default();
    let in_url = cut_userinfo(url).1.map(|user| user.split_once(':').map_or(user, |(name, _)| name));
    named.or(in_url).map(|user| hashed(b"user", user.as_bytes())).unwrap_or_default()
}

fn unsafe_option(kind: &str, config: Fields<'_>) -> Option<&'static str> {
    let options: &[&'static str] = match kind {
        "sftp" => &["externalSSH", "sshCommand", "sshArguments"],
        "rclone" => &["rcloneExe", "rcloneArgs", "rcloneEnv"],
        _ => &[],
    };
    options.iter().copied().find(|option| config.is_set(option))
}

enum Failed {
    Unusable,
    Unsafe(IdentityProblem),
}

impl From<Unusable> for Failed {
    fn from(_: Unusable) -> Self {
        Self::Unusable
    }
}

impl From<&'static str> for Failed {
    fn from(_: &'static str) -> Self {
        Self::Unusable
    }
}

fn storage(kind: &str, config: Fields<'_>, notes: &mut Notes) -> Result<Storage, Failed> {
    let bucket = || -> Result<Bucket, Unusable> {
        Ok(Bucket { bucket: config.required("bucket")?.into(), prefix: config.text("prefix")?.into() })
    };
    Ok(match kind {
        "s3" => Storage::S3(s3(config, notes)?),
        "azureBlob" => Storage::Azure(Azure {
            account: config.required("storageAccount")?.into(),
            container: config.required("container")?.into(),
            prefix: config.text("prefix")?.into(),
            domain: azure_domain(config.text("storageDomain")?),
        }),
        "gcs" => Storage::Gcs(bucket()?),
        "b2" => Storage::B2(bucket()?),
        "webdav" => Storage::WebDav(webdav(&cut_userinfo(config.required("url")?).0)?),
        "sftp" => Storage::Sftp(sftp(config)?),
        "rclone" => Storage::Rclone(rclone_storage(config)?),
        "gdrive" => Storage::GoogleDrive { folder: config.required("folderID")?.into() },
        "filesystem" => {
            let path = config
                .required("path")
                .and_then(|path| if path.starts_with('/') { Ok(path) } else { Err(Unusable) })?;
            Storage::Filesystem(Filesystem { path: path.into(), volume: None, flat: false })
        }
        _ => {
            notes.doubt(format!("{PLACE} has a storage type that is not known here"));
            Storage::Unknown { digest: blob_digest(kind, config) }
        }
    })
}

fn s3(config: Fields<'_>, notes: &mut Notes) -> Result<S3, Failed> {
    let bucket = config.required("bucket")?.into();
    let endpoint = match config.text("endpoint")? {
        "" => {
            notes.doubt(format!("{PLACE} has no endpoint; it is taken as {AWS_ENDPOINT}"));
            AWS_ENDPOINT
        }
        endpoint => endpoint,
    };
    if config.is_set("rootCA") {
        notes.warn(format!("rootCA in {PLACE} is not used for maintenance: set customCA"));
    }
    let region = config.text("region")?;
    Ok(S3 {
        bucket,
        prefix: config.text("prefix")?.into(),
        endpoint: s3_endpoint(endpoint)?,
        region: (!region.is_empty()).then(|| region.into()),
        disable_tls: config.flag("doNotUseTLS"),
        disable_tls_verification: config.flag("doNotVerifyTLS"),
    })
}

fn sftp(config: Fields<'_>) -> Result<Sftp, Failed> {
    let port = match config.get("port") {
        None => SFTP_PORT,
        Some(port) => port.as_u64().and_then(|port| u16::try_from(port).ok()).ok_or(Unusable)?,
    };
    let (host, _) = cut_userinfo(config.required("host")?);
    Ok(Sftp {
        host: Host::parse(&host)?,
        port: if port == 0 { SFTP_PORT } else { port },
        path: config.text("path")?.into(),
        user: config.text("username")?.into(),
        flat: false,
    })
}

fn rclone_storage(config: Fields<'_>) -> Result<Rclone, Failed> {
    let embedded = config.get("embeddedConfig").and_then(Value::as_str);
    let remote =
        rclone::read(config.required("remotePath")?, embedded, PLACE).map_err(|problem| match problem.reason {
            "UnsafeOption" => Failed::Unsafe(problem),
            _ => Failed::Unusable,
        })?;
    Ok(Rclone { remote, flat: false })
}

/// A fingerprint without what looks like a credential, so that a new token makes no new repository.
fn blob_digest(kind: &str, config: Fields<'_>) -> Box<str> {
    let secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["token", "pass", "secret", "key", "credential"].iter().any(|part| name.contains(part))
    };
    let kept: BTreeMap<&String, &Value> = config.0.iter().filter(|(name, _)| !secret(name)).collect();
    let text = serde_json::to_vec(&kept).unwrap_or_default();
    hex(&hashed(kind.as_bytes(), &text)).into()
}

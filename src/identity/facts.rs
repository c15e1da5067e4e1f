//! What the hub keeps of a repository Secret: where it points and which known keys it has, never a credential.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sha2::{Digest, Sha256};

use super::address::cut_userinfo;
use super::rclone::{self, Meaning, Remote};
use super::repository_url::RepositoryUrl;
use super::{IdentityProblem, Reading};

/// URLs, buckets and paths are shorter (paths: 4,096 on Linux); what is longer is no location.
const LOCATION_BYTES_MAX: usize = 4096;

/// Values that say where the repository is. `KOPIA_REPOSITORY` and the two of rclone are read on their own.
const LOCATION_KEYS: [&str; 19] = [
    "KOPIA_S3_BUCKET",
    "KOPIA_S3_ENDPOINT",
    "AWS_S3_ENDPOINT",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "KOPIA_S3_DISABLE_TLS",
    "AWS_S3_DISABLE_TLS",
    "KOPIA_AZURE_CONTAINER",
    "KOPIA_AZURE_STORAGE_ACCOUNT",
    "KOPIA_GCS_BUCKET",
    "KOPIA_B2_BUCKET",
    "WEBDAV_URL",
    "SFTP_HOST",
    "SFTP_PORT",
    "SFTP_PATH",
    "SFTP_USERNAME",
    "RCLONE_EXE",
    "GOOGLE_DRIVE_FOLDER_ID",
    "KOPIA_REPOSITORY",
];

/// Addresses that may have a user and a password in them.
const ADDRESS_KEYS: [&str; 4] = ["KOPIA_S3_ENDPOINT", "AWS_S3_ENDPOINT", "WEBDAV_URL", "SFTP_HOST"];

/// Credentials that a Job may need; of these only the presence is kept.
const CREDENTIAL_KEYS: [&str; 20] = [
    "KOPIA_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "KOPIA_AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "B2_ACCOUNT_ID",
    "B2_APPLICATION_KEY",
    "WEBDAV_USERNAME",
    "WEBDAV_PASSWORD",
    "SFTP_PASSWORD",
    "SFTP_KEY_FILE",
    "SFTP_KNOWN_HOSTS_DATA",
    "SFTP_KNOWN_HOSTS",
    "GOOGLE_DRIVE_CREDENTIALS",
];

/// Keys that people set and no mover reads, or not for this.
const IGNORED_KEYS: [&str; 8] = [
    "KOPIA_STRUCTURED_REPOSITORY_CONFIG",
    "KOPIA_ADDITIONAL_ARGS",
    "KOPIA_S3_PREFIX",
    "KOPIA_S3_REGION",
    "AZURE_STORAGE_DOMAIN",
    "AZURE_ENDPOINT_SUFFIX",
    "AZURE_STORAGE_ACCOUNT",
    "GCS_BUCKET",
];

/// See the module. Equal facts mean that nothing of the Secret changed that the hub acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFacts {
    pub(crate) repository: RepositoryUrl,
    /// Values of location keys, ASCII blanks trimmed, userinfo cut out of addresses, empty ones left out.
    pub(crate) location: BTreeMap<&'static str, Box<str>>,
    /// The known keys that have a value.
    pub(crate) keys: BTreeSet<&'static str>,
    /// Location keys whose value is no usable text, with why.
    pub(crate) unreadable: BTreeMap<&'static str, &'static str>,
    /// Location keys that had blanks around them.
    pub(crate) trimmed: BTreeSet<&'static str>,
    /// Location keys that had a user in them.
    pub(crate) with_user: BTreeSet<&'static str>,
    /// What `RCLONE_REMOTE_PATH` means.
    pub(crate) rclone: Option<Result<Remote, IdentityProblem>>,
    /// Every remote of `RCLONE_CONFIG`.
    pub(crate) remotes: BTreeMap<Box<str>, Result<Meaning, IdentityProblem>>,
    pub(crate) webdav_user: Reading,
    /// Tells two passwords apart without keeping either; none where `KOPIA_PASSWORD` is absent.
    pub password: Option<PasswordFingerprint>,
}

/// Eight bytes of a hash: tells passwords apart, in memory only. It is not shown and not stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PasswordFingerprint(pub(crate) [u8; 8]);

impl fmt::Debug for PasswordFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordFingerprint(..)")
    }
}

impl SecretFacts {
    /// Reads the data of a Secret. Never fails: what can't be read is said where it matters, by [`Self::backend`].
    ///
    /// [`Self::backend`]: SecretFacts::backend
    pub fn read(data: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut facts = Self {
            repository: RepositoryUrl::default(),
            location: BTreeMap::new(),
            keys: BTreeSet::new(),
            unreadable: BTreeMap::new(),
            trimmed: BTreeSet::new(),
            with_user: BTreeSet::new(),
            rclone: None,
            remotes: BTreeMap::new(),
            webdav_user: Reading::default(),
            password: data.get("KOPIA_PASSWORD").map(|password| PasswordFingerprint::of(password.trim_ascii())),
        };
        let present = |key: &&str| data.get(*key).is_some_and(|value| !value.is_empty());
        let known = CREDENTIAL_KEYS.iter().chain(&IGNORED_KEYS).copied();
        facts.keys.extend(known.filter(present));
        facts.keys.extend(["KOPIA_PASSWORD", "KOPIA_REPOSITORY"].into_iter().filter(|key| data.contains_key(*key)));
        if data.get("SFTP_KNOWN_HOSTS").is_some_and(|value| !is_known_hosts(value)) {
            facts.keys.remove("SFTP_KNOWN_HOSTS");
        }
        for key in LOCATION_KEYS {
            facts.read_location(key, data);
        }
        facts.read_rclone(data);
        if let Some(user) = data.get("WEBDAV_USERNAME").filter(|user| !user.is_empty()) {
            facts.webdav_user = Reading(hashed(b"user", user));
        }
        facts
    }

    fn read_location(&mut self, key: &'static str, data: &BTreeMap<String, Vec<u8>>) {
        let Some(text) = self.text(key, data) else { return };
        if key == "KOPIA_REPOSITORY" {
            self.repository = RepositoryUrl::parse(text);
        } else if ADDRESS_KEYS.contains(&key) {
            let (address, user) = cut_userinfo(text);
            if let Some(user) = user {
                self.with_user.insert(key);
                if key == "WEBDAV_URL" {
                    let name = user.split_once(':').map_or(user, |(name, _)| name);
                    self.webdav_user = Reading(hashed(b"user", name.as_bytes()));
                    self.keys.extend(super::copy::url_credentials(text).into_keys());
                }
            }
            self.location.insert(key, without_query(&address).into());
        } else if key == "RCLONE_EXE" {
            self.keys.insert(key);
        } else {
            self.location.insert(key, text.into());
        }
    }

    /// The trimmed value; none where it is absent, empty or unreadable.
    fn text<'a>(&mut self, key: &'static str, data: &'a BTreeMap<String, Vec<u8>>) -> Option<&'a str> {
        let value = data.get(key)?;
        let trimmed = value.trim_ascii();
        if trimmed.len() < value.len() {
            self.trimmed.insert(key);
        }
        if trimmed.is_empty() {
            return None;
        }
        match location_text(trimmed) {
            Ok(text) => Some(text),
            Err(why) => {
                self.unreadable.insert(key, why);
                None
            }
        }
    }

    fn read_rclone(&mut self, data: &BTreeMap<String, Vec<u8>>) {
        let config = data.get("RCLONE_CONFIG").and_then(|config| std::str::from_utf8(config).ok());
        if let Some(config) = config.filter(|config| !config.trim().is_empty()) {
            self.remotes = rclone::read_all(config);
            self.keys.insert("RCLONE_CONFIG");
        }
        if let Some(remote) = self.text("RCLONE_REMOTE_PATH", data) {
            self.rclone = Some(rclone::read(remote, config, "RCLONE_REMOTE_PATH"));
        }
    }

    /// `KOPIA_PASSWORD` is present (an empty one too: the mover asks for no more).
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// A location value, an error if it is there and no text.
    pub(crate) fn value(&self, key: &'static str) -> Result<Option<&str>, IdentityProblem> {
        match self.unreadable.get(key) {
            Some(why) => Err(IdentityProblem::invalid(format!("{key} in the Secret {why}"))),
            None => Ok(self.location.get(key).map(|value| &**value)),
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }
}

impl PasswordFingerprint {
    fn of(password: &[u8]) -> Self {
        Self(hashed(b"volsync-hub kopia password", password))
    }
}

/// The first bytes of a hash of length-prefixed parts.
pub(crate) fn hashed(domain: &[u8], value: &[u8]) -> [u8; 8] {
    let mut hash = Sha256::new();
    for part in [domain, value] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut head = [0; 8];
    head.copy_from_slice(&hash.finalize()[..8]);
    head
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let digits = [byte >> 4, byte & 15].map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or_default());
        text.extend(digits);
        text
    })
}

/// A location is short, and text without control characters: it goes into arguments and on screens.
pub(crate) fn location_text(value: &[u8]) -> Result<&str, &'static str> {
    if value.len() > LOCATION_BYTES_MAX {
        return Err("is longer than 4,096 bytes, too long for a location");
    }
    let text = std::str::from_utf8(value).map_err(|_| "is not UTF-8 text")?;
    if text.chars().any(char::is_control) {
        return Err("has a line break or another control character in it");
    }
    Ok(text)
}

/// Contents, not the path of a file in the mover's image.
fn is_known_hosts(value: &[u8]) -> bool {
    value.trim_ascii().contains(&b' ')
}

/// Queries of addresses can hold tokens.
fn without_query(address: &str) -> &str {
    &address[..address.find(['?', '#']).unwrap_or(address.len())]
}

//! Which storage the mover would choose, in its own order, and what a source changes about it.

use std::collections::BTreeSet;

use super::address::Host;
use super::arguments::Argument;
use super::facts::SecretFacts;
use super::json::{Configured, JsonStorage};
use super::overrides::Overrides;
use super::rclone::Remote;
use super::repository_url::{Form, Prefix, RepositoryUrl, S3Bucket};
use super::storage::{
    AWS_ENDPOINT, Azure, Bucket, Filesystem, Rclone, S3, SFTP_PORT, Sftp, Storage, Volume, azure_domain, s3_endpoint,
    webdav,
};
use super::{IdentityProblem, Notes, Reading};

/// A repository's place, typed; no credentials. Identity and connection come from here and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub(crate) storage: Storage,
    pub(crate) notes: Notes,
    /// Credentials that the Job gets, by their keys in the copied Secret.
    pub(crate) keys: BTreeSet<&'static str>,
    /// A fingerprint of the WebDAV user.
    pub(crate) user: Reading,
}

impl SecretFacts {
    /// The backend that the mover would choose. Also says what is refused (`UnsafeOption`).
    pub fn backend(&self, overrides: &Overrides) -> Result<Backend, IdentityProblem> {
        if let Some(problem) = &overrides.arguments.problem {
            return Err(problem.clone());
        }
        let mut backend = match configured(overrides)? {
            Chosen::Json(json) => self.json_backend(json),
            Chosen::Secret(notes) => self.secret_backend(overrides, notes)?,
        };
        backend.notes.extend(&overrides.arguments.notes);
        backend.resolve_remote(self)?;
        backend.resolve_volume(overrides);
        Ok(backend)
    }

    fn json_backend(&self, json: &JsonStorage) -> Backend {
        let mut keys = self.keys.clone();
        keys.retain(|key| !json.excluded.contains(key));
        keys.extend(&json.lifted);
        let user = if json.user == [0; 8] { self.webdav_user } else { Reading(json.user) };
        Backend { storage: json.storage.clone(), notes: json.notes.clone(), keys, user }
    }

    fn secret_backend(&self, overrides: &Overrides, mut notes: Notes) -> Result<Backend, IdentityProblem> {
        if overrides.repository.is_none() && !self.has("KOPIA_REPOSITORY") {
            notes.warn("KOPIA_REPOSITORY is missing: the mover refuses such a Secret");
        }
        let repository = overrides.repository.as_ref().unwrap_or(&self.repository);
        if overrides.repository.is_none() {
            self.value("KOPIA_REPOSITORY")?;
        }
        let storage = self.storage(repository, &mut notes)?;
        self.note_habits(&storage, &mut notes);
        let mut backend = Backend { storage, notes, keys: self.keys.clone(), user: self.webdav_user };
        let has_prefix = repository.prefix.is_some();
        for argument in &overrides.arguments.items {
            backend.apply(argument, has_prefix)?;
        }
        Ok(backend)
    }

    fn storage(&self, repository: &RepositoryUrl, notes: &mut Notes) -> Result<Storage, IdentityProblem> {
        let bucket = self.value("KOPIA_S3_BUCKET")?;
        if bucket.is_some() || matches!(repository.form, Form::S3(_)) {
            return self.s3(bucket, repository, notes).map(Storage::S3);
        }
        if let Some(container) = self.value("KOPIA_AZURE_CONTAINER")? {
            let account = self.value("KOPIA_AZURE_STORAGE_ACCOUNT")?;
            let account = account.ok_or_else(|| {
                IdentityProblem::invalid("KOPIA_AZURE_CONTAINER needs KOPIA_AZURE_STORAGE_ACCOUNT, which is missing")
            })?;
            let (account, container) = (account.into(), container.into());
            return Ok(Storage::Azure(Azure { account, container, prefix: "".into(), domain: None }));
        }
        let native = |bucket: &str| Bucket { bucket: bucket.into(), prefix: "".into() };
        if let Some(bucket) = self.value("KOPIA_GCS_BUCKET")? {
            return Ok(Storage::Gcs(native(bucket)));
        }
        if let Form::Filesystem(path) = &repository.form {
            let path = path.clone().ok_or_else(|| {
                IdentityProblem::invalid(
                    "KOPIA_REPOSITORY must be filesystem:/// with an absolute path and without ../ in it",
                )
            })?;
            return Ok(Storage::Filesystem(Filesystem { path, volume: None, flat: false }));
        }
        if let Some(bucket) = self.value("KOPIA_B2_BUCKET")? {
            return Ok(Storage::B2(native(bucket)));
        }
        if let Some(url) = self.value("WEBDAV_URL")? {
            let webdav = webdav(url).map_err(|why| IdentityProblem::invalid(format!("WEBDAV_URL {why}")))?;
            return Ok(Storage::WebDav(webdav));
        }
        if let Some(host) = self.value("SFTP_HOST")? {
            return self.sftp(host).map(Storage::Sftp);
        }
        if self.rclone.is_some() || self.value("RCLONE_REMOTE_PATH")?.is_some() {
            return self.rclone_remote().map(|remote| Storage::Rclone(Rclone { remote, flat: false }));
        }
        match self.value("GOOGLE_DRIVE_FOLDER_ID")? {
            Some(folder) => Ok(Storage::GoogleDrive { folder: folder.into() }),
            None => Err(unknown_backend()),
        }
    }

    fn s3(&self, bucket: Option<&str>, repository: &RepositoryUrl, notes: &mut Notes) -> Result<S3, IdentityProblem> {
        let bucket = match (bucket, &repository.form) {
            (Some(bucket), Form::S3(S3Bucket::Named { bucket: other, .. })) if bucket != &**other => {
                notes.warn("KOPIA_S3_BUCKET and KOPIA_REPOSITORY name two buckets; the mover takes KOPIA_S3_BUCKET");
                bucket
            }
            (Some(bucket), _) => bucket,
            (None, Form::S3(S3Bucket::Named { bucket, cut })) => {
                if *cut {
                    notes.warn("the bucket in KOPIA_REPOSITORY ends before its next slash; the mover takes only that");
                }
                let has_endpoint = self.value("KOPIA_S3_ENDPOINT")?.or(self.value("AWS_S3_ENDPOINT")?).is_some();
                if bucket.contains('.') && !has_endpoint {
                    notes.warn("KOPIA_REPOSITORY begins with a bucket; a host name belongs into AWS_S3_ENDPOINT");
                }
                bucket
            }
            (None, _) => {
                return Err(IdentityProblem::invalid(
                    "the mover finds no bucket in KOPIA_REPOSITORY: write s3://bucket/prefix, the bucket in 3 to 63 \
                     lower-case letters, digits, dots and dashes, or set KOPIA_S3_BUCKET",
                ));
            }
        };
        let prefix = match &repository.prefix {
            None => "".into(),
            Some(Prefix::Normal(prefix)) => prefix.clone(),
            Some(Prefix::Refused) => {
                return Err(IdentityProblem::invalid(
                    "the prefix in KOPIA_REPOSITORY may have letters, digits, . _ - and / only, and no ..",
                ));
            }
        };
        if prefix.starts_with('/') {
            notes.warn("the prefix in KOPIA_REPOSITORY begins with a slash, which the mover keeps");
        }
        let region = self.value("AWS_REGION")?.or(self.value("AWS_DEFAULT_REGION")?).map(Into::into);
        let is_true = |key| Ok::<_, IdentityProblem>(self.value(key)? == Some("true"));
        let disable_tls = is_true("KOPIA_S3_DISABLE_TLS")? || is_true("AWS_S3_DISABLE_TLS")?;
        let endpoint = self.s3_endpoint(disable_tls, notes)?;
        Ok(S3 { bucket: bucket.into(), prefix, endpoint, region, disable_tls, disable_tls_verification: false })
    }

    fn s3_endpoint(&self, disable_tls: bool, notes: &mut Notes) -> Result<super::address::Address, IdentityProblem> {
        let (key, text) = match (self.value("KOPIA_S3_ENDPOINT")?, self.value("AWS_S3_ENDPOINT")?) {
            (Some(text), _) => ("KOPIA_S3_ENDPOINT", text),
            (None, Some(text)) => ("AWS_S3_ENDPOINT", text),
            (None, None) => ("AWS_S3_ENDPOINT", AWS_ENDPOINT),
        };
        if text.starts_with("http://") && !disable_tls {
            notes.warn(format!("http:// in {key} does not switch TLS off: set KOPIA_S3_DISABLE_TLS to true"));
        }
        s3_endpoint(text).map_err(|why| IdentityProblem::invalid(format!("{key} {why}")))
    }

    fn sftp(&self, host: &str) -> Result<Sftp, IdentityProblem> {
        let host = Host::parse(host).map_err(|why| IdentityProblem::invalid(format!("SFTP_HOST {why}")))?;
        let port = super::address::port_number(self.value("SFTP_PORT")?.unwrap_or_default())
            .map_err(|_| IdentityProblem::invalid("SFTP_PORT is no number from 1 to 65535"))?
            .unwrap_or(SFTP_PORT);
        let text = |key| Ok::<_, IdentityProblem>(self.value(key)?.unwrap_or_default().into());
        Ok(Sftp { host, port, path: text("SFTP_PATH")?, user: text("SFTP_USERNAME")?, flat: false })
    }

    fn rclone_remote(&self) -> Result<Remote, IdentityProblem> {
        if self.has("RCLONE_EXE") || self.unreadable.contains_key("RCLONE_EXE") {
            return Err(IdentityProblem::unsafe_option("RCLONE_EXE", "the Secret"));
        }
        self.rclone.clone().unwrap_or_else(|| Err(unknown_backend()))
    }

    /// What people believe about a Secret and the mover does not.
    fn note_habits(&self, storage: &Storage, notes: &mut Notes) {
        let ignored: &[&str] = match storage {
            Storage::S3(_) => &["KOPIA_S3_PREFIX", "KOPIA_S3_REGION"],
            Storage::Azure(_) => &["AZURE_STORAGE_DOMAIN", "AZURE_ENDPOINT_SUFFIX", "AZURE_STORAGE_ACCOUNT"],
            Storage::Gcs(_) => &["GCS_BUCKET"],
            _ => &[],
        };
        let everywhere = ["KOPIA_STRUCTURED_REPOSITORY_CONFIG", "KOPIA_ADDITIONAL_ARGS"];
        for key in ignored.iter().chain(&everywhere).filter(|key| self.has(key)) {
            notes.warn(format!("{key} is ignored: it reaches no mover, or no mover reads it"));
        }
        let used = used_keys(storage);
        for key in self.trimmed.iter().filter(|key| used.contains(key)) {
            notes.warn(format!("{key} has blanks or a line break around it, which kopia would take literally"));
        }
        for key in self.with_user.iter().filter(|key| used.contains(key)) {
            notes.warn(format!("{key} has a user in it: use the keys for credentials instead"));
        }
        let knows_hosts = self.has("SFTP_KNOWN_HOSTS_DATA") || self.has("SFTP_KNOWN_HOSTS");
        if matches!(storage, Storage::Sftp(_)) && !knows_hosts {
            notes.warn("SFTP_KNOWN_HOSTS_DATA is missing: kopia connects to no SFTP server that it does not know");
        }
        if !matches!(storage, Storage::Rclone(_)) && self.has("RCLONE_EXE") {
            notes.warn("RCLONE_EXE is ignored");
        }
    }
}

enum Chosen<'a> {
    Json(&'a JsonStorage),
    Secret(Notes),
}

fn configured(overrides: &Overrides) -> Result<Chosen<'_>, IdentityProblem> {
    let mut notes = Notes::default();
    match &overrides.config {
        None => {}
        Some(Configured::Unsafe(problem)) => return Err(problem.clone()),
        Some(Configured::Storage(json)) if overrides.json_counts() => return Ok(Chosen::Json(json)),
        Some(Configured::Storage(_)) => notes.doubt(
            "kopia refuses additionalArgs that name a place beside policyConfig.repositoryConfig; the mover then goes \
             on with the Secret",
        ),
        Some(Configured::Broken) => {
            notes.doubt("policyConfig.repositoryConfig can't be used; the mover then goes on with the Secret");
        }
    }
    Ok(Chosen::Secret(notes))
}

fn unknown_backend() -> IdentityProblem {
    let message = "no backend: the mover reads s3:// and filesystem:// in KOPIA_REPOSITORY (in lower case), and else \
                   needs one of KOPIA_S3_BUCKET, KOPIA_AZURE_CONTAINER, KOPIA_GCS_BUCKET, KOPIA_B2_BUCKET, WEBDAV_URL, \
                   SFTP_HOST, RCLONE_REMOTE_PATH, GOOGLE_DRIVE_FOLDER_ID";
    IdentityProblem { reason: "UnknownBackend", message: message.to_owned() }
}

fn used_keys(storage: &Storage) -> &'static [&'static str] {
    match storage {
        Storage::S3(_) => &[
            "KOPIA_S3_BUCKET",
            "KOPIA_REPOSITORY",
            "KOPIA_S3_ENDPOINT",
            "AWS_S3_ENDPOINT",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
            "KOPIA_S3_DISABLE_TLS",
            "AWS_S3_DISABLE_TLS",
        ],
        Storage::Azure(_) => &["KOPIA_AZURE_CONTAINER", "KOPIA_AZURE_STORAGE_ACCOUNT"],
        Storage::Gcs(_) => &["KOPIA_GCS_BUCKET"],
        Storage::B2(_) => &["KOPIA_B2_BUCKET"],
        Storage::WebDav(_) => &["WEBDAV_URL"],
        Storage::Sftp(_) => &["SFTP_HOST", "SFTP_PORT", "SFTP_PATH", "SFTP_USERNAME"],
        Storage::Rclone(_) => &["RCLONE_REMOTE_PATH"],
        Storage::GoogleDrive { .. } => &["GOOGLE_DRIVE_FOLDER_ID"],
        Storage::Filesystem(_) => &["KOPIA_REPOSITORY"],
        Storage::Unknown { .. } => &[],
    }
}

impl Backend {
    /// Why no Job can maintain it from the member's maintenance namespace, as a fixed word: `RepositoryPVC`,
    /// `Filesystem` (also NFS) or `UnknownBackend`.
    pub fn obstacle(&self) -> Option<&'static str> {
        match &self.storage {
            Storage::Filesystem(Filesystem { volume: Some(Volume::Claim { .. }), .. }) => Some("RepositoryPVC"),
            Storage::Filesystem(_) => Some("Filesystem"),
            Storage::Rclone(Rclone { remote, .. }) if remote.meaning.as_ref().is_some_and(|meaning| meaning.local) => {
                Some("Filesystem")
            }
            Storage::Unknown { .. } => Some("UnknownBackend"),
            _ => None,
        }
    }

    /// The repository lies on a claim of the source.
    pub fn lives_on_claim(&self) -> bool {
        self.obstacle() == Some("RepositoryPVC")
    }

    /// A remote that was named without a configuration means what the Secret's configuration says.
    fn resolve_remote(&mut self, facts: &SecretFacts) -> Result<(), IdentityProblem> {
        let Storage::Rclone(rclone) = &mut self.storage else { return Ok(()) };
        if facts.has("RCLONE_EXE") {
            return Err(IdentityProblem::unsafe_option("RCLONE_EXE", "the Secret"));
        }
        if rclone.remote.meaning.is_some() || rclone.remote.settled {
            return Ok(());
        }
        if let Some(meaning) = rclone.remote.name.as_ref().and_then(|name| facts.remotes.get(name)) {
            rclone.remote.meaning = Some(meaning.clone()?);
        }
        Ok(())
    }

    fn resolve_volume(&mut self, overrides: &Overrides) {
        if let Storage::Filesystem(filesystem) = &mut self.storage {
            filesystem.volume = overrides.volume_of(&filesystem.path);
        }
    }

    /// `has_prefix`: the mover gives `--prefix` itself.
    fn apply(&mut self, argument: &Argument, has_prefix: bool) -> Result<(), IdentityProblem> {
        let flag = argument.flag();
        let applied = match argument {
            Argument::Switch { flag, on } => self.apply_switch(flag, *on),
            Argument::Remote(remote) => match &mut self.storage {
                Storage::Rclone(rclone) => {
                    rclone.remote = remote.clone();
                    true
                }
                _ => false,
            },
            Argument::Value { flag, value } => self
                .apply_value(flag, value)
                .map_err(|why| IdentityProblem::invalid(format!("additionalArgs --{flag} {why}")))?,
        };
        let given_twice = match flag {
            "prefix" => has_prefix,
            "storage-domain" | "port" | "region" | "flat" | "disable-tls" | "disable-tls-verification" => false,
            _ => true,
        };
        if !applied {
            self.notes.doubt(format!("additionalArgs --{flag} is no option of this backend in kopia; it is ignored"));
        } else if given_twice {
            self.notes.doubt(format!("additionalArgs --{flag} comes on top of the mover's own, which kopia refuses"));
        }
        Ok(())
    }

    fn apply_switch(&mut self, flag: &str, on: bool) -> bool {
        match (&mut self.storage, flag) {
            (Storage::S3(s3), "disable-tls") => s3.disable_tls = on,
            (Storage::S3(s3), "disable-tls-verification") => s3.disable_tls_verification = on,
            (Storage::WebDav(webdav), "flat") => webdav.flat = on,
            (Storage::Sftp(sftp), "flat") => sftp.flat = on,
            (Storage::Rclone(rclone), "flat") => rclone.flat = on,
            (Storage::Filesystem(filesystem), "flat") => filesystem.flat = on,
            _ => return false,
        }
        true
    }

    /// False where the backend has no such option.
    fn apply_value(&mut self, flag: &str, value: &str) -> Result<bool, &'static str> {
        match (&mut self.storage, flag) {
            (_, "bucket" | "container" | "storage-account" | "folder-id" | "endpoint" | "host" | "url")
                if value.is_empty() =>
            {
                return Err("is empty");
            }
            (Storage::S3(s3), "bucket") => s3.bucket = value.into(),
            (Storage::S3(s3), "prefix") => s3.prefix = value.into(),
            (Storage::S3(s3), "region") => s3.region = Some(value.into()),
            (Storage::S3(s3), "endpoint") => s3.endpoint = s3_endpoint(value)?,
            (Storage::Azure(azure), "container") => azure.container = value.into(),
            (Storage::Azure(azure), "storage-account") => azure.account = value.into(),
            (Storage::Azure(azure), "storage-domain") => azure.domain = azure_domain(value),
            (Storage::Azure(azure), "prefix") => azure.prefix = value.into(),
            (Storage::Gcs(store) | Storage::B2(store), "bucket") => store.bucket = value.into(),
            (Storage::Gcs(store) | Storage::B2(store), "prefix") => store.prefix = value.into(),
            (Storage::WebDav(dav), "url") => *dav = super::storage::WebDav { flat: dav.flat, ..webdav(value)? },
            (Storage::Sftp(sftp), "host") => sftp.host = Host::parse(value)?,
            (Storage::Sftp(sftp), "port") => sftp.port = super::address::port_number(value)?.unwrap_or(SFTP_PORT),
            (Storage::Sftp(sftp), "path") => sftp.path = value.into(),
            (Storage::Sftp(sftp), "username") => sftp.user = value.into(),
            (Storage::GoogleDrive { folder }, "folder-id") => *folder = value.into(),
            (Storage::Filesystem(filesystem), "path") if value.starts_with('/') => filesystem.path = value.into(),
            (Storage::Filesystem(_), "path") => return Err("is no absolute path"),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

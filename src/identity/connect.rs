//! How a Job connects: arguments that tell the place, and credentials by environment or file, never as arguments.

use serde_json::json;

use super::address::host_port;
use super::facts::SecretFacts;
use super::scope::reachable_host;
use super::storage::{Azure, Bucket, Filesystem, Rclone, S3, Sftp, Storage, WebDav};
use super::{Backend, Scope};

/// Where the Job mounts credential files.
pub const CREDENTIALS_DIR: &str = "/credentials";

/// Kopia takes the password of an SFTP server in an argument or in a whole configuration; so it gets this one.
pub(crate) const CONFIG_FILE: &str = "repository.config";

/// One key of the Job's own Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credential {
    /// The key in that Secret.
    pub key: &'static str,
    pub to: CredentialTarget,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialTarget {
    /// An environment variable, by `secretKeyRef`.
    Environment(&'static str),
    /// A file of this name below `/credentials`, and the variable that gets its path (none: a flag names it).
    File { name: &'static str, variable: Option<&'static str> },
}

impl Backend {
    /// Arguments after `kopia repository connect`: the backend's name and its flags, no credentials. Empty for a
    /// storage type that is not known here.
    ///
    /// Cluster-local names are written so that they resolve from any namespace of the member.
    pub fn connect_arguments(&self, scope: &Scope<'_>) -> Vec<String> {
        let mut arguments = Arguments(Vec::new());
        match &self.storage {
            Storage::S3(s3) => of_s3(s3, scope, &mut arguments),
            Storage::Azure(azure) => of_azure(azure, &mut arguments),
            Storage::Gcs(bucket) => {
                of_bucket("gcs", bucket, &mut arguments);
                self.file_flag(&mut arguments, "credentials-file", "GOOGLE_APPLICATION_CREDENTIALS");
            }
            Storage::B2(bucket) => of_bucket("b2", bucket, &mut arguments),
            Storage::WebDav(webdav) => {
                arguments.name("webdav");
                arguments.flag("url", &webdav_url(webdav, scope));
                arguments.switch("flat", webdav.flat);
            }
            Storage::Sftp(_) if self.keys.contains("SFTP_PASSWORD") => {
                arguments.name("from-config");
                arguments.flag("file", &path_of(CONFIG_FILE));
            }
            Storage::Sftp(sftp) => self.sftp(sftp, scope, &mut arguments),
            Storage::Rclone(rclone) => self.rclone(rclone, &mut arguments),
            Storage::GoogleDrive { folder } => {
                arguments.name("gdrive");
                arguments.flag("folder-id", folder);
                self.file_flag(&mut arguments, "credentials-file", "GOOGLE_DRIVE_CREDENTIALS");
            }
            Storage::Filesystem(Filesystem { path, flat, .. }) => {
                arguments.name("filesystem");
                arguments.flag("path", path);
                arguments.switch("flat", *flat);
            }
            Storage::Unknown { .. } => {}
        }
        arguments.0
    }

    fn sftp(&self, sftp: &Sftp, scope: &Scope<'_>, arguments: &mut Arguments) {
        arguments.name("sftp");
        arguments.flag("host", &reachable_host(&sftp.host, scope.namespace));
        arguments.flag("port", &sftp.port.to_string());
        arguments.flag("username", &sftp.user);
        arguments.flag("path", &sftp.path);
        self.file_flag(arguments, "keyfile", "SFTP_KEY_FILE");
        if let Some(key) = self.known_hosts() {
            self.file_flag(arguments, "known-hosts", key);
        }
        arguments.switch("flat", sftp.flat);
    }

    fn rclone(&self, rclone: &Rclone, arguments: &mut Arguments) {
        arguments.name("rclone");
        let path = &rclone.remote.path;
        match &rclone.remote.name {
            Some(name) => arguments.flag("remote-path", &format!("{name}:{path}")),
            None => arguments.flag("remote-path", path),
        }
        if self.has_rclone_config() {
            arguments.flag("embed-rclone-config", &path_of("rclone.conf"));
        }
        arguments.switch("flat", rclone.flat);
    }

    fn file_flag(&self, arguments: &mut Arguments, flag: &str, key: &'static str) {
        if let (true, Some(name)) = (self.keys.contains(key), file_of(key)) {
            arguments.flag(flag, &path_of(name));
        }
    }

    pub(crate) fn has_rclone_config(&self) -> bool {
        match &self.storage {
            Storage::Rclone(rclone) => rclone.remote.name.is_some() && rclone.remote.meaning.is_some(),
            _ => false,
        }
    }

    pub(crate) fn known_hosts(&self) -> Option<&'static str> {
        ["SFTP_KNOWN_HOSTS_DATA", "SFTP_KNOWN_HOSTS"].into_iter().find(|key| self.keys.contains(key))
    }

    /// Which keys of its own Secret the Job gets, and how. They are those that [`Backend::copy_data`] fills.
    pub fn credentials(&self, _facts: &SecretFacts) -> Vec<Credential> {
        let mut found = Vec::new();
        let mut add = |key: &'static str, to: CredentialTarget| found.push(Credential { key, to });
        for (key, variable) in std::iter::once(&("KOPIA_PASSWORD", "KOPIA_PASSWORD")).chain(variables(&self.storage)) {
            if self.keys.contains(key) {
                add(key, CredentialTarget::Environment(variable));
            }
        }
        let file = |name| CredentialTarget::File { name, variable: None };
        let files: &[&'static str] = match &self.storage {
            Storage::Gcs(_) => &["GOOGLE_APPLICATION_CREDENTIALS"],
            Storage::GoogleDrive { .. } => &["GOOGLE_DRIVE_CREDENTIALS"],
            Storage::Sftp(_) if self.keys.contains("SFTP_PASSWORD") => {
                add(CONFIG_FILE, file(CONFIG_FILE));
                &[]
            }
            Storage::Sftp(_) => &["SFTP_KEY_FILE", "SFTP_KNOWN_HOSTS_DATA", "SFTP_KNOWN_HOSTS"],
            _ => &[],
        };
        for key in files.iter().copied().filter(|key| self.keys.contains(key)) {
            let shadowed = key.starts_with("SFTP_KNOWN_HOSTS") && self.known_hosts() != Some(key);
            if let (false, Some(name)) = (shadowed, file_of(key)) {
                add(key, file(name));
            }
        }
        if self.has_rclone_config() {
            add("RCLONE_CONFIG", file("rclone.conf"));
        }
        found
    }
}

/// Environment variables that kopia reads for its own flags: (key, variable).
fn variables(storage: &Storage) -> &'static [(&'static str, &'static str)] {
    match storage {
        Storage::S3(_) => &[
            ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
            ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
            ("AWS_SESSION_TOKEN", "AWS_SESSION_TOKEN"),
        ],
        Storage::Azure(_) => &[
            ("KOPIA_AZURE_STORAGE_KEY", "AZURE_STORAGE_KEY"),
            ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_TOKEN"),
            ("AZURE_TENANT_ID", "AZURE_TENANT_ID"),
            ("AZURE_CLIENT_ID", "AZURE_CLIENT_ID"),
            ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_SECRET"),
            ("AZURE_CLIENT_CERTIFICATE", "AZURE_CLIENT_CERTIFICATE"),
        ],
        Storage::B2(_) => &[("B2_ACCOUNT_ID", "B2_KEY_ID"), ("B2_APPLICATION_KEY", "B2_KEY")],
        Storage::WebDav(_) => {
            &[("WEBDAV_USERNAME", "KOPIA_WEBDAV_USERNAME"), ("WEBDAV_PASSWORD", "KOPIA_WEBDAV_PASSWORD")]
        }
        _ => &[],
    }
}

fn file_of(key: &str) -> Option<&'static str> {
    Some(match key {
        "GOOGLE_APPLICATION_CREDENTIALS" => "gcs.json",
        "GOOGLE_DRIVE_CREDENTIALS" => "gdrive.json",
        "SFTP_KEY_FILE" => "sftp_key",
        "SFTP_KNOWN_HOSTS_DATA" | "SFTP_KNOWN_HOSTS" => "known_hosts",
        _ => return None,
    })
}

fn path_of(name: &str) -> String {
    format!("{CREDENTIALS_DIR}/{name}")
}

/// Arguments one by one: nothing is ever split or expanded by a shell.
struct Arguments(Vec<String>);

impl Arguments {
    fn name(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }
    fn flag(&mut self, flag: &str, value: &str) {
        self.0.push(format!("--{flag}={value}"));
    }
    fn optional(&mut self, flag: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.flag(flag, value);
        }
    }
    fn switch(&mut self, flag: &str, on: bool) {
        if on {
            self.0.push(format!("--{flag}"));
        }
    }
}

fn of_s3(s3: &S3, scope: &Scope<'_>, arguments: &mut Arguments) {
    arguments.name("s3");
    arguments.flag("bucket", &s3.bucket);
    let host = reachable_host(&s3.endpoint.host, scope.namespace);
    arguments.flag("endpoint", &host_port(&host, s3.endpoint.port));
    arguments.optional("region", s3.region.as_deref());
    arguments.optional("prefix", Some(&s3.prefix));
    arguments.switch("disable-tls", s3.disable_tls);
    arguments.switch("disable-tls-verification", s3.disable_tls_verification);
}

fn of_azure(azure: &Azure, arguments: &mut Arguments) {
    arguments.name("azure");
    arguments.flag("container", &azure.container);
    arguments.flag("storage-account", &azure.account);
    arguments.optional("storage-domain", azure.domain.as_deref());
    arguments.optional("prefix", Some(&azure.prefix));
}

fn of_bucket(name: &str, bucket: &Bucket, arguments: &mut Arguments) {
    arguments.name(name);
    arguments.flag("bucket", &bucket.bucket);
    arguments.optional("prefix", Some(&bucket.prefix));
}

fn webdav_url(webdav: &WebDav, scope: &Scope<'_>) -> String {
    let scheme = if webdav.https { "https" } else { "http" };
    let host = reachable_host(&webdav.address.host, scope.namespace);
    format!("{scheme}://{}{}", host_port(&host, webdav.address.port), webdav.path)
}

/// The configuration for `connect from-config`, with the password in it.
pub(crate) fn sftp_config(sftp: &Sftp, scope: &Scope<'_>, password: &str, known_hosts: Option<&str>) -> Vec<u8> {
    let mut config = json!({
        "path": &*sftp.path,
        "host": reachable_host(&sftp.host, scope.namespace),
        "port": sftp.port,
        "username": &*sftp.user,
        "password": password,
        "externalSSH": false,
    });
    if let Some(known_hosts) = known_hosts {
        config["knownHostsData"] = known_hosts.into();
    }
    if sftp.flat {
        config["dirShards"] = json!([]);
    }
    json!({ "storage": { "type": "sftp", "config": config } }).to_string().into_bytes()
}

//! The nine storage types of kopia, each with what tells its place; no credentials.

use super::address::{Address, Host, Parts, split};
use super::rclone::Remote;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Storage {
    S3(S3),
    Azure(Azure),
    Gcs(Bucket),
    B2(Bucket),
    WebDav(WebDav),
    Sftp(Sftp),
    Rclone(Rclone),
    GoogleDrive {
        folder: Box<str>,
    },
    Filesystem(Filesystem),
    /// A JSON configuration of a type that is not known here: only a fingerprint of it.
    Unknown {
        digest: Box<str>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct S3 {
    pub bucket: Box<str>,
    /// As it goes to kopia, which puts it before each name as it stands.
    pub prefix: Box<str>,
    pub endpoint: Address,
    pub region: Option<Box<str>>,
    pub disable_tls: bool,
    pub disable_tls_verification: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Azure {
    pub account: Box<str>,
    pub container: Box<str>,
    pub prefix: Box<str>,
    /// None is Azure's public cloud.
    pub domain: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bucket {
    pub bucket: Box<str>,
    pub prefix: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WebDav {
    pub https: bool,
    pub address: Address,
    /// As written, without query.
    pub path: Box<str>,
    pub flat: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sftp {
    pub host: Host,
    pub port: u16,
    pub path: Box<str>,
    pub user: Box<str>,
    pub flat: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rclone {
    pub remote: Remote,
    pub flat: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Filesystem {
    pub path: Box<str>,
    /// Where it lies, if the source mounts a volume there.
    pub volume: Option<Volume>,
    pub flat: bool,
}

/// A volume that a source brings along for its repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Volume {
    Claim { claim: Box<str>, below: Box<str> },
    Nfs { server: Host, path: Box<str> },
}

pub(crate) const AWS_ENDPOINT: &str = "s3.amazonaws.com";
pub(crate) const SFTP_PORT: u16 = 22;
pub(crate) const AZURE_DOMAIN: &str = "blob.core.windows.net";

/// An S3 endpoint as the mover and people write it; and whether a scheme or a user had to be taken off.
pub(crate) fn s3_endpoint(text: &str) -> Result<Address, &'static str> {
    let Parts { scheme, authority, rest, .. } = split(text);
    if scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https")) {
        return Err("has a scheme other than http and https");
    }
    if !rest.is_empty() && !rest.bytes().all(|byte| byte == b'/') {
        return Err("has a path, which an S3 endpoint can't have");
    }
    Address::parse(authority)
}

pub(crate) fn webdav(text: &str) -> Result<WebDav, &'static str> {
    let Parts { scheme, authority, rest, .. } = split(text);
    let https = match scheme.map(str::to_ascii_lowercase).as_deref() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err("does not begin with http:// or https://"),
    };
    let path = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    Ok(WebDav { https, address: Address::parse(authority)?, path: path.into(), flat: false })
}

pub(crate) fn azure_domain(text: &str) -> Option<Box<str>> {
    let domain = text.trim_matches('.').to_lowercase();
    (!domain.is_empty() && domain != AZURE_DOMAIN).then(|| domain.into())
}

//! What the Job's own Secret holds: the credentials that its backend needs, and nothing else.

use std::collections::BTreeMap;

use serde_json::Value;

use super::address::split;
use super::arguments::Argument;
use super::connect::{CONFIG_FILE, sftp_config};
use super::facts::SecretFacts;
use super::json::{lifted_data, raw_remote_path};
use super::overrides::{Overrides, argument_texts};
use super::path::decode_all;
use super::rclone_job::job_config;
use super::storage::Storage;
use super::{Backend, Scope};

impl Backend {
    /// The whole data of the Job's Secret: exactly the keys of [`Backend::credentials`].
    ///
    /// `data` is that of the source's Secret and `kopia` its `spec.kopia` (`Null` for a policy's own Secret). They must
    /// be those that this backend was read from: the caller compares the identity once more before it copies.
    /// Credentials in a JSON configuration or in a URL are put under the keys of the Secret that stand for the same.
    pub fn copy_data(
        &self,
        data: &BTreeMap<String, Vec<u8>>,
        kopia: &Value,
        scope: &Scope<'_>,
    ) -> BTreeMap<String, Vec<u8>> {
        let overrides = Overrides::read(kopia);
        let by_json = overrides.json_counts();
        let lifted = if by_json { lifted_data(kopia) } else { BTreeMap::new() };
        let in_url = match &self.storage {
            Storage::WebDav(_) => url_credentials(&text(data, "WEBDAV_URL")),
            _ => BTreeMap::new(),
        };
        let value = |key: &str| {
            let of_secret = || data.get(key).filter(|value| !value.is_empty() || key == "KOPIA_PASSWORD");
            lifted.get(key).or_else(of_secret).or_else(|| in_url.get(key)).cloned()
        };
        let mut copy = BTreeMap::new();
        for credential in self.credentials(&SecretFacts::read(data)) {
            let bytes = match credential.key {
                CONFIG_FILE => self.sftp_file(scope, &value),
                "RCLONE_CONFIG" => rclone_file(data, kopia, &overrides, by_json, scope),
                key => value(key),
            };
            if let Some(bytes) = bytes {
                copy.insert(credential.key.to_owned(), bytes);
            }
        }
        copy
    }

    fn sftp_file(&self, scope: &Scope<'_>, value: &dyn Fn(&str) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        let Storage::Sftp(sftp) = &self.storage else { return None };
        let text = |key: &str| value(key).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let known_hosts = self.known_hosts().and_then(text);
        Some(sftp_config(sftp, scope, &text("SFTP_PASSWORD")?, known_hosts.as_deref()))
    }
}

fn text(data: &BTreeMap<String, Vec<u8>>, key: &str) -> String {
    let bytes = data.get(key).map(Vec::as_slice).unwrap_or_default();
    String::from_utf8_lossy(bytes).trim_ascii().to_owned()
}

fn rclone_file(
    data: &BTreeMap<String, Vec<u8>>,
    kopia: &Value,
    overrides: &Overrides,
    by_json: bool,
    scope: &Scope<'_>,
) -> Option<Vec<u8>> {
    let in_arguments = overrides.arguments.items.iter().any(|item| matches!(item, Argument::Remote(_)));
    let remote = match (in_arguments, by_json) {
        (true, _) => remote_argument(kopia)?,
        (false, true) => raw_remote_path(kopia)?,
        (false, false) => text(data, "RCLONE_REMOTE_PATH"),
    };
    let embedded = if by_json { lifted_data(kopia).remove("RCLONE_CONFIG") } else { None };
    let config =
        embedded.or_else(|| data.get("RCLONE_CONFIG").cloned()).and_then(|bytes| String::from_utf8(bytes).ok());
    job_config(&remote, config.as_deref(), scope.namespace).map(String::into_bytes)
}

/// The last `--remote-path` of a source.
fn remote_argument(kopia: &Value) -> Option<String> {
    let texts = argument_texts(kopia);
    let at = texts.iter().rposition(|text| {
        let text = text.trim_ascii();
        text == "--remote-path" || text.starts_with("--remote-path=")
    })?;
    let value = match texts[at].trim_ascii().strip_prefix("--remote-path=") {
        Some(value) => value,
        None => texts.get(at + 1)?,
    };
    Some(value.trim_ascii().to_owned())
}

/// User and password of a URL, by the keys that stand for the same.
pub(crate) fn url_credentials(url: &str) -> BTreeMap<&'static str, Vec<u8>> {
    let Some(userinfo) = split(url.trim_ascii()).userinfo else { return BTreeMap::new() };
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let pairs = [("WEBDAV_USERNAME", user), ("WEBDAV_PASSWORD", password)];
    let decoded = |(key, text): (&'static str, &str)| Some((key, decode_all(text)?.into_bytes()));
    pairs.into_iter().filter(|(_, text)| !text.is_empty()).filter_map(decoded).collect()
}

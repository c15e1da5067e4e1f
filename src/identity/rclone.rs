//! What an rclone remote means: its type, its place and a fingerprint of its options without credentials, so that two
//! remotes of other names and other tokens are known to be one.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::IdentityProblem;
use super::address::{Address, Host, split};
use super::facts::{hex, location_text};
use super::rclone_config::{Config, Options, RemoteText, Root};
use super::storage::AWS_ENDPOINT;
use super::well_known::{Store, store};

/// The name that a remote gets in the Job where the user gave it none, or options on top.
pub(crate) const JOB_REMOTE: &str = "volsync-hub";

/// Remotes wrap remotes (`crypt` over `alias` over `s3`), a union perhaps a dozen of them; more is a circle, or meant
/// to keep the hub busy: with at most 256 remotes to read, one Secret costs no more than 8,192 steps.
const STEPS_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Remote {
    /// In the Job's configuration; none for a path of the local file system.
    pub name: Option<Box<str>>,
    /// As written.
    pub path: Box<str>,
    /// None where no configuration says what the remote is.
    pub meaning: Option<Meaning>,
    /// No other configuration can say what it means: it came with one, or with options of its own.
    pub settled: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Meaning {
    pub kind: Box<str>,
    /// Of all options that tell the place, but for the address and the user.
    pub digest: Box<str>,
    pub address: Option<Address>,
    /// What follows the address in a URL.
    pub address_path: Box<str>,
    /// A fingerprint of the user, where the user is not itself the place.
    pub user: Option<Box<str>>,
    /// Relative paths begin in the user's own folder.
    pub has_home: bool,
    /// The local file system of whatever Pod runs it.
    pub local: bool,
    /// Where an alias points, before the path.
    pub base: Box<str>,
}

/// Options that lead to the place through a credential, not to another place.
fn is_credential(option: &str, kind: &str) -> bool {
    ["token", "pass", "secret", "key", "credential", "cookie"].iter().any(|part| option.contains(part))
        || option.starts_with("client_")
        || option.starts_with("service_account")
        || (option == "account" && kind == "b2")
        || matches!(
            option,
            "access_grant" | "sas_url" | "env_auth" | "auth_version" | "bearer" | "profile" | "msi_client_id"
        )
}

/// Options that change how rclone works there, and never where.
fn is_tuning(option: &str) -> bool {
    ["_size", "_cutoff", "_concurrency", "_command", "_timeout", "_time", "_flush_time", "_chunk"]
        .iter()
        .any(|end| option.ends_with(end))
        || ["no_", "use_", "disable_", "list_", "server_side_encryption", "sse_", "memory_pool", "max_", "hard_delete"]
            .iter()
            .any(|start| option.starts_with(start))
        || matches!(
            option,
            "type"
                | "acl"
                | "bucket_acl"
                | "storage_class"
                | "region"
                | "location_constraint"
                | "description"
                | "scope"
                | "force_path_style"
                | "chunk_size"
                | "concurrency"
                | "connections"
                | "shell_type"
                | "v2_auth"
                | "versions"
                | "tls"
                | "explicit_tls"
                | "ask_password"
                | "skip_links"
                | "known_hosts_file"
                | "host_key_algorithms"
        )
}

/// Options that start a program, or set options of rclone itself. Hash programs of an SFTP server run over there, and
/// are left out of what the Job gets.
pub(super) fn is_unsafe(option: &str) -> bool {
    option == "ssh"
        || option == "metadata_mapper"
        || option.starts_with("global.")
        || option.starts_with("override.")
        || (option.ends_with("_command") && !is_hash_command(option))
}

pub(super) fn is_hash_command(option: &str) -> bool {
    matches!(option, "md5sum_command" | "sha1sum_command")
}

pub(super) const ADDRESS_OPTIONS: [&str; 3] = ["endpoint", "url", "host"];
pub(super) const WRAPPING_OPTIONS: [&str; 4] = ["remote", "remotes", "upstreams", "root_remote"];

/// What `RCLONE_REMOTE_PATH` and the like mean, given the text of a configuration. `place` names where they stand.
pub(crate) fn read(remote: &str, config: Option<&str>, place: &str) -> Result<Remote, IdentityProblem> {
    if remote.starts_with('-') {
        return Err(IdentityProblem::unsafe_option("a remote path that begins with a dash", place));
    }
    let text = RemoteText::parse(remote).map_err(|why| IdentityProblem::invalid(format!("{place} {why}")))?;
    let has_options = !text.options.is_empty();
    let settled = has_options || config.is_some();
    let config = config.and_then(Config::parse);
    let mut reader = Reader { config: config.as_ref(), steps: STEPS_MAX };
    let meaning = reader.meaning(&text).map_err(|refused| refused.at(place))?;
    let name = match &text.root {
        Root::Local => None,
        Root::Named(name) if !has_options || meaning.is_none() => Some(plain_name(name, place)?.into()),
        Root::Named(_) | Root::Typed(_) => Some(JOB_REMOTE.into()),
    };
    Ok(Remote { name, path: text.path.as_str().into(), meaning, settled })
}

/// Each remote that a configuration names, or the unsafe option that it has.
pub(crate) fn read_all(config: &str) -> BTreeMap<Box<str>, Result<Meaning, IdentityProblem>> {
    let Some(config) = Config::parse(config) else { return BTreeMap::new() };
    let named = |name: &String| {
        let text = RemoteText { root: Root::Named(name.clone()), options: Options::new(), path: String::new() };
        let meaning = match (Reader { config: Some(&config), steps: STEPS_MAX }).meaning(&text) {
            Ok(meaning) => Ok(meaning?),
            Err(refused) => Err(refused.at("RCLONE_CONFIG")),
        };
        Some((name.as_str().into(), meaning))
    };
    config.0.keys().filter_map(named).collect()
}

/// Options are rclone's own words, so they can be shown; but not whatever a hostile configuration puts there.
fn unsafe_in(option: &str, place: &str) -> IdentityProblem {
    let known = ["ssh", "bearer_token_command", "server_command", "password_command", "metadata_mapper"];
    let shown = known.iter().find(|known| **known == option).copied().unwrap_or("an option of rclone itself");
    IdentityProblem::unsafe_option(shown, place)
}

fn plain_name<'a>(name: &'a str, place: &str) -> Result<&'a str, IdentityProblem> {
    let plain = |c: char| c.is_alphanumeric() || "_ .+@-".contains(c);
    if name.starts_with('-') || !name.chars().all(plain) {
        return Err(IdentityProblem::invalid(format!("{place} has a remote name that rclone does not allow")));
    }
    Ok(name)
}

/// Follows remotes through a configuration, with a bound on the work that a hostile one can cause.
struct Reader<'a> {
    config: Option<&'a Config>,
    steps: usize,
}

enum Refused {
    /// This option.
    Unsafe(String),
    TooMany,
}

impl Refused {
    fn at(self, place: &str) -> IdentityProblem {
        match self {
            Self::Unsafe(option) => unsafe_in(&option, place),
            Self::TooMany => IdentityProblem::invalid(format!(
                "{place} leads to rclone remotes that wrap each other in a circle, or to more than {STEPS_MAX} of them"
            )),
        }
    }
}

impl Reader<'_> {
    fn meaning(&mut self, text: &RemoteText) -> Result<Option<Meaning>, Refused> {
        self.steps = self.steps.checked_sub(1).ok_or(Refused::TooMany)?;
        let mut options = match &text.root {
            Root::Local => return Ok(Some(local())),
            Root::Typed(kind) => Options::from([("type".to_owned(), kind.clone())]),
            Root::Named(name) => {
                if let Some(section) = self.config.and_then(|config| config.0.get(name)) {
                    section.clone()
                } else {
                    let unsafe_option = text.options.keys().find(|option| is_unsafe(option));
                    return unsafe_option.map_or(Ok(None), |option| Err(Refused::Unsafe(option.clone())));
                }
            }
        };
        options.extend(text.options.iter().map(|(option, value)| (option.clone(), value.clone())));
        if let Some(option) = options.keys().find(|option| is_unsafe(option)) {
            return Err(Refused::Unsafe(option.clone()));
        }
        let kind = options.get("type").map(|kind| kind.trim().to_lowercase()).unwrap_or_default();
        if kind == "alias" { self.alias(&options) } else { self.of_options(&kind, &options).map(Some) }
    }

    fn alias(&mut self, options: &Options) -> Result<Option<Meaning>, Refused> {
        let target = options.get("remote").and_then(|remote| RemoteText::parse(remote).ok());
        let Some(target) = target else { return Ok(None) };
        let Some(mut inner) = self.meaning(&target)? else { return Ok(None) };
        let base = match &*inner.base {
            "" => target.path,
            base => format!("{base}/{}", target.path),
        };
        if location_text(base.as_bytes()).is_err() {
            return Ok(None);
        }
        inner.base = base.into();
        Ok(Some(inner))
    }

    fn of_options(&mut self, kind: &str, options: &Options) -> Result<Meaning, Refused> {
        let shown = if is_type(kind) { kind } else { "unknown" };
        let mut found = Meaning { kind: shown.into(), local: kind == "local", ..Meaning::default() };
        found.has_home = matches!(kind, "sftp" | "ftp");
        let mut place: BTreeMap<&str, String> = BTreeMap::new();
        let user_is_no_place = matches!(kind, "sftp" | "ftp" | "webdav" | "smb" | "http" | "hdfs");
        for (option, value) in options.iter().filter(|(_, value)| !value.is_empty()) {
            if user_is_no_place && matches!(option.as_str(), "user" | "username") {
                found.user = Some(digest(&BTreeMap::from([("user", value.clone())]), ""));
            } else if WRAPPING_OPTIONS.contains(&option.as_str()) {
                place.insert(option, self.wrapped(option, value, &mut found)?);
            } else if found.address.is_none() && ADDRESS_OPTIONS.contains(&option.as_str()) {
                match located(value) {
                    Some((address, path)) => (found.address, found.address_path) = (Some(address), path.into()),
                    None => drop(place.insert(option, value.to_lowercase())),
                }
            } else if !is_credential(option, kind) && !is_tuning(option) && !is_default(kind, option, value) {
                place.insert(option, value.clone());
            }
        }
        if kind == "s3" {
            fold_s3(&mut found, &mut place, options.get("region").map(String::as_str));
        }
        found.digest = digest(&place, kind);
        Ok(found)
    }

    /// What an option that names other remotes means, without their names.
    fn wrapped(&mut self, option: &str, value: &str, outer: &mut Meaning) -> Result<String, Refused> {
        let mut parts = Vec::new();
        for (folder, target) in targets(option, value) {
            let inner = match RemoteText::parse(target) {
                Ok(text) => self.meaning(&text)?.map(|meaning| (meaning, text.path)),
                Err(_) => None,
            };
            let Some((inner, path)) = inner else {
                parts.push("?".to_owned());
                continue;
            };
            let own_address = match (&outer.address, &inner.address) {
                (Some(_), Some(address)) => format!("{address}/{}", inner.address_path),
                _ => String::new(),
            };
            parts.push(format!("{folder}|{}|{own_address}|{}|{}", inner.digest, inner.base, path.trim_matches('/')));
            outer.local |= inner.local;
            if outer.address.is_none() {
                (outer.address, outer.address_path, outer.user) = (inner.address, inner.address_path, inner.user);
            }
        }
        Ok(parts.join(" "))
    }
}

/// Types are rclone's own words, which can be shown; but not whatever a hostile configuration puts there.
fn is_type(kind: &str) -> bool {
    kind.len() <= 32 && kind.chars().all(|letter| letter.is_ascii_alphanumeric() || " _-".contains(letter))
}

fn local() -> Meaning {
    Meaning { kind: "local".into(), digest: digest(&BTreeMap::new(), "local"), local: true, ..Meaning::default() }
}

/// Amazon has many names for one store, and none at all means it too; elsewhere the endpoint says all that the
/// provider's name could.
fn fold_s3(found: &mut Meaning, place: &mut BTreeMap<&str, String>, region: Option<&str>) {
    let amazon = Host::Name(AWS_ENDPOINT.into());
    let is_amazon = place.get("provider").is_none_or(|provider| provider.eq_ignore_ascii_case("aws"));
    let host = match &found.address {
        Some(address) => Some(&address.host),
        None => is_amazon.then_some(&amazon),
    };
    let known = host.and_then(|host| store(host, region));
    if let Some(known) = known {
        let name = match known {
            Store::Aws { partition, .. } => partition,
            Store::Google => "gcs",
            Store::Backblaze => "b2",
        };
        place.insert("store", name.to_owned());
        found.address = None;
    }
    if known.is_some() || found.address.is_some() {
        place.remove("provider");
    }
}

fn is_default(kind: &str, option: &str, value: &str) -> bool {
    matches!((kind, option, value), ("sftp", "port", "22") | ("ftp", "port", "21") | ("webdav", "vendor", _))
}

/// The host and what follows it, with user and query cut off.
fn located(value: &str) -> Option<(Address, String)> {
    let parts = split(value);
    let address = Address::parse(parts.authority).ok()?;
    let insecure = parts.scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
    let defaults: &[u16] = if insecure { &[80, 443] } else { &[443] };
    let path = &parts.rest[..parts.rest.find(['?', '#']).unwrap_or(parts.rest.len())];
    let path = super::path::collapsed(&super::path::decode_unreserved(path));
    Some((address.without_ports(defaults), path.trim_matches('/').to_owned()))
}

/// The remotes in an option, each with the folder that it is shown as.
pub(super) fn targets<'a>(option: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    if option == "remote" || option == "root_remote" {
        return vec![("", value)];
    }
    let pair = |target: &'a str| match target.split_once('=') {
        Some((folder, remote)) if !folder.contains([':', ',']) => (folder, remote),
        _ => ("", target),
    };
    value.split_whitespace().map(pair).collect()
}

fn digest(options: &BTreeMap<&str, String>, kind: &str) -> Box<str> {
    let mut hash = Sha256::new();
    for text in std::iter::once(kind).chain(options.iter().flat_map(|(option, value)| [*option, value.as_str()])) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hex(&hash.finalize()[..16]).into()
}

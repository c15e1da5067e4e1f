//! `additionalArgs` of a source, which the mover adds to `kopia repository connect`: those that say where the
//! repository is.

use super::address::cut_userinfo;
use super::facts::location_text;
use super::rclone::{self, Remote};
use super::{IdentityProblem, Notes};

/// Flags with a value that tell the place, in any of kopia's storage types.
const LOCATION_FLAGS: [&str; 13] = [
    "bucket",
    "container",
    "endpoint",
    "folder-id",
    "host",
    "path",
    "port",
    "prefix",
    "region",
    "storage-account",
    "storage-domain",
    "url",
    "username",
];

/// Flags without a value that decide how it is reached.
const SWITCHES: [&str; 3] = ["disable-tls", "disable-tls-verification", "flat"];

const UNSAFE_FLAGS: [&str; 6] = ["external", "rclone-args", "rclone-env", "rclone-exe", "ssh-args", "ssh-command"];

/// Without their values.
const CREDENTIAL_FLAGS: [&str; 15] = [
    "access-key",
    "client-cert",
    "client-id",
    "client-secret",
    "credentials-file",
    "key",
    "key-data",
    "key-id",
    "keyfile",
    "password",
    "sas-token",
    "secret-access-key",
    "sftp-password",
    "storage-key",
    "webdav-password",
];

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Arguments {
    pub items: Vec<Argument>,
    pub notes: Notes,
    pub problem: Option<IdentityProblem>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Argument {
    Value { flag: &'static str, value: Box<str> },
    Switch { flag: &'static str, on: bool },
    Remote(Remote),
}

impl Argument {
    pub fn flag(&self) -> &'static str {
        match self {
            Self::Value { flag, .. } | Self::Switch { flag, .. } => flag,
            Self::Remote(_) => "remote-path",
        }
    }
}

impl Arguments {
    pub fn read(texts: &[&str]) -> Self {
        let mut found = Self::default();
        // The mover splits at each of these characters, so that an unsafe flag may also begin inside an argument.
        let pieces: Vec<&str> = texts.iter().flat_map(|text| text.split(is_eaten).chain([*text])).collect();
        if let Some(flag) = pieces.into_iter().find_map(unsafe_flag) {
            found.problem = Some(IdentityProblem::unsafe_option(&format!("--{flag}"), "additionalArgs"));
        }
        for (flag, value, written) in pairs(texts) {
            if let Err(problem) = found.add(flag, value) {
                found.problem.get_or_insert(problem);
            }
            if found.items.last().is_some_and(|item| item.flag() == flag) && written.contains(is_eaten) {
                found.notes.doubt(format!(
                    "additionalArgs --{flag} holds a character of VOLSYNC_ARG_SEP, at which the mover cuts arguments \
                     apart; it is taken as written"
                ));
            }
        }
        found
    }

    fn add(&mut self, flag: &str, value: Option<&str>) -> Result<(), IdentityProblem> {
        if let Some(switch) = SWITCHES.iter().find(|switch| **switch == flag) {
            self.items.push(Argument::Switch { flag: switch, on: value != Some("false") });
        } else if let Some(switch) = SWITCHES.iter().find(|switch| flag.strip_prefix("no-") == Some(*switch)) {
            self.items.push(Argument::Switch { flag: switch, on: false });
        } else if CREDENTIAL_FLAGS.contains(&flag) {
            self.notes.warn(format!("additionalArgs --{flag} is not used for maintenance: put it into the Secret"));
        } else if flag == "embed-rclone-config" {
            self.notes.doubt("additionalArgs --embed-rclone-config names a file that only the mover has");
        } else if flag == "remote-path" || LOCATION_FLAGS.contains(&flag) {
            let value = value.unwrap_or_default().trim_ascii();
            let value = location_text(value.as_bytes())
                .map_err(|why| IdentityProblem::invalid(format!("additionalArgs --{flag} {why}")))?;
            self.items.push(location(flag, value)?);
        }
        Ok(())
    }
}

fn location(flag: &str, value: &str) -> Result<Argument, IdentityProblem> {
    if flag == "remote-path" {
        return rclone::read(value, None, "additionalArgs --remote-path").map(Argument::Remote);
    }
    let flag = LOCATION_FLAGS.into_iter().find(|known| *known == flag).unwrap_or_default();
    let (address, _) = cut_userinfo(value);
    let is_address = matches!(flag, "endpoint" | "host" | "url");
    Ok(Argument::Value { flag, value: if is_address { address.into() } else { value.into() } })
}

/// `--flag=value`, `--flag value` and `--switch`, with all that was written for it.
fn pairs<'a>(texts: &[&'a str]) -> Vec<(&'a str, Option<&'a str>, String)> {
    let mut pairs = Vec::new();
    let mut rest = texts.iter().peekable();
    while let Some(text) = rest.next() {
        let Some(body) = text.trim_ascii().strip_prefix("--") else { continue };
        if let Some((flag, value)) = body.split_once('=') {
            pairs.push((flag, Some(value), (*text).to_owned()));
        } else if takes_value(body) {
            let value = rest.next_if(|next| !next.starts_with("--"));
            pairs.push((body, value.copied(), format!("{body}{}", value.copied().unwrap_or_default())));
        } else {
            pairs.push((body, None, (*text).to_owned()));
        }
    }
    pairs
}

fn takes_value(flag: &str) -> bool {
    flag == "remote-path"
        || flag == "embed-rclone-config"
        || LOCATION_FLAGS.contains(&flag)
        || CREDENTIAL_FLAGS.contains(&flag)
}

fn unsafe_flag(text: &str) -> Option<&'static str> {
    let body = text.trim_ascii().strip_prefix("--")?;
    let (flag, value) = body.split_once('=').map_or((body, ""), |(flag, value)| (flag, value));
    UNSAFE_FLAGS.into_iter().find(|known| *known == flag && !(flag == "external" && value == "false"))
}

/// The characters of the mover's separator, each of which it takes for one.
fn is_eaten(character: char) -> bool {
    "|VOLSYNC_ARG_SEP|".contains(character)
}

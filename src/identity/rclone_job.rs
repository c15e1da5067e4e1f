//! The rclone configuration that a Job gets.

use std::collections::{BTreeMap, BTreeSet};

use super::address::{Address, host_port, split};
use super::rclone::{ADDRESS_OPTIONS, JOB_REMOTE, WRAPPING_OPTIONS, is_hash_command, is_unsafe, targets};
use super::rclone_config::{Config, Options, RemoteText, Root};
use super::scope::reachable_host;

/// The configuration that the Job gets: the remote itself and those that it wraps, nothing else. Short host names are
/// written so that they resolve from another namespace.
pub(crate) fn job_config(remote: &str, config: Option<&str>, namespace: &str) -> Option<String> {
    let text = RemoteText::parse(remote).ok()?;
    let config = config.and_then(Config::parse).unwrap_or(Config(BTreeMap::new()));
    let (name, mut options) = match &text.root {
        Root::Local => return None,
        Root::Typed(kind) => (JOB_REMOTE, Options::from([("type".to_owned(), kind.clone())])),
        Root::Named(name) if text.options.is_empty() => (name.as_str(), config.0.get(name)?.clone()),
        Root::Named(name) => (JOB_REMOTE, config.0.get(name)?.clone()),
    };
    options.extend(text.options.iter().map(|(option, value)| (option.clone(), value.clone())));
    let mut out = String::new();
    let mut done = BTreeSet::from([name.to_owned()]);
    let mut waiting = vec![(name.to_owned(), options)];
    while let Some((name, options)) = waiting.pop() {
        write_section(&mut out, &name, &options, namespace);
        for next in wrapped_names(&options) {
            if let Some(section) = config.0.get(&next).filter(|_| done.insert(next.clone())) {
                waiting.push((next, section.clone()));
            }
        }
    }
    Some(out)
}

fn wrapped_names(options: &Options) -> Vec<String> {
    let values = WRAPPING_OPTIONS.iter().filter_map(|option| Some((*option, options.get(*option)?)));
    let name = |(_, target): (&str, &str)| match RemoteText::parse(target).ok()?.root {
        Root::Named(name) => Some(name),
        _ => None,
    };
    values.flat_map(|(option, value)| targets(option, value)).filter_map(name).collect()
}

fn write_section(out: &mut String, name: &str, options: &Options, namespace: &str) {
    let safe = |text: &str| !text.contains(['\n', '\r', '\0']);
    out.extend(["[", name, "]\n"]);
    for (option, value) in options {
        if is_hash_command(option) || is_unsafe(option) || !safe(option) || !safe(value) {
            continue;
        }
        let value =
            if ADDRESS_OPTIONS.contains(&option.as_str()) { reachable(value, namespace) } else { value.clone() };
        out.extend([option, " = ", &value, "\n"]);
    }
}

fn reachable(value: &str, namespace: &str) -> String {
    let parts = split(value);
    match Address::parse(parts.authority) {
        Ok(address) if address.host.labels() == 1 => {
            let host = reachable_host(&address.host, namespace);
            let authority = host_port(&host, address.port);
            let user = parts.userinfo.map(|user| format!("{user}@")).unwrap_or_default();
            let scheme = parts.scheme.map(|scheme| format!("{scheme}://")).unwrap_or_default();
            format!("{scheme}{user}{authority}{}", parts.rest)
        }
        _ => value.to_owned(),
    }
}

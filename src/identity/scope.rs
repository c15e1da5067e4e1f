//! What a host name or address means in one member, and how far that holds.

use std::net::IpAddr;

use super::address::{Address, Host};
use super::{IdentityProblem, Reach, Scope};

/// The domain of Services that clusters export to each other: one meaning in all of them.
const CLUSTER_SET: &str = ".svc.clusterset.local";

/// Second labels that people use at home and in offices; a namespace of that name makes no Service of them.
const LOCAL_ZONES: [&str; 3] = ["lan", "local", "internal"];

/// More steps can only be a circle: an alias names another name of one place.
const ALIAS_STEPS_MAX: usize = 8;

/// A host with the meaning it has in one member.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// In one spelling: a Service is `<name>.<namespace>.svc`, however it was written.
    pub host: String,
    pub reach: Reach,
    /// Why another reading is possible.
    pub doubt: Option<String>,
}

impl Placed {
    fn new(host: impl Into<String>, reach: Reach) -> Self {
        Self { host: host.into(), reach, doubt: None }
    }
    fn doubtful(host: &str, doubt: String) -> Self {
        Self { host: host.to_owned(), reach: Reach::Shared, doubt: Some(doubt) }
    }
}

/// `what` names the key that the host is from.
pub(crate) fn place(host: &Host, scope: &Scope<'_>, what: &str) -> Result<Placed, IdentityProblem> {
    match host {
        Host::Ip(ip) => place_ip(*ip, scope, what),
        Host::Name(name) if is_loopback_name(name) => Err(IdentityProblem::loopback(what)),
        Host::Name(name) => Ok(place_name(name, scope)),
    }
}

/// NFS volumes are mounted by the node, which knows no Services by short names.
pub(crate) fn place_for_node(host: &Host, scope: &Scope<'_>, what: &str) -> Result<Placed, IdentityProblem> {
    match host {
        Host::Name(name) if host.labels() <= 2 && !is_loopback_name(name) => {
            let doubt = format!("{name} is a short name, which each cluster's nodes may resolve differently");
            Ok(Placed::doubtful(name, doubt))
        }
        _ => place(host, scope, what),
    }
}

fn place_ip(ip: IpAddr, scope: &Scope<'_>, what: &str) -> Result<Placed, IdentityProblem> {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if ip.is_loopback() || ip.is_unspecified() || link_local {
        return Err(IdentityProblem::loopback(what));
    }
    let inside = scope.cidrs.iter().any(|network| network.contains(ip));
    Ok(Placed::new(ip.to_string(), if inside { Reach::Cluster } else { Reach::Shared }))
}

fn canonical(host: &Host, scope: &Scope<'_>) -> String {
    match host {
        Host::Name(name) if !is_loopback_name(name) => place_name(name, scope).host,
        other => other.to_string(),
    }
}

fn is_loopback_name(name: &str) -> bool {
    matches!(name, "localhost" | "localhost.localdomain" | "ip6-localhost" | "ip6-loopback")
        || name.ends_with(".localhost")
}

fn place_name(name: &str, scope: &Scope<'_>) -> Placed {
    if name.ends_with(CLUSTER_SET) {
        return Placed::new(name, Reach::Shared);
    }
    if let Some(local) = cluster_name(name, scope.cluster_domain) {
        return Placed::new(local, Reach::Cluster);
    }
    let labels: Vec<&str> = name.split('.').collect();
    match labels[..] {
        [service] => Placed::new(format!("{service}.{}.svc", scope.namespace), Reach::Namespace),
        [service, second] => {
            if !LOCAL_ZONES.contains(&second) && (scope.has_namespace)(second) {
                Placed::new(format!("{service}.{second}.svc"), Reach::Cluster)
            } else {
                let doubt = format!(
                    "{name} could be the Service {service} of a namespace {second}; it is taken as one place that all \
                     clusters share"
                );
                Placed::doubtful(name, doubt)
            }
        }
        _ => place_long_name(name, &labels, scope),
    }
}

fn place_long_name(name: &str, labels: &[&str], scope: &Scope<'_>) -> Placed {
    let last = labels.last().copied().unwrap_or_default();
    if labels.contains(&"svc") {
        let doubt = format!("{name} looks like a Service under another cluster domain; it is taken as shared");
        return Placed::doubtful(name, doubt);
    }
    if !LOCAL_ZONES.contains(&last) && (scope.has_namespace)(last) {
        let doubt = format!("{name} ends like a Pod's name in the namespace {last}; it is taken as shared");
        return Placed::doubtful(name, doubt);
    }
    Placed::new(name, Reach::Shared)
}

/// `<rest>.svc` or `<rest>.pod` for a name that the cluster's own DNS answers in full.
fn cluster_name(name: &str, cluster_domain: &str) -> Option<String> {
    let domain = cluster_domain.trim_matches('.').to_lowercase();
    let inner = [domain.as_str(), "cluster.local"]
        .iter()
        .filter(|domain| !domain.is_empty())
        .find_map(|domain| name.strip_suffix(domain)?.strip_suffix('.'));
    match inner {
        Some(inner) if is_below(inner, "svc") || is_below(inner, "pod") => Some(inner.to_owned()),
        _ if is_below(name, "svc") => Some(name.to_owned()),
        _ => None,
    }
}

fn is_below(name: &str, zone: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, last)| last == zone)
}

/// The host to write into arguments, so that it resolves from any namespace of the member.
pub(crate) fn reachable_host(host: &Host, namespace: &str) -> String {
    match host {
        Host::Name(name) if host.labels() == 1 && !is_loopback_name(name) => format!("{name}.{namespace}.svc"),
        other => other.to_string(),
    }
}

/// The address that this one is another name of, if the hub was told so.
pub(crate) fn resolve_alias(address: &Address, scope: &Scope<'_>, defaults: &[u16]) -> Address {
    let mut current = address.without_ports(defaults);
    for _ in 0..ALIAS_STEPS_MAX {
        match alias_step(&current, scope, defaults) {
            Some(next) if next != current => current = next,
            _ => break,
        }
    }
    current
}

/// A Service has many spellings: one that is aliased is meant in each of them.
fn alias_step(address: &Address, scope: &Scope<'_>, defaults: &[u16]) -> Option<Address> {
    let spelled = canonical(&address.host, scope);
    let parsed = scope.aliases.iter().filter_map(|(from, to)| {
        let read = |text: &str| {
            let parts = super::address::split(text.trim_ascii());
            Address::parse(parts.authority).ok().map(|address| address.without_ports(defaults))
        };
        Some((read(from)?, read(to)?))
    });
    let mut portless = None;
    for (from, to) in parsed {
        if canonical(&from.host, scope) != spelled {
            continue;
        }
        if from.port == address.port {
            return Some(to);
        }
        if from.port.is_none() && to.port.is_none() {
            portless = Some(Address { host: to.host, port: address.port });
        }
    }
    portless
}

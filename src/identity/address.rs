//! Hosts and ports, in one spelling.

use std::fmt;
use std::net::IpAddr;

/// DNS allows no more, and no address is longer.
const HOST_BYTES_MAX: usize = 253;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Host {
    /// IPv4 inside IPv6 is IPv4.
    Ip(IpAddr),
    /// Lower case, no dot at the end.
    Name(Box<str>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub host: Host,
    pub port: Option<u16>,
}

impl Host {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
        let unzoned = bare.split_once('%').map_or(bare, |(address, _)| address);
        if let Ok(ip) = unzoned.parse::<IpAddr>() {
            return Ok(Self::Ip(ip.to_canonical()));
        }
        let name = bare.strip_suffix('.').unwrap_or(bare).to_lowercase();
        if name.is_empty() {
            return Err("has no host");
        }
        if name.len() > HOST_BYTES_MAX {
            return Err("has a host of more than 253 bytes");
        }
        let plain =
            |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && c.is_alphanumeric());
        if !name.split('.').all(|label| !label.is_empty() && label.chars().all(plain)) {
            return Err("has a host that is no name and no address");
        }
        // Resolvers disagree about `127.1` and `2130706433`; none of them is a name.
        if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err("has a host that is no name and no whole address");
        }
        Ok(Self::Name(name.into()))
    }

    pub fn labels(&self) -> usize {
        match self {
            Self::Ip(_) => 0,
            Self::Name(name) => name.split('.').count(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Address {
    /// `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (host, port) = if let Some(inner) = text.strip_prefix('[') {
            let (host, rest) = inner.split_once(']').ok_or("has a bracket that is not closed")?;
            if host.parse::<IpAddr>().is_err() && !host.contains(':') {
                return Err("has brackets around something that is no IPv6 address");
            }
            match rest.strip_prefix(':') {
                Some(port) => (host, port),
                None if rest.is_empty() => (host, ""),
                None => return Err("has text behind its bracket"),
            }
        } else {
            match text.split_once(':') {
                Some((_, rest)) if rest.contains(':') => (text, ""),
                Some(pair) => pair,
                None => (text, ""),
            }
        };
        Ok(Self { host: Host::parse(host)?, port: port_number(port)? })
    }

    /// With the port left out where it is one of these.
    pub fn without_ports(&self, defaults: &[u16]) -> Self {
        let port = self.port.filter(|port| !defaults.contains(port));
        Self { host: self.host.clone(), port }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&host_port(&self.host.to_string(), self.port))
    }
}

/// `host:port`, with the brackets that an IPv6 address needs.
pub(crate) fn host_port(host: &str, port: Option<u16>) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// Empty is none.
pub(crate) fn port_number(text: &str) -> Result<Option<u16>, &'static str> {
    const NO_PORT: &str = "has a port that is no number from 1 to 65535";
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NO_PORT);
    }
    text.parse().map(Some).map_err(|_| NO_PORT)
}

/// An address as people write it: perhaps a scheme, perhaps a user, and something behind the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// As written, without `://`.
    pub scheme: Option<&'a str>,
    /// As written, without `@`: may hold a credential.
    pub userinfo: Option<&'a str>,
    pub authority: &'a str,
    /// From the first `/`, `?` or `#` on.
    pub rest: &'a str,
}

pub(crate) fn split(text: &str) -> Parts<'_> {
    let scheme_end = text.find("://").filter(|end| {
        *end > 0 && text[..*end].bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    let (scheme, after) = match scheme_end {
        Some(end) => (Some(&text[..end]), &text[end + 3..]),
        None => (None, text),
    };
    let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) => Parts { scheme, userinfo: Some(user), authority: host, rest },
        None => Parts { scheme, userinfo: None, authority, rest },
    }
}

/// The same text without a user, and that user.
pub(crate) fn cut_userinfo(text: &str) -> (String, Option<&str>) {
    let parts = split(text);
    let scheme = parts.scheme.map(|scheme| format!("{scheme}://")).unwrap_or_default();
    (format!("{scheme}{}{}", parts.authority, parts.rest), parts.userinfo)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spelled(text: &str) -> String {
        Address::parse(text).unwrap().to_string()
    }

    #[test]
    fn addresses_have_one_spelling() {
        assert_eq!(spelled("MINIO.Example.com.:9000"), "minio.example.com:9000");
        assert_eq!(spelled("[2001:DB8:0:0::1]:9000"), "[2001:db8::1]:9000");
        assert_eq!(spelled("2001:db8:0::1"), "[2001:db8::1]");
        assert_eq!(spelled("[::ffff:10.0.0.1]"), "10.0.0.1");
        assert_eq!(spelled("host:"), "host");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":9000",
            "a..b",
            "a b",
            "host:0",
            "host:65536",
            "host:x",
            "[::1",
            "[a]:1",
            "[::1]x",
            "127.1",
            "1.2.3.4.5",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_falls_into_its_parts() {
        let parts = split("https://user:p@ss@host:1/a?b");
        assert_eq!((parts.scheme, parts.userinfo), (Some("https"), Some("user:p@ss")));
        assert_eq!((parts.authority, parts.rest), ("host:1", "/a?b"));
        assert_eq!(cut_userinfo("u@host/x").0, "host/x");
        assert_eq!(split("host/a@b").userinfo, None);
    }
}

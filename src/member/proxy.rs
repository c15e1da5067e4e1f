//! Through which proxy a member is reached: its kubeconfig's own, else that of the hub's environment.

use std::net::IpAddr;

use http::Uri;
use kube::config::Cluster;

/// `proxy-url`, else `HTTPS_PROXY` unless `NO_PROXY` names the server.
pub fn of(cluster: &Cluster, server: &Uri) -> Result<Option<Uri>, String> {
    if let Some(url) = cluster.proxy_url.as_deref().filter(|url| !url.is_empty()) {
        return url.parse().map(Some).map_err(|_| "proxy-url is no URL".to_owned());
    }
    #[expect(clippy::disallowed_methods, reason = "the variables of every program, read once for each client")]
    let variable = |upper: &str, lower: &str| {
        [upper, lower].into_iter().filter_map(|name| std::env::var(name).ok()).find(|value| !value.is_empty())
    };
    let Some(url) = variable("HTTPS_PROXY", "https_proxy") else { return Ok(None) };
    let exempt = variable("NO_PROXY", "no_proxy").unwrap_or_default();
    if is_exempt(server.host().unwrap_or_default(), &exempt) {
        return Ok(None);
    }
    url.parse().map(Some).map_err(|_| "HTTPS_PROXY in the hub's environment is no URL".to_owned())
}

/// Is `host` named by a `NO_PROXY` list: `*`, a domain and all below it, an address, or a network?
fn is_exempt(host: &str, list: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).filter(|entry| !entry.is_empty()).any(|entry| {
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        match (address, entry.split_once('/')) {
            _ if entry == "*" => true,
            (Some(address), Some((network, bits))) => in_network(address, network, bits),
            (Some(address), None) => entry.parse() == Ok(address),
            (None, _) => host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
        }
    })
}

fn in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let widen = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let ((address, width), (network, network_width)) = (widen(address), widen(network));
    let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits.min(128)) };
    width == network_width && bits <= width && address & mask == network & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_domains_addresses_and_networks() {
        let list = "localhost, .svc,example.com,10.0.0.0/8,192.168.1.5,fd00::/8";
        for host in
            ["localhost", "kubernetes.default.svc", "api.example.com", "example.com", "10.96.0.1", "192.168.1.5"]
        {
            assert!(is_exempt(host, list), "{host}");
        }
        assert!(is_exempt("[fd12::1]", list));
        for host in ["notexample.com", "11.0.0.1", "192.168.1.6", "fe80::1"] {
            assert!(!is_exempt(host, list), "{host}");
        }
        assert!(is_exempt("anything", "*"));
        assert!(!is_exempt("anything", ""));
    }
}

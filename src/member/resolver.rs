//! Keeps kubeconfigs that tenants wrote from pointing the hub at itself or at a cloud's metadata service.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service;

/// Which addresses a kubeconfig may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The operator wrote it.
    Anywhere,
    /// Neither link-local nor unspecified nor multicast; loopback only where that is said.
    Guarded { loopback: bool },
}

impl Reach {
    pub fn admits(self, address: IpAddr) -> bool {
        let Self::Guarded { loopback } = self else { return true };
        let address = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        let local = match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
            // The address of the metadata service of one large cloud lies outside fe80::/10.
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.segments()[..2] == [0xfd00, 0x0ec2],
        };
        !local && !address.is_unspecified() && !address.is_multicast() && (loopback || !address.is_loopback())
    }
}

/// The system's resolver, without the addresses that must not be reached.
#[derive(Clone)]
pub struct GuardedResolver {
    inner: GaiResolver,
    reach: Reach,
}

impl GuardedResolver {
    pub fn new(reach: Reach) -> Self {
        Self { inner: GaiResolver::new(), reach }
    }
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.reach;
        let host = name.to_string();
        let found = self.inner.call(name);
        Box::pin(async move {
            let admitted: Vec<_> = found.await?.filter(|address| reach.admits(address.ip())).collect();
            if admitted.is_empty() {
                return Err(std::io::Error::other(format!(
                    "{host} leads to no address that a kubeconfig from a Secret may name (loopback, link-local)"
                )));
            }
            Ok(admitted.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tenants_reach_neither_the_metadata_service_nor_the_hub_itself() {
        let guarded = Reach::Guarded { loopback: false };
        for address in
            ["169.254.169.254", "127.0.0.1", "::1", "0.0.0.0", "fe80::1", "::ffff:169.254.169.254", "fd00:ec2::254"]
        {
            assert!(!guarded.admits(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.5", "203.0.113.7", "fd12::1"] {
            assert!(guarded.admits(address.parse().unwrap()), "{address}");
        }
        assert!(Reach::Guarded { loopback: true }.admits("127.0.0.1".parse().unwrap()));
        assert!(!Reach::Guarded { loopback: true }.admits("169.254.1.1".parse().unwrap()));
    }
}

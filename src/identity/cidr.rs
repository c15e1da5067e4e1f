//! A network, as in `MemberCluster.spec.cidrs`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IPv4 or IPv6 network; host bits are cleared when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network: write address/length, such as 10.96.0.0/12 or fd00:10::/108")]
pub struct InvalidCidr(String);

impl Cidr {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                masked(network.to_bits().into(), 32, self.prefix) == masked(address.to_bits().into(), 32, self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                masked(network.to_bits(), 128, self.prefix) == masked(address.to_bits(), 128, self.prefix)
            }
            _ => false,
        }
    }
}

/// The leading `prefix` bits of a value of `width` bits, the others zero.
fn masked(bits: u128, width: u8, prefix: u8) -> u128 {
    let host_bits = u32::from(width.saturating_sub(prefix));
    bits.checked_shr(host_bits).and_then(|head| head.checked_shl(host_bits)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = InvalidCidr;
    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let invalid = || InvalidCidr(text.to_owned());
        let (address, prefix) = text.trim_ascii().split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        if prefix.is_empty() || prefix.len() > 3 || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        match address {
            IpAddr::V4(v4) if prefix <= 32 => {
                let bits = u32::try_from(masked(v4.to_bits().into(), 32, prefix)).map_err(|_| invalid())?;
                Ok(Self { address: IpAddr::V4(bits.into()), prefix })
            }
            IpAddr::V6(v6) if prefix <= 128 => {
                Ok(Self { address: IpAddr::V6(masked(v6.to_bits(), 128, prefix).into()), prefix })
            }
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn network(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_contains_its_own_addresses_only() {
        let services = network("10.96.0.0/12");
        assert!(services.contains("10.111.255.255".parse().unwrap()));
        assert!(services.contains("::ffff:10.96.0.1".parse().unwrap()));
        assert!(!services.contains("10.112.0.0".parse().unwrap()));
        assert!(!services.contains("fd00::1".parse().unwrap()));
        let pods = network("fd00:10:244::/56");
        assert!(pods.contains("fd00:10:244:ff::1".parse().unwrap()));
        assert!(!pods.contains("fd00:10:245::1".parse().unwrap()));
    }

    #[test]
    fn the_widest_and_narrowest_networks_work() {
        assert!(network("0.0.0.0/0").contains("203.0.113.9".parse().unwrap()));
        assert!(network("::/0").contains("2001:db8::1".parse().unwrap()));
        assert!(network("10.0.0.1/32").contains("10.0.0.1".parse().unwrap()));
        assert!(!network("10.0.0.1/32").contains("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn host_bits_are_cleared() {
        assert_eq!(network("10.96.3.4/12").to_string(), "10.96.0.0/12");
        assert_eq!(network("10.96.3.4/12"), network("10.96.0.0/12"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "x/8", "10.0.0.0/8/8", "10.0/8"]
        {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}

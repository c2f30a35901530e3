//! Which addresses may be connected to.
//!
//! # Guarantees
//! - Link-local addresses, where clouds serve credentials, are never reached.
//! - Private addresses and those of this machine are reached only for hosts that somebody who may has named.
//! - Addresses are judged as they are connected to: a name that leads elsewhere the second time is judged again.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Hosts that may be inside: `host` with any port, `host:port` with that one.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hosts(BTreeSet<String>);

impl Hosts {
    /// These, in whatever case.
    pub fn new(hosts: impl IntoIterator<Item = String>) -> Self {
        Self(hosts.into_iter().map(|host| host.trim().to_ascii_lowercase()).filter(|host| !host.is_empty()).collect())
    }

    /// Whether a host, with its port when it has one, may be inside.
    pub fn allow(&self, authority: &str) -> bool {
        let authority = authority.to_ascii_lowercase();
        let name = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        self.0.contains(&authority) || name.is_some_and(|(name, _)| self.0.contains(name))
    }
}

/// What is said of an address that may not be reached.
pub(crate) const FORBIDDEN: &str =
    "leads to an address inside, which only hosts of followed repositories and of --allow-host may have";

/// Whether an address may be reached; `inside` for hosts that may be inside.
pub(crate) fn may_reach(address: &SocketAddr, inside: bool) -> bool {
    let ip = address.ip().to_canonical();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.segments()[..4] == [0xfd00, 0xec2, 0, 0],
    };
    if link_local || ip.is_unspecified() || ip.is_multicast() {
        return false;
    }
    let private = match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_loopback() || ip.is_broadcast() || a == 0 || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    };
    inside || !private
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_7_addresses_inside_are_for_named_hosts_alone() {
        for (address, named, others) in [
            ("93.184.216.34:443", true, true),
            ("10.1.2.3:443", true, false),
            ("127.0.0.1:80", true, false),
            ("[::1]:80", true, false),
            ("[::ffff:127.0.0.1]:80", true, false),
            ("100.64.0.1:80", true, false),
            ("169.254.169.254:80", false, false),
            ("[fd00:ec2::254]:80", false, false),
            ("[fe80::1]:80", false, false),
            ("0.0.0.0:80", false, false),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!((may_reach(&address, true), may_reach(&address, false)), (named, others), "{address}");
        }
    }

    #[test]
    fn a_host_without_a_port_stands_for_all_of_them() {
        let hosts = Hosts::new(["Git.Example".to_owned(), "127.0.0.1:3000".to_owned(), "[::1]".to_owned()]);
        for (authority, allowed) in [
            ("git.example", true),
            ("git.example:8443", true),
            ("127.0.0.1:3000", true),
            ("127.0.0.1:3001", false),
            ("127.0.0.1", false),
            ("[::1]:80", true),
            ("other.example", false),
        ] {
            assert_eq!(hosts.allow(authority), allowed, "{authority}");
        }
    }
}

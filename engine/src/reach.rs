//! Which addresses may be connected to.
//!
//! # Guarantees
//! - Link-local addresses, where clouds serve credentials, are never reached; but a repository that an Application names,
//!   and that needs neither a proxy nor a certificate of ours, libgit2 connects to by itself.
//! - Private addresses and those of this machine are reached only for hosts that somebody who may has named.
//! - Addresses are judged as they are connected to: a name that leads elsewhere the second time is judged again.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use gitmoor_core::authority::Authority;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Hosts that may be inside: `host` with any port, `host:port` with that one.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hosts(BTreeSet<String>);

impl Hosts {
    /// These, in whatever case.
    pub fn new(hosts: impl IntoIterator<Item = String>) -> Self {
        Self(hosts.into_iter().map(|host| host.trim().to_ascii_lowercase()).filter(|host| !host.is_empty()).collect())
    }

    /// Whether a host may be inside, with its port, or the scheme's own where it has none.
    pub fn allow(&self, authority: &str, default_port: u16) -> bool {
        let authority = authority.to_ascii_lowercase();
        let (asked, port) = (Authority::of(&authority), Authority::of(&authority).port.unwrap_or(default_port));
        let mut named = self.0.iter().map(|named| Authority::of(named));
        named.any(|named| named.host == asked.host && named.port.is_none_or(|named| named == port))
    }
}

/// Why there is no connection.
pub(crate) enum ConnectError {
    /// It leads to addresses that may not be reached alone.
    Forbidden,
    /// Nobody is there.
    Unreachable(io::Error),
}

/// Connects to `host:port`; with `hosts`, nothing inside but these.
pub(crate) fn connect(server: &str, hosts: Option<&Hosts>) -> Result<TcpStream, ConnectError> {
    let inside = hosts.is_none_or(|hosts| hosts.allow(server, 0));
    let mut last = ConnectError::Forbidden;
    let found = server.to_socket_addrs().map_err(ConnectError::Unreachable)?;
    for address in found.filter(|address| may_reach(address, inside)) {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = ConnectError::Unreachable(error),
        }
    }
    Err(last)
}

/// What is said of an address that may not be reached.
pub(crate) const FORBIDDEN: &str =
    "leads to an address inside, which only hosts of followed repositories and of --allow-host may have";

/// Whether an address may be reached; `inside` for hosts that may be inside.
pub(crate) fn may_reach(address: &SocketAddr, inside: bool) -> bool {
    let ip = match address.ip() {
        IpAddr::V6(ip) => led_to(ip).map_or(IpAddr::V6(ip), IpAddr::V4),
        ip @ IpAddr::V4(_) => ip,
    };
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
        // The last two: site-local (RFC 3879), and translation within a site (RFC 8215).
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            ip.is_loopback() || ip.is_unique_local() || a & 0xffc0 == 0xfec0 || [a, b, c] == [0x64, 0xff9b, 1]
        }
    };
    inside || !private
}

/// The address that one of IPv6 stands for, or is led to: mapped and compatible (RFC 4291), translated (RFC 6052), 6to4
/// (RFC 3056).
fn led_to(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(of(high, low))
        }
        _ => None,
    }
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
            ("[::]:80", false, false),
            ("[64:ff9b::5db8:d822]:80", true, true),
            ("[64:ff9b::a01:203]:80", true, false),
            ("[64:ff9b::7f00:1]:80", true, false),
            ("[64:ff9b::a9fe:a9fe]:80", false, false),
            ("[64:ff9b:1::a01:203]:80", true, false),
            ("[2002:a01:203::1]:80", true, false),
            ("[2002:a9fe:a9fe::1]:80", false, false),
            ("[2002:5db8:d822::1]:80", true, true),
            ("[::a01:203]:80", true, false),
            ("[fec0::1]:80", true, false),
            ("[2606:4700::1]:80", true, true),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!((may_reach(&address, true), may_reach(&address, false)), (named, others), "{address}");
        }
    }

    #[test]
    fn a_host_without_a_port_stands_for_all_of_them() {
        let hosts = Hosts::new(["Git.Example", "127.0.0.1:3000", "[::1]", "10.0.0.1:443"].map(str::to_owned));
        for (authority, allowed) in [
            ("git.example", true),
            ("git.example:8443", true),
            ("127.0.0.1:3000", true),
            ("127.0.0.1:3001", false),
            ("127.0.0.1", false),
            ("[::1]:80", true),
            ("other.example", false),
            ("10.0.0.1", true),
            ("10.0.0.1:443", true),
            ("10.0.0.1:80", false),
        ] {
            assert_eq!(hosts.allow(authority, 443), allowed, "{authority}");
        }
        assert!(!hosts.allow("10.0.0.1", 80), "the scheme's own port is another one");
    }
}

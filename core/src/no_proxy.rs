//! Which servers are reached past a proxy: lists as in `NO_PROXY` and Argo CD's `noProxy`.
//!
//! The form is that of Go's `golang.org/x/net/http/httpproxy`: names with all that is below them, `.name` for what is
//! below alone, addresses, ranges of addresses, each with or without a port, and `*`.

use std::net::IpAddr;

use crate::authority::Authority;

/// Whether a list, separated by commas, names a server.
pub fn names(list: &str, host: &str, port: u16) -> bool {
    let host = Authority::of(host).host.to_ascii_lowercase();
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| is_named(&entry, &host, port))
}

fn is_named(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>()
        && let Some((base, bits)) = entry.split_once('/')
    {
        return base.parse().is_ok_and(|base| bits.parse().is_ok_and(|bits| is_in(address, base, bits)));
    }
    let Authority { host: name, port: wanted } = Authority::of(entry);
    if name.is_empty() || wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let below = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
    match name.strip_prefix('*').unwrap_or(name).strip_prefix('.') {
        Some(name) => below(name),
        None => host == name || (host.parse::<IpAddr>().is_err() && below(name)),
    }
}

fn is_in(address: IpAddr, base: IpAddr, bits: u32) -> bool {
    match (address, base) {
        (IpAddr::V4(address), IpAddr::V4(base)) if bits <= 32 => {
            (address.to_bits() ^ base.to_bits()).leading_zeros() >= bits
        }
        (IpAddr::V6(address), IpAddr::V6(base)) if bits <= 128 => {
            (address.to_bits() ^ base.to_bits()).leading_zeros() >= bits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_mean_what_they_mean_to_go() {
        for (list, host, port, named) in [
            ("", "git.example", 443, false),
            ("*", "git.example", 443, true),
            ("git.example", "git.example", 443, true),
            ("example", "Git.Example", 443, true),
            (".example", "git.example", 443, true),
            (".git.example", "git.example", 443, false),
            ("*.example", "git.example", 443, true),
            ("it.example", "git.example", 443, false),
            ("other, git.example:8443", "git.example", 8443, true),
            ("git.example:8443", "git.example", 443, false),
            ("10.0.0.0/8", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "11.1.2.3", 443, false),
            ("0.0.0.0/0", "11.1.2.3", 443, true),
            ("10.1.2.3", "10.1.2.3", 443, true),
            ("fd00::/8", "[fd00::1]", 443, true),
            ("[fd00::1]:443", "fd00::1", 443, true),
            ("fd00::1", "fd00::1", 443, true),
            ("10.0.0.0/99", "10.1.2.3", 443, false),
        ] {
            assert_eq!(names(list, host, port), named, "{list} {host}:{port}");
        }
    }
}

//! How a fetch gets to its server.

use std::path::Path;

use git2::ProxyOptions;
use gitmoor_core::sensitive::Sensitive;

use super::FetchErrorKind;
use super::failure::Failure;
use super::guard::Guard;
use super::ssh::Ssh;
use super::ssh_address::SshAddress;
use crate::access::{Access, Proxying};
use crate::reach::{FORBIDDEN, Hosts};

/// The way of one fetch.
pub(super) enum Way {
    /// As libgit2 goes by itself.
    Direct(Proxy),
    /// Judged on the way.
    Guarded(Guard),
    /// By ssh, judged on the way.
    Ssh(Box<Ssh>),
}

/// What libgit2 is told of proxies.
pub(super) enum Proxy {
    /// Use that of the environment.
    AsEnvironment,
    /// Use none.
    None,
    /// Use this one.
    This(Sensitive<String>),
}

impl Way {
    /// The way to an address; with `hosts`, nothing inside is reached but these. `home` is this process' home folder.
    pub(super) fn to(address: &str, access: &Access, hosts: Option<&Hosts>, home: &Path) -> Result<Self, Failure> {
        let refuse = |reason: &str| Err(Failure::new(FetchErrorKind::RefusedCredentials, reason));
        let (scheme, rest) = address.split_once("://").unwrap_or(("ssh", ""));
        let connection = &access.connection;
        if let Some(ssh) = SshAddress::of(address) {
            if matches!(connection.proxy_to(&ssh.authority(), 22), Proxying::By(_)) {
                return refuse("its Secret has a proxy, which is not supported for ssh");
            }
            return Ok(Self::Ssh(Box::new(Ssh::start(ssh, access, hosts.cloned(), home)?)));
        }
        if scheme == "file" {
            return Ok(Self::Direct(Proxy::None));
        }
        if connection.client.is_some() {
            return refuse(
                "its Secret has tlsClientCertData, and client certificates are not supported for Git repositories",
            );
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let proxy = match connection.proxy_to(authority, if scheme == "http" { 80 } else { 443 }) {
            Proxying::AsEnvironment => Proxy::AsEnvironment,
            Proxying::Straight => Proxy::None,
            // libgit2 goes past proxies there.
            Proxying::By(_) if scheme == "http" => {
                return refuse("its Secret has a proxy, which is not supported for repositories over plain http");
            }
            Proxying::By(url) if !url.expose().starts_with("http") => {
                return refuse("its Secret's proxy is not supported: it looks like http://host:port");
            }
            Proxying::By(url) => Proxy::This(url.clone()),
        };
        // Behind a proxy names are looked up by it, and it alone decides what can be reached.
        match hosts {
            Some(hosts) if !proxy.leads_there() => Ok(Self::Guarded(Guard::start(hosts.clone(), address)?)),
            _ => Ok(Self::Direct(proxy)),
        }
    }

    /// The address that is connected to.
    pub(super) fn connected(&self, address: &str) -> String {
        let instead = match self {
            Self::Direct(_) => None,
            Self::Guarded(guard) => guard.in_place_of(address),
            Self::Ssh(ssh) => Some(ssh.url()),
        };
        instead.unwrap_or_else(|| address.to_owned())
    }

    /// The proxy to go through.
    pub(super) fn proxy(&self) -> ProxyOptions<'static> {
        let mut options = ProxyOptions::new();
        match self {
            Self::Direct(Proxy::AsEnvironment) => options.auto(),
            Self::Direct(Proxy::This(url)) => options.url(url.expose()),
            Self::Guarded(guard) => options.url(&guard.url()),
            Self::Direct(Proxy::None) | Self::Ssh(_) => &mut options,
        };
        options
    }

    /// What went wrong on the way, if it is known better than by libgit2.
    pub(super) fn trouble(&self) -> Option<Failure> {
        match self {
            Self::Direct(_) => None,
            Self::Guarded(guard) => {
                guard.has_refused().then(|| Failure::new(FetchErrorKind::ForbiddenAddress, FORBIDDEN))
            }
            Self::Ssh(ssh) => ssh.trouble(),
        }
    }
}

impl Proxy {
    /// Whether there is one in between.
    fn leads_there(&self) -> bool {
        const NAMES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
        match self {
            Self::AsEnvironment => NAMES.iter().any(|name| std::env::var_os(name).is_some()),
            Self::None => false,
            Self::This(_) => true,
        }
    }
}

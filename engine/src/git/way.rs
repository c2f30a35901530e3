//! How a fetch gets to its server.

use std::path::Path;
use std::sync::Arc;

use gitmoor_core::authority::Authority;
use gitmoor_core::no_proxy;
use gitmoor_core::sensitive::Sensitive;

use super::FetchErrorKind;
use super::failure::Failure;
use super::guard::{Guard, Rules};
use super::ssh::Ssh;
use super::ssh_address::SshAddress;
use crate::access::{Access, Connection, Proxying, handshake};
use crate::reach::Hosts;

/// The way of one fetch.
pub(super) enum Way {
    /// As libgit2 goes by itself.
    Direct,
    /// By way of the guard, which judges addresses, goes through proxies and shows certificates.
    Guarded(Guard),
    /// By ssh, judged on the way.
    Ssh(Box<Ssh>),
}

impl Way {
    /// The way to an address; with `hosts`, nothing inside is reached but these. `home` is this process' home folder.
    pub(super) fn to(address: &str, access: &Access, hosts: Option<&Hosts>, home: &Path) -> Result<Self, Failure> {
        let connection = &access.connection;
        if let Some(ssh) = SshAddress::of(address) {
            if matches!(connection.proxy_to(&ssh.authority(), 22), Proxying::By(_)) {
                return Err(refused("its Secret has a proxy, which is not supported for ssh"));
            }
            return Ok(Self::Ssh(Box::new(Ssh::start(ssh, access, hosts.cloned(), home)?)));
        }
        let (scheme, rest) = address.split_once("://").unwrap_or_default();
        let authority = rest.split('/').next().unwrap_or_default();
        let proxy = match scheme {
            "https" => proxy(connection, authority)?,
            "http" => match connection.proxy_to(authority, 80) {
                Proxying::By(_) => {
                    return Err(refused(
                        "its Secret has a proxy, which is not supported for repositories over plain http",
                    ));
                }
                Proxying::AsEnvironment | Proxying::Straight => None,
            },
            _ => return Ok(Self::Direct),
        };
        if hosts.is_none() && proxy.is_none() && connection.client.is_none() {
            return Ok(Self::Direct);
        }
        let tls = (scheme == "https").then(|| handshake::config(connection, authority)).transpose();
        let tls = tls.map_err(|reason| refused(&reason))?.map(Arc::new);
        Ok(Self::Guarded(Guard::start(Rules { hosts: hosts.cloned(), tls, proxy }, address)?))
    }

    /// The address that is connected to.
    pub(super) fn connected(&self, address: &str) -> String {
        let instead = match self {
            Self::Direct => None,
            Self::Guarded(guard) => guard.in_place_of(address),
            Self::Ssh(ssh) => Some(ssh.url()),
        };
        instead.unwrap_or_else(|| address.to_owned())
    }

    /// What went wrong on the way, if it is known better than by libgit2.
    pub(super) fn trouble(&self) -> Option<Failure> {
        match self {
            Self::Direct => None,
            Self::Guarded(guard) => guard.trouble(),
            Self::Ssh(ssh) => ssh.trouble(),
        }
    }
}

fn refused(reason: &str) -> Failure {
    Failure::new(FetchErrorKind::RefusedCredentials, reason)
}

/// The proxy that leads to a server by https.
fn proxy(connection: &Connection, authority: &str) -> Result<Option<Sensitive<String>>, Failure> {
    let url = match connection.proxy_to(authority, 443) {
        Proxying::Straight => return Ok(None),
        Proxying::By(url) => Some(url.clone()),
        Proxying::AsEnvironment => of_environment(authority),
    };
    match url {
        Some(url) if !url.expose().starts_with("http://") => {
            Err(refused("its proxy is not supported: it looks like http://host:port"))
        }
        url => Ok(url),
    }
}

fn of_environment(authority: &str) -> Option<Sensitive<String>> {
    let one_of =
        |names: &[&str]| names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let url = one_of(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])?;
    let url = Sensitive::new(if url.contains("://") { url } else { format!("http://{url}") });
    let Authority { host, port } = Authority::of(authority);
    let except = one_of(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
    (!no_proxy::names(&except, host, port.unwrap_or(443))).then_some(url)
}

//! How a server is reached, and by what it is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use gitmoor_core::authority::Authority;
use gitmoor_core::known_hosts::KnownHosts;
use gitmoor_core::no_proxy;
use gitmoor_core::sensitive::Sensitive;

/// How a server is reached; by default as every server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Neither its certificate nor its host key is checked.
    pub insecure: bool,
    /// Lines of `known_hosts`; without any, the keys that public services publish.
    pub known_hosts: Option<Arc<str>>,
    /// By name of a host: certificates in PEM that alone are trusted there, in place of the machine's.
    pub authorities: Arc<BTreeMap<String, String>>,
    /// Shown to the server.
    pub client: Option<ClientCertificate>,
    /// In place of the environment's.
    pub proxy: Option<Proxy>,
}

/// A certificate of ours, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those that it was signed with.
    pub certificate: String,
    /// Its key.
    pub key: Sensitive<String>,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its address, which may hold credentials.
    pub url: Sensitive<String>,
    /// What is reached past it, as in `NO_PROXY`.
    pub except: String,
}

/// Which proxy leads to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxying<'a> {
    /// That of the environment, if there is one.
    AsEnvironment,
    /// None.
    Straight,
    /// This one.
    By(&'a Sensitive<String>),
}

impl Connection {
    /// The host keys that count.
    pub(crate) fn host_keys(&self) -> KnownHosts {
        self.known_hosts.as_ref().map_or_else(KnownHosts::public, |text| KnownHosts::parse(text).0)
    }

    /// The certificates that alone are trusted at a host (with or without its port).
    pub(crate) fn authorities_of(&self, authority: &str) -> Option<&str> {
        self.authorities.get(&name(authority)).map(String::as_str)
    }

    /// The proxy to a host, which may have a port.
    pub(crate) fn proxy_to(&self, authority: &str, default_port: u16) -> Proxying<'_> {
        let (host, port) = (name(authority), Authority::of(authority).port.unwrap_or(default_port));
        match &self.proxy {
            None => Proxying::AsEnvironment,
            Some(Proxy { except, .. }) if no_proxy::names(except, &host, port) => Proxying::Straight,
            Some(Proxy { url, .. }) => Proxying::By(url),
        }
    }

    /// The same for other servers than the one that it was meant for.
    pub(crate) fn elsewhere(&self) -> Self {
        Self { insecure: false, client: None, ..self.clone() }
    }

    /// Only what is needed to reach a host.
    pub(crate) fn for_host(&self, authority: &str) -> Self {
        let host = name(authority);
        let own = self.authorities.get(&host).map(|certificates| (host, certificates.clone()));
        Self { authorities: Arc::new(own.into_iter().collect()), ..self.clone() }
    }

    /// `text` without the password of the proxy.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let url = self.proxy.as_ref().map(|proxy| proxy.url.expose().as_str()).unwrap_or_default();
        let userinfo = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(userinfo, _)| userinfo);
        let password = userinfo.and_then(|userinfo| userinfo.split_once(':')).map(|(_, password)| password);
        password.filter(|password| password.len() > 2).map_or_else(|| text.to_owned(), |one| text.replace(one, "***"))
    }
}

/// Of a host, in lower case.
fn name(authority: &str) -> String {
    Authority::of(authority).host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_own_certificates_and_proxy() {
        let url = Sensitive::new("http://me:hunter2@proxy.example:3128".to_owned());
        let connection = Connection {
            authorities: Arc::new([("git.example".to_owned(), "PEM".to_owned())].into()),
            proxy: Some(Proxy { url: url.clone(), except: "internal.example,git.example:8443".to_owned() }),
            insecure: true,
            ..Connection::default()
        };
        assert_eq!(connection.authorities_of("Git.Example:8443"), Some("PEM"));
        assert_eq!(connection.authorities_of("example"), None);
        assert_eq!(connection.for_host("other.example").authorities.len(), 0);
        assert_eq!(connection.proxy_to("git.example", 443), Proxying::By(&url));
        assert_eq!(connection.proxy_to("git.example:8443", 443), Proxying::Straight);
        assert_eq!(connection.proxy_to("a.internal.example", 443), Proxying::Straight);
        assert_eq!(Connection::default().proxy_to("git.example", 443), Proxying::AsEnvironment);
        assert!(!connection.elsewhere().insecure);
        assert_eq!(connection.scrub("proxy said hunter2"), "proxy said ***");
    }
}

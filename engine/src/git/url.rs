//! The address of a repository.

use std::fmt;

use gitmoor_core::authority::{Authority, default_port};
use gitmoor_core::percent;
use sha2::{Digest, Sha256};

use super::ssh_address as ssh;
use crate::access::Credentials;

/// Which addresses may be fetched from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UrlPolicy {
    /// `file://` addresses, for tests and single machines.
    pub allow_local: bool,
    /// `http://` addresses, for servers inside the cluster.
    pub allow_plain_http: bool,
}

impl Default for UrlPolicy {
    fn default() -> Self {
        Self { allow_local: false, allow_plain_http: true }
    }
}

/// The address cannot be used. The texts never show credentials that stood in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing was given.
    #[error("the repository's address is empty")]
    Empty,
    /// Control characters, blanks, a leading dash, a query or a fragment.
    #[error("the repository's address holds {0}, which no address of a repository needs")]
    Forbidden(&'static str),
    /// `file://` without permission.
    #[error("local repositories are off: use an https address, or start the agent with --allow-local-repositories")]
    LocalNotAllowed,
    /// `http://` without permission.
    #[error("repositories over plain http are not allowed: use https")]
    PlainHttpNotAllowed,
    /// Any other scheme, and `transport::address`.
    #[error("{0:?} is not a scheme for repositories: use https, ssh, http or file")]
    Scheme(String),
    /// The parts do not make an address.
    #[error("the repository's address has {0}: it looks like https://host/path/to/repository.git")]
    Malformed(&'static str),
}

/// A checked address without credentials.
///
/// Two addresses that differ in a trailing `/` or `.git`, a default port, or the case of scheme and host are equal, and
/// so are `git@host:path` and `ssh://git@host/path`; what is shown and fetched from is the address as written, without
/// credentials.
#[derive(Clone)]
pub struct RepositoryUrl {
    pub(super) address: String,
    pub(super) key: String,
    /// As users write it, when something else stands in for that.
    pub(super) shown: Option<String>,
}

impl RepositoryUrl {
    /// Checks and normalises `text`; credentials in it are dropped.
    pub fn parse(text: &str, policy: &UrlPolicy) -> Result<Self, UrlError> {
        Ok(Self::parse_with_credentials(text, policy)?.0)
    }

    /// Checks and normalises `text`, and gives the credentials that stood in it.
    pub fn parse_with_credentials(text: &str, policy: &UrlPolicy) -> Result<(Self, Credentials), UrlError> {
        let text = text.trim();
        refuse_forbidden(text)?;
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok((ssh::like_scp(text)?, Credentials::None));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" if policy.allow_local => Ok((local(rest)?, Credentials::None)),
            "file" => Err(UrlError::LocalNotAllowed),
            "http" if !policy.allow_plain_http => Err(UrlError::PlainHttpNotAllowed),
            "http" => remote("http", ":80", rest),
            "https" => remote("https", ":443", rest),
            "ssh" | "git+ssh" | "ssh+git" => Ok((ssh::with_scheme(rest)?, Credentials::None)),
            _ if scheme.contains(['@', ':', '/']) => Err(UrlError::Malformed("no scheme")),
            _ => Err(UrlError::Scheme(scheme.to_owned())),
        }
    }

    /// The same, shown as the address that it stands in for.
    pub(crate) fn in_place_of(self, shown: String) -> Self {
        Self { shown: Some(shown), ..self }
    }

    /// Host, and port when it is not the scheme's own; `None` of a local repository.
    pub fn host(&self) -> Option<&str> {
        let (scheme, rest) = self.key.split_once("://")?;
        let authority = rest.split('/').next().unwrap_or_default();
        (scheme != "file").then(|| authority.rsplit_once('@').map_or(authority, |(_, host)| host))
    }

    /// Its server, as [`Hosts`](crate::reach::Hosts) names it, if others may be fetched from there too: with its port, and with
    /// both of https and ssh when it is one of these, since servers of Git are reached by either. None of a local repository.
    pub fn servers(&self) -> Vec<String> {
        let (Some(host), Some((scheme, _))) = (self.host(), self.key.split_once("://")) else { return Vec::new() };
        let Authority { host, port } = Authority::of(host);
        let ports = match port.unwrap_or_else(|| default_port(scheme)) {
            22 | 443 => vec![22, 443],
            port => vec![port],
        };
        ports.into_iter().map(|port| Authority { host, port: Some(port) }.with_port(port)).collect()
    }

    /// Name of the host, and path in lower case: what the addresses of one repository by several schemes, users and
    /// ports have in common.
    pub fn place(&self) -> (String, String) {
        let name = Authority::of(self.host().unwrap_or_default()).host;
        let path = self.key.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        (name.to_owned(), path.unwrap_or_default().to_ascii_lowercase())
    }

    /// Whether it is reached by ssh.
    pub fn is_ssh(&self) -> bool {
        self.key.starts_with("ssh:")
    }

    /// The address to connect to, as written, without credentials.
    pub fn as_str(&self) -> &str {
        &self.address
    }

    /// Name of the mirror's folder: the same for equal addresses, on every machine.
    pub fn directory_name(&self) -> String {
        let digest = Sha256::digest(self.key.as_bytes());
        let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
        digest[..16].iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

pub(crate) fn refuse_forbidden(text: &str) -> Result<(), UrlError> {
    let forbidden = match text {
        "" => return Err(UrlError::Empty),
        _ if text.starts_with('-') => "a leading dash",
        _ if text.contains(char::is_control) => "control characters",
        _ if text.contains(char::is_whitespace) => "blanks",
        _ if text.contains('\\') => "a backslash",
        _ if text.contains('?') => "a query",
        _ if text.contains('#') => "a fragment",
        _ if text.split('/').any(|part| part == "..") => "`..`",
        _ => return Ok(()),
    };
    Err(UrlError::Forbidden(forbidden))
}

fn local(rest: &str) -> Result<RepositoryUrl, UrlError> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(UrlError::Malformed("a host, which file:// does not have"));
    }
    let address = format!("file://{path}");
    let key = format!("file://{}", normal_path(path).ok_or(UrlError::Malformed("no path"))?);
    Ok(RepositoryUrl { address, key, shown: None })
}

fn remote(scheme: &'static str, default_port: &str, rest: &str) -> Result<(RepositoryUrl, Credentials), UrlError> {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (userinfo, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix(default_port).unwrap_or(&host);
    check_host(host)?;
    let key = format!("{scheme}://{host}{}", normal_path(path).ok_or(UrlError::Malformed("no path"))?);
    let url = RepositoryUrl { address: format!("{scheme}://{host}{path}"), key, shown: None };
    Ok((url, userinfo.map_or(Ok(Credentials::None), credentials_of)?))
}

/// A name, an IPv4 address or a bracketed IPv6 address, and maybe a port.
pub(super) fn check_host(host: &str) -> Result<(), UrlError> {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("ipv6", port),
        Some(_) => return Err(UrlError::Malformed("a host that is no IPv6 address")),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
        return Err(UrlError::Malformed("no valid host"));
    }
    match port.strip_prefix(':').map(str::parse::<u16>) {
        Some(Ok(1..)) => Ok(()),
        None if port.is_empty() => Ok(()),
        _ => Err(UrlError::Malformed("no valid port")),
    }
}

/// The path without doubled and trailing slashes and without `.git` at its end.
pub(super) fn normal_path(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let joined = parts.join("/");
    let joined = joined.strip_suffix(".git").filter(|rest| !rest.is_empty() && !rest.ends_with('/')).unwrap_or(&joined);
    (!joined.is_empty()).then(|| format!("/{joined}"))
}

fn credentials_of(userinfo: &str) -> Result<Credentials, UrlError> {
    let (username, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    Ok(Credentials::basic(percent_decoded(username)?, percent_decoded(password)?))
}

fn percent_decoded(text: &str) -> Result<String, UrlError> {
    let decoded = percent::decoded(text).and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or(UrlError::Malformed("credentials that are not percent-encoded text"))
}

impl PartialEq for RepositoryUrl {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for RepositoryUrl {}

impl PartialOrd for RepositoryUrl {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RepositoryUrl {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl std::hash::Hash for RepositoryUrl {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown.as_deref().unwrap_or(&self.address))
    }
}

impl fmt::Debug for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: UrlPolicy = UrlPolicy { allow_local: true, allow_plain_http: true };

    fn parse(text: &str) -> RepositoryUrl {
        RepositoryUrl::parse(text, &ALL).unwrap()
    }

    #[test]
    fn equal_repositories_are_equal() {
        let url = parse("https://example.com/Team/platform");
        for same in [
            "https://example.com/Team/platform/",
            "https://example.com/Team/platform.git",
            "https://example.com/Team/platform.git/",
            "HTTPS://Example.COM:443/Team//platform",
            " https://user:secret@example.com/Team/platform ",
        ] {
            assert_eq!(parse(same), url, "{same}");
            assert_eq!(parse(same).directory_name(), url.directory_name());
        }
        for other in [
            "https://example.com/team/platform",
            "http://example.com/Team/platform",
            "https://example.com:8443/Team/platform",
        ] {
            assert_ne!(parse(other), url, "{other}");
        }
        assert_eq!(parse("file:///srv/a.git"), parse("file://localhost/srv/a"));
        let url = parse("git@host.example:team/r.git");
        for same in ["ssh://git@host.example/team/r", "ssh://Host.Example:22/team/r.git/", "git@host.example:/team/r"] {
            assert_eq!(parse(same), url, "{same}");
        }
        for other in ["https://host.example/team/r", "me@host.example:team/r", "ssh://git@host.example:2222/team/r"] {
            assert_ne!(parse(other), url, "{other}");
            assert_eq!(parse(other).place(), url.place(), "{other}");
        }
        assert_eq!(parse("ssh://git@host.example:2222/r").host(), Some("host.example:2222"));
        for (url, servers) in [
            ("https://host.example/r", &["host.example:22", "host.example:443"][..]),
            ("git@host.example:r", &["host.example:22", "host.example:443"]),
            ("http://host.example/r", &["host.example:80"]),
            ("https://[fd00::1]:8443/r", &["[fd00::1]:8443"]),
        ] {
            assert_eq!(parse(url).servers(), servers, "{url}");
        }
    }

    #[test]
    fn credentials_are_taken_out_and_never_shown() {
        let (url, credentials) =
            RepositoryUrl::parse_with_credentials("https://me:p%40ss@host.example/r.git", &ALL).unwrap();
        assert_eq!(credentials, Credentials::basic("me".to_owned(), "p@ss".to_owned()));
        assert_eq!(format!("{url} {url:?} {}", url.as_str()).matches("ss").count(), 0);
        assert_eq!(url.as_str(), "https://host.example/r.git");
        for bad in ["https://me:secret@/r", "ssh://me:secret@host/r", "https://me:secret%zz@host/r", "me:secret@host:r"]
        {
            let error = RepositoryUrl::parse(bad, &ALL).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn what_is_no_repository_is_refused() {
        let cases: &[(&str, UrlError)] = &[
            ("", UrlError::Empty),
            ("--upload-pack=touch", UrlError::Forbidden("a leading dash")),
            ("https://host/a\0b", UrlError::Forbidden("control characters")),
            ("https://host/a\nb", UrlError::Forbidden("control characters")),
            ("https://host/a b", UrlError::Forbidden("blanks")),
            ("https://host/a?ref=main", UrlError::Forbidden("a query")),
            ("https://host/a/../b", UrlError::Forbidden("`..`")),
            ("ext::sh -c touch", UrlError::Forbidden("blanks")),
            ("ext::touch", UrlError::Scheme("ext::".to_owned())),
            ("ftp://host/r", UrlError::Scheme("ftp".to_owned())),
            ("/srv/repository", UrlError::Malformed("no scheme")),
            ("https:///r", UrlError::Malformed("no valid host")),
            ("https://-oProxy/r", UrlError::Malformed("no valid host")),
            ("https://host:99999/r", UrlError::Malformed("no valid port")),
            ("https://host", UrlError::Malformed("no path")),
            ("file://host/r", UrlError::Malformed("a host, which file:// does not have")),
        ];
        for (text, error) in cases {
            assert_eq!(RepositoryUrl::parse(text, &ALL).unwrap_err(), *error, "{text}");
        }
        let strict = UrlPolicy { allow_local: false, allow_plain_http: false };
        assert_eq!(RepositoryUrl::parse("file:///r", &strict).unwrap_err(), UrlError::LocalNotAllowed);
        assert_eq!(RepositoryUrl::parse("http://h/r", &strict).unwrap_err(), UrlError::PlainHttpNotAllowed);
    }
}

//! Addresses by ssh, in both forms: `ssh://user@host:port/path` and `user@host:path`.

use gitmoor_core::authority::Authority;

use super::url::{RepositoryUrl, UrlError, check_host, normal_path};

/// Who the server is asked as when the address says nothing else.
const USER: &str = "git";
const PORT: u16 = 22;

/// The parts of an address by ssh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SshAddress {
    pub(super) user: String,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// As it stands in the address: with `user@host:path` it is relative to the user's folder on the server.
    path: String,
    like_scp: bool,
}

impl SshAddress {
    /// Of a [`RepositoryUrl`]'s address; `None` when that is none by ssh.
    pub(super) fn of(address: &str) -> Option<Self> {
        if let Some(rest) = address.strip_prefix("ssh://") {
            let (authority, path) = rest.split_at(rest.find('/')?);
            let (user, host) = authority.split_once('@')?;
            let Authority { host, port } = Authority::of(host);
            let (host, port) = (host.to_owned(), port.unwrap_or(PORT));
            return Some(Self { user: user.to_owned(), host, port, path: path.to_owned(), like_scp: false });
        }
        let (user, host, path) = split_scp(address)?;
        let host = Authority::of(host).host.to_owned();
        Some(Self { user: user.to_owned(), host, port: PORT, path: path.to_owned(), like_scp: true })
    }

    /// The same repository by way of a port of this machine.
    pub(super) fn by_way_of(&self, port: u16) -> String {
        let Self { user, path, .. } = self;
        if self.like_scp {
            format!("[{user}@127.0.0.1:{port}]:{path}")
        } else {
            format!("ssh://{user}@127.0.0.1:{port}{path}")
        }
    }

    /// Host and port, as names are looked up.
    pub(super) fn authority(&self) -> String {
        Authority { host: &self.host, port: None }.with_port(self.port)
    }
}

/// What follows `ssh://`.
pub(super) fn with_scheme(rest: &str) -> Result<RepositoryUrl, UrlError> {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').unwrap_or((USER, authority));
    let (user, host) = (check_user(user)?, host.to_ascii_lowercase());
    let host = host.strip_suffix(":22").unwrap_or(&host);
    check_host(host)?;
    let place = normal_path(path).ok_or(UrlError::Malformed("no path"))?;
    Ok(RepositoryUrl {
        address: format!("ssh://{user}@{host}{path}"),
        key: format!("ssh://{user}@{host}{place}"),
        shown: None,
    })
}

/// `user@host:path`, which Argo CD takes with a user only.
pub(super) fn like_scp(text: &str) -> Result<RepositoryUrl, UrlError> {
    if let Some((transport, rest)) = text.split_once(':')
        && rest.starts_with(':')
        && !transport.contains('@')
    {
        return Err(UrlError::Scheme(format!("{transport}::")));
    }
    let (user, host, path) = split_scp(text).ok_or(UrlError::Malformed("no scheme"))?;
    let (user, host) = (check_user(user)?, host.to_ascii_lowercase());
    check_host(&host)?;
    if path.starts_with('-') {
        return Err(UrlError::Malformed("a path with a leading dash"));
    }
    let place = normal_path(path).ok_or(UrlError::Malformed("no path"))?;
    Ok(RepositoryUrl {
        address: format!("{user}@{host}:{path}"),
        key: format!("ssh://{user}@{host}{place}"),
        shown: None,
    })
}

fn split_scp(text: &str) -> Option<(&str, &str, &str)> {
    let (user, rest) = text.split_once('@').filter(|(user, _)| !user.contains([':', '/']))?;
    let end = if rest.starts_with('[') { rest.find(']')? + 1 } else { rest.find(':')? };
    let (host, path) = rest.split_at(end);
    Some((user, host, path.strip_prefix(':')?))
}

fn check_user(user: &str) -> Result<&str, UrlError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '+');
    match user {
        "" => Err(UrlError::Malformed("no user before its `@`")),
        _ if user.contains(':') => Err(UrlError::Malformed("a password, which ssh does not take")),
        _ if user.starts_with('-') || !user.chars().all(plain) => Err(UrlError::Malformed("no valid user")),
        _ => Ok(user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::UrlPolicy;

    #[test]
    fn both_forms_lead_to_the_same_server_and_keep_their_path() {
        for (text, authority, user, by_way) in [
            ("git@host.example:team/r.git", "host.example:22", "git", "[git@127.0.0.1:9]:team/r.git"),
            ("me@host.example:/srv/r.git", "host.example:22", "me", "[me@127.0.0.1:9]:/srv/r.git"),
            ("git@[::1]:r", "[::1]:22", "git", "[git@127.0.0.1:9]:r"),
            ("ssh://git@host.example:2222/r.git", "host.example:2222", "git", "ssh://git@127.0.0.1:9/r.git"),
            ("ssh://host.example/~me/r", "host.example:22", "git", "ssh://git@127.0.0.1:9/~me/r"),
            ("git+ssh://git@[::1]:2222/r", "[::1]:2222", "git", "ssh://git@127.0.0.1:9/r"),
        ] {
            let url = RepositoryUrl::parse(text, &UrlPolicy::default()).unwrap();
            assert!(url.is_ssh());
            let address = SshAddress::of(url.as_str()).unwrap();
            assert_eq!((address.authority().as_str(), address.user.as_str()), (authority, user), "{text}");
            assert_eq!(address.by_way_of(9), by_way, "{text}");
        }
        assert_eq!(SshAddress::of("https://me@host/r"), None);
    }

    #[test]
    fn what_is_no_address_by_ssh_is_refused() {
        for (text, error) in [
            ("ssh://me:secret@host/r", UrlError::Malformed("a password, which ssh does not take")),
            ("ssh://-oProxyCommand=x@host/r", UrlError::Malformed("no valid user")),
            ("ssh://-oProxyCommand=x/r", UrlError::Malformed("no valid host")),
            ("ssh://git@host", UrlError::Malformed("no path")),
            ("ssh://git@host:0/r", UrlError::Malformed("no valid port")),
            ("git@-oProxyCommand=x:r", UrlError::Malformed("no valid host")),
            ("git@host:-x", UrlError::Malformed("a path with a leading dash")),
            ("git@host:", UrlError::Malformed("no path")),
            ("@host:r", UrlError::Malformed("no user before its `@`")),
            ("me:secret@host:r", UrlError::Malformed("no scheme")),
            ("host:r", UrlError::Malformed("no scheme")),
        ] {
            assert_eq!(RepositoryUrl::parse(text, &UrlPolicy::default()).unwrap_err(), error, "{text}");
        }
    }
}

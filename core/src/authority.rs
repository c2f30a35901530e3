//! Host and port, as they stand together in an address.

/// A host, and maybe a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name or an address, without the brackets of IPv6.
    pub host: &'a str,
    /// The port, when there is one.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Of `host`, `host:port`, `[fd00::1]`, `[fd00::1]:port` or `fd00::1`, without anything in front. What is no port is part of
    /// the host.
    pub fn of(text: &'a str) -> Self {
        if let Some((host, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            return Self { host, port: rest.strip_prefix(':').and_then(|port| port.parse().ok()) };
        }
        let port = text.rsplit_once(':').filter(|(host, _)| !host.contains(':'));
        match port.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
            Some((host, port)) => Self { host, port: Some(port) },
            None => Self { host: text, port: None },
        }
    }

    /// Of the first part behind `scheme://`, without a user in front of it.
    pub fn of_url(url: &'a str) -> Self {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        Self::of(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
    }

    /// `host:port`, as names are looked up: the scheme's own port where there is none, and IPv6 in brackets.
    pub fn with_port(&self, default_port: u16) -> String {
        let port = self.port.unwrap_or(default_port);
        if self.host.contains(':') { format!("[{}]:{port}", self.host) } else { format!("{}:{port}", self.host) }
    }
}

/// The port that a scheme has where none is named: that of https unless it is another that is known.
pub fn default_port(scheme: &str) -> u16 {
    match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "ssh" | "git+ssh" | "ssh+git" => 22,
        _ => 443,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_told_apart() {
        for (text, host, port, whole) in [
            ("git.example", "git.example", None, "git.example:443"),
            ("git.example:8443", "git.example", Some(8443), "git.example:8443"),
            ("10.0.0.1:80", "10.0.0.1", Some(80), "10.0.0.1:80"),
            ("[fd00::1]", "fd00::1", None, "[fd00::1]:443"),
            ("[fd00::1]:80", "fd00::1", Some(80), "[fd00::1]:80"),
            ("fd00::1", "fd00::1", None, "[fd00::1]:443"),
            ("git.example:x", "git.example:x", None, "[git.example:x]:443"),
            ("git.example:99999", "git.example:99999", None, "[git.example:99999]:443"),
        ] {
            let authority = Authority::of(text);
            assert_eq!((authority.host, authority.port), (host, port), "{text}");
            assert_eq!(authority.with_port(443), whole);
        }
        for (url, host, port) in [
            ("https://me:x@git.example:8443/a@b:1?c", "git.example", Some(8443)),
            ("proxy:3128", "proxy", Some(3128)),
            ("http://[::1]?x", "::1", None),
        ] {
            assert_eq!(Authority::of_url(url), Authority { host, port }, "{url}");
        }
    }
}

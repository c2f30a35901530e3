//! The address of a chart: a repository or registry, and a name in it.

use std::fmt;
use std::path::PathBuf;

use gitmoor_core::authority::{Authority, default_port};

/// How a chart is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// A repository with an `index.yaml`.
    Http,
    /// A registry.
    Oci,
    /// A folder of this machine, in place of either.
    Local,
}

/// A checked address without credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChartAddress {
    transport: Transport,
    /// `https`, `http` or `file`.
    scheme: &'static str,
    /// Host and port in lower case; empty for a folder.
    host: String,
    /// Path without slashes at its ends.
    path: String,
    /// The repository as users write it, when something else stands in for that.
    shown: Option<String>,
    /// Name of the chart.
    chart: String,
    /// Credentials go also to other hosts that the repository names.
    pass_credentials: bool,
}

/// The address cannot be used. The texts never show credentials that stood in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChartAddressError {
    /// The repository is no address.
    #[error("the chart repository's address has {0}: it looks like https://host/path or oci://host/path")]
    Malformed(&'static str),
    /// A scheme that charts do not come by.
    #[error("{0:?} is not a scheme for chart repositories: use https, http or oci")]
    Scheme(String),
    /// The name of the chart has letters that no chart's name has.
    #[error("{0:?} is no name of a chart")]
    Name(String),
}

impl ChartAddress {
    /// A chart in a folder of this machine, whose path is absolute.
    pub(crate) fn local(folder: &str, chart: &str) -> Result<Self, ChartAddressError> {
        let transport = Transport::Local;
        check_name(chart, transport)?;
        let path = folder.trim_matches('/').to_owned();
        let (host, chart) = (String::new(), chart.to_owned());
        Ok(Self { transport, scheme: "file", host, path, shown: None, chart, pass_credentials: false })
    }

    /// The same, shown as the repository that it stands in for.
    pub(crate) fn in_place_of(self, shown: String) -> Self {
        Self { shown: Some(shown), ..self }
    }

    /// The folder of this machine that it is in, if it is in one.
    pub fn folder(&self) -> Option<PathBuf> {
        (self.transport == Transport::Local).then(|| PathBuf::from(format!("/{}", self.path)))
    }

    /// Checks a repository and a chart's name. Without a scheme it is a registry, as for Argo CD.
    pub fn parse(repository: &str, chart: &str) -> Result<Self, ChartAddressError> {
        let text = repository.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("oci", text));
        let (transport, scheme) = match scheme.to_ascii_lowercase().as_str() {
            "https" => (Transport::Http, "https"),
            "http" => (Transport::Http, "http"),
            "oci" => (Transport::Oci, "https"),
            other if other.contains(['@', ':', '/']) => return Err(ChartAddressError::Malformed("no scheme")),
            other => return Err(ChartAddressError::Scheme(other.to_owned())),
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']');
        if host.is_empty() || host.starts_with('-') || !host.chars().all(plain) {
            return Err(ChartAddressError::Malformed("no valid host"));
        }
        let path = path.trim_matches('/');
        if path.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') || path.split('/').any(|p| p == "..")
        {
            return Err(ChartAddressError::Malformed("no valid path"));
        }
        check_name(chart, transport)?;
        // As containerd and others: what does not leave the machine needs no certificate.
        let local = matches!(Authority::of(&host).host, "localhost" | "127.0.0.1");
        let scheme = if transport == Transport::Oci && local { "http" } else { scheme };
        let (path, chart) = (path.to_owned(), chart.to_owned());
        Ok(Self { transport, scheme, host, path, shown: None, chart, pass_credentials: false })
    }

    /// The same, with credentials going also to other hosts that the repository names.
    pub fn passing_credentials(self, pass_credentials: bool) -> Self {
        Self { pass_credentials, ..self }
    }

    /// Whether credentials go also to other hosts that the repository names.
    pub fn passes_credentials(&self) -> bool {
        self.pass_credentials
    }

    /// How it is reached.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Name of the chart.
    pub fn chart(&self) -> &str {
        &self.chart
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its server, as [`Hosts`](crate::reach::Hosts) names it: with its port. None of a folder.
    pub fn server(&self) -> Option<String> {
        (self.transport != Transport::Local).then(|| Authority::of(&self.host).with_port(default_port(self.scheme)))
    }

    /// `https://host` of the repository, with its port when it has one.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.host)
    }

    /// `https://host/path` of the repository, also of a registry.
    pub fn base(&self) -> String {
        let Self { scheme, host, path, .. } = self;
        if path.is_empty() { format!("{scheme}://{host}") } else { format!("{scheme}://{host}/{path}") }
    }

    /// Repository and chart in a registry, as they stand in its API's paths.
    pub fn repository_name(&self) -> String {
        if self.path.is_empty() { self.chart.clone() } else { format!("{}/{}", self.path, self.chart) }
    }

    /// Where the chart is: repository and name, without credentials.
    pub fn location(&self) -> String {
        format!("{}/{}", self.repository(), self.chart)
    }

    /// Where the repository is, as users write addresses.
    fn repository(&self) -> String {
        match self.transport {
            Transport::Http | Transport::Local => self.base(),
            Transport::Oci => self.base().replacen(self.scheme, "oci", 1),
        }
    }
}

impl fmt::Display for ChartAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shown {
            Some(repository) => write!(f, "{}/{}", repository.trim_end_matches('/'), self.chart),
            None => f.write_str(&self.location()),
        }
    }
}

fn check_name(chart: &str, transport: Transport) -> Result<(), ChartAddressError> {
    // Names of charts in registries may have folders in front.
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '/');
    let bad = |part: &str| matches!(part, "" | "." | "..");
    let fits =
        chart.chars().all(name) && !chart.split('/').any(bad) && (transport != Transport::Http || !chart.contains('/'));
    if fits { Ok(()) } else { Err(ChartAddressError::Name(chart.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        for (repository, chart, expected) in [
            ("https://Charts.example/stable/", "app", "https://charts.example/stable/app"),
            ("https://u:hunter2@charts.example", "app", "https://charts.example/app"),
            ("oci://ghcr.io/org/charts", "app", "oci://ghcr.io/org/charts/app"),
            ("ghcr.io/org", "charts/app", "oci://ghcr.io/org/charts/app"),
            ("http://127.0.0.1:8080", "app", "http://127.0.0.1:8080/app"),
        ] {
            assert_eq!(ChartAddress::parse(repository, chart).unwrap().to_string(), expected);
        }
        let oci = ChartAddress::parse("oci://ghcr.io/org", "charts/app").unwrap();
        assert_eq!((oci.base().as_str(), oci.repository_name().as_str()), ("https://ghcr.io/org", "org/charts/app"));
        assert_eq!(oci.transport(), Transport::Oci);
        for (repository, server) in [
            ("oci://ghcr.io/org", "ghcr.io:443"),
            ("http://charts.example", "charts.example:80"),
            ("localhost:5000/org", "localhost:5000"),
            ("https://[fd00::1]/x", "[fd00::1]:443"),
        ] {
            assert_eq!(ChartAddress::parse(repository, "app").unwrap().server().as_deref(), Some(server));
        }
    }

    #[test]
    fn what_is_no_chart_is_refused() {
        for (repository, chart) in [
            ("file:///etc", "app"),
            ("ftp://host/x", "app"),
            ("https://-oProxy/x", "app"),
            ("https:///x", "app"),
            ("https://host/../x", "app"),
            ("https://host", "../app"),
            ("https://host", "a/b"),
            ("https://host", "a b"),
            ("https://host", ""),
        ] {
            let error = ChartAddress::parse(repository, chart);
            assert!(error.is_err(), "{repository} {chart}");
        }
    }
}

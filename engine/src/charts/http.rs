//! GET requests for charts: bounded, and only to hosts that they may go to.
//!
//! # Guarantees
//! - Credentials go to the repository's own host alone, unless the Application says otherwise; and never in clear when
//!   the repository itself is reached by https.
//! - Other hosts (of redirects, of an index, of a registry's tokens and blobs) are reached at public addresses only, and
//!   no host at the link-local ones, where clouds serve credentials. Addresses are checked as they are connected to.

use std::borrow::Cow;
use std::time::Duration;

use gitmoor_core::authority::default_port;
use gitmoor_core::sensitive::Sensitive;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Authority;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::{ChartError, ChartErrorKind, Reach};
use crate::access::{Connection, Proxying, tls};
use crate::reach::{FORBIDDEN, may_reach};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(60);
const MOST_REDIRECTS: usize = 5;

/// What is asked for.
pub(crate) struct Get<'a> {
    pub(crate) url: String,
    pub(crate) accept: Option<&'a str>,
    /// What is known already.
    pub(crate) etag: Option<&'a str>,
    /// Value of the header `Authorization`.
    pub(crate) authorization: Option<&'a Sensitive<String>>,
    /// `scheme://host:port` of the repository, the port as written.
    pub(crate) home: &'a str,
    /// Hosts that may be inside.
    pub(crate) reach: &'a Reach,
    /// How the repository is reached.
    pub(crate) connection: &'a Connection,
    /// Credentials go to other hosts too.
    pub(crate) pass_credentials: bool,
    /// Most bytes of the answer.
    pub(crate) limit: u64,
}

/// The answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) challenge: Option<String>,
    pub(crate) link: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Asks, and follows redirects. Blocking.
pub(crate) fn get(request: &Get<'_>) -> Result<Answer, ChartError> {
    let mut url = request.url.clone();
    for _ in 0..MOST_REDIRECTS {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(failed(ChartErrorKind::ForbiddenAddress, &url, "is no http or https address"));
        }
        let uri: Uri = url.parse().map_err(|_| failed(ChartErrorKind::Other, &url, "is no address"))?;
        let authority = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase()).unwrap_or_default();
        if authority.contains('@') {
            return Err(failed(ChartErrorKind::ForbiddenAddress, "an address of the repository", "holds credentials"));
        }
        let place = Place::of(&uri, request.home);
        let inside = (place.at_home && request.reach.home)
            || request.reach.hosts.allow(&authority, default_port(uri.scheme_str().unwrap_or_default()));
        let connection = if place.may_know(false) {
            Cow::Borrowed(request.connection)
        } else {
            Cow::Owned(request.connection.elsewhere())
        };
        let mut asked = agent(&uri, &connection, inside)?.get(&url);
        if let Some(accept) = request.accept {
            asked = asked.header("Accept", accept);
        }
        if let Some(etag) = request.etag {
            asked = asked.header("If-None-Match", etag);
        }
        if let Some(authorization) = request.authorization.filter(|_| place.may_know(request.pass_credentials)) {
            asked = asked.header("Authorization", authorization.expose());
        }
        let mut answer = asked.call().map_err(|error| explain(&url, &error, &connection))?;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            let target = header("location").ok_or_else(|| failed(ChartErrorKind::Other, &url, "leads nowhere"))?;
            url = joined(&url, &target);
            continue;
        }
        let (etag, challenge, link, kind) =
            (header("etag"), header("www-authenticate"), header("link"), header("content-type"));
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(request.limit).read_to_vec();
        let body = body.map_err(|error| explain(&url, &error, &connection))?;
        return Ok(Answer { status, etag, challenge, link, kind, body });
    }
    Err(failed(ChartErrorKind::Other, &request.url, "redirects too often"))
}

/// Where an address leads, seen from the repository.
struct Place {
    /// To its own host and port.
    at_home: bool,
    /// By plain http, and the repository is reached by https.
    in_clear: bool,
}

impl Place {
    fn of(uri: &Uri, home: &str) -> Self {
        let authority = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
        let (scheme, own) = home.split_once("://").unwrap_or_default();
        Self {
            at_home: authority.as_deref() == Some(own),
            in_clear: scheme == "https" && uri.scheme_str() == Some("http"),
        }
    }

    /// Whether credentials may go there; `anywhere` when other hosts may have them too.
    fn may_know(&self, anywhere: bool) -> bool {
        (self.at_home || anywhere) && !self.in_clear
    }
}

/// Asks one server; `inside` when it may be inside.
pub(crate) fn agent(uri: &Uri, connection: &Connection, inside: bool) -> Result<ureq::Agent, ChartError> {
    let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
    let default_port = default_port(uri.scheme_str().unwrap_or_default());
    let unusable = |reason: String| ChartError {
        kind: ChartErrorKind::RefusedCredentials,
        message: format!("{authority}: {reason}"),
    };
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .http_status_as_error(false)
        .tls_config(tls::config(connection, authority).map_err(unusable)?)
        .user_agent(concat!("gitmoor/", env!("CARGO_PKG_VERSION")));
    let config = match connection.proxy_to(authority, default_port) {
        Proxying::AsEnvironment => config,
        Proxying::Straight => config.proxy(None),
        Proxying::By(url) => config.proxy(Some(tls::proxy(url).map_err(unusable)?)),
    };
    let resolver = Guarded { inside, inner: DefaultResolver::default() };
    Ok(ureq::Agent::with_parts(config.build(), DefaultConnector::new(), resolver))
}

/// Looks names up and refuses addresses.
#[derive(Debug)]
struct Guarded {
    inside: bool,
    inner: DefaultResolver,
}

impl Resolver for Guarded {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        // What is reached by a proxy, the proxy decides; itself it may be anywhere.
        let inside = self.inside || config.proxy().is_some_and(|proxy| proxy.uri().authority() == uri.authority());
        let mut allowed = self.empty();
        found.iter().filter(|address| may_reach(address, inside)).for_each(|address| allowed.push(*address));
        if allowed.is_empty() {
            return Err(ureq::Error::Io(std::io::Error::new(std::io::ErrorKind::PermissionDenied, FORBIDDEN)));
        }
        Ok(allowed)
    }
}

/// An address as it stands in another document: relative, or of its own.
pub(crate) fn joined(base: &str, target: &str) -> String {
    if target.contains("://") {
        return target.to_owned();
    }
    let start = base.find("://").map_or(0, |at| at + 3);
    let host_end = base[start..].find('/').map_or(base.len(), |at| start + at);
    if target.starts_with('/') {
        return format!("{}{target}", &base[..host_end]);
    }
    let folder_end = base.rfind('/').filter(|at| *at >= host_end).unwrap_or(base.len());
    format!("{}/{target}", &base[..folder_end])
}

pub(crate) fn failed(kind: ChartErrorKind, url: &str, reason: &str) -> ChartError {
    ChartError { kind, message: format!("{} {reason}", url.split('?').next().unwrap_or_default()) }
}

pub(crate) fn explain(url: &str, error: &ureq::Error, connection: &Connection) -> ChartError {
    match error {
        ureq::Error::BodyExceedsLimit(limit) => {
            failed(ChartErrorKind::TooLarge, url, &format!("answers with more than {limit} bytes"))
        }
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            failed(ChartErrorKind::ForbiddenAddress, url, FORBIDDEN)
        }
        ureq::Error::Timeout(_) => failed(ChartErrorKind::Unreachable, url, "does not answer in time"),
        error if certificate_trouble(error) => {
            let reason = format!("shows a certificate that is not trusted: {error}");
            failed(ChartErrorKind::UntrustedCertificate, url, &connection.scrub(&reason))
        }
        error => failed(ChartErrorKind::Unreachable, url, &connection.scrub(&format!("cannot be reached: {error}"))),
    }
}

fn certificate_trouble(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(rustls::Error::InvalidCertificate(_)) => true,
        ureq::Error::Io(error) => {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
            matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_joined_as_browsers_do() {
        for (base, target, expected) in [
            ("https://host/charts/index.yaml", "app-1.tgz", "https://host/charts/app-1.tgz"),
            ("https://host/charts/index.yaml", "/app-1.tgz", "https://host/app-1.tgz"),
            ("https://host/index.yaml", "https://cdn/app.tgz", "https://cdn/app.tgz"),
            ("https://host", "app.tgz", "https://host/app.tgz"),
        ] {
            assert_eq!(joined(base, target), expected);
        }
    }

    #[test]
    fn credentials_stay_at_home_and_never_go_from_https_into_clear() {
        for (home, target, alone, anywhere) in [
            ("https://charts.example", "https://charts.example/app.tgz", true, true),
            ("https://charts.example", "https://Charts.Example/app.tgz", true, true),
            ("https://charts.example", "http://charts.example/app.tgz", false, false),
            ("https://charts.example:8443", "http://charts.example:8443/app.tgz", false, false),
            ("https://charts.example", "https://cdn.example/app.tgz", false, true),
            ("https://charts.example", "http://cdn.example/app.tgz", false, false),
            ("http://charts.example", "http://charts.example/app.tgz", true, true),
            ("http://charts.example", "https://charts.example/app.tgz", true, true),
            ("http://charts.example", "http://cdn.example/app.tgz", false, true),
        ] {
            let place = Place::of(&target.parse().unwrap(), home);
            assert_eq!((place.may_know(false), place.may_know(true)), (alone, anywhere), "{home} {target}");
        }
    }
}

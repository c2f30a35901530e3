//! Bases, files and charts that kustomizations and charts name and that come from elsewhere: fetched, pinned, kept.
//!
//! ```text
//! reference -pin on disk (commit, tag, exact version)-> content, without network
//!           \-none, or one that moves-> fetch (guarded child | HTTP | chart repository) -> pin -> content
//! ```
//!
//! Repositories are kept as mirrors, beside those that Applications follow; files by their digest; charts where charts
//! are kept. A pin of something that moves (a branch, an address of a file, a range) is used when nothing newer can be had.

mod content;
mod pin;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use futures::future::BoxFuture;
use gitmoor_core::authority::{Authority, default_port};
use gitmoor_core::closure::{Category, RemoteReference, Remotes};
use gitmoor_core::lock::Locked;

use crate::access::{Access, OpenError};
use crate::addresses::Addresses;
use crate::charts::http::{Get, get};
use crate::charts::store::Store;
use crate::charts::{ChartError, ChartErrorKind, ChartVersion, Charts, Reach, local};
use crate::git::{CommitId, FetchErrorKind, FetchRequest, Fetcher, Mirror, RepositoryUrl};
use crate::reach::Hosts;

pub use pin::Pin;
use pin::as_locked;

/// Bytes of a file.
const LARGEST_FILE: u64 = 16 << 20;
/// Bytes of all files on disk.
const MOST_BYTES: u64 = 256 << 20;

/// Something from elsewhere that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ask {
    /// What it is asked for by.
    pub reference: RemoteReference,
    /// What the lock file of the tree that names it says.
    pub locked: Option<Locked>,
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.locked {
            Some(locked) => write!(f, "{}, locked to {}", self.reference, locked.short()),
            None => write!(f, "{}", self.reference),
        }
    }
}

/// Gives what renders need from elsewhere.
pub trait FetchRemotes: Send + Sync {
    /// What is wanted, each with its content or with why it cannot be had.
    fn fetch(&self, asked: BTreeSet<Ask>) -> BoxFuture<'_, Remotes>;
}

/// What something is fetched with.
#[derive(Clone, Debug, Default)]
pub struct Means {
    /// Of the repository, chart repository, registry or server.
    pub access: Access,
    /// Hosts that may be inside.
    pub hosts: Hosts,
}

/// It cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct RemoteError {
    /// The class: whether waiting helps, or nothing but a change.
    pub category: Category,
    /// Why, without credentials.
    pub reason: String,
    /// The server refuses what it was opened with.
    pub refused_credentials: bool,
}

impl RemoteError {
    /// For any reason but refused credentials.
    pub fn new(category: Category, reason: impl Into<String>) -> Self {
        Self { category, reason: reason.into(), refused_credentials: false }
    }
}

impl From<OpenError> for RemoteError {
    fn from(error: OpenError) -> Self {
        let category = if error.refused { Category::RemoteRefused } else { Category::RemoteUnreachable };
        Self::new(category, format!("cannot be fetched: {error}"))
    }
}

/// Fetches and keeps what comes from elsewhere.
#[derive(Clone, Debug)]
pub struct RemoteStore {
    data: PathBuf,
    fetcher: Fetcher,
    addresses: Addresses,
    charts: Charts,
    store: Store,
}

impl RemoteStore {
    /// Keeps it below `data`; touches nothing yet.
    pub fn new(data: PathBuf, fetcher: Fetcher, addresses: Addresses) -> Self {
        let store = Store::new(data.join("remotes"), MOST_BYTES);
        let charts = Charts::new(data.clone()).with_addresses(addresses.clone());
        Self { data, fetcher, addresses, charts, store }
    }

    /// The repository of a reference, when it is one of Git.
    ///
    /// # Errors
    /// When its address is none that may be used.
    pub fn repository(&self, reference: &RemoteReference) -> Result<Option<RepositoryUrl>, RemoteError> {
        let RemoteReference::Repository { address, .. } = reference else { return Ok(None) };
        self.addresses.repository(address).map(Some).map_err(|error| refused(&error))
    }

    /// What was fetched of it before: as it is locked, or else as it was when it was looked at last; also after a
    /// restart.
    pub fn known(&self, ask: &Ask) -> Option<Pin> {
        match (&ask.locked, &ask.reference) {
            (None, reference) => serde_json::from_slice(&self.store.note(&note(reference))?).ok(),
            (Some(Locked::Commit(commit)), RemoteReference::Repository { .. }) => {
                Some(Pin::Commit { commit: CommitId::parse(commit)?, reference: None })
            }
            (Some(Locked::File(None)), RemoteReference::File { .. }) => Some(Pin::NoFile),
            (Some(Locked::File(Some(digest))), RemoteReference::File { address }) => {
                self.store.note(&had(address, digest))?;
                Some(Pin::File { digest: digest.clone(), etag: None })
            }
            // Charts know by themselves what they have had.
            (Some(_), _) => None,
        }
    }

    /// Looks at something anew, over the network; at what is locked only when it is not on disk as it is locked.
    ///
    /// # Errors
    /// When it cannot be had, or not as it is locked.
    pub async fn look(&self, ask: &Ask, means: &Means) -> Result<Pin, RemoteError> {
        self.look_with(ask, means, false).await
    }

    /// The same, which asks upstream also for exact versions that are on disk.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn look_anew(&self, ask: &Ask, means: &Means) -> Result<Pin, RemoteError> {
        self.look_with(ask, means, true).await
    }

    async fn look_with(&self, ask: &Ask, means: &Means, anew: bool) -> Result<Pin, RemoteError> {
        let Ask { reference, locked } = ask;
        let pin = match reference {
            RemoteReference::Repository { revision, .. } => {
                let Some(url) = self.repository(reference)? else { return Ok(Pin::NoFile) };
                match locked {
                    // A commit is what it is, whatever the tag that led to it stands for by now.
                    Some(Locked::Commit(commit)) => {
                        let found = self.commit(url, commit, means).await?;
                        found.ok_or_else(|| {
                            let reason = format!(
                                "does not have the commit {commit} of the lock file any more; run `gitmoor lock --update`"
                            );
                            RemoteError::new(Category::LockMismatch, reason)
                        })?
                    }
                    _ => self.commit(url, revision, means).await?.ok_or_else(|| {
                        let reason =
                            format!("has no branch, tag or commit `{revision}`; push it, or correct the entry");
                        RemoteError::new(Category::RemoteRefused, reason)
                    })?,
                }
            }
            RemoteReference::File { address } => {
                let (this, address, means) = (self.clone(), address.clone(), means.clone());
                let pin = blocking(move || this.file(&address, &means)).await?;
                match locked {
                    Some(Locked::File(locked)) => as_locked(pin, locked.as_deref())?,
                    _ => pin,
                }
            }
            RemoteReference::Chart { .. } => {
                let (this, ask, means) = (self.clone(), ask.clone(), means.clone());
                blocking(move || this.chart(&ask, anew, &means)).await?
            }
        };
        if locked.is_some() {
            return Ok(pin);
        }
        let text = serde_json::to_vec(&pin).unwrap_or_default();
        // Only a matter of speed: it can be looked at again.
        if let Err(error) = self.store.write_note(&note(reference), &text) {
            tracing::warn!(%error, "what comes from elsewhere cannot be noted");
        }
        Ok(pin)
    }

    async fn commit(&self, url: RepositoryUrl, revision: &str, means: &Means) -> Result<Option<Pin>, RemoteError> {
        let mirror = Mirror::new(&self.data, url, self.fetcher.clone());
        let request = FetchRequest {
            access: means.access.clone(),
            revisions: [revision.to_owned()].into(),
            hosts: Some(means.hosts.clone()),
        };
        let outcome = mirror.fetch(&request).await.map_err(|error| RemoteError {
            category: match error.kind {
                FetchErrorKind::RefusedCredentials
                | FetchErrorKind::NotARepository
                | FetchErrorKind::ForbiddenAddress
                | FetchErrorKind::TooLarge
                | FetchErrorKind::UntrustedCertificate
                | FetchErrorKind::UntrustedHostKey => Category::RemoteRefused,
                _ => Category::RemoteUnreachable,
            },
            reason: format!("cannot be fetched: {} ({})", error.reason, error.kind.way_out()),
            refused_credentials: error.kind == FetchErrorKind::RefusedCredentials,
        })?;
        let head = outcome.heads.get(revision);
        Ok(head.map(|head| Pin::Commit { commit: head.commit.clone(), reference: head.reference.clone() }))
    }

    fn file(&self, address: &str, means: &Means) -> Result<Pin, RemoteError> {
        let url = self.addresses.file(address);
        let local = url.strip_prefix("file://").or_else(|| url.starts_with('/').then_some(url.as_str()));
        if let Some(path) = local.filter(|_| url != address) {
            let path = path.split(['?', '#']).next().unwrap_or_default();
            let bytes = local::read(std::path::Path::new(path), LARGEST_FILE).map_err(|error| of_chart(&error))?;
            return self.kept(address, &bytes, None);
        }
        let reference = RemoteReference::File { address: address.to_owned() };
        let before = self.known(&Ask { reference, locked: None });
        let before = match before {
            Some(Pin::File { digest, etag }) if self.store.get(&digest).is_some() => Some((digest, etag)),
            _ => None,
        };
        let authorization = means.access.credentials.authorization();
        let home = origin(&url);
        let answer = get(&Get {
            url: url.clone(),
            accept: None,
            etag: before.as_ref().and_then(|(_, etag)| etag.as_deref()),
            authorization: authorization.as_ref(),
            home: &home,
            // What the operator put in place of an address may be anywhere.
            reach: &Reach { hosts: means.hosts.clone(), home: url != address },
            connection: &means.access.connection,
            pass_credentials: false,
            limit: LARGEST_FILE,
        });
        let answer = answer.map_err(|error| of_chart(&error))?;
        let page = answer.kind.as_deref().is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
        match (answer.status, before) {
            (304, Some((digest, etag))) => Ok(Pin::File { digest, etag }),
            (200..=299, _) if page => Ok(Pin::NoFile),
            (200..=299, _) => self.kept(address, &answer.body, answer.etag),
            (404 | 410, _) => Ok(Pin::NoFile),
            (status @ 400..=499, _) if status != 408 && status != 429 => Err(RemoteError {
                category: Category::RemoteRefused,
                reason: format!("is refused by its server with status {status}"),
                refused_credentials: matches!(status, 401 | 403),
            }),
            (status, _) => {
                let reason = format!("cannot be fetched: its server answers with status {status}");
                Err(RemoteError::new(Category::RemoteUnreachable, reason))
            }
        }
    }

    fn kept(&self, address: &str, bytes: &[u8], etag: Option<String>) -> Result<Pin, RemoteError> {
        let kept = self.store.put(bytes).and_then(|digest| {
            self.store.write_note(&had(address, &digest), b"")?;
            Ok(Pin::File { digest, etag })
        });
        kept.map_err(|error| RemoteError::new(Category::RemoteUnreachable, format!("cannot be kept on disk: {error}")))
    }

    fn chart(&self, ask: &Ask, anew: bool, means: &Means) -> Result<Pin, RemoteError> {
        let RemoteReference::Chart { repository, name, version } = &ask.reference else { return Ok(Pin::NoFile) };
        let address = self.addresses.chart(repository, name).map_err(|error| refused(&error))?;
        let revision = match &ask.locked {
            Some(Locked::Chart { version, digest }) => format!("{version}@sha256:{digest}"),
            _ if version.is_empty() => "HEAD".to_owned(),
            _ => version.clone(),
        };
        let charts = self.charts.clone().with_hosts(means.hosts.clone()).away_from_home();
        let charts = if anew { charts.anew() } else { charts };
        let found = charts.resolve(&address, &revision, &means.access).map_err(|error| of_chart(&error))?;
        let pin = found.map(|ChartVersion { version, digest }| Pin::Chart { version, digest });
        let missing = "has no such version; publish it, or correct the entry";
        pin.ok_or_else(|| RemoteError::new(Category::RemoteRefused, missing))
    }
}

fn note(reference: &RemoteReference) -> String {
    format!("pin {reference:?}")
}

/// A digest alone does not say where a file came from, and who may have it.
fn had(address: &str, digest: &str) -> String {
    format!("had {address} {digest}")
}

/// The server of an address as [`Hosts`] names it: with its port. `None` of a path.
pub fn server(address: &str) -> Option<String> {
    let (scheme, _) = address.split_once("://").unwrap_or(("https", address));
    let authority = Authority::of_url(address);
    (!authority.host.is_empty() && !address.starts_with('.') && scheme != "file")
        .then(|| authority.with_port(default_port(scheme)).to_ascii_lowercase())
}

/// Host and port of an address, as written.
fn host(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase()
}

/// Scheme, host and port of an address.
pub(crate) fn origin(address: &str) -> String {
    let scheme = address.split_once("://").map_or("https", |(scheme, _)| scheme);
    format!("{}://{}", scheme.to_ascii_lowercase(), host(address))
}

fn refused(error: &dyn std::error::Error) -> RemoteError {
    RemoteError::new(Category::RemoteRefused, format!("cannot be fetched: {error}"))
}

fn of_chart(error: &ChartError) -> RemoteError {
    let category = match error.kind {
        ChartErrorKind::Unreachable | ChartErrorKind::Other => Category::RemoteUnreachable,
        ChartErrorKind::LockMismatch => Category::LockMismatch,
        _ => Category::RemoteRefused,
    };
    let refused_credentials = error.kind == ChartErrorKind::RefusedCredentials;
    RemoteError { category, reason: format!("cannot be fetched: {}", error.message), refused_credentials }
}

async fn blocking(work: impl FnOnce() -> Result<Pin, RemoteError> + Send + 'static) -> Result<Pin, RemoteError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        let reason = "cannot be fetched: the agent is stopping".to_owned();
        Err(RemoteError::new(Category::RemoteUnreachable, reason))
    })
}

//! Charts from chart repositories and registries: the only module that fetches them.
//!
//! ```text
//! address, revision -versions (index with ETag | tags)-> version -archive-> digest checked -store (by digest)-> tree
//! ```
//!
//! An exact version that was fetched once needs no network any more, also after a restart.

mod address;
pub(crate) mod archive;
pub(crate) mod http;
pub(crate) mod local;
mod registry;
mod repository;
pub(crate) mod store;

use std::path::PathBuf;

use gitmoor_core::chart::Entry;
use gitmoor_core::lock::locked_version;
use gitmoor_core::version::{Range, Version};

pub use address::{ChartAddress, ChartAddressError, Transport};
pub use archive::{ArchiveError, ChartTree, Limits};

use self::registry::Registry;
use self::store::Store;
use crate::access::{Access, OpenError};
use crate::addresses::Addresses;
use crate::reach::Hosts;

/// Bytes of a packed chart.
const LARGEST_ARCHIVE: u64 = 32 << 20;
/// Bytes of all packed charts on disk.
const MOST_BYTES: u64 = 1 << 30;

/// A version of a chart, and the digest of its archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartVersion {
    /// The version.
    pub version: String,
    /// SHA-256 of the archive, in hexadecimal.
    pub digest: String,
}

/// Why a chart cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChartErrorKind {
    /// No connection, or the server answered with a failure of its own.
    Unreachable,
    /// The server's certificate is not trusted.
    UntrustedCertificate,
    /// Credentials are missing, wrong or not sufficient.
    RefusedCredentials,
    /// There is no such repository or archive.
    NotFound,
    /// More bytes than are taken.
    TooLarge,
    /// An address that leads inside, from where it must not.
    ForbiddenAddress,
    /// The index, or an answer of the registry, cannot be read.
    InvalidIndex,
    /// The archive is no chart.
    InvalidArchive,
    /// The archive is another one than the index says.
    DigestMismatch,
    /// The archive is another one than the lock file says.
    LockMismatch,
    /// Everything else, such as a full disk.
    Other,
}

impl ChartErrorKind {
    /// One word in PascalCase.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::UntrustedCertificate => "UntrustedCertificate",
            Self::RefusedCredentials => "RefusedCredentials",
            Self::NotFound => "ChartNotFound",
            Self::TooLarge => "TooLarge",
            Self::ForbiddenAddress => "ForbiddenAddress",
            Self::InvalidIndex => "InvalidIndex",
            Self::InvalidArchive => "InvalidArchive",
            Self::DigestMismatch => "DigestMismatch",
            Self::LockMismatch => "LockMismatch",
            Self::Other => "Other",
        }
    }
}

/// A chart cannot be had; what was fetched before is still there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ChartError {
    /// The category.
    pub kind: ChartErrorKind,
    /// What happened, without credentials.
    pub message: String,
}

impl From<OpenError> for ChartError {
    fn from(error: OpenError) -> Self {
        let kind = if error.refused { ChartErrorKind::RefusedCredentials } else { ChartErrorKind::Unreachable };
        Self { kind, message: error.reason }
    }
}

/// Fetches charts and keeps them on disk. All methods block: they belong into `spawn_blocking`.
#[derive(Clone, Debug)]
pub struct Charts {
    store: Store,
    limits: Limits,
    addresses: Addresses,
    reach: Reach,
    /// Upstream is asked also for what is known.
    anew: bool,
}

/// Which hosts may be inside.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// These.
    pub(crate) hosts: Hosts,
    /// That of the repository itself, since somebody follows it.
    pub(crate) home: bool,
}

/// Whether a revision names one version, which stays what it is.
pub fn is_exact(revision: &str) -> bool {
    locked_version(revision).is_some() || Version::parse(revision).is_some_and(|version| version.is_complete())
}

impl Charts {
    /// Keeps charts below `data`; touches nothing yet.
    pub fn new(data: PathBuf) -> Self {
        let store = Store::new(data.join("charts"), MOST_BYTES);
        Self {
            store,
            limits: Limits::default(),
            addresses: Addresses::default(),
            reach: Reach { hosts: Hosts::default(), home: true },
            anew: false,
        }
    }

    /// The same, where other addresses stand in for those of archives that an index names.
    pub fn with_addresses(self, addresses: Addresses) -> Self {
        Self { addresses, ..self }
    }

    /// The same, where these hosts too may be inside.
    pub fn with_hosts(self, hosts: Hosts) -> Self {
        Self { reach: Reach { hosts, ..self.reach }, ..self }
    }

    /// The same for repositories that nobody follows: only the named hosts may be inside.
    pub(crate) fn away_from_home(self) -> Self {
        Self { reach: Reach { home: false, ..self.reach }, ..self }
    }

    /// The same, which asks upstream also for versions that are known already.
    #[must_use]
    pub fn anew(self) -> Self {
        Self { anew: true, ..self }
    }

    /// The version that a revision means, fetched; `None` when there is none. `HEAD` is the highest release, and
    /// `VERSION@sha256:DIGEST` that version with an archive of this digest, whatever the repository has by now.
    pub fn resolve(
        &self,
        address: &ChartAddress,
        revision: &str,
        access: &Access,
    ) -> Result<Option<ChartVersion>, ChartError> {
        let Some((version, digest)) = locked_version(revision) else {
            return self.resolve_moving(address, revision, access);
        };
        if let Some(had) = self.had(address, version, digest) {
            return Ok(Some(had));
        }
        let found = self.clone().anew().resolve_moving(address, version, access)?;
        match found {
            Some(found) if found.digest != digest => Err(ChartError {
                kind: ChartErrorKind::LockMismatch,
                message: format!(
                    "the archive of {address} {version} has the digest sha256:{}, and the lock file says \
                     sha256:{digest}: it was published again; if that is what you want, run `gitmoor lock --update \
                     {}`",
                    found.digest,
                    address.chart()
                ),
            }),
            found => Ok(found),
        }
    }

    /// An archive that this address has given once, when it is still on disk.
    fn had(&self, address: &ChartAddress, version: &str, digest: &str) -> Option<ChartVersion> {
        let is_known = || self.known(address, version).is_some_and(|known| known.digest == digest);
        if self.store.note(&had(address, version, digest)).is_none() && !is_known() {
            return None;
        }
        self.store.get(digest)?;
        Some(ChartVersion { version: version.to_owned(), digest: digest.to_owned() })
    }

    fn resolve_moving(
        &self,
        address: &ChartAddress,
        revision: &str,
        access: &Access,
    ) -> Result<Option<ChartVersion>, ChartError> {
        if let Some(folder) = address.folder() {
            let found = local::versions(&folder, address.chart())?;
            let entries: Vec<Entry> = found.iter().map(|found| found.entry.clone()).collect();
            let chosen = chosen(&entries, revision).and_then(|entry| found.iter().find(|found| found.entry == *entry));
            let Some(found) = chosen else { return Ok(None) };
            let bytes = local::packed(&found.at, &self.limits)?;
            return self.keep(address, &found.entry.version, &bytes, found.entry.digest.as_deref()).map(Some);
        }
        if let Some(known) = self.known(address, revision).filter(|_| is_exact(revision)) {
            return Ok(Some(known));
        }
        match address.transport() {
            // Read above.
            Transport::Local => Ok(None),
            Transport::Http => {
                let entries = repository::versions(address, access, &self.store, &self.reach)?;
                let Some(entry) = chosen(&entries, revision) else { return Ok(None) };
                let known = self.known(address, &entry.version);
                let same = |known: &ChartVersion| entry.digest.as_ref().is_none_or(|digest| *digest == known.digest);
                if let Some(known) = known.filter(same) {
                    return Ok(Some(known));
                }
                let bytes = repository::archive(address, entry, access, (&self.addresses, &self.reach))?;
                self.keep(address, &entry.version, &bytes, entry.digest.as_deref()).map(Some)
            }
            Transport::Oci => {
                let mut registry = Registry::new(address, access, &self.reach);
                let version = if is_exact(revision) {
                    revision.to_owned()
                } else {
                    let entries = registry.versions()?;
                    let Some(entry) = chosen(&entries, revision) else { return Ok(None) };
                    entry.version.clone()
                };
                if let Some(known) = self.known(address, &version) {
                    return Ok(Some(known));
                }
                let Some((bytes, digest)) = registry.archive(&version, LARGEST_ARCHIVE)? else { return Ok(None) };
                self.keep(address, &version, &bytes, Some(&digest)).map(Some)
            }
        }
    }

    /// The files of a version that was resolved; `None` when the disk has lost it: resolve it again.
    pub fn tree(&self, version: &ChartVersion) -> Result<Option<ChartTree>, ChartError> {
        let Some(bytes) = self.store.get(&version.digest) else { return Ok(None) };
        self.unpacked(&bytes, &version.version).map(Some)
    }

    fn unpacked(&self, bytes: &[u8], what: &str) -> Result<ChartTree, ChartError> {
        ChartTree::read(bytes, &self.limits).map_err(|error| ChartError {
            kind: match error {
                ArchiveError::TooLarge { .. } => ChartErrorKind::TooLarge,
                ArchiveError::Malformed(_) | ArchiveError::Forbidden { .. } => ChartErrorKind::InvalidArchive,
            },
            message: format!("the archive of {what} cannot be used: {error}"),
        })
    }

    /// What an exact version was, when it is still on disk.
    fn known(&self, address: &ChartAddress, version: &str) -> Option<ChartVersion> {
        if self.anew {
            return None;
        }
        let digest = String::from_utf8(self.store.note(&note(address, version))?).ok()?;
        self.store.get(&digest)?;
        Some(ChartVersion { version: version.to_owned(), digest })
    }

    fn keep(
        &self,
        address: &ChartAddress,
        version: &str,
        bytes: &[u8],
        expected: Option<&str>,
    ) -> Result<ChartVersion, ChartError> {
        let what = format!("{address} {version}");
        let digest = archive::hexadecimal(&<sha2::Sha256 as sha2::Digest>::digest(bytes));
        if expected.is_some_and(|expected| expected != digest) {
            let message =
                format!("the archive of {what} has the digest {digest}, and not the one that its repository names");
            return Err(ChartError { kind: ChartErrorKind::DigestMismatch, message });
        }
        self.unpacked(bytes, &what)?;
        let kept = self.store.put(bytes).and_then(|digest| {
            self.store.write_note(&had(address, version, &digest), b"")?;
            self.store.write_note(&note(address, version), digest.as_bytes())
        });
        kept.map_err(|error| ChartError {
            kind: ChartErrorKind::Other,
            message: format!("{what} cannot be kept on disk: {error}"),
        })?;
        Ok(ChartVersion { version: version.to_owned(), digest })
    }
}

fn note(address: &ChartAddress, version: &str) -> String {
    format!("version {} {version}", address.location())
}

/// A digest alone does not say where an archive came from, and who may have it.
fn had(address: &ChartAddress, version: &str, digest: &str) -> String {
    format!("had {} {version} {digest}", address.location())
}

/// As Helm's `IndexFile.Get`: the very version, else the highest that the range holds.
fn chosen<'e>(entries: &'e [Entry], revision: &str) -> Option<&'e Entry> {
    if let Some(exact) = entries.iter().find(|entry| entry.version == revision) {
        return Some(exact);
    }
    let range = Range::parse(if matches!(revision, "" | "HEAD") { "*" } else { revision })?;
    let versions = entries.iter().filter_map(|entry| Some((Version::parse(&entry.version)?, entry)));
    range.highest(versions).map(|(_, entry)| entry)
}

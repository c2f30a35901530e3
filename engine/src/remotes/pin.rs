//! Where something from elsewhere stands.

use gitmoor_core::closure::{Category, RemoteReference};
use serde::{Deserialize, Serialize};

use super::{Ask, RemoteError};
use crate::charts::is_exact;
use crate::git::CommitId;

/// Where something from elsewhere stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pin {
    /// At a commit.
    Commit {
        /// The commit.
        commit: CommitId,
        /// The server's name for it, if it was named so.
        reference: Option<String>,
    },
    /// At a content.
    File {
        /// SHA-256, in hexadecimal.
        digest: String,
        /// What the server calls it.
        etag: Option<String>,
    },
    /// At a version.
    Chart {
        /// The version.
        version: String,
        /// SHA-256 of the archive, in hexadecimal.
        digest: String,
    },
    /// There is no file at the address.
    NoFile,
}

impl Pin {
    /// Whether it stays what it is: a commit, a tag, an exact version, and all that is locked.
    pub fn is_fixed(&self, ask: &Ask) -> bool {
        match (self, &ask.reference) {
            _ if ask.locked.is_some() => true,
            (Self::Commit { reference, .. }, RemoteReference::Repository { revision, .. }) => {
                CommitId::parse(revision).is_some()
                    || reference.as_ref().is_some_and(|name| {
                        name.strip_prefix("refs/tags/")
                            .is_some_and(|tag| [tag, &format!("tags/{tag}"), name].contains(&revision.as_str()))
                    })
            }
            (Self::Chart { .. }, RemoteReference::Chart { version, .. }) => is_exact(version),
            _ => false,
        }
    }
}

/// What was found, unless the lock file says something else.
pub(super) fn as_locked(found: Pin, locked: Option<&str>) -> Result<Pin, RemoteError> {
    let now = match &found {
        Pin::File { digest, .. } if locked == Some(digest.as_str()) => return Ok(found),
        Pin::NoFile if locked.is_none() => return Ok(found),
        Pin::File { digest, .. } => format!("sha256:{digest}"),
        _ => "no file".to_owned(),
    };
    let said = locked.map_or_else(|| "no file".to_owned(), |digest| format!("sha256:{digest}"));
    let reason =
        format!("is {now} now, and the lock file says {said}; if that is what you want, run `gitmoor lock --update`");
    Err(RemoteError::new(Category::LockMismatch, reason))
}

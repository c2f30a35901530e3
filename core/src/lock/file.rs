//! The lock file as it is written.

use serde::{Deserialize, Serialize};

use super::{DIGEST, Lock, LockError, LockFileError, Locked, is_hexadecimal, path, read_digest};
use crate::closure::RemoteReference;
use crate::tree::{EntryKind, Tree};

/// The version of the format; it grows when an older program could be misled.
const FORMAT: u32 = 1;
/// Bytes of a lock file.
const LARGEST: usize = 4 << 20;
/// In place of a digest: a server was asked for a file there, and had none.
const NO_FILE: &str = "none";

pub(super) const COMMENT: &str = "\
# Written by `gitmoor lock`: what is used of elsewhere, and taken exactly so until this file says otherwise. Commit it.
# `gitmoor lock --update [NAME...]` takes what is there now. After a merge: keep both sides, and run `gitmoor lock`.
";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bases: Vec<WrittenBase>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    charts: Vec<WrittenChart>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<WrittenFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBase {
    repository: String,
    revision: String,
    commit: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    address: String,
    digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenChart {
    repository: String,
    name: String,
    version: String,
    locked: String,
    digest: String,
}

impl Lock {
    /// Reads a lock file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        if let Some(line) = text.lines().position(|line| line.starts_with("<<<<<<<")) {
            let reason = "a merge left its marks; keep both sides, and run `gitmoor lock`".to_owned();
            return Err(LockError { line: Some(line + 1), reason });
        }
        let malformed = |error: serde_yaml::Error| LockError {
            line: error.location().map(|location| location.line()),
            reason: format!("is no lock file: {error}; remove it, and run `gitmoor lock`"),
        };
        let Head { format } = serde_yaml::from_str(text).map_err(malformed)?;
        if format != FORMAT {
            let reason = format!("has format {format}, which this version does not know; install a newer one");
            return Err(LockError::new(reason));
        }
        let Written { format: _, bases, charts, files } = serde_yaml::from_str(text).map_err(malformed)?;
        let mut lock = Self::default();
        for WrittenBase { repository, revision, commit } in bases {
            let id = is_hexadecimal(&commit, &[40, 64]).then_some(Locked::Commit(commit));
            lock.add(RemoteReference::Repository { address: repository, revision }, id)?;
        }
        for chart in charts {
            let (reference, locked) = chart.read();
            lock.add(reference, locked)?;
        }
        for WrittenFile { address, digest } in files {
            let digest = if digest == NO_FILE { Some(None) } else { read_digest(&digest).map(Some) };
            lock.add(RemoteReference::File { address }, digest.map(Locked::File))?;
        }
        Ok(lock)
    }

    /// The lock file of a tree; empty when there is none.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn of_tree(tree: &dyn Tree) -> Result<Self, LockFileError> {
        let path = path();
        let Some(entry) = tree.entry(&path)? else { return Ok(Self::default()) };
        if !matches!(entry.kind, EntryKind::File | EntryKind::Executable) {
            return Err(LockError::new("is no regular file; remove it, and run `gitmoor lock`").into());
        }
        let text = String::from_utf8(tree.read(&path, LARGEST)?).map_err(|_| LockError::new("is not UTF-8"))?;
        Ok(Self::parse(&text)?)
    }

    /// The file: the same entries give the same text.
    pub fn write(&self) -> String {
        let mut written = Written { format: FORMAT, bases: Vec::new(), charts: Vec::new(), files: Vec::new() };
        for (reference, locked) in &self.entries {
            match (reference, locked) {
                (RemoteReference::Repository { address, revision }, Locked::Commit(commit)) => {
                    let (repository, revision, commit) = (address.clone(), revision.clone(), commit.clone());
                    written.bases.push(WrittenBase { repository, revision, commit });
                }
                (RemoteReference::File { address }, Locked::File(digest)) => {
                    let digest = digest.as_ref().map_or(NO_FILE.to_owned(), |digest| format!("{DIGEST}{digest}"));
                    written.files.push(WrittenFile { address: address.clone(), digest });
                }
                _ => written.charts.extend(WrittenChart::of(reference, locked)),
            }
        }
        // Nothing in it cannot be written.
        format!("{COMMENT}{}", serde_yaml::to_string(&written).unwrap_or_default())
    }
}

impl WrittenChart {
    pub(super) fn of(reference: &RemoteReference, locked: &Locked) -> Option<Self> {
        let (RemoteReference::Chart { repository, name, version }, Locked::Chart { version: locked, digest }) =
            (reference, locked)
        else {
            return None;
        };
        let (repository, name, version) = (repository.clone(), name.clone(), version.clone());
        Some(Self { repository, name, version, locked: locked.clone(), digest: format!("{DIGEST}{digest}") })
    }

    pub(super) fn read(self) -> (RemoteReference, Option<Locked>) {
        let Self { repository, name, version, locked, digest } = self;
        let plain = !locked.is_empty() && !locked.contains('@');
        let locked = read_digest(&digest).filter(|_| plain).map(|digest| Locked::Chart { version: locked, digest });
        (RemoteReference::Chart { repository, name, version }, locked)
    }
}

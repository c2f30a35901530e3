//! Commits: their ids, and what status and history say of them.

use std::fmt;

use git2::{Oid, Repository};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A commit's full id, 40 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

impl CommitId {
    /// Reads a full id; `None` for anything else, abbreviations included.
    pub fn parse(text: &str) -> Option<Self> {
        let full = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        full.then(|| Self(text.to_ascii_lowercase()))
    }

    /// The 40 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn from_oid(oid: Oid) -> Self {
        Self(oid.to_string())
    }

    pub(super) fn oid(&self) -> Result<Oid, git2::Error> {
        Oid::from_str(&self.0)
    }
}

impl TryFrom<String> for CommitId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not the full id of a commit"))
    }
}

impl From<CommitId> for String {
    fn from(id: CommitId) -> Self {
        id.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What status and history show of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// The commit.
    pub sha: CommitId,
    /// `Name <address>`.
    pub author: String,
    /// When it was committed; the epoch when the commit says something impossible.
    pub date: Timestamp,
    /// First line of the message, at most 200 characters.
    pub message: String,
}

pub(super) fn commit_info(repository: &Repository, id: &CommitId) -> Result<CommitInfo, git2::Error> {
    let commit = repository.find_commit(id.oid()?)?;
    let author = commit.author();
    let name = String::from_utf8_lossy(author.name_bytes()).into_owned();
    let address = String::from_utf8_lossy(author.email_bytes()).into_owned();
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    Ok(CommitInfo {
        sha: id.clone(),
        author: format!("{name} <{address}>"),
        date: Timestamp::from_second(commit.time().seconds()).unwrap_or(Timestamp::UNIX_EPOCH),
        message: message.trim_start().lines().next().unwrap_or_default().chars().take(200).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_ids_are_commit_ids() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(CommitId::parse(id).unwrap().as_str(), id);
        assert_eq!(CommitId::parse(&id.to_uppercase()).unwrap().as_str(), id);
        assert!(CommitId::parse(&id[..39]).is_none() && CommitId::parse("main").is_none());
        assert!(serde_json::from_str::<CommitId>("\"main\"").is_err());
    }
}

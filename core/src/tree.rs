//! A repository's tree at one commit, as the pure part sees it.

use std::fmt;

/// A path inside a repository: relative, `/`-separated, without `.`, `..` or empty parts. Empty is the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct RepoPath(String);

impl RepoPath {
    /// The root of the repository.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads `text` relative to this folder; `None` when it is absolute, leaves the repository, or holds a NUL or backslash.
    pub fn join(&self, text: &str) -> Option<Self> {
        if text.starts_with('/') || text.contains(['\0', '\\']) {
            return None;
        }
        let mut parts: Vec<&str> = self.0.split('/').filter(|part| !part.is_empty()).collect();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop()?;
                }
                name => parts.push(name),
            }
        }
        Some(Self(parts.join("/")))
    }

    /// The folder that holds this path; the root's is the root.
    pub fn parent(&self) -> Self {
        Self(self.0.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned())
    }

    /// The path as text, empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A regular file with the executable bit.
    Executable,
    /// A symbolic link; its content is the target.
    Link,
    /// A folder.
    Folder,
    /// A submodule: only a commit id, no content.
    Submodule,
}

/// An entry of a tree and the Git object id of its content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TreeEntry {
    /// What it is.
    pub kind: EntryKind,
    /// Object id in hexadecimal.
    pub id: String,
}

/// The tree could not be read, although the path may exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {path} of the repository: {reason}")]
pub struct TreeError {
    /// Path in the repository.
    pub path: RepoPath,
    /// What the reader said.
    pub reason: String,
    /// Whether reading it again may help.
    pub kind: TreeErrorKind,
}

/// Class of a [`TreeError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeErrorKind {
    /// The reader failed.
    Unreadable,
    /// What stands there is larger than the caller takes; it stays so until somebody pushes.
    TooLarge,
    /// What stands there is not what it has to be; it stays so until somebody pushes.
    Invalid,
}

impl TreeError {
    /// The reader failed.
    pub fn unreadable(path: &RepoPath, reason: impl Into<String>) -> Self {
        Self { path: path.clone(), reason: reason.into(), kind: TreeErrorKind::Unreadable }
    }

    /// A file has more bytes than `limit`.
    pub fn too_large(path: &RepoPath, limit: usize) -> Self {
        let reason = format!("it has more bytes than the limit of {limit}; make it smaller or split it");
        Self { path: path.clone(), reason, kind: TreeErrorKind::TooLarge }
    }

    /// What stands there cannot be used.
    pub fn invalid(path: &RepoPath, reason: impl Into<String>) -> Self {
        Self { path: path.clone(), reason: reason.into(), kind: TreeErrorKind::Invalid }
    }
}

impl<T: Tree + ?Sized> Tree for Box<T> {
    fn entry(&self, path: &RepoPath) -> Result<Option<TreeEntry>, TreeError> {
        (**self).entry(path)
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<(String, TreeEntry)>, TreeError> {
        (**self).list(path)
    }

    fn read(&self, path: &RepoPath, limit: usize) -> Result<Vec<u8>, TreeError> {
        (**self).read(path, limit)
    }
}

/// Reads one commit's tree. Links are not followed.
pub trait Tree {
    /// What stands at the path, `None` when nothing does.
    fn entry(&self, path: &RepoPath) -> Result<Option<TreeEntry>, TreeError>;
    /// Names and entries of a folder, in the tree's order; empty when there is none.
    fn list(&self, path: &RepoPath) -> Result<Vec<(String, TreeEntry)>, TreeError>;
    /// The bytes of a file, or the target of a link; an error above `limit` bytes.
    fn read(&self, path: &RepoPath, limit: usize) -> Result<Vec<u8>, TreeError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn join_stays_inside() {
        let base = RepoPath::root().join("apps/web").unwrap();
        assert_eq!(base.join("../base/./x.yaml").unwrap().as_str(), "apps/base/x.yaml");
        assert_eq!(base.join("../../..").map(|path| path.to_string()), None);
        assert_eq!(base.join("/etc/passwd"), None);
        assert_eq!(RepoPath::root().join("a//b/").unwrap().as_str(), "a/b");
        assert_eq!(base.parent().as_str(), "apps");
    }
}

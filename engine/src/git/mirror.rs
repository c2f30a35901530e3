//! The bare mirror of one repository, as the agent sees it.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, Repository};
use gitmoor_core::tree::RepoPath;

use super::commit::{self, CommitId, CommitInfo};
use super::{FetchError, FetchOutcome, FetchRequest, Fetcher, GitTree, MirrorError, RepositoryUrl, diff, on_disk};

/// The mirror of one repository. Cloning is cheap; all clones and processes work on the same folder under a lock.
#[derive(Clone, Debug)]
pub struct Mirror {
    url: RepositoryUrl,
    directory: PathBuf,
    fetcher: Fetcher,
}

impl Mirror {
    /// The mirror of `url` below `data`; touches nothing yet.
    pub fn new(data: &Path, url: RepositoryUrl, fetcher: Fetcher) -> Self {
        let directory = data.join(on_disk::FOLDER).join(url.directory_name());
        Self { url, directory, fetcher }
    }

    /// The repository.
    pub fn url(&self) -> &RepositoryUrl {
        &self.url
    }

    /// The mirror's folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Brings the asked revisions up to date in one connection, in a child process; makes the mirror when there is
    /// none, and makes it anew when it is damaged. A failure leaves what was fetched before.
    ///
    /// Dropping the future kills the child.
    pub async fn fetch(&self, request: &FetchRequest) -> Result<FetchOutcome, FetchError> {
        self.fetcher.run(&self.url, &self.directory, request, false).await
    }

    /// The same, but clones into a new folder and swaps it in: for a mirror that cannot be read, and to give back
    /// disk space. Only what the asked revisions reach stays.
    pub async fn rebuild(&self, request: &FetchRequest) -> Result<FetchOutcome, FetchError> {
        self.fetcher.run(&self.url, &self.directory, request, true).await
    }

    /// The tree of a fetched commit. Blocking.
    pub fn tree(&self, commit: &CommitId) -> Result<GitTree, MirrorError> {
        let tree = commit.oid().and_then(|oid| GitTree::open(self.open()?, oid));
        tree.map_err(|error| self.error(commit, error))
    }

    /// Author, date and message of a fetched commit. Blocking.
    pub fn commit_info(&self, commit: &CommitId) -> Result<CommitInfo, MirrorError> {
        let info = self.open().and_then(|repository| commit::commit_info(&repository, commit));
        info.map_err(|error| self.error(commit, error))
    }

    /// Paths that differ between two commits, on both sides, sorted. Blocking.
    ///
    /// `None`: everything may have changed, because the old commit is gone (a force push, then a rebuilt mirror) or
    /// the difference is beyond all bounds.
    pub fn changed_paths(&self, old: &CommitId, new: &CommitId) -> Result<Option<Vec<RepoPath>>, MirrorError> {
        let changed = self.open().and_then(|repository| {
            match repository.find_commit(old.oid()?) {
                Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
                found => drop(found?),
            }
            diff::changed_paths(&repository, old.oid()?, new.oid()?)
        });
        changed.map_err(|error| self.error(new, error))
    }

    fn open(&self) -> Result<Repository, git2::Error> {
        Repository::open_bare(&self.directory)
    }

    fn error(&self, commit: &CommitId, source: git2::Error) -> MirrorError {
        let url = self.url.clone();
        match source.code() {
            _ if !self.directory.exists() => MirrorError::NotFetched { url },
            ErrorCode::NotFound if source.class() != git2::ErrorClass::Repository => {
                MirrorError::NoSuchCommit { url, commit: commit.to_string() }
            }
            _ => MirrorError::Unreadable { url, source },
        }
    }
}

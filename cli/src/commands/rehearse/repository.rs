//! The files as they are, as a repository that the agent can follow.

use std::path::{Path, PathBuf};

use super::tree::Files;
use crate::{
    failure::Failure,
    fleet::Prepared,
    git::{Repository, Snapshot},
};

/// A bare repository with one branch.
pub(super) struct Published {
    clone: Repository,
    folder: PathBuf,
    branch: String,
}

impl Published {
    /// Makes it in `folder`, which must not be there yet.
    pub(super) fn create(prepared: &Prepared, folder: PathBuf, revision: &str) -> Result<Self, Failure> {
        let (clone, _) = prepared.clone.as_ref().ok_or_else(Files::without_git)?;
        let branch = if revision == "HEAD" { "main" } else { revision }.to_owned();
        let (first, target) = (format!("--initial-branch={branch}"), folder.display().to_string());
        clone.run(&["init", "--quiet", "--bare", &first, &target])?;
        Ok(Self { clone: clone.clone(), folder, branch })
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The branch is at these files now.
    pub(super) fn publish(&self, snapshot: &Snapshot) -> Result<(), Failure> {
        let target = self.folder.display().to_string();
        self.clone.push_snapshot(snapshot, &target, &self.branch).map_err(Failure::from)
    }
}

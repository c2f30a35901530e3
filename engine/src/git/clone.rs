//! A clone on this machine, such as that of a user, read as it is: nothing is fetched, and nothing is written.

use std::path::PathBuf;

use git2::{ErrorCode, Oid, Repository};
use gitmoor_core::tree::RepoPath;

use super::{GitTree, diff};

/// A clone of a repository. Cheap to copy; every use opens it anew.
#[derive(Clone, Debug)]
pub struct LocalClone {
    directory: PathBuf,
    objects: Option<PathBuf>,
}

/// A clone cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// It does not have what was asked for.
    #[error("the clone does not have {0}; fetch it")]
    Missing(String),
    /// It is damaged, or is none.
    #[error("the clone cannot be read")]
    Unreadable(#[from] git2::Error),
}

impl LocalClone {
    /// The clone with this Git folder; touches nothing yet.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, objects: None }
    }

    /// The same with one more folder of objects.
    pub fn with_objects(mut self, folder: PathBuf) -> Self {
        self.objects = Some(folder);
        self
    }

    /// What a commit, or a tree, holds; by its full id. Blocking.
    ///
    /// # Errors
    /// When the clone cannot be read, or does not have it.
    pub fn tree(&self, id: &str) -> Result<GitTree, CloneError> {
        let repository = self.open()?;
        let root = root(&repository, id)?;
        Ok(GitTree::of_root(repository, root))
    }

    /// Paths that differ between two commits or trees; `None`: beyond all bounds. Blocking.
    ///
    /// # Errors
    /// When the clone cannot be read, or does not have them.
    pub fn changed_paths(&self, old: &str, new: &str) -> Result<Option<Vec<RepoPath>>, CloneError> {
        let repository = self.open()?;
        let (old, new) = (root(&repository, old)?, root(&repository, new)?);
        Ok(diff::changed_between(&repository, old, new)?)
    }

    fn open(&self) -> Result<Repository, git2::Error> {
        let repository = Repository::open(&self.directory)?;
        if let Some(folder) = self.objects.as_ref().and_then(|folder| folder.to_str()) {
            repository.odb()?.add_disk_alternate(folder)?;
        }
        Ok(repository)
    }
}

fn root(repository: &Repository, id: &str) -> Result<Oid, CloneError> {
    let missing = |error: git2::Error| match error.code() {
        ErrorCode::NotFound => CloneError::Missing(id.to_owned()),
        _ => error.into(),
    };
    let object = repository.find_object(Oid::from_str(id)?, None).map_err(missing)?;
    Ok(object.peel_to_tree().map_err(missing)?.id())
}

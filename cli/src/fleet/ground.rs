//! Where the files are: a commit of the clone, its work tree as the next commit would have it, or a plain folder.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use gitmoor_core::{
    template::Matcher,
    tree::{RepoPath, TreeError},
};
use gitmoor_engine::{
    git::LocalClone,
    inputs::AnyTree,
    render::RenderError,
    work_folder::{Substituted, WorkFolder},
};
use tempfile::TempDir;

/// A tree of files that can be opened any number of times.
#[derive(Clone)]
pub(crate) struct Ground {
    files: Files,
    values: Option<Arc<Values>>,
    /// Holds what no commit has.
    _objects: Option<Arc<TempDir>>,
}

#[derive(Clone)]
enum Files {
    Folder(PathBuf),
    Git(LocalClone, String),
}

/// Values for placeholders that `gitmoor init` has not replaced yet.
pub(crate) struct Values {
    pub(crate) matcher: Matcher,
    /// Changes whenever they do.
    pub(crate) digest: String,
}

impl Ground {
    /// A folder that is under no version control; `inside` is any folder in it.
    pub(crate) fn folder(inside: &Path, values: Option<Arc<Values>>) -> Self {
        Self { files: Files::Folder(inside.to_owned()), values, _objects: None }
    }

    /// A commit or tree of a clone, by its id; `objects` holds what the clone itself does not.
    pub(crate) fn tree(
        clone: &LocalClone,
        id: String,
        values: Option<Arc<Values>>,
        objects: Option<Arc<TempDir>>,
    ) -> Self {
        let clone = match &objects {
            Some(folder) => clone.clone().with_objects(folder.path().to_owned()),
            None => clone.clone(),
        };
        Self { files: Files::Git(clone, id), values, _objects: objects }
    }

    /// Changes whenever equal object ids would read differently.
    pub(crate) fn values_digest(&self) -> &str {
        self.values.as_ref().map_or("", |values| &values.digest)
    }

    /// Opens it. Blocking.
    pub(crate) fn open(&self) -> Result<AnyTree, RenderError> {
        let unreadable = |reason: String| RenderError::Tree(TreeError::unreadable(&RepoPath::root(), reason));
        let tree: AnyTree = match &self.files {
            Files::Folder(inside) => {
                Box::new(WorkFolder::around(inside).map_err(|error| unreadable(error.to_string()))?.0)
            }
            Files::Git(clone, id) => Box::new(clone.tree(id).map_err(|error| unreadable(error.to_string()))?),
        };
        Ok(match &self.values {
            Some(values) => Box::new(Substituted::new(tree, values.matcher.clone())),
            None => tree,
        })
    }
}

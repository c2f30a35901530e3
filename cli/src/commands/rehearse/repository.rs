//! The files as they are, as a repository that the agent can follow.

use std::path::Path;

use crate::{
    failure::Failure,
    fleet::Prepared,
    git::{GitError, Repository},
};

/// Makes a bare repository in `folder` whose branch holds the work tree.
pub(super) fn make(prepared: &Prepared, folder: &Path, revision: &str) -> Result<(), Failure> {
    let Some((repository, _)) = &prepared.clone else {
        return Err(
            Failure::new(crate::failure::Exit::Usage, "this folder is not under Git").hint("run `git init` in it")
        );
    };
    let branch = if revision == "HEAD" { "main" } else { revision };
    publish(repository, folder, branch).map_err(Failure::from)
}

fn publish(repository: &Repository, folder: &Path, branch: &str) -> Result<(), GitError> {
    let snapshot = repository.snapshot()?;
    let target = folder.display().to_string();
    repository.run(&["init", "--quiet", "--bare", &format!("--initial-branch={branch}"), &target])?;
    repository.push_snapshot(&snapshot, &target, branch)
}

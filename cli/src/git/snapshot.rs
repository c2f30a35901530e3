//! What the next commit would hold, and where a branch left the one it goes back to.

use std::{ffi::OsStr, fs, path::PathBuf, sync::Arc};

use tempfile::TempDir;

use super::{GitError, Repository, check};

/// The work tree as a tree of Git. Nothing is written into the repository.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Id of the tree.
    pub(crate) tree: String,
    /// The objects that the repository itself does not have; they go with this.
    pub(crate) objects: Arc<TempDir>,
}

impl Repository {
    /// What `git add --all` and a commit would make of the work tree.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, GitError> {
        let objects = tempfile::tempdir().map_err(GitError::Start)?;
        let index = objects.path().join("index");
        let present = self.folder_at("index")?;
        if present.is_file() {
            // With its time: Git takes an entry that is younger than its index for one that may have changed since.
            let copy = || {
                fs::copy(&present, &index)?;
                fs::File::options().write(true).open(&index)?.set_modified(fs::metadata(&present)?.modified()?)
            };
            copy().map_err(GitError::Start)?;
        }
        let alternates = self.folder_at("objects")?;
        let run = |arguments: &[&str]| {
            let mut command = self.command(arguments);
            command.env("GIT_INDEX_FILE", &index).env("GIT_OBJECT_DIRECTORY", objects.path());
            command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &alternates);
            check(arguments, command.output().map_err(GitError::Start)?)
        };
        run(&["-c", "advice.addEmbeddedRepo=false", "add", "--all", "."])?;
        let tree = run(&["write-tree"])?;
        Ok(Snapshot { tree: String::from_utf8_lossy(&tree).trim().to_owned(), objects: Arc::new(objects) })
    }

    /// The files that differ between two snapshots, from the top of the work tree.
    pub(crate) fn changed_paths(&self, before: &Snapshot, after: &Snapshot) -> Result<Vec<String>, GitError> {
        let objects = [before, after].map(|snapshot| snapshot.objects.path().as_os_str());
        let arguments = ["diff-tree", "-r", "--name-only", "--no-renames", "-z", &before.tree, &after.tree];
        let mut command = self.command(&arguments);
        command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", objects.join(OsStr::new(":")));
        let listed = check(&arguments, command.output().map_err(GitError::Start)?)?;
        let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect())
    }

    /// Puts a snapshot on a branch of another repository, as a commit without history in place of what is there.
    pub(crate) fn push_snapshot(&self, snapshot: &Snapshot, target: &str, branch: &str) -> Result<(), GitError> {
        let alternates = self.folder_at("objects")?;
        let run = |arguments: &[&str]| {
            let mut command = self.command(arguments);
            command.env("GIT_OBJECT_DIRECTORY", snapshot.objects.path());
            command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &alternates);
            for role in ["AUTHOR", "COMMITTER"] {
                command
                    .env(format!("GIT_{role}_NAME"), "gitmoor")
                    .env(format!("GIT_{role}_EMAIL"), "gitmoor@localhost");
            }
            check(arguments, command.output().map_err(GitError::Start)?)
        };
        let commit = run(&["commit-tree", &snapshot.tree, "-m", "the files as they are"])?;
        let commit = String::from_utf8_lossy(&commit).trim().to_owned();
        run(&["push", "--quiet", "--no-verify", target, &format!("+{commit}:refs/heads/{branch}")])?;
        Ok(())
    }

    /// The folder that all work trees of the repository share.
    pub(crate) fn common_folder(&self) -> Result<PathBuf, GitError> {
        Ok(self.top().join(self.text(&["rev-parse", "--git-common-dir"])?))
    }

    /// Where Git has one of its own files or folders.
    fn folder_at(&self, name: &str) -> Result<PathBuf, GitError> {
        Ok(self.top().join(self.text(&["rev-parse", "--git-path", name])?))
    }

    /// The commit at which the history of `head` left that of what it is compared with: the upstream branch, else the
    /// remote's default branch, else `main` or `master`. Gives it with the name of that.
    pub(crate) fn base_of(&self, head: &str) -> Option<(String, String)> {
        let names = ["@{upstream}", "refs/remotes/origin/HEAD", "origin/main", "origin/master", "main", "master"];
        names.iter().find_map(|name| Some((self.merge_base(name, head)?, (*name).to_owned())))
    }

    /// Of some commits the one that has all the others in its history. `None` when none has, and when the clone lacks one.
    pub(crate) fn newest(&self, commits: &[&str]) -> Option<String> {
        let mut ids = commits.iter().map(|name| self.commit(name)).collect::<Option<Vec<_>>>()?;
        ids.sort();
        ids.dedup();
        let has = |head: &str, id: &str| id == head || self.ask(&["merge-base", "--is-ancestor", id, head]).is_some();
        let position = ids.iter().position(|head| ids.iter().all(|id| has(head, id)))?;
        Some(ids.swap_remove(position))
    }

    /// The best common ancestor of two commits.
    pub(crate) fn merge_base(&self, one: &str, other: &str) -> Option<String> {
        let (one, other) = (self.commit(one)?, self.commit(other)?);
        self.ask(&["merge-base", &one, &other]).filter(|id| !id.is_empty())
    }
}

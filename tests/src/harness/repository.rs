//! A bare Git repository with a work tree to commit from.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// When every commit of a test was made: equal input gives equal commits.
const DATE: &str = "2026-01-01T00:00:00Z";

/// A bare repository `NAME.git` and a work tree on its branch `main`. Commits
/// reach it through the file system: they do not count as requests to the
/// remote that serves it.
#[derive(Clone, Debug)]
pub struct Repository {
    bare: PathBuf,
    tree: PathBuf,
    url: String,
}

impl Repository {
    /// Makes `served/NAME.git`, which `url` serves, and its work tree in `trees/NAME`.
    pub async fn create(served: &Path, trees: &Path, name: &str, url: String) -> Self {
        let repository = Self { bare: served.join(format!("{name}.git")), tree: trees.join(name), url };
        std::fs::create_dir_all(&repository.tree).expect("a folder can be made");
        let bare = repository.bare.to_str().expect("a path in UTF-8");
        repository.git(&["init", "--quiet", "--bare", "--initial-branch=main", bare]).await;
        repository.git(&["--git-dir", bare, "config", "http.receivepack", "true"]).await;
        repository.git(&["init", "--quiet", "--initial-branch=main", "."]).await;
        repository.git(&["remote", "add", "origin", bare]).await;
        repository
    }

    /// The URL to fetch it from, without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The bare repository.
    pub fn path(&self) -> &Path {
        &self.bare
    }

    /// The work tree: what is put there is in the next commit.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// Writes files (path and content), commits and pushes them; gives the commit.
    pub async fn commit(&self, files: &[(&str, &str)], message: &str) -> String {
        for (path, content) in files {
            self.write(path, content);
        }
        self.commit_all(message).await
    }

    /// Writes a file into the work tree.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.tree.join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder can be made");
        std::fs::write(path, content).expect("a file can be written");
    }

    /// Removes a file or folder, commits and pushes that; gives the commit.
    pub async fn remove(&self, path: &str) -> String {
        let full = self.tree.join(path);
        if full.is_dir() {
            std::fs::remove_dir_all(full).expect("a folder can be removed");
        } else {
            std::fs::remove_file(full).expect("a file can be removed");
        }
        self.commit_all(&format!("remove {path}")).await
    }

    /// Commits all of the work tree, also when nothing changed, and pushes it; gives the commit.
    pub async fn commit_all(&self, message: &str) -> String {
        self.git(&["add", "--all"]).await;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]).await;
        self.git(&["push", "--quiet", "--force", "origin", "HEAD"]).await;
        self.head().await
    }

    /// The commit that is checked out.
    pub async fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).await.trim().to_owned()
    }

    /// Runs git in the work tree and gives what it printed.
    ///
    /// # Panics
    /// When git fails, with what it said.
    pub async fn git(&self, arguments: &[&str]) -> String {
        let output = git_command(&self.tree).args(arguments).output().await.expect("git starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {}: {said}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A git that knows nothing of the user or the machine it runs for.
pub fn git_command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .envs([("GIT_AUTHOR_NAME", "Test"), ("GIT_AUTHOR_EMAIL", "test@example.com"), ("GIT_AUTHOR_DATE", DATE)])
        .envs([
            ("GIT_COMMITTER_NAME", "Test"),
            ("GIT_COMMITTER_EMAIL", "test@example.com"),
            ("GIT_COMMITTER_DATE", DATE),
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

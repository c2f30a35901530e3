//! The user's repository: a fork of the distribution, served over HTTP.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use gitmoor_tests::distribution::selection;
use gitmoor_tests::harness::{GitRemote, Repository};

use crate::gitmoor;
use crate::screen::Screen;

/// A line of a file, and what is put in its place.
pub(crate) struct Change {
    file: &'static str,
    before: &'static str,
    after: &'static str,
}

/// Another version of the model.
pub(crate) const GOOD: Change = Change {
    file: "distribution/components/inference/values.yaml",
    before: "  version: \"1\"",
    after: "  version: \"2\"",
};
/// A slip of the finger.
pub(crate) const BAD: Change = Change {
    file: "distribution/charts/inference/templates/deployment.yaml",
    before: "  replicas:",
    after: "  replica:",
};

/// A fork with its server.
pub(crate) struct Fork {
    repository: Repository,
    _remote: GitRemote,
}

impl Fork {
    /// Makes the fork and commits it as it is.
    pub(crate) async fn create(screen: &mut Screen) -> anyhow::Result<Self> {
        let remote = GitRemote::start().await;
        let repository = remote.repository("platform").await;
        selection::copy_into(repository.tree()).context("the distribution cannot be copied into the fork")?;
        screen.step(&format!("a fork of distribution/ is served at {}", repository.url()));
        let off = selection::turn_off_what_needs_a_network(repository.tree()).context("nothing can be turned off")?;
        if !off.is_empty() {
            let off: Vec<String> = off.into_iter().collect();
            screen.output(&format!("turned off, because they take charts from the network: {}", off.join(", ")));
        }
        repository.commit_all("A fork of the distribution").await;
        Ok(Self { repository, _remote: remote })
    }

    /// Where it is served.
    pub(crate) fn url(&self) -> &str {
        self.repository.url()
    }

    /// The work tree.
    pub(crate) fn tree(&self) -> &Path {
        self.repository.tree()
    }

    /// `gitmoor init`.
    pub(crate) async fn initialise(&self, screen: &mut Screen) -> anyhow::Result<()> {
        let setting = format!("git_repo.url={}", self.url());
        let arguments = ["init", "setup.conf.example", "--set", &setting];
        gitmoor::run(self.tree(), None, (&arguments, 0), screen).await
    }

    /// Commits and pushes everything; gives the commit.
    pub(crate) async fn push(&self, message: &str, screen: &mut Screen) -> String {
        screen.command(&format!("git commit --all --message '{message}' && git push"));
        self.commit(message, screen).await
    }

    async fn commit(&self, message: &str, screen: &mut Screen) -> String {
        let commit = self.repository.commit_all(message).await;
        let what = self.repository.git(&["show", "--shortstat", "--format=%h on main", "HEAD"]).await;
        screen.output(&what.split_whitespace().collect::<Vec<_>>().join(" "));
        commit
    }

    /// Takes back the last commit and pushes that; gives the commit.
    pub(crate) async fn revert(&self, screen: &mut Screen) -> String {
        screen.command("git revert --no-edit HEAD && git push");
        self.repository.git(&["revert", "--no-edit", "--no-commit", "HEAD"]).await;
        self.commit("Take the last commit back", screen).await
    }

    /// Puts one line in place of another, and shows that; it is not committed.
    pub(crate) async fn change_a_line(&self, change: &Change, screen: &mut Screen) -> anyhow::Result<()> {
        let Change { file, before, after } = change;
        let path = self.tree().join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("{file} cannot be read"))?;
        ensure!(text.matches(before).count() == 1, "{file} has no single line {before}");
        fs::write(&path, text.replace(before, after))?;
        let diff = self.repository.git(&["diff", "--unified=0"]).await;
        screen.command("git diff");
        let changed = diff.lines().filter(|line| line.starts_with(['+', '-']));
        screen.output(&changed.collect::<Vec<_>>().join("\n"));
        Ok(())
    }
}

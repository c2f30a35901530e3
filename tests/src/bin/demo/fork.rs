//! The user's repository: a fork of the distribution, served over HTTP.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use gitmoor_tests::distribution::selection;
use gitmoor_tests::harness::{GitRemote, Repository, program};
use tokio::process::Command;

use crate::screen::Screen;

/// The line that the demo changes, and into what.
const FILE: &str = "distribution/components/inference/values.yaml";
const BEFORE: &str = "  version: \"1\"";
const AFTER: &str = "  version: \"2\"";

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

    /// `gitmoor init`, as a user runs it.
    pub(crate) async fn initialise(&self, screen: &mut Screen) -> anyhow::Result<()> {
        let setting = format!("git_repo.url={}", self.url());
        screen.command(&format!("gitmoor init setup.conf.example --set {setting}"));
        let output = Command::new(program("gitmoor"))
            .args(["init", "setup.conf.example", "--set", &setting])
            .current_dir(self.tree())
            .kill_on_drop(true)
            .output()
            .await
            .context("gitmoor does not start")?;
        let Output { status, stdout, stderr } = output;
        screen.output(&String::from_utf8_lossy(&stdout));
        screen.output(&String::from_utf8_lossy(&stderr));
        ensure!(status.success(), "gitmoor init ended with {status}");
        Ok(())
    }

    /// Commits and pushes everything; gives the commit.
    pub(crate) async fn push(&self, message: &str, screen: &mut Screen) -> String {
        screen.command(&format!("git commit --all --message '{message}' && git push"));
        let commit = self.repository.commit_all(message).await;
        let what = self.repository.git(&["show", "--shortstat", "--format=%h on main", "HEAD"]).await;
        screen.output(&what.split_whitespace().collect::<Vec<_>>().join(" "));
        commit
    }

    /// Changes one line and pushes it; gives the commit and when the push was done.
    pub(crate) async fn change_a_line(&self, screen: &mut Screen) -> anyhow::Result<(String, Instant)> {
        let path = self.tree().join(FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("{FILE} cannot be read"))?;
        if text.matches(BEFORE).count() != 1 {
            bail!("{FILE} has no single line {BEFORE}");
        }
        fs::write(&path, text.replace(BEFORE, AFTER))?;
        let diff = self.repository.git(&["diff", "--unified=0"]).await;
        screen.command("git diff");
        let changed = diff.lines().filter(|line| line.starts_with(['+', '-']));
        screen.output(&changed.collect::<Vec<_>>().join("\n"));
        let commit = self.push("Serve version 2 of the model", screen).await;
        Ok((commit, Instant::now()))
    }
}

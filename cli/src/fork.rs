//! The fork at hand: what the working directory's repository knows of commits and Applications.

use std::path::Path;

use gitmoor_core::{object::text_at, view::distinct_revisions, yaml};
use gitmoor_engine::git::CommitId;

use crate::git::Repository;

/// A clone in or below whose folder the command runs.
pub(crate) struct Fork {
    repository: Repository,
}

/// Who changed something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its first characters.
    pub(crate) id: String,
    pub(crate) author: String,
    /// RFC 3339.
    pub(crate) date: String,
    pub(crate) subject: String,
}

impl Fork {
    /// The one of the working directory, if there is one and Git is installed.
    pub(crate) fn here() -> Option<Self> {
        let repository = Repository::around(Path::new(".")).ok()??;
        Some(Self { repository })
    }

    /// A commit, if this clone has it.
    pub(crate) fn commit(&self, revision: &str) -> Option<Commit> {
        self.log(&["log", "-1", FORMAT, "--end-of-options", &format!("{revision}^{{commit}}"), "--"])
    }

    /// Of the revisions of several sources, with commas in between, the newest commit of this clone: each is the last one
    /// that changed its source. A version of a chart is none, whatever tags there are.
    pub(crate) fn newest(&self, revision: &str) -> Option<String> {
        let is_here = |one: &&str| CommitId::parse(one).is_some() && self.repository.commit(one).is_some();
        let commits: Vec<&str> = distinct_revisions(revision).into_iter().filter(is_here).collect();
        self.repository.newest(&commits)
    }

    /// The newest commit of a branch that is known here, pushed or fetched; it has `base` in its history.
    pub(crate) fn head_of(&self, branch: &str, base: Option<&str>) -> String {
        let names = [format!("origin/{branch}"), branch.to_owned(), "HEAD".to_owned()];
        let contains = |name: &String| match (base, self.repository.commit(name)) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(base), Some(head)) => {
                let ancestor = self.repository.merge_base(base, &head);
                // One that has not moved since is not where the newer one is.
                ancestor.is_some() && ancestor == self.repository.commit(base) && ancestor != Some(head)
            }
        };
        names.into_iter().find(contains).unwrap_or_else(|| base.unwrap_or("HEAD").to_owned())
    }

    /// The last commit up to a revision that changed a path.
    pub(crate) fn last_change(&self, revision: &str, path: &str) -> Option<Commit> {
        let path = if path.is_empty() { "." } else { path };
        self.log(&["log", "-1", FORMAT, "--end-of-options", revision, "--", path])
    }

    /// Files of a folder that Git knows and that hold a text.
    pub(crate) fn holding(&self, text: &str, folder: &Path) -> Vec<String> {
        let Some(folder) = self.repository.relative(folder) else { return Vec::new() };
        let found = self.repository.ask(&["grep", "-l", "-I", "-F", "-e", text, "--", &folder]).unwrap_or_default();
        found.lines().map(str::to_owned).collect()
    }

    /// How many commits the branch has that its upstream does not have; `None` when it has no upstream.
    pub(crate) fn unpushed(&self) -> Option<usize> {
        self.repository.ask(&["rev-list", "--count", "@{upstream}..HEAD"])?.parse().ok()
    }

    /// The file in which an Application stands.
    pub(crate) fn definition(&self, name: &str) -> Option<String> {
        let files = self.repository.ask(&["grep", "-l", "-I", "-E", "-e", "^kind: *Application *$", "--", "."])?;
        files.lines().find(|file| self.defines(file, name)).map(str::to_owned)
    }

    fn defines(&self, file: &str, name: &str) -> bool {
        let Ok(text) = std::fs::read_to_string(self.repository.top().join(file)) else { return false };
        let documents = yaml::read_documents(&text, &yaml::Limits::default()).unwrap_or_default();
        documents.iter().any(|document| {
            text_at(&document.value, &["kind"]) == Some("Application")
                && text_at(&document.value, &["metadata", "name"]) == Some(name)
        })
    }

    fn log(&self, arguments: &[&str]) -> Option<Commit> {
        let text = self.repository.ask(arguments)?;
        let mut fields = text.split('\0').map(str::to_owned);
        let commit =
            Commit { id: fields.next()?, author: fields.next()?, date: fields.next()?, subject: fields.next()? };
        (!commit.id.is_empty()).then_some(commit)
    }
}

const FORMAT: &str = "--format=%h%x00%an%x00%aI%x00%s";

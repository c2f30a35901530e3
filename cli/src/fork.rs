//! The fork at hand: what the working directory's repository knows of commits and Applications.

use std::collections::BTreeSet;
use std::path::Path;

use gitmoor_core::{
    closure::{PathIndex, ReadSet},
    object::text_at,
    tree::RepoPath,
    view::distinct_revisions,
    yaml,
};
use gitmoor_engine::git::{CommitId, GitTree, LocalClone};

use crate::commands::init::state_file;
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

/// A commit, and which of the files in question it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) commit: Commit,
    pub(crate) files: Vec<String>,
}

/// Commits that are looked through for one that counts: folders are asked for as a whole, and not all in them is read.
const LOOKED_THROUGH: &str = "-100";
/// Lines that an Application's manifest has, also as JSON.
const IS_APPLICATION: &str = "[\"']?kind[\"']?: *[\"']?Application[\"']?";

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

    /// The id of the commit that a name means here.
    pub(crate) fn id(&self, name: &str) -> Option<String> {
        self.repository.commit(name)
    }

    /// What a commit holds, by its id.
    pub(crate) fn tree(&self, id: &str) -> Option<GitTree> {
        LocalClone::new(self.repository.top().to_owned()).tree(id).ok()
    }

    /// The last commit up to a revision that changed a file.
    pub(crate) fn last_change(&self, revision: &str, file: &str) -> Option<Change> {
        self.changes(revision, [file]).into_iter().next()
    }

    /// The last commit up to a revision that changed what is read.
    pub(crate) fn last_change_of(&self, revision: &str, sets: &[ReadSet]) -> Option<Change> {
        let mut index = PathIndex::default();
        index.insert_all((), sets);
        let counts = |file: &String| {
            RepoPath::root().join(file).is_some_and(|path| !index.touched(std::iter::once(&path)).is_empty())
        };
        let paths = sets.iter().flat_map(|set| set.members.keys()).map(|path| match path.as_str() {
            "" => ".",
            path => path,
        });
        let counted = self.changes(revision, paths).into_iter().map(|Change { commit, mut files }| {
            files.retain(counts);
            Change { commit, files }
        });
        counted.into_iter().find(|change| !change.files.is_empty())
    }

    /// The later of two changes: the one that has the other in its history.
    pub(crate) fn later(&self, one: Change, other: Change) -> Change {
        let newest = self.repository.newest(&[&one.commit.id, &other.commit.id]);
        if newest.is_some_and(|newest| newest.starts_with(&other.commit.id)) { other } else { one }
    }

    /// Commits up to a revision that changed any of these paths, the newest first.
    fn changes<'p>(&self, revision: &str, paths: impl IntoIterator<Item = &'p str>) -> Vec<Change> {
        let paths: Vec<&str> = paths.into_iter().filter(|path| !path.contains('\n')).collect();
        if paths.is_empty() {
            return Vec::new();
        }
        let format = "--format=%x1e%h%x1f%an%x1f%aI%x1f%s%x1f";
        let arguments = ["log", LOOKED_THROUGH, "--no-renames", "--name-only", "-z", format, "--stdin", revision];
        let input = format!("--\n{}\n", paths.join("\n"));
        let output = self.repository.run_with(&arguments, input.as_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&output);
        text.split('\u{1e}').filter_map(change).collect()
    }

    /// Those of some files that hold a text at a commit.
    pub(crate) fn holding_at(&self, commit: &str, text: &str, files: &[String]) -> Vec<String> {
        let question = ["grep", "-l", "-I", "-F", "-e", text, commit, "--"];
        let question: Vec<&str> = question.into_iter().chain(files.iter().map(String::as_str)).collect();
        self.found(&question, commit)
    }

    /// The file in which an Application stands at a commit.
    pub(crate) fn definition_at(&self, commit: &str, name: &str) -> Option<String> {
        let files = self.found(&["grep", "-l", "-I", "-E", "-e", IS_APPLICATION, commit, "--", "."], commit);
        let text = |file: &String| self.repository.ask(&["cat-file", "blob", &format!("{commit}:{file}")]);
        files.into_iter().find(|file| text(file).is_some_and(|text| defines(&text, name)))
    }

    /// Files of a commit, as `git grep` lists them.
    fn found(&self, question: &[&str], commit: &str) -> Vec<String> {
        let listed = self.repository.ask(question).unwrap_or_default();
        let file = |line: &str| line.strip_prefix(commit)?.strip_prefix(':').map(str::to_owned);
        listed.lines().filter_map(file).collect()
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
        let folders = initialised_folders(&self.repository);
        let mut arguments = vec!["grep", "-l", "-I", "-E", "-e", IS_APPLICATION, "--"];
        arguments.extend(folders.iter().map(String::as_str));
        let files = self.repository.ask(&arguments)?;
        let text = |file: &str| std::fs::read_to_string(self.repository.top().join(file));
        files.lines().find(|file| text(file).is_ok_and(|text| defines(&text, name))).map(str::to_owned)
    }

    fn log(&self, arguments: &[&str]) -> Option<Commit> {
        let text = self.repository.ask(arguments)?;
        let mut fields = text.split('\0').map(str::to_owned);
        let commit =
            Commit { id: fields.next()?, author: fields.next()?, date: fields.next()?, subject: fields.next()? };
        (!commit.id.is_empty()).then_some(commit)
    }
}

/// One commit of a log, and the files in it.
fn change(text: &str) -> Option<Change> {
    let mut fields = text.splitn(5, '\u{1f}');
    let mut field = || fields.next().map(str::to_owned);
    let commit = Commit { id: field()?, author: field()?, date: field()?, subject: field()? };
    let files = field()?.split(['\0', '\n']).filter(|file| !file.is_empty()).map(str::to_owned).collect();
    Some(Change { commit, files })
}

/// Whether a file has the manifest of an Application.
fn defines(text: &str, name: &str) -> bool {
    let documents = yaml::read_documents(text, &yaml::Limits::default()).unwrap_or_default();
    documents.iter().any(|document| {
        text_at(&document.value, &["kind"]) == Some("Application")
            && text_at(&document.value, &["metadata", "name"]) == Some(name)
    })
}

const FORMAT: &str = "--format=%h%x00%an%x00%aI%x00%s";

/// The folders whose placeholders were put in; everything, where that was never done: what stands elsewhere in a
/// repository, such as what its tests read, is not what an agent reads.
pub(crate) fn initialised_folders(repository: &Repository) -> Vec<String> {
    let state = state_file::load(repository).unwrap_or_default();
    let folders: BTreeSet<String> =
        state.initialised.iter().flat_map(|section| section.folders.iter().chain(&section.also)).cloned().collect();
    if folders.is_empty() { vec![".".to_owned()] } else { folders.into_iter().collect() }
}

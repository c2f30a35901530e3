//! What a commit holds, what differs between two, and what the work tree has that no commit has.

use std::collections::{BTreeMap, HashSet};

use super::{GitError, Repository};

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As Git writes it: `100644`, `100755`, `120000`, `160000`.
    pub(crate) mode: String,
    pub(crate) id: String,
}

impl Entry {
    /// Whether it is a file with content of its own: no link, no submodule.
    pub(crate) fn is_file(&self) -> bool {
        self.mode.starts_with("100")
    }
}

/// The files of a tree by their paths.
pub(crate) type TreeFiles = BTreeMap<String, Entry>;

/// One file that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// `A`dded, `D`eleted, `M`odified, `R`enamed, `T` for another type.
    pub(crate) kind: char,
    pub(crate) path: String,
    /// Where a renamed file was.
    pub(crate) from: Option<String>,
}

impl Repository {
    /// The files of a commit or tree below the paths; all of them for no path. A path that is not UTF-8 is
    /// not among them.
    pub(crate) fn files(&self, tree: &str, paths: &[String]) -> Result<TreeFiles, GitError> {
        let mut arguments = vec!["ls-tree", "-r", "-z", "--full-tree", tree, "--"];
        arguments.extend(paths.iter().filter(|path| *path != ".").map(String::as_str));
        let output = self.run(&arguments)?;
        let entries = output.split(|byte| *byte == 0).filter_map(|line| {
            // `100644 blob ID\tPATH`
            let line = std::str::from_utf8(line).ok()?;
            let (entry, path) = line.split_once('\t')?;
            let mut words = entry.split(' ');
            let (mode, id) = (words.next()?.to_owned(), words.nth(1)?.to_owned());
            Some((path.to_owned(), Entry { mode, id }))
        });
        Ok(entries.collect())
    }

    /// The paths, below those given, at which the work tree has something that the last commit has not:
    /// modified, staged, untracked, also when it is ignored.
    pub(crate) fn uncommitted(&self, paths: &[String]) -> Result<HashSet<String>, GitError> {
        let mut arguments = vec!["status", "--porcelain=v1", "-z", "--untracked-files=all", "--ignored=traditional"];
        arguments.extend(["--no-renames", "--ignore-submodules=all", "--"]);
        arguments.extend(paths.iter().map(String::as_str));
        let output = self.run(&arguments)?;
        let lines = output.split(|byte| *byte == 0).filter(|line| line.len() > 3);
        Ok(lines.filter_map(|line| Some(std::str::from_utf8(&line[3..]).ok()?.to_owned())).collect())
    }

    /// What differs between two trees, with renames; with no second tree, between one and the work tree.
    pub(crate) fn changes(&self, from: &str, to: Option<&str>, paths: &[String]) -> Result<Vec<Change>, GitError> {
        let mut arguments = vec!["diff", "--name-status", "--find-renames", "--no-ext-diff", "-z"];
        arguments.extend(["--ignore-submodules=all", from]);
        arguments.extend(to);
        arguments.push("--");
        arguments.extend(paths.iter().map(String::as_str));
        let output = self.run(&arguments)?;
        let mut fields = output.split(|byte| *byte == 0).map(|field| String::from_utf8_lossy(field).into_owned());
        let mut changes = Vec::new();
        while let Some(kind) = fields.next().and_then(|status| status.chars().next()) {
            let Some(first) = fields.next() else { break };
            let (from, path) = match kind {
                'R' | 'C' => (Some(first), fields.next().unwrap_or_default()),
                _ => (None, first),
            };
            changes.push(Change { kind, path, from });
        }
        Ok(changes)
    }

    /// Makes a tree of another one: paths with their new entries, or with none for those that go.
    pub(crate) fn tree_with(&self, tree: &str, changes: &[(String, Option<Entry>)]) -> Result<String, GitError> {
        let folder = tempfile::tempdir_in(self.git_folder()?).map_err(GitError::Start)?;
        let index = folder.path().join("index");
        self.run_on(&index, &["read-tree", tree], b"")?;
        let mut lines = Vec::new();
        for (path, entry) in changes {
            let line = match entry {
                Some(Entry { mode, id }) => format!("{mode} {id}\t{path}\0"),
                None => format!("0 {}\t{path}\0", "0".repeat(40)),
            };
            lines.extend_from_slice(line.as_bytes());
        }
        self.run_on(&index, &["update-index", "-z", "--index-info"], &lines)?;
        let id = self.run_on(&index, &["write-tree"], b"")?;
        Ok(String::from_utf8_lossy(&id).trim().to_owned())
    }
}

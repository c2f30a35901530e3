//! Which paths differ between two commits.

use std::cmp::Ordering;

use git2::{Oid, Repository, Tree as RawTree, TreeEntry as RawEntry};
use gitmoor_core::tree::RepoPath;

/// Mode of a folder in a tree.
pub(super) const FOLDER: i32 = 0o040_000;
/// Folders and paths looked at before the answer is "everything may have changed": a few trees of a few objects can
/// stand for more paths than any machine has memory for.
const MOST: usize = 1_000_000;
/// The longest path that is followed, in bytes; what the system's own limit is.
const LONGEST: usize = 4096;

/// Paths of files, links and submodules that differ, on both sides, without rename detection; `None` above
/// [`MOST`].
///
/// Equal folders are skipped by their id, so the cost is that of the folders with changes in them. A name that no
/// [`RepoPath`] can hold stands for its folder.
pub(super) fn changed_paths(repository: &Repository, old: Oid, new: Oid) -> Result<Option<Vec<RepoPath>>, git2::Error> {
    let tree = |commit: Oid| repository.find_commit(commit).map(|commit| commit.tree_id());
    changed_between(repository, tree(old)?, tree(new)?)
}

/// The same between two trees.
pub(super) fn changed_between(
    repository: &Repository,
    old: Oid,
    new: Oid,
) -> Result<Option<Vec<RepoPath>>, git2::Error> {
    let mut walk = Walk { repository, changed: Vec::new(), pending: Vec::new() };
    walk.pending.push((RepoPath::root(), Some(old), Some(new)));
    let mut visited = 0_usize;
    while let Some((path, old, new)) = walk.pending.pop() {
        visited += 1;
        if visited + walk.pending.len() + walk.changed.len() > MOST {
            return Ok(None);
        }
        if old != new {
            walk.compare(&path, old, new)?;
        }
    }
    walk.changed.sort_unstable();
    walk.changed.dedup();
    Ok(Some(walk.changed))
}

struct Walk<'a> {
    repository: &'a Repository,
    changed: Vec<RepoPath>,
    /// Folders that differ. A list and not recursion: a hostile tree can be deeper than any stack.
    pending: Vec<(RepoPath, Option<Oid>, Option<Oid>)>,
}

impl Walk<'_> {
    /// Merges the entries of two folders, both in Git's order, where a folder sorts as if its name ended in `/`.
    fn compare(&mut self, at: &RepoPath, old: Option<Oid>, new: Option<Oid>) -> Result<(), git2::Error> {
        let tree = |id: Option<Oid>| id.map(|id| self.repository.find_tree(id)).transpose();
        let (old, new) = (tree(old)?, tree(new)?);
        let mut old = old.iter().flat_map(RawTree::iter).peekable();
        let mut new = new.iter().flat_map(RawTree::iter).peekable();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => sort_key(old).cmp(sort_key(new)),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            self.entry(at, before.as_ref(), after.as_ref());
        }
    }

    /// Compares what stands under one name; both sides are folders, or neither is.
    fn entry(&mut self, at: &RepoPath, old: Option<&RawEntry<'_>>, new: Option<&RawEntry<'_>>) {
        let state = |entry: Option<&RawEntry<'_>>| entry.map(|entry| (entry.id(), entry.filemode()));
        let Some(entry) = old.or(new).filter(|_| state(old) != state(new)) else {
            return;
        };
        match entry.name().ok().and_then(|name| child(at, name)) {
            Some(path) if entry.filemode() == FOLDER => {
                self.pending.push((path, old.map(RawEntry::id), new.map(RawEntry::id)));
            }
            Some(path) => self.changed.push(path),
            None => self.changed.push(at.clone()),
        }
    }
}

/// The path of `name` in `folder`, when the name is one that a path can hold.
pub(super) fn child(folder: &RepoPath, name: &str) -> Option<RepoPath> {
    let plain = !matches!(name, "" | "." | "..") && !name.contains('/');
    let fits = folder.as_str().len() + name.len() < LONGEST;
    if plain && fits { folder.join(name) } else { None }
}

fn sort_key<'a>(entry: &'a RawEntry<'_>) -> impl Iterator<Item = u8> + use<'a> {
    let slash = (entry.filemode() == FOLDER).then_some(b'/');
    entry.name_bytes().iter().copied().chain(slash)
}

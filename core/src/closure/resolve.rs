//! What a path leads to, links followed one step at a time as the file system would after a checkout.

use crate::tree::{EntryKind, RepoPath, Tree, TreeEntry, TreeError};

/// As many links as Linux follows in one path.
const MOST_LINKS: usize = 40;
/// Longest target of a link (`PATH_MAX`).
const LONGEST_TARGET: usize = 4096;

/// A link that was followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStep {
    /// Where the link stands.
    pub path: RepoPath,
    /// Its Git object id.
    pub id: String,
    /// Where it points to.
    pub target: String,
}

/// Where a path ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At a file; no part of this path is a link.
    File(RepoPath, TreeEntry),
    /// At a folder; no part of this path is a link.
    Folder(RepoPath),
    /// Nowhere: this is the first part that is not there.
    Missing(RepoPath),
}

/// The way and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The links on the way, in order.
    pub links: Vec<LinkStep>,
    /// Where it ends.
    pub end: End,
}

/// The way leads to where it must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// A link is absolute, leaves the repository, or loops.
    Link {
        /// The link.
        link: RepoPath,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A part of the path is a submodule.
    Submodule(RepoPath),
    /// The repository could not be read.
    Tree(TreeError),
}

impl From<TreeError> for ResolveError {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

/// Follows `path` through `tree`. `..` in the target of a link goes up from where the link really stands.
pub fn resolve(tree: &dyn Tree, path: &RepoPath) -> Result<Resolution, ResolveError> {
    let mut links: Vec<LinkStep> = Vec::new();
    let mut here = RepoPath::root();
    let mut rest: Vec<String> = parts(path.as_str());
    while let Some(part) = rest.pop() {
        if part == ".." {
            here = up(&here, &links)?;
            continue;
        }
        let Some(next) = here.join(&part) else { return Ok(Resolution { links, end: End::Missing(here) }) };
        let Some(entry) = tree.entry(&next)? else { return Ok(Resolution { links, end: End::Missing(next) }) };
        match entry.kind {
            EntryKind::Folder => here = next,
            EntryKind::Submodule => return Err(ResolveError::Submodule(next)),
            EntryKind::File | EntryKind::Executable => {
                let end = below(&next, &rest).map_or(End::File(next, entry), End::Missing);
                return Ok(Resolution { links, end });
            }
            EntryKind::Link => {
                let step = follow(tree, next, entry, links.len())?;
                rest.extend(parts(&step.target));
                links.push(step);
            }
        }
    }
    Ok(Resolution { links, end: End::Folder(here) })
}

/// The parts of a path, last one first; `.` and empty ones do not count.
fn parts(text: &str) -> Vec<String> {
    text.split('/').rev().filter(|part| !matches!(*part, "" | ".")).map(ToOwned::to_owned).collect()
}

/// The path that a file stands in the way of.
fn below(file: &RepoPath, rest: &[String]) -> Option<RepoPath> {
    rest.last().map(|part| file.join(part).unwrap_or_else(|| file.clone()))
}

fn up(here: &RepoPath, links: &[LinkStep]) -> Result<RepoPath, ResolveError> {
    here.join("..").ok_or_else(|| {
        let link = links.last().map_or_else(RepoPath::root, |step| step.path.clone());
        ResolveError::Link { link, reason: "leaves the repository" }
    })
}

fn follow(tree: &dyn Tree, path: RepoPath, entry: TreeEntry, followed: usize) -> Result<LinkStep, ResolveError> {
    if followed >= MOST_LINKS {
        return Err(ResolveError::Link { link: path, reason: "loops" });
    }
    let target = tree.read(&path, LONGEST_TARGET)?;
    match String::from_utf8(target) {
        Ok(target) if target.starts_with('/') => Err(ResolveError::Link { link: path, reason: "is absolute" }),
        Ok(target) if target.is_empty() || target.contains(['\0', '\\']) => {
            Err(ResolveError::Link { link: path, reason: "has no usable target" })
        }
        Ok(target) => Ok(LinkStep { path, id: entry.id, target }),
        Err(_) => Err(ResolveError::Link { link: path, reason: "has a target that is not UTF-8" }),
    }
}

//! The walk from a folder over all that its kustomization names.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use super::chart::VALUE_FILES;
use super::document::{self, Node};
use super::elsewhere::{Elsewhere, Wanted};
use super::error::{ClosureError, Place, Problem};
use super::members::{Member, ReadSet, SourceKind};
use super::remote::Remotes;
use super::resolve::{End, ResolveError, resolve};
use crate::source::{Recipe, ValueFile};
use crate::tree::{EntryKind, RepoPath, Tree, TreeEntry};

/// How much a repository may make the walk do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Paths in one read-set.
    pub members: usize,
    /// Entries of folders that are looked through for manifests.
    pub entries: usize,
    /// Kustomizations inside each other.
    pub depth: usize,
    /// Bytes of one kustomization or plugin configuration.
    pub document: usize,
    /// Bytes of all of them together.
    pub documents: usize,
    /// Problems that are reported.
    pub problems: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { members: 20_000, entries: 200_000, depth: 64, document: 4 << 20, documents: 32 << 20, problems: 50 }
    }
}

/// The read-set of the folder `path` without options: of its kustomization when it has one, else of its chart, else of
/// its manifest files.
pub fn read_set(tree: &dyn Tree, path: &RepoPath) -> Result<ReadSet, ClosureError> {
    read_set_of(tree, &Recipe::of_folder(path.clone()))
}

/// The read-set of a source. Reads from the tree only kustomizations, plugin configurations, `Chart.yaml` and links.
pub fn read_set_of(tree: &dyn Tree, recipe: &Recipe) -> Result<ReadSet, ClosureError> {
    read_set_within(tree, recipe, &Limits::default())
}

/// As [`read_set_of`], with limits of the caller's.
pub fn read_set_within(tree: &dyn Tree, recipe: &Recipe, limits: &Limits) -> Result<ReadSet, ClosureError> {
    walk(tree, &recipe.path, limits, &Elsewhere::default(), |walk| walk.application(recipe))
}

/// As [`read_set_of`], with what is known of things from elsewhere; or else what has to be known first.
pub fn read_set_with(
    tree: &dyn Tree,
    recipe: &Recipe,
    remotes: &Remotes,
) -> Result<Result<ReadSet, Wanted>, ClosureError> {
    let elsewhere = Elsewhere::new(remotes);
    let read_set = walk(tree, &recipe.path, &Limits::default(), &elsewhere, |walk| walk.application(recipe))?;
    let wanted = elsewhere.wanted();
    Ok(if wanted.is_empty() { Ok(read_set) } else { Err(wanted) })
}

/// The read-set of files that another source uses: field, file, and whether it may be missing.
pub fn read_set_of_files<'f>(
    tree: &dyn Tree,
    files: impl IntoIterator<Item = (&'static str, &'f ValueFile)>,
    ignore_missing: bool,
) -> Result<ReadSet, ClosureError> {
    walk(tree, &RepoPath::root(), &Limits::default(), &Elsewhere::default(), |walk| {
        walk.set.source = SourceKind::Directory;
        files
            .into_iter()
            .try_for_each(|(field, file)| walk.value_file(field, file, ignore_missing && field == VALUE_FILES))
    })
}

fn walk(
    tree: &dyn Tree,
    path: &RepoPath,
    limits: &Limits,
    elsewhere: &Elsewhere<'_>,
    work: impl FnOnce(&mut Walk<'_>) -> Result<(), Stop>,
) -> Result<ReadSet, ClosureError> {
    let mut walk = Walk::new(tree, path, limits, elsewhere);
    if let Err(Stop) = work(&mut walk) {
        walk.problems.truncate(limits.problems.max(1));
    }
    if walk.problems.is_empty() {
        return Ok(walk.set);
    }
    Err(ClosureError { problems: walk.problems, read_set: Box::new(walk.set) })
}

/// A limit is reached or the repository cannot be read: nothing more can be found out. The problem is noted already.
pub(super) struct Stop;

pub(super) struct Walk<'t> {
    pub(super) tree: &'t dyn Tree,
    pub(super) limits: &'t Limits,
    pub(super) elsewhere: &'t Elsewhere<'t>,
    pub(super) set: ReadSet,
    pub(super) problems: Vec<Problem>,
    /// The kustomizations, or charts, that lead to the one at work, outermost first.
    pub(super) roots: Vec<RepoPath>,
    /// What need not be walked again: a folder, and whose plugin configurations it holds.
    pub(super) walked: HashSet<(RepoPath, Option<RepoPath>)>,
    /// Bytes of documents read.
    read: usize,
    /// Entries of folders looked at.
    pub(super) looked: usize,
}

/// Where a path is named, for messages.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) at: Place,
    pub(super) field: &'static str,
}

impl<'t> Walk<'t> {
    pub(super) fn new(tree: &'t dyn Tree, path: &RepoPath, limits: &'t Limits, elsewhere: &'t Elsewhere<'t>) -> Self {
        let (path, members, remotes) = (path.clone(), BTreeMap::new(), Vec::new());
        let set = ReadSet { path, source: SourceKind::Kustomize, members, remotes, charts: false };
        let (problems, roots, walked) = (Vec::new(), Vec::new(), HashSet::new());
        Self { tree, limits, elsewhere, set, problems, roots, walked, read: 0, looked: 0 }
    }
}

impl Walk<'_> {
    fn application(&mut self, recipe: &Recipe) -> Result<(), Stop> {
        let path = self.set.path.clone();
        match self.resolve(&path)? {
            None => Ok(()),
            Some(End::Missing(_)) => self.problem(Problem::PathNotFound { path }),
            Some(End::File(file, entry)) => {
                self.file(file, entry)?;
                self.problem(Problem::NotAFolder { path })
            }
            Some(End::Folder(folder)) => self.folder(&folder, recipe),
        }
    }

    /// As Argo CD finds it out: what has options, else a kustomization, else a chart, else plain files.
    fn folder(&mut self, folder: &RepoPath, recipe: &Recipe) -> Result<(), Stop> {
        let wanted = |kind| recipe.explicit.is_none_or(|explicit| explicit == kind);
        if wanted(SourceKind::Kustomize) && self.kustomization(folder, None)? {
            return self.kustomize_options(folder, &recipe.kustomize);
        }
        if recipe.explicit == Some(SourceKind::Kustomize) {
            let field = "spec.source.kustomize".to_owned();
            return self.problem(Problem::NotWhatIsAskedFor {
                path: folder.clone(),
                field,
                what: "kustomization.yaml",
            });
        }
        if recipe.explicit == Some(SourceKind::Helm) || (wanted(SourceKind::Helm) && self.is_chart(folder)?) {
            self.set.source = SourceKind::Helm;
            return self.chart(folder, &recipe.helm);
        }
        self.set.source = SourceKind::Directory;
        self.directory(folder, &recipe.directory)
    }

    /// The documents of a file; `None` after noting why they cannot be read.
    pub(super) fn documents(&mut self, file: &RepoPath, first_only: bool) -> Result<Option<Vec<Rc<Node>>>, Stop> {
        let bytes = match self.tree.read(file, self.limits.document) {
            Ok(bytes) => bytes,
            Err(error) => return self.stop(Problem::Tree(error)),
        };
        self.read += bytes.len();
        if self.read > self.limits.documents {
            return self.too_large(file, "kustomizations are too large together", self.limits.documents);
        }
        let read = String::from_utf8(bytes)
            .map_err(|_| document::Unreadable { line: None, reason: "it is not UTF-8".into() })
            .and_then(|text| document::read(&text, first_only));
        match read {
            Ok(documents) => Ok(Some(documents)),
            Err(document::Unreadable { line, reason }) => {
                self.problem(Problem::Unreadable { at: Place { file: file.clone(), line }, reason })?;
                Ok(None)
            }
        }
    }

    pub(super) fn joined(&mut self, folder: &RepoPath, text: &str, named: &Named) -> Result<Option<RepoPath>, Stop> {
        let path = folder.join(text);
        if path.is_none() {
            let Named { at, field } = named.clone();
            self.problem(Problem::Outside { at, field, text: text.to_owned() })?;
        }
        Ok(path)
    }

    /// Follows a path and notes the links on it, and what is missing; `None` after noting a problem.
    pub(super) fn resolve(&mut self, path: &RepoPath) -> Result<Option<End>, Stop> {
        match resolve(self.tree, path) {
            Ok(resolution) => {
                for link in resolution.links {
                    self.member(link.path, Member::Link { id: link.id, target: link.target })?;
                }
                if let End::Missing(missing) = &resolution.end {
                    self.member(missing.clone(), Member::Absent)?;
                }
                Ok(Some(resolution.end))
            }
            Err(error) => {
                let problem = match error {
                    ResolveError::Link { link, reason } => {
                        self.member(link.clone(), Member::Absent)?;
                        Problem::Link { link, reason }
                    }
                    ResolveError::Submodule(path) => {
                        self.member(path.clone(), Member::Absent)?;
                        Problem::Submodule { path }
                    }
                    ResolveError::Tree(error) => return self.stop(Problem::Tree(error)),
                };
                self.problem(problem)?;
                Ok(None)
            }
        }
    }

    pub(super) fn file(&mut self, path: RepoPath, entry: TreeEntry) -> Result<(), Stop> {
        let executable = entry.kind == EntryKind::Executable;
        self.member(path, Member::File { id: entry.id, executable })
    }

    pub(super) fn member(&mut self, path: RepoPath, member: Member) -> Result<(), Stop> {
        if self.set.members.len() >= self.limits.members && !self.set.members.contains_key(&path) {
            return self.too_large(&path, "the application reads too many files", self.limits.members);
        }
        // What was read outweighs that it was looked for under another guise.
        if member == Member::Absent {
            self.set.members.entry(path).or_insert(member);
        } else {
            self.set.members.insert(path, member);
        }
        Ok(())
    }

    pub(super) fn missing(&mut self, path: RepoPath, named: &Named) -> Result<(), Stop> {
        let Named { at, field } = named.clone();
        self.problem(Problem::Missing { at, field, path })
    }

    pub(super) fn problem(&mut self, problem: Problem) -> Result<(), Stop> {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
        if self.problems.len() >= self.limits.problems { Err(Stop) } else { Ok(()) }
    }

    pub(super) fn too_large<T>(&mut self, path: &RepoPath, what: &'static str, limit: usize) -> Result<T, Stop> {
        self.stop(Problem::TooLarge { path: path.clone(), what, limit })
    }

    pub(super) fn stop<T>(&mut self, problem: Problem) -> Result<T, Stop> {
        // First, so that it is not cut off with the rest.
        self.problems.insert(0, problem);
        Err(Stop)
    }
}

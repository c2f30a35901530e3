//! Writes what a render may read into a folder of its own: the same layout, and nothing else.
//!
//! # Guarantees
//! - Nothing is written through a link: every file and folder is made anew (`create_new`), so an entry that stands in
//!   the way is an error, even in a repository whose trees name the same thing twice.
//! - A link is made only when all that it leads to lies inside the repository.
//! - The folder goes when its [`Checkout`] does.
//!
//! Nothing is synced to disk: the folder lives for one build. Blocking; meant for `spawn_blocking`.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use gitmoor_core::closure::{Member, ReadSet, RemoteContent, RemoteReference, Remotes, ResolveError, resolve};
use gitmoor_core::tree::{EntryKind, RepoPath, Tree, TreeEntry, TreeError};
use tempfile::TempDir;

use crate::layout::{Entry, Layout};

/// How much may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files and links.
    pub files: usize,
    /// Bytes of one file.
    pub file: usize,
    /// Bytes of all files together.
    pub total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { files: 100_000, file: 32 << 20, total: 512 << 20 }
    }
}

/// Why the folder could not be written.
#[derive(Debug, thiserror::Error)]
pub enum MaterialiseError {
    /// The repository could not be read, or a file in it is too large.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// There is too much to write.
    #[error("{path}: {what} (limit {limit}); split the application")]
    TooLarge {
        /// Where it was noticed.
        path: RepoPath,
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// An entry of the tree has a name that is no file name.
    #[error("{folder} has an entry named {name:?}, which is not a file name; remove it from the repository")]
    Name {
        /// The folder.
        folder: RepoPath,
        /// The name.
        name: String,
    },
    /// The file system would not have it.
    #[error("cannot write {path} to the scratch folder")]
    Io {
        /// Path in the repository.
        path: RepoPath,
        /// What the system said.
        source: io::Error,
    },
}

/// A part of a repository at one commit as files, removed when this is dropped.
#[derive(Debug)]
pub struct Checkout {
    /// Removes the folder.
    _removal: TempDir,
    /// Without links, as a program would print it.
    real: PathBuf,
    /// What stands here in place of addresses in options of the Application.
    instead: BTreeMap<String, String>,
}

impl Checkout {
    /// The folder that stands for the root of the repository: absolute, without links.
    pub fn root(&self) -> &Path {
        &self.real
    }

    /// Where a path of the repository is.
    pub fn path_of(&self, path: &RepoPath) -> PathBuf {
        // An empty part would add a slash to the end.
        if path.as_str().is_empty() { self.real.clone() } else { self.real.join(path.as_str()) }
    }

    /// A path or address of an option of the Application, as it is to be read here.
    pub(crate) fn instead(&self, text: &str) -> String {
        self.instead.get(text).map_or_else(|| text.to_owned(), Clone::clone)
    }

    /// Makes sure that a folder is there, also when no member lies in it.
    fn make_folder(&self, made: &mut HashSet<RepoPath>, path: &RepoPath) -> Result<(), MaterialiseError> {
        if path.as_str().is_empty() || made.contains(path) {
            return Ok(());
        }
        self.make_folder(made, &path.parent())?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(self.path_of(path))
            .map_err(|source| MaterialiseError::Io { path: path.clone(), source })?;
        made.insert(path.clone());
        Ok(())
    }
}

/// Writes the members of a read-set into a new folder below `scratch`, without anything from elsewhere.
pub fn read_set(tree: &dyn Tree, set: &ReadSet, scratch: &Path, limits: &Limits) -> Result<Checkout, MaterialiseError> {
    let mut writer = Writer::new(scratch, limits)?;
    writer.members(&From::whole(tree), &set.members)?;
    Ok(writer.checkout)
}

/// As [`read_set`], or [`whole_tree`], and what the read-set uses from elsewhere beside it: the entries that name it
/// name the files here.
pub fn with_remotes(
    (tree, whole): (&dyn Tree, bool),
    (set, remotes): (&ReadSet, &Remotes),
    scratch: &Path,
    limits: &Limits,
) -> Result<Checkout, MaterialiseError> {
    let mut writer = Writer::new(scratch, limits)?;
    if whole {
        writer.everything(&From::whole(tree))?;
    } else {
        writer.members(&From::whole(tree), &set.members)?;
    }
    writer.elsewhere(set, remotes)?;
    Ok(writer.checkout)
}

/// Writes the whole tree into a new folder below `scratch`. Submodules, and links that lead out of the repository, are
/// left out.
pub fn whole_tree(tree: &dyn Tree, scratch: &Path, limits: &Limits) -> Result<Checkout, MaterialiseError> {
    let mut writer = Writer::new(scratch, limits)?;
    writer.everything(&From::whole(tree))?;
    Ok(writer.checkout)
}

/// The path of an entry, if its name is one.
fn child(folder: &RepoPath, name: &str) -> Result<RepoPath, MaterialiseError> {
    let path = folder.join(name).filter(|_| !name.contains('/') && !matches!(name, "" | "." | ".."));
    path.ok_or_else(|| MaterialiseError::Name { folder: folder.clone(), name: name.to_owned() })
}

fn not_there(reference: &RemoteReference) -> MaterialiseError {
    TreeError::unreadable(&RepoPath::root(), format!("{reference} is no longer there")).into()
}

/// A tree, and where its root is in the checkout.
struct From<'t> {
    tree: &'t dyn Tree,
    below: RepoPath,
}

impl<'t> From<'t> {
    fn whole(tree: &'t dyn Tree) -> Self {
        Self { tree, below: RepoPath::root() }
    }

    fn place(&self, path: &RepoPath) -> RepoPath {
        self.below.join(path.as_str()).unwrap_or_default()
    }
}

struct Writer<'l> {
    limits: &'l Limits,
    checkout: Checkout,
    made: HashSet<RepoPath>,
    files: usize,
    total: usize,
}

impl<'l> Writer<'l> {
    fn new(scratch: &Path, limits: &'l Limits) -> Result<Self, MaterialiseError> {
        let make = || {
            let folder = tempfile::Builder::new().prefix("render-").tempdir_in(scratch)?;
            let real = folder.path().canonicalize()?;
            Ok(Checkout { _removal: folder, real, instead: BTreeMap::new() })
        };
        let checkout = make().map_err(|source| MaterialiseError::Io { path: RepoPath::root(), source })?;
        Ok(Self { limits, checkout, made: HashSet::new(), files: 0, total: 0 })
    }

    fn members(&mut self, from: &From<'_>, members: &BTreeMap<RepoPath, Member>) -> Result<(), MaterialiseError> {
        for (path, member) in members {
            match member {
                Member::File { id: _, executable } => self.file(from, path, *executable)?,
                Member::Link { id: _, target } => self.link(from, path, target)?,
                Member::Listing { digest: _ } | Member::Folder | Member::Absent => {}
            }
        }
        Ok(())
    }

    fn everything(&mut self, from: &From<'_>) -> Result<(), MaterialiseError> {
        let mut folders = vec![RepoPath::root()];
        while let Some(folder) = folders.pop() {
            for (name, entry) in from.tree.list(&folder)? {
                let path = child(&folder, &name)?;
                if entry.kind == EntryKind::Folder {
                    self.count(&path, 0)?;
                    self.checkout.make_folder(&mut self.made, &from.place(&path))?;
                    folders.push(path);
                } else {
                    self.entry(from, &path, &entry)?;
                }
            }
        }
        Ok(())
    }

    /// Trees and files from elsewhere, and the entries that name them.
    fn elsewhere(&mut self, set: &ReadSet, remotes: &Remotes) -> Result<(), MaterialiseError> {
        let layout = Layout::of(set);
        for (below, (reference, members)) in layout.trees {
            let Some(RemoteContent::Tree { tree, .. }) = remotes.0.get(&reference) else {
                return Err(not_there(&reference));
            };
            let tree = tree.open()?;
            self.members(&From { tree: &*tree, below }, &members)?;
        }
        for (path, reference) in &layout.files {
            let Some(RemoteContent::File { bytes, .. }) = remotes.0.get(reference) else {
                return Err(not_there(reference));
            };
            self.count(path, bytes.len())?;
            self.write(path, bytes, false)?;
        }
        for (file, entries) in &layout.entries {
            self.rewrite(file, entries)?;
        }
        self.checkout.instead = layout.options;
        Ok(())
    }

    /// Puts other texts in place of entries of a file.
    fn rewrite(&self, file: &RepoPath, entries: &[Entry]) -> Result<(), MaterialiseError> {
        let io = |source| MaterialiseError::Io { path: file.clone(), source };
        let at = self.checkout.path_of(file);
        let text = fs::read_to_string(&at).map_err(io)?;
        let (mut rewritten, mut end) = (String::with_capacity(text.len()), 0);
        for (range, instead) in entries {
            let Some(kept) = text.get(end..range.start).filter(|_| range.start >= end) else {
                let reason = "it is read as two kustomizations that need other paths in it; copy it";
                return Err(TreeError::invalid(file, reason).into());
            };
            rewritten += kept;
            rewritten += &serde_json::Value::from(instead.as_str()).to_string();
            end = range.end;
        }
        rewritten += text.get(end..).unwrap_or_default();
        fs::write(&at, rewritten).map_err(io)
    }

    fn entry(&mut self, from: &From<'_>, path: &RepoPath, entry: &TreeEntry) -> Result<(), MaterialiseError> {
        match entry.kind {
            EntryKind::File => self.file(from, path, false),
            EntryKind::Executable => self.file(from, path, true),
            EntryKind::Link => match String::from_utf8(from.tree.read(path, 4096)?) {
                Ok(target) => self.link(from, path, &target),
                Err(_) => Ok(()),
            },
            EntryKind::Folder | EntryKind::Submodule => Ok(()),
        }
    }

    fn file(&mut self, from: &From<'_>, path: &RepoPath, executable: bool) -> Result<(), MaterialiseError> {
        let bytes = from.tree.read(path, self.limits.file)?;
        self.count(path, bytes.len())?;
        self.write(&from.place(path), &bytes, executable)
    }

    fn write(&mut self, path: &RepoPath, bytes: &[u8], executable: bool) -> Result<(), MaterialiseError> {
        self.checkout.make_folder(&mut self.made, &path.parent())?;
        let mode = if executable { 0o700 } else { 0o600 };
        let at = self.checkout.path_of(path);
        let write = || OpenOptions::new().write(true).create_new(true).mode(mode).open(at)?.write_all(bytes);
        write().map_err(|source| MaterialiseError::Io { path: path.clone(), source })
    }

    /// Makes the link, unless it leads where it must not.
    fn link(&mut self, from: &From<'_>, path: &RepoPath, target: &str) -> Result<(), MaterialiseError> {
        match resolve(from.tree, path) {
            Ok(_) => {}
            Err(ResolveError::Link { .. } | ResolveError::Submodule(_)) => return Ok(()),
            Err(ResolveError::Tree(error)) => return Err(error.into()),
        }
        self.count(path, target.len())?;
        let path = from.place(path);
        self.checkout.make_folder(&mut self.made, &path.parent())?;
        symlink(target, self.checkout.path_of(&path)).map_err(|source| MaterialiseError::Io { path, source })
    }

    fn count(&mut self, path: &RepoPath, bytes: usize) -> Result<(), MaterialiseError> {
        self.files += 1;
        self.total += bytes;
        let too_large = |what, limit| Err(MaterialiseError::TooLarge { path: path.clone(), what, limit });
        if self.files > self.limits.files {
            return too_large("there are too many files", self.limits.files);
        }
        if self.total > self.limits.total {
            return too_large("the files have too many bytes together", self.limits.total);
        }
        Ok(())
    }
}

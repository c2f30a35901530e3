//! A folder of this machine as a repository's tree: what a commit of it would hold.
//!
//! # Guarantees
//! - Nothing outside the folder is read: links are entries, never followed, and neither is a link to a folder on the way.
//! - `.git` is not part of it, and neither is what `.gitignore` excludes (unless it is committed all the same).
//! - A file is read once for its id; ids are the SHA-256 of Git's form of an object, so equal content has equal ids.
//!
//! # Assumptions
//! Nobody writes to the folder while it is used. Names that are not UTF-8 are left out: no manifest can name them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use git2::Repository;
use gitmoor_core::template::{Matcher, substitute};
use gitmoor_core::tree::{EntryKind, RepoPath, Tree, TreeEntry, TreeError};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

/// Files above this are no part of a render; their id is not computed.
const LARGEST_FILE: usize = 64 << 20;

/// The tree of a folder.
pub struct WorkFolder {
    root: PathBuf,
    repository: Option<Repository>,
    ids: RefCell<HashMap<RepoPath, String>>,
}

impl WorkFolder {
    /// The work tree of the Git repository that holds `folder`; where there is none, the folder above `folder`.
    /// Gives also the path of `folder` in it.
    ///
    /// # Errors
    /// When `folder` is not there, or is no folder.
    pub fn around(folder: &Path) -> io::Result<(Self, RepoPath)> {
        let folder = folder.canonicalize()?;
        if !folder.is_dir() {
            return Err(io::Error::other("not a folder"));
        }
        let repository = Repository::discover(&folder).ok();
        let work_tree = repository.as_ref().and_then(Repository::workdir).and_then(|path| path.canonicalize().ok());
        let root = work_tree.unwrap_or_else(|| folder.parent().unwrap_or(&folder).to_owned());
        let inner = folder.strip_prefix(&root).ok().and_then(Path::to_str).unwrap_or_default();
        let path = RepoPath::root().join(inner).unwrap_or_default();
        Ok((Self { root, repository, ids: RefCell::default() }, path))
    }

    /// Where a path of the tree is.
    pub fn path_of(&self, path: &RepoPath) -> PathBuf {
        if path.as_str().is_empty() { self.root.clone() } else { self.root.join(path.as_str()) }
    }

    /// What stands at the path, when everything above it is a folder.
    fn find(&self, path: &RepoPath) -> Result<Option<Metadata>, TreeError> {
        let mut at = self.root.clone();
        let mut found = at.symlink_metadata().map_err(|error| failure(path, &error))?;
        for name in path.as_str().split('/').filter(|name| !name.is_empty()) {
            if !found.is_dir() || name == ".git" {
                return Ok(None);
            }
            at.push(name);
            found = match at.symlink_metadata() {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failure(path, &error)),
            };
        }
        Ok(if self.is_ignored(path, &found) { None } else { Some(found) })
    }

    fn is_ignored(&self, path: &RepoPath, found: &Metadata) -> bool {
        let Some(repository) = self.repository.as_ref().filter(|_| !path.as_str().is_empty()) else { return false };
        // With the slash, patterns that mean folders only fit.
        let name = if found.is_dir() { format!("{path}/") } else { path.to_string() };
        repository.is_path_ignored(&name).unwrap_or(false) && !self.is_committed(path)
    }

    fn is_committed(&self, path: &RepoPath) -> bool {
        let Some(index) = self.repository.as_ref().and_then(|repository| repository.index().ok()) else { return false };
        index.get_path(Path::new(path.as_str()), 0).is_some() || index.find_prefix(format!("{path}/")).is_ok()
    }

    fn describe(&self, path: &RepoPath, found: &Metadata) -> Result<Option<TreeEntry>, TreeError> {
        let Some(kind) = kind(found) else { return Ok(None) };
        if let Some(id) = self.ids.borrow().get(path) {
            return Ok(Some(TreeEntry { kind, id: id.clone() }));
        }
        let id = match kind {
            EntryKind::Folder => self.folder_id(path)?,
            EntryKind::File if found.len() > LARGEST_FILE as u64 => {
                object_id("blob", found.len().to_string().as_bytes())
            }
            _ => object_id("blob", &self.content(path, kind, usize::MAX)?),
        };
        self.ids.borrow_mut().insert(path.clone(), id.clone());
        Ok(Some(TreeEntry { kind, id }))
    }

    /// Over the names alone: a folder's id stands for the whole of it only in a commit, and to read every file below for
    /// it would be far too much in a folder in which people work.
    fn folder_id(&self, path: &RepoPath) -> Result<String, TreeError> {
        let mut text = String::new();
        for name in self.names(path)? {
            let _ = writeln!(text, "{name}");
        }
        Ok(object_id("tree", text.as_bytes()))
    }

    fn names(&self, path: &RepoPath) -> Result<Vec<String>, TreeError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path_of(path)).map_err(|error| failure(path, &error))? {
            let name = entry.map_err(|error| failure(path, &error))?.file_name();
            names.extend(name.to_str().filter(|name| *name != ".git" && !name.contains('\\')).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    fn content(&self, path: &RepoPath, kind: EntryKind, limit: usize) -> Result<Vec<u8>, TreeError> {
        let at = self.path_of(path);
        if kind == EntryKind::Link {
            let target = fs::read_link(at).map_err(|error| failure(path, &error))?;
            return Ok(target.as_os_str().as_bytes().to_vec());
        }
        let read = || {
            let no_follow = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
            let file: File = OpenOptions::new().read(true).custom_flags(no_follow).open(at)?;
            let mut bytes = Vec::new();
            file.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| failure(path, &error))?;
        if bytes.len() > limit {
            return Err(TreeError::too_large(path, limit));
        }
        Ok(bytes)
    }
}

impl Tree for WorkFolder {
    fn entry(&self, path: &RepoPath) -> Result<Option<TreeEntry>, TreeError> {
        match self.find(path)? {
            Some(found) => self.describe(path, &found),
            None => Ok(None),
        }
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<(String, TreeEntry)>, TreeError> {
        let Some(found) = self.find(path)? else { return Ok(Vec::new()) };
        if !found.is_dir() {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        for name in self.names(path)? {
            let Some(child) = path.join(&name) else { continue };
            entries.extend(self.entry(&child)?.map(|entry| (name, entry)));
        }
        Ok(entries)
    }

    fn read(&self, path: &RepoPath, limit: usize) -> Result<Vec<u8>, TreeError> {
        match self.find(path)?.as_ref().and_then(kind) {
            None => Err(reason(path, "it does not exist".to_owned())),
            Some(EntryKind::Folder | EntryKind::Submodule) => Err(reason(path, "it is a folder".to_owned())),
            Some(kind) => self.content(path, kind, limit),
        }
    }
}

/// A tree whose files have values in place of their placeholders, as `gitmoor init` would write them.
pub struct Substituted<T> {
    tree: T,
    matcher: Matcher,
}

impl<T> Substituted<T> {
    /// Reads `tree` through `matcher`. Ids stay those of the files as they are.
    pub fn new(tree: T, matcher: Matcher) -> Self {
        Self { tree, matcher }
    }
}

impl<T: Tree> Tree for Substituted<T> {
    fn entry(&self, path: &RepoPath) -> Result<Option<TreeEntry>, TreeError> {
        self.tree.entry(path)
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<(String, TreeEntry)>, TreeError> {
        self.tree.list(path)
    }

    fn read(&self, path: &RepoPath, limit: usize) -> Result<Vec<u8>, TreeError> {
        let text = self.tree.read(path, limit)?;
        Ok(substitute(&text, &self.matcher).text.into_owned())
    }
}

fn kind(found: &Metadata) -> Option<EntryKind> {
    let kind = found.file_type();
    if kind.is_symlink() {
        Some(EntryKind::Link)
    } else if kind.is_dir() {
        Some(EntryKind::Folder)
    } else if !kind.is_file() {
        None
    } else if found.permissions().mode() & 0o100 != 0 {
        Some(EntryKind::Executable)
    } else {
        Some(EntryKind::File)
    }
}

fn object_id(kind: &str, content: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update(format!("{kind} {}\0", content.len()));
    digest.update(content);
    digest.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn failure(path: &RepoPath, error: &io::Error) -> TreeError {
    reason(path, error.to_string())
}

fn reason(path: &RepoPath, reason: String) -> TreeError {
    TreeError::unreadable(path, reason)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::root().join(text).unwrap()
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let at = root.path().join(name);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, text).unwrap();
        }
        root
    }

    fn names(tree: &impl Tree, at: &str) -> Vec<String> {
        tree.list(&path(at)).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn it_holds_what_a_commit_would_hold() {
        let root = folder(&[
            ("distribution/a.yaml", "a: 1\n"),
            ("distribution/b/c.yaml", "c: 1\n"),
            ("distribution/out/made.yaml", ""),
            ("distribution/forced.log", ""),
            ("distribution/other.log", ""),
            (".gitignore", "out/\n*.log\n"),
        ]);
        let repository = Repository::init(root.path()).unwrap();
        let mut index = repository.index().unwrap();
        index.add_path(Path::new("distribution/forced.log")).unwrap();
        index.write().unwrap();
        let (tree, at) = WorkFolder::around(&root.path().join("distribution")).unwrap();
        assert_eq!(at.as_str(), "distribution");
        assert_eq!(names(&tree, ""), [".gitignore", "distribution"]);
        assert_eq!(names(&tree, "distribution"), ["a.yaml", "b", "forced.log"]);
        assert_eq!(tree.entry(&path(".git/config")).unwrap(), None);
        assert_eq!(tree.read(&path("distribution/a.yaml"), 100).unwrap(), b"a: 1\n");
        assert!(tree.read(&path("distribution/a.yaml"), 2).is_err());
        assert!(tree.read(&path("distribution/none"), 2).is_err());
    }

    #[test]
    fn nothing_outside_is_read() {
        let outside = folder(&[("secret", "secret")]);
        let root = folder(&[("d/a", "same"), ("d/b", "same")]);
        symlink(outside.path(), root.path().join("d/folder")).unwrap();
        symlink(outside.path().join("secret"), root.path().join("d/file")).unwrap();
        let (tree, _) = WorkFolder::around(&root.path().join("d")).unwrap();
        assert_eq!(tree.entry(&path("d/folder/secret")).unwrap(), None);
        assert_eq!(tree.list(&path("d/folder")).unwrap(), []);
        assert_eq!(tree.entry(&path("d/file")).unwrap().unwrap().kind, EntryKind::Link);
        assert_ne!(tree.read(&path("d/file"), 4096).unwrap(), b"secret");
        let id = |name: &str| tree.entry(&path(name)).unwrap().unwrap().id;
        assert_eq!(id("d/a"), id("d/b"));
        assert_ne!(id("d/a"), id("d/file"));
    }

    #[test]
    fn values_stand_where_init_would_put_them() {
        let root = folder(&[("d/a.yaml", "region: <<__aws_region__>>\n")]);
        let (tree, _) = WorkFolder::around(&root.path().join("d")).unwrap();
        let matcher = Matcher::new([("<<__aws_region__>>", "eu-west-1")]).unwrap();
        let tree = Substituted::new(tree, matcher);
        assert_eq!(tree.read(&path("d/a.yaml"), 100).unwrap(), b"region: eu-west-1\n");
    }
}

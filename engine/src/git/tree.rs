//! One commit's tree, read from the mirror.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use git2::{ObjectType, Oid, Repository};
use gitmoor_core::tree::{EntryKind, RepoPath, Tree, TreeEntry, TreeError};

use super::diff::{FOLDER, child};

/// Entries kept for lookups before the oldest knowledge is dropped: about 100 bytes each.
const MOST_CACHED_ENTRIES: usize = 200_000;

/// The tree of one commit. It can be sent to another thread, but not shared: open one per use, it is cheap.
pub struct GitTree {
    repository: Repository,
    root: Oid,
    folders: RefCell<Folders>,
}

#[derive(Default)]
struct Folders {
    by_id: HashMap<Oid, Arc<Folder>>,
    entries: usize,
}

/// One folder, parsed.
struct Folder {
    entries: Vec<(String, Entry)>,
    by_name: HashMap<String, usize>,
    /// A name that is not UTF-8, or that no path can hold.
    unnameable: Option<String>,
}

#[derive(Clone, Copy)]
struct Entry {
    kind: EntryKind,
    id: Oid,
}

impl Entry {
    fn public(self) -> TreeEntry {
        TreeEntry { kind: self.kind, id: self.id.to_string() }
    }
}

impl GitTree {
    pub(super) fn open(repository: Repository, commit: Oid) -> Result<Self, git2::Error> {
        let root = repository.find_commit(commit)?.tree_id();
        Ok(Self::of_root(repository, root))
    }

    pub(super) fn of_root(repository: Repository, root: Oid) -> Self {
        Self { repository, root, folders: RefCell::default() }
    }

    /// Object id of what stands at the path, `None` when nothing does.
    pub fn tree_id(&self, path: &RepoPath) -> Result<Option<String>, TreeError> {
        Ok(self.find(path)?.map(|entry| entry.id.to_string()))
    }

    fn find(&self, path: &RepoPath) -> Result<Option<Entry>, TreeError> {
        let mut entry = Entry { kind: EntryKind::Folder, id: self.root };
        for name in path.as_str().split('/').filter(|name| !name.is_empty()) {
            if entry.kind != EntryKind::Folder {
                return Ok(None);
            }
            let folder = self.folder(path, entry.id)?;
            match folder.by_name.get(name) {
                Some(&index) => entry = folder.entries[index].1,
                None => return Ok(None),
            }
        }
        Ok(Some(entry))
    }

    fn folder(&self, path: &RepoPath, id: Oid) -> Result<Arc<Folder>, TreeError> {
        let mut folders = self.folders.borrow_mut();
        if let Some(folder) = folders.by_id.get(&id) {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(self.parse(id).map_err(|error| failure(path, &error))?);
        if folders.entries + folder.entries.len() > MOST_CACHED_ENTRIES {
            *folders = Folders::default();
        }
        folders.entries += folder.entries.len();
        folders.by_id.insert(id, Arc::clone(&folder));
        Ok(folder)
    }

    fn parse(&self, id: Oid) -> Result<Folder, git2::Error> {
        let tree = self.repository.find_tree(id)?;
        let mut folder = Folder { entries: Vec::with_capacity(tree.len()), by_name: HashMap::new(), unnameable: None };
        for entry in &tree {
            match entry.name() {
                Ok(name) if child(&RepoPath::root(), name).is_some() => {
                    folder.by_name.insert(name.to_owned(), folder.entries.len());
                    folder.entries.push((name.to_owned(), Entry { kind: kind(entry.filemode()), id: entry.id() }));
                }
                _ => folder.unnameable = Some(String::from_utf8_lossy(entry.name_bytes()).into_owned()),
            }
        }
        Ok(folder)
    }

    /// The size is looked up before anything is loaded.
    fn blob(&self, path: &RepoPath, id: Oid, limit: usize) -> Result<Vec<u8>, TreeError> {
        let read = || {
            let odb = self.repository.odb()?;
            let (size, kind) = odb.read_header(id)?;
            if kind != ObjectType::Blob || size > limit {
                return Ok(Err((size, kind)));
            }
            Ok(Ok(odb.read(id)?.data().to_vec()))
        };
        match read().map_err(|error: git2::Error| failure(path, &error))? {
            Ok(bytes) => Ok(bytes),
            Err((_, ObjectType::Blob)) => Err(TreeError::too_large(path, limit)),
            Err((_, kind)) => Err(TreeError::invalid(path, format!("its object is a {kind}"))),
        }
    }
}

impl Tree for GitTree {
    fn entry(&self, path: &RepoPath) -> Result<Option<TreeEntry>, TreeError> {
        Ok(self.find(path)?.map(Entry::public))
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<(String, TreeEntry)>, TreeError> {
        let Some(entry) = self.find(path)?.filter(|entry| entry.kind == EntryKind::Folder) else {
            return Ok(Vec::new());
        };
        let folder = self.folder(path, entry.id)?;
        if let Some(name) = &folder.unnameable {
            return Err(TreeError::invalid(
                path,
                format!("it holds the name {name:?}, which no path can hold: rename it"),
            ));
        }
        Ok(folder.entries.iter().map(|(name, entry)| (name.clone(), entry.public())).collect())
    }

    fn read(&self, path: &RepoPath, limit: usize) -> Result<Vec<u8>, TreeError> {
        match self.find(path)? {
            None => Err(reason(path, "it does not exist".to_owned())),
            Some(Entry { kind: EntryKind::Folder, .. }) => Err(reason(path, "it is a folder".to_owned())),
            Some(Entry { kind: EntryKind::Submodule, .. }) => {
                Err(TreeError::invalid(path, "it is a submodule, which is not supported"))
            }
            Some(Entry { kind: EntryKind::File | EntryKind::Executable | EntryKind::Link, id }) => {
                self.blob(path, id, limit)
            }
        }
    }
}

fn kind(mode: i32) -> EntryKind {
    match mode {
        FOLDER => EntryKind::Folder,
        0o120_000 => EntryKind::Link,
        0o160_000 => EntryKind::Submodule,
        0o100_755 => EntryKind::Executable,
        _ => EntryKind::File,
    }
}

fn failure(path: &RepoPath, error: &git2::Error) -> TreeError {
    reason(path, error.message().to_owned())
}

fn reason(path: &RepoPath, reason: String) -> TreeError {
    TreeError::unreadable(path, reason)
}

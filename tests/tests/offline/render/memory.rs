//! A repository's tree in memory.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};

use gitmoor_core::tree::{EntryKind, RepoPath, Tree, TreeEntry, TreeError};

/// Files by path; links start with `-> `.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MemoryTree(pub(super) BTreeMap<String, String>);

impl MemoryTree {
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    fn content(&self, path: &RepoPath) -> Option<(EntryKind, &str)> {
        let text = self.0.get(path.as_str())?;
        Some(text.strip_prefix("-> ").map_or((EntryKind::File, text.as_str()), |target| (EntryKind::Link, target)))
    }
}

fn id(content: impl std::hash::Hash) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl Tree for MemoryTree {
    fn entry(&self, path: &RepoPath) -> Result<Option<TreeEntry>, TreeError> {
        if let Some((kind, content)) = self.content(path) {
            return Ok(Some(TreeEntry { kind, id: id(content) }));
        }
        let below = if path.as_str().is_empty() { String::new() } else { format!("{path}/") };
        let inside: Vec<_> = self.0.iter().filter(|(key, _)| key.starts_with(&below)).collect();
        let folder = path.as_str().is_empty() || !inside.is_empty();
        Ok(folder.then(|| TreeEntry { kind: EntryKind::Folder, id: id(&inside) }))
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<(String, TreeEntry)>, TreeError> {
        let below = if path.as_str().is_empty() { String::new() } else { format!("{path}/") };
        let rests = self.0.keys().filter_map(|key| key.strip_prefix(&below));
        let mut names: Vec<String> = rests.map(|rest| rest.split('/').next().unwrap().to_owned()).collect();
        names.dedup();
        let entry = |name: &String| Ok((name.clone(), self.entry(&path.join(name).unwrap())?.unwrap()));
        names.iter().map(entry).collect()
    }

    fn read(&self, path: &RepoPath, limit: usize) -> Result<Vec<u8>, TreeError> {
        let fail = |reason: &str| TreeError::unreadable(path, reason);
        let (_, content) = self.content(path).ok_or_else(|| fail("nothing there"))?;
        if content.len() > limit { Err(fail("too large")) } else { Ok(content.as_bytes().to_vec()) }
    }
}

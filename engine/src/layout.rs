//! Where what comes from elsewhere is put beside a tree, and what then stands in place of the entries that name it.
//!
//! Trees go below one folder at the root, and are named by relative paths; files go below the folder of the kustomization
//! that uses them, since kustomize reads no others; charts go where they are looked for.

use std::collections::BTreeMap;
use std::ops::Range;

use gitmoor_core::closure::{Member, ReadSet, RemoteReference, RemoteUse, RemoteUsed};
use gitmoor_core::tree::RepoPath;

/// The folder for trees.
const FOLDER: &str = ".gitmoor-remotes";

/// An entry of a file that gets another text.
pub(crate) type Entry = (Range<usize>, String);

/// Everything that is written, by its place in the checkout.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// What of which tree.
    pub(crate) trees: BTreeMap<RepoPath, (RemoteReference, BTreeMap<RepoPath, Member>)>,
    /// Files.
    pub(crate) files: BTreeMap<RepoPath, RemoteReference>,
    /// Entries of files, in the order of the text.
    pub(crate) entries: BTreeMap<RepoPath, Vec<Entry>>,
    /// What stands in place of addresses in options of the Application.
    pub(crate) options: BTreeMap<String, String>,
    numbers: BTreeMap<RemoteReference, usize>,
}

impl Layout {
    /// The layout for a read-set, and for all that it leads to.
    pub(crate) fn of(set: &ReadSet) -> Self {
        let mut layout = Self::default();
        layout.add(set, &RepoPath::root());
        for entries in layout.entries.values_mut() {
            entries.sort_by_key(|(range, _)| range.start);
            entries.dedup();
        }
        layout
    }

    fn add(&mut self, set: &ReadSet, below: &RepoPath) {
        for used in &set.remotes {
            let folder = inside(below, &used.folder);
            let path = match &used.what {
                RemoteUsed::Base { reference, read_set } => {
                    let next = self.numbers.len();
                    let number = *self.numbers.entry(reference.clone()).or_insert(next);
                    let root = RepoPath::root().join(&format!("{FOLDER}/{number}")).unwrap_or_default();
                    let path = relative(&folder, &inside(&root, &read_set.path));
                    self.tree(root, reference, read_set);
                    path
                }
                RemoteUsed::File { reference, digest } => {
                    let number = digest.get(..16).unwrap_or(digest);
                    let path = format!(".gitmoor-remote-{number}/{}", file_name(&used.text));
                    self.files.insert(folder.join(&path).unwrap_or_default(), reference.clone());
                    path
                }
                RemoteUsed::Chart { reference, at, read_set } => {
                    self.tree(inside(below, at), reference, read_set);
                    continue;
                }
            };
            self.entry(below, used, path);
        }
    }

    fn tree(&mut self, root: RepoPath, reference: &RemoteReference, read_set: &ReadSet) {
        let (_, members) = self.trees.entry(root.clone()).or_insert_with(|| (reference.clone(), BTreeMap::new()));
        let known = read_set.members.iter().all(|(path, _)| members.contains_key(path));
        // What was read outweighs that it was looked for.
        for (path, member) in &read_set.members {
            if *member == Member::Absent {
                members.entry(path.clone()).or_insert_with(|| member.clone());
            } else {
                members.insert(path.clone(), member.clone());
            }
        }
        if !known || !read_set.remotes.is_empty() {
            self.add(read_set, &root);
        }
    }

    fn entry(&mut self, below: &RepoPath, used: &RemoteUse, path: String) {
        // The key in front of a file's path stays.
        let key = used.text.split_once('=').filter(|(key, _)| !key.contains([':', '/', '?']));
        let text = key.map_or_else(|| path.clone(), |(key, _)| format!("{key}={path}"));
        match &used.place {
            Some((file, range)) => {
                self.entries.entry(inside(below, file)).or_default().push((range.clone(), text));
            }
            None => drop(self.options.insert(used.text.clone(), text)),
        }
    }
}

fn inside(below: &RepoPath, path: &RepoPath) -> RepoPath {
    below.join(path.as_str()).unwrap_or_default()
}

/// The way from one folder to another path.
fn relative(from: &RepoPath, to: &RepoPath) -> String {
    let up = from.as_str().split('/').filter(|part| !part.is_empty()).count();
    format!("{}{}", "../".repeat(up), to.as_str())
}

/// The last part of an address, from which kustomize takes the key of a file.
fn file_name(text: &str) -> String {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.chars().all(plain) && !matches!(name, "." | "..") {
        name.to_owned()
    } else {
        "file".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::root().join(text).unwrap()
    }

    #[test]
    fn ways_lead_through_the_root() {
        assert_eq!(relative(&path("a/b"), &path(".x/0/c")), "../../.x/0/c");
        assert_eq!(relative(&path(""), &path(".x/0")), ".x/0");
        assert_eq!(file_name("https://h/a/b.yaml?token=1"), "b.yaml");
        assert_eq!(file_name("https://h/%20"), "file");
        assert_eq!(file_name("https://h/.."), "file");
    }
}

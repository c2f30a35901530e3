//! The read-set of a plain directory: its manifest files and what decides which those are.

use sha2::{Digest, Sha256};

use super::error::{Place, Problem};
use super::members::{Member, feed, hexadecimal};
use super::resolve::End;
use super::walk::{Stop, Walk};
use crate::source::Directory;
use crate::tree::{EntryKind, RepoPath};

impl Walk<'_> {
    /// The manifest files of a folder without a kustomization: those directly in it, and below when `recurse` is set.
    pub(super) fn directory(&mut self, folder: &RepoPath, options: &Directory) -> Result<(), Stop> {
        let top = folder.clone();
        let mut folders = vec![(folder.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            if depth > self.limits.depth {
                return self.too_large(&folder, "folders are nested too deeply", self.limits.depth);
            }
            // A few trees can stand for more folders than can ever be listed.
            if self.looked > self.limits.entries {
                return self.too_large(&folder, "it has too many entries to look through", self.limits.entries);
            }
            for below in self.manifests(&top, &folder, options)? {
                folders.push((below, depth + 1));
            }
        }
        Ok(())
    }

    /// The manifest files of one folder; gives the folders in it that count.
    fn manifests(&mut self, top: &RepoPath, folder: &RepoPath, options: &Directory) -> Result<Vec<RepoPath>, Stop> {
        let entries = match self.tree.list(folder) {
            Ok(entries) => entries,
            Err(error) => return self.stop(Problem::Tree(error)),
        };
        self.looked += entries.len();
        let (mut listing, mut below) = (Sha256::new(), Vec::new());
        for (name, entry) in entries {
            let Some(path) = folder.join(&name) else { continue };
            if entry.kind == EntryKind::Folder {
                if options.recurse {
                    below.push(path);
                    continue;
                }
                if !is_manifest(&name) {
                    continue;
                }
            } else if !is_manifest(&name) && !is_jsonnet(&name) || !options.counts(relative(top, &path)) {
                continue;
            }
            feed(&mut listing, &name);
            listing.update([kind_tag(entry.kind)]);
            if entry.kind == EntryKind::Folder {
                continue;
            }
            if is_jsonnet(&name) {
                let at = Place { file: path, line: None };
                self.problem(Problem::Unsupported { at, what: "Jsonnet" })?;
                continue;
            }
            match self.resolve(&path)? {
                Some(End::File(file, entry)) => self.file(file, entry)?,
                Some(End::Missing(_)) => {
                    self.problem(Problem::Link { link: path, reason: "leads to a path that does not exist" })?;
                }
                Some(End::Folder(_)) | None => {}
            }
        }
        let digest = hexadecimal(&listing.finalize());
        if options.recurse && folder == top {
            // What appears in folders that are not there yet counts too.
            self.member(folder.clone(), Member::Folder)?;
        } else if !options.recurse {
            self.member(folder.clone(), Member::Listing { digest })?;
        }
        Ok(below)
    }
}

fn relative<'p>(top: &RepoPath, path: &'p RepoPath) -> &'p str {
    path.as_str().strip_prefix(top.as_str()).unwrap_or(path.as_str()).trim_start_matches('/')
}

/// Whether a plain directory's file of this name is a manifest.
fn is_manifest(name: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end))
}

fn is_jsonnet(name: &str) -> bool {
    name.ends_with(".jsonnet")
}

fn kind_tag(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::File | EntryKind::Executable => b'f',
        EntryKind::Link => b'l',
        EntryKind::Folder => b'd',
        EntryKind::Submodule => b's',
    }
}

//! What renders hold, kept on disk by the digest of what they read: identities, no bodies.
//!
//! The folder is the user's own, and can be lost at any time. What cannot be read is as if it were not there.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::PathBuf,
    time::SystemTime,
};

use super::Content;

/// Files that are kept; above it, those that were not used for longest go.
const MOST: usize = 5_000;
/// Changes with the form of the files.
const FORM: &str = "2";

/// A folder of contents.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// In this folder, which is made when it is not there; `None` when it cannot be.
    pub(super) fn open(folder: PathBuf) -> Option<Self> {
        let folder = folder.join(FORM);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
        Some(Self { folder })
    }

    pub(super) fn get(&self, digest: &str) -> Option<Content> {
        let path = self.folder.join(digest);
        let content = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        // That it was used; when that fails, it only goes a little earlier.
        let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(content)
    }

    /// Keeps a content. That it fails costs a render some day.
    pub(super) fn put(&self, digest: &str, content: &Content) {
        let temporary = self.folder.join(format!("{digest}.{}", std::process::id()));
        let write = || {
            let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            serde_json::to_writer(std::io::BufWriter::new(file), content)?;
            fs::rename(&temporary, self.folder.join(digest))
        };
        if write().is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }

    /// Removes what was not used for longest, when there is too much.
    pub(super) fn tidy(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        if files.len() <= MOST {
            return;
        }
        files.sort_by_cached_key(|path| fs::metadata(path).and_then(|found| found.modified()).ok());
        for path in &files[..files.len() - MOST] {
            let _ = fs::remove_file(path);
        }
    }
}

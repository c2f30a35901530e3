//! Packed charts on disk, by the digest of their content.
//!
//! Everything can be lost at any time. What is read is checked against its digest; what does not fit is removed.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::archive::hexadecimal;

/// A folder of packed charts, of a bounded size.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    most_bytes: u64,
}

impl Store {
    /// A store in a folder; touches nothing yet.
    pub(crate) fn new(folder: PathBuf, most_bytes: u64) -> Self {
        Self { folder, most_bytes }
    }

    /// The content with this digest, if it is there and whole.
    pub(crate) fn get(&self, digest: &str) -> Option<Vec<u8>> {
        let path = self.archive(digest)?;
        let bytes = fs::read(&path).ok()?;
        if hexadecimal(&Sha256::digest(&bytes)) != digest {
            tracing::warn!(digest, "a chart on disk is damaged: it is fetched again");
            let _ = fs::remove_file(path);
            return None;
        }
        // Used just now: others go first when there is no room.
        let _ = fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(bytes)
    }

    /// Keeps content; gives its digest.
    pub(crate) fn put(&self, bytes: &[u8]) -> io::Result<String> {
        let digest = hexadecimal(&Sha256::digest(bytes));
        if let Some(path) = self.archive(&digest) {
            write(&path, bytes)?;
            self.make_room(&path);
        }
        Ok(digest)
    }

    /// A note under a name: what an address stood for.
    pub(crate) fn note(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.note_path(name)).ok()
    }

    /// Writes a note.
    pub(crate) fn write_note(&self, name: &str, text: &[u8]) -> io::Result<()> {
        write(&self.note_path(name), text)
    }

    fn note_path(&self, name: &str) -> PathBuf {
        self.folder.join("notes").join(hexadecimal(&Sha256::digest(name.as_bytes())))
    }

    fn archive(&self, digest: &str) -> Option<PathBuf> {
        let fits = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then(|| self.folder.join("archives").join(digest))
    }

    /// Removes what was not used for longest, but never `keep`.
    fn make_room(&self, keep: &Path) {
        for folder in ["archives", "notes"] {
            let Ok(entries) = fs::read_dir(self.folder.join(folder)) else { continue };
            let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
                .filter_map(|entry| {
                    let entry = entry.ok()?;
                    let found = entry.metadata().ok()?;
                    Some((found.modified().ok()?, found.len(), entry.path()))
                })
                .collect();
            files.sort();
            let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
            for (_, bytes, path) in files {
                if total <= self.most_bytes {
                    break;
                }
                if path != keep && fs::remove_file(path).is_ok() {
                    total -= bytes;
                }
            }
        }
    }
}

/// As a whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_kept_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned(), 1 << 20);
        let digest = store.put(b"chart").unwrap();
        assert_eq!(store.get(&digest).unwrap(), b"chart");
        fs::write(folder.path().join("archives").join(&digest), "damaged").unwrap();
        assert_eq!(store.get(&digest), None);
        assert!(!folder.path().join("archives").join(&digest).exists());
        assert_eq!(store.get("../../etc/passwd"), None);
        store.write_note("https://a", b"note").unwrap();
        assert_eq!((store.note("https://a").unwrap(), store.note("https://b")), (b"note".to_vec(), None));
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned(), 250);
        let digests: Vec<String> = (0..3u8).map(|n| store.put(&[n; 100]).unwrap()).collect();
        assert_eq!(store.get(&digests[0]), None, "three do not fit");
        assert!(store.get(&digests[1]).is_some() && store.get(&digests[2]).is_some());
        assert!(store.put(&[9; 1000]).is_ok_and(|digest| store.get(&digest).is_some()), "one always fits");
    }
}

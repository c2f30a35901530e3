//! The mirrors on disk: which there are, how much they take, and away with one that nobody follows.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::store;

/// Folder of the mirrors, below that of all data.
pub(super) const FOLDER: &str = "repositories";

/// The mirrors of an agent. All methods block.
#[derive(Clone, Debug)]
pub struct MirrorsOnDisk {
    folder: PathBuf,
}

impl MirrorsOnDisk {
    /// Those below `data`.
    pub fn new(data: &Path) -> Self {
        Self { folder: data.join(FOLDER) }
    }

    /// Their folders' names, as [`super::RepositoryUrl::directory_name`] gives them.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn names(&self) -> io::Result<BTreeSet<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries?,
        };
        let mut names = BTreeSet::new();
        for entry in entries {
            let entry = entry?;
            // Beside a mirror lie its lock, and a clone that is to take its place.
            if entry.file_type()?.is_dir() && entry.path().extension().is_none() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        Ok(names)
    }

    /// Bytes of all of them, locks and clones in the making included.
    pub fn bytes(&self) -> u64 {
        bytes_below(&self.folder)
    }

    /// Removes a mirror that nobody uses, as is asked once no fetch can begin; false when somebody does, or a fetch is at
    /// work on it. Its lock stays: somebody may wait for it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: &str, unused: impl FnOnce() -> bool) -> io::Result<bool> {
        let directory = self.folder.join(name);
        let Some(_lock) = store::try_lock(&directory)? else { return Ok(false) };
        if !unused() {
            return Ok(false);
        }
        store::remove_all(&directory)?;
        Ok(true)
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_goes_with_all_that_is_of_it_and_no_other() {
        let data = tempfile::tempdir().unwrap();
        let mirrors = MirrorsOnDisk::new(data.path());
        assert_eq!((mirrors.names().unwrap().len(), mirrors.bytes()), (0, 0), "nothing is there yet");
        for file in ["one/HEAD", "one/objects/pack/x.pack", "one.new/HEAD", "two/HEAD"] {
            let path = data.path().join(FOLDER).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "12345").unwrap();
        }
        fs::write(data.path().join(FOLDER).join("two.lock"), "").unwrap();
        assert_eq!(mirrors.names().unwrap(), ["one", "two"].map(str::to_owned).into());
        assert_eq!(mirrors.bytes(), 20);
        assert!(!mirrors.remove("one", || false).unwrap(), "somebody has begun to use it");
        let fetch = store::lock(&data.path().join(FOLDER).join("one")).unwrap();
        assert!(!mirrors.remove("one", || true).unwrap(), "a fetch is at work");
        drop(fetch);
        assert_eq!(mirrors.names().unwrap().len(), 2);
        assert!(mirrors.remove("one", || true).unwrap());
        assert_eq!((mirrors.names().unwrap(), mirrors.bytes()), (["two".to_owned()].into(), 5));
        mirrors.remove("one", || true).unwrap();
    }
}

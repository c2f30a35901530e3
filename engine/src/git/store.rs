//! A mirror's folder: made, opened, swept, swapped. Used by the child that fetches, under the folder's lock.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use git2::{Config, Repository};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::{CommitId, FetchOutcome};

/// Opens the mirror, or makes an empty one.
///
/// The mirror's own file is its whole configuration, so nothing on the machine can rewrite addresses.
pub(super) fn open_or_create(directory: &Path) -> Result<Repository, git2::Error> {
    let repository =
        if directory.join("HEAD").exists() { Repository::open_bare(directory)? } else { create(directory)? };
    repository.set_config(&Config::open(&directory.join("config"))?)?;
    Ok(repository)
}

fn create(directory: &Path) -> Result<Repository, git2::Error> {
    let repository = Repository::init_bare(directory)?;
    let mut config = Config::open(&directory.join("config"))?;
    // Redirects within the same host are always followed; others would take credentials elsewhere.
    config.set_bool("http.followRedirects", false)?;
    Ok(repository)
}

/// Waits for the folder's lock; it is held until the file is dropped, at the latest when the process ends.
pub(super) fn lock(directory: &Path) -> io::Result<File> {
    let file = lock_file(directory)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// The same, unless somebody else has it.
pub(super) fn try_lock(directory: &Path) -> io::Result<Option<File>> {
    let file = lock_file(directory)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        locked => Ok(locked.map(|()| Some(file))?),
    }
}

fn lock_file(directory: &Path) -> io::Result<File> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    File::options().create(true).truncate(false).write(true).open(beside(directory, ".lock"))
}

/// Removes what a killed fetch left behind: half packs, locks of references, a clone that was not swapped in.
pub(super) fn sweep(directory: &Path) -> io::Result<()> {
    remove(&beside(directory, ".new"))?;
    remove(&beside(directory, ".old"))?;
    remove(&home(directory))?;
    for name in ["config.lock", "HEAD.lock", "packed-refs.lock"] {
        remove(&directory.join(name))?;
    }
    sweep_files(&directory.join("objects/pack"), &|path| is_lock(path) || is_half_pack(path))?;
    sweep_files(&directory.join("refs"), &is_lock)
}

fn sweep_files(folder: &Path, stale: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sweep_files(&entry.path(), stale)?;
        } else if stale(&entry.path()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lock")
}

fn is_half_pack(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.contains("_git2_"))
}

/// Notes where the asked revisions stand, and says whether that is news.
pub(super) fn note(directory: &Path, outcome: &FetchOutcome) -> io::Result<bool> {
    let heads = outcome.heads.iter().map(|(revision, found)| (revision, Some(&found.commit)));
    let stand: BTreeMap<_, _> = heads.chain(outcome.missing.iter().map(|revision| (revision, None))).collect();
    let text = serde_json::to_string(&stand)?;
    let (file, new) = (directory.join("gitmoor-heads.json"), directory.join("gitmoor-heads.json.lock"));
    let known = fs::read(&file).unwrap_or_default();
    let known: BTreeMap<String, Option<CommitId>> = serde_json::from_slice(&known).unwrap_or_default();
    let same =
        |revision: &String, commit: Option<&CommitId>| known.get(revision).is_some_and(|old| old.as_ref() == commit);
    let changed = !stand.iter().all(|(revision, commit)| same(revision, *commit));
    if changed || known.len() != stand.len() {
        fs::write(&new, text)?;
        fs::rename(&new, &file)?;
    }
    Ok(changed)
}

/// Removes a mirror, and clones that were to take its place.
pub(super) fn remove_all(directory: &Path) -> io::Result<()> {
    [directory.to_owned(), beside(directory, ".new"), beside(directory, ".old")]
        .iter()
        .try_for_each(|path| remove(path))
}

/// Folder for a clone that will take the mirror's place.
pub(super) fn new_directory(directory: &Path) -> PathBuf {
    beside(directory, ".new")
}

/// Home folder of the process that fetches, while it needs one.
pub(super) fn home(directory: &Path) -> PathBuf {
    beside(directory, ".home")
}

/// Removes it.
pub(super) fn remove_home(directory: &Path) -> io::Result<()> {
    remove(&home(directory))
}

/// The file in it with the certificates that alone are trusted.
pub(super) fn authorities(directory: &Path) -> PathBuf {
    home(directory).join("authorities.pem")
}

/// Writes that file.
pub(super) fn put_authorities(directory: &Path, certificates: &str) -> io::Result<()> {
    fs::create_dir_all(home(directory))?;
    fs::write(authorities(directory), certificates)
}

/// Puts the new clone in the mirror's place in one step; readers of the old one keep what they have open.
pub(super) fn swap_in(directory: &Path) -> io::Result<()> {
    let new = new_directory(directory);
    if !directory.exists() {
        return fs::rename(new, directory);
    }
    if renameat_with(CWD, &new, CWD, directory, RenameFlags::EXCHANGE).is_err() {
        // Not every file system can exchange.
        let old = beside(directory, ".old");
        fs::rename(directory, &old)?;
        fs::rename(&new, directory)?;
        return remove(&old);
    }
    remove(&new)
}

fn beside(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.file_name().map_or_else(OsString::new, OsString::from);
    name.push(suffix);
    directory.with_file_name(name)
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_a_killed_fetch_are_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let mirror = root.path().join("mirror");
        open_or_create(&mirror).unwrap();
        fs::create_dir_all(mirror.join("refs/heads/team")).unwrap();
        fs::create_dir_all(beside(&mirror, ".new")).unwrap();
        let stale = ["refs/heads/team/main.lock", "objects/pack/pack_git2_0123", "packed-refs.lock", "config.lock"];
        let kept = ["refs/heads/team/main", "objects/pack/pack-0123.pack"];
        for name in stale.iter().chain(&kept) {
            fs::write(mirror.join(name), "").unwrap();
        }
        sweep(&mirror).unwrap();
        assert!(stale.iter().all(|name| !mirror.join(name).exists()));
        assert!(kept.iter().all(|name| mirror.join(name).exists()) && !beside(&mirror, ".new").exists());
    }

    #[test]
    fn a_new_clone_takes_the_place_of_the_old_one() {
        let root = tempfile::tempdir().unwrap();
        let mirror = root.path().join("mirror");
        for content in ["first", "second"] {
            let new = new_directory(&mirror);
            fs::create_dir_all(&new).unwrap();
            fs::write(new.join("file"), content).unwrap();
            swap_in(&mirror).unwrap();
            assert_eq!(fs::read_to_string(mirror.join("file")).unwrap(), content);
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}

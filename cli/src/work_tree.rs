//! The files that a command reads and rewrites in the user's work tree.
//!
//! Guarantees: no symbolic link is followed and nothing named `.git` or `.gitmoor` is entered; a file is
//! replaced as a whole, by renaming a finished one over it, with its mode and owner; at no time are more than
//! three files in memory. Files are not flushed to the disk one by one: a killed program leaves each file old or new,
//! and for a power cut there is Git, which does not flush its work tree either.
//!
//! Assumption: nobody swaps folders for symbolic links while the program runs.

use std::{
    collections::HashSet,
    fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use gitmoor_core::{
    init_state,
    template::{BINARY_PROBE, is_binary},
};
use rustix::fs::OFlags;
use tempfile::NamedTempFile;

/// New content lies in a file of such a name until it is renamed; a killed run leaves at most one.
const TEMPORARY_PREFIX: &str = ".gitmoor-new-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub(crate) struct FileError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    #[source]
    pub(crate) source: io::Error,
}

fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError { action, path: path.to_owned(), source }
}

/// Device and inode: what a file is, whatever path leads to it.
type Identity = (u64, u64);

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// Folders and single files to work on.
#[derive(Debug)]
pub(crate) struct WorkTree {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    excluded: HashSet<Identity>,
}

/// What a walk meets.
#[derive(Debug)]
pub(crate) enum Step {
    /// A regular file.
    File(PathBuf),
    /// A symbolic link, which is not followed.
    Link,
    /// New content that a killed run could not put in place.
    Abandoned(PathBuf),
    /// A folder that could not be read.
    Failed(FileError),
}

impl WorkTree {
    /// Takes what the user named. A folder or file within another of the folders is dropped, so that
    /// nothing is met twice.
    ///
    /// # Errors
    /// When one of them is missing, a symbolic link, or of the other kind.
    pub(crate) fn open(folders: &[PathBuf], files: &[PathBuf]) -> Result<Self, FileError> {
        let folders = named(folders, "open", Metadata::is_dir, "not a folder")?;
        let files = named(files, "open", Metadata::is_file, "not a regular file")?;
        let within = |inner: &Path, outer: &Path| inner != outer && inner.starts_with(outer);
        let outermost = |(_, real): &&(PathBuf, PathBuf)| !folders.iter().any(|(_, outer)| within(real, outer));
        let keep = |all: &[(PathBuf, PathBuf)]| {
            let mut seen = HashSet::new();
            all.iter()
                .filter(outermost)
                .filter(|(_, real)| seen.insert(real.clone()))
                .map(|(path, _)| path.clone())
                .collect()
        };
        Ok(Self { folders: keep(&folders), files: keep(&files), excluded: HashSet::new() })
    }

    /// Keeps a file out, whatever path leads to it. One that does not exist is no error.
    pub(crate) fn exclude(&mut self, path: &Path) {
        self.excluded.extend(fs::metadata(path).ok().as_ref().map(identity));
    }

    /// Keeps a second program from working on the same folders, until the lock is dropped or this
    /// program ends. A file system that knows no locks is no error.
    pub(crate) fn lock(&self) -> Result<Lock, FileError> {
        let mut seen = HashSet::new();
        let mut locked = Vec::new();
        for folder in self.folders.iter().map(PathBuf::as_path).chain(self.files.iter().map(|file| parent(file))) {
            let file = File::open(folder).map_err(fault("open", folder))?;
            if !seen.insert(identity(&file.metadata().map_err(fault("read", folder))?)) {
                continue;
            }
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    return Err(fault("lock", folder)(io::Error::other("another gitmoor is at work there")));
                }
                Ok(()) | Err(TryLockError::Error(_)) => locked.push(file),
            }
        }
        Ok(Lock { _folders: locked })
    }

    /// Everything in it, folder by folder, in the order of the names.
    pub(crate) fn walk(&self) -> impl Iterator<Item = Step> {
        let mut beside = HashSet::new();
        let abandoned = self.files.iter().map(|file| parent(file)).filter(move |folder| beside.insert(*folder));
        Walk {
            pending: self.files.iter().rev().chain(self.folders.iter().rev()).cloned().map(Pending::Named).collect(),
            excluded: &self.excluded,
        }
        .chain(abandoned.flat_map(abandoned_in))
    }
}

/// Checks what was named; gives each path with the one that it really is.
fn named(
    paths: &[PathBuf],
    action: &'static str,
    fits: impl Fn(&Metadata) -> bool,
    otherwise: &str,
) -> Result<Vec<(PathBuf, PathBuf)>, FileError> {
    paths
        .iter()
        .map(|path| {
            let metadata = path.symlink_metadata().map_err(fault(action, path))?;
            let problem = if metadata.is_symlink() {
                "a symbolic link, which is not followed; name what it leads to"
            } else if fits(&metadata) {
                return Ok((path.clone(), path.canonicalize().map_err(fault(action, path))?));
            } else {
                otherwise
            };
            Err(fault(action, path)(io::Error::other(problem.to_owned())))
        })
        .collect()
}

/// Held while a program writes.
#[derive(Debug)]
pub(crate) struct Lock {
    _folders: Vec<File>,
}

enum Pending {
    Named(PathBuf),
    Found(PathBuf, fs::FileType),
}

/// Depth first with a stack of its own: at most one folder's list per level is in memory.
struct Walk<'t> {
    pending: Vec<Pending>,
    excluded: &'t HashSet<Identity>,
}

impl Iterator for Walk<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let (path, kind) = match self.pending.pop()? {
                Pending::Found(path, kind) => (path, kind),
                Pending::Named(path) => match path.symlink_metadata() {
                    Ok(metadata) => (path, metadata.file_type()),
                    Err(error) => return Some(Step::Failed(fault("read", &path)(error))),
                },
            };
            if kind.is_symlink() {
                return Some(Step::Link);
            }
            if kind.is_dir() {
                match found_in(&path) {
                    Ok(found) => self.pending.extend(found),
                    Err(error) => return Some(Step::Failed(fault("read", &path)(error))),
                }
            } else if kind.is_file() && !self.is_excluded(&path) {
                return Some(if is_temporary(&path) { Step::Abandoned(path) } else { Step::File(path) });
            }
        }
    }
}

impl Walk<'_> {
    fn is_excluded(&self, path: &Path) -> bool {
        !self.excluded.is_empty() && path.metadata().is_ok_and(|found| self.excluded.contains(&identity(&found)))
    }
}

/// The entries of a folder without Git's and Gitmoor's own, last name first.
fn found_in(folder: &Path) -> io::Result<Vec<Pending>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() != ".git" && entry.file_name() != init_state::FOLDER {
            found.push((entry.path(), entry.file_type()?));
        }
    }
    found.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    Ok(found.into_iter().map(|(path, kind)| Pending::Found(path, kind)).collect())
}

fn abandoned_in(folder: &Path) -> Vec<Step> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| folder.join(entry.file_name())).filter(|path| is_temporary(path)).map(Step::Abandoned).collect()
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a file into `text`, in place of what was there. Gives `None`, with no more than the start read,
/// when it is binary.
pub(crate) fn read(path: &Path, text: &mut Vec<u8>) -> Result<Option<Metadata>, FileError> {
    text.clear();
    read_text(path, text).map_err(fault("read", path))
}

fn read_text(path: &Path, text: &mut Vec<u8>) -> io::Result<Option<Metadata>> {
    let no_follow = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(no_follow).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("no longer a regular file"));
    }
    (&mut file).take(BINARY_PROBE as u64).read_to_end(text)?;
    if is_binary(text) {
        return Ok(None);
    }
    if text.len() == BINARY_PROBE {
        text.reserve_exact(usize::try_from(metadata.len()).unwrap_or_default().saturating_sub(text.len()));
        file.read_to_end(text)?;
    }
    Ok(Some(metadata))
}

/// Puts `text` in the place of the file at `path`, which `metadata` describes.
pub(crate) fn replace(path: &Path, metadata: &Metadata, text: &[u8]) -> Result<(), FileError> {
    let put = || -> io::Result<()> {
        let mut new = temporary_in(parent(path))?;
        new.write_all(text)?;
        let created = new.as_file().metadata()?;
        if (created.uid(), created.gid()) != (metadata.uid(), metadata.gid()) {
            // Only root may give files away; for others the file becomes theirs, as an editor does it.
            let _ = fchown(new.as_file(), Some(metadata.uid()), Some(metadata.gid()));
        }
        new.as_file().set_permissions(metadata.permissions())?;
        new.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    put().map_err(fault("replace", path))
}

/// Puts `text` at `path`, whether a file stands there or not.
pub(crate) fn put(path: &Path, text: &[u8]) -> Result<(), FileError> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => replace(path, &metadata, text),
        Ok(_) => Err(fault("replace", path)(io::Error::other("not a regular file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, text, 0o644),
        Err(error) => Err(fault("read", path)(error)),
    }
}

/// Makes a new file.
fn create(path: &Path, text: &[u8], mode: u32) -> Result<(), FileError> {
    let make = || -> io::Result<()> {
        let mut new = temporary_in(parent(path))?;
        new.write_all(text)?;
        new.as_file().set_permissions(Permissions::from_mode(mode))?;
        new.persist_noclobber(path).map_err(|error| error.error)?;
        Ok(())
    };
    make().map_err(fault("create", path))
}

/// Writes `text` to what the user named: a regular file is replaced as a whole and keeps its mode, a new one gets
/// `mode`, and anything else (a pipe, `/dev/stdout`, a symbolic link to a file) is written to.
pub(crate) fn write_to(path: &Path, text: &[u8], mode: u32) -> Result<(), FileError> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => replace(path, &metadata, text),
        Ok(_) => fs::write(path, text).map_err(fault("write", path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, text, mode),
        Err(error) => Err(fault("write", path)(error)),
    }
}

/// A new file that is removed unless it is persisted.
fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    // The error of the library names the temporary file, which would only distract.
    let mut cause = None;
    tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .suffix(TEMPORARY_SUFFIX)
        .make_in(folder, |path| {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            file.inspect_err(|error| cause = error.raw_os_error())
        })
        .map_err(|error| cause.map_or(error, io::Error::from_raw_os_error))
}

/// Removes what a killed run left.
pub(crate) fn remove_abandoned(path: &Path) -> Result<(), FileError> {
    fs::remove_file(path).map_err(fault("remove", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(tree: &WorkTree, root: &Path) -> Vec<String> {
        let relative = |path: PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        tree.walk()
            .map(|step| match step {
                Step::File(path) => relative(path),
                Step::Link => "link".to_owned(),
                Step::Abandoned(path) => format!("abandoned {}", relative(path)),
                Step::Failed(error) => panic!("{error}"),
            })
            .collect()
    }

    #[test]
    fn a_walk_meets_every_file_once_in_order_and_stays_inside() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["tree/b/.git", "tree/a", "outside"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["tree/b/.git/config", "tree/a/2", "tree/a/1", "tree/b/x", "tree/a.txt", "outside/no", "also"] {
            fs::write(at(file), "").unwrap();
        }
        fs::write(at("tree/a/.gitmoor-new-abc.tmp"), "").unwrap();
        fs::write(at(".gitmoor-new-def.tmp"), "").unwrap();
        symlink(at("outside"), at("tree/link")).unwrap();
        let mut tree =
            WorkTree::open(&[at("tree"), at("tree/b"), at("tree")], &[at("also"), at("tree/a/1"), at("also")]).unwrap();
        assert_eq!(
            names(&tree, root.path()),
            [
                "abandoned tree/a/.gitmoor-new-abc.tmp",
                "tree/a/1",
                "tree/a/2",
                "tree/a.txt",
                "tree/b/x",
                "link",
                "also",
                "abandoned .gitmoor-new-def.tmp",
            ]
        );
        tree.exclude(&at("tree/a/../a.txt"));
        assert!(!names(&tree, root.path()).contains(&"tree/a.txt".to_owned()));
    }

    #[test]
    fn what_is_named_must_be_what_it_is_named_for() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("file"), "").unwrap();
        symlink(at("folder"), at("link")).unwrap();
        for (folders, files, expected) in [
            (vec![at("missing")], vec![], "No such file"),
            (vec![at("file")], vec![], "not a folder"),
            (vec![at("link")], vec![], "a symbolic link"),
            (vec![], vec![at("folder")], "not a regular file"),
        ] {
            let error = WorkTree::open(&folders, &files).unwrap_err();
            assert!(error.source.to_string().contains(expected), "{:?}", error.source);
        }
    }

    #[test]
    fn a_second_program_is_kept_out() {
        let root = tempfile::tempdir().unwrap();
        let tree = WorkTree::open(&[root.path().to_owned()], &[]).unwrap();
        let lock = tree.lock().unwrap();
        assert!(tree.lock().is_err());
        drop(lock);
        assert!(tree.lock().is_ok());
    }

    #[test]
    fn only_the_start_of_a_binary_file_is_read() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        let mut text = b"old".to_vec();
        fs::write(&path, [vec![0], vec![b'a'; 100_000]].concat()).unwrap();
        assert!(read(&path, &mut text).unwrap().is_none());
        assert_eq!(text.len(), BINARY_PROBE);
        fs::write(&path, vec![b'a'; 100_000]).unwrap();
        assert!(read(&path, &mut text).unwrap().is_some());
        assert_eq!(text.len(), 100_000);
    }
}

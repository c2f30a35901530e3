//! A packed chart as a tree in memory.
//!
//! # Guarantees
//! - Nothing is written: an archive is read from memory into memory, within [`Limits`], also what it unpacks to.
//! - Links, devices, absolute paths, `..` and paths that stand twice are refused, not passed over.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Bound;
use std::sync::Arc;

use flate2::read::GzDecoder;
use gitmoor_core::tree::{EntryKind, RepoPath, Tree, TreeEntry, TreeError};
use sha2::{Digest as _, Sha256};

/// How much an archive may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries.
    pub files: usize,
    /// Bytes of one file.
    pub file: usize,
    /// Bytes that it unpacks to, headers included.
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { files: 20_000, file: 16 << 20, total: 100 << 20 }
    }
}

/// The archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No gzip, or no tar inside.
    #[error("it is no packed chart: {0}")]
    Malformed(String),
    /// An entry that no chart needs.
    #[error("it holds {path:?}, {what}")]
    Forbidden {
        /// Its path.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A limit is exceeded.
    #[error("it has {what} (limit {limit})")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
}

/// The files of a packed chart; its root is the chart's folder.
#[derive(Clone, Debug)]
pub struct ChartTree {
    /// By their paths: identity and content.
    files: Arc<BTreeMap<String, (String, Vec<u8>)>>,
}

impl ChartTree {
    /// Reads a gzipped tar.
    pub fn read(packed: &[u8], limits: &Limits) -> Result<Self, ArchiveError> {
        Self::read_tar(GzDecoder::new(packed), limits)
    }

    /// Reads a tar.
    pub fn read_tar(unpacked: impl Read, limits: &Limits) -> Result<Self, ArchiveError> {
        let mut counted = Counted { reader: unpacked.take(limits.total + 1), read: 0 };
        let files = Self::entries(&mut counted, limits);
        // What is cut off there looks broken, too.
        if counted.read > limits.total {
            return Err(ArchiveError::TooLarge { what: "too many bytes when unpacked", limit: limits.total });
        }
        let files = files?;
        if files.is_empty() {
            return Err(ArchiveError::Malformed("it is empty".to_owned()));
        }
        Ok(Self { files: Arc::new(files) })
    }

    fn entries(unpacked: impl Read, limits: &Limits) -> Result<BTreeMap<String, (String, Vec<u8>)>, ArchiveError> {
        let mut files = BTreeMap::new();
        let malformed = |error: io::Error| ArchiveError::Malformed(error.to_string());
        let mut archive = tar::Archive::new(unpacked);
        for (count, entry) in archive.entries().map_err(malformed)?.enumerate() {
            let mut entry = entry.map_err(malformed)?;
            if count >= limits.files {
                return Err(ArchiveError::TooLarge { what: "too many entries", limit: limits.files as u64 });
            }
            let text = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let forbidden = |what| ArchiveError::Forbidden { path: text.clone(), what };
            match entry.header().entry_type() {
                tar::EntryType::Directory | tar::EntryType::XGlobalHeader => continue,
                tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {}
                tar::EntryType::Symlink | tar::EntryType::Link => return Err(forbidden("which is a link")),
                _ => return Err(forbidden("which is neither a file nor a folder")),
            }
            if entry.header().entry_type() == tar::EntryType::GNUSparse {
                return Err(forbidden("which is a sparse file"));
            }
            let path = inner(&text).ok_or_else(|| forbidden("which is no path inside a chart"))?;
            let mut bytes = Vec::new();
            (&mut entry).take(limits.file as u64 + 1).read_to_end(&mut bytes).map_err(malformed)?;
            if bytes.len() > limits.file {
                return Err(ArchiveError::TooLarge { what: "a file with too many bytes", limit: limits.file as u64 });
            }
            let id = hexadecimal(&Sha256::digest(&bytes));
            if files.insert(path.as_str().to_owned(), (id, bytes)).is_some() {
                return Err(forbidden("which stands there twice"));
            }
        }
        Ok(files)
    }

    /// All files, with what is in them.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, (_, bytes))| (path.as_str(), bytes.as_slice()))
    }

    fn is_folder(&self, path: &RepoPath) -> bool {
        path.as_str().is_empty() || self.below(path).next().is_some()
    }

    /// The files below a folder, by their path from there. They stand beside each other.
    fn below(&self, path: &RepoPath) -> impl Iterator<Item = (&str, &str)> {
        let below = below(path);
        let from = self.files.range::<str, _>((Bound::Included(below.as_str()), Bound::Unbounded));
        from.map_while(move |(file, (id, _))| Some((file.strip_prefix(&below)?, id.as_str())))
    }
}

/// Counts what is read.
struct Counted<R> {
    reader: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// The path behind the chart's own folder, which comes first in every packed chart.
fn inner(text: &str) -> Option<RepoPath> {
    let text = text.strip_prefix("./").unwrap_or(text);
    let (_, rest) = text.split_once('/').filter(|(folder, _)| !matches!(*folder, "" | "." | ".."))?;
    let clean = rest.split('/').all(|part| !matches!(part, "" | "." | ".."));
    RepoPath::root().join(rest).filter(|_| clean && !rest.contains(char::is_control))
}

fn below(path: &RepoPath) -> String {
    if path.as_str().is_empty() { String::new() } else { format!("{path}/") }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Tree for ChartTree {
    fn entry(&self, path: &RepoPath) -> Result<Option<TreeEntry>, TreeError> {
        if let Some((id, _)) = self.files.get(path.as_str()) {
            return Ok(Some(TreeEntry { kind: EntryKind::File, id: id.clone() }));
        }
        Ok(self.is_folder(path).then(|| TreeEntry { kind: EntryKind::Folder, id: String::new() }))
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<(String, TreeEntry)>, TreeError> {
        let mut entries: Vec<(String, TreeEntry)> = Vec::new();
        for (rest, id) in self.below(path) {
            match rest.split_once('/') {
                None => entries.push((rest.to_owned(), TreeEntry { kind: EntryKind::File, id: id.to_owned() })),
                Some((folder, _)) if entries.last().is_some_and(|(name, _)| name == folder) => {}
                Some((folder, _)) => {
                    entries.push((folder.to_owned(), TreeEntry { kind: EntryKind::Folder, id: String::new() }));
                }
            }
        }
        Ok(entries)
    }

    fn read(&self, path: &RepoPath, limit: usize) -> Result<Vec<u8>, TreeError> {
        match self.files.get(path.as_str()) {
            None => Err(TreeError::unreadable(path, "it does not exist")),
            Some((_, bytes)) if bytes.len() > limit => Err(TreeError::too_large(path, limit)),
            Some((_, bytes)) => Ok(bytes.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(build: impl FnOnce(&mut tar::Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        build(&mut builder);
        builder.into_inner().unwrap().finish().unwrap()
    }

    /// An entry with whatever path.
    fn entry(builder: &mut tar::Builder<GzEncoder<Vec<u8>>>, path: &str, kind: tar::EntryType, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        if kind == tar::EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }

    fn read(packed: &[u8]) -> Result<ChartTree, String> {
        ChartTree::read(packed, &Limits::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_packed_chart_is_a_tree() {
        let packed = packed(|b| {
            entry(b, "app/Chart.yaml", tar::EntryType::Regular, b"name: app");
            entry(b, "app/templates/", tar::EntryType::Directory, b"");
            entry(b, "app/templates/a.yaml", tar::EntryType::Regular, b"a");
            entry(b, "app/templates/b.yaml", tar::EntryType::Regular, b"b");
        });
        let tree = read(&packed).unwrap();
        let names = |path: &str| {
            let entries = tree.list(&RepoPath::root().join(path).unwrap()).unwrap();
            entries.into_iter().map(|(name, entry)| (name, entry.kind)).collect::<Vec<_>>()
        };
        assert_eq!(names(""), [("Chart.yaml".into(), EntryKind::File), ("templates".into(), EntryKind::Folder)]);
        assert_eq!(names("templates").len(), 2);
        assert_eq!(tree.read(&RepoPath::root().join("templates/a.yaml").unwrap(), 10).unwrap(), b"a");
        assert!(tree.read(&RepoPath::root().join("Chart.yaml").unwrap(), 3).is_err());
    }

    #[test]
    fn folders_are_told_from_what_only_begins_like_them() {
        let paths = ["app/a-b", "app/a.b/x", "app/a/x", "app/a/y/z", "app/a0", "app/c/x", "app/cc"];
        let packed = packed(|b| paths.iter().for_each(|path| entry(b, path, tar::EntryType::Regular, b"")));
        let tree = read(&packed).unwrap();
        let path = |text: &str| RepoPath::root().join(text).unwrap();
        let names = |text: &str| tree.list(&path(text)).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(""), ["a-b", "a.b", "a", "a0", "c", "cc"]);
        assert_eq!(
            (names("a"), names("a/y"), names("c")),
            (vec!["x".into(), "y".into()], vec!["z".into()], vec!["x".into()])
        );
        for (text, kind) in [
            ("a", Some(EntryKind::Folder)),
            ("a/y", Some(EntryKind::Folder)),
            ("a-b", Some(EntryKind::File)),
            ("a.", None),
            ("a/", Some(EntryKind::Folder)),
            ("d", None),
            ("", Some(EntryKind::Folder)),
        ] {
            assert_eq!(tree.entry(&path(text)).unwrap().map(|entry| entry.kind), kind, "{text}");
        }
    }

    #[test]
    fn rule_7_what_leads_out_of_an_archive_is_refused() {
        for (path, kind, expected) in [
            ("app/../../etc/x", tar::EntryType::Regular, "no path inside"),
            ("/etc/passwd", tar::EntryType::Regular, "no path inside"),
            ("../x", tar::EntryType::Regular, "no path inside"),
            ("app//x", tar::EntryType::Regular, "no path inside"),
            ("Chart.yaml", tar::EntryType::Regular, "no path inside"),
            ("app/a\\b", tar::EntryType::Regular, "no path inside"),
            ("app/link", tar::EntryType::Symlink, "is a link"),
            ("app/hard", tar::EntryType::Link, "is a link"),
            ("app/fifo", tar::EntryType::Fifo, "neither a file"),
        ] {
            let error = read(&packed(|b| entry(b, path, kind, b""))).unwrap_err();
            assert!(error.contains(expected), "{path}: {error}");
        }
        let twice = packed(|b| {
            entry(b, "app/x", tar::EntryType::Regular, b"1");
            entry(b, "app/x", tar::EntryType::Regular, b"2");
        });
        assert!(read(&twice).unwrap_err().contains("twice"));
    }

    #[test]
    fn bombs_end_at_the_limits() {
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..200 {
            bomb.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < 1 << 20);
        assert!(read(&bomb).is_err());
        let several = packed(|b| {
            (0..8).for_each(|n| entry(b, &format!("app/{n}"), tar::EntryType::Regular, &vec![b'a'; 15 << 20]));
        });
        assert!(read(&several).unwrap_err().contains("too many bytes when unpacked"));
        let large = packed(|b| entry(b, "app/x", tar::EntryType::Regular, &vec![b'a'; 17 << 20]));
        assert!(read(&large).unwrap_err().contains("too many bytes"));
        let limits = Limits { total: 4096, ..Limits::default() };
        let many =
            packed(|b| (0..20).for_each(|n| entry(b, &format!("app/{n}"), tar::EntryType::Regular, &[b'a'; 600])));
        assert!(ChartTree::read(&many, &limits).is_err());
        let limits = Limits { files: 10, ..Limits::default() };
        assert!(matches!(ChartTree::read(&many, &limits), Err(ArchiveError::TooLarge { limit: 10, .. })));
        for garbage in [&b""[..], b"no gzip", &packed(|_| {})] {
            assert!(read(garbage).is_err());
        }
    }
}

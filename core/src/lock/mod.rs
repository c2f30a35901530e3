//! The lock file: what bases, files and charts from elsewhere were, so that every render takes the same.
//!
//! ```yaml
//! format: 1
//! bases:
//! - repository: https://github.com/org/repo
//!   revision: v1.2
//!   commit: 1f7391f92b6a3792204e07e99f71f643cc35e7e1
//! charts:
//! - repository: https://charts.example.com
//!   name: web
//!   version: 6.x
//!   locked: 6.7.1
//!   digest: sha256:…
//! files:
//! - address: https://example.com/install.yaml
//!   digest: sha256:…
//! ```
//!
//! The lock file at the top of a repository holds for what that repository names: for its kustomizations and charts as
//! they are walked, and for the charts of the Applications that it brings. Those live in the cluster, where no tree is:
//! what is locked for them is written into an annotation when they are rendered, and goes with their spec.
//!
//! Entries are sorted, and those lines of an entry that change with an update stand behind lines that do not, so that two
//! branches which update different entries merge.

mod application;
mod file;

use std::collections::{BTreeMap, BTreeSet};

use crate::closure::{RemoteContent, RemoteReference};
use crate::tree::{RepoPath, TreeError};

pub use application::charts_of;

/// The file, at the top of the repository.
pub const PATH: &str = "gitmoor.lock";

const DIGEST: &str = "sha256:";

/// What something from elsewhere was.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Locked {
    /// A repository at a commit.
    Commit(String),
    /// A file by its SHA-256, in hexadecimal; `None` where there was none, and a repository was looked for.
    File(Option<String>),
    /// A chart at a version, with the SHA-256 of its archive, in hexadecimal.
    Chart {
        /// The version.
        version: String,
        /// The digest.
        digest: String,
    },
}

impl Locked {
    /// What was found, as a lock file has it; `None` for what could not be had.
    pub fn of(reference: &RemoteReference, found: &RemoteContent) -> Option<Self> {
        match (reference, found) {
            (RemoteReference::Repository { .. }, RemoteContent::Tree { id, .. }) => Some(Self::Commit(id.clone())),
            (RemoteReference::Chart { .. }, RemoteContent::Tree { id, version, .. }) => {
                Some(Self::Chart { version: version.clone(), digest: id.clone() })
            }
            (RemoteReference::File { .. }, RemoteContent::File { digest, .. }) => {
                Some(Self::File(Some(digest.clone())))
            }
            (RemoteReference::File { .. }, RemoteContent::NoFile) => Some(Self::File(None)),
            _ => None,
        }
    }

    /// In one word, for people: the commit, the version, the digest.
    pub fn short(&self) -> String {
        match self {
            Self::Commit(commit) => commit.chars().take(12).collect(),
            Self::File(Some(digest)) => format!("{DIGEST}{}", digest.get(..12).unwrap_or(digest)),
            Self::File(None) => "no file".to_owned(),
            Self::Chart { version, digest } => format!("{version} {DIGEST}{}", digest.get(..12).unwrap_or(digest)),
        }
    }
}

/// Why a lock file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LockError {
    /// The line, where it is known.
    pub line: Option<usize>,
    /// What is wrong, and the way out.
    pub reason: String,
}

impl LockError {
    fn new(reason: impl Into<String>) -> Self {
        Self { line: None, reason: reason.into() }
    }
}

/// Why there is no lock, although there may be a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockFileError {
    /// It cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// What is locked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    entries: BTreeMap<RemoteReference, Locked>,
}

impl Lock {
    fn add(&mut self, reference: RemoteReference, locked: Option<Locked>) -> Result<(), LockError> {
        let locked = locked.ok_or_else(|| {
            LockError::new(format!("has no full commit id or digest for {reference}; run `gitmoor lock`"))
        })?;
        match self.entries.insert(normal(&reference), locked.clone()) {
            Some(before) if before != locked => {
                Err(LockError::new(format!("has {reference} twice; remove one, and run `gitmoor lock`")))
            }
            _ => Ok(()),
        }
    }

    /// What something is locked to.
    pub fn get(&self, reference: &RemoteReference) -> Option<&Locked> {
        self.entries.get(&normal(reference))
    }

    /// Locks something.
    pub fn insert(&mut self, reference: &RemoteReference, locked: Locked) {
        self.entries.insert(normal(reference), locked);
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&RemoteReference, &Locked)> {
        self.entries.iter()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is locked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps the entries that a rule holds for.
    pub fn retain(&mut self, keep: impl Fn(&RemoteReference) -> bool) {
        self.entries.retain(|reference, _| keep(reference));
    }

    /// Only the entries of these.
    pub fn only(&self, references: &BTreeSet<RemoteReference>) -> Self {
        let found = references.iter().filter_map(|reference| Some((normal(reference), self.get(reference)?.clone())));
        Self { entries: found.collect() }
    }

    /// The revision in place of the one that a chart's source names: `VERSION@sha256:DIGEST`.
    pub fn revision(&self, repository: &str, chart: &str, revision: &str) -> Option<String> {
        match self.get(&chart_reference(repository, chart, revision))? {
            Locked::Chart { version, digest } => Some(format!("{version}@{DIGEST}{digest}")),
            Locked::Commit(_) | Locked::File(_) => None,
        }
    }
}

/// Where the lock file of a tree is.
pub fn path() -> RepoPath {
    RepoPath::root().join(PATH).unwrap_or_default()
}

/// A chart as a source of an Application names it.
pub fn chart_reference(repository: &str, chart: &str, revision: &str) -> RemoteReference {
    let (repository, name, version) = (repository.to_owned(), chart.to_owned(), revision.to_owned());
    normal(&RemoteReference::Chart { repository, name, version })
}

/// Whether people mean this by a name: its address, the last part of that, or the chart's name.
pub fn is_named(reference: &RemoteReference, name: &str) -> bool {
    let (address, chart) = match reference {
        RemoteReference::Repository { address, .. } | RemoteReference::File { address } => (address, None),
        RemoteReference::Chart { repository, name, .. } => (repository, Some(name)),
    };
    let last = address.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    let last = last.strip_suffix(".git").unwrap_or(last);
    name == address || chart.map_or(last == name, |chart| chart == name)
}

/// A version that is locked to a digest: `VERSION@sha256:DIGEST`.
pub fn locked_version(revision: &str) -> Option<(&str, &str)> {
    let (version, digest) = revision.split_once('@')?;
    let digest = digest.strip_prefix(DIGEST)?;
    is_hexadecimal(digest, &[64]).then_some((version, digest))
}

/// No version and `HEAD` are the same: the highest release.
fn normal(reference: &RemoteReference) -> RemoteReference {
    match reference {
        RemoteReference::Chart { repository, name, version } if version.is_empty() => {
            let (repository, name) = (repository.clone(), name.clone());
            RemoteReference::Chart { repository, name, version: "HEAD".to_owned() }
        }
        other => other.clone(),
    }
}

fn read_digest(text: &str) -> Option<String> {
    let digest = text.strip_prefix(DIGEST)?;
    is_hexadecimal(digest, &[64]).then(|| digest.to_owned())
}

fn is_hexadecimal(text: &str, lengths: &[usize]) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::file::COMMENT;
    use super::*;
    use crate::names::ANNOTATION_LOCK;

    const COMMIT: &str = "1f7391f92b6a3792204e07e99f71f643cc35e7e1";

    fn digest(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn example() -> Lock {
        let mut lock = Lock::default();
        let base = RemoteReference::Repository { address: "https://git/o/r".into(), revision: "v1".into() };
        lock.insert(&base, Locked::Commit(COMMIT.into()));
        lock.insert(&RemoteReference::File { address: "https://a/x.yaml".into() }, Locked::File(Some(digest('a'))));
        lock.insert(&RemoteReference::File { address: "https://git/o/r".into() }, Locked::File(None));
        let chart = Locked::Chart { version: "6.7.1".into(), digest: digest('b') };
        lock.insert(&chart_reference("https://charts", "web", "6.x"), chart.clone());
        lock.insert(&chart_reference("registry/org", "web", ""), chart);
        lock
    }

    #[test]
    fn what_is_written_is_read_and_each_entry_stands_in_lines_of_its_own() {
        let text = example().write();
        assert_eq!(Lock::parse(&text), Ok(example()));
        assert_eq!(Lock::parse(&text).unwrap().write(), text);
        let charts = text.split_once("charts:\n").unwrap().1.split_once("files:").unwrap().0;
        let expected = format!(
            "- repository: https://charts\n  name: web\n  version: 6.x\n  locked: 6.7.1\n  digest: sha256:{b}\n- \
             repository: registry/org\n  name: web\n  version: HEAD\n  locked: 6.7.1\n  digest: sha256:{b}\n",
            b = digest('b')
        );
        assert_eq!(charts, expected);
        assert_eq!(Lock::default().write(), format!("{COMMENT}format: 1\n"));
    }

    #[test]
    fn what_a_merge_or_a_hand_has_left_is_told() {
        let text = example().write();
        let both = text.replace("files:", &format!("- repository: https://charts\n  name: web\n  version: 6.x\n  locked: 6.8.0\n  digest: sha256:{}\nfiles:", digest('c')));
        let again = text.replace("files:", &format!("- repository: https://charts\n  name: web\n  version: 6.x\n  locked: 6.7.1\n  digest: sha256:{}\nfiles:", digest('b')));
        assert_eq!(Lock::parse(&again), Ok(example()), "the same twice is no contradiction");
        for (text, line, words) in [
            (both, None, "https://charts/web 6.x twice"),
            (format!("{text}<<<<<<< HEAD\n"), Some(text.lines().count() + 1), "a merge left its marks"),
            (text.replace("format: 1", "format: 2"), None, "format 2"),
            (text.replace(COMMIT, "v1"), None, "no full commit id or digest for https://git/o/r at v1"),
            (text.replace("sha256:a", "sha256:g"), None, "for https://a/x.yaml"),
            (text.replace("locked: 6.7.1", "locked: 6.7.1@x"), None, "for https://charts/web 6.x"),
            (text.replace("  commit: ", "  sha: "), Some(7), "is no lock file"),
            ("[]".to_owned(), None, "is no lock file"),
        ] {
            let error = Lock::parse(&text).expect_err(words);
            assert!(error.reason.contains(words), "{words}: {error:?}");
            assert!(line.is_none() || error.line == line, "{words}: {error:?}");
        }
    }

    #[test]
    fn an_application_carries_what_is_locked_of_its_charts_and_nothing_else() {
        let application = |revision: &str| {
            json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "web"}, "spec": {
                "sources": [{"repoURL": "https://charts", "chart": "web", "targetRevision": revision},
                            {"repoURL": "https://git/o/r", "targetRevision": "v1", "ref": "values"}]}})
        };
        let mut pinned = application("6.x");
        example().pin(&mut pinned);
        let carried = Lock::of_application(&pinned).unwrap();
        let expected = format!("6.7.1@sha256:{}", digest('b'));
        assert_eq!(carried.revision("https://charts", "web", "6.x"), Some(expected.clone()));
        assert_eq!((carried.len(), carried.revision("https://charts", "web", "7.x")), (1, None));
        assert_eq!(locked_version(&expected), Some(("6.7.1", digest('b').as_str())));
        assert_eq!((locked_version("6.7.1"), locked_version("6.7.1@sha256:short")), (None, None));
        Lock::default().pin(&mut pinned);
        assert_eq!(pinned["metadata"]["annotations"], json!({}), "what is not locked any more is not carried");
        let mut other = application("7.x");
        example().pin(&mut other);
        assert_eq!(other, application("7.x"));
        pinned["metadata"]["annotations"][ANNOTATION_LOCK] = json!("by hand");
        assert!(Lock::of_application(&pinned).is_err());
        pinned["kind"] = json!("ConfigMap");
        assert!(charts_of(&pinned).is_empty());
    }

    #[test]
    fn names_that_people_use() {
        let base = RemoteReference::Repository { address: "https://git/o/bases.git".into(), revision: "v1".into() };
        let chart = chart_reference("https://charts/stable", "web", "1.x");
        for (reference, name, expected) in [
            (&base, "bases", true),
            (&base, "https://git/o/bases.git", true),
            (&base, "o/bases", false),
            (&chart, "web", true),
            (&chart, "https://charts/stable", true),
            (&chart, "stable", false),
        ] {
            assert_eq!(is_named(reference, name), expected, "{name}");
        }
    }
}

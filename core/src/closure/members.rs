//! The set itself, and its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::remote::RemoteReference;
use crate::tree::RepoPath;

/// How the manifests of a folder are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceKind {
    /// `kustomize build` of the folder.
    Kustomize,
    /// The manifest files that lie in the folder itself, or also below.
    Directory,
    /// `helm template` of the folder.
    Helm,
}

/// What a render may read at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// A regular file.
    File {
        /// Git object id.
        id: String,
        /// Whether it has the executable bit. Renders do not depend on it, and neither does the digest.
        executable: bool,
    },
    /// A symbolic link on the way to another member.
    Link {
        /// Git object id, which stands for the target.
        id: String,
        /// Where it points to.
        target: String,
    },
    /// A folder whose list of manifest files matters.
    Listing {
        /// SHA-256 of the names and kinds that matter, in hexadecimal.
        digest: String,
    },
    /// A folder that is read as a whole: what is in it are members of their own, and what appears below it counts too.
    Folder,
    /// A path that was looked for and holds no file; one that appears there, or below, may change the render.
    Absent,
}

/// Everything that a render of one folder may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadSet {
    /// Whether kustomize inflates charts.
    pub charts: bool,
    /// The folder that is rendered, as the Application names it.
    pub path: RepoPath,
    /// How its manifests are made.
    pub source: SourceKind,
    /// What is read, by path.
    pub members: BTreeMap<RepoPath, Member>,
    /// What comes from elsewhere.
    pub remotes: Vec<RemoteUse>,
}

/// Something from elsewhere, where it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUse {
    /// The folder of the kustomization, or chart, that uses it.
    pub folder: RepoPath,
    /// Where it is named: a file, and the bytes of the entry in it. `None` when options of the Application name it, and
    /// for charts, which are put where they are looked for.
    pub place: Option<(RepoPath, Range<usize>)>,
    /// The entry, as it is written.
    pub text: String,
    /// What it is.
    pub what: RemoteUsed,
}

/// What is used of something from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteUsed {
    /// A folder of a repository.
    Base {
        /// The repository.
        reference: RemoteReference,
        /// What is read of it.
        read_set: Arc<ReadSet>,
    },
    /// A file.
    File {
        /// Its address.
        reference: RemoteReference,
        /// SHA-256 of what is in it.
        digest: String,
    },
    /// A chart.
    Chart {
        /// Where it comes from.
        reference: RemoteReference,
        /// Where it is looked for.
        at: RepoPath,
        /// What is read of it.
        read_set: Arc<ReadSet>,
    },
}

impl RemoteUsed {
    /// What it was asked for by.
    pub fn reference(&self) -> &RemoteReference {
        match self {
            Self::Base { reference, .. } | Self::File { reference, .. } | Self::Chart { reference, .. } => reference,
        }
    }
}

impl ReadSet {
    /// SHA-256 over the folder, the source kind and all members, in hexadecimal. Equal digests render equally, given the
    /// same options and the same renderer.
    pub fn digest(&self) -> String {
        let Self { path, source, members, remotes, charts: _ } = self;
        let mut hash = Sha256::new();
        hash.update(b"gitmoor read-set 1\0");
        hash.update(match source {
            SourceKind::Kustomize => b"k",
            SourceKind::Directory => b"d",
            SourceKind::Helm => b"h",
        });
        feed(&mut hash, path.as_str());
        for (path, member) in members {
            feed(&mut hash, path.as_str());
            let (tag, content) = match member {
                Member::File { id, executable: _ } => (b"f", id.as_str()),
                Member::Link { id, target: _ } => (b"l", id.as_str()),
                Member::Listing { digest } => (b"d", digest.as_str()),
                Member::Folder => (b"t", ""),
                Member::Absent => (b"-", ""),
            };
            hash.update(tag);
            feed(&mut hash, content);
        }
        for RemoteUse { folder, place, text, what } in remotes {
            feed(&mut hash, folder.as_str());
            feed(&mut hash, place.as_ref().map_or("", |(file, _)| file.as_str()));
            feed(&mut hash, text);
            match what {
                RemoteUsed::Base { reference: _, read_set } => feed(&mut hash, &read_set.digest()),
                RemoteUsed::File { reference: _, digest } => feed(&mut hash, digest),
                RemoteUsed::Chart { reference: _, at, read_set } => {
                    feed(&mut hash, at.as_str());
                    feed(&mut hash, &read_set.digest());
                }
            }
        }
        hexadecimal(&hash.finalize())
    }

    /// Everything that comes from elsewhere, also what that names in turn.
    pub fn references(&self) -> BTreeSet<RemoteReference> {
        let mut found = BTreeSet::new();
        for used in &self.remotes {
            found.insert(used.what.reference().clone());
            match &used.what {
                RemoteUsed::Base { read_set, .. } | RemoteUsed::Chart { read_set, .. } => {
                    found.extend(read_set.references());
                }
                RemoteUsed::File { .. } => {}
            }
        }
        found
    }

    /// Whether kustomize inflates charts, also in what comes from elsewhere.
    pub fn inflates(&self) -> bool {
        let bases = self.remotes.iter().filter_map(|used| match &used.what {
            RemoteUsed::Base { read_set, .. } => Some(read_set),
            RemoteUsed::File { .. } | RemoteUsed::Chart { .. } => None,
        });
        self.charts || bases.into_iter().any(|base| base.inflates())
    }

    /// Every path that the render depends on, in order.
    pub fn paths(&self) -> impl Iterator<Item = &RepoPath> {
        self.members.keys()
    }
}

/// Adds a text and its length, so that no two lists of texts feed the same bytes.
pub(super) fn feed(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

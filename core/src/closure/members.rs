//! The set itself, and its digest.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

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
    /// The folder that is rendered, as the Application names it.
    pub path: RepoPath,
    /// How its manifests are made.
    pub source: SourceKind,
    /// What is read, by path.
    pub members: BTreeMap<RepoPath, Member>,
}

impl ReadSet {
    /// SHA-256 over the folder, the source kind and all members, in hexadecimal. Equal digests render equally, given the
    /// same options and the same renderer.
    pub fn digest(&self) -> String {
        let Self { path, source, members } = self;
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
        hexadecimal(&hash.finalize())
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

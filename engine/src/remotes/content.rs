//! What a pin stands for, from disk.

use std::sync::Arc;

use gitmoor_core::closure::{RemoteContent, RemoteReference, RemoteTree};
use gitmoor_core::tree::{RepoPath, Tree, TreeError};

use super::{Pin, RemoteStore};
use crate::charts::{ChartTree, ChartVersion};
use crate::git::{CommitId, Mirror};

impl RemoteStore {
    /// What a pin stands for; `None` when the disk has lost it. Blocking.
    pub fn content(&self, reference: &RemoteReference, pin: &Pin) -> Option<RemoteContent> {
        match pin {
            Pin::Commit { commit, reference: name } => {
                let url = self.repository(reference).ok()??;
                let mirror = Mirror::new(&self.data, url, self.fetcher.clone());
                mirror.tree(commit).ok()?;
                let (id, version) = (commit.to_string(), name.clone().unwrap_or_default());
                Some(RemoteContent::Tree { tree: Arc::new(Commit { mirror, commit: commit.clone() }), id, version })
            }
            Pin::File { digest, etag: _ } => {
                let bytes = self.store.get(digest)?;
                Some(RemoteContent::File { bytes: bytes.into(), digest: digest.clone() })
            }
            Pin::Chart { version, digest } => {
                let chart = ChartVersion { version: version.clone(), digest: digest.clone() };
                let tree = self.charts.tree(&chart).ok()??;
                let (id, version) = (digest.clone(), version.clone());
                Some(RemoteContent::Tree { tree: Arc::new(Packed(tree)), id, version })
            }
            Pin::NoFile => Some(RemoteContent::NoFile),
        }
    }
}

struct Commit {
    mirror: Mirror,
    commit: CommitId,
}

impl RemoteTree for Commit {
    fn open(&self) -> Result<Box<dyn Tree + Send>, TreeError> {
        let tree = self.mirror.tree(&self.commit);
        Ok(Box::new(tree.map_err(|error| TreeError::unreadable(&RepoPath::root(), error.to_string()))?))
    }
}

struct Packed(ChartTree);

impl RemoteTree for Packed {
    fn open(&self) -> Result<Box<dyn Tree + Send>, TreeError> {
        Ok(Box::new(self.0.clone()))
    }
}

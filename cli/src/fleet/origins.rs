//! Where sources stand: in the tree at hand, at another revision of the same repository, or elsewhere.
//!
//! Other repositories and charts are fetched into the user's cache, without credentials.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use gitmoor_core::{
    closure::RemoteReference,
    lock::{Locked, is_named},
    tree::{RepoPath, TreeError},
};
use gitmoor_engine::{
    access::Access,
    addresses::Addresses,
    charts::{ChartVersion, Charts, is_exact},
    git::{CommitId, FetchRequest, Fetcher, LocalClone, Mirror, RepositoryUrl},
    inputs::AnyTree,
    render::RenderError,
    sources::{Follow, FollowedSource, Origin},
};
use tokio::sync::OnceCell;

use super::Ground;
use crate::{failure::described, git::Repository};

/// Finds sources.
pub(crate) struct Origins {
    /// How addresses are read.
    pub(super) addresses: Addresses,
    /// Addresses of the repository at hand.
    pub(super) own: BTreeSet<RepositoryUrl>,
    /// The revision that the root Application follows: what is at hand stands for it.
    pub(super) own_revision: String,
    /// The clone, for other revisions of it.
    pub(super) clone: Option<(Repository, LocalClone)>,
    /// Folder for what is fetched.
    pub(super) data: PathBuf,
    pub(super) fetcher: Fetcher,
    pub(super) offline: bool,
    pub(super) allow_local: bool,
    pub(super) known: Mutex<HashMap<Follow, Looked>>,
    /// What comes from elsewhere.
    pub(super) remotes: super::remotes::Seen,
    /// What is found out anew.
    pub(super) update: Update,
}

/// What is found out anew, whatever the lock file says of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Update {
    /// All of it.
    pub(crate) all: bool,
    /// What goes by these names.
    pub(crate) names: Vec<String>,
    /// Upstream is asked for all that is not locked, also for exact versions and tags that were fetched before.
    pub(crate) anew: bool,
}

impl Update {
    /// Whether it is to be found out anew.
    pub(super) fn covers(&self, reference: &RemoteReference) -> bool {
        self.all || self.names.iter().any(|name| is_named(reference, name))
    }
}

/// What a look gave, once it has.
pub(super) type Looked = Arc<OnceCell<Result<Standing, String>>>;

/// Where a source stands.
#[derive(Clone)]
pub(super) enum Standing {
    /// In the tree at hand.
    Here,
    /// At a commit of the clone.
    InClone(LocalClone, String),
    Fetched(Mirror, CommitId),
    Chart(ChartVersion),
}

impl Origins {
    /// The tree of a source.
    pub(super) async fn tree(&self, ground: &Ground, source: &FollowedSource) -> Result<AnyTree, RenderError> {
        let standing = self.standing(&source.follow).await;
        let standing = standing.map_err(|reason| RenderError::Tree(TreeError::invalid(&source.recipe.path, reason)))?;
        let (ground, data) = (ground.clone(), self.data.clone());
        tokio::task::spawn_blocking(move || {
            let unreadable = |reason: String| RenderError::Tree(TreeError::unreadable(&RepoPath::root(), reason));
            Ok(match standing {
                Standing::Here => return ground.open(),
                Standing::InClone(clone, id) => {
                    Box::new(clone.tree(&id).map_err(|error| unreadable(described(&error)))?) as AnyTree
                }
                Standing::Fetched(mirror, commit) => {
                    Box::new(mirror.tree(&commit).map_err(|error| unreadable(described(&error)))?)
                }
                Standing::Chart(version) => {
                    let tree = Charts::new(data).tree(&version).map_err(|error| unreadable(error.to_string()))?;
                    Box::new(tree.ok_or_else(|| unreadable("the chart was removed from the cache".to_owned()))?)
                }
            })
        })
        .await?
    }

    /// Whether a source is read from the tree at hand.
    pub(super) fn is_here(&self, source: &FollowedSource) -> bool {
        match &source.follow.origin {
            Origin::Git(url) => self.own.contains(url) && self.is_own_revision(&source.follow.revision),
            Origin::Chart(_) => false,
        }
    }

    fn is_own_revision(&self, revision: &str) -> bool {
        revision == self.own_revision || revision == "HEAD"
    }

    /// Looked for once, whoever asks.
    async fn standing(&self, follow: &Follow) -> Result<Standing, String> {
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(follow.clone()).or_default())
        };
        cell.get_or_init(|| self.find(follow)).await.clone()
    }

    async fn find(&self, follow: &Follow) -> Result<Standing, String> {
        let Follow { origin, revision } = follow;
        match origin {
            Origin::Git(url) if self.own.contains(url) => {
                if self.is_own_revision(revision) {
                    Ok(Standing::Here)
                } else {
                    self.in_clone(url, revision)
                }
            }
            Origin::Git(url) => self.fetched(url, revision).await,
            Origin::Chart(address) => {
                if self.offline && !is_exact(revision) {
                    return Err(format!("{address} {revision} cannot be looked up with --offline"));
                }
                let charts = Charts::new(self.data.clone()).with_addresses(self.addresses.clone());
                let charts = if self.update.anew && !self.offline { charts.anew() } else { charts };
                let (address, revision) = (address.clone(), revision.clone());
                let found = tokio::task::spawn_blocking(move || {
                    let found = charts.resolve(&address, &revision, &Access::default());
                    found.map_err(|error| error.message)?.ok_or_else(|| format!("{address} has no version {revision}"))
                });
                found.await.unwrap_or_else(|error| Err(error.to_string())).map(Standing::Chart)
            }
        }
    }

    /// What a chart is locked to when it stays as it is.
    pub(super) async fn locked(&self, follow: &Follow) -> Option<Locked> {
        match self.standing(follow).await.ok()? {
            Standing::Chart(ChartVersion { version, digest }) => Some(Locked::Chart { version, digest }),
            Standing::Here | Standing::InClone(..) | Standing::Fetched(..) => None,
        }
    }

    /// Another branch or tag of the repository at hand, as the clone knows it.
    fn in_clone(&self, url: &RepositoryUrl, revision: &str) -> Result<Standing, String> {
        let missing = || format!("this clone of {url} does not have `{revision}`; run `git fetch --tags`");
        let (repository, clone) = self.clone.as_ref().ok_or_else(missing)?;
        let names = [format!("refs/remotes/origin/{revision}"), format!("refs/tags/{revision}"), revision.to_owned()];
        let found = names.iter().find_map(|name| repository.commit(name)).ok_or_else(missing)?;
        Ok(Standing::InClone(clone.clone(), found))
    }

    async fn fetched(&self, url: &RepositoryUrl, revision: &str) -> Result<Standing, String> {
        // One that stands in for another was chosen by whoever runs this.
        let is_local = url.host().is_none() && url.to_string().starts_with("file:");
        if is_local && !self.allow_local {
            return Err(format!("{url} is a folder of this machine; allow it with --allow-local-repositories"));
        }
        let mirror = Mirror::new(&self.data, url.clone(), self.fetcher.clone());
        if let Some(commit) = CommitId::parse(revision) {
            let (mirror, known) = (mirror.clone(), commit.clone());
            let there = tokio::task::spawn_blocking(move || mirror.tree(&known).is_ok()).await.unwrap_or(false);
            if there {
                return Ok(Standing::Fetched(Mirror::new(&self.data, url.clone(), self.fetcher.clone()), commit));
            }
        }
        if self.offline {
            return Err(format!("{url} is another repository, and is not fetched with --offline"));
        }
        let request = FetchRequest { revisions: [revision.to_owned()].into(), ..FetchRequest::default() };
        let outcome = mirror.fetch(&request).await.map_err(|error| described(&error))?;
        match outcome.heads.get(revision) {
            Some(head) => Ok(Standing::Fetched(mirror, head.commit.clone())),
            None => Err(format!("{url} has no branch, tag or commit `{revision}`")),
        }
    }
}

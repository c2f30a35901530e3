//! Follows repositories: one mirror and one fetch at a time for each, however many Applications use it.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use gitmoor_core::tree::RepoPath;
use gitmoor_engine::git::{
    CommitId, FetchError, FetchErrorKind, FetchOutcome, FetchRequest, Fetcher, Mirror, RepositoryUrl,
};

use crate::charts::ChartFollowers;
use crate::clock;
use crate::follow::{Followed, Followers, Looked, Means};
use crate::heads::Heads;
use crate::metrics::{Metrics, Result as ResultLabel};
use crate::state::{Follow, Head, Move, Origin, Position, Unreachable};

/// How repositories are followed.
pub(crate) struct Repositories {
    data_dir: PathBuf,
    fetcher: Fetcher,
    means: Means,
    metrics: Arc<Metrics>,
    heads: Heads,
    /// Charts, followed beside.
    pub charts: ChartFollowers,
    followers: Followers<RepositoryUrl>,
}

impl Repositories {
    /// Nothing is followed yet.
    pub(crate) fn new(
        data_dir: PathBuf,
        fetcher: Fetcher,
        means: Means,
        metrics: Arc<Metrics>,
        heads: Heads,
        charts: ChartFollowers,
    ) -> Self {
        let followers = Followers::new(means.clone());
        Self { data_dir, fetcher, means, metrics, heads, charts, followers }
    }

    /// The mirror of a repository.
    pub(crate) fn mirror(&self, url: &RepositoryUrl) -> Mirror {
        Mirror::new(&self.data_dir, url.clone(), self.fetcher.clone())
    }

    /// Follows exactly what Applications follow now.
    pub(crate) fn refollow(&self) {
        let (mut follows, mut charts) = (HashMap::new(), HashMap::new());
        for (origin, revisions) in self.means.state.follows() {
            match origin {
                Origin::Git(url) => drop(follows.insert(url, revisions)),
                Origin::Chart(address) => drop(charts.insert(address, revisions)),
            }
        }
        self.charts.refollow(charts);
        self.followers.refollow(follows, |url| Repository {
            mirror: self.mirror(url),
            means: self.means.clone(),
            metrics: Arc::clone(&self.metrics),
            heads: self.heads.clone(),
        });
    }

    /// Looks now at the repositories of these places, by whatever scheme they are followed; false when nobody follows any.
    pub(crate) fn look_at_places(&self, places: &BTreeSet<(String, String)>) -> bool {
        self.followers.look_where(|url| places.contains(&url.place()))
    }

    /// Looks at a repository or chart now; the future ends when what a look finds that begins from now on is known, or why
    /// it failed.
    pub(crate) fn look_through(&self, origin: &Origin) -> BoxFuture<'static, Option<Unreachable>> {
        match origin {
            Origin::Git(url) => self.followers.look_through(url).boxed(),
            Origin::Chart(address) => self.charts.look_through(address).boxed(),
        }
    }

    /// Waits until what looks have found so far is recorded where people read it.
    pub(crate) async fn recorded(&self) {
        self.heads.told().await;
    }

    /// Looks at everything now.
    pub(crate) fn look_at_all(&self) {
        self.followers.look_where(|_| true);
        self.charts.look_at_all();
    }
}

/// One that is followed.
struct Repository {
    mirror: Mirror,
    means: Means,
    metrics: Arc<Metrics>,
    heads: Heads,
}

impl Followed for Repository {
    fn origin(&self) -> Origin {
        Origin::Git(self.mirror.url().clone())
    }

    /// One fetch.
    async fn look(&self, revisions: &BTreeSet<String>) -> Looked {
        let (url, credentials) = (self.mirror.url(), &self.means.credentials);
        let found = credentials.find(url);
        let fetched = match credentials.open(found.clone()).await {
            Ok(access) => self.mirror.fetch(&FetchRequest { access, revisions: revisions.clone(), hosts: None }).await,
            Err(error) => Err(FetchError::before(url, error)),
        };
        if fetched.as_ref().is_err_and(|error| error.kind == FetchErrorKind::RefusedCredentials) {
            credentials.refused(&found);
        }
        let label = fetched.as_ref().map_or_else(|error| error.kind.as_str(), |_| "success");
        self.metrics.fetches.get_or_create(&ResultLabel::of(label)).inc();
        match fetched {
            Ok(outcome) => {
                let wake = self.take_in(revisions, &outcome).await;
                Looked { decided: revisions.clone(), wake, ..Looked::default() }
            }
            Err(error) => {
                tracing::warn!(repository = %url, %error, "fetch failed");
                let failed = Some(Unreachable { category: error.kind.as_str(), message: error.to_string() });
                Looked { failed, ..Looked::default() }
            }
        }
    }
}

impl Repository {
    /// Tells the state where the revisions stand, and which paths have changed.
    async fn take_in(
        &self,
        revisions: &BTreeSet<String>,
        outcome: &FetchOutcome,
    ) -> Vec<gitmoor_core::tracking::ApplicationKey> {
        let url = self.mirror.url();
        let origin = Origin::Git(url.clone());
        let before = self.means.state.heads(&origin);
        let (mut moves, mut moved) = (Vec::new(), false);
        for revision in revisions {
            let commit = outcome.heads.get(revision).map(|resolved| resolved.commit.clone());
            let head = commit.clone().map_or(Head::Missing, |commit| Head::At(Position::Commit(commit)));
            let changed = match (before.get(revision), &commit) {
                (Some(Position::Commit(old)), Some(new)) if old != new => {
                    self.changed_paths(old.clone(), new.clone()).await
                }
                _ => None,
            };
            if let Head::At(position) = &head
                && before.get(revision) != Some(position)
            {
                let paths = changed.as_ref().map(Vec::len);
                tracing::info!(repository = %url, %revision, commit = %position, paths, "new commit");
                if let (Position::Commit(commit), true) = (position, before.contains_key(revision)) {
                    self.measure(commit.clone()).await;
                }
                moved = true;
            }
            let follow = Follow { origin: origin.clone(), revision: revision.clone() };
            moves.push(Move { follow, head, changed });
        }
        let wake = self.means.state.advance(moves);
        if moved {
            self.heads.moved(url);
        }
        wake
    }

    /// How long ago a commit was made that is seen now. A push says no time of its own.
    async fn measure(&self, commit: CommitId) {
        let mirror = self.mirror.clone();
        let told = tokio::task::spawn_blocking(move || mirror.commit_info(&commit)).await;
        if let Ok(Ok(info)) = told {
            self.metrics.pushed(clock::ago(info.date));
        }
    }

    async fn changed_paths(&self, old: CommitId, new: CommitId) -> Option<Vec<RepoPath>> {
        let mirror = self.mirror.clone();
        let changed = tokio::task::spawn_blocking(move || mirror.changed_paths(&old, &new)).await;
        match changed {
            Ok(Ok(paths)) => paths,
            Ok(Err(error)) => {
                tracing::warn!(%error, "commits cannot be compared; every Application is looked at");
                None
            }
            Err(_) => None,
        }
    }
}

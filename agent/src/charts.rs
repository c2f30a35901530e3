//! Follows charts of repositories and registries, however many Applications use each.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use gitmoor_engine::access::Access;
use gitmoor_engine::charts::{ChartAddress, ChartError, ChartErrorKind, ChartTree, ChartVersion, Charts, is_exact};

use crate::follow::{Followed, Followers, Looked, Means};
use crate::metrics::{Metrics, Result as ResultLabel};
use crate::state::{Follow, Head, Move, Origin, Position, Unreachable};

/// How charts are followed.
pub(crate) struct ChartFollowers {
    shared: Shared,
    followers: Followers<ChartAddress>,
}

#[derive(Clone)]
struct Shared {
    charts: Charts,
    means: Means,
    metrics: Arc<Metrics>,
}

impl Shared {
    async fn access(&self, address: &ChartAddress) -> Result<Access, ChartError> {
        let credentials = &self.means.credentials;
        Ok(credentials.open(credentials.find_chart(address)).await?)
    }
}

impl ChartFollowers {
    /// Nothing is followed yet. Ranges of versions are looked at anew in the interval of `means`.
    pub(crate) fn new(charts: Charts, means: Means, metrics: Arc<Metrics>) -> Self {
        let followers = Followers::new(means.clone());
        Self { shared: Shared { charts, means, metrics }, followers }
    }

    /// Follows exactly these.
    pub(crate) fn refollow(&self, follows: HashMap<ChartAddress, BTreeSet<String>>) {
        self.followers.refollow(follows, |address| Chart { shared: self.shared.clone(), address: address.clone() });
    }

    /// Looks at a chart now; the future ends when what a look finds that begins from now on is known, or why it failed.
    pub(crate) fn look_through(
        &self,
        address: &ChartAddress,
    ) -> impl Future<Output = Option<Unreachable>> + Send + use<> {
        self.followers.look_through(address)
    }

    /// Looks at every chart now.
    pub(crate) fn look_at_all(&self) {
        self.followers.look_where(|_| true);
    }

    /// The files of a version.
    pub(crate) async fn tree(&self, address: &ChartAddress, version: &ChartVersion) -> Result<ChartTree, ChartError> {
        let (shared, address, version) = (self.shared.clone(), address.clone(), version.clone());
        let access = self.shared.access(&address).await;
        let read = move || {
            if let Some(tree) = shared.charts.tree(&version)? {
                return Ok(tree);
            }
            // The disk has lost it.
            let again = shared.charts.resolve(&address, &version.version, &access?)?;
            let tree = again.filter(|again| *again == version).map(|again| shared.charts.tree(&again)).transpose()?;
            tree.flatten().ok_or_else(|| ChartError {
                kind: ChartErrorKind::NotFound,
                message: format!("{address} {} is no longer what it was; refresh the Application", version.version),
            })
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(tree) => tree,
            Err(_) => {
                Err(ChartError { kind: ChartErrorKind::Other, message: "reading the chart was interrupted".to_owned() })
            }
        }
    }
}

/// One that is followed.
struct Chart {
    shared: Shared,
    address: ChartAddress,
}

impl Followed for Chart {
    fn origin(&self) -> Origin {
        Origin::Chart(self.address.clone())
    }

    async fn look(&self, revisions: &BTreeSet<String>) -> Looked {
        let mut looked = Looked { at_rest: true, ..Looked::default() };
        for revision in revisions {
            let found = self.resolve(revision.clone()).await;
            let label = found.as_ref().map_or_else(|error| error.kind.as_str(), |_| "success");
            self.shared.metrics.chart_fetches.get_or_create(&ResultLabel::of(label)).inc();
            match found {
                Ok(found) => {
                    looked.at_rest &= is_exact(revision) && found.is_some();
                    let head = found.map_or(Head::Missing, |version| Head::At(Position::Chart(version)));
                    let follow = Follow { origin: self.origin(), revision: revision.clone() };
                    let moves = vec![Move { follow, head, changed: None }];
                    looked.wake.extend(self.shared.means.state.advance(moves));
                    looked.decided.insert(revision.clone());
                }
                Err(error) => {
                    tracing::warn!(chart = %self.address, %revision, %error, "the chart cannot be had");
                    looked.failed = Some(Unreachable { category: error.kind.as_str(), message: error.message });
                }
            }
        }
        looked
    }
}

impl Chart {
    async fn resolve(&self, revision: String) -> Result<Option<ChartVersion>, ChartError> {
        let (charts, address) = (self.shared.charts.clone(), self.address.clone());
        let access = self.shared.access(&address).await?;
        let resolved = tokio::task::spawn_blocking(move || charts.resolve(&address, &revision, &access)).await;
        if let Ok(Err(error)) = &resolved
            && error.kind == ChartErrorKind::RefusedCredentials
        {
            let credentials = &self.shared.means.credentials;
            credentials.refused(&credentials.find_chart(&self.address));
        }
        resolved.unwrap_or_else(|_| {
            let kind = ChartErrorKind::Other;
            Err(ChartError { kind, message: "fetching the chart was interrupted".to_owned() })
        })
    }
}

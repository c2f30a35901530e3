//! Follows charts of repositories and registries: one task for each chart, however many Applications use it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gitmoor_engine::access::Access;
use gitmoor_engine::charts::{ChartAddress, ChartError, ChartErrorKind, ChartTree, ChartVersion, Charts, is_exact};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::credentials::CredentialStore;
use crate::metrics::{Metrics, Result as ResultLabel};
use crate::queue::Queue;
use crate::state::{Follow, Head, Move, Origin, Position, State, Unreachable};

/// First wait after a failure; doubled up to the poll interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Failures in a row after which the Applications of a chart say that they cannot tell.
const TOLERATED_FAILURES: u32 = 3;

/// How charts are followed.
pub(crate) struct ChartFollowers {
    shared: Shared,
    tasks: Mutex<HashMap<ChartAddress, Task>>,
}

#[derive(Clone)]
struct Shared {
    charts: Charts,
    poll_interval: Duration,
    credentials: Arc<CredentialStore>,
    state: Arc<State>,
    queue: Queue,
    metrics: Arc<Metrics>,
}

impl Shared {
    async fn access(&self, address: &ChartAddress) -> Result<Access, ChartError> {
        Ok(self.credentials.open(self.credentials.find_chart(address)).await?)
    }
}

struct Task {
    revisions: watch::Sender<BTreeSet<String>>,
    look: Arc<Notify>,
    handle: JoinHandle<()>,
}

impl ChartFollowers {
    /// Nothing is followed yet. Ranges of versions are looked at anew every `poll_interval`.
    pub(crate) fn new(
        charts: Charts,
        poll_interval: Duration,
        credentials: Arc<CredentialStore>,
        (state, queue, metrics): (Arc<State>, Queue, Arc<Metrics>),
    ) -> Self {
        let shared = Shared { charts, poll_interval, credentials, state, queue, metrics };
        Self { shared, tasks: Mutex::default() }
    }

    /// Follows exactly these.
    pub(crate) fn refollow(&self, follows: HashMap<ChartAddress, BTreeSet<String>>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|address, task| {
            let wanted = follows.contains_key(address);
            if !wanted {
                task.handle.abort();
            }
            wanted
        });
        for (address, revisions) in follows {
            if let Some(task) = tasks.get(&address) {
                task.revisions.send_if_modified(|present| {
                    let news = *present != revisions;
                    *present = revisions;
                    news
                });
                continue;
            }
            let (sender, receiver) = watch::channel(revisions);
            let look = Arc::new(Notify::new());
            let follower = Follower { shared: self.shared.clone(), address: address.clone(), failures: 0 };
            let handle = tokio::spawn(follower.run(receiver, Arc::clone(&look)));
            tasks.insert(address, Task { revisions: sender, look, handle });
        }
    }

    /// Looks at a chart now; false when nobody follows it.
    pub(crate) fn look(&self, address: &ChartAddress) -> bool {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.get(address).inspect(|task| task.look.notify_one()).is_some()
    }

    /// Looks at every chart now.
    pub(crate) fn look_at_all(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.values().for_each(|task| task.look.notify_one());
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

struct Follower {
    shared: Shared,
    address: ChartAddress,
    failures: u32,
}

impl Follower {
    async fn run(mut self, mut revisions: watch::Receiver<BTreeSet<String>>, look: Arc<Notify>) {
        self.shared.credentials.read_once().await;
        loop {
            let wanted = revisions.borrow_and_update().clone();
            let wait = self.resolve_all(&wanted).await;
            let elapsed = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = elapsed => {}
                () = look.notified() => {}
                changed = revisions.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Gives the time until the next look; `None` when nothing can change by itself.
    async fn resolve_all(&mut self, revisions: &BTreeSet<String>) -> Option<Duration> {
        let origin = Origin::Chart(self.address.clone());
        let mut failed = None;
        for revision in revisions {
            match self.resolve(revision.clone()).await {
                Ok(found) => {
                    self.shared.metrics.chart_fetches.get_or_create(&ResultLabel::of("success")).inc();
                    let head = found.map_or(Head::Missing, |version| Head::At(Position::Chart(version)));
                    let follow = Follow { origin: origin.clone(), revision: revision.clone() };
                    self.shared.queue.extend(self.shared.state.advance(vec![Move { follow, head, changed: None }]));
                }
                Err(error) => {
                    self.shared.metrics.chart_fetches.get_or_create(&ResultLabel::of(error.kind.as_str())).inc();
                    tracing::warn!(chart = %self.address, %revision, %error, "the chart cannot be had");
                    failed = Some(error);
                }
            }
        }
        let Some(error) = failed else {
            self.failures = 0;
            self.shared.queue.extend(self.shared.state.reachable(&origin, None));
            let heads = self.shared.state.heads(&origin);
            let at_rest = revisions.iter().all(|revision| is_exact(revision) && heads.contains_key(revision));
            return (!at_rest).then_some(self.shared.poll_interval);
        };
        self.failures += 1;
        let never_had = self.shared.state.heads(&origin).len() < revisions.len();
        if self.failures >= TOLERATED_FAILURES || never_had {
            let unreachable = Unreachable { category: error.kind.as_str(), message: error.message };
            self.shared.queue.extend(self.shared.state.reachable(&origin, Some(unreachable)));
        }
        Some((FIRST_RETRY * (1 << (self.failures - 1).min(10))).min(self.shared.poll_interval))
    }

    async fn resolve(&self, revision: String) -> Result<Option<ChartVersion>, ChartError> {
        let (charts, address) = (self.shared.charts.clone(), self.address.clone());
        let access = self.shared.access(&address).await?;
        let asked = address.clone();
        let resolved = tokio::task::spawn_blocking(move || charts.resolve(&asked, &revision, &access)).await;
        if let Ok(Err(error)) = &resolved
            && error.kind == ChartErrorKind::RefusedCredentials
        {
            self.shared.credentials.refused(&self.shared.credentials.find_chart(&address));
        }
        resolved.unwrap_or_else(|_| {
            let kind = ChartErrorKind::Other;
            Err(ChartError { kind, message: "fetching the chart was interrupted".to_owned() })
        })
    }
}

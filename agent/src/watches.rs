//! Watches on the kinds that Applications use: one per kind, filtered by our label, for as long as the agent runs.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitmoor_core::health::{Watch, watch_of};
use gitmoor_core::live::LiveObject;
use gitmoor_core::names::LABEL_APPLICATION;
use gitmoor_core::object::{GroupKind, ObjectId};
use gitmoor_core::resource::Resource;
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::cluster::{Change, Cluster, ClusterError, Selector};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::queue::Queue;
use crate::state::State;

/// How long a kind may take to be listed, before the Applications that use it say so.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a watch may be broken before what it told is not believed any more.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// A kind cannot be watched, so that nothing can be said of its objects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} cannot be watched: {reason}; does the agent's role allow to list and watch it?")]
pub(crate) struct WatchError {
    kind: GroupKind,
    reason: String,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    listed: bool,
    /// Since when it fails, and why.
    failing: Option<(Instant, String)>,
}

/// All watches of the agent.
pub(crate) struct Watches {
    cluster: Cluster,
    state: Arc<State>,
    queue: Queue,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    progress: HashMap<GroupKind, watch::Receiver<Progress>>,
    tasks: JoinSet<()>,
}

impl Watches {
    /// No watch yet.
    pub(crate) fn new(cluster: Cluster, state: Arc<State>, queue: Queue) -> Self {
        Self { cluster, state, queue, running: Mutex::default() }
    }

    /// Makes sure that the kinds are watched, and waits until each has been listed once.
    pub(crate) async fn ensure(&self, resources: &[Resource]) -> Result<(), WatchError> {
        let receivers: Vec<_> = resources.iter().filter(|r| r.watchable).map(|r| (r, self.start(r))).collect();
        for (resource, mut receiver) in receivers {
            let listed = tokio::time::timeout(SYNC_TIMEOUT, receiver.wait_for(|progress| progress.listed))
                .await
                .map(|seen| seen.is_ok());
            let progress = receiver.borrow().clone();
            let broken = progress.failing.filter(|(since, _)| since.elapsed() > STALE_AFTER || !progress.listed);
            match (listed, broken) {
                (Ok(true), None) => {}
                (_, Some((_, reason))) => return Err(WatchError { kind: resource.group_kind.clone(), reason }),
                _ => {
                    let reason = format!("no listing within {} seconds", SYNC_TIMEOUT.as_secs());
                    return Err(WatchError { kind: resource.group_kind.clone(), reason });
                }
            }
        }
        Ok(())
    }

    fn start(&self, resource: &Resource) -> watch::Receiver<Progress> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(receiver) = running.progress.get(&resource.group_kind) {
            return receiver.clone();
        }
        let (sender, receiver) = watch::channel(Progress::default());
        running.progress.insert(resource.group_kind.clone(), receiver.clone());
        let selector = Selector { namespace: None, labels: Some(LABEL_APPLICATION.to_owned()) };
        let stream = match watch_of(&resource.group_kind) {
            Watch::Full => self.cluster.watch(resource, &selector),
            Watch::Metadata => self.cluster.watch_metadata(resource, &selector),
        };
        let intake = Intake { kind: resource.group_kind.clone(), state: Arc::clone(&self.state), listing: None };
        running.tasks.spawn(follow(stream, intake, sender, self.queue.clone()));
        receiver
    }
}

async fn follow(
    mut stream: futures::stream::BoxStream<'static, Result<Change, ClusterError>>,
    mut intake: Intake,
    progress: watch::Sender<Progress>,
    queue: Queue,
) {
    tracing::debug!(kind = %intake.kind, "watching");
    while let Some(event) = stream.next().await {
        match event {
            Ok(change) => {
                let done = matches!(change, Change::ListingDone);
                queue.extend(intake.take(change));
                progress.send_if_modified(|progress| {
                    let news = progress.failing.is_some() || (done && !progress.listed);
                    progress.failing = None;
                    progress.listed |= done;
                    news
                });
            }
            Err(error) => {
                tracing::warn!(kind = %intake.kind, %error, "watch failed; it is taken up again");
                progress.send_modify(|progress| {
                    let since = progress.failing.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                    progress.failing = Some((since, error.to_string()));
                });
            }
        }
    }
}

/// Turns the events of one kind into updates of the state.
struct Intake {
    kind: GroupKind,
    state: Arc<State>,
    listing: Option<HashSet<ObjectId>>,
}

impl Intake {
    fn take(&mut self, change: Change) -> Vec<ApplicationKey> {
        match change {
            Change::Listing => {
                self.listing = Some(HashSet::new());
                Vec::new()
            }
            Change::Listed(object) | Change::Changed(object) => self.reduce(&object).map_or_else(Vec::new, |live| {
                if let Some(listing) = &mut self.listing {
                    listing.insert(live.id.clone());
                }
                self.state.observe(live)
            }),
            Change::ListingDone => {
                let listed = self.listing.take().unwrap_or_default();
                self.state.listed(&self.kind, &listed)
            }
            Change::Gone(object) => {
                self.reduce(&object).map_or_else(Vec::new, |live| self.state.gone(&live.id, &live.uid))
            }
        }
    }

    fn reduce(&self, object: &Value) -> Option<LiveObject> {
        LiveObject::reduce(object, &self.state.installation)
    }
}

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
use tokio::task::{AbortHandle, JoinSet};

use crate::queue::Queue;
use crate::state::State;

/// How long a kind may take to be listed, before the Applications that use it say so.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a watch may be broken before what it told is not believed any more.
const STALE_AFTER: Duration = Duration::from_secs(30);
/// A broken watch fails again within this time (the longest backoff, with jitter). One that does not is well: a watch
/// that was taken up again says nothing until an object changes.
const QUIET: Duration = Duration::from_secs(65);

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
    failing: Option<Failing>,
}

/// A row of failures.
#[derive(Clone, Debug)]
struct Failing {
    first: Instant,
    last: Instant,
    reason: String,
}

impl Progress {
    fn fail(&mut self, now: Instant, reason: String) {
        let goes_on = self.failing.as_ref().filter(|failing| now.duration_since(failing.last) < QUIET);
        let first = goes_on.map_or(now, |failing| failing.first);
        self.failing = Some(Failing { first, last: now, reason });
    }

    /// Why nothing can be said of the kind, if so.
    fn broken(&self, now: Instant) -> Option<&str> {
        let failing = self.failing.as_ref()?;
        let stale = now.duration_since(failing.first) > STALE_AFTER && now.duration_since(failing.last) < QUIET;
        (stale || !self.listed).then_some(failing.reason.as_str())
    }
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
    /// With the version that each was started in.
    progress: HashMap<GroupKind, (String, AbortHandle, watch::Receiver<Progress>)>,
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
            let reason = match (progress.broken(Instant::now()), listed) {
                (None, Ok(true)) => continue,
                (Some(reason), _) => reason.to_owned(),
                (None, _) => format!("no listing within {} seconds", SYNC_TIMEOUT.as_secs()),
            };
            return Err(WatchError { kind: resource.group_kind.clone(), reason });
        }
        Ok(())
    }

    fn start(&self, resource: &Resource) -> watch::Receiver<Progress> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((version, task, receiver)) = running.progress.get(&resource.group_kind) {
            // One that fails may be in a version that is not served any more.
            if *version == resource.version || receiver.borrow().failing.is_none() {
                return receiver.clone();
            }
            task.abort();
        }
        let (sender, receiver) = watch::channel(Progress::default());
        let selector = Selector { labels: Some(LABEL_APPLICATION.to_owned()), ..Selector::default() };
        let stream = match watch_of(&resource.group_kind) {
            Watch::Full => self.cluster.watch(resource, &selector),
            Watch::Metadata => self.cluster.watch_metadata(resource, &selector),
        };
        let intake = Intake { kind: resource.group_kind.clone(), state: Arc::clone(&self.state), listing: None };
        let task = running.tasks.spawn(follow(stream, intake, sender, self.queue.clone()));
        let started = (resource.version.clone(), task, receiver.clone());
        running.progress.insert(resource.group_kind.clone(), started);
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
    let mut told = false;
    while let Some(event) = stream.next().await {
        match event {
            // A listing that only begins proves nothing yet.
            Ok(Change::Listing) => queue.extend(intake.take(Change::Listing)),
            Ok(change) => {
                let done = matches!(change, Change::ListingDone);
                queue.extend(intake.take(change));
                progress.send_if_modified(|progress| {
                    let news = progress.failing.is_some() || (done && !progress.listed);
                    progress.failing = None;
                    progress.listed |= done;
                    news
                });
                if std::mem::take(&mut told) {
                    queue.extend(intake.state.applications());
                }
            }
            Err(error) => {
                tracing::warn!(kind = %intake.kind, %error, "watch failed; it is taken up again");
                if error.is_not_found() {
                    // The kind is not served any more, and its objects went with it.
                    queue.extend(intake.state.listed(&intake.kind, &HashSet::new()));
                }
                progress.send_modify(|progress| progress.fail(Instant::now(), error.to_string()));
                let broken = progress.borrow().broken(Instant::now()).is_some();
                if broken && !told {
                    // Whoever uses the kind has to say that it cannot tell.
                    queue.extend(intake.state.applications());
                    told = true;
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_broken_while_it_keeps_failing_and_well_when_it_is_quiet() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress { listed: true, failing: None };
        for seconds in [0, 10, 40] {
            progress.fail(at(seconds), "refused".into());
        }
        assert_eq!(progress.broken(at(20)), None, "a short outage is none");
        assert_eq!(progress.broken(at(41)), Some("refused"));
        assert_eq!(progress.broken(at(110)), None, "taken up again without a word");
        progress.fail(at(200), "refused".into());
        assert_eq!(progress.broken(at(201)), None, "a new row begins");
        assert_eq!(Progress { listed: false, ..progress }.broken(at(201)), Some("refused"));
    }
}

//! What the cluster serves: discovered at the start, and again when something is missing; and what of it is in use.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitmoor_core::object::{GroupKind, text_at};
use gitmoor_core::plan::DesiredObject;
use gitmoor_core::resource::Resource;
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::cluster::{Change, Cluster, ClusterError, Selector};
use gitmoor_engine::helm::Capabilities;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::objects;
use crate::queue::Queue;
use crate::state::State;

/// Discovery is not repeated more often than this, however many Applications miss a kind.
const FRESH: Duration = Duration::from_millis(500);

/// How long definitions have to be at rest before templates see what is served now: a chart brings many at once.
const QUIET: Duration = Duration::from_secs(1);

/// Discovers kinds.
pub(crate) struct Kinds {
    cluster: Cluster,
    state: Arc<State>,
    last: Mutex<Option<Instant>>,
}

impl Kinds {
    /// Nothing discovered yet.
    pub(crate) fn new(cluster: Cluster, state: Arc<State>) -> Self {
        Self { cluster, state, last: Mutex::default() }
    }

    /// Discovers, also what templates see of it. Gives the Applications that look at that, when it is news.
    pub(crate) async fn discover(&self) -> Result<Vec<ApplicationKey>, ClusterError> {
        let mut last = self.last.lock().await;
        let resources = self.cluster.discover().await?;
        let kube_version = self.cluster.version().await?.0;
        let capabilities = Capabilities { kube_version, api_versions: resources.api_versions.clone() };
        self.state.set_resources(resources);
        *last = Some(Instant::now());
        Ok(self.state.set_capabilities(capabilities))
    }

    /// Discovers again, unless that was done just now. True when what is known is fresh.
    pub(crate) async fn refresh(&self) -> bool {
        let mut last = self.last.lock().await;
        if last.is_some_and(|at| at.elapsed() < FRESH) {
            return true;
        }
        match self.cluster.discover().await {
            Ok(resources) => {
                self.state.set_resources(resources);
                *last = Some(Instant::now());
                true
            }
            Err(error) => {
                tracing::warn!(%error, "kinds cannot be discovered");
                false
            }
        }
    }

    /// Wakes the Applications that miss a kind whenever a definition appears or changes, and those whose templates look
    /// at what is served when that is another; ends with the agent.
    pub(crate) async fn follow_definitions(self: Arc<Self>, queue: Queue) {
        let mut changes = self.cluster.watch_metadata(&objects::definitions(), &Selector::default());
        let mut look = None;
        loop {
            let quiet = async {
                match look {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let change = tokio::select! {
                change = changes.next() => change,
                () = quiet => {
                    look = None;
                    match self.discover().await {
                        Ok(asking) => queue.extend(asking),
                        Err(error) => tracing::warn!(%error, "kinds cannot be discovered"),
                    }
                    // What was discovered at the change itself may have been from before it.
                    queue.extend(self.state.wake_unknown_kinds());
                    continue;
                }
            };
            match change {
                None => return,
                Some(Ok(Change::Gone(_))) => drop(self.refresh().await),
                Some(Ok(_)) => {
                    let waiting = self.state.wake_unknown_kinds();
                    if !waiting.is_empty() {
                        look = Some(tokio::time::Instant::now() + QUIET);
                    }
                    queue.extend(waiting);
                }
                Some(Err(error)) => tracing::warn!(%error, "CustomResourceDefinitions cannot be watched"),
            }
            if self.state.anyone_asks_cluster() {
                look = Some(tokio::time::Instant::now() + QUIET);
            }
        }
    }
}

/// The kinds of the desired objects and those in the status, as they are served.
pub(crate) fn in_use(state: &State, desired: &[DesiredObject], object: &Value) -> Vec<Resource> {
    let served = state.resources();
    let wanted = desired.iter().filter_map(|object| {
        let version = object.api_version.rsplit('/').next().unwrap_or_default();
        served.find(&object.id.group_kind, version)
    });
    let had = in_status(object).into_iter().filter_map(|kind| served.preferred(&kind).cloned()).collect::<Vec<_>>();
    let mut seen = HashSet::new();
    wanted.cloned().chain(had).filter(|resource| seen.insert(resource.group_kind.clone())).collect()
}

pub(crate) fn in_status(object: &Value) -> BTreeSet<GroupKind> {
    let status = &object["status"];
    let lists = [&status["resources"], &status["operationState"]["syncResult"]["resources"]];
    lists
        .into_iter()
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|entry| {
            Some(GroupKind::new(text_at(entry, &["group"]).unwrap_or_default(), text_at(entry, &["kind"])?))
        })
        .collect()
}

//! Argo CD beside the agent: while it runs, its Applications and what they have made are left to it.
//!
//! Nobody works on an Application before it is known whether Argo CD runs. Steady state is two watches by label.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use gitmoor_core::argo_cd::{CONTROLLER_LABELS, Controller, LEFT_TO_ARGO_CD, Owner};
use gitmoor_core::object::{ObjectId, text_at};
use gitmoor_core::resource::Resource;
use gitmoor_core::status::Event;
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::argo_cd::{controller, workloads};
use gitmoor_engine::cluster::{Change, Cluster, ClusterError, Selector, acting_as};
use serde_json::Value;

use crate::context::Context;
use crate::objects;
use crate::queue::{Next, Queue};
use crate::state::{Snapshot, State};

/// How soon a ConfigMap that could not be read is read again.
const AGAIN: Duration = Duration::from_secs(1);

/// By namespace and name.
type Controllers = BTreeMap<(String, String), Arc<Controller>>;

/// The application controllers that run.
pub(crate) struct ArgoCd {
    /// Of each kind of workload; `None` until it has been listed once.
    known: Mutex<[Option<Controllers>; 2]>,
    /// The agent works on what Argo CD works on.
    beside: bool,
}

impl ArgoCd {
    /// None is known yet; with `beside` none is looked for either, and the agent works as if there were none.
    pub(crate) fn new(beside: bool) -> Self {
        let known = if beside { [Some(Controllers::new()), Some(Controllers::new())] } else { [None, None] };
        Self { known: Mutex::new(known), beside }
    }

    /// True when the agent works on what Argo CD works on, and each lets the other's ownership of fields be.
    pub(crate) fn is_beside(&self) -> bool {
        self.beside
    }

    fn lock(&self) -> MutexGuard<'_, [Option<Controllers>; 2]> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True until it is known which controllers run.
    pub(crate) fn is_being_listed(&self) -> bool {
        self.lock().iter().any(Option::is_none)
    }

    /// The controller that works on the Applications of a namespace.
    fn follower(&self, namespace: &str) -> Option<Arc<Controller>> {
        let known = self.lock();
        let mut all = known.iter().flatten().flat_map(BTreeMap::values);
        all.find(|controller| controller.follows(namespace)).cloned()
    }

    fn all(&self) -> Vec<Arc<Controller>> {
        self.lock().iter().flatten().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Follows the controllers; ends with the agent. Every Application is looked at again when they change.
    pub(crate) async fn follow(self: Arc<Self>, cluster: Cluster, state: Arc<State>, queue: Queue) {
        if self.is_being_listed() {
            let kinds = workloads();
            let follow = |kind: usize| self.follow_kind(kind, &kinds[kind], &cluster, (&state, &queue));
            tokio::join!(follow(0), follow(1));
        }
    }

    async fn follow_kind(&self, kind: usize, resource: &Resource, cluster: &Cluster, told: (&State, &Queue)) {
        let selector = Selector { labels: Some(CONTROLLER_LABELS.to_owned()), ..Selector::default() };
        let mut changes = cluster.watch(resource, &selector);
        let mut listing = Controllers::new();
        let mut refused = false;
        while let Some(change) = changes.next().await {
            match change {
                Ok(Change::Listing) => listing = Controllers::new(),
                Ok(Change::Listed(workload)) => listing.extend(read(cluster, resource, &workload).await),
                Ok(Change::ListingDone) => self.replace(kind, std::mem::take(&mut listing), told),
                Ok(Change::Changed(workload)) => {
                    let mut controllers = self.without(kind, &workload);
                    controllers.extend(read(cluster, resource, &workload).await);
                    self.replace(kind, controllers, told);
                }
                Ok(Change::Gone(workload)) => self.replace(kind, self.without(kind, &workload), told),
                // Whoever may not see them is not to look out for them.
                Err(error) if error.code() == Some(403) => {
                    if !std::mem::replace(&mut refused, true) {
                        tracing::warn!(%error, "whether Argo CD runs beside the agent may not be known: it counts as not running");
                    }
                    let known = self.lock()[kind].clone();
                    self.replace(kind, known.unwrap_or_default(), told);
                }
                Err(error) => tracing::warn!(%error, "whether Argo CD runs beside the agent cannot be known"),
            }
        }
    }

    fn without(&self, kind: usize, workload: &Value) -> Controllers {
        let mut controllers = self.lock()[kind].clone().unwrap_or_default();
        controllers.remove(&key(workload));
        controllers
    }

    /// Takes in what is known of a kind, and tells when that is news.
    fn replace(&self, kind: usize, controllers: Controllers, (state, queue): (&State, &Queue)) {
        let before = self.lock()[kind].replace(controllers.clone());
        if before.as_ref() == Some(&controllers) {
            return;
        }
        let before = before.unwrap_or_default();
        for (key, controller) in &controllers {
            if before.get(key) != Some(controller) {
                let namespaces = controller.followed();
                tracing::warn!(
                    %controller, namespaces,
                    "Argo CD runs: Applications of these namespaces, and what Applications of Argo CD have made, are left to it; --beside-argo-cd changes that"
                );
            }
        }
        for controller in before.iter().filter(|(key, _)| !controllers.contains_key(*key)).map(|(_, one)| one) {
            tracing::info!(%controller, "Argo CD does not run any more: what was left to it is worked on");
        }
        queue.extend(state.applications());
    }
}

fn key(workload: &Value) -> (String, String) {
    let text = |name: &str| text_at(workload, &["metadata", name]).unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

/// The controller that a workload is. A ConfigMap of it is read until there is an answer: before that nobody can tell
/// which Applications are whose.
async fn read(cluster: &Cluster, resource: &Resource, workload: &Value) -> Option<((String, String), Arc<Controller>)> {
    loop {
        match controller(cluster, resource, workload).await {
            Ok(controller) => return controller.map(|controller| (key(workload), Arc::new(controller))),
            Err(error) => {
                tracing::warn!(%error, "which namespaces Argo CD follows cannot be read");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Leaves an Application alone that Argo CD works on, and says so where that does not get into its way: its status is
/// Argo CD's. `None` when nobody else works on it.
pub(crate) fn leave(context: &Context, key: &ApplicationKey, snapshot: &Snapshot) -> Option<Next> {
    let controller = context.argo_cd.follower(&key.namespace)?;
    context.state.set_undecidable(key);
    let message =
        format!("{}; {}", controller.sentence(&key.namespace), controller.ways_out(&key.namespace).join("; "));
    let event = Event { warning: true, reason: LEFT_TO_ARGO_CD.to_owned(), message };
    context.events.tell(&snapshot.object, vec![event]);
    Some(Next::OnChange)
}

/// Refuses that an Application writes or deletes an object that an Application of Argo CD has made and still works on. While Argo CD does not run
/// nothing is asked.
///
/// # Errors
/// With the reason [`LEFT_TO_ARGO_CD`] when it is so, and with that of the API server when it cannot be told.
pub(crate) async fn allow(
    context: &Context,
    key: &ApplicationKey,
    resource: &Resource,
    id: &ObjectId,
) -> Result<(), ClusterError> {
    let controllers = context.argo_cd.all();
    if controllers.is_empty() {
        return Ok(());
    }
    // In a place of its own: it is rare, and would make every reconcile larger.
    Box::pin(judge(context, &controllers, key, (resource, id))).await
}

async fn judge(
    context: &Context,
    controllers: &[Arc<Controller>],
    key: &ApplicationKey,
    (resource, id): (&Resource, &ObjectId),
) -> Result<(), ClusterError> {
    let metadata = context.cluster.get_metadata(resource, id.namespace.as_deref(), &id.name);
    let Some(metadata) = acting_as(None, metadata).await.map_err(|error| error.about(id))? else { return Ok(()) };
    let Some(owner) = Owner::of(id, &metadata) else { return Ok(()) };
    let candidates = owner.candidates(controllers.iter().map(Arc::as_ref));
    let kind = objects::applications();
    for other in candidates.iter().filter(|other| *other != key) {
        let application = context.cluster.get(&kind, Some(&other.namespace), &other.name);
        if acting_as(None, application).await?.is_some_and(|application| owner.is(&application, id)) {
            let message = format!(
                "Argo CD's Application {other} works on it; delete that one without its finalizer, and the agent goes \
                 on: docs/migration.md"
            );
            return Err(ClusterError::Refused { code: 403, reason: LEFT_TO_ARGO_CD.to_owned(), message });
        }
    }
    Ok(())
}

//! What every reconcile works with.

use std::sync::Arc;

use gitmoor_core::tracking::{ApplicationKey, Digester};
use gitmoor_engine::cluster::Cluster;
use gitmoor_engine::render::Renderer;
use gitmoor_engine::render_cache::RenderCache;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::argo_cd::ArgoCd;
use crate::events::Events;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::mutations::Mutations;
use crate::projects::Projects;
use crate::queue::Queue;
use crate::refresh::Refreshes;
use crate::remotes::RemoteFollowers;
use crate::repairs::Repairs;
use crate::repositories::Repositories;
use crate::state::State;
use crate::watches::Watches;

/// Shared by all reconciles of an agent.
pub(crate) struct Context {
    /// The API server.
    pub cluster: Cluster,
    /// Namespace of the agent.
    pub namespace: String,
    /// What is known.
    pub state: Arc<State>,
    /// Whom to look at next.
    pub queue: Queue,
    /// Git.
    pub repositories: Arc<Repositories>,
    /// What comes from elsewhere.
    pub remotes: Arc<RemoteFollowers>,
    /// Watches on managed kinds.
    pub watches: Arc<Watches>,
    /// What Applications may do.
    pub projects: Arc<Projects>,
    /// What is left to Argo CD.
    pub argo_cd: Arc<ArgoCd>,
    /// What the cluster serves.
    pub kinds: Arc<Kinds>,
    /// Runs kustomize.
    pub renderer: Renderer,
    /// Renders on disk.
    pub render_cache: Option<Arc<RenderCache>>,
    /// As many renders at once as there are processors.
    pub render_slots: Semaphore,
    /// Digests of objects.
    pub digester: Digester,
    /// What people find with `kubectl describe`.
    pub events: Arc<Events>,
    /// How often each object was repaired.
    pub repairs: Repairs,
    /// What admission webhooks make of what is applied.
    pub mutations: Mutations,
    /// Looks that somebody has asked for.
    pub refreshes: Refreshes,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// Takes in the answer to our own write of an Application.
    pub(crate) fn wrote_application(&self, key: &ApplicationKey, object: Value) {
        if self.state.wrote_application(key, object) {
            self.repositories.refollow();
            // Its event is no news any more: those who wait for it are told here.
            self.queue.extend(self.state.waiting_for(key));
            self.queue.push(key.clone());
        }
    }
}

//! Before the agent leads: it is connected, answers over HTTP, and waits for the lease.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use axum::Router;
use gitmoor_core::tracking::Installation;
use gitmoor_engine::addresses::Addresses;
use gitmoor_engine::cluster::Cluster;
use gitmoor_engine::git::UrlPolicy;
use gitmoor_engine::render::Renderer;
use gitmoor_engine::{helm, kustomize, materialise, process};
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinSet;

use crate::http::{self, Served, WebhookSecret};
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::settings::Settings;
use crate::state::State;
use crate::{environment, leader};

/// As what it asks the API server.
const USER_AGENT: &str = concat!("gitmoor-agent/", env!("CARGO_PKG_VERSION"));

/// An agent that may lead.
pub(crate) struct StandBy {
    /// As it was started.
    pub settings: Settings,
    /// The API server.
    pub cluster: Cluster,
    /// The agent's own namespace.
    pub namespace: String,
    /// Where its Applications are.
    pub namespaces: BTreeSet<String>,
    /// Where sources may be.
    pub addresses: Addresses,
    /// What renders.
    pub renderer: Renderer,
    /// Which versions of that, as one text.
    pub versions: String,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is known: nothing yet.
    pub state: Arc<State>,
    /// What there is to do: nothing yet.
    pub queue: Queue,
    /// What it answers over HTTP.
    pub served: Arc<Served>,
}

impl StandBy {
    /// Connects, and answers over HTTP from here on.
    ///
    /// # Errors
    /// When a setting is of no use, the API server cannot be reached, kustomize does not run, or the address to listen on
    /// is taken.
    pub(crate) async fn begin(settings: Settings, queue: Queue, tasks: &mut JoinSet<()>) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let cluster = Cluster::connect_observed(USER_AGENT, metrics.observer()).await?;
        let namespace = settings.namespace.clone().unwrap_or_else(|| cluster.default_namespace().to_owned());
        let installation = Installation::parse(settings.installation.as_deref().unwrap_or(&namespace))?;
        tracing::info!(%installation, namespace, "starting");
        let (renderer, versions) = renderer(&settings).await?;

        let mut namespaces: BTreeSet<String> = settings.application_namespaces.iter().cloned().collect();
        namespaces.insert(namespace.clone());
        let policy = UrlPolicy { allow_local: settings.allow_local_repositories, allow_plain_http: true };
        let addresses = Addresses::new(policy, settings.replace_source.iter().cloned());
        let state = Arc::new(State::new(installation, namespaces.clone(), addresses.clone()));
        let served = Arc::new(Served {
            ready: AtomicBool::new(false),
            metrics: Arc::clone(&metrics),
            state: Arc::clone(&state),
            queue: queue.clone(),
            webhook_secret: settings.webhook_secret_file.clone().map(WebhookSecret::in_file).transpose()?,
            repositories: OnceCell::new(),
            remotes: OnceCell::new(),
        });
        let routes = match settings.webhook_listen {
            None => http::metrics_routes().merge(http::webhook_route()),
            Some(apart) => {
                serve(apart, http::webhook_routes(), &served, tasks).await?;
                http::metrics_routes()
            }
        };
        serve(settings.http_listen, routes, &served, tasks).await?;
        Ok(Self {
            settings,
            cluster,
            namespace,
            namespaces,
            addresses,
            renderer,
            versions,
            metrics,
            state,
            queue,
            served,
        })
    }

    /// Waits for the lease; its pod is labelled when it is held.
    pub(crate) async fn lead(&self, tasks: &mut JoinSet<()>) -> Lease {
        let identity = self.settings.identity.clone().unwrap_or_else(environment::host_name);
        tracing::info!(identity, "waiting for the lease");
        let lease = Lease::new(self.cluster.past_other_writes(), self.namespace.clone(), identity, &self.namespaces);
        let (leads, leading) = oneshot::channel();
        if let Some(pod) = self.settings.pod.clone() {
            tasks.spawn(leader::label(self.cluster.clone(), self.namespace.clone(), pod, leading));
        }
        lease.acquire(&self.served.ready).await;
        tracing::info!("holding the lease");
        self.metrics.leads(true);
        // Nobody listens where there is no pod.
        let _ = leads.send(());
        lease
    }
}

/// Answers at an address from here on.
async fn serve(
    address: SocketAddr,
    routes: Router<Arc<Served>>,
    served: &Arc<Served>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await;
    let server = axum::serve(
        listener.with_context(|| format!("cannot listen on {address}"))?,
        routes.with_state(Arc::clone(served)),
    );
    tasks.spawn(async move { drop(server.await) });
    Ok(())
}

/// The renderers, and their versions.
async fn renderer(settings: &Settings) -> anyhow::Result<(Renderer, String)> {
    let scratch = settings.scratch_dir.clone().unwrap_or_else(default_scratch);
    std::fs::create_dir_all(&settings.data_dir)
        .with_context(|| format!("cannot create the data folder {}", settings.data_dir.display()))?;
    let limits = process::Limits { time: settings.render_timeout, ..process::Limits::default() };
    let program = environment::find_program(&settings.kustomize);
    let kustomize = kustomize::Kustomize { program, limits: limits.clone() };
    let version = kustomize::version(&kustomize).await?;
    let helm = helm::Helm { program: environment::find_program(&settings.helm), limits };
    // Only charts need it: without one, everything else works.
    let versions = match helm::version(&helm).await {
        Ok(helm) => {
            tracing::info!(kustomize = %version, %helm, "renderers");
            format!("kustomize {version}, helm {helm}, agent {}", env!("CARGO_PKG_VERSION"))
        }
        Err(error) => {
            tracing::warn!(kustomize = %version, %error, "no helm: charts cannot be rendered");
            format!("kustomize {version}, agent {}", env!("CARGO_PKG_VERSION"))
        }
    };
    Ok((Renderer { kustomize, helm, scratch, limits: materialise::Limits::default() }, versions))
}

/// In memory where there is such a folder: creating files costs most of a small render elsewhere.
fn default_scratch() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if tempfile::tempfile_in(&memory).is_ok() { memory } else { std::env::temp_dir() }
}

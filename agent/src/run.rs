//! The agent from start to stop: connect, take the lease, follow Applications, work, and give the lease back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use gitmoor_core::sensitive::Sensitive;
use gitmoor_core::tracking::{Digester, Installation};
use gitmoor_engine::addresses::Addresses;
use gitmoor_engine::charts::Charts;
use gitmoor_engine::cluster::Cluster;
use gitmoor_engine::git::{FetchLimits, Fetcher, UrlPolicy};
use gitmoor_engine::reach::Hosts;
use gitmoor_engine::remotes::RemoteStore;
use gitmoor_engine::render::Renderer;
use gitmoor_engine::render_cache::RenderCache;
use gitmoor_engine::{helm, kustomize, materialise, process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OnceCell, Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use crate::applications::Applications;
use crate::argo_cd::ArgoCd;
use crate::charts::ChartFollowers;
use crate::context::Context;
use crate::credentials::CredentialStore;
use crate::events::Events;
use crate::heads::Heads;
use crate::http::{self, Served};
use crate::kinds::Kinds;
use crate::lease::{Lease, Lost};
use crate::metrics::Metrics;
use crate::mirrors::Tidy;
use crate::mutations::Mutations;
use crate::projects::Projects;
use crate::queue::{self, Queue};
use crate::reconcile::reconcile;
use crate::refresh::Refreshes;
use crate::remotes::{self, RemoteFollowers};
use crate::repairs::Repairs;
use crate::repositories::Repositories;
use crate::settings::Settings;
use crate::state::State;
use crate::watches::Watches;
use crate::{digest_key, environment, follow, leader, secrets};

/// How long work that is under way may take to finish after a signal.
const GRACE: Duration = Duration::from_secs(20);

/// As what it asks the API server.
const USER_AGENT: &str = concat!("gitmoor-agent/", env!("CARGO_PKG_VERSION"));

/// Bytes of renders on disk.
const MOST_RENDERS: u64 = 512 << 20;

/// Runs until a signal, or until the lease is lost.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let cluster = Cluster::connect_observed(USER_AGENT, metrics.observer()).await?;
    let namespace = settings.namespace.clone().unwrap_or_else(|| cluster.default_namespace().to_owned());
    let installation = Installation::parse(settings.installation.as_deref().unwrap_or(&namespace))?;
    let identity = settings.identity.clone().unwrap_or_else(environment::host_name);
    tracing::info!(%installation, namespace, identity, "starting");
    let (renderer, versions) = renderer(&settings).await?;

    let mut namespaces: BTreeSet<String> = settings.application_namespaces.iter().cloned().collect();
    namespaces.insert(namespace.clone());
    let policy = UrlPolicy { allow_local: settings.allow_local_repositories, allow_plain_http: true };
    let addresses = Addresses::new(policy, settings.replace_source.iter().cloned());
    let state = Arc::new(State::new(installation, namespaces.clone(), addresses.clone()));
    let (queue, work) = queue::queue();

    let served = Arc::new(Served {
        ready: AtomicBool::new(false),
        metrics: Arc::clone(&metrics),
        state: Arc::clone(&state),
        queue: queue.clone(),
        webhook_secret: webhook_secret(&settings)?,
        repositories: OnceCell::new(),
        remotes: OnceCell::new(),
    });
    let mut tasks = JoinSet::new();
    let listener = tokio::net::TcpListener::bind(settings.http_listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", settings.http_listen))?;
    let server = axum::serve(listener, http::routes(Arc::clone(&served)));
    tasks.spawn(async move { drop(server.await) });

    let stop = stop_signal()?;
    let lease = Lease::new(cluster.past_other_writes(), namespace.clone(), identity, &namespaces);
    let (leads, leading) = oneshot::channel();
    if let Some(pod) = settings.pod.clone() {
        tasks.spawn(leader::label(cluster.clone(), namespace.clone(), pod, leading));
    }
    tokio::select! {
        () = lease.acquire(&served.ready) => tracing::info!("holding the lease"),
        () = stopped(stop.clone()) => return Ok(()),
    }
    // Nobody listens where there is no pod.
    let _ = leads.send(());

    let key = digest_key::read_or_create(&cluster, &namespace).await?;
    let renders = settings.data_dir.join("renders");
    let render_cache = RenderCache::new(renders, &key, versions, MOST_RENDERS).map(Arc::new);
    let digester = Digester::new(key);
    let credentials = Arc::new(CredentialStore::default());
    let (heads, record_heads) = Heads::start(cluster.clone(), namespace.clone(), Arc::clone(&state));
    tasks.spawn(record_heads);
    let store = RemoteStore::new(settings.data_dir.clone(), fetcher(&settings), addresses.clone());
    let remotes = Arc::new(RemoteFollowers::new(
        store,
        remotes::Options { interval: settings.chart_interval, hosts: settings.allow_host.clone() },
        Arc::clone(&credentials),
        (Arc::clone(&state), queue.clone(), Arc::clone(&metrics)),
    ));
    tasks.spawn(Arc::clone(&remotes).follow());
    let tidy = Tidy {
        data: settings.data_dir.clone(),
        interval: settings.tidy_interval,
        state: Arc::clone(&state),
        remotes: Arc::clone(&remotes),
        metrics: Arc::clone(&metrics),
    };
    tasks.spawn(tidy.run());
    let following = |interval| follow::Means {
        interval,
        credentials: Arc::clone(&credentials),
        state: Arc::clone(&state),
        queue: queue.clone(),
    };
    let charts = Charts::new(settings.data_dir.clone())
        .with_addresses(addresses)
        .with_hosts(Hosts::new(settings.allow_host.iter().cloned()));
    let repositories = Arc::new(Repositories::new(
        settings.data_dir.clone(),
        fetcher(&settings),
        following(settings.poll_interval),
        Arc::clone(&metrics),
        heads,
        ChartFollowers::new(charts, following(settings.chart_interval), Arc::clone(&metrics)),
    ));
    // Set here alone, so that it cannot be set already.
    let _ = served.remotes.set(Arc::clone(&remotes));
    let _ = served.repositories.set(Arc::clone(&repositories));
    let kinds = Arc::new(Kinds::new(cluster.clone(), Arc::clone(&state)));
    kinds.discover().await.context("the kinds that the cluster serves cannot be discovered")?;
    let (events, post_events) = Events::start(cluster.clone(), lease.identity().to_owned());
    tasks.spawn(post_events);
    let events = Arc::new(events);
    let secrets = secrets::Setup {
        events: Arc::clone(&events),
        cluster: cluster.clone(),
        installation: state.installation.clone(),
        digester: digester.clone(),
        options: settings.secrets.clone(),
        metrics: metrics.secrets.clone(),
    };
    secrets::start(secrets, &mut tasks);
    tasks.spawn(Arc::clone(&credentials).follow(cluster.clone(), namespace.clone()));
    tasks.spawn(look_again(credentials, Arc::clone(&repositories)));
    tasks.spawn(Arc::clone(&kinds).follow_definitions(queue.clone()));

    let projects = Arc::new(Projects::new(namespace.clone()));
    tasks.spawn(Arc::clone(&projects).follow(cluster.clone(), Arc::clone(&state), queue.clone()));
    let argo_cd = Arc::new(ArgoCd::new(settings.beside_argo_cd));
    tasks.spawn(Arc::clone(&argo_cd).follow(cluster.clone(), Arc::clone(&state), queue.clone()));
    let context = Arc::new(Context {
        refreshes: Refreshes::default(),
        events,
        projects,
        argo_cd,
        watches: Arc::new(Watches::new(cluster.clone(), Arc::clone(&state), queue.clone())),
        cluster: cluster.clone(),
        namespace,
        state,
        queue: queue.clone(),
        repositories,
        remotes,
        kinds,
        renderer,
        render_cache,
        render_slots: Semaphore::new(std::thread::available_parallelism().map_or(2, std::num::NonZero::get)),
        digester,
        repairs: Repairs::default(),
        mutations: Mutations::default(),
        metrics,
    });
    let listed = follow_applications(&context, &namespaces, &queue, &mut tasks);
    tasks.spawn(become_ready(listed, served));

    let (pause, paused) = watch::channel(false);
    let mut worker = tokio::spawn(work.run(settings.concurrency.max(1), {
        let (context, stop) = (Arc::clone(&context), stop.clone());
        move |key| {
            let (context, stopping, mut paused) = (Arc::clone(&context), *stop.borrow(), paused.clone());
            async move {
                let allowed = !stopping && paused.wait_for(|paused| !paused).await.is_ok();
                if allowed { reconcile(context, key).await } else { queue::Next::OnChange }
            }
        }
    }));
    let outcome = tokio::select! {
        error = keep(&lease, &pause) => Err(error),
        () = stopped(stop) => Ok(()),
        ended = &mut worker => Err(anyhow!("the work queue ended: {ended:?}")),
        error = panicked(&mut tasks) => Err(error),
    };
    if outcome.is_ok() {
        tracing::info!("stopping");
        // Until then it is ours, so that nobody begins beside what is under way.
        tokio::select! {
            () = finish(&queue) => lease.release().await,
            lost = lease.hold() => tracing::warn!(?lost, "the lease is lost while stopping"),
        }
    }
    tasks.abort_all();
    outcome
}

/// Waits for a task that panics: without it the agent would say that all is well, and not see what it looks after.
async fn panicked(tasks: &mut JoinSet<()>) -> anyhow::Error {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            return anyhow!("a part of the agent has failed ({error}); it has to be started again");
        }
    }
    std::future::pending().await
}

/// Keeps the lease; nothing new is begun while it is not held. Ends when another agent has it.
async fn keep(lease: &Lease, pause: &watch::Sender<bool>) -> anyhow::Error {
    while lease.hold().await == Lost::NotRenewed {
        tracing::warn!("the lease could not be renewed; nothing is begun until it is held again");
        pause.send_replace(true);
        if !lease.regain().await {
            break;
        }
        tracing::info!("holding the lease again");
        pause.send_replace(false);
    }
    anyhow!("the lease is lost: another agent works now")
}

fn follow_applications(
    context: &Arc<Context>,
    namespaces: &BTreeSet<String>,
    queue: &Queue,
    tasks: &mut JoinSet<()>,
) -> Vec<watch::Receiver<bool>> {
    let mut receivers = Vec::new();
    for namespace in namespaces {
        let (listed, receiver) = watch::channel(false);
        let applications = Applications {
            namespace: namespace.clone(),
            state: Arc::clone(&context.state),
            queue: queue.clone(),
            repositories: Arc::clone(&context.repositories),
            listed,
        };
        tasks.spawn(applications.follow(context.cluster.clone()));
        receivers.push(receiver);
    }
    receivers
}

async fn become_ready(listed: Vec<watch::Receiver<bool>>, served: Arc<Served>) {
    for mut receiver in listed {
        if receiver.wait_for(|listed| *listed).await.is_err() {
            return;
        }
    }
    served.ready.store(true, Ordering::Relaxed);
    tracing::info!("ready");
}

/// Changed credentials may open a repository at once.
async fn look_again(credentials: Arc<CredentialStore>, repositories: Arc<Repositories>) {
    loop {
        credentials.changed.notified().await;
        repositories.look_at_all();
    }
}

/// Waits until what is under way is done.
async fn finish(queue: &Queue) {
    let drained = async {
        while queue.depth() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        tracing::warn!("work is left unfinished; the next agent takes it up");
    }
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

fn webhook_secret(settings: &Settings) -> anyhow::Result<Option<Sensitive<Vec<u8>>>> {
    let Some(file) = &settings.webhook_secret_file else { return Ok(None) };
    let secret = std::fs::read(file).with_context(|| format!("cannot read the webhook secret {}", file.display()))?;
    let secret = secret.trim_ascii().to_vec();
    anyhow::ensure!(!secret.is_empty(), "the webhook secret {} is empty", file.display());
    Ok(Some(Sensitive::new(secret)))
}

/// In memory where there is such a folder: creating files costs most of a small render elsewhere.
fn default_scratch() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if tempfile::tempfile_in(&memory).is_ok() { memory } else { std::env::temp_dir() }
}

fn fetcher(settings: &Settings) -> Fetcher {
    let limits = FetchLimits { timeout: settings.fetch_timeout, ..FetchLimits::default() };
    Fetcher::new("/proc/self/exe", environment::all(), limits)
}

/// Becomes true with the first SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
        // Keeps the channel open for those who look later.
        std::future::pending::<()>().await;
    });
    Ok(receiver)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_noticed_and_one_that_ends_is_not() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        tasks.spawn(std::future::pending());
        tasks.spawn(async { assert_eq!(1, 2, "as a test may") });
        assert!(panicked(&mut tasks).await.to_string().contains("a part of the agent has failed"));
        tasks.spawn(async {});
        let more = tokio::time::timeout(Duration::from_millis(20), panicked(&mut tasks)).await;
        assert!(more.is_err(), "it goes on");
    }
}

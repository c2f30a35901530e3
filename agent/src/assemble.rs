//! What an agent that leads consists of: stores, followers, and the context in which Applications are worked on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use gitmoor_core::tracking::Digester;
use gitmoor_engine::charts::Charts;
use gitmoor_engine::git::{FetchLimits, Fetcher};
use gitmoor_engine::reach::Hosts;
use gitmoor_engine::remotes::RemoteStore;
use gitmoor_engine::render_cache::RenderCache;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::applications::Applications;
use crate::argo_cd::ArgoCd;
use crate::charts::ChartFollowers;
use crate::context::Context;
use crate::credentials::CredentialStore;
use crate::events::Events;
use crate::heads::Heads;
use crate::http::Served;
use crate::kinds::Kinds;
use crate::lease::Lease;
use crate::mirrors::Tidy;
use crate::mutations::Mutations;
use crate::projects::Projects;
use crate::refresh::Refreshes;
use crate::remotes::{self, RemoteFollowers};
use crate::repairs::Repairs;
use crate::repositories::Repositories;
use crate::settings::Settings;
use crate::stand_by::StandBy;
use crate::watches::Watches;
use crate::{digest_key, environment, follow, secrets};

/// Bytes of renders on disk.
const MOST_RENDERS: u64 = 512 << 20;

/// Puts it together and starts what follows the cluster and the sources; it is ready when it has seen all Applications.
///
/// # Errors
/// When the key of digests cannot be had, or the kinds of the cluster cannot be discovered.
pub(crate) async fn assemble(
    stand_by: StandBy,
    lease: &Lease,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Arc<Context>> {
    let credentials = Arc::new(CredentialStore::default());
    let sources = Sources::start(&stand_by, &credentials, tasks);
    let StandBy { settings, cluster, namespace, namespaces, renderer, versions, metrics, state, queue, served, .. } =
        stand_by;
    let key = digest_key::read_or_create(&cluster, &namespace).await?;
    let renders = settings.data_dir.join("renders");
    let render_cache = RenderCache::new(renders, &key, versions, MOST_RENDERS).map(Arc::new);
    let digester = Digester::new(key);
    // Set here alone, so that they cannot be set already.
    let _ = served.remotes.set(Arc::clone(&sources.remotes));
    let _ = served.repositories.set(Arc::clone(&sources.repositories));
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
    secrets::start(secrets, tasks);
    tasks.spawn(Arc::clone(&credentials).follow(cluster.clone(), namespace.clone()));
    tasks.spawn(look_again(credentials, Arc::clone(&sources.repositories)));
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
        cluster,
        namespace,
        state,
        queue,
        repositories: sources.repositories,
        remotes: sources.remotes,
        kinds,
        renderer,
        render_cache,
        render_slots: Semaphore::new(std::thread::available_parallelism().map_or(2, std::num::NonZero::get)),
        digester,
        repairs: Repairs::default(),
        mutations: Mutations::default(),
        metrics,
    });
    let listed = namespaces.into_iter().map(|namespace| follow_applications(&context, namespace, tasks)).collect();
    tasks.spawn(become_ready(listed, served));
    Ok(context)
}

/// What follows repositories, charts, and what is used from elsewhere.
struct Sources {
    repositories: Arc<Repositories>,
    remotes: Arc<RemoteFollowers>,
}

impl Sources {
    fn start(stand_by: &StandBy, credentials: &Arc<CredentialStore>, tasks: &mut JoinSet<()>) -> Self {
        let StandBy { settings, cluster, namespace, addresses, metrics, state, queue, .. } = stand_by;
        let (heads, record_heads) = Heads::start(cluster.clone(), namespace.clone(), Arc::clone(state));
        tasks.spawn(record_heads);
        let store = RemoteStore::new(settings.data_dir.clone(), fetcher(settings), addresses.clone());
        let remotes = Arc::new(RemoteFollowers::new(
            store,
            remotes::Options { interval: settings.chart_interval, hosts: settings.allow_host.clone() },
            Arc::clone(credentials),
            (Arc::clone(state), queue.clone(), Arc::clone(metrics)),
        ));
        tasks.spawn(Arc::clone(&remotes).follow());
        let tidy = Tidy {
            data: settings.data_dir.clone(),
            interval: settings.tidy_interval,
            state: Arc::clone(state),
            remotes: Arc::clone(&remotes),
            metrics: Arc::clone(metrics),
        };
        tasks.spawn(tidy.run());
        let following = |interval| follow::Means {
            interval,
            credentials: Arc::clone(credentials),
            state: Arc::clone(state),
            queue: queue.clone(),
        };
        let charts = Charts::new(settings.data_dir.clone())
            .with_addresses(addresses.clone())
            .with_hosts(Hosts::new(settings.allow_host.iter().cloned()));
        let repositories = Arc::new(Repositories::new(
            settings.data_dir.clone(),
            fetcher(settings),
            following(settings.poll_interval),
            Arc::clone(metrics),
            heads,
            ChartFollowers::new(charts, following(settings.chart_interval), Arc::clone(metrics)),
        ));
        Self { repositories, remotes }
    }
}

fn fetcher(settings: &Settings) -> Fetcher {
    let limits = FetchLimits { timeout: settings.fetch_timeout, ..FetchLimits::default() };
    Fetcher::new("/proc/self/exe", environment::all(), limits)
}

/// Follows the Applications of a namespace; the receiver tells when all of them have been seen.
fn follow_applications(context: &Arc<Context>, namespace: String, tasks: &mut JoinSet<()>) -> watch::Receiver<bool> {
    let (listed, receiver) = watch::channel(false);
    let applications = Applications {
        namespace,
        state: Arc::clone(&context.state),
        queue: context.queue.clone(),
        repositories: Arc::clone(&context.repositories),
        listed,
    };
    tasks.spawn(applications.follow(context.cluster.clone()));
    receiver
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

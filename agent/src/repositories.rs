//! Follows repositories: one task, one mirror and one fetch at a time for each, however many Applications use it.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gitmoor_core::tree::RepoPath;
use gitmoor_engine::git::{
    CommitId, FetchError, FetchErrorKind, FetchOutcome, FetchRequest, Fetcher, Mirror, RepositoryUrl,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::charts::ChartFollowers;
use crate::clock;
use crate::credentials::CredentialStore;
use crate::heads::Heads;
use crate::metrics::{Metrics, Result as ResultLabel};
use crate::queue::Queue;
use crate::state::{Follow, Head, Move, Origin, Position, State, Unreachable};

/// Failures in a row after which the Applications of a repository say that they cannot tell.
const TOLERATED_FAILURES: u32 = 3;
/// First wait after a failed fetch; doubled up to the poll interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How repositories are followed.
pub(crate) struct Repositories {
    data_dir: PathBuf,
    fetcher: Fetcher,
    poll_interval: Duration,
    credentials: Arc<CredentialStore>,
    state: Arc<State>,
    queue: Queue,
    metrics: Arc<Metrics>,
    heads: Heads,
    /// Charts, followed beside.
    pub charts: ChartFollowers,
    tasks: Mutex<HashMap<RepositoryUrl, Task>>,
}

struct Task {
    revisions: watch::Sender<BTreeSet<String>>,
    look: Arc<Notify>,
    looks: watch::Receiver<Looks>,
    handle: JoinHandle<()>,
}

/// Looks at a repository, counted.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    begun: u64,
    /// What they found is known.
    done: u64,
}

impl Repositories {
    /// Nothing is followed yet.
    pub(crate) fn new(
        data_dir: PathBuf,
        fetcher: Fetcher,
        poll_interval: Duration,
        credentials: Arc<CredentialStore>,
        (state, queue, metrics): (Arc<State>, Queue, Arc<Metrics>),
        heads: Heads,
        charts: ChartFollowers,
    ) -> Self {
        let tasks = Mutex::default();
        Self { data_dir, fetcher, poll_interval, credentials, state, queue, metrics, heads, charts, tasks }
    }

    /// The mirror of a repository.
    pub(crate) fn mirror(&self, url: &RepositoryUrl) -> Mirror {
        Mirror::new(&self.data_dir, url.clone(), self.fetcher.clone())
    }

    /// Follows exactly what Applications follow now.
    pub(crate) fn refollow(&self) {
        let (mut follows, mut charts) = (HashMap::new(), HashMap::new());
        for (origin, revisions) in self.state.follows() {
            match origin {
                Origin::Git(url) => drop(follows.insert(url, revisions)),
                Origin::Chart(address) => drop(charts.insert(address, revisions)),
            }
        }
        self.charts.refollow(charts);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|url, task| {
            let wanted = follows.contains_key(url);
            if !wanted {
                task.handle.abort();
            }
            wanted
        });
        for (url, revisions) in follows {
            match tasks.get(&url) {
                Some(task) => {
                    task.revisions.send_if_modified(|present| {
                        let news = *present != revisions;
                        *present = revisions;
                        news
                    });
                }
                None => drop(tasks.insert(url.clone(), self.start(url, revisions))),
            }
        }
    }

    /// Looks at a repository now; false when nobody follows it.
    pub(crate) fn look(&self, origin: &Origin) -> bool {
        let url = match origin {
            Origin::Git(url) => url,
            Origin::Chart(address) => return self.charts.look(address),
        };
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.get(url).inspect(|task| task.look.notify_one()).is_some()
    }

    /// Looks now at the repositories of these places, by whatever scheme they are followed; false when nobody follows any.
    pub(crate) fn look_at_places(&self, places: &BTreeSet<(String, String)>) -> bool {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let named = tasks.iter().filter(|(url, _)| places.contains(&url.place()));
        named.inspect(|(_, task)| task.look.notify_one()).count() > 0
    }

    /// The same as [`Self::look`]; the future ends when what a look finds that begins from now on is known.
    pub(crate) fn look_through(&self, origin: &Origin) -> impl Future<Output = ()> + Send + use<> {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let task = match origin {
            Origin::Git(url) => tasks.get(url),
            Origin::Chart(_) => None,
        };
        let awaited = task.map(|task| (task.looks.clone(), task.looks.borrow().begun + 1));
        drop(tasks);
        self.look(origin);
        async move {
            if let Some((mut looks, wanted)) = awaited {
                // An error says that nobody follows it any more.
                let _ = looks.wait_for(|looks| looks.done >= wanted).await;
            }
        }
    }

    /// Looks at every repository now.
    pub(crate) fn look_at_all(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.values().for_each(|task| task.look.notify_one());
        self.charts.look_at_all();
    }

    fn start(&self, url: RepositoryUrl, revisions: BTreeSet<String>) -> Task {
        let (revisions, receiver) = watch::channel(revisions);
        let look = Arc::new(Notify::new());
        let (counted, looks) = watch::channel(Looks::default());
        let follower = Follower {
            looks: counted,
            mirror: self.mirror(&url),
            credentials: Arc::clone(&self.credentials),
            state: Arc::clone(&self.state),
            queue: self.queue.clone(),
            metrics: Arc::clone(&self.metrics),
            heads: self.heads.clone(),
            poll_interval: self.poll_interval,
            failures: 0,
        };
        let handle = tokio::spawn(follower.run(receiver, Arc::clone(&look)));
        Task { revisions, look, looks, handle }
    }
}

/// The task of one repository.
struct Follower {
    looks: watch::Sender<Looks>,
    mirror: Mirror,
    credentials: Arc<CredentialStore>,
    state: Arc<State>,
    queue: Queue,
    metrics: Arc<Metrics>,
    heads: Heads,
    poll_interval: Duration,
    failures: u32,
}

impl Follower {
    async fn run(mut self, mut revisions: watch::Receiver<BTreeSet<String>>, look: Arc<Notify>) {
        // A repository that needs credentials would only refuse.
        self.credentials.read_once().await;
        loop {
            let wanted = revisions.borrow_and_update().clone();
            self.looks.send_modify(|looks| looks.begun += 1);
            let wait = self.fetch(wanted).await;
            self.looks.send_modify(|looks| looks.done = looks.begun);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = look.notified() => {}
                changed = revisions.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One fetch; gives the time until the next.
    async fn fetch(&mut self, revisions: BTreeSet<String>) -> Duration {
        let url = self.mirror.url().clone();
        let origin = Origin::Git(url.clone());
        let found = self.credentials.find(&url);
        let fetched = match self.credentials.open(found.clone()).await {
            Ok(access) => self.mirror.fetch(&FetchRequest { access, revisions: revisions.clone(), hosts: None }).await,
            Err(error) => Err(FetchError::before(&url, error)),
        };
        if fetched.as_ref().is_err_and(|error| error.kind == FetchErrorKind::RefusedCredentials) {
            self.credentials.refused(&found);
        }
        match fetched {
            Ok(outcome) => {
                self.metrics.fetches.get_or_create(&ResultLabel::of("success")).inc();
                self.failures = 0;
                let mut wake = self.state.reachable(&origin, None);
                wake.extend(self.take_in(&revisions, &outcome).await);
                self.queue.extend(wake);
                self.poll_interval
            }
            Err(error) => {
                self.metrics.fetches.get_or_create(&ResultLabel::of(error.kind.as_str())).inc();
                self.failures += 1;
                tracing::warn!(repository = %url, %error, "fetch failed");
                let never_fetched = self.state.heads(&origin).len() < revisions.len();
                if self.failures >= TOLERATED_FAILURES || never_fetched {
                    let unreachable = Unreachable { category: error.kind.as_str(), message: error.to_string() };
                    self.queue.extend(self.state.reachable(&origin, Some(unreachable)));
                }
                (FIRST_RETRY * (1 << (self.failures - 1).min(10))).min(self.poll_interval)
            }
        }
    }

    /// Tells the state where the revisions stand, and which paths have changed.
    async fn take_in(
        &self,
        revisions: &BTreeSet<String>,
        outcome: &FetchOutcome,
    ) -> Vec<gitmoor_core::tracking::ApplicationKey> {
        let url = self.mirror.url();
        let origin = Origin::Git(url.clone());
        let before = self.state.heads(&origin);
        let (mut moves, mut moved) = (Vec::new(), false);
        for revision in revisions {
            let commit = outcome.heads.get(revision).map(|resolved| resolved.commit.clone());
            let head = commit.clone().map_or(Head::Missing, |commit| Head::At(Position::Commit(commit)));
            let changed = match (before.get(revision), &commit) {
                (Some(Position::Commit(old)), Some(new)) if old != new => {
                    self.changed_paths(old.clone(), new.clone()).await
                }
                _ => None,
            };
            if let Head::At(position) = &head
                && before.get(revision) != Some(position)
            {
                let paths = changed.as_ref().map(Vec::len);
                tracing::info!(repository = %url, %revision, commit = %position, paths, "new commit");
                if let (Position::Commit(commit), true) = (position, before.contains_key(revision)) {
                    self.measure(commit.clone()).await;
                }
                moved = true;
            }
            let follow = Follow { origin: origin.clone(), revision: revision.clone() };
            moves.push(Move { follow, head, changed });
        }
        let wake = self.state.advance(moves);
        if moved {
            self.heads.moved(url);
        }
        wake
    }

    /// How long ago a commit was made that is seen now. A push says no time of its own.
    async fn measure(&self, commit: CommitId) {
        let mirror = self.mirror.clone();
        let told = tokio::task::spawn_blocking(move || mirror.commit_info(&commit)).await;
        if let Ok(Ok(info)) = told {
            self.metrics.pushed(clock::ago(info.date));
        }
    }

    async fn changed_paths(&self, old: CommitId, new: CommitId) -> Option<Vec<RepoPath>> {
        let mirror = self.mirror.clone();
        let changed = tokio::task::spawn_blocking(move || mirror.changed_paths(&old, &new)).await;
        match changed {
            Ok(Ok(paths)) => paths,
            Ok(Err(error)) => {
                tracing::warn!(%error, "commits cannot be compared; every Application is looked at");
                None
            }
            Err(_) => None,
        }
    }
}

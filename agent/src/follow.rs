//! Follows what Applications are made from: one task for each thing, however many Applications use it, that looks at it,
//! waits, and looks again.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use gitmoor_core::tracking::ApplicationKey;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::credentials::CredentialStore;
use crate::queue::Queue;
use crate::state::{Origin, State, Unreachable};

/// Failures in a row after which the Applications of what is followed say that they cannot tell.
const TOLERATED_FAILURES: u32 = 3;
/// First wait after a failed look; doubled up to the time between two looks.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Something that is followed: a repository, or a chart.
pub(crate) trait Followed: Send + Sync + 'static {
    /// What it is to Applications.
    fn origin(&self) -> Origin;

    /// Looks where these revisions stand, and tells the state.
    fn look(&self, revisions: &BTreeSet<String>) -> impl Future<Output = Looked> + Send;
}

/// What a look has found.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Revisions of which it is known now where they stand, or that there are none.
    pub(crate) decided: BTreeSet<String>,
    /// Applications that this is news for.
    pub(crate) wake: Vec<ApplicationKey>,
    /// Why not all of it could be seen.
    pub(crate) failed: Option<Unreachable>,
    /// Nothing of it changes by itself.
    pub(crate) at_rest: bool,
}

/// What every follower works with.
#[derive(Clone)]
pub(crate) struct Means {
    /// Between two looks.
    pub(crate) interval: Duration,
    /// Read before the first look.
    pub(crate) credentials: Arc<CredentialStore>,
    /// Is told what can be reached.
    pub(crate) state: Arc<State>,
    /// Of Applications that something is news for.
    pub(crate) queue: Queue,
}

/// The tasks of all that is followed of a kind.
pub(crate) struct Followers<K> {
    means: Means,
    tasks: Mutex<HashMap<K, Task>>,
}

struct Task {
    revisions: watch::Sender<BTreeSet<String>>,
    look: Arc<Notify>,
    looks: watch::Receiver<Looks>,
    handle: JoinHandle<()>,
}

/// Looks at one thing, counted.
#[derive(Clone, Debug, Default)]
struct Looks {
    begun: u64,
    /// What they found is known.
    done: u64,
    /// Why the last one could not see all of it.
    failed: Option<Unreachable>,
}

impl<K: Clone + Eq + Hash> Followers<K> {
    /// Nothing is followed yet.
    pub(crate) fn new(means: Means) -> Self {
        Self { means, tasks: Mutex::default() }
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, HashMap<K, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows exactly these.
    pub(crate) fn refollow<F: Followed>(&self, follows: HashMap<K, BTreeSet<String>>, followed: impl Fn(&K) -> F) {
        let mut tasks = self.tasks();
        tasks.retain(|key, task| {
            let wanted = follows.contains_key(key);
            if !wanted {
                task.handle.abort();
            }
            wanted
        });
        for (key, revisions) in follows {
            match tasks.get(&key) {
                Some(task) => {
                    task.revisions.send_if_modified(|present| {
                        let news = *present != revisions;
                        *present = revisions;
                        news
                    });
                }
                None => drop(tasks.insert(key.clone(), self.start(followed(&key), revisions))),
            }
        }
    }

    fn start(&self, followed: impl Followed, revisions: BTreeSet<String>) -> Task {
        let (revisions, receiver) = watch::channel(revisions);
        let look = Arc::new(Notify::new());
        let (counted, looks) = watch::channel(Looks::default());
        let means = self.means.clone();
        let follower = Follower { followed, means, looks: counted, decided: BTreeSet::new(), failures: 0 };
        let handle = tokio::spawn(follower.run(receiver, Arc::clone(&look)));
        Task { revisions, look, looks, handle }
    }

    /// Looks now at what these are; false when none of it is followed.
    pub(crate) fn look_where(&self, which: impl Fn(&K) -> bool) -> bool {
        let tasks = self.tasks();
        tasks.iter().filter(|(key, _)| which(key)).inspect(|(_, task)| task.look.notify_one()).count() > 0
    }

    /// Looks at one now; the future ends when what a look finds that begins from now on is known, or why it failed.
    pub(crate) fn look_through(&self, key: &K) -> impl Future<Output = Option<Unreachable>> + Send + use<K> {
        let tasks = self.tasks();
        let awaited = tasks.get(key).map(|task| {
            let wanted = task.looks.borrow().begun + 1;
            task.look.notify_one();
            (task.looks.clone(), wanted)
        });
        drop(tasks);
        async move {
            let (mut looks, wanted) = awaited?;
            // An error says that nobody follows it any more.
            looks.wait_for(|looks| looks.done >= wanted).await.ok()?.failed.clone()
        }
    }
}

/// The task of one thing.
struct Follower<F> {
    followed: F,
    means: Means,
    looks: watch::Sender<Looks>,
    decided: BTreeSet<String>,
    failures: u32,
}

impl<F: Followed> Follower<F> {
    async fn run(mut self, mut revisions: watch::Receiver<BTreeSet<String>>, look: Arc<Notify>) {
        // What needs credentials would only refuse.
        self.means.credentials.read_once().await;
        loop {
            let wanted = revisions.borrow_and_update().clone();
            self.looks.send_modify(|looks| looks.begun += 1);
            let (wait, failed) = self.look(&wanted).await;
            self.looks.send_modify(|looks| (looks.done, looks.failed) = (looks.begun, failed));
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

    /// One look; gives the time until the next, `None` when nothing can change by itself, and why it failed.
    async fn look(&mut self, wanted: &BTreeSet<String>) -> (Option<Duration>, Option<Unreachable>) {
        let origin = self.followed.origin();
        // A follower that is dead would be taken for one that sees no changes.
        let looked = AssertUnwindSafe(self.followed.look(wanted)).catch_unwind().await;
        let looked = looked.unwrap_or_else(|_| {
            let message = format!("looking at {origin} has failed: the agent's log says more; it tries again");
            tracing::error!(%origin, "a look has panicked");
            Looked { failed: Some(Unreachable { category: "Other", message }), ..Looked::default() }
        });
        let Looked { decided, wake, failed, at_rest } = looked;
        self.decided.extend(decided);
        self.decided.retain(|revision| wanted.contains(revision));
        let (mut woken, wait) = match failed.clone() {
            None => {
                self.failures = 0;
                (self.means.state.reachable(&origin, None), (!at_rest).then_some(self.means.interval))
            }
            Some(unreachable) => {
                self.failures += 1;
                let lasting = self.failures >= TOLERATED_FAILURES || self.decided.len() < wanted.len();
                let woken = lasting.then(|| self.means.state.reachable(&origin, Some(unreachable)));
                let wait = FIRST_RETRY * (1 << (self.failures - 1).min(10));
                (woken.unwrap_or_default(), Some(wait.min(self.means.interval)))
            }
        };
        woken.extend(wake);
        self.means.queue.extend(woken);
        (wait, failed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use gitmoor_core::tracking::Installation;
    use gitmoor_engine::addresses::Addresses;
    use serde_json::json;
    use tokio::sync::Semaphore;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    /// Answers as it is told, one look for each permit.
    struct Scripted {
        origin: Origin,
        permits: Arc<Semaphore>,
        looks: Arc<AtomicU32>,
        answer: fn(u32) -> Looked,
    }

    impl Followed for Scripted {
        fn origin(&self) -> Origin {
            self.origin.clone()
        }

        async fn look(&self, _: &BTreeSet<String>) -> Looked {
            self.permits.acquire().await.unwrap().forget();
            (self.answer)(self.looks.fetch_add(1, Ordering::SeqCst))
        }
    }

    struct World {
        followers: Followers<u8>,
        state: Arc<State>,
        key: ApplicationKey,
        permits: Arc<Semaphore>,
        looks: Arc<AtomicU32>,
    }

    /// One Application that follows a branch and a tag, or a chart.
    fn world(sources: &[(&str, &str, &str)], answer: fn(u32) -> Looked) -> World {
        let state = State::new(Installation::parse("gitmoor").unwrap(), BTreeSet::new(), Addresses::default());
        let key = ApplicationKey { namespace: "gitmoor".into(), name: "web".into() };
        let sources: Vec<_> = sources
            .iter()
            .map(
                |(url, revision, rest)| json!({"repoURL": url, "targetRevision": revision, "chart": rest, "path": "x"}),
            )
            .map(|mut source| {
                let unused = if source["chart"] == "" { "chart" } else { "path" };
                source.as_object_mut().unwrap().remove(unused);
                source
            })
            .collect();
        let spec = json!({"project": "default", "destination": {"namespace": "x"}, "sources": sources});
        state.upsert_application(&key, json!({"metadata": {"uid": "1", "resourceVersion": "1"}, "spec": spec}));
        let state = Arc::new(state);
        let (queue, _) = crate::queue::queue();
        let means =
            Means { interval: Duration::from_mins(1), credentials: Arc::default(), state: Arc::clone(&state), queue };
        let (permits, looks) = (Arc::new(Semaphore::new(0)), Arc::default());
        let followers = Followers::new(means);
        let (origin, revisions) = state.follows().into_iter().next().unwrap();
        followers.refollow([(0, revisions)].into(), |_| Scripted {
            origin: origin.clone(),
            permits: Arc::clone(&permits),
            looks: Arc::clone(&looks),
            answer,
        });
        World { followers, state, key, permits, looks }
    }

    impl World {
        /// As many looks as that, and what is known then.
        async fn look(&self, count: u32) -> Option<Unreachable> {
            let until = self.looks.load(Ordering::SeqCst) + count;
            self.permits.add_permits(count as usize);
            while self.looks.load(Ordering::SeqCst) < until {
                sleep(Duration::from_millis(10)).await;
            }
            sleep(Duration::from_millis(10)).await;
            self.state.snapshot(&self.key).unwrap().unreachable
        }
    }

    fn failed() -> Looked {
        Looked { failed: Some(Unreachable { category: "Unreachable", message: String::new() }), ..Looked::default() }
    }

    fn decided(revisions: &[&str]) -> Looked {
        Looked { decided: revisions.iter().map(|&text| text.to_owned()).collect(), ..Looked::default() }
    }

    const GIT: [(&str, &str, &str); 2] = [("https://git.example/r", "gone", ""), ("https://git.example/r", "main", "")];
    const CHART: [(&str, &str, &str); 1] = [("https://charts.example", "1.0.0", "web")];

    #[tokio::test(start_paused = true)]
    async fn a_revision_that_does_not_exist_is_no_reason_to_doubt_the_others_at_the_first_failure() {
        let world = world(&GIT, |look| if look == 0 { decided(&["gone", "main"]) } else { failed() });
        assert_eq!(world.look(1).await, None);
        assert_eq!(world.look(2).await, None, "tolerated");
        assert!(world.look(1).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_seen_is_said_at_once() {
        let world = world(&GIT, |look| if look == 0 { decided(&["main"]) } else { failed() });
        assert_eq!(world.look(1).await, None);
        assert!(world.look(1).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_panics_is_a_failure_and_others_follow() {
        let world = world(&GIT, |look| {
            assert_ne!(look, 0, "as a test may");
            decided(&["gone", "main"])
        });
        assert!(world.look(1).await.unwrap().message.contains("has failed"));
        assert_eq!(world.look(1).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_look_at_a_chart_waits_until_it_is_done() {
        let world = world(&CHART, |_| Looked { at_rest: true, ..decided(&["1.0.0"]) });
        world.look(1).await;
        let begun = Instant::now();
        assert!(timeout(Duration::from_mins(10), world.followers.look_through(&0)).await.is_err(), "it is not done");
        assert_eq!(begun.elapsed().as_secs(), 600);
        world.permits.add_permits(2);
        world.followers.look_through(&0).await;
        assert_eq!(world.looks.load(Ordering::SeqCst), 3, "that one, and one that began after it was asked for");
        sleep(Duration::from_mins(10)).await;
        assert_eq!(world.looks.load(Ordering::SeqCst), 3, "an exact version changes no more");
        assert!(world.followers.look_where(|key| *key == 0) && !world.followers.look_where(|key| *key == 1));
    }
}

//! What the agent knows: Applications, live objects, followed revisions. All of it can be lost and read again.
//!
//! One mutex, held for look-ups and updates in memory only, never across an await. Every update says which Applications
//! may have to look because of it; the caller puts them into the queue.

mod applications;
mod live;
mod ownership;
mod revisions;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gitmoor_core::application::{ApplicationSpec, SpecError};
use gitmoor_core::closure::{PathIndex, ReadSet};
use gitmoor_core::live::LiveIndex;
use gitmoor_core::plan::DesiredObject;
use gitmoor_core::resource::Resources;
use gitmoor_core::status::Condition;
use gitmoor_core::tracking::{ApplicationKey, Installation};
use gitmoor_engine::git::{CommitId, FetchError, RepositoryUrl, UrlPolicy};
use serde_json::Value;

/// A revision of a repository that some Application follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Follow {
    /// The repository.
    pub url: RepositoryUrl,
    /// Branch, tag or commit, as the Application has it.
    pub revision: String,
}

/// Where a followed revision stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Not fetched yet.
    Pending,
    /// At a commit.
    At(CommitId),
    /// The server does not have it.
    Missing,
}

/// What is known of an Application at the commit that it was last evaluated at.
#[derive(Clone, Debug)]
pub(crate) struct Evaluation {
    /// Last commit that changed its inputs.
    pub commit: CommitId,
    /// Digest of its inputs.
    pub inputs: String,
    /// What it wants; `None` when it could not be rendered.
    pub desired: Option<Arc<[DesiredObject]>>,
    /// Images in its manifests.
    pub images: Arc<[String]>,
    /// What is wrong with the render.
    pub problems: Vec<Condition>,
    /// What people should know of it, and does not make it incomplete.
    pub warnings: Vec<Condition>,
    /// Some kind is not served (yet).
    pub unknown_kinds: bool,
}

impl Evaluation {
    /// What it wants, as far as that is known.
    pub(crate) fn wanted(&self) -> &[DesiredObject] {
        self.desired.as_deref().unwrap_or_default()
    }

    /// True when absence from `desired` means absence from Git.
    pub(crate) fn is_complete(&self) -> bool {
        self.desired.is_some() && self.problems.is_empty()
    }
}

/// An Application and what is known of it.
#[derive(Clone, Debug)]
struct Tracked {
    object: Arc<Value>,
    spec: Arc<Result<ApplicationSpec, SpecError>>,
    follow: Option<Follow>,
    /// Its inputs may have changed since the evaluation.
    dirty: bool,
    evaluation: Option<Arc<Evaluation>>,
    /// Any path of the repository may be among its inputs.
    reads_everything: bool,
    /// The Application that its prunes wait for.
    held_by: Option<ApplicationKey>,
    /// Applications that have, and may still want, what this one wants.
    conflicts: BTreeSet<ApplicationKey>,
}

impl Tracked {
    /// It is being deleted, and wants nothing any more.
    fn is_going(&self) -> bool {
        self.object["metadata"].get("deletionTimestamp").is_some()
    }
}

/// Which paths an evaluation has read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reads<'a> {
    /// These.
    Set(&'a ReadSet),
    /// Any: its read-set was not enough.
    Everything,
    /// It did not get so far, and has to be repeated.
    Unknown,
}

#[derive(Debug, Default)]
struct Followed {
    head: Option<Head>,
    /// When it came to stand there.
    since: Option<Instant>,
    index: PathIndex<ApplicationKey>,
}

/// What a reconcile works from.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The Application object.
    pub object: Arc<Value>,
    /// Its spec.
    pub spec: Arc<Result<ApplicationSpec, SpecError>>,
    /// The revision that it follows.
    pub follow: Option<Follow>,
    /// Where that stands.
    pub head: Head,
    /// Since when.
    pub since: Option<Instant>,
    /// Why the repository cannot be reached, when that has been so for long.
    pub unreachable: Option<FetchError>,
    /// Its inputs may have changed since the evaluation.
    pub dirty: bool,
    /// The last evaluation.
    pub evaluation: Option<Arc<Evaluation>>,
}

#[derive(Default)]
struct Inner {
    applications: BTreeMap<ApplicationKey, Tracked>,
    /// Namespaces whose Applications have all been seen once.
    listed: BTreeSet<String>,
    by_label: HashMap<String, ApplicationKey>,
    live: LiveIndex,
    resources: Arc<Resources>,
    followed: HashMap<Follow, Followed>,
    unreachable: HashMap<RepositoryUrl, FetchError>,
}

/// Everything that the agent knows.
pub(crate) struct State {
    /// The installation.
    pub installation: Installation,
    /// Namespaces whose Applications are worked on.
    namespaces: BTreeSet<String>,
    policy: UrlPolicy,
    inner: Mutex<Inner>,
}

impl State {
    /// An agent that knows nothing yet.
    pub(crate) fn new(installation: Installation, namespaces: BTreeSet<String>, policy: UrlPolicy) -> Self {
        Self { installation, namespaces, policy, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way through an update.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a reconcile of an Application works from; `None` when it is gone.
    pub(crate) fn snapshot(&self, key: &ApplicationKey) -> Option<Snapshot> {
        let inner = self.lock();
        let tracked = inner.applications.get(key)?;
        let follow = tracked.follow.as_ref();
        let followed = follow.and_then(|follow| inner.followed.get(follow));
        Some(Snapshot {
            object: Arc::clone(&tracked.object),
            spec: Arc::clone(&tracked.spec),
            follow: tracked.follow.clone(),
            head: followed.and_then(|followed| followed.head.clone()).unwrap_or(Head::Pending),
            since: followed.and_then(|followed| followed.since),
            unreachable: follow.and_then(|follow| inner.unreachable.get(&follow.url)).cloned(),
            dirty: tracked.dirty,
            evaluation: tracked.evaluation.clone(),
        })
    }
}

impl Inner {
    fn waiting_for(&self, key: &ApplicationKey) -> Vec<ApplicationKey> {
        let waits = |tracked: &Tracked| tracked.held_by.as_ref() == Some(key) || tracked.conflicts.contains(key);
        let waiting = self.applications.iter().filter(|(_, tracked)| waits(tracked));
        waiting.map(|(key, _)| key.clone()).collect()
    }

    fn of_repository<'a>(&'a self, url: &'a RepositoryUrl) -> impl Iterator<Item = (&'a ApplicationKey, &'a Tracked)> {
        self.applications
            .iter()
            .filter(move |(_, tracked)| tracked.follow.as_ref().is_some_and(|follow| follow.url == *url))
    }

    fn unfollow(&mut self, key: &ApplicationKey, follow: &Follow) {
        if let Some(followed) = self.followed.get_mut(follow) {
            followed.index.remove(key);
        }
        if !self.applications.values().any(|tracked| tracked.follow.as_ref() == Some(follow)) {
            self.followed.remove(follow);
        }
    }
}

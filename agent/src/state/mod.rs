//! What the agent knows: Applications, live objects, followed revisions. All of it can be lost and read again.
//!
//! One mutex, held for look-ups and updates in memory only, never across an await. Every update says which Applications
//! may have to look because of it; the caller puts them into the queue.

mod applications;
mod contested;
mod live;
mod ownership;
mod revisions;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gitmoor_core::application::{ApplicationSpec, SpecError};
use gitmoor_core::closure::{PathIndex, ReadSet, RemoteReference};
use gitmoor_core::health::HealthStatus;
use gitmoor_core::live::LiveIndex;
use gitmoor_core::object::text_at;
use gitmoor_core::packed::Packed;
use gitmoor_core::plan::DesiredObject;
use gitmoor_core::resource::Resources;
use gitmoor_core::status::{Condition, Revision};
use gitmoor_core::tracking::{ApplicationKey, Installation};
use gitmoor_engine::addresses::Addresses;
use gitmoor_engine::charts::ChartVersion;
use gitmoor_engine::git::CommitId;
use gitmoor_engine::helm::Capabilities;
use gitmoor_engine::inputs::lock_reads;
pub(crate) use gitmoor_engine::sources::{Follow, FollowedSource, Origin};
pub(crate) use revisions::Move;
use serde_json::Value;

/// Where a revision can stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// At a commit.
    Commit(CommitId),
    /// At a version of a chart.
    Chart(ChartVersion),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit(commit) => write!(f, "{commit}"),
            Self::Chart(chart) => f.write_str(&chart.version),
        }
    }
}

/// Where a followed revision stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Not fetched yet.
    Pending,
    /// There.
    At(Position),
    /// The server does not have it.
    Missing,
}

/// Why a repository cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreachable {
    /// One word.
    pub category: &'static str,
    /// In words.
    pub message: String,
}

/// What is known of an Application at the commit that it was last evaluated at.
#[derive(Clone, Debug)]
pub(crate) struct Evaluation {
    /// What is known of each source.
    pub sources: Vec<EvaluatedSource>,
    /// `spec.sources` is set, and not `spec.source`.
    pub several: bool,
    /// What it wants; `None` when it could not be rendered.
    pub desired: Option<Arc<[DesiredObject]>>,
    /// Digest of that; empty when it is another one at each render.
    pub output: String,
    /// Images in its manifests.
    pub images: Arc<[String]>,
    /// What is wrong with the render.
    pub problems: Vec<Condition>,
    /// Objects that cannot be applied before a definition is that comes with them: a matter of order, and nothing wrong.
    pub awaited: Vec<String>,
    /// What people should know of it, and does not make it incomplete.
    pub warnings: Vec<Condition>,
    /// Some kind is not served (yet).
    pub unknown_kinds: bool,
    /// It depends on what the cluster serves.
    pub asks_cluster: bool,
    /// Charts of Applications among its objects: those carry what the lock file says of them.
    pub charts: BTreeSet<RemoteReference>,
}

/// One source of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EvaluatedSource {
    /// Last commit or version that changed its inputs.
    pub revision: String,
    /// Digest of its inputs; empty when they could not be told.
    pub inputs: String,
    /// `Helm`, `Kustomize` or `Directory`, when that is known.
    pub kind: Option<&'static str>,
}

impl Evaluation {
    /// What keeps it from being all that is wanted: an error, or what has to wait.
    pub(crate) fn incomplete(&self) -> Option<&str> {
        let problem = self.problems.first().map(|problem| &problem.message);
        problem.or(self.awaited.first()).map(String::as_str)
    }

    /// Where its sources stand, for the status.
    pub(crate) fn revision(&self) -> Revision {
        let mut texts = self.sources.iter().map(|source| source.revision.clone());
        if self.several { Revision::Several(texts.collect()) } else { Revision::One(texts.next().unwrap_or_default()) }
    }

    /// Where its sources stand, as one text.
    pub(crate) fn identity(&self) -> String {
        self.revision().identity()
    }

    /// As what its sources were rendered, when that is known of all.
    pub(crate) fn source_kinds(&self) -> Option<Vec<&'static str>> {
        self.sources.iter().map(|source| source.kind).collect()
    }

    /// What it wants, as far as that is known.
    pub(crate) fn wanted(&self) -> &[DesiredObject] {
        self.desired.as_deref().unwrap_or_default()
    }

    /// True when absence from `desired` means absence from Git.
    pub(crate) fn is_complete(&self) -> bool {
        self.desired.is_some() && self.incomplete().is_none()
    }
}

/// An Application and what is known of it.
#[derive(Clone, Debug)]
struct Tracked {
    /// Without its status.
    object: Value,
    /// Which is most of it, and read only when its Application is worked on.
    status: Packed<Value>,
    standing: Standing,
    spec: Arc<Result<ApplicationSpec, SpecError>>,
    /// Its sources; none when its spec cannot be followed.
    sources: Arc<[FollowedSource]>,
    /// Its inputs may have changed since the evaluation.
    dirty: bool,
    /// How often that was said. An evaluation that began before the last time does not know why.
    touches: u64,
    /// The last try to evaluate it could not: it may want anything.
    undecidable: bool,
    evaluation: Option<Arc<Evaluation>>,
    /// Any path of the repository may be among its inputs.
    reads_everything: bool,
    /// The Application that its prunes wait for.
    held_by: Option<ApplicationKey>,
    /// Applications that have, and may still want, what this one wants.
    conflicts: BTreeSet<ApplicationKey>,
}

impl Tracked {
    /// The object as the API server has it.
    fn whole(&self) -> Value {
        let mut object = self.object.clone();
        let status = self.status.open();
        if let (Some(object), false) = (object.as_object_mut(), status.is_null()) {
            object.insert("status".to_owned(), status);
        }
        object
    }

    /// Takes in a newer state of the object.
    fn set(&mut self, object: Value) {
        self.standing = Standing::of(&object["status"]);
        (self.object, self.status) = split(object);
    }

    /// Its inputs may have changed.
    fn touch(&mut self) {
        self.dirty = true;
        self.touches += 1;
    }

    fn follows(&self) -> impl Iterator<Item = &Follow> {
        self.sources.iter().map(|source| &source.follow)
    }

    fn asks_cluster(&self) -> bool {
        self.evaluation.as_ref().is_some_and(|evaluation| evaluation.asks_cluster)
    }

    fn reads_from(&self, origin: &Origin) -> bool {
        self.follows().any(|follow| follow.origin == *origin)
    }

    /// It is being deleted, and wants nothing any more.
    fn is_going(&self) -> bool {
        self.object["metadata"].get("deletionTimestamp").is_some()
    }
}

/// Sync and health of an Application, as its status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    /// `Synced`, `OutOfSync` or `Unknown`.
    pub sync: &'static str,
    /// One of [`HealthStatus::ALL`].
    pub health: &'static str,
}

impl Standing {
    /// Of a status; what it does not say is unknown.
    pub(crate) fn of(status: &Value) -> Self {
        let sync = text_at(status, &["sync", "status"]);
        let health = text_at(status, &["health", "status"]).and_then(HealthStatus::from_word);
        Self {
            sync: ["Synced", "OutOfSync"].into_iter().find(|word| sync == Some(word)).unwrap_or("Unknown"),
            health: health.unwrap_or(HealthStatus::Unknown).as_str(),
        }
    }
}

fn split(mut object: Value) -> (Value, Packed<Value>) {
    let status = object.as_object_mut().and_then(|object| object.remove("status")).unwrap_or_default();
    (object, Packed::of(&status))
}

/// Which paths an evaluation has read.
#[derive(Clone, Debug)]
pub(crate) enum Reads {
    /// These, of which source.
    Sets(Vec<(usize, ReadSet)>),
    /// Any: its read-set was not enough.
    Everything,
    /// It did not get so far, and has to be repeated.
    Unknown,
}

impl Reads {
    /// The same, and the lock file in the tree of this source.
    pub(crate) fn with_lock(self, source: Option<usize>) -> Self {
        match (self, source) {
            (Self::Sets(mut sets), Some(source)) => {
                sets.push((source, lock_reads()));
                Self::Sets(sets)
            }
            (reads, _) => reads,
        }
    }
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
    /// Its sources; none when the spec cannot be followed.
    pub sources: Arc<[FollowedSource]>,
    /// Where each of them stands.
    pub heads: Vec<Head>,
    /// Since when the last of them does.
    pub since: Option<Instant>,
    /// Why one of them cannot be reached, when that has been so for long.
    pub unreachable: Option<Unreachable>,
    /// Its inputs may have changed since the evaluation.
    pub dirty: bool,
    /// How often that was said.
    pub touches: u64,
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
    capabilities: Arc<Capabilities>,
    followed: HashMap<Follow, Followed>,
    unreachable: HashMap<Origin, Unreachable>,
    /// Applications that have to say anew who else wants what they have.
    contested_news: BTreeSet<ApplicationKey>,
}

/// Everything that the agent knows.
pub(crate) struct State {
    /// The installation.
    pub installation: Installation,
    /// Namespaces whose Applications are worked on.
    namespaces: BTreeSet<String>,
    /// What addresses mean.
    pub addresses: Addresses,
    inner: Mutex<Inner>,
}

impl State {
    /// An agent that knows nothing yet.
    pub(crate) fn new(installation: Installation, namespaces: BTreeSet<String>, addresses: Addresses) -> Self {
        Self { installation, namespaces, addresses, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way through an update.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a reconcile of an Application works from; `None` when it is gone.
    pub(crate) fn snapshot(&self, key: &ApplicationKey) -> Option<Snapshot> {
        let inner = self.lock();
        let tracked = inner.applications.get(key)?;
        let followed = |follow: &Follow| inner.followed.get(follow);
        let head = |follow| followed(follow).and_then(|followed| followed.head.clone()).unwrap_or(Head::Pending);
        Some(Snapshot {
            object: Arc::new(tracked.whole()),
            spec: Arc::clone(&tracked.spec),
            sources: Arc::clone(&tracked.sources),
            heads: tracked.follows().map(head).collect(),
            since: tracked.follows().filter_map(|follow| followed(follow)?.since).max(),
            unreachable: inner.unreachable(tracked).cloned(),
            dirty: tracked.dirty,
            touches: tracked.touches,
            evaluation: tracked.evaluation.clone(),
        })
    }
}

impl State {
    /// The Application as it is now; `None` when it is gone, has another spec than the snapshot has, or when somebody has
    /// asked for a sync and its inputs have changed since.
    pub(crate) fn present(&self, key: &ApplicationKey, snapshot: &Snapshot) -> Option<Arc<Value>> {
        let inner = self.lock();
        let tracked = inner.applications.get(key)?;
        let outdated = !Arc::ptr_eq(&tracked.spec, &snapshot.spec)
            || (tracked.dirty && tracked.object.get("operation").is_some_and(Value::is_object));
        (!outdated).then(|| Arc::new(tracked.whole()))
    }
}

impl Inner {
    fn waiting_for(&self, key: &ApplicationKey) -> Vec<ApplicationKey> {
        let waits = |tracked: &Tracked| tracked.held_by.as_ref() == Some(key) || tracked.conflicts.contains(key);
        let waiting = self.applications.iter().filter(|(_, tracked)| waits(tracked));
        waiting.map(|(key, _)| key.clone()).collect()
    }

    fn of_origin<'a>(&'a self, origin: &'a Origin) -> impl Iterator<Item = (&'a ApplicationKey, &'a Tracked)> {
        self.applications.iter().filter(move |(_, tracked)| tracked.reads_from(origin))
    }

    fn unreachable(&self, tracked: &Tracked) -> Option<&Unreachable> {
        tracked.follows().find_map(|follow| self.unreachable.get(&follow.origin))
    }

    fn unfollow(&mut self, key: &ApplicationKey, sources: &[FollowedSource]) {
        for FollowedSource { follow, .. } in sources {
            if let Some(followed) = self.followed.get_mut(follow) {
                followed.index.remove(key);
            }
            if !self.applications.values().any(|tracked| tracked.follows().any(|other| other == follow)) {
                self.followed.remove(follow);
            }
        }
    }
}

//! What the agent knows: Applications, live objects, followed revisions. All of it can be lost and read again.
//!
//! One mutex, held for look-ups and updates in memory only, never across an await. Every update says which Applications
//! may have to look because of it; the caller puts them into the queue.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gitmoor_core::application::{ApplicationSpec, Source, SpecError};
use gitmoor_core::closure::{PathIndex, ReadSet};
use gitmoor_core::live::{LiveIndex, LiveObject};
use gitmoor_core::names::{ANNOTATION_DIGEST, APPLICATION_GROUP, APPLICATION_KIND};
use gitmoor_core::object::{GroupKind, ObjectId, annotation, text_at};
use gitmoor_core::plan::{DesiredObject, Plan, plan};
use gitmoor_core::resource::Resources;
use gitmoor_core::status::Condition;
use gitmoor_core::tracking::{ApplicationKey, Installation};
use gitmoor_core::tree::RepoPath;
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
    /// Some kind is not served (yet).
    pub unknown_kinds: bool,
}

impl Evaluation {
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

/// Whether another Application wants an object.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// It does not exist, or does not want it.
    No,
    /// It does.
    Yes,
    /// It has not been evaluated at its commit yet.
    Undecided,
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

    /// Takes in an Application as the API server has it. True when somebody else changed something.
    pub(crate) fn upsert_application(&self, key: &ApplicationKey, mut object: Value) -> bool {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        let mut inner = self.lock();
        let before = inner.applications.get(key);
        let nothing_new = |before: &Tracked| {
            is_older(&object, &before.object) || same_but_version(&object, &before.object)
        };
        if before.is_some_and(nothing_new) {
            return false;
        }
        let spec_changed = before.is_none_or(|before| before.object["spec"] != object["spec"]);
        let (spec, follow) = match before.filter(|_| !spec_changed) {
            Some(before) => (Arc::clone(&before.spec), before.follow.clone()),
            None => read_spec(&object, self.policy),
        };
        let moved = before.and_then(|before| before.follow.clone()).filter(|old| Some(old) != follow.as_ref());
        let (dirty, evaluation, held_by) = before
            .map_or((true, None, None), |old| (old.dirty || spec_changed, old.evaluation.clone(), old.held_by.clone()));
        let reads_everything = before.is_some_and(|before| before.reads_everything);
        let tracked = Tracked { object: Arc::new(object), spec, follow, dirty, evaluation, reads_everything, held_by };
        if let Some(follow) = &tracked.follow {
            inner.followed.entry(follow.clone()).or_default();
        }
        inner.applications.insert(key.clone(), tracked);
        inner.by_label.insert(self.installation.label_value(key), key.clone());
        if let Some(old) = moved {
            inner.unfollow(key, &old);
        }
        true
    }

    /// Takes in the answer to our own write of an Application's status.
    pub(crate) fn wrote_application(&self, key: &ApplicationKey, mut object: Value) {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        let mut inner = self.lock();
        if let Some(tracked) = inner.applications.get_mut(key) {
            let known = text_at(&tracked.object, &["metadata", "uid"]) == text_at(&object, &["metadata", "uid"])
                && tracked.object["spec"] == object["spec"];
            if known && !is_older(&object, &tracked.object) {
                tracked.object = Arc::new(object);
            }
        }
    }

    /// The Application is gone. Gives those that waited for it.
    pub(crate) fn remove_application(&self, key: &ApplicationKey) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let Some(gone) = inner.applications.remove(key) else { return Vec::new() };
        inner.by_label.remove(&self.installation.label_value(key));
        if let Some(follow) = gone.follow {
            inner.unfollow(key, &follow);
        }
        inner.waiting_for(key)
    }

    /// Applications whose prunes wait for this one.
    pub(crate) fn waiting_for(&self, key: &ApplicationKey) -> Vec<ApplicationKey> {
        self.lock().waiting_for(key)
    }

    /// All Applications.
    pub(crate) fn applications(&self) -> Vec<ApplicationKey> {
        self.lock().applications.keys().cloned().collect()
    }

    /// Every followed revision, by repository.
    pub(crate) fn follows(&self) -> BTreeMap<RepositoryUrl, BTreeSet<String>> {
        let mut follows: BTreeMap<RepositoryUrl, BTreeSet<String>> = BTreeMap::new();
        for follow in self.lock().followed.keys() {
            follows.entry(follow.url.clone()).or_default().insert(follow.revision.clone());
        }
        follows
    }

    /// Where the revisions of a repository stood.
    pub(crate) fn heads(&self, url: &RepositoryUrl) -> BTreeMap<String, CommitId> {
        let inner = self.lock();
        let of_url = inner.followed.iter().filter(|(follow, _)| follow.url == *url);
        of_url
            .filter_map(|(follow, followed)| match &followed.head {
                Some(Head::At(commit)) => Some((follow.revision.clone(), commit.clone())),
                _ => None,
            })
            .collect()
    }

    /// A revision stands at `head` now. `changed`: the paths that differ from before, `None` when any may.
    ///
    /// Gives the Applications whose inputs that touches.
    pub(crate) fn advance(&self, follow: &Follow, head: Head, changed: Option<&[RepoPath]>) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let Some(followed) = inner.followed.get_mut(follow) else { return Vec::new() };
        if followed.head.as_ref() == Some(&head) {
            return inner.undecided(follow);
        }
        let known_before = matches!(followed.head, Some(Head::At(_)));
        let touched = changed.filter(|_| known_before).map(|paths| followed.index.touched(paths.iter()));
        followed.head = Some(head);
        let mut wake = Vec::new();
        for (key, tracked) in &mut inner.applications {
            if tracked.follow.as_ref() != Some(follow) {
                continue;
            }
            let indexed = tracked.evaluation.is_some() && !tracked.dirty;
            if !indexed || tracked.reads_everything || touched.as_ref().is_none_or(|touched| touched.contains(key)) {
                tracked.dirty = true;
                wake.push(key.clone());
            }
        }
        wake
    }

    /// The repository cannot be reached (`Some`), or can again. Gives its Applications when that is news.
    pub(crate) fn reachable(&self, url: &RepositoryUrl, error: Option<FetchError>) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let news = match &error {
            Some(error) => inner.unreachable.insert(url.clone(), error.clone()).as_ref() != Some(error),
            None => inner.unreachable.remove(url).is_some(),
        };
        if news { inner.of_repository(url).map(|(key, _)| key.clone()).collect() } else { Vec::new() }
    }

    /// What a reconcile of an Application works from; `None` when it is gone.
    pub(crate) fn snapshot(&self, key: &ApplicationKey) -> Option<Snapshot> {
        let inner = self.lock();
        let tracked = inner.applications.get(key)?;
        let follow = tracked.follow.as_ref();
        let head = follow.and_then(|follow| inner.followed.get(follow)).and_then(|followed| followed.head.clone());
        Some(Snapshot {
            object: Arc::clone(&tracked.object),
            spec: Arc::clone(&tracked.spec),
            follow: tracked.follow.clone(),
            head: head.unwrap_or(Head::Pending),
            unreachable: follow.and_then(|follow| inner.unreachable.get(&follow.url)).cloned(),
            dirty: tracked.dirty,
            evaluation: tracked.evaluation.clone(),
        })
    }

    /// The Application was evaluated at `at`. Gives those that waited for that; itself when Git moved on meanwhile.
    pub(crate) fn evaluated(
        &self,
        key: &ApplicationKey,
        snapshot: &Snapshot,
        at: &CommitId,
        evaluation: Arc<Evaluation>,
        reads: Reads<'_>,
    ) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let head = snapshot.follow.as_ref().and_then(|follow| inner.followed.get_mut(follow)).map(|followed| {
            match reads {
                Reads::Set(read_set) => followed.index.insert(key.clone(), read_set),
                Reads::Everything | Reads::Unknown => followed.index.remove(key),
            }
            followed.head.clone()
        });
        let current = head.flatten() == Some(Head::At(at.clone()));
        let Some(tracked) = inner.applications.get_mut(key) else { return Vec::new() };
        let same_spec = Arc::ptr_eq(&tracked.spec, &snapshot.spec);
        tracked.evaluation = Some(evaluation);
        tracked.reads_everything = matches!(reads, Reads::Everything);
        tracked.dirty = !(current && same_spec) || matches!(reads, Reads::Unknown);
        let again = !(current && same_spec);
        let mut wake = inner.waiting_for(key);
        if again {
            wake.push(key.clone());
        }
        wake
    }

    /// Everything has to be evaluated again: what the cluster serves has changed. Gives those that wait for a kind.
    pub(crate) fn wake_unknown_kinds(&self) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let waiting = inner
            .applications
            .iter_mut()
            .filter(|(_, tracked)| tracked.evaluation.as_ref().is_some_and(|evaluation| evaluation.unknown_kinds));
        waiting
            .map(|(key, tracked)| {
                tracked.dirty = true;
                key.clone()
            })
            .collect()
    }

    /// Why the prunes of an Application have to wait: another one of its repository is not planned at this commit.
    ///
    /// Every Application that another one wants must exist as that one wants it, so that an object that moves into a
    /// new Application is adopted by it before its old owner would delete it.
    pub(crate) fn prune_held_by(&self, key: &ApplicationKey) -> Option<ApplicationKey> {
        let mut inner = self.lock();
        let held_by = inner.held_by(key, self);
        if let Some(tracked) = inner.applications.get_mut(key) {
            tracked.held_by.clone_from(&held_by);
        }
        held_by
    }

    /// Plans an Application; the flag says that another one has to be evaluated before all can be decided.
    pub(crate) fn plan(&self, key: &ApplicationKey, desired: &[DesiredObject]) -> (Plan, bool) {
        let inner = self.lock();
        let undecided = Cell::new(false);
        let wanted_by = |id: &ObjectId, other: &ApplicationKey| match inner.wanted_by(id, other) {
            Wanted::No => false,
            Wanted::Yes => true,
            Wanted::Undecided => {
                undecided.set(true);
                true
            }
        };
        let plan = plan(key, &self.installation.label_value(key), desired, &inner.live, &wanted_by);
        (plan, undecided.get())
    }

    /// Which of the objects some other Application wants.
    pub(crate) fn wanted_elsewhere(&self, ids: &[ObjectId], key: &ApplicationKey) -> HashSet<ObjectId> {
        if ids.is_empty() {
            return HashSet::new();
        }
        let looked_for: HashSet<&ObjectId> = ids.iter().collect();
        let inner = self.lock();
        let others = inner.applications.iter().filter(|(other, _)| *other != key);
        let desired = others.filter_map(|(_, tracked)| tracked.evaluation.as_ref()?.desired.clone());
        desired
            .flat_map(|desired| {
                desired.iter().filter(|d| looked_for.contains(&d.id)).map(|d| d.id.clone()).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Works with the live objects.
    pub(crate) fn live<T>(&self, work: impl FnOnce(&mut LiveIndex) -> T) -> T {
        work(&mut self.lock().live)
    }

    /// Takes in a live object; gives the Applications concerned.
    pub(crate) fn observe(&self, live: LiveObject) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let labels = inner.live.observe(live);
        inner.owners(&labels)
    }

    /// A live object is gone.
    pub(crate) fn gone(&self, id: &ObjectId, uid: &str) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let labels: Vec<String> = inner.live.remove(id, Some(uid)).into_iter().collect();
        inner.owners(&labels)
    }

    /// A listing of a kind is complete.
    pub(crate) fn listed(&self, group_kind: &GroupKind, ids: &HashSet<ObjectId>) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let labels = inner.live.retain_listed(group_kind, ids);
        inner.owners(&labels)
    }

    /// What the cluster serves, as of the last discovery.
    pub(crate) fn resources(&self) -> Arc<Resources> {
        Arc::clone(&self.lock().resources)
    }

    /// Takes in a discovery.
    pub(crate) fn set_resources(&self, resources: Resources) {
        self.lock().resources = Arc::new(resources);
    }
}

impl Inner {
    /// Whether an Application wants an object at its commit.
    fn wanted_by(&self, id: &ObjectId, application: &ApplicationKey) -> Wanted {
        let Some(tracked) = self.applications.get(application) else { return Wanted::No };
        let Some(follow) = &tracked.follow else { return Wanted::No };
        if tracked.dirty && !self.unreachable.contains_key(&follow.url) {
            let missing = self.followed.get(follow).is_some_and(|followed| followed.head == Some(Head::Missing));
            return if missing { Wanted::Yes } else { Wanted::Undecided };
        }
        match &tracked.evaluation {
            // It holds the object and cannot be asked.
            None => Wanted::Yes,
            Some(evaluation) if evaluation.desired.iter().flat_map(|desired| desired.iter()).any(|d| d.id == *id) => {
                Wanted::Yes
            }
            Some(_) => Wanted::No,
        }
    }

    fn owners(&self, labels: &[String]) -> Vec<ApplicationKey> {
        labels.iter().filter_map(|label| self.by_label.get(label)).cloned().collect()
    }

    fn waiting_for(&self, key: &ApplicationKey) -> Vec<ApplicationKey> {
        let waiting = self.applications.iter().filter(|(_, tracked)| tracked.held_by.as_ref() == Some(key));
        waiting.map(|(key, _)| key.clone()).collect()
    }

    fn of_repository<'a>(&'a self, url: &'a RepositoryUrl) -> impl Iterator<Item = (&'a ApplicationKey, &'a Tracked)> {
        self.applications
            .iter()
            .filter(move |(_, tracked)| tracked.follow.as_ref().is_some_and(|follow| follow.url == *url))
    }

    /// Those of a revision that have not been evaluated, for which a repeated answer is news too.
    fn undecided(&self, follow: &Follow) -> Vec<ApplicationKey> {
        let of_follow = self.applications.iter().filter(|(_, tracked)| tracked.follow.as_ref() == Some(follow));
        of_follow.filter(|(_, tracked)| tracked.dirty).map(|(key, _)| key.clone()).collect()
    }

    fn unfollow(&mut self, key: &ApplicationKey, follow: &Follow) {
        if let Some(followed) = self.followed.get_mut(follow) {
            followed.index.remove(key);
        }
        if !self.applications.values().any(|tracked| tracked.follow.as_ref() == Some(follow)) {
            self.followed.remove(follow);
        }
    }

    fn held_by(&self, key: &ApplicationKey, state: &State) -> Option<ApplicationKey> {
        let url = &self.applications.get(key)?.follow.as_ref()?.url;
        for (other, tracked) in self.of_repository(url) {
            let planned =
                !tracked.dirty && tracked.evaluation.as_ref().is_some_and(|evaluation| evaluation.is_complete());
            // The Application itself may have a newer commit to look at, or problems that its caller knows of.
            if (other == key && tracked.dirty) || (other != key && !planned) {
                return Some(other.clone());
            }
            let automated = tracked.spec.as_ref().as_ref().is_ok_and(|spec| spec.automated().is_some());
            if let Some(child) =
                tracked.evaluation.as_ref().filter(|_| automated).and_then(|e| self.missing_child(e, state))
            {
                return Some(child);
            }
        }
        None
    }

    /// An Application that is wanted, and is not there as it is wanted.
    fn missing_child(&self, evaluation: &Evaluation, state: &State) -> Option<ApplicationKey> {
        let desired = evaluation.desired.iter().flat_map(|desired| desired.iter());
        let mut children = desired.filter(|d| {
            let ours = d.id.namespace.as_ref().is_some_and(|namespace| state.namespaces.contains(namespace));
            ours && d.id.group_kind.is(APPLICATION_GROUP, APPLICATION_KIND)
        });
        children.find_map(|child| {
            let key = ApplicationKey { namespace: child.id.namespace.clone()?, name: child.id.name.clone() };
            let as_wanted = self
                .applications
                .get(&key)
                .is_some_and(|tracked| annotation(&tracked.object, ANNOTATION_DIGEST) == Some(&child.digest));
            (!as_wanted).then_some(key)
        })
    }
}

fn read_spec(object: &Value, policy: UrlPolicy) -> (Arc<Result<ApplicationSpec, SpecError>>, Option<Follow>) {
    let spec = ApplicationSpec::read(object).and_then(|spec| spec.validate().cloned().map(|source| (spec, source)));
    let inside = |source: &Source| RepoPath::root().join(source.path.as_deref().unwrap_or_default()).is_some();
    let outside = "leaves the repository; name a folder relative to its root";
    let followed = spec.and_then(|(spec, source)| match RepositoryUrl::parse(&source.repo_url, &policy) {
        Ok(_) if !inside(&source) => Err(SpecError::Invalid { field: "spec.source.path", reason: outside.to_owned() }),
        Ok(url) => Ok((spec, Follow { url, revision: source.revision().to_owned() })),
        Err(error) => Err(SpecError::Invalid { field: "spec.source.repoURL", reason: error.to_string() }),
    });
    match followed {
        Ok((spec, follow)) => (Arc::new(Ok(spec)), Some(follow)),
        Err(error) => (Arc::new(Err(error)), None),
    }
}

fn version_of(object: &Value) -> Option<u64> {
    text_at(object, &["metadata", "resourceVersion"]).and_then(|version| version.parse().ok())
}

fn is_older(object: &Value, than: &Value) -> bool {
    object["metadata"]["uid"] == than["metadata"]["uid"]
        && version_of(object).zip(version_of(than)).is_some_and(|(own, other)| own < other)
}

fn same_but_version(one: &Value, other: &Value) -> bool {
    let metadata = |object: &Value| {
        let mut metadata = object["metadata"].clone();
        if let Some(map) = metadata.as_object_mut() {
            map.remove("resourceVersion");
        }
        metadata
    };
    one["spec"] == other["spec"]
        && one["status"] == other["status"]
        && one["operation"] == other["operation"]
        && metadata(one) == metadata(other)
}

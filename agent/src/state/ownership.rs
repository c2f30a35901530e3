//! Who wants which object, and what waits for whom.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashSet};

use gitmoor_core::handover::makes_secrets;
use gitmoor_core::names::{ANNOTATION_DIGEST, APPLICATION_GROUP, APPLICATION_KIND};
use gitmoor_core::object::{ObjectId, annotation};
use gitmoor_core::plan::{DesiredObject, Plan, plan};
use gitmoor_core::source::Source;
use gitmoor_core::tracking::ApplicationKey;
use serde::Deserialize as _;

use super::{Evaluation, Follow, Followed, Head, Inner, Origin, State, Tracked};

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
    /// Plans an Application; the flag says that another one has to be evaluated before all can be decided.
    pub(crate) fn plan(&self, key: &ApplicationKey, desired: &[DesiredObject]) -> (Plan, bool) {
        let mut inner = self.lock();
        let undecided = Cell::new(false);
        let conflicts = RefCell::new(BTreeSet::new());
        let wanted_by = |id: &ObjectId, other: &ApplicationKey| {
            let wanted = inner.wanted_by(id, other);
            undecided.set(undecided.get() || wanted == Wanted::Undecided);
            if wanted != Wanted::No {
                conflicts.borrow_mut().insert(other.clone());
            }
            wanted != Wanted::No
        };
        let plan = plan(key, &self.installation.label_value(key), desired, &inner.live, &wanted_by);
        inner.contest(key, conflicts.into_inner());
        (plan, undecided.get())
    }

    /// Why the prunes of an Application have to wait: another one of its repository is not planned at this commit.
    ///
    /// Every Application that another one wants must exist as that one wants it, so that an object that moves into a
    /// new Application is adopted by it before its old owner would delete it. Those that leave Git themselves, among
    /// `left_over`, want nothing at this commit.
    pub(crate) fn prune_held_by(&self, key: &ApplicationKey, left_over: &[ObjectId]) -> Option<ApplicationKey> {
        let mut inner = self.lock();
        let held_by = inner.held_by(key, left_over, self);
        if let Some(tracked) = inner.applications.get_mut(key) {
            tracked.held_by.clone_from(&held_by);
        }
        held_by
    }

    /// Whether an Application has to do with a repository, also when its spec cannot be followed.
    fn reads(&self, tracked: &Tracked, origin: &Origin) -> bool {
        if !tracked.sources.is_empty() {
            return tracked.follows().any(|follow| follow.origin.is_same_place(origin));
        }
        let spec = &tracked.object["spec"];
        let mut sources = spec["sources"].as_array().into_iter().flatten().chain(spec.get("source"));
        sources.any(|source| {
            let read = Source::deserialize(source).ok().and_then(|source| Origin::of(&source, &self.addresses).ok());
            read.is_some_and(|read| read.is_same_place(origin))
        })
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

    /// Objects of a namespace that make Secrets, that some Application wants, and that are not there yet.
    pub(crate) fn makers_to_come(&self, namespace: &str) -> Vec<ObjectId> {
        let inner = self.lock();
        let wanted = inner.applications.values().filter_map(|tracked| tracked.evaluation.as_ref()?.desired.clone());
        let in_question = |id: &ObjectId| makes_secrets(&id.group_kind) && id.namespace.as_deref() == Some(namespace);
        wanted
            .flat_map(|desired| desired.iter().filter(|d| in_question(&d.id)).map(|d| d.id.clone()).collect::<Vec<_>>())
            .filter(|id| inner.live.get(id).is_none())
            .collect()
    }
}

impl Inner {
    /// Whether an Application wants an object at its commit.
    fn wanted_by(&self, id: &ObjectId, application: &ApplicationKey) -> Wanted {
        let Some(tracked) = self.applications.get(application) else { return Wanted::No };
        if tracked.is_going() {
            return Wanted::No;
        }
        // What holds the object and cannot be asked keeps it.
        if tracked.sources.is_empty() {
            return Wanted::Yes;
        }
        if tracked.dirty && self.unreachable(tracked).is_none() {
            let is_missing = |follow| {
                self.followed.get(follow).is_some_and(|followed: &Followed| followed.head == Some(Head::Missing))
            };
            let missing = tracked.follows().any(is_missing);
            return if missing || tracked.undecidable { Wanted::Yes } else { Wanted::Undecided };
        }
        match tracked.evaluation.as_ref().and_then(|evaluation| evaluation.desired.as_ref()) {
            Some(desired) if desired.iter().all(|desired| desired.id != *id) => Wanted::No,
            _ => Wanted::Yes,
        }
    }

    fn held_by(&self, key: &ApplicationKey, left_over: &[ObjectId], state: &State) -> Option<ApplicationKey> {
        let origins = self.origins(key);
        let leaves = |other: &ApplicationKey| left_over.iter().any(|id| names(id, other));
        let of_origins = self.applications.iter().filter(|(other, tracked)| {
            !tracked.is_going() && !leaves(other) && origins.iter().any(|origin| state.reads(tracked, origin))
        });
        for (other, tracked) in of_origins {
            let planned =
                !tracked.dirty && tracked.evaluation.as_ref().is_some_and(|evaluation| evaluation.is_complete());
            // The Application itself may have a newer commit to look at, or problems that its caller knows of.
            if (other == key && tracked.dirty) || (other != key && !(planned && self.is_level(key, tracked))) {
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

    /// Whether what an Application follows of a repository stands where another one that follows the same by a second
    /// address sees it: each address has a mirror of its own, and is fetched at its own time.
    fn is_level(&self, key: &ApplicationKey, other: &Tracked) -> bool {
        let Some(tracked) = self.applications.get(key) else { return true };
        let head = |follow: &Follow| self.followed.get(follow).and_then(|followed| followed.head.clone());
        tracked.follows().all(|own| {
            let mut same = other.follows().filter(|follow| {
                follow.revision == own.revision
                    && follow.origin != own.origin
                    && follow.origin.is_same_place(&own.origin)
            });
            same.all(|follow| head(follow) == head(own))
        })
    }

    /// Where an Application's sources come from, and those of the Application that it is an object of: what leaves a chart
    /// or its values comes from a commit to the latter.
    fn origins(&self, key: &ApplicationKey) -> BTreeSet<Origin> {
        let Some(tracked) = self.applications.get(key) else { return BTreeSet::new() };
        let parent = |other: &&Tracked| {
            let wanted = other.evaluation.iter().flat_map(|evaluation| evaluation.wanted());
            wanted.map(|desired| &desired.id).any(|id| names(id, key))
        };
        let charts_only = tracked.follows().all(|follow| matches!(follow.origin, Origin::Chart(_)));
        let parents = self.applications.values().filter(|_| charts_only).filter(parent);
        std::iter::once(tracked).chain(parents).flat_map(Tracked::follows).map(|follow| follow.origin.clone()).collect()
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

/// Whether an object is that Application.
fn names(id: &ObjectId, key: &ApplicationKey) -> bool {
    id.group_kind.is(APPLICATION_GROUP, APPLICATION_KIND)
        && id.name == key.name
        && id.namespace.as_ref() == Some(&key.namespace)
}

//! Applications as the API server has them.

use std::collections::BTreeSet;
use std::sync::Arc;

use gitmoor_core::application::{ApplicationSpec, SpecError};
use gitmoor_core::lock::Lock;
use gitmoor_core::names::{ANNOTATION_LAST_APPLIED, ANNOTATION_LOCK};
use gitmoor_core::object::{annotation, text_at};
use gitmoor_core::operation::effective;
use gitmoor_core::project::DEFAULT;
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::addresses::Addresses;
use gitmoor_engine::sources::followed;
use serde_json::Value;

use super::{FollowedSource, Standing, State, Tracked, split};

impl State {
    /// Takes in an Application as the API server has it. True when somebody changed something other than its status,
    /// which is the agent's: the event of an own write may come before its answer.
    pub(crate) fn upsert_application(&self, key: &ApplicationKey, mut object: Value) -> bool {
        strip(&mut object);
        let mut inner = self.lock();
        if let Some(before) = inner.applications.get_mut(key) {
            if is_older(&object, &before.object) {
                return false;
            }
            let known = before.whole();
            if same_but_status(&object, &known) && effective(&object)["spec"] == effective(&known)["spec"] {
                let ended_by_hand = is_terminating(&object) && !is_terminating(&known);
                before.set(object);
                return ended_by_hand;
            }
        }
        let before = inner.applications.get(key);
        let spec_changed = before.is_none_or(|before| {
            effective(&before.whole())["spec"] != effective(&object)["spec"]
                || before.object["spec"] != object["spec"]
                || annotation(&before.object, ANNOTATION_LOCK) != annotation(&object, ANNOTATION_LOCK)
        });
        let (spec, sources) = match before.filter(|_| !spec_changed) {
            Some(before) => (Arc::clone(&before.spec), Arc::clone(&before.sources)),
            None => read_spec(key, &object, &self.addresses),
        };
        let moved = before.filter(|_| spec_changed).map(|before| Arc::clone(&before.sources));
        let standing = Standing::of(&object["status"]);
        let (object, status) = split(object);
        let tracked = Tracked {
            object,
            status,
            standing,
            spec,
            sources,
            dirty: before.is_none_or(|before| before.dirty || spec_changed),
            touches: before.map_or(0, |before| before.touches),
            undecidable: before.is_some_and(|before| before.undecidable && !spec_changed),
            evaluation: before.and_then(|before| before.evaluation.clone()),
            reads_everything: before.is_some_and(|before| before.reads_everything),
            held_by: before.and_then(|before| before.held_by.clone()),
            conflicts: before.map(|before| before.conflicts.clone()).unwrap_or_default(),
        };
        for follow in tracked.follows() {
            inner.followed.entry(follow.clone()).or_default();
        }
        inner.applications.insert(key.clone(), tracked);
        inner.by_label.insert(self.installation.label_value(key), key.clone());
        if let Some(old) = moved {
            inner.unfollow(key, &old);
        }
        true
    }

    /// Takes in the answer to our own write of an Application. True when it is to be worked on: an operation that
    /// asked for another revision has ended, or somebody else's change came with the answer.
    pub(crate) fn wrote_application(&self, key: &ApplicationKey, mut object: Value) -> bool {
        strip(&mut object);
        let mut inner = self.lock();
        let Some(tracked) = inner.applications.get_mut(key) else { return false };
        let known = text_at(&tracked.object, &["metadata", "uid"]) == text_at(&object, &["metadata", "uid"])
            && annotation(&tracked.object, ANNOTATION_LOCK) == annotation(&object, ANNOTATION_LOCK)
            && tracked.object["spec"] == object["spec"];
        if !known || is_older(&object, &tracked.object) {
            return false;
        }
        let before = tracked.whole();
        // What somebody else has changed meanwhile comes with the answer, and its event is no news any more.
        let foreign = !same_but_status(&object, &before) || (is_terminating(&object) && !is_terminating(&before));
        let read = (effective(&before)["spec"] != effective(&object)["spec"])
            .then(|| read_spec(key, &object, &self.addresses));
        tracked.set(object);
        let other = read.is_some();
        if let Some((spec, sources)) = read {
            let before = std::mem::replace(&mut tracked.sources, Arc::clone(&sources));
            tracked.spec = spec;
            tracked.touch();
            for source in sources.iter() {
                inner.followed.entry(source.follow.clone()).or_default();
            }
            inner.unfollow(key, &before);
        }
        other || foreign
    }

    /// The Application is gone. Gives those that waited for it.
    pub(crate) fn remove_application(&self, key: &ApplicationKey) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let Some(gone) = inner.applications.remove(key) else { return Vec::new() };
        inner.by_label.remove(&self.installation.label_value(key));
        inner.unfollow(key, &gone.sources);
        inner.waiting_for(key)
    }

    /// Applications whose prunes wait for this one, or that want what it has.
    pub(crate) fn waiting_for(&self, key: &ApplicationKey) -> Vec<ApplicationKey> {
        self.lock().waiting_for(key)
    }

    /// An Application could not be evaluated, and nobody knows when it can be: others need not wait for it.
    pub(crate) fn set_undecidable(&self, key: &ApplicationKey) {
        if let Some(tracked) = self.lock().applications.get_mut(key) {
            tracked.undecidable = true;
        }
    }

    /// Whether of every Application that can be followed is known what it uses.
    pub(crate) fn all_evaluated(&self) -> bool {
        let known = |tracked: &Tracked| tracked.sources.is_empty() || tracked.evaluation.is_some();
        self.knows_all_applications() && self.lock().applications.values().all(known)
    }

    /// All Applications.
    pub(crate) fn applications(&self) -> Vec<ApplicationKey> {
        self.lock().applications.keys().cloned().collect()
    }

    /// Where all of them stand.
    pub(crate) fn standings(&self) -> Vec<(ApplicationKey, Standing)> {
        let inner = self.lock();
        inner.applications.iter().map(|(key, tracked)| (key.clone(), tracked.standing)).collect()
    }

    /// All Applications of a namespace have been seen once. Gives all Applications when that is so for every namespace.
    pub(crate) fn namespace_listed(&self, namespace: &str) -> Vec<ApplicationKey> {
        self.lock().listed.insert(namespace.to_owned());
        if self.knows_all_applications() { self.applications() } else { Vec::new() }
    }

    /// Whether every Application is known: before that nobody can tell who wants an object.
    pub(crate) fn knows_all_applications(&self) -> bool {
        self.namespaces.is_subset(&self.lock().listed)
    }

    /// The projects have changed, all of them when nobody is named. Gives the Applications concerned.
    pub(crate) fn project_changed(&self, projects: Option<&BTreeSet<String>>) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let concerned = inner.applications.iter_mut().filter(|(_, tracked)| {
            let name = text_at(&tracked.object, &["spec", "project"]).filter(|name| !name.is_empty());
            projects.is_none_or(|projects| projects.contains(name.unwrap_or(DEFAULT)))
        });
        concerned
            .map(|(key, tracked)| {
                // Before the first listing nothing was evaluated under a project.
                if projects.is_some() {
                    tracked.touch();
                }
                key.clone()
            })
            .collect()
    }

    /// What these Applications use from elsewhere has changed. Gives those that are still there.
    pub(crate) fn inputs_changed(&self, keys: &BTreeSet<ApplicationKey>) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let concerned = inner.applications.iter_mut().filter(|(key, _)| keys.contains(key));
        concerned
            .map(|(key, tracked)| {
                tracked.touch();
                key.clone()
            })
            .collect()
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
                tracked.touch();
                key.clone()
            })
            .collect()
    }
}

type ReadSpec = (Arc<Result<ApplicationSpec, SpecError>>, Arc<[FollowedSource]>);

fn read_spec(key: &ApplicationKey, object: &Value, addresses: &Addresses) -> ReadSpec {
    let read = || {
        let spec = ApplicationSpec::read(&effective(object))?;
        let lock = Lock::of_application(object).map_err(|error| SpecError::Invalid {
            field: "the annotation gitmoor.dev/lock",
            reason: error.to_string(),
        })?;
        let sources = followed(key, &spec, addresses, &lock)?;
        Ok((spec, sources))
    };
    match read() {
        Ok((spec, sources)) => (Arc::new(Ok(spec)), sources.into()),
        Err(error) => (Arc::new(Err(error)), Arc::new([])),
    }
}

/// Drops what nothing here goes by. A watch leaves the annotation out already, and an answer to a write does not: they are
/// compared with each other.
fn strip(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.remove("managedFields");
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION_LAST_APPLIED);
    }
}

fn version_of(object: &Value) -> Option<u64> {
    text_at(object, &["metadata", "resourceVersion"]).and_then(|version| version.parse().ok())
}

fn is_older(object: &Value, than: &Value) -> bool {
    object["metadata"]["uid"] == than["metadata"]["uid"]
        && version_of(object).zip(version_of(than)).is_some_and(|(own, other)| own < other)
}

/// Somebody has asked for the end of the sync that runs.
fn is_terminating(object: &Value) -> bool {
    object["status"]["operationState"]["phase"] == "Terminating"
}

fn same_but_status(one: &Value, other: &Value) -> bool {
    let metadata = |object: &Value| {
        let mut metadata = object["metadata"].clone();
        if let Some(map) = metadata.as_object_mut() {
            map.remove("resourceVersion");
            // It grows with every write where the status is no subresource.
            map.remove("generation");
        }
        metadata
    };
    one["spec"] == other["spec"] && one["operation"] == other["operation"] && metadata(one) == metadata(other)
}

#[cfg(test)]
mod tests {
    use gitmoor_core::tracking::Installation;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_to_a_write_says_the_same_as_its_event() {
        let state =
            State::new(Installation::parse("gitmoor").unwrap(), ["gitmoor".to_owned()].into(), Addresses::default());
        let key = ApplicationKey { namespace: "gitmoor".into(), name: "web".into() };
        let application = |version: &str, annotations: Value| {
            json!({"metadata": {"uid": "1", "resourceVersion": version, "annotations": annotations},
                "status": {"version": version}})
        };
        // Somebody has made it with `kubectl apply`; its watch leaves out what that keeps there.
        let answered = |version| application(version, json!({ANNOTATION_LAST_APPLIED: "{}"}));
        let event = |version| application(version, json!({}));
        assert!(state.upsert_application(&key, event("1")));
        assert!(!state.wrote_application(&key, answered("2")));
        assert!(!state.upsert_application(&key, event("2")));
        assert!(state.upsert_application(&key, application("3", json!({"other": "1"}))), "somebody else's change");
    }

    #[test]
    fn work_begins_when_the_applications_of_every_namespace_are_known() {
        let namespaces = ["gitmoor", "team"].map(str::to_owned).into();
        let state = State::new(Installation::parse("gitmoor").unwrap(), namespaces, Addresses::default());
        let key = ApplicationKey { namespace: "gitmoor".into(), name: "web".into() };
        assert!(state.upsert_application(&key, json!({"metadata": {"uid": "1", "resourceVersion": "1"}})));
        assert_eq!(state.namespace_listed("gitmoor"), []);
        assert!(!state.knows_all_applications());
        assert_eq!(state.namespace_listed("team"), [key]);
        assert!(state.knows_all_applications());
    }
}

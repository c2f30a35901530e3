//! The objects of one Application, before and after.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::difference::difference;
use super::masked::shown;
use crate::hook::Role;
use crate::manifest::{Manifests, Stamped};
use crate::object::ObjectId;
use crate::tracking::ApplicationKey;

/// Who wants which object, before and after.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// Before the change.
    pub before: HashMap<ObjectId, BTreeSet<ApplicationKey>>,
    /// After it.
    pub after: HashMap<ObjectId, BTreeSet<ApplicationKey>>,
}

/// The complete manifests of the Applications that a change touches.
pub type Side = BTreeMap<ApplicationKey, Manifests<Stamped>>;

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Created,
    /// It is changed.
    Changed,
    /// It came from another Application, which no longer wants it: adopted, never deleted.
    MovedFrom(ApplicationKey),
    /// Another Application wants it now.
    MovedTo(ApplicationKey),
    /// Nobody wants it any more.
    Leaving,
    /// A hook that will not run any more.
    HookGone,
}

/// One object that a change touches.
#[derive(Clone, Debug)]
pub struct Change {
    /// The object.
    pub id: ObjectId,
    /// What becomes of it.
    pub what: What,
    /// It runs as a hook, and is not kept.
    pub hook: bool,
    /// Hunks for people, masked.
    pub difference: String,
    /// Other Applications that want it too: the agent lets the one that has it keep it, and reports a conflict.
    pub contested: Vec<ApplicationKey>,
}

/// What a change does to the objects of an Application.
pub fn compare(application: &ApplicationKey, before: &Side, after: &Side, owners: &Owners) -> Vec<Change> {
    let (old, new) = (before.get(application), after.get(application));
    let ids = |side: Option<&Manifests<Stamped>>| -> BTreeSet<ObjectId> {
        side.into_iter().flat_map(Manifests::items).map(|manifest| manifest.id.clone()).collect()
    };
    let mut changes = Vec::new();
    for id in &(&ids(old) | &ids(new)) {
        let (was, is) = (object(old, id), object(new, id));
        let contested: Vec<_> = others(&owners.after, id, application).cloned().collect();
        let hook = is.or(was).is_some_and(|object| Role::of(object) != Role::Object);
        let (what, from, to) = match (was, is) {
            (Some(was), Some(is)) if shown(was) == shown(is) => continue,
            (Some(was), Some(is)) => (What::Changed, Some(was), Some(is)),
            (None, is) => match others(&owners.before, id, application).find(|other| !contested.contains(other)) {
                Some(other) => (What::MovedFrom(other.clone()), object(before.get(other), id), is),
                None => (What::Created, None, is),
            },
            (was, None) if hook => (What::HookGone, was, None),
            (was, None) => match contested.first() {
                // The other one shows what becomes of it.
                Some(other) => (What::MovedTo(other.clone()), None, None),
                None => (What::Leaving, was, None),
            },
        };
        let contested = if is.is_some() { contested } else { Vec::new() };
        changes.push(Change { id: id.clone(), what, hook, difference: difference(from, to), contested });
    }
    changes
}

fn object<'m>(manifests: Option<&'m Manifests<Stamped>>, id: &ObjectId) -> Option<&'m Value> {
    manifests?.get(id).map(|manifest| &manifest.object)
}

fn others<'o>(
    owners: &'o HashMap<ObjectId, BTreeSet<ApplicationKey>>,
    id: &ObjectId,
    than: &'o ApplicationKey,
) -> impl Iterator<Item = &'o ApplicationKey> {
    owners.get(id).into_iter().flatten().filter(move |other| *other != than)
}

//! Live objects, reduced on arrival to what planning needs, and the index of them.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use crate::health::{self, Health};
use crate::hook::LiveHook;
use crate::names::{
    ANNOTATION_DIGEST, ANNOTATION_SYNC_OPTIONS, FINALIZER_CASCADE, FINALIZER_CASCADE_BACKGROUND, LABEL_APPLICATION,
};
use crate::object::{GroupKind, ObjectId, annotation, group_of, text_at};
use crate::ownership::{Entry, EntryHash};
use crate::packed::Packed;
use crate::takeover;
use crate::tracking::{Claim, Installation};

/// A live object, without its body.
#[derive(Clone, Debug)]
pub struct LiveObject {
    /// Identity.
    pub id: ObjectId,
    /// Unique id of this incarnation.
    pub uid: String,
    /// Version for preconditions.
    pub resource_version: String,
    /// Value of our label.
    pub label: String,
    /// Who claims it.
    pub claim: Claim,
    /// Digest as of the last apply.
    pub digest: Option<String>,
    /// Our entry among its managed fields.
    pub ownership: Ownership,
    /// The hash that was found to cover what is desired, or that our last apply answered.
    pub baseline: Option<EntryHash>,
    /// It is being deleted.
    pub deleting: bool,
    /// Health by its kind's rule.
    pub health: Health,
    /// What speaks against deleting it.
    pub guard: Guard,
    /// It runs as a hook.
    pub hook: Option<Box<LiveHook>>,
    /// What its next apply has to mind.
    pub care: Care,
}

/// Our managed-fields entry: whole while it may have to be compared, else only its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// We own nothing.
    None,
    /// The hash equals the baseline.
    Known(EntryHash),
    /// Not yet compared.
    Whole(EntryHash, Packed<Entry>),
}

impl Ownership {
    fn of(object: &Value) -> Self {
        Entry::of(object).map_or(Self::None, |entry| Self::Whole(entry.hash(), Packed::of(&entry)))
    }

    /// Hash of the entry.
    pub fn hash(&self) -> Option<EntryHash> {
        match self {
            Self::None => None,
            Self::Known(hash) | Self::Whole(hash, _) => Some(*hash),
        }
    }
}

/// What the next apply of a live object has to mind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Care {
    /// We own the number of its replicas, which is reset when we do not apply it any more.
    pub owns_replicas: bool,
    /// Another tool's ownership of fields was not taken over yet.
    pub former_manager: bool,
    /// Argo CD has written to it since our last apply.
    pub taken_back: bool,
}

impl Care {
    fn of(object: &Value) -> Self {
        let replicas = Entry::of(object).is_some_and(|entry| entry.fields.pointer("/f:spec/f:replicas").is_some());
        Self {
            owns_replicas: replicas,
            former_manager: takeover::is_unfinished(object),
            taken_back: takeover::is_taken_back(object),
        }
    }
}

/// What a live object itself says against its deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// `Prune=false`: never deleted because it left Git.
    pub prune_disabled: bool,
    /// `Prune=confirm`.
    pub prune_confirm: bool,
    /// `Delete=confirm`.
    pub delete_confirm: bool,
    /// `Delete=false`: stays when its Application goes.
    pub delete_disabled: bool,
    /// Its deletion deletes more: a cascading Application, a StatefulSet that deletes its claims.
    pub cascades: bool,
}

impl LiveObject {
    /// Reduces an object as it came from the API server; `None` for something without name or uid.
    pub fn reduce(object: &Value, installation: &Installation) -> Option<Self> {
        let api_version = text_at(object, &["apiVersion"])?;
        let id = ObjectId {
            group_kind: GroupKind::new(group_of(api_version), text_at(object, &["kind"])?),
            namespace: text_at(object, &["metadata", "namespace"]).map(str::to_owned),
            name: text_at(object, &["metadata", "name"])?.to_owned(),
        };
        Some(Self {
            uid: text_at(object, &["metadata", "uid"])?.to_owned(),
            resource_version: text_at(object, &["metadata", "resourceVersion"])?.to_owned(),
            label: text_at(object, &["metadata", "labels", LABEL_APPLICATION]).unwrap_or_default().to_owned(),
            claim: installation.claim(object, &id),
            digest: annotation(object, ANNOTATION_DIGEST).map(str::to_owned),
            ownership: Ownership::of(object),
            baseline: None,
            deleting: object["metadata"].get("deletionTimestamp").is_some(),
            health: health::assess(object),
            guard: Guard::of(object, &id),
            hook: LiveHook::of(object).map(Box::new),
            care: Care::of(object),
            id,
        })
    }

    /// True when this is a later state of the same object than `other`.
    fn is_older_than(&self, other: &Self) -> bool {
        // Resource versions of one kind can be compared as numbers (Kubernetes 1.35, KEP-5504).
        let number = |live: &Self| live.resource_version.parse::<u64>().ok();
        self.uid == other.uid && number(self).zip(number(other)).is_some_and(|(own, others)| own < others)
    }

    /// Takes the baseline over and drops the entry's body when it is the baseline.
    fn settle(&mut self, baseline: Option<EntryHash>) {
        self.baseline = baseline;
        if let Some(hash) = self.ownership.hash().filter(|hash| Some(*hash) == baseline) {
            self.ownership = Ownership::Known(hash);
        }
    }
}

impl Guard {
    fn of(object: &Value, id: &ObjectId) -> Self {
        let options = annotation(object, ANNOTATION_SYNC_OPTIONS).unwrap_or_default();
        let has = |wanted: &str| options.split(',').any(|option| option.trim() == wanted);
        Self {
            prune_disabled: has("Prune=false"),
            prune_confirm: has("Prune=confirm"),
            delete_confirm: has("Delete=confirm"),
            delete_disabled: has("Delete=false"),
            cascades: cascades(object, id),
        }
    }
}

fn cascades(object: &Value, id: &ObjectId) -> bool {
    let policy = &object["spec"]["persistentVolumeClaimRetentionPolicy"];
    let deletes_claims = id.group_kind.is("apps", "StatefulSet") && policy["whenDeleted"] == "Delete";
    let finalizers = object["metadata"]["finalizers"].as_array();
    let cascade = |name: &Value| name == FINALIZER_CASCADE || name == FINALIZER_CASCADE_BACKGROUND;
    deletes_claims || finalizers.is_some_and(|names| names.iter().any(cascade))
}

/// All live objects that carry our label, by identity and by label.
#[derive(Debug, Default)]
pub struct LiveIndex {
    objects: HashMap<ObjectId, LiveObject>,
    by_label: HashMap<String, BTreeSet<ObjectId>>,
}

impl LiveIndex {
    /// The object.
    pub fn get(&self, id: &ObjectId) -> Option<&LiveObject> {
        self.objects.get(id)
    }

    /// The objects with a value of our label.
    pub fn labelled(&self, label: &str) -> impl Iterator<Item = &LiveObject> {
        self.by_label.get(label).into_iter().flatten().filter_map(|id| self.objects.get(id))
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Takes in what a watch or a read brought; gives the labels whose Application may have to look.
    pub fn observe(&mut self, mut live: LiveObject) -> Vec<String> {
        let before = self.objects.get(&live.id);
        if before.is_some_and(|before| live.is_older_than(before)) {
            return Vec::new();
        }
        let baseline = before.filter(|before| before.uid == live.uid).and_then(|before| before.baseline);
        live.settle(baseline);
        let mut labels = Vec::new();
        match before {
            Some(before) if same(before, &live) => {}
            Some(before) if before.label != live.label => labels.extend([before.label.clone(), live.label.clone()]),
            _ => labels.push(live.label.clone()),
        }
        self.insert(live);
        labels
    }

    /// Takes in the answer of our own apply, whose entry is the new baseline. Gives the label of the Application that
    /// had the object before, if another one: no watch tells it any more.
    pub fn applied(&mut self, mut live: LiveObject) -> Option<String> {
        let hash = live.ownership.hash();
        live.settle(hash);
        let before = self.objects.get(&live.id).filter(|before| before.label != live.label);
        let before = before.map(|before| before.label.clone());
        // A watch may have brought a later state already; only the baseline is news then.
        if let Some(later) = self.objects.get_mut(&live.id).filter(|present| live.is_older_than(present)) {
            later.settle(hash);
        } else {
            self.insert(live);
        }
        before
    }

    /// The present entry was found to cover what is desired.
    pub fn accept(&mut self, id: &ObjectId) {
        if let Some(live) = self.objects.get_mut(id) {
            let hash = live.ownership.hash();
            live.settle(hash);
        }
    }

    /// What Argo CD has written to the object stays with it.
    pub fn leave(&mut self, id: &ObjectId) {
        if let Some(live) = self.objects.get_mut(id) {
            live.care.taken_back = false;
        }
    }

    /// The object is gone; gives the label whose Application may have to look.
    pub fn remove(&mut self, id: &ObjectId, uid: Option<&str>) -> Option<String> {
        let present = self.objects.get(id)?;
        if uid.is_some_and(|uid| uid != present.uid) {
            return None;
        }
        let gone = self.objects.remove(id)?;
        self.unlink(&gone.label, id);
        Some(gone.label)
    }

    /// After a complete listing of a kind: whatever was not in it is gone. Gives the labels concerned.
    pub fn retain_listed(&mut self, group_kind: &GroupKind, listed: &HashSet<ObjectId>) -> Vec<String> {
        let gone: Vec<ObjectId> =
            self.objects.keys().filter(|id| id.group_kind == *group_kind && !listed.contains(*id)).cloned().collect();
        gone.iter().filter_map(|id| self.remove(id, None)).collect()
    }

    fn insert(&mut self, live: LiveObject) {
        let relabelled = self.objects.get(&live.id).filter(|before| before.label != live.label);
        if let Some(label) = relabelled.map(|before| before.label.clone()) {
            self.unlink(&label, &live.id);
        }
        self.by_label.entry(live.label.clone()).or_default().insert(live.id.clone());
        self.objects.insert(live.id.clone(), live);
    }

    fn unlink(&mut self, label: &str, id: &ObjectId) {
        if let Some(ids) = self.by_label.get_mut(label) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_label.remove(label);
            }
        }
    }
}

/// True when nothing changed that a plan or a status would show.
fn same(before: &LiveObject, after: &LiveObject) -> bool {
    before.uid == after.uid
        && before.label == after.label
        && before.claim == after.claim
        && before.digest == after.digest
        && before.ownership.hash() == after.ownership.hash()
        && before.deleting == after.deleting
        && before.health == after.health
        && before.guard == after.guard
        && before.hook == after.hook
        && before.care.taken_back == after.care.taken_back
}

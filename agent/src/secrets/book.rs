//! What is known of external secrets: the objects as they were last seen, and when each is due.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gitmoor_core::ownership::EntryHash;
use gitmoor_core::resource::Resource;
use gitmoor_core::secrets::Failure;
use gitmoor_core::secrets::request::{Form, Refresh, RequestId, SecretRequest, StoreRef};
use gitmoor_core::secrets::store::Store;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock;

/// Namespace and name of a Secret.
pub(super) type SecretKey = (String, String);

/// An ExternalSecret.
pub(super) struct Entry {
    /// The object without its spec.
    pub object: Value,
    /// What it asks for.
    pub request: Result<Arc<SecretRequest>, Failure>,
    /// `GENERATION-HASH` of the object.
    pub version: String,
    /// When it is looked at next.
    pub due: Option<Instant>,
    /// How often it failed since it last worked.
    pub failures: u32,
    /// The version whose outcome was told last.
    pub told: Option<String>,
    /// When it was read well last, in seconds since 1970; before that, when it was seen first.
    read: i64,
    running: bool,
    again: bool,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NamespaceFacts {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Which roles it may use.
    pub permitted: Option<String>,
    /// Which keys its objects of the predecessor may read.
    pub permitted_keys: Option<String>,
    /// It is being deleted.
    pub going: bool,
}

/// A Secret that was made here.
#[derive(Clone)]
pub(super) struct LiveSecret {
    /// Its metadata.
    pub object: Value,
    /// What we owned after the last apply; `None` when that is not known.
    pub baseline: Option<EntryHash>,
    /// The watch has told of it as it is.
    pub seen: bool,
}

/// All that is known.
#[derive(Default)]
pub(super) struct Known {
    /// The ExternalSecrets.
    pub entries: HashMap<RequestId, Entry>,
    /// The stores, by namespace (none for a ClusterSecretStore) and reference.
    pub stores: HashMap<(Option<String>, StoreRef), Result<Store, Failure>>,
    /// The namespaces.
    pub namespaces: HashMap<String, NamespaceFacts>,
    /// Secrets with our label.
    pub secrets: HashMap<SecretKey, LiveSecret>,
    /// Kinds that are served, at the version that is used.
    pub kinds: HashMap<Form, Resource>,
    /// ClusterExternalSecrets, by name.
    pub fanouts: HashMap<String, Value>,
    /// Their kind, at the version that is used.
    pub fanout_kind: Option<Resource>,
    /// Deployments of other operators that run, and what they serve.
    pub operators: HashMap<(String, String), Form>,
    /// Kinds that another operator serves.
    pub left_to_others: HashSet<Form>,
}

/// The book, and a bell for whoever works with it.
#[derive(Default)]
pub(super) struct Book {
    known: Mutex<Known>,
    /// Something may be due.
    pub changed: Notify,
    /// Something that ClusterExternalSecrets depend on has changed.
    pub fanouts_changed: Notify,
}

impl Book {
    /// What is known; held only for a moment.
    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known and rings the bell.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_one();
        result
    }
}

impl Known {
    /// A Deployment of another operator serves a kind, or does not run.
    pub(super) fn operator(&mut self, deployment: &(String, String), serves: Option<Form>) {
        match serves {
            Some(form) => drop(self.operators.insert(deployment.clone(), form)),
            None => drop(self.operators.remove(deployment)),
        }
        self.left_to_others = self.operators.values().copied().collect();
    }

    /// An ExternalSecret is new or changed.
    pub(super) fn observe(&mut self, id: RequestId, entry: NewEntry) {
        let due = match self.entries.get(&id) {
            Some(old) if old.version == entry.version => old.due,
            _ if entry.settled => None,
            _ => Some(Instant::now()),
        };
        let old = self.entries.remove(&id);
        let changed = old.as_ref().is_some_and(|old| old.version != entry.version);
        let running = old.as_ref().is_some_and(|old| old.running);
        let again = old.as_ref().is_some_and(|old| old.again) || (running && changed);
        let read = old.as_ref().map_or_else(clock::unix_seconds, |old| old.read);
        let failures = if changed { 0 } else { old.as_ref().map_or(0, |old| old.failures) };
        let told = old.and_then(|old| old.told);
        let NewEntry { object, request, version, settled: _ } = entry;
        self.entries.insert(id, Entry { object, request, version, due, failures, told, read, running, again });
    }

    /// Something that an ExternalSecret depends on has changed.
    pub(super) fn wake(&mut self, mut whom: impl FnMut(&RequestId, &Entry) -> bool) {
        for (id, entry) in &mut self.entries {
            if whom(id, entry) {
                entry.due = Some(Instant::now());
                entry.again |= entry.running;
            }
        }
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let waiting =
            self.entries.iter().filter(|(id, entry)| !entry.running && !self.left_to_others.contains(&id.form));
        waiting.filter_map(|(_, entry)| entry.due).min()
    }

    /// How many are due.
    pub(super) fn due_count(&self, now: Instant) -> usize {
        self.entries.values().filter(|entry| !entry.running && entry.due.is_some_and(|due| due <= now)).count()
    }

    /// Those that are due, from now on being worked on.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<RequestId> {
        let left = &self.left_to_others;
        let due = self.entries.iter_mut().filter(|(id, entry)| {
            !entry.running && entry.due.is_some_and(|due| due <= now) && !left.contains(&id.form)
        });
        due.map(|(id, entry)| {
            entry.running = true;
            entry.due = None;
            id.clone()
        })
        .collect()
    }

    /// When the one was read that has not been for longest, in seconds since 1970, of those that are read again and again.
    pub(super) fn oldest_read(&self) -> Option<i64> {
        let ours = self.entries.iter().filter(|(id, _)| !self.left_to_others.contains(&id.form));
        let again = ours.filter(|(_, entry)| entry.request.as_ref().is_ok_and(|request| interval(request).is_some()));
        again.map(|(_, entry)| entry.read).min()
    }

    /// One has been worked on; `next` says when it is due again.
    pub(super) fn done(&mut self, id: &RequestId, next: Option<Instant>, failed: bool) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.running = false;
        entry.failures = if failed { entry.failures.saturating_add(1) } else { 0 };
        if !failed {
            entry.read = clock::unix_seconds();
        }
        entry.due = if std::mem::take(&mut entry.again) { Some(Instant::now()) } else { next };
    }
}

/// An ExternalSecret as it was just seen.
pub(super) struct NewEntry {
    /// The object without its spec.
    pub object: Value,
    /// What it asks for.
    pub request: Result<Arc<SecretRequest>, Failure>,
    /// `GENERATION-HASH`.
    pub version: String,
    /// It needs no read before something changes.
    pub settled: bool,
}

/// Whether an object that was not seen before needs no read: by its policy and what its status says.
pub(super) fn is_settled(request: &SecretRequest, synced: Option<&str>) -> bool {
    match request.refresh {
        Refresh::Every(_) => false,
        Refresh::OnChange => synced == Some(&request.version),
        Refresh::Once => synced.is_some_and(|version| !version.is_empty()),
    }
}

/// How long a request waits between two reads when nothing changes.
pub(super) fn interval(request: &SecretRequest) -> Option<Duration> {
    match request.refresh {
        Refresh::Every(interval) => Some(interval),
        Refresh::OnChange | Refresh::Once => None,
    }
}

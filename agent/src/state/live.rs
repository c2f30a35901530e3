//! Live objects, and what the cluster serves.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use gitmoor_core::health::HealthStatus;
use gitmoor_core::live::{LiveIndex, LiveObject};
use gitmoor_core::object::{GroupKind, ObjectId};
use gitmoor_core::resource::Resources;
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::helm::Capabilities;

use super::{Inner, State, Tracked};

impl State {
    /// Works with the live objects.
    pub(crate) fn live<T>(&self, work: impl FnOnce(&mut LiveIndex) -> T) -> T {
        work(&mut self.lock().live)
    }

    /// How many objects of our Applications there are of each health. Other installations' objects are known as well.
    pub(crate) fn count_by_health(&self) -> BTreeMap<HealthStatus, usize> {
        let inner = self.lock();
        let mut counts = BTreeMap::new();
        for live in inner.by_label.keys().flat_map(|label| inner.live.labelled(label)) {
            *counts.entry(live.health.status).or_default() += 1;
        }
        counts
    }

    /// Takes in a live object; gives the Applications concerned.
    pub(crate) fn observe(&self, live: LiveObject) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let labels = inner.live.observe(live);
        inner.owners(&labels)
    }

    /// Takes in the answer of an own apply; gives the Application that had the object before, if another one.
    pub(crate) fn applied(&self, live: LiveObject) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let before: Vec<String> = inner.live.applied(live).into_iter().collect();
        inner.owners(&before)
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

    /// What templates see of the cluster.
    pub(crate) fn capabilities(&self) -> Arc<Capabilities> {
        Arc::clone(&self.lock().capabilities)
    }

    /// Takes in what templates see of the cluster. Gives the Applications that look at it, when it is news.
    pub(crate) fn set_capabilities(&self, capabilities: Capabilities) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        if *inner.capabilities == capabilities {
            return Vec::new();
        }
        inner.capabilities = Arc::new(capabilities);
        // Whether one asks that was never evaluated is not known yet.
        let asks = |tracked: &Tracked| tracked.evaluation.is_none() || tracked.asks_cluster();
        let asking = inner.applications.iter_mut().filter(|(_, tracked)| asks(tracked));
        asking
            .map(|(key, tracked)| {
                tracked.touch();
                key.clone()
            })
            .collect()
    }

    /// Whether any Application looks at what the cluster serves.
    pub(crate) fn anyone_asks_cluster(&self) -> bool {
        self.lock().applications.values().any(Tracked::asks_cluster)
    }
}

impl Inner {
    fn owners(&self, labels: &[String]) -> Vec<ApplicationKey> {
        labels.iter().filter_map(|label| self.by_label.get(label)).cloned().collect()
    }
}

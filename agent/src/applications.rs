//! Watches Applications in their namespaces and puts them into state and queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use gitmoor_core::object::text_at;
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::cluster::{Change, Cluster, Selector};
use serde_json::Value;
use tokio::sync::watch;

use crate::objects;
use crate::queue::Queue;
use crate::repositories::Repositories;
use crate::state::State;

/// Follows the Applications of one namespace.
pub(crate) struct Applications {
    /// The namespace.
    pub namespace: String,
    /// Where they are put.
    pub state: Arc<State>,
    /// Where the work is put.
    pub queue: Queue,
    /// Told what is followed.
    pub repositories: Arc<Repositories>,
    /// Becomes true when the first listing is complete.
    pub listed: watch::Sender<bool>,
}

impl Applications {
    /// Ends with the agent.
    pub(crate) async fn follow(self, cluster: Cluster) {
        let selector = Selector { namespace: Some(self.namespace.clone()), ..Selector::default() };
        let mut changes = cluster.watch(&objects::applications(), &selector);
        let mut listing: Option<BTreeSet<ApplicationKey>> = None;
        while let Some(change) = changes.next().await {
            match change {
                Ok(Change::Listing) => listing = Some(BTreeSet::new()),
                Ok(Change::Listed(object)) => {
                    if let (Some(listing), Some(key)) = (&mut listing, self.key(&object)) {
                        listing.insert(key.clone());
                        // All at once in the end: the first fetch then serves them all.
                        self.state.upsert_application(&key, object);
                    }
                }
                Ok(Change::ListingDone) => self.listing_done(&listing.take().unwrap_or_default()),
                Ok(Change::Changed(object)) => self.changed(object),
                Ok(Change::Gone(object)) => self.gone(&object),
                Err(error) => tracing::warn!(%error, namespace = self.namespace, "Applications cannot be watched"),
            }
        }
    }

    fn key(&self, object: &Value) -> Option<ApplicationKey> {
        let name = text_at(object, &["metadata", "name"])?.to_owned();
        Some(ApplicationKey { namespace: self.namespace.clone(), name })
    }

    fn listing_done(&self, listed: &BTreeSet<ApplicationKey>) {
        let known = self.state.applications().into_iter().filter(|key| key.namespace == self.namespace);
        for gone in known.filter(|key| !listed.contains(key)) {
            self.queue.extend(self.state.remove_application(&gone));
            self.queue.push(gone);
        }
        self.repositories.refollow();
        self.queue.extend(self.state.namespace_listed(&self.namespace));
        self.listed.send_replace(true);
    }

    fn changed(&self, object: Value) {
        let Some(key) = self.key(&object) else { return };
        if self.state.upsert_application(&key, object) {
            self.repositories.refollow();
            // Those whose prunes wait for this one to exist as it is wanted are told too.
            self.queue.extend(self.state.waiting_for(&key));
            self.queue.push(key);
        }
    }

    fn gone(&self, object: &Value) {
        let Some(key) = self.key(object) else { return };
        tracing::info!(application = %key, "gone");
        self.queue.extend(self.state.remove_application(&key));
        self.queue.push(key);
        self.repositories.refollow();
    }
}

//! Watches: a kind, filtered by a label, in full or as metadata only.

use futures::stream::{BoxStream, StreamExt};
use gitmoor_core::names::ANNOTATION_LAST_APPLIED;
use gitmoor_core::resource::Resource;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::{DynamicResourceScope, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Map, Value};

use super::{Cluster, ClusterError};

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum Change {
    /// A listing begins.
    Listing,
    /// An object of the listing.
    Listed(Value),
    /// The listing is complete: what was not in it is gone.
    ListingDone,
    /// An object is new or changed.
    Changed(Value),
    /// An object is gone, or does not fit the selector any more.
    Gone(Value),
}

/// Which objects of a kind to watch.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// Namespace, `None` for all.
    pub namespace: Option<String>,
    /// Name, `None` for all.
    pub name: Option<String>,
    /// Label selector, as in a query.
    pub labels: Option<String>,
}

impl Cluster {
    /// Watches a kind in full until the stream is dropped; broken connections are taken up again with backoff.
    pub fn watch(&self, resource: &Resource, selector: &Selector) -> BoxStream<'static, Result<Change, ClusterError>> {
        let resource = resource.clone();
        watcher(self.dynamic::<DynamicObject>(&resource, selector), config(selector))
            .default_backoff()
            .map(move |event| {
                Ok(change(event?, &|object: DynamicObject| assemble(&resource, &object.metadata, object.data)))
            })
            .boxed()
    }

    /// Watches the metadata of a kind.
    pub fn watch_metadata(
        &self,
        resource: &Resource,
        selector: &Selector,
    ) -> BoxStream<'static, Result<Change, ClusterError>> {
        let resource = resource.clone();
        watcher(self.dynamic::<PartialObjectMeta<DynamicObject>>(&resource, selector), config(selector))
            .default_backoff()
            .map(move |event| {
                Ok(change(event?, &|object: PartialObjectMeta<DynamicObject>| {
                    assemble(&resource, &object.metadata, Value::Null)
                }))
            })
            .boxed()
    }

    fn dynamic<K>(&self, resource: &Resource, selector: &Selector) -> Api<K>
    where
        K: kube::Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>,
    {
        let kind = ApiResource {
            group: resource.group_kind.group.clone(),
            version: resource.version.clone(),
            api_version: resource.api_version(),
            kind: resource.group_kind.kind.clone(),
            plural: resource.plural.clone(),
        };
        match &selector.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind),
            None => Api::all_with(self.client.clone(), &kind),
        }
    }
}

/// Streaming lists hand the objects over one by one, so that no listing is ever held whole.
fn config(selector: &Selector) -> watcher::Config {
    let config = watcher::Config::default().streaming_lists();
    let config = match &selector.name {
        Some(name) => config.fields(&format!("metadata.name={name}")),
        None => config,
    };
    match &selector.labels {
        Some(labels) => config.labels(labels),
        None => config,
    }
}

fn change<K>(event: Event<K>, read: &dyn Fn(K) -> Value) -> Change {
    match event {
        Event::Init => Change::Listing,
        Event::InitApply(object) => Change::Listed(read(object)),
        Event::InitDone => Change::ListingDone,
        Event::Apply(object) => Change::Changed(read(object)),
        Event::Delete(object) => Change::Gone(read(object)),
    }
}

/// The object as JSON, without the annotation that may hold a whole second copy of it.
fn assemble(resource: &Resource, metadata: &kube::api::ObjectMeta, data: Value) -> Value {
    let mut object = match data {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let mut metadata = serde_json::to_value(metadata).unwrap_or_default();
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION_LAST_APPLIED);
    }
    object.insert("apiVersion".to_owned(), Value::String(resource.api_version()));
    object.insert("kind".to_owned(), Value::String(resource.group_kind.kind.clone()));
    object.insert("metadata".to_owned(), metadata);
    Value::Object(object)
}

impl From<watcher::Error> for ClusterError {
    fn from(error: watcher::Error) -> Self {
        match error {
            watcher::Error::WatchError(status) => {
                Self::Refused { code: status.code, reason: status.reason, message: status.message }
            }
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => Self::from(error),
            error @ watcher::Error::NoResourceVersion => Self::Unreachable(error.to_string()),
        }
    }
}

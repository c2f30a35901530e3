//! Watches of external secrets: which kinds are served, and what changes in them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use gitmoor_core::names::LABEL_EXTERNAL_SECRET;
use gitmoor_core::object::{GroupKind, text_at};
use gitmoor_core::resource::{Resource, Resources};
use gitmoor_core::secrets::cluster_external_secret::KIND;
use gitmoor_core::secrets::external_secret::GROUP;
use gitmoor_core::secrets::request::{Form, Item, RequestId, Source, StoreRef};
use gitmoor_core::secrets::{Category, Failure, legacy};
use gitmoor_engine::cluster::{Change, Selector};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::book::Entry;
use super::{Shared, observe};
use crate::objects;

/// The versions that are read, best first.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// Kinds of the operator that are not served, and their version.
const UNSUPPORTED: [(&str, &str); 2] = [("PushSecret", "v1alpha1"), ("ClusterPushSecret", "v1alpha1")];
/// Several definitions come at once; one discovery is enough for them.
const SETTLE: Duration = Duration::from_millis(200);
/// How long a first listing is waited for.
const LISTING: Duration = Duration::from_secs(60);

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Requests(Form),
    Stores { cluster: bool },
    Fanouts,
    Unsupported(&'static str),
    Namespaces,
    Secrets,
    Operators,
}

/// Follows all kinds, also those that are served only later; ends with the agent. `listed` becomes true when the kinds
/// that are served at the start are listed.
pub(super) async fn follow(shared: Arc<Shared>, listed: watch::Sender<bool>) {
    let mut tasks = JoinSet::new();
    let mut started = HashSet::new();
    let mut changes = shared.cluster.watch_metadata(&objects::definitions(), &Selector::default());
    let mut first = true;
    while let Some(change) = changes.next().await {
        let relevant = match &change {
            Ok(Change::Changed(definition) | Change::Gone(definition)) => is_ours(definition),
            Ok(Change::ListingDone) => true,
            Ok(Change::Listing | Change::Listed(_)) => false,
            Err(error) => {
                tracing::warn!(%error, "CustomResourceDefinitions cannot be watched");
                false
            }
        };
        if !relevant {
            continue;
        }
        if !first {
            tokio::time::sleep(SETTLE).await;
        }
        let waits = match shared.cluster.discover().await {
            Ok(resources) => start(&shared, &resources, &mut started, &mut tasks),
            Err(error) => {
                tracing::warn!(%error, "kinds of external secrets cannot be discovered");
                continue;
            }
        };
        first = false;
        let listed = listed.clone();
        tasks.spawn(async move {
            for mut wait in waits {
                let _ = tokio::time::timeout(LISTING, wait.wait_for(|done| *done)).await;
            }
            listed.send_replace(true);
        });
    }
}

fn is_ours(definition: &Value) -> bool {
    let name = text_at(definition, &["metadata", "name"]).unwrap_or_default();
    name.ends_with(GROUP) || name.ends_with(legacy::GROUP)
}

/// Starts what is served and not yet followed. What all of it needs is followed as soon as there is a kind to serve.
fn start(
    shared: &Arc<Shared>,
    resources: &Resources,
    started: &mut HashSet<Subject>,
    tasks: &mut JoinSet<()>,
) -> Vec<watch::Receiver<bool>> {
    let served = |group: &str, kind: &str| {
        let kind = GroupKind::new(group, kind);
        VERSIONS.iter().find_map(|version| resources.find(&kind, version)).cloned()
    };
    let mut subjects = Vec::new();
    for (form, group) in [(Form::External, GROUP), (Form::Legacy, legacy::GROUP)] {
        if let Some(resource) = served(group, "ExternalSecret") {
            shared.book.update(|known| known.kinds.insert(form, resource.clone()));
            subjects.push((Subject::Requests(form), resource, None));
        }
    }
    for (cluster, kind) in [(false, "SecretStore"), (true, "ClusterSecretStore")] {
        subjects.extend(served(GROUP, kind).map(|resource| (Subject::Stores { cluster }, resource, None)));
    }
    // They reach into all namespaces, and are not for an agent that serves some of them.
    if let Some(resource) = served(GROUP, KIND).filter(|_| shared.options.namespaces.is_empty()) {
        shared.book.update(|known| known.fanout_kind = Some(resource.clone()));
        subjects.push((Subject::Fanouts, resource, None));
    }
    for (kind, version) in UNSUPPORTED {
        let resource = resources.find(&GroupKind::new(GROUP, kind), version).cloned();
        subjects.extend(resource.map(|resource| (Subject::Unsupported(kind), resource, None)));
    }
    if !subjects.is_empty() {
        let made = Some(LABEL_EXTERNAL_SECRET.to_owned());
        let operators = Some("app.kubernetes.io/name in (external-secrets,kubernetes-external-secrets)".to_owned());
        subjects.insert(0, (Subject::Namespaces, objects::namespaces(), None));
        subjects.insert(0, (Subject::Secrets, objects::secrets(), made));
        subjects.insert(0, (Subject::Operators, objects::deployments(), operators));
    }
    let new = subjects.into_iter().filter(|(subject, _, _)| started.insert(*subject)).collect::<Vec<_>>();
    new.into_iter().map(|(subject, resource, labels)| spawn(shared, subject, resource, labels, tasks)).collect()
}

fn spawn(
    shared: &Arc<Shared>,
    subject: Subject,
    resource: Resource,
    labels: Option<String>,
    tasks: &mut JoinSet<()>,
) -> watch::Receiver<bool> {
    tracing::info!(kind = %resource.group_kind, version = resource.version, "following");
    let (sender, receiver) = watch::channel(false);
    let selector = Selector { labels, ..Selector::default() };
    let mut stream = match subject {
        Subject::Namespaces | Subject::Secrets => shared.cluster.watch_metadata(&resource, &selector),
        Subject::Requests(_)
        | Subject::Stores { .. }
        | Subject::Fanouts
        | Subject::Unsupported(_)
        | Subject::Operators => shared.cluster.watch(&resource, &selector),
    };
    let shared = Arc::clone(shared);
    tasks.spawn(async move {
        let mut intake = Intake { shared, subject, listing: None };
        while let Some(event) = stream.next().await {
            match event {
                Ok(change) => {
                    let done = matches!(change, Change::ListingDone);
                    intake.take(change);
                    sender.send_if_modified(|listed| done && !std::mem::replace(listed, true));
                }
                Err(error) => tracing::warn!(kind = %resource.group_kind, %error, "watch failed; it is taken up again"),
            }
        }
    });
    receiver
}

/// Turns the events of one kind into updates of the book.
struct Intake {
    shared: Arc<Shared>,
    subject: Subject,
    listing: Option<HashSet<(String, String)>>,
}

impl Intake {
    fn take(&mut self, change: Change) {
        match change {
            Change::Listing => self.listing = Some(HashSet::new()),
            Change::Listed(object) | Change::Changed(object) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(key(&object));
                }
                self.observe(object);
            }
            Change::ListingDone => {
                let listed = self.listing.take().unwrap_or_default();
                self.retain(&listed);
            }
            Change::Gone(object) => self.forget(&key(&object)),
        }
    }

    fn observe(&self, object: Value) {
        match self.subject {
            Subject::Requests(form) => observe::request(&self.shared, form, object),
            Subject::Stores { cluster } => observe::store(&self.shared, cluster, &object),
            Subject::Fanouts => observe::fanout(&self.shared, object),
            Subject::Unsupported(_) => super::unsupported::report(&self.shared, &object),
            Subject::Namespaces => observe::namespace(&self.shared, &object),
            Subject::Secrets => observe::secret(&self.shared, object),
            Subject::Operators => observe::operator(&self.shared, &object),
        }
    }

    /// What was not in a complete listing is gone.
    fn retain(&self, listed: &HashSet<(String, String)>) {
        let known = self.shared.book.lock();
        let all: Vec<(String, String)> = match self.subject {
            Subject::Requests(form) => {
                let ids = known.entries.keys().filter(|id| id.form == form);
                ids.map(|id| (id.namespace.clone(), id.name.clone())).collect()
            }
            Subject::Stores { cluster } => {
                let stores = known.stores.keys().filter(|(_, reference)| reference.cluster == cluster);
                stores
                    .map(|(namespace, reference)| (namespace.clone().unwrap_or_default(), reference.name.clone()))
                    .collect()
            }
            Subject::Secrets => known.secrets.keys().cloned().collect(),
            Subject::Fanouts => known.fanouts.keys().map(|name| (String::new(), name.clone())).collect(),
            Subject::Namespaces => known.namespaces.keys().map(|name| (String::new(), name.clone())).collect(),
            Subject::Operators => known.operators.keys().cloned().collect(),
            Subject::Unsupported(_) => Vec::new(),
        };
        drop(known);
        all.iter().filter(|key| !listed.contains(*key)).for_each(|key| self.forget(key));
        if self.subject == Subject::Secrets {
            // Secrets of requests that are settled may have gone while nobody looked.
            self.shared.book.update(|known| {
                let there: HashSet<_> = known.secrets.keys().cloned().collect();
                known.wake(|id, entry| missing_target(id, entry, &there));
            });
        }
    }

    fn forget(&self, (namespace, name): &(String, String)) {
        let book = &self.shared.book;
        match self.subject {
            Subject::Requests(form) => {
                let id = RequestId { form, namespace: namespace.clone(), name: name.clone() };
                // The one that took over from it, or that it stood in the way of, is looked at again.
                book.fanouts_changed.notify_one();
                book.update(|known| {
                    let gone = known.entries.remove(&id);
                    let target = gone.and_then(|entry| entry.request.ok()).map(|request| request.target.name.clone());
                    known.wake(|other, entry| other.namespace == id.namespace && targets(entry, target.as_deref()));
                });
            }
            Subject::Stores { cluster } => book.update(|known| {
                let reference = StoreRef { cluster, name: name.clone() };
                let namespace = (!cluster).then(|| namespace.clone());
                known.stores.remove(&(namespace.clone(), reference.clone()));
                known.wake(|id, entry| uses(id, entry, namespace.as_deref(), &reference));
            }),
            Subject::Fanouts => drop(book.update(|known| known.fanouts.remove(name))),
            Subject::Unsupported(_) => {}
            Subject::Namespaces => {
                book.update(|known| known.namespaces.remove(name));
                book.fanouts_changed.notify_one();
            }
            Subject::Secrets => book.update(|known| {
                known.secrets.remove(&(namespace.clone(), name.clone()));
                known.wake(|id, entry| id.namespace == *namespace && targets(entry, Some(name)));
            }),
            Subject::Operators => {
                book.update(|known| {
                    known.operator(&(namespace.clone(), name.clone()), None);
                    self.shared.count(known);
                });
                book.fanouts_changed.notify_one();
            }
        }
    }
}

/// Namespace (empty when there is none) and name.
pub(super) fn key(object: &Value) -> (String, String) {
    let text = |key: &str| text_at(object, &["metadata", key]).unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

/// Whether a request makes a Secret of this name.
pub(super) fn targets(entry: &Entry, secret: Option<&str>) -> bool {
    entry.request.as_ref().is_ok_and(|request| Some(request.target.name.as_str()) == secret)
}

fn missing_target(id: &RequestId, entry: &Entry, there: &HashSet<(String, String)>) -> bool {
    entry.due.is_none()
        && entry.request.as_ref().is_ok_and(|request| {
            let made = !matches!(
                request.target.creation,
                gitmoor_core::secrets::request::Creation::None | gitmoor_core::secrets::request::Creation::Merge
            );
            made && !there.contains(&(id.namespace.clone(), request.target.name.clone()))
        })
}

/// Whether a request reads from a store.
pub(super) fn uses(id: &RequestId, entry: &Entry, namespace: Option<&str>, store: &StoreRef) -> bool {
    let of_store = |item: &Item| matches!(&item.source, Source::Store(reference) if reference == store);
    namespace.is_none_or(|namespace| namespace == id.namespace)
        && entry.request.as_ref().is_ok_and(|request| request.items.iter().any(of_store))
}

/// A store that a request may not use, as a failure.
pub(super) fn not_ready(store: &StoreRef, why: &str) -> Failure {
    Failure::new(Category::StoreNotReady, format!("{store} {why}"))
}

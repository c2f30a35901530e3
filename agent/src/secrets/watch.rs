//! Watches of external secrets: which kinds are served, and what changes in them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use gitmoor_core::names::{FIELD_MANAGER_SECRETS, LABEL_EXTERNAL_SECRET};
use gitmoor_core::object::{GroupKind, annotation, text_at};
use gitmoor_core::ownership::Entry as Owned;
use gitmoor_core::resource::{Resource, Resources};
use gitmoor_core::secrets::external_secret::{self, GROUP, version};
use gitmoor_core::secrets::permission::ANNOTATION_PERMITTED;
use gitmoor_core::secrets::request::{Form, Item, RequestId, Source, StoreRef};
use gitmoor_core::secrets::{Category, Failure, legacy, store};
use gitmoor_engine::cluster::{Change, Selector};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Shared;
use super::book::{Entry, LiveSecret, NamespaceFacts, NewEntry, is_settled};
use super::restarts::{Cause, data_digest};
use crate::objects;

/// The versions that are read, best first.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// Several definitions come at once; one discovery is enough for them.
const SETTLE: Duration = Duration::from_millis(200);
/// How long a first listing is waited for.
const LISTING: Duration = Duration::from_secs(60);

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Requests(Form),
    Stores { cluster: bool },
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
    let selector = Selector { namespace: None, labels };
    let mut stream = match subject {
        Subject::Namespaces | Subject::Secrets => shared.cluster.watch_metadata(&resource, &selector),
        Subject::Requests(_) | Subject::Stores { .. } | Subject::Operators => {
            shared.cluster.watch(&resource, &selector)
        }
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
            Subject::Requests(form) => observe_request(&self.shared, form, object),
            Subject::Stores { cluster } => observe_store(&self.shared, cluster, &object),
            Subject::Namespaces => observe_namespace(&self.shared, &object),
            Subject::Secrets => observe_secret(&self.shared, object),
            Subject::Operators => observe_operator(&self.shared, &object),
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
            Subject::Namespaces | Subject::Operators => Vec::new(),
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
            Subject::Namespaces => drop(book.update(|known| known.namespaces.remove(name))),
            Subject::Secrets => book.update(|known| {
                known.secrets.remove(&(namespace.clone(), name.clone()));
                known.wake(|id, entry| id.namespace == *namespace && targets(entry, Some(name)));
            }),
            Subject::Operators => book.update(|known| known.left_to_others.clear()),
        }
    }
}

fn key(object: &Value) -> (String, String) {
    let text = |key: &str| text_at(object, &["metadata", key]).unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

fn targets(entry: &Entry, secret: Option<&str>) -> bool {
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

fn uses(id: &RequestId, entry: &Entry, namespace: Option<&str>, store: &StoreRef) -> bool {
    let of_store = |item: &Item| matches!(&item.source, Source::Store(reference) if reference == store);
    namespace.is_none_or(|namespace| namespace == id.namespace)
        && entry.request.as_ref().is_ok_and(|request| request.items.iter().any(of_store))
}

fn observe_request(shared: &Shared, form: Form, mut object: Value) {
    let (namespace, name) = key(&object);
    let deleting = object.pointer("/metadata/deletionTimestamp").is_some();
    if deleting || !shared.serves(&namespace) || of_other_controller(shared, &object) {
        return;
    }
    let request = match form {
        Form::External => external_secret::parse(&object),
        Form::Legacy => legacy::parse(&object, shared.options.legacy_interval),
    };
    let version = version(&object);
    let synced = text_at(&object, &["status", "syncedResourceVersion"]);
    let settled = request.as_ref().is_ok_and(|request| is_settled(request, synced));
    if let Some(map) = object.as_object_mut() {
        map.remove("spec");
        map.get_mut("metadata").and_then(Value::as_object_mut).map(|metadata| metadata.remove("managedFields"));
    }
    let entry = NewEntry { object, request: request.map(Arc::new), version, settled };
    let id = RequestId { form, namespace, name };
    shared.book.update(|known| known.observe(id, entry));
}

/// The legacy form names its controller itself.
fn of_other_controller(shared: &Shared, object: &Value) -> bool {
    text_at(object, &["spec", "controllerId"]).is_some_and(|id| !id.is_empty() && id != shared.options.class)
}

fn observe_store(shared: &Shared, cluster: bool, object: &Value) {
    let (namespace, name) = key(object);
    let reference = StoreRef { cluster, name };
    let namespace = (!cluster).then_some(namespace);
    let store = store::parse(object);
    let changed = shared.book.update(|known| {
        let before = known.stores.insert((namespace.clone(), reference.clone()), store.clone());
        let changed = before.as_ref() != Some(&store);
        if changed {
            known.wake(|id, entry| uses(id, entry, namespace.as_deref(), &reference));
        }
        changed
    });
    if changed {
        super::stores::report(shared, object, &store);
    }
}

fn observe_namespace(shared: &Shared, object: &Value) {
    let (_, name) = key(object);
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let labels: BTreeMap<String, String> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    let facts = NamespaceFacts { labels, permitted: annotation(object, ANNOTATION_PERMITTED).map(str::to_owned) };
    shared.book.update(|known| {
        known.namespaces.insert(name.clone(), facts);
        // What was not allowed may be so now.
        known.wake(|id, entry| id.namespace == name && entry.failures > 0);
    });
}

fn observe_secret(shared: &Shared, object: Value) {
    let key = key(&object);
    if !shared.serves(&key.0) {
        return;
    }
    let hash = Owned::of_manager(&object, FIELD_MANAGER_SECRETS).map(|entry| entry.hash());
    shared.book.update(|known| {
        let before = known.secrets.get(&key);
        let changed = before.and_then(|live| data_digest(&live.object)) != data_digest(&object);
        if changed || before.is_none_or(|live| !live.seen) {
            shared.restarts.tell(Cause::Secret(key.clone()));
        }
        let baseline = before.and_then(|live| live.baseline);
        let drifted = baseline.is_some() && baseline != hash;
        known.secrets.insert(key.clone(), LiveSecret { object, baseline, seen: true });
        if drifted {
            known.wake(|id, entry| id.namespace == key.0 && targets(entry, Some(&key.1)));
        }
    });
}

/// Another operator that runs keeps its objects, so that two do not work on the same ones.
fn observe_operator(shared: &Shared, deployment: &Value) {
    if shared.options.beside_operator {
        return;
    }
    let form = match text_at(deployment, &["metadata", "labels", "app.kubernetes.io/name"]) {
        Some("external-secrets") => Form::External,
        _ => Form::Legacy,
    };
    let running = deployment.pointer("/status/readyReplicas").and_then(Value::as_i64).unwrap_or_default() > 0;
    let news = shared
        .book
        .update(|known| if running { known.left_to_others.insert(form) } else { known.left_to_others.remove(&form) });
    if news && running {
        let (namespace, name) = key(deployment);
        tracing::warn!(
            operator = format!("{namespace}/{name}"),
            "another operator for ExternalSecrets runs: its objects are left alone; --secrets-beside-operator changes that"
        );
    }
}

/// A store that a request may not use, as a failure.
pub(super) fn not_ready(store: &StoreRef, why: &str) -> Failure {
    Failure::new(Category::StoreNotReady, format!("{store} {why}"))
}

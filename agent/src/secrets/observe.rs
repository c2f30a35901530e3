//! What watches tell, as updates of the book.

use std::collections::BTreeMap;
use std::sync::Arc;

use gitmoor_core::names::FIELD_MANAGER_SECRETS;
use gitmoor_core::object::{annotation, text_at};
use gitmoor_core::ownership::Entry as Owned;
use gitmoor_core::secrets::external_secret::{self, version};
use gitmoor_core::secrets::permission::{ANNOTATION_PERMITTED, ANNOTATION_PERMITTED_KEYS};
use gitmoor_core::secrets::request::{Form, RequestId, StoreRef};
use gitmoor_core::secrets::{legacy, store};
use serde_json::Value;

use super::Shared;
use super::book::{LiveSecret, NamespaceFacts, NewEntry, is_settled};
use super::restarts::{Cause, data_digest};
use super::watch::{key, targets, uses};

/// An ExternalSecret is new or changed.
pub(super) fn request(shared: &Shared, form: Form, mut object: Value) {
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
    let of_fanout = entry.object.pointer("/metadata/ownerReferences").is_some();
    shared.book.update(|known| known.observe(id, entry));
    if of_fanout {
        shared.book.fanouts_changed.notify_one();
    }
}

/// A ClusterExternalSecret, likewise.
pub(super) fn fanout(shared: &Shared, mut object: Value) {
    let (_, name) = key(&object);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    // One that goes takes what it made along by itself.
    let going = object.pointer("/metadata/deletionTimestamp").is_some();
    shared.book.update(|known| {
        if going {
            known.fanouts.remove(&name)
        } else {
            known.fanouts.insert(name, object)
        };
    });
    shared.book.fanouts_changed.notify_one();
}

/// The legacy form names its controller itself.
fn of_other_controller(shared: &Shared, object: &Value) -> bool {
    text_at(object, &["spec", "controllerId"]).is_some_and(|id| !id.is_empty() && id != shared.options.class)
}

/// A store, likewise.
pub(super) fn store(shared: &Shared, cluster: bool, object: &Value) {
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

/// A namespace, likewise.
pub(super) fn namespace(shared: &Shared, object: &Value) {
    let (_, name) = key(object);
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let labels: BTreeMap<String, String> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    let facts = NamespaceFacts {
        labels,
        permitted: annotation(object, ANNOTATION_PERMITTED).map(str::to_owned),
        permitted_keys: annotation(object, ANNOTATION_PERMITTED_KEYS).map(str::to_owned),
        going: object.pointer("/metadata/deletionTimestamp").is_some(),
    };
    shared.book.update(|known| {
        if known.namespaces.insert(name.clone(), facts.clone()) == Some(facts) {
            return;
        }
        shared.book.fanouts_changed.notify_one();
        // What was not allowed may be so now.
        known.wake(|id, entry| id.namespace == name && entry.failures > 0);
    });
}

/// A Secret that was made here, likewise.
pub(super) fn secret(shared: &Shared, object: Value) {
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
pub(super) fn operator(shared: &Shared, deployment: &Value) {
    if shared.options.beside_operator {
        return;
    }
    let form = match text_at(deployment, &["metadata", "labels", "app.kubernetes.io/name"]) {
        Some("external-secrets") => Form::External,
        _ => Form::Legacy,
    };
    let running = deployment.pointer("/status/readyReplicas").and_then(Value::as_i64).unwrap_or_default() > 0;
    let operator = key(deployment);
    let before = shared.book.update(|known| {
        let before = known.left_to_others.contains(&form);
        known.operator(&operator, running.then_some(form));
        shared.count(known);
        before
    });
    shared.book.fanouts_changed.notify_one();
    if running && !before {
        let (namespace, name) = operator;
        tracing::warn!(
            operator = format!("{namespace}/{name}"),
            "another operator for ExternalSecrets runs: its objects are left alone; --secrets-beside-operator changes that"
        );
    }
}

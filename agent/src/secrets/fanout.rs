//! ClusterExternalSecrets: each makes an ExternalSecret in the namespaces that it selects, and takes it away again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use gitmoor_core::names::FIELD_MANAGER_SECRETS;
use gitmoor_core::object::{ObjectId, text_at};
use gitmoor_core::resource::Resource;
use gitmoor_core::secrets::cluster_external_secret::{Fanout, Provisioned, status, unread};
use gitmoor_core::secrets::request::{Form, RequestId};
use gitmoor_engine::cluster::ClusterError;
use serde_json::Value;
use tokio::sync::watch;

use super::Shared;

/// Changes that come within this time of each other are looked at together.
const SETTLE: Duration = Duration::from_millis(50);
/// When something failed that may be answered differently later.
const RETRY: Duration = Duration::from_secs(10);

/// What was applied: as which version of its maker, and the generation that came of it.
type Applied = HashMap<RequestId, (String, Option<i64>)>;

/// Works until the agent ends.
pub(super) async fn run(shared: Arc<Shared>, mut listed: watch::Receiver<bool>) {
    if listed.wait_for(|listed| *listed).await.is_err() {
        return;
    }
    let mut applied = Applied::new();
    loop {
        let complete = reconcile_all(&shared, &mut applied).await;
        let changed = shared.book.fanouts_changed.notified();
        if complete {
            changed.await;
        } else {
            // The same again, whichever is first.
            let _ = tokio::time::timeout(RETRY, changed).await;
        }
        tokio::time::sleep(SETTLE).await;
    }
}

/// False when something has to be tried again.
async fn reconcile_all(shared: &Shared, applied: &mut Applied) -> bool {
    let (fanouts, kinds) = {
        let known = shared.book.lock();
        if known.left_to_others.contains(&Form::External) {
            return true;
        }
        let kinds = known.kinds.get(&Form::External).cloned().zip(known.fanout_kind.clone());
        (known.fanouts.clone(), kinds)
    };
    let Some((external, own)) = kinds else { return true };
    let mut complete = true;
    for object in fanouts.into_values() {
        complete &= reconcile(shared, (&external, &own), &object, applied).await;
    }
    complete
}

async fn reconcile(
    shared: &Shared,
    (external, own): (&Resource, &Resource),
    object: &Value,
    applied: &mut Applied,
) -> bool {
    let fanout = match gitmoor_core::secrets::cluster_external_secret::parse(object) {
        Ok(fanout) => fanout,
        Err(failure) => {
            tell(shared, own, object, status(object, Err(&failure))).await;
            return true;
        }
    };
    let (wanted, surplus) = plan(shared, &fanout);
    let mut provisioned = Provisioned::default();
    let mut complete = true;
    for namespace in wanted {
        match provision(shared, external, &fanout, &namespace, applied).await {
            Ok(true) => {
                let reason =
                    shared.book.lock().entries.get(&made(&fanout, &namespace)).and_then(|it| unread(&it.object));
                provisioned.failed.extend(reason.map(|reason| (namespace.clone(), reason)));
                provisioned.namespaces.insert(namespace);
            }
            Ok(false) => {
                let reason = "external secret already exists in namespace".to_owned();
                provisioned.failed.insert(namespace, reason);
            }
            Err(error) => {
                complete = false;
                provisioned.failed.insert(namespace, format!("the API server says {}", error.reason()));
            }
        }
    }
    for (id, live) in surplus {
        if let Err(error) = remove(shared, external, &id, &live).await {
            complete = false;
            provisioned.failed.insert(id.namespace.clone(), format!("the API server says {}", error.reason()));
        }
        applied.remove(&id);
    }
    tell(shared, own, object, status(object, Ok((&fanout, &provisioned)))).await;
    complete
}

/// The namespaces that get one, and what it made that is not wanted any more.
fn plan(shared: &Shared, fanout: &Fanout) -> (BTreeSet<String>, Vec<(RequestId, Value)>) {
    let known = shared.book.lock();
    let selected = known.namespaces.iter().filter(|(name, facts)| !facts.going && fanout.selects(name, &facts.labels));
    let wanted: BTreeSet<String> = selected.map(|(name, _)| name.clone()).collect();
    let surplus = known.entries.iter().filter(|(id, entry)| {
        let kept = id.name == fanout.target && wanted.contains(&id.namespace);
        id.form == Form::External && !kept && fanout.made(&entry.object)
    });
    let surplus = surplus.map(|(id, entry)| (id.clone(), entry.object.clone())).collect();
    (wanted, surplus)
}

/// Makes the ExternalSecret of a namespace what it should be; false when somebody else's has its name.
async fn provision(
    shared: &Shared,
    kind: &Resource,
    fanout: &Fanout,
    namespace: &str,
    applied: &mut Applied,
) -> Result<bool, ClusterError> {
    let desired = fanout.external_secret(namespace);
    let version = shared.digester.digest(&desired);
    let id = made(fanout, namespace);
    let seen = shared.book.lock().entries.get(&id).map(|entry| entry.object.clone());
    if let (Some(object), Some(before)) = (&seen, applied.get(&id))
        && fanout.made(object)
        && *before == (version.clone(), generation(object))
    {
        return Ok(true);
    }
    // As it is now: what was not listed yet may be there.
    let live = shared.cluster.get_metadata(kind, Some(namespace), &fanout.target).await?;
    if live.is_some_and(|live| !fanout.made(&live)) {
        return Ok(false);
    }
    let stored = shared.cluster.apply_as(FIELD_MANAGER_SECRETS, kind, &desired).await?;
    applied.insert(id, (version, generation(&stored)));
    Ok(true)
}

/// The ExternalSecret of a namespace.
fn made(fanout: &Fanout, namespace: &str) -> RequestId {
    RequestId { form: Form::External, namespace: namespace.to_owned(), name: fanout.target.clone() }
}

fn generation(object: &Value) -> Option<i64> {
    object.pointer("/metadata/generation").and_then(Value::as_i64)
}

async fn remove(shared: &Shared, kind: &Resource, id: &RequestId, live: &Value) -> Result<(), ClusterError> {
    // The version in the book may be one before the last status; what counts is whose it is.
    let Some(now) = shared.cluster.get_metadata(kind, Some(&id.namespace), &id.name).await? else { return Ok(()) };
    let text = |object: &Value, key: &str| text_at(object, &["metadata", key]).unwrap_or_default().to_owned();
    if text(&now, "uid") != text(live, "uid") {
        return Ok(());
    }
    let object =
        ObjectId { group_kind: kind.group_kind.clone(), namespace: Some(id.namespace.clone()), name: id.name.clone() };
    shared.cluster.delete_exactly(kind, &object, &text(&now, "uid"), &text(&now, "resourceVersion")).await?;
    tracing::info!(object = %id, "deleted: its namespace is not selected any more");
    Ok(())
}

async fn tell(shared: &Shared, kind: &Resource, object: &Value, patch: Option<Value>) {
    let name = text_at(object, &["metadata", "name"]).unwrap_or_default();
    let Some(patch) = patch else { return };
    match shared.cluster.merge_status(kind, None, name, &patch).await {
        Ok(stored) => {
            if let Some(known) = shared.book.lock().fanouts.get_mut(name) {
                known["status"] = stored.get("status").cloned().unwrap_or_default();
            }
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => tracing::warn!(name, %error, "status of a ClusterExternalSecret cannot be written"),
    }
}

//! From values to the Secret: compose, template, apply when it differs, say so in the status.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_core::handover::owns;
use gitmoor_core::names::{ANNOTATION_SECRET_DIGEST, FIELD_MANAGER_SECRETS};
use gitmoor_core::object::{GroupKind, ObjectId, annotation, text_at};
use gitmoor_core::ownership::Entry as Owned;
use gitmoor_core::secrets::compose::{Composed, compose};
use gitmoor_core::secrets::manifest::{Standing, owner_reference, secret, stamp, standing};
use gitmoor_core::secrets::reading::{Found, ReadError};
use gitmoor_core::secrets::request::{Creation, Deletion, Form, RequestId, SecretRequest, Source, TemplateOrigin};
use gitmoor_core::secrets::schedule::{backoff, next_due};
use gitmoor_core::secrets::status::{self, Outcome};
use gitmoor_core::secrets::template::{Sources, content};
use gitmoor_core::secrets::{Category, Failure};
use gitmoor_core::sensitive::Sensitive;
use gitmoor_core::status::Event;
use gitmoor_engine::cluster::ClusterError;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Shared;
use super::book::{LiveSecret, interval};
use crate::{clock, objects};

/// How long a request waits that does not say so itself.
const NO_INTERVAL: Duration = Duration::from_secs(300);
/// How often a Secret that is changed at the same time is looked at again.
const ATTEMPTS: usize = 4;

/// Syncs one request with what was read for it.
pub(super) async fn sync(shared: &Shared, request: &Arc<SecretRequest>, answers: &[Result<Found, ReadError>]) {
    let done = apply(shared, request, answers).await.unwrap_or_else(|failure| (Outcome::Failed(failure), false));
    finish(shared, &request.id, Some(request), done).await;
}

/// Writes what came of a request into its status, with whether the Secret was written, and says when it is due again.
pub(super) async fn finish(
    shared: &Shared,
    id: &RequestId,
    request: Option<&Arc<SecretRequest>>,
    (outcome, written): (Outcome, bool),
) {
    let failed = if let Outcome::Failed(failure) = &outcome {
        tracing::warn!(object = %id, category = failure.category.word(), reason = failure.message, "not synced");
        Some(failure.category)
    } else {
        None
    };
    let store = shared.book.lock().entries.get(id).and_then(|entry| store_of(id, entry.request.as_deref().ok()?));
    shared.metrics.synced(store, failed.map_or("success", Category::word));
    report(shared, id, request, &outcome, written).await;
    shared.book.update(|known| {
        let failures = known.entries.get(id).map_or(0, |entry| entry.failures);
        let interval = request.and_then(|request| interval(request));
        let wait = match failed {
            // Waiting does not help: something has to change, and that is noticed.
            Some(Category::InvalidSpec | Category::NotSupported) => None,
            Some(_) => Some(backoff(failures + 1, interval.unwrap_or(NO_INTERVAL), share(id))),
            // From now, not from when it was read: a slot that went by while others were read is over.
            None => interval.map(|interval| {
                let now = clock::since_1970();
                next_due(now, interval, shared.phase).saturating_sub(now)
            }),
        };
        known.done(id, wait.map(|wait| Instant::now() + wait), failed.is_some());
    });
}

/// The store that an ExternalSecret reads first, as `SecretStore NAMESPACE/NAME` or `ClusterSecretStore NAME`.
fn store_of(id: &RequestId, request: &SecretRequest) -> Option<String> {
    let store = request.items.iter().find_map(|item| match &item.source {
        Source::Store(store) => Some(store),
        Source::Inline { .. } => None,
    })?;
    let namespace = if store.cluster { String::new() } else { format!("{}/", id.namespace) };
    let kind = if store.cluster { "ClusterSecretStore" } else { "SecretStore" };
    Some(format!("{kind} {namespace}{}", store.name))
}

/// What happened, for people who describe the object. Asked only when its status changes.
fn event(outcome: &Outcome, written: bool) -> Event {
    let event = |warning, reason: &str, message: &str| Event {
        warning,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    match outcome {
        Outcome::Failed(failure) => event(true, failure.category.word(), &failure.message),
        _ if written => event(false, "Updated", "the Secret was written"),
        _ => event(false, "Synced", "the Secret is as the provider has it"),
    }
}

/// A number between 0 and 1 that is a request's own.
fn share(id: &RequestId) -> f64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    (hasher.finish() % 1000) as f64 / 1000.0
}

async fn report(
    shared: &Shared,
    id: &RequestId,
    request: Option<&Arc<SecretRequest>>,
    outcome: &Outcome,
    written: bool,
) {
    let (object, kind, again) = {
        let mut known = shared.book.lock();
        let Some(kind) = known.kinds.get(&id.form).cloned() else { return };
        let Some(entry) = known.entries.get_mut(id) else { return };
        let version = request.map_or(&entry.version, |request| &request.version).clone();
        // Somebody has changed it, if only to have it read again, and wants to see that it was.
        let again = entry.told.replace(version.clone()).is_some_and(|told| told != version);
        (entry.object.clone(), kind, again)
    };
    let request = request.map(|request| &**request);
    // The predecessor tells nothing else of a read that changed nothing: of two within a second both are to be seen.
    let now = if id.form == Form::Legacy { clock::now_micros() } else { clock::now() };
    let Some(patch) = status::patch(id, request, &object, outcome, written || again, &now) else { return };
    match shared.cluster.merge_status(&kind, Some(&id.namespace), &id.name, &patch).await {
        Ok(stored) => {
            shared.events.tell(&stored, vec![event(outcome, written)]);
            let status = stored.get("status").cloned().unwrap_or_default();
            if let Some(entry) = shared.book.lock().entries.get_mut(id) {
                entry.object["status"] = status;
            }
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => tracing::warn!(object = %id, %error, "status cannot be written"),
    }
}

async fn apply(
    shared: &Shared,
    request: &SecretRequest,
    answers: &[Result<Found, ReadError>],
) -> Result<(Outcome, bool), Failure> {
    let composed = compose(request, answers)?;
    if request.target.creation == Creation::None {
        return Ok((Outcome::Synced, false));
    }
    let sources = sources(shared, request).await?;
    let mut live = known(shared, request);
    for _ in 0..ATTEMPTS {
        let present = match live.take() {
            Some(live) => Some(live),
            None => read(shared, request).await?,
        };
        yields(shared, request, present.as_ref())?;
        if let Some(done) = bring(shared, request, &composed, &sources, present).await? {
            return Ok(done);
        }
    }
    let message = format!("Secret {} is changed by somebody else all the time", request.target.name);
    Err(Failure::new(Category::ClusterRefused, message))
}

/// Brings the Secret to what was read; `None` when it was changed meanwhile and has to be looked at again.
async fn bring(
    shared: &Shared,
    request: &SecretRequest,
    composed: &Composed,
    sources: &Sources,
    live: Option<LiveSecret>,
) -> Result<Option<(Outcome, bool)>, Failure> {
    if composed.all_gone && request.target.deletion == Deletion::Delete {
        return delete(shared, request, live).await.map(Some);
    }
    if live.is_none() && request.target.creation == Creation::Merge {
        return Ok(Some((Outcome::Missing, false)));
    }
    let standing = match &live {
        Some(live) => standing(request, &live.object, &shared.installation)?,
        None => Standing::Free,
    };
    let content = content(&request.target, composed.data.clone(), sources, &shared.salt)?;
    let mut desired = secret(request, &content);
    // Of all, and of the data alone, which workloads follow.
    let data = json!({"apiVersion": "v1", "kind": "Secret", "data": desired["data"]});
    let digest = format!("{}-{}", shared.digester.digest(&desired), shared.digester.digest(&data));
    stamp(&mut desired, &digest);
    if let Some(live) = &live
        && is_as_desired(request, live, &desired, &digest)
    {
        accept(shared, request, live);
        return Ok(Some((Outcome::Synced, false)));
    }
    match write(shared, request, live.as_ref(), standing, &desired).await {
        Ok(()) => Ok(Some((Outcome::Synced, true))),
        Err(error) if error.is_conflict() => Ok(None),
        Err(error) => Err(refused(&request.target.name, &error)),
    }
}

/// The predecessor's object leaves a Secret alone that its successor has made once, or that was handed over to it: with its
/// reference back, the Secret would go with the object.
fn yields(shared: &Shared, request: &SecretRequest, live: Option<&LiveSecret>) -> Result<(), Failure> {
    if request.id.form != Form::Legacy {
        return Ok(());
    }
    let handed_over = live.is_some_and(|live| !owns(&request.uid, &live.object));
    let known = shared.book.lock();
    let successor = known.entries.iter().find(|(id, entry)| {
        let of_target = |other: &Arc<SecretRequest>| {
            other.target.name == request.target.name
                && !matches!(other.target.creation, Creation::Merge | Creation::None)
        };
        id.form == Form::External
            && id.namespace == request.id.namespace
            && entry.request.as_ref().is_ok_and(of_target)
            && (handed_over
                || text_at(&entry.object, &["status", "syncedResourceVersion"])
                    .is_some_and(|version| !version.is_empty()))
    });
    successor.map_or(Ok(()), |(id, _)| {
        let message = format!("Secret {} is made by {id} now; remove this object", request.target.name);
        Err(Failure::new(Category::NotOwner, message))
    })
}

/// The Secret's metadata, as watched.
fn known(shared: &Shared, request: &SecretRequest) -> Option<LiveSecret> {
    let key = (request.id.namespace.clone(), request.target.name.clone());
    shared.book.lock().secrets.get(&key).cloned()
}

/// The same, read.
async fn read(shared: &Shared, request: &SecretRequest) -> Result<Option<LiveSecret>, Failure> {
    let (namespace, name) = (&request.id.namespace, &request.target.name);
    let found = shared.cluster.get_metadata(&objects::secrets(), Some(namespace), name).await;
    Ok(found.map_err(|error| refused(name, &error))?.map(|object| LiveSecret { object, baseline: None, seen: false }))
}

fn refused(name: &str, error: &ClusterError) -> Failure {
    Failure::new(Category::ClusterRefused, format!("Secret {name}: the API server says {}", error.reason()))
}

/// Nothing to do: the digest is the same, and what we applied is still ours.
fn is_as_desired(request: &SecretRequest, live: &LiveSecret, desired: &Value, digest: &str) -> bool {
    let Some(owned) = Owned::of_manager(&live.object, FIELD_MANAGER_SECRETS) else { return false };
    if request.target.immutable {
        return true;
    }
    annotation(&live.object, ANNOTATION_SECRET_DIGEST) == Some(digest)
        && match live.baseline {
            Some(baseline) => baseline == owned.hash(),
            None => owned.first_missing(desired).is_none(),
        }
}

fn accept(shared: &Shared, request: &SecretRequest, live: &LiveSecret) {
    let baseline = Owned::of_manager(&live.object, FIELD_MANAGER_SECRETS).map(|owned| owned.hash());
    let key = (request.id.namespace.clone(), request.target.name.clone());
    if let Some(known) = shared.book.lock().secrets.get_mut(&key) {
        known.baseline = baseline;
    }
}

/// Writes the Secret as it was judged: when it was changed since, that is a conflict.
async fn write(
    shared: &Shared,
    request: &SecretRequest,
    live: Option<&LiveSecret>,
    standing: Standing,
    desired: &Value,
) -> Result<(), ClusterError> {
    let (kind, id) = (objects::secrets(), secret_id(request));
    let mut version = live.map(|live| resource_version(&live.object));
    if standing == Standing::HandOver {
        let owners =
            if request.target.creation == Creation::Owner { json!([owner_reference(request)]) } else { json!([]) };
        let patch = json!({"metadata": {"resourceVersion": version, "ownerReferences": owners}});
        let handed = shared.cluster.merge_secret(FIELD_MANAGER_SECRETS, &kind, &id, &patch).await?;
        version = Some(resource_version(&handed));
    }
    let mut desired = desired.clone();
    if let Some(version) = version {
        desired["metadata"]["resourceVersion"] = version.into();
    }
    let mut stored = shared.cluster.apply_as(FIELD_MANAGER_SECRETS, &kind, &desired).await?;
    if let Some(mut patch) = surplus(request, &stored, &desired) {
        patch["metadata"] = json!({"resourceVersion": resource_version(&stored)});
        stored = shared.cluster.merge_secret(FIELD_MANAGER_SECRETS, &kind, &id, &patch).await?;
    }
    shared.metrics.wrote();
    tracing::info!(object = %request.id, secret = id.name, "secret written");
    remember(shared, request, stored);
    Ok(())
}

fn resource_version(object: &Value) -> String {
    text_at(object, &["metadata", "resourceVersion"]).unwrap_or_default().to_owned()
}

fn secret_id(request: &SecretRequest) -> ObjectId {
    ObjectId {
        group_kind: GroupKind::new("", "Secret"),
        namespace: Some(request.id.namespace.clone()),
        name: request.target.name.clone(),
    }
}

/// Keys that others left in a Secret which is wholly the request's.
fn surplus(request: &SecretRequest, stored: &Value, desired: &Value) -> Option<Value> {
    if !matches!(request.target.creation, Creation::Owner | Creation::Orphan) {
        return None;
    }
    let keys = stored.get("data").and_then(Value::as_object)?.keys();
    let extra: serde_json::Map<String, Value> =
        keys.filter(|key| desired["data"].get(key.as_str()).is_none()).map(|key| (key.clone(), Value::Null)).collect();
    (!extra.is_empty()).then(|| json!({"data": extra}))
}

fn remember(shared: &Shared, request: &SecretRequest, mut stored: Value) {
    if let Some(object) = stored.as_object_mut() {
        object.remove("data");
    }
    let baseline = Owned::of_manager(&stored, FIELD_MANAGER_SECRETS).map(|owned| owned.hash());
    let key = (request.id.namespace.clone(), request.target.name.clone());
    shared.book.lock().secrets.insert(key, LiveSecret { object: stored, baseline, seen: false });
}

/// Every key is gone, definitely, and the policy says that the Secret goes too.
async fn delete(
    shared: &Shared,
    request: &SecretRequest,
    live: Option<LiveSecret>,
) -> Result<(Outcome, bool), Failure> {
    let name = &request.target.name;
    let Some(live) = live else { return Ok((Outcome::Deleted, false)) };
    let ours = Owned::of_manager(&live.object, FIELD_MANAGER_SECRETS).is_some();
    if request.target.creation != Creation::Owner || !ours {
        let message = format!("Secret {name} is not deleted: that needs creationPolicy Owner, and to have made it");
        return Err(Failure::new(Category::NotOwner, message));
    }
    standing(request, &live.object, &shared.installation)?;
    let text = |key: &str| text_at(&live.object, &["metadata", key]).unwrap_or_default();
    let (kind, id) = (objects::secrets(), secret_id(request));
    let deleted = shared.cluster.delete_exactly(&kind, &id, text("uid"), text("resourceVersion")).await;
    deleted.map_err(|error| refused(name, &error))?;
    tracing::info!(object = %request.id, secret = name, "secret deleted: none of its keys exists any more");
    Ok((Outcome::Deleted, true))
}

/// The objects that templates stand in.
async fn sources(shared: &Shared, request: &SecretRequest) -> Result<Sources, Failure> {
    let mut sources = Sources::new();
    let from = request.target.template.iter().flat_map(|template| &template.from);
    for entry in from {
        let TemplateOrigin::Object { secret, name, .. } = &entry.origin else {
            sources.push(std::collections::BTreeMap::new());
            continue;
        };
        let kind = if *secret { objects::secrets() } else { objects::config_maps() };
        let what = format!("{} {name}", kind.group_kind.kind);
        let failed = |why: &str| Failure::new(Category::Template, format!("{what} with a template {why}"));
        let object = shared.cluster.get(&kind, Some(&request.id.namespace), name).await;
        let object = object.map_err(|error| failed(&format!("cannot be read: {}", error.reason())))?;
        let object = object.ok_or_else(|| failed("does not exist"))?;
        let data = object.get("data").and_then(Value::as_object).into_iter().flatten();
        let text = |value: &Value| {
            let text = value.as_str()?;
            if *secret { STANDARD.decode(text).ok() } else { Some(text.as_bytes().to_vec()) }
        };
        sources.push(data.filter_map(|(key, value)| Some((key.clone(), Sensitive::new(text(value)?)))).collect());
    }
    Ok(sources)
}

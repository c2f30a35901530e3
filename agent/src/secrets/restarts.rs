//! Workloads that roll when the value of a Secret changes: annotated `gitmoor.dev/restart-on: secret/NAME` or `auto`.
//!
//! An annotation of the pod template gets a digest of the Secrets' data, under a field manager of its own, so that it is
//! no drift of what Git says. Only Secrets that are made here count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use gitmoor_core::names::{
    ANNOTATION_RESTART_ON, ANNOTATION_SECRET_DIGEST, ANNOTATION_SECRETS_DIGEST, FIELD_MANAGER_SECRETS,
};
use gitmoor_core::object::{annotation, text_at};
use gitmoor_core::resource::Resource;
use gitmoor_core::tracking::hex;
use gitmoor_engine::cluster::{Change, Selector};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Shared;
use super::book::SecretKey;
use crate::objects;

/// A workload, by plural, namespace and name.
type Workload = (&'static str, String, String);

/// What may have to roll.
pub(super) enum Cause {
    /// The data of a Secret has changed.
    Secret(SecretKey),
    /// A workload is new, or follows other Secrets than before.
    Workload(Workload),
}

/// Workloads that follow Secrets.
pub(super) struct Restarts {
    sender: mpsc::UnboundedSender<Cause>,
    following: Mutex<BTreeMap<Workload, String>>,
}

impl Restarts {
    /// None yet.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Cause>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, following: Mutex::default() }, receiver)
    }

    /// Something may have to roll.
    pub(super) fn tell(&self, cause: Cause) {
        // Nobody listens only when the agent is stopping.
        let _ = self.sender.send(cause);
    }

    fn observe(&self, workload: Workload, follows: Option<&str>) {
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        match follows {
            None => drop(following.remove(&workload)),
            Some(text) if following.get(&workload).is_some_and(|before| before == text) => {}
            Some(text) => {
                following.insert(workload.clone(), text.to_owned());
                drop(following);
                self.tell(Cause::Workload(workload));
            }
        }
    }

    fn of(&self, cause: &Cause) -> Vec<(Workload, String)> {
        let following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        let concerned = following.iter().filter(|(workload, follows)| match cause {
            Cause::Workload(one) => one == *workload,
            Cause::Secret((namespace, name)) => {
                workload.1 == *namespace && (*follows == "auto" || names(follows).contains(name))
            }
        });
        concerned.map(|(workload, follows)| (workload.clone(), follows.clone())).collect()
    }
}

/// `secret/a, secret/b`.
fn names(follows: &str) -> BTreeSet<String> {
    follows.split(',').filter_map(|part| part.trim().strip_prefix("secret/")).map(str::to_owned).collect()
}

fn kinds() -> [(&'static str, Resource); 3] {
    [
        ("deployments", objects::deployments()),
        ("statefulsets", objects::stateful_sets()),
        ("daemonsets", objects::daemon_sets()),
    ]
}

/// Follows workloads and rolls them; ends with the agent.
pub(super) async fn run(shared: Arc<Shared>, mut causes: mpsc::UnboundedReceiver<Cause>) {
    let mut tasks = JoinSet::new();
    while let Some(cause) = causes.recv().await {
        // Where no Secret is made, no workload is watched.
        if tasks.is_empty() {
            for (plural, resource) in kinds() {
                tasks.spawn(follow(Arc::clone(&shared), plural, resource));
            }
        }
        for (workload, follows) in shared.restarts.of(&cause) {
            if let Err(error) = roll(&shared, &workload, &follows).await {
                let (plural, namespace, name) = &workload;
                tracing::warn!(workload = format!("{plural} {namespace}/{name}"), %error, "cannot be rolled");
            }
        }
    }
}

async fn follow(shared: Arc<Shared>, plural: &'static str, resource: Resource) {
    let mut changes = shared.cluster.watch_metadata(&resource, &Selector::default());
    while let Some(change) = changes.next().await {
        let key = |object: &Value| {
            let text = |key: &str| text_at(object, &["metadata", key]).unwrap_or_default().to_owned();
            (plural, text("namespace"), text("name"))
        };
        match change {
            Ok(Change::Listed(object) | Change::Changed(object)) if shared.serves(&key(&object).1) => {
                shared.restarts.observe(key(&object), annotation(&object, ANNOTATION_RESTART_ON));
            }
            Ok(Change::Gone(object)) => shared.restarts.observe(key(&object), None),
            Ok(_) => {}
            Err(error) => tracing::warn!(kind = %resource.group_kind, %error, "watch failed; it is taken up again"),
        }
    }
}

async fn roll(
    shared: &Shared,
    workload: &Workload,
    follows: &str,
) -> Result<(), gitmoor_engine::cluster::ClusterError> {
    let (plural, namespace, name) = workload;
    let Some((_, resource)) = kinds().into_iter().find(|(of, _)| of == plural) else { return Ok(()) };
    let Some(object) = shared.cluster.get(&resource, Some(namespace), name).await? else { return Ok(()) };
    let secrets = if follows == "auto" { used(&object) } else { names(follows) };
    let Some(digest) = digest(shared, namespace, &secrets) else { return Ok(()) };
    let path = ["spec", "template", "metadata", "annotations", ANNOTATION_SECRETS_DIGEST];
    if text_at(&object, &path) == Some(&digest) {
        return Ok(());
    }
    let patch = json!({
        "apiVersion": resource.api_version(), "kind": resource.group_kind.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"metadata": {"annotations": {ANNOTATION_SECRETS_DIGEST: digest}}}},
    });
    shared.cluster.apply_as(FIELD_MANAGER_SECRETS, &resource, &patch).await?;
    shared.metrics.restarted();
    tracing::info!(workload = format!("{plural} {namespace}/{name}"), "rolled: a Secret that it follows has changed");
    Ok(())
}

/// One digest for the data of all; `None` when none of them is made here.
fn digest(shared: &Shared, namespace: &str, secrets: &BTreeSet<String>) -> Option<String> {
    let known = shared.book.lock();
    let parts: Vec<String> = secrets
        .iter()
        .filter_map(|name| {
            let live = known.secrets.get(&(namespace.to_owned(), name.clone()))?;
            Some(format!("{name}={}", data_digest(&live.object)?))
        })
        .collect();
    (!parts.is_empty()).then(|| hex(&shared.digester.keyed(parts.join(",").as_bytes())))
}

/// The part of a Secret's digest that is of its data alone.
pub(super) fn data_digest(secret: &Value) -> Option<&str> {
    annotation(secret, ANNOTATION_SECRET_DIGEST)?.split_once('-').map(|(_, data)| data)
}

/// The Secrets that a pod template uses, in variables and volumes.
fn used(object: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Some(spec) = object.pointer("/spec/template/spec") {
        search(spec, &mut found);
    }
    found
}

fn search(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let name = match key.as_str() {
                    "secretKeyRef" | "secretRef" => inner.get("name").and_then(Value::as_str),
                    "secret" => inner.get("secretName").or_else(|| inner.get("name")).and_then(Value::as_str),
                    _ => None,
                };
                found.extend(name.map(str::to_owned));
                search(inner, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| search(item, found)),
        _ => {}
    }
}

//! The namespace of `CreateNamespace=true`: created, never tracked, never pruned; and `managedNamespaceMetadata`.

use gitmoor_core::application::NamespaceMetadata;
use gitmoor_core::names::FIELD_MANAGER_NAMESPACE;
use gitmoor_core::object::{GroupKind, ObjectId};
use gitmoor_core::status::{Condition, ConditionKind};
use gitmoor_engine::cluster::ClusterError;
use serde_json::{Value, json};

use crate::apply::{Mode, classify};
use crate::context::Context;
use crate::objects;

fn manifest(name: &str, metadata: &NamespaceMetadata) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    if !metadata.labels.is_empty() {
        object["metadata"]["labels"] = json!(metadata.labels);
    }
    if !metadata.annotations.is_empty() {
        object["metadata"]["annotations"] = json!(metadata.annotations);
    }
    object
}

/// Creates the namespace of a mode; there already is fine.
pub(crate) async fn create(context: &Context, mode: Mode<'_>) -> Result<(), ClusterError> {
    let Some(name) = mode.create_namespace else { return Ok(()) };
    let object = manifest(name, &NamespaceMetadata::default());
    match context.cluster.create(&objects::namespaces(), None, &object).await {
        Err(error) if !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

/// Gives the namespace its labels and annotations, and creates it when it is not there. Where a manifest of some
/// Application says otherwise, that counts.
pub(crate) async fn label(context: &Context, mode: Mode<'_>) -> Option<Condition> {
    let name = mode.create_namespace?;
    let metadata = mode.namespace_metadata.filter(|metadata| !metadata.is_empty())?;
    let id = ObjectId { group_kind: GroupKind::new("", "Namespace"), namespace: None, name: name.to_owned() };
    let body = manifest(name, metadata);
    let error = context.cluster.share(FIELD_MANAGER_NAMESPACE, &objects::namespaces(), &id, &body).await.err()?;
    let (category, _) = classify(&error, &id);
    let message = format!("{id}: spec.syncPolicy.managedNamespaceMetadata cannot be applied: {error}");
    Some(Condition { kind: ConditionKind::SyncError, category, message })
}

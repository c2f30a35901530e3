//! The Secret as it is applied.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::request::{Creation, Form, SecretRequest};
use super::{Category, Failure, SecretData, legacy};
use crate::names::{ANNOTATION_SECRET_DIGEST, LABEL_EXTERNAL_SECRET};
use crate::object::{GroupKind, ObjectId, group_of, text_at};
use crate::tracking::{Claim, Installation};

/// What a Secret holds beside its data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// The data.
    pub data: SecretData,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Label that tools of the operator select its Secrets by.
const LABEL_MANAGED: &str = "reconcile.external-secrets.io/managed";

/// The Secret to apply, without the annotation that holds its digest.
pub fn secret(request: &SecretRequest, content: &Content) -> Value {
    let target = &request.target;
    let mut labels: Map<String, Value> = texts(&content.labels);
    labels.insert(LABEL_EXTERNAL_SECRET.to_owned(), "true".into());
    labels.insert(LABEL_MANAGED.to_owned(), "true".into());
    let mut metadata = json!({
        "name": target.name, "namespace": request.id.namespace,
        "labels": labels, "annotations": texts(&content.annotations),
    });
    if target.creation == Creation::Owner {
        metadata["ownerReferences"] = json!([owner_reference(request)]);
    }
    if let Some(template) = target.template.as_ref().filter(|template| !template.finalizers.is_empty()) {
        metadata["finalizers"] = json!(template.finalizers);
    }
    let data: Map<String, Value> =
        content.data.iter().map(|(key, value)| (key.clone(), STANDARD.encode(value.expose()).into())).collect();
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data});
    if let Some(secret_type) = &target.secret_type {
        secret["type"] = secret_type.as_str().into();
    }
    if target.immutable {
        secret["immutable"] = true.into();
    }
    secret
}

/// Marks a Secret with the digest of itself.
pub fn stamp(secret: &mut Value, digest: &str) {
    secret["metadata"]["annotations"][ANNOTATION_SECRET_DIGEST] = digest.into();
}

/// The reference to the object that the Secret goes with.
pub fn owner_reference(request: &SecretRequest) -> Value {
    json!({
        "apiVersion": request.api_version, "kind": "ExternalSecret", "name": request.id.name, "uid": request.uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

fn texts(map: &BTreeMap<String, String>) -> Map<String, Value> {
    map.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

/// What a request may do with a Secret that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Apply.
    Free,
    /// Apply after its owner references are replaced: those are of the object's predecessor.
    HandOver,
}

/// Judges a live Secret, of which metadata is enough.
///
/// # Errors
/// When it is somebody else's.
pub fn standing(request: &SecretRequest, live: &Value, installation: &Installation) -> Result<Standing, Failure> {
    let taken = |by: String| {
        let name = &request.target.name;
        Err(Failure::new(Category::NotOwner, format!("Secret {name} belongs to {by}; it is not taken over")))
    };
    let owners = live.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let controller = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
    if let Some(owner) = controller.filter(|owner| owner["uid"] != request.uid.as_str()) {
        let text = |key: &str| owner[key].as_str().unwrap_or_default();
        let group = group_of(text("apiVersion"));
        let of_this_kind = text("kind") == "ExternalSecret";
        let predecessor = group == legacy::GROUP && request.id.form == Form::External;
        // The same name with another uid is the object before it was deleted and made again.
        let made_again = group == group_of(&request.api_version) && text("name") == request.id.name;
        if of_this_kind && (predecessor || made_again) {
            return Ok(Standing::HandOver);
        }
        return taken(format!("{} {}", text("kind"), text("name")));
    }
    let id = ObjectId {
        group_kind: GroupKind::new("", "Secret"),
        namespace: Some(request.id.namespace.clone()),
        name: request.target.name.clone(),
    };
    let adds = matches!(request.target.creation, Creation::Merge | Creation::CreateOrMerge);
    match installation.claim(live, &id) {
        Claim::None => {}
        _ if adds => {}
        _ => return taken("an Application".to_owned()),
    }
    match text_at(live, &["metadata", "labels", "app.kubernetes.io/managed-by"]) {
        Some("Helm") if !adds => taken("a Helm release".to_owned()),
        _ => Ok(Standing::Free),
    }
}

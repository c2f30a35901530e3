//! Kinds of the operator that are not served: they say so themselves, instead of waiting for ever.

use gitmoor_core::object::text_at;
use gitmoor_core::secrets::status::{ready_condition, with_condition};
use serde_json::{Value, json};

use super::Shared;
use super::stores::resource;
use crate::clock;

/// Writes that an object is of no use here.
pub(super) fn report(shared: &Shared, object: &Value) {
    let namespace = text_at(object, &["metadata", "namespace"]).map(str::to_owned);
    let elsewhere = namespace.as_ref().is_some_and(|namespace| !shared.serves(namespace));
    if elsewhere || shared.book.lock().left_to_others.contains(&gitmoor_core::secrets::request::Form::External) {
        return;
    }
    let kind = text_at(object, &["kind"]).unwrap_or_default();
    let message = format!("NotSupported: {kind} is not supported by gitmoor-agent, which only reads from AWS");
    if ready_condition(object).is_some_and(|old| old["status"] == "False" && old["message"] == message.as_str()) {
        return;
    }
    let condition = json!({
        "type": "Ready", "status": "False", "reason": "NotSupported", "message": message,
        "lastTransitionTime": clock::now(),
    });
    let patch = json!({"status": {"conditions": with_condition(object, condition)}});
    let (resource, cluster) = (resource(object), shared.cluster.clone());
    let name = text_at(object, &["metadata", "name"]).unwrap_or_default().to_owned();
    tokio::spawn(async move {
        if let Err(error) = cluster.merge_status(&resource, namespace.as_deref(), &name, &patch).await {
            tracing::warn!(kind = %resource.group_kind, name, %error, "status cannot be written");
        }
    });
}
